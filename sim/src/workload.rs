//! Simulated clients: sessions, lanes, requests with timeouts, repeated elsewhere until answered.
//!
//! A machine like those it asks: facts go in, actions come out, the world carries them out. A
//! request keeps its session, lane and number through all its attempts, so that it takes effect
//! once (P-ONCE); a lane has one request outstanding.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use mfsha_core::id::{Lane, LogIndex, NodeId, RequestSeq, SessionId};
use mfsha_core::namespace::error::FsError;
use mfsha_core::namespace::op::{Caller, NodeKind, Op, Query, Reply, SessionParams};
use mfsha_core::node::request::{
    CallId, ClientId, Consistency, NodeError, Request, RequestBody, Response, ResponseBody,
};
use mfsha_core::rng::{Rng, Seed};

use crate::draw;
use crate::event::{AppliedEntry, CallNumber, Event};
use crate::generator::{Knowledge, Wish};
use crate::options::{Options, WorkloadOptions};
use crate::place::Seat;
use crate::schedule::OperationEntry;
use crate::time::SimTime;

/// What a client wants the world to do.
#[derive(Debug)]
pub enum Action {
    /// Something to be told.
    Tell(Event),
    /// A request to be carried to a seat.
    Send {
        /// The client.
        client: u16,
        /// Where it goes.
        seat: Seat,
        /// Which node it is meant for.
        node: NodeId,
        /// By which connection.
        connection: ClientId,
        /// The request.
        request: Request,
    },
    /// The client closes a connection.
    HangUp {
        /// The client.
        client: u16,
        /// Where it went.
        seat: Seat,
        /// Which.
        connection: ClientId,
    },
    /// A timer to be brought back to [`Workload::on_timer`].
    Wake {
        /// When.
        at: SimTime,
        /// What it is for.
        timer: Timer,
    },
}

/// Names a moment that a client waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timer {
    client: u16,
    lane: u8,
    call: CallNumber,
    attempt: u32,
}

/// What a lane is to do.
#[derive(Clone, Debug)]
enum Want {
    Session,
    Operation(OperationEntry),
    /// Proof that the healed core serves: a write, then a read.
    ProbeWrite,
    ProbeRead,
    /// The operator's business.
    Admin(RequestBody),
}

#[derive(Debug)]
struct Call {
    number: CallNumber,
    want: Want,
    wish: Option<Wish>,
    body: RequestBody,
    began: SimTime,
    attempt: u32,
    seat: Seat,
    /// The present attempt was refused or timed out; the next begins when the timer goes off.
    resting: bool,
    patient: bool,
    rng: Rng,
}

#[derive(Debug, Default)]
struct LaneState {
    queue: VecDeque<Want>,
    current: Option<Call>,
    last_seq: u64,
}

#[derive(Debug)]
struct Client {
    session: Option<SessionId>,
    /// Who leads, as far as this client knows.
    leader: Option<Seat>,
    /// Highest index that an answer named.
    seen: LogIndex,
    lanes: Vec<LaneState>,
    probed: bool,
}

/// Everybody who asks.
#[derive(Debug)]
pub struct Workload {
    seed: Seed,
    options: WorkloadOptions,
    clients: Vec<Client>,
    knowledge: Knowledge,
    /// Which node sits where.
    directory: Vec<NodeId>,
    /// Seats that first attempts go to: all, or the healed core.
    reachable: Vec<Seat>,
    connections: BTreeMap<(u16, Seat), ClientId>,
    next_call: u64,
    next_connection: u64,
    /// Answers to the operator, for the world to take.
    answers: VecDeque<(RequestBody, Result<ResponseBody, NodeError>)>,
}

impl Workload {
    /// The clients of a run, and behind the last of them the operator.
    #[must_use]
    pub fn new(seed: &Seed, options: &Options, directory: Vec<NodeId>) -> Self {
        let client = |lanes: u8| Client {
            session: None,
            leader: None,
            seen: LogIndex(0),
            lanes: (0..lanes).map(|_| LaneState::default()).collect(),
            probed: false,
        };
        let mut clients: Vec<Client> = (0..options.clients)
            .map(|_| client(options.lanes))
            .collect();
        for client in &mut clients {
            client.lanes[0].queue.push_back(Want::Session);
        }
        clients.push(client(1));
        Self {
            seed: seed.child("workload"),
            options: options.workload.clone(),
            clients,
            knowledge: Knowledge::new(options.workload.names),
            reachable: (0..directory.len()).map(|seat| Seat(seat as u8)).collect(),
            directory,
            connections: BTreeMap::new(),
            next_call: 1,
            next_connection: 1,
            answers: VecDeque::new(),
        }
    }

    /// The clients begin by asking for sessions.
    pub fn start(&mut self, now: SimTime, out: &mut Vec<Action>) {
        for client in 0..self.clients.len() as u16 {
            self.maybe_begin(now, client, 0, out);
        }
    }

    /// A planned operation is due.
    pub fn on_operation(&mut self, now: SimTime, entry: OperationEntry, out: &mut Vec<Action>) {
        let (client, lane) = (entry.client, entry.lane);
        let queue = &mut self.clients[usize::from(client)].lanes[usize::from(lane)].queue;
        queue.push_back(Want::Operation(entry));
        self.maybe_begin(now, client, lane, out);
    }

    /// The operator asks the leader for something, and goes on until it is answered.
    pub fn administer(&mut self, now: SimTime, body: RequestBody, out: &mut Vec<Action>) {
        let operator = self.operator();
        let queue = &mut self.clients[usize::from(operator)].lanes[0].queue;
        queue.push_back(Want::Admin(body));
        self.maybe_begin(now, operator, 0, out);
    }

    /// The operator's next answer.
    pub fn take_answer(&mut self) -> Option<(RequestBody, Result<ResponseBody, NodeError>)> {
        self.answers.pop_front()
    }

    /// A seat has another node now.
    pub fn on_seat_taken(&mut self, seat: Seat, node: NodeId) {
        self.directory[usize::from(seat.0)] = node;
    }

    /// The node of a seat is gone or its connections are: clients notice.
    pub fn on_disconnected(&mut self, now: SimTime, seat: Seat, out: &mut Vec<Action>) {
        self.connections.retain(|(_, other), _| *other != seat);
        for client in 0..self.clients.len() as u16 {
            for lane in 0..self.clients[usize::from(client)].lanes.len() as u8 {
                let call = self.current(client, lane);
                if call.is_some_and(|call| call.seat == seat && !call.resting) {
                    self.rest(now, client, lane, None, out);
                }
            }
        }
    }

    /// A node applied an entry: what clients ask for next may be about it.
    pub fn on_applied(&mut self, entry: &AppliedEntry) {
        self.knowledge.on_applied(entry);
    }

    /// An answer arrived.
    pub fn on_response(
        &mut self,
        now: SimTime,
        client: u16,
        node: NodeId,
        response: Response,
        out: &mut Vec<Action>,
    ) {
        let number = CallNumber(response.call.0 >> 16);
        let attempt = (response.call.0 & 0xFFFF) as u32;
        let lanes = &self.clients[usize::from(client)].lanes;
        let Some(lane) = lanes.iter().position(|lane| {
            lane.current
                .as_ref()
                .is_some_and(|call| call.number == number)
        }) else {
            return;
        };
        let lane = lane as u8;
        match response.result {
            Ok(_) | Err(NodeError::Invalid { .. }) => {
                self.finish(now, client, lane, node, attempt, response.result, out);
            }
            Err(error) => {
                let call = self.current(client, lane).expect("it was found above");
                if call.attempt != attempt || call.resting {
                    return;
                }
                out.push(Action::Tell(Event::Refused {
                    call: number,
                    client,
                    node,
                    error: error.clone(),
                }));
                let hint = match error {
                    NodeError::NotLeader { leader } => leader.and_then(|node| self.seat_of(node)),
                    _ => None,
                };
                self.clients[usize::from(client)].leader = hint;
                self.rest(now, client, lane, hint, out);
            }
        }
    }

    /// A moment has come that a client waited for.
    pub fn on_timer(&mut self, now: SimTime, timer: Timer, out: &mut Vec<Action>) {
        let Timer {
            client,
            lane,
            call: number,
            attempt,
        } = timer;
        let give_up = Duration::from_millis(self.options.give_up_ms);
        let Some(call) = self.current(client, lane) else {
            return;
        };
        if call.number != number || call.attempt != attempt {
            return;
        }
        if !call.patient && now.since(call.began) >= give_up {
            let call = self.lane(client, lane).current.take().expect("it is there");
            out.push(Action::Tell(Event::GaveUp {
                call: call.number,
                client,
            }));
            if matches!(call.want, Want::Session) {
                self.lane(client, lane).queue.push_front(Want::Session);
            }
            self.maybe_begin(now, client, lane, out);
            return;
        }
        if !call.resting {
            // No answer: the client believes nobody any more, and sometimes makes a new connection.
            let seat = call.seat;
            let hang_up = call.rng.chance(1, 4);
            self.clients[usize::from(client)].leader = None;
            if hang_up && let Some(connection) = self.connections.remove(&(client, seat)) {
                out.push(Action::HangUp {
                    client,
                    seat,
                    connection,
                });
            }
        }
        self.attempt(now, client, lane, out);
    }

    /// From now only these seats are asked, every client proves that it is served, and no
    /// operation that has not begun begins.
    pub fn probe(&mut self, now: SimTime, core: &[Seat], out: &mut Vec<Action>) {
        self.reachable = core.to_vec();
        for client in 0..self.operator() {
            let state = &mut self.clients[usize::from(client)];
            if state.leader.is_some_and(|seat| !core.contains(&seat)) {
                state.leader = None;
            }
            for lane in &mut state.lanes {
                lane.queue.retain(|want| matches!(want, Want::Session));
            }
            state.lanes[0].queue.push_back(Want::ProbeWrite);
            state.lanes[0].queue.push_back(Want::ProbeRead);
            self.maybe_begin(now, client, 0, out);
        }
    }

    /// Clients whose proof is still open.
    #[must_use]
    pub fn unserved(&self) -> Vec<u16> {
        (0..self.operator())
            .filter(|client| !self.clients[usize::from(*client)].probed)
            .collect()
    }

    /// Whether nobody waits for anything.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.clients
            .iter()
            .flat_map(|client| &client.lanes)
            .all(|lane| lane.current.is_none() && lane.queue.is_empty())
    }

    /// Whether the operator waits for an answer.
    #[must_use]
    pub fn is_operator_busy(&self) -> bool {
        let lane = &self.clients[usize::from(self.operator())].lanes[0];
        lane.current.is_some() || !lane.queue.is_empty()
    }

    /// What is outstanding, for the report of a core that is late.
    #[must_use]
    pub fn outstanding(&self) -> Vec<String> {
        let mut out = Vec::new();
        for (client, state) in self.clients.iter().enumerate() {
            for call in state.lanes.iter().filter_map(|lane| lane.current.as_ref()) {
                out.push(format!(
                    "client{client} call #{} attempt {} at {}",
                    call.number.0, call.attempt, call.seat
                ));
            }
        }
        out
    }

    /// The connection and client by which an answer goes back.
    #[must_use]
    pub fn is_open(&self, client: u16, seat: Seat, connection: ClientId) -> bool {
        self.connections.get(&(client, seat)) == Some(&connection)
    }

    fn operator(&self) -> u16 {
        (self.clients.len() - 1) as u16
    }

    fn lane(&mut self, client: u16, lane: u8) -> &mut LaneState {
        &mut self.clients[usize::from(client)].lanes[usize::from(lane)]
    }

    fn current(&mut self, client: u16, lane: u8) -> Option<&mut Call> {
        self.lane(client, lane).current.as_mut()
    }

    fn seat_of(&self, node: NodeId) -> Option<Seat> {
        let at = self.directory.iter().position(|other| *other == node)?;
        Some(Seat(at as u8))
    }

    /// Begins what is next in a lane, if it is free and may.
    fn maybe_begin(&mut self, now: SimTime, client: u16, lane: u8, out: &mut Vec<Action>) {
        loop {
            let session = self.clients[usize::from(client)].session;
            let state = self.lane(client, lane);
            if state.current.is_some() {
                return;
            }
            let may = match state.queue.front() {
                None => return,
                Some(Want::Session | Want::Admin(_)) => true,
                Some(_) => session.is_some(),
            };
            if !may {
                return;
            }
            let want = state.queue.pop_front().expect("there is a front");
            if self.begin(now, client, lane, want, out) {
                return;
            }
        }
    }

    /// Begins one; false when nothing is known that it could be about.
    fn begin(
        &mut self,
        now: SimTime,
        client: u16,
        lane: u8,
        want: Want,
        out: &mut Vec<Action>,
    ) -> bool {
        let mut rng = match &want {
            Want::Operation(entry) => self.seed.child("operation").index(entry.draw).rng(),
            _ => self.seed.child("other").index(self.next_call).rng(),
        };
        let session = self.clients[usize::from(client)]
            .session
            .unwrap_or_default();
        let wish = match &want {
            Want::Operation(entry) => {
                let Some(wish) = self.knowledge.draw(&entry.kind, session, &mut rng) else {
                    return false;
                };
                Some(wish)
            }
            Want::ProbeWrite => Some(Wish::Write(probe_write(client, session))),
            Want::ProbeRead => Some(Wish::Read(probe_read(session))),
            Want::Session | Want::Admin(_) => None,
        };
        let body = self.body(client, lane, &want, wish.as_ref(), &mut rng);
        let number = CallNumber(self.next_call);
        self.next_call += 1;
        out.push(Action::Tell(Event::Invoked {
            call: number,
            client,
            body: body.clone(),
        }));
        let patient = !matches!(want, Want::Operation(_) | Want::Session);
        self.lane(client, lane).current = Some(Call {
            number,
            want,
            wish,
            body,
            began: now,
            attempt: 0,
            seat: Seat(0),
            resting: false,
            patient,
            rng,
        });
        self.attempt(now, client, lane, out);
        true
    }

    fn body(
        &mut self,
        client: u16,
        lane: u8,
        want: &Want,
        wish: Option<&Wish>,
        rng: &mut Rng,
    ) -> RequestBody {
        let session = self.clients[usize::from(client)]
            .session
            .unwrap_or_default();
        match (want, wish) {
            (Want::Admin(body), _) => body.clone(),
            (_, Some(Wish::Write(op))) => {
                let state = self.lane(client, lane);
                state.last_seq += 1;
                RequestBody::Write {
                    session,
                    lane: Lane(lane.into()),
                    seq: RequestSeq(state.last_seq),
                    op: op.clone(),
                }
            }
            (_, Some(Wish::Read(query))) => RequestBody::Read {
                consistency: if matches!(want, Want::ProbeRead) {
                    Consistency::Strict
                } else {
                    self.consistency(client, rng)
                },
                query: query.clone(),
            },
            (_, None) => RequestBody::Write {
                session: SessionId(0),
                lane: Lane(0),
                seq: RequestSeq(0),
                op: Op::OpenSession {
                    params: SessionParams::unrestricted(),
                },
            },
        }
    }

    fn consistency(&self, client: u16, rng: &mut Rng) -> Consistency {
        let options = &self.options;
        let weights = [options.read_strict, options.read_lease, options.read_fast];
        match draw::weighted(rng, weights.into_iter()) {
            Some(1) => Consistency::StrictByLease,
            Some(2) => Consistency::Fast {
                not_before: self.clients[usize::from(client)].seen,
            },
            _ => Consistency::Strict,
        }
    }

    /// Sends a call to a node: the leader as far as known, or any.
    fn attempt(&mut self, now: SimTime, client: u16, lane: u8, out: &mut Vec<Action>) {
        let leader = self.clients[usize::from(client)].leader;
        let stray = u64::from(self.options.stray_percent);
        let reachable = self.reachable.clone();
        let call = self.current(client, lane).expect("a call is attempted");
        let is_read = matches!(call.body, RequestBody::Read { .. });
        let strays = call.rng.chance(stray, 100) || (is_read && call.rng.chance(1, 2));
        let seat = match leader {
            Some(leader) if !strays => leader,
            _ => *call.rng.pick(&reachable),
        };
        call.seat = seat;
        call.resting = false;
        // 16 bits of attempts name a call; one that is asked more often starts over.
        call.attempt = call.attempt % 0xFFFF + 1;
        let (number, attempt, body) = (call.number, call.attempt, call.body.clone());
        let node = self.directory[usize::from(seat.0)];
        let connection = self.connect(client, seat);
        out.push(Action::Tell(Event::Attempted {
            call: number,
            client,
            node,
            attempt,
        }));
        out.push(Action::Send {
            client,
            seat,
            node,
            connection,
            request: Request {
                call: CallId(number.0 << 16 | u64::from(attempt)),
                body,
            },
        });
        out.push(Action::Wake {
            at: now + Duration::from_millis(self.options.attempt_ms),
            timer: Timer {
                client,
                lane,
                call: number,
                attempt,
            },
        });
    }

    fn connect(&mut self, client: u16, seat: Seat) -> ClientId {
        let next = &mut self.next_connection;
        *self.connections.entry((client, seat)).or_insert_with(|| {
            let connection = ClientId(*next);
            *next += 1;
            connection
        })
    }

    /// The present attempt failed: the next begins after a while, sooner when somebody said where.
    fn rest(
        &mut self,
        now: SimTime,
        client: u16,
        lane: u8,
        hint: Option<Seat>,
        out: &mut Vec<Action>,
    ) {
        let call = self.current(client, lane).expect("a call rests");
        call.resting = true;
        let longest = if hint.is_some() { 2 } else { 50 };
        let pause = Duration::from_micros(call.rng.between(100, longest * 1_000));
        let timer = Timer {
            client,
            lane,
            call: call.number,
            attempt: call.attempt,
        };
        out.push(Action::Wake {
            at: now + pause,
            timer,
        });
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "an answer is who, where, by whom, to which attempt, and what"
    )]
    fn finish(
        &mut self,
        now: SimTime,
        client: u16,
        lane: u8,
        node: NodeId,
        attempt: u32,
        result: Result<ResponseBody, NodeError>,
        out: &mut Vec<Action>,
    ) {
        let call = self.lane(client, lane).current.take().expect("a call ends");
        out.push(Action::Tell(Event::Returned {
            call: call.number,
            client,
            node,
            attempt,
            result: result.clone(),
        }));
        let seat = self.seat_of(node);
        let state = &mut self.clients[usize::from(client)];
        match &result {
            Ok(ResponseBody::Written { index, outcome }) => {
                state.seen = state.seen.max(*index);
                state.leader = seat;
                match (&call.want, &call.wish, &outcome.result) {
                    (Want::Session, _, Ok(Reply::Session(session))) => {
                        state.session = Some(*session);
                    }
                    (_, Some(Wish::Write(op)), Ok(reply)) => self.knowledge.on_written(op, reply),
                    // Somebody ended this client's session: it asks for another.
                    (_, _, Err(FsError::BadSession))
                        if named_session(&call.body) == state.session
                            && state.session.is_some() =>
                    {
                        state.session = None;
                        state.lanes[0].queue.push_front(Want::Session);
                    }
                    _ => {}
                }
            }
            Ok(ResponseBody::Read { index, result }) => {
                state.seen = state.seen.max(*index);
                if let Ok(answer) = result {
                    self.knowledge.on_read(answer);
                }
            }
            _ => {}
        }
        self.settle(client, lane, call.want, &result);
        for lane in 0..self.clients[usize::from(client)].lanes.len() as u8 {
            self.maybe_begin(now, client, lane, out);
        }
    }

    /// What an answer means for what was wanted.
    fn settle(
        &mut self,
        client: u16,
        lane: u8,
        want: Want,
        result: &Result<ResponseBody, NodeError>,
    ) {
        let served = result.is_ok();
        match want {
            Want::ProbeRead if served => self.clients[usize::from(client)].probed = true,
            Want::Session if self.clients[usize::from(client)].session.is_none() => {
                self.lane(client, lane).queue.push_front(Want::Session);
            }
            Want::Admin(body) => self.answers.push_back((body, result.clone())),
            _ => {}
        }
    }
}

fn probe_write(client: u16, session: SessionId) -> Op {
    Op::Create {
        caller: root(session),
        parent: mfsha_core::id::InodeId::ROOT,
        name: format!("probe of client {client}").into_bytes(),
        kind: NodeKind::File,
        mode: 0o644,
        umask: 0,
        rdev: 0,
        open: false,
    }
}

fn probe_read(session: SessionId) -> Query {
    Query::ReadDir {
        caller: root(session),
        inode: mfsha_core::id::InodeId::ROOT,
        attrs: false,
        after: Vec::new(),
        max: 1_000,
    }
}

/// The session in whose name a request is made.
fn named_session(body: &RequestBody) -> Option<SessionId> {
    match body {
        RequestBody::Write { session, .. } => Some(*session),
        _ => None,
    }
}

fn root(session: SessionId) -> Caller {
    Caller {
        session,
        uid: 0,
        gids: vec![0],
    }
}

/// The request that makes these nodes the voters.
#[must_use]
pub fn membership(voters: &BTreeSet<NodeId>, learners: &BTreeSet<NodeId>) -> RequestBody {
    RequestBody::ChangeMembership {
        voters: voters.clone(),
        learners: learners.clone(),
    }
}

#[cfg(test)]
mod tests {
    use mfsha_core::namespace::op::Outcome;

    use super::*;

    fn workload() -> Workload {
        let seed = Seed::from_u64(1);
        let mut options = Options::draw(&seed);
        options.clients = 1;
        options.lanes = 1;
        options.workload.read_strict = 1;
        Workload::new(&seed, &options, (1..=3).map(NodeId).collect())
    }

    fn sent(out: &[Action]) -> Vec<(Seat, Request)> {
        out.iter()
            .filter_map(|action| match action {
                Action::Send { seat, request, .. } => Some((*seat, request.clone())),
                _ => None,
            })
            .collect()
    }

    fn timers(out: &[Action]) -> Vec<(SimTime, Timer)> {
        out.iter()
            .filter_map(|action| match action {
                Action::Wake { at, timer } => Some((*at, *timer)),
                _ => None,
            })
            .collect()
    }

    fn written(call: CallId, reply: Reply) -> Response {
        Response {
            call,
            result: Ok(ResponseBody::Written {
                index: LogIndex(5),
                outcome: Outcome {
                    result: Ok(reply),
                    notices: Vec::new(),
                    version: 1,
                    repeated: false,
                },
            }),
        }
    }

    fn entry(number: u32) -> OperationEntry {
        OperationEntry {
            number,
            at: SimTime::ZERO,
            client: 0,
            lane: 0,
            kind: "mkdir".into(),
            draw: 9,
        }
    }

    fn with_session(workload: &mut Workload) {
        let mut out = Vec::new();
        workload.start(SimTime::ZERO, &mut out);
        let (_, request) = sent(&out).remove(0);
        let response = written(request.call, Reply::Session(SessionId(7)));
        workload.on_response(SimTime(1), 0, NodeId(2), response, &mut out);
    }

    #[test]
    fn nothing_is_asked_before_there_is_a_session() {
        let mut workload = workload();
        let mut out = Vec::new();
        workload.start(SimTime::ZERO, &mut out);
        workload.on_operation(SimTime::ZERO, entry(0), &mut out);
        let requests = sent(&out);
        assert_eq!(requests.len(), 1);
        let response = written(requests[0].1.call, Reply::Session(SessionId(7)));
        out.clear();
        workload.on_response(SimTime(1), 0, NodeId(2), response, &mut out);
        assert!(matches!(
            sent(&out)[0].1.body,
            RequestBody::Write {
                session: SessionId(7),
                seq: RequestSeq(1),
                ..
            }
        ));
    }

    #[test]
    fn a_repeat_keeps_its_number_and_the_next_request_has_another() {
        let mut workload = workload();
        with_session(&mut workload);
        let mut out = Vec::new();
        workload.on_operation(SimTime(2), entry(0), &mut out);
        workload.on_operation(SimTime(2), entry(1), &mut out);
        let first = sent(&out).remove(0).1;
        let (at, timer) = timers(&out).remove(0);
        out.clear();
        workload.on_timer(at, timer, &mut out);
        let again = sent(&out).remove(0).1;
        assert_eq!(first.body, again.body);
        assert_ne!(first.call, again.call);
        // The late answer to the first attempt counts, and the lane goes on.
        out.clear();
        let response = written(first.call, Reply::Done);
        workload.on_response(at, 0, NodeId(1), response, &mut out);
        let next = sent(&out).remove(0).1;
        assert!(matches!(
            next.body,
            RequestBody::Write {
                seq: RequestSeq(2),
                ..
            }
        ));
    }

    #[test]
    fn a_hint_is_followed() {
        let mut workload = workload();
        workload.options.stray_percent = 0;
        with_session(&mut workload);
        let mut out = Vec::new();
        workload.on_operation(SimTime(2), entry(0), &mut out);
        let request = sent(&out).remove(0).1;
        out.clear();
        let response = Response {
            call: request.call,
            result: Err(NodeError::NotLeader {
                leader: Some(NodeId(3)),
            }),
        };
        workload.on_response(SimTime(3), 0, NodeId(1), response, &mut out);
        let (at, timer) = timers(&out).remove(0);
        out.clear();
        workload.on_timer(at, timer, &mut out);
        assert_eq!(sent(&out)[0].0, Seat(2));
    }

    #[test]
    fn a_client_gives_up_and_goes_on() {
        let mut workload = workload();
        with_session(&mut workload);
        let mut out = Vec::new();
        workload.on_operation(SimTime(2), entry(0), &mut out);
        let (_, timer) = timers(&out).remove(0);
        let late = SimTime(2) + Duration::from_millis(workload.options.give_up_ms);
        out.clear();
        workload.on_timer(late, timer, &mut out);
        assert!(matches!(out[0], Action::Tell(Event::GaveUp { .. })));
        assert!(workload.is_idle());
    }

    #[test]
    fn a_probe_is_a_write_and_a_read() {
        let mut workload = workload();
        with_session(&mut workload);
        let mut out = Vec::new();
        workload.probe(SimTime(2), &[Seat(1)], &mut out);
        let write = sent(&out).remove(0);
        assert_eq!(workload.unserved(), [0]);
        out.clear();
        workload.on_response(
            SimTime(3),
            0,
            NodeId(2),
            written(write.1.call, Reply::Done),
            &mut out,
        );
        let read = sent(&out).remove(0);
        assert_eq!(read.0, Seat(1));
        let response = Response {
            call: read.1.call,
            result: Ok(ResponseBody::Read {
                index: LogIndex(6),
                result: Err(mfsha_core::namespace::error::FsError::NoEnt),
            }),
        };
        workload.on_response(SimTime(4), 0, NodeId(2), response, &mut out);
        assert!(workload.unserved().is_empty() && workload.is_idle());
    }
}
