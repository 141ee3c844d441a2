//! Chunkservers of MooseFS, over sockets: one task owns the machine that decides everything
//! ([`mfsha_core::chunkservers`]), each connection has a task that reads and one that writes.

mod pump;

use mfsha_core::chunks::{ConnId, Order};
use mfsha_core::chunkservers::{Chunkservers, Event, Options};
use mfsha_core::native::request::{ClientId, Response};
use mfsha_core::rng::Seed;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::mpsc;

use crate::driver::{Clock, NodeHandle};
use crate::room::Port;

/// Connections of this face have numbers from here on, those of mounts are above and those of
/// native clients below.
const FIRST_CONN: u64 = 1 << 62;
const LAST_CONN: u64 = (1 << 63) - 1;

/// Whether a client of the node is a connection of this face.
#[must_use]
pub fn is_ours(client: ClientId) -> bool {
    (FIRST_CONN..=LAST_CONN).contains(&client.0)
}

/// The way to the task that owns the machine. What is told after its end is lost.
#[derive(Clone, Debug)]
pub struct Handle {
    events: mpsc::UnboundedSender<Event>,
}

impl Handle {
    fn tell(&self, event: Event) {
        // The task ends with the process.
        let _ = self.events.send(event);
    }

    /// The node answers what was asked of it, once.
    pub fn answered(&self, client: ClientId, response: Response) {
        self.tell(Event::Answered { client, response });
    }

    /// A chunkserver has to do something. Who orders this bounds how much of it is under way.
    pub fn order(&self, conn: ConnId, order: Order) {
        self.tell(Event::Order { conn, order });
    }

    /// A connection is of no use any more.
    pub fn unseat(&self, conn: ConnId, reason: String) {
        self.tell(Event::Unseat { conn, reason });
    }
}

/// The way in, and what it leads to once the node is there.
pub struct Face {
    handle: Handle,
    inbox: mpsc::UnboundedReceiver<Event>,
    port: Port,
    seed: Seed,
}

impl Face {
    /// A face that listens and serves nobody yet. The seed makes challenges for the secret.
    #[must_use]
    pub(crate) fn new(port: Port, seed: Seed) -> Self {
        let (events, inbox) = mpsc::unbounded_channel();
        Self {
            handle: Handle { events },
            inbox,
            port,
            seed,
        }
    }

    /// The way to the task.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Serves until the process ends; `count` is how many chunkservers are registered.
    pub async fn serve(self, options: Options, node: NodeHandle, clock: Clock, count: Gauge) {
        let Self {
            inbox, port, seed, ..
        } = self;
        crate::panics::plant("chunkservers");
        let machine = Chunkservers::new(options, &seed);
        pump::Pump::new(machine, node, clock, count, port)
            .run(inbox)
            .await;
    }
}
