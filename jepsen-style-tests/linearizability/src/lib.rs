//! Judges histories that were recorded from outside: could one copy of the object, asked one thing
//! at a time, have answered so?
//!
//! The tested system is a black box: this crate knows nothing of mfsha. Recorders note when a call
//! left, when its answer came and what it was; [`check`] looks for an order of the calls that
//! agrees with real time and explains every answer. `docs/linearizability.md` has the algorithm,
//! the journal's format and the limits; `mfsha-lincheck` is the same as a command.
//!
//! | module | what lives there |
//! |---|---|
//! | [`history`] | operations, their ends (answered, unknown, failed), and what makes them a history |
//! | [`journal`] | histories as JSON lines |
//! | [`model`] | what an object must tell the checker |
//! | [`models`] | registers, a set, a file-system tree |
//! | [`mod@check`] | the search and its verdicts |
//! | [`partition`] | histories as independent histories |
//! | [`tree`] | the ordered map that states are made of |
//!
//! ```
//! use mfsha_linearizability::check::{Budget, Verdict, check};
//! use mfsha_linearizability::history::{End, History, Operation, ProcessId};
//! use mfsha_linearizability::models::{Set, SetCall, SetReturn};
//!
//! let operation = |process, invoked_at, call, at, value| Operation {
//!     process: ProcessId(process),
//!     invoked_at,
//!     call,
//!     end: End::Returned { at, value },
//! };
//! let history = History::new(vec![
//!     operation(1, 0, SetCall::Add { value: 7 }, 10, SetReturn::Yes),
//!     operation(2, 20, SetCall::Contains { value: 7 }, 30, SetReturn::No),
//! ])?;
//! assert!(matches!(
//!     check(&Set, &history, Budget::default()),
//!     Verdict::NotLinearizable(_)
//! ));
//! # Ok::<(), mfsha_linearizability::history::HistoryError>(())
//! ```
//!
//! **Invariant:** a verdict is a function of model, history and budget. Nothing here reads a clock
//! or draws randomness.
#![forbid(unsafe_code)]

pub mod check;
pub mod history;
pub mod journal;
pub mod model;
pub mod models;
pub mod partition;
pub mod tree;
