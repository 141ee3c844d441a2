//! The numbers by which MooseFS knows what the namespace has, on its wire and in its files.

use super::op::{AclKind, ClassMode, NodeKind, PosixLockKind, QuotaLimits, SessionFlags};
use crate::moosefs::flags;

/// The number that stands for a type of node.
pub fn node_number(kind: NodeKind) -> u8 {
    match kind {
        NodeKind::File => flags::node::FILE,
        NodeKind::Directory => flags::node::DIRECTORY,
        NodeKind::Symlink => flags::node::SYMLINK,
        NodeKind::Fifo => flags::node::FIFO,
        NodeKind::BlockDevice => flags::node::BLOCK_DEVICE,
        NodeKind::CharDevice => flags::node::CHAR_DEVICE,
        NodeKind::Socket => flags::node::SOCKET,
    }
}

/// Which ACL.
pub fn acl_kind(kind: u8) -> Option<AclKind> {
    match kind {
        flags::acl::ACCESS => Some(AclKind::Access),
        flags::acl::DEFAULT => Some(AclKind::Default),
        _ => None,
    }
}

/// The number of an ACL.
pub fn acl_number(kind: AclKind) -> u8 {
    match kind {
        AclKind::Access => flags::acl::ACCESS,
        AclKind::Default => flags::acl::DEFAULT,
    }
}

/// Kind of a lock of bytes.
pub fn lock_kind(kind: u8) -> Option<PosixLockKind> {
    match kind {
        flags::posix::UNLOCK => Some(PosixLockKind::Unlock),
        flags::posix::READ => Some(PosixLockKind::Read),
        flags::posix::WRITE => Some(PosixLockKind::Write),
        _ => None,
    }
}

/// The number of a kind of lock of bytes.
pub fn lock_number(kind: PosixLockKind) -> u8 {
    match kind {
        PosixLockKind::Unlock => flags::posix::UNLOCK,
        PosixLockKind::Read => flags::posix::READ,
        PosixLockKind::Write => flags::posix::WRITE,
    }
}

/// How a class insists on its labels.
pub fn class_mode(mode: u8) -> Option<ClassMode> {
    match mode {
        0 => Some(ClassMode::Loose),
        1 => Some(ClassMode::Std),
        2 => Some(ClassMode::Strict),
        _ => None,
    }
}

/// The number of how a class insists on its labels.
pub fn class_mode_number(mode: ClassMode) -> u8 {
    match mode {
        ClassMode::Loose => 0,
        ClassMode::Std => 1,
        ClassMode::Strict => 2,
    }
}

/// Which limits there are.
pub fn limit_bits(limits: &QuotaLimits) -> u8 {
    use flags::quota::{INODES, LENGTH, REAL_SIZE, SIZE};
    [
        (limits.inodes.is_some(), INODES),
        (limits.length.is_some(), LENGTH),
        (limits.size.is_some(), SIZE),
        (limits.real_size.is_some(), REAL_SIZE),
    ]
    .into_iter()
    .filter_map(|(there, bit)| there.then_some(bit))
    .sum()
}

/// Flags as the wire has them.
pub fn flags_byte(given: SessionFlags) -> u8 {
    use flags::session::{ADMIN, DYNAMIC_IP, IGNORE_GID, MAP_ALL, READ_ONLY};
    [
        (given.read_only, READ_ONLY),
        (given.dynamic_ip, DYNAMIC_IP),
        (given.ignore_gid, IGNORE_GID),
        (given.admin, ADMIN),
        (given.map_all, MAP_ALL),
    ]
    .into_iter()
    .filter_map(|(set, bit)| set.then_some(bit))
    .sum()
}

/// Flags of a session; `None` where one of them is unknown.
pub fn session_flags(byte: u8) -> Option<SessionFlags> {
    use flags::session::{ADMIN, DYNAMIC_IP, IGNORE_GID, MAP_ALL, READ_ONLY};
    let known = ADMIN | DYNAMIC_IP | IGNORE_GID | MAP_ALL | READ_ONLY;
    (byte & !known == 0).then_some(SessionFlags {
        read_only: byte & READ_ONLY != 0,
        dynamic_ip: byte & DYNAMIC_IP != 0,
        ignore_gid: byte & IGNORE_GID != 0,
        admin: byte & ADMIN != 0,
        map_all: byte & MAP_ALL != 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_lead_back_to_what_they_stand_for() {
        for number in 0..=u8::MAX {
            if let Some(kind) = acl_kind(number) {
                assert_eq!(acl_number(kind), number);
            }
            if let Some(kind) = lock_kind(number) {
                assert_eq!(lock_number(kind), number);
            }
            if let Some(mode) = class_mode(number) {
                assert_eq!(class_mode_number(mode), number);
            }
            if let Some(flags) = session_flags(number) {
                assert_eq!(flags_byte(flags), number);
            }
        }
        assert!((0..3).all(|mode| class_mode(mode).is_some()));
        assert_eq!(class_mode(3), None);
        assert!(acl_kind(1).is_some() && acl_kind(2).is_some());
    }
}
