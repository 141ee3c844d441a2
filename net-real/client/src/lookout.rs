//! Looks round when a node is silent: a paused or cut-off leader says nothing, and soon another one
//! leads.
//!
//! Waiting for the silent one to the end of its time would cost every call that time. Asking
//! another node blindly would double the load of a leader that is only slow. So the others are
//! asked how they stand, which costs them next to nothing, and the silent one is left only for a
//! node that says of itself that it leads, in the newest term that anybody knows.

use std::time::Duration;

use mfsha_core::id::{NodeId, Term};
use mfsha_core::native::ToClient;
use mfsha_core::native::request::{NodeStatus, RequestBody, ResponseBody};
use tokio::time::{Instant, sleep, timeout};

use crate::address::Address;
use crate::backoff::Backoff;
use crate::book::Slot;
use crate::client::Core;
use crate::link::Ask;

/// Between two looks there is at most this: more than an election takes would be waited in vain.
const PAUSE_MAX: Duration = Duration::from_millis(400);

/// What a look round has found, shared by all calls of a client.
#[derive(Default)]
pub(crate) struct Lookout(tokio::sync::Mutex<Option<Found>>);

struct Found {
    at: Instant,
    leader: Option<(NodeId, Address)>,
}

impl Core {
    /// Ends when another node than the one at `slot` leads, and takes note of it. The one at `slot`
    /// is given some time first.
    pub async fn overtaken(&self, slot: &Slot) -> NodeId {
        let first = self.options.look_after;
        sleep(first).await;
        let mut waits = Backoff::new((first, PAUSE_MAX), self.stream_seed(), 0);
        loop {
            let found = self.look_round(slot).await;
            if let Some((leader, address)) = found
                && address != slot.address
            {
                self.book.see_leader(leader);
                return leader;
            }
            sleep(waits.next()).await;
        }
    }

    /// Who leads by its own word, as far as all but the one at `slot` know. Calls that want to know
    /// at the same time share one look.
    async fn look_round(&self, slot: &Slot) -> Option<(NodeId, Address)> {
        let began = Instant::now();
        let mut last = self.lookout.0.lock().await;
        if let Some(found) = &*last
            && found.at >= began
        {
            return found.leader.clone();
        }
        let mut newest = Term(0);
        let mut leader = None;
        for (_, other) in self.book.all() {
            if other.address == slot.address {
                continue;
            }
            // On the heap: every call of the client carries a look round.
            let Some(status) = Box::pin(self.status_of(&other)).await else {
                continue;
            };
            if status.leads && status.term >= newest {
                leader = Some((status.term, status.node, other.address.clone()));
            }
            newest = newest.max(status.term);
        }
        let leader = leader.filter(|(term, ..)| *term == newest);
        let leader = leader.map(|(_, node, address)| (node, address));
        *last = Some(Found {
            at: Instant::now(),
            leader: leader.clone(),
        });
        leader
    }

    async fn status_of(&self, slot: &Slot) -> Option<NodeStatus> {
        let ask = Ask::Node(RequestBody::Status);
        let asked = async {
            let (link, _) = self.book.link(slot).await.ok()?;
            link.call(&ask).await.ok()
        };
        match timeout(self.options.look_after, asked).await.ok()?? {
            ToClient::Response(response) => match response.result.ok()? {
                ResponseBody::Status(status) => Some(status),
                _ => None,
            },
            ToClient::Admin(_) => None,
        }
    }
}
