//! The question: is there an order of these operations that one copy of the object could have
//! taken, and that agrees with real time?
//!
//! [`check`] asks it of a whole history, [`check_parts`] of each independent part. Neither reads a
//! clock: effort is counted in configurations, so that a verdict is a function of its input.

mod explain;
mod search;
#[cfg(test)]
mod tests;

use std::fmt;

use crate::history::{History, OpIndex};
use crate::model::{Model, Parts};
use crate::partition::{Part, partition};

pub(crate) use search::Flaw;
use search::{Finding, Search};

/// How much a check may explore.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Budget {
    /// Distinct pairs of (operations placed so far, state). Memory grows with them: some hundred
    /// bytes each, plus four for every operation that is open at that point.
    pub configurations: u64,
}

impl Default for Budget {
    /// Two million configurations: seconds, and below a gigabyte for small states.
    fn default() -> Self {
        Self {
            configurations: 2_000_000,
        }
    }
}

/// What a check explored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Spent {
    /// Distinct configurations entered.
    pub configurations: u64,
    /// Calls of [`Model::step`].
    pub steps: u64,
}

impl Spent {
    fn add(&mut self, other: Self) {
        self.configurations += other.configurations;
        self.steps += other.steps;
    }
}

impl fmt::Display for Spent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} configurations, {} steps",
            self.configurations, self.steps
        )
    }
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict<S> {
    /// One copy could have answered so.
    Linearizable {
        /// An order that explains every answer. Operations without an answer stand in it where
        /// they are needed; those that are not in it need not have happened.
        order: Vec<OpIndex>,
        /// Effort.
        spent: Spent,
    },
    /// No order explains the answers.
    NotLinearizable(Box<Violation<S>>),
    /// The budget ended first. Neither of the two is known.
    Undecided {
        /// Effort.
        spent: Spent,
    },
}

/// Why no order exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation<S> {
    /// The operation that cannot be placed. Everything that was answered before its answer can be
    /// explained, but not that and its answer as well (where operations that were still open at
    /// that time count with the answers that they got later).
    pub blocked: OpIndex,
    /// Orders that explain everything answered before `blocked` was and place as many answered
    /// operations as can be, with as few unanswered ones as that takes: one for each of a few
    /// distinct states; never empty.
    pub partials: Vec<Partial<S>>,
    /// The operations to look at, in order of their calls: those called between the last instant
    /// before `blocked` at which nothing was open and the answer of `blocked`. Observers that the
    /// violation does not need are left out, as far as the budget went.
    pub window: Vec<OpIndex>,
    /// Operations without an answer from before the window: they may still happen inside it.
    pub pending: Vec<OpIndex>,
    /// Whether the window was minimised to the end, or only as far as the budget went.
    pub window_is_minimal: bool,
    /// Effort of the search, without that of minimising the window.
    pub spent: Spent,
}

/// A way to explain a prefix of the history that cannot be continued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partial<S> {
    /// The operations placed, in order.
    pub order: Vec<OpIndex>,
    /// The state after them.
    pub state: S,
    /// The operations that could come next by time, all of which fail to lead on.
    pub refused: Vec<OpIndex>,
}

/// Judges a history as one object.
///
/// The budget is spent on the search; explaining a violation may take as much again.
#[must_use]
pub fn check<M: Model>(
    model: &M,
    history: &History<M::Call, M::Return>,
    budget: Budget,
) -> Verdict<M::State> {
    let all: Vec<OpIndex> = (0..history.len()).map(OpIndex).collect();
    check_among(model, history, &all, budget)
}

/// The verdict on one part of a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartVerdict<K, S> {
    /// Which keys and operations.
    pub part: Part<K>,
    /// Its verdict; indices are those of the whole history.
    pub verdict: Verdict<S>,
}

/// Judges each independent part of a history by itself, with the whole budget for each.
///
/// The history is linearizable exactly when all parts are.
#[must_use]
pub fn check_parts<M: Parts>(
    model: &M,
    history: &History<M::Call, M::Return>,
    budget: Budget,
) -> Vec<PartVerdict<M::Key, M::State>> {
    partition(model, history)
        .into_iter()
        .map(|part| PartVerdict {
            verdict: check_among(model, history, &part.operations, budget),
            part,
        })
        .collect()
}

fn check_among<M: Model>(
    model: &M,
    history: &History<M::Call, M::Return>,
    among: &[OpIndex],
    budget: Budget,
) -> Verdict<M::State> {
    let mut search = Search::new(model, history, among, Flaw::None);
    let finding = search.run(budget);
    let spent = search.spent();
    match finding {
        Finding::Order(order) => Verdict::Linearizable { order, spent },
        Finding::OutOfBudget => Verdict::Undecided { spent },
        Finding::Stuck { blocked, partials } => {
            let window = explain::window(model, history, among, blocked, budget);
            Verdict::NotLinearizable(Box::new(Violation {
                blocked,
                partials,
                window: window.operations,
                pending: window.pending,
                window_is_minimal: window.is_minimal,
                spent,
            }))
        }
    }
}
