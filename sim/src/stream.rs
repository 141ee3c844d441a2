//! Streams of bytes between nodes: dialed, cut into pieces, slow, half open, torn within a frame.
//!
//! What a connection of the system's is to a transport: bytes arrive in order or not at all, in
//! pieces of any size, and how far the other side got is never known. Whether a link lets anything
//! pass is the network's to say (`net`), what is in the bytes the transport's: of records nothing
//! is known here but where they end, so that a tear can be told from a clean break.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use mfsha_core::rng::{Rng, Seed};
use mfsha_core::transport::ConnId;
use mfsha_core::{codec, limits};

use crate::draw;
use crate::event::MessageNumber;
use crate::net::{Link, Net};
use crate::options::NetOptions;
use crate::place::{Place, Seat};
use crate::time::SimTime;

/// Bytes that a system takes of a connection before they have arrived.
const SOCKET_BYTES: usize = 64 << 10;
/// What does not pass is tried again after this long, then after twice that, and so on.
const RETRY_MIN: Duration = Duration::from_millis(10);
/// Longest pause between two tries.
const RETRY_MAX: Duration = Duration::from_millis(320);

/// Names one stream; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

/// One of the two sides of a stream, or the direction of what that side writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// Who dialed.
    Dialer,
    /// Who accepted.
    Acceptor,
}

impl Side {
    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Dialer => Self::Acceptor,
            Self::Acceptor => Self::Dialer,
        }
    }
}

/// How an end of a stream was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Break {
    /// Reset, by the network or by a system that knows nothing of it.
    Reset,
    /// The other process closed it or died.
    Ended,
}

/// What is on its way.
#[derive(Debug)]
enum Piece {
    Bytes(MessageNumber, Vec<u8>),
    End,
}

/// One direction of a stream.
#[derive(Debug)]
struct Lane {
    rng: Rng,
    /// Written, and not taken by the system.
    waiting: VecDeque<u8>,
    /// Taken and on its way, in order of arrival.
    flying: VecDeque<(SimTime, Piece)>,
    flying_bytes: usize,
    last: SimTime,
    /// The writer is done: the end is said behind what waits.
    closing: bool,
    /// Bytes written, and of those arrived.
    written: u64,
    arrived: u64,
    /// Where the records end that have not arrived whole, and where the last whole one did.
    ends: VecDeque<u64>,
    whole: u64,
    /// Whether its next arrival is planned.
    planned: bool,
    tries: u32,
    /// The stream breaks when so many bytes more have arrived.
    breaks_in: Option<u64>,
}

/// One end.
#[derive(Clone, Copy, Debug)]
struct End {
    seat: Seat,
    /// `None` while the accepting side waits for the first record.
    conn: Option<ConnId>,
    open: bool,
}

#[derive(Debug)]
struct Stream {
    ends: [End; 2],
    lanes: [Lane; 2],
    /// What came to the accepting side before its first record was whole.
    first: Vec<u8>,
}

/// What a crash leaves of streams: directions that have to be planned, and pieces that were thrown
/// away.
pub type Left = (Vec<(StreamId, Side)>, Vec<(MessageNumber, Link)>);

/// All streams of a run.
#[derive(Debug)]
pub struct Streams {
    seed: Seed,
    segment_bytes: usize,
    tear_ppm: u32,
    streams: BTreeMap<StreamId, Stream>,
    /// Ends that are open and known to a transport.
    by_conn: BTreeMap<(Seat, ConnId), (StreamId, Side)>,
    /// Streams made so far between two seats.
    made: BTreeMap<(Seat, Seat), u64>,
    next: u64,
}

/// A piece that has just begun its way: its number and its bytes' length and hash.
pub type Begun = (MessageNumber, usize, u64);

/// What a stream has to tell the world about one direction.
#[derive(Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Nothing yet: ask again then.
    Later(SimTime),
    /// Bytes came to the other side.
    Bytes {
        /// The piece.
        message: MessageNumber,
        /// What came of it: all, unless the stream breaks within it.
        bytes: Vec<u8>,
        /// The byte that is not what was written, where one is.
        flipped: Option<usize>,
        /// The stream breaks right behind these bytes.
        breaks: bool,
    },
    /// A piece came where nobody has this stream: its sender is to be told.
    Refused {
        /// The piece.
        message: MessageNumber,
    },
    /// The writer's end came to the other side.
    End,
}

/// An end that was open when its stream broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Where.
    pub seat: Seat,
    /// Under which number, when the transport knows it.
    pub conn: Option<ConnId>,
    /// How many bytes of a record had come that never came whole.
    pub torn_bytes: u64,
}

impl Streams {
    /// None yet.
    #[must_use]
    pub fn new(seed: &Seed, options: &NetOptions) -> Self {
        Self {
            seed: seed.child("streams"),
            segment_bytes: options.segment_bytes as usize,
            tear_ppm: options.tear_ppm,
            streams: BTreeMap::new(),
            by_conn: BTreeMap::new(),
            made: BTreeMap::new(),
            next: 1,
        }
    }

    /// From now no stream breaks by chance; one that was about to does not.
    pub fn calm(&mut self) {
        self.tear_ppm = 0;
        for stream in self.streams.values_mut() {
            for lane in &mut stream.lanes {
                lane.breaks_in = None;
            }
        }
    }

    /// A dial has ended well: nothing was written yet.
    pub fn open(&mut self, dialer: Seat, conn: ConnId, acceptor: Seat) -> StreamId {
        let made = self.made.entry((dialer, acceptor)).or_default();
        let seed = self
            .seed
            .index(u64::from(dialer.0) << 8 | u64::from(acceptor.0))
            .index(*made);
        *made += 1;
        let id = StreamId(self.next);
        self.next += 1;
        let end = |seat, conn| End {
            seat,
            conn,
            open: true,
        };
        let stream = Stream {
            ends: [end(dialer, Some(conn)), end(acceptor, None)],
            lanes: [0, 1].map(|side| Lane::new(seed.index(side).rng())),
            first: Vec::new(),
        };
        self.streams.insert(id, stream);
        self.by_conn.insert((dialer, conn), (id, Side::Dialer));
        id
    }

    /// The stream that a transport knows under this number.
    #[must_use]
    pub fn find(&self, seat: Seat, conn: ConnId) -> Option<(StreamId, Side)> {
        self.by_conn.get(&(seat, conn)).copied()
    }

    /// Streams between two seats, also half open ones.
    #[must_use]
    pub fn between(&self, a: Seat, b: Seat) -> Vec<StreamId> {
        let joins = |stream: &Stream| {
            let seats = stream.ends.map(|end| end.seat);
            seats == [a, b] || seats == [b, a]
        };
        let found = self.streams.iter().filter(|(_, stream)| joins(stream));
        found.map(|(id, _)| *id).collect()
    }

    /// The link that one side's bytes take.
    #[must_use]
    pub fn link(&self, id: StreamId, writer: Side) -> Option<Link> {
        let ends = &self.streams.get(&id)?.ends;
        let place = |side: Side| Place::Seat(ends[side as usize].seat);
        Some((place(writer), place(writer.other())))
    }

    /// The end of one side, when it is open: where, and under which number.
    #[must_use]
    pub fn end(&self, id: StreamId, side: Side) -> Option<(Seat, Option<ConnId>)> {
        let end = self.streams.get(&id)?.ends[side as usize];
        end.open.then_some((end.seat, end.conn))
    }

    /// Whole records to send behind those before.
    pub fn write(&mut self, id: StreamId, writer: Side, bytes: &[u8]) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        let lane = &mut stream.lanes[writer as usize];
        let mut rest = bytes;
        let mut at = lane.written;
        while let Ok(Some(header)) = codec::peek(rest, limits::RECORD_BYTES_MAX)
            && header.record_bytes <= rest.len()
        {
            at += header.record_bytes as u64;
            lane.ends.push_back(at);
            rest = &rest[header.record_bytes..];
        }
        lane.written += bytes.len() as u64;
        lane.waiting.extend(bytes);
    }

    /// Nothing more comes from this side, and it wants to hear no more.
    pub fn close(&mut self, id: StreamId, writer: Side) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        stream.lanes[writer as usize].closing = true;
        self.shut(id, writer);
    }

    /// Lets the system take what it has room for: how many bytes it took, and the pieces that they
    /// became. Their numbers are counted on in `next`.
    pub fn take<T: Clone>(
        &mut self,
        now: SimTime,
        net: &Net<T>,
        id: StreamId,
        writer: Side,
        next: &mut u64,
    ) -> (usize, Vec<Begun>) {
        let link = self.link(id, writer);
        let (Some(stream), Some(link)) = (self.streams.get_mut(&id), link) else {
            return (0, Vec::new());
        };
        let lane = &mut stream.lanes[writer as usize];
        let (mut taken, mut begun) = (0, Vec::new());
        while !lane.waiting.is_empty() && lane.flying_bytes < SOCKET_BYTES {
            let room = SOCKET_BYTES - lane.flying_bytes;
            let most = match self.segment_bytes {
                0 => room,
                bytes => lane.rng.between(1, bytes as u64) as usize,
            };
            let length = most.min(room).min(lane.waiting.len());
            let bytes: Vec<u8> = lane.waiting.drain(..length).collect();
            let message = MessageNumber(*next);
            *next += 1;
            begun.push((message, length, crate::trace::short_hash(&bytes)));
            lane.fly(now, net, link, Piece::Bytes(message, bytes));
            lane.flying_bytes += length;
            taken += length;
        }
        if lane.closing && lane.waiting.is_empty() {
            lane.closing = false;
            lane.fly(now, net, link, Piece::End);
        }
        (taken, begun)
    }

    /// When the next piece of this direction arrives, if that is not planned yet.
    pub fn plan(&mut self, id: StreamId, writer: Side) -> Option<SimTime> {
        let lane = &mut self.streams.get_mut(&id)?.lanes[writer as usize];
        let (at, _) = lane.flying.front().filter(|_| !lane.planned)?;
        lane.planned = true;
        Some(*at)
    }

    /// What arrives now in this direction. `passes`: the link lets it through, and the machine at
    /// its end has power. A piece has a bit flipped with a chance of `corrupt_ppm` parts of a
    /// million.
    pub fn arrive(
        &mut self,
        now: SimTime,
        id: StreamId,
        writer: Side,
        passes: bool,
        corrupt_ppm: u32,
    ) -> Option<Arrival> {
        let tear_ppm = self.tear_ppm;
        let stream = self.streams.get_mut(&id)?;
        let heard = stream.ends[writer.other() as usize].open;
        let lane = &mut stream.lanes[writer as usize];
        lane.planned = false;
        let at = lane.flying.front_mut().map(|(at, _)| at)?;
        if *at > now || !passes {
            if !passes {
                *at = now + RETRY_MAX.min(RETRY_MIN * (1 << lane.tries.min(8)));
                lane.tries += 1;
            }
            let at = *at;
            lane.planned = true;
            return Some(Arrival::Later(at));
        }
        lane.tries = 0;
        let (_, piece) = lane.flying.pop_front().expect("it was seen");
        let Piece::Bytes(message, mut bytes) = piece else {
            return Some(Arrival::End);
        };
        lane.flying_bytes -= bytes.len();
        if !heard {
            lane.flying.clear();
            lane.flying_bytes = 0;
            lane.waiting.clear();
            return Some(Arrival::Refused { message });
        }
        if draw::ppm(&mut lane.rng, tear_ppm) {
            lane.breaks_in = Some(lane.rng.below(bytes.len() as u64));
        }
        let breaks = lane.breaks_in.is_some_and(|left| left < bytes.len() as u64);
        match lane.breaks_in {
            Some(left) if breaks => bytes.truncate(left as usize),
            Some(left) => lane.breaks_in = Some(left - bytes.len() as u64),
            None => {}
        }
        lane.came(bytes.len());
        let flipped = lane.flip(&mut bytes, corrupt_ppm);
        Some(Arrival::Bytes {
            message,
            bytes,
            flipped,
            breaks,
        })
    }

    /// Bytes that came to the accepting side before it has a number: all of them, once the first
    /// record is whole or can never be one.
    pub fn first_record(&mut self, id: StreamId, bytes: &[u8]) -> Option<Vec<u8>> {
        let first = &mut self.streams.get_mut(&id)?.first;
        first.extend_from_slice(bytes);
        let whole = match codec::peek(first, limits::HELLO_BYTES_MAX) {
            Ok(Some(header)) => header.record_bytes <= first.len(),
            Ok(None) => false,
            Err(_) => true,
        };
        whole.then(|| std::mem::take(first))
    }

    /// The accepting side has numbered its end.
    pub fn accept(&mut self, id: StreamId, conn: ConnId) {
        if let Some(stream) = self.streams.get_mut(&id) {
            let end = &mut stream.ends[Side::Acceptor as usize];
            end.conn = Some(conn);
            self.by_conn.insert((end.seat, conn), (id, Side::Acceptor));
        }
    }

    /// One side hears that the stream is over.
    pub fn lose(&mut self, id: StreamId, side: Side) -> Option<Broken> {
        let broken = self.broken(id, side)?;
        self.shut(id, side);
        Some(broken)
    }

    /// The stream breaks now: pieces that never arrive, and the ends that have to hear of it.
    pub fn reset(&mut self, id: StreamId) -> (Vec<(MessageNumber, Link)>, Vec<Broken>) {
        let sides = [Side::Dialer, Side::Acceptor];
        let broken = sides.iter().filter_map(|side| self.broken(id, *side));
        let broken: Vec<_> = broken.collect();
        let mut lost = Vec::new();
        for side in sides {
            let link = self.link(id, side);
            let stream = self.streams.get(&id);
            if let (Some(link), Some(stream)) = (link, stream) {
                let pieces = stream.lanes[side as usize].flying.iter();
                lost.extend(pieces.filter_map(|(_, piece)| match piece {
                    Piece::Bytes(message, _) => Some((*message, link)),
                    Piece::End => None,
                }));
            }
        }
        self.shut(id, Side::Dialer);
        self.shut(id, Side::Acceptor);
        (lost, broken)
    }

    /// The stream will break within what travels next, or after what travels now: somewhere in the
    /// next so many bytes of one direction.
    pub fn doom(&mut self, id: StreamId, within_bytes: u64) {
        if let Some(stream) = self.streams.get_mut(&id) {
            // Where more is on the way, more is lost.
            let more = usize::from(stream.lanes[1].flying_bytes > stream.lanes[0].flying_bytes);
            let lane = &mut stream.lanes[more];
            let most = within_bytes.max(lane.flying_bytes as u64);
            lane.breaks_in = Some(lane.rng.below(most.max(1)));
        }
    }

    /// The process on a seat is gone. With its power what it had written and the system had not
    /// sent is gone as well, and nobody is told; otherwise the system ends its streams, and may
    /// throw away what was on the way. Directions that have to be planned are returned, and the
    /// pieces that were thrown away.
    pub fn crash(&mut self, now: SimTime, seat: Seat, quiet: bool) -> Left {
        let (mut left, mut lost) = (Vec::new(), Vec::new());
        let open = |stream: &Stream, side: Side| {
            let end = stream.ends[side as usize];
            end.open && end.seat == seat
        };
        let all: Vec<_> = self
            .streams
            .iter()
            .flat_map(|(id, stream)| {
                let sides = [Side::Dialer, Side::Acceptor];
                let here = sides.into_iter().filter(|side| open(stream, *side));
                here.map(|side| (*id, side)).collect::<Vec<_>>()
            })
            .collect();
        for (id, side) in all {
            let link = self.link(id, side).expect("it is there");
            let lane = &mut self.streams.get_mut(&id).expect("it is there").lanes[side as usize];
            lane.waiting.clear();
            if lane.rng.chance(1, 2) {
                lost.extend(lane.cut_tail().into_iter().map(|message| (message, link)));
            }
            if !quiet {
                let at = lane.last.max(now) + Duration::from_micros(100);
                lane.last = at;
                lane.flying.push_back((at, Piece::End));
            }
            self.shut(id, side);
            left.push((id, side));
        }
        (left, lost)
    }

    fn broken(&self, id: StreamId, side: Side) -> Option<Broken> {
        let stream = self.streams.get(&id)?;
        let end = stream.ends[side as usize];
        let lane = &stream.lanes[side.other() as usize];
        end.open.then_some(Broken {
            seat: end.seat,
            conn: end.conn,
            torn_bytes: lane.arrived - lane.whole,
        })
    }

    /// This side has no stream any more; when neither has, it is forgotten.
    fn shut(&mut self, id: StreamId, side: Side) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        let end = &mut stream.ends[side as usize];
        end.open = false;
        if let Some(conn) = end.conn {
            self.by_conn.remove(&(end.seat, conn));
        }
        if stream.ends.iter().all(|end| !end.open) {
            self.streams.remove(&id);
        }
    }
}

impl Lane {
    fn new(rng: Rng) -> Self {
        Self {
            rng,
            waiting: VecDeque::new(),
            flying: VecDeque::new(),
            flying_bytes: 0,
            last: SimTime::ZERO,
            closing: false,
            written: 0,
            arrived: 0,
            ends: VecDeque::new(),
            whole: 0,
            planned: false,
            tries: 0,
            breaks_in: None,
        }
    }

    fn fly<T: Clone>(&mut self, now: SimTime, net: &Net<T>, link: Link, piece: Piece) {
        let arrival = now + net.travel(link, &mut self.rng);
        self.last = arrival.max(self.last + Duration::from_nanos(1));
        self.flying.push_back((self.last, piece));
    }

    /// Flips a bit by chance, and says in which byte.
    fn flip(&mut self, bytes: &mut [u8], ppm: u32) -> Option<usize> {
        if ppm == 0 || bytes.is_empty() || !draw::ppm(&mut self.rng, ppm) {
            return None;
        }
        let bit = self.rng.below(bytes.len() as u64 * 8);
        let at = (bit / 8) as usize;
        bytes[at] ^= 1 << (bit % 8);
        Some(at)
    }

    /// So many bytes more have arrived.
    fn came(&mut self, bytes: usize) {
        self.arrived += bytes as u64;
        while let Some(end) = self
            .ends
            .front()
            .copied()
            .filter(|end| *end <= self.arrived)
        {
            self.whole = end;
            self.ends.pop_front();
        }
    }

    /// Throws away what flies behind some byte; the pieces of which nothing is left.
    fn cut_tail(&mut self) -> Vec<MessageNumber> {
        let mut keep = self.rng.below(self.flying_bytes as u64 + 1) as usize;
        let mut lost = Vec::new();
        for (at, piece) in std::mem::take(&mut self.flying) {
            match piece {
                Piece::Bytes(message, mut bytes) if keep > 0 => {
                    let length = bytes.len();
                    bytes.truncate(keep);
                    self.flying_bytes -= length - bytes.len();
                    keep -= bytes.len();
                    self.flying.push_back((at, Piece::Bytes(message, bytes)));
                }
                Piece::Bytes(message, bytes) => {
                    self.flying_bytes -= bytes.len();
                    lost.push(message);
                }
                Piece::End => {}
            }
        }
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Weather;
    use crate::options::Options;

    const A: Seat = Seat(0);
    const B: Seat = Seat(1);
    const CONN: ConnId = ConnId::Dialed(1);

    struct World {
        net: Net<()>,
        streams: Streams,
        now: SimTime,
        next: u64,
    }

    impl World {
        fn new(segment_bytes: u32) -> Self {
            let mut options = Options::draw(&Seed::from_u64(1)).net;
            options.segment_bytes = segment_bytes;
            options.tear_ppm = 0;
            options.loss_ppm = 0;
            Self {
                net: Net::new(&Seed::from_u64(1), &options),
                streams: Streams::new(&Seed::from_u64(1), &options),
                now: SimTime(1),
                next: 1,
            }
        }

        fn write(&mut self, id: StreamId, bytes: &[u8]) -> usize {
            self.streams.write(id, Side::Dialer, bytes);
            self.take(id)
        }

        fn take(&mut self, id: StreamId) -> usize {
            let next = &mut self.next;
            let taken = self
                .streams
                .take(self.now, &self.net, id, Side::Dialer, next);
            taken.0
        }

        /// Everything that arrives from the dialer, and whether the stream broke.
        fn run(&mut self, id: StreamId) -> (Vec<u8>, bool) {
            let mut came = Vec::new();
            while let Some(at) = self.streams.plan(id, Side::Dialer) {
                self.now = self.now.max(at);
                match self.streams.arrive(self.now, id, Side::Dialer, true, 0) {
                    Some(Arrival::Bytes { bytes, breaks, .. }) => {
                        came.extend(bytes);
                        if breaks {
                            return (came, true);
                        }
                        self.take(id);
                    }
                    other => panic!("{other:?}"),
                }
            }
            (came, false)
        }
    }

    fn records() -> Vec<u8> {
        let record = |payload: u8| codec::seal(7, 1, &[payload; 1_000]);
        (0..200).flat_map(record).collect()
    }

    #[test]
    fn bytes_arrive_in_order_in_pieces_and_no_more_are_taken_than_there_is_room_for() {
        for segment_bytes in [0, 100, 1_460] {
            let mut world = World::new(segment_bytes);
            let id = world.streams.open(A, CONN, B);
            let all = records();
            assert_eq!(world.write(id, &all), SOCKET_BYTES);
            assert_eq!(world.run(id), (all, false));
        }
    }

    #[test]
    fn a_stream_that_is_torn_tells_how_much_of_a_frame_had_come() {
        let record = records().len() as u64 / 200;
        let mut torn = 0;
        for number in 0..40 {
            let mut world = World::new(100);
            for _ in 0..number {
                // Another stream has another fate.
                world.streams.open(A, ConnId::Dialed(100), B);
            }
            let id = world.streams.open(A, CONN, B);
            world.write(id, &records()[..5 * record as usize]);
            world.streams.doom(id, 4 * record);
            let (came, broke) = world.run(id);
            let came = came.len() as u64;
            assert!(broke, "it was doomed");
            let (_, broken) = world.streams.reset(id);
            assert_eq!(broken.len(), 2, "both ends hear of it");
            assert_eq!(broken[0].torn_bytes, 0, "nothing came to the dialer");
            assert_eq!(broken[1].torn_bytes, came % record);
            assert_eq!(world.streams.find(A, CONN), None);
            torn += u64::from(!came.is_multiple_of(record));
        }
        assert!(torn > 20, "{torn}");
    }

    #[test]
    fn what_is_cut_off_waits_and_a_dead_machine_answers_nothing() {
        let mut world = World::new(0);
        let id = world.streams.open(A, CONN, B);
        world.write(id, &records()[..100]);
        world.now = world.streams.plan(id, Side::Dialer).unwrap();
        let later = world.streams.arrive(world.now, id, Side::Dialer, false, 0);
        let Some(Arrival::Later(at)) = later else {
            panic!("{later:?}");
        };
        assert!(at > world.now);
        assert_eq!(world.streams.plan(id, Side::Dialer), None, "it is planned");
        let came = world.streams.arrive(at, id, Side::Dialer, true, 0);
        assert!(matches!(came, Some(Arrival::Bytes { .. })), "{came:?}");
    }

    #[test]
    fn who_died_with_its_system_alive_is_known_to_have_ended_and_without_is_not() {
        for quiet in [false, true] {
            let mut world = World::new(0);
            let id = world.streams.open(B, CONN, A);
            let (left, _) = world.streams.crash(world.now, B, quiet);
            assert_eq!(left, [(id, Side::Dialer)]);
            let planned = world.streams.plan(id, Side::Dialer);
            assert_eq!(planned.is_some(), !quiet);
            if let Some(at) = planned {
                let end = world.streams.arrive(at, id, Side::Dialer, true, 0);
                assert_eq!(end, Some(Arrival::End));
                assert!(world.streams.lose(id, Side::Acceptor).is_some());
                assert_eq!(world.streams.between(A, B), []);
            }
        }
    }

    #[test]
    fn a_lost_piece_comes_later_and_nothing_overtakes_it() {
        let mut world = World::new(1_460);
        world.net.bring(1, Weather::Loss(300_000));
        let id = world.streams.open(A, CONN, B);
        let all = records();
        world.write(id, &all);
        assert_eq!(world.run(id), (all, false));
        assert!(world.now.0 > 100_000_000, "losses cost time: {}", world.now);
    }

    #[test]
    fn in_corrupting_weather_one_bit_of_a_piece_is_another() {
        let mut world = World::new(100);
        let id = world.streams.open(A, CONN, B);
        let all = records();
        world.write(id, &all);
        let (mut came, mut flips) = (0, 0);
        while let Some(at) = world.streams.plan(id, Side::Dialer) {
            world.now = world.now.max(at);
            let arrival = world
                .streams
                .arrive(world.now, id, Side::Dialer, true, 300_000);
            let Some(Arrival::Bytes { bytes, flipped, .. }) = arrival else {
                panic!("{arrival:?}");
            };
            let right = &all[came..came + bytes.len()];
            let differing = right.iter().zip(&bytes).filter(|(a, b)| a != b).count();
            assert_eq!(differing, usize::from(flipped.is_some()));
            if let Some(at) = flipped {
                assert_eq!((right[at] ^ bytes[at]).count_ones(), 1);
                flips += 1;
            }
            came += bytes.len();
            world.take(id);
        }
        assert_eq!(came, all.len());
        assert!(flips > 100, "{flips}");
    }
}
