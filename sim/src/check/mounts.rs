//! P-ONCE, as mounts see it: what a thread asks through MooseFS's protocol takes effect once, however
//! often it has to be said again, and wherever.
//!
//! Each thread works on names that nobody else touches, so it knows what every reply must be; one
//! that is another breaks the promise. After healing everything that threads made is looked at once
//! more.

use crate::event::Event;
use crate::mounts::About;
use crate::time::SimTime;

use super::{Checker, Violation, broken};

/// Watches what threads of mounts are told of names and nodes.
#[derive(Debug, Default)]
pub struct MountsChecker;

impl Checker for MountsChecker {
    fn name(&self) -> &'static str {
        "mounts"
    }

    fn promise(&self) -> &'static str {
        "P-ONCE"
    }

    fn on_event(&mut self, _: SimTime, event: &Event) -> Result<(), Violation> {
        match event {
            Event::MountTold {
                mount,
                thread,
                wrong: Some((About::Once, what)),
                ..
            } => Err(broken(
                self,
                format!("thread {thread} of mount {mount}: {what}"),
            )),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(wrong: Option<(About, String)>) -> Event {
        Event::MountTold {
            mount: 1,
            thread: 2,
            call: "Mkdir",
            wrong,
        }
    }

    #[test]
    fn a_reply_that_must_be_another_one_is_a_violation() {
        let mut checker = MountsChecker;
        let mut on = |event| checker.on_event(SimTime::ZERO, &event);
        assert!(on(told(None)).is_ok());
        assert!(on(told(Some((About::Session, "x".into())))).is_ok());
        let violation = on(told(Some((About::Once, "made twice".into())))).unwrap_err();
        assert_eq!(violation.promise, "P-ONCE");
        assert_eq!(violation.sentence, "thread 2 of mount 1: made twice");
    }
}
