//! What outcomes and answers have to be: the reference model, advanced along the committed log.
//!
//! The trait lets tests judge by something smaller than the model of the whole namespace.

use mfsha_core::namespace::error::FsError;
use mfsha_core::namespace::op::{Answer, Command, Outcome, Query};
use mfsha_core::time::WallTime;
use mfsha_model::Model;

/// A state machine that says what is right.
pub trait Reference {
    /// Carries a command out and compares with what was observed of it.
    ///
    /// # Errors
    /// The promise that is broken, and how.
    fn apply(&mut self, command: &Command, observed: &Outcome) -> Result<(), String>;

    /// What a query has to answer now, for a node whose wall clock shows `now`.
    ///
    /// # Errors
    /// The refusal that is right.
    fn query(&self, now: WallTime, query: &Query) -> Result<Answer, FsError>;
}

impl Reference for Model {
    fn apply(&mut self, command: &Command, observed: &Outcome) -> Result<(), String> {
        Model::apply(self, command, observed).map_err(|mismatch| mismatch.to_string())
    }

    fn query(&self, now: WallTime, query: &Query) -> Result<Answer, FsError> {
        Model::query(self, now, query)
    }
}
