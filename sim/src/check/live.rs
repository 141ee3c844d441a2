//! P-LIVE: a healed core elects, serves and becomes one state within its bound.
//!
//! The world measures, since it decides when to stop waiting; this checker gives the verdict.

use crate::event::Event;
use crate::time::SimTime;

use super::{Checker, Violation, ViolationKind};

/// Watches that a healed core serves in time.
#[derive(Debug, Default)]
pub struct LiveChecker;

impl Checker for LiveChecker {
    fn name(&self) -> &'static str {
        "live"
    }

    fn promise(&self) -> &'static str {
        "P-LIVE"
    }

    fn on_event(&mut self, _now: SimTime, event: &Event) -> Result<(), Violation> {
        match event {
            Event::CoreLate { what } => Err(Violation {
                checker: self.name().to_owned(),
                promise: self.promise().to_owned(),
                kind: ViolationKind::Liveness,
                sentence: what.clone(),
            }),
            _ => Ok(()),
        }
    }
}
