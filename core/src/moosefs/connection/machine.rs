//! The machine itself: what may be read, what is said, and when it is over.

use std::collections::BTreeMap;

use super::options::Options;
use super::output::Output;
use super::{Closed, Effect, Input, Reply, RequestNo, Standing};
use crate::machine::{Machine, Outbox};
use crate::moosefs::frame::{HEADER_BYTES, Packet, PacketReader};
use crate::time::{Duration, Instant};

/// A step that comes this much after the deadline says that this process itself was paused.
const LATENESS_MAX: Duration = Duration::from_secs(1);

/// Signs of life, which are for nobody but this machine, and complaints.
const NOP: u32 = 0;
const UNKNOWN_COMMAND: u32 = 1;
const BAD_COMMAND_SIZE: u32 = 2;

/// How far the other side has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It has not registered.
    Unregistered,
    /// It has asked to, and is told to wait.
    Waiting,
    /// It is registered.
    Registered,
    /// Nothing is heard any more; the last bytes are written.
    Finishing,
    /// The driver was told to close.
    Closed,
}

/// One accepted connection; see the module's documentation.
#[derive(Debug)]
pub struct Connection {
    options: Options,
    now: Instant,
    stage: Stage,
    reader: PacketReader,
    /// Bytes of each packet that the owner has, header included.
    requests: BTreeMap<RequestNo, usize>,
    /// The sum of these.
    request_bytes: usize,
    last_request: RequestNo,
    output: Output,
    /// Too much waits to be written: nothing is read until half of it is.
    choked: bool,
    /// Whether the driver reads.
    reading: bool,
    /// When bytes came last, or reading went on.
    heard_at: Instant,
    /// When an unregistered peer asked for something last, or was answered.
    asked_at: Instant,
    /// When bytes were reported as written last, or handed over to a driver that held none.
    taken_at: Instant,
    /// When [`Input::Finish`] came.
    finishing_at: Instant,
}

impl Connection {
    /// A connection that was just accepted.
    ///
    /// # Panics
    /// When a bound in `options` leaves no room for anything.
    #[must_use]
    pub fn new(options: Options, now: Instant) -> Self {
        options.check();
        Self {
            reader: PacketReader::new(options.payload_bytes_max_unregistered),
            options,
            now,
            stage: Stage::Unregistered,
            requests: BTreeMap::new(),
            request_bytes: 0,
            last_request: RequestNo(0),
            output: Output::default(),
            choked: false,
            reading: true,
            heard_at: now,
            asked_at: now,
            taken_at: now,
            finishing_at: now,
        }
    }

    /// Whether the other side is registered.
    #[must_use]
    pub fn is_registered(&self) -> bool {
        self.stage == Stage::Registered
    }

    /// Packets that the owner has and is not done with.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.requests.len()
    }

    /// Bytes that are held: what came and was not handed to the owner, and what was said and is
    /// not in the socket.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.reader.waiting_bytes() + self.output.held_bytes()
    }

    fn hears(&self) -> bool {
        use Stage::{Registered, Unregistered, Waiting};
        matches!(self.stage, Unregistered | Waiting | Registered)
    }

    /// Whether the owner may get another packet now. Before a registration it has one at a time:
    /// what follows depends on what it does with that one.
    fn may_hand_over(&self) -> bool {
        let requests_max = match self.stage {
            Stage::Registered => self.options.requests_max,
            _ => 1,
        };
        self.hears()
            && !self.choked
            && self.requests.len() < requests_max
            && self.request_bytes < self.options.request_bytes_max
    }

    fn on_bytes(&mut self, bytes: &[u8]) {
        if self.hears() {
            self.heard_at = self.now;
            self.reader.push(bytes);
        }
    }

    fn on_written(&mut self, bytes: usize) {
        self.output.on_written(bytes);
        if bytes > 0 {
            self.taken_at = self.now;
        }
    }

    fn on_done(&mut self, request: RequestNo, reply: Reply) {
        let bytes = self.requests.remove(&request);
        self.request_bytes -= bytes.expect("the owner finishes what it has, once");
        self.asked_at = self.now;
        match reply {
            Reply::None => {}
            Reply::Packet(packet) => self.output.push(packet),
            Reply::InParts { packet_bytes } => self.output.push_in_parts(request, packet_bytes),
        }
    }

    fn on_standing(&mut self, standing: Standing) {
        match standing {
            Standing::Same => {}
            Standing::Waiting { silence_max } => self.become_waiting(silence_max),
            Standing::Registered { silence_max } => self.become_registered(silence_max),
        }
    }

    fn become_waiting(&mut self, silence_max: Option<Duration>) {
        assert_ne!(self.stage, Stage::Registered, "who is registered stays so");
        if self.stage == Stage::Unregistered {
            self.stage = Stage::Waiting;
            self.options.agree_on(silence_max);
            self.heard_at = self.now;
        }
    }

    fn become_registered(&mut self, silence_max: Option<Duration>) {
        if self.hears() {
            self.stage = Stage::Registered;
            self.options.agree_on(silence_max);
            self.heard_at = self.now;
            let longest = self.options.payload_bytes_max;
            self.reader.set_payload_bytes_max(longest);
        }
    }

    fn become_finishing(&mut self) {
        if self.hears() {
            self.stage = Stage::Finishing;
            self.finishing_at = self.now;
            self.forget_input();
        }
    }

    /// The only way to the end.
    fn close(&mut self, reason: Closed, out: &mut Outbox<Effect>) {
        self.stage = Stage::Closed;
        self.forget_input();
        self.output = Output::default();
        self.requests.clear();
        self.request_bytes = 0;
        out.push(Effect::Close { reason });
    }

    fn forget_input(&mut self) {
        self.reader = PacketReader::new(0);
    }

    /// Hands packets to the owner while it may have more.
    fn hand_over(&mut self, out: &mut Outbox<Effect>) {
        while self.may_hand_over() {
            match self.reader.next_packet() {
                Ok(Some(packet)) => self.on_packet(packet, out),
                Ok(None) => return,
                Err(error) => return self.close(error.into(), out),
            }
        }
    }

    fn on_packet(&mut self, packet: Packet, out: &mut Outbox<Effect>) {
        let (kind, length) = (packet.kind, packet.payload.len());
        let registered = self.stage == Stage::Registered;
        let heard = registered && self.options.side.complains_to_owner();
        match (kind, length) {
            // Mounts say it with a message, chunkservers without.
            (NOP, 0 | 4) => return,
            (UNKNOWN_COMMAND | BAD_COMMAND_SIZE, 12 | 16) if !heard => return,
            (UNKNOWN_COMMAND | BAD_COMMAND_SIZE, 12 | 16) => {}
            (NOP | UNKNOWN_COMMAND | BAD_COMMAND_SIZE, _) => {
                return self.close(Closed::WrongLength { kind, length }, out);
            }
            _ => {}
        }
        if !registered && !self.options.side.may_say_unregistered(kind) {
            return self.close(Closed::NotRegistered { kind, length }, out);
        }
        self.last_request.0 += 1;
        let request = self.last_request;
        let bytes = HEADER_BYTES + length;
        self.requests.insert(request, bytes);
        self.request_bytes += bytes;
        self.asked_at = self.now;
        out.push(Effect::Packet { request, packet });
    }

    /// Whatever follows from what has just changed.
    fn settle(&mut self, out: &mut Outbox<Effect>) {
        if self.stage == Stage::Closed {
            return;
        }
        let limit = self.options.output_bytes_limit;
        let held = self.output.held_bytes();
        if held > limit {
            let bytes = held as u64;
            return self.close(Closed::TooFarBehind { bytes, limit }, out);
        }
        if let Some(reason) = self.overdue() {
            return self.close(reason, out);
        }
        self.say(out);
        let held = self.output.held_bytes();
        let soft = self.options.output_bytes_max;
        self.choked = held > if self.choked { soft / 2 } else { soft };
        if self.stage == Stage::Finishing && self.output.is_empty() {
            return self.close(Closed::Finished, out);
        }
        self.hand_over(out);
        self.set_reading(out);
    }

    /// Hands over what the driver may hold, asks for parts, and gives a sign of life when it is
    /// time for one.
    fn say(&mut self, out: &mut Outbox<Effect>) {
        if self.alive_at().is_some_and(|at| at <= self.now) {
            self.output.push(self.options.side.sign_of_life());
        }
        loop {
            let handed_bytes_max = self.options.handed_bytes_max;
            let idle = !self.output.is_handed();
            if let Some(bytes) = self.output.next_piece(handed_bytes_max) {
                if idle {
                    self.taken_at = self.now;
                }
                out.push(Effect::Write { bytes });
            } else {
                break;
            }
        }
        if let Some((request, bytes_left)) = self.output.next_wanted() {
            let wanted = Effect::PartWanted {
                request,
                bytes_left,
            };
            out.push(wanted);
        }
    }

    fn set_reading(&mut self, out: &mut Outbox<Effect>) {
        let on = self.may_hand_over();
        if self.stage != Stage::Closed && on != self.reading {
            self.reading = on;
            // Nobody is silent who was not listened to.
            self.heard_at = self.now;
            out.push(Effect::Reading { on });
        }
    }

    /// When the next sign of life is due: on a packet's border, and only when all before it is in
    /// the socket. Bytes that are not taken would not be taken with another packet behind them.
    fn alive_at(&self) -> Option<Instant> {
        let interval = match self.stage {
            Stage::Unregistered => self.options.alive_interval_unregistered,
            Stage::Waiting | Stage::Registered => Some(self.options.alive_interval),
            Stage::Finishing | Stage::Closed => None,
        };
        let idle = self.output.is_empty();
        interval.filter(|_| idle).map(|after| self.taken_at + after)
    }

    /// When this side's patience ends, and why.
    fn patience(&self) -> impl Iterator<Item = (Instant, Closed)> {
        let options = &self.options;
        let stalled = self.output.is_handed().then(|| {
            let at = self.taken_at + options.stall_max;
            (at, Closed::NotReading(options.stall_max))
        });
        let silent = match self.stage {
            // While the owner has its packet, the owner is waited for.
            Stage::Unregistered if self.requests.is_empty() => {
                let after = options.register_timeout;
                Some((self.asked_at + after, Closed::NeverRegistered(after)))
            }
            Stage::Waiting | Stage::Registered if self.reading => {
                let after = options.silence_max;
                Some((self.heard_at + after, Closed::Silent(after)))
            }
            Stage::Finishing => {
                let after = options.linger_max;
                Some((self.finishing_at + after, Closed::Lingered(after)))
            }
            _ => None,
        };
        stalled.into_iter().chain(silent)
    }

    fn overdue(&self) -> Option<Closed> {
        let mut patience = self.patience();
        patience.find_map(|(at, reason)| (at <= self.now).then_some(reason))
    }

    /// This process was paused itself, and has not listened: nobody else is late before it has.
    fn forgive_own_pause(&mut self, now: Instant) {
        let Some(deadline) = self.deadline() else {
            return;
        };
        let late = now.since(deadline);
        if late <= LATENESS_MAX {
            return;
        }
        for at in [
            &mut self.heard_at,
            &mut self.asked_at,
            &mut self.taken_at,
            &mut self.finishing_at,
        ] {
            *at = *at + late;
        }
    }
}

impl Machine for Connection {
    type Input = Input;
    type Effect = Effect;

    fn step(&mut self, now: Instant, input: Input, out: &mut Outbox<Effect>) {
        assert!(now >= self.now, "time runs forwards");
        if self.stage == Stage::Closed {
            return;
        }
        self.forgive_own_pause(now);
        self.now = now;
        match input {
            Input::Tick => {}
            Input::Bytes(bytes) => self.on_bytes(&bytes),
            Input::Written { bytes } => self.on_written(bytes),
            Input::Ended { reason } => return self.close(Closed::Ended(reason), out),
            Input::Done {
                request,
                reply,
                standing,
            } => {
                self.on_done(request, reply);
                self.on_standing(standing);
            }
            Input::Part { request, bytes } => self.output.push_part(request, bytes),
            Input::Push { packet, standing } => {
                self.output.push(packet);
                self.on_standing(standing);
            }
            Input::Finish => self.become_finishing(),
            Input::Drop { reason } => return self.close(Closed::Dropped(reason), out),
        }
        self.settle(out);
    }

    fn deadline(&self) -> Option<Instant> {
        let ends = self.patience().map(|(at, _)| at);
        ends.chain(self.alive_at()).min()
    }

    fn check(&self) {
        self.output.check();
        let requests: usize = self.requests.values().sum();
        assert_eq!(
            requests, self.request_bytes,
            "bytes of requests are counted"
        );
        assert!(self.requests.len() <= self.options.requests_max, "bounded");
        let held = self.output.held_bytes();
        assert!(held <= self.options.output_bytes_limit, "output is bounded");
        if self.stage == Stage::Closed {
            assert_eq!(self.held_bytes(), 0, "a closed connection holds nothing");
            assert_eq!(self.deadline(), None, "and sleeps");
            return;
        }
        let deadline = self.deadline().is_some_and(|at| at <= self.now);
        assert!(!deadline, "what was due is done");
        assert_eq!(self.reading, self.may_hand_over(), "the driver was told");
        if self.reading {
            let longest = self.options.payload_bytes_max as usize + HEADER_BYTES;
            let waiting = self.reader.waiting_bytes();
            assert!(waiting < longest, "only a packet's beginning waits");
        }
    }
}
