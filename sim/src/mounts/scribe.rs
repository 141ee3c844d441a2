//! A thread of a mount that reads and writes data: what it asks of nodes and of chunkservers, in
//! the order in which mfsmount does, and how it goes on when that fails.
//!
//! A write asks where to (WRITE_CHUNK), sends its data through all who have the chunk, and says that
//! it is done (WRITE_CHUNK_END): then its application is told so. Where the chain breaks it asks
//! again, as one who goes on under its own lock; now and then it gives up, says so by the same
//! packet, and its application does not know what became of it. A thread never says the same bytes
//! twice in a row for two requests, where nodes could not tell that from a repeat.

use std::time::Duration;

use mfsha_core::id::{ChunkId, InodeId};
use mfsha_core::moosefs::client::data::{
    AppendSlice, ChunkPlace, Slice, Truncate, WantChunk, WriteChunkEnd,
};
use mfsha_core::moosefs::client::inspect::Repair;
use mfsha_core::moosefs::client::subtree::{ClassName, SetSclass};
use mfsha_core::moosefs::client::tree::{Create, Remove};
use mfsha_core::moosefs::client::{Call, Reply};
use mfsha_core::moosefs::flags;
use mfsha_core::moosefs::status::Status;
use mfsha_core::rng::Rng;

use crate::data::{BLOCK_BYTES, BLOCKS, Block, DataFact, Served, Spot, Want};
use crate::fleet;
use crate::generator::PREFIX;

use super::thread::{name, root};

/// Files that all scribes share: one is written anywhere, one is appended to.
pub const FILES: usize = 2;
/// Which of them is appended to.
const APPENDED: usize = 1;
/// A reader tries so often.
const READS_MAX: u32 = 4;
/// Bits of an operation's name that count those of one scribe.
const COUNT_BITS: u32 = 32;

/// What a scribe is about.
#[derive(Clone, Debug)]
enum Task {
    /// It makes a file, one that all share or its own, and says how many copies that wants.
    Make {
        shared: bool,
        file: Option<InodeId>,
    },
    Write(Write),
    Read(Read),
    Cut {
        op: u64,
        file: InodeId,
        length: u64,
    },
    Reserve {
        op: u64,
        file: InodeId,
    },
    Slice {
        op: u64,
        file: InodeId,
        of: InodeId,
    },
    Repair {
        file: InodeId,
    },
    Remove {
        name: String,
    },
}

#[derive(Clone, Debug)]
struct Write {
    op: u64,
    file: InodeId,
    block: Block,
    /// It was told where to write before.
    go_on: bool,
    chunk: ChunkId,
    tries: u32,
    /// How its data fared: all have it, or it was given up.
    ends: Option<bool>,
}

#[derive(Clone, Debug)]
struct Read {
    op: u64,
    file: InodeId,
    block: Block,
    tries: u32,
    /// Chunk and version that it was told last.
    told: (ChunkId, u32),
}

/// Something that has to be seen in a healed cluster.
#[derive(Clone, Copy, Debug)]
enum Proof {
    Write(InodeId, Block),
    Read(InodeId, Block),
}

/// A request that was not answered yet.
#[derive(Clone, Debug)]
pub struct Asked {
    pub call: Call,
    /// It was said on the present connection.
    pub said: bool,
}

/// What a scribe does next.
#[derive(Debug)]
pub enum Next {
    /// It asks its node; what is in [`Scribe::asked`].
    Ask,
    /// It waits, and then goes on.
    Pause(Duration),
    /// It wants something of chunkservers.
    Want(Spot, Want),
    /// It has nothing to do any more.
    Rest,
}

/// What all scribes know.
#[derive(Debug, Default)]
pub struct Shared {
    /// Files that are there.
    pub files: Vec<InodeId>,
    /// Most copies that a file wants.
    pub goal_max: u8,
    /// The run is to end.
    pub healed: bool,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Scribe {
    mount: u8,
    pub number: u32,
    rng: Rng,
    mean_ms: u64,
    /// It makes the files that all share.
    maker: bool,
    task: Option<Task>,
    pub asked: Option<Asked>,
    /// The last command that it gave: the same bytes again might be taken for a repeat.
    last: Option<Call>,
    /// Answers of earlier turns are of no use any more.
    pub turn: u64,
    count: u64,
    /// Refusals of the same question.
    refusals: u32,
    own: Option<(InodeId, String)>,
    proofs: Option<Vec<Proof>>,
}

impl Scribe {
    pub fn new(mount: u8, number: u32, maker: bool, mean_ms: u64, rng: Rng) -> Self {
        Self {
            mount,
            number,
            rng,
            mean_ms,
            maker,
            task: None,
            asked: None,
            last: None,
            turn: 0,
            count: 0,
            refusals: 0,
            own: None,
            proofs: None,
        }
    }

    /// Whether it has seen all that it had to.
    pub fn is_done(&self) -> bool {
        self.task.is_none() && self.proofs.as_ref().is_some_and(Vec::is_empty)
    }

    /// What it is about, in words.
    pub fn standing(&self) -> String {
        let asked = self.asked.as_ref().map(|asked| asked.call.name());
        format!("{} {:?} asks {asked:?}", self.number, self.task)
    }

    fn new_op(&mut self) -> u64 {
        self.count += 1;
        let who = u64::from(self.mount) << 8 | u64::from(self.number);
        (who << COUNT_BITS) | self.count
    }

    fn tell(fact: DataFact, facts: &mut Vec<DataFact>) {
        facts.push(fact);
    }

    /// It goes on after a pause.
    pub fn go_on(&mut self, shared: &Shared, facts: &mut Vec<DataFact>) -> Next {
        if self.task.is_none() {
            self.think(shared, facts);
        }
        self.ask(shared)
    }

    /// Asks what comes next for what it is about.
    fn ask(&mut self, shared: &Shared) -> Next {
        let call = match &self.task {
            Some(task) => self.call_of(task, shared),
            None if self.is_done() => return Next::Rest,
            None => return self.rest(shared),
        };
        if is_command(&call) {
            self.last = Some(call.clone());
        }
        let said = false;
        self.asked = Some(Asked { call, said });
        Next::Ask
    }

    fn call_of(&self, task: &Task, shared: &Shared) -> Call {
        let want = |file: InodeId, block: Block, flags: u8| WantChunk {
            inode: file,
            index: block.index,
            flags: Some(flags),
        };
        match task {
            Task::Make {
                file: None,
                shared: of_all,
            } => Call::Create(Create {
                parent: InodeId::ROOT,
                name: name(&self.name_of(*of_all, shared)),
                mode: 0o644,
                umask: Some(0),
                by: root(),
            }),
            Task::Make {
                file: Some(file), ..
            } => Call::SetSclass(SetSclass {
                inode: *file,
                uid: 0,
                // As many as there may be, for most.
                to: ClassName::Goal(1.max(shared.goal_max.saturating_sub((self.count % 2) as u8))),
                mode: flags::change::SET,
                from: None,
            }),
            Task::Write(write) if write.ends.is_none() => {
                let go_on = if write.go_on { flags::chunk::GO_ON } else { 0 };
                let flags = flags::chunk::RESERVED_SPACE | go_on;
                Call::WriteChunk(want(write.file, write.block, flags))
            }
            Task::Write(write) => Call::WriteChunkEnd(WriteChunkEnd {
                chunk: write.chunk,
                inode: write.file,
                index: Some(write.block.index),
                length: match write.ends {
                    Some(true) => write.block.end(),
                    _ => 0,
                },
                flags: Some(flags::chunk::RESERVED_SPACE),
            }),
            Task::Read(read) => {
                Call::ReadChunk(want(read.file, read.block, flags::chunk::RESERVED_SPACE))
            }
            Task::Cut { file, length, .. } => Call::Truncate(Truncate {
                inode: *file,
                flags: Some(flags::truncate::OPENED),
                by: root(),
                length: *length,
            }),
            Task::Reserve { file, .. } => Call::Truncate(Truncate {
                inode: *file,
                flags: Some(
                    flags::truncate::OPENED | flags::truncate::UPDATE | flags::truncate::RESERVE,
                ),
                by: root(),
                length: BLOCK_BYTES,
            }),
            Task::Slice { file, of, .. } => Call::AppendSlice(AppendSlice {
                inode: *file,
                src: *of,
                slice: Some(Slice {
                    flags: 0,
                    from: 0,
                    to: 1,
                }),
                by: root(),
            }),
            Task::Repair { file } => Call::Repair(Repair {
                inode: *file,
                by: root(),
            }),
            Task::Remove { name: text } => Call::Unlink(Remove {
                parent: InodeId::ROOT,
                name: name(text),
                by: root(),
            }),
        }
    }

    fn name_of(&self, of_all: bool, shared: &Shared) -> String {
        match of_all {
            true => format!("{PREFIX}data{}", shared.files.len()),
            false => format!("{PREFIX}data-{}-{}-{}", self.mount, self.number, self.count),
        }
    }

    // What comes next.

    fn rest(&mut self, shared: &Shared) -> Next {
        let mean = match shared.healed {
            true => 1_000_000,
            false => self.mean_ms * 1_000_000,
        };
        let after = crate::draw::exponential(&mut self.rng, mean);
        Next::Pause(Duration::from_nanos(after.max(1)))
    }

    /// It is done with what it was about.
    fn done(&mut self, shared: &Shared) -> Next {
        self.task = None;
        self.refusals = 0;
        if self.is_done() {
            return Next::Rest;
        }
        self.rest(shared)
    }

    fn think(&mut self, shared: &Shared, facts: &mut Vec<DataFact>) {
        if shared.files.len() < FILES {
            if self.maker {
                let (shared, file) = (true, None);
                self.task = Some(Task::Make { shared, file });
            }
            return;
        }
        if shared.healed {
            return self.prove(shared, facts);
        }
        let file = *self.rng.pick(&shared.files);
        let appended = file == shared.files[APPENDED];
        let own = self.own.clone();
        match self.rng.below(24) {
            0..=7 if appended => self.reserve(file, facts),
            0..=7 => {
                let block = self.any_block();
                self.write(file, block, facts);
            }
            8..=14 => {
                let block = self.any_block();
                self.read(file, block, facts);
            }
            15 | 16 => {
                let blocks: Vec<Block> = Block::all().collect();
                let length = match appended {
                    true => 0,
                    false => self.rng.pick(&blocks).begin(),
                };
                self.cut(file, length, facts);
            }
            17 | 18 => match own {
                None => {
                    self.count += 1;
                    let (shared, file) = (false, None);
                    self.task = Some(Task::Make { shared, file });
                }
                Some((own, name)) if self.rng.chance(1, 3) => {
                    self.own = None;
                    Self::tell(DataFact::Gone { file: own }, facts);
                    self.task = Some(Task::Remove { name });
                }
                Some((own, _)) => {
                    let block = self.own_block();
                    self.write(own, block, facts);
                }
            },
            19 | 20 => match own {
                Some((own, _)) => {
                    let block = self.own_block();
                    self.read(own, block, facts);
                }
                None => {
                    let block = self.any_block();
                    self.read(file, block, facts);
                }
            },
            21 => match own {
                Some((own, _)) => {
                    let at = self.rng.below(BLOCKS as u64) as usize;
                    self.cut(own, Block { index: 0, at }.begin(), facts);
                }
                None => self.task = Some(Task::Repair { file }),
            },
            22 => self.task = Some(Task::Repair { file }),
            _ => {
                let block = self.any_block();
                self.write(shared.files[0], block, facts);
            }
        }
    }

    fn any_block(&mut self) -> Block {
        let blocks: Vec<Block> = Block::all().collect();
        *self.rng.pick(&blocks)
    }

    fn own_block(&mut self) -> Block {
        let at = self.rng.below(BLOCKS as u64) as usize;
        Block { index: 0, at }
    }

    /// In a healed cluster everything is read once more, and something written.
    fn prove(&mut self, shared: &Shared, facts: &mut Vec<DataFact>) {
        if self.proofs.is_none() {
            let own = self.own.as_ref().map(|(file, _)| *file);
            let files = shared.files.iter().copied().chain(own);
            let all = files.flat_map(|file| Block::all().map(move |it| Proof::Read(file, it)));
            let mut proofs: Vec<Proof> = all.collect();
            // The last comes first.
            let (file, block) = (*self.rng.pick(&shared.files), self.any_block());
            proofs.push(Proof::Write(file, block));
            self.proofs = Some(proofs);
        }
        match self.proofs.as_ref().and_then(|proofs| proofs.last()) {
            Some(Proof::Write(file, block)) => self.write(*file, *block, facts),
            Some(Proof::Read(file, block)) => self.read(*file, *block, facts),
            None => {}
        }
    }

    fn proved(&mut self, done: bool) {
        if let Some(proofs) = self.proofs.as_mut().filter(|_| done) {
            proofs.pop();
        }
    }

    fn write(&mut self, file: InodeId, block: Block, facts: &mut Vec<DataFact>) {
        let op = self.new_op();
        Self::tell(DataFact::Writes { op, file, block }, facts);
        self.task = Some(Task::Write(Write {
            op,
            file,
            block,
            go_on: false,
            chunk: ChunkId::HOLE,
            tries: 0,
            ends: None,
        }));
    }

    fn read(&mut self, file: InodeId, block: Block, facts: &mut Vec<DataFact>) {
        let op = self.new_op();
        Self::tell(DataFact::Reads { op, file, block }, facts);
        self.task = Some(Task::Read(Read {
            op,
            file,
            block,
            tries: 0,
            told: (ChunkId::HOLE, 0),
        }));
    }

    fn reserve(&mut self, file: InodeId, facts: &mut Vec<DataFact>) {
        let op = self.new_op();
        if self.says_again(&Task::Reserve { op, file }) {
            return self.read(file, Block { index: 0, at: 0 }, facts);
        }
        Self::tell(DataFact::Reserves { op, file }, facts);
        self.task = Some(Task::Reserve { op, file });
    }

    fn cut(&mut self, file: InodeId, length: u64, facts: &mut Vec<DataFact>) {
        let op = self.new_op();
        if self.says_again(&Task::Cut { op, file, length }) {
            return self.read(file, Block { index: 0, at: 0 }, facts);
        }
        Self::tell(DataFact::Cuts { op, file, length }, facts);
        self.task = Some(Task::Cut { op, file, length });
    }

    fn says_again(&self, task: &Task) -> bool {
        self.last.as_ref() == Some(&self.call_of(task, &Shared::default()))
    }

    // Answers.

    /// A node answers.
    pub fn on_reply(
        &mut self,
        reply: &Reply,
        shared: &mut Shared,
        facts: &mut Vec<DataFact>,
    ) -> Next {
        let (Some(asked), Some(task)) = (self.asked.take(), self.task.clone()) else {
            return self.wrong(format!("{reply:?} was not waited for"), shared, facts);
        };
        if let Err(status) = reply.status() {
            return self.on_refusal(&asked.call, task, status, shared, facts);
        }
        self.refusals = 0;
        match (task, reply) {
            (Task::Make { shared: of_all, .. }, Reply::Create(Ok(made))) => {
                let file = Some(made.inode);
                Self::tell(DataFact::Made { file: made.inode }, facts);
                if !of_all {
                    self.own = Some((made.inode, self.name_of(false, shared)));
                }
                self.task = Some(Task::Make {
                    shared: of_all,
                    file,
                });
                self.ask(shared)
            }
            (
                Task::Make {
                    shared: of_all,
                    file: Some(file),
                },
                Reply::SetSclass(_),
            ) => {
                if of_all {
                    shared.files.push(file);
                    return self.done(shared);
                }
                // One's own begins with what is in a shared one.
                let (op, of) = (self.new_op(), shared.files[0]);
                Self::tell(DataFact::Slices { op, file, of }, facts);
                self.task = Some(Task::Slice { op, file, of });
                self.ask(shared)
            }
            (Task::Write(write), Reply::WriteChunk(Ok(place))) => {
                self.on_write_place(write, place, shared, facts)
            }
            (Task::Write(write), Reply::WriteChunkEnd(_)) => {
                let (op, done) = (write.op, write.ends == Some(true));
                Self::tell(DataFact::Changed { op, done }, facts);
                self.proved(done);
                self.done(shared)
            }
            (Task::Read(read), Reply::ReadChunk(Ok(place))) => {
                self.on_read_place(read, place, shared, facts)
            }
            (Task::Cut { op, length, .. }, Reply::Truncate(Ok(cut))) => {
                // A file that grew was not cut: what was never acknowledged behind its end shows.
                let done = cut.previous > length;
                Self::tell(DataFact::Changed { op, done }, facts);
                self.done(shared)
            }
            (Task::Reserve { op, file }, Reply::Truncate(Ok(room))) => {
                let begin = room.previous;
                Self::tell(DataFact::Reserved { op, begin }, facts);
                match Block::beginning(begin) {
                    Some(block) => self.write(file, block, facts),
                    // Nobody would write there: it is cut, and begun anew.
                    None => self.cut(file, 0, facts),
                }
                self.ask(shared)
            }
            (Task::Slice { op, .. }, Reply::AppendSlice(_)) => {
                let done = true;
                Self::tell(DataFact::Changed { op, done }, facts);
                self.done(shared)
            }
            (Task::Repair { file }, Reply::Repair(Ok(came))) => {
                let (erased, repaired) = (came.erased, came.repaired);
                let fact = DataFact::Repaired {
                    file,
                    erased,
                    repaired,
                };
                Self::tell(fact, facts);
                self.done(shared)
            }
            (Task::Remove { .. }, Reply::Unlink(_)) => self.done(shared),
            (task, reply) => self.wrong(format!("{task:?} was told {reply:?}"), shared, facts),
        }
    }

    fn wrong(&mut self, what: String, shared: &Shared, facts: &mut Vec<DataFact>) -> Next {
        Self::tell(DataFact::Wrong { what }, facts);
        self.done(shared)
    }

    /// Asks the same again after a while, as mfsmount does: sooner for what will be over soon.
    fn on_refusal(
        &mut self,
        call: &Call,
        task: Task,
        status: Status,
        shared: &Shared,
        facts: &mut Vec<DataFact>,
    ) -> Next {
        let refusals = self.refusals;
        self.refusals += 1;
        let (name, number) = (call.name(), status.number());
        let fact = DataFact::Refused {
            call: name,
            status: number,
        };
        Self::tell(fact, facts);
        match (status, task) {
            // The file is shorter, or another chunk is there: its application is told of an error.
            (_, Task::Write(write)) if write.ends.is_some() => {
                let (op, done) = (write.op, false);
                Self::tell(DataFact::Changed { op, done }, facts);
                self.done(shared)
            }
            // There are reasons not to repair that go on for long.
            (Status::EAGAIN | Status::CSNOTPRESENT, Task::Repair { .. }) => self.done(shared),
            (Status::LOCKED, Task::Cut { .. }) => Next::Pause(Duration::from_millis(10)),
            // Another chunk is in that place by now: mfsmount counts that try, and goes on.
            (Status::NOCHUNK, Task::Cut { .. }) => {
                Next::Pause(Duration::from_millis(1 + 300 * u64::from(refusals.min(3))))
            }
            (Status::LOCKED | Status::EAGAIN, _) => {
                Next::Pause(Duration::from_millis(match refusals {
                    0 | 1 => 1,
                    2..=5 => 100,
                    _ => 500,
                }))
            }
            (
                Status::NOCHUNKSERVERS | Status::CSNOTPRESENT | Status::CHUNKBUSY | Status::NOSPACE,
                _,
            ) => Next::Pause(Duration::from_millis(1 + 300 * u64::from(refusals.min(3)))),
            (status, _) => self.wrong(format!("{call:?} was told {status:?}"), shared, facts),
        }
    }

    fn on_write_place(
        &mut self,
        mut write: Write,
        place: &ChunkPlace,
        shared: &Shared,
        facts: &mut Vec<DataFact>,
    ) -> Next {
        if place.locations.is_empty() || place.chunk == ChunkId::HOLE {
            return self.wrong(format!("a write was told {place:?}"), shared, facts);
        }
        write.chunk = place.chunk;
        write.go_on = true;
        let spot = Spot {
            chunk: place.chunk,
            version: place.version,
            at: write.block.at,
        };
        let value = write.op;
        self.task = Some(Task::Write(write));
        let locations = place.locations.iter();
        let servers = locations.map(|it| fleet::number_at(it.ip())).collect();
        Next::Want(spot, Want::Store { value, servers })
    }

    fn on_read_place(
        &mut self,
        mut read: Read,
        place: &ChunkPlace,
        shared: &Shared,
        facts: &mut Vec<DataFact>,
    ) -> Next {
        let (op, length) = (read.op, place.length);
        Self::tell(DataFact::Length { op, length }, facts);
        if read.block.end() > length || place.chunk == ChunkId::HOLE {
            let (value, from) = (Some(0), None);
            Self::tell(DataFact::Read { op, value, from }, facts);
            self.proved(true);
            return self.done(shared);
        }
        if place.locations.is_empty() {
            return self.wrong(format!("a read was told {place:?}"), shared, facts);
        }
        read.told = (place.chunk, place.version);
        let spot = Spot {
            chunk: place.chunk,
            version: place.version,
            at: read.block.at,
        };
        self.task = Some(Task::Read(read));
        let server = fleet::number_at(self.rng.pick(&place.locations).ip());
        Next::Want(spot, Want::Fetch { server })
    }

    /// Chunkservers have done what it wanted, or not.
    pub fn on_served(
        &mut self,
        served: Served,
        shared: &Shared,
        facts: &mut Vec<DataFact>,
    ) -> Next {
        match (self.task.take(), served) {
            (Some(Task::Write(mut write)), Served::Stored) => {
                write.ends = Some(true);
                self.task = Some(Task::Write(write));
                self.ask(shared)
            }
            (Some(Task::Write(mut write)), _) => {
                write.tries += 1;
                if !shared.healed && self.rng.chance(1, 6) {
                    write.ends = Some(false);
                    self.task = Some(Task::Write(write));
                    return self.ask(shared);
                }
                let after = 1 + 300 * u64::from(write.tries.min(4) - 1);
                self.task = Some(Task::Write(write));
                Next::Pause(Duration::from_millis(after))
            }
            (Some(Task::Read(read)), Served::Fetched(value, server)) => {
                let (op, value) = (read.op, Some(value));
                let from = Some((server, read.told.0, read.told.1));
                Self::tell(DataFact::Read { op, value, from }, facts);
                self.proved(true);
                self.done(shared)
            }
            (Some(Task::Read(mut read)), _) => {
                read.tries += 1;
                if !shared.healed && read.tries >= READS_MAX {
                    let (op, value, from) = (read.op, None, None);
                    Self::tell(DataFact::Read { op, value, from }, facts);
                    return self.done(shared);
                }
                let after = 1 + 100 * u64::from(read.tries.min(3) - 1);
                self.task = Some(Task::Read(read));
                Next::Pause(Duration::from_millis(after))
            }
            (task, served) => {
                self.task = task;
                self.wrong(format!("{served:?} was not waited for"), shared, facts)
            }
        }
    }
}

/// Whether nodes give a request a number, and know it when it comes again.
fn is_command(call: &Call) -> bool {
    !matches!(call, Call::ReadChunk(_) | Call::Repair(_))
}
