//! A node's life: it is made, gets names and loses them, goes to the trash, and ends.
//!
//! Nothing here checks permissions or quotas; operations do that before they come here.

use super::error::FsError;
use super::hooks;
use super::key::Key;
use super::op::{Acl, AclKind, Name, NodeKind, Whereabouts};
use super::permission as bits;
use super::record::{Edge, Inode, Origin, SlotIds, Stats, Target};
use super::stats;
use super::txn::{Res, Txn};
use super::who::Who;
use crate::crdt::{LOG_REPLICA, LinkCounter, Lww, OrSet};
use crate::id::{InodeId, Slot};
use crate::limits;
use crate::time::Stamp;

/// Storage class and trash time of what has no data, and of the root's first children.
pub const PLAIN_CLASS: u8 = 0;
/// Trash time of the root at first, and of what never goes to the trash, hours.
pub const PLAIN_TRASH_HOURS: u16 = 24;

/// What a new node shall be.
#[derive(Clone, Debug)]
pub struct New {
    /// Type.
    pub kind: NodeKind,
    /// Permission bits asked for.
    pub mode: u16,
    /// Bits that are not given, unless the parent has a default ACL.
    pub umask: u16,
    /// Device number; counts for devices alone.
    pub rdev: u32,
    /// Target of a symlink.
    pub target: Vec<u8>,
    /// Whether a directory in a setgid directory is setgid too.
    pub copy_setgid: bool,
}

/// Makes a node in a directory, owned by the caller: takes an id, inherits from the parent, links
/// it, and counts it.
///
/// # Errors
/// `NoSpace` when no id is left, or a directory would lie too deep.
pub fn make(
    txn: &mut Txn<'_>,
    who: &Who,
    parent: InodeId,
    name: &Name,
    new: &New,
) -> Res<(InodeId, Inode)> {
    let dir = super::path::known(txn, parent)?;
    if new.kind == NodeKind::Directory {
        stats::check_depth(txn, parent, 0)?;
    }
    let ino = take_id(txn, parent, name, new.kind)?;
    let is_dir = new.kind == NodeKind::Directory;
    let mut mode = new.mode & 0o7777;
    let acls = inherit_acls(txn, parent, &dir, new, &mut mode)?;
    // A symlink's own bits are never looked at; no umask narrows them.
    if !acls.replaces_umask && new.kind != NodeKind::Symlink {
        mode &= !(new.umask | who.params.umask);
    }
    let setgid = dir.mode.value() & 0o2000 != 0;
    if setgid && is_dir && new.copy_setgid {
        mode |= 0o2000;
    }
    let has_data = matches!(new.kind, NodeKind::File | NodeKind::Directory);
    let own_bits = bits::SNAPSHOT | bits::UNDELETABLE | bits::APPEND_ONLY | bits::IMMUTABLE;
    let mut eattr = dir.eattr.value() & !own_bits;
    if !is_dir {
        eattr &= !bits::NO_ENTRY_CACHE;
    }
    let (stamp, now) = (txn.stamp(), txn.now());
    let device = matches!(new.kind, NodeKind::BlockDevice | NodeKind::CharDevice);
    let delta = Inode {
        origin: Some(Origin {
            kind: new.kind,
            rdev: if device { new.rdev } else { 0 },
            target: new.target.clone(),
        }),
        mode: Lww::at(stamp, mode),
        uid: Lww::at(stamp, who.uid),
        gid: Lww::at(stamp, if setgid { dir.gid.value() } else { who.gids[0] }),
        atime: Lww::at(stamp, now),
        mtime: Lww::at(stamp, now),
        ctime: Lww::at(stamp, now),
        eattr: Lww::at(stamp, eattr),
        length: Lww::at(stamp, new.target.len() as u64),
        class: Lww::at(
            stamp,
            if has_data {
                dir.class.value()
            } else {
                PLAIN_CLASS
            },
        ),
        trash_hours: Lww::at(
            stamp,
            if has_data {
                dir.trash_hours.value()
            } else {
                PLAIN_TRASH_HOURS
            },
        ),
        decorated: Lww::at(stamp, acls.access.is_some() || acls.default.is_some()),
        ..Inode::default()
    };
    txn.join(&Key::Inode(ino), &delta)?;
    if acls.access.is_some() {
        txn.set(&Key::Acl(ino, AclKind::Access), acls.access)?;
    }
    if acls.default.is_some() {
        txn.set(&Key::Acl(ino, AclKind::Default), acls.default)?;
    }
    if is_dir {
        txn.join(&Key::Stats(ino), &Stats::default().add(&stats::DIRECTORY))?;
    }
    let node = link(txn, parent, name, ino)?;
    Ok((ino, node))
}

/// ACLs that a new node gets.
struct Inherited {
    access: Option<Acl>,
    default: Option<Acl>,
    replaces_umask: bool,
}

/// Judges the parent's default ACL, which narrows the mode in place of the umask.
fn inherit_acls(
    txn: &Txn<'_>,
    parent: InodeId,
    dir: &Inode,
    new: &New,
    mode: &mut u16,
) -> Res<Inherited> {
    let mut out = Inherited {
        access: None,
        default: None,
        replaces_umask: false,
    };
    if new.kind == NodeKind::Symlink || !dir.decorated.value() {
        return Ok(out);
    }
    let Some(default) = txn.value::<Acl>(&Key::Acl(parent, AclKind::Default))? else {
        return Ok(out);
    };
    out.replaces_umask = true;
    let (user, group, other) = (*mode >> 6 & 7, *mode >> 3 & 7, *mode & 7);
    let plain = default.mask == bits::NO_MASK
        && default.named_users.is_empty()
        && default.named_groups.is_empty();
    if plain {
        *mode = *mode & 0o7000
            | (user & default.user) << 6
            | (group & default.group) << 3
            | other & default.other;
    } else {
        let access = Acl {
            user: default.user & user,
            mask: default.mask & group,
            other: default.other & other,
            ..default.clone()
        };
        *mode = *mode & 0o7000 | access.user << 6 | (access.group & 7) << 3 | access.other;
        out.access = Some(access);
    }
    if new.kind == NodeKind::Directory {
        out.default = Some(default);
    }
    Ok(out)
}

/// Takes the next id. A directory's slot is a hash of parent and name, so that directories spread;
/// everything else lies in its parent's slot. A slot that is used up passes on to the next.
///
/// # Errors
/// `NoSpace` when no id is left.
pub fn take_id(txn: &mut Txn<'_>, parent: InodeId, name: &Name, kind: NodeKind) -> Res<InodeId> {
    let first = if kind == NodeKind::Directory {
        slot_of_directory(parent, name)
    } else {
        parent.slot()
    };
    for step in 0..limits::SLOT_COUNT {
        let slot = Slot((first.0 + step) % limits::SLOT_COUNT);
        let key = Key::SlotIds(slot);
        let ids: SlotIds = txn.get(&key)?.unwrap_or_default();
        let next = ids.inodes.value();
        #[cfg(feature = "planted-bugs")]
        let next = next + planted_overlap(txn);
        let open = txn.ceilings().has_inode(slot, next);
        let id = u32::try_from(next)
            .ok()
            .filter(|_| open)
            .and_then(|sequence| InodeId::from_parts(sequence, slot));
        if let Some(id) = id {
            let delta = SlotIds {
                inodes: ids.inodes.add(LOG_REPLICA, 1),
                ..SlotIds::default()
            };
            txn.join(&key, &delta)?;
            return Ok(id);
        }
    }
    Err(FsError::NoSpace.into())
}

/// Half of the leaders begin their ranges one id later, so that theirs overlap the next one's.
#[cfg(feature = "planted-bugs")]
fn planted_overlap(txn: &Txn<'_>) -> u64 {
    if txn.has_bug(crate::planted::Bug::IdRangesOverlap) {
        txn.stamp().node.0 % 2
    } else {
        0
    }
}

fn slot_of_directory(parent: InodeId, name: &Name) -> Slot {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&parent.0.to_be_bytes());
    hasher.update(name);
    let hash = hasher.finalize();
    let (word, _) = hash
        .as_bytes()
        .split_first_chunk::<8>()
        .expect("a hash has 32 bytes");
    Slot::of_hash(u64::from_be_bytes(*word))
}

/// Changes a node by the delta that `make_delta` gives for it.
///
/// # Errors
/// `NoEnt` when there is no such node.
pub fn change(
    txn: &mut Txn<'_>,
    ino: InodeId,
    make_delta: impl FnOnce(&Inode, Stamp) -> Inode,
) -> Res<Inode> {
    let stamp = txn.stamp();
    let changed = txn.change(&Key::Inode(ino), |old| {
        old.map(|old| make_delta(old, stamp))
    })?;
    Ok(changed.ok_or(FsError::NoEnt)?)
}

/// The delta that takes the snapshot bit away, where it is set: the node is being modified.
#[must_use]
pub fn unsnapshot(node: &Inode, stamp: Stamp) -> Lww<u8> {
    let eattr = node.eattr.value();
    if eattr & bits::SNAPSHOT == 0 {
        Lww::default()
    } else {
        node.eattr.write(stamp, eattr & !bits::SNAPSHOT)
    }
}

/// Sets a node's ctime to now: it is being modified.
///
/// # Errors
/// `NoEnt` when there is no such node.
pub fn touch_ctime(txn: &mut Txn<'_>, ino: InodeId) -> Res<Inode> {
    let now = txn.now();
    change(txn, ino, |node, stamp| Inode {
        ctime: node.ctime.write(stamp, now),
        eattr: unsnapshot(node, stamp),
        ..Inode::default()
    })
}

/// What a name in a directory stands for.
///
/// # Errors
/// Only that the state cannot be read.
pub fn find(txn: &Txn<'_>, dir: InodeId, name: &[u8]) -> Res<Option<Target>> {
    let edge: Option<Edge> = txn.get(&Key::Edge(dir, name.to_vec()))?;
    Ok(edge.and_then(|edge| edge.latest().copied()))
}

/// Gives a node a name, and counts it there.
///
/// # Errors
/// Only that the state cannot be read.
pub fn link(txn: &mut Txn<'_>, dir: InodeId, name: &Name, ino: InodeId) -> Res<Inode> {
    let node = add_name(txn, dir, name, ino)?;
    let counted = stats::of_node(txn, ino, &node)?;
    stats::add(txn, dir, &counted)?;
    Ok(node)
}

/// Takes a name from a node, and counts it there no more.
///
/// # Errors
/// Only that the state cannot be read.
pub fn unlink(txn: &mut Txn<'_>, dir: InodeId, name: &Name, ino: InodeId) -> Res<Inode> {
    let node = super::path::known(txn, ino)?;
    let counted = stats::of_node(txn, ino, &node)?;
    stats::add(txn, dir, &stats::negated(&counted))?;
    remove_name(txn, dir, name, ino)
}

/// Gives a node a name; touches the directory. Counts nothing: see [`link`].
///
/// # Errors
/// Only that the state cannot be read.
pub fn add_name(txn: &mut Txn<'_>, dir: InodeId, name: &Name, ino: InodeId) -> Res<Inode> {
    let dot = txn.dot();
    let node = super::path::known(txn, ino)?;
    let kind = node.kind();
    let delta = Inode {
        links: node.links.link(LOG_REPLICA),
        parents: OrSet::insert(dot, (dir, name.clone())),
        ..Inode::default()
    };
    let node = txn.join(&Key::Inode(ino), &delta)?;
    let target = Target { inode: ino, kind };
    txn.join(&Key::Edge(dir, name.clone()), &Edge::insert(dot, target))?;
    touch_dir(txn, dir, |dir| match kind {
        NodeKind::Directory => dir.subdirs.link(LOG_REPLICA),
        _ => LinkCounter::default(),
    })?;
    if kind == NodeKind::Directory {
        let height = stats::height(txn, ino)?;
        stats::raise(txn, dir, height)?;
    }
    Ok(node)
}

/// Takes a name from a node; touches the directory. Counts nothing: see [`unlink`].
///
/// # Errors
/// Only that the state cannot be read.
pub fn remove_name(txn: &mut Txn<'_>, dir: InodeId, name: &Name, ino: InodeId) -> Res<Inode> {
    let node = super::path::known(txn, ino)?;
    let kind = node.kind();
    let delta = Inode {
        links: node.links.unlink(LOG_REPLICA),
        parents: node
            .parents
            .remove(|(parent, given)| *parent == dir && given == name),
        ..Inode::default()
    };
    let node = txn.join(&Key::Inode(ino), &delta)?;
    let key = Key::Edge(dir, name.clone());
    txn.change(&key, |edge: Option<&Edge>| {
        edge.map(|edge| edge.remove(|target| target.inode == ino))
    })?;
    touch_dir(txn, dir, |dir| match kind {
        NodeKind::Directory => dir.subdirs.unlink(LOG_REPLICA),
        _ => LinkCounter::default(),
    })?;
    Ok(node)
}

fn touch_dir(
    txn: &mut Txn<'_>,
    dir: InodeId,
    subdirs: impl FnOnce(&Inode) -> LinkCounter,
) -> Res<()> {
    let now = txn.now();
    change(txn, dir, |node, stamp| Inode {
        mtime: node.mtime.write(stamp, now),
        ctime: node.ctime.write(stamp, now),
        eattr: unsnapshot(node, stamp),
        subdirs: subdirs(node),
        ..Inode::default()
    })?;
    Ok(())
}

/// Whether any session has the file open.
///
/// # Errors
/// Only that the state cannot be read.
pub fn is_open(txn: &Txn<'_>, ino: InodeId) -> Res<bool> {
    let prefix = Key::Opened(ino, crate::id::SessionId(0)).prefix();
    Ok(txn.any(&prefix)?)
}

/// Takes a name away for good. A node that loses its last one goes to the trash, is sustained
/// while it is open, or ends. `skip_trash` leaves the trash out.
///
/// # Errors
/// Only that the state cannot be read.
pub fn drop_name(
    txn: &mut Txn<'_>,
    dir: InodeId,
    name: &Name,
    ino: InodeId,
    skip_trash: bool,
) -> Res<()> {
    let path = super::path::for_trash(txn, dir, name)?;
    #[cfg(feature = "planted-bugs")]
    let path = match txn.has_bug(crate::planted::Bug::TrashForgetsPath) {
        true => name.clone(),
        false => path,
    };
    unlink(txn, dir, name, ino)?;
    let node = touch_ctime(txn, ino)?;
    if node.links.value() > 0 {
        return Ok(());
    }
    let is_file = node.kind() == NodeKind::File;
    if is_file && !skip_trash && node.trash_hours.value() > 0 {
        txn.set(&Key::Trashed(ino), Some(path))?;
        set_whereabouts(txn, ino, Whereabouts::Trash)
    } else {
        sustain_or_free(txn, ino, path).map(drop)
    }
}

/// A file without a name leaves the trash: sustained while it is open (`true`), else it ends.
///
/// # Errors
/// Only that the state cannot be read.
pub fn sustain_or_free(txn: &mut Txn<'_>, ino: InodeId, path: Vec<u8>) -> Res<bool> {
    let open = is_open(txn, ino)?;
    if open {
        txn.set::<Vec<u8>>(&Key::Trashed(ino), None)?;
        txn.set(&Key::Sustained(ino), Some(path))?;
        set_whereabouts(txn, ino, Whereabouts::Sustained)?;
    } else {
        free(txn, ino)?;
    }
    Ok(open)
}

/// Notes where a node can be found, and counts its bytes there.
///
/// # Errors
/// `NoEnt` when there is no such node.
pub fn set_whereabouts(txn: &mut Txn<'_>, ino: InodeId, whereabouts: Whereabouts) -> Res<()> {
    let node = txn.inode(ino)?;
    let bytes = i128::from(node.length.value());
    stats::add_detached(txn, node.whereabouts.value(), -bytes)?;
    stats::add_detached(txn, whereabouts, bytes)?;
    change(txn, ino, |node, stamp| Inode {
        whereabouts: node.whereabouts.write(stamp, whereabouts),
        ..Inode::default()
    })?;
    Ok(())
}

/// Ends a node that has no name and that nobody has open.
///
/// # Errors
/// Only that the state cannot be read.
///
/// # Panics
/// When it has a name, is open, or is a directory with entries: a bug of the operation.
pub fn free(txn: &mut Txn<'_>, ino: InodeId) -> Res<()> {
    let node = super::path::known(txn, ino)?;
    assert!(node.parents.is_empty(), "a node with a name was freed");
    assert!(!is_open(txn, ino)?, "an open file was freed");
    let bytes = i128::from(node.length.value());
    stats::add_detached(txn, node.whereabouts.value(), -bytes)?;
    hooks::release_node(txn, ino)?;
    if node.kind() == NodeKind::Directory {
        assert!(is_empty(txn, ino)?, "a directory with entries was freed");
        txn.join(&Key::Stats(ino), &Stats::removed())?;
        txn.set::<super::record::QuotaRecord>(&Key::Quota(ino), None)?;
    }
    txn.set::<Vec<u8>>(&Key::Trashed(ino), None)?;
    txn.set::<Vec<u8>>(&Key::Sustained(ino), None)?;
    let end = Inode {
        gone: true,
        ..Inode::default()
    };
    txn.join(&Key::Inode(ino), &end)?;
    Ok(())
}

/// Whether a directory has no entries.
///
/// # Errors
/// Only that the state cannot be read.
pub fn is_empty(txn: &Txn<'_>, dir: InodeId) -> Res<bool> {
    Ok(!txn.any(&Key::Edge(dir, Vec::new()).prefix())?)
}
