//! Log indexes and versions are given once, and in the order of real time.
//!
//! An acknowledged change that was answered before another was asked has the lower index, also
//! when either was repeated: a repeat is an entry of its own, made after its change was asked.

use std::collections::BTreeMap;

use super::{Finding, Law, Verdict};
use crate::journal::{Answer, Operation, Seen, Via};
use crate::recording::Recording;

/// A change whose place is known.
struct Placed<'a> {
    client: u64,
    operation: &'a Operation,
    ended_at: u64,
    index: u64,
    answer: &'a Answer,
}

impl Placed<'_> {
    fn tell(&self) -> String {
        format!(
            "client {}'s {:?} of [{} .. {}] at log index {}",
            self.client, self.operation.call, self.operation.invoked_at, self.ended_at, self.index
        )
    }
}

/// Judges a run.
pub fn check(recording: &Recording, verdict: &mut Verdict) {
    let mut placed = Vec::new();
    for client in &recording.clients {
        for operation in client.operations.iter().filter(|it| it.via == Via::Write) {
            let Some((ended_at, answer)) = Recording::answered(operation) else {
                continue;
            };
            let Some(index) = answer.index else { continue };
            placed.push(Placed {
                client: client.client,
                operation,
                ended_at,
                index,
                answer,
            });
        }
    }
    verdict.count("log indexes seen", placed.len() as u64);
    check_once(&placed, verdict);
    check_order(&mut placed, verdict);
    check_versions(&placed, verdict);
}

fn check_once(placed: &[Placed<'_>], verdict: &mut Verdict) {
    let mut by_index: BTreeMap<u64, &Placed<'_>> = BTreeMap::new();
    for one in placed {
        if let Some(other) = by_index.insert(one.index, one) {
            let text = format!("{}, and {}", other.tell(), one.tell());
            verdict
                .findings
                .push(Finding::new(Law::IndexOnce, one.operation.round, text));
        }
    }
}

/// Going through time, no change may be asked after one with a higher index was answered.
fn check_order(placed: &mut [Placed<'_>], verdict: &mut Verdict) {
    placed.sort_by_key(|one| one.operation.invoked_at);
    let mut by_end: Vec<usize> = (0..placed.len()).collect();
    by_end.sort_by_key(|at| placed[*at].ended_at);
    let mut ended = by_end.into_iter().peekable();
    let mut highest: Option<usize> = None;
    for one in placed.iter() {
        while let Some(at) = ended.next_if(|at| placed[*at].ended_at < one.operation.invoked_at) {
            if highest.is_none_or(|highest| placed[highest].index < placed[at].index) {
                highest = Some(at);
            }
        }
        if let Some(before) = highest
            .map(|at| &placed[at])
            .filter(|it| it.index >= one.index)
        {
            let text = format!("{} was over before {} was asked", before.tell(), one.tell());
            verdict
                .findings
                .push(Finding::new(Law::IndexOrder, one.operation.round, text));
        }
    }
}

/// Each change that was carried out has a version of its own, rising with its index.
fn check_versions(placed: &[Placed<'_>], verdict: &mut Verdict) {
    let carried_out = |one: &&Placed<'_>| {
        let refused = match &one.answer.seen {
            Seen::Tree(reply) => reply.error.is_some(),
            Seen::Done => false,
            Seen::Held(_) | Seen::Present | Seen::Absent | Seen::Odd(_) => true,
        };
        !refused && !one.answer.repeated && one.answer.version.is_some()
    };
    let mut done: Vec<&Placed<'_>> = placed.iter().filter(carried_out).collect();
    done.sort_by_key(|one| one.index);
    for pair in done.windows(2) {
        let (one, other) = (pair[0], pair[1]);
        let law = match one.answer.version.cmp(&other.answer.version) {
            std::cmp::Ordering::Less => continue,
            std::cmp::Ordering::Equal => Law::IndexOnce,
            std::cmp::Ordering::Greater => Law::IndexOrder,
        };
        let text = format!(
            "{} has version {:?}, {} has {:?}",
            one.tell(),
            one.answer.version,
            other.tell(),
            other.answer.version
        );
        verdict
            .findings
            .push(Finding::new(law, other.operation.round, text));
    }
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
    fn a_run_without_breach_is_accepted() {
        assert_eq!(judged(&Story::kept()), []);
    }

    #[test]
    fn one_index_for_two_changes_is_refused() {
        let mut story = Story::kept();
        let (first, second) = story.two_changes();
        story.answer(second).index = story.answer(first).index;
        assert!(judged(&story).contains(&Law::IndexOnce));
    }

    #[test]
    fn a_later_change_with_a_lower_index_is_refused() {
        let mut story = Story::kept();
        let (first, second) = story.two_changes();
        let (low, high) = (story.answer(first).index, story.answer(second).index);
        story.answer(first).index = high;
        story.answer(second).index = low;
        assert!(judged(&story).contains(&Law::IndexOrder));
    }

    #[test]
    fn a_version_that_is_given_twice_or_runs_back_is_refused() {
        for (less, law) in [(0, Law::IndexOnce), (1, Law::IndexOrder)] {
            let mut story = Story::kept();
            let (first, second) = story.two_changes();
            let version = story.answer(first).version.unwrap();
            story.answer(second).version = Some(version - less);
            assert!(judged(&story).contains(&law));
        }
    }
}
