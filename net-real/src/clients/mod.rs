//! Native clients and operators: connections that carry sealed records (`docs/protocols/native.md`).
//!
//! Each connection reads and writes for itself, and may have a bounded number of requests under
//! way: its place is free again when the answer was written, so a client that does not read its
//! answers holds up nobody but itself.

mod connection;
mod desk;
mod export;
mod token;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use mfsha_core::native::ToClient;
use mfsha_core::native::request::{ClientId, Response};
use tokio::sync::{Semaphore, mpsc};

pub use connection::{ClientStream, serve};
pub use desk::{Desk, Neighbours, Phase};
pub use token::Token;

/// Requests of one connection that may be under way.
const CALLS_PER_CLIENT_MAX: usize = 1_024;
/// Requests of all connections that may be under way.
const CALLS_MAX: usize = 65_536;
/// Connections of clients at once.
pub(crate) const CLIENTS_MAX: usize = 10_000;

/// Who is connected, and how answers reach them.
#[derive(Clone, Default)]
pub struct Registry {
    shared: Arc<Shared>,
}

struct Shared {
    next: AtomicU64,
    outlets: Mutex<BTreeMap<ClientId, mpsc::UnboundedSender<ToClient>>>,
    calls: Arc<Semaphore>,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            next: AtomicU64::new(0),
            outlets: Mutex::default(),
            calls: Arc::new(Semaphore::new(CALLS_MAX)),
        }
    }
}

impl Registry {
    /// Takes a connection in; `None` when there are too many.
    pub(crate) fn enter(&self) -> Option<(ClientId, mpsc::UnboundedReceiver<ToClient>)> {
        let (outlet, answers) = mpsc::unbounded_channel();
        let mut outlets = self.outlets();
        if outlets.len() >= CLIENTS_MAX {
            return None;
        }
        let client = ClientId(self.shared.next.fetch_add(1, Ordering::Relaxed));
        outlets.insert(client, outlet);
        Some((client, answers))
    }

    pub(crate) fn leave(&self, client: ClientId) {
        self.outlets().remove(&client);
    }

    /// Hands an answer of the node to whoever asked, if it is still there. Never blocks for long:
    /// the number of answers that can wait is the number of requests under way.
    pub fn reply(&self, client: ClientId, response: Response) {
        if let Some(outlet) = self.outlets().get(&client) {
            // A connection that is ending hears nothing more.
            let _ = outlet.send(ToClient::Response(response));
        }
    }

    /// Connections now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.outlets().len()
    }

    /// Whether nobody is connected.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn outlets(
        &self,
    ) -> std::sync::MutexGuard<'_, BTreeMap<ClientId, mpsc::UnboundedSender<ToClient>>> {
        // A panic elsewhere leaves a map of whole entries.
        self.shared
            .outlets
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
