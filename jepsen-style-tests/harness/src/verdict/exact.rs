//! An answer at log index `i` is what the changes up to `i` make of it: no search, and reads of a
//! node's own state are judged as well.
//!
//! That needs every change of a part with its index. A part in which a change has an unknown
//! outcome, was repeated (its index is that of the repeat) or came from a client that is not told
//! indexes is left to the search.

use mfsha_linearizability::history::{End, History, OpIndex};
use mfsha_linearizability::model::{Model, Parts};
use mfsha_linearizability::models::{Namespace, Registers};
use mfsha_linearizability::partition::partition;

use super::linear::{Indexed, registers, trees};
use super::{Finding, Law, Verdict};
use crate::recording::Recording;

/// Judges a round.
pub fn check(recording: &Recording, round: u32, verdict: &mut Verdict) {
    let repeated = repeated(recording, round);
    check_as(
        &Namespace,
        round,
        trees(recording, round, true),
        &repeated,
        verdict,
    );
    check_as(
        &Registers,
        round,
        registers(recording, round, true),
        &repeated,
        verdict,
    );
}

/// Index of every answer that was remembered from an earlier attempt.
fn repeated(recording: &Recording, round: u32) -> Vec<u64> {
    let answers = recording
        .operations(round)
        .filter_map(|(_, it)| Recording::answered(it));
    answers
        .filter(|(_, answer)| answer.repeated)
        .filter_map(|(_, it)| it.index)
        .collect()
}

fn check_as<M: Parts>(
    model: &M,
    round: u32,
    operations: Vec<Indexed<M::Call, M::Return>>,
    repeated: &[u64],
    verdict: &mut Verdict,
) {
    let (operations, indexes): (Vec<_>, Vec<_>) = operations.into_iter().unzip();
    // What the search says about journals that are no history is enough.
    let Ok(history) = History::new(operations) else {
        return;
    };
    for part in partition(model, &history) {
        let Some(order) = order(model, &history, &part.operations, &indexes, repeated) else {
            verdict.count("parts left to the search", 1);
            continue;
        };
        verdict.count("answers compared with the log", order.len() as u64);
        if let Some((blocked, state)) = replay(model, &history, &order) {
            let operation = history.get(blocked);
            let text = format!(
                "{:?} at log index {:?} was answered {:?}, but the log makes {state:?} of it",
                operation.call,
                indexes[blocked.0],
                operation.returned()
            );
            verdict
                .findings
                .push(Finding::new(Law::AnswerAtIndex, round, text));
        }
    }
}

/// The part's operations in the order of the log, changes before reads of the same index; `None`
/// when not every change has its place.
fn order<M: Model>(
    model: &M,
    history: &History<M::Call, M::Return>,
    among: &[OpIndex],
    indexes: &[Option<u64>],
    repeated: &[u64],
) -> Option<Vec<OpIndex>> {
    let mut placed = Vec::new();
    for &at in among {
        let operation = history.get(at);
        match (&operation.end, indexes[at.0]) {
            (End::Failed { .. }, _) => {}
            (End::Unknown { .. }, _) => return None,
            (End::Returned { value, .. }, index) => {
                let only_looks = model.is_observer(&operation.call, value);
                match index.filter(|index| !repeated.contains(index)) {
                    Some(index) => placed.push((index, only_looks, at)),
                    None if only_looks => {}
                    None => return None,
                }
            }
        }
    }
    placed.sort();
    Some(placed.into_iter().map(|(_, _, at)| at).collect())
}

/// The first operation whose answer the ones before it do not make, and the state there.
fn replay<M: Model>(
    model: &M,
    history: &History<M::Call, M::Return>,
    order: &[OpIndex],
) -> Option<(OpIndex, M::State)> {
    let mut states = vec![model.init()];
    for &at in order {
        let operation = history.get(at);
        let step = |state: &M::State| model.step(state, &operation.call, operation.returned());
        let mut next: Vec<M::State> = states.iter().flat_map(step).collect();
        next.dedup();
        if next.is_empty() {
            return states.into_iter().next().map(|state| (at, state));
        }
        states = next;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Story, laws};
    use super::*;

    fn judged(story: &Story) -> Verdict {
        let mut verdict = Verdict::default();
        check(&story.recording, 1, &mut verdict);
        verdict
    }

    #[test]
    fn a_run_without_breach_is_accepted() {
        let verdict = judged(&Story::kept());
        assert_eq!(verdict.findings, []);
        assert!(
            verdict.counts["answers compared with the log"] > 20,
            "{verdict:?}"
        );
    }

    #[test]
    fn a_node_that_shows_another_state_than_its_index_says_is_refused() {
        let mut story = Story::kept();
        story.make_a_read_stale();
        assert_eq!(laws(&judged(&story)), [Law::AnswerAtIndex]);
        // Also when nobody asked it to be fresh.
        let mut story = Story::kept();
        story.make_a_fast_read_wrong();
        assert_eq!(laws(&judged(&story)), [Law::AnswerAtIndex]);
    }

    #[test]
    fn a_change_without_a_known_place_leaves_its_part_to_the_search() {
        let mut story = Story::kept();
        story.make_a_read_stale();
        story.forget_outcomes_of_registers();
        let verdict = judged(&story);
        assert_eq!(verdict.findings, []);
        assert!(
            verdict.counts["parts left to the search"] > 0,
            "{verdict:?}"
        );
    }
}
