//! Whether everybody who answers at a start is of another cluster: then the node is in the wrong
//! place, and its process says so and ends. One that has a peer, or has been there for a while, is
//! never ended by what strangers say.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mfsha_core::id::NodeId;
use mfsha_core::native::ClusterId;
use mfsha_core::transport::PeerRefusal;

/// Others who might know this node have this long to answer after the first who does not.
const GRACE: Duration = Duration::from_secs(3);
/// Who turns up later finds a node that has started.
const START: Duration = Duration::from_secs(30);

/// What the peers have answered since the process began.
#[derive(Clone)]
pub(super) struct Answers(Arc<Mutex<Heard>>);

struct Heard {
    began: Instant,
    /// When the first was of another cluster.
    since: Option<Instant>,
    /// The clusters of those who are of another one.
    others: BTreeMap<NodeId, ClusterId>,
    /// Somebody has answered as a peer, or refused for another reason, which is to be told.
    known: bool,
}

impl Answers {
    pub(super) fn new(began: Instant) -> Self {
        Self(Arc::new(Mutex::new(Heard {
            began,
            since: None,
            others: BTreeMap::new(),
            known: false,
        })))
    }

    fn get(&self) -> MutexGuard<'_, Heard> {
        // Each change is one of whole fields, so a panic elsewhere leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A peer is connected.
    pub(super) fn on_peer(&self) {
        self.get().known = true;
    }

    /// A peer wants nothing to do with this node.
    pub(super) fn on_refused(&self, by: NodeId, refusal: &PeerRefusal, now: Instant) {
        let mut heard = self.get();
        match refusal {
            PeerRefusal::OtherCluster { cluster, .. } => {
                heard.others.insert(by, *cluster);
                heard.since.get_or_insert(now);
            }
            _ => heard.known = true,
        }
    }

    /// Who they are, when all who have answered are of other clusters; nobody any more once the
    /// start is over.
    pub(super) fn only_strangers(&self, now: Instant) -> Option<BTreeMap<NodeId, ClusterId>> {
        let heard = self.get();
        let since = heard.since?;
        let in_time = since.duration_since(heard.began) < START;
        let all = now.duration_since(since) >= GRACE && !heard.known;
        (in_time && all).then(|| heard.others.clone())
    }
}

/// What an operator is told: whose the directory is, whose the peers are, and what to do.
pub(super) fn explain(
    directory: &std::path::Path,
    own: ClusterId,
    others: &BTreeMap<NodeId, ClusterId>,
) -> String {
    let others: Vec<_> = others
        .iter()
        .map(|(node, cluster)| format!("node {} belongs to cluster {cluster}", node.0))
        .collect();
    format!(
        "{} belongs to cluster {own}, but {}, and no other node answers; set DATA_PATH to this \
         node's directory of their cluster, or to an empty one to join it (--join-cluster, under \
         an id that was never used there); or correct MFSHA_PEERS and --peer to name nodes of \
         cluster {own}",
        directory.display(),
        others.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stranger(node: u64) -> PeerRefusal {
        PeerRefusal::OtherCluster {
            node: NodeId(node),
            cluster: ClusterId(9),
        }
    }

    #[test]
    fn only_when_all_who_answer_are_strangers_the_start_is_refused() {
        let began = Instant::now();
        let answers = Answers::new(began);
        let after = |seconds| began + Duration::from_secs(seconds);
        assert_eq!(answers.only_strangers(after(20)), None, "nobody answers");
        answers.on_refused(NodeId(2), &stranger(2), after(1));
        assert_eq!(answers.only_strangers(after(2)), None, "others have time");
        let both = [(NodeId(2), ClusterId(9)), (NodeId(3), ClusterId(9))];
        answers.on_refused(NodeId(3), &stranger(3), after(2));
        assert_eq!(answers.only_strangers(after(5)), Some(both.into()));
        answers.on_peer();
        assert_eq!(answers.only_strangers(after(6)), None, "a peer is there");
    }

    #[test]
    fn a_node_that_has_started_is_ended_by_no_stranger() {
        let began = Instant::now();
        let answers = Answers::new(began);
        answers.on_refused(NodeId(2), &stranger(2), began + START);
        assert_eq!(answers.only_strangers(began + 2 * START), None);
    }

    #[test]
    fn another_refusal_is_not_taken_for_a_stranger_s() {
        let began = Instant::now();
        let answers = Answers::new(began);
        answers.on_refused(NodeId(2), &stranger(2), began);
        let disk = PeerRefusal::OtherDisk { refused: NodeId(1) };
        answers.on_refused(NodeId(3), &disk, began);
        assert_eq!(answers.only_strangers(began + 2 * GRACE), None);
    }
}
