//! P-LIVE: a healed core elects, serves and becomes one state, each within a bound of its own.
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_core_that_serves_is_lawful_and_one_that_is_late_is_caught() {
        let mut checker = LiveChecker;
        let after = Duration::from_secs(1);
        let serves = Event::CoreServes { after };
        checker.on_event(SimTime::ZERO, &serves).unwrap();
        let what = "nobody leads".to_owned();
        let found = checker.on_event(SimTime::ZERO, &Event::CoreLate { what });
        assert_eq!(found.unwrap_err().kind, ViolationKind::Liveness);
    }
}
