//! What was left of a round is still there when the run ends, after all that came later and after
//! every node was killed once more and read its disk again.
//!
//! Nobody works on an old round, so nothing in it may change; only a change whose outcome was
//! unknown when its round ended may still have come.

use super::replicas::difference;
use super::{Finding, Law, Verdict};
use crate::keeper::Tree;
use crate::recording::Recording;

/// Judges a run.
pub fn check(recording: &Recording, verdict: &mut Verdict) {
    for (round, last) in &recording.last {
        let Some(remains) = recording.remains.get(round) else {
            continue;
        };
        let late = late(recording, *round);
        let (before, after) = (without(&remains.tree, &late), without(last, &late));
        if before != after {
            let text = format!("at the end of the run {}", difference(&before, &after));
            verdict
                .findings
                .push(Finding::new(Law::Lasting, *round, text));
        }
        verdict.count("rounds read again at the end", 1);
    }
}

/// Paths and registers that a change of unknown outcome names.
fn late(recording: &Recording, round: u32) -> Vec<String> {
    let mut late = Vec::new();
    for (_, operation) in recording.operations(round) {
        if matches!(
            operation.end,
            mfsha_linearizability::history::End::Unknown { .. }
        ) {
            let call = serde_json::to_value(&operation.call).unwrap_or_default();
            collect_paths(&call, &mut late);
        }
    }
    late
}

fn collect_paths(value: &serde_json::Value, paths: &mut Vec<String>) {
    match value {
        serde_json::Value::String(text) if text.starts_with('/') => paths.push(text.clone()),
        serde_json::Value::Object(fields) => {
            fields
                .values()
                .for_each(|field| collect_paths(field, paths));
        }
        _ => {}
    }
}

/// The tree without those paths and everything that shares an inode with them.
fn without(tree: &Tree, late: &[String]) -> Tree {
    let touched: Vec<u32> = late
        .iter()
        .filter_map(|path| tree.get(path))
        .map(|leaf| leaf.inode)
        .collect();
    tree.iter()
        .filter(|(path, leaf)| !late.contains(path) && !touched.contains(&leaf.inode))
        .map(|(path, leaf)| (path.clone(), leaf.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Story, laws};
    use super::*;

    fn judged(story: &Story) -> Vec<Law> {
        let mut verdict = Verdict::default();
        check(&story.recording, &mut verdict);
        laws(&verdict)
    }

    #[test]
    fn what_stays_is_accepted() {
        let story = Story::kept();
        assert_eq!(judged(&story), []);
        assert_eq!(story.recording.last.len(), 1, "something was compared");
    }

    #[test]
    fn what_vanishes_later_is_refused() {
        let mut story = Story::kept();
        story.recording.last.get_mut(&1).unwrap().pop_first();
        assert_eq!(judged(&story), [Law::Lasting]);
    }

    #[test]
    fn a_change_of_unknown_outcome_may_come_later() {
        let mut story = Story::kept();
        let path = story.leave_a_creation_unknown();
        story.recording.last.get_mut(&1).unwrap().remove(&path);
        assert_eq!(judged(&story), []);
    }
}
