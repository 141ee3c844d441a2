//! What a sweep has to reach: a closed list, and how a sweep is compared with it.
//!
//! The list was taken from what 1,000 seeds reach: a situation is demanded when at least
//! [`RARE_SEEDS`] of them did with a margin, so that a sweep of other seeds, or a change that moves
//! what seeds draw, does not miss one by chance. What is reached more rarely is told, not demanded.

use std::collections::BTreeMap;

use super::During::{
    self, Admission, Arrival, Checkpoint, Cut, Election, FullDisk, Membership, NoLeader, Outage,
    Recovery, SlowDisk, Standstill,
};

/// From so many seeds on a sweep has to reach everything in [`REQUIRED`] and [`CROSSED`].
pub const SEEDS_MIN: u64 = 1_000;

/// A situation that fewer seeds of a sweep of [`SEEDS_MIN`] reach is rare: that it is reached at
/// all is chance.
pub const RARE_SEEDS: u64 = 8;

/// Situations that a sweep of so many seeds must reach. The names are those of
/// `Coverage::counts`.
pub const REQUIRED: &[&str] = &[
    "fault partition",
    "fault one-way-partition",
    "fault bridge",
    "fault client-partition",
    "fault slow-link",
    "fault clog",
    "fault swizzle-clog",
    "fault loss-burst",
    "fault duplicate-burst",
    "fault reorder-burst",
    "fault corrupt-burst",
    "fault reset",
    "fault kill leader",
    "fault kill follower",
    "fault power-loss leader",
    "fault power-loss follower",
    "fault power-loss-all",
    "fault pause leader",
    "fault pause follower",
    "fault lose-disk leader",
    "fault lose-disk follower",
    "fault slow-disk leader",
    "fault slow-disk follower",
    "fault full-disk leader",
    "fault full-disk follower",
    "fault fail-flush leader",
    "fault fail-flush follower",
    "fault fail-write leader",
    "fault fail-write follower",
    "fault bit-flip-on-read leader",
    "fault bit-flip-on-read follower",
    "fault read-errors leader",
    "fault read-errors follower",
    "fault misdirect leader",
    "fault misdirect follower",
    "fault rot-log leader",
    "fault rot-log follower",
    "fault rot-state leader",
    "fault rot-state follower",
    "fault fail-checkpoint leader",
    "fault fail-checkpoint follower",
    "fault wall-jump leader",
    "fault wall-jump follower",
    "fault monotonic-jump leader",
    "fault monotonic-jump follower",
    "fault clock-rate leader",
    "fault clock-rate follower",
    "fault transfer-leader",
    "fault cycle-member",
    "fault server-crash",
    "fault server-cut",
    "fault server-stop",
    "fault data-cut",
    "message lost by a reset",
    "message lost by a cut",
    "message delivered twice",
    "cluster formed over streams",
    "node joined over streams",
    "identity could not be stored",
    "frame torn by a reset",
    "frame torn by a death",
    "frame spoilt on the way",
    "node stopped by itself",
    "only detection is judged",
    "stream broken between frames",
    "peer lost by its silence",
    "second connection of two nodes given up",
    "connected again while a snapshot streamed",
    "node restarts",
    "node restarts from a checkpoint",
    "node replaced",
    "snapshot installed",
    "leader changes",
    "crash while a flush is under way",
    "write answered after a retry",
    "write answered as a repeat",
    "write answered by another node than was asked first",
    "write answered by a follower",
    "write unknown after lost leadership",
    "read strict",
    "read strict at a follower",
    "read by lease",
    "read fast",
    "chunk order carried out",
    "chunkserver taken in again",
    "chunkserver told to register later",
    "chunkserver left a node that did not register it",
    "chunk read",
    "chunkserver says that it stops",
    "mount came back",
    "mount locked",
    "membership applied",
    "healed core of a part",
    "healed core of all",
    "bit flipped on the way",
    "buggify append of one entry",
    "buggify asked again",
    "buggify checkpoint early",
    "buggify checkpoint stalls",
    "buggify flush stalls",
    "buggify lease not used",
    "buggify log purged early",
    "buggify one entry applied",
    "buggify part of little",
    "buggify queue full",
    "buggify request refused",
    "buggify segment ends early",
    "buggify snapshot early",
    "buggify transfer given up",
    "checkpoint cut short",
    "checkpoint cut short follower",
    "checkpoint cut short leader",
    "checkpoint failed",
    "checkpoint failed follower",
    "checkpoint failed leader",
    "checkpoint slowed",
    "chunk order Create",
    "chunk order Delete",
    "chunk order DupTrunc",
    "chunk order Duplicate",
    "chunk order Replicate",
    "chunk order SetVersion",
    "chunk order Truncate",
    "chunk order failed",
    "chunk written",
    "chunkserver dies",
    "fault shrink",
    "fault shrink follower",
    "fault shrink leader",
    "state read failed",
    "state read failed follower",
    "state read failed leader",
    "client gave up",
    "crash candidate",
    "crash follower",
    "crash leader",
    "crash learner",
    "disk flush failed",
    "disk flush failed candidate",
    "disk flush failed follower",
    "disk flush failed leader",
    "disk flush slowed",
    "disk operation lost",
    "disk operation lost candidate",
    "disk operation lost follower",
    "disk operation lost leader",
    "disk operation torn",
    "disk operation torn candidate",
    "disk operation torn follower",
    "disk operation torn leader",
    "disk operations out of order",
    "disk operations out of order follower",
    "disk operations out of order leader",
    "disk pages torn",
    "disk pages torn follower",
    "disk pages torn leader",
    "disk read failed",
    "disk read failed down",
    "disk read flipped a bit",
    "disk read flipped a bit down",
    "disk sector rotted",
    "disk sector rotted candidate",
    "disk sector rotted down",
    "disk sector rotted follower",
    "disk sector rotted leader",
    "disk was full",
    "disk was full down",
    "disk was full follower",
    "disk was full leader",
    "disk write failed",
    "disk write failed candidate",
    "disk write failed down",
    "disk write failed follower",
    "disk write failed leader",
    "disk write went astray",
    "disk write went astray follower",
    "disk write went astray leader",
    "fault bit-flip-on-read candidate",
    "fault bit-flip-on-read down",
    "fault bridge candidate",
    "fault bridge down",
    "fault bridge follower",
    "fault bridge leader",
    "fault clock-rate candidate",
    "fault clock-rate down",
    "fault clog candidate",
    "fault clog down",
    "fault clog follower",
    "fault clog leader",
    "fault cycle-member candidate",
    "fault cycle-member follower",
    "fault cycle-member leader",
    "fault fail-checkpoint candidate",
    "fault fail-flush candidate",
    "fault fail-write candidate",
    "fault full-disk candidate",
    "fault full-disk down",
    "fault kill candidate",
    "fault lose-disk candidate",
    "fault lose-disk down",
    "fault misdirect candidate",
    "fault misdirect down",
    "fault monotonic-jump candidate",
    "fault monotonic-jump down",
    "fault pause candidate",
    "fault power-loss candidate",
    "fault read-errors candidate",
    "fault read-errors down",
    "fault reset candidate",
    "fault reset down",
    "fault reset follower",
    "fault reset leader",
    "fault rot-log candidate",
    "fault rot-log down",
    "fault rot-state down",
    "fault slow-disk candidate",
    "fault slow-disk down",
    "fault slow-link candidate",
    "fault slow-link down",
    "fault slow-link follower",
    "fault slow-link leader",
    "fault transfer-leader candidate",
    "fault transfer-leader down",
    "fault transfer-leader follower",
    "fault transfer-leader leader",
    "fault wall-jump candidate",
    "fault wall-jump down",
    "message held by a clog",
    "message lost by chance",
    "message overtaken by another",
    "mount registered",
    "node healed",
    "node heals",
    "node refused to start",
    "state lost changes",
    "state lost changes candidate",
    "state lost changes follower",
    "state lost changes leader",
    "state lost changes learner",
    "state rotted",
    "state rotted down",
    "state rotted follower",
    "state rotted leader",
    "state was full",
    "state was full follower",
    "state was full leader",
    "stop candidate",
    "stop follower",
    "stop leader",
];

/// What has to be reached, and while what is under way: the name of a situation of
/// [`Coverage::counts`](super::Coverage::counts) up to the word "during", and what comes after it.
#[rustfmt::skip]
pub const CROSSED: &[(&str, &[During])] = &[
    ("checkpoint cut short follower", &[
        Checkpoint, Recovery, Admission, NoLeader, Outage, Cut, FullDisk, SlowDisk,
    ]),
    ("checkpoint cut short leader", &[Checkpoint, Outage, Cut, FullDisk, SlowDisk]),
    ("checkpoint failed follower", &[
        Checkpoint, Recovery, Admission, NoLeader, Outage, Cut, FullDisk,
    ]),
    ("checkpoint failed leader", &[Checkpoint, Outage, Cut]),
    ("checkpoint failed learner", &[Checkpoint]),
    ("crash", &[
        Election, Membership, Checkpoint, Recovery, Admission, NoLeader, Outage, Standstill, Cut,
        FullDisk, SlowDisk,
    ]),
    ("crash candidate", &[Outage, Cut]),
    ("crash follower", &[
        Membership, Checkpoint, Recovery, Admission, NoLeader, Outage, Standstill, Cut, FullDisk,
        SlowDisk,
    ]),
    ("crash leader", &[
        Membership, Checkpoint, Admission, Outage, Standstill, Cut, FullDisk, SlowDisk,
    ]),
    ("crash learner", &[Recovery, Admission, NoLeader, Outage, Cut]),
    ("disk flush failed follower", &[
        Checkpoint, Recovery, Admission, NoLeader, Outage, Standstill, Cut, FullDisk, SlowDisk,
    ]),
    ("disk flush failed leader", &[Checkpoint, Outage, Cut]),
    ("disk operation lost follower", &[
        Membership, Checkpoint, Recovery, Admission, NoLeader, Outage, Standstill, Cut, FullDisk,
        SlowDisk,
    ]),
    ("disk operation lost leader", &[Checkpoint, Admission, Outage, Cut, FullDisk, SlowDisk]),
    ("disk operation torn follower", &[
        Checkpoint, Recovery, Admission, NoLeader, Outage, Standstill, Cut, FullDisk, SlowDisk,
    ]),
    ("disk operation torn leader", &[Checkpoint, Outage, Cut, FullDisk]),
    ("disk operations out of order follower", &[NoLeader, Outage]),
    ("disk pages torn follower", &[
        Checkpoint, Recovery, Admission, NoLeader, Outage, Cut, SlowDisk,
    ]),
    ("disk pages torn leader", &[Checkpoint, Outage, Cut]),
    ("disk read failed down", &[Recovery, NoLeader, Outage, Cut]),
    ("disk read flipped a bit down", &[Recovery, NoLeader, Outage, Cut]),
    ("disk sector rotted down", &[NoLeader, Outage]),
    ("disk sector rotted follower", &[Checkpoint, Recovery, NoLeader, Outage, Cut, SlowDisk]),
    ("disk sector rotted leader", &[Checkpoint]),
    ("disk was full down", &[Recovery, NoLeader, Outage, FullDisk]),
    ("disk was full follower", &[Checkpoint, Admission, NoLeader, Outage, FullDisk]),
    ("disk was full leader", &[Checkpoint, Cut, FullDisk]),
    ("disk write failed down", &[Recovery, NoLeader, Outage, Cut]),
    ("disk write failed follower", &[
        Checkpoint, Recovery, Admission, NoLeader, Outage, Cut, FullDisk, SlowDisk,
    ]),
    ("disk write failed leader", &[Checkpoint, Outage, Cut]),
    ("disk write went astray follower", &[Checkpoint, Outage]),
    ("disk write went astray leader", &[Checkpoint]),
    ("fault", &[
        Election, Membership, Arrival, Checkpoint, Recovery, Admission, NoLeader, Outage,
        Standstill, Cut, FullDisk, SlowDisk,
    ]),
    ("fault bit-flip-on-read down", &[Recovery, NoLeader, Outage, Cut]),
    ("fault bit-flip-on-read follower", &[
        Checkpoint, Recovery, Admission, NoLeader, Outage, Cut, SlowDisk,
    ]),
    ("fault bit-flip-on-read leader", &[Checkpoint, Recovery, Outage, Cut]),
    ("fault bridge down", &[Recovery, NoLeader, Outage, Cut, FullDisk]),
    ("fault bridge follower", &[
        Membership, Checkpoint, Recovery, Admission, NoLeader, Outage, Standstill, Cut, FullDisk,
        SlowDisk,
    ]),
    ("fault bridge leader", &[Checkpoint, Recovery, Outage, Cut]),
    ("fault client-partition", &[
        Election, Membership, Checkpoint, Recovery, Admission, NoLeader, Outage, Standstill, Cut,
        FullDisk, SlowDisk,
    ]),
    ("fault clock-rate down", &[Recovery, NoLeader, Outage, Cut, FullDisk]),
    ("fault clock-rate follower", &[
        Checkpoint, Recovery, Admission, NoLeader, Outage, Standstill, Cut, FullDisk, SlowDisk,
    ]),
    ("fault clock-rate leader", &[Checkpoint, Outage, Cut]),
    ("fault clog down", &[Recovery, NoLeader, Outage, Cut]),
    ("fault clog follower", &[
        Checkpoint, Recovery, Admission, NoLeader, Outage, Standstill, Cut, FullDisk, SlowDisk,
    ]),
    ("fault clog leader", &[Checkpoint, Recovery, Outage, Cut]),
    ("fault corrupt-burst", &[
        Election, Checkpoint, Recovery, Admission, NoLeader, Outage, Cut, FullDisk, SlowDisk,
    ]),
    ("fault cycle-member follower", &[Checkpoint, Recovery, NoLeader, Outage]),
    ("fault cycle-member leader", &[Checkpoint]),
    ("fault duplicate-burst", &[
        Election, Checkpoint, Recovery, Admission, NoLeader, Outage, Standstill, Cut, FullDisk,
        SlowDisk,
    ]),
    ("fault fail-checkpoint follower", &[
        Election, Checkpoint, Recovery, Admission, NoLeader, Outage, Standstill, Cut, FullDisk,
        SlowDisk,
    ]),
    ("fault fail-checkpoint leader", &[Checkpoint, Recovery, Outage, Cut]),
    ("fault fail-flush follower", &[
        Checkpoint, Recovery, Admission, NoLeader, Outage, Standstill, Cut, FullDisk, SlowDisk,
    ]),
    ("fault fail-flush leader", &[Checkpoint, Recovery, Outage, Cut]),
    ("fault fail-write follower", &[
        Membership, Checkpoint, Recovery, Admission, NoLeader, Outage, Standstill, Cut, FullDisk,
        SlowDisk,
    ]),
    ("fault fail-write leader", &[Checkpoint, Recovery, Outage, Cut, FullDisk]),
    ("fault full-disk down", &[Recovery, NoLeader, Outage, Cut, FullDisk]),
    ("fault full-disk follower", &[
        Election, Membership, Checkpoint, Recovery, Admission, NoLeader, Outage, Standstill, Cut,
        FullDisk, SlowDisk,
    ]),
    ("fault full-disk leader", &[Checkpoint, Recovery, Outage, Cut, FullDisk]),
    ("fault kill follower", &[
        Checkpoint, Recovery, Admission, NoLeader, Outage, Standstill, Cut, FullDisk, SlowDisk,
    ]),
    ("fault kill leader", &[Checkpoint, Recovery, Outage, Cut]),
    ("fault lose-disk down", &[NoLeader, Outage]),
    ("fault lose-disk follower", &[
        Checkpoint, Recovery, NoLeader, Outage, Cut, FullDisk, SlowDisk,
    ]),
    ("fault lose-disk leader", &[Checkpoint, Cut]),
    ("fault loss-burst", &[
        Election, Membership, Checkpoint, Recovery, Admission, NoLeader, Outage, Standstill, Cut,
        FullDisk, SlowDisk,
    ]),
    ("fault misdirect down", &[Recovery, NoLeader, Outage, Cut]),
    ("fault misdirect follower", &[
        Checkpoint, Recovery, Admission, NoLeader, Outage, Cut, FullDisk,
    ]),
    ("fault misdirect leader", &[Checkpoint]),
    ("fault monotonic-jump down", &[Recovery, Admission, NoLeader, Outage, Cut, FullDisk]),
    ("fault monotonic-jump follower", &[
        Checkpoint, Recovery, Admission, NoLeader, Outage, Standstill, Cut, FullDisk, SlowDisk,
    ]),
    ("fault monotonic-jump leader", &[Checkpoint, Recovery, Outage, Cut]),
    ("fault one-way-partition", &[
        Election, Membership, Checkpoint, Recovery, Admission, NoLeader, Outage, Standstill, Cut,
        FullDisk, SlowDisk,
    ]),
    ("fault partition", &[
        Election, Membership, Checkpoint, Recovery, Admission, NoLeader, Outage, Standstill, Cut,
        FullDisk, SlowDisk,
    ]),
    ("fault pause follower", &[
        Election, Checkpoint, Recovery, Admission, NoLeader, Outage, Standstill, Cut, FullDisk,
        SlowDisk,
    ]),
    ("fault pause leader", &[Checkpoint, Recovery, Outage, Standstill, Cut]),
    ("fault power-loss follower", &[
        Checkpoint, Recovery, Admission, NoLeader, Outage, Cut, FullDisk, SlowDisk,
    ]),
    ("fault power-loss leader", &[Checkpoint, Recovery, Admission, Outage, Cut]),
    ("fault power-loss-all", &[
        Election, Membership, Checkpoint, Recovery, Admission, NoLeader, Outage, Standstill, Cut,
        FullDisk, SlowDisk,
    ]),
    ("fault read-errors down", &[NoLeader, Outage, Cut, FullDisk]),
    ("fault read-errors follower", &[
        Election, Checkpoint, Recovery, Admission, NoLeader, Outage, Standstill, Cut, FullDisk,
        SlowDisk,
    ]),
    ("fault read-errors leader", &[Checkpoint, Outage, Cut]),
    ("fault reorder-burst", &[
        Election, Checkpoint, Recovery, Admission, NoLeader, Outage, Standstill, Cut, FullDisk,
        SlowDisk,
    ]),
    ("fault reset down", &[Recovery, NoLeader, Outage, Cut, FullDisk]),
    ("fault reset follower", &[
        Checkpoint, Recovery, Admission, NoLeader, Outage, Cut, FullDisk, SlowDisk,
    ]),
    ("fault reset leader", &[Checkpoint, Outage, Cut]),
    ("fault rot-log down", &[NoLeader, Outage]),
    ("fault rot-log follower", &[Checkpoint, Recovery, NoLeader, Outage, Cut, SlowDisk]),
    ("fault rot-log leader", &[Checkpoint]),
    ("fault rot-state down", &[NoLeader, Outage, Cut]),
    ("fault rot-state follower", &[
        Checkpoint, Recovery, NoLeader, Outage, Cut, FullDisk, SlowDisk,
    ]),
    ("fault rot-state leader", &[Checkpoint, Cut]),
    ("fault server-crash", &[
        Election, Checkpoint, Recovery, Admission, NoLeader, Outage, Standstill, Cut, FullDisk,
        SlowDisk,
    ]),
    ("fault server-cut", &[Election, Checkpoint, Recovery, Admission, NoLeader, Outage, Cut]),
    ("fault slow-disk down", &[Recovery, NoLeader, Outage, Cut, FullDisk, SlowDisk]),
    ("fault slow-disk follower", &[
        Checkpoint, Recovery, Admission, NoLeader, Outage, Standstill, Cut, FullDisk, SlowDisk,
    ]),
    ("fault slow-disk leader", &[Checkpoint, Outage, Cut, SlowDisk]),
    ("fault slow-link down", &[Recovery, NoLeader, Outage, Cut, FullDisk]),
    ("fault slow-link follower", &[
        Checkpoint, Recovery, Admission, NoLeader, Outage, Standstill, Cut, FullDisk, SlowDisk,
    ]),
    ("fault slow-link leader", &[Checkpoint, Recovery, Outage, Cut, FullDisk]),
    ("fault swizzle-clog", &[
        Election, Checkpoint, Recovery, Admission, NoLeader, Outage, Standstill, Cut, FullDisk,
        SlowDisk,
    ]),
    ("fault transfer-leader down", &[Recovery, Admission, NoLeader, Outage, Cut, FullDisk]),
    ("fault transfer-leader follower", &[
        Checkpoint, Recovery, Admission, NoLeader, Outage, Standstill, Cut, FullDisk, SlowDisk,
    ]),
    ("fault transfer-leader leader", &[Checkpoint, Recovery, Cut]),
    ("fault wall-jump down", &[Recovery, NoLeader, Outage, Cut]),
    ("fault wall-jump follower", &[
        Checkpoint, Recovery, Admission, NoLeader, Outage, Cut, FullDisk, SlowDisk,
    ]),
    ("fault wall-jump leader", &[Checkpoint, Outage, Cut]),
    ("state lost changes candidate", &[Outage, Cut]),
    ("state lost changes follower", &[
        Membership, Checkpoint, Recovery, Admission, NoLeader, Outage, Standstill, Cut, FullDisk,
        SlowDisk,
    ]),
    ("state lost changes leader", &[
        Checkpoint, Admission, Outage, Standstill, Cut, FullDisk, SlowDisk,
    ]),
    ("state lost changes learner", &[Recovery, Admission]),
    ("state rotted down", &[NoLeader]),
    ("state rotted follower", &[Checkpoint, NoLeader, Outage, Cut]),
    ("state was full follower", &[Recovery, NoLeader, Outage, Cut, FullDisk]),
    ("state was full leader", &[Checkpoint, FullDisk]),
    ("stop follower", &[
        Checkpoint, Recovery, Admission, NoLeader, Outage, Standstill, Cut, FullDisk, SlowDisk,
    ]),
    ("stop leader", &[Checkpoint, Admission, Outage, Cut, FullDisk, SlowDisk]),
];

/// The name of every situation that has to be reached.
pub fn required() -> impl Iterator<Item = String> {
    let crossed = CROSSED.iter().flat_map(|(situation, during)| {
        let name = move |what: &During| format!("{situation} during {}", what.name());
        during.iter().map(name)
    });
    let alone = REQUIRED.iter().copied().map(str::to_owned);
    alone.chain(crossed)
}

/// Required situations that `counts` lacks.
#[must_use]
pub fn missing(counts: &BTreeMap<String, u64>) -> Vec<String> {
    required()
        .filter(|situation| !counts.contains_key(situation))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::Coverage;
    use super::*;
    use crate::event::{Event, FaultStage};
    use crate::fault::{Fault, FaultKind};
    use crate::place::Seat;
    use crate::time::SimTime;

    #[test]
    fn every_kind_of_fault_is_required() {
        for kind in FaultKind::ALL {
            let name = format!("fault {}", kind.name());
            assert!(
                REQUIRED
                    .iter()
                    .any(|situation| situation.starts_with(&name)),
                "{name}"
            );
        }
    }

    #[test]
    fn nothing_is_required_twice() {
        let mut seen = BTreeSet::new();
        for situation in required() {
            assert!(seen.insert(situation.clone()), "{situation}");
        }
    }

    #[test]
    fn what_was_never_reached_is_missing() {
        let mut coverage = Coverage::new(3);
        let all = required().count();
        assert_eq!(missing(coverage.counts()).len(), all);
        let fault = Fault::Reset {
            a: Seat(0),
            b: Seat(1),
        };
        let mut tell = |stage| {
            let event = Event::Fault {
                entry: 0,
                fault: fault.clone(),
                stage,
            };
            coverage.on_event(SimTime::ZERO, &event);
            missing(coverage.counts())
        };
        assert_eq!(tell(FaultStage::Skipped("why not")).len(), all);
        let left = tell(FaultStage::Begins);
        assert!(left.len() < all && !left.contains(&"fault reset".to_owned()));
        assert!(left.contains(&"fault kill leader during a checkpoint".to_owned()));
    }
}
