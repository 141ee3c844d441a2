//! Values of the wire as values of the namespace, and back.

use crate::limits;
use crate::moosefs::attributes::Attributes;
use crate::moosefs::client::class::{ClassBlock, ClassChange};
use crate::moosefs::client::credentials::Credentials;
use crate::moosefs::client::subtree::{QuotaSet, WireLimits};
use crate::moosefs::client::tree::SetAttr;
use crate::moosefs::client::xattr::WireAcl;
use crate::moosefs::fields::Name;
use crate::moosefs::flags;
use crate::namespace::op::{
    self, Acl, Attr, Caller, DirStats, FlockOp, NodeKind, QuotaLimits, QuotaState, SetMode,
    SetTime, StorageClass, SugidClear, TruncateMode, XattrMode,
};
use crate::time::WallTime;

use super::session::Client;
pub use crate::namespace::numbers::{
    acl_kind, class_mode, class_mode_number, limit_bits, lock_kind, node_number,
};

/// The process behind a request.
pub fn caller(client: &Client, by: &Credentials) -> Caller {
    client.caller(by.uid, by.gids.to_vec())
}

/// A user without groups: for requests that look at the user alone.
pub fn user(client: &Client, uid: u32) -> Caller {
    client.caller(uid, vec![0])
}

/// The types that MKNOD makes.
pub fn made_by_mknod(number: u8) -> Option<NodeKind> {
    match number {
        flags::node::FILE => Some(NodeKind::File),
        flags::node::FIFO => Some(NodeKind::Fifo),
        flags::node::BLOCK_DEVICE => Some(NodeKind::BlockDevice),
        flags::node::CHAR_DEVICE => Some(NodeKind::CharDevice),
        flags::node::SOCKET => Some(NodeKind::Socket),
        _ => None,
    }
}

/// An attribute record. Data that may not be cached is to be read past all caches.
pub fn attributes(attr: &Attr) -> Attributes {
    let device = matches!(attr.kind, NodeKind::BlockDevice | NodeKind::CharDevice);
    let direct = match attr.flags & flags::shown::DATA_CACHE {
        0 => flags::shown::DIRECT,
        _ => 0,
    };
    Attributes {
        flags: attr.flags | direct,
        kind: node_number(attr.kind),
        mode: attr.mode,
        uid: attr.uid,
        gid: attr.gid,
        atime: attr.atime,
        mtime: attr.mtime,
        ctime: attr.ctime,
        nlink: attr.nlink,
        length: match device {
            true => u64::from(attr.rdev) << 32,
            false => attr.length,
        },
        winattr: attr.winattr,
    }
}

/// An attribute record of a file about which the client shall not believe its cache.
pub fn uncached(attr: &Attr) -> Attributes {
    let mut attributes = attributes(attr);
    attributes.flags &= !flags::shown::DATA_CACHE;
    attributes
}

/// Attributes to be set. Windows attributes are asked for only if they are there.
pub fn set_attr(set: &SetAttr) -> Option<op::SetAttr> {
    use flags::set::{ATIME, ATIME_NOW, GID, MODE, MTIME, MTIME_NOW, UID, WINATTR};
    let asked = |bit: u8| set.mask & bit != 0;
    let time = |now, at, time| match (asked(now), asked(at)) {
        (true, _) => SetTime::Now,
        (false, true) => SetTime::At(WallTime(time)),
        (false, false) => SetTime::Keep,
    };
    if asked(WINATTR) && set.winattr.is_none() {
        return None;
    }
    Some(op::SetAttr {
        mode: asked(MODE).then_some(set.mode & 0o7777),
        uid: asked(UID).then_some(set.uid),
        gid: asked(GID).then_some(set.gid),
        atime: time(ATIME_NOW, ATIME, set.atime),
        mtime: time(MTIME_NOW, MTIME, set.mtime),
        winattr: set.winattr.filter(|_| asked(WINATTR)),
        sugid_clear: match set.sugid_clear {
            Some(0) => SugidClear::Never,
            Some(2) => SugidClear::Osx,
            Some(3) => SugidClear::Bsd,
            Some(4) => SugidClear::Ext,
            Some(5) => SugidClear::Xfs,
            // The safest for who says nothing, or something unknown.
            Some(_) | None => SugidClear::Always,
        },
    })
}

/// How a truncate goes about it. A client that says nothing means an open file when user 0 asks
/// for another group than 0.
pub fn truncate_mode(asked: Option<u8>, by: &Credentials) -> TruncateMode {
    use flags::truncate::{OPENED, RESERVE, UPDATE};
    let Some(asked) = asked else {
        let opened = by.uid == 0 && by.gids.to_vec()[0] != 0;
        return match opened {
            true => TruncateMode::Opened,
            false => TruncateMode::Path,
        };
    };
    match asked {
        _ if asked & RESERVE != 0 => TruncateMode::Reserve,
        _ if asked & UPDATE != 0 => TruncateMode::Extend,
        _ if asked & OPENED != 0 => TruncateMode::Opened,
        _ => TruncateMode::Path,
    }
}

/// How a value is set, and whether on all below, too; `None` for an exchange.
pub fn set_mode(mode: u8) -> (Option<SetMode>, bool) {
    let way = match mode & flags::change::WAY {
        flags::change::SET => Some(SetMode::Set),
        flags::change::INCREASE => Some(SetMode::Increase),
        flags::change::DECREASE => Some(SetMode::Decrease),
        _ => None,
    };
    (way, mode & flags::change::RECURSIVE != 0)
}

/// How an extended attribute is set.
pub fn xattr_mode(mode: u8) -> Option<XattrMode> {
    match mode {
        flags::xattr_set::CREATE_OR_REPLACE => Some(XattrMode::CreateOrReplace),
        flags::xattr_set::CREATE => Some(XattrMode::Create),
        flags::xattr_set::REPLACE => Some(XattrMode::Replace),
        flags::xattr_set::REMOVE => Some(XattrMode::Remove),
        _ => None,
    }
}

/// An ACL to be set. Of too many names as many stay as are needed to refuse them.
pub fn acl(acl: &WireAcl) -> Acl {
    let judged = |names: &[(u32, u16)]| {
        let names = &names[..names.len().min(limits::ACL_ENTRY_COUNT_MAX + 1)];
        names.to_vec()
    };
    Acl {
        user: acl.user,
        group: acl.group,
        other: acl.other,
        mask: acl.mask,
        named_users: judged(&acl.named_users),
        named_groups: judged(&acl.named_groups),
    }
}

/// An ACL to be shown.
pub fn wire_acl(acl: Acl) -> WireAcl {
    WireAcl {
        user: acl.user,
        group: acl.group,
        other: acl.other,
        mask: acl.mask,
        named_users: acl.named_users,
        named_groups: acl.named_groups,
    }
}

/// What to do with a lock of a whole file.
pub fn flock_op(what: u8) -> Option<FlockOp> {
    match what {
        flags::flock::UNLOCK => Some(FlockOp::Unlock),
        flags::flock::TRY_SHARED => Some(FlockOp::TryShared),
        flags::flock::LOCK_SHARED => Some(FlockOp::LockShared),
        flags::flock::TRY_EXCLUSIVE => Some(FlockOp::TryExclusive),
        flags::flock::LOCK_EXCLUSIVE => Some(FlockOp::LockExclusive),
        flags::flock::INTERRUPT => Some(FlockOp::Interrupt),
        flags::flock::RELEASE => Some(FlockOp::Release),
        _ => None,
    }
}

/// A class to be made; `None` for a mode that there is not.
pub fn storage_class(name: &Name, block: &ClassBlock) -> Option<StorageClass> {
    Some(StorageClass {
        name: name.as_bytes().to_vec(),
        admin_only: block.admin_only != 0,
        mode: class_mode(block.mode)?,
        archive_delay_days: block.archive_delay_days,
        create: block.create.clone(),
        keep: block.keep.clone(),
        archive: block.archive.clone(),
    })
}

/// A class to be shown.
pub fn class_block(class: &StorageClass) -> ClassBlock {
    ClassBlock {
        admin_only: u8::from(class.admin_only),
        mode: class_mode_number(class.mode),
        archive_delay_days: class.archive_delay_days,
        create: class.create.clone(),
        keep: class.keep.clone(),
        archive: class.archive.clone(),
    }
}

/// What of a class is changed; `None` for a mode that there is not.
pub fn class_change(change: &ClassChange) -> Option<op::ClassChange> {
    use flags::class_change::{ADMIN, ARCHIVE, CREATE, DELAY, FORCE, KEEP, MODE};
    let asked = |bit: u16| change.mask & bit != 0;
    let class = &change.class;
    let mode = match asked(MODE) {
        true => Some(class_mode(class.mode)?),
        false => None,
    };
    Some(op::ClassChange {
        admin_only: asked(ADMIN).then_some(class.admin_only != 0),
        mode,
        archive_delay_days: asked(DELAY).then_some(class.archive_delay_days),
        create: asked(CREATE).then(|| class.create.clone()),
        keep: asked(KEEP).then(|| class.keep.clone()),
        archive: asked(ARCHIVE).then(|| class.archive.clone()),
        force: asked(FORCE),
    })
}

/// Bits of all limits of a quota.
pub fn quota_bits(state: &QuotaState) -> u8 {
    limit_bits(&state.soft) | limit_bits(&state.hard) << flags::quota::HARD_SHIFT
}

/// Limits on the wire; those that are not there are 0.
pub fn wire_limits(limits: &QuotaLimits) -> WireLimits {
    WireLimits {
        inodes: limits.inodes.unwrap_or(0),
        length: limits.length.unwrap_or(0),
        size: limits.size.unwrap_or(0),
        real_size: limits.real_size.unwrap_or(0),
    }
}

/// Limits as they are after those of `bits` were set, or taken away.
fn limits_after(bits: u8, old: &QuotaLimits, new: Option<&WireLimits>) -> QuotaLimits {
    use flags::quota::{INODES, LENGTH, REAL_SIZE, SIZE};
    let asked = |bit: u8| bits & bit != 0;
    QuotaLimits {
        inodes: match asked(INODES) {
            true => new.map(|new| new.inodes),
            false => old.inodes,
        },
        length: match asked(LENGTH) {
            true => new.map(|new| new.length),
            false => old.length,
        },
        size: match asked(SIZE) {
            true => new.map(|new| new.size),
            false => old.size,
        },
        real_size: match asked(REAL_SIZE) {
            true => new.map(|new| new.real_size),
            false => old.real_size,
        },
    }
}

/// A quota's soft and hard limits and its grace time in seconds.
pub type Limits = (QuotaLimits, QuotaLimits, u32);

/// A quota after limits were set, or without them taken away; `None` when no limit is left.
pub fn quota_after(bits: u8, old: &QuotaState, set: Option<&QuotaSet>) -> Option<Limits> {
    let hard_bits = bits >> flags::quota::HARD_SHIFT;
    let soft = limits_after(bits, &old.soft, set.map(|set| &set.soft));
    let hard = limits_after(hard_bits, &old.hard, set.map(|set| &set.hard));
    if limit_bits(&soft) == 0 && limit_bits(&hard) == 0 {
        return None;
    }
    let asked = set.and_then(|set| set.grace_seconds).unwrap_or(0);
    let grace = match (asked, old.grace_seconds) {
        (0, 0) => limits::QUOTA_GRACE_SECONDS,
        (0, old) => old,
        (asked, _) => asked,
    };
    Some((soft, hard, grace))
}

/// Sums as the wire has room for them.
pub fn sums(sums: &DirStats) -> WireLimits {
    WireLimits {
        inodes: narrow(sums.inodes),
        length: wide(sums.length),
        size: wide(sums.size),
        real_size: wide(sums.real_size),
    }
}

/// A sum in four bytes, cut where it does not fit.
pub fn narrow(sum: i128) -> u32 {
    u32::try_from(sum.max(0)).unwrap_or(u32::MAX)
}

/// A sum in eight bytes, cut where it does not fit.
pub fn wide(sum: i128) -> u64 {
    u64::try_from(sum.max(0)).unwrap_or(u64::MAX)
}

/// A name for the wire. The namespace gives none that has no room there; what would have none is
/// cut rather than that a node stops.
pub fn name(mut bytes: Vec<u8>) -> Name {
    bytes.truncate(limits::NAME_BYTES_MAX);
    Name::new(bytes).unwrap_or_default()
}
