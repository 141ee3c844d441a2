//! Records as bytes.

use super::item::{Acl, Class, Content, Item, Limits, Lock, Node, Quota, Session};
use super::{END, MAGIC, NEW, Section};

/// Bytes given to the sink at once.
const PORTION: usize = 64 << 10;

/// Where bytes go.
pub trait Sink {
    /// Adds bytes behind those that are there.
    ///
    /// # Errors
    /// In words.
    fn write(&mut self, bytes: &[u8]) -> Result<(), String>;

    /// Writes over bytes that are there.
    ///
    /// # Errors
    /// In words.
    fn patch(&mut self, at: u64, bytes: &[u8]) -> Result<(), String>;
}

impl Sink for Vec<u8> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.extend_from_slice(bytes);
        Ok(())
    }

    fn patch(&mut self, at: u64, bytes: &[u8]) -> Result<(), String> {
        let at = usize::try_from(at).map_err(|error| error.to_string())?;
        let place = at
            .checked_add(bytes.len())
            .and_then(|end| self.get_mut(at..end));
        let place = place.ok_or("there is nothing to write over")?;
        place.copy_from_slice(bytes);
        Ok(())
    }
}

/// A section on its way.
#[derive(Clone, Copy, Debug)]
struct Begun {
    section: Section,
    /// Where its length stands.
    length_at: u64,
    /// Records that are still to come, where they are counted.
    left: Option<u64>,
}

/// Writes a file record by record: what a [`super::Parser`] gives, in the same order.
pub struct Composer<S> {
    sink: S,
    buffer: Vec<u8>,
    /// Bytes that the sink has.
    given: u64,
    begun: Option<Begun>,
}

impl<S: Sink> Composer<S> {
    /// At the beginning of a file.
    pub fn new(sink: S) -> Self {
        Self {
            sink,
            buffer: Vec::new(),
            given: 0,
            begun: None,
        }
    }

    /// Bytes that were written.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.given + self.buffer.len() as u64
    }

    /// What the bytes went to. The last item has to be written before.
    pub fn into_sink(self) -> S {
        self.sink
    }

    /// Writes what comes next.
    ///
    /// # Errors
    /// What the sink says; which part of the item its layout has no room for. Nothing behind it can be
    /// written.
    ///
    /// # Panics
    /// When it cannot come next: that is for whoever makes it to see to.
    pub fn item(&mut self, item: &Item) -> Result<(), String> {
        match item {
            Item::New => self.put(NEW),
            Item::Head { version, metaid } => {
                self.put(MAGIC);
                self.put(&version.to_be_bytes());
                self.put(&metaid.to_be_bytes());
            }
            Item::Section(section, numbers) => {
                self.finish()?;
                self.begin(*section, *numbers)?;
            }
            Item::End => {
                self.finish()?;
                self.put(END);
            }
            record => self.record(record)?,
        }
        match self.buffer.len() >= PORTION || matches!(item, Item::New | Item::End) {
            true => self.give(),
            false => Ok(()),
        }
    }

    fn give(&mut self) -> Result<(), String> {
        self.sink.write(&self.buffer)?;
        self.given += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    fn begin(&mut self, section: Section, [first, second]: [u64; 2]) -> Result<(), String> {
        self.put(section.name());
        let length_at = self.position();
        self.put(&[0; 8]);
        let short = |number: u64| -> Result<[u8; 4], String> {
            let name = String::from_utf8_lossy(section.name());
            let short = u32::try_from(number);
            let short = short.map_err(|_| format!("section {name} has no room for {number}"))?;
            Ok(short.to_be_bytes())
        };
        let mut left = None;
        match section {
            Section::Sessions => {
                self.put(&short(first)?);
                self.put(&16_u16.to_be_bytes());
            }
            Section::Classes => self.put(&[4]),
            Section::Nodes => {
                self.put(&short(first)?);
                self.put(&short(second)?);
            }
            Section::Edges | Section::Chunks => self.put(&first.to_be_bytes()),
            Section::Free | Section::Quotas | Section::Chunkservers => {
                self.put(&short(first)?);
                left = Some(first);
            }
            Section::Xattrs
            | Section::Acls
            | Section::Open
            | Section::Flocks
            | Section::PosixLocks => {}
        }
        self.begun = Some(Begun {
            section,
            length_at,
            left,
        });
        Ok(())
    }

    /// Ends the section on its way, if there is one.
    fn finish(&mut self) -> Result<(), String> {
        let Some(begun) = self.begun.take() else {
            return Ok(());
        };
        assert!(
            begun.left.is_none_or(|left| left == 0),
            "records are missing"
        );
        if let Some(bytes) = begun.section.end_bytes() {
            self.buffer.resize(self.buffer.len() + bytes, 0);
        }
        let length = (self.position() - begun.length_at - 8).to_be_bytes();
        match begun.length_at.checked_sub(self.given) {
            Some(at) => {
                let at = usize::try_from(at).expect("it is in the buffer");
                self.buffer[at..at + 8].copy_from_slice(&length);
                Ok(())
            }
            None => {
                // The length may lie across what was given and what was not.
                self.give()?;
                self.sink.patch(begun.length_at, &length)
            }
        }
    }

    fn record(&mut self, item: &Item) -> Result<(), String> {
        let of = match item {
            Item::Session(it) => {
                self.session(it)?;
                Section::Sessions
            }
            Item::Class(it) => {
                self.class(it)?;
                Section::Classes
            }
            Item::Node(it) => {
                self.node(it)?;
                Section::Nodes
            }
            Item::Edge(it) => {
                self.put(&it.parent.0.to_be_bytes());
                self.put(&it.child.0.to_be_bytes());
                self.put(&it.edge.to_be_bytes());
                let length = narrow::<u16>(it.name.len(), "a name or path")?;
                self.put(&length.to_be_bytes());
                self.put(&it.name);
                Section::Edges
            }
            Item::Free(inode, at) => {
                self.put(&inode.0.to_be_bytes());
                self.put(&at.0.to_be_bytes());
                Section::Free
            }
            Item::Quota(it) => {
                self.quota(it);
                Section::Quotas
            }
            Item::Xattr(inode, name, value) => {
                self.put(&inode.0.to_be_bytes());
                self.put(&[narrow::<u8>(
                    name.len(),
                    "the name of an extended attribute",
                )?]);
                self.put(&length_of(value, "an extended attribute")?);
                self.put(name);
                self.put(value);
                Section::Xattrs
            }
            Item::Acl(it) => {
                self.acl(it)?;
                Section::Acls
            }
            Item::Open(session, inode) => {
                self.put(&session.0.to_be_bytes());
                self.put(&inode.0.to_be_bytes());
                Section::Open
            }
            Item::Flock(it) => {
                self.lock(it);
                Section::Flocks
            }
            Item::PosixLock(it) => {
                self.lock(it);
                Section::PosixLocks
            }
            Item::Chunkserver(it) => {
                self.put(&it.ip.to_be_bytes());
                self.put(&it.port.to_be_bytes());
                self.put(&it.csid.to_be_bytes());
                self.put(&[it.maintenance]);
                self.put(&it.until.0.to_be_bytes());
                Section::Chunkservers
            }
            Item::Chunk(it) => {
                self.put(&it.chunk.0.to_be_bytes());
                self.put(&it.version.to_be_bytes());
                self.put(&it.locked_until.0.to_be_bytes());
                self.put(&[it.archived]);
                Section::Chunks
            }
            Item::New | Item::Head { .. } | Item::Section(..) | Item::End => {
                unreachable!("no record")
            }
        };
        let begun = self.begun.as_mut().expect("a section has begun");
        assert_eq!(begun.section, of, "a record is in its section");
        if let Some(left) = &mut begun.left {
            *left = left.checked_sub(1).expect("no more records than were told");
        }
        Ok(())
    }

    fn session(&mut self, it: &Session) -> Result<(), String> {
        self.put(&it.session.0.to_be_bytes());
        self.put(&it.exports_checksum.to_be_bytes());
        self.put(&length_of(&it.info, "what a mount says of itself")?);
        self.put(&it.peer_ip.to_be_bytes());
        self.put(&it.root.0.to_be_bytes());
        self.put(&[it.flags]);
        self.put(&it.umask.to_be_bytes());
        self.put(&it.goals);
        for number in it.trash.iter().chain(&it.map_root).chain(&it.map_all) {
            self.put(&number.to_be_bytes());
        }
        self.put(&it.disables.to_be_bytes());
        self.put(&it.disconnected.0.to_be_bytes());
        for counter in it.counters.as_flattened() {
            self.put(&counter.to_be_bytes());
        }
        self.put(&it.info);
        Ok(())
    }

    fn class(&mut self, it: &Class) -> Result<(), String> {
        let short = |length: usize| narrow::<u8>(length, "a storage class");
        self.put(&it.id.to_be_bytes());
        self.put(&[short(it.name.len())?, it.admin_only, it.mode]);
        self.put(&it.archive_delay.to_be_bytes());
        for list in &it.wanted {
            self.put(&[short(list.len())?]);
        }
        self.put(&it.name);
        for mask in it.wanted.iter().flatten().flatten() {
            self.put(&mask.to_be_bytes());
        }
        Ok(())
    }

    fn node(&mut self, it: &Node) -> Result<(), String> {
        self.put(&[it.kind]);
        self.put(&it.inode.0.to_be_bytes());
        self.put(&[it.class, it.eattr, it.winattr]);
        self.put(&it.mode.to_be_bytes());
        for number in [it.uid, it.gid, it.atime.0, it.mtime.0, it.ctime.0] {
            self.put(&number.to_be_bytes());
        }
        self.put(&it.trash_hours.to_be_bytes());
        match &it.content {
            Content::Nothing => {}
            Content::Device(number) => self.put(&number.to_be_bytes()),
            Content::Target(target) => {
                self.put(&length_of(target, "a symbolic link")?);
                self.put(target);
            }
            Content::File { length, chunks } => {
                self.put(&length.to_be_bytes());
                let count = narrow::<u32>(chunks.len(), "a file of chunks")?;
                self.put(&count.to_be_bytes());
                for chunk in chunks {
                    self.put(&chunk.0.to_be_bytes());
                }
            }
        }
        Ok(())
    }

    fn quota(&mut self, it: &Quota) {
        self.put(&it.inode.0.to_be_bytes());
        self.put(&it.grace.to_be_bytes());
        self.put(&[it.exceeded, it.flags]);
        self.put(&it.since.0.to_be_bytes());
        let Limits {
            inodes,
            length,
            size,
            real_size,
        } = it.soft;
        self.put(&inodes.to_be_bytes());
        self.put(&it.hard.inodes.to_be_bytes());
        for (soft, hard) in [
            (length, it.hard.length),
            (size, it.hard.size),
            (real_size, it.hard.real_size),
        ] {
            self.put(&soft.to_be_bytes());
            self.put(&hard.to_be_bytes());
        }
    }

    fn acl(&mut self, it: &Acl) -> Result<(), String> {
        self.put(&it.inode.0.to_be_bytes());
        self.put(&[it.kind]);
        for permissions in it.base {
            self.put(&permissions.to_be_bytes());
        }
        for list in [&it.users, &it.groups] {
            let count = narrow::<u16>(list.len(), "a list of access")?;
            self.put(&count.to_be_bytes());
        }
        for (id, permissions) in it.users.iter().chain(&it.groups) {
            self.put(&id.to_be_bytes());
            self.put(&permissions.to_be_bytes());
        }
        Ok(())
    }

    fn lock(&mut self, it: &Lock) {
        self.put(&it.inode.0.to_be_bytes());
        self.put(&it.owner.to_be_bytes());
        self.put(&it.session.0.to_be_bytes());
        if let Some((pid, start, end)) = it.bytes {
            self.put(&pid.to_be_bytes());
            self.put(&start.to_be_bytes());
            self.put(&end.to_be_bytes());
        }
        self.put(&[it.kind]);
    }
}

fn length_of(bytes: &[u8], what: &str) -> Result<[u8; 4], String> {
    Ok(narrow::<u32>(bytes.len(), what)?.to_be_bytes())
}

/// A length in as many bytes as its layout has for it.
fn narrow<T: TryFrom<usize>>(length: usize, what: &str) -> Result<T, String> {
    T::try_from(length).map_err(|_| format!("{what} is {length} long: there is no room for that"))
}
