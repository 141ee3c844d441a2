//! P-PROCESS: no node panics, and none stops or refuses to start without a fault that excuses it.
//!
//! A node has to stop after a failed flush, a failed checkpoint, or damage that it cannot repair
//! alone; the schedule says which seats had such a fault. A panic is never excused.

use std::collections::BTreeMap;

use crate::event::{Event, FaultStage, StopReason};
use crate::fault::FaultKind;
use crate::options::Options;
use crate::place::Seat;
use crate::time::SimTime;

use super::{Checker, Violation, ViolationKind};

/// Watches that processes live.
#[derive(Debug, Default)]
pub struct ProcessChecker {
    /// Seats that had a fault after which stopping is right, and the last one.
    excused: BTreeMap<Seat, FaultKind>,
}

impl ProcessChecker {
    /// For a run of these options.
    #[must_use]
    pub fn new(_options: &Options) -> Self {
        Self::default()
    }

    fn dead(&self, sentence: String) -> Violation {
        Violation {
            checker: self.name().to_owned(),
            promise: self.promise().to_owned(),
            kind: ViolationKind::Crash,
            sentence,
        }
    }
}

impl Checker for ProcessChecker {
    fn name(&self) -> &'static str {
        "process"
    }

    fn promise(&self) -> &'static str {
        "P-PROCESS"
    }

    fn on_event(&mut self, _now: SimTime, event: &Event) -> Result<(), Violation> {
        match event {
            Event::Fault {
                fault,
                stage: FaultStage::Begins,
                ..
            } if may_stop_a_node(fault.kind()) => {
                if let Some(seat) = fault.seat() {
                    self.excused.insert(seat, fault.kind());
                }
                Ok(())
            }
            Event::NodeStopped { seat, node, reason } => match reason {
                StopReason::Panicked(message) => {
                    Err(self.dead(format!("{node} on {seat} panicked: {message}")))
                }
                StopReason::Stopped(why) if !self.excused.contains_key(seat) => Err(self.dead(
                    format!("{node} on {seat} stopped without a fault of its disk: {why}"),
                )),
                StopReason::RefusedToOpen(why) if !self.excused.contains_key(seat) => Err(self
                    .dead(format!(
                        "{node} on {seat} refused to start on a disk without damage: {why}"
                    ))),
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }
}

/// Whether a node that had this fault may stop or refuse to start.
fn may_stop_a_node(kind: FaultKind) -> bool {
    matches!(
        kind,
        FaultKind::FailFlush
            | FaultKind::FailWrite
            | FaultKind::FullDisk
            | FaultKind::BitFlipOnRead
            | FaultKind::ReadErrors
            | FaultKind::Misdirect
            | FaultKind::RotLog
            | FaultKind::RotState
            | FaultKind::FailCheckpoint
            | FaultKind::LoseDisk
    )
}

#[cfg(test)]
mod tests {
    use mfsha_core::id::NodeId;

    use super::*;
    use crate::fault::Fault;

    fn stopped(reason: StopReason) -> Event {
        Event::NodeStopped {
            seat: Seat(1),
            node: NodeId(2),
            reason,
        }
    }

    #[test]
    fn a_panic_is_never_excused_and_a_stop_only_by_a_fault_of_that_seat() {
        let mut checker = ProcessChecker::default();
        let now = SimTime::ZERO;
        assert!(checker.on_event(now, &stopped(StopReason::Killed)).is_ok());
        let stop = stopped(StopReason::Stopped("flush failed".into()));
        assert!(checker.on_event(now, &stop).is_err());
        let fault = |seat| Event::Fault {
            entry: 0,
            fault: Fault::FailFlush { seat, down_ms: 1 },
            stage: FaultStage::Begins,
        };
        checker.on_event(now, &fault(Seat(0))).unwrap();
        assert!(checker.on_event(now, &stop).is_err());
        checker.on_event(now, &fault(Seat(1))).unwrap();
        assert!(checker.on_event(now, &stop).is_ok());
        let panic = stopped(StopReason::Panicked("index".into()));
        assert!(checker.on_event(now, &panic).is_err());
    }
}
