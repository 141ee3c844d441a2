//! The daemon's end of the transport: cheap, never blocking, callable from any thread.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mfsha_core::id::NodeId;
use mfsha_core::native::admin::PeerStatus;
use mfsha_core::transport::{Address, Class};
use tokio::sync::{mpsc, watch};

/// What the daemon asks of the transport's task.
#[derive(Debug)]
pub(super) enum Ask {
    Send {
        to: NodeId,
        class: Class,
        message: Vec<u8>,
    },
    Listed(BTreeSet<NodeId>),
    Learned(NodeId, Address),
    Placed(u32),
    Shutdown,
}

/// What the task shows to everybody.
#[derive(Clone, Debug, Default)]
pub(super) struct Shown {
    pub peers: BTreeMap<NodeId, PeerStatus>,
    pub addresses: BTreeMap<NodeId, Address>,
    pub waiting: Vec<String>,
    /// Messages dropped by the machine.
    pub dropped: u64,
}

pub(super) struct Shared {
    shown: Mutex<Shown>,
    /// Bytes of messages between `send` and the task.
    inbox_bytes: AtomicUsize,
    inbox_bytes_max: usize,
    /// Messages that `send` had no room for.
    overflows: AtomicU64,
}

impl Shared {
    pub fn new(inbox_bytes_max: usize) -> Self {
        Self {
            shown: Mutex::default(),
            inbox_bytes: AtomicUsize::new(0),
            inbox_bytes_max,
            overflows: AtomicU64::new(0),
        }
    }

    pub fn shown(&self) -> MutexGuard<'_, Shown> {
        // Values are replaced whole, so a panic elsewhere leaves a whole one behind.
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The task has taken a message out.
    pub fn on_taken(&self, bytes: usize) {
        self.inbox_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// The daemon's end of the transport. Dropping the last one ends the transport, too.
#[derive(Clone)]
pub struct Handle {
    pub(super) shared: Arc<Shared>,
    pub(super) asks: mpsc::UnboundedSender<Ask>,
    /// Closed when the transport's task has ended.
    pub(super) ended: watch::Receiver<()>,
}

impl Handle {
    /// Sends a message, which may be lost. Never blocks; a message that finds more than
    /// `TransportOptions::inbox_bytes_max` waiting is dropped and counted.
    pub fn send(&self, to: NodeId, class: Class, message: Vec<u8>) {
        let shared = &self.shared;
        let bytes = message.len();
        let waiting = shared.inbox_bytes.fetch_add(bytes, Ordering::Relaxed);
        let ask = Ask::Send { to, class, message };
        if waiting.saturating_add(bytes) > shared.inbox_bytes_max || self.asks.send(ask).is_err() {
            shared.inbox_bytes.fetch_sub(bytes, Ordering::Relaxed);
            shared.overflows.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The members of the cluster, as the log has them: they alone are dialed from here on.
    pub fn set_listed(&self, nodes: BTreeSet<NodeId>) {
        // A transport that has ended dials nobody.
        let _ = self.asks.send(Ask::Listed(nodes));
    }

    /// Somebody says where a node is now; tried beside what the node said itself.
    pub fn learn_address(&self, node: NodeId, address: Address) {
        // As above.
        let _ = self.asks.send(Ask::Learned(node, address));
    }

    /// How well this node is placed to lead, from here on: higher is better.
    pub fn set_priority(&self, priority: u32) {
        // As above.
        let _ = self.asks.send(Ask::Placed(priority));
    }

    /// Peers that are known, and whether there is a connection.
    #[must_use]
    pub fn status(&self) -> BTreeMap<NodeId, PeerStatus> {
        self.shared.shown().peers.clone()
    }

    /// Where this node and its peers are, as far as known.
    #[must_use]
    pub fn addresses(&self) -> BTreeMap<NodeId, Address> {
        self.shared.shown().addresses.clone()
    }

    /// What a node that is of no cluster yet waits for, a line each.
    #[must_use]
    pub fn waiting(&self) -> Vec<String> {
        self.shared.shown().waiting.clone()
    }

    /// Messages that were not sent: no connection, or no room.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.shared.shown().dropped + self.shared.overflows.load(Ordering::Relaxed)
    }

    /// Closes all connections and the port; resolves when that is done.
    pub async fn shutdown(mut self) {
        // One that has ended already is fine.
        let _ = self.asks.send(Ask::Shutdown);
        while self.ended.changed().await.is_ok() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_finds_too_much_waiting_is_dropped_and_counted_until_there_is_room() {
        let (asks, mut asked) = mpsc::unbounded_channel();
        let (_ending, ended) = watch::channel(());
        let shared = Arc::new(Shared::new(100));
        let handle = Handle {
            shared: Arc::clone(&shared),
            asks,
            ended,
        };
        let send = |bytes: usize| handle.send(NodeId(2), Class::Bulk, vec![0; bytes]);
        send(60);
        send(40);
        assert_eq!(handle.dropped(), 0);
        send(1);
        send(60);
        assert_eq!(handle.dropped(), 2);
        let mut taken = Vec::new();
        while let Ok(Ask::Send { message, .. }) = asked.try_recv() {
            taken.push(message.len());
        }
        assert_eq!(taken, [60, 40]);
        shared.on_taken(60);
        send(60);
        send(1);
        assert_eq!(handle.dropped(), 3);
        assert!(matches!(asked.try_recv(), Ok(Ask::Send { .. })));
        // One that has ended takes nothing.
        drop(asked);
        shared.on_taken(100);
        send(1);
        assert_eq!(handle.dropped(), 4);
    }
}
