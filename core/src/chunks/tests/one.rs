//! One keeper that leads, and chunkservers that do at once what they are told.

mod doubt;
mod even;
mod lacking;
mod newer;
mod orders;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use crate::chunks::jobs::{Came, Ticket};
use crate::chunks::keeper::{Act, Asker};
use crate::chunks::relay::Effects;
use crate::chunks::{
    Address, ChunkAnswer, ChunkWish, ConnId, Copy, Joined, Keeper, Options, Order, Refusal,
    Repairs, Report, Space, Talk,
};
use crate::id::{ChunkId, CsId, InodeId, NodeId, Term};
use crate::namespace::KnownChunk;
use crate::namespace::op::{
    Answer, ChunkAction, ChunkInfo, ClassMode, Op, Query, Reply, SetMode, StorageClass,
};
use crate::namespace::testing::{Bed, ROOT, root, unlink};
use crate::rng::Seed;
use crate::time::{Duration, Instant, WallTime};

const NODE: NodeId = NodeId(1);

/// A chunkserver: its registration, and its disk.
struct Server {
    conn: ConnId,
    there: bool,
    disk: BTreeMap<ChunkId, u32>,
}

struct One {
    bed: Bed,
    keeper: Keeper,
    servers: BTreeMap<CsId, Server>,
    answers: BTreeMap<Asker, ChunkAnswer>,
    /// Orders are given, and nothing is heard of them.
    slow: bool,
    /// Those.
    left_undone: Vec<(ConnId, Order)>,
    /// Chunks that no chunkserver can delete.
    stuck: BTreeSet<ChunkId>,
    /// Proposals are kept here, and not decided.
    held: Option<Vec<(Ticket, Op)>>,
    /// What the keeper says to itself is kept here, and not heard.
    unheard: Option<Vec<Talk>>,
    again: BTreeSet<Asker>,
    reports: Vec<String>,
    /// Copies cannot be made, and how many were tried.
    copies_fail: bool,
    copies_tried: usize,
    /// Chunks that were copied, in order.
    copied: Vec<ChunkId>,
    now: Instant,
    next: u64,
}

const GIB: u64 = 1 << 30;

/// Looks at chunks often.
fn eager() -> Options {
    Options {
        upkeep_delay: Duration::from_millis(1),
        upkeep_tick: Duration::from_millis(10),
        upkeep_pause: Duration::from_millis(10),
        absence: Duration::from_secs(1),
        ..sure()
    }
}

/// Nobody doubts that the state is the newest.
fn sure() -> Options {
    Options {
        doubt: Duration::ZERO,
        ..Options::default()
    }
}

/// One copy at a time, and nothing is moved.
fn one_by_one() -> Options {
    Options {
        receives_max: 1,
        balance_accepted_percent: 100,
        ..eager()
    }
}

fn keeper(options: Options, life: u64) -> Keeper {
    let mut keeper = Keeper::new(options, life, Seed::from_u64(1).rng());
    keeper.set_nodes(&BTreeSet::from([NODE]));
    keeper
}

impl One {
    fn new() -> Self {
        Self::with(Options {
            upkeep_delay: Duration::from_secs(1_000_000),
            ..sure()
        })
    }

    fn with(options: Options) -> Self {
        Self {
            bed: Bed::new(),
            keeper: keeper(options, 1),
            servers: BTreeMap::new(),
            answers: BTreeMap::new(),
            slow: false,
            left_undone: Vec::new(),
            stuck: BTreeSet::new(),
            held: None,
            unheard: None,
            again: BTreeSet::new(),
            reports: Vec::new(),
            copies_fail: false,
            copies_tried: 0,
            copied: Vec::new(),
            now: Instant::ZERO,
            next: 0,
        }
    }

    fn lead(&mut self, term: u64) {
        self.keeper.on_term(Term(term));
        self.keeper.set_leads(None);
        self.keeper.set_leads(Some(Term(term)));
        self.keeper.set_lease(true);
        self.run();
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        self.run();
    }

    fn run(&mut self) {
        loop {
            let seconds = (self.now.since(Instant::ZERO).as_micros() / 1_000_000) as u32;
            self.bed.now = 1_000 + seconds;
            self.keeper.set_now(self.now, WallTime(self.bed.now));
            self.keeper.run(&self.bed.tree).unwrap();
            self.keeper.check();
            let acts = self.keeper.take_acts();
            if acts.is_empty() {
                return;
            }
            for act in acts {
                self.carry_out(act);
            }
        }
    }

    fn carry_out(&mut self, act: Act) {
        match act {
            Act::Send(to, talk) => {
                assert_eq!(to, NODE);
                if let Some(unheard) = &mut self.unheard {
                    return unheard.push(talk);
                }
                self.keeper.on_talk(NODE, talk, &self.bed.tree).unwrap();
            }
            Act::Order(conn, _, order) if self.slow => self.left_undone.push((conn, order)),
            Act::Order(conn, _, order) => self.order(conn, &order),
            Act::Propose(ticket, op) => match &mut self.held {
                Some(held) => held.push((ticket, op)),
                None => self.decide(ticket, op),
            },
            Act::Answer(asker, answer) => {
                assert_eq!(self.answers.insert(asker, answer), None, "answered once");
            }
            Act::AskAgain(asker) => {
                self.again.insert(asker);
            }
            Act::Unseat(conn, _) => self.keeper.on_report(conn, Report::Gone),
            Act::Report(said) => self.reports.push(said),
            other => panic!("{other:?}"),
        }
    }

    fn decide(&mut self, ticket: Ticket, op: Op) {
        let came = match self.bed.run(op) {
            Ok(_) => Came::Done,
            Err(_) => Came::Refused,
        };
        self.keeper
            .on_proposed(ticket, came, &self.bed.tree)
            .unwrap();
    }

    fn order(&mut self, conn: ConnId, order: &Order) {
        let server = self.servers.values_mut().find(|it| it.conn == conn);
        let disk = &mut server.expect("it is somebody's").disk;
        let done = match *order {
            Order::Create { chunk, version } => disk.insert(chunk, version).is_none(),
            Order::SetVersion { chunk, from, to } => {
                let found = disk.get(&chunk) == Some(&from);
                found && disk.insert(chunk, to).is_some()
            }
            Order::Duplicate {
                chunk,
                version,
                from,
                from_version,
            } => disk.get(&from) == Some(&from_version) && disk.insert(chunk, version).is_none(),
            Order::Replicate {
                chunk,
                version,
                source,
            } => {
                self.copies_tried += 1;
                let is_made = !self.copies_fail && !disk.contains_key(&chunk);
                if is_made {
                    disk.insert(chunk, version);
                    self.copied.push(chunk);
                }
                let ip = u16::from(source.ip.octets()[3]);
                let given = self.servers[&CsId(ip)].disk.get(&chunk);
                assert_eq!(given, Some(&version), "who gives it has it");
                is_made
            }
            Order::Delete { chunk } => {
                !self.stuck.contains(&chunk) && disk.remove(&chunk).is_some()
            }
            ref other => panic!("{other:?}"),
        };
        let (kind, chunk) = (order.kind(), order.chunk());
        let status = u8::from(!done);
        let report = Report::Done {
            kind,
            chunk,
            status,
        };
        self.keeper.on_report(conn, report);
    }

    /// A chunkserver registers, and names what it has unless it is to go on looking for it.
    fn join(&mut self, number: u16, names_all: bool) {
        let csid = CsId(number);
        let address = Address {
            ip: Ipv4Addr::new(10, 0, 0, number as u8),
            port: 9422,
        };
        let reply = self.bed.ok(Op::RegisterChunkserver { csid, address });
        let Reply::ChunkserverRegistered { registration, .. } = reply else {
            panic!("{reply:?}");
        };
        self.keeper
            .on_registered(csid, registration, &self.bed.tree)
            .unwrap();
        self.next += 1;
        let conn = ConnId(self.next);
        let disk = match self.servers.remove(&csid) {
            Some(server) => server.disk,
            None => BTreeMap::new(),
        };
        let copies = disk.iter().map(|(chunk, version)| Copy {
            chunk: *chunk,
            version: *version,
            to_remove: false,
        });
        let found = Report::Found(copies.collect());
        let there = true;
        self.servers.insert(csid, Server { conn, there, disk });
        let space = Space {
            used: 1 << 30,
            total: 1 << 40,
            ..Space::default()
        };
        let joined = Joined {
            csid,
            registration,
            address,
            version: 0x0003_00EA,
            space,
        };
        self.keeper.on_report(conn, Report::Joined(joined));
        self.keeper.on_report(conn, found);
        if names_all {
            self.keeper.on_report(conn, Report::Listed);
        }
        self.run();
    }

    fn leave(&mut self, number: u16) {
        let server = self.servers.get_mut(&CsId(number)).unwrap();
        assert!(std::mem::take(&mut server.there), "it was there");
        self.keeper.on_report(server.conn, Report::Gone);
        self.run();
    }

    fn disk(&mut self, number: u16) -> &mut BTreeMap<ChunkId, u32> {
        &mut self.servers.get_mut(&CsId(number)).unwrap().disk
    }

    /// What a wish comes to; `None` when it waits, or has to be asked again.
    fn wish(&mut self, wish: ChunkWish) -> Option<ChunkAnswer> {
        self.next += 1;
        let asker = Asker(self.next);
        self.keeper.on_wish(asker, wish, &self.bed.tree).unwrap();
        self.run();
        self.answers.remove(&asker)
    }

    /// A new file with one chunk, as written at every chunkserver that it was put on.
    fn file(&mut self, name: &str) -> (InodeId, ChunkInfo) {
        let inode = self.bed.file(&root(), ROOT, name);
        let info = self.write(inode);
        (inode, info)
    }

    /// A client wants to write, and does not ask where yet.
    fn begin(&mut self, inode: InodeId, chunk_moved: bool) -> ChunkWish {
        let reply = self.bed.ok(Op::WriteChunk {
            caller: root(),
            inode,
            index: 0,
            go_on: false,
            chunk_moved,
            may_touch_times: false,
        });
        let Reply::Chunk {
            chunk,
            version,
            length,
            action,
        } = reply
        else {
            panic!("{reply:?}");
        };
        if action != ChunkAction::Kept {
            self.keeper.on_raised(chunk, version);
        }
        ChunkWish::Write {
            inode,
            index: 0,
            chunk,
            version,
            length,
        }
    }

    /// A client begins to write and ends it, and never asks where: the chunk is not made.
    fn end_unmade(&mut self, inode: InodeId) {
        self.begin(inode, false);
        let chunk = self.info(inode).chunk;
        self.end(inode, chunk);
    }

    fn end(&mut self, inode: InodeId, chunk: ChunkId) {
        self.bed.ok(Op::WriteChunkEnd {
            caller: root(),
            inode,
            index: 0,
            chunk,
            length: 10,
            may_touch_times: false,
        });
    }

    /// Another file shares the chunk of this one.
    fn share(&mut self, src: InodeId, name: &str) -> InodeId {
        let dst = self.bed.file(&root(), ROOT, name);
        self.bed.ok(Op::AppendSlice {
            caller: root(),
            dst,
            src,
            from: 0,
            to: 1,
        });
        dst
    }

    fn write(&mut self, inode: InodeId) -> ChunkInfo {
        let wish = self.begin(inode, false);
        let chunk = self.info(inode).chunk;
        let answer = self.wish(wish);
        assert!(
            matches!(answer, Some(ChunkAnswer::Located(_))),
            "{answer:?}"
        );
        self.end(inode, chunk);
        self.info(inode)
    }

    fn info(&self, inode: InodeId) -> ChunkInfo {
        self.bed.tree.chunk_at(inode, 0).unwrap().unwrap()
    }
}

impl One {
    fn passes(&mut self) {
        for _ in 0..100 {
            self.pass(Duration::from_millis(100));
        }
    }

    /// A chunkserver says how full it is.
    fn tells(&mut self, number: u16, used: u64, total: u64) {
        let space = Space {
            used,
            total,
            ..Space::default()
        };
        self.report(number, Report::Space(space));
    }

    fn copies(&self, chunk: ChunkId) -> usize {
        let disks = self.servers.values().map(|it| &it.disk);
        disks.filter(|disk| disk.contains_key(&chunk)).count()
    }
}

#[test]
fn who_does_not_lead_yet_does_not_judge_a_lock_that_it_may_not_have_heard_of() {
    let mut one = One::new();
    one.lead(1);
    one.join(1, true);
    let (inode, info) = one.file("file");
    one.end(inode, info.chunk);
    let wish = ChunkWish::Write {
        inode,
        index: 0,
        chunk: info.chunk,
        version: info.version,
        length: 10,
    };
    one.keeper.set_leads(None);
    assert_eq!(one.wish(wish.clone()), None);
    assert!(one.again.contains(&Asker(one.next)));
    one.lead(2);
    let refused = Some(ChunkAnswer::Refused(Refusal::Again));
    assert_eq!(one.wish(wish), refused, "nobody has it locked");
}

#[test]
fn a_chunk_that_no_file_has_any_more_is_not_lost_for_who_still_reads_it() {
    let mut one = One::new();
    one.lead(1);
    one.join(1, true);
    let (inode, info) = one.file("file");
    one.end(inode, info.chunk);
    one.bed.ok(Op::Truncate {
        caller: root(),
        inode,
        length: 0,
        mode: crate::namespace::op::TruncateMode::Opened,
    });
    one.disk(1).clear();
    one.keeper
        .on_report(one.servers[&CsId(1)].conn, Report::Lost(vec![info.chunk]));
    one.pass(Duration::from_secs(61));
    let refused = Some(ChunkAnswer::Refused(Refusal::Again));
    assert_eq!(one.wish(ChunkWish::Read { info, length: 10 }), refused);
}

#[test]
fn a_chunk_that_could_not_be_made_is_not_locked_for_who_shares_it() {
    let mut one = One::new();
    one.lead(1);
    one.join(1, true);
    let inode = one.bed.file(&root(), ROOT, "file");
    let other = one.bed.file(&root(), ROOT, "other");
    let wish = one.begin(inode, false);
    let chunk = one.info(inode).chunk;
    one.bed.ok(Op::WriteChunkEnd {
        caller: root(),
        inode,
        index: 0,
        chunk,
        length: 10,
        may_touch_times: false,
    });
    let again = one.begin(inode, false);
    assert_eq!(again, wish_of_length(wish, 10));
    one.bed.ok(Op::AppendSlice {
        caller: root(),
        dst: other,
        src: inode,
        from: 0,
        to: 1,
    });
    one.bed.ok(Op::Truncate {
        caller: root(),
        inode,
        length: 0,
        mode: crate::namespace::op::TruncateMode::Opened,
    });
    // The chunkserver is gone: there is nobody to make it.
    let conn = one.servers[&CsId(1)].conn;
    one.keeper.on_report(conn, Report::Gone);
    one.run();
    let inode = other;
    let ChunkWish::Write {
        chunk,
        version,
        length,
        ..
    } = again
    else {
        panic!("it is one");
    };
    one.wish(ChunkWish::Write {
        inode,
        index: 0,
        chunk,
        version,
        length,
    });
    assert_eq!(one.info(other).locked_until, WallTime(0));
}

fn wish_of_length(wish: ChunkWish, bytes: u64) -> ChunkWish {
    match wish {
        ChunkWish::Write {
            inode,
            index,
            chunk,
            version,
            ..
        } => ChunkWish::Write {
            inode,
            index,
            chunk,
            version,
            length: bytes,
        },
        other => other,
    }
}

#[test]
fn a_place_is_told_by_a_node_that_does_not_lead_and_nobody_else_is_asked() {
    let mut one = One::new();
    one.lead(1);
    one.join(1, true);
    let (_, info) = one.file("file");
    one.keeper.set_leads(None);
    let look = |one: &mut One, info| one.wish(ChunkWish::Look { info, length: 10 });
    let Some(ChunkAnswer::Located(located)) = look(&mut one, info) else {
        panic!("it is known here");
    };
    assert_eq!((located.chunk, located.version), (info.chunk, info.version));
    assert_eq!(located.holders.len(), 1);
    assert_eq!(one.disk(1)[&info.chunk], info.version);
    let refused = Some(ChunkAnswer::Refused(Refusal::Again));
    let next = ChunkInfo {
        version: info.version + 1,
        ..info
    };
    assert_eq!(look(&mut one, next), refused, "no copy is of this version");
    one.leave(1);
    assert_eq!(look(&mut one, info), refused);
    assert_eq!(one.again, BTreeSet::new());
}

#[test]
fn places_are_to_be_forgotten_when_a_chunkserver_went_or_the_last_has_named_its_copies() {
    let mut one = One::new();
    one.join(1, false);
    one.join(2, false);
    assert!(!one.keeper.take_moved());
    let listed = |one: &mut One, number: u16| {
        let conn = one.servers[&CsId(number)].conn;
        one.keeper.on_report(conn, Report::Listed);
        one.run();
        one.keeper.take_moved()
    };
    assert!(!listed(&mut one, 1), "another is still naming its copies");
    assert!(listed(&mut one, 2));
    assert!(!one.keeper.take_moved(), "once");
    one.leave(1);
    assert!(one.keeper.take_moved());
    one.pass(Duration::from_secs(1));
    assert!(!one.keeper.take_moved());
    // A registration elsewhere takes the place of the one before.
    one.join(2, true);
    assert!(one.keeper.take_moved());
}

/// A leader that has had time to hear of every copy: one chunkserver, and a file with a chunk.
fn led() -> (One, InodeId, ChunkInfo) {
    let mut one = One::new();
    one.lead(1);
    one.join(1, true);
    let (file, info) = one.file("file");
    assert_eq!((info.version, info.unsettled), (1, None));
    one.pass(Duration::from_secs(60));
    (one, file, info)
}

impl One {
    fn repair(&mut self, inode: InodeId) -> Option<ChunkAnswer> {
        let indexes = vec![0];
        self.wish(ChunkWish::Repair { inode, indexes })
    }

    /// The state has the next version, and no chunkserver knows of it.
    fn raise_unheard(&mut self, chunk: ChunkId, version: u32) {
        self.bed.ok(Op::SetChunkVersion { chunk, version });
        self.bed.ok(Op::SettleChunk { chunk, version });
    }

    fn report(&mut self, number: u16, report: Report) {
        let conn = self.servers[&CsId(number)].conn;
        self.keeper.on_report(conn, report);
        self.run();
    }
}

#[expect(clippy::unnecessary_wraps, reason = "it is compared with what comes")]
fn came(unchanged: u32, erased: u32, repaired: u32) -> Option<ChunkAnswer> {
    Some(ChunkAnswer::Repaired(Repairs {
        unchanged,
        erased,
        repaired,
    }))
}

fn refused(refusal: Refusal) -> Option<ChunkAnswer> {
    Some(ChunkAnswer::Refused(refusal))
}

#[test]
fn a_repair_takes_the_best_copy_that_is_left_and_raises_the_version_above_all() {
    let (mut one, file, info) = led();
    let chunk = info.chunk;
    assert_eq!(one.repair(file), came(1, 0, 0), "it has a copy");
    one.raise_unheard(chunk, 2);
    one.raise_unheard(chunk, 3);
    // An older copy elsewhere is none of the best.
    one.join(2, true);
    one.disk(2).insert(chunk, 0);
    one.join(2, true);
    one.pass(Duration::from_secs(60));
    let length = 10;
    let read = |one: &mut One| {
        let info = one.info(file);
        one.wish(ChunkWish::Read { info, length })
    };
    assert_eq!(read(&mut one), refused(Refusal::Lost));
    assert_eq!(one.repair(file), came(0, 0, 1));
    let info = one.info(file);
    assert_eq!((info.version, info.unsettled), (4, None));
    assert_eq!((one.disk(1)[&chunk], one.disk(2)[&chunk]), (4, 0));
    assert!(matches!(read(&mut one), Some(ChunkAnswer::Located(_))));
    assert_eq!(one.repair(file), came(1, 0, 0));
    // Copies that are newer than this state: it may be of a backup.
    one.disk(1).insert(chunk, 9);
    one.join(1, true);
    one.pass(Duration::from_secs(60));
    assert_eq!(one.repair(file), came(0, 0, 1));
    assert_eq!(one.info(file).version, 10);
    assert_eq!(one.disk(1)[&chunk], 10);
}

#[test]
fn nothing_is_given_up_while_any_chunkserver_might_have_it() {
    let (mut one, file, info) = led();
    one.join(2, true);
    one.report(1, Report::Lost(vec![info.chunk]));
    // One has not had time to find its copies, then one is away, then it has just come back.
    assert_eq!(one.repair(file), refused(Refusal::Again));
    one.leave(2);
    one.pass(Duration::from_secs(60));
    assert_eq!(one.repair(file), refused(Refusal::NotPresent));
    one.join(2, true);
    assert_eq!(one.repair(file), refused(Refusal::Again));
    one.pass(Duration::from_secs(60));
    one.keeper.set_lease(false);
    assert_eq!(one.repair(file), refused(Refusal::Again));
    one.keeper.set_lease(true);
    assert_eq!(one.bed.attr(file).length, 10);
    assert_eq!(one.repair(file), came(0, 1, 0));
    assert_eq!(one.bed.tree.chunk_at(file, 0).unwrap(), None);
    assert_eq!(one.bed.attr(file).length, 10);
    assert_eq!(one.repair(file), came(1, 0, 0), "a hole is right");
    // What needs no change needs nobody to be there.
    let (other, _) = one.file("other");
    one.join(3, true);
    one.leave(3);
    assert_eq!(one.repair(other), came(1, 0, 0));
}

#[test]
fn a_damaged_copy_is_no_copy() {
    let (mut one, file, info) = led();
    one.raise_unheard(info.chunk, 2);
    one.report(1, Report::Damaged(vec![info.chunk]));
    assert_eq!(one.repair(file), came(0, 1, 0));
}

#[test]
fn a_repair_is_not_carried_out_on_what_was_written_since_it_was_judged() {
    let (mut one, file, info) = led();
    let chunk = info.chunk;
    one.report(1, Report::Lost(vec![chunk]));
    one.held = Some(Vec::new());
    assert_eq!(one.repair(file), None);
    let [(ticket, op)] = &one.held.take().unwrap()[..] else {
        panic!("one command is proposed");
    };
    // A writer's command came before it.
    one.raise_unheard(chunk, 2);
    one.decide(*ticket, op.clone());
    one.run();
    let answers: Vec<_> = one.answers.values().cloned().map(Some).collect();
    assert_eq!(answers, [came(1, 0, 0)]);
    assert_eq!(one.info(file).chunk, chunk);
}

#[test]
fn who_writes_a_chunk_is_left_alone_and_so_is_what_a_deposed_leader_judged() {
    let (mut one, file, info) = led();
    one.report(1, Report::Lost(vec![info.chunk]));
    one.bed.ok(Op::WriteChunk {
        caller: root(),
        inode: file,
        index: 0,
        go_on: false,
        chunk_moved: false,
        may_touch_times: false,
    });
    assert_eq!(one.repair(file), came(1, 0, 0));
    let chunk = info.chunk;
    one.bed.ok(Op::UnlockChunk { chunk });
    one.held = Some(Vec::new());
    assert_eq!(one.repair(file), None);
    assert_eq!(one.again.len(), 0);
    one.lead(2);
    assert_eq!(one.again.len(), 1, "the next leader judges anew");
    let [(ticket, _)] = &one.held.take().unwrap()[..] else {
        panic!("one command is proposed");
    };
    let done = one
        .keeper
        .on_proposed(*ticket, Came::Nothing, &one.bed.tree);
    assert_eq!(done, Ok(()));
    one.run();
    assert_eq!(one.repair(file), came(0, 1, 0));
}

#[test]
fn who_did_a_round_that_nobody_could_settle_never_has_the_version_that_is_written() {
    let mut one = One::new();
    one.lead(1);
    one.join(1, true);
    let file = one.bed.file(&root(), ROOT, "new");
    let wish = one.begin(file, false);
    one.held = Some(Vec::new());
    assert_eq!(one.wish(wish.clone()), None);
    let chunk = one.info(file).chunk;
    assert_eq!(one.disk(1)[&chunk], 1, "the round is complete");
    let [(ticket, Op::SettleChunk { .. })] = &one.held.take().unwrap()[..] else {
        panic!("to settle it is proposed");
    };
    // The node had no room for the proposal.
    let tree = &one.bed.tree;
    one.keeper
        .on_proposed(*ticket, Came::Nothing, tree)
        .unwrap();
    one.run();
    assert_eq!(one.again.len(), 1);
    one.leave(1);
    one.join(2, true);
    let answer = one.wish(wish);
    assert!(
        matches!(answer, Some(ChunkAnswer::Located(_))),
        "{answer:?}"
    );
    let written = one.info(file).version;
    assert_eq!(one.disk(2)[&chunk], written);
    assert!(
        one.disk(1)[&chunk] < written,
        "it misses what is written now"
    );
}

#[test]
fn a_chunk_that_was_to_be_made_is_made_and_not_repaired() {
    let (mut one, ..) = led();
    let file = one.bed.file(&root(), ROOT, "new");
    let reply = one.bed.ok(Op::WriteChunk {
        caller: root(),
        inode: file,
        index: 0,
        go_on: false,
        chunk_moved: false,
        may_touch_times: false,
    });
    assert!(matches!(reply, Reply::Chunk { .. }));
    one.pass(Duration::from_secs(130));
    assert_eq!(one.repair(file), came(1, 0, 0));
    let info = one.info(file);
    assert_eq!(info.unsettled, None);
    assert_eq!(one.disk(1)[&info.chunk], info.version);
}

// What nobody has now is not lost for that.

#[test]
fn a_copy_at_a_chunkserver_that_is_not_fenced_yet_is_not_lost() {
    let (mut one, file, _) = led();
    let (other, _) = one.file("other");
    one.slow = true;
    let wish = one.begin(other, true);
    assert_eq!(one.wish(wish), None, "an order is under way");
    one.lead(2);
    let wish = one.begin(file, false);
    assert_eq!(one.wish(wish), None, "its chunkserver is waited for");
    one.pass(Duration::from_secs(1));
    let answers: Vec<ChunkAnswer> = one.answers.values().cloned().collect();
    assert_eq!(answers, [ChunkAnswer::Refused(Refusal::Again)]);
}

#[test]
fn what_an_earlier_leader_had_made_is_not_lost_before_it_was_heard_of() {
    let (mut one, ..) = led();
    one.pass(Duration::from_secs(130));
    let file = one.bed.file(&root(), ROOT, "new");
    // The chunk is made and the state knows it. This node's map does not yet: news is under way.
    let info = one.write(file);
    one.end(file, info.chunk);
    one.pass(Duration::from_secs(130));
    one.report(1, Report::Lost(vec![info.chunk]));
    one.unheard = Some(Vec::new());
    one.lead(2);
    let again = refused(Refusal::Again);
    assert_eq!(one.repair(file), again);
    let read = |one: &mut One| {
        let length = 10;
        let info = one.info(file);
        one.wish(ChunkWish::Read { info, length })
    };
    assert_eq!(read(&mut one), again);
    // The relay is fenced, and all that it had to tell was heard before that.
    for talk in one.unheard.take().unwrap() {
        one.keeper.on_talk(NODE, talk, &one.bed.tree).unwrap();
    }
    one.run();
    assert_eq!(read(&mut one), refused(Refusal::Lost));
    assert_eq!(one.repair(file), came(0, 1, 0));
}

#[test]
fn what_is_to_be_copied_and_was_not_made_yet_is_made_first() {
    let (mut one, ..) = led();
    let file = one.bed.file(&root(), ROOT, "new");
    one.end_unmade(file);
    let copy = one.share(file, "copy");
    let wish = one.begin(copy, false);
    let again = Some(ChunkAnswer::Refused(Refusal::Again));
    assert_eq!(one.wish(wish), again);
    assert_eq!(one.info(file).unsettled, None, "it was made");
    one.write(copy);
    assert_ne!(one.info(copy).chunk, one.info(file).chunk);
}

#[test]
fn a_copy_of_what_is_lost_is_lost_too() {
    let (mut one, file, info) = led();
    let copy = one.share(file, "copy");
    one.report(1, Report::Lost(vec![info.chunk]));
    let wish = one.begin(copy, false);
    assert_eq!(one.wish(wish), refused(Refusal::Lost));
}

#[test]
fn what_a_snapshot_alone_has_is_made_without_the_file_that_it_was_to_be_made_for() {
    let (mut one, ..) = led();
    let file = one.bed.file(&root(), ROOT, "new");
    one.end_unmade(file);
    let copy = one.share(file, "copy");
    one.bed.ok(Op::SetTrashTime {
        caller: root(),
        inode: file,
        seconds: 0,
        mode: SetMode::Set,
        recursive: false,
    });
    one.bed.ok(unlink(&root(), ROOT, "new"));
    let (info, length) = (one.info(copy), 10);
    let answer = one.wish(ChunkWish::Read { info, length });
    assert!(
        matches!(answer, Some(ChunkAnswer::Located(_))),
        "{answer:?}"
    );
}

#[test]
fn who_saw_an_older_version_is_told_to_ask_again() {
    let (mut one, file, info) = led();
    let wish = one.begin(file, true);
    assert!(matches!(one.wish(wish), Some(ChunkAnswer::Located(_))));
    assert_eq!(one.info(file).version, info.version + 1);
    let length = 10;
    let read = ChunkWish::Read { info, length };
    assert_eq!(one.wish(read), refused(Refusal::Again));
}

#[test]
fn who_has_no_lock_is_told_no_place() {
    let (mut one, file, info) = led();
    let chunk = info.chunk;
    let wish = one.begin(file, false);
    one.bed.ok(Op::UnlockChunk { chunk });
    assert_eq!(one.wish(wish), refused(Refusal::Again));
}

#[test]
fn a_chunkserver_that_comes_by_an_earlier_registration_is_sent_away() {
    let mut one = One::new();
    one.lead(1);
    one.join(1, true);
    one.leave(1);
    let (csid, tree) = (CsId(1), &one.bed.tree);
    one.keeper.on_registered(csid, 9, tree).unwrap();
    let joined = Joined {
        csid,
        registration: 8,
        address: Address {
            ip: Ipv4Addr::new(10, 0, 0, 1),
            port: 9422,
        },
        version: 0x0003_00EA,
        space: Space::default(),
    };
    let conn = ConnId(77);
    one.keeper.on_report(conn, Report::Joined(joined));
    let acts = one.keeper.take_acts();
    assert!(
        matches!(acts[..], [Act::Unseat(unseated, _)] if unseated == conn),
        "{acts:?}"
    );
    assert_eq!(one.keeper.map().servers().count(), 0);
}

#[test]
fn a_chunkserver_that_was_removed_has_to_register_again() {
    let (mut one, file, _) = led();
    let csid = CsId(1);
    let conn = one.servers[&csid].conn;
    one.bed.ok(Op::ForgetChunkserver { csid });
    one.keeper.on_forgotten(csid, &one.bed.tree).unwrap();
    let unseated = |one: &mut One| {
        one.keeper.run(&one.bed.tree).unwrap();
        let mut unseated = Vec::new();
        for act in one.keeper.take_acts() {
            match act {
                Act::Unseat(conn, _) => unseated.push(conn),
                act => one.carry_out(act),
            }
        }
        unseated
    };
    assert_eq!(unseated(&mut one), [conn]);
    one.keeper.on_report(conn, Report::Gone);
    assert!(one.keeper.map().by_csid(csid).is_none());
    assert_eq!(one.keeper.map().registered().collect::<Vec<_>>(), []);
    // What is said of the registration before counts no more.
    let late = Joined {
        csid,
        registration: 1,
        address: Address {
            ip: Ipv4Addr::new(10, 0, 0, 1),
            port: 9422,
        },
        version: 0x0003_00EA,
        space: Space::default(),
    };
    let other = ConnId(conn.0 + 1_000);
    one.keeper.on_report(other, Report::Joined(late));
    assert_eq!(unseated(&mut one), [other]);
    // Nor does it matter how often it is told: the next registration counts.
    for _ in 0..10 {
        one.keeper.on_forgotten(csid, &one.bed.tree).unwrap();
    }
    one.join(1, true);
    assert!(one.keeper.map().by_csid(csid).is_some());
    let info = one.info(file);
    let length = 10;
    let read = one.wish(ChunkWish::Read { info, length });
    assert!(matches!(read, Some(ChunkAnswer::Located(_))), "{read:?}");
}

#[test]
fn a_file_that_is_old_enough_for_its_class_is_archived() {
    let mut one = One::with(Options {
        upkeep_delay: Duration::from_millis(1),
        upkeep_tick: Duration::from_millis(10),
        ..Options::default()
    });
    one.lead(1);
    one.join(1, true);
    let (cold, _) = one.file("cold");
    let (warm, _) = one.file("warm");
    let session = one.bed.session_with(|_| ());
    let copy = vec![[0; 4]];
    let class = StorageClass {
        name: b"archive".to_vec(),
        admin_only: false,
        mode: ClassMode::Std,
        archive_delay_days: 1,
        create: copy.clone(),
        keep: copy.clone(),
        archive: copy,
    };
    one.bed.ok(Op::CreateClass { session, class });
    let Ok(Answer::Classes(classes)) = one.bed.ask(Query::ListClasses) else {
        panic!("classes were expected");
    };
    let made = classes.iter().find(|(_, it)| it.name == b"archive");
    one.bed.ok(Op::SetSclass {
        caller: root(),
        inode: cold,
        class: made.unwrap().0,
        only: None,
        mode: SetMode::Set,
        recursive: false,
    });
    let hour = Duration::from_secs(3_600);
    for _ in 0..23 {
        one.pass(hour);
    }
    assert!(!one.info(cold).archived);
    one.pass(hour);
    for _ in 0..1_000 {
        one.pass(Duration::from_millis(100));
    }
    assert!(one.info(cold).archived);
    assert!(!one.info(warm).archived);
    // A writer takes it out of the archive.
    let write = one.begin(cold, true);
    assert!(!one.info(cold).archived);
    assert!(matches!(one.wish(write), Some(ChunkAnswer::Located(_))));
}

// Deletion.

#[test]
fn there_is_no_copy_where_the_chunkserver_knows_no_such_chunk() {
    let delete = Order::Delete { chunk: ChunkId(9) };
    assert_eq!(Effects::of(&delete, 0), Effects::Lost);
    assert_eq!(Effects::of(&delete, 13), Effects::Lost);
    assert_eq!(Effects::of(&delete, 22), Effects::Nothing);
}

#[test]
fn what_cannot_be_deleted_keeps_nothing_else() {
    let mut one = One::with(Options {
        upkeep_delay: Duration::from_millis(1),
        upkeep_tick: Duration::from_millis(10),
        ..Options::default()
    });
    one.lead(1);
    one.join(1, true);
    for number in 0..300 {
        let name = format!("f{number}");
        let (inode, info) = one.file(&name);
        if number < 260 {
            one.stuck.insert(info.chunk);
        }
        one.bed.ok(Op::SetTrashTime {
            caller: root(),
            inode,
            seconds: 0,
            mode: SetMode::Set,
            recursive: false,
        });
        one.bed.ok(unlink(&root(), ROOT, &name));
        one.keeper.on_unused(info.chunk);
    }
    for _ in 0..400 {
        one.pass(Duration::from_millis(100));
    }
    let left = one.bed.tree.chunks_after(None, 1_000).unwrap();
    let left: BTreeSet<ChunkId> = left.into_iter().map(|info| info.chunk).collect();
    assert_eq!(left, one.stuck);
}

#[test]
fn no_number_of_a_chunk_ends_a_pass_or_a_relay() {
    let mut one = One::with(Options {
        upkeep_delay: Duration::from_millis(1),
        upkeep_tick: Duration::from_millis(10),
        upkeep_pause: Duration::from_millis(10),
        ..Options::default()
    });
    one.lead(1);
    one.join(1, true);
    one.disk(1).insert(ChunkId(u64::MAX), 1);
    one.leave(1);
    one.join(1, true);
    one.pass(Duration::from_secs(2));
    // Another node is told everything.
    let nodes = BTreeSet::from([NODE, NodeId(2)]);
    one.keeper.set_nodes(&nodes);
    one.keeper.run(&one.bed.tree).unwrap();
    one.keeper.take_acts();
    one.keeper.set_nodes(&BTreeSet::from([NODE]));
    // The upkeep still comes to files.
    let (file, info) = one.file("file");
    one.bed.ok(Op::SetTrashTime {
        caller: root(),
        inode: file,
        seconds: 0,
        mode: SetMode::Set,
        recursive: false,
    });
    one.bed.ok(unlink(&root(), ROOT, "file"));
    for _ in 0..100 {
        one.pass(Duration::from_millis(100));
    }
    assert!(
        !one.disk(1).contains_key(&info.chunk),
        "it was found and deleted"
    );
}
