//! A file-system tree by path, as a client of MooseFS sees it from outside.
//!
//! Errors and their precedence are those of MooseFS 3.0.117 behind a Linux mount; where kernel and
//! master answer differently, either is taken. Unlinking a directory, for one: EPERM from the
//! master, EISDIR from the kernel. Renames between files and directories are refused as the kernel
//! does; the master alone would let them pass.
//!
//! Not modelled: permissions, times, sizes, data. Symlinks are never followed: a symlink inside a
//! path is "not a directory". A directory's state is its names, so there are no inode numbers to
//! depend on order; a number that an answer shows is learnt and held against later answers.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::{Model, Parts, Sequential, Touches};
use crate::tree::Tree;

mod path;

pub use path::{Path, PathError};

/// Errors that the tree itself answers. Any other error in a journal is recorded as a failure or
/// as unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "errno(3) says it better")]
pub enum Errno {
    Eperm,
    Enoent,
    Ebusy,
    Eexist,
    Enotdir,
    Eisdir,
    Einval,
    Enotempty,
}

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Kind {
    File,
    Directory,
    Symlink,
}

/// What the tree is asked. `mode` is what the file gets, after the umask; left out, it is not
/// known, and the first answer that shows it settles it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case", deny_unknown_fields)]
#[expect(missing_docs, reason = "POSIX's calls with POSIX's arguments")]
pub enum NamespaceCall {
    Create {
        path: Path,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mode: Option<u16>,
    },
    Mkdir {
        path: Path,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mode: Option<u16>,
    },
    Symlink {
        path: Path,
        target: String,
    },
    Link {
        from: Path,
        to: Path,
    },
    Unlink {
        path: Path,
    },
    Rmdir {
        path: Path,
    },
    Rename {
        from: Path,
        to: Path,
    },
    Lookup {
        path: Path,
    },
    Getattr {
        path: Path,
    },
    SetMode {
        path: Path,
        mode: u16,
    },
    Readdir {
        path: Path,
    },
    Readlink {
        path: Path,
    },
}

/// What was answered, as far as it was recorded. What is left out is not checked; `{}` says that
/// the call succeeded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NamespaceReply {
    /// The call was refused. Nothing else may be set then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Errno>,
    /// Inode number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inode: Option<u64>,
    /// File, directory or symlink.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// Permission bits, 0..=0o7777.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<u16>,
    /// Names of a file or symlink; two and its subdirectories for a directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub links: Option<u64>,
    /// All names in a directory but `.` and `..`, in any order. One listed twice is a violation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub names: Option<Vec<String>>,
    /// Where a symlink points.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

/// What a path leads to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    kind: Kind,
    /// Not known until an answer shows it.
    mode: Option<u16>,
    /// Not known until an answer shows it.
    inode: Option<u64>,
    target: Option<Arc<str>>,
    /// Every path of a file that has more than one, ascending; else empty.
    links: Arc<[Path]>,
    /// What a directory holds.
    names: Tree<Arc<str>, ()>,
}

impl Entry {
    fn new(kind: Kind, mode: Option<u16>) -> Self {
        Self {
            kind,
            mode,
            inode: None,
            target: None,
            links: Arc::new([]),
            names: Tree::default(),
        }
    }
}

/// A whole tree: each path with what it leads to.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct NamespaceState {
    entries: Tree<Path, Entry>,
}

impl fmt::Debug for NamespaceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind_mark = |entry: &Entry| match entry.kind {
            Kind::Directory => "/",
            Kind::Symlink => "@",
            Kind::File => "",
        };
        f.write_str("{")?;
        for (path, entry) in self.entries.iter().filter(|(path, _)| !path.is_root()) {
            write!(f, " {}{}", path.as_str(), kind_mark(entry))?;
            if let Some(mode) = entry.mode {
                write!(f, " {mode:04o}")?;
            }
            if let Some(inode) = entry.inode {
                write!(f, " i{inode}")?;
            }
            if let Some(target) = &entry.target {
                write!(f, " -> {target}")?;
            }
            if !entry.links.is_empty() {
                write!(f, " ={}", entry.links.len())?;
            }
            f.write_str(",")?;
        }
        f.write_str(" }")
    }
}

/// Errors, any of which is right; never empty.
#[derive(Debug)]
struct Refused(BTreeSet<Errno>);

impl From<Errno> for Refused {
    fn from(errno: Errno) -> Self {
        Self([errno].into())
    }
}

impl Refused {
    fn either(errnos: &[Errno]) -> Self {
        Self(errnos.iter().copied().collect())
    }
}

impl NamespaceState {
    fn entry(&self, path: &Path) -> Option<&Entry> {
        self.entries.get(path)
    }

    /// The directory that a path's last name is in, walked from the top.
    fn parent<'p>(&self, path: &'p Path) -> Result<(Path, &'p str), Errno> {
        let (parent, name) = path.split().ok_or(Errno::Ebusy)?;
        match self.resolve(&parent)?.kind {
            Kind::Directory => Ok((parent, name)),
            Kind::File | Kind::Symlink => Err(Errno::Enotdir),
        }
    }

    fn resolve(&self, path: &Path) -> Result<&Entry, Errno> {
        let mut at = Path::root();
        for name in path.names() {
            if self.entry(&at).ok_or(Errno::Enoent)?.kind != Kind::Directory {
                return Err(Errno::Enotdir);
            }
            at = at.child(name);
        }
        self.entry(&at).ok_or(Errno::Enoent)
    }

    fn edit(&mut self, path: &Path, change: impl FnOnce(&mut Entry)) {
        let mut entry = self.entry(path).expect("edited paths exist").clone();
        change(&mut entry);
        self.entries.insert(path.clone(), entry);
    }

    /// Changes a file under all of its names.
    fn edit_all(&mut self, path: &Path, change: impl Fn(&mut Entry)) {
        let links = Arc::clone(&self.entry(path).expect("edited paths exist").links);
        match &*links {
            [] => self.edit(path, change),
            links => links.iter().for_each(|link| self.edit(link, &change)),
        }
    }

    /// Says under which paths a file is known, to all of them.
    fn relink(&mut self, mut links: Vec<Path>) {
        links.sort();
        let all: Arc<[Path]> = match links.len() {
            1 => Arc::new([]),
            _ => links.clone().into(),
        };
        for link in &links {
            self.edit(link, |entry| entry.links = Arc::clone(&all));
        }
    }

    fn put(&mut self, path: &Path, entry: Entry) {
        let (parent, name) = path.split().expect("the root is never put");
        self.edit(&parent, |directory| directory.names.insert(name.into(), ()));
        self.entries.insert(path.clone(), entry);
    }

    /// Takes one name away, and tells a file's other names.
    fn take(&mut self, path: &Path) -> Entry {
        let (parent, name) = path.split().expect("the root is never taken");
        let entry = self.entry(path).expect("taken paths exist").clone();
        self.edit(&parent, |directory| {
            directory.names.remove(name);
        });
        self.entries.remove(path);
        let others: Vec<Path> = entry.links.iter().filter(|l| *l != path).cloned().collect();
        if !others.is_empty() {
            self.relink(others);
        }
        entry
    }

    fn make(&mut self, path: &Path, entry: Entry) -> Result<(), Refused> {
        if path.is_root() || self.entry(&self.in_parent(path)?).is_some() {
            return Err(Errno::Eexist.into());
        }
        self.put(path, entry);
        Ok(())
    }

    /// The path itself, once its parent is known to be a directory.
    fn in_parent(&self, path: &Path) -> Result<Path, Errno> {
        self.parent(path).map(|_| path.clone())
    }

    fn unlink(&mut self, path: &Path) -> Result<(), Refused> {
        if self.resolve(path)?.kind == Kind::Directory {
            return Err(Refused::either(&[Errno::Eperm, Errno::Eisdir]));
        }
        self.take(path);
        Ok(())
    }

    fn rmdir(&mut self, path: &Path) -> Result<(), Refused> {
        let entry = self.resolve(path)?;
        if path.is_root() {
            return Err(Errno::Ebusy.into());
        }
        if entry.kind != Kind::Directory {
            return Err(Errno::Enotdir.into());
        }
        if !entry.names.is_empty() {
            return Err(Errno::Enotempty.into());
        }
        self.take(path);
        Ok(())
    }

    fn link(&mut self, from: &Path, to: &Path) -> Result<(), Refused> {
        let entry = self.resolve(from)?.clone();
        let target = match to.is_root() {
            true => Err(Errno::Eexist),
            false => self.in_parent(to),
        };
        let target = target.and_then(|to| match self.entry(&to) {
            Some(_) => Err(Errno::Eexist),
            None => Ok(()),
        });
        match (entry.kind, target) {
            (Kind::Directory, Err(other)) => return Err(Refused::either(&[Errno::Eperm, other])),
            (Kind::Directory, Ok(())) => return Err(Errno::Eperm.into()),
            (_, Err(errno)) => return Err(errno.into()),
            (_, Ok(())) => {}
        }
        let mut links = entry.links.to_vec();
        if links.is_empty() {
            links.push(from.clone());
        }
        links.push(to.clone());
        self.put(to, entry);
        self.relink(links);
        Ok(())
    }

    fn rename(&mut self, from: &Path, to: &Path) -> Result<(), Refused> {
        if from.is_root() || to.is_root() {
            return Err(Errno::Ebusy.into());
        }
        self.parent(from)?;
        let target = self.in_parent(to);
        let Some(source) = self.entry(from) else {
            // The kernel walks both parents first, the master asks for the source first.
            let first = target.err().unwrap_or(Errno::Enoent);
            return Err(Refused::either(&[first, Errno::Enoent]));
        };
        target?;
        if from == to || source.links.contains(to) {
            return Ok(());
        }
        if to.is_below(from) {
            return Err(Errno::Einval.into());
        }
        if from.is_below(to) {
            return Err(Errno::Enotempty.into());
        }
        let source_is_directory = source.kind == Kind::Directory;
        if let Some(old) = self.entry(to) {
            let is_full = !old.names.is_empty();
            match (source_is_directory, old.kind == Kind::Directory) {
                (true, false) => return Err(Errno::Enotdir.into()),
                (true, true) if is_full => return Err(Errno::Enotempty.into()),
                (false, true) if is_full => {
                    return Err(Refused::either(&[Errno::Eisdir, Errno::Enotempty]));
                }
                (false, true) => return Err(Errno::Eisdir.into()),
                (true, true) | (false, false) => {}
            }
            self.take(to);
        }
        self.transfer(from, to);
        Ok(())
    }

    /// Moves a name, and everything below it, to a free name.
    fn transfer(&mut self, from: &Path, to: &Path) {
        let mut below: Vec<Path> = Vec::new();
        let mut unseen = vec![from.clone()];
        while let Some(path) = unseen.pop() {
            let entry = self.entry(&path).expect("names lead to entries");
            unseen.extend(entry.names.iter().map(|(name, ())| path.child(name)));
            below.push(path);
        }
        let moved = |path: &Path| path.moved(from, to);
        let mut relinked: BTreeSet<Vec<Path>> = BTreeSet::new();
        let top = self.entry(from).expect("the source exists").clone();
        let (parent, name) = from.split().expect("the root is never moved");
        self.edit(&parent, |directory| {
            directory.names.remove(name);
        });
        self.put(to, top);
        for path in &below {
            let entry = self.entry(path).expect("collected above").clone();
            if !entry.links.is_empty() {
                let is_moved = |link: &Path| link == from || link.is_below(from);
                let rename = |link: &Path| {
                    if is_moved(link) {
                        moved(link)
                    } else {
                        link.clone()
                    }
                };
                relinked.insert(entry.links.iter().map(rename).collect());
            }
            self.entries.remove(path);
            self.entries.insert(moved(path), entry);
        }
        for links in relinked {
            self.relink(links);
        }
    }

    /// What an answer about this path shows when everything is recorded.
    fn describe(&self, path: &Path) -> NamespaceReply {
        let entry = self.entry(path).expect("described paths exist");
        NamespaceReply {
            inode: entry.inode,
            kind: Some(entry.kind),
            mode: entry.mode,
            links: Some(match entry.kind {
                Kind::Directory => self.subdirectory_count(path, entry) + 2,
                Kind::File | Kind::Symlink => entry.links.len().max(1) as u64,
            }),
            ..NamespaceReply::default()
        }
    }

    fn subdirectory_count(&self, path: &Path, entry: &Entry) -> u64 {
        let is_directory = |name: &str| {
            let child = self.entry(&path.child(name));
            child.is_some_and(|child| child.kind == Kind::Directory)
        };
        entry
            .names
            .iter()
            .filter(|(name, ())| is_directory(name))
            .count() as u64
    }

    /// Carries out a call. On success: the path that the answer is about, if it still leads
    /// anywhere, and what else the answer holds.
    fn execute(&mut self, call: &NamespaceCall) -> Result<Done, Refused> {
        use NamespaceCall as C;
        let mut done = Done::default();
        match call {
            C::Create { path, mode } => self.make(path, Entry::new(Kind::File, *mode))?,
            C::Mkdir { path, mode } => self.make(path, Entry::new(Kind::Directory, *mode))?,
            C::Symlink { path, target } => {
                let mut entry = Entry::new(Kind::Symlink, None);
                entry.target = Some(target.as_str().into());
                self.make(path, entry)?;
            }
            C::Link { from, to } => self.link(from, to)?,
            C::Unlink { path } => self.unlink(path)?,
            C::Rmdir { path } => self.rmdir(path)?,
            C::Rename { from, to } => self.rename(from, to)?,
            C::Lookup { path } | C::Getattr { path } => {
                self.resolve(path)?;
            }
            C::SetMode { path, mode } => {
                self.resolve(path)?;
                self.edit_all(path, |entry| entry.mode = Some(*mode));
            }
            C::Readdir { path } => {
                let entry = self.resolve(path)?;
                if entry.kind != Kind::Directory {
                    return Err(Errno::Enotdir.into());
                }
                let names = entry.names.iter().map(|(name, ())| name.to_string());
                done.names = Some(names.collect());
            }
            C::Readlink { path } => {
                let entry = self.resolve(path)?;
                let target = entry.target.as_ref().ok_or(Errno::Einval)?;
                done.target = Some(target.to_string());
            }
        }
        done.about = match call {
            C::Unlink { .. } | C::Rmdir { .. } => None,
            C::Link { to, .. } | C::Rename { to, .. } => Some(to.clone()),
            C::Create { path, .. }
            | C::Mkdir { path, .. }
            | C::Symlink { path, .. }
            | C::Lookup { path }
            | C::Getattr { path }
            | C::SetMode { path, .. }
            | C::Readdir { path }
            | C::Readlink { path } => Some(path.clone()),
        };
        Ok(done)
    }

    /// Holds an answer against a success; learns what it shows for the first time.
    fn learn(&mut self, done: &Done, reply: &NamespaceReply) -> bool {
        let mut names = reply.names.clone();
        if let Some(names) = &mut names {
            names.sort();
        }
        if names.is_some() && names != done.names {
            return false;
        }
        if reply.target.is_some() && reply.target != done.target {
            return false;
        }
        let shown = (reply.inode, reply.kind, reply.mode, reply.links);
        let Some(path) = &done.about else {
            return shown == (None, None, None, None);
        };
        if shown == (None, None, None, None) {
            return true;
        }
        let held = self.describe(path);
        let fits = reply.kind.is_none_or(|kind| held.kind == Some(kind))
            && reply.links.is_none_or(|links| held.links == Some(links))
            && fits_or_unknown(held.inode, reply.inode)
            && fits_or_unknown(held.mode, reply.mode);
        let is_news = (held.inode.is_none() && reply.inode.is_some())
            || (held.mode.is_none() && reply.mode.is_some());
        if fits && is_news {
            self.edit_all(path, |entry| {
                entry.inode = entry.inode.or(reply.inode);
                entry.mode = entry.mode.or(reply.mode);
            });
        }
        fits
    }
}

fn fits_or_unknown<T: PartialEq>(held: Option<T>, shown: Option<T>) -> bool {
    match (held, shown) {
        (Some(held), Some(shown)) => held == shown,
        _ => true,
    }
}

/// What a call that succeeded can show.
#[derive(Default)]
struct Done {
    about: Option<Path>,
    names: Option<Vec<String>>,
    target: Option<String>,
}

/// A tree that holds nothing at first but its root.
#[derive(Clone, Copy, Debug, Default)]
pub struct Namespace;

impl Model for Namespace {
    type State = NamespaceState;
    type Call = NamespaceCall;
    type Return = NamespaceReply;

    fn init(&self) -> NamespaceState {
        let mut entries = Tree::default();
        entries.insert(Path::root(), Entry::new(Kind::Directory, None));
        NamespaceState { entries }
    }

    fn step(
        &self,
        state: &NamespaceState,
        call: &NamespaceCall,
        returned: Option<&NamespaceReply>,
    ) -> Vec<NamespaceState> {
        let mut next = state.clone();
        let fits = match (next.execute(call), returned) {
            (_, None) => true,
            (Ok(done), Some(reply)) => reply.error.is_none() && next.learn(&done, reply),
            (Err(refused), Some(reply)) => {
                let only_error = NamespaceReply {
                    error: reply.error,
                    ..NamespaceReply::default()
                };
                reply.error.is_some_and(|errno| refused.0.contains(&errno)) && *reply == only_error
            }
        };
        if fits { vec![next] } else { Vec::new() }
    }

    fn is_observer(&self, call: &NamespaceCall, reply: &NamespaceReply) -> bool {
        use NamespaceCall as C;
        reply.error.is_some()
            || matches!(
                call,
                C::Lookup { .. } | C::Getattr { .. } | C::Readdir { .. } | C::Readlink { .. }
            )
    }
}

impl Sequential for Namespace {
    fn apply(
        &self,
        state: &NamespaceState,
        call: &NamespaceCall,
    ) -> (NamespaceState, NamespaceReply) {
        let mut next = state.clone();
        let reply = match next.execute(call) {
            Ok(done) => NamespaceReply {
                names: done.names,
                target: done.target,
                ..done
                    .about
                    .map_or_else(NamespaceReply::default, |path| next.describe(&path))
            },
            Err(refused) => NamespaceReply {
                error: refused.0.first().copied(),
                ..NamespaceReply::default()
            },
        };
        (next, reply)
    }
}

impl Parts for Namespace {
    /// The first name of a path.
    type Key = String;

    /// The root itself is never made, removed or moved; what is asked about it depends on
    /// everything, what is done below it only on one top-level name, or on two.
    fn touches(&self, call: &NamespaceCall) -> Touches<String> {
        use NamespaceCall as C;
        let paths = match call {
            C::Link { from, to } | C::Rename { from, to } => vec![from, to],
            C::Create { path, .. }
            | C::Mkdir { path, .. }
            | C::Symlink { path, .. }
            | C::Unlink { path }
            | C::Rmdir { path }
            | C::Lookup { path }
            | C::Getattr { path }
            | C::SetMode { path, .. }
            | C::Readdir { path }
            | C::Readlink { path } => vec![path],
        };
        let tops: Option<BTreeSet<String>> = paths
            .iter()
            .map(|path| path.names().next().map(str::to_owned))
            .collect();
        tops.map_or(Touches::Everything, |tops| {
            Touches::Parts(tops.into_iter().collect())
        })
    }
}

#[cfg(test)]
mod tests;
