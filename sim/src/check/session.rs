//! P-SESSION: a session, its open files and its locks survive the loss of any node.
//!
//! No mount is ever refused its session, nor given another one; what it has open is there, with or
//! without a name; and of the lock that all mounts want nobody gets it while somebody else has it:
//! from when one was told that it has it, to when it says that it gives it back.

use std::collections::BTreeMap;

use mfsha_core::id::SessionId;

use crate::event::Event;
use crate::mounts::About;
use crate::time::SimTime;

use super::{Checker, Violation, broken};

/// Watches what mounts are told of their sessions, open files and locks.
#[derive(Debug, Default)]
pub struct SessionChecker {
    sessions: BTreeMap<u8, SessionId>,
    locked_by: Option<u8>,
}

impl SessionChecker {
    fn judge(&mut self, event: &Event) -> Result<(), String> {
        match event {
            Event::MountRegistered {
                mount,
                session,
                status,
            } => {
                let had = self.sessions.get(mount).copied();
                if *status != 0 {
                    return Err(format!(
                        "mount {mount}, whose session is {had:?}, was refused with status {status}"
                    ));
                }
                if had.is_some() && had != *session {
                    return Err(format!(
                        "mount {mount} came back to {had:?} and was given {session:?}"
                    ));
                }
                if let Some(session) = session {
                    self.sessions.insert(*mount, *session);
                }
            }
            Event::MountTold {
                mount,
                thread,
                wrong: Some((About::Session, what)),
                ..
            } => return Err(format!("thread {thread} of mount {mount}: {what}")),
            Event::MountLocked { mount, held: true } => match self.locked_by {
                Some(other) if other != *mount => {
                    return Err(format!(
                        "mount {mount} was given a lock that mount {other} has"
                    ));
                }
                _ => self.locked_by = Some(*mount),
            },
            Event::MountLocked { mount, held: false } if self.locked_by == Some(*mount) => {
                self.locked_by = None;
            }
            _ => {}
        }
        Ok(())
    }
}

impl Checker for SessionChecker {
    fn name(&self) -> &'static str {
        "session"
    }

    fn promise(&self) -> &'static str {
        "P-SESSION"
    }

    fn on_event(&mut self, _: SimTime, event: &Event) -> Result<(), Violation> {
        self.judge(event).map_err(|what| broken(self, what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registered(session: u32, status: u8) -> Event {
        Event::MountRegistered {
            mount: 1,
            session: Some(SessionId(session)),
            status,
        }
    }

    fn locked(mount: u8, held: bool) -> Event {
        Event::MountLocked { mount, held }
    }

    fn judge(events: &[Event]) -> Result<(), String> {
        let mut checker = SessionChecker::default();
        events.iter().try_for_each(|event| checker.judge(event))
    }

    #[test]
    fn a_session_is_neither_refused_nor_another_one() {
        assert_eq!(judge(&[registered(7, 0), registered(7, 0)]), Ok(()));
        assert!(judge(&[registered(7, 0), registered(8, 0)]).is_err());
        assert!(judge(&[registered(7, 0), registered(7, 21)]).is_err());
    }

    #[test]
    fn one_has_the_lock_at_a_time() {
        let turns = [locked(1, true), locked(1, false), locked(2, true)];
        assert_eq!(judge(&turns), Ok(()));
        assert_eq!(judge(&[locked(1, true), locked(1, true)]), Ok(()));
        assert!(judge(&[locked(1, true), locked(2, true)]).is_err());
        let late = [locked(1, true), locked(2, false), locked(2, true)];
        assert!(judge(&late).is_err());
    }

    #[test]
    fn an_open_file_that_is_gone_is_told() {
        let told = |about| Event::MountTold {
            mount: 1,
            thread: 1,
            call: "GetAttr",
            wrong: Some((about, "gone".to_owned())),
        };
        assert!(judge(&[told(About::Session)]).is_err());
        assert_eq!(judge(&[told(About::Once)]), Ok(()));
    }
}
