//! Attributes of a node as a session sees them.

use super::key::Key;
use super::op::{Attr, NodeKind, Whereabouts};
use super::permission as bits;
use super::record::Inode;
use super::stats;
use super::txn::{Res, Txn};
use super::who::Who;
use crate::id::InodeId;

/// Attribute flag: clients do not cache attributes.
const NO_ATTR_CACHE: u8 = 0x01;
/// Attribute flag: clients do not cache the entry.
const NO_ENTRY_CACHE: u8 = 0x02;
/// Attribute flag: clients may cache data.
const DATA_CACHE: u8 = 0x04;
/// Attribute flag: neither extended attributes nor ACLs; clients need not ask.
const NO_XATTR: u8 = 0x08;
/// Attribute flag: cannot be removed.
const UNDELETABLE: u8 = 0x20;

/// The attributes of a node for a caller.
///
/// # Errors
/// Only that the state cannot be read.
pub fn attr(txn: &Txn<'_>, who: &Who, ino: InodeId, node: &Inode) -> Res<Attr> {
    let kind = node.kind();
    let (mode, uid, gid) = identity(txn, who, ino, node)?;
    let nlink = match (kind, node.whereabouts.value()) {
        (NodeKind::Directory, _) => clamp(node.subdirs.value().saturating_add(2)),
        (_, Whereabouts::Linked) => clamp(node.links.value()),
        _ => 0,
    };
    let length = match kind {
        NodeKind::File => node.length.value(),
        NodeKind::Directory => encode_size(stats::of_dir(txn, ino)?.length),
        NodeKind::Symlink => origin_length(node),
        _ => 0,
    };
    Ok(Attr {
        kind,
        mode,
        uid,
        gid,
        atime: node.atime.value(),
        mtime: node.mtime.value(),
        ctime: node.ctime.value(),
        nlink,
        length,
        rdev: node.origin.as_ref().map_or(0, |origin| origin.rdev),
        winattr: node.winattr.value(),
        flags: flags(txn, who, node)?,
    })
}

/// Mode and owner. A node without an owner shows each caller as its owner; a session that maps
/// everybody shows its caller as owner of what is the mapped user's, and root as that of the rest.
fn identity(txn: &Txn<'_>, who: &Who, ino: InodeId, node: &Inode) -> Res<(u16, u32, u32)> {
    let mut mode = bits::shown_mode(txn, ino, node)?;
    let map_all = who.params.flags.map_all;
    if node.eattr.value() & bits::NO_OWNER != 0 && !who.is_root() {
        let owner = mode >> 6 & 7;
        mode = mode & 0o7700 | owner << 3 | owner;
        return Ok(if map_all {
            (mode, who.original_uid, who.original_gid)
        } else {
            (mode, who.uid, who.gids[0])
        });
    }
    let (uid, gid) = (node.uid.value(), node.gid.value());
    if !map_all {
        return Ok((mode, uid, gid));
    }
    let shown = |own, mapped, original| if own == mapped { original } else { 0 };
    Ok((
        mode,
        shown(uid, who.uid, who.original_uid),
        shown(gid, who.gids[0], who.original_gid),
    ))
}

fn flags(txn: &Txn<'_>, who: &Who, node: &Inode) -> Res<u8> {
    let eattr = node.eattr.value();
    let mut flags = 0;
    if eattr & (bits::NO_OWNER | bits::NO_ATTR_CACHE) != 0 || who.params.flags.map_all {
        flags |= NO_ATTR_CACHE;
    }
    if let Some(parent) = node.parent() {
        let parent: Option<Inode> = txn.get(&Key::Inode(parent))?;
        if parent.is_some_and(|parent| parent.eattr.value() & bits::NO_ENTRY_CACHE != 0) {
            flags |= NO_ENTRY_CACHE;
        }
    }
    if eattr & bits::NO_DATA_CACHE == 0 {
        flags |= DATA_CACHE;
    }
    if !node.decorated.value() {
        flags |= NO_XATTR;
    }
    if eattr & bits::UNDELETABLE != 0 {
        flags |= UNDELETABLE;
    }
    Ok(flags)
}

fn origin_length(node: &Inode) -> u64 {
    node.origin
        .as_ref()
        .map_or(0, |origin| origin.target.len() as u64)
}

fn clamp(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// A directory's length as a decimal that people can read: hundredths of a unit, plus a million
/// for each power of 1024 that the unit is above a byte.
fn encode_size(bytes: i128) -> u64 {
    let bytes = u64::try_from(bytes.max(0)).unwrap_or(u64::MAX);
    if bytes == 0 {
        return 1;
    }
    let power = (bytes.ilog2() / 10).min(6);
    let hundredths = (u128::from(bytes) * 100) >> (10 * power);
    u64::try_from(hundredths).unwrap_or(u64::MAX) + u64::from(power) * 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_directories_read_as_decimals() {
        let examples = [
            (0, 1),
            (6, 600),
            (1023, 102_300),
            (1024, 1_000_100),
            (1536, 1_000_150),
            (5 << 20, 2_000_500),
            (1 << 60, 6_000_100),
            (i128::from(i64::MAX), 6_000_799),
            (1 << 70, 6_001_599),
            (-1, 1),
        ];
        for (bytes, shown) in examples {
            assert_eq!(encode_size(bytes), shown, "{bytes}");
        }
    }
}
