//! The data directory of a node: who may use it, what it is, and whose it is.
//!
//! ```text
//! DATA_PATH/lock       held by the process that runs; its number in decimal
//! DATA_PATH/identity   format, notes and identity: three sealed records
//! DATA_PATH/log/       the write-ahead log
//! DATA_PATH/state/     the state
//! ```
//!
//! The identity is replaced as a whole: another file is written and flushed, takes its place, and
//! the directory is flushed. It has no second copy: which of two is the newer one would be a
//! question at every start, and an old one has forgotten a promise. A damaged one is refused.
//!
//! What is in `log/` and `state/` is not known here, but whether there is anything.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use mfsha_core::codec::{self, DecodeError};
use mfsha_core::id::NodeId;
use mfsha_core::transport::{DiskId, Identity};
use serde::{Deserialize, Serialize};

use crate::advice::advice;
use crate::cli::exit;
use crate::lock::{Lock, LockError};

/// Version of the layout of a data directory that this program makes, and the newest it reads.
pub const FORMAT_VERSION: u32 = 6;
/// The oldest it reads. Requests of format 1 were written without a fingerprint, chunks of format 2
/// without what chunkservers have not been told: read as of format 3 they would be something else.
/// Format 3 differs in the notes alone. A state of format 4 has no number that it was imported with,
/// and a program of that time would serve one that has by another. A log of format 5 never says
/// that versions which were passed over are forgotten.
pub const FORMAT_OLDEST: u32 = 3;

const LOCK_FILE: &str = "lock";
const IDENTITY_FILE: &str = "identity";
const IDENTITY_NEW_FILE: &str = "identity.new";
const LOG_DIRECTORY: &str = "log";
/// Directory of the state, in the data directory.
pub const STATE_DIRECTORY: &str = "state";
/// What may lie in a directory that is to become a data directory: what an earlier start that was
/// cut short left behind, and what file systems put into their root.
const HARMLESS: [&str; 5] = [
    LOCK_FILE,
    IDENTITY_NEW_FILE,
    LOG_DIRECTORY,
    STATE_DIRECTORY,
    "lost+found",
];

/// Kind of the record that says which format the directory has. It is read by every version there
/// will ever be, so it never changes.
const FORMAT_KIND: u16 = 0x6d66; // "fm"
const NOTES_KIND: u16 = 0x746e; // "nt"
const RECORD_VERSION: u16 = 1;
/// The first version had [`Notes::log_began`] alone.
const NOTES_VERSION: u16 = 2;
/// No identity file is longer, bytes: every peer with its longest address, and more.
const IDENTITY_FILE_BYTES_MAX: u64 = 1 << 20;
/// Bytes of the lock file: a number of a process, padded, so that it is overwritten in place.
const LOCK_FILE_BYTES: usize = 16;

#[derive(Serialize, Deserialize)]
struct Format {
    version: u32,
    /// Name and version of the program.
    written_by: String,
}

/// What the directory remembers beside the identity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Notes {
    /// The log has held something: from then on an empty one is a lost one.
    log_began: bool,
    /// The node joined a cluster, and has been a voter of it: from then on it never asks again.
    admitted: bool,
}

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// The directory above it is missing: perhaps a disk is not mounted.
    #[error(
        "{} cannot be made: {} does not exist; mount the disk, or make that directory, or set \
         DATA_PATH to another one", .path.display(), .parent.display()
    )]
    NoParent {
        /// The data directory.
        path: PathBuf,
        /// The one above it.
        parent: PathBuf,
    },
    /// A file or something else.
    #[error("{} is not a directory; set DATA_PATH to one", .path.display())]
    NotADirectory {
        /// What was given.
        path: PathBuf,
    },
    /// Another process has it.
    #[error(
        "{} is in use by {}; a data directory belongs to one process: stop that one, or set \
         DATA_PATH to another directory", .path.display(), holder(.process)
    )]
    Locked {
        /// The data directory.
        path: PathBuf,
        /// Number of the process, when it could be read.
        process: Option<u32>,
    },
    /// Not empty, and never a data directory.
    #[error(
        "{} holds {found} and is no data directory of mfsha; set DATA_PATH to an empty directory, \
         or to one that does not exist", .path.display()
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// A few names in it.
        found: String,
    },
    /// A log or a state without an identity.
    #[error(
        "{} is missing, but {} holds files: nobody knows whose they are; if the file cannot be \
         brought back as it was, empty {} and join the cluster under a node id that was never used",
        .missing.display(), .holds.display(), .path.display()
    )]
    IdentityLost {
        /// The data directory.
        path: PathBuf,
        /// The identity file.
        missing: PathBuf,
        /// The directory that is not empty.
        holds: PathBuf,
    },
    /// An identity whose log is gone: what the node has promised is forgotten.
    #[error(
        "{} is empty, but the log of this node had begun: its votes and entries are lost, and it \
         must not come back under its id; empty {} and join the cluster under a node id that was \
         never used", .log.display(), .path.display()
    )]
    LogLost {
        /// The data directory.
        path: PathBuf,
        /// The directory of the log.
        log: PathBuf,
    },
    /// Made by an older program, in a format that is not read any more.
    #[error(
        "{} has format {found}, written by {written_by}; this is {}, which reads {FORMAT_OLDEST} to \
         {FORMAT_VERSION}: start the program that wrote it, on all nodes; it was not changed",
        .path.display(), program()
    )]
    Older {
        /// The data directory.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The program that wrote it.
        written_by: String,
    },
    /// Made by a newer program.
    #[error(
        "{} has format {found}, written by {written_by}; this is {}, which reads up to \
         {FORMAT_VERSION}: start that version or a newer one", .path.display(), program()
    )]
    Newer {
        /// The data directory.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The program that wrote it.
        written_by: String,
    },
    /// The identity cannot be read: damaged, or none.
    #[error(
        "{} is damaged: {reason}; bring it back exactly as it was, or empty the data directory and \
         join the cluster under a node id that was never used", .file.display()
    )]
    Damaged {
        /// The identity file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A new directory, and no id for it.
    #[error(
        "{} is new and the node has no id; give it one that was never used, with --node-id or \
         MFSHA_NODE_ID", .path.display()
    )]
    NoNode {
        /// The data directory.
        path: PathBuf,
    },
    /// It belongs to another node.
    #[error(
        "{} belongs to node {}, but MFSHA_NODE_ID is {}; a directory keeps its node: correct the \
         id, or set DATA_PATH to this node's own directory", .path.display(), .owner.0, .given.0
    )]
    OtherNode {
        /// The data directory.
        path: PathBuf,
        /// Whose it is.
        owner: NodeId,
        /// Who asked.
        given: NodeId,
    },
    /// What is to be stored contradicts what is: a bug in the program.
    #[error("{} may not change: {what}; this is a bug", .file.display())]
    Rewritten {
        /// The identity file.
        file: PathBuf,
        /// What would have changed.
        what: &'static str,
    },
    /// The system refused.
    #[error("cannot {action} {}: {source}; {}", .path.display(), advice(.source))]
    Io {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

fn holder(process: &Option<u32>) -> String {
    match process {
        Some(process) => format!("process {process}"),
        None => "another process".into(),
    }
}

/// Name and version of this program.
fn program() -> &'static str {
    concat!("mfsha ", env!("CARGO_PKG_VERSION"))
}

impl DataDirError {
    /// The exit code of a start that ends with it.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NoParent { .. }
            | Self::NotADirectory { .. }
            | Self::NoNode { .. }
            | Self::OtherNode { .. }
            | Self::Foreign { .. } => exit::USAGE,
            Self::IdentityLost { .. }
            | Self::LogLost { .. }
            | Self::Older { .. }
            | Self::Newer { .. }
            | Self::Damaged { .. } => exit::DATA,
            Self::Locked { .. } => exit::UNAVAILABLE,
            Self::Rewritten { .. } => exit::BUG,
            Self::Io { .. } => exit::SYSTEM,
        }
    }
}

fn refused(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DataDirError {
    let path = path.to_owned();
    move |source| DataDirError::Io {
        action,
        path,
        source,
    }
}

/// A data directory in use by this process, until it is dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    identity: Identity,
    notes: Notes,
    /// A flush of the directory failed. The kernel reports that once: a later one would succeed
    /// without the change.
    unsure: bool,
    _lock: Lock,
}

impl DataDir {
    /// Opens a data directory, or makes it one. A new one needs its node. Reads and writes files:
    /// not for a thread that may not wait.
    ///
    /// # Errors
    /// [`DataDirError`]; nothing but an empty directory and its lock was made.
    pub fn open(path: &Path, node: Option<NodeId>) -> Result<Self, DataDirError> {
        make_directory(path)?;
        let lock = lock(path)?;
        let file = path.join(IDENTITY_FILE);
        let found = match read_bounded(&file) {
            Ok(bytes) => Some(parse(path, &bytes)?),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(refused("read", &file)(error)),
        };
        let known = found.is_some();
        let (identity, notes) = match found {
            Some(found) => found,
            None => (new_identity(path, node)?, Notes::default()),
        };
        let mut directory = Self {
            path: path.to_owned(),
            identity,
            notes,
            unsure: false,
            _lock: lock,
        };
        check_owner(path, directory.identity.node, node)?;
        directory.make_subdirectories()?;
        if directory.notes.log_began && is_empty(&directory.log_path())? {
            return Err(DataDirError::LogLost {
                path: path.to_owned(),
                log: directory.log_path(),
            });
        }
        if !known {
            directory.write()?;
        }
        Ok(directory)
    }

    /// Whose a directory is that no process has to have: its node when it has one, else the one
    /// that is given. Writes nothing, and takes no lock.
    ///
    /// # Errors
    /// [`DataDirError::OtherNode`], [`DataDirError::NoNode`], and what its `identity` is wrong in.
    pub fn owner(path: &Path, given: Option<NodeId>) -> Result<NodeId, DataDirError> {
        let file = path.join(IDENTITY_FILE);
        let owner = match read_bounded(&file) {
            Ok(bytes) => parse(path, &bytes)?.0.node,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let path = path.to_owned();
                return given.ok_or(DataDirError::NoNode { path });
            }
            Err(error) => return Err(refused("read", &file)(error)),
        };
        check_owner(path, owner, given)?;
        Ok(owner)
    }

    fn make_subdirectories(&self) -> Result<(), DataDirError> {
        for path in [self.log_path(), self.state_path()] {
            match new_directory(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    if !path.is_dir() {
                        return Err(DataDirError::NotADirectory { path });
                    }
                }
                Err(error) => return Err(refused("make directory", &path)(error)),
            }
        }
        sync_directory(&self.path).map_err(refused("flush directory", &self.path))
    }

    /// Who this node is, as it was stored last.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory of the write-ahead log; it exists.
    #[must_use]
    pub fn log_path(&self) -> PathBuf {
        self.path.join(LOG_DIRECTORY)
    }

    /// The directory of the state; it exists.
    #[must_use]
    pub fn state_path(&self) -> PathBuf {
        self.path.join(STATE_DIRECTORY)
    }

    /// Makes an identity durable in the place of the one before. Waits for the disk: not for a
    /// thread that may not.
    ///
    /// # Errors
    /// [`DataDirError::Rewritten`] when it is of another node, disk or cluster, or takes a pledge
    /// back. [`DataDirError::Io`]: the one before still holds, or (when the flush of the directory
    /// failed) either of them does, and this process stores no other.
    pub fn store(&mut self, identity: &Identity) -> Result<(), DataDirError> {
        self.check_change(identity)?;
        let before = std::mem::replace(&mut self.identity, identity.clone());
        let result = self.write();
        if result.is_err() {
            self.identity = before;
        }
        result
    }

    fn check_change(&self, new: &Identity) -> Result<(), DataDirError> {
        let old = &self.identity;
        let what = match () {
            () if new.validate().is_err() => "it contradicts itself",
            () if new.node != old.node => "the node",
            () if new.disk != old.disk => "the disk",
            () if old.is_formed() && new.standing != old.standing => "the cluster",
            () if old.standing.founders().is_some() && new.standing.founders().is_none() => {
                "the pledge to a cluster"
            }
            () if new.incarnation < old.incarnation => "the number of starts, backwards",
            () => return Ok(()),
        };
        let file = self.path.join(IDENTITY_FILE);
        Err(DataDirError::Rewritten { file, what })
    }

    /// Notes that the log holds something: an empty one is a lost one from the next start on. To
    /// be called when the first flush of the log with a file in it has ended, before anything
    /// leaves the node that rests on that flush, and at each start whose log is not empty. Costs
    /// nothing once it is noted.
    ///
    /// # Errors
    /// [`DataDirError::Io`], as for [`Self::store`].
    pub fn store_log_began(&mut self) -> Result<(), DataDirError> {
        self.store_notes(Notes {
            log_began: true,
            ..self.notes
        })
    }

    /// Whether a node that joined has been a voter ([`Self::store_admitted`]).
    #[must_use]
    pub fn is_admitted(&self) -> bool {
        self.notes.admitted
    }

    /// Notes that this node, which joined a cluster, is a voter of it now. It asks at no later
    /// start: who finds itself no voter then was taken out. Costs nothing once it is noted.
    ///
    /// # Errors
    /// [`DataDirError::Io`], as for [`Self::store`].
    pub fn store_admitted(&mut self) -> Result<(), DataDirError> {
        self.store_notes(Notes {
            admitted: true,
            ..self.notes
        })
    }

    fn store_notes(&mut self, notes: Notes) -> Result<(), DataDirError> {
        if notes == self.notes {
            return Ok(());
        }
        let before = std::mem::replace(&mut self.notes, notes);
        let result = self.write();
        if result.is_err() {
            self.notes = before;
        }
        result
    }

    fn write(&mut self) -> Result<(), DataDirError> {
        let (new, file) = (
            self.path.join(IDENTITY_NEW_FILE),
            self.path.join(IDENTITY_FILE),
        );
        if self.unsure {
            let error = io::Error::other("an earlier flush of the directory failed");
            return Err(refused("store", &file)(error));
        }
        let bytes = compose(&self.identity, self.notes);
        if let Err(error) = write_flushed(&new, &bytes) {
            // Half a file must not keep the space that is missing.
            let _ = fs::remove_file(&new);
            return Err(refused("write", &new)(error));
        }
        fs::rename(&new, &file).map_err(refused("rename to the identity file", &new))?;
        sync_directory(&self.path).map_err(|error| {
            self.unsure = true;
            refused("flush directory", &self.path)(error)
        })
    }
}

fn new_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

/// Makes the data directory when it is missing; its name is durable.
fn make_directory(path: &Path) -> Result<(), DataDirError> {
    let path_owned = || path.to_owned();
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => return Ok(()),
        Ok(_) => return Err(DataDirError::NotADirectory { path: path_owned() }),
        Err(error) if error.kind() == ErrorKind::NotADirectory => {
            return Err(DataDirError::NotADirectory { path: path_owned() });
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(refused("look at", path)(error)),
    }
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    match new_directory(path) {
        Ok(()) => sync_directory(parent).map_err(refused("flush directory", parent)),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(DataDirError::NoParent {
            path: path_owned(),
            parent: parent.to_owned(),
        }),
        Err(error) => Err(refused("make directory", path)(error)),
    }
}

fn lock(path: &Path) -> Result<Lock, DataDirError> {
    let lock_path = path.join(LOCK_FILE);
    let lock = Lock::take(&lock_path).map_err(|error| match error {
        LockError::Held(file) => DataDirError::Locked {
            path: path.to_owned(),
            process: holder_of(&file),
        },
        LockError::Refused(action, error) => refused(action, &lock_path)(error),
    })?;
    // The number helps whoever is refused; a full disk is no reason to refuse this process.
    let number = format!("{:<1$}", std::process::id(), LOCK_FILE_BYTES - 1) + "\n";
    let _ = lock.file().write_all_at(number.as_bytes(), 0);
    Ok(lock)
}

fn holder_of(file: &File) -> Option<u32> {
    let mut bytes = [0; LOCK_FILE_BYTES];
    let length = file.read_at(&mut bytes, 0).ok()?;
    let text = std::str::from_utf8(&bytes[..length]).ok()?;
    text.trim().parse().ok()
}

fn read_bounded(file: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let open = File::open(file)?;
    open.take(IDENTITY_FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn check_owner(path: &Path, owner: NodeId, given: Option<NodeId>) -> Result<(), DataDirError> {
    match given.filter(|given| *given != owner) {
        Some(given) => Err(DataDirError::OtherNode {
            path: path.to_owned(),
            owner,
            given,
        }),
        None => Ok(()),
    }
}

/// The identity for a directory that has none, after a look at whether it may get one.
fn new_identity(path: &Path, node: Option<NodeId>) -> Result<Identity, DataDirError> {
    for name in [LOG_DIRECTORY, STATE_DIRECTORY] {
        let holds = path.join(name);
        if holds.is_dir() && !is_empty(&holds)? {
            return Err(DataDirError::IdentityLost {
                path: path.to_owned(),
                missing: path.join(IDENTITY_FILE),
                holds,
            });
        }
    }
    let mut foreign = names(path)?;
    foreign.retain(|name| !HARMLESS.contains(&name.as_str()));
    if !foreign.is_empty() {
        foreign.truncate(3);
        let (path, found) = (path.to_owned(), foreign.join(", "));
        return Err(DataDirError::Foreign { path, found });
    }
    let Some(node) = node else {
        let path = path.to_owned();
        return Err(DataDirError::NoNode { path });
    };
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| {
        let error = io::Error::other(error.to_string());
        refused("draw a random name for", path)(error)
    })?;
    Ok(Identity::new(node, DiskId(u128::from_le_bytes(bytes))))
}

fn names(path: &Path) -> Result<Vec<String>, DataDirError> {
    let listed = || -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for found in fs::read_dir(path)? {
            names.push(found?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    };
    listed().map_err(refused("list directory", path))
}

/// Whether there is nothing but, perhaps, a lock.
fn is_empty(path: &Path) -> Result<bool, DataDirError> {
    Ok(names(path)?.iter().all(|name| name == LOCK_FILE))
}

fn compose(identity: &Identity, notes: Notes) -> Vec<u8> {
    let format = Format {
        version: FORMAT_VERSION,
        written_by: program().into(),
    };
    let mut bytes = codec::seal(FORMAT_KIND, RECORD_VERSION, &codec::encode(&format));
    let notes = codec::seal(NOTES_KIND, NOTES_VERSION, &codec::encode(&notes));
    bytes.extend(notes);
    bytes.extend(identity.to_bytes());
    bytes
}

fn parse(path: &Path, bytes: &[u8]) -> Result<(Identity, Notes), DataDirError> {
    let damaged = |reason: String| DataDirError::Damaged {
        file: path.join(IDENTITY_FILE),
        reason,
    };
    let wrong = |error: DecodeError| damaged(error.to_string());
    if bytes.len() as u64 > IDENTITY_FILE_BYTES_MAX {
        return Err(damaged(format!(
            "longer than {IDENTITY_FILE_BYTES_MAX} bytes"
        )));
    }
    let (format, used) = codec::unseal(FORMAT_KIND, RECORD_VERSION, bytes).map_err(wrong)?;
    let format: Format = codec::decode(format).map_err(wrong)?;
    if format.version > FORMAT_VERSION {
        return Err(DataDirError::Newer {
            path: path.to_owned(),
            found: format.version,
            written_by: printable(&format.written_by),
        });
    }
    if format.version < FORMAT_OLDEST {
        return Err(DataDirError::Older {
            path: path.to_owned(),
            found: format.version,
            written_by: printable(&format.written_by),
        });
    }
    let bytes = &bytes[used..];
    let (notes, used) = codec::unseal(NOTES_KIND, NOTES_VERSION, bytes).map_err(wrong)?;
    let notes = match format.version {
        3 => Notes {
            log_began: codec::decode(notes).map_err(wrong)?,
            // Unknown: it asks once more, as it did at every start.
            admitted: false,
        },
        _ => codec::decode(notes).map_err(wrong)?,
    };
    let identity = Identity::from_bytes(&bytes[used..]);
    let identity = identity.map_err(|error| damaged(error.to_string()))?;
    Ok((identity, notes))
}

fn printable(text: &str) -> String {
    let printable = text.chars().filter(|letter| !letter.is_control());
    printable.take(100).collect()
}

fn write_flushed(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(true).write(true).mode(0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests;
