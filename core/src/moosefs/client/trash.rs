//! The trash and sustained files, which mounts of the trash work on: what is asked and told.
#![expect(
    missing_docs,
    reason = "fields are named as on MooseFS's wire; docs/protocols/moosefs.md has the forms"
)]

use crate::id::InodeId;
use crate::moosefs::fields::{Blob, Name, packet};

packet! {
    /// What is in the trash.
    GetTrash {
        /// The lower twelve bits of the inodes; missing: all.
        bucket: Option<u32>,
    }
}

packet! {
    /// Files that are open and have no name.
    GetSustained {}
}

packet! {
    /// A file without a name.
    Detached {
        name: Name,
        inode: InodeId,
    }
}

packet! {
    /// Attributes of a file without a name.
    GetDetachedAttr {
        inode: InodeId,
        /// 0 whatever it is, 1 in the trash, 2 sustained.
        kind: Option<u8>,
    }
}

packet! {
    /// Where a file in the trash would go back to.
    SetTrashPath {
        inode: InodeId,
        /// NULs at its end are not part of it.
        path: Blob,
    }
}
