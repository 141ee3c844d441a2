//! The transports of the nodes in a run over streams: what production's sockets and files do for
//! them, done by the world.
//!
//! A process has a transport from its start on and a node once the transport says that it is of a
//! cluster; between the two a queue, as between the two threads of the daemon. Who talks by whole
//! messages has no transport, and nothing here happens.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use mfsha_core::id::{NodeId, WriteId};
use mfsha_core::machine::{Machine, Outbox};
use mfsha_core::node;
use mfsha_core::time::Instant;
use mfsha_core::transport::{
    Class, ConnId, DiskId, Effect, Identity, Input, Options, PeerAddress, Speaker, Start, Transport,
};

use crate::bugs;
use crate::draw;
use crate::event::{Event, LossReason, StopReason};
use crate::net::Link;
use crate::node::Kind;
use crate::place::{Place, Seat};
use crate::real;
use crate::stream::{Arrival, Break, Broken, Side, StreamId};
use crate::task;
use crate::time::SimTime;
use crate::world::{Due, Waiting, World};

/// Every node's port.
const PORT: u16 = 9430;
/// A system repeats an attempt to connect after this long.
const CONNECT_RETRY: Duration = Duration::from_millis(100);
/// A connection that ends so soon after a part of a snapshot was sent has broken under it.
const AMID_SNAPSHOT: Duration = Duration::from_millis(300);

/// What a machine room has for its transport.
#[derive(Default)]
pub struct PeerDoor {
    /// The transport of the process, when one runs.
    pub machine: Option<Transport>,
    /// What is on the disk about the node.
    pub stored: Option<Identity>,
    /// The machine has power: what comes for a process that is not there is refused.
    pub powered: bool,
    writing: Option<(WriteId, Identity)>,
    dials: BTreeSet<ConnId>,
    next_accepted: u64,
    /// The earliest wake-up that is planned.
    wake_at: Option<Instant>,
    wakes: u64,
    nonsense: u64,
    /// When a part of a snapshot was last sent to a peer, until its connection is lost.
    bulk_at: BTreeMap<NodeId, SimTime>,
    /// Peers whose connection broke under a snapshot, until they are connected again.
    broken_amid: BTreeSet<NodeId>,
}

/// What a transport tells its node.
#[derive(Debug)]
pub(crate) enum Told {
    Formed(Box<Identity>),
    Deliver { from: NodeId, message: Vec<u8> },
    PeerUp { peer: NodeId, priority: u32 },
    PeerLost { peer: NodeId },
}

impl<K: Kind> World<K> {
    /// Starts the transport of a process.
    pub(crate) fn start_transport(&mut self, seat: Seat) {
        let now = self.now;
        let options = self.options.clone();
        let founders = u64::from(options.nodes);
        let buggify = self.core_buggify();
        let state = self.state(seat);
        let (node, life) = (state.node, state.life);
        let all: Vec<PeerAddress> = (0..options.nodes)
            .filter(|other| node.0 <= founders || *other != seat.0)
            .map(|other| address(Seat(other)))
            .collect();
        let start = match node.0 <= founders {
            true => Start::Together { nodes: all },
            false => Start::Join { nodes: all },
        };
        let seed = self.seed.child("transport").index(node.0);
        let disk = DiskId(u128::from(seed.child("disk").rng().next_u64()));
        let seed = seed.index(life.into());
        let drawn = seed.child("life").rng().next_u64();
        let transport = Options {
            priority: match options.raft.priorities {
                true => real::priority(node),
                false => 0,
            },
            buggify: buggify.clone(),
            bug: bugs::named(&options.bug),
            ..Options::new(address(seat).address, drawn, start)
        };
        let state = self.state(seat);
        let instant = state.clock.monotonic(now);
        let stored = state.door.stored.clone();
        let identity = stored.unwrap_or_else(|| Identity::new(node, disk));
        let machine = Transport::new(transport, identity, seed, instant)
            .expect("options and identity are the world's own");
        state.door = PeerDoor {
            machine: Some(machine),
            stored: state.door.stored.take(),
            powered: true,
            // Numbers of connections and wake-ups are not used again by another life.
            next_accepted: state.door.next_accepted,
            wakes: state.door.wakes + 1,
            ..PeerDoor::default()
        };
        state.paused = false;
        state.inbox.clear();
        self.emit(Event::TransportStarted { seat, node, life });
        self.step_transport(seat, Input::Tick);
    }

    /// Ends the transport of a process; whether there was one.
    pub(crate) fn end_transport(&mut self, seat: Seat, reason: &StopReason) -> bool {
        let quiet = is_quiet(reason);
        let state = self.state(seat);
        let door = &mut state.door;
        door.powered &= !quiet;
        if door.machine.take().is_none() {
            return false;
        }
        door.wakes += 1;
        door.dials.clear();
        if *reason == StopReason::DiskLost {
            door.stored = None;
            door.writing = None;
        }
        // A write under way may or may not have reached the disk.
        if let Some((_, identity)) = door.writing.take()
            && state.rng.chance(1, 2)
        {
            door.stored = Some(identity);
        }
        let now = self.now;
        let (left, lost) = match &mut self.streams {
            Some(streams) => streams.crash(now, seat, quiet),
            None => return true,
        };
        self.tell_lost(lost, LossReason::Reset);
        for (stream, side) in left {
            self.plan_arrival(stream, side);
        }
        true
    }

    /// Whether every founder has stored that it is of the cluster: from then on it needs no more
    /// than a majority of disks.
    pub(crate) fn is_formed(&mut self) -> bool {
        if self.streams.is_none() || self.formed {
            return true;
        }
        let stored = |seat: &crate::seat::SeatState| {
            let stored = seat.door.stored.as_ref();
            stored.is_some_and(Identity::is_formed)
        };
        self.formed = self.seats.iter().all(stored);
        self.formed
    }

    /// Hands a transport one input, now or when its process goes on.
    pub(crate) fn step_transport(&mut self, seat: Seat, input: Input) {
        let now = self.now;
        let state = self.state(seat);
        if state.door.machine.is_none() {
            return;
        }
        if state.paused {
            if input != Input::Tick {
                state.inbox.push_back(Waiting::Transport(input));
            }
            return;
        }
        let instant = state.clock.monotonic(now);
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let state = self.state(seat);
            let Some(machine) = &mut state.door.machine else {
                return;
            };
            let mut out = Outbox::new();
            let stepped = catch_unwind(AssertUnwindSafe(|| {
                machine.step(instant, input, &mut out);
                machine.check();
            }));
            if let Err(panic) = stepped {
                // Its state is undefined now: it is never stepped again.
                state.door.machine = None;
                let (node, reason) = (state.node, StopReason::Panicked(task::panic_text(&*panic)));
                return self.emit(Event::NodeStopped { seat, node, reason });
            }
            let effects: Vec<_> = out.drain().collect();
            for effect in effects {
                self.carry_out_transport(seat, effect, &mut inputs);
            }
        }
        self.look_for_nonsense(seat);
        self.wake_transport(seat);
    }

    /// Everybody is honest here: what makes no sense to somebody was spoilt by a transport.
    fn look_for_nonsense(&mut self, seat: Seat) {
        let state = self.state(seat);
        let node = state.node;
        let door = &mut state.door;
        let count = door.machine.as_ref().map_or(0, Transport::nonsense);
        if count > door.nonsense {
            door.nonsense = count;
            self.emit(Event::Nonsense { seat, node });
        }
    }

    fn carry_out_transport(&mut self, seat: Seat, effect: Effect, inputs: &mut VecDeque<Input>) {
        let state = self.state(seat);
        let (node, life) = (state.node, state.life);
        match effect {
            Effect::Dial { conn, address, .. } => {
                state.door.dials.insert(conn);
                let to = seat_of(address.as_str());
                let link = (Place::Seat(seat), Place::Seat(to));
                let (there, back) = {
                    let seed = self.seed.child("dial").index(seat.0.into());
                    let number = self.next_message;
                    self.next_message += 1;
                    let mut rng = seed.index(number).rng();
                    let there = self.net.travel(link, &mut rng);
                    (there, self.net.travel((link.1, link.0), &mut rng))
                };
                let due = Due::DialEnds {
                    seat,
                    life,
                    conn,
                    to,
                };
                self.plan_in(there + back, due);
            }
            Effect::Write { conn, bytes } => {
                let Some(streams) = &mut self.streams else {
                    return;
                };
                if let Some((stream, side)) = streams.find(seat, conn) {
                    streams.write(stream, side, &bytes);
                    let taken = self.let_system_take(stream, side);
                    if taken > 0 {
                        inputs.push_back(Input::Sent { conn, bytes: taken });
                    }
                }
            }
            Effect::Close { conn, reason } => {
                state.door.dials.remove(&conn);
                let Some(streams) = &mut self.streams else {
                    return;
                };
                if let Some((stream, side)) = streams.find(seat, conn) {
                    streams.close(stream, side);
                    self.let_system_take(stream, side);
                    self.emit(Event::StreamClosed {
                        stream,
                        seat,
                        reason,
                    });
                }
            }
            Effect::Deliver { from, message } => {
                self.emit(Event::Received {
                    seat,
                    node,
                    from,
                    bytes: message.len(),
                    hash: crate::trace::short_hash(&message),
                });
                self.tell(seat, Told::Deliver { from, message });
            }
            Effect::PeerPlaced { .. } => {
                unreachable!("nobody in the world is placed otherwise than at its start")
            }
            Effect::PeerUp { peer, priority } => {
                self.tell(seat, Told::PeerUp { peer, priority });
            }
            Effect::PeerLost { peer } => self.tell(seat, Told::PeerLost { peer }),
            Effect::Formed { identity } => {
                self.tell(seat, Told::Formed(Box::new(identity)));
            }
            Effect::PersistIdentity { write, identity } => {
                state.door.writing = Some((write, identity));
                let disk = &self.options.disk;
                let (least, mean) = (disk.flush_min_us * 1_000, disk.flush_mean_us * 1_000);
                let now = self.now;
                let state = self.state(seat);
                let more = draw::exponential(&mut state.rng, mean);
                let end = state.done_at(now, least + more);
                let due = Due::IdentityStored { seat, life, write };
                self.plan(end, due);
            }
            Effect::AddressesChanged { .. } => {}
            Effect::Refused { by, refusal } => {
                let message = format!("{by} refuses: {refusal}");
                self.emit(Event::Report {
                    seat,
                    node,
                    message,
                });
            }
            Effect::Report { message } => self.emit(Event::Report {
                seat,
                node,
                message,
            }),
        }
    }

    fn tell(&mut self, seat: Seat, told: Told) {
        let life = self.state(seat).life;
        self.plan(self.now, Due::Told { seat, life, told });
    }

    /// What a transport told its node, or would have.
    pub(crate) async fn on_told(&mut self, seat: Seat, life: u32, told: Told) {
        let state = self.state(seat);
        if state.life != life || state.door.machine.is_none() {
            return;
        }
        if state.paused {
            state.inbox.push_back(Waiting::Told(told));
            return;
        }
        match told {
            Told::Formed(identity) => self.open_formed(seat, &identity).await,
            Told::Deliver { from, message } => {
                self.step(seat, node::Event::Message { from, message })
                    .await;
            }
            Told::PeerUp { peer, priority } => {
                let amid_snapshot = self.state(seat).door.broken_amid.remove(&peer);
                self.emit(Event::PeerUp {
                    seat,
                    peer,
                    amid_snapshot,
                });
                self.step(seat, node::Event::PeerUp { peer, priority })
                    .await;
            }
            Told::PeerLost { peer } => {
                let now = self.now;
                let door = &mut self.state(seat).door;
                let sent = door.bulk_at.remove(&peer);
                if sent.is_some_and(|sent| now.since(sent) < AMID_SNAPSHOT) {
                    door.broken_amid.insert(peer);
                }
                self.emit(Event::PeerLost { seat, peer });
                self.step(seat, node::Event::PeerLost { peer }).await;
            }
        }
    }

    /// The node wants a message sent.
    pub(crate) fn send_by_transport(
        &mut self,
        seat: Seat,
        to: NodeId,
        class: Class,
        message: Vec<u8>,
    ) {
        let now = self.now;
        let state = self.state(seat);
        let node = state.node;
        if class == Class::Bulk {
            state.door.bulk_at.insert(to, now);
        }
        self.emit(Event::Handed {
            seat,
            node,
            to,
            bulk: class == Class::Bulk,
            bytes: message.len(),
            hash: crate::trace::short_hash(&message),
        });
        self.step_transport(seat, Input::Send { to, class, message });
    }

    /// A write of an identity has ended.
    pub(crate) fn on_identity_stored(&mut self, seat: Seat, life: u32, write: WriteId) {
        let state = self.state(seat);
        if state.life != life || state.door.machine.is_none() {
            return;
        }
        let Some((number, identity)) = state.door.writing.take() else {
            return;
        };
        assert_eq!(number, write, "one write is under way at a time");
        let full = state.disk.is_full();
        let result = match full {
            true => Err("no space left on the disk".to_owned()),
            false => Ok(()),
        };
        let formed = identity.is_formed();
        if !full {
            state.door.stored = Some(identity);
        }
        self.emit(Event::IdentityStored {
            seat,
            ok: !full,
            formed,
        });
        self.step_transport(seat, Input::Persisted { write, result });
    }

    /// An attempt to connect comes to something, or is repeated by the system.
    pub(crate) fn on_dial_ends(&mut self, seat: Seat, life: u32, conn: ConnId, to: Seat) {
        let target = self.state(to);
        let (powered, listens) = (target.door.powered, target.door.machine.is_some());
        let state = self.state(seat);
        if state.life != life || !state.door.dials.contains(&conn) {
            return;
        }
        let link = (Place::Seat(seat), Place::Seat(to));
        let passes = !self.net.is_blocked(link) && !self.net.is_blocked((link.1, link.0));
        if !passes || !powered {
            let due = Due::DialEnds {
                seat,
                life,
                conn,
                to,
            };
            return self.plan_in(CONNECT_RETRY, due);
        }
        self.state(seat).door.dials.remove(&conn);
        if !listens {
            let reason = "connection refused".to_owned();
            return self.step_transport(seat, Input::DialFailed { conn, reason });
        }
        let streams = self.streams.as_mut().expect("dials are for streams");
        let stream = streams.open(seat, conn, to);
        self.emit(Event::StreamOpened {
            stream,
            from: seat,
            to,
        });
        let speaker = Speaker::Anyone;
        self.step_transport(seat, Input::Dialed { conn, speaker });
    }

    /// The next piece of one direction of a stream is due.
    pub(crate) fn on_piece(&mut self, stream: StreamId, writer: Side) {
        let Some(streams) = &self.streams else { return };
        let Some(link) = streams.link(stream, writer) else {
            return;
        };
        let (from, to) = link;
        let to_seat = to.seat().expect("streams join seats");
        let powered = self.state(to_seat).door.powered;
        let passes = powered && !self.net.is_blocked(link);
        let now = self.now;
        let corrupt_ppm = self.net.corrupt_ppm();
        let streams = self.streams.as_mut().expect("it was there");
        match streams.arrive(now, stream, writer, passes, corrupt_ppm) {
            None => return,
            Some(Arrival::Later(at)) => {
                return self.plan(at, Due::Piece { stream, writer });
            }
            Some(Arrival::Bytes {
                message,
                bytes,
                flipped,
                breaks,
            }) => {
                self.emit(Event::Delivered { message, from, to });
                if flipped.is_some() {
                    let seat = to_seat;
                    self.emit(Event::Corrupted {
                        message,
                        from,
                        seat,
                    });
                }
                self.let_system_take_and_say(stream, writer);
                if !bytes.is_empty() {
                    self.hear(stream, writer.other(), bytes);
                }
                if breaks {
                    return self.break_stream(stream);
                }
            }
            Some(Arrival::Refused { message }) => {
                self.emit(Event::Lost {
                    message,
                    from,
                    to,
                    reason: LossReason::Down,
                });
                let back = (to, from);
                if !self.net.is_blocked(back) {
                    let side = writer;
                    let due = Due::StreamRefused { stream, side };
                    self.plan_in(Duration::from_micros(100), due);
                }
                return;
            }
            Some(Arrival::End) => {
                self.lose_stream(stream, writer.other(), Break::Ended);
                return;
            }
        }
        self.plan_arrival(stream, writer);
    }

    /// A system that knows nothing of a stream has said so.
    pub(crate) fn on_stream_refused(&mut self, stream: StreamId, side: Side) {
        self.lose_stream(stream, side, Break::Reset);
    }

    /// Bytes have come to one side.
    fn hear(&mut self, stream: StreamId, side: Side, bytes: Vec<u8>) {
        let Some(streams) = &mut self.streams else {
            return;
        };
        match streams.end(stream, side) {
            None => {}
            Some((seat, Some(conn))) => self.step_transport(seat, Input::Bytes { conn, bytes }),
            Some((seat, None)) => {
                let Some(bytes) = streams.first_record(stream, &bytes) else {
                    return;
                };
                let door = &mut self.state(seat).door;
                let conn = ConnId::Accepted(door.next_accepted);
                door.next_accepted += 1;
                if let Some(streams) = &mut self.streams {
                    streams.accept(stream, conn);
                }
                let speaker = Speaker::Anyone;
                let accepted = Input::Accepted {
                    conn,
                    bytes,
                    speaker,
                };
                self.step_transport(seat, accepted);
            }
        }
    }

    /// The streams between two seats break: now, or within what is sent next.
    pub(crate) fn reset_streams(&mut self, a: Seat, b: Seat) {
        let Some(streams) = &mut self.streams else {
            return;
        };
        let all = streams.between(a, b);
        for stream in all {
            // What flies is torn somewhere; where nothing does, the next things that are said are.
            if let Some(streams) = &mut self.streams {
                streams.doom(stream, 400);
            }
        }
    }

    fn break_stream(&mut self, stream: StreamId) {
        let Some(streams) = &mut self.streams else {
            return;
        };
        let (lost, broken) = streams.reset(stream);
        self.tell_lost(lost, LossReason::Reset);
        for broken in broken {
            self.on_broken(stream, broken, Break::Reset);
        }
    }

    fn lose_stream(&mut self, stream: StreamId, side: Side, how: Break) {
        let Some(streams) = &mut self.streams else {
            return;
        };
        if let Some(broken) = streams.lose(stream, side) {
            self.on_broken(stream, broken, how);
        }
    }

    fn on_broken(&mut self, stream: StreamId, broken: Broken, how: Break) {
        let Broken {
            seat,
            conn,
            torn_bytes,
        } = broken;
        self.emit(Event::StreamBroken {
            stream,
            seat,
            how,
            torn_bytes,
        });
        let reason = match how {
            Break::Reset => "connection reset by peer",
            Break::Ended => "the other side has ended the connection",
        };
        if let Some(conn) = conn {
            let reason = reason.to_owned();
            self.step_transport(seat, Input::Closed { conn, reason });
        }
    }

    fn tell_lost(&mut self, lost: Vec<(crate::event::MessageNumber, Link)>, reason: LossReason) {
        for (message, (from, to)) in lost {
            self.emit(Event::Lost {
                message,
                from,
                to,
                reason,
            });
        }
    }

    /// The system takes what it has room for, and the writer is told.
    fn let_system_take_and_say(&mut self, stream: StreamId, writer: Side) {
        let taken = self.let_system_take(stream, writer);
        let end = self
            .streams
            .as_ref()
            .and_then(|all| all.end(stream, writer));
        if let (1.., Some((seat, Some(conn)))) = (taken, end) {
            self.step_transport(seat, Input::Sent { conn, bytes: taken });
        }
    }

    fn let_system_take(&mut self, stream: StreamId, writer: Side) -> usize {
        let Some(streams) = &mut self.streams else {
            return 0;
        };
        let Some((from, to)) = streams.link(stream, writer) else {
            return 0;
        };
        let next = &mut self.next_message;
        let (taken, begun) = streams.take(self.now, &self.net, stream, writer, next);
        for (message, bytes, hash) in begun {
            self.emit(Event::Sent {
                message,
                from,
                to,
                bytes,
                hash,
            });
        }
        self.plan_arrival(stream, writer);
        taken
    }

    fn plan_arrival(&mut self, stream: StreamId, writer: Side) {
        let at = self
            .streams
            .as_mut()
            .and_then(|all| all.plan(stream, writer));
        if let Some(at) = at {
            self.plan(at.max(self.now), Due::Piece { stream, writer });
        }
    }

    /// A wake-up of a transport is due, or was before its deadline moved.
    pub(crate) fn on_transport_wake(&mut self, seat: Seat, wakes: u64) {
        let now = self.now;
        let state = self.state(seat);
        if state.door.wakes != wakes {
            return;
        }
        state.door.wake_at = None;
        let deadline = state.door.machine.as_ref().and_then(Machine::deadline);
        if deadline.is_some_and(|deadline| deadline <= state.clock.monotonic(now)) {
            self.step_transport(seat, Input::Tick);
        } else {
            self.wake_transport(seat);
        }
    }

    /// Plans a wake-up, unless one is planned that is early enough: deadlines mostly move away.
    fn wake_transport(&mut self, seat: Seat) {
        let state = self.state(seat);
        let Some(deadline) = state.door.machine.as_ref().and_then(Machine::deadline) else {
            return;
        };
        if state.paused || state.door.wake_at.is_some_and(|at| at <= deadline) {
            return;
        }
        self.rearm_transport(seat, deadline);
    }

    fn rearm_transport(&mut self, seat: Seat, deadline: Instant) {
        let now = self.now;
        let state = self.state(seat);
        state.door.wakes += 1;
        state.door.wake_at = Some(deadline);
        let wakes = state.door.wakes;
        if let Some(when) = state.clock.when(now, deadline) {
            let when = when.max(now + Duration::from_nanos(1));
            self.plan(when, Due::TransportWake { seat, wakes });
        }
    }

    /// The clock of a seat has changed: its transport is woken when that clock says so.
    pub(crate) fn rearm_transport_clock(&mut self, seat: Seat) {
        let door = &self.state(seat).door;
        if let Some(deadline) = door.machine.as_ref().and_then(Machine::deadline) {
            self.rearm_transport(seat, deadline);
        }
    }
}

/// Whether a machine that stops like this tells nobody.
pub(crate) fn is_quiet(reason: &StopReason) -> bool {
    matches!(reason, StopReason::PowerLost | StopReason::DiskLost)
}

fn address(seat: Seat) -> PeerAddress {
    let text = format!("{seat}:{PORT}");
    text.parse().expect("a name and a port")
}

fn seat_of(address: &str) -> Seat {
    let number = address
        .strip_prefix("seat")
        .and_then(|rest| rest.split(':').next())
        .and_then(|number| number.parse().ok());
    Seat(number.expect("all addresses are seats"))
}
