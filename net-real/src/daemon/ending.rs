//! Handing leadership over before the process ends, so that nobody waits for an election.

use std::time::Duration;

use mfsha_core::id::NodeId;
use mfsha_core::native::request::{CallId, Request, RequestBody};
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use crate::clients::{Desk, Registry};
use crate::driver::Inspection;

/// Longer than an election takes; after that the others elect by themselves.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often it is looked at whether leadership has moved.
const LOOK: Duration = Duration::from_millis(20);

/// Hands leadership to the voter that has most of the log, when this node leads.
pub(super) async fn hand_over(desk: &Desk, registry: &Registry) {
    let end = Instant::now() + PATIENCE;
    let mut asked = None;
    while Instant::now() < end {
        let Ok(inspection) = desk.inspect().await else {
            return;
        };
        if !inspection.status.leads {
            if let Some(to) = asked {
                info!(to, "leadership is handed over");
            }
            return;
        }
        if asked.is_none() {
            let Some(to) = successor(desk.node(), &inspection) else {
                return;
            };
            ask(desk, registry, to);
            asked = Some(to.0);
        }
        sleep(LOOK).await;
    }
    warn!("leadership could not be handed over in time; the others elect by themselves");
}

/// The voter that has most of the log.
fn successor(own: NodeId, inspection: &Inspection) -> Option<NodeId> {
    let raft = inspection.raft.as_ref()?;
    let voters = inspection.status.membership.voters.last()?;
    let others = voters.iter().filter(|voter| **voter != own);
    others
        .copied()
        .max_by_key(|voter| raft.matched.get(voter).copied().flatten())
}

fn ask(desk: &Desk, registry: &Registry, to: NodeId) {
    let Some((client, _answers)) = registry.enter() else {
        return;
    };
    if let Some(node) = desk.handle() {
        let request = Request {
            call: CallId(0),
            body: RequestBody::TransferLeadership { to },
        };
        node.request(client, request);
    }
    registry.leave(client);
}
