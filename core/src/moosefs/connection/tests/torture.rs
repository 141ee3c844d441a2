//! Thousands of peers of all kinds on one clock, judged by what each of them must see.
//!
//! The model is naive: the packets that a peer sends, in order, are what the owner gets; what the
//! owner says, in order, is what a peer reads, signs of life left out; and each kind of peer has
//! one end, at one instant.

use std::collections::{BTreeSet, VecDeque};

use super::super::*;
use super::packet;
use crate::machine::{Machine, Outbox};
use crate::moosefs::frame::PacketReader;
use crate::rng::{Rng, Seed};
use crate::time::Instant;

const MS: Duration = Duration::from_millis(1);
/// Nobody asks for anything from here on but who is deaf, and who was slow is not any more.
const QUIET: Instant = Instant(15_000_000_000);
const END: Instant = Instant(40_000_000_000);

/// What is wrong with a peer, from `bad_at` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    /// Nothing.
    None,
    /// It reads a little at a time.
    Slow,
    /// It speaks and reads no more, and nobody is told: half open.
    Gone,
    /// It speaks and reads nothing.
    Deaf,
    /// It ends the connection.
    Ends,
    /// It sends a packet that is too long.
    Babbles,
}

const FAULTS: [Fault; 6] = [
    Fault::None,
    Fault::Slow,
    Fault::Gone,
    Fault::Deaf,
    Fault::Ends,
    Fault::Babbles,
];

/// One connection with all that is around it.
struct World {
    rng: Rng,
    connection: Connection,
    options: Options,
    fault: Fault,
    bad_at: Instant,
    now: Instant,

    /// Bytes that the peer has sent and the driver has not read.
    incoming: VecDeque<u8>,
    /// Bytes that were handed over, and those of them in the socket.
    handed: VecDeque<u8>,
    socket: VecDeque<u8>,
    socket_bytes_max: usize,
    reading: bool,
    closed: Option<(Instant, Closed)>,

    /// Payloads that the peer has sent and the owner has to get.
    sent: VecDeque<Vec<u8>>,
    send_at: Instant,
    /// What comes at the peer, and what has to.
    reader: PacketReader,
    expected: VecDeque<Vec<u8>>,
    read_at: Instant,
    /// When the peer got the last bytes.
    got_at: Instant,
    /// When the driver read the last bytes, or began to.
    heard_at: Instant,
    /// When the driver got rid of bytes last, or got some while it had none.
    taken_at: Instant,

    /// What the owner has, and when it will be done with it.
    open: Vec<(Instant, RequestNo)>,
    /// Parts of a reply that the owner still has to give, by request.
    parts: Vec<(RequestNo, VecDeque<u8>)>,
    part_at: Option<(Instant, RequestNo)>,
    push_at: Instant,
    registers: Option<RequestNo>,
}

impl World {
    fn new(seed: &Seed) -> Self {
        let mut rng = seed.rng();
        let chunkserver = rng.chance(1, 3);
        let mut options = if chunkserver {
            Options::chunkserver()
        } else {
            Options::client()
        };
        options.requests_max = rng.between(1, 8) as usize;
        options.request_bytes_max = rng.between(10, 5_000) as usize;
        options.output_bytes_max = rng.between(100, 5_000) as usize;
        options.handed_bytes_max = rng.between(10, 1_000) as usize;
        options.output_bytes_limit = 1 << 20;
        options.payload_bytes_max = 3_000;
        let fault = *rng.pick(&FAULTS);
        let zero = Instant::ZERO;
        let (kind, length) = if chunkserver { (100, 55) } else { (400, 88) };
        let mut payload = vec![0; length];
        rng.fill(&mut payload);
        Self {
            connection: Connection::new(options.clone(), zero),
            options,
            fault,
            bad_at: zero + MS * rng.between(2_000, 8_000) as u32,
            now: zero,
            incoming: packet(kind, &payload).into(),
            handed: VecDeque::new(),
            socket: VecDeque::new(),
            socket_bytes_max: rng.between(20, 1_500) as usize,
            reading: true,
            closed: None,
            sent: [payload].into(),
            send_at: zero + MS,
            reader: PacketReader::new(1 << 20),
            expected: VecDeque::new(),
            read_at: zero,
            got_at: zero,
            heard_at: zero,
            taken_at: zero,
            open: Vec::new(),
            parts: Vec::new(),
            part_at: None,
            push_at: zero + MS * 3_000,
            registers: None,
            rng,
        }
    }

    fn is_bad(&self) -> bool {
        self.fault != Fault::None && self.now >= self.bad_at
    }

    /// Whether there is more to ask and to say.
    fn is_busy(&self) -> bool {
        self.now < QUIET || self.fault == Fault::Deaf
    }

    fn reads(&self) -> bool {
        !(self.is_bad() && matches!(self.fault, Fault::Gone | Fault::Deaf))
    }

    /// When something happens next.
    fn next_at(&self) -> Instant {
        let mut next = self.connection.deadline().unwrap_or(END);
        next = next.min(self.send_at).min(self.push_at);
        if self.reads() && !self.socket.is_empty() {
            next = next.min(self.read_at);
        }
        let due = self.open.iter().map(|(at, _)| *at);
        let part = self.part_at.map(|(at, _)| at);
        next = due.chain(part).fold(next, Instant::min);
        next.max(self.now)
    }

    fn step(&mut self, input: Input) {
        let mut out = Outbox::new();
        self.connection.step(self.now, input, &mut out);
        self.connection.check();
        for effect in out.drain() {
            assert!(self.closed.is_none(), "nothing follows a close");
            self.on_effect(effect);
        }
    }

    fn on_effect(&mut self, effect: Effect) {
        match effect {
            Effect::Packet { request, packet } => {
                let sent = self.sent.pop_front().expect("nobody said that");
                assert_eq!(packet.payload, sent, "packets come in order, as sent");
                let after = MS * self.rng.between(0, 400) as u32;
                self.open.push((self.now + after, request));
                if !self.connection.is_registered() {
                    self.registers = Some(request);
                }
                assert!(self.open.len() <= self.options.requests_max);
            }
            Effect::PartWanted {
                request,
                bytes_left,
            } => {
                let parts = self.parts.iter().find(|(number, _)| *number == request);
                assert_eq!(parts.expect("of this reply").1.len() as u64, bytes_left);
                let after = MS * self.rng.between(0, 300) as u32;
                self.part_at = Some((self.now + after, request));
            }
            Effect::Write { bytes } => {
                if self.handed.is_empty() {
                    self.taken_at = self.now;
                }
                self.handed.extend(bytes);
                assert!(self.handed.len() <= self.options.handed_bytes_max);
            }
            Effect::Reading { on } => {
                assert_ne!(self.reading, on, "news");
                self.reading = on;
                self.heard_at = self.now;
            }
            Effect::Close { reason } => self.closed = Some((self.now, reason)),
        }
    }

    /// Everything that happens at this instant.
    fn turn(&mut self, now: Instant) {
        self.now = now;
        if self.send_at <= now {
            self.send();
        }
        if self.push_at <= now {
            self.push_at = now + MS * self.rng.between(100, 4_000) as u32;
            if self.connection.is_registered() && self.is_busy() {
                let packet = self.words(703, 60);
                self.expected.push_back(packet.clone());
                let standing = Standing::Same;
                self.step(Input::Push { packet, standing });
            }
        }
        loop {
            self.answer();
            let read = self.read_incoming();
            let written = self.fill_socket();
            let got = self.read_socket();
            let due = self.open.iter().any(|(at, _)| *at <= now);
            if self.closed.is_some() || !(read || written || got || due) {
                break;
            }
        }
        if self.closed.is_none() && self.connection.deadline().is_some_and(|at| at <= now) {
            self.step(Input::Tick);
        }
    }

    /// A packet of random bytes.
    fn words(&mut self, kind: u32, bytes_max: u64) -> Vec<u8> {
        let mut payload = vec![0; self.rng.below(bytes_max) as usize];
        self.rng.fill(&mut payload);
        packet(kind, &payload)
    }

    /// The peer says something: signs of life often enough, requests when it likes.
    fn send(&mut self) {
        let bad = self.is_bad();
        self.send_at = self.now + MS * self.rng.between(1, 2_000) as u32;
        match self.fault {
            Fault::Gone if bad => {
                self.send_at = END;
                return;
            }
            Fault::Ends if bad => {
                let reason = "reset".into();
                return self.step(Input::Ended { reason });
            }
            Fault::Babbles if bad => {
                let long = self.options.payload_bytes_max + 1;
                self.incoming.extend(408_u32.to_be_bytes());
                self.incoming.extend(long.to_be_bytes());
                self.send_at = END;
                return;
            }
            _ => {}
        }
        let nop = match self.options.side {
            Side::Client => packet(0, &[0; 4]),
            Side::Chunkserver => packet(0, &[]),
        };
        self.incoming.extend(nop);
        if !self.connection.is_registered() || !self.is_busy() {
            return;
        }
        for _ in 0..self.rng.below(6) {
            let kind = self.rng.between(402, 440) as u32;
            let packet = self.words(kind, 1_000);
            self.sent.push_back(packet[8..].to_vec());
            self.incoming.extend(packet);
        }
    }

    /// The driver reads some of what came, cut anywhere.
    fn read_incoming(&mut self) -> bool {
        if !self.reading || self.incoming.is_empty() || self.closed.is_some() {
            return false;
        }
        let count = self.rng.between(1, self.incoming.len() as u64) as usize;
        let bytes = self.incoming.drain(..count).collect();
        self.heard_at = self.now;
        self.step(Input::Bytes(bytes));
        true
    }

    fn fill_socket(&mut self) -> bool {
        let room = self.socket_bytes_max - self.socket.len();
        let bytes = room.min(self.handed.len());
        if bytes == 0 || self.closed.is_some() {
            return false;
        }
        self.socket.extend(self.handed.drain(..bytes));
        self.taken_at = self.now;
        self.step(Input::Written { bytes });
        true
    }

    /// The peer reads, and gets what the owner said.
    fn read_socket(&mut self) -> bool {
        if !self.reads() || self.socket.is_empty() || self.read_at > self.now {
            return false;
        }
        let slow = self.is_bad() && self.fault == Fault::Slow && self.now < QUIET;
        let count = if slow {
            self.read_at = self.now + MS * 50;
            self.socket.len().min(200)
        } else {
            self.socket.len()
        };
        let bytes: Vec<u8> = self.socket.drain(..count).collect();
        self.got_at = self.now;
        self.reader.push(&bytes);
        while let Some(found) = self.reader.next_packet().expect("sound") {
            let found = packet(found.kind, &found.payload);
            if found[..4] != [0; 4] {
                let expected = self.expected.pop_front();
                assert_eq!(Some(found), expected, "what was said, in order");
                continue;
            }
            let sign = self.options.side.sign_of_life();
            assert_eq!(found, sign, "a sign of life");
            let early = self.options.side == Side::Chunkserver && !self.connection.is_registered();
            assert!(!early, "a chunkserver is told nothing before its answer");
        }
        true
    }

    /// The owner is done with what is due, in an order of its own.
    fn answer(&mut self) {
        if let Some((_, request)) = self.part_at.filter(|(at, _)| *at <= self.now) {
            self.part_at = None;
            self.give_part(request);
        }
        while let Some(at) = self.open.iter().position(|(at, _)| *at <= self.now) {
            if self.closed.is_some() {
                return;
            }
            let (_, request) = self.open.swap_remove(at);
            let mut standing = Standing::Same;
            if self.registers.take_if(|first| *first == request).is_some() {
                let silence_max = None;
                standing = Standing::Registered { silence_max };
            }
            let bytes_max = if self.rng.chance(1, 20) { 20_000 } else { 300 };
            let packet = self.words(409, bytes_max);
            let reply = match self.rng.below(8) {
                0 if standing == Standing::Same => Reply::None,
                1 => {
                    self.expected.push_back(packet.clone());
                    let packet_bytes = packet.len() as u64;
                    self.parts.push((request, packet.into()));
                    Reply::InParts { packet_bytes }
                }
                _ => {
                    self.expected.push_back(packet.clone());
                    Reply::Packet(packet)
                }
            };
            self.step(Input::Done {
                request,
                reply,
                standing,
            });
        }
    }

    fn give_part(&mut self, request: RequestNo) {
        if self.closed.is_some() {
            return;
        }
        let at = self.parts.iter().position(|(number, _)| *number == request);
        let at = at.expect("parts that were asked for");
        let left = self.parts[at].1.len();
        let count = self.rng.between(1, left as u64) as usize;
        let bytes = self.parts[at].1.drain(..count).collect();
        if count == left {
            self.parts.swap_remove(at);
        }
        self.step(Input::Part { request, bytes });
    }

    /// What has to be true between events, and how it may end.
    fn judge(&self) {
        let promptly = self.reads() && !(self.is_bad() && self.fault == Fault::Slow);
        let alive = promptly && self.closed.is_none() && self.connection.is_registered();
        if alive {
            // The owner takes up to 0.3 s for the next part of a reply.
            let gap = self.now.since(self.got_at);
            let interval = self.options.alive_interval + MS * 300;
            assert!(gap <= interval, "nothing for {gap:?}");
        }
        let Some((at, reason)) = &self.closed else {
            return;
        };
        match (self.fault, reason) {
            (Fault::Gone, Closed::Silent(after)) => {
                assert_eq!(*at, self.heard_at + *after, "silence ends in time");
            }
            (Fault::Gone | Fault::Deaf, Closed::NotReading(after)) => {
                assert_eq!(*at, self.taken_at + *after, "patience ends in time");
            }
            (Fault::Ends, Closed::Ended(_)) | (Fault::Babbles, Closed::TooLong(_)) => {}
            other => panic!("{other:?} at {at:?}"),
        }
        assert!(self.is_bad(), "only who goes wrong is closed");
    }

    /// After the last event: who did well got everything.
    fn judge_end(&self) {
        let fault = self.fault;
        match fault {
            Fault::None | Fault::Slow => assert!(self.closed.is_none(), "{fault:?}"),
            _ => assert!(self.closed.is_some(), "{fault:?} is noticed"),
        }
        if self.closed.is_none() {
            assert_eq!(self.sent.len(), 0, "all that was sent has come");
            assert_eq!(self.expected.len(), 0, "all that was said has come");
            assert_eq!(self.open.len(), 0, "nothing is left to do");
            assert!(self.reading, "so there is room for more");
        }
    }
}

/// Runs so many connections on one clock; gives what they ended by.
fn run(seed: u64, count: u64) -> BTreeSet<(Fault, &'static str)> {
    let seed = Seed::from_u64(seed);
    let mut worlds: Vec<World> = (0..count).map(|n| World::new(&seed.index(n))).collect();
    let mut queue: BTreeSet<(Instant, usize)> = (0..worlds.len())
        .map(|number| (Instant::ZERO, number))
        .collect();
    while let Some((now, number)) = queue.pop_first() {
        let world = &mut worlds[number];
        world.turn(now);
        world.judge();
        let next = world.next_at();
        if world.closed.is_none() && next < END {
            queue.insert((next, number));
        }
    }
    let end = |world: &World| {
        world.judge_end();
        let end = match &world.closed {
            None => "open",
            Some((_, Closed::Silent(_))) => "silent",
            Some((_, Closed::NotReading(_))) => "not reading",
            Some((_, Closed::Ended(_))) => "ended",
            Some((_, Closed::TooLong(_))) => "too long",
            Some((_, other)) => panic!("{other}"),
        };
        (world.fault, end)
    };
    worlds.iter().map(end).collect()
}

#[test]
fn thousands_of_peers_get_what_they_must_whatever_the_others_do() {
    let ends = run(1, 2_000);
    let reached = [
        (Fault::None, "open"),
        (Fault::Slow, "open"),
        (Fault::Gone, "silent"),
        (Fault::Gone, "not reading"),
        (Fault::Deaf, "not reading"),
        (Fault::Ends, "ended"),
        (Fault::Babbles, "too long"),
    ];
    assert_eq!(ends, reached.into());
}

#[test]
fn no_seed_breaks_a_promise() {
    for seed in 2..40 {
        run(seed, 20);
    }
}
