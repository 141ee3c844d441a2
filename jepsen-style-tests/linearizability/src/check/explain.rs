//! What a person has to look at when a history is refused.
//!
//! Before `blocked` is placed nothing can be placed that was called after its answer, so the
//! operations called up to then are a violation by themselves. Leaving an observer out of them
//! only takes a demand away: what still fails without it fails for the reason that is left. A
//! change is never left out.

use std::collections::BTreeSet;

use super::search::{Finding, Flaw, Search};
use super::{Budget, Spent};
use crate::history::{End, History, OpIndex};
use crate::model::Model;

/// See [`super::Violation`].
pub(super) struct Window {
    pub(super) operations: Vec<OpIndex>,
    pub(super) pending: Vec<OpIndex>,
    pub(super) is_minimal: bool,
}

/// The window of a violation. Spends at most the budget on making it small.
pub(super) fn window<M: Model>(
    model: &M,
    history: &History<M::Call, M::Return>,
    among: &[OpIndex],
    blocked: OpIndex,
    budget: Budget,
) -> Window {
    let end = history.get(blocked).ended_at().unwrap_or(u64::MAX);
    let prefix: BTreeSet<OpIndex> = among
        .iter()
        .copied()
        .filter(|index| history.get(*index).invoked_at <= end)
        .collect();
    let start = quiet_start(history, &prefix, history.get(blocked).invoked_at);
    let mut operations = Vec::new();
    let mut pending = Vec::new();
    for index in &prefix {
        let operation = history.get(*index);
        match operation.end {
            End::Failed { .. } => {}
            _ if operation.invoked_at >= start => operations.push(*index),
            End::Unknown { .. } => pending.push(*index),
            End::Returned { .. } => {}
        }
    }
    operations.sort_by_key(|index| (history.get(*index).invoked_at, *index));
    let droppable: Vec<OpIndex> = operations
        .iter()
        .copied()
        .filter(|index| {
            let operation = history.get(*index);
            let is_observer = |value| model.is_observer(&operation.call, value);
            *index != blocked && operation.returned().is_some_and(is_observer)
        })
        .collect();
    let mut minimiser = Minimiser {
        model,
        history,
        kept: prefix,
        budget,
        spent: Spent::default(),
    };
    let is_minimal = minimiser.drop_needless(droppable);
    operations.retain(|index| minimiser.kept.contains(index));
    Window {
        operations,
        pending,
        is_minimal,
    }
}

/// The last instant up to `from` at which no answered operation was open.
fn quiet_start<C, R>(history: &History<C, R>, among: &BTreeSet<OpIndex>, from: u64) -> u64 {
    let mut spans: Vec<(u64, u64)> = among
        .iter()
        .map(|index| history.get(*index))
        .filter_map(|operation| match operation.end {
            End::Returned { at, .. } => Some((operation.invoked_at, at)),
            End::Unknown { .. } | End::Failed { .. } => None,
        })
        .collect();
    // By answer, latest first: each span that reaches the start may move it back.
    spans.sort_by_key(|(_, answered_at)| std::cmp::Reverse(*answered_at));
    let mut start = from;
    for (invoked_at, answered_at) in spans {
        if answered_at < start {
            break;
        }
        start = start.min(invoked_at);
    }
    start
}

/// Leaves operations out for as long as what is left still fails.
struct Minimiser<'a, M: Model> {
    model: &'a M,
    history: &'a History<M::Call, M::Return>,
    kept: BTreeSet<OpIndex>,
    budget: Budget,
    spent: Spent,
}

impl<M: Model> Minimiser<'_, M> {
    /// Tries all at once, then halves, down to single operations. `false` when the budget ended.
    fn drop_needless(&mut self, mut droppable: Vec<OpIndex>) -> bool {
        let mut size = droppable.len();
        while size > 0 {
            let mut needed = Vec::new();
            for chunk in droppable.chunks(size) {
                match self.still_fails_without(chunk) {
                    Some(true) => self.kept = self.without(chunk),
                    Some(false) => needed.extend_from_slice(chunk),
                    None => return false,
                }
            }
            droppable = needed;
            size = match size {
                1 => 0,
                _ => size.div_ceil(2).min(droppable.len()),
            };
        }
        true
    }

    fn without(&self, chunk: &[OpIndex]) -> BTreeSet<OpIndex> {
        let chunk: BTreeSet<OpIndex> = chunk.iter().copied().collect();
        self.kept.difference(&chunk).copied().collect()
    }

    /// `None` when the budget does not reach.
    fn still_fails_without(&mut self, chunk: &[OpIndex]) -> Option<bool> {
        let left = self
            .budget
            .configurations
            .checked_sub(self.spent.configurations)?;
        let among: Vec<OpIndex> = self.without(chunk).into_iter().collect();
        let mut search = Search::new(self.model, self.history, &among, Flaw::None);
        let finding = search.run(Budget {
            configurations: left,
        });
        self.spent.add(search.spent());
        match finding {
            Finding::Stuck { .. } => Some(true),
            Finding::Order(_) => Some(false),
            Finding::OutOfBudget => None,
        }
    }
}
