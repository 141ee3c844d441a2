//! Operations as a recorder outside of the system saw them.
//!
//! Times are instants of one clock that all processes share, in any unit (nanoseconds by custom).
//! This file knows nothing of models, nor of how a history is written down.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Operations that one history may hold. A longer run is cut into several journals.
pub const OPERATION_COUNT_MAX: usize = 1 << 22;

/// One sequential caller: it waits for an answer before it asks again.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct ProcessId(pub u64);

impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p{}", self.0)
    }
}

/// Position of an operation in its history, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpIndex(pub usize);

impl fmt::Display for OpIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// How an operation ended, as far as its caller knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End<R> {
    /// It was answered: it happened, at one instant between the call and this.
    Returned {
        /// When the answer was seen.
        at: u64,
        /// The answer. An error that the object gave (`ENOENT`) is an answer.
        value: R,
    },
    /// Nobody knows: a timeout, a broken connection, a recorder that was killed. It happened at
    /// any time after its call, however late, or never.
    Unknown {
        /// When the caller gave up. `None` when it never did: then it asked nothing more.
        gave_up_at: Option<u64>,
    },
    /// It certainly did not happen, and never will: the connection was refused, for example.
    Failed {
        /// When the caller learnt so.
        at: u64,
    },
}

/// One call, from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation<C, R> {
    /// Who asked.
    pub process: ProcessId,
    /// When, before the request left.
    pub invoked_at: u64,
    /// What.
    pub call: C,
    /// With which result.
    pub end: End<R>,
}

impl<C, R> Operation<C, R> {
    /// When the caller was free again; `None` when it never was.
    #[must_use]
    pub fn ended_at(&self) -> Option<u64> {
        match self.end {
            End::Returned { at, .. } | End::Failed { at } => Some(at),
            End::Unknown { gave_up_at } => gave_up_at,
        }
    }

    /// The answer, when there was one.
    #[must_use]
    pub fn returned(&self) -> Option<&R> {
        match &self.end {
            End::Returned { value, .. } => Some(value),
            End::Unknown { .. } | End::Failed { .. } => None,
        }
    }
}

/// Why operations are not a history. The recorder is at fault; nothing can be judged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HistoryError {
    /// An answer that is older than its question.
    #[error(
        "operation {operation} of {process} ended at {ended_at}, before its call at {invoked_at}"
    )]
    EndsBeforeInvoke {
        /// Which.
        operation: OpIndex,
        /// Whose.
        process: ProcessId,
        /// When it was called.
        invoked_at: u64,
        /// When it is said to have ended.
        ended_at: u64,
    },
    /// A process asked again before it was answered.
    #[error(
        "{process} called operation {second} at {invoked_at} while its operation {first} was open"
    )]
    TwoOpen {
        /// Whose.
        process: ProcessId,
        /// The open one.
        first: OpIndex,
        /// The one too many.
        second: OpIndex,
        /// When it was called.
        invoked_at: u64,
    },
    /// More than [`OPERATION_COUNT_MAX`].
    #[error("{count} operations, the limit is {limit}")]
    TooMany {
        /// Operations there are.
        count: usize,
        /// The bound.
        limit: usize,
    },
}

/// Operations that passed [`History::new`].
///
/// Invariants: every operation ends no earlier than it begins; operations of one process do not
/// overlap (they may touch).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History<C, R> {
    operations: Vec<Operation<C, R>>,
}

impl<C, R> History<C, R> {
    /// Checks that recorded operations, in any order, can be a history.
    ///
    /// # Errors
    /// [`HistoryError`], naming the first operation that cannot be.
    pub fn new(operations: Vec<Operation<C, R>>) -> Result<Self, HistoryError> {
        if operations.len() > OPERATION_COUNT_MAX {
            return Err(HistoryError::TooMany {
                count: operations.len(),
                limit: OPERATION_COUNT_MAX,
            });
        }
        let mut by_process: BTreeMap<ProcessId, Vec<usize>> = BTreeMap::new();
        for (index, operation) in operations.iter().enumerate() {
            if let Some(ended_at) = operation.ended_at().filter(|at| *at < operation.invoked_at) {
                return Err(HistoryError::EndsBeforeInvoke {
                    operation: OpIndex(index),
                    process: operation.process,
                    invoked_at: operation.invoked_at,
                    ended_at,
                });
            }
            by_process.entry(operation.process).or_default().push(index);
        }
        for (process, mut own) in by_process {
            own.sort_by_key(|&i| {
                let operation = &operations[i];
                (
                    operation.invoked_at,
                    operation.ended_at().unwrap_or(u64::MAX),
                )
            });
            for pair in own.windows(2) {
                let (first, second) = (&operations[pair[0]], &operations[pair[1]]);
                if first.ended_at().is_none_or(|at| at > second.invoked_at) {
                    return Err(HistoryError::TwoOpen {
                        process,
                        first: OpIndex(pair[0]),
                        second: OpIndex(pair[1]),
                        invoked_at: second.invoked_at,
                    });
                }
            }
        }
        Ok(Self { operations })
    }

    /// All operations, in the order in which they were given.
    #[must_use]
    pub fn operations(&self) -> &[Operation<C, R>] {
        &self.operations
    }

    /// How many operations there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.operations.len()
    }

    /// Whether nothing was recorded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// One operation.
    ///
    /// # Panics
    /// When the index is of another history.
    #[must_use]
    pub fn get(&self, index: OpIndex) -> &Operation<C, R> {
        &self.operations[index.0]
    }

    /// Moves every call back and every end forward, for clocks that may differ by this much.
    ///
    /// Only what is more than twice the error apart keeps its order, so that a clock never makes a
    /// violation; one that is hidden behind the clock error is not found. Operations of one process
    /// may overlap afterwards.
    #[must_use]
    pub fn widened(mut self, clock_error: u64) -> Self {
        for operation in &mut self.operations {
            operation.invoked_at = operation.invoked_at.saturating_sub(clock_error);
            if let End::Returned { at, .. } | End::Failed { at } = &mut operation.end {
                *at = at.saturating_add(clock_error);
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(process: u64, invoked_at: u64, end: End<()>) -> Operation<(), ()> {
        Operation {
            process: ProcessId(process),
            invoked_at,
            call: (),
            end,
        }
    }

    fn returned(at: u64) -> End<()> {
        End::Returned { at, value: () }
    }

    #[test]
    fn an_end_before_its_call_is_refused() {
        let error = History::new(vec![operation(3, 10, returned(9))]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "operation #0 of p3 ended at 9, before its call at 10"
        );
        assert!(History::new(vec![operation(3, 10, returned(10))]).is_ok());
    }

    #[test]
    fn two_open_operations_of_one_process_are_refused() {
        let overlapping = vec![operation(1, 0, returned(5)), operation(1, 4, returned(9))];
        let error = History::new(overlapping).unwrap_err();
        assert_eq!(
            error.to_string(),
            "p1 called operation #1 at 4 while its operation #0 was open"
        );
        let touching = vec![operation(1, 5, returned(9)), operation(1, 0, returned(5))];
        assert!(History::new(touching).is_ok());
        let of_two = vec![operation(1, 0, returned(5)), operation(2, 4, returned(9))];
        assert!(History::new(of_two).is_ok());
    }

    #[test]
    fn who_never_gave_up_asks_nothing_more() {
        let stuck = End::Unknown { gave_up_at: None };
        let gave_up = End::Unknown {
            gave_up_at: Some(3),
        };
        assert!(History::new(vec![operation(1, 0, stuck), operation(1, 4, returned(9))]).is_err());
        assert!(History::new(vec![operation(1, 0, gave_up), operation(1, 4, returned(9))]).is_ok());
    }

    #[test]
    fn widening_reaches_both_ways_and_stops_at_the_ends_of_time() {
        let history = History::new(vec![
            operation(1, 3, returned(5)),
            operation(2, 100, returned(u64::MAX)),
        ])
        .unwrap()
        .widened(10);
        assert_eq!(history.get(OpIndex(0)).invoked_at, 0);
        assert_eq!(history.get(OpIndex(0)).ended_at(), Some(15));
        assert_eq!(history.get(OpIndex(1)).ended_at(), Some(u64::MAX));
    }
}
