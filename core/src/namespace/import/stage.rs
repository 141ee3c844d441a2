//! The first half: records of the file, each looked at alone, sorted by what they belong to.
//!
//! ```text
//! b'I'  slot:u16  inode:u32  kind:u8  rest     what belongs to an inode, its node first
//! b'C'  slot:u16  chunk:u64  kind:u8  rest     what belongs to a chunk, itself first
//! ```
//!
//! Where a second record of the same could come, the number of the record ends the key, so that both
//! are there to be found. What needs no other record goes to the state at once: classes,
//! sessions, chunkservers.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{ImportError, Progress, Writer};
use crate::chunks::Address;
use crate::codec;
use crate::crdt::Lww;
use crate::id::{ChunkId, CsId, InodeId, SessionId, Slot};
use crate::limits;
use crate::moosefs::flags;
use crate::moosefs::metadata::item::{self, Content};
use crate::moosefs::metadata::{Item, Parser, Section, Source};
use crate::namespace::genesis::plain_goal;
use crate::namespace::key::Key;
use crate::namespace::numbers;
use crate::namespace::op::{
    Acl, DirStats, NodeKind, PosixLockKind, QuotaLimits, SessionParams, StorageClass, Whereabouts,
};
use crate::namespace::path::valid_name;
use crate::namespace::record::{
    ChunkserverRecord, Origin, PosixRange, QuotaRecord, Session, SessionRecord,
};
use crate::namespace::stats;
use crate::store::{StateStore, StoreError};
use crate::time::{Stamp, WallTime};

/// What belongs to an inode, by the kind in its key, in order.
pub mod of_inode {
    /// Itself.
    pub const NODE: u8 = 1;
    /// A name that it has.
    pub const NAME: u8 = 2;
    /// The path that it had.
    pub const PATH: u8 = 3;
    /// A list of access.
    pub const ACL: u8 = 4;
    /// An extended attribute.
    pub const XATTR: u8 = 5;
    /// A quota.
    pub const QUOTA: u8 = 6;
    /// A chunk.
    pub const CHUNK: u8 = 7;
    /// Who has it open.
    pub const OPEN: u8 = 8;
    /// A lock of the whole file.
    pub const FLOCK: u8 = 9;
    /// A lock of bytes.
    pub const POSIX_LOCK: u8 = 10;
    /// A name in it.
    pub const ENTRY: u8 = 11;
}

/// What belongs to a chunk.
pub mod of_chunk {
    /// Itself.
    pub const CHUNK: u8 = 1;
    /// A file that refers to it.
    pub const REFERENCE: u8 = 2;
}

/// A record, and where it began in the file.
#[derive(Clone, Debug)]
pub struct At<T>(pub u64, pub T);

/// A node without names and chunks.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Node {
    pub origin: Origin,
    pub whereabouts: Whereabouts,
    pub mode: u16,
    pub uid: u32,
    pub gid: u32,
    pub times: [WallTime; 3],
    pub length: u64,
    pub winattr: u8,
    pub eattr: u8,
    pub class: u8,
    pub trash_hours: u16,
    /// Chunks that are no holes.
    pub chunks: u64,
    /// Bytes of these.
    pub size: i128,
}

impl Node {
    /// What it counts as in a directory, its own entries left out; copies as its class wants.
    pub fn sums(&self, classes: &BTreeMap<u8, StorageClass>) -> DirStats {
        match self.origin.kind {
            NodeKind::Directory => stats::DIRECTORY,
            NodeKind::File => {
                let goal = classes.get(&self.class).map_or(1, stats::goal_of);
                DirStats {
                    chunks: self.chunks.into(),
                    length: self.length.into(),
                    size: self.size,
                    real_size: self.size.saturating_mul(goal),
                    ..stats::FILE
                }
            }
            _ => DirStats {
                length: self.length.into(),
                ..stats::NODE
            },
        }
    }
}

/// A name: which of all it is, where, and for what.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Named {
    pub number: u64,
    pub inode: InodeId,
    #[serde(with = "crate::codec::bytes")]
    pub name: Vec<u8>,
}

/// A chunk.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Chunk {
    pub version: u32,
    pub locked_until: WallTime,
    pub archived: bool,
}

/// Begins the keys of what belongs to an inode.
pub fn inode_prefix(ino: InodeId) -> Vec<u8> {
    let mut key = vec![b'I'];
    key.extend_from_slice(&ino.slot().0.to_be_bytes());
    key.extend_from_slice(&ino.0.to_be_bytes());
    key
}

/// Begins the keys of what of one kind belongs to an inode.
pub fn kind_prefix(ino: InodeId, kind: u8) -> Vec<u8> {
    let mut key = inode_prefix(ino);
    key.push(kind);
    key
}

fn chunk_key(chunk: ChunkId, kind: u8, rest: &[&[u8]]) -> Vec<u8> {
    let mut key = vec![b'C'];
    key.extend_from_slice(&chunk.slot().0.to_be_bytes());
    key.extend_from_slice(&chunk.0.to_be_bytes());
    key.push(kind);
    key.extend(rest.iter().copied().flatten());
    key
}

fn inode_key(ino: InodeId, kind: u8, rest: &[&[u8]]) -> Vec<u8> {
    let mut key = kind_prefix(ino, kind);
    key.extend(rest.iter().copied().flatten());
    key
}

/// Whose a key is (its slot left out), of which kind it is, and what is behind that.
pub fn parse_inode_key(key: &[u8]) -> Option<(InodeId, u8, &[u8])> {
    let (head, rest) = key.split_first_chunk::<8>()?;
    let ino = u32::from_be_bytes(head[3..7].try_into().ok()?);
    (head[0] == b'I').then_some((InodeId(ino), head[7], rest))
}

/// As [`parse_inode_key`], of a chunk.
pub fn parse_chunk_key(key: &[u8]) -> Option<(ChunkId, u8, &[u8])> {
    let (head, rest) = key.split_first_chunk::<12>()?;
    let chunk = u64::from_be_bytes(head[3..11].try_into().ok()?);
    (head[0] == b'C').then_some((ChunkId(chunk), head[11], rest))
}

/// A record as it is staged: where it began, and itself.
fn staged<T: Serialize>(at: u64, what: &T) -> Vec<u8> {
    let mut value = at.to_be_bytes().to_vec();
    value.extend(codec::encode(what));
    value
}

/// Where what was staged began in the file.
pub fn place(key: &[u8], value: &[u8]) -> Result<u64, StoreError> {
    Ok(parts(key, value)?.0)
}

/// Reads what was staged.
pub fn unstage<T: DeserializeOwned>(key: &[u8], value: &[u8]) -> Result<At<T>, StoreError> {
    let (at, record) = parts(key, value)?;
    match codec::decode(record) {
        Ok(record) => Ok(At(at, record)),
        Err(error) => Err(corrupt(key, &error.to_string())),
    }
}

fn parts<'v>(key: &[u8], value: &'v [u8]) -> Result<(u64, &'v [u8]), StoreError> {
    match value.split_first_chunk() {
        Some((at, record)) => Ok((u64::from_be_bytes(*at), record)),
        None => Err(corrupt(key, "too short")),
    }
}

/// The scratch store does not give back what it was given.
pub fn corrupt(key: &[u8], reason: &str) -> StoreError {
    StoreError::Corrupt {
        key: key.to_vec(),
        reason: reason.to_owned(),
    }
}

/// What of a file is not in the scratch store.
#[derive(Default)]
pub struct Stage {
    pub version: u64,
    pub metaid: u64,
    pub classes: BTreeMap<u8, StorageClass>,
    pub sessions: BTreeSet<SessionId>,
    /// The highest session that was ever given out.
    pub last_session: u32,
    pub registrations: u64,
    /// The highest inode that was ever given out.
    pub last_inode: u32,
    pub inodes: u64,
    /// Names in directories.
    pub names: u64,
    /// The next chunk.
    pub next_chunk: u64,
    pub chunks: u64,
    addresses: BTreeSet<Address>,
    chunkservers: BTreeSet<u16>,
    /// Nodes that the header of their section promises.
    inodes_told: u64,
    sections: BTreeSet<Section>,
    has_head: bool,
}

/// Where records go that belong to something.
struct Scratch<'s, S> {
    out: Writer<'s, S>,
    /// Where the present record begins.
    at: u64,
}

impl<S: StateStore> Scratch<'_, S> {
    fn inode<T: Serialize>(
        &mut self,
        ino: InodeId,
        kind: u8,
        rest: &[&[u8]],
        what: &T,
    ) -> Result<(), ImportError> {
        let key = inode_key(ino, kind, rest);
        Ok(self.out.put(key, staged(self.at, what))?)
    }

    fn unfit<T>(&self, what: impl Into<String>) -> Result<T, ImportError> {
        Err(ImportError::unfit(self.at, what))
    }

    fn number(&self) -> [u8; 8] {
        self.at.to_be_bytes()
    }
}

impl Stage {
    /// Reads a file to its end.
    pub fn read(
        parser: &mut Parser<impl Source>,
        scratch: Writer<'_, impl StateStore>,
        state: &mut Writer<'_, impl StateStore>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Self, ImportError> {
        let mut stage = Self::default();
        let mut scratch = Scratch {
            out: scratch,
            at: 0,
        };
        while let Some(item) = parser.next_item()? {
            stage.take(item, &mut scratch, state)?;
            scratch.at = parser.position();
            progress(Progress::Read(scratch.at));
        }
        scratch.out.flush()?;
        stage.finish(state)?;
        Ok(stage)
    }

    fn take(
        &mut self,
        item: Item,
        scratch: &mut Scratch<'_, impl StateStore>,
        state: &mut Writer<'_, impl StateStore>,
    ) -> Result<(), ImportError> {
        match item {
            Item::New => {
                return Err(ImportError::whole(
                    "the file is that of a new master and holds no metadata: start without it",
                ));
            }
            Item::Head { version, metaid } => {
                if metaid == 0 {
                    return scratch.unfit("the cluster has no number (metaid is 0)");
                }
                (self.version, self.metaid, self.has_head) = (version, metaid, true);
            }
            Item::Section(section, numbers) => self.begin(section, numbers, scratch)?,
            Item::Session(it) => self.session(&it, scratch, state)?,
            Item::Class(it) => self.class(&it, scratch)?,
            Item::Node(it) => self.node(*it, scratch)?,
            Item::Edge(it) => self.edge(it, scratch)?,
            Item::Free(ino, _) => {
                if ino.0 > self.last_inode {
                    return scratch.unfit(format!("{ino} was freed and never given out"));
                }
            }
            Item::Quota(it) => quota(&it, scratch)?,
            Item::Xattr(ino, name, value) => xattr(ino, &name, &value, scratch)?,
            Item::Acl(it) => acl(it, scratch)?,
            Item::Open(session, ino) => {
                self.known(session, scratch)?;
                let rest: &[&[u8]] = &[&session.0.to_be_bytes(), &scratch.number()];
                scratch.inode(ino, of_inode::OPEN, rest, &session)?;
            }
            Item::Flock(it) => self.flock(&it, scratch)?,
            Item::PosixLock(it) => self.posix_lock(&it, scratch)?,
            Item::Chunkserver(it) => self.chunkserver(&it, scratch, state)?,
            Item::Chunk(it) => self.chunk(&it, scratch)?,
            Item::End => {}
        }
        Ok(())
    }

    fn begin(
        &mut self,
        section: Section,
        [first, second]: [u64; 2],
        scratch: &mut Scratch<'_, impl StateStore>,
    ) -> Result<(), ImportError> {
        // Numbers that a header promises are looked for in what follows.
        let before = match section {
            Section::Classes | Section::Sessions => None,
            Section::Free => Some(Section::Nodes),
            Section::Open | Section::Flocks | Section::PosixLocks => Some(Section::Sessions),
            _ => None,
        };
        if let Some(before) = before.filter(|before| !self.sections.contains(before)) {
            let name = String::from_utf8_lossy(before.name()).into_owned();
            return scratch.unfit(format!("section {name} has to come before this one"));
        }
        self.sections.insert(section);
        match section {
            Section::Sessions => self.last_session = narrow(first).saturating_sub(1),
            Section::Nodes => {
                self.last_inode = narrow(first);
                self.inodes_told = second;
                if self.last_inode >= limits::INODE_END {
                    return scratch.unfit(format!("inode {first} is above all that there can be"));
                }
            }
            Section::Chunks => {
                self.next_chunk = first;
                if first > 1 << 56 {
                    return scratch.unfit(format!("chunk {first} is above all that there can be"));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(&mut self, state: &mut Writer<'_, impl StateStore>) -> Result<(), ImportError> {
        if !self.has_head {
            return Err(ImportError::whole("the file has no head"));
        }
        let missing = Section::ALL
            .into_iter()
            .find(|it| !self.sections.contains(it));
        if let Some(section) = missing {
            let name = String::from_utf8_lossy(section.name()).into_owned();
            return Err(ImportError::whole(format!(
                "the file has no section {name}: let mfsmaster 3.0.117 start with it once and stop, \
                 and take the one that it writes"
            )));
        }
        if self.inodes != self.inodes_told {
            return Err(ImportError::whole(format!(
                "the file holds {} nodes where its section NODE tells of {}",
                self.inodes, self.inodes_told
            )));
        }
        for goal in 1..=limits::GOAL_MAX {
            self.classes.entry(goal).or_insert_with(|| plain_goal(goal));
        }
        for (id, class) in &self.classes {
            let class: crate::namespace::record::Class = Lww::at(Stamp::MIN, Some(class.clone()));
            state.record(&Key::Class(*id), &class)?;
        }
        Ok(())
    }

    fn known(
        &self,
        session: SessionId,
        scratch: &Scratch<'_, impl StateStore>,
    ) -> Result<(), ImportError> {
        match self.sessions.contains(&session) {
            true => Ok(()),
            false => scratch.unfit(format!("there is no session {}", session.0)),
        }
    }

    fn session(
        &mut self,
        it: &item::Session,
        scratch: &Scratch<'_, impl StateStore>,
        state: &mut Writer<'_, impl StateStore>,
    ) -> Result<(), ImportError> {
        let number = it.session.0;
        if number > self.last_session {
            return scratch.unfit(format!("session {number} was never given out"));
        }
        if !self.sessions.insert(it.session) {
            return scratch.unfit(format!("a second session {number}"));
        }
        let Some(flags) = numbers::session_flags(it.flags) else {
            return scratch.unfit(format!(
                "session {number} has flags that nobody knows: {:#04x}",
                it.flags
            ));
        };
        // It is told to people, and nothing else.
        let cut = it.info.len().min(limits::SESSION_INFO_BYTES_MAX);
        let params = SessionParams {
            root: it.root,
            flags,
            umask: it.umask,
            disables: it.disables,
            root_uid: it.map_root[0],
            root_gid: it.map_root[1],
            map_all_uid: it.map_all[0],
            map_all_gid: it.map_all[1],
            goal_min: it.goals[0],
            goal_max: it.goals[1],
            trash_seconds_min: it.trash[0],
            trash_seconds_max: it.trash[1],
            exports_checksum: it.exports_checksum,
            peer_ip: it.peer_ip,
            info: it.info[..cut].to_vec(),
        };
        let disconnected = (it.disconnected != WallTime(0)).then_some(it.disconnected);
        let record = SessionRecord {
            params,
            disconnected,
        };
        let record: Session = Lww::at(Stamp::MIN, Some(record));
        Ok(state.record(&Key::Session(it.session), &record)?)
    }

    fn class(
        &mut self,
        it: &item::Class,
        scratch: &Scratch<'_, impl StateStore>,
    ) -> Result<(), ImportError> {
        let Some(id) = u8::try_from(it.id).ok().filter(|id| *id > 0) else {
            return scratch.unfit(format!("storage class {}: 1 to 255 can be", it.id));
        };
        let Some(mode) = numbers::class_mode(it.mode) else {
            return scratch.unfit(format!("storage class {id} has mode {}", it.mode));
        };
        if it.name.is_empty() || it.name.contains(&0) {
            return scratch.unfit(format!("storage class {id} has no name"));
        }
        if it.wanted.iter().any(Vec::is_empty) {
            return scratch.unfit(format!("storage class {id} wants no copies"));
        }
        let [create, keep, archive] = it.wanted.clone();
        let class = StorageClass {
            name: it.name.clone(),
            admin_only: it.admin_only != 0,
            mode,
            archive_delay_days: it.archive_delay,
            create,
            keep,
            archive,
        };
        if self.classes.values().any(|other| other.name == class.name) {
            return scratch.unfit(format!("storage class {id} has the name of another"));
        }
        match self.classes.insert(id, class) {
            None => Ok(()),
            Some(_) => scratch.unfit(format!("a second storage class {id}")),
        }
    }

    fn node(
        &mut self,
        it: item::Node,
        scratch: &mut Scratch<'_, impl StateStore>,
    ) -> Result<(), ImportError> {
        let ino = it.inode;
        if ino.0 == 0 || ino.0 > self.last_inode {
            return scratch.unfit(format!("{ino} was never given out"));
        }
        if it.mode > 0o7777 {
            return scratch.unfit(format!("{ino} has mode {:o}", it.mode));
        }
        let (kind, whereabouts) = match it.kind {
            flags::node::FILE => (NodeKind::File, Whereabouts::Linked),
            flags::node::TRASH => (NodeKind::File, Whereabouts::Trash),
            flags::node::SUSTAINED => (NodeKind::File, Whereabouts::Sustained),
            flags::node::DIRECTORY => (NodeKind::Directory, Whereabouts::Linked),
            flags::node::SYMLINK => (NodeKind::Symlink, Whereabouts::Linked),
            flags::node::FIFO => (NodeKind::Fifo, Whereabouts::Linked),
            flags::node::BLOCK_DEVICE => (NodeKind::BlockDevice, Whereabouts::Linked),
            flags::node::CHAR_DEVICE => (NodeKind::CharDevice, Whereabouts::Linked),
            flags::node::SOCKET => (NodeKind::Socket, Whereabouts::Linked),
            other => return scratch.unfit(format!("{other} is no kind of node")),
        };
        let mut node = Node {
            origin: Origin {
                kind,
                rdev: 0,
                target: Vec::new(),
            },
            whereabouts,
            mode: it.mode,
            uid: it.uid,
            gid: it.gid,
            times: [it.atime, it.mtime, it.ctime],
            length: 0,
            winattr: it.winattr,
            eattr: it.eattr,
            class: it.class,
            trash_hours: it.trash_hours,
            chunks: 0,
            size: 0,
        };
        match it.content {
            Content::Nothing => {}
            Content::Device(number) => node.origin.rdev = number,
            Content::Target(target) => {
                let fits = (1..=limits::SYMLINK_BYTES_MAX).contains(&target.len());
                if !fits || target.contains(&0) {
                    return scratch.unfit(format!(
                        "{ino} is a symbolic link with a target of {} bytes, or with a NUL in it",
                        target.len()
                    ));
                }
                node.length = target.len() as u64;
                node.origin.target = target;
            }
            Content::File { length, chunks } => {
                if length > limits::FILE_BYTES_MAX {
                    return scratch.unfit(format!("{ino} is {length} bytes long"));
                }
                node.length = length;
                for (index, chunk) in (0..).zip(chunks) {
                    if chunk != ChunkId::HOLE {
                        let counted = stats::of_chunk(length, index, 1);
                        node.chunks += 1;
                        node.size = node.size.saturating_add(counted.size);
                        refer(ino, index, chunk, scratch)?;
                    }
                }
            }
        }
        self.inodes += 1;
        let rest: &[&[u8]] = &[&scratch.number()];
        scratch.inode(ino, of_inode::NODE, rest, &node)
    }

    fn edge(
        &mut self,
        it: item::Edge,
        scratch: &mut Scratch<'_, impl StateStore>,
    ) -> Result<(), ImportError> {
        let item::Edge {
            parent,
            child,
            name,
            ..
        } = it;
        if parent == InodeId(0) {
            if name.len() > limits::TRASH_PATH_BYTES_MAX {
                let what = format!("{child} had a path of {} bytes", name.len());
                return scratch.unfit(what);
            }
            let rest: &[&[u8]] = &[&scratch.number()];
            let path = Named {
                number: 0,
                inode: parent,
                name,
            };
            return scratch.inode(child, of_inode::PATH, rest, &path);
        }
        if valid_name(&name).is_err() {
            let shown = String::from_utf8_lossy(&name).into_owned();
            return scratch.unfit(format!("{shown:?} can be no name, and is one of {child}"));
        }
        let number = self.names;
        self.names += 1;
        let told = number.to_be_bytes();
        let entry = Named {
            number,
            inode: child,
            name,
        };
        let rest: &[&[u8]] = &[&entry.name, &[0], &told];
        scratch.inode(parent, of_inode::ENTRY, rest, &entry)?;
        let named = Named {
            inode: parent,
            ..entry
        };
        scratch.inode(child, of_inode::NAME, &[&told], &named)
    }

    fn flock(
        &self,
        it: &item::Lock,
        scratch: &mut Scratch<'_, impl StateStore>,
    ) -> Result<(), ImportError> {
        self.known(it.session, scratch)?;
        let exclusive = match it.kind {
            0 => false,
            1 => true,
            kind => return scratch.unfit(format!("{kind} is no kind of lock")),
        };
        let rest: &[&[u8]] = &[
            &it.session.0.to_be_bytes(),
            &it.owner.to_be_bytes(),
            &scratch.number(),
        ];
        let held = (it.session, it.owner, exclusive);
        scratch.inode(it.inode, of_inode::FLOCK, rest, &held)
    }

    fn posix_lock(
        &self,
        it: &item::Lock,
        scratch: &mut Scratch<'_, impl StateStore>,
    ) -> Result<(), ImportError> {
        self.known(it.session, scratch)?;
        let kind = numbers::lock_kind(it.kind).filter(|kind| *kind != PosixLockKind::Unlock);
        let Some(kind) = kind else {
            return scratch.unfit(format!("{} is no kind of lock", it.kind));
        };
        let (pid, start, end) = it.bytes.unwrap_or_default();
        if start >= end {
            return scratch.unfit("a lock of no bytes");
        }
        let range = PosixRange {
            start,
            end,
            session: it.session,
            owner: it.owner,
            pid,
            kind,
        };
        let rest: &[&[u8]] = &[&start.to_be_bytes(), &scratch.number()];
        scratch.inode(it.inode, of_inode::POSIX_LOCK, rest, &range)
    }

    fn chunkserver(
        &mut self,
        it: &item::Chunkserver,
        scratch: &Scratch<'_, impl StateStore>,
        state: &mut Writer<'_, impl StateStore>,
    ) -> Result<(), ImportError> {
        let address = Address {
            ip: it.ip.into(),
            port: it.port,
        };
        let shown = format!("chunkserver {} at {}:{}", it.csid, address.ip, address.port);
        if it.csid == 0 || !self.chunkservers.insert(it.csid) {
            return scratch.unfit(format!("{shown}: it has no number, or that of another"));
        }
        if !self.addresses.insert(address) {
            return scratch.unfit(format!("{shown}: another one has this address"));
        }
        let maintenance_until = match it.maintenance {
            0 => WallTime(0),
            1 => WallTime(u32::MAX),
            2 => it.until,
            other => return scratch.unfit(format!("{shown}: maintenance is {other}")),
        };
        self.registrations += 1;
        let record = ChunkserverRecord {
            address,
            registration: self.registrations,
            registered_at: WallTime(0),
            maintenance_until,
        };
        let record: crate::namespace::record::Chunkserver = Lww::at(Stamp::MIN, Some(record));
        Ok(state.record(&Key::Chunkserver(CsId(it.csid)), &record)?)
    }

    fn chunk(
        &mut self,
        it: &item::Chunk,
        scratch: &mut Scratch<'_, impl StateStore>,
    ) -> Result<(), ImportError> {
        let id = it.chunk;
        if id.0 >= self.next_chunk {
            return scratch.unfit(format!("{id} was never given out"));
        }
        if it.version == 0 || it.version > limits::CHUNK_VERSION_MAX {
            return scratch.unfit(format!("{id} is of version {}", it.version));
        }
        self.chunks += 1;
        let chunk = Chunk {
            version: it.version,
            locked_until: it.locked_until,
            archived: it.archived != 0,
        };
        let key = chunk_key(id, of_chunk::CHUNK, &[&scratch.number()]);
        Ok(scratch.out.put(key, staged(scratch.at, &chunk))?)
    }
}

/// A number that its header has in 32 bits.
fn narrow(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// How many ids below `end` a slot has: those with numbers below this were given out.
pub fn taken_of(slot: Slot, end: u64) -> u64 {
    match end.checked_sub(1 + u64::from(slot.0)) {
        Some(above) => (above >> limits::SLOT_BITS) + 1,
        None => 0,
    }
}

fn refer(
    ino: InodeId,
    index: u32,
    chunk: ChunkId,
    scratch: &mut Scratch<'_, impl StateStore>,
) -> Result<(), ImportError> {
    let index = index.to_be_bytes();
    scratch.inode(ino, of_inode::CHUNK, &[&index], &chunk)?;
    let rest: &[&[u8]] = &[&ino.0.to_be_bytes(), &index];
    let key = chunk_key(chunk, of_chunk::REFERENCE, rest);
    Ok(scratch.out.put(key, staged(scratch.at, &ino))?)
}

fn quota(it: &item::Quota, scratch: &mut Scratch<'_, impl StateStore>) -> Result<(), ImportError> {
    let hard = it.flags >> flags::quota::HARD_SHIFT;
    let record = QuotaRecord {
        soft: quota_limits(&it.soft, it.flags),
        hard: quota_limits(&it.hard, hard),
        grace_seconds: match it.grace {
            0 => limits::QUOTA_GRACE_SECONDS,
            grace => grace,
        },
        over_soft_since: (it.since != WallTime(0)).then_some(it.since),
    };
    let rest: &[&[u8]] = &[&scratch.number()];
    scratch.inode(it.inode, of_inode::QUOTA, rest, &record)
}

fn quota_limits(told: &item::Limits, bits: u8) -> QuotaLimits {
    use flags::quota::{INODES, LENGTH, REAL_SIZE, SIZE};
    QuotaLimits {
        inodes: (bits & INODES != 0).then_some(told.inodes),
        length: (bits & LENGTH != 0).then_some(told.length),
        size: (bits & SIZE != 0).then_some(told.size),
        real_size: (bits & REAL_SIZE != 0).then_some(told.real_size),
    }
}

fn xattr(
    ino: InodeId,
    name: &[u8],
    value: &[u8],
    scratch: &mut Scratch<'_, impl StateStore>,
) -> Result<(), ImportError> {
    if name.is_empty() || name.contains(&0) {
        return scratch.unfit(format!("an extended attribute of {ino} has no name"));
    }
    let rest: &[&[u8]] = &[name, &[0], &scratch.number()];
    let value = Bytes(value.to_vec());
    scratch.inode(ino, of_inode::XATTR, rest, &(Bytes(name.to_vec()), value))
}

/// Bytes as they are staged.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Bytes(#[serde(with = "crate::codec::bytes")] pub Vec<u8>);

fn acl(it: item::Acl, scratch: &mut Scratch<'_, impl StateStore>) -> Result<(), ImportError> {
    let ino = it.inode;
    let Some(kind) = numbers::acl_kind(it.kind) else {
        return scratch.unfit(format!("{} is no kind of a list of access", it.kind));
    };
    if it.users.len() + it.groups.len() > limits::ACL_ENTRY_COUNT_MAX {
        return scratch.unfit(format!("a list of access of {ino} has too many entries"));
    }
    let [user, group, other, mask] = it.base;
    let acl = Acl {
        user,
        group,
        other,
        mask,
        named_users: it.users,
        named_groups: it.groups,
    };
    let rest: &[&[u8]] = &[&[it.kind], &scratch.number()];
    scratch.inode(ino, of_inode::ACL, rest, &(kind, acl))
}
