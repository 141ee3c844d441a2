//! All nodes end a round with the same state, up to the same log index.

use super::{Finding, Law, Verdict};
use crate::keeper::{Tree, digest};
use crate::recording::Recording;

/// Judges a round.
pub fn check(recording: &Recording, round: u32, verdict: &mut Verdict) {
    let Some(remains) = recording.remains.get(&round) else {
        return;
    };
    let own = digest(&remains.tree);
    let nodes = recording.plan.nodes;
    if remains.replicas.len() != nodes {
        let text = format!("{} of {nodes} nodes were read", remains.replicas.len());
        verdict
            .findings
            .push(Finding::new(Law::ReplicasEqual, round, text));
    }
    for replica in &remains.replicas {
        if replica.digest != own || replica.tree.is_some() {
            let text = match &replica.tree {
                Some(tree) => difference(&remains.tree, tree),
                None => format!("digest {} instead of {own}", replica.digest),
            };
            let text = format!("{} at log index {}: {text}", replica.node, replica.applied);
            verdict
                .findings
                .push(Finding::new(Law::ReplicasEqual, round, text));
        }
        verdict.count("replicas compared", 1);
    }
    if let Some(first) = remains.replicas.first()
        && let Some(other) = remains
            .replicas
            .iter()
            .find(|it| it.applied != first.applied)
    {
        let text = format!(
            "{} has applied {}, {} has applied {}",
            first.node, first.applied, other.node, other.applied
        );
        verdict
            .findings
            .push(Finding::new(Law::ReplicasEqual, round, text));
    }
}

/// The first path that is not the same, and how.
#[must_use]
pub fn difference(one: &Tree, other: &Tree) -> String {
    let paths = one.keys().chain(other.keys());
    let differing: std::collections::BTreeSet<&String> = paths
        .filter(|path| one.get(*path) != other.get(*path))
        .collect();
    match differing.first() {
        None => "no difference".to_owned(),
        Some(path) => format!(
            "{} paths differ, the first is {path}: {:?} and {:?}",
            differing.len(),
            one.get(*path),
            other.get(*path)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Story, laws};
    use super::*;

    fn judged(story: &Story) -> Vec<Law> {
        let mut verdict = Verdict::default();
        check(&story.recording, 1, &mut verdict);
        laws(&verdict)
    }

    #[test]
    fn equal_replicas_are_accepted() {
        assert_eq!(judged(&Story::kept()), []);
    }

    #[test]
    fn a_node_that_holds_something_else_is_refused() {
        let mut story = Story::kept();
        let mut tree = story.tree().clone();
        tree.pop_first();
        let remains = story.recording.remains.get_mut(&1).unwrap();
        remains.replicas[1].digest = digest(&tree);
        remains.replicas[1].tree = Some(tree);
        assert_eq!(judged(&story), [Law::ReplicasEqual]);
    }

    #[test]
    fn a_node_that_was_not_read_or_stands_elsewhere_is_refused() {
        let mut story = Story::kept();
        story.recording.remains.get_mut(&1).unwrap().replicas.pop();
        assert_eq!(judged(&story), [Law::ReplicasEqual]);
        let mut story = Story::kept();
        story.recording.remains.get_mut(&1).unwrap().replicas[0].applied += 1;
        assert_eq!(judged(&story), [Law::ReplicasEqual]);
    }
}
