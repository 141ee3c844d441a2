//! Commands and queries at random, made to hit each other: few names, few users, few directories,
//! small quotas, every kind of session.
//!
//! A [`Step`] says what kind of request it is and seeds its details; it becomes a request only
//! against the model's present state. So a run is a list of small steps, any of which can be left
//! out without making nonsense of the rest: that is what shrinking needs. A simulator's workload
//! draws from [`Generator::next`] instead.

mod commands;
mod queries;

use std::collections::BTreeMap;

use mfsha_core::id::{ChunkId, InodeId, Lane, NodeId, RequestSeq, SessionId};
use mfsha_core::limits;
use mfsha_core::namespace::op::{
    Caller, Command, Name, NodeKind, Op, Query, RequestId, SessionParams,
};
use mfsha_core::rng::{Rng, Seed};
use mfsha_core::time::{Stamp, WallTime};

use crate::state::Model;
pub use commands::{COMMANDS, CommandKind};
pub use queries::{QUERIES, QueryKind};

/// Nodes above which more is removed than made: the model walks its maps all the time.
const NODES_MANY: usize = 60;

/// Something to ask of the namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// A change.
    Command(Command),
    /// A question, and the time at which it is asked.
    Query(WallTime, Query),
}

/// A request to be: small, and meaningful wherever it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Which kind: a number that is reduced to the kinds there are, commands first.
    pub kind: u16,
    /// Decides everything else.
    pub seed: u64,
}

/// Makes requests; keeps the clock, and which requests were made.
#[derive(Clone, Debug)]
pub struct Generator {
    now: WallTime,
    stamps: u64,
    seqs: BTreeMap<(SessionId, Lane), RequestSeq>,
    /// The newest command of each lane.
    recent: Vec<Command>,
}

impl Default for Generator {
    fn default() -> Self {
        Self::new()
    }
}

impl Generator {
    /// A generator at the beginning of its time.
    #[must_use]
    pub fn new() -> Self {
        Self {
            now: WallTime(1_700_000_000),
            stamps: 0,
            seqs: BTreeMap::new(),
            recent: Vec::new(),
        }
    }

    /// How many kinds a [`Step`] can be of, each as often as it should come.
    #[must_use]
    pub fn kind_count() -> u16 {
        let commands: u16 = COMMANDS.iter().map(|(_, weight)| weight).sum();
        let queries: u16 = QUERIES.iter().map(|(_, weight)| weight).sum();
        commands + queries
    }

    /// The next request at random.
    pub fn next(&mut self, model: &Model, rng: &mut Rng) -> Request {
        let step = Step {
            kind: rng.below(u64::from(Self::kind_count())) as u16,
            seed: rng.next_u64(),
        };
        self.realize(model, step)
    }

    /// The request that a step is in this state.
    pub fn realize(&mut self, model: &Model, step: Step) -> Request {
        let mut rng = Seed::from_u64(step.seed).rng();
        self.pass_time(&mut rng);
        let mut place = step.kind % Self::kind_count();
        for (kind, weight) in COMMANDS {
            if place < *weight {
                return Request::Command(self.command(model, *kind, &mut rng));
            }
            place -= weight;
        }
        for (kind, weight) in QUERIES {
            if place < *weight {
                let query = Draw::new(model, &mut rng).query(*kind);
                return Request::Query(self.now, query);
            }
            place -= weight;
        }
        unreachable!("the number was reduced to the sum of the weights")
    }

    /// Mostly seconds, now and then past a chunk's lock, a trash time or a grace time; rarely
    /// back, as when another node's clock is behind.
    fn pass_time(&mut self, rng: &mut Rng) {
        let WallTime(now) = self.now;
        self.now = WallTime(match rng.below(100) {
            0..=39 => now,
            40..=79 => now + rng.below(5) as u32,
            80..=89 => now + rng.between(60, 200) as u32,
            90..=94 => now + 3_600,
            95..=96 => now + 86_400,
            97 => now + 8 * 86_400,
            _ => now - rng.below(100) as u32,
        });
    }

    fn command(&mut self, model: &Model, kind: CommandKind, rng: &mut Rng) -> Command {
        self.stamps += 1;
        let stamp = Stamp {
            time: u64::from(self.now.0) * 1_000_000 + self.stamps,
            node: NodeId(rng.between(1, 3)),
        };
        let repeats = rng.chance(1, 12) && !self.recent.is_empty();
        if repeats {
            return self.repeat(stamp, rng);
        }
        let crowded = model.nodes.len() > NODES_MANY;
        let kind = if crowded { kind.or_smaller(rng) } else { kind };
        let op = Draw::new(model, rng).op(kind);
        let request = self.request_id(model, &op, rng);
        let command = Command {
            stamp,
            now: self.now,
            request,
            op,
        };
        if let Some(id) = request {
            self.recent
                .retain(|c| c.request.map(|r| (r.session, r.lane)) != Some((id.session, id.lane)));
            self.recent.push(command.clone());
        }
        command
    }

    /// A request that was made before comes again, or one from before it.
    fn repeat(&mut self, stamp: Stamp, rng: &mut Rng) -> Command {
        let mut command = rng.pick(&self.recent).clone();
        command.stamp = stamp;
        command.now = self.now;
        if let Some(id) = &mut command.request
            && rng.chance(1, 4)
        {
            id.seq = RequestSeq(id.seq.0.saturating_sub(1));
        } else if let Some(id) = &mut command.request
            && rng.chance(1, 4)
        {
            // Another request under the number of that one.
            id.print ^= 1;
        }
        command
    }

    fn request_id(&mut self, model: &Model, op: &Op, rng: &mut Rng) -> Option<RequestId> {
        let opens = matches!(op, Op::OpenSession { .. });
        if opens || rng.chance(1, 3) {
            return None;
        }
        let session = Draw::new(model, rng).session();
        let lane = if rng.chance(1, 100) {
            Lane(limits::LANE_COUNT_MAX + rng.below(2) as u32)
        } else {
            Lane(rng.below(3) as u32)
        };
        let seq = self.seqs.entry((session, lane)).or_default();
        seq.0 += rng.between(1, 2);
        let print = rng.below(2);
        Some(RequestId {
            print,
            ..RequestId::new(session, lane, *seq)
        })
    }
}

/// Draws parts of requests from a state.
struct Draw<'a> {
    model: &'a Model,
    rng: &'a mut Rng,
}

impl<'a> Draw<'a> {
    fn new(model: &'a Model, rng: &'a mut Rng) -> Self {
        Self { model, rng }
    }

    fn chance(&mut self, numerator: u64, denominator: u64) -> bool {
        self.rng.chance(numerator, denominator)
    }

    fn flip(&mut self) -> bool {
        self.chance(1, 2)
    }

    fn pick<T: Clone>(&mut self, items: &[T]) -> T {
        self.rng.pick(items).clone()
    }

    fn pick_or<T: Clone>(&mut self, items: &[T], fallback: T) -> T {
        if items.is_empty() {
            fallback
        } else {
            self.pick(items)
        }
    }

    /// One of the sessions, often one that may do everything, now and then one that is not there.
    fn session(&mut self) -> SessionId {
        let there: Vec<SessionId> = self.model.sessions.keys().copied().collect();
        let able: Vec<SessionId> = self
            .model
            .sessions
            .iter()
            .filter(|(_, session)| session.params == SessionParams::unrestricted())
            .map(|(id, _)| *id)
            .collect();
        match self.rng.below(40) {
            0 => SessionId(4_000_000 + self.rng.below(2) as u32),
            1..=5 => SessionId(0),
            6..=24 => self.pick_or(&able, SessionId(0)),
            _ => self.pick_or(&there, SessionId(0)),
        }
    }

    fn meta_session(&mut self) -> SessionId {
        let meta: Vec<SessionId> = self
            .model
            .sessions
            .iter()
            .filter(|(_, session)| session.params.root == InodeId(0))
            .map(|(id, _)| *id)
            .collect();
        match self.rng.below(8) {
            0 => self.session(),
            1..=3 => self.pick_or(&meta, SessionId(0)),
            _ => SessionId(0),
        }
    }

    fn caller_of(&mut self, session: SessionId) -> Caller {
        let uid = self.pick(&[0, 0, 0, 0, 0, 0, 1, 1, 2, 3]);
        let groups: [&[u32]; 8] = [&[0], &[0], &[1], &[1], &[2], &[1, 2], &[2, 0, 5], &[3, 1]];
        let gids = if self.chance(1, 100) {
            Vec::new()
        } else {
            self.pick(&groups).to_vec()
        };
        Caller { session, uid, gids }
    }

    fn caller(&mut self) -> Caller {
        let session = self.session();
        self.caller_of(session)
    }

    fn inodes(&self, wanted: impl Fn(&crate::state::Node) -> bool) -> Vec<InodeId> {
        self.model
            .nodes
            .iter()
            .filter(|(_, node)| wanted(node))
            .map(|(inode, _)| *inode)
            .collect()
    }

    /// Any node, and now and then none.
    fn inode(&mut self) -> InodeId {
        let all = self.inodes(|_| true);
        match self.rng.below(30) {
            0 => self.missing_inode(),
            1..=3 => InodeId::ROOT,
            _ => self.pick(&all),
        }
    }

    fn missing_inode(&mut self) -> InodeId {
        self.pick(&[
            InodeId(0),
            InodeId(limits::INODE_END - 7),
            InodeId(77 << 14),
        ])
    }

    /// A node of a kind, mostly.
    fn inode_of(&mut self, kind: NodeKind) -> InodeId {
        let some = self.inodes(|node| node.kind == kind);
        if some.is_empty() || self.chance(1, 12) {
            self.inode()
        } else {
            self.pick(&some)
        }
    }

    fn file(&mut self) -> InodeId {
        self.inode_of(NodeKind::File)
    }

    /// A directory, mostly; often the root.
    fn dir(&mut self) -> InodeId {
        if self.chance(1, 4) {
            InodeId::ROOT
        } else {
            self.inode_of(NodeKind::Directory)
        }
    }

    /// A name as it might be given to something new.
    fn name(&mut self) -> Name {
        let long = |bytes: usize| vec![b'n'; bytes];
        match self.rng.below(80) {
            0 => Vec::new(),
            1 => b".".to_vec(),
            2 => b"..".to_vec(),
            3 => b"x/y".to_vec(),
            4 => b"n\0l".to_vec(),
            5 => long(limits::NAME_BYTES_MAX),
            6 => long(limits::NAME_BYTES_MAX + 1),
            7 => vec![0xFF, 0xFE],
            8 => b"!before-the-dots".to_vec(),
            _ => self.pick(&[b"a", b"b", b"c", b"d", b"e", b"f"]).to_vec(),
        }
    }

    /// A name that is there, mostly.
    fn name_in(&mut self, dir: InodeId) -> Name {
        let dir = self.model.nodes.get(&dir);
        let names: Vec<Name> = dir
            .map(|node| node.entries.keys().cloned().collect())
            .unwrap_or_default();
        if names.is_empty() || self.chance(1, 10) {
            self.name()
        } else {
            self.pick(&names)
        }
    }

    /// A directory with something in it, mostly, and a name there.
    fn entry(&mut self) -> (InodeId, Name) {
        let full = self.inodes(|node| !node.entries.is_empty());
        let dir = if full.is_empty() || self.chance(1, 10) {
            self.dir()
        } else {
            self.pick(&full)
        };
        let name = self.name_in(dir);
        (dir, name)
    }

    /// A name of something of a kind, mostly.
    fn entry_of(&mut self, wanted: impl Fn(NodeKind) -> bool) -> (InodeId, Name) {
        let mut entries = Vec::new();
        for (dir, node) in &self.model.nodes {
            for (name, child) in &node.entries {
                if wanted(self.model.node(*child).kind) {
                    entries.push((*dir, name.clone()));
                }
            }
        }
        if entries.is_empty() || self.chance(1, 10) {
            self.entry()
        } else {
            self.pick(&entries)
        }
    }

    fn length(&mut self) -> u64 {
        let chunk = limits::CHUNK_BYTES;
        if self.chance(1, 60) {
            let max = limits::FILE_BYTES_MAX;
            return self.pick(&[max, max + 1, u64::MAX]);
        }
        self.pick(&[
            0,
            1,
            1_000,
            limits::BLOCK_BYTES,
            limits::BLOCK_BYTES + 1,
            1_500_000,
            chunk - 1,
            chunk,
            chunk + 5,
            2 * chunk,
            2 * chunk + 70_000,
        ])
    }

    fn index(&mut self) -> u32 {
        if self.chance(1, 80) {
            let max = limits::CHUNK_INDEX_MAX;
            return self.pick(&[max + 1, u32::MAX, 1_000]);
        }
        self.pick(&[0, 0, 0, 0, 0, 0, 1, 1, 2, 3])
    }

    /// A slot of a file that holds a chunk, if there is any.
    fn slot(&mut self) -> (InodeId, u32, ChunkId) {
        let mut slots = Vec::new();
        for (inode, node) in &self.model.nodes {
            for (index, chunk) in &node.chunks {
                slots.push((*inode, *index, *chunk));
            }
        }
        let (mut inode, mut index, mut chunk) =
            self.pick_or(&slots, (InodeId::ROOT, 0, ChunkId(1)));
        match self.rng.below(12) {
            0 => inode = self.file(),
            1 => index = self.index(),
            2 => chunk = self.chunk(),
            _ => {}
        }
        (inode, index, chunk)
    }

    fn chunk(&mut self) -> ChunkId {
        let all: Vec<ChunkId> = self.model.chunks.keys().copied().collect();
        if self.chance(1, 12) {
            self.pick(&[ChunkId::HOLE, ChunkId(1 << 50)])
        } else {
            self.pick_or(&all, ChunkId(1))
        }
    }

    fn mode(&mut self) -> u16 {
        self.pick(&[
            0o777, 0o777, 0o777, 0o777, 0o777, 0o777, 0o777, 0o755, 0o644, 0o600, 0o700, 0o070,
            0o007, 0, 0o1777, 0o2775, 0o4755, 0o6711, 0o2644, 0o100644,
        ])
    }

    fn umask(&mut self) -> u16 {
        self.pick(&[0, 0, 0o022, 0o077, 0o027])
    }

    fn xattr_name(&mut self) -> Vec<u8> {
        match self.rng.below(40) {
            0 => Vec::new(),
            1 => vec![b'x'; limits::XATTR_NAME_BYTES_MAX],
            2 => vec![b'x'; limits::XATTR_NAME_BYTES_MAX + 1],
            3 => b"user.\0".to_vec(),
            _ => {
                let names: [&[u8]; 6] = [
                    b"user.a",
                    b"user.a",
                    b"user.b",
                    b"trusted.t",
                    b"security.s",
                    b"system.s",
                ];
                self.pick(&names).to_vec()
            }
        }
    }
}
