//! Handing leadership over before the process ends, so that nobody waits for an election.
//!
//! Consensus says nothing to a voter that it cannot hand over to (one that was not heard lately, or
//! lacks too much), and a request may be lost on the way: so it is asked again, each time with what
//! is known then, until somebody else leads.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use mfsha_core::id::{LogIndex, NodeId};
use mfsha_core::native::request::{CallId, Request, RequestBody};
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::Connected;
use crate::clients::{Desk, Registry};
use crate::driver::Inspection;

/// Longer than an election takes; after that the others elect by themselves.
const PATIENCE: Duration = Duration::from_secs(3);
/// Between two requests: several round trips and an election between near sites.
const ASK_INTERVAL: Duration = Duration::from_millis(200);
/// How often it is looked at whether leadership has moved.
const LOOK: Duration = Duration::from_millis(20);
/// A voter that lacks more entries than this is not asked while another lacks less: consensus hands
/// over to none that lacks more.
const LACKING_MAX: u64 = 64;
/// A voter that was asked this often without leading gives way to the next one.
const TURN: u32 = 2;

/// Hands leadership to another voter, when this node leads.
pub(super) async fn hand_over(desk: &Desk, registry: &Registry, connected: &Connected) {
    let began = Instant::now();
    let mut asked: BTreeMap<NodeId, u32> = BTreeMap::new();
    let mut ask_at = began;
    while began.elapsed() < PATIENCE {
        let inspection = match desk.inspect().await {
            Ok(inspection) => inspection,
            // One that is of no cluster yet, or still opens its log, leads nobody.
            Err(_) if asked.is_empty() => return,
            Err(why) => {
                return warn!("whether leadership is handed over cannot be told: {why}");
            }
        };
        let own = desk.node();
        let leader = inspection.status.leader.filter(|leader| *leader != own);
        match (inspection.status.leads, leader) {
            (false, _) if asked.is_empty() => return,
            (false, Some(leader)) => {
                return info!(
                    to = leader.0,
                    took_ms = millis(began.elapsed()),
                    requests = asked.values().sum::<u32>(),
                    "leadership is handed over"
                );
            }
            // Its own office has ended, and the next leader is not known here yet.
            (false, None) => {}
            (true, _) if !has_other_voters(own, &inspection) => {
                return info!("no other node votes: there is nobody to hand leadership to");
            }
            (true, _) => {
                let priorities = connected.get().clone();
                let to = successor(&candidates(own, &inspection, &priorities), &asked);
                if let Some(to) = to.filter(|_| ask_at <= Instant::now()) {
                    let count = asked.entry(to).or_default();
                    *count += 1;
                    info!(to = to.0, time = *count, "a voter is asked to take over");
                    ask(desk, registry, to);
                    ask_at = Instant::now() + ASK_INTERVAL;
                }
            }
        }
        sleep(LOOK).await;
    }
    let names: Vec<_> = asked.keys().map(|node| node.0).collect();
    if names.is_empty() {
        warn!(
            "leadership could not be handed over: no other voter is connected; the others elect by \
             themselves"
        );
    } else {
        warn!(
            asked = ?names,
            "leadership could not be handed over in time; the others elect by themselves"
        );
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A voter that could take over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Candidate {
    node: NodeId,
    /// How well it says that it is placed.
    priority: u32,
    matched: Option<LogIndex>,
    lacks_little: bool,
}

fn has_other_voters(own: NodeId, inspection: &Inspection) -> bool {
    let voters = inspection.status.membership.voters.iter().flatten();
    voters.into_iter().any(|voter| *voter != own)
}

/// The connected voters; in a change of members, those who vote on both sides of it.
fn candidates(
    own: NodeId,
    inspection: &Inspection,
    priorities: &BTreeMap<NodeId, u32>,
) -> Vec<Candidate> {
    let sets = &inspection.status.membership.voters;
    let last = inspection.raft.as_ref().and_then(|raft| raft.last_log);
    let last = last.map_or(0, |log| log.index.0);
    let matched = |node: &NodeId| {
        let raft = inspection.raft.as_ref()?;
        raft.matched.get(node).copied().flatten()
    };
    let others = priorities.iter().filter(|(node, _)| {
        **node != own && !sets.is_empty() && sets.iter().all(|voters| voters.contains(node))
    });
    others
        .map(|(node, priority)| {
            let matched = matched(node);
            Candidate {
                node: *node,
                priority: *priority,
                matched,
                lacks_little: matched.is_some_and(|index| index.0 + LACKING_MAX >= last),
            }
        })
        .collect()
}

/// Whom to ask next: of those who lack little, and were not asked in vain more often than others,
/// the one that is placed best, and then the one that has most of the log.
fn successor(candidates: &[Candidate], asked: &BTreeMap<NodeId, u32>) -> Option<NodeId> {
    let turns = |node: NodeId| asked.get(&node).copied().unwrap_or_default() / TURN;
    let best = candidates.iter().max_by_key(|candidate| {
        (
            candidate.lacks_little,
            Reverse(turns(candidate.node)),
            candidate.priority,
            candidate.matched,
        )
    });
    best.map(|candidate| candidate.node)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(node: u64, priority: u32, matched: u64, lacks_little: bool) -> Candidate {
        Candidate {
            node: NodeId(node),
            priority,
            matched: Some(LogIndex(matched)),
            lacks_little,
        }
    }

    #[test]
    fn who_is_placed_best_comes_first_and_then_who_has_most() {
        let nobody = BTreeMap::new();
        let all = [
            candidate(2, 0, 100, true),
            candidate(3, 5, 90, true),
            candidate(4, 9, 10, false),
        ];
        assert_eq!(successor(&all, &nobody), Some(NodeId(3)));
        let same = [candidate(2, 5, 100, true), candidate(3, 5, 90, true)];
        assert_eq!(successor(&same, &nobody), Some(NodeId(2)));
        // Better one that lacks much than nobody: it may catch up.
        assert_eq!(successor(&all[2..], &nobody), Some(NodeId(4)));
        assert_eq!(successor(&[], &nobody), None);
    }

    #[test]
    fn who_was_asked_in_vain_gives_way() {
        let all = [candidate(2, 0, 100, true), candidate(3, 5, 90, true)];
        let mut asked = BTreeMap::new();
        let mut order = Vec::new();
        for _ in 0..6 {
            let to = successor(&all, &asked).expect("there is somebody");
            *asked.entry(to).or_default() += 1;
            order.push(to.0);
        }
        assert_eq!(order, [3, 3, 2, 2, 3, 3]);
    }
}
