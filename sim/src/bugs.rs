//! The closed list of bugs put in on purpose, and who has to find each.

use mfsha_core::planted::Bug;

/// A bug put in on purpose.
#[derive(Clone, Copy, Debug)]
pub struct Planted {
    /// Its name on the command line and in options.
    pub name: &'static str,
    /// The switch in the core.
    pub bug: Bug,
    /// What is wrong, in a sentence.
    pub what: &'static str,
    /// The promise that it breaks. Whoever finds it counts; this is who should.
    pub promise: &'static str,
    /// Options that make it likely, as for `--set`: a bug of rare paths needs runs full of them.
    pub set: &'static [&'static str],
}

/// All of them.
pub const ALL: &[Planted] = &[
    Planted {
        name: "ack-before-flush",
        bug: Bug::AckBeforeFlush,
        what: "an append is acknowledged before the log is flushed",
        promise: "P-DURABLE",
        set: &[],
    },
    Planted {
        name: "vote-not-persisted",
        bug: Bug::VoteNotPersisted,
        what: "a vote is answered before it is durable",
        promise: "RAFT",
        set: &[],
    },
    Planted {
        name: "peers-never-retried",
        bug: Bug::PeersNeverRetried,
        what: "a peer is given up for ever once a vote request to it failed",
        promise: "P-LIVE",
        set: &[],
    },
    Planted {
        name: "unchecked-read",
        bug: Bug::UncheckedRead,
        what: "a strict read is answered from the node's own applied state",
        promise: "P-LINEAR",
        set: &[],
    },
    Planted {
        name: "commit-without-quorum",
        bug: Bug::CommitWithoutQuorum,
        what: "an append counts as stored by a peer as soon as it was sent",
        promise: "RAFT",
        set: &[],
    },
    Planted {
        name: "lease-kept-too-long",
        bug: Bug::LeaseKeptTooLong,
        what: "the leader trusts its lease longer than its followers keep it",
        promise: "P-LINEAR",
        set: &["workload.read_lease=5"],
    },
    Planted {
        name: "lease-forgotten-on-restart",
        bug: Bug::LeaseForgottenOnRestart,
        what: "a voter that restarts votes at once, whatever lease it had promised",
        promise: "P-LINEAR",
        set: &["workload.read_lease=5"],
    },
];

/// The bug of this name; `None` for the empty name.
///
/// # Panics
/// When there is none of this name: [`is_known`] comes first.
#[must_use]
pub fn named(name: &str) -> Option<Bug> {
    if name.is_empty() {
        return None;
    }
    let planted = ALL.iter().find(|planted| planted.name == name);
    Some(planted.expect("options were validated").bug)
}

/// Whether this names a bug, or none.
#[must_use]
pub fn is_known(name: &str) -> bool {
    name.is_empty() || ALL.iter().any(|planted| planted.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_lead_to_their_bugs() {
        for planted in ALL {
            assert_eq!(named(planted.name), Some(planted.bug));
            let same = ALL.iter().filter(|other| other.name == planted.name);
            assert_eq!(same.count(), 1);
        }
        assert_eq!(named(""), None);
        assert!(!is_known("a-bug-of-another-house"));
    }
}
