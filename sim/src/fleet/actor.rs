//! Those who write and read chunks, as a mount does: each asks one thing at a time, of any node,
//! and goes on asking until it is told.
//!
//! The first opens a session and makes the directory. Then come the owners of a file each, who
//! alone change it, and the readers.

use std::time::Duration;

use mfsha_core::chunks::{ChunkAnswer, ChunkWish, Located};
use mfsha_core::id::{ChunkId, InodeId, Lane, RequestSeq, SessionId};
use mfsha_core::namespace::error::FsError;
use mfsha_core::namespace::op::{
    Answer, Caller, ChunkInfo, NodeKind, Op, Outcome, Query, Reply, RequestId, SessionParams,
    SetMode, SnapshotFlags, TruncateMode,
};
use mfsha_core::node;
use mfsha_core::node::request::{
    CallId, ClientId, Consistency, NodeError, Request, RequestBody, ResponseBody,
};
use mfsha_core::rng::Rng;

use crate::draw;
use crate::event::{Event, FileFact};
use crate::generator::PREFIX;
use crate::options::ChunkOptions;
use crate::place::Place;
use crate::time::SimTime;
use crate::view::View;

use super::server::{Content, Server};
use super::{CLIENTS, Deed, Fleet, Moment};

/// Bytes of a file that was written, and of one that was cut.
const LENGTHS: (u64, u64) = (100, 10);
/// What is asked of a chunkserver that cannot be reached has failed after this.
const UNREACHABLE: Duration = Duration::from_millis(200);
/// A reader tries so often.
const READS_MAX: u32 = 4;
/// The session's first client numbers in the trace.
const CLIENT: u16 = 1_000;

/// Something that is asked until it is answered.
#[derive(Clone, Debug)]
enum Asked {
    Write { seq: u64, op: Op },
    Read(Query),
    Wish(ChunkWish),
}

/// What an actor is about.
#[derive(Clone, Debug)]
enum State {
    /// It waits for its next idea.
    Idle,
    Session,
    Directory,
    Trash,
    Creating,
    SettingGoal,
    /// It waits to ask for the chunk.
    Write {
        stamp: u64,
        go_on: bool,
    },
    WantChunk {
        stamp: u64,
    },
    WantPlaces {
        stamp: u64,
    },
    Carrying {
        stamp: u64,
        located: Located,
        next: usize,
    },
    Ending {
        stamp: u64,
    },
    Cut,
    WantCut,
    Cutting,
    Copying,
    Finding,
    Unlinking,
    /// It waits to read.
    Read(Reading),
    ReadTree(Reading),
    ReadPlaces(Reading),
    ReadCopy(Reading, Located),
}

#[derive(Clone, Debug)]
struct Reading {
    number: u64,
    file: u32,
    inode: InodeId,
    tries: u32,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Actor {
    number: usize,
    rng: Rng,
    state: State,
    asked: Option<(u64, u64, Asked)>,
    seq: u64,
    turn: u64,
    /// Its file, and the copy that it made of it.
    file: Option<(u32, InodeId)>,
    copy: Option<(u32, InodeId)>,
    reader: bool,
    was_cut: bool,
    /// What it still has to do in a healed cluster: write, read, read the copy.
    proofs: Option<u8>,
    started: bool,
}

impl Actor {
    pub fn new(number: usize, options: &ChunkOptions, rng: Rng) -> Self {
        Self {
            number,
            rng,
            state: State::Session,
            asked: None,
            seq: 0,
            turn: 0,
            file: None,
            copy: None,
            reader: number > usize::from(options.files),
            was_cut: false,
            proofs: None,
            started: false,
        }
    }

    /// Where it is: beyond all clients of the workload.
    pub fn place(&self) -> Place {
        Place::Client(CLIENT + self.number as u16)
    }

    fn is_owner(&self) -> bool {
        self.number > 0 && !self.reader
    }

    fn name(&self, what: &str) -> Vec<u8> {
        format!("{PREFIX}{what}{}", self.number).into_bytes()
    }
}

impl Fleet {
    fn caller(&self) -> Caller {
        Caller {
            session: self.session.unwrap_or_default(),
            uid: 0,
            gids: vec![0],
        }
    }

    // Asking.

    fn ask(&mut self, now: SimTime, actor: usize, asked: Asked, out: &mut Vec<Deed>) {
        let call = self.next_call;
        self.next_call += 1;
        self.actors[actor].asked = Some((call, 0, asked));
        out.push(Deed::Plan {
            at: now,
            moment: Moment::Try {
                actor,
                call,
                attempt: 0,
            },
        });
    }

    fn ask_write(&mut self, now: SimTime, actor: usize, op: Op, out: &mut Vec<Deed>) {
        let it = &mut self.actors[actor];
        it.seq += 1;
        let seq = it.seq;
        self.ask(now, actor, Asked::Write { seq, op }, out);
    }

    pub(super) fn attempt<T: Clone>(
        &mut self,
        view: &View<'_, T>,
        actor: usize,
        call: u64,
        attempt: u64,
        out: &mut Vec<Deed>,
    ) {
        let session = self.session;
        let it = &mut self.actors[actor];
        let place = it.place();
        let Some((asked_call, attempts, asked)) = &mut it.asked else {
            return;
        };
        if *asked_call != call || *attempts != attempt {
            return;
        }
        *attempts += 1;
        let attempt = *attempts;
        let asked = asked.clone();
        let wait = Duration::from_millis(it.rng.between(300, 2_000));
        out.push(Deed::Plan {
            at: view.now + wait,
            moment: Moment::Try {
                actor,
                call,
                attempt,
            },
        });
        let seat = *it.rng.pick(&self.reachable);
        let life = view.life(seat);
        let Some(life) = life.filter(|_| !view.is_blocked(place, Place::Seat(seat))) else {
            return;
        };
        if self.is_unlucky() {
            return;
        }
        let client = ClientId(CLIENTS + actor as u64);
        let call = CallId(call);
        let event = match asked {
            Asked::Write { seq, op } => node::Event::AskWrite {
                client,
                call,
                request: match session {
                    Some(session) => RequestId::new(session, Lane(actor as u32), RequestSeq(seq)),
                    None => RequestId::new(SessionId(0), Lane(0), RequestSeq(0)),
                },
                op: Box::new(op),
            },
            Asked::Read(query) => {
                let consistency = Consistency::Strict;
                let body = RequestBody::Read { consistency, query };
                let request = Request { call, body };
                node::Event::Ask { client, request }
            }
            Asked::Wish(wish) => node::Event::AskChunk { client, call, wish },
        };
        let after = view.net.travel((place, Place::Seat(seat)), &mut self.rng);
        out.push(Deed::Plan {
            at: view.now + after,
            moment: Moment::Asked {
                seat,
                life,
                event: Box::new(event),
            },
        });
    }

    pub(super) fn on_answer<T: Clone>(
        &mut self,
        view: &View<'_, T>,
        actor: usize,
        call: u64,
        result: Result<ResponseBody, NodeError>,
        out: &mut Vec<Deed>,
    ) {
        let it = &mut self.actors[actor];
        if it.asked.as_ref().is_none_or(|(asked, ..)| *asked != call) {
            return;
        }
        // Without an answer it asks again when it has waited long enough.
        if let Ok(body) = result {
            it.asked = None;
            self.on_body(view, actor, body, out);
        }
    }

    // What comes next.

    pub(super) fn go(&mut self, now: SimTime, actor: usize, after: Duration, out: &mut Vec<Deed>) {
        let it = &mut self.actors[actor];
        it.turn += 1;
        let turn = it.turn;
        out.push(Deed::Plan {
            at: now + after,
            moment: Moment::Go { actor, turn },
        });
    }

    fn go_soon(&mut self, now: SimTime, actor: usize, out: &mut Vec<Deed>) {
        let after = Duration::from_millis(self.actors[actor].rng.between(10, 150));
        self.go(now, actor, after, out);
    }

    /// It has done what it was about.
    fn rest(&mut self, now: SimTime, actor: usize, out: &mut Vec<Deed>) {
        let mean = self.options.mean_ms * 1_000_000;
        let it = &mut self.actors[actor];
        it.state = State::Idle;
        let after = match it.proofs {
            Some(_) => 1_000_000,
            None => draw::exponential(&mut it.rng, mean),
        };
        self.go(now, actor, Duration::from_nanos(after), out);
    }

    /// In a healed cluster every file is written, and it and its copy are read.
    pub(super) fn probe(&mut self, now: SimTime, out: &mut Vec<Deed>) {
        for actor in 0..self.actors.len() {
            let it = &mut self.actors[actor];
            if it.is_owner() {
                it.proofs = Some(0);
            }
            if matches!(it.state, State::Idle) && it.started {
                self.go(now, actor, Duration::from_millis(1), out);
            }
        }
    }

    /// Who has not done what it has to, in a healed cluster.
    pub fn outstanding(&self) -> Vec<String> {
        let owners = self.actors.iter().filter(|it| it.is_owner());
        let late = owners.filter(|it| it.proofs != Some(3));
        late.map(|it| {
            let asked = it.asked.as_ref();
            let asked = asked.map(|(_, attempts, asked)| format!("{attempts} times {asked:?}"));
            format!("owner {} {:?} asks {asked:?}", it.number, it.state)
        })
        .collect()
    }

    pub(super) fn on_go<T: Clone>(
        &mut self,
        view: &View<'_, T>,
        actor: usize,
        turn: u64,
        out: &mut Vec<Deed>,
    ) {
        let it = &mut self.actors[actor];
        if it.turn != turn {
            return;
        }
        it.started = true;
        let now = view.now;
        match it.state.clone() {
            State::Session => {
                let params = SessionParams::unrestricted();
                self.ask_write(now, actor, Op::OpenSession { params }, out);
            }
            State::Directory => {
                let op = Op::Mkdir {
                    caller: self.caller(),
                    parent: InodeId::ROOT,
                    name: self.actors[actor].name("files"),
                    mode: 0o755,
                    umask: 0,
                    copy_setgid: false,
                };
                self.ask_write(now, actor, op, out);
            }
            State::Idle => self.think(now, actor, out),
            State::Write { stamp, go_on } => self.want_chunk(now, actor, stamp, go_on, out),
            State::Cut => self.want_cut(now, actor, out),
            State::Read(reading) => self.read_tree(now, actor, reading, out),
            // It waits for an answer.
            _ => {}
        }
    }

    /// What to do next.
    fn think(&mut self, now: SimTime, actor: usize, out: &mut Vec<Deed>) {
        let (Some(dir), it) = (self.dir, &mut self.actors[actor]) else {
            return;
        };
        if it.reader {
            if self.healed {
                return;
            }
            let files: Vec<(u32, InodeId)> = self.files.iter().map(|(a, b)| (*a, *b)).collect();
            if files.is_empty() {
                return self.rest(now, actor, out);
            }
            let (file, inode) = *self.actors[actor].rng.pick(&files);
            return self.begin_read(now, actor, file, inode, out);
        }
        if !it.is_owner() {
            return;
        }
        let Some((file, inode)) = it.file else {
            it.state = State::Creating;
            let op = Op::Create {
                caller: self.caller(),
                parent: dir,
                name: self.actors[actor].name("file"),
                kind: NodeKind::File,
                mode: 0o644,
                umask: 0,
                rdev: 0,
                open: false,
            };
            return self.ask_write(now, actor, op, out);
        };
        match it.proofs {
            Some(0) => return self.begin_write(now, actor, file, out),
            Some(1) => return self.begin_read(now, actor, file, inode, out),
            Some(2) => match it.copy {
                Some((file, inode)) => return self.begin_read(now, actor, file, inode, out),
                None => {
                    it.proofs = Some(3);
                    return;
                }
            },
            Some(_) => return,
            None => {}
        }
        match it.rng.below(20) {
            0..=10 => self.begin_write(now, actor, file, out),
            11..=13 if !it.was_cut => self.begin_cut(now, actor, file, out),
            14..=16 => self.begin_copy(now, actor, dir, inode, out),
            17 | 18 => {
                let goal = it.rng.between(1, u64::from(self.options.goal_max)) as u8;
                self.set_goal(now, actor, inode, goal, out);
            }
            19 => {
                // From now on it may be gone.
                self.files.remove(&file);
                Self::tell(file, FileFact::Gone, out);
                self.actors[actor].state = State::Unlinking;
                let op = Op::Unlink {
                    caller: self.caller(),
                    parent: dir,
                    name: self.actors[actor].name("file"),
                };
                self.ask_write(now, actor, op, out);
            }
            _ => self.rest(now, actor, out),
        }
    }

    fn tell(file: u32, fact: FileFact, out: &mut Vec<Deed>) {
        out.push(Deed::Tell(Event::FileSaid { file, fact }));
    }

    fn set_goal(
        &mut self,
        now: SimTime,
        actor: usize,
        inode: InodeId,
        goal: u8,
        out: &mut Vec<Deed>,
    ) {
        self.actors[actor].state = State::SettingGoal;
        let op = Op::SetSclass {
            caller: self.caller(),
            inode,
            class: goal,
            only: None,
            mode: SetMode::Set,
            recursive: false,
        };
        self.ask_write(now, actor, op, out);
    }

    // Writing.

    fn begin_write(&mut self, now: SimTime, actor: usize, file: u32, out: &mut Vec<Deed>) {
        let stamp = self.next_stamp;
        self.next_stamp += 1;
        Self::tell(file, FileFact::MayHold(stamp), out);
        self.want_chunk(now, actor, stamp, false, out);
    }

    fn want_chunk(
        &mut self,
        now: SimTime,
        actor: usize,
        stamp: u64,
        go_on: bool,
        out: &mut Vec<Deed>,
    ) {
        let caller = self.caller();
        let it = &mut self.actors[actor];
        it.state = State::WantChunk { stamp };
        let inode = it.file.map(|(_, inode)| inode).unwrap_or_default();
        let op = Op::WriteChunk {
            caller,
            inode,
            index: 0,
            go_on,
            chunk_moved: false,
            may_touch_times: false,
        };
        self.ask_write(now, actor, op, out);
    }

    fn write_again(&mut self, now: SimTime, actor: usize, stamp: u64, out: &mut Vec<Deed>) {
        self.actors[actor].state = State::Write { stamp, go_on: true };
        self.go_soon(now, actor, out);
    }

    /// It carries its data to the next of those who have the chunk.
    fn carry<T: Clone>(&mut self, view: &View<'_, T>, actor: usize, out: &mut Vec<Deed>) {
        let it = &self.actors[actor];
        let address = match &it.state {
            State::Carrying { located, next, .. } => located.holders[*next].address,
            State::ReadCopy(_, located) => located.holders[0].address,
            _ => return,
        };
        let server = Server::number_at(address);
        let (from, to) = (it.place(), Place::Chunkserver(server));
        let up = self.servers[usize::from(server)].up;
        let after = match up && !view.is_blocked(from, to) && !self.is_unlucky() {
            true => view.net.travel((from, to), &mut self.rng),
            false => UNREACHABLE,
        };
        let reached = after != UNREACHABLE;
        let it = &mut self.actors[actor];
        // An odd turn is one that leads nowhere.
        it.turn = (it.turn / 2 + 1) * 2 + u64::from(!reached);
        let turn = it.turn;
        out.push(Deed::Plan {
            at: view.now + after,
            moment: Moment::Data { actor, turn },
        });
    }

    pub(super) fn on_data<T: Clone>(
        &mut self,
        view: &View<'_, T>,
        actor: usize,
        turn: u64,
        out: &mut Vec<Deed>,
    ) {
        if self.actors[actor].turn != turn {
            return;
        }
        let reached = turn.is_multiple_of(2);
        match self.actors[actor].state.clone() {
            State::Carrying {
                stamp,
                located,
                next,
            } => {
                let server = Server::number_at(located.holders[next].address);
                if !reached || !self.store(server, &located, stamp, out) {
                    return self.write_again(view.now, actor, stamp, out);
                }
                if next + 1 < located.holders.len() {
                    let next = next + 1;
                    self.actors[actor].state = State::Carrying {
                        stamp,
                        located,
                        next,
                    };
                    return self.carry(view, actor, out);
                }
                let caller = self.caller();
                let it = &mut self.actors[actor];
                it.state = State::Ending { stamp };
                let op = Op::WriteChunkEnd {
                    caller,
                    inode: it.file.map(|(_, inode)| inode).unwrap_or_default(),
                    index: 0,
                    chunk: located.chunk,
                    length: LENGTHS.0,
                    may_touch_times: false,
                };
                self.ask_write(view.now, actor, op, out);
            }
            State::ReadCopy(reading, located) => {
                let server = Server::number_at(located.holders[0].address);
                let it = &self.servers[usize::from(server)];
                let stored = it.disk.get(&located.chunk).filter(|stored| {
                    reached && it.up && !stored.bad && stored.version == located.version
                });
                match stored.map(|stored| stored.content) {
                    Some(content) => {
                        let from = Some((server, located.chunk, located.version));
                        self.end_read(view.now, actor, &reading, Some((content, from)), out);
                    }
                    None => self.read_again(view.now, actor, reading, out),
                }
            }
            _ => {}
        }
    }

    /// A chunkserver takes data for a copy of the version that its writer names.
    fn store(&mut self, server: u8, located: &Located, stamp: u64, out: &mut Vec<Deed>) -> bool {
        let it = &mut self.servers[usize::from(server)];
        let Some(stored) = it
            .disk
            .get_mut(&located.chunk)
            .filter(|stored| it.up && !stored.bad && stored.version == located.version)
        else {
            return false;
        };
        stored.content = Content {
            stamp,
            ..Content::default()
        };
        self.tell_copy(server, located.chunk, out);
        true
    }

    // Cutting, copying.

    fn begin_cut(&mut self, now: SimTime, actor: usize, file: u32, out: &mut Vec<Deed>) {
        Self::tell(file, FileFact::MayBeCut, out);
        self.want_cut(now, actor, out);
    }

    fn want_cut(&mut self, now: SimTime, actor: usize, out: &mut Vec<Deed>) {
        let caller = self.caller();
        let it = &mut self.actors[actor];
        it.state = State::WantCut;
        let op = Op::Truncate {
            caller,
            inode: it.file.map(|(_, inode)| inode).unwrap_or_default(),
            length: LENGTHS.1,
            mode: TruncateMode::Path,
        };
        self.ask_write(now, actor, op, out);
    }

    fn begin_copy(
        &mut self,
        now: SimTime,
        actor: usize,
        dir: InodeId,
        inode: InodeId,
        out: &mut Vec<Deed>,
    ) {
        if let Some((copy, _)) = self.actors[actor].copy.take() {
            // Whoever reads it may find either from now on.
            self.files.remove(&copy);
            Self::tell(copy, FileFact::Gone, out);
        }
        self.actors[actor].state = State::Copying;
        let flags = SnapshotFlags {
            overwrite: true,
            ..SnapshotFlags::default()
        };
        let op = Op::Snapshot {
            caller: self.caller(),
            src: inode,
            dst_parent: dir,
            name: self.actors[actor].name("copy"),
            flags,
            umask: 0,
        };
        self.ask_write(now, actor, op, out);
    }

    fn new_file(&mut self, inode: InodeId) -> u32 {
        let file = self.next_file;
        self.next_file += 1;
        self.files.insert(file, inode);
        file
    }

    // Reading.

    fn begin_read(
        &mut self,
        now: SimTime,
        actor: usize,
        file: u32,
        inode: InodeId,
        out: &mut Vec<Deed>,
    ) {
        let reading = Reading {
            number: self.next_read,
            file,
            inode,
            tries: 0,
        };
        self.next_read += 1;
        out.push(Deed::Tell(Event::ReadBegan {
            read: reading.number,
            file,
        }));
        self.read_tree(now, actor, reading, out);
    }

    fn read_tree(&mut self, now: SimTime, actor: usize, reading: Reading, out: &mut Vec<Deed>) {
        let query = Query::ReadChunk {
            caller: self.caller(),
            inode: reading.inode,
            index: 0,
        };
        self.actors[actor].state = State::ReadTree(reading);
        self.ask(now, actor, Asked::Read(query), out);
    }

    fn read_again(
        &mut self,
        now: SimTime,
        actor: usize,
        mut reading: Reading,
        out: &mut Vec<Deed>,
    ) {
        reading.tries += 1;
        if reading.tries >= READS_MAX && self.actors[actor].proofs.is_none() {
            return self.end_read(now, actor, &reading, None, out);
        }
        self.actors[actor].state = State::Read(reading);
        self.go_soon(now, actor, out);
    }

    #[expect(clippy::type_complexity, reason = "what was read, and where")]
    fn end_read(
        &mut self,
        now: SimTime,
        actor: usize,
        reading: &Reading,
        found: Option<(Content, Option<(u8, ChunkId, u32)>)>,
        out: &mut Vec<Deed>,
    ) {
        out.push(Deed::Tell(Event::ReadEnded {
            read: reading.number,
            file: reading.file,
            content: found.map(|(content, _)| content),
            from: found.and_then(|(_, from)| from),
        }));
        self.proved(actor, found.is_some());
        self.rest(now, actor, out);
    }

    fn proved(&mut self, actor: usize, done: bool) {
        if let Some(proofs) = self.actors[actor].proofs.as_mut().filter(|_| done) {
            *proofs += 1;
        }
    }

    // Answers.

    fn on_body<T: Clone>(
        &mut self,
        view: &View<'_, T>,
        actor: usize,
        body: ResponseBody,
        out: &mut Vec<Deed>,
    ) {
        let state = self.actors[actor].state.clone();
        match (state, body) {
            (State::Cutting, body) => self.on_cut(view.now, actor, body, out),
            (state, ResponseBody::Written { outcome, .. }) => {
                self.on_outcome(view.now, actor, state, outcome, out);
            }
            (State::Finding, ResponseBody::Read { result, .. }) => {
                if let Ok(Answer::Looked { inode, .. }) = result {
                    let copy = self.new_file(inode);
                    let it = &mut self.actors[actor];
                    it.copy = Some((copy, inode));
                    let of = it.file.map_or(0, |(file, _)| file);
                    Self::tell(copy, FileFact::CopyOf(of), out);
                }
                self.rest(view.now, actor, out);
            }
            (State::ReadTree(reading), ResponseBody::Read { result, .. }) => match result {
                Ok(Answer::Chunk { info, length }) => {
                    self.on_tree_read(view.now, actor, reading, info, length, out);
                }
                Err(FsError::Locked) => self.read_again(view.now, actor, reading, out),
                _ => self.end_read(view.now, actor, &reading, None, out),
            },
            (State::ReadPlaces(reading), ResponseBody::Chunk(ChunkAnswer::Located(located))) => {
                let mut located = located;
                let it = &mut self.actors[actor];
                let at = it.rng.below(located.holders.len() as u64) as usize;
                located.holders.swap(0, at);
                it.state = State::ReadCopy(reading, located);
                self.carry(view, actor, out);
            }
            (State::ReadPlaces(reading), _) => self.read_again(view.now, actor, reading, out),
            (State::WantPlaces { stamp }, ResponseBody::Chunk(ChunkAnswer::Located(located))) => {
                self.actors[actor].state = State::Carrying {
                    stamp,
                    located,
                    next: 0,
                };
                self.carry(view, actor, out);
            }
            (State::WantPlaces { stamp }, _) => self.write_again(view.now, actor, stamp, out),
            (state, body) => panic!("{body:?} came for {state:?}"),
        }
    }

    fn on_tree_read(
        &mut self,
        now: SimTime,
        actor: usize,
        reading: Reading,
        info: ChunkInfo,
        length: u64,
        out: &mut Vec<Deed>,
    ) {
        if info.chunk == ChunkId::HOLE {
            let hole = Some((Content::default(), None));
            return self.end_read(now, actor, &reading, hole, out);
        }
        self.actors[actor].state = State::ReadPlaces(reading);
        let wish = ChunkWish::Read { info, length };
        self.ask(now, actor, Asked::Wish(wish), out);
    }

    fn on_cut(&mut self, now: SimTime, actor: usize, body: ResponseBody, out: &mut Vec<Deed>) {
        let done = matches!(&body, ResponseBody::Written { outcome, .. } if outcome.result.is_ok());
        if done {
            let it = &mut self.actors[actor];
            it.was_cut = true;
            let file = it.file.map_or(0, |(file, _)| file);
            Self::tell(file, FileFact::Cut, out);
            return self.rest(now, actor, out);
        }
        // A client that is refused asks for the cut from the beginning.
        self.actors[actor].state = State::Cut;
        self.go_soon(now, actor, out);
    }

    fn on_outcome(
        &mut self,
        now: SimTime,
        actor: usize,
        state: State,
        outcome: Outcome,
        out: &mut Vec<Deed>,
    ) {
        let caller = self.caller();
        let it = &mut self.actors[actor];
        let file = it.file.map_or(0, |(file, _)| file);
        match (state, outcome.result) {
            (State::Session, Ok(Reply::Session(session))) => {
                it.state = State::Directory;
                self.session = Some(session);
                self.go_soon(now, actor, out);
            }
            (State::Directory, Ok(Reply::Node { inode, .. })) => {
                self.dir = Some(inode);
                it.state = State::Trash;
                let op = Op::SetTrashTime {
                    caller,
                    inode,
                    seconds: 0,
                    mode: SetMode::Set,
                    recursive: false,
                };
                self.ask_write(now, actor, op, out);
            }
            (State::Trash, _) => {
                it.state = State::Idle;
                for other in 1..self.actors.len() {
                    self.rest(now, other, out);
                }
            }
            (State::Creating, Ok(Reply::Node { inode, .. })) => {
                let file = self.new_file(inode);
                let it = &mut self.actors[actor];
                it.file = Some((file, inode));
                it.was_cut = true;
                Self::tell(file, FileFact::Made, out);
                let goal = it.rng.between(1, u64::from(self.options.goal_max)) as u8;
                self.set_goal(now, actor, inode, goal, out);
            }
            (
                State::WantChunk { stamp },
                Ok(Reply::Chunk {
                    chunk,
                    version,
                    length,
                    ..
                }),
            ) => {
                it.state = State::WantPlaces { stamp };
                let wish = ChunkWish::Write {
                    inode: it.file.map_or(InodeId(0), |(_, inode)| inode),
                    index: 0,
                    chunk,
                    version,
                    length,
                };
                self.ask(now, actor, Asked::Wish(wish), out);
            }
            (State::WantChunk { stamp }, _) => self.write_again(now, actor, stamp, out),
            (State::Ending { stamp }, Ok(_)) => {
                it.was_cut = false;
                Self::tell(file, FileFact::Holds(stamp), out);
                self.proved(actor, true);
                self.rest(now, actor, out);
            }
            (State::Ending { stamp }, Err(_)) => self.write_again(now, actor, stamp, out),
            (State::WantCut, Ok(Reply::TruncateChunk { index, chunk, .. })) => {
                let inode = it.file.map(|(_, inode)| inode).unwrap_or_default();
                let end = Op::TruncateEnd {
                    caller,
                    inode,
                    index,
                    chunk,
                    length: LENGTHS.1,
                };
                let end = Box::new(end);
                let wish = ChunkWish::Cut { chunk, end };
                it.state = State::Cutting;
                self.ask(now, actor, Asked::Wish(wish), out);
            }
            (State::WantCut, Ok(_)) => {
                it.was_cut = true;
                self.rest(now, actor, out);
            }
            (State::WantCut, Err(_)) => {
                it.state = State::Cut;
                self.go_soon(now, actor, out);
            }
            (State::Copying, Ok(_)) => {
                it.state = State::Finding;
                let query = Query::Lookup {
                    caller,
                    parent: self.dir.unwrap_or_default(),
                    name: self.actors[actor].name("copy"),
                };
                self.ask(now, actor, Asked::Read(query), out);
            }
            (State::Unlinking, Ok(_)) => {
                it.file = None;
                self.rest(now, actor, out);
            }
            (State::SettingGoal | State::Copying | State::Unlinking, _) => {
                self.rest(now, actor, out);
            }
            // A name that is taken, a session that was not to be had: it tries again.
            (State::Session | State::Directory | State::Creating, result) => {
                panic!("actor {actor} was told {result:?}")
            }
            (state, result) => panic!("{result:?} came for {state:?}"),
        }
    }
}
