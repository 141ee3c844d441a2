//! The event loop: what is due next, in one line of virtual time.
//!
//! The world owns everything that is faked and carries effects out; nodes run as tasks of madsim
//! and take one input at a time. Time is ours, in nanoseconds; madsim's follows, so that whoever
//! should ask it for a clock gets the world's.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::fs::File;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use mfsha_core::buggify::{Buggify, Site};
use mfsha_core::disk::{DiskError, FlushId};
use mfsha_core::id::{LogIndex, NodeId, WriteId};
use mfsha_core::node::request::{ClientId, Request, Response};
use mfsha_core::node::{self, Effect, Input};
use mfsha_core::rng::Seed;
use mfsha_core::store::CheckpointId;
use mfsha_core::transport::{self, ConnId, Identity};
use mfsha_core::{chunkservers, mounts as face};

use crate::atlas::Atlas;
use crate::check::{Checker, ClusterView, NodeView, Violation};
use crate::coverage::Coverage;
use crate::deed::Deed;
use crate::disk::{CrashFate, DiskCounts};
use crate::draw;
use crate::event::{Event, LossReason, MessageNumber, Phase, StopReason};
use crate::face::FaceEvent;
use crate::fleet::{self, Fleet};
use crate::mounts::{self, Crowd};
use crate::net::{Fate, Flight, Net};
use crate::node::{Kind, NodeSpec};
use crate::options::Options;
use crate::place::{Place, Seat};
use crate::schedule::{FaultEntry, OperationEntry, Schedule};
use crate::seat::SeatState;
use crate::stream::{Side, StreamId, Streams};
use crate::task::{self, NodeTask, Stepped};
use crate::time::SimTime;
use crate::trace::{self, Trace};
use crate::transport::{Told, is_quiet};
use crate::view::View;
use crate::workload::{Action, Timer, Workload};

/// What travels.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    /// From node to node; for one life of the receiver, as a connection is.
    Peer {
        from: NodeId,
        to: NodeId,
        life: u32,
        bytes: Vec<u8>,
    },
    /// From a client to one life of a node.
    Request {
        node: NodeId,
        life: u32,
        connection: ClientId,
        request: Request,
    },
    /// Back.
    Response {
        client: u16,
        node: NodeId,
        connection: ClientId,
        response: Response,
    },
    /// A client closes its connection.
    HangUp {
        node: NodeId,
        life: u32,
        connection: ClientId,
    },
}

/// What is due.
#[derive(Debug)]
pub(crate) enum Due {
    Arrive(Flight<Body>),
    Wake {
        seat: Seat,
        wakes: u64,
    },
    FlushEnd {
        seat: Seat,
        life: u32,
        flush: FlushId,
    },
    CheckpointEnd {
        seat: Seat,
        life: u32,
        checkpoint: CheckpointId,
    },
    PeerLost {
        seat: Seat,
        life: u32,
        peer: NodeId,
    },
    /// The next piece of one direction of a stream.
    Piece {
        stream: StreamId,
        writer: Side,
    },
    StreamRefused {
        stream: StreamId,
        side: Side,
    },
    DialEnds {
        seat: Seat,
        life: u32,
        conn: ConnId,
        to: Seat,
    },
    IdentityStored {
        seat: Seat,
        life: u32,
        write: WriteId,
    },
    Told {
        seat: Seat,
        life: u32,
        told: Told,
    },
    TransportWake {
        seat: Seat,
        wakes: u64,
    },
    Disconnect {
        seat: Seat,
    },
    Start {
        seat: Seat,
    },
    FaultBegin(FaultEntry),
    FaultStep(FaultEntry, usize),
    FaultEnd(FaultEntry),
    Operation(OperationEntry),
    Client(Timer),
    Fleet(fleet::Moment),
    Crowd(mounts::Moment),
    /// Something for the face of a node.
    FaceStep {
        seat: Seat,
        life: u32,
        event: FaceEvent,
    },
    /// Those outside, or a face, have something for a node.
    NodeStep {
        seat: Seat,
        life: u32,
        event: node::Event,
    },
    Look,
    Heal,
    Watch,
}

/// What came for a process that stands still.
#[derive(Debug)]
pub(crate) enum Waiting {
    Node(node::Event),
    Transport(transport::Input),
    Told(Told),
    Face(FaceEvent),
}

/// What is due, when; what was planned earlier comes first among what is due at once.
struct Planned {
    at: SimTime,
    order: u64,
    /// Apart, since what is planned is moved a lot.
    due: Box<Due>,
}

impl PartialEq for Planned {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}

impl Eq for Planned {}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Planned {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// One run.
pub struct World<K: Kind> {
    pub(crate) seed: Seed,
    pub(crate) options: Options,
    pub(crate) now: SimTime,
    queue: BinaryHeap<Reverse<Planned>>,
    order: u64,
    pub(crate) net: Net<Body>,
    /// Connections between nodes, in a run over streams.
    pub(crate) streams: Option<Streams>,
    /// Whether every founder was seen to be of the cluster.
    pub(crate) formed: bool,
    pub(crate) seats: Vec<SeatState>,
    pub(crate) workload: Workload,
    pub(crate) fleet: Fleet,
    pub(crate) crowd: Crowd,
    /// Whose connection this is.
    connections: BTreeMap<ClientId, (u16, Seat)>,
    pub(crate) buggify: Buggify,
    /// The last change of membership that was answered left every seat a voter.
    pub(crate) voters_are_whole: bool,
    pub(crate) atlas: Atlas,
    trace: Trace,
    checkers: Vec<Box<dyn Checker>>,
    coverage: Coverage,
    pub(crate) phase: Phase,
    /// Seats that are healed for good.
    pub(crate) core: Vec<Seat>,
    pub(crate) healed_at: SimTime,
    pub(crate) led_at: Option<SimTime>,
    pub(crate) served_at: Option<SimTime>,
    /// Who is to vote, as the operator sees it.
    pub(crate) voters: BTreeSet<NodeId>,
    violation: Option<(SimTime, Violation)>,
    /// The healed core was late: nothing more will come of it, whoever judges.
    late: bool,
    /// Only what was detected is judged, and that is known.
    pub(crate) detected: bool,
    next_node: u64,
    pub(crate) next_message: u64,
    kind: PhantomData<K>,
}

/// What came of a run.
#[derive(Debug)]
pub struct Finished {
    /// Everything that happened, as far as it was kept.
    pub trace: Trace,
    /// The first broken promise, and when.
    pub violation: Option<(SimTime, Violation)>,
    /// Virtual time that passed.
    pub simulated: SimTime,
    /// What was reached.
    pub coverage: BTreeMap<String, u64>,
}

impl<K: Kind> World<K> {
    /// A world before its first moment. With `whole_trace` every event is kept.
    #[must_use]
    pub fn new(seed: u64, options: Options, schedule: Schedule, whole_trace: bool) -> Self {
        let seed = Seed::from_u64(seed);
        let checkers = K::checkers(&options);
        let nodes: Vec<NodeId> = (1..=u64::from(options.nodes)).map(NodeId).collect();
        let seats = nodes
            .iter()
            .enumerate()
            .map(|(seat, node)| SeatState::new(Seat(seat as u8), *node, &seed, &options))
            .collect();
        let mut world = Self {
            now: SimTime::ZERO,
            queue: BinaryHeap::new(),
            order: 0,
            net: Net::new(&seed, &options.net),
            // A node alone has nobody to connect with.
            streams: (options.net.streams && options.nodes > 1)
                .then(|| Streams::new(&seed, &options.net)),
            formed: false,
            seats,
            workload: Workload::new(&seed, &options, nodes.clone()),
            fleet: Fleet::new(&seed, &options),
            crowd: Crowd::new(&seed, &options),
            connections: BTreeMap::new(),
            buggify: options.buggify.sites(&seed),
            atlas: Atlas::new(&options),
            voters_are_whole: true,
            trace: Trace::new(whole_trace),
            checkers,
            coverage: Coverage::new(options.nodes),
            phase: Phase::Safety,
            core: Vec::new(),
            healed_at: SimTime::ZERO,
            led_at: None,
            served_at: None,
            next_node: nodes.len() as u64 + 1,
            voters: nodes.into_iter().collect(),
            violation: None,
            late: false,
            detected: false,
            next_message: 1,
            kind: PhantomData,
            seed,
            options,
        };
        world.plan_run(schedule);
        world
    }

    /// The same, which writes every event to this file as it happens.
    #[must_use]
    pub fn telling(mut self, file: Option<File>) -> Self {
        self.trace = self.trace.telling(file);
        self
    }

    /// Lives the run to its end, inside madsim.
    #[must_use]
    pub fn run(self, madsim_seed: u64) -> Finished {
        let config = madsim::Config::default();
        let runtime = madsim::runtime::Runtime::with_seed_and_config(madsim_seed, config);
        runtime.block_on(self.live())
    }

    async fn live(mut self) -> Finished {
        self.emit(Event::PhaseBegins {
            phase: Phase::Safety,
            core: Vec::new(),
        });
        for seat in 0..self.seats.len() {
            self.start(Seat(seat as u8)).await;
        }
        let mut actions = Vec::new();
        self.workload.start(self.now, &mut actions);
        self.carry_out(actions);
        if self.fleet.is_there() {
            self.with_fleet(Fleet::start);
        }
        self.with_crowd(|crowd, view, out| crowd.start(view.now, out));
        while !self.is_over() {
            let Reverse(planned) = self.queue.pop().expect("the end of the run is planned");
            assert!(planned.at >= self.now, "time runs forwards");
            self.now = planned.at;
            follow(self.now);
            self.on_due(*planned.due).await;
        }
        self.judge_the_end().await;
        self.finish()
    }

    fn is_over(&self) -> bool {
        self.violation.is_some() || self.phase == Phase::Quiescent || self.late || self.detected
    }

    fn plan_run(&mut self, schedule: Schedule) {
        for entry in schedule.operations {
            self.plan(entry.at, Due::Operation(entry));
        }
        for entry in schedule.faults {
            self.plan(entry.at, Due::FaultBegin(entry));
        }
        let end = SimTime::ZERO + Duration::from_millis(self.options.safety_ms);
        self.plan(end, Due::Heal);
        self.plan(SimTime::ZERO + Duration::from_secs(1), Due::Look);
    }

    pub(crate) fn plan(&mut self, at: SimTime, due: Due) {
        self.order += 1;
        let order = self.order;
        let due = Box::new(due);
        self.queue.push(Reverse(Planned { at, order, due }));
    }

    pub(crate) fn plan_in(&mut self, after: Duration, due: Due) {
        self.plan(self.now + after, due);
    }

    /// Tells everybody what happened.
    pub(crate) fn emit(&mut self, event: Event) {
        self.late |= matches!(event, Event::CoreLate { .. });
        for checker in &mut self.checkers {
            if let Err(violation) = checker.on_event(self.now, &event) {
                self.violation.get_or_insert((self.now, violation));
            }
        }
        self.coverage.on_event(self.now, &event);
        self.trace.record(self.now, event);
    }

    pub(crate) fn state(&mut self, seat: Seat) -> &mut SeatState {
        &mut self.seats[usize::from(seat.0)]
    }

    async fn on_due(&mut self, due: Due) {
        match due {
            Due::Arrive(flight) => self.on_arrival(flight).await,
            Due::Wake { seat, wakes } => {
                if self.state(seat).wakes == wakes {
                    self.step(seat, node::Event::Tick).await;
                }
            }
            Due::FlushEnd { seat, life, flush } => self.on_flush_end(seat, life, flush).await,
            Due::CheckpointEnd {
                seat,
                life,
                checkpoint,
            } => self.on_checkpoint_end(seat, life, checkpoint).await,
            Due::PeerLost { seat, life, peer } => {
                if self.is_running(seat, life) {
                    self.emit(Event::PeerLost { seat, peer });
                    self.step(seat, node::Event::PeerLost { peer }).await;
                }
            }
            Due::Piece { stream, writer } => self.on_piece(stream, writer),
            Due::StreamRefused { stream, side } => self.on_stream_refused(stream, side),
            Due::DialEnds {
                seat,
                life,
                conn,
                to,
            } => self.on_dial_ends(seat, life, conn, to),
            Due::IdentityStored { seat, life, write } => self.on_identity_stored(seat, life, write),
            Due::Told { seat, life, told } => self.on_told(seat, life, told).await,
            Due::TransportWake { seat, wakes } => self.on_transport_wake(seat, wakes),
            Due::Disconnect { seat } => {
                let mut actions = Vec::new();
                self.workload.on_disconnected(self.now, seat, &mut actions);
                self.carry_out(actions);
            }
            Due::Start { seat } => self.start(seat).await,
            Due::FaultBegin(entry) => self.on_fault_begin(entry).await,
            Due::FaultStep(entry, step) => self.on_fault_step(&entry, step),
            Due::FaultEnd(entry) => self.on_fault_end(entry).await,
            Due::Operation(entry) => {
                if self.phase == Phase::Safety {
                    let mut actions = Vec::new();
                    self.workload.on_operation(self.now, entry, &mut actions);
                    self.carry_out(actions);
                }
            }
            Due::Client(timer) => {
                let mut actions = Vec::new();
                self.workload.on_timer(self.now, timer, &mut actions);
                self.carry_out(actions);
            }
            Due::Fleet(moment) => {
                self.with_fleet(|fleet, view, out| fleet.on_moment(view, moment, out));
            }
            Due::Crowd(moment) => {
                self.with_crowd(|crowd, view, out| crowd.on_moment(view, moment, out));
            }
            Due::FaceStep { seat, life, event } => {
                if self.is_running(seat, life) {
                    self.step_face(seat, event);
                }
            }
            Due::NodeStep { seat, life, event } => {
                if self.is_running(seat, life) {
                    self.step(seat, event).await;
                }
            }
            Due::Look => {
                self.look_at_cluster().await;
                if self.options.undetermined {
                    let (seat, node) = (Seat(0), self.state(Seat(0)).node);
                    let message = format!("process {} lives this run", std::process::id());
                    self.emit(Event::Report {
                        seat,
                        node,
                        message,
                    });
                }
                self.plan_in(Duration::from_secs(1), Due::Look);
            }
            Due::Heal => self.heal().await,
            Due::Watch => self.watch(),
        }
    }

    async fn on_arrival(&mut self, flight: Flight<Body>) {
        let (message, from, to) = (flight.message, flight.from, flight.to);
        if let Err(reason) = self.net.arrive(&flight) {
            self.emit(Event::Lost {
                message,
                from,
                to,
                reason,
            });
            return;
        }
        let event = match &flight.body {
            Body::Peer { to, life, .. }
            | Body::Request { node: to, life, .. }
            | Body::HangUp { node: to, life, .. } => {
                let seat = flight.to.seat().expect("these go to nodes");
                if self.state(seat).node != *to || !self.is_running(seat, *life) {
                    self.emit(Event::Lost {
                        message,
                        from,
                        to: flight.to,
                        reason: LossReason::Down,
                    });
                    return;
                }
                Event::Delivered {
                    message,
                    from,
                    to: flight.to,
                }
            }
            Body::Response { .. } => Event::Delivered { message, from, to },
        };
        self.emit(event);
        self.deliver(to, flight.body).await;
    }

    async fn deliver(&mut self, to: Place, body: Body) {
        match body {
            Body::Peer { from, bytes, .. } => {
                let event = node::Event::Message {
                    from,
                    message: bytes,
                };
                self.step(to.seat().expect("a peer has a seat"), event)
                    .await;
            }
            Body::Request {
                connection,
                request,
                ..
            } => {
                let client = connection;
                let event = if self.options.node.faces && request.call.0 % 2 == 0 {
                    node::Event::Ask { client, request }
                } else {
                    node::Event::Request { client, request }
                };
                self.step(to.seat().expect("a node has a seat"), event)
                    .await;
            }
            Body::HangUp { connection, .. } => {
                let event = node::Event::ClientGone { client: connection };
                self.step(to.seat().expect("a node has a seat"), event)
                    .await;
            }
            Body::Response {
                client,
                node,
                connection,
                response,
            } => {
                let open = self
                    .connections
                    .get(&connection)
                    .is_some_and(|(_, seat)| self.workload.is_open(client, *seat, connection));
                if open {
                    let mut actions = Vec::new();
                    self.workload
                        .on_response(self.now, client, node, response, &mut actions);
                    self.carry_out(actions);
                    self.on_operator_answers();
                }
            }
        }
    }

    /// Lets the fleet do something, and carries out what comes of it.
    pub(crate) fn with_fleet(
        &mut self,
        act: impl FnOnce(&mut Fleet, &View<'_, Body>, &mut Vec<fleet::Deed>),
    ) {
        let mut deeds = Vec::new();
        let view = View {
            now: self.now,
            net: &self.net,
            seats: &self.seats,
        };
        act(&mut self.fleet, &view, &mut deeds);
        self.do_deeds(deeds, Due::Fleet);
    }

    /// Lets mounts and faces do something, and carries out what comes of it.
    pub(crate) fn with_crowd(
        &mut self,
        act: impl FnOnce(&mut Crowd, &View<'_, Body>, &mut Vec<mounts::Deed>),
    ) {
        if !self.crowd.is_there() {
            return;
        }
        let mut deeds = Vec::new();
        let view = View {
            now: self.now,
            net: &self.net,
            seats: &self.seats,
        };
        act(&mut self.crowd, &view, &mut deeds);
        self.do_deeds(deeds, Due::Crowd);
    }

    fn do_deeds<M>(&mut self, deeds: Vec<Deed<M>>, due: impl Fn(M) -> Due) {
        for deed in deeds {
            match deed {
                Deed::Step { seat, life, event } => {
                    self.plan(self.now, Due::NodeStep { seat, life, event });
                }
                Deed::Face { seat, life, event } => {
                    self.plan(self.now, Due::FaceStep { seat, life, event });
                }
                Deed::Plan { at, moment } => self.plan(at, due(moment)),
                Deed::Tell(event) => self.emit(event),
                Deed::Want(wish) => {
                    self.with_fleet(|fleet, view, out| fleet.on_want(view, wish, out));
                }
                Deed::Serve(by, served) => {
                    self.with_crowd(|crowd, view, out| crowd.on_served(view, by, served, out));
                }
            }
        }
    }

    /// Hands the face that mounts see one event, now or when its node goes on.
    fn tell_mounts(&mut self, seat: Seat, event: face::Event) {
        if self.crowd.is_there() {
            self.step_face(seat, FaceEvent::Mounts(event));
        }
    }

    /// Hands a face of a node one event, now or when it goes on.
    pub(crate) fn step_face(&mut self, seat: Seat, event: FaceEvent) {
        let state = self.state(seat);
        if state.paused {
            if !event.is_tick() {
                state.inbox.push_back(Waiting::Face(event));
            }
            return;
        }
        match event {
            FaceEvent::Mounts(event) => {
                self.with_crowd(|crowd, view, out| crowd.step_face(view, seat, event, out));
            }
            FaceEvent::Chunkservers(event) => {
                self.with_fleet(|fleet, view, out| fleet.step_face(view, seat, event, out));
            }
        }
    }

    /// Faces are woken by their node's clock as it runs now.
    pub(crate) fn rearm_faces(&mut self, seat: Seat) {
        self.with_crowd(|crowd, view, out| crowd.rearm_face(view, seat, out));
        self.with_fleet(|fleet, view, out| fleet.rearm_face(view, seat, out));
    }

    async fn on_flush_end(&mut self, seat: Seat, life: u32, flush: FlushId) {
        if !self.is_alive(seat, life) {
            return;
        }
        let state = self.state(seat);
        let result = match state.fail_flush.take() {
            None => {
                state.disk.finish_flush(flush);
                Ok(())
            }
            Some(down_ms) => {
                state.restart_ms = down_ms;
                state.disk.fail_flush(flush, &mut state.rng);
                Err(DiskError::Io {
                    file: "log".into(),
                    reason: "write error while flushing".into(),
                })
            }
        };
        self.note_effects(seat);
        self.emit(Event::FlushEnded {
            seat,
            flush: flush.0,
            ok: result.is_ok(),
        });
        self.step(seat, node::Event::Flushed { flush, result })
            .await;
    }

    async fn on_checkpoint_end(&mut self, seat: Seat, life: u32, checkpoint: CheckpointId) {
        if !self.is_alive(seat, life) {
            return;
        }
        let Some(result) = self.state(seat).store.finish_checkpoint(checkpoint) else {
            return;
        };
        self.note_effects(seat);
        self.emit(Event::CheckpointEnded {
            seat,
            checkpoint: checkpoint.0,
            ok: result.is_ok(),
        });
        let event = node::Event::Checkpointed { checkpoint, result };
        self.step(seat, event).await;
    }

    /// Whether this life runs and is awake, or stands still.
    fn is_alive(&mut self, seat: Seat, life: u32) -> bool {
        let state = self.state(seat);
        state.running.is_some() && state.life == life
    }

    /// Whether this life can be reached: one that stands still can, its messages wait.
    fn is_running(&mut self, seat: Seat, life: u32) -> bool {
        self.is_alive(seat, life)
    }

    /// Hands a node one event, now or when it goes on.
    pub(crate) async fn step(&mut self, seat: Seat, event: node::Event) {
        let now = self.now;
        let state = self.state(seat);
        let Some(task) = &state.running else {
            return;
        };
        if state.paused {
            if !matches!(event, node::Event::Tick) {
                state.inbox.push_back(Waiting::Node(event));
            }
            return;
        }
        let input = Input {
            wall_us: state.clock.wall_us(now),
            event,
        };
        let stepped = task.step(state.clock.monotonic(now), input).await;
        self.on_stepped(seat, stepped).await;
    }

    async fn on_stepped(&mut self, seat: Seat, stepped: Result<Stepped, String>) {
        let stepped = match stepped {
            Ok(stepped) => stepped,
            Err(message) => {
                self.stop(seat, StopReason::Panicked(message)).await;
                return;
            }
        };
        let (node, life) = (self.state(seat).node, self.state(seat).life);
        for entry in stepped.applied {
            self.note_gap(seat, LogIndex(entry.id.index.0.saturating_sub(1)));
            self.state(seat).applied = entry.id.index;
            self.workload.on_applied(&entry);
            self.emit(Event::Applied {
                seat,
                node,
                life,
                entry,
            });
        }
        self.note_gap(seat, stepped.status.applied);
        self.note_effects(seat);
        let view = NodeView {
            seat,
            node,
            life,
            raft: stepped.raft,
            status: stepped.status,
            receives_state: stepped.receives_state,
            durable: stepped.durable,
            version: stepped.version,
        };
        for checker in &mut self.checkers {
            if let Err(violation) = checker.after_step(self.now, &view) {
                self.violation.get_or_insert((self.now, violation));
            }
        }
        self.coverage.after_step(&view);
        self.state(seat).view = Some(view);
        self.wake_at(seat, stepped.deadline);
        for effect in stepped.effects {
            self.on_effect(seat, node, effect).await;
        }
    }

    /// Tells what came of faults at a disk and a store since it was told last.
    pub(crate) fn note_effects(&mut self, seat: Seat) {
        let state = &self.seats[usize::from(seat.0)];
        let (disk, store) = (state.disk.counts(), state.store.counts());
        self.coverage.on_effects(seat, disk, store);
    }

    /// State that came without its entries came as a snapshot.
    fn note_gap(&mut self, seat: Seat, through: LogIndex) {
        let state = self.state(seat);
        if through > state.applied {
            state.applied = through;
            let node = state.node;
            self.emit(Event::SnapshotInstalled {
                seat,
                node,
                applied: through,
            });
        }
    }

    fn wake_at(&mut self, seat: Seat, deadline: Option<mfsha_core::time::Instant>) {
        let now = self.now;
        let state = self.state(seat);
        if state.deadline == deadline {
            // The wake-up for it is planned. One that was used up has come early: plan another.
            if deadline.is_none_or(|deadline| state.clock.monotonic(now) < deadline) {
                return;
            }
        }
        state.deadline = deadline;
        self.rearm(seat);
    }

    /// Plans the wake-up anew: the deadline or the clock has changed.
    pub(crate) fn rearm(&mut self, seat: Seat) {
        let now = self.now;
        let state = self.state(seat);
        state.wakes += 1;
        let wakes = state.wakes;
        let when = state
            .deadline
            .and_then(|deadline| state.clock.when(now, deadline));
        if let Some(when) = when {
            // A node that asks for now gets it after what else is due now.
            self.plan(
                when.max(now + Duration::from_nanos(1)),
                Due::Wake { seat, wakes },
            );
        }
    }

    async fn on_effect(&mut self, seat: Seat, node: NodeId, effect: Effect) {
        match effect {
            Effect::Send { to, class, message } => match self.streams {
                Some(_) => self.send_by_transport(seat, to, class, message),
                None => self.send_peer(seat, node, to, message),
            },
            Effect::Reply { client, response } if Crowd::knows(client) => {
                self.tell_mounts(seat, face::Event::Answered { client, response });
            }
            Effect::Reply { client, response } if Fleet::is_registration(client) => {
                let event = chunkservers::Event::Answered { client, response };
                self.step_face(seat, FaceEvent::Chunkservers(event));
            }
            Effect::Reply { client, response } if Fleet::knows(client) => {
                self.with_fleet(|fleet, view, out| {
                    fleet.on_reply(view, seat, client, response, out);
                });
            }
            Effect::Reply { client, response } => {
                let Some((client_number, _)) = self.connections.get(&client).copied() else {
                    return;
                };
                let body = Body::Response {
                    client: client_number,
                    node,
                    connection: client,
                    response,
                };
                self.send((Place::Seat(seat), Place::Client(client_number)), body);
            }
            Effect::FlushStarted { flush } => self.begin_flush(seat, flush),
            Effect::CheckpointStarted { checkpoint } => self.begin_checkpoint(seat, checkpoint),
            Effect::Order { conn, term, order } => {
                self.with_fleet(|fleet, _, out| fleet.on_order(conn, term, order, out));
                // An order that breaks a promise ends the run before a face takes offence at it.
                if self.violation.is_none() {
                    let event = chunkservers::Event::Order { conn, order };
                    self.step_face(seat, FaceEvent::Chunkservers(event));
                }
            }
            Effect::Unseat { conn, reason } => {
                let event = chunkservers::Event::Unseat { conn, reason };
                self.step_face(seat, FaceEvent::Chunkservers(event));
            }
            Effect::Space {
                total,
                free,
                servers,
            } => {
                self.tell_mounts(seat, face::Event::Space { total, free });
                self.emit(Event::SpaceTold {
                    seat,
                    node,
                    total,
                    free,
                    servers,
                });
            }
            Effect::Notices {
                term,
                index,
                notices,
            } => self.emit(Event::Noticed {
                seat,
                node,
                term,
                index,
                notices,
            }),
            // Told in full by the entries that the node gives beside its effects.
            Effect::Applied { .. } => {}
            Effect::News { index, notices, by } => {
                self.tell_mounts(seat, face::Event::News { index, notices, by });
            }
            Effect::CopiesMoved => self.tell_mounts(seat, face::Event::CopiesMoved),
            Effect::StateReplaced { applied } => {
                self.tell_mounts(seat, face::Event::StateReplaced);
                self.note_gap(seat, applied);
            }
            // Faces here are given theirs.
            Effect::Numbered { .. } => {}
            Effect::MembersChanged { membership } => {
                let nodes = membership.voters.iter().flatten();
                let nodes = nodes.chain(&membership.learners).copied().collect();
                self.step_transport(seat, transport::Input::Listed { nodes });
            }
            Effect::RoleChanged {
                role, term, leader, ..
            } => self.emit(Event::RoleChanged {
                seat,
                node,
                role,
                term,
                leader,
            }),
            Effect::Report { message } => self.emit(Event::Report {
                seat,
                node,
                message,
            }),
            Effect::Stopped { reason } => {
                let restart = Duration::from_millis(self.state(seat).restart_ms);
                self.stop(seat, StopReason::Stopped(reason)).await;
                self.plan_in(restart, Due::Start { seat });
            }
        }
    }

    fn send_peer(&mut self, seat: Seat, from: NodeId, to: NodeId, bytes: Vec<u8>) {
        let Some(target) = self.seats.iter().find(|state| state.node == to) else {
            // Its seat belongs to another node now: the address leads nowhere.
            return;
        };
        let link = (Place::Seat(seat), Place::Seat(target.seat));
        let life = target.life;
        self.send(
            link,
            Body::Peer {
                from,
                to,
                life,
                bytes,
            },
        );
    }

    pub(crate) fn send(&mut self, link: (Place, Place), body: Body) {
        let message = MessageNumber(self.next_message);
        self.next_message += 1;
        let (from, to) = link;
        let (bytes, hash) = measure(&body);
        let from_nodes = matches!(body, Body::Peer { .. });
        self.emit(Event::Sent {
            message,
            from,
            to,
            bytes,
            hash,
        });
        match self.net.send(self.now, message, link, body) {
            Fate::Arrives(mut arrivals) => {
                // A client's connection repeats nothing: repeats come from clients themselves.
                if !from_nodes {
                    arrivals.truncate(1);
                }
                for (at, flight) in arrivals {
                    self.plan(at, Due::Arrive(flight));
                }
            }
            Fate::Held => self.coverage.reached("message held by a clog"),
            Fate::Lost(reason) => self.emit(Event::Lost {
                message,
                from,
                to,
                reason,
            }),
        }
    }

    pub(crate) fn release(&mut self, released: Vec<(SimTime, Flight<Body>)>) {
        for (at, flight) in released {
            self.plan(at, Due::Arrive(flight));
        }
    }

    fn begin_flush(&mut self, seat: Seat, flush: FlushId) {
        self.emit(Event::FlushStarted {
            seat,
            flush: flush.0,
        });
        let stalls = self.buggify.fires(Site::FlushStalls);
        let (now, options) = (self.now, self.options.disk.clone());
        let state = self.state(seat);
        let more = draw::exponential(&mut state.rng, options.flush_mean_us * 1_000);
        let mut end = state.done_at(now, options.flush_min_us * 1_000 + more);
        if stalls {
            end = end + Duration::from_millis(20);
        }
        // Flushes end in the order they began.
        let end = end.max(state.flush_end);
        state.flush_end = end;
        let (life, slow) = (state.life, state.slow > 1);
        self.plan(end, Due::FlushEnd { seat, life, flush });
        if slow {
            self.coverage.reached("disk flush slowed");
        }
    }

    fn begin_checkpoint(&mut self, seat: Seat, checkpoint: CheckpointId) {
        self.emit(Event::CheckpointStarted {
            seat,
            checkpoint: checkpoint.0,
        });
        let stalls = self.buggify.fires(Site::CheckpointStalls);
        let (now, options) = (self.now, self.options.disk.clone());
        let state = self.state(seat);
        let (low, high) = (options.checkpoint_min_ms, options.checkpoint_max_ms);
        let nanos = state
            .rng
            .between(low * 1_000_000, high.max(low) * 1_000_000);
        let mut end = state.done_at(now, nanos);
        if stalls {
            end = end + Duration::from_secs(1);
        }
        let (life, slow) = (state.life, state.slow > 1);
        let due = Due::CheckpointEnd {
            seat,
            life,
            checkpoint,
        };
        self.plan(end, due);
        if slow {
            self.coverage.reached("checkpoint slowed");
        }
    }

    /// Starts the node of a seat, unless it runs.
    pub(crate) async fn start(&mut self, seat: Seat) {
        let state = self.state(seat);
        if state.running.is_some() || state.door.machine.is_some() || self.is_left_broken(seat) {
            return;
        }
        let state = self.state(seat);
        state.life += 1;
        state.write_errors = state.disk.counts().write_errors;
        if self.streams.is_some() {
            return self.start_transport(seat);
        }
        let node = self.state(seat).node;
        let founders = u64::from(self.options.nodes);
        let bootstrap = match node.0 <= founders {
            true => (1..=founders).map(NodeId).collect(),
            false => BTreeSet::new(),
        };
        let peers = self.seats.iter().map(|state| state.node);
        let peers = peers.filter(|peer| *peer != node).collect();
        self.open(seat, bootstrap, peers).await;
    }

    /// Opens the node of a process whose transport has found it to be of a cluster.
    pub(crate) async fn open_formed(&mut self, seat: Seat, identity: &Identity) {
        if self.state(seat).running.is_none() {
            let bootstrap = identity.founding_voters().unwrap_or_default();
            let peers = identity.peers.keys().copied().collect();
            self.open(seat, bootstrap, peers).await;
        }
    }

    /// Fault points for the machines of nodes, where the run has any there.
    pub(crate) fn core_buggify(&self) -> Buggify {
        match self.options.buggify.core {
            true => self.buggify.clone(),
            false => Buggify::default(),
        }
    }

    async fn open(&mut self, seat: Seat, bootstrap: BTreeSet<NodeId>, peers: BTreeSet<NodeId>) {
        let now = self.now;
        let options = self.options.clone();
        let seed = self.seed.child("node");
        let buggify = self.core_buggify();
        let state = self.state(seat);
        let (node, life) = (state.node, state.life);
        let spec = NodeSpec {
            node,
            bootstrap,
            peers,
            life,
            options,
            buggify,
        };
        let (disk, store) = (state.disk.clone(), state.store.clone());
        let (instant, wall) = (state.clock.monotonic(now), state.clock.wall_us(now));
        let seed = seed.index(node.0).index(life.into());
        self.coverage.on_opening(seat, life);
        let opened = catch_unwind(AssertUnwindSafe(|| {
            K::open(&spec, disk, store, seed, instant, wall)
        }));
        self.note_effects(seat);
        let opened = match opened {
            Ok(Ok(opened)) => opened,
            Ok(Err(reason)) => {
                self.end_transport(seat, &StopReason::RefusedToOpen(String::new()));
                return self.on_refusal(seat, node, reason);
            }
            Err(panic) => {
                let message = task::panic_text(&*panic);
                self.end_transport(seat, &StopReason::Panicked(String::new()));
                self.emit(Event::NodeStopped {
                    seat,
                    node,
                    reason: StopReason::Panicked(message),
                });
                return;
            }
        };
        self.on_started(seat, node, life, NodeTask::spawn(node, opened))
            .await;
    }

    async fn on_started(&mut self, seat: Seat, node: NodeId, life: u32, task: NodeTask) {
        let looked = task.look().await;
        let state = self.state(seat);
        state.running = Some(task);
        state.paused = false;
        state.deadline = None;
        state.flush_end = SimTime::ZERO;
        let applied = match &looked {
            Ok(stepped) => stepped.status.applied,
            Err(_) => LogIndex(0),
        };
        state.applied = applied;
        // Its connections are new: what was on the way to or from the life before is gone.
        for other in self.places() {
            if other != Place::Seat(seat) {
                self.net.reset(Place::Seat(seat), other);
            }
        }
        self.emit(Event::NodeStarted {
            seat,
            node,
            life,
            applied,
        });
        if life > 1 {
            self.plan_in(Duration::from_micros(100), Due::Disconnect { seat });
            if self.streams.is_none() {
                self.tell_peers(seat, node, Duration::from_micros(100));
            }
        }
        self.on_stepped(seat, looked).await;
        self.step(seat, node::Event::Tick).await;
        self.maybe_admit(seat);
    }

    /// Ends the node of a seat.
    pub(crate) async fn stop(&mut self, seat: Seat, reason: StopReason) {
        let had_transport = self.end_transport(seat, &reason);
        let state = self.state(seat);
        if had_transport {
            state.paused = false;
            state.inbox.clear();
        }
        let Some(task) = state.running.take() else {
            return;
        };
        task.kill().await;
        let state = self.state(seat);
        let node = state.node;
        state.view = None;
        state.paused = false;
        state.inbox.clear();
        state.deadline = None;
        state.wakes += 1;
        state.store.crash();
        let mut summary = None;
        match &reason {
            StopReason::PowerLost => {
                let pending = state.disk.pending_count();
                let before = state.disk.counts();
                state.disk.crash(CrashFate::ANY, &mut state.rng);
                let after = state.disk.counts();
                let torn = |counts: &DiskCounts| counts.torn + counts.torn_pages;
                summary = Some(format!(
                    "of {pending} unflushed operations {} lost, {} torn",
                    after.lost - before.lost,
                    torn(&after) - torn(&before)
                ));
            }
            StopReason::DiskLost => state.disk.lose_everything(),
            _ => state.disk.kill(),
        }
        self.note_effects(seat);
        let noticed = !is_quiet(&reason);
        if noticed {
            self.with_fleet(|fleet, view, out| fleet.on_node_stopped(view.now, seat, out));
            self.with_crowd(|crowd, view, out| crowd.on_node_stopped(view.now, seat, out));
        }
        self.emit(Event::NodeStopped { seat, node, reason });
        if let Some(summary) = summary {
            self.emit(Event::DiskCrashed { seat, summary });
        }
        // The system of a process that died says so to its peers; a machine without power is just
        // silent until it is back.
        if noticed {
            self.plan_in(Duration::from_millis(1), Due::Disconnect { seat });
            if self.streams.is_none() {
                self.tell_peers(seat, node, Duration::from_millis(1));
            }
        }
    }

    /// Peers that can be reached hear that their connections with this node are gone.
    pub(crate) fn tell_peers(&mut self, seat: Seat, node: NodeId, after: Duration) {
        let others: Vec<(Seat, u32)> = self
            .seats
            .iter()
            .filter(|state| state.seat != seat && state.running.is_some())
            .map(|state| (state.seat, state.life))
            .collect();
        for (other, life) in others {
            if !self.net.is_cut((Place::Seat(seat), Place::Seat(other))) {
                let due = Due::PeerLost {
                    seat: other,
                    life,
                    peer: node,
                };
                self.plan_in(after, due);
            }
        }
    }

    /// Carries out what clients want.
    pub(crate) fn carry_out(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Tell(event) => self.emit(event),
                Action::Wake { at, timer } => self.plan(at, Due::Client(timer)),
                Action::Send {
                    client,
                    seat,
                    node,
                    connection,
                    request,
                } => {
                    self.connections.insert(connection, (client, seat));
                    let life = self.state(seat).life;
                    let body = Body::Request {
                        node,
                        life,
                        connection,
                        request,
                    };
                    self.send((Place::Client(client), Place::Seat(seat)), body);
                }
                Action::HangUp {
                    client,
                    seat,
                    connection,
                } => {
                    let state = self.state(seat);
                    let body = Body::HangUp {
                        node: state.node,
                        life: state.life,
                        connection,
                    };
                    self.send((Place::Client(client), Place::Seat(seat)), body);
                }
            }
        }
    }

    /// All places that there are.
    pub(crate) fn places(&self) -> Vec<Place> {
        let seats = self.seats.iter().map(|state| Place::Seat(state.seat));
        // The operator is the client behind the last.
        let clients = (0..=self.options.clients).map(Place::Client);
        let servers = (0..self.options.chunkservers).map(Place::Chunkserver);
        let mounts = (0..self.options.mounts).map(Place::Mount);
        seats.chain(clients).chain(servers).chain(mounts).collect()
    }

    pub(crate) fn new_node_id(&mut self) -> NodeId {
        let node = NodeId(self.next_node);
        self.next_node += 1;
        node
    }

    async fn look_at_cluster(&mut self) {
        let cluster = self.cluster().await;
        for checker in &mut self.checkers {
            if let Err(violation) = checker.on_cluster(&cluster) {
                self.violation.get_or_insert((self.now, violation));
            }
        }
    }

    async fn judge_the_end(&mut self) {
        if self.violation.is_some() {
            return;
        }
        let cluster = self.cluster().await;
        for checker in &mut self.checkers {
            let seen = checker.on_cluster(&cluster);
            if let Err(violation) = seen.and_then(|()| checker.at_end(&cluster)) {
                self.violation.get_or_insert((self.now, violation));
            }
        }
    }

    async fn cluster(&mut self) -> ClusterView {
        let mut view = ClusterView {
            now: self.now,
            phase: self.phase,
            core: self.core.clone(),
            nodes: BTreeMap::new(),
            states: BTreeMap::new(),
            logs: BTreeMap::new(),
        };
        for state in &self.seats {
            let (Some(task), Some(node)) = (&state.running, &state.view) else {
                continue;
            };
            view.nodes.insert(state.seat, node.clone());
            view.states.insert(state.seat, state.store.image());
            if let Ok(log) = task.log().await {
                view.logs.insert(state.seat, log);
            }
        }
        view
    }

    fn finish(mut self) -> Finished {
        for (site, _) in self.buggify.fired() {
            self.coverage.reached(&format!("buggify {}", site.name()));
        }
        Finished {
            simulated: self.now,
            violation: self.violation,
            coverage: self.coverage.counts().clone(),
            trace: self.trace,
        }
    }
}

/// Lets madsim's clock follow the world's. It may be a little ahead, by what its own polls took.
fn follow(now: SimTime) {
    let clock = madsim::time::TimeHandle::current();
    let behind = Duration::from_nanos(now.0).saturating_sub(clock.elapsed());
    if !behind.is_zero() {
        clock.advance(behind);
    }
}

/// Length and hash of what travels.
fn measure(body: &Body) -> (usize, u64) {
    let encoded;
    let bytes: &[u8] = match body {
        Body::Peer { bytes, .. } => bytes,
        Body::Request { request, .. } => {
            encoded = mfsha_core::codec::encode(request);
            &encoded
        }
        Body::Response { response, .. } => {
            encoded = mfsha_core::codec::encode(response);
            &encoded
        }
        Body::HangUp { .. } => b"hang up",
    };
    (bytes.len(), trace::short_hash(bytes))
}
