//! Attributes of nodes.

use mfsha_core::namespace::op::{Acl, AclKind, Op, SetAttr, XattrMode};
use mfsha_core::time::WallTime;

use crate::case::Case;

/// What is timed of them.
pub fn cases() -> Vec<Case> {
    vec![
        Case::new("setattr", |stage| Op::SetAttr {
            caller: stage.world.root(),
            inode: stage.file(),
            opened: false,
            set: SetAttr {
                mode: Some(0o600),
                uid: Some(5),
                ..SetAttr::default()
            },
        }),
        Case::new("touch atime", |stage| Op::TouchAtime {
            inode: stage.file(),
        }),
        Case::new("set times", |stage| Op::SetTimes {
            session: stage.world.session,
            times: vec![(stage.file(), WallTime(2_000_000), WallTime(2_000_000))],
        }),
        Case::new("setxattr", |stage| Op::SetXattr {
            caller: stage.world.root(),
            inode: stage.file(),
            opened: false,
            name: b"user.name".to_vec(),
            value: vec![7; 64],
            mode: XattrMode::CreateOrReplace,
        }),
        Case::new("setfacl", |stage| Op::SetAcl {
            caller: stage.world.root(),
            inode: stage.file(),
            kind: AclKind::Access,
            acl: Acl {
                user: 7,
                group: 5,
                other: 0,
                mask: 7,
                named_users: vec![(5, 7)],
                named_groups: Vec::new(),
            },
        }),
    ]
}
