//! What was asked for did happen: a run in which a fault had no effect proves nothing about it.

use std::collections::BTreeMap;

use mfsha_linearizability::history::End;

use super::{Finding, Law, Verdict};
use crate::journal::{Role, Seen, Via};
use crate::nemesis::Note;
use crate::plan::Kind;
use crate::recording::Recording;

/// Acknowledged changes that a round has at least: less is no load.
const CHANGES_MIN: usize = 20;

/// Judges a run.
pub fn check(recording: &Recording, verdict: &mut Verdict) {
    check_kinds(recording, verdict);
    let rounds = recording.rounds();
    for round in &rounds {
        check_work(recording, *round, verdict);
    }
    if rounds.len() < recording.plan.rounds.len() {
        let text = format!(
            "{} of {} rounds were begun",
            rounds.len(),
            recording.plan.rounds.len()
        );
        verdict.findings.push(Finding::of_run(Law::Coverage, text));
    }
    check_readers(recording, verdict);
    verdict.findings.extend(recording.troubles.iter().cloned());
}

/// Faults of each kind whose effect was seen and which were undone.
#[must_use]
pub fn kinds(recording: &Recording) -> BTreeMap<Kind, u64> {
    let mut kinds = BTreeMap::new();
    for round in &recording.plan.rounds {
        if happened(recording, round.number, round.kind) {
            *kinds.entry(round.kind).or_default() += 1;
        }
    }
    kinds
}

fn happened(recording: &Recording, number: u32, wanted: Kind) -> bool {
    let (mut begun, mut shown, mut healed) = (false, false, false);
    for note in &recording.notes {
        match note {
            Note::Begin { round, kind, .. } if *round == number => begun = *kind == wanted,
            Note::Effect {
                round, shown: it, ..
            } if *round == number => shown = *it,
            Note::End {
                round, healed: it, ..
            } if *round == number => healed = *it,
            _ => {}
        }
    }
    begun && shown && healed
}

fn check_kinds(recording: &Recording, verdict: &mut Verdict) {
    let kinds = kinds(recording);
    for kind in &recording.plan.kinds {
        let count = kinds.get(kind).copied().unwrap_or(0);
        verdict.count(&format!("faults: {kind}"), count);
        if count == 0 {
            let text = format!("no {kind} had an effect that was seen, and was undone");
            verdict.findings.push(Finding::of_run(Law::Coverage, text));
        }
    }
}

fn check_work(recording: &Recording, round: u32, verdict: &mut Verdict) {
    let mut changes = 0;
    for (client, operation) in recording.operations(round) {
        if client.role != Role::Writer || operation.via != Via::Write {
            continue;
        }
        match &operation.end {
            End::Returned { value, .. } => {
                changes += usize::from(!matches!(value.seen, Seen::Odd(_)));
                verdict.count("changes acknowledged", 1);
                verdict.count("changes repeated", u64::from(value.repeated));
            }
            End::Unknown { .. } => verdict.count("changes of unknown outcome", 1),
            End::Failed { .. } => verdict.count("changes that failed", 1),
        }
    }
    if changes < CHANGES_MIN {
        let text = format!("{changes} changes were acknowledged, less than {CHANGES_MIN}");
        verdict
            .findings
            .push(Finding::new(Law::Coverage, round, text));
    }
    if !recording.remains.contains_key(&round) {
        let text = "nobody looked at what is left of it";
        verdict
            .findings
            .push(Finding::new(Law::Coverage, round, text));
    }
}

fn check_readers(recording: &Recording, verdict: &mut Verdict) {
    let mut readers = 0;
    for client in recording.of_role(Role::Reader) {
        readers += 1;
        let answered = |is_fast: bool| {
            let operations = client.operations.iter();
            let of_kind = operations.filter(|it| matches!(it.via, Via::Fast { .. }) == is_fast);
            of_kind
                .filter(|it| Recording::answered(it).is_some())
                .count()
        };
        for (is_fast, what) in [(false, "strict"), (true, "fast")] {
            if answered(is_fast) == 0 {
                let text = format!("the reader {} was given no {what} read", client.client);
                verdict.findings.push(Finding::of_run(Law::Coverage, text));
            }
        }
    }
    if readers != recording.plan.nodes {
        let text = format!("{readers} seats of {} were read from", recording.plan.nodes);
        verdict.findings.push(Finding::of_run(Law::Coverage, text));
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
    fn a_run_in_which_all_happened_is_accepted() {
        assert_eq!(judged(&Story::kept()), []);
    }

    #[test]
    fn a_fault_that_did_not_happen_is_refused() {
        let mut story = Story::kept();
        story.recording.notes.clear();
        assert_eq!(judged(&story), [Law::Coverage]);
    }

    #[test]
    fn a_fault_without_effect_or_never_undone_is_refused() {
        for at in [1, 2] {
            let mut story = Story::kept();
            match &mut story.recording.notes[at] {
                Note::Effect { shown, .. } => *shown = false,
                Note::End { healed, .. } => *healed = false,
                Note::Begin { .. } => unreachable!("it is the first"),
            }
            assert_eq!(judged(&story), [Law::Coverage]);
        }
    }

    #[test]
    fn a_round_without_work_or_end_is_refused() {
        let mut story = Story::kept();
        for client in &mut story.recording.clients {
            if client.role == Role::Writer {
                client.operations.truncate(2);
            }
        }
        assert_eq!(judged(&story), [Law::Coverage]);
        let mut story = Story::kept();
        story.recording.remains.clear();
        assert_eq!(judged(&story), [Law::Coverage]);
    }

    #[test]
    fn a_seat_that_nobody_read_from_is_refused() {
        let mut story = Story::kept();
        story.recording.clients.retain(|client| client.client != 9);
        assert_eq!(judged(&story), [Law::Coverage]);
    }

    #[test]
    fn what_the_harness_saw_is_not_lost() {
        let mut story = Story::kept();
        story
            .recording
            .troubles
            .push(Finding::of_run(Law::Died, "n1 ended by itself"));
        assert_eq!(judged(&story), [Law::Died]);
    }
}
