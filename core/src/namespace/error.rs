//! What a file-system operation can be refused with.

use serde::{Deserialize, Serialize};

/// A refusal: the request was understood and changed nothing, unless the operation says otherwise.
///
/// The names and meanings are those of MooseFS 3.0.117's status codes; the numbers live in the
/// wire codec alone.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    thiserror::Error,
)]
pub enum FsError {
    /// The operation is not permitted, whoever's permission bits say what.
    #[error("operation not permitted")]
    Perm,
    /// A directory was needed.
    #[error("not a directory")]
    NotDir,
    /// No such inode or name, or it is not visible to the session.
    #[error("no such file or directory")]
    NoEnt,
    /// Permission bits or ACL forbid it.
    #[error("permission denied")]
    Access,
    /// The name is taken.
    #[error("file exists")]
    Exist,
    /// The request makes no sense.
    #[error("invalid argument")]
    Invalid,
    /// The directory has entries.
    #[error("directory not empty")]
    NotEmpty,
    /// The chunk has no copy and none is to be expected.
    #[error("chunk lost")]
    ChunkLost,
    /// The chunk index is beyond what a file can have.
    #[error("index too big")]
    IndexTooBig,
    /// The chunk is locked by a writer; try again shortly.
    #[error("chunk locked")]
    Locked,
    /// There is no such chunk.
    #[error("no such chunk")]
    NoChunk,
    /// An operation on the chunk is running; try again shortly.
    #[error("chunk busy")]
    ChunkBusy,
    /// No space, no id, or no link is left.
    #[error("no space left")]
    NoSpace,
    /// The session may only read.
    #[error("read-only file system")]
    ReadOnly,
    /// A quota is exhausted.
    #[error("quota exceeded")]
    Quota,
    /// The session is not known.
    #[error("no such session")]
    BadSession,
    /// No such extended attribute or ACL.
    #[error("no such attribute")]
    NoAttr,
    /// Not supported.
    #[error("not supported")]
    NotSupported,
    /// A value or list is too large.
    #[error("result too large")]
    Range,
    /// The file is not open in this session.
    #[error("file not open")]
    NotOpened,
    /// A lock is held by someone else.
    #[error("resource temporarily unavailable")]
    Again,
    /// A waiting lock request was interrupted.
    #[error("interrupted")]
    Interrupted,
    /// As `NoEnt`, and the client must not remember that the name is missing.
    #[error("no such file or directory (not to be cached)")]
    NoEntNoCache,
    /// Needs a session with the admin flag.
    #[error("administrator's session needed")]
    NotAdmin,
    /// A storage class of this name exists.
    #[error("storage class exists")]
    ClassExists,
    /// No id is left for another storage class.
    #[error("too many storage classes")]
    ClassLimit,
    /// No storage class of this name or id.
    #[error("no such storage class")]
    NoClass,
    /// The storage class is used by files.
    #[error("storage class in use")]
    ClassInUse,
    /// A path to undelete to cannot be made.
    #[error("cannot create path")]
    CantCreatePath,
    /// The thing named is not there (administrative requests).
    #[error("not found")]
    NotFound,
    /// The thing named is in use (administrative requests).
    #[error("still active")]
    Active,
    /// A request older than the newest of its lane, whose outcome is no longer known, or one under
    /// the number of another. A client that keeps one request outstanding per lane, and numbers its
    /// requests itself, never sees this.
    #[error("request is older than the newest of its lane")]
    Stale,
}
