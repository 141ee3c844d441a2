//! The closed list of bugs put in on purpose, and who has to find each.

use mfsha_core::planted::Bug;

/// A bug put in on purpose.
#[derive(Clone, Copy, Debug)]
pub struct Planted {
    /// Its name on the command line and in options.
    pub name: &'static str,
    /// The switch in the core.
    pub bug: Bug,
    /// Its number among the mistakes of others in the design; empty where it has none.
    pub mistake: &'static str,
    /// What is wrong, in a sentence.
    pub what: &'static str,
    /// The promise that it breaks.
    pub promise: &'static str,
    /// Checkers each of which has to find it when it judges alone.
    pub judges: &'static [&'static str],
    /// Options that make it likely, as for `--set`: a bug of rare paths needs runs full of them.
    pub set: &'static [&'static str],
}

impl Planted {
    /// How it is told of: its name, and its number among the mistakes of others.
    #[must_use]
    pub fn title(&self) -> String {
        format!("{:<28} {:>2}", self.name, self.mistake)
    }
}

/// Chunkservers that come and go under those who write.
const TORN: &[&str] = &[
    "chunkservers=3",
    "chunks.break_ppm=10000",
    "chunks.mean_ms=20",
    "chunks.goal_max=3",
    "faults.weights.server-crash=10",
    "faults.weights.server-cut=10",
];

/// Mounts that read and write, with chunkservers that come and go under them.
const WRITTEN: &[&str] = &[
    "chunkservers=3",
    "chunks.mean_ms=20",
    "chunks.goal_max=3",
    "mounts=3",
    "mount.scribes=2",
    "mount.mean_ms=20",
    "faults.weights.server-crash=10",
    "faults.weights.server-cut=10",
];

/// All of them.
pub const ALL: &[Planted] = &[
    Planted {
        name: "ack-before-flush",
        bug: Bug::AckBeforeFlush,
        mistake: "10",
        what: "an append is acknowledged before the log is flushed",
        promise: "P-DURABLE",
        judges: &["committed-on-quorum", "durable"],
        set: &[],
    },
    Planted {
        name: "vote-not-persisted",
        bug: Bug::VoteNotPersisted,
        mistake: "10",
        what: "a vote is answered before it is durable",
        promise: "RAFT",
        judges: &["monotonic", "election-safety"],
        set: &[
            "faults.mean_ms=200",
            "faults.weights.kill=10",
            "faults.weights.power-loss=10",
        ],
    },
    Planted {
        name: "peers-never-retried",
        bug: Bug::PeersNeverRetried,
        mistake: "7",
        what: "a peer is given up for ever once a vote request to it failed",
        promise: "P-LIVE",
        judges: &["live"],
        set: &[],
    },
    Planted {
        name: "unchecked-read",
        bug: Bug::UncheckedRead,
        mistake: "4",
        what: "a strict read is answered from the node's own applied state",
        promise: "P-LINEAR",
        judges: &["linear"],
        set: &[],
    },
    Planted {
        name: "follower-reads-itself",
        bug: Bug::FollowerReadsItself,
        mistake: "4",
        what: "a node answers strict reads without asking who leads",
        promise: "P-LINEAR",
        judges: &["linear"],
        set: &["workload.stray_percent=50"],
    },
    Planted {
        name: "commit-without-quorum",
        bug: Bug::CommitWithoutQuorum,
        mistake: "",
        what: "an append counts as stored by a peer as soon as it was sent",
        promise: "RAFT",
        judges: &[
            "committed-on-quorum",
            "leader-completeness",
            "state-machine-safety",
        ],
        set: &[],
    },
    Planted {
        name: "lease-kept-too-long",
        bug: Bug::LeaseKeptTooLong,
        mistake: "4",
        what: "the leader trusts its lease longer than its followers keep it",
        promise: "P-LINEAR",
        judges: &["linear"],
        set: &["workload.read_lease=5"],
    },
    Planted {
        name: "elections-late",
        bug: Bug::ElectionsLate,
        mistake: "",
        what: "elections begin and end eight times as late as they should",
        promise: "P-LIVE",
        judges: &["live"],
        set: &["net.streams=false"],
    },
    Planted {
        name: "follower-alters-entry",
        bug: Bug::FollowerAltersEntry,
        mistake: "",
        what: "a follower stores some entries without what they say",
        promise: "RAFT",
        judges: &["log-matching", "state-machine-safety"],
        set: &[],
    },
    Planted {
        name: "version-of-old-change",
        bug: Bug::VersionOfOldChange,
        mistake: "3",
        what: "the version falls to that of an older change when its request comes again",
        promise: "P-VERSION",
        judges: &["version"],
        set: &["workload.attempt_ms=200"],
    },
    Planted {
        name: "orders-without-leading",
        bug: Bug::OrdersWithoutLeading,
        mistake: "5",
        what: "notices are sent by whoever applies an entry",
        promise: "P-FENCE",
        judges: &["fence"],
        set: &["workload.weights.write-chunk=10"],
    },
    Planted {
        name: "old-orders-carried-out",
        bug: Bug::OldOrdersCarriedOut,
        mistake: "5",
        what: "a leader orders without a lease or a fence, and relays do not compare terms",
        promise: "P-FENCE",
        judges: &["fence"],
        set: &[
            "chunkservers=4",
            "chunks.mean_ms=20",
            "chunks.upkeep_delay_ms=200",
            "chunks.absence_ms=200",
            "faults.longest_ms=4000",
            "faults.weights.one-way-partition=20",
        ],
    },
    Planted {
        name: "session-of-one-node",
        bug: Bug::SessionOfOneNode,
        mistake: "9",
        what: "a node knows only the sessions of mounts that were opened at it",
        promise: "P-SESSION",
        judges: &["session"],
        set: &["mounts=2"],
    },
    Planted {
        name: "repeat-taken-for-new",
        bug: Bug::RepeatTakenForNew,
        mistake: "14",
        what: "what a mount says again after a lost connection is carried out again",
        promise: "P-ONCE",
        judges: &["mounts"],
        set: &["mounts=3", "mount.mean_ms=5", "mount.break_ppm=10000"],
    },
    Planted {
        name: "registration-counted-twice",
        bug: Bug::RegistrationCountedTwice,
        mistake: "6",
        what: "a chunkserver that registers again counts beside its earlier registration",
        promise: "P-CHUNKS",
        judges: &["chunks"],
        set: &["chunkservers=4", "chunks.break_ppm=10000"],
    },
    Planted {
        name: "settled-despite-failure",
        bug: Bug::SettledDespiteFailure,
        mistake: "",
        what: "a version is settled although some with a copy may have it and were not told so",
        promise: "P-CHUNKS",
        judges: &["chunks"],
        set: TORN,
    },
    Planted {
        name: "written-without-version",
        bug: Bug::WrittenWithoutVersion,
        mistake: "",
        what: "the first write after a failover takes the copies that are there for all",
        promise: "P-CHUNKS",
        judges: &["chunks"],
        set: TORN,
    },
    Planted {
        name: "moved-before-copied",
        bug: Bug::MovedBeforeCopied,
        mistake: "",
        what: "a copy that is to move is deleted before it is where it shall be",
        promise: "P-CHUNKS",
        judges: &["chunks"],
        set: &[
            "chunkservers=4",
            "chunks.mean_ms=20",
            "chunks.upkeep_delay_ms=200",
            "chunks.balance_percent=0",
        ],
    },
    Planted {
        name: "missed-write-counts",
        bug: Bug::MissedWriteCounts,
        mistake: "",
        what: "a copy that missed a write, its chunkserver being away, counts as good",
        promise: "P-BYTES",
        judges: &["bytes", "chunks"],
        set: WRITTEN,
    },
    Planted {
        name: "written-length-lost",
        bug: Bug::WrittenLengthLost,
        mistake: "",
        what: "the end of a write is passed on without the length that the file has then",
        promise: "P-BYTES",
        judges: &["bytes"],
        set: WRITTEN,
    },
    Planted {
        name: "room-given-twice",
        bug: Bug::RoomGivenTwice,
        mistake: "",
        what: "room for an append is told and not reserved",
        promise: "P-BYTES",
        judges: &["bytes"],
        set: WRITTEN,
    },
    Planted {
        name: "old-places-told",
        bug: Bug::OldPlacesTold,
        mistake: "",
        what: "who asks where a chunk is is told what another was told before",
        promise: "P-BYTES",
        judges: &["bytes"],
        set: WRITTEN,
    },
    Planted {
        name: "id-ranges-overlap",
        bug: Bug::IdRangesOverlap,
        mistake: "8",
        what: "the ids that a new leader gives out overlap those of the one before",
        promise: "P-IDS",
        judges: &["ids"],
        set: &["faults.weights.transfer-leader=10"],
    },
    Planted {
        name: "counters-merged-by-adding",
        bug: Bug::CountersMergedByAdding,
        mistake: "12",
        what: "a restart merges counters with those of the checkpoint by adding",
        promise: "P-CONVERGE",
        judges: &["converge"],
        set: &[],
    },
    Planted {
        name: "retry-executes-twice",
        bug: Bug::RetryExecutesTwice,
        mistake: "14",
        what: "a request that comes again is carried out again",
        promise: "P-ONCE",
        judges: &["once"],
        set: &["workload.attempt_ms=200"],
    },
    Planted {
        name: "asked-again-anew",
        bug: Bug::AskedAgainAnew,
        mistake: "14",
        what: "a write that a node asks again of another leader gets another number",
        promise: "P-ONCE",
        judges: &["linear"],
        set: &["node.faces=true"],
    },
    Planted {
        name: "snapshot-without-sessions",
        bug: Bug::SnapshotWithoutSessions,
        mistake: "16",
        what: "a state from a peer lacks sessions, their memory, open files and locks",
        promise: "P-CONVERGE",
        judges: &["converge"],
        set: &[
            "raft.snapshot_log_bytes=4096",
            "raft.log_keep_entries=0",
            "raft.log_lag_bytes_max=0",
        ],
    },
    Planted {
        name: "replay-counts-again",
        bug: Bug::ReplayCountsAgain,
        mistake: "18",
        what: "the first change replayed after a restart counts a second time",
        promise: "P-VERSION",
        judges: &["version"],
        set: &[],
    },
    Planted {
        name: "replaced-node-leaks",
        bug: Bug::ReplacedNodeLeaks,
        mistake: "",
        what: "what a rename replaces loses its name and is never freed",
        promise: "P-TREE",
        judges: &["tree"],
        set: &["workload.weights.rename=10", "workload.names=3"],
    },
    Planted {
        name: "trash-forgets-path",
        bug: Bug::TrashForgetsPath,
        mistake: "",
        what: "the trash remembers the name of a file and not its path; no outcome tells",
        promise: "P-DURABLE",
        judges: &["durable"],
        set: &[
            "workload.weights.any-command=0",
            "workload.weights.any-query=0",
            "workload.weights.create=10",
            "workload.weights.mkdir=10",
            "workload.weights.unlink=10",
            "workload.names=4",
        ],
    },
    Planted {
        name: "half-frame-kept",
        bug: Bug::HalfFrameKept,
        mistake: "",
        what: "half a frame of a connection that broke is read on with on the next one",
        promise: "STREAM",
        judges: &["stream"],
        set: &["net.streams=true"],
    },
    Planted {
        name: "frame-unchecked",
        bug: Bug::FrameUnchecked,
        mistake: "",
        what: "frames between nodes are taken without comparing their checksums",
        promise: "STREAM",
        judges: &["stream"],
        set: &["net.streams=true", "faults.weights.corrupt-burst=20"],
    },
    Planted {
        name: "batches-share-pages",
        bug: Bug::BatchesSharePages,
        mistake: "",
        what: "a batch of the log begins in a page with what was flushed before",
        promise: "P-DURABLE",
        judges: &["durable"],
        set: &[
            "disk.pages_tear=true",
            "faults.mean_ms=200",
            "faults.weights.power-loss-all=20",
        ],
    },
    Planted {
        name: "damage-taken-for-torn-tail",
        bug: Bug::DamageTakenForTornTail,
        mistake: "",
        what: "what was flushed and is damaged is taken for a write that a crash tore",
        promise: "P-DURABLE",
        judges: &["durable"],
        set: &[
            "chunkservers=0",
            "mounts=0",
            "faults.detection_only=true",
            "faults.mean_ms=200",
            "faults.weights.rot-log=20",
            "faults.weights.kill=10",
        ],
    },
];

/// A bug that no run of the simulator finds, and the test of the core that does.
#[derive(Clone, Copy, Debug)]
pub struct Elsewhere {
    /// The switch in the core.
    pub bug: Bug,
    /// Why no run finds it.
    pub why: &'static str,
    /// The file of the test, from the root of the repository.
    pub file: &'static str,
    /// The test.
    pub test: &'static str,
}

/// All of them: with [`ALL`] a closed list of what is put in on purpose.
pub const ELSEWHERE: &[Elsewhere] = &[
    Elsewhere {
        bug: Bug::LeaseForgottenOnRestart,
        why: "a node has to restart and vote between two heartbeats of a leader that others miss",
        file: "core/src/raft/tests/planted.rs",
        test: "a_lease_forgotten_on_restart_is_caught",
    },
    Elsewhere {
        bug: Bug::ForgottenOrdersCarriedOut,
        why: "a leader has to lose sight of a relay while a copy is deleted there, and see it again \
              before that is done",
        file: "core/src/chunks/tests/one/orders.rs",
        test: "who_forgets_orders_that_may_still_be_carried_out_is_found",
    },
    Elsewhere {
        bug: Bug::NewerCopiesDeleted,
        why: "it needs a state of a backup, and no run goes back to one",
        file: "core/src/chunks/tests/one/newer.rs",
        test: "who_deletes_copies_that_are_newer_than_the_state_is_found",
    },
    Elsewhere {
        bug: Bug::NumbersOfTheFutureGiven,
        why: "the same",
        file: "core/src/chunks/tests/one/doubt.rs",
        test: "who_gives_out_numbers_of_the_future_is_found",
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
    use std::collections::BTreeSet;

    use mfsha_core::rng::Seed;

    use super::*;
    use crate::check;
    use crate::options::Options;

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

    /// The mistakes of others that a cluster of whole nodes could make, too.
    const MISTAKES: [u8; 12] = [3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 18];

    #[test]
    fn every_mistake_of_others_is_put_in_and_told_by_its_number() {
        let numbers: BTreeSet<u8> = ALL
            .iter()
            .filter(|planted| !planted.mistake.is_empty())
            .map(|planted| planted.mistake.parse().expect("a number"))
            .collect();
        assert_eq!(numbers, BTreeSet::from(MISTAKES));
        let told: Vec<String> = ALL.iter().map(Planted::title).collect();
        assert_eq!(told[0], "ack-before-flush             10");
    }

    #[test]
    fn every_checker_has_a_bug_that_it_must_find() {
        let proven: BTreeSet<&str> = ALL
            .iter()
            .flat_map(|planted| planted.judges)
            .copied()
            .collect();
        assert!(proven.iter().all(|judge| check::is_known(judge)));
        let unproven: Vec<&&str> = check::NAMES
            .iter()
            .filter(|name| !proven.contains(**name))
            .collect();
        // A process that dies needs no bug put in: the canary and the toys' panics ring that alarm.
        assert_eq!(unproven, [&"process"]);
    }

    #[test]
    fn every_bug_of_the_core_is_found_by_a_run_or_by_a_test_that_is_named() {
        for bug in Bug::ALL {
            let here = ALL.iter().filter(|planted| planted.bug == *bug).count();
            let elsewhere = ELSEWHERE.iter().filter(|it| it.bug == *bug).count();
            assert_eq!(here + elsewhere, 1, "{bug:?}");
        }
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
        for it in ELSEWHERE {
            let text = std::fs::read_to_string(format!("{root}/{}", it.file)).unwrap();
            let tests = text.matches(&format!("#[test]\nfn {}()", it.test)).count();
            assert_eq!(tests, 1, "{} is no test of {}", it.test, it.file);
            assert!(text.contains(&format!("Bug::{:?}", it.bug)), "{it:?}");
        }
    }

    #[test]
    fn what_makes_a_bug_likely_can_be_set() {
        for planted in ALL {
            let mut options = Options::draw(&Seed::from_u64(1));
            for text in planted.set {
                options.set(text).unwrap();
            }
            options.set(&format!("bug={}", planted.name)).unwrap();
        }
    }
}
