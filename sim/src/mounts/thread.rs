//! One thread of a mount: what it asks, one request after the other, and what it must be told,
//! since it alone touches what it made.

use std::collections::BTreeMap;

use mfsha_core::id::InodeId;
use mfsha_core::moosefs::attributes::Attributes;
use mfsha_core::moosefs::client::credentials::{Credentials, Gids, Owner};
use mfsha_core::moosefs::client::data::{Open, Truncate};
use mfsha_core::moosefs::client::lock::Flock;
use mfsha_core::moosefs::client::subtree::SetTrashTime;
use mfsha_core::moosefs::client::tree::{
    Create, GetAttr, Link, Lookup, Mkdir, Remove, Rename, SetAttr,
};
use mfsha_core::moosefs::client::{Call, Reply};
use mfsha_core::moosefs::fields::Name;
use mfsha_core::moosefs::flags;
use mfsha_core::moosefs::status::Status;
use mfsha_core::rng::Rng;

use crate::generator::PREFIX;

/// Names of a thread at once.
const NAMES_MAX: usize = 8;
/// Files without a name that it keeps open at once.
const HELD_MAX: usize = 3;

/// Which promise is broken when a reply is not the one that it must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// Requests take effect once: P-ONCE.
    Once,
    /// Open files and locks survive: P-SESSION.
    Session,
}

/// What a name stands for.
#[derive(Clone, Debug)]
struct Entry {
    inode: InodeId,
    is_dir: bool,
}

/// What is known of a node that the thread made.
#[derive(Clone, Debug)]
struct Known {
    mode: u16,
    names: u32,
    length: u64,
}

/// What a request must be told.
#[derive(Clone, Debug)]
pub enum Expect {
    /// A new node, which gets this name.
    Made { name: String, is_dir: bool },
    /// This name is gone.
    Gone { name: String },
    /// This name is that one now.
    Moved { from: String, to: String },
    /// The node has one name more.
    Linked { name: String, of: String },
    /// The node as it is known.
    Is { inode: InodeId, about: About },
    /// No such name.
    Missing,
    /// Its mode is this.
    Mode { inode: InodeId, mode: u16 },
    /// Its length is this.
    Length { inode: InodeId, length: u64 },
    /// Nothing goes to the trash.
    NoTrash,
    /// The file that is locked is open.
    LockFile,
    /// The lock is there, or gone.
    Lock { held: bool },
}

/// What became of the thread's open files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    Nothing,
    Opens(InodeId),
}

/// A request that was not answered yet.
#[derive(Clone, Debug)]
pub struct Waiting {
    pub call: Call,
    expect: Expect,
    /// It was said on the present connection.
    pub said: bool,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Thread {
    mount: u8,
    pub number: u32,
    pub waiting: Option<Waiting>,
    entries: BTreeMap<String, Entry>,
    known: BTreeMap<InodeId, Known>,
    /// Open, and without a name.
    held: Vec<InodeId>,
    /// Whether the lock is held.
    pub has_lock: bool,
    next: u32,
    /// It goes on soon.
    pub goes: bool,
    /// What is still to be looked at before the run may end; `None` before healing.
    pub left: Option<Vec<InodeId>>,
}

pub(super) fn root() -> Credentials {
    Credentials {
        uid: 0,
        gids: Gids::List(vec![0]),
    }
}

pub(super) fn name(text: &str) -> Name {
    Name::new(text).expect("names of threads are short")
}

impl Thread {
    pub fn new(mount: u8, number: u32) -> Self {
        Self {
            mount,
            number,
            waiting: None,
            entries: BTreeMap::new(),
            known: BTreeMap::new(),
            held: Vec::new(),
            has_lock: false,
            next: 0,
            goes: false,
            left: None,
        }
    }

    /// Whether it has nothing to do any more.
    pub fn is_done(&self) -> bool {
        let looked = self.left.as_ref().is_some_and(Vec::is_empty);
        self.waiting.is_none() && looked && !self.has_lock
    }

    /// The run is to end: everything is looked at once more.
    pub fn probe(&mut self) {
        let names = self.entries.values().map(|entry| entry.inode);
        self.left = Some(names.chain(self.held.iter().copied()).collect());
    }

    fn ask(&mut self, call: Call, expect: Expect) {
        let said = false;
        self.waiting = Some(Waiting { call, expect, said });
    }

    /// The directory of the mount.
    pub fn ask_for_directory(&mut self) {
        let name = super::directory(self.mount);
        let call = Self::mkdir(InodeId::ROOT, &name);
        self.ask(call, Expect::Made { name, is_dir: true });
    }

    /// What has no name any more is only there as long as it is open.
    pub fn ask_for_no_trash(&mut self, inode: InodeId) {
        let call = Call::SetTrashTime(SetTrashTime {
            inode,
            uid: 0,
            seconds: 0,
            mode: flags::change::SET,
        });
        self.ask(call, Expect::NoTrash);
    }

    /// The file that all lock.
    pub fn ask_for_lock_file(&mut self, there: Option<InodeId>) {
        let name = super::LOCK_FILE.to_owned();
        match there {
            None => {
                let call = Self::create(InodeId::ROOT, &name);
                let is_dir = false;
                self.ask(call, Expect::Made { name, is_dir });
            }
            Some(inode) => {
                let by = root();
                let call = Call::Open(Open {
                    inode,
                    by,
                    flags: 3,
                });
                self.ask(call, Expect::LockFile);
            }
        }
    }

    fn mkdir(parent: InodeId, text: &str) -> Call {
        Call::Mkdir(Mkdir {
            parent,
            name: name(text),
            mode: 0o755,
            umask: Some(0),
            by: root(),
            copy_setgid: Some(0),
        })
    }

    fn create(parent: InodeId, text: &str) -> Call {
        Call::Create(Create {
            parent,
            name: name(text),
            mode: 0o644,
            umask: Some(0),
            by: root(),
        })
    }

    /// Takes the lock, or gives it back.
    pub fn ask_for_lock(&mut self, inode: InodeId) {
        let held = !self.has_lock;
        let what = match held {
            true => flags::flock::LOCK_EXCLUSIVE,
            false => flags::flock::UNLOCK,
        };
        self.next += 1;
        let call = Call::Flock(Flock {
            inode,
            request: self.next,
            owner: u64::from(self.mount) + 1,
            what,
        });
        self.has_lock = false;
        self.ask(call, Expect::Lock { held });
    }

    fn fresh(&mut self) -> String {
        self.next += 1;
        format!("{PREFIX}{}-{}", self.number, self.next)
    }

    fn pick(&self, rng: &mut Rng, is_dir: Option<bool>) -> Option<(String, Entry)> {
        let fits = |entry: &Entry| is_dir.is_none_or(|is_dir| entry.is_dir == is_dir);
        let all: Vec<_> = self.entries.iter().filter(|(_, it)| fits(it)).collect();
        let (name, entry) = (!all.is_empty()).then(|| *rng.pick(&all))?;
        Some((name.clone(), entry.clone()))
    }

    /// Chooses what to ask next. The file that it closed, if it did.
    pub fn think(&mut self, dir: InodeId, rng: &mut Rng) -> Option<InodeId> {
        if let Some(left) = &mut self.left {
            // What was asked when the run came to its end may have taken some away.
            let known = &self.known;
            left.retain(|inode| known.contains_key(inode));
            let inode = left.pop()?;
            self.ask_for_node(inode);
            return None;
        }
        let by = root();
        if self.entries.len() < 2 {
            self.make(dir, rng.chance(1, 2));
            return None;
        }
        match rng.below(12) {
            0..3 if self.entries.len() < NAMES_MAX => self.make(dir, rng.chance(1, 3)),
            3 | 4 => {
                let is_dir = rng.chance(1, 3);
                let Some((text, entry)) = self.pick(rng, Some(is_dir)) else {
                    self.make(dir, is_dir);
                    return None;
                };
                let last = self.known[&entry.inode].names == 1;
                let closed = (!is_dir && last && self.held.len() >= HELD_MAX)
                    .then(|| self.held.remove(0))
                    .inspect(|inode| {
                        self.known.remove(inode);
                    });
                let remove = Remove {
                    parent: dir,
                    name: name(&text),
                    by,
                };
                let call = if is_dir {
                    Call::Rmdir(remove)
                } else {
                    Call::Unlink(remove)
                };
                self.ask(call, Expect::Gone { name: text });
                return closed;
            }
            5 | 6 => {
                let (from, _) = self.pick(rng, None)?;
                let to = self.fresh();
                let call = Call::Rename(Rename {
                    src_parent: dir,
                    src_name: name(&from),
                    dst_parent: dir,
                    dst_name: name(&to),
                    by,
                });
                self.ask(call, Expect::Moved { from, to });
            }
            7 if self.entries.len() < NAMES_MAX => {
                let Some((of, entry)) = self.pick(rng, Some(false)) else {
                    self.make(dir, false);
                    return None;
                };
                let text = self.fresh();
                let call = Call::Link(Link {
                    inode: entry.inode,
                    parent: dir,
                    name: name(&text),
                    by,
                });
                self.ask(call, Expect::Linked { name: text, of });
            }
            8 => {
                let (_, entry) = self.pick(rng, None)?;
                let mode = 0o600 | rng.below(0o100) as u16;
                let call = Call::SetAttr(SetAttr {
                    inode: entry.inode,
                    opened: Some(0),
                    by,
                    mask: flags::set::MODE,
                    mode,
                    uid: 0,
                    gid: 0,
                    atime: 0,
                    mtime: 0,
                    winattr: Some(0),
                    sugid_clear: Some(0),
                });
                let inode = entry.inode;
                self.ask(call, Expect::Mode { inode, mode });
            }
            9 => {
                let Some((_, entry)) = self.pick(rng, Some(false)) else {
                    self.make(dir, false);
                    return None;
                };
                let inode = entry.inode;
                let length = self.known[&inode].length + rng.between(1, 1_000);
                let call = Call::Truncate(Truncate {
                    inode,
                    flags: Some(0),
                    by,
                    length,
                });
                self.ask(call, Expect::Length { inode, length });
            }
            10 if !self.held.is_empty() => {
                let inode = *rng.pick(&self.held);
                self.ask_for_node(inode);
            }
            11 => {
                let text = format!("{PREFIX}{}-none", self.number);
                let call = Call::Lookup(Lookup {
                    parent: dir,
                    name: name(&text),
                    by,
                });
                self.ask(call, Expect::Missing);
            }
            _ => {
                let (text, entry) = self.pick(rng, None)?;
                let call = Call::Lookup(Lookup {
                    parent: dir,
                    name: name(&text),
                    by,
                });
                let (inode, about) = (entry.inode, About::Once);
                self.ask(call, Expect::Is { inode, about });
            }
        }
        None
    }

    fn make(&mut self, dir: InodeId, is_dir: bool) {
        let name = self.fresh();
        let call = if is_dir {
            Self::mkdir(dir, &name)
        } else {
            Self::create(dir, &name)
        };
        self.ask(call, Expect::Made { name, is_dir });
    }

    fn ask_for_node(&mut self, inode: InodeId) {
        let held = self.held.contains(&inode);
        let call = Call::GetAttr(GetAttr {
            inode,
            opened: Some(u8::from(held)),
            by: Some(Owner { uid: 0, gid: 0 }),
        });
        let about = if held { About::Session } else { About::Once };
        self.ask(call, Expect::Is { inode, about });
    }

    /// A reply came: takes note of it.
    ///
    /// # Errors
    /// Which promise it breaks, and how.
    pub fn on_reply(&mut self, reply: Reply) -> Result<Opened, (About, String)> {
        let Some(Waiting { call, expect, .. }) = self.waiting.take() else {
            return Err((About::Once, format!("{reply:?} was not waited for")));
        };
        let about = match &expect {
            Expect::Is { about, .. } => *about,
            Expect::LockFile | Expect::Lock { .. } => About::Session,
            _ => About::Once,
        };
        let wrong = |what: &str| (about, format!("{call:?} was told {reply:?}: {what}"));
        match expect {
            Expect::Made { name, is_dir } => {
                let inode = match &reply {
                    Reply::Mkdir(Ok(node)) => node.inode,
                    Reply::Create(Ok(created)) => created.inode,
                    _ => return Err(wrong("nobody else makes that name")),
                };
                let known = Known {
                    mode: if is_dir { 0o755 } else { 0o644 },
                    names: 1,
                    length: 0,
                };
                self.known.insert(inode, known);
                self.entries.insert(name, Entry { inode, is_dir });
                if !is_dir {
                    return Ok(Opened::Opens(inode));
                }
            }
            Expect::Gone { name } => {
                if reply.status().is_err() {
                    return Err(wrong("it was there"));
                }
                let entry = self.entries.remove(&name).expect("it was picked");
                let known = self.known.get_mut(&entry.inode).expect("it was made");
                known.names -= 1;
                match known.names {
                    0 if entry.is_dir => {
                        self.known.remove(&entry.inode);
                    }
                    0 => self.held.push(entry.inode),
                    _ => {}
                }
            }
            Expect::Moved { from, to } => {
                let inode = match &reply {
                    Reply::Rename(Ok(node)) => node.inode,
                    _ => return Err(wrong("it was there")),
                };
                let entry = self.entries.remove(&from).expect("it was picked");
                if inode != entry.inode {
                    return Err(wrong("it was another node"));
                }
                self.entries.insert(to, entry);
            }
            Expect::Linked { name, of } => {
                if reply.status().is_err() {
                    return Err(wrong("nobody else makes that name"));
                }
                let entry = self.entries[&of].clone();
                self.known.get_mut(&entry.inode).expect("it was made").names += 1;
                self.entries.insert(name, entry);
            }
            Expect::Is { inode, .. } => {
                let told = match &reply {
                    Reply::Lookup(Ok(looked)) => Some((looked.inode, looked.attributes)),
                    Reply::GetAttr(Ok(attributes)) => Some((inode, *attributes)),
                    _ => None,
                };
                let known = self.known.get(&inode).expect("it was made");
                match told {
                    Some((node, _)) if node != inode => return Err(wrong("it is another node")),
                    Some((_, told)) => known.compare(&told).map_err(|what| wrong(&what))?,
                    None => return Err(wrong("it was there")),
                }
            }
            Expect::Missing => {
                if reply.status() != Err(Status::ENOENT) {
                    return Err(wrong("nobody made that name"));
                }
            }
            Expect::Mode { inode, mode } => {
                let known = self.known.get_mut(&inode).expect("it was made");
                known.mode = mode;
                match &reply {
                    Reply::SetAttr(Ok(told)) => known.compare(told).map_err(|it| wrong(&it))?,
                    _ => return Err(wrong("it was there")),
                }
            }
            Expect::Length { inode, length } => {
                let known = self.known.get_mut(&inode).expect("it was made");
                known.length = length;
                match &reply {
                    Reply::Truncate(Ok(told)) => known
                        .compare(&told.attributes)
                        .map_err(|what| wrong(&what))?,
                    _ => return Err(wrong("it was there")),
                }
            }
            Expect::NoTrash | Expect::LockFile => {
                if reply.status().is_err() {
                    return Err(wrong("it was there"));
                }
            }
            Expect::Lock { held } => {
                if reply.status().is_err() {
                    return Err(wrong("it is granted when nobody has it, or given back"));
                }
                self.has_lock = held;
            }
        }
        Ok(Opened::Nothing)
    }

    /// A name is nobody's affair any more: what all share is not looked at by one.
    pub fn disown(&mut self, name: &str) -> Option<InodeId> {
        let entry = self.entries.remove(name)?;
        self.known.remove(&entry.inode);
        Some(entry.inode)
    }
}

impl Known {
    fn compare(&self, told: &Attributes) -> Result<(), String> {
        // What a directory's length and links are is the tree's own business.
        let is_dir = told.kind == flags::node::DIRECTORY;
        if told.mode != self.mode {
            return Err(format!("its mode is {:o}", self.mode));
        }
        let names = self.names.max(told.nlink.min(1));
        if !is_dir && (told.nlink != names || told.length != self.length) {
            return Err(format!(
                "it has {} names, {} bytes",
                self.names, self.length
            ));
        }
        Ok(())
    }
}
