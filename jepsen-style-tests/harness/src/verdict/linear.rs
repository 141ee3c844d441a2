//! One copy of the tree, asked one thing at a time, could have answered so. The search is that of
//! `mfsha-linearizability`, split by subtree and by register, and bounded: a part that is not
//! decided within its budget is counted, never guessed.

use mfsha_linearizability::check::{Budget, Verdict as Found, check_parts};
use mfsha_linearizability::history::{End, History, Operation, ProcessId};
use mfsha_linearizability::model::Parts;
use mfsha_linearizability::models::{
    Namespace, NamespaceCall, NamespaceReply, RegisterCall, RegisterReturn, Registers,
};

use super::{Finding, Law, Verdict};
use crate::journal::{Answer, Call, RegisterAction, Seen, Via};
use crate::recording::Recording;

/// Operations of a violation that are shown.
const SHOWN_MAX: usize = 24;

/// An operation of the judge's, with its answer's log index.
pub type Indexed<C, R> = (Operation<C, R>, Option<u64>);

/// Judges a round.
pub fn check(recording: &Recording, round: u32, budget: Budget, verdict: &mut Verdict) {
    let tree = trees(recording, round, false)
        .into_iter()
        .map(|(operation, _)| operation);
    check_as(&Namespace, round, tree.collect(), budget, verdict);
    let registers = registers(recording, round, false)
        .into_iter()
        .map(|(operation, _)| operation);
    check_as(&Registers, round, registers.collect(), budget, verdict);
}

fn check_as<M>(
    model: &M,
    round: u32,
    operations: Vec<Operation<M::Call, M::Return>>,
    budget: Budget,
    verdict: &mut Verdict,
) where
    M: Parts,
    M::Call: serde::Serialize,
    M::Return: serde::Serialize,
{
    let history = match History::new(operations) {
        Ok(history) => history,
        Err(error) => {
            let text = format!("the journals are no history: {error}");
            verdict
                .findings
                .push(Finding::new(Law::Linearizable, round, text));
            return;
        }
    };
    for part in check_parts(model, &history, budget) {
        match part.verdict {
            Found::Linearizable { .. } => {
                verdict.count("parts linearizable", 1);
                verdict.count("operations in them", part.part.operations.len() as u64);
            }
            Found::Undecided { .. } => verdict.count("parts undecided", 1),
            Found::NotLinearizable(violation) => {
                let mut text = format!(
                    "{:?}: {} cannot be placed among\n",
                    part.part.keys, violation.blocked
                );
                let hidden = violation.window.len().saturating_sub(SHOWN_MAX);
                let window = violation.window[hidden..].iter();
                for index in violation.pending.iter().chain(window) {
                    text += &line::<M>(*index, history.get(*index));
                }
                for partial in violation.partials.iter().take(2) {
                    text += &format!("    a state before it: {:?}\n", partial.state);
                }
                verdict
                    .findings
                    .push(Finding::new(Law::Linearizable, round, text));
            }
        }
    }
}

fn line<M: Parts>(
    index: mfsha_linearizability::history::OpIndex,
    operation: &Operation<M::Call, M::Return>,
) -> String
where
    M::Call: serde::Serialize,
    M::Return: serde::Serialize,
{
    let json = |value: Result<String, serde_json::Error>| value.unwrap_or_default();
    let (until, answer) = match &operation.end {
        End::Returned { at, value } => (at.to_string(), json(serde_json::to_string(value))),
        End::Unknown { .. } => ("?".to_owned(), "unknown".to_owned()),
        End::Failed { at } => (at.to_string(), "failed".to_owned()),
    };
    format!(
        "    {index} {} [{} .. {until}] {} -> {answer}\n",
        operation.process,
        operation.invoked_at,
        json(serde_json::to_string(&operation.call)),
    )
}

/// A round's operations on the tree; reads of a node's own state only when asked for.
#[must_use]
pub fn trees(
    recording: &Recording,
    round: u32,
    with_fast: bool,
) -> Vec<Indexed<NamespaceCall, NamespaceReply>> {
    collect(recording, round, with_fast, |call, answer| {
        match (call, answer.map(|it| &it.seen)) {
            (Call::Tree(call), None) => Some((call.clone(), None)),
            (Call::Tree(call), Some(Seen::Tree(reply))) => {
                Some((call.clone(), Some(reply.clone())))
            }
            _ => None,
        }
    })
}

/// A round's operations on registers; reads of a node's own state only when asked for.
///
/// A register is an attribute: it holds 0 when there is none. Creating one is a compare-and-set
/// from 0. Replacing or removing one that is not there only shows that it holds 0.
#[must_use]
pub fn registers(
    recording: &Recording,
    round: u32,
    with_fast: bool,
) -> Vec<Indexed<RegisterCall, RegisterReturn>> {
    collect(recording, round, with_fast, |call, answer| {
        let Call::Register { key, action } = call else {
            return None;
        };
        let key = key.clone();
        let write = |value: &i64| RegisterCall::Write {
            key: key.clone(),
            value: *value,
        };
        let asked = match action {
            RegisterAction::Set(value) | RegisterAction::Replace(value) => write(value),
            RegisterAction::Create(value) => RegisterCall::Cas {
                key: key.clone(),
                from: 0,
                to: *value,
            },
            RegisterAction::Remove => write(&0),
            RegisterAction::Read => RegisterCall::Read { key: key.clone() },
        };
        match answer.map(|answer| &answer.seen) {
            None => Some((asked, None)),
            Some(Seen::Done) => Some((asked, Some(RegisterReturn::Done))),
            Some(Seen::Held(value)) => Some((asked, Some(RegisterReturn::Value(*value)))),
            Some(Seen::Present) => Some((asked, Some(RegisterReturn::Mismatch))),
            Some(Seen::Absent) => {
                Some((RegisterCall::Read { key }, Some(RegisterReturn::Value(0))))
            }
            Some(Seen::Tree(_) | Seen::Odd(_)) => None,
        }
    })
}

fn collect<C, R>(
    recording: &Recording,
    round: u32,
    with_fast: bool,
    translate: impl Fn(&Call, Option<&Answer>) -> Option<(C, Option<R>)>,
) -> Vec<Indexed<C, R>> {
    let mut operations = Vec::new();
    for (client, operation) in recording.operations(round) {
        if matches!(operation.via, Via::Fast { .. }) && !with_fast {
            continue;
        }
        let answer = Recording::answered(operation).map(|(_, answer)| answer);
        let Some((call, value)) = translate(&operation.call, answer) else {
            continue;
        };
        let end = match (&operation.end, value) {
            (End::Returned { at, .. }, Some(value)) => End::Returned { at: *at, value },
            (End::Failed { at }, _) => End::Failed { at: *at },
            (End::Unknown { gave_up_at }, _) => End::Unknown {
                gave_up_at: *gave_up_at,
            },
            (End::Returned { at, .. }, None) => End::Unknown {
                gave_up_at: Some(*at),
            },
        };
        let index = answer.and_then(|answer| answer.index);
        let process = ProcessId(client.client);
        let invoked_at = operation.invoked_at;
        operations.push((
            Operation {
                process,
                invoked_at,
                call,
                end,
            },
            index,
        ));
    }
    operations
}

#[cfg(test)]
mod tests {
    use super::super::BUDGET;
    use super::super::testing::{Story, laws};
    use super::*;

    fn judged(story: &Story) -> Verdict {
        let mut verdict = Verdict::default();
        check(&story.recording, 1, BUDGET, &mut verdict);
        verdict
    }

    #[test]
    fn a_run_without_breach_is_accepted() {
        let verdict = judged(&Story::kept());
        assert_eq!(verdict.findings, []);
        assert!(verdict.counts["parts linearizable"] > 4, "{verdict:?}");
    }

    #[test]
    fn a_stale_read_is_refused() {
        let mut story = Story::kept();
        story.make_a_read_stale();
        let verdict = judged(&story);
        assert_eq!(laws(&verdict), [Law::Linearizable]);
        assert!(verdict.findings[0].text.contains("/r1-0-0"), "{verdict:?}");
    }

    #[test]
    fn a_rename_that_worked_twice_is_refused() {
        let mut story = Story::kept();
        story.repeat_a_rename();
        assert_eq!(laws(&judged(&story)), [Law::Linearizable]);
    }
}
