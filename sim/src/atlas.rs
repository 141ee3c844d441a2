//! The fault atlas: which copies are good, so that a fault never takes the last one.
//!
//! The promises hold while a majority of disks survives. So disks are damaged only on a minority
//! of seats, and a seat that was damaged counts as such until its node has been replaced and has
//! caught up. A run that judges detection alone (`faults.detection_only`) knows no such bound.

use std::collections::BTreeMap;

use crate::fault::{Fault, FaultKind};
use crate::options::Options;
use crate::place::Seat;

/// Faults that destroy something for ever on a disk.
pub const DAMAGING: [FaultKind; 5] = [
    FaultKind::LoseDisk,
    FaultKind::RotLog,
    FaultKind::RotState,
    FaultKind::BitFlipOnRead,
    FaultKind::Misdirect,
];

/// Which disks are whole.
#[derive(Clone, Debug)]
pub struct Atlas {
    seats: u8,
    detection_only: bool,
    leases: bool,
    /// Seats whose disks are not whole, and the fault that saw to it last.
    damaged: BTreeMap<Seat, FaultKind>,
    /// Leave every fault out that would make the operator busy in a second place.
    replacing: Option<Seat>,
    /// The disk of whom is being replaced was damaged since it is a new one.
    damaged_anew: bool,
    /// Some voters are learners for a while: fewer copies make a majority.
    cycling: bool,
}

impl Atlas {
    /// All disks are whole.
    #[must_use]
    pub fn new(options: &Options) -> Self {
        Self {
            seats: options.nodes,
            detection_only: options.faults.detection_only,
            leases: options.workload.read_lease > 0,
            damaged: BTreeMap::new(),
            replacing: None,
            damaged_anew: false,
            cycling: false,
        }
    }

    /// Whether the promises survive this fault now.
    ///
    /// # Errors
    /// Why they would not, for the trace.
    pub fn admit(&self, fault: &Fault) -> Result<(), &'static str> {
        match fault {
            Fault::MonotonicJump { .. } if self.leases => {
                return Err("leases are trusted in this run");
            }
            Fault::Pause {
                clock_stops: true, ..
            } if self.leases => return Err("leases are trusted in this run"),
            Fault::LoseDisk { .. } if self.replacing.is_some() => {
                return Err("another node is being replaced");
            }
            Fault::CycleMember { .. } | Fault::Shrink { .. }
                if self.cycling || !self.is_whole() =>
            {
                return Err("fewer voters would hold too few good copies");
            }
            Fault::CycleMember { .. } | Fault::Shrink { .. } if self.seats < 3 => {
                return Err("too few voters would be left");
            }
            _ => {}
        }
        let Some(seat) = fault.seat().filter(|_| damages(fault.kind())) else {
            return Ok(());
        };
        if self.detection_only && fault.kind() != FaultKind::LoseDisk {
            return Ok(());
        }
        if self.cycling {
            return Err("a voter is a learner, so fewer copies are good");
        }
        let others = self.damaged.keys().filter(|other| **other != seat).count();
        if others + 1 > usize::from(self.seats.saturating_sub(1) / 2) {
            return Err("it would destroy what only a minority would have left");
        }
        Ok(())
    }

    /// The fault happened.
    pub fn on_fault(&mut self, fault: &Fault) {
        if let Some(seat) = fault.seat().filter(|_| damages(fault.kind())) {
            self.damaged.insert(seat, fault.kind());
            if fault.kind() == FaultKind::LoseDisk {
                self.on_new_disk(seat);
            } else if self.replacing == Some(seat) {
                self.damaged_anew = true;
            }
        }
    }

    /// A voter becomes a learner, or is a voter again.
    pub fn set_cycling(&mut self, cycling: bool) {
        self.cycling = cycling;
    }

    /// Whether a voter is a learner for a while.
    #[must_use]
    pub fn is_cycling(&self) -> bool {
        self.cycling
    }

    /// A node refused to start on what its disk has become: it will be replaced.
    pub fn on_replacing(&mut self, seat: Seat) {
        self.damaged.entry(seat).or_insert(FaultKind::LoseDisk);
        self.on_new_disk(seat);
    }

    fn on_new_disk(&mut self, seat: Seat) {
        self.replacing = Some(seat);
        self.damaged_anew = false;
    }

    /// A node with an empty disk has taken its seat's place in the cluster and caught up.
    pub fn on_replaced(&mut self, seat: Seat) {
        let is_whole = self.replacing != Some(seat) || !self.damaged_anew;
        if is_whole {
            self.damaged.remove(&seat);
        }
        if self.replacing == Some(seat) {
            self.replacing = None;
        }
    }

    /// Whether anything is lacking, so that no seat may be left behind for good.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.damaged.is_empty() && self.replacing.is_none()
    }

    /// The seat whose node is being replaced.
    #[must_use]
    pub fn replacing(&self) -> Option<Seat> {
        self.replacing
    }

    /// Whether this seat's disk has been damaged.
    #[must_use]
    pub fn is_damaged(&self, seat: Seat) -> bool {
        self.damaged.contains_key(&seat)
    }
}

/// Whether a node may have to be replaced after this fault.
#[must_use]
pub fn may_cost_a_disk(kind: FaultKind) -> bool {
    damages(kind)
        || matches!(
            kind,
            FaultKind::FullDisk
                | FaultKind::FailFlush
                | FaultKind::FailWrite
                | FaultKind::FailCheckpoint
                | FaultKind::ReadErrors
        )
}

fn damages(kind: FaultKind) -> bool {
    DAMAGING.contains(&kind)
}

#[cfg(test)]
mod tests {
    use mfsha_core::rng::Seed;

    use super::*;

    fn atlas(nodes: u8) -> Atlas {
        let mut options = Options::draw(&Seed::from_u64(1));
        options.nodes = nodes;
        options.faults.detection_only = false;
        Atlas::new(&options)
    }

    fn rot(seat: u8) -> Fault {
        Fault::RotLog {
            seat: Seat(seat),
            draw: 1,
        }
    }

    fn lose(seat: u8) -> Fault {
        Fault::LoseDisk {
            seat: Seat(seat),
            down_ms: 1,
        }
    }

    #[test]
    fn only_a_minority_is_ever_damaged() {
        for (nodes, minority) in [(1u8, 0u8), (3, 1), (5, 2)] {
            let mut atlas = atlas(nodes);
            for seat in 0..nodes {
                let admitted = atlas.admit(&rot(seat)).is_ok();
                assert_eq!(admitted, seat < minority, "seat {seat} of {nodes}");
                if admitted {
                    atlas.on_fault(&rot(seat));
                    assert_eq!(atlas.admit(&rot(seat)), Ok(()), "it is damaged already");
                }
            }
        }
    }

    #[test]
    fn a_replaced_disk_is_whole_again() {
        let mut atlas = atlas(3);
        atlas.on_fault(&lose(0));
        assert!(atlas.admit(&lose(1)).is_err());
        assert!(!atlas.is_whole());
        atlas.on_replaced(Seat(0));
        assert!(atlas.is_whole());
        assert_eq!(atlas.admit(&lose(1)), Ok(()));
    }

    #[test]
    fn a_disk_that_was_damaged_while_its_node_was_replaced_is_not_whole_for_that() {
        let mut atlas = atlas(3);
        atlas.on_fault(&lose(0));
        atlas.on_fault(&rot(0));
        atlas.on_replaced(Seat(0));
        assert!(!atlas.is_whole());
        assert!(atlas.admit(&rot(1)).is_err());
        atlas.on_fault(&lose(0));
        atlas.on_replaced(Seat(0));
        assert!(atlas.is_whole());
    }

    #[test]
    fn detection_runs_may_destroy_every_copy() {
        let mut atlas = atlas(1);
        assert!(atlas.admit(&rot(0)).is_err());
        atlas.detection_only = true;
        assert_eq!(atlas.admit(&rot(0)), Ok(()));
    }

    #[test]
    fn what_destroys_nothing_is_admitted() {
        let fault = Fault::PowerLossAll {
            down_ms: 1,
            step_ms: 1,
        };
        assert_eq!(atlas(1).admit(&fault), Ok(()));
    }
}
