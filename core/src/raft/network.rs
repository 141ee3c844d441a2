//! openraft's way to its peers: every request is an effect, every reply an input.
//!
//! Appends are pipelined: up to [`PIPELINE_MAX`] of one stream are under way, and their replies
//! are handed on in the order of the requests, whatever the order in which they come.

use std::future::Future;
use std::sync::Arc;

use futures_util::{Stream, StreamExt};
use openraft::async_runtime::Select2;
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{
    NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable,
};
use openraft::network::{Backoff, RPCOption};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendError,
    StreamAppendResult, TransferLeaderError, TransferLeaderRequest, TransferLeaderResponse,
    VoteRequest, VoteResponse,
};
use openraft::{AsyncRuntime, RPCTypes, RaftNetworkFactory, RaftNetworkV2};

use super::SnapshotMeta;
use super::message::{
    AppendReply, Ballot, Reply, Request, SnapshotAnswer, SnapshotHeader, TransferReply, WireEntry,
    checked,
};
use super::runtime::Runtime;
use super::shell::{Call, Shell};
use super::state_machine::{SnapshotHandle, our_applied};
use super::types::{OLogId, OSnapshot, OVote, Types, ours};
use crate::id::NodeId;
use crate::time::Duration;

/// Appends of one stream under way at once.
const PIPELINE_MAX: usize = 16;

/// How long requests wait, and when they are tried again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// An append with entries waits this long: the peer has to flush them.
    pub(super) append: Duration,
    /// Pause before an unreachable peer is tried again: the first, and the longest.
    pub(super) retry: (Duration, Duration),
}

/// Makes the ways to peers.
pub(super) struct Network {
    pub(super) shell: Arc<Shell>,
    pub(super) patience: Patience,
}

/// The way to one peer.
pub(super) struct Peer {
    shell: Arc<Shell>,
    patience: Patience,
    to: NodeId,
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Peer;

    async fn new_client(&mut self, to: NodeId, _node: &()) -> Peer {
        Peer {
            shell: Arc::clone(&self.shell),
            patience: self.patience,
            to,
        }
    }
}

type Rpc<T> = Result<T, RPCError<Types>>;
type Appended = Rpc<StreamAppendResult<Types>>;

fn unreachable(reason: impl ToString) -> RPCError<Types> {
    RPCError::Unreachable(Unreachable::from_string(reason))
}

async fn answer(mut call: Call) -> Rpc<Reply> {
    match (&mut call.reply).await {
        Ok(Reply::Stopped) => Err(unreachable("the peer has stopped")),
        Ok(reply) => Ok(reply),
        Err(_) => Err(unreachable("the connection to the peer is lost")),
    }
}

fn unexpected<T>() -> Rpc<T> {
    Err(unreachable("the reply is of another kind"))
}

impl Peer {
    async fn ask_vote(&self, body: Request) -> Rpc<VoteResponse<Types>> {
        #[cfg(feature = "planted-bugs")]
        let mut suspicion = Suspicion::begin(self);
        match answer(self.shell.call(self.to, body)).await? {
            Reply::Vote {
                ballot,
                granted,
                last_log,
            } => {
                #[cfg(feature = "planted-bugs")]
                {
                    suspicion.armed = false;
                }
                Ok(VoteResponse::new(ballot.vote(), checked(last_log), granted))
            }
            _ => unexpected(),
        }
    }

    /// Sends an append now; what is returned waits for its reply.
    fn append(
        &self,
        rpc: AppendEntriesRequest<Types>,
        option: &RPCOption,
    ) -> impl Future<Output = (Option<OLogId>, Appended)> + Send + use<> {
        let prev = rpc.prev_log_id;
        let last = rpc.entries.last().map(|entry| entry.log_id).or(prev);
        let patience = if rpc.entries.is_empty() {
            option.hard_ttl()
        } else {
            option.hard_ttl().max(self.patience.append)
        };
        let (from, to) = (self.shell.node, self.to);
        let call = self.shell.call(
            to,
            Request::Append {
                ballot: Ballot::of(&rpc.vote),
                prev: prev.as_ref().map(ours),
                entries: rpc.entries.iter().map(WireEntry::of).collect(),
                committed: rpc.leader_commit.as_ref().map(ours),
            },
        );
        #[cfg(feature = "planted-bugs")]
        let believed = self.shell.has(crate::planted::Bug::CommitWithoutQuorum);
        async move {
            #[cfg(feature = "planted-bugs")]
            if believed {
                return (prev, Ok(Ok(last)));
            }
            let reply = match Runtime::timeout(patience, answer(call)).await {
                Ok(reply) => reply,
                Err(_) => Err(RPCError::Timeout(Timeout {
                    action: RPCTypes::AppendEntries,
                    id: from,
                    target: to,
                    timeout: patience,
                })),
            };
            (prev, appended(reply, prev, last))
        }
    }
}

/// What a reply to an append means for the stream that it belongs to.
fn appended(reply: Rpc<Reply>, prev: Option<OLogId>, last: Option<OLogId>) -> Appended {
    match reply? {
        Reply::Append(AppendReply::Success) => Ok(Ok(last)),
        Reply::Append(AppendReply::Conflict) => match prev {
            Some(prev) => Ok(Err(StreamAppendError::Conflict(prev))),
            None => Err(unreachable("the peer refuses the very first entry")),
        },
        Reply::Append(AppendReply::Higher(ballot)) => {
            Ok(Err(StreamAppendError::HigherVote(ballot.vote())))
        }
        _ => unexpected(),
    }
}

/// The replies of one stream in order; ends after the first that is not a plain success.
fn in_order(
    replies: impl Stream<Item = (Option<OLogId>, Appended)> + Send + Unpin,
) -> impl Stream<Item = Appended> + Send {
    let start = Some((replies, None::<OLogId>));
    futures_util::stream::unfold(start, async |state| {
        let (mut replies, acked) = state?;
        let (prev, result) = replies.next().await?;
        // The network let this request overtake the one before it. openraft would take the
        // conflict for a peer that lost what it had acknowledged.
        let overtook = prev <= acked && matches!(result, Ok(Err(StreamAppendError::Conflict(_))));
        let result = if overtook && prev.is_some() {
            Err(RPCError::Network(NetworkError::from_string(
                "an append overtook the one before it",
            )))
        } else {
            result
        };
        let next = match &result {
            Ok(Ok(matched)) => Some((replies, acked.max(*matched))),
            _ => None,
        };
        Some((result, next))
    })
}

impl RaftNetworkV2<Types> for Peer {
    type SnapshotData = SnapshotHandle;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Rpc<AppendEntriesResponse<Types>> {
        let (_, result) = self.append(rpc, &option).await;
        result.map(AppendEntriesResponse::from)
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Rpc<BoxStream<'s, Appended>>>
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + openraft::OptionalSend + Unpin + 'static,
    {
        let replies = input
            .map(move |rpc| self.append(rpc, &option))
            .buffered(PIPELINE_MAX);
        let stream: BoxStream<'s, Appended> = Box::pin(in_order(replies));
        Box::pin(async move { Ok(stream) })
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<Types>,
        _option: RPCOption,
    ) -> Rpc<VoteResponse<Types>> {
        self.ask_vote(Request::Vote {
            ballot: Ballot::of(&rpc.vote),
            last_log: rpc.last_log_id.as_ref().map(ours),
            transfer: rpc.leadership_transfer,
        })
        .await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<Types>,
        _option: RPCOption,
    ) -> Rpc<VoteResponse<Types>> {
        self.ask_vote(Request::PreVote {
            ballot: Ballot::of(&rpc.vote),
            last_log: rpc.last_log_id.as_ref().map(ours),
        })
        .await
    }

    /// The owner streams the bytes. A state that is durable but cannot be read is built first;
    /// what is sent may then be newer than what openraft asked for, which it learns later.
    async fn full_snapshot(
        &mut self,
        vote: OVote,
        snapshot: OSnapshot,
        cancel: impl Future<Output = ReplicationClosed> + openraft::OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let send = async {
            let meta = match self.shell.current_snapshot() {
                Some((applied, Some(id))) => SnapshotMeta { id, applied },
                _ => match self.shell.build_snapshot().await {
                    Ok(meta) => meta,
                    Err(_) => return Err("the snapshot was not built".to_owned()),
                },
            };
            debug_assert!(meta.applied.last >= our_applied(&snapshot.meta).last);
            let header = SnapshotHeader {
                ballot: Ballot::of(&vote),
                applied: meta.applied.clone(),
            };
            let mut transfer = self.shell.send_snapshot(self.to, header.encode(), meta);
            let sent = (&mut transfer.result).await;
            let bytes = sent.map_err(|_| "the connection is lost".to_owned())??;
            match SnapshotAnswer::decode(&bytes) {
                Ok(SnapshotAnswer::Taken(ballot)) => Ok(ballot),
                Ok(SnapshotAnswer::Refused) => Err("the peer refuses the snapshot".to_owned()),
                Err(error) => Err(error.to_string()),
            }
        };
        match Runtime::select2(cancel, send).await {
            Select2::First(closed) => Err(StreamingError::Closed(closed)),
            Select2::Second(Ok(ballot)) => Ok(SnapshotResponse::new(ballot.vote())),
            Select2::Second(Err(reason)) => Err(StreamingError::Unreachable(
                Unreachable::from_string(reason),
            )),
        }
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<Types>,
        _option: RPCOption,
    ) -> Rpc<TransferLeaderResponse<Types>> {
        let body = Request::Transfer {
            ballot: Ballot::of(req.from_leader()),
            to: *req.to_node_id(),
            last_log: req.last_log_id().map(ours),
        };
        match answer(self.shell.call(self.to, body)).await? {
            Reply::Transfer(TransferReply::Accepted) => Ok(Ok(())),
            Reply::Transfer(TransferReply::VoteChanged(ballot)) => {
                Ok(Err(TransferLeaderError::VoteChanged {
                    expected: *req.from_leader(),
                    actual: ballot.vote(),
                }))
            }
            Reply::Transfer(TransferReply::NotFlushed(actual)) => {
                Ok(Err(TransferLeaderError::LogNotFlushed {
                    expected: req.last_log_id().copied(),
                    actual: checked(actual),
                }))
            }
            _ => unexpected(),
        }
    }

    fn backoff(&self) -> Option<Backoff> {
        let (first, longest) = self.patience.retry;
        Some(Backoff::new(std::iter::successors(
            Some(first),
            move |pause| Some((*pause * 2).min(longest)),
        )))
    }
}

/// The bug of giving a peer up: a vote request that ends without a reply is the last one.
#[cfg(feature = "planted-bugs")]
struct Suspicion {
    shell: Arc<Shell>,
    peer: NodeId,
    armed: bool,
}

#[cfg(feature = "planted-bugs")]
impl Suspicion {
    fn begin(peer: &Peer) -> Self {
        Self {
            shell: Arc::clone(&peer.shell),
            peer: peer.to,
            armed: peer.shell.has(crate::planted::Bug::PeersNeverRetried),
        }
    }
}

#[cfg(feature = "planted-bugs")]
impl Drop for Suspicion {
    fn drop(&mut self) {
        if self.armed {
            self.shell.give_up(self.peer);
        }
    }
}
