//! The world of the keepers' tests.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use crate::chunks::jobs::{Came, Ticket};
use crate::chunks::keeper::{Act, Asker};
use crate::chunks::{
    Address, ChunkAnswer, ChunkWish, ConnId, Copy, Joined, Keeper, Located, Options, Order, Report,
    Space, Talk,
};
use crate::id::{ChunkId, CsId, InodeId, NodeId, Term};
use crate::namespace::op::{
    Answer, Notice, Op, Outcome, Query, Reply, SetMode, SnapshotFlags, TruncateMode,
};
use crate::namespace::testing::{Bed, ROOT, root};
use crate::rng::{Rng, Seed};
use crate::time::{Duration, Instant, WallTime};

const NODES: u64 = 3;
const SERVERS: u16 = 5;
const FILES: usize = 4;
const GOAL: u8 = 2;

/// What a copy holds: who wrote last, and whether it was cut since.
type Content = (u64, bool);

/// A chunkserver: its disk outlives its connections.
struct Server {
    csid: CsId,
    at: Option<(usize, ConnId)>,
    disk: BTreeMap<ChunkId, (u32, Content)>,
    orders: Vec<Order>,
}

/// A request of a client on its way.
enum Asked {
    Write {
        file: usize,
        chunk: ChunkId,
    },
    Cut {
        file: usize,
    },
    Read {
        file: usize,
        chunk: ChunkId,
        /// What it might hold when it was asked: a read may be of before a write meanwhile.
        might: BTreeSet<Content>,
    },
    /// A repair, which has nothing to do: no disk is lost here, only ways to it.
    Repair,
}

/// What a file's one chunk may hold.
#[derive(Clone, Default)]
struct File {
    inode: InodeId,
    /// Everything it may hold: one thing when nothing is in doubt.
    may: BTreeSet<Content>,
    busy: bool,
}

struct Host {
    keeper: Keeper,
    life: u64,
    conns: u64,
    /// In which term it thinks it leads.
    leads: Option<Term>,
}

pub struct World {
    rng: Rng,
    bed: Bed,
    now: Instant,
    hosts: Vec<Host>,
    servers: Vec<Server>,
    term: Term,
    leader: usize,
    net: Vec<(usize, usize, Talk)>,
    proposals: Vec<(usize, Term, Ticket, Op)>,
    asked: BTreeMap<Asker, Asked>,
    next_asker: u64,
    files: Vec<File>,
    stamps: u64,
    wild: bool,
    written: usize,
    /// Chunks that a repair found to be right.
    pub looked_at: u32,
    /// Chunks that a client gave up writing in the middle: copies may differ, as MooseFS's do.
    torn: BTreeSet<ChunkId>,
}

fn options() -> Options {
    Options {
        resend: Duration::from_millis(300),
        cut_off_patience: Duration::from_millis(300),
        cut_off_forget: Duration::from_secs(5),
        discovery: Duration::from_secs(1),
        doubt: Duration::from_secs(1),
        upkeep_delay: Duration::from_millis(500),
        absence: Duration::from_secs(2),
        upkeep_tick: Duration::from_millis(100),
        upkeep_pause: Duration::from_secs(1),
        upkeep_portion: 20,
        ..Options::default()
    }
}

impl World {
    pub fn new(seed: Seed) -> Self {
        let mut bed = Bed::new();
        let caller = root();
        let files = (0..FILES).map(|at| {
            let inode = bed.file(&caller, ROOT, &format!("file{at}"));
            bed.ok(Op::SetSclass {
                caller: caller.clone(),
                inode,
                class: GOAL,
                only: None,
                mode: SetMode::Set,
                recursive: false,
            });
            File {
                inode,
                may: BTreeSet::from([(0, false)]),
                busy: false,
            }
        });
        let files = files.collect();
        let servers = (1..=SERVERS).map(|number| Server {
            csid: CsId(number),
            at: None,
            disk: BTreeMap::new(),
            orders: Vec::new(),
        });
        let mut world = Self {
            rng: seed.rng(),
            bed,
            now: Instant::ZERO,
            hosts: Vec::new(),
            servers: servers.collect(),
            term: Term(0),
            leader: 0,
            net: Vec::new(),
            proposals: Vec::new(),
            asked: BTreeMap::new(),
            next_asker: 0,
            files,
            stamps: 0,
            wild: false,
            written: 0,
            looked_at: 0,
            torn: BTreeSet::new(),
        };
        for host in 0..NODES as usize {
            world.hosts.push(Host {
                keeper: world.keeper(1, &seed.child("host").index(host as u64)),
                life: 1,
                conns: 0,
                leads: None,
            });
        }
        world.elect(0);
        world
    }

    fn keeper(&self, life: u64, seed: &Seed) -> Keeper {
        let mut keeper = Keeper::new(options(), life, seed.rng());
        keeper.set_nodes(&(0..NODES).map(NodeId).collect());
        for info in self.bed.tree.chunkservers().unwrap() {
            let (csid, registration) = (info.csid, info.registration);
            keeper
                .on_registered(csid, registration, &self.bed.tree)
                .unwrap();
        }
        keeper
    }

    fn elect(&mut self, host: usize) {
        self.term = Term(self.term.0 + 1);
        self.leader = host;
        for (other, it) in self.hosts.iter_mut().enumerate() {
            if other == host {
                it.keeper.on_term(self.term);
                it.leads = Some(self.term);
                it.keeper.set_leads(Some(self.term));
                it.keeper.set_lease(true);
            } else {
                // Its lease is over, which is what a new leader has waited for.
                it.keeper.set_lease(false);
            }
        }
        self.act(host);
    }

    /// A deposed leader, or a follower, hears of the present term.
    fn hear_term(&mut self, host: usize) {
        let term = self.term;
        let it = &mut self.hosts[host];
        it.keeper.on_term(term);
        if it.leads.is_some_and(|led| led < term) {
            it.leads = None;
            it.keeper.set_leads(None);
        }
        self.act(host);
    }

    fn restart(&mut self, host: usize) {
        let life = self.hosts[host].life + 1;
        let seed = Seed::from_u64(self.rng.next_u64());
        let keeper = self.keeper(life, &seed);
        let conns = self.hosts[host].conns;
        self.hosts[host] = Host {
            keeper,
            life,
            conns,
            leads: None,
        };
        self.hosts[host].keeper.on_term(self.term);
        for server in &mut self.servers {
            if server.at.is_some_and(|(at, _)| at == host) {
                server.at = None;
                server.orders.clear();
            }
        }
        // What was asked there is lost with it.
        let here = |asker: &Asker| asker.0 % NODES == host as u64;
        let lost: Vec<Asker> = self.asked.keys().copied().filter(here).collect();
        for asker in lost {
            self.end_in_doubt(asker);
        }
        self.proposals.retain(|(at, ..)| *at != host);
        if self.leader == host {
            let next = (host + 1 + self.rng.below(NODES - 1) as usize) % NODES as usize;
            self.elect(next);
        }
    }

    // Chunkservers.

    fn connect(&mut self, server: usize) {
        let host = self.rng.below(NODES) as usize;
        let csid = self.servers[server].csid;
        let address = Address {
            ip: Ipv4Addr::new(10, 0, 0, csid.0 as u8),
            port: 9422,
        };
        let outcome = self.apply(Op::RegisterChunkserver { csid, address });
        let Ok(Reply::ChunkserverRegistered {
            csid: got,
            registration,
        }) = outcome.result
        else {
            panic!("{:?}", outcome.result);
        };
        assert_eq!(got, csid);
        if self.wild && self.rng.below(4) == 0 {
            // Its registration was sent twice, and it hears of the first.
            self.apply(Op::RegisterChunkserver { csid, address });
        }
        let it = &mut self.hosts[host];
        it.conns += 1;
        let conn = ConnId(it.conns);
        let space = Space {
            used: 1 << 30,
            total: 1 << 40,
            ..Space::default()
        };
        it.keeper.on_report(
            conn,
            Report::Joined(Joined {
                csid,
                registration,
                address,
                version: 0x0003_00EA,
                space,
            }),
        );
        let copies: Vec<Copy> = self.servers[server]
            .disk
            .iter()
            .map(|(chunk, (version, _))| Copy {
                chunk: *chunk,
                version: *version,
                to_remove: false,
            })
            .collect();
        it.keeper.on_report(conn, Report::Found(copies));
        it.keeper.on_report(conn, Report::Listed);
        self.servers[server].at = Some((host, conn));
        self.servers[server].orders.clear();
        self.act(host);
    }

    fn disconnect(&mut self, server: usize) {
        let Some((host, conn)) = self.servers[server].at.take() else {
            return;
        };
        self.servers[server].orders.clear();
        self.hosts[host].keeper.on_report(conn, Report::Gone);
        self.act(host);
    }

    fn serve(&mut self, server: usize) {
        let it = &mut self.servers[server];
        if it.orders.is_empty() {
            return;
        }
        let at = self.rng.below(it.orders.len() as u64) as usize;
        let order = it.orders.remove(at);
        let status = u8::from(!self.carry_out(server, &order));
        let Some((host, conn)) = self.servers[server].at else {
            return;
        };
        let (kind, chunk) = (order.kind(), order.chunk());
        self.hosts[host].keeper.on_report(
            conn,
            Report::Done {
                kind,
                chunk,
                status,
            },
        );
        self.act(host);
    }

    /// Whether an order could be carried out.
    fn carry_out(&mut self, server: usize, order: &Order) -> bool {
        // A copy that cannot be given a version is lost; that may not happen to the last one.
        let changes = matches!(order, Order::SetVersion { .. } | Order::Truncate { .. });
        if self.wild && !changes && self.rng.chance(1, 30) {
            return false;
        }
        if let Order::Replicate {
            chunk,
            version,
            source,
        } = *order
        {
            let at = usize::from(source.ip.octets()[3]) - 1;
            let found = self.servers[at].disk.get(&chunk).copied();
            let disk = &mut self.servers[server].disk;
            return match found {
                Some((has, content)) if has == version && !disk.contains_key(&chunk) => {
                    disk.insert(chunk, (version, content));
                    true
                }
                _ => false,
            };
        }
        let disk = &mut self.servers[server].disk;
        match *order {
            Order::Create { chunk, version } => {
                if disk.contains_key(&chunk) {
                    return false;
                }
                disk.insert(chunk, (version, (0, false)));
                true
            }
            Order::SetVersion { chunk, from, to } => match disk.get_mut(&chunk) {
                Some(copy) if copy.0 == from => {
                    copy.0 = to;
                    true
                }
                _ => false,
            },
            Order::Truncate {
                chunk, from, to, ..
            } => match disk.get_mut(&chunk) {
                Some(copy) if copy.0 == from => {
                    *copy = (to, (copy.1.0, true));
                    true
                }
                _ => false,
            },
            Order::Duplicate {
                chunk,
                version,
                from,
                from_version,
            }
            | Order::DupTrunc {
                chunk,
                version,
                from,
                from_version,
                ..
            } => {
                let cut = matches!(order, Order::DupTrunc { .. });
                match disk.get(&from).copied() {
                    Some((has, content)) if has == from_version && !disk.contains_key(&chunk) => {
                        disk.insert(chunk, (version, (content.0, content.1 || cut)));
                        true
                    }
                    _ => false,
                }
            }
            Order::Delete { chunk } => disk.remove(&chunk).is_some(),
            Order::Replicate { .. } => unreachable!("carried out above"),
        }
    }

    // The tree.

    fn apply(&mut self, op: Op) -> Outcome {
        self.apply_by(None, op)
    }

    /// Applies a command that was proposed by a leader of this term.
    fn apply_by(&mut self, by: Option<usize>, op: Op) -> Outcome {
        self.bed.now = 1_000 + (self.now.since(Instant::ZERO).as_micros() / 1_000_000) as u32;
        let command = self.bed.command(None, op);
        let outcome = self.bed.apply(&command);
        for host in 0..self.hosts.len() {
            let ours = Some(host) == by;
            let keeper = &mut self.hosts[host].keeper;
            for notice in &outcome.notices {
                match *notice {
                    Notice::ChunkserverRegistered { csid, registration } => keeper
                        .on_registered(csid, registration, &self.bed.tree)
                        .unwrap(),
                    Notice::ChunkUnused { chunk, .. } if host == self.leader => {
                        keeper.on_unused(chunk);
                    }
                    _ => {}
                }
            }
            if ours
                && let Ok(
                    Reply::Chunk {
                        chunk,
                        version,
                        action,
                        ..
                    }
                    | Reply::TruncateChunk {
                        chunk,
                        version,
                        action,
                        ..
                    },
                ) = outcome.result
                && action != crate::namespace::op::ChunkAction::Kept
            {
                keeper.on_raised(chunk, version);
            }
        }
        outcome
    }

    fn decide_proposal(&mut self) {
        if self.proposals.is_empty() {
            return;
        }
        let (host, term, ticket, op) = self.proposals.remove(0);
        let came = if term == self.term && self.hosts[host].leads == Some(term) {
            let outcome = self.apply_by(Some(host), op.clone());
            match outcome.result {
                Ok(_) => Came::Done,
                Err(_) => Came::Refused,
            }
        } else {
            Came::Nothing
        };
        let keeper = &mut self.hosts[host].keeper;
        keeper.on_proposed(ticket, came, &self.bed.tree).unwrap();
        self.act_with(host, matches!(came, Came::Done));
    }

    // Messages.

    fn act(&mut self, host: usize) {
        self.act_with(host, false);
    }

    fn act_with(&mut self, host: usize, ended: bool) {
        let wall = WallTime(1_000 + (self.now.since(Instant::ZERO).as_micros() / 1_000_000) as u32);
        let keeper = &mut self.hosts[host].keeper;
        keeper.set_now(self.now, wall);
        keeper.run(&self.bed.tree).unwrap();
        keeper.check();
        for act in keeper.take_acts() {
            match act {
                Act::Send(to, talk) => self.net.push((host, to.0 as usize, talk)),
                Act::Order(conn, _, order) => {
                    let at = self.servers.iter_mut();
                    let mut found = at.filter(|it| it.at == Some((host, conn)));
                    if let Some(server) = found.next() {
                        let busy = server.orders.iter().any(|it| it.chunk() == order.chunk());
                        assert!(!busy, "two orders for {} at once", order.chunk());
                        server.orders.push(order);
                    }
                }
                Act::Unseat(conn, _) => {
                    let at = self.servers.iter_mut();
                    let mut found = at.filter(|it| it.at == Some((host, conn)));
                    if let Some(server) = found.next() {
                        server.at = None;
                        server.orders.clear();
                    }
                    self.hosts[host].keeper.on_report(conn, Report::Gone);
                }
                Act::Propose(ticket, op) => {
                    let term = self.hosts[host].leads.unwrap_or_default();
                    self.proposals.push((host, term, ticket, op));
                }
                Act::Answer(asker, answer) => self.on_answer(asker, answer),
                Act::AnswerOutcome(asker, _) => self.on_cut(asker, ended),
                Act::AskAgain(asker) => self.end_in_doubt(asker),
                Act::Report(_) => {}
            }
        }
    }

    fn deliver(&mut self) {
        if self.net.is_empty() {
            return;
        }
        let at = match self.wild {
            true => self.rng.below(self.net.len() as u64) as usize,
            false => 0,
        };
        let (from, to, talk) = match self.wild && self.rng.chance(1, 20) {
            true => self.net[at].clone(),
            false => self.net.remove(at),
        };
        if self.wild && from != to && self.rng.chance(1, 10) {
            return;
        }
        let keeper = &mut self.hosts[to].keeper;
        keeper
            .on_talk(NodeId(from as u64), talk, &self.bed.tree)
            .unwrap();
        self.act(to);
    }

    // Clients.

    fn asker(&mut self, host: usize) -> Asker {
        self.next_asker += 1;
        Asker(self.next_asker * NODES + host as u64)
    }

    fn wish(&mut self, host: usize, asked: Asked, wish: ChunkWish) {
        let asker = self.asker(host);
        match asked {
            Asked::Write { file, .. } | Asked::Cut { file } => self.files[file].busy = true,
            Asked::Read { .. } | Asked::Repair => {}
        }
        self.asked.insert(asker, asked);
        let keeper = &mut self.hosts[host].keeper;
        keeper.on_wish(asker, wish, &self.bed.tree).unwrap();
        self.act(host);
    }

    fn begin_write(&mut self, file: usize) {
        let (caller, inode) = (root(), self.files[file].inode);
        let info = self.bed.tree.chunk_at(inode, 0).unwrap();
        let op = Op::WriteChunk {
            caller,
            inode,
            index: 0,
            go_on: false,
            chunk_moved: false,
            may_touch_times: false,
        };
        let outcome = self.apply_by(Some(self.leader), op);
        let Ok(Reply::Chunk {
            chunk,
            version,
            length,
            ..
        }) = outcome.result
        else {
            if let Some(info) = info.filter(|info| info.unsettled.is_some()) {
                let keeper = &mut self.hosts[self.leader].keeper;
                keeper.settle(info.chunk, &self.bed.tree).unwrap();
                self.act(self.leader);
            }
            return;
        };
        let wish = ChunkWish::Write {
            inode,
            index: 0,
            chunk,
            version,
            length,
        };
        self.wish(self.leader, Asked::Write { file, chunk }, wish);
    }

    /// A client asks for a cut; `forsaken` when it is gone before it asks for it to be made.
    fn begin_cut(&mut self, file: usize, forsaken: bool) {
        let (caller, inode) = (root(), self.files[file].inode);
        let op = Op::Truncate {
            caller: caller.clone(),
            inode,
            length: 10,
            mode: TruncateMode::Path,
        };
        let outcome = self.apply_by(Some(self.leader), op);
        let Ok(Reply::TruncateChunk { index, chunk, .. }) = outcome.result else {
            return;
        };
        // It may be cut from now on, whatever comes of it.
        let cut = self.files[file].may.iter().map(|(by, _)| (*by, true));
        let cut: Vec<Content> = cut.collect();
        self.files[file].may.extend(cut);
        if forsaken {
            return;
        }
        let end = Box::new(Op::TruncateEnd {
            caller,
            inode,
            index,
            chunk,
            length: 10,
        });
        self.wish(
            self.leader,
            Asked::Cut { file },
            ChunkWish::Cut { chunk, end },
        );
    }

    fn begin_read(&mut self, file: usize) {
        let host = self.rng.below(NODES) as usize;
        let (caller, inode) = (root(), self.files[file].inode);
        let query = Query::ReadChunk {
            caller,
            inode,
            index: 0,
        };
        let Ok(Answer::Chunk { info, length }) = self.bed.ask(query) else {
            return;
        };
        if info.chunk == ChunkId::HOLE {
            return self.judge(file, (0, false), &BTreeSet::new(), "a hole");
        }
        let asked = Asked::Read {
            file,
            chunk: info.chunk,
            might: self.files[file].may.clone(),
        };
        self.wish(host, asked, ChunkWish::Read { info, length });
    }

    fn begin_repair(&mut self, file: usize) {
        let inode = self.files[file].inode;
        let indexes = vec![0];
        let wish = ChunkWish::Repair { inode, indexes };
        self.wish(self.leader, Asked::Repair, wish);
    }

    fn snapshot(&mut self, file: usize) {
        let flags = SnapshotFlags {
            overwrite: true,
            ..SnapshotFlags::default()
        };
        let name = format!("copy{file}").into_bytes();
        let op = Op::Snapshot {
            caller: root(),
            src: self.files[file].inode,
            dst_parent: ROOT,
            name,
            flags,
            umask: 0,
        };
        let _ = self.apply(op);
    }

    fn end_in_doubt(&mut self, asker: Asker) {
        match self.asked.remove(&asker) {
            Some(Asked::Write { file, .. } | Asked::Cut { file }) => self.files[file].busy = false,
            Some(Asked::Read { .. } | Asked::Repair) | None => {}
        }
    }

    fn on_answer(&mut self, asker: Asker, answer: ChunkAnswer) {
        if let ChunkAnswer::Repaired(came) = answer {
            assert_eq!((came.erased, came.repaired), (0, 0), "all data is there");
            self.looked_at += came.unchanged;
        }
        let ChunkAnswer::Located(located) = answer else {
            return self.end_in_doubt(asker);
        };
        match self.asked.remove(&asker) {
            Some(Asked::Write { file, chunk }) => self.write(file, chunk, &located),
            Some(Asked::Read { file, chunk, might }) => self.read(file, chunk, &might, &located),
            Some(Asked::Cut { file }) => self.files[file].busy = false,
            Some(Asked::Repair) | None => {}
        }
    }

    /// A client writes to all who have the chunk, or to some and gives up.
    fn write(&mut self, file: usize, chunk: ChunkId, located: &Located) {
        self.stamps += 1;
        let stamp = (self.stamps, false);
        let mut all = !located.holders.is_empty();
        for holder in &located.holders {
            let server = &mut self.servers[usize::from(holder.csid.0) - 1];
            match server.disk.get_mut(&chunk) {
                Some(copy) if copy.0 == located.version => copy.1 = stamp,
                _ => {
                    all = false;
                    break;
                }
            }
        }
        let it = &mut self.files[file];
        it.busy = false;
        if all {
            it.may = BTreeSet::from([stamp]);
            self.torn.remove(&chunk);
        } else {
            it.may.insert(stamp);
            self.torn.insert(chunk);
        }
        self.written += usize::from(all);
        let inode = it.inode;
        if all || self.rng.chance(1, 2) {
            let op = Op::WriteChunkEnd {
                caller: root(),
                inode,
                index: 0,
                chunk,
                length: 100,
                may_touch_times: false,
            };
            let _ = self.apply(op);
        }
    }

    fn on_cut(&mut self, asker: Asker, done: bool) {
        if let Some(Asked::Cut { file }) = self.asked.remove(&asker) {
            let it = &mut self.files[file];
            it.busy = false;
            if done {
                it.may.retain(|(_, cut)| *cut);
            }
        }
    }

    fn read(&mut self, file: usize, chunk: ChunkId, might: &BTreeSet<Content>, located: &Located) {
        for holder in &located.holders {
            let server = &self.servers[usize::from(holder.csid.0) - 1];
            // A server refuses to read what is not of the version asked for.
            if let Some((version, content)) = server.disk.get(&chunk).copied()
                && version == located.version
            {
                let csid = server.csid;
                self.judge(
                    file,
                    content,
                    might,
                    &format!("{chunk} v{version} at {csid}"),
                );
            }
        }
    }

    fn judge(&self, file: usize, content: Content, might: &BTreeSet<Content>, what: &str) {
        let may = &self.files[file].may;
        assert!(
            may.contains(&content) || might.contains(&content),
            "file {file}: {what} holds {content:?}, may hold {may:?}"
        );
    }

    // What happens.

    fn step(&mut self) {
        self.now = self.now + Duration::from_millis(self.rng.below(20));
        for _ in 0..3 {
            self.deliver();
        }
        let server = self.rng.below(u64::from(SERVERS)) as usize;
        self.serve(server);
        if self.rng.chance(2, 3) {
            self.decide_proposal();
        }
        let host = self.rng.below(NODES) as usize;
        self.act(host);
    }

    fn ask_something(&mut self) {
        let file = self.rng.below(FILES as u64) as usize;
        match self.rng.below(12) {
            0..=4 if !self.files[file].busy => self.begin_write(file),
            5 if !self.files[file].busy => {
                let forsaken = self.wild && self.rng.chance(1, 4);
                self.begin_cut(file, forsaken);
            }
            6 => self.snapshot(file),
            7..=9 if !self.files[file].busy => self.begin_read(file),
            10 => self.begin_repair(file),
            _ => {}
        }
    }

    /// Everybody is connected.
    pub fn settle_in(&mut self) {
        for server in 0..usize::from(SERVERS) {
            if self.servers[server].at.is_none() {
                self.connect(server);
            }
        }
        for _ in 0..300 {
            self.step();
        }
    }

    pub fn storm(&mut self, steps: usize) {
        self.settle_in();
        self.wild = true;
        for _ in 0..steps {
            self.step();
            if self.rng.chance(1, 3) {
                self.ask_something();
            }
            let server = self.rng.below(u64::from(SERVERS)) as usize;
            match self.rng.below(120) {
                0 => self.disconnect(server),
                1..=6 if self.servers[server].at.is_none() => self.connect(server),
                7 if self.rng.chance(1, 3) => {
                    let host = self.rng.below(NODES) as usize;
                    if host != self.leader {
                        self.elect(host);
                    }
                }
                8..=12 => {
                    let host = self.rng.below(NODES) as usize;
                    self.hear_term(host);
                }
                13 if self.rng.chance(1, 4) => {
                    let host = self.rng.below(NODES) as usize;
                    self.restart(host);
                }
                14 => {
                    let (a, b) = (self.rng.below(NODES), self.rng.below(NODES));
                    if a != b {
                        let reachable = self.rng.chance(2, 3);
                        let keeper = &mut self.hosts[a as usize].keeper;
                        keeper.on_peer(NodeId(b), reachable);
                    }
                }
                // The lock of a client that has gone runs out.
                15 => self.now = self.now + Duration::from_secs(self.rng.below(130)),
                _ => {}
            }
        }
        self.wild = false;
    }

    pub fn write_and_wait(&mut self) {
        let before = self.written;
        let file = self.rng.below(FILES as u64) as usize;
        self.begin_write(file);
        for _ in 0..200 {
            if self.written > before {
                return;
            }
            self.step();
        }
        panic!("nobody was told where to write");
    }

    /// A cut is committed and its client is gone: whoever reads has it made.
    pub fn forsake_a_cut(&mut self) {
        self.write_and_wait();
        let file = (0..FILES).find(|file| self.files[*file].may.iter().all(|it| it.0 > 0));
        let file = file.expect("one was written");
        self.begin_cut(file, true);
        let (tree, inode) = (&self.bed.tree, self.files[file].inode);
        let info = tree.chunk_at(inode, 0).unwrap().expect("a chunk");
        assert!(info.unsettled.is_some_and(|it| it.cut.is_some()));
        for _ in 0..40 {
            self.begin_read(file);
            self.step();
        }
        let info = self.bed.tree.chunk_at(inode, 0).unwrap();
        assert_eq!(info.expect("a chunk").unsettled, None, "the cut was made");
        assert_eq!(self.bed.attr(inode).length, 10);
    }

    /// All is well again, and after a while it looks like that.
    pub fn calm(&mut self) {
        self.wild = false;
        for host in 0..NODES as usize {
            self.hear_term(host);
            for other in 0..NODES {
                let keeper = &mut self.hosts[host].keeper;
                if other != host as u64 {
                    keeper.on_peer(NodeId(other), true);
                }
            }
        }
        self.settle_in();
        self.now = self.now + Duration::from_secs(130);
        for _ in 0..6_000 {
            self.step();
        }
        for file in 0..FILES {
            assert!(!self.files[file].busy, "file {file} is waited for");
            self.begin_write(file);
            for _ in 0..400 {
                self.step();
            }
            assert!(!self.files[file].busy, "file {file} can be written");
            assert_eq!(self.files[file].may.len(), 1, "file {file} was written");
            for _ in 0..5 {
                self.begin_read(file);
                self.step();
            }
        }
        for _ in 0..6_000 {
            self.step();
        }
        self.judge_disks();
    }

    /// Every chunk has as many copies as are wanted, all alike, and there are no others.
    fn judge_disks(&mut self) {
        let chunks = self.bed.tree.chunks_after(None, 1_000).unwrap();
        let mut known = BTreeSet::new();
        for info in chunks {
            assert!(info.references > 0, "{} is forgotten", info.chunk);
            assert_eq!(info.unsettled, None, "{} is settled", info.chunk);
            known.insert(info.chunk);
            let copies = self
                .servers
                .iter()
                .filter_map(|it| it.disk.get(&info.chunk));
            let copies: Vec<(u32, Content)> = copies.copied().collect();
            assert_eq!(
                copies.len(),
                usize::from(GOAL),
                "copies of {info:?}: {copies:?}"
            );
            for copy in &copies {
                let alike = copy == &copies[0] || self.torn.contains(&info.chunk);
                assert!(alike, "copies of {} are alike: {copies:?}", info.chunk);
                assert_eq!(copy.0, info.version, "of {}", info.chunk);
            }
        }
        for server in &self.servers {
            for chunk in server.disk.keys() {
                assert!(
                    known.contains(chunk),
                    "{chunk} is a stray at {}",
                    server.csid
                );
            }
        }
    }
}
