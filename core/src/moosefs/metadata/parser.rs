//! Bytes as records, with the place of what is wrong.

use super::item::{
    Acl, Chunk, Chunkserver, Class, Content, Edge, Item, Limits, Lock, Node, Quota, Session,
};
use super::{END, MAGIC, NEW, Section};
use crate::id::{ChunkId, InodeId, SessionId};
use crate::moosefs::flags;
use crate::time::WallTime;

/// Bytes fetched at once.
const FETCH: usize = 64 << 10;
/// Longest path of a symbolic link, in the trash, or of a mount: far above what MooseFS makes.
const PATH_BYTES_MAX: u32 = 64 << 10;
/// Longest value of an extended attribute.
const XATTR_BYTES_MAX: u32 = 64 << 10;
/// Chunks of one file: a pebibyte.
const CHUNKS_MAX: u32 = 1 << 24;
/// Copies that one list of a class wants at most.
const WANTED_MAX: u8 = 9;
/// Bytes of a section's header.
const HEADER_BYTES: usize = 16;

/// Where bytes come from.
pub trait Source {
    /// The next bytes, as many as there are room for or fewer; 0 at the end.
    ///
    /// # Errors
    /// In words.
    fn read(&mut self, into: &mut [u8]) -> Result<usize, String>;
}

impl Source for &[u8] {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, String> {
        let count = self.len().min(into.len());
        let (now, rest) = self.split_at(count);
        into[..count].copy_from_slice(now);
        *self = rest;
        Ok(count)
    }
}

/// What is wrong with a file, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The file ends within something.
    #[error("it ends at byte {at}, within {within}: it was not copied whole, or not written whole")]
    Short {
        /// Its length.
        at: u64,
        /// In words.
        within: String,
    },
    /// Bytes that cannot be there.
    #[error("byte {at}, in {within}: {what}")]
    Wrong {
        /// Where what is wrong begins.
        at: u64,
        /// In words.
        within: String,
        /// In words.
        what: String,
    },
    /// It cannot be read.
    #[error("it cannot be read at byte {at}: {reason}")]
    Unread {
        /// Where.
        at: u64,
        /// Why.
        reason: String,
    },
}

/// Where a parser stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Head,
    Between,
    /// In a section, which ends at this byte, with so many records left where they are counted.
    In(Section, u64, Option<u32>),
    Done,
}

/// Reads a file record by record.
pub struct Parser<S> {
    source: S,
    buffer: Vec<u8>,
    /// What of the buffer was not used yet.
    from: usize,
    /// Bytes of the file that were used.
    at: u64,
    stage: Stage,
    /// Sections that have been.
    seen: Vec<Section>,
    /// A byte of the present record is not 0.
    holds: bool,
}

impl<S: Source> Parser<S> {
    /// At the beginning of a file.
    pub fn new(source: S) -> Self {
        Self {
            source,
            buffer: Vec::new(),
            from: 0,
            at: 0,
            stage: Stage::Head,
            seen: Vec::new(),
            holds: false,
        }
    }

    /// Bytes of the file that were read.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.at
    }

    /// What comes next; `None` behind the end.
    ///
    /// # Errors
    /// [`Damage`]: nothing behind it can be read.
    pub fn next_item(&mut self) -> Result<Option<Item>, Damage> {
        match self.stage {
            Stage::Head => self.head().map(Some),
            Stage::Between => self.section().map(Some),
            Stage::In(section, end, left) => self.record(section, end, left),
            Stage::Done => Ok(None),
        }
    }

    fn within(&self) -> String {
        match self.stage {
            Stage::Head => "its head".to_owned(),
            Stage::Between => "the header of a section".to_owned(),
            Stage::In(section, ..) => {
                format!("section {}", String::from_utf8_lossy(section.name()))
            }
            Stage::Done => "its end".to_owned(),
        }
    }

    fn wrong(&self, at: u64, what: impl Into<String>) -> Damage {
        Damage::Wrong {
            at,
            within: self.within(),
            what: what.into(),
        }
    }

    // Bytes.

    /// Fetches until so many bytes are there, or there are no more.
    fn fetch(&mut self, count: usize) -> Result<usize, Damage> {
        while self.buffer.len() - self.from < count {
            self.buffer.drain(..self.from);
            self.from = 0;
            let old = self.buffer.len();
            self.buffer.resize(old + FETCH.max(count - old), 0);
            let read = self.source.read(&mut self.buffer[old..]);
            let read = match read {
                Ok(read) => read.min(self.buffer.len() - old),
                Err(reason) => {
                    let at = self.at + old as u64;
                    return Err(Damage::Unread { at, reason });
                }
            };
            self.buffer.truncate(old + read);
            if read == 0 {
                break;
            }
        }
        Ok(self.buffer.len() - self.from)
    }

    /// The next bytes: no more than a record's fixed part at once.
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Damage> {
        if let Stage::In(_, end, _) = self.stage
            && end - self.at < N as u64
        {
            return Err(self.wrong(self.at, "a record goes on behind the end of its section"));
        }
        let there = self.fetch(N)?;
        if there < N {
            return Err(Damage::Short {
                at: self.at + there as u64,
                within: self.within(),
            });
        }
        let bytes = &self.buffer[self.from..self.from + N];
        self.holds |= bytes.iter().any(|byte| *byte != 0);
        let found = bytes.try_into().expect("as many as were asked for");
        self.from += N;
        self.at += N as u64;
        Ok(found)
    }

    fn u8(&mut self) -> Result<u8, Damage> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Result<u16, Damage> {
        self.take().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, Damage> {
        self.take().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, Damage> {
        self.take().map(u64::from_be_bytes)
    }

    fn inode(&mut self) -> Result<InodeId, Damage> {
        self.u32().map(InodeId)
    }

    fn time(&mut self) -> Result<WallTime, Damage> {
        self.u32().map(WallTime)
    }

    /// So many bytes, of which there may be `max`.
    fn bytes(&mut self, count: u32, max: u32, what: &str) -> Result<Vec<u8>, Damage> {
        if count > max {
            let what = format!("{what} of {count} bytes, where {max} are the most");
            return Err(self.wrong(self.at, what));
        }
        let mut found = Vec::with_capacity(count as usize);
        while found.len() < count as usize {
            found.push(self.u8()?);
        }
        Ok(found)
    }

    // Parts.

    fn head(&mut self) -> Result<Item, Damage> {
        let magic = self.take::<8>()?;
        if magic == *NEW {
            if self.fetch(1)? > 0 {
                return Err(self.wrong(self.at, "something stands behind the sign of no metadata"));
            }
            self.stage = Stage::Done;
            return Ok(Item::New);
        }
        if magic != *MAGIC {
            let found = String::from_utf8_lossy(&magic).into_owned();
            let what = match magic.starts_with(b"MFSM ") {
                true => format!(
                    "'{found}' is another version of the format: let mfsmaster 3.0.117 start with it \
                     once and stop, and take the file that it writes"
                ),
                false => "it does not begin as metadata.mfs does".to_owned(),
            };
            return Err(self.wrong(0, what));
        }
        let (version, metaid) = (self.u64()?, self.u64()?);
        self.stage = Stage::Between;
        Ok(Item::Head { version, metaid })
    }

    fn section(&mut self) -> Result<Item, Damage> {
        let begin = self.at;
        let header = self.take::<HEADER_BYTES>()?;
        if header == *END {
            self.stage = Stage::Done;
            if self.fetch(1)? > 0 {
                return Err(self.wrong(self.at, "something stands behind the end"));
            }
            return Ok(Item::End);
        }
        let (name, length) = header.split_at(8);
        let length = u64::from_be_bytes(length.try_into().expect("the second half"));
        let Some(section) = Section::ALL.into_iter().find(|it| it.name() == name) else {
            let shown = String::from_utf8_lossy(name).into_owned();
            let known = Section::ALL.iter().any(|it| it.name()[..4] == name[..4]);
            let what = match known || name.starts_with(b"LABS") {
                true => format!(
                    "section '{shown}' is of another version: let mfsmaster 3.0.117 start with the \
                     file once and stop, and take the one that it writes"
                ),
                false => format!("there is no section '{shown}'"),
            };
            return Err(self.wrong(begin, what));
        };
        if self.seen.contains(&section) {
            return Err(self.wrong(begin, "a section that has been already"));
        }
        self.seen.push(section);
        let end = self.at.checked_add(length);
        let end = end.ok_or_else(|| self.wrong(begin + 8, "a length that no file has"))?;
        self.stage = Stage::In(section, end, None);
        let (numbers, count) = match section {
            Section::Sessions => {
                let next = self.u32()?;
                let counters = self.u16()?;
                if counters != 16 {
                    let what = format!("{counters} counters for each session, where 16 are known");
                    return Err(self.wrong(self.at - 2, what));
                }
                ([next.into(), 0], None)
            }
            Section::Classes => {
                let masks = self.u8()?;
                if masks != 4 {
                    let what = format!("{masks} masks for each copy, where 4 are known");
                    return Err(self.wrong(self.at - 1, what));
                }
                ([0, 0], None)
            }
            Section::Nodes => ([self.u32()?.into(), self.u32()?.into()], None),
            Section::Edges | Section::Chunks => ([self.u64()?, 0], None),
            Section::Free | Section::Quotas | Section::Chunkservers => {
                let count = self.u32()?;
                ([count.into(), 0], Some(count))
            }
            Section::Xattrs
            | Section::Acls
            | Section::Open
            | Section::Flocks
            | Section::PosixLocks => ([0, 0], None),
        };
        self.stage = Stage::In(section, end, count);
        Ok(Item::Section(section, numbers))
    }

    /// The next record of a section, or what comes behind its last.
    fn record(
        &mut self,
        section: Section,
        end: u64,
        left: Option<u32>,
    ) -> Result<Option<Item>, Damage> {
        let begin = self.at;
        let item = match left {
            Some(0) => None,
            Some(left) => {
                let item = self.one(section)?;
                self.stage = Stage::In(section, end, Some(left - 1));
                item
            }
            None => self.one(section)?,
        };
        if item.is_some() {
            return Ok(item);
        }
        if self.at != end {
            let over = end - self.at;
            let what = format!("the section goes on for {over} bytes behind its last record");
            return Err(self.wrong(begin, what));
        }
        self.stage = Stage::Between;
        self.next_item()
    }

    /// A record; `None` for the one of zeros behind the last.
    fn one(&mut self, section: Section) -> Result<Option<Item>, Damage> {
        self.holds = false;
        match section {
            Section::Sessions => self.session(),
            Section::Classes => self.class(),
            Section::Nodes => self.node(),
            Section::Edges => self.edge(),
            Section::Free => Ok(Some(Item::Free(self.inode()?, self.time()?))),
            Section::Quotas => self.quota().map(Some),
            Section::Xattrs => self.xattr(),
            Section::Acls => self.acl(),
            Section::Open => self.open(),
            Section::Flocks => Ok(self.lock(false)?.map(Item::Flock)),
            Section::PosixLocks => Ok(self.lock(true)?.map(Item::PosixLock)),
            Section::Chunkservers => self.chunkserver().map(Some),
            Section::Chunks => self.chunk(),
        }
    }

    /// What ends a section is zeros: a record without a number may hold nothing else either.
    fn ended<T>(&self, begin: u64) -> Result<Option<T>, Damage> {
        match self.holds {
            false => Ok(None),
            true => Err(self.wrong(begin, "a record of nothing that holds something")),
        }
    }

    fn session(&mut self) -> Result<Option<Item>, Damage> {
        let begin = self.at;
        let session = SessionId(self.u32()?);
        let exports_checksum = self.u64()?;
        let info = self.u32()?;
        let mut it = Session {
            session,
            exports_checksum,
            peer_ip: self.u32()?,
            root: self.inode()?,
            flags: self.u8()?,
            umask: self.u16()?,
            goals: [self.u8()?, self.u8()?],
            trash: [self.u32()?, self.u32()?],
            map_root: [self.u32()?, self.u32()?],
            map_all: [self.u32()?, self.u32()?],
            disables: self.u32()?,
            disconnected: self.time()?,
            counters: [[0; 16]; 2],
            info: Vec::new(),
        };
        for counter in it.counters.as_flattened_mut() {
            *counter = self.u32()?;
        }
        if session == SessionId(0) {
            return self.ended(begin);
        }
        it.info = self.bytes(info, PATH_BYTES_MAX, "what a mount says of itself")?;
        Ok(Some(Item::Session(Box::new(it))))
    }

    fn class(&mut self) -> Result<Option<Item>, Damage> {
        let begin = self.at;
        let id = self.u16()?;
        let name = self.u8()?;
        let (admin_only, mode, archive_delay) = (self.u8()?, self.u8()?, self.u16()?);
        let counts = self.take::<3>()?;
        if id == 0 {
            return self.ended(begin);
        }
        if let Some(count) = counts.into_iter().find(|count| *count > WANTED_MAX) {
            let what =
                format!("a class that wants {count} copies, where {WANTED_MAX} are the most");
            return Err(self.wrong(begin, what));
        }
        let name = self.bytes(name.into(), 255, "a name")?;
        let mut wanted = [const { Vec::new() }; 3];
        for (list, count) in wanted.iter_mut().zip(counts) {
            for _ in 0..count {
                list.push([self.u32()?, self.u32()?, self.u32()?, self.u32()?]);
            }
        }
        Ok(Some(Item::Class(Box::new(Class {
            id,
            name,
            admin_only,
            mode,
            archive_delay,
            wanted,
        }))))
    }

    fn node(&mut self) -> Result<Option<Item>, Damage> {
        let begin = self.at;
        let kind = self.u8()?;
        if kind == 0 {
            return Ok(None);
        }
        let mut it = Node {
            kind,
            inode: self.inode()?,
            class: self.u8()?,
            eattr: self.u8()?,
            winattr: self.u8()?,
            mode: self.u16()?,
            uid: self.u32()?,
            gid: self.u32()?,
            atime: self.time()?,
            mtime: self.time()?,
            ctime: self.time()?,
            trash_hours: self.u16()?,
            content: Content::Nothing,
        };
        it.content = match kind {
            flags::node::DIRECTORY | flags::node::FIFO | flags::node::SOCKET => Content::Nothing,
            flags::node::BLOCK_DEVICE | flags::node::CHAR_DEVICE => Content::Device(self.u32()?),
            flags::node::SYMLINK => {
                let length = self.u32()?;
                Content::Target(self.bytes(length, PATH_BYTES_MAX, "a symbolic link")?)
            }
            flags::node::FILE | flags::node::TRASH | flags::node::SUSTAINED => {
                let length = self.u64()?;
                let count = self.u32()?;
                if count > CHUNKS_MAX {
                    let what = format!("a file of {count} chunks, where {CHUNKS_MAX} are the most");
                    return Err(self.wrong(begin, what));
                }
                // Room is made for those that come.
                let mut chunks = Vec::new();
                for _ in 0..count {
                    chunks.push(ChunkId(self.u64()?));
                }
                Content::File { length, chunks }
            }
            other => return Err(self.wrong(begin, format!("{other} is no kind of node"))),
        };
        Ok(Some(Item::Node(Box::new(it))))
    }

    fn edge(&mut self) -> Result<Option<Item>, Damage> {
        let begin = self.at;
        let (parent, child) = (self.inode()?, self.inode()?);
        let edge = self.u64()?;
        let length = self.u16()?;
        if child == InodeId(0) {
            return self.ended(begin);
        }
        let name = self.bytes(length.into(), PATH_BYTES_MAX, "a name")?;
        Ok(Some(Item::Edge(Edge {
            parent,
            child,
            edge,
            name,
        })))
    }

    fn quota(&mut self) -> Result<Item, Damage> {
        let (inode, grace) = (self.inode()?, self.u32()?);
        let (exceeded, flags, since) = (self.u8()?, self.u8()?, self.time()?);
        let mut soft = Limits::default();
        let mut hard = Limits::default();
        (soft.inodes, hard.inodes) = (self.u32()?, self.u32()?);
        (soft.length, hard.length) = (self.u64()?, self.u64()?);
        (soft.size, hard.size) = (self.u64()?, self.u64()?);
        (soft.real_size, hard.real_size) = (self.u64()?, self.u64()?);
        Ok(Item::Quota(Box::new(Quota {
            inode,
            grace,
            exceeded,
            flags,
            since,
            soft,
            hard,
        })))
    }

    fn xattr(&mut self) -> Result<Option<Item>, Damage> {
        let begin = self.at;
        let inode = self.inode()?;
        let (name, value) = (self.u8()?, self.u32()?);
        if inode == InodeId(0) {
            return self.ended(begin);
        }
        let name = self.bytes(name.into(), 255, "a name")?;
        let value = self.bytes(value, XATTR_BYTES_MAX, "an extended attribute")?;
        Ok(Some(Item::Xattr(inode, name, value)))
    }

    fn acl(&mut self) -> Result<Option<Item>, Damage> {
        let begin = self.at;
        let (inode, kind) = (self.inode()?, self.u8()?);
        let base = [self.u16()?, self.u16()?, self.u16()?, self.u16()?];
        let (users, groups) = (self.u16()?, self.u16()?);
        if inode == InodeId(0) {
            return self.ended(begin);
        }
        let mut entries = [const { Vec::new() }; 2];
        for (list, count) in entries.iter_mut().zip([users, groups]) {
            for _ in 0..count {
                list.push((self.u32()?, self.u16()?));
            }
        }
        let [users, groups] = entries;
        Ok(Some(Item::Acl(Acl {
            inode,
            kind,
            base,
            users,
            groups,
        })))
    }

    fn open(&mut self) -> Result<Option<Item>, Damage> {
        let begin = self.at;
        let (session, inode) = (SessionId(self.u32()?), self.inode()?);
        match (session.0, inode.0) {
            (0, 0) => Ok(None),
            (0, _) | (_, 0) => self.ended(begin),
            _ => Ok(Some(Item::Open(session, inode))),
        }
    }

    fn lock(&mut self, has_bytes: bool) -> Result<Option<Lock>, Damage> {
        let begin = self.at;
        let (inode, owner) = (self.inode()?, self.u64()?);
        let session = SessionId(self.u32()?);
        let bytes = match has_bytes {
            true => Some((self.u32()?, self.u64()?, self.u64()?)),
            false => None,
        };
        let kind = self.u8()?;
        if inode == InodeId(0) {
            return self.ended(begin);
        }
        Ok(Some(Lock {
            inode,
            owner,
            session,
            bytes,
            kind,
        }))
    }

    fn chunkserver(&mut self) -> Result<Item, Damage> {
        Ok(Item::Chunkserver(Chunkserver {
            ip: self.u32()?,
            port: self.u16()?,
            csid: self.u16()?,
            maintenance: self.u8()?,
            until: self.time()?,
        }))
    }

    fn chunk(&mut self) -> Result<Option<Item>, Damage> {
        let begin = self.at;
        let chunk = ChunkId(self.u64()?);
        let (version, locked_until, archived) = (self.u32()?, self.time()?, self.u8()?);
        if chunk == ChunkId(0) {
            return self.ended(begin);
        }
        Ok(Some(Item::Chunk(Chunk {
            chunk,
            version,
            locked_until,
            archived,
        })))
    }
}
