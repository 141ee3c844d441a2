//! `mfsha --import-metadata FILE`: what a stopped `mfsmaster` left becomes a node's first state.
//!
//! ```text
//! DATA_PATH/import/scratch/   the file's records, sorted
//! DATA_PATH/import/state/     the state that is made of them; becomes DATA_PATH/state/ at the end
//! ```
//!
//! The state moves into its place whole, when it is durable; whatever ends an import before leaves a
//! node without a state, which the same command line begins anew. Nothing is imported into a data
//! directory that is of a cluster.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use mfsha_core::namespace::{self, ImportError, ImportProgress, Imported};
use mfsha_core::node::note_of_founder;
use mfsha_core::store::{StateStore, StoreError};
use mfsha_core::time::WallTime;
use tracing::info;

use crate::cli::exit;
use crate::data_dir::DataDir;
use crate::metadata::FileSource;
use crate::progress::Progress;
use crate::store::{CheckpointDone, LmdbStore, OpenError, StoreOptions};

/// Directory of an import that goes on, in the data directory.
const DIRECTORY: &str = "import";

/// Why nothing was imported.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The file cannot be opened.
    #[error("{}: {source}; name the metadata.mfs of an mfsmaster that was stopped", .file.display())]
    Unopened {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file does not become a state.
    #[error("{}: {error}", .file.display())]
    Unfit {
        /// The file.
        file: PathBuf,
        /// Why.
        error: ImportError,
    },
    /// A place for the state cannot be made.
    #[error("{0}")]
    Place(#[from] OpenError),
    /// The system refused.
    #[error("cannot {action} {}: {source}; {}", .path.display(), crate::advice::advice(.source))]
    Io {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The state cannot be made durable.
    #[error("the imported state cannot be kept: {0}")]
    Unkept(StoreError),
}

impl Refused {
    /// What the process exits with.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Unfit {
                error: ImportError::Store(_),
                ..
            }
            | Self::Unopened { .. }
            | Self::Place(_)
            | Self::Io { .. }
            | Self::Unkept(_) => exit::SYSTEM,
            Self::Unfit { .. } => exit::DATA,
        }
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Refused {
    let path = path.to_owned();
    move |source| Refused::Io {
        action,
        path,
        source,
    }
}

/// What an import left that was not gone on with, in a data directory of no cluster.
#[must_use]
pub fn left_in(directory: &DataDir) -> Option<PathBuf> {
    let own = directory.path().join(DIRECTORY);
    let state = directory.state_path();
    let holds = fs::read_dir(&state).is_ok_and(|mut names| names.next().is_some());
    match (own.exists(), holds) {
        (true, _) => Some(own),
        (false, true) => Some(state),
        (false, false) => None,
    }
}

/// Makes a file the state of a data directory of no cluster, in place of what an earlier import
/// left there. `alive` is called now and then.
///
/// # Errors
/// [`Refused`]; then there is no state.
pub fn import(directory: &DataDir, file: &Path, alive: &mut dyn FnMut()) -> Result<(), Refused> {
    let opened = File::open(file).and_then(|opened| Ok((opened.metadata()?.len(), opened)));
    let (length, opened) = opened.map_err(|source| Refused::Unopened {
        file: file.to_owned(),
        source,
    })?;
    let own = directory.path().join(DIRECTORY);
    let began = Instant::now();
    remove(&own)?;
    make_directory(&own)?;
    // What an import left that was cut short behind its end.
    remove(&directory.state_path())?;
    make_directory(&directory.state_path())?;
    let made = make(directory, file, (opened, length), &own, alive);
    let imported = match made {
        Ok(imported) => imported,
        Err(refused) => {
            // Why it was refused is what matters.
            let _ = remove(&own);
            return Err(refused);
        }
    };
    let state = directory.state_path();
    let new = own.join("state");
    // An empty directory is replaced by another one at once.
    fs::rename(&new, &state).map_err(failed("move to the data directory", &new))?;
    sync(directory.path())?;
    remove(&own)?;
    let took_ms = began.elapsed().as_millis();
    let Imported {
        version,
        metaid,
        inodes,
        chunks,
        sessions,
        ..
    } = imported;
    let metaid = format!("{metaid:016X}");
    info!(
        file = %file.display(),
        version, metaid, inodes, chunks, sessions, took_ms, "imported"
    );
    Ok(())
}

fn make(
    directory: &DataDir,
    file: &Path,
    (opened, length): (File, u64),
    own: &Path,
    alive: &mut dyn FnMut(),
) -> Result<Imported, Refused> {
    let scratch_path = own.join("scratch");
    let state_path = own.join("state");
    for path in [&scratch_path, &state_path] {
        make_directory(path)?;
    }
    let options = |path: &Path| StoreOptions::new(path);
    let mut scratch = LmdbStore::open(options(&scratch_path), |_| {})?;
    let (report, reports) = mpsc::channel();
    let mut state = LmdbStore::open(options(&state_path), move |done: CheckpointDone| {
        // Nobody waits any more when the import has failed.
        let _ = report.send(done);
    })?;
    let mut progress = Progress::new("reading");
    let node = directory.identity().node;
    let imported = namespace::import(
        FileSource::new(opened),
        &mut scratch,
        &mut state,
        wall_time(),
        |index| note_of_founder(node, index),
        &mut |step| {
            let shown = match step {
                ImportProgress::Read(bytes) => progress.note(bytes, length),
                ImportProgress::Placed(names, all) => {
                    progress.now("making the tree");
                    progress.note(names, all)
                }
            };
            if shown {
                alive();
            }
        },
    )
    .map_err(|error| Refused::Unfit {
        file: file.to_owned(),
        error,
    })?;
    drop(progress);
    drop(scratch);
    let checkpoint = state.start_checkpoint();
    let gone = || StoreError::Io {
        reason: "the thread that writes has ended".to_owned(),
    };
    loop {
        let done = reports.recv().map_err(|_| Refused::Unkept(gone()))?;
        if done.checkpoint == checkpoint {
            done.result.map_err(Refused::Unkept)?;
            break;
        }
    }
    drop(state);
    sync(&state_path)?;
    Ok(imported)
}

fn wall_time() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let seconds = since.map_or(0, |since| since.as_secs());
    WallTime(u32::try_from(seconds).unwrap_or(u32::MAX))
}

fn remove(path: &Path) -> Result<(), Refused> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(error)),
        _ => Ok(()),
    }
}

fn make_directory(path: &Path) -> Result<(), Refused> {
    let made = DirBuilder::new().mode(0o700).create(path);
    made.map_err(failed("make directory", path))
}

fn sync(path: &Path) -> Result<(), Refused> {
    let flushed = File::open(path).and_then(|directory| directory.sync_all());
    flushed.map_err(failed("flush directory", path))
}

#[cfg(test)]
mod tests;
