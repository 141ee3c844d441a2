//! Requests of this node's own faces: asked again, of whoever leads, until there is an outcome.
//!
//! Mounts and chunkservers know no leader and take no refusal, so a face says what it wants once.
//! A write goes to the leader, in this node or at a peer; its [`RequestId`] makes sure that asking
//! again does it once. A read is asked of this node's own consensus, which confirms at the leader
//! that the state here is new enough. What to do when there is no outcome in time is the face's
//! business.

use std::collections::{BTreeMap, BTreeSet};

use super::Effect;
use super::machine::Node;
use super::peer::{Asked, PeerBody};
use super::pending::{Caller, Origin};
use super::request::{CallId, ClientId, Consistency, NodeError, Request, RequestBody};
use super::request::{Response, ResponseBody};
use crate::buggify::Site;
use crate::chunks::ChunkWish;
use crate::codec;
use crate::disk::Disk;
use crate::id::{NodeId, SessionId};
use crate::machine::Outbox;
use crate::namespace::op::{Op, Query, RequestId};
#[cfg(feature = "planted-bugs")]
use crate::planted::Bug;
use crate::store::StateStore;
use crate::time::{Duration, Instant};

/// Names an ask within one life of its node.
pub(super) type AskId = u64;

/// What is asked.
#[derive(Clone, Debug)]
enum Wish {
    Write {
        request: RequestId,
        op: Op,
    },
    Read {
        consistency: Consistency,
        query: Query,
    },
    Keep {
        session: SessionId,
    },
    Chunk(ChunkWish),
}

/// Where an ask is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// It waits for a leader, or for a while.
    Nowhere,
    /// In this node's consensus.
    Here,
    /// On the way to a peer, or back.
    At(NodeId),
}

#[derive(Clone, Debug)]
struct Ask {
    client: ClientId,
    call: CallId,
    deadline: Instant,
    wish: Wish,
    place: Place,
    /// When something has to be done about it, the deadline at the latest.
    due: Instant,
    /// How often it was brought somewhere.
    #[cfg(feature = "planted-bugs")]
    moves: u64,
}

/// Everything that this node's faces wait for.
#[derive(Default)]
pub(super) struct Asks {
    next: AskId,
    open: BTreeMap<AskId, Ask>,
    /// One entry for each open ask.
    due: BTreeSet<(Instant, AskId)>,
    /// One entry for each open ask.
    clients: BTreeSet<(ClientId, AskId)>,
    /// Asks that went to a leader who may not lead any more have to move.
    leader_changed: bool,
}

impl Asks {
    /// How many are open.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    fn enter(&mut self, ask: Ask) -> AskId {
        self.next += 1;
        let id = self.next;
        self.due.insert((ask.due, id));
        self.clients.insert((ask.client, id));
        self.open.insert(id, ask);
        id
    }

    fn leave(&mut self, id: AskId) -> Option<Ask> {
        let ask = self.open.remove(&id)?;
        self.due.remove(&(ask.due, id));
        self.clients.remove(&(ask.client, id));
        Some(ask)
    }

    fn put(&mut self, id: AskId, place: Place, due: Instant) {
        let Some(ask) = self.open.get_mut(&id) else {
            return;
        };
        self.due.remove(&(ask.due, id));
        #[cfg(feature = "planted-bugs")]
        {
            ask.moves += u64::from(place != Place::Nowhere);
        }
        ask.place = place;
        ask.due = due.min(ask.deadline);
        self.due.insert((ask.due, id));
    }

    /// A client's answers need not be sent any more.
    pub fn forget(&mut self, client: ClientId) {
        let all = (client, 0)..=(client, AskId::MAX);
        let theirs: Vec<AskId> = self.clients.range(all).map(|(_, id)| *id).collect();
        for id in theirs {
            self.leave(id);
        }
    }

    /// Another leads, or nobody.
    pub fn on_leader_changed(&mut self) {
        self.leader_changed = true;
    }

    /// When something has to be done.
    pub fn deadline(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Panics when the lists do not fit each other.
    pub fn check(&self) {
        assert_eq!(self.open.len(), self.due.len(), "each ask is due once");
        assert_eq!(self.open.len(), self.clients.len(), "each ask has a client");
        for (id, ask) in &self.open {
            assert!(
                self.due.contains(&(ask.due, *id)),
                "ask {id} is due when it says"
            );
            assert!(ask.due <= ask.deadline, "ask {id} ends at its deadline");
        }
    }
}

impl<D: Disk, S: StateStore> Node<D, S> {
    /// A face asks: as [`Self::on_request`], but only a request that is bad in itself, too many
    /// of them, and the end of waiting are answered with an error.
    pub(super) fn on_ask(&mut self, client: ClientId, request: Request, out: &mut Outbox<Effect>) {
        let Request { call, body } = request;
        let wish = match body {
            RequestBody::Write {
                session,
                lane,
                seq,
                op,
            } => Wish::Write {
                request: RequestId::new(session, lane, seq),
                op: self.with_claim_judged(op),
            },
            RequestBody::Read { consistency, query } => Wish::Read { consistency, query },
            RequestBody::KeepSession { session } => Wish::Keep { session },
            body => return self.on_request(client, Request { call, body }, out),
        };
        self.enter_ask(client, call, wish, out);
    }

    /// As [`Self::on_ask`], for a write that the face numbers for its client.
    pub(super) fn on_ask_write(
        &mut self,
        client: ClientId,
        call: CallId,
        request: RequestId,
        op: Op,
        out: &mut Outbox<Effect>,
    ) {
        let op = self.with_claim_judged(op);
        self.enter_ask(client, call, Wish::Write { request, op }, out);
    }

    /// As [`Self::on_ask`], for chunks.
    pub(super) fn on_ask_chunk(
        &mut self,
        client: ClientId,
        call: CallId,
        wish: ChunkWish,
        out: &mut Outbox<Effect>,
    ) {
        self.enter_ask(client, call, Wish::Chunk(wish), out);
    }

    /// A wish that only the leader can grant.
    pub(super) fn ask_chunks_of_leader(
        &mut self,
        id: AskId,
        wish: ChunkWish,
        out: &mut Outbox<Effect>,
    ) {
        if self.leads.is_some() {
            // It could not be granted now.
            let again = self.now + self.options.ask_retry;
            self.asks.put(id, Place::Nowhere, again);
        } else {
            self.ask_leader(id, Asked::Chunk(wish), out);
        }
    }

    fn enter_ask(&mut self, client: ClientId, call: CallId, wish: Wish, out: &mut Outbox<Effect>) {
        let refusal = if self.raft.is_none() {
            let reason = "the node is starting, or healing itself from a peer".to_owned();
            Some(NodeError::Unavailable { reason })
        } else if self.asks.len() >= self.options.pending_max {
            Some(NodeError::Overloaded)
        } else {
            self.judge_size(&wish)
        };
        if let Some(error) = refusal {
            return tell(client, call, Err(error), out);
        }
        let deadline = self.now + self.options.ask_timeout;
        let id = self.asks.enter(Ask {
            client,
            call,
            deadline,
            wish,
            place: Place::Nowhere,
            due: deadline,
            #[cfg(feature = "planted-bugs")]
            moves: 0,
        });
        self.place_ask(id, out);
    }

    /// Nothing goes to a peer that its log would refuse.
    fn judge_size(&self, wish: &Wish) -> Option<NodeError> {
        let Wish::Write { op, .. } = wish else {
            return None;
        };
        let (bytes, limit) = (codec::encoded_bytes(op), self.command_bytes_max());
        (bytes > limit).then(|| NodeError::Invalid {
            reason: format!("the request takes {bytes} bytes, the limit is {limit}"),
        })
    }

    /// Brings an ask to where its outcome can come from, if there is such a place now.
    fn place_ask(&mut self, id: AskId, out: &mut Outbox<Effect>) {
        let Some(ask) = self.asks.open.get(&id) else {
            return;
        };
        let (wish, deadline) = (ask.wish.clone(), ask.deadline);
        #[cfg(feature = "planted-bugs")]
        let wish = match wish {
            Wish::Write { mut request, op } if self.options.bug == Some(Bug::AskedAgainAnew) => {
                request.seq.0 += ask.moves;
                Wish::Write { request, op }
            }
            wish => wish,
        };
        let caller = Caller {
            origin: Origin::Ask(id),
            deadline: deadline.min(self.now + self.options.request_timeout),
        };
        match wish {
            Wish::Read { consistency, query } => {
                self.asks.put(id, Place::Here, deadline);
                self.on_read(caller, consistency, query, out);
            }
            Wish::Write { request, op } if self.leads.is_some() => {
                self.asks.put(id, Place::Here, deadline);
                self.write_for_face(caller, request, op, out);
            }
            Wish::Keep { session } if self.leads.is_some() => {
                self.asks.put(id, Place::Here, deadline);
                self.on_keep_session(caller, session, out);
            }
            Wish::Chunk(wish) if self.leads.is_some() || !wish.needs_leader() => {
                self.asks.put(id, Place::Here, deadline);
                self.on_wish(caller, wish, out);
            }
            Wish::Chunk(wish) => self.ask_leader(id, Asked::Chunk(wish), out),
            Wish::Write { request, op } => {
                let op = Box::new(op);
                self.ask_leader(id, Asked::Write { request, op }, out);
            }
            Wish::Keep { session } => self.ask_leader(id, Asked::Keep { session }, out),
        }
    }

    /// Sends an ask to the leader, if one is known.
    fn ask_leader(&mut self, id: AskId, asked: Asked, out: &mut Outbox<Effect>) {
        match self.leader {
            Some(leader) if leader != self.options.node => {
                // The message, its answer, or the peer's memory of it may get lost.
                let wait = match self.options.buggify.fires(Site::AskedAgain) {
                    true => Duration::from_micros(1),
                    false => self.options.ask_resend,
                };
                self.asks.put(id, Place::At(leader), self.now + wait);
                let life = self.options.life;
                let ask = id;
                self.send(leader, PeerBody::Ask { life, ask, asked }, out);
            }
            _ => {
                let again = self.now + self.options.ask_retry;
                self.asks.put(id, Place::Nowhere, again);
            }
        }
    }

    fn write_for_face(
        &mut self,
        caller: Caller,
        request: RequestId,
        op: Op,
        out: &mut Outbox<Effect>,
    ) {
        self.note_writer(request.session);
        let request = (request.session != SessionId(0)).then_some(request);
        self.on_write(caller, request, op, out);
    }

    /// Does what is due; moves asks to a new leader. Whether consensus has to run again.
    pub(super) fn move_asks(&mut self, out: &mut Outbox<Effect>) -> bool {
        if self.raft.is_none() {
            return false;
        }
        let before = self.inbox.len();
        if std::mem::take(&mut self.asks.leader_changed) {
            let at = self.leader.map(Place::At);
            let open = self.asks.open.iter();
            let astray = open.filter(|(_, ask)| ask.place != Place::Here && Some(ask.place) != at);
            for id in astray.map(|(id, _)| *id).collect::<Vec<_>>() {
                self.place_ask(id, out);
            }
        }
        while let Some((at, id)) = self.asks.due.first().copied()
            && at <= self.now
        {
            if self.asks.open[&id].deadline <= self.now {
                self.end_ask(id, out);
            } else {
                self.place_ask(id, out);
            }
        }
        self.inbox.len() > before
    }

    /// Waiting is over.
    fn end_ask(&mut self, id: AskId, out: &mut Outbox<Effect>) {
        let Some(ask) = self.asks.leave(id) else {
            return;
        };
        let error = match ask.wish {
            Wish::Write { .. } => NodeError::Unknown,
            Wish::Read { .. } | Wish::Keep { .. } | Wish::Chunk(_) => NodeError::Unavailable {
                reason: "no majority answered in time".to_owned(),
            },
        };
        tell(ask.client, ask.call, Err(error), out);
    }

    /// Waiting is over for all.
    pub(super) fn end_asks(&mut self, out: &mut Outbox<Effect>) {
        while let Some((_, id)) = self.asks.due.first().copied() {
            self.end_ask(id, out);
        }
    }

    /// What came of an ask where it was.
    pub(super) fn on_ask_told(
        &mut self,
        id: AskId,
        result: Result<ResponseBody, NodeError>,
        out: &mut Outbox<Effect>,
    ) {
        match result {
            Ok(_) | Err(NodeError::Invalid { .. }) => {
                if let Some(ask) = self.asks.leave(id) {
                    tell(ask.client, ask.call, result, out);
                }
            }
            Err(
                NodeError::NotLeader { .. }
                | NodeError::Unknown
                | NodeError::Unavailable { .. }
                | NodeError::Overloaded,
            ) => {
                let again = self.now + self.options.ask_retry;
                self.asks.put(id, Place::Nowhere, again);
            }
        }
    }

    /// A peer tells what came of an ask there.
    pub(super) fn on_told_by_peer(
        &mut self,
        from: NodeId,
        (life, id): (u64, AskId),
        result: Result<ResponseBody, NodeError>,
        out: &mut Outbox<Effect>,
    ) {
        let ask = self.asks.open.get(&id);
        // What an earlier life asked, and what was asked of another meanwhile, is of no interest:
        // the outcome comes from where the ask is now, or is remembered there.
        if life == self.options.life && ask.is_some_and(|ask| ask.place == Place::At(from)) {
            self.on_ask_told(id, result, out);
        }
    }

    /// A peer's face asks this node, which leads as far as the peer knows.
    pub(super) fn on_asked_by_peer(
        &mut self,
        origin: Origin,
        asked: Asked,
        out: &mut Outbox<Effect>,
    ) {
        let deadline = self.now + self.options.request_timeout;
        let caller = Caller { origin, deadline };
        if self.raft.is_none() {
            let reason = "the node is starting, or healing itself from a peer".to_owned();
            return self.answer(caller, Err(NodeError::Unavailable { reason }), out);
        }
        if self.pending.len() >= self.options.pending_max {
            return self.answer(caller, Err(NodeError::Overloaded), out);
        }
        match asked {
            Asked::Write { request, op } => self.write_for_face(caller, request, *op, out),
            Asked::Keep { session } => self.on_keep_session(caller, session, out),
            Asked::Chunk(wish) if self.leads.is_some() => self.on_wish(caller, wish, out),
            Asked::Chunk(_) => {
                let leader = self.leader;
                self.answer(caller, Err(NodeError::NotLeader { leader }), out);
            }
        }
    }

    /// What was on the way to a peer is lost, or will be.
    pub(super) fn on_asks_lost(&mut self, peer: NodeId) {
        let open = self.asks.open.iter();
        let lost = open.filter(|(_, ask)| ask.place == Place::At(peer));
        let again = self.now + self.options.ask_retry;
        for id in lost.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.asks.put(id, Place::Nowhere, again);
        }
    }
}

fn tell(
    client: ClientId,
    call: CallId,
    result: Result<ResponseBody, NodeError>,
    out: &mut Outbox<Effect>,
) {
    let response = Response { call, result };
    out.push(Effect::Reply { client, response });
}
