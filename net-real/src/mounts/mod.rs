//! Mounts and tools of MooseFS, over sockets: one task owns the machine that decides everything
//! ([`mfsha_core::mounts`]), each connection has a task that reads and one that writes.
//!
//! Exports come from `mfsexports.cfg`, which is read here and not understood here.

mod accounts;
mod process;
mod pump;

use std::path::Path;
use std::time::Duration;

use mfsha_core::exports::Exports;
use mfsha_core::id::{LogIndex, SessionId};
use mfsha_core::mounts::Options;
use mfsha_core::namespace::op::Notice;
use mfsha_core::native::request::{ClientId, Response};
use mfsha_core::rng::Seed;
use tokio::sync::mpsc;

use crate::driver::{Clock, NodeHandle};
use crate::room::Port;

pub use pump::Work;

/// Connections of this face have numbers from here on; those of native clients are below.
const FIRST_CLIENT: u64 = 1 << 63;

/// Whether a client of the node is a connection of this face.
#[must_use]
pub fn is_ours(client: ClientId) -> bool {
    client.0 >= FIRST_CLIENT
}

/// The way to the task that owns the machine. What is told after its end is lost.
#[derive(Clone, Debug)]
pub struct Handle {
    work: mpsc::UnboundedSender<Work>,
}

impl Handle {
    fn tell(&self, work: Work) {
        // The task ends with the process.
        let _ = self.work.send(work);
    }

    /// The node answers what was asked of it. There are no more answers than questions, whose
    /// number is bounded.
    pub fn answered(&self, client: ClientId, response: Response) {
        self.tell(Work::Answered { client, response });
    }

    /// A command that was applied here has news.
    pub fn news(&self, index: LogIndex, by: Option<SessionId>, notices: Vec<Notice>) {
        self.tell(Work::News { index, by, notices });
    }

    /// The state was replaced by a peer's.
    pub fn state_replaced(&self) {
        self.tell(Work::StateReplaced);
    }

    /// Copies of chunks are at other chunkservers than before.
    pub fn copies_moved(&self) {
        self.tell(Work::CopiesMoved);
    }

    /// Space on chunkservers is another now, bytes.
    pub fn space(&self, total: u64, free: u64) {
        self.tell(Work::Space { total, free });
    }

    /// The state was stored whole, or could not be.
    pub fn stored(&self, took: Duration, good: bool) {
        self.tell(Work::Stored { took, good });
    }

    /// The exports were read again.
    pub fn exports(&self, exports: Exports) {
        self.tell(Work::Exports(exports));
    }
}

/// The way in, and what it leads to once the node is there.
pub struct Face {
    handle: Handle,
    inbox: mpsc::UnboundedReceiver<Work>,
    port: Port,
    exports: Exports,
    seed: Seed,
}

impl Face {
    /// A face that listens and serves nobody yet. The seed makes challenges for passwords.
    #[must_use]
    pub(crate) fn new(port: Port, exports: Exports, seed: Seed) -> Self {
        let (work, inbox) = mpsc::unbounded_channel();
        Self {
            handle: Handle { work },
            inbox,
            port,
            exports,
            seed,
        }
    }

    /// The way to the task.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Serves until the process ends.
    pub async fn serve(self, options: Options, node: NodeHandle, clock: Clock) {
        let Self {
            inbox,
            port,
            exports,
            seed,
            ..
        } = self;
        crate::panics::plant("mounts");
        let machine = mfsha_core::mounts::Mounts::new(options, exports, &seed);
        pump::Pump::new(machine, node, clock, port).run(inbox).await;
    }
}

/// Reads `mfsexports.cfg`; suspicious lines come beside the exports, as sentences.
///
/// # Errors
/// Why it cannot be used, with every line that is wrong, and what to do.
pub fn read_exports(path: &Path) -> Result<(Exports, Vec<String>), String> {
    let bytes = std::fs::read(path).map_err(|error| {
        format!(
            "{} cannot be read: {error}; it says who may mount what, for example `* / \
             rw,alldirs,admin,maproot=0:0`",
            path.display()
        )
    })?;
    let shown = path.display();
    let (exports, faults) = Exports::parse(&bytes, &accounts::System)
        .map_err(|error| format!("{shown} cannot be used:\n{error}"))?;
    let warnings = faults.iter().map(|fault| format!("{shown}: {fault}"));
    Ok((exports, warnings.collect()))
}
