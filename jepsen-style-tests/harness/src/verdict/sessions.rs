//! A client never sees an older state than it saw before, and always what it was told it had made.

use std::collections::BTreeSet;

use mfsha_linearizability::models::{Errno, NamespaceCall};

use super::{Finding, Law, Verdict};
use crate::journal::{Call, Seen, Via};
use crate::recording::Recording;

/// Judges the indexes of a run's reads.
pub fn check(recording: &Recording, verdict: &mut Verdict) {
    for client in &recording.clients {
        let mut highest = 0;
        for operation in &client.operations {
            let Some((_, answer)) = Recording::answered(operation) else {
                continue;
            };
            let Some(index) = answer.index else { continue };
            let not_before = match operation.via {
                Via::Write => 0,
                Via::Strict => highest,
                Via::Fast { not_before } => not_before.max(highest),
            };
            if index < not_before {
                let text = format!(
                    "client {} had seen log index {not_before} and was shown {index} by {:?}: {:?}",
                    client.client, answer.node, operation.call
                );
                verdict
                    .findings
                    .push(Finding::new(Law::NeverBack, operation.round, text));
            }
            highest = highest.max(index);
            if operation.via != Via::Write {
                verdict.count("reads that may not go back", 1);
            }
        }
    }
}

/// Judges whether a round's writers see what they made.
pub fn check_round(recording: &Recording, round: u32, verdict: &mut Verdict) {
    let prefix = format!("/s{round}-");
    for client in &recording.clients {
        let mut made: BTreeSet<&str> = BTreeSet::new();
        for operation in client.operations.iter().filter(|it| it.round == round) {
            let Some((_, answer)) = Recording::answered(operation) else {
                continue;
            };
            let (Call::Tree(call), Seen::Tree(reply)) = (&operation.call, &answer.seen) else {
                continue;
            };
            match call {
                NamespaceCall::Create { path, .. } if reply.error.is_none() => {
                    made.insert(path.as_str());
                }
                NamespaceCall::Lookup { path }
                    if path.as_str().starts_with(&prefix) && made.contains(path.as_str()) =>
                {
                    verdict.count("own creations looked up", 1);
                    if reply.error == Some(Errno::Enoent) {
                        let text = format!(
                            "client {} made {} and does not see it ({:?}, {:?})",
                            client.client,
                            path.as_str(),
                            operation.via,
                            answer.node
                        );
                        verdict
                            .findings
                            .push(Finding::new(Law::NeverBack, round, text));
                    }
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Story, laws};
    use super::*;

    fn judged(story: &Story) -> Vec<Law> {
        let mut verdict = Verdict::default();
        check(&story.recording, &mut verdict);
        check_round(&story.recording, 1, &mut verdict);
        laws(&verdict)
    }

    #[test]
    fn a_run_without_breach_is_accepted() {
        assert_eq!(judged(&Story::kept()), []);
    }

    #[test]
    fn a_read_that_goes_back_is_refused() {
        let mut story = Story::kept();
        let read = story.some_fast_read();
        story.answer(read).index = Some(1);
        assert!(judged(&story).contains(&Law::NeverBack));
    }

    #[test]
    fn a_writer_that_does_not_see_what_it_made_is_refused() {
        let mut story = Story::kept();
        story.hide_an_own_creation();
        assert_eq!(judged(&story), [Law::NeverBack]);
    }
}
