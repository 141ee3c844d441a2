//! What a recorded run is judged by. Everything here works on what was written down, so that a run
//! can be judged again, and never reads a clock.
//!
//! | module | law |
//! |---|---|
//! | [`acknowledged`] | what was acknowledged is there, and happened once; nothing else is there |
//! | [`linear`] | one copy of the tree, asked one thing at a time, could have answered so |
//! | [`exact`] | an answer at log index `i` is what the changes up to `i` make of it |
//! | [`indexes`] | log indexes and versions are given once, and in the order of real time |
//! | [`sessions`] | a client never sees an older state than it saw before |
//! | [`replicas`] | all nodes end with the same state |
//! | [`later`] | what was left of a round is still there when the run ends |
//! | [`coverage`] | what was asked for did happen |

pub mod acknowledged;
pub mod coverage;
pub mod exact;
pub mod indexes;
pub mod later;
pub mod linear;
pub mod replicas;
pub mod sessions;
#[cfg(test)]
pub mod testing;

use std::collections::BTreeMap;
use std::fmt;

use mfsha_linearizability::check::Budget;
use serde::{Deserialize, Serialize};

use crate::recording::Recording;

/// What was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Law {
    /// An acknowledged change is not there.
    AcknowledgedLost,
    /// Something is there that nobody made.
    Phantom,
    /// A change took effect twice, or its own repeat was refused because of it.
    TakesEffectOnce,
    /// Files that are only moved are not all there, or not each once.
    Population,
    /// The number of links is not the number of names.
    LinkCount,
    /// A refusal that the question cannot have.
    Refusal,
    /// No order of the operations explains the answers.
    Linearizable,
    /// An answer is not what the log up to its index makes of it.
    AnswerAtIndex,
    /// A log index or version was given to two changes.
    IndexOnce,
    /// A change that came later in real time has a lower index or version.
    IndexOrder,
    /// A read shows an older state than its client had seen.
    NeverBack,
    /// Nodes hold different states.
    ReplicasEqual,
    /// What was left of a round is not there any more.
    Lasting,
    /// Something that was asked for did not happen.
    Coverage,
    /// A node ended by itself, or did not end when it was told to.
    Died,
    /// The cluster did not come back, or did not answer, in time.
    InTime,
}

impl fmt::Display for Law {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = serde_json::to_value(self)
            .ok()
            .and_then(|it| it.as_str().map(str::to_owned));
        f.write_str(&word.unwrap_or_default())
    }
}

/// One breach.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Of what.
    pub law: Law,
    /// In which round; `None` when it concerns the run.
    pub round: Option<u32>,
    /// What is seen.
    pub text: String,
}

impl Finding {
    /// A breach in a round.
    #[must_use]
    pub fn new(law: Law, round: u32, text: impl Into<String>) -> Self {
        Self {
            law,
            round: Some(round),
            text: text.into(),
        }
    }

    /// A breach that concerns the run.
    #[must_use]
    pub fn of_run(law: Law, text: impl Into<String>) -> Self {
        Self {
            law,
            round: None,
            text: text.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.round {
            Some(round) => write!(f, "{}, round {round}: {}", self.law, self.text),
            None => write!(f, "{}: {}", self.law, self.text),
        }
    }
}

/// What the judges come to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Breaches; none when every promise was kept.
    pub findings: Vec<Finding>,
    /// What was looked at, so that "no breach" means something.
    pub counts: BTreeMap<String, u64>,
}

impl Verdict {
    /// Whether every promise was kept.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.findings.is_empty()
    }

    /// Adds to a count.
    pub fn count(&mut self, what: &str, by: u64) {
        *self.counts.entry(what.to_owned()).or_default() += by;
    }

    /// Adds what another verdict says.
    pub fn join(&mut self, other: Self) {
        self.findings.extend(other.findings);
        for (what, by) in other.counts {
            self.count(&what, by);
        }
    }
}

/// Effort for each independent part.
pub const BUDGET: Budget = Budget {
    configurations: 300_000,
};

/// Judges one round by itself; what concerns several rounds is left to [`judge`].
#[must_use]
pub fn judge_round(recording: &Recording, round: u32) -> Verdict {
    let mut verdict = Verdict::default();
    acknowledged::check(recording, round, &mut verdict);
    sessions::check_round(recording, round, &mut verdict);
    exact::check(recording, round, &mut verdict);
    linear::check(recording, round, BUDGET, &mut verdict);
    replicas::check(recording, round, &mut verdict);
    verdict
}

/// Judges a whole run.
#[must_use]
pub fn judge(recording: &Recording) -> Verdict {
    let mut verdict = Verdict::default();
    for round in recording.rounds() {
        verdict.join(judge_round(recording, round));
    }
    judge_run(recording, &mut verdict);
    verdict
}

/// Judges what no round shows by itself.
pub fn judge_run(recording: &Recording, verdict: &mut Verdict) {
    indexes::check(recording, verdict);
    sessions::check(recording, verdict);
    later::check(recording, verdict);
    coverage::check(recording, verdict);
}
