//! Opens log and state, on the node's own thread: replaying a long log takes its time.

use std::cell::Cell;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Instant;

use mfsha_core::disk::DiskError;
use mfsha_core::id::GroupId;
use mfsha_core::node::{self, Node, OpenError};
use mfsha_core::transport::Identity;
use mfsha_core::wal::{Recovery, Wal};
use tracing::{info, warn};

use super::SharedDir;
use super::neighbours::Surroundings;
use super::starting::{random_seed, random_u64};
use crate::cli::exit;
use crate::config::Settings;
use crate::disk::{self, FileDisk, FlushDone};
use crate::driver::{Clock, NodeHandle, Refused};
use crate::store::{self, Found, LmdbStore, StoreOptions};

/// The one group there is.
const GROUP: GroupId = GroupId(1);

pub(super) struct Opening {
    pub(super) settings: Settings,
    pub(super) identity: Identity,
    pub(super) directory: SharedDir,
    pub(super) surroundings: Arc<Surroundings>,
}

impl Opening {
    pub(super) fn open(
        self,
        handle: &NodeHandle,
        clock: &Clock,
    ) -> Result<Node<FileDisk, LmdbStore>, Refused> {
        let system = |reason: String| Refused {
            reason,
            code: exit::SYSTEM,
        };
        let began = Instant::now();
        let life = random_u64().map_err(system)?;
        let seed = random_seed().map_err(system)?;
        let options = self.settings.node_options(&self.identity, GROUP, life);
        // Each may take a second: the state is checked while the log is read.
        let (store, log) = std::thread::scope(|threads| {
            let state = threads.spawn(|| self.open_state(handle));
            let log = self.open_log(handle, &options);
            let store = state.join().unwrap_or_else(|panic| resume_unwind(panic));
            Ok::<_, Refused>((store?, log?))
        })?;
        let node = Node::over(options, log, store, seed, clock.now())
            .map_err(|error| refused_node(&error))?;
        info!(
            took_ms = began.elapsed().as_millis(),
            checkpoint = node.checkpointed().0,
            "log and state are open"
        );
        Ok(node)
    }

    fn open_log(
        &self,
        handle: &NodeHandle,
        options: &node::Options,
    ) -> Result<(Wal<FileDisk>, Recovery), Refused> {
        let log_path = self.directory.get().log_path();
        let capacity = Some(self.settings.log_bytes_max());
        let report = self.report_flushes(handle.clone());
        let disk = FileDisk::open(&log_path, capacity, report).map_err(|error| Refused {
            code: match error {
                disk::OpenError::Locked { .. } => exit::UNAVAILABLE,
                disk::OpenError::Io { .. } => exit::SYSTEM,
            },
            reason: error.to_string(),
        })?;
        Wal::open(disk, options.wal.clone(), options.life)
            .map_err(|error| refused_node(&OpenError::Log(error)))
    }

    /// The node hears of each flush; of the first with a file only when it is noted that from here
    /// on an empty log is a lost one. Nothing that rests on a flush leaves the node before it has
    /// heard. (The first of all is of an empty directory, and a node that waits for its cluster may
    /// die before there is another.)
    fn report_flushes(&self, handle: NodeHandle) -> impl Fn(FlushDone) + Send + use<> {
        let directory = self.directory.clone();
        let noted = Cell::new(false);
        move |done: FlushDone| {
            let mut result = done.result;
            if result.is_ok() && done.holds && !noted.get() {
                result = directory
                    .get()
                    .store_log_began()
                    .map_err(|error| DiskError::Io {
                        file: "identity".to_owned(),
                        reason: error.to_string(),
                    });
                noted.set(result.is_ok());
            }
            handle.flushed(done.flush, result);
        }
    }

    fn open_state(&self, handle: &NodeHandle) -> Result<LmdbStore, Refused> {
        let path = self.directory.get().state_path();
        let budget = usize::try_from(self.settings.memory_bytes_max()).unwrap_or(usize::MAX);
        let options = StoreOptions {
            memory_bytes_max: budget,
            ..StoreOptions::new(&path)
        };
        let report = handle.clone();
        let store = LmdbStore::open(options, move |done| {
            report.checkpointed(done.checkpoint, done.result);
        })
        .map_err(|error| Refused {
            code: match error {
                store::OpenError::Locked { .. } => exit::UNAVAILABLE,
                _ => exit::SYSTEM,
            },
            reason: error.to_string(),
        })?;
        match store.found() {
            Found::Nothing => info!("the state is new"),
            Found::Checkpoint { verified } => info!(verified, "the last checkpoint is there"),
            Found::Damaged { reason, kept } => warn!(
                kept = kept.as_ref().map(|path| path.display().to_string()),
                "the state is damaged and was set aside, to be healed from a peer: {reason}"
            ),
        }
        self.surroundings.set_store(store.stats());
        Ok(store)
    }
}

fn refused_node(error: &OpenError) -> Refused {
    Refused {
        code: match error {
            OpenError::MustBeReplaced { .. } => exit::DATA,
            OpenError::Log(_) | OpenError::State(_) => exit::SYSTEM,
        },
        reason: error.to_string(),
    }
}
