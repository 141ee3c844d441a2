//! Two nodes' faces over one tree, and simulated clients. What the faces ask is carried out at
//! once, held back, or refused, as a test wants; news of commands go to both.

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;

use crate::chunks::keeper::Holder;
use crate::chunks::{ChunkAnswer, ChunkWish, Located, Refusal};
use crate::exports::password::PasswordDigest;
use crate::exports::{ExportPath, Exports, Record};
use crate::id::{InodeId, LogIndex, NodeId, SessionId, Term};
use crate::machine::{Machine, Outbox};
use crate::membership::{Membership, Role};
use crate::moosefs::client::credentials::{Credentials, Gids};
use crate::moosefs::client::data::{Open, Truncate};
use crate::moosefs::client::lock::Flock;
use crate::moosefs::client::register::{Again, Close, NewSession, Reconnect, Register, Registered};
use crate::moosefs::client::tree::{Create, Mkdir, Remove};
use crate::moosefs::client::{Call, FromClient, MsgId, Reply, ToClient};
use crate::moosefs::connection::{self, Closed};
use crate::moosefs::fields::{Form, Name};
use crate::moosefs::frame::{Packet, PacketReader};
use crate::moosefs::version::Version;
use crate::mounts::{Effect, Event, Input, Mounts, Options};
use crate::namespace::Namespace;
use crate::namespace::error::FsError;
use crate::namespace::op::{self, Answer, Command, Notice, Op, Query, RequestId, SessionFlags};
use crate::native::admin::ChunkserverStatus;
use crate::native::inspect::{Inspect, Inspected, Overview};
use crate::native::request::{
    CallId, ClientId, Consistency, NodeError, NodeStatus, Request, RequestBody, Response,
    ResponseBody,
};
use crate::rng::Seed;
use crate::store::MemStore;
use crate::time::{Duration, Instant, Stamp, WallTime};

/// The cluster.
pub const METAID: u64 = 77;
/// Where most clients are.
pub const HOME: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// Password of the export for [`GUEST`].
pub const PASSWORD: &[u8] = b"sesame";
/// Who needs a password.
pub const GUEST: Ipv4Addr = Ipv4Addr::new(11, 0, 0, 1);
/// Who may come back from another address.
pub const ROAMER: Ipv4Addr = Ipv4Addr::new(12, 0, 0, 1);

/// Microseconds since 1970 when a rig begins.
const WALL_US: u64 = 1_000_000_000;

/// A connection: which node, and its number there. Both nodes give the same numbers.
pub type Conn = (usize, ClientId);

/// What becomes of what a face asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It is carried out and answered.
    AtOnce,
    /// It is held back, and nothing happens.
    HoldAsked,
    /// It is carried out, with its news, and the answer is held back.
    HoldAnswers,
}

/// What is held back.
#[derive(Clone, Debug)]
pub enum Held {
    Asked(Conn, CallId, Asked),
    Answer(Conn, Response),
}

#[derive(Clone, Debug)]
pub enum Asked {
    Read(Query),
    Write(RequestId, Op),
}

/// The other end of a connection.
pub struct Peer {
    reader: PacketReader,
    /// What it heard and did not look at, signs of life left out.
    heard: VecDeque<Packet>,
    /// How often it was told to forget where chunks are.
    pub forgot: u32,
    pub closed: Option<Closed>,
    pub gone: bool,
}

pub struct Rig {
    pub nodes: [Mounts; 2],
    pub peers: BTreeMap<Conn, Peer>,
    pub tree: Namespace<MemStore>,
    pub mode: Mode,
    /// Every question and command is refused with this, without effect.
    pub failing: Option<NodeError>,
    pub held: Vec<Held>,
    /// What was reported.
    pub reports: Vec<String>,
    /// Questions of sessions that were kept.
    pub kept: Vec<SessionId>,
    /// Commands that were applied, with their names.
    pub applied: Vec<(Option<RequestId>, Op)>,
    /// Which node hears no news.
    pub deaf: Option<usize>,
    /// Which node applies nothing: it hears no news, and what it is asked waits.
    pub behind: Option<usize>,
    late: Vec<(usize, Event)>,
    /// Whether the nodes say that they lead.
    pub leads: bool,
    /// Chunkservers that operators see.
    pub chunkservers: Vec<ChunkserverStatus>,
    /// The one chunkserver of this world, if there is one.
    pub holder: Option<Holder>,
    /// How nodes were asked questions.
    pub asked: Vec<(Query, Consistency)>,
    /// Whether clients give signs of life as time passes, between whole packets.
    pub alive: bool,
    next: [u64; 2],
    index: u64,
    now: Duration,
}

/// An export of everything, for addresses from 10.0.0.0 to 10.255.255.255.
pub fn home() -> Record {
    Record {
        from: Ipv4Addr::new(10, 0, 0, 0),
        to: Ipv4Addr::new(10, 255, 255, 255),
        all_dirs: true,
        flags: SessionFlags {
            admin: true,
            ..SessionFlags::default()
        },
        root_uid: 0,
        root_gid: 0,
        ..Record::defaults()
    }
}

/// The exports of a rig.
pub fn records() -> Vec<Record> {
    let at = |ip: Ipv4Addr, record: Record| {
        let to = Ipv4Addr::from(u32::from(ip) | 0xFF);
        Record {
            from: ip,
            to,
            ..record
        }
    };
    let password = Some(PasswordDigest::of(PASSWORD));
    let flags = SessionFlags {
        dynamic_ip: true,
        ..home().flags
    };
    let path = ExportPath::Meta;
    vec![
        home(),
        Record { path, ..home() },
        at(GUEST, Record { password, ..home() }),
        at(ROAMER, Record { flags, ..home() }),
    ]
}

impl Rig {
    pub fn new() -> Self {
        let node = |number: u64| {
            let seed = Seed::from_u64(number);
            Mounts::new(Options::new(METAID), Exports::new(records()), &seed)
        };
        Self {
            nodes: [node(1), node(2)],
            peers: BTreeMap::new(),
            tree: Namespace::open(MemStore::new()).unwrap(),
            mode: Mode::AtOnce,
            failing: None,
            held: Vec::new(),
            reports: Vec::new(),
            kept: Vec::new(),
            applied: Vec::new(),
            deaf: None,
            behind: None,
            late: Vec::new(),
            leads: true,
            chunkservers: Vec::new(),
            holder: None,
            asked: Vec::new(),
            alive: true,
            next: [0; 2],
            index: 0,
            now: Duration::ZERO,
        }
    }

    fn wall_us(&self) -> u64 {
        WALL_US + self.now.as_micros() as u64
    }

    pub fn wall(&self) -> WallTime {
        WallTime((self.wall_us() / 1_000_000) as u32)
    }

    /// Hands an event to a node, and everything that follows from it.
    pub fn feed(&mut self, node: usize, event: Event) {
        let mut todo = VecDeque::from([(node, event)]);
        while let Some((node, event)) = todo.pop_front() {
            let mut out = Outbox::new();
            let wall_us = self.wall_us();
            let now = Instant::ZERO + self.now;
            self.nodes[node].step(now, Input { wall_us, event }, &mut out);
            self.nodes[node].check();
            for effect in out.drain() {
                self.carry_out(node, effect, &mut todo);
            }
        }
    }

    fn carry_out(&mut self, node: usize, effect: Effect, todo: &mut VecDeque<(usize, Event)>) {
        match effect {
            Effect::Connection { client, effect } => {
                let Some(event) = self.on_connection((node, client), effect) else {
                    return;
                };
                todo.push_back((node, Event::Connection { client, event }));
            }
            Effect::Ask { client, request } => {
                let Request { call, body } = request;
                let query = match body {
                    RequestBody::Read { query, consistency } => {
                        self.asked.push((query.clone(), consistency));
                        query
                    }
                    RequestBody::KeepSession { session } => {
                        self.kept.push(session);
                        Query::GetSession { session }
                    }
                    other => panic!("no face asks {other:?}"),
                };
                self.on_asked((node, client), call, Asked::Read(query), todo);
            }
            Effect::AskWrite {
                client,
                call,
                request,
                op,
            } => self.on_asked((node, client), call, Asked::Write(request, *op), todo),
            Effect::AskChunk { client, call, wish } => {
                let answer = match (wish, self.holder) {
                    (ChunkWish::Look { info, length }, Some(holder)) => {
                        ChunkAnswer::Located(Located {
                            chunk: info.chunk,
                            version: info.version,
                            length,
                            holders: vec![holder],
                        })
                    }
                    _ => ChunkAnswer::Refused(Refusal::NoServers),
                };
                let result = Ok(ResponseBody::Chunk(answer));
                let response = Response { call, result };
                todo.push_back(answered((node, client), response));
            }
            Effect::Inspect { client, call, what } => {
                let result = match self.failing.clone() {
                    Some(error) => Err(error),
                    None => Ok(ResponseBody::Inspected(self.inspected(&what))),
                };
                todo.push_back(answered((node, client), Response { call, result }));
            }
            Effect::Gone { client } => {
                let peer = self.peers.get_mut(&(node, client)).unwrap();
                assert!(!std::mem::replace(&mut peer.gone, true), "gone once");
            }
            Effect::Report { message } => self.reports.push(message),
        }
    }

    /// What is to be seen: of a leader without chunkservers.
    fn inspected(&self, what: &Inspect) -> Inspected {
        match what {
            Inspect::Overview => {
                let sums = self.tree.sums().unwrap();
                Inspected::Overview(Box::new(Overview {
                    status: NodeStatus {
                        node: NodeId(1),
                        term: Term(3),
                        leader: Some(NodeId(1)),
                        leads: self.leads,
                        committed: LogIndex(self.index),
                        applied: LogIndex(self.index),
                        membership: Membership::default(),
                        repairing: false,
                    },
                    role: Role::Leader,
                    role_since: WallTime(7),
                    version: self.tree.version(),
                    tree: sums.tree,
                    trash_bytes: sums.trash_bytes,
                    sustained_bytes: sums.sustained_bytes,
                    space: (1_000, 900),
                }))
            }
            Inspect::Chunkservers => Inspected::Chunkservers(self.chunkservers.clone()),
            Inspect::Census => Inspected::Census(None),
            Inspect::Sessions { after } => {
                Inspected::Sessions(self.tree.sessions_seen(*after, 2).unwrap())
            }
            Inspect::Quotas => Inspected::Quotas(self.tree.quotas().unwrap()),
            Inspect::Paths(inodes) => Inspected::Paths(self.tree.paths(inodes, 12).unwrap()),
        }
    }

    fn on_connection(
        &mut self,
        conn: Conn,
        effect: connection::Effect,
    ) -> Option<connection::Input> {
        let peer = self.peers.get_mut(&conn).unwrap();
        assert_eq!(peer.closed, None, "nothing follows the end");
        match effect {
            connection::Effect::Write { bytes } => {
                peer.reader.push(&bytes);
                while let Some(packet) = peer.reader.next_packet().unwrap() {
                    match packet.kind {
                        0 => {}
                        706 => peer.forgot += 1,
                        _ => peer.heard.push_back(packet),
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

    fn on_asked(
        &mut self,
        conn: Conn,
        call: CallId,
        asked: Asked,
        todo: &mut VecDeque<(usize, Event)>,
    ) {
        if let Some(error) = self.failing.clone() {
            let result = Err(error);
            return todo.push_back(answered(conn, Response { call, result }));
        }
        let waits = self.behind == Some(conn.0) && matches!(asked, Asked::Read(_));
        if self.mode == Mode::HoldAsked || waits {
            return self.held.push(Held::Asked(conn, call, asked));
        }
        let result = Ok(self.perform(asked, todo));
        let response = Response { call, result };
        match self.mode {
            Mode::HoldAnswers => self.held.push(Held::Answer(conn, response)),
            _ => todo.push_back(answered(conn, response)),
        }
    }

    fn perform(&mut self, asked: Asked, todo: &mut VecDeque<(usize, Event)>) -> ResponseBody {
        match asked {
            Asked::Read(query) => ResponseBody::Read {
                index: LogIndex(self.index),
                result: self.tree.query(self.wall(), &query).unwrap(),
            },
            Asked::Write(name, op) => {
                let named = name.session != SessionId(0);
                let by = op.writer();
                let outcome = self.apply_named(named.then_some(name), op);
                let index = LogIndex(self.index);
                if !outcome.notices.is_empty() {
                    for node in (0..2).filter(|node| self.deaf != Some(*node)) {
                        let notices = outcome.notices.clone();
                        let news = (node, Event::News { index, by, notices });
                        match self.behind == Some(node) {
                            true => self.late.push(news),
                            false => todo.push_back(news),
                        }
                    }
                }
                ResponseBody::Written { index, outcome }
            }
        }
    }

    fn apply_named(&mut self, request: Option<RequestId>, op: Op) -> op::Outcome {
        self.index += 1;
        let stamp = Stamp {
            time: self.wall_us(),
            node: NodeId(1),
        };
        let now = self.wall();
        self.applied.push((request, op.clone()));
        let command = Command {
            stamp,
            now,
            request,
            op,
        };
        let index = LogIndex(self.index);
        self.tree.apply(index, &command).unwrap()
    }

    /// A command that comes by no face; both hear its news.
    pub fn by_hand(
        &mut self,
        request: Option<RequestId>,
        op: Op,
    ) -> (Result<op::Reply, FsError>, Vec<Notice>) {
        let by = op.writer();
        let outcome = self.apply_named(request, op);
        let index = LogIndex(self.index);
        let deaf = self.deaf;
        for node in (0..2).filter(|node| deaf != Some(*node)) {
            let notices = outcome.notices.clone();
            self.feed(node, Event::News { index, by, notices });
        }
        (outcome.result, outcome.notices)
    }

    /// What the tree answers.
    pub fn ask(&self, query: &Query) -> Result<Answer, FsError> {
        self.tree.query(self.wall(), query).unwrap()
    }

    /// Lets go what is held at this place: carries it out and answers it, or answers it.
    pub fn release(&mut self, at: usize) {
        match self.held.remove(at) {
            Held::Answer(conn, response) => {
                let (node, event) = answered(conn, response);
                self.feed(node, event);
            }
            Held::Asked(conn, call, asked) => {
                let mut todo = VecDeque::new();
                let result = Ok(self.perform(asked, &mut todo));
                todo.push_back(answered(conn, Response { call, result }));
                for (node, event) in todo {
                    self.feed(node, event);
                }
            }
        }
    }

    /// The node that was behind has applied everything.
    pub fn catch_up(&mut self) {
        self.behind = None;
        for (node, event) in std::mem::take(&mut self.late) {
            self.feed(node, event);
        }
        self.release_all();
    }

    /// Nothing is held back any more.
    pub fn release_all(&mut self) {
        self.mode = Mode::AtOnce;
        while !self.held.is_empty() {
            self.release(0);
        }
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
                let live: Vec<Conn> = self.live();
                for conn in live {
                    self.say(conn, &FromClient::Nop(Some(MsgId(0))));
                }
            }
        }
    }

    fn live(&self) -> Vec<Conn> {
        let live = self.peers.iter().filter(|(_, peer)| peer.closed.is_none());
        live.map(|(conn, _)| *conn).collect()
    }

    // What clients do.

    pub fn connect(&mut self, node: usize, ip: Ipv4Addr) -> Conn {
        self.next[node] += 1;
        let client = ClientId(self.next[node]);
        let peer = Peer {
            reader: PacketReader::new(u32::MAX),
            heard: VecDeque::new(),
            forgot: 0,
            closed: None,
            gone: false,
        };
        self.peers.insert((node, client), peer);
        self.feed(node, Event::Accepted { client, ip });
        (node, client)
    }

    pub fn bytes(&mut self, (node, client): Conn, bytes: &[u8]) {
        let event = connection::Input::Bytes(bytes.to_vec());
        self.feed(node, Event::Connection { client, event });
    }

    pub fn say(&mut self, conn: Conn, said: &FromClient) {
        self.bytes(conn, &said.encode());
    }

    /// The connection breaks.
    pub fn lose(&mut self, (node, client): Conn) {
        let reason = "it broke".to_owned();
        let event = connection::Input::Ended { reason };
        self.feed(node, Event::Connection { client, event });
        assert!(self.peers[&(node, client)].gone, "it is forgotten");
    }

    /// The next packet that it heard.
    pub fn hear(&mut self, conn: Conn) -> Option<Packet> {
        self.peers.get_mut(&conn).unwrap().heard.pop_front()
    }

    /// Why it was closed.
    pub fn closed(&self, conn: Conn) -> Option<String> {
        let closed = self.peers[&conn].closed.as_ref();
        closed.map(ToString::to_string)
    }

    /// What a registration is told at once; `None` when it is told nothing.
    pub fn register(&mut self, conn: Conn, register: Register) -> Option<Registered> {
        self.say(conn, &FromClient::Register(register));
        self.registered(conn)
    }

    /// Whether a registration was told nothing yet.
    pub fn registered_not_yet(&self, conn: Conn) -> bool {
        self.peers[&conn].heard.is_empty()
    }

    /// What a registration was told.
    pub fn registered(&mut self, conn: Conn) -> Option<Registered> {
        let packet = self.hear(conn)?;
        match ToClient::parse(&packet, Form::of(Version::OURS)).unwrap() {
            ToClient::Registered(registered) => Some(registered),
            other => panic!("{other:?} is not about a registration"),
        }
    }

    /// A mount of everything at a node.
    pub fn mount(&mut self, node: usize) -> (Conn, SessionId) {
        let conn = self.connect(node, HOME);
        match self.register(conn, new_session(b"/")) {
            Some(Registered::Session(values)) => (conn, values.session),
            other => panic!("{other:?}, {:?}", self.reports),
        }
    }

    /// A connection of a session that comes back.
    pub fn come_back(&mut self, node: usize, session: SessionId) -> Conn {
        let conn = self.connect(node, HOME);
        let told = self.register(conn, reconnect(session));
        assert_eq!(told, Some(back(Ok(()))), "{:?}", self.reports);
        conn
    }

    /// The reply to a request, at once; `None` when there is none yet.
    pub fn call(&mut self, conn: Conn, id: u32, call: &Call) -> Option<Reply> {
        self.send(conn, id, call);
        self.reply(conn, id, call)
    }

    pub fn send(&mut self, conn: Conn, id: u32, call: &Call) {
        let id = MsgId(id);
        let call = call.clone();
        self.say(conn, &FromClient::Call { id, call });
    }

    /// What is heard next is the reply to this request.
    pub fn reply(&mut self, conn: Conn, id: u32, call: &Call) -> Option<Reply> {
        let packet = self.hear(conn)?;
        match ToClient::parse(&packet, call.form(Version::OURS)).unwrap() {
            ToClient::Reply { id: of, reply } => {
                assert_eq!(of, MsgId(id));
                Some(reply)
            }
            other => panic!("{other:?} is no reply"),
        }
    }

    /// Names in a directory, as the tree has them.
    pub fn names(&self, inode: InodeId) -> Vec<String> {
        let query = Query::ReadDir {
            caller: crate::namespace::op::Caller {
                session: SessionId(0),
                uid: 0,
                gids: vec![0],
            },
            inode,
            attrs: false,
            after: Vec::new(),
            max: 10_000,
        };
        match self.ask(&query) {
            Ok(Answer::Entries { entries, .. }) => entries
                .into_iter()
                .map(|entry| String::from_utf8(entry.name).unwrap())
                .collect(),
            other => panic!("{other:?}"),
        }
    }

    /// Files that a session has open.
    pub fn open_files(&self, session: SessionId) -> Vec<InodeId> {
        match self.ask(&Query::ListOpenFiles { session }) {
            Ok(Answer::OpenFiles(files)) => files.into_iter().map(|(_, inode)| inode).collect(),
            other => panic!("{other:?}"),
        }
    }
}

fn answered((node, client): Conn, response: Response) -> (usize, Event) {
    (node, Event::Answered { client, response })
}

pub fn new_session(path: &[u8]) -> Register {
    Register::Session(NewSession {
        client: Version::OURS,
        info: b"/mnt".to_vec(),
        path: Some(path.to_vec()),
        session: None,
        passcode: None,
    })
}

/// A new registration of who had a session.
pub fn again(session: SessionId, metaid: u64) -> Register {
    let Register::Session(new) = new_session(b"/") else {
        unreachable!("it is one");
    };
    let metaid = Some(metaid);
    Register::Session(NewSession {
        session: Some(Again { session, metaid }),
        ..new
    })
}

pub fn reconnect(session: SessionId) -> Register {
    Register::Reconnect(Reconnect {
        session,
        client: Version::OURS,
        metaid: Some(METAID),
    })
}

pub fn close(session: SessionId) -> Register {
    let metaid = Some(METAID);
    Register::Close(Close { session, metaid })
}

pub fn back(result: Result<(), crate::moosefs::status::Status>) -> Registered {
    let master = Version::OURS;
    Registered::Reconnected(crate::moosefs::client::register::Back { master, result })
}

pub fn root() -> Credentials {
    Credentials {
        uid: 0,
        gids: Gids::List(vec![0]),
    }
}

pub fn mkdir(name: &str) -> Call {
    Call::Mkdir(Mkdir {
        parent: InodeId::ROOT,
        name: Name::new(name).unwrap(),
        mode: 0o755,
        umask: Some(0),
        by: root(),
        copy_setgid: Some(0),
    })
}

pub fn rmdir(name: &str) -> Call {
    Call::Rmdir(Remove {
        parent: InodeId::ROOT,
        name: Name::new(name).unwrap(),
        by: root(),
    })
}

pub fn create(name: &str) -> Call {
    Call::Create(Create {
        parent: InodeId::ROOT,
        name: Name::new(name).unwrap(),
        mode: 0o644,
        umask: Some(0),
        by: root(),
    })
}

pub fn open(inode: InodeId) -> Call {
    Call::Open(Open {
        inode,
        by: root(),
        flags: 3,
    })
}

pub fn truncate(inode: InodeId, length: u64) -> Call {
    Call::Truncate(Truncate {
        inode,
        flags: Some(0),
        by: root(),
        length,
    })
}

pub fn flock(inode: InodeId, owner: u64, request: u32, what: u8) -> Call {
    Call::Flock(Flock {
        inode,
        request,
        owner,
        what,
    })
}
