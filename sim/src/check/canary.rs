//! The canary: reports a violation when nothing is wrong, because it was told to.
//!
//! A run with `canary=true` must fail. When it does not, no green run means anything.

use crate::event::{Event, Phase};
use crate::time::SimTime;

use super::{Checker, Violation, broken};

/// Fails when the healing begins.
#[derive(Debug, Default)]
pub struct Canary;

impl Checker for Canary {
    fn name(&self) -> &'static str {
        "canary"
    }

    fn promise(&self) -> &'static str {
        "ALARM"
    }

    fn on_event(&mut self, _now: SimTime, event: &Event) -> Result<(), Violation> {
        match event {
            Event::PhaseBegins {
                phase: Phase::Liveness,
                ..
            } => Err(broken(self, "the canary was told to fail, and does".into())),
            _ => Ok(()),
        }
    }
}
