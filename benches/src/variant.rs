//! Names of the variants of [`Op`]. One that is missing here does not compile.

use mfsha_core::namespace::op::Op;

macro_rules! variants {
    ($($variant:ident),* $(,)?) => {
        /// All of them, in the order of the type.
        pub const ALL: &[&str] = &[$(stringify!($variant)),*];

        /// Which one an operation is.
        #[must_use]
        pub fn of(op: &Op) -> &'static str {
            match op {
                $(Op::$variant { .. } => stringify!($variant),)*
            }
        }
    };
}

variants![
    OpenSession,
    UpdateSession,
    SetSessionConnected,
    CloseSession,
    SetOpenFiles,
    Create,
    Mkdir,
    Symlink,
    Link,
    Unlink,
    Rmdir,
    Rename,
    SetAttr,
    TouchAtime,
    SetTimes,
    SetXattr,
    SetAcl,
    Open,
    Truncate,
    TruncateEnd,
    WriteChunk,
    WriteChunkEnd,
    RollbackChunk,
    SetChunkVersion,
    SettleChunk,
    UnlockChunk,
    RepairChunk,
    ForgetChunk,
    AppendSlice,
    Flock,
    PosixLock,
    SetTrashTime,
    SetSclass,
    SetEattr,
    SetArchived,
    SetQuota,
    SetTrashPath,
    Undelete,
    PurgeTrash,
    Sweep,
    Snapshot,
    RemoveSnapshot,
    CreateClass,
    ChangeClass,
    DeleteClass,
    DuplicateClass,
    RenameClass,
    RegisterChunkserver,
    ForgetChunkserver,
    SetMaintenance,
    ExpireSession,
    ArchiveAged,
    PassChunkIds,
    PassVersions,
    ForgetPassedVersions,
];
