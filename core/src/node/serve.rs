//! Serving clients: takes requests, and answers each exactly once.

use super::Effect;
use super::machine::Node;
use super::peer::PeerBody;
use super::pending::{Caller, Origin, Proposed, WaitingRead};
use super::request::{
    ClientId, Consistency, NodeError, Request, RequestBody, Response, ResponseBody,
};
use crate::buggify::Site;
use crate::codec;
use crate::disk::Disk;
use crate::id::{NodeId, SessionId};
use crate::limits;
use crate::machine::Outbox;
use crate::namespace::op::{Answer, Command, Op, Query, RequestId};
use crate::raft::{self, ReadPolicy};
use crate::store::StateStore;
use crate::time::WallTime;

/// Longest encoded answer, bytes: what wraps it on the wire stays below the longest record.
const ANSWER_BYTES_MAX: usize = limits::RECORD_BYTES_MAX - limits::PAGE_BYTES;

/// Whether an answer can be sent. Only lists can be long, so only they are measured.
fn fits_the_wire(answer: &Answer) -> bool {
    let list = matches!(
        answer,
        Answer::Bytes(_)
            | Answer::Entries { .. }
            | Answer::Chunks { .. }
            | Answer::Quotas(_)
            | Answer::Inodes(_)
            | Answer::Paths(_)
            | Answer::Detached(_)
            | Answer::Classes(_)
            | Answer::LastRequests(_)
            | Answer::OpenFiles(_)
            | Answer::Locks(_)
            | Answer::Chunkservers(_)
            | Answer::Counts { .. }
    );
    !list || codec::encoded_bytes(answer) <= ANSWER_BYTES_MAX
}

impl<D: Disk, S: StateStore> Node<D, S> {
    /// A client asks.
    pub(super) fn on_request(
        &mut self,
        client: ClientId,
        request: Request,
        out: &mut Outbox<Effect>,
    ) {
        let deadline = self.now + self.options.request_timeout;
        let call = request.call;
        let origin = Origin::Client { client, call };
        let caller = Caller { origin, deadline };
        if let RequestBody::Status = request.body {
            let status = self.status();
            return self.answer(caller, Ok(ResponseBody::Status(status)), out);
        }
        if self.raft.is_none() {
            let reason = "the node is starting, or healing itself from a peer".to_owned();
            return self.answer(caller, Err(NodeError::Unavailable { reason }), out);
        }
        let refuses = self.options.buggify.fires(Site::RequestRefused);
        if refuses || self.pending.len() >= self.options.pending_max {
            return self.answer(caller, Err(NodeError::Overloaded), out);
        }
        match request.body {
            RequestBody::Write {
                session,
                lane,
                seq,
                op,
            } => {
                let request = (session != SessionId(0)).then(|| RequestId::new(session, lane, seq));
                self.note_writer(session);
                self.on_write(caller, request, op, out);
            }
            RequestBody::Read { consistency, query } => {
                self.on_read(caller, consistency, query, out);
            }
            RequestBody::ChangeMembership { voters, learners } => {
                let proposal = self.pending.propose(caller, Proposed::Membership);
                self.inbox.push_back(raft::Input::ChangeMembership {
                    proposal,
                    voters,
                    learners,
                });
            }
            RequestBody::TransferLeadership { to } => self.on_transfer(caller, to, out),
            RequestBody::TakeSnapshot => self.on_take_snapshot(caller, out),
            RequestBody::KeepSession { session } => self.on_keep_session(caller, session, out),
            RequestBody::Status => unreachable!("answered above"),
        }
    }

    /// Answered when a durable snapshot holds what is applied now.
    fn on_take_snapshot(&mut self, caller: Caller, out: &mut Outbox<Effect>) {
        let wanted = self.namespace.applied().index;
        let durable = self.raft_status().and_then(|raft| raft.snapshot);
        match durable.map(|id| id.index) {
            Some(applied) if applied >= wanted => {
                self.answer(caller, Ok(ResponseBody::SnapshotTaken { applied }), out);
            }
            _ => {
                self.pending.wait_for_snapshot(wanted, caller);
                self.inbox.push_back(raft::Input::TakeSnapshot);
            }
        }
    }

    pub(super) fn on_write(
        &mut self,
        caller: Caller,
        request: Option<RequestId>,
        op: Op,
        out: &mut Outbox<Effect>,
    ) {
        if self.leads.is_some() && (self.is_store_full() || self.wal.is_crowded()) {
            // Nothing is proposed that could not be applied soon, or would take the room that the
            // log needs to become shorter.
            return self.answer(caller, Err(NodeError::Overloaded), out);
        }
        let stamp = self.hlc.stamp(self.wall_us);
        let command = Command {
            stamp,
            now: self.wall_time(),
            request,
            op,
        };
        let bytes = codec::encode(&command);
        let limit = self.command_bytes_max();
        if bytes.len() > limit {
            let reason = format!(
                "the request takes {} bytes, the limit is {limit}",
                bytes.len()
            );
            return self.answer(caller, Err(NodeError::Invalid { reason }), out);
        }
        let proposal = self.pending.propose(caller, Proposed::Command);
        self.inbox.push_back(raft::Input::Propose {
            proposal,
            command: bytes,
        });
    }

    /// A command is wrapped by consensus before the log takes it.
    pub(super) fn command_bytes_max(&self) -> usize {
        limits::COMMAND_BYTES_MAX.min(self.options.wal.record_bytes_max / 2)
    }

    pub(super) fn on_read(
        &mut self,
        caller: Caller,
        consistency: Consistency,
        query: Query,
        out: &mut Outbox<Effect>,
    ) {
        let waiting = WaitingRead { caller, query };
        let policy = match consistency {
            Consistency::Strict => ReadPolicy::ReadIndex,
            Consistency::StrictByLease => ReadPolicy::Lease,
            Consistency::Fast { not_before } => {
                if not_before <= self.namespace.applied().index {
                    self.answer_read(waiting, out);
                } else {
                    self.pending.wait_for(not_before, waiting);
                }
                return;
            }
        };
        #[cfg(feature = "planted-bugs")]
        if self.options.bug == Some(crate::planted::Bug::FollowerReadsItself) {
            return self.answer_read(waiting, out);
        }
        let read = self.pending.ask(waiting);
        self.inbox.push_back(raft::Input::Read { read, policy });
    }

    fn on_transfer(&mut self, caller: Caller, to: NodeId, out: &mut Outbox<Effect>) {
        let status = self.status();
        if !status.leads {
            let leader = status.leader;
            return self.answer(caller, Err(NodeError::NotLeader { leader }), out);
        }
        if !status
            .membership
            .voters
            .iter()
            .all(|voters| voters.contains(&to))
        {
            let reason = format!("{to} is no voter of this group");
            return self.answer(caller, Err(NodeError::Invalid { reason }), out);
        }
        self.inbox.push_back(raft::Input::TransferLeadership { to });
        self.answer(caller, Ok(ResponseBody::TransferStarted), out);
    }

    /// Reads the applied state, which is new enough by now.
    pub(super) fn answer_read(&mut self, read: WaitingRead, out: &mut Outbox<Effect>) {
        let index = self.namespace.applied().index;
        match self.namespace.query(self.wall_time(), &read.query) {
            Ok(Ok(answer)) if !fits_the_wire(&answer) => {
                let reason = format!(
                    "the answer is longer than {ANSWER_BYTES_MAX} bytes; ask for a part of it"
                );
                self.answer(read.caller, Err(NodeError::Invalid { reason }), out);
            }
            Ok(result) => self.answer(read.caller, Ok(ResponseBody::Read { index, result }), out),
            Err(error) => {
                let reason = format!("{error}; ask another node");
                self.answer(read.caller, Err(NodeError::Unavailable { reason }), out);
                self.on_read_fault(&error, out);
            }
        }
    }

    /// Answers one caller.
    pub(super) fn answer(
        &mut self,
        caller: Caller,
        result: Result<ResponseBody, NodeError>,
        out: &mut Outbox<Effect>,
    ) {
        match caller.origin {
            Origin::Client { client, call } => {
                let response = Response { call, result };
                out.push(Effect::Reply { client, response });
            }
            Origin::Ask(ask) => self.on_ask_told(ask, result, out),
            Origin::Peer { peer, life, ask } => {
                let result = Box::new(result);
                self.send(peer, PeerBody::Told { life, ask, result }, out);
            }
            Origin::Keeper(ticket) => self.chunks.on_told(ticket, result),
        }
    }

    /// Tells those who waited too long.
    pub(super) fn answer_expired(&mut self, out: &mut Outbox<Effect>) {
        let (writers, readers) = self.pending.take_expired(self.now);
        self.answer_without_outcome(writers, readers, "no majority answered in time", out);
    }

    /// Tells everybody that nothing will come of it here.
    pub(super) fn answer_all(&mut self, reason: &str, out: &mut Outbox<Effect>) {
        let (writers, readers) = self.pending.take_all();
        self.answer_without_outcome(writers, readers, reason, out);
    }

    fn answer_without_outcome(
        &mut self,
        writers: Vec<Caller>,
        readers: Vec<Caller>,
        reason: &str,
        out: &mut Outbox<Effect>,
    ) {
        for caller in writers {
            self.answer(caller, Err(NodeError::Unknown), out);
        }
        for caller in readers {
            let reason = reason.to_owned();
            self.answer(caller, Err(NodeError::Unavailable { reason }), out);
        }
    }

    /// The wall clock as MooseFS counts; it ends in 2106.
    pub(super) fn wall_time(&self) -> WallTime {
        WallTime(u32::try_from(self.wall_us / 1_000_000).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::LogIndex;
    use crate::native::ToClient;
    use crate::native::request::CallId;

    #[test]
    fn the_longest_answer_that_fits_is_sent_and_a_longer_one_is_noticed() {
        // One byte says which answer it is, five how long.
        let longest = Answer::Bytes(vec![7; ANSWER_BYTES_MAX - 6]);
        assert!(fits_the_wire(&longest));
        let index = LogIndex(u64::MAX);
        let result = Ok(longest);
        let response = Response {
            call: CallId(u64::MAX),
            result: Ok(ResponseBody::Read { index, result }),
        };
        let sent = ToClient::Response(response);
        assert_eq!(ToClient::from_bytes(&sent.to_bytes()), Ok(sent));
        for longer in [
            Answer::Bytes(vec![7; ANSWER_BYTES_MAX]),
            Answer::Paths(vec![vec![7; 1 << 20]; 17]),
            Answer::OpenFiles(vec![
                (SessionId(1 << 30), crate::id::InodeId(1 << 20));
                2 << 20
            ]),
        ] {
            assert!(!fits_the_wire(&longer));
        }
    }
}
