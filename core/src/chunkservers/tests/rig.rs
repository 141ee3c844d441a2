//! Two nodes' faces over one tree, and simulated chunkservers. What the faces ask is carried out
//! at once, held back, or refused, as a test wants.

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;

use crate::chunks::{ConnId, Copy, Joined, Order, Report};
use crate::chunkservers::{AuthCode, Chunkservers, Effect, Event, Options};
use crate::id::{ChunkId, CsId, LogIndex, NodeId, SessionId};
use crate::machine::{Machine, Outbox};
use crate::moosefs::chunkserver::{
    Ack, Begin, ChunkCopy, ListBuf, Place, Register, RemovalSpace, Space, ToChunkserver, ToMaster,
};
use crate::moosefs::connection::{self, Closed};
use crate::moosefs::frame::{Packet, PacketReader};
use crate::moosefs::version::Version;
use crate::namespace::Namespace;
use crate::namespace::op::{Command, Op};
use crate::native::request::{CallId, ClientId, NodeError, Response, ResponseBody};
use crate::rng::Seed;
use crate::store::MemStore;
use crate::time::{Duration, Instant, Stamp, WallTime};

/// The cluster.
pub const METAID: u64 = 77;
/// Where most chunkservers are.
pub const HOME: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 5);
/// Where they are reached, unless a test wants something else.
pub const PORT: u16 = 9422;
/// What the nodes of a rig with a secret share with their chunkservers.
pub const SECRET: &[u8] = b"sesame";
/// After this a registration is put off.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// A connection: which node, and its number there. Both nodes give the same numbers.
pub type Conn = (usize, ConnId);

/// The other end of a connection.
struct Peer {
    reader: PacketReader,
    /// What it heard and did not look at, signs of life left out.
    heard: VecDeque<Packet>,
    alive: usize,
    /// What the node heard of it.
    reports: Vec<Report>,
    closed: Option<Closed>,
    gone: bool,
}

/// A registration on its way.
pub struct Held {
    conn: Conn,
    call: CallId,
    op: Op,
}

pub struct Rig {
    pub nodes: [Chunkservers; 2],
    peers: BTreeMap<Conn, Peer>,
    tree: Namespace<MemStore>,
    /// Whether what is asked is held back.
    pub holds: bool,
    pub held: Vec<Held>,
    /// Everything is refused with this, without effect.
    pub failing: Option<NodeError>,
    /// What was reported for the log.
    pub messages: Vec<String>,
    /// Whether chunkservers give signs of life as time passes, between whole packets.
    pub alive: bool,
    next: [u64; 2],
    index: u64,
    now: Duration,
}

pub fn options() -> Options {
    let settings = [(b"WORKING_USER".to_vec(), vec![b'u'; 300])];
    Options {
        settings: settings.into(),
        connections_max: 64,
        ..Options::new(METAID)
    }
}

pub fn options_with_secret() -> Options {
    Options {
        auth_code: Some(AuthCode::new(SECRET)),
        ..options()
    }
}

impl Rig {
    pub fn new() -> Self {
        Self::with(&options())
    }

    pub fn with(options: &Options) -> Self {
        let node = |number| Chunkservers::new(options.clone(), &Seed::from_u64(number));
        Self {
            nodes: [node(1), node(2)],
            peers: BTreeMap::new(),
            tree: Namespace::open(MemStore::new()).unwrap(),
            holds: false,
            held: Vec::new(),
            failing: None,
            messages: Vec::new(),
            alive: true,
            next: [0; 2],
            index: 0,
            now: Duration::ZERO,
        }
    }

    /// Hands an event to a node, and everything that follows from it.
    pub fn feed(&mut self, node: usize, event: Event) {
        let mut todo = VecDeque::from([event]);
        while let Some(event) = todo.pop_front() {
            let mut out = Outbox::new();
            let now = Instant::ZERO + self.now;
            self.nodes[node].step(now, event, &mut out);
            self.nodes[node].check();
            let deadline = self.nodes[node].deadline();
            assert!(deadline.is_none_or(|at| at > now), "what was due is done");
            for effect in out.drain() {
                todo.extend(self.carry_out(node, effect));
            }
        }
    }

    fn carry_out(&mut self, node: usize, effect: Effect) -> Option<Event> {
        match effect {
            Effect::Connection { conn, effect } => {
                let event = self.on_connection((node, conn), effect)?;
                Some(Event::Connection { conn, event })
            }
            Effect::AskWrite {
                client,
                call,
                request,
                op,
            } => {
                assert_eq!(request.session, SessionId(0), "nobody's session");
                let conn = (node, ConnId(client.0));
                let (op, holds) = (*op, self.holds);
                let held = Held { conn, call, op };
                if holds {
                    self.held.push(held);
                    return None;
                }
                Some(self.perform(held))
            }
            Effect::Gone { client } => {
                let peer = self.peer((node, ConnId(client.0)));
                assert!(!std::mem::replace(&mut peer.gone, true), "gone once");
                None
            }
            Effect::Heard { conn, report } => {
                let peer = self.peer((node, conn));
                let joined = matches!(report, Report::Joined(_));
                assert_eq!(joined, peer.reports.is_empty(), "first it joins, once");
                assert_ne!(peer.reports.last(), Some(&Report::Gone), "the last is that");
                let gone = report == Report::Gone;
                assert_eq!(gone, peer.closed.is_some(), "it goes with its connection");
                peer.reports.push(report);
                None
            }
            Effect::Report { message } => {
                self.messages.push(message);
                None
            }
        }
    }

    fn on_connection(
        &mut self,
        conn: Conn,
        effect: connection::Effect,
    ) -> Option<connection::Input> {
        let peer = self.peer(conn);
        assert_eq!(peer.closed, None, "nothing follows the end");
        match effect {
            connection::Effect::Write { bytes } => {
                peer.reader.push(&bytes);
                while let Some(packet) = peer.reader.next_packet().unwrap() {
                    if packet.kind == 0 {
                        assert_eq!(packet.payload, b"", "a chunkserver's has no message");
                        peer.alive += 1;
                    } else {
                        peer.heard.push_back(packet);
                    }
                }
                let bytes = bytes.len();
                return Some(connection::Input::Written { bytes });
            }
            connection::Effect::Close { reason } => peer.closed = Some(reason),
            connection::Effect::Reading { .. } => {}
            other => panic!("{other:?} is not for a driver"),
        }
        None
    }

    fn perform(&mut self, held: Held) -> Event {
        let Held { conn, call, op } = held;
        let result = match self.failing.clone() {
            Some(error) => Err(error),
            None => Ok(self.apply(op)),
        };
        Event::Answered {
            client: ClientId(conn.1.0),
            response: Response { call, result },
        }
    }

    fn apply(&mut self, op: Op) -> ResponseBody {
        self.index += 1;
        let index = LogIndex(self.index);
        let command = Command {
            stamp: Stamp {
                time: 1_000_000_000 + self.index,
                node: NodeId(1),
            },
            now: WallTime(1_000),
            request: None,
            op,
        };
        let outcome = self.tree.apply(index, &command).unwrap();
        ResponseBody::Written { index, outcome }
    }

    /// Carries out what is held at this place, and answers it.
    pub fn release(&mut self, at: usize) {
        let held = self.held.remove(at);
        let node = held.conn.0;
        let event = self.perform(held);
        self.feed(node, event);
    }

    /// Time passes.
    pub fn pass(&mut self, after: Duration) {
        let end = self.now + after;
        while self.now < end {
            self.now = end.min(self.now + Duration::from_millis(100));
            for node in 0..2 {
                self.feed(node, Event::Tick);
            }
            if self.alive && self.now.subsec_millis() == 0 {
                let live = self.peers.iter().filter(|(_, peer)| peer.closed.is_none());
                for conn in live.map(|(conn, _)| *conn).collect::<Vec<_>>() {
                    self.say(conn, &ToMaster::Nop);
                }
            }
        }
    }

    // What chunkservers do.

    fn peer(&mut self, conn: Conn) -> &mut Peer {
        self.peers.get_mut(&conn).unwrap()
    }

    pub fn connect(&mut self, node: usize, ip: Ipv4Addr) -> Conn {
        self.next[node] += 1;
        let conn = ConnId(self.next[node]);
        let peer = Peer {
            reader: PacketReader::new(u32::MAX),
            heard: VecDeque::new(),
            alive: 0,
            reports: Vec::new(),
            closed: None,
            gone: false,
        };
        self.peers.insert((node, conn), peer);
        self.feed(node, Event::Accepted { conn, ip });
        (node, conn)
    }

    pub fn bytes(&mut self, (node, conn): Conn, bytes: &[u8]) {
        let event = connection::Input::Bytes(bytes.to_vec());
        self.feed(node, Event::Connection { conn, event });
    }

    pub fn say(&mut self, conn: Conn, said: &ToMaster<'_>) {
        self.bytes(conn, &said.encode().unwrap());
    }

    pub fn register(&mut self, conn: Conn, register: Register<'_>) {
        self.say(conn, &ToMaster::Register(register));
    }

    /// The connection breaks.
    pub fn lose(&mut self, (node, conn): Conn) {
        let reason = "it broke".to_owned();
        let event = connection::Input::Ended { reason };
        self.feed(node, Event::Connection { conn, event });
        assert!(self.peer((node, conn)).gone, "it is forgotten");
    }

    /// The next packet that it heard.
    pub fn hear(&mut self, conn: Conn) -> Option<Packet> {
        self.peer(conn).heard.pop_front()
    }

    /// The next packet that it heard is an answer to a registration.
    pub fn ack(&mut self, conn: Conn) -> Option<Ack> {
        let packet = self.hear(conn)?;
        match ToChunkserver::parse(packet.kind, &packet.payload).unwrap() {
            ToChunkserver::Ack(ack) => Some(ack),
            other => panic!("{other:?} is not about a registration"),
        }
    }

    /// Signs of life that it heard.
    pub fn signs_of_life(&mut self, conn: Conn) -> usize {
        std::mem::take(&mut self.peer(conn).alive)
    }

    /// What the node heard of it since this was asked last.
    pub fn reports(&mut self, conn: Conn) -> Vec<Report> {
        let reports = &mut self.peer(conn).reports;
        let mut taken = reports.split_off(1.min(reports.len()));
        // The first one stays, so that a second would be seen, and the last, so that more would.
        if taken.last() == Some(&Report::Gone) {
            reports.push(Report::Gone);
        }
        taken.retain(|report| *report != Report::Gone);
        taken
    }

    /// What the node heard at first.
    pub fn joined(&mut self, conn: Conn) -> Option<Joined> {
        match self.peer(conn).reports.first() {
            Some(Report::Joined(joined)) => Some(*joined),
            None => None,
            Some(other) => panic!("{other:?} came first"),
        }
    }

    /// Whether the node heard that it has gone.
    pub fn is_gone(&mut self, conn: Conn) -> bool {
        self.peer(conn).reports.last() == Some(&Report::Gone)
    }

    /// Why it was closed.
    pub fn closed(&self, conn: Conn) -> Option<String> {
        let closed = self.peers[&conn].closed.as_ref();
        closed.map(ToString::to_string)
    }

    pub fn order(&mut self, (node, conn): Conn, order: Order) {
        self.feed(node, Event::Order { conn, order });
    }

    /// The next packet that it heard, as bytes; no header.
    pub fn told(&mut self, conn: Conn) -> Option<(u32, Vec<u8>)> {
        let packet = self.hear(conn)?;
        Some((packet.kind, packet.payload))
    }

    /// A chunkserver that has registered and named all of nothing.
    pub fn serve(&mut self, node: usize, csid: u16) -> Conn {
        let conn = self.connect(node, HOME);
        self.register(conn, Register::Begin(begin(csid)));
        match self.ack(conn) {
            Some(Ack::Welcome { .. }) => {}
            other => panic!("{other:?}, {:?}, {:?}", self.closed(conn), self.messages),
        }
        self.register(conn, Register::End);
        assert_eq!(self.reports(conn), [Report::Listed]);
        conn
    }
}

/// How a chunkserver of 3.0.117 begins; it has no number of its own when `csid` is 0.
pub fn begin(csid: u16) -> Begin {
    Begin {
        passcode: None,
        version: Version::OURS,
        place: Place {
            ip: Ipv4Addr::UNSPECIFIED,
            port: PORT,
        },
        timeout_seconds: 0,
        csid: CsId(csid),
        space: space(),
    }
}

pub fn space() -> RemovalSpace {
    RemovalSpace {
        regular: Space {
            used: 10,
            total: 100,
            chunks: 3,
        },
        to_remove: Space {
            used: 2,
            total: 20,
            chunks: 1,
        },
    }
}

/// The same, as the node hears it.
pub fn space_heard() -> crate::chunks::Space {
    crate::chunks::Space {
        used: 10,
        total: 100,
        chunks: 3,
        removal_used: 2,
        removal_total: 20,
        removal_chunks: 1,
    }
}

/// Copies of the chunks from `first` on, every second one on a disk that is to be emptied.
pub fn copies(first: u64, count: u64) -> (ListBuf<ChunkCopy>, Vec<Copy>) {
    let heard: Vec<Copy> = (first..first + count)
        .map(|number| Copy {
            chunk: ChunkId(number),
            version: number as u32 % 7 + 1,
            to_remove: number % 2 == 1,
        })
        .collect();
    let said = heard.iter().map(|copy| ChunkCopy {
        chunk: copy.chunk,
        version: copy.version,
        to_remove: copy.to_remove,
    });
    (said.collect(), heard)
}
