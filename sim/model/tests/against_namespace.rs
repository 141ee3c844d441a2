//! The real namespace against the model: every command and every query, one by one, and in the
//! end everything that queries can show.
//!
//! `MFSHA_MODEL_CASES` and `MFSHA_MODEL_STEPS` make the runs longer.

mod harness;

use std::sync::Mutex;

use harness::{Due, Run, Seen, Subject, due};
use mfsha_core::id::{InodeId, LogIndex, NodeId, SessionId};
use mfsha_core::namespace::error::FsError;
use mfsha_core::namespace::op::{
    Answer, Caller, ClassMode, Command, NodeKind, Op, Outcome, Query, Reply, SnapshotFlags,
    StorageClass, TruncateMode,
};
use mfsha_core::namespace::{Ceilings, Namespace};
use mfsha_core::store::MemStore;
use mfsha_core::time::{Stamp, WallTime};
use mfsha_model::Model;
use mfsha_model::generate::{Generator, Step};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// The namespace over a map in memory, and where its log is.
struct Real {
    namespace: Namespace<MemStore>,
    index: LogIndex,
}

impl Real {
    fn new() -> Self {
        Self {
            namespace: Namespace::open(MemStore::new()).expect("an empty map can be opened"),
            index: LogIndex(0),
        }
    }

    fn with(ceilings: Ceilings) -> Self {
        let Self { namespace, index } = Self::new();
        let namespace = namespace.with_ceilings(ceilings);
        Self { namespace, index }
    }
}

impl Subject for Real {
    fn apply(&mut self, command: &Command) -> Outcome {
        self.index = self.index.next();
        self.namespace
            .apply(self.index, command)
            .expect("a map in memory does not fail")
    }

    fn query(&self, now: WallTime, query: &Query) -> Result<Answer, FsError> {
        self.namespace
            .query(now, query)
            .expect("a map in memory does not fail")
    }
}

fn setting(name: &str, otherwise: usize) -> usize {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(otherwise)
}

fn steps(count: usize) -> impl Strategy<Value = Vec<Step>> {
    let one =
        (0..Generator::kind_count(), any::<u64>()).prop_map(|(kind, seed)| Step { kind, seed });
    proptest::collection::vec(one.no_shrink(), count.div_ceil(2)..=count)
}

/// What a failing run says: every step up to the one that differs.
fn run(steps: &[Step], ceilings: Ceilings) -> Result<Seen, TestCaseError> {
    let mut run = Run::with(Real::with(ceilings), Model::with_ceilings(ceilings));
    for (number, step) in steps.iter().enumerate() {
        run.step(*step)
            .map_err(|mismatch| TestCaseError::fail(format!("step {number}: {mismatch}")))?;
        let version = run.subject.namespace.version();
        prop_assert_eq!(version, run.model.version());
    }
    run.compare_states()
        .map_err(|mismatch| TestCaseError::fail(format!("at the end: {mismatch}")))?;
    // And what no query shows.
    let held = run.subject.namespace.dump().expect("every value opens");
    if let Some(difference) = run.model.dump().difference(&held) {
        return Err(TestCaseError::fail(format!("at the end: {difference}")));
    }
    Ok(run.seen)
}

/// Compares many runs of requests at random; what occurred in them.
fn compare(cases: usize, room: impl Strategy<Value = Ceilings>) -> Seen {
    let count = setting("MFSHA_MODEL_STEPS", 600);
    let config = Config {
        cases: cases as u32,
        failure_persistence: None,
        max_shrink_iters: 4_096,
        ..Config::default()
    };
    // What a run has to reach is asserted, so every run draws the same unless told otherwise.
    let seed = blake3::hash(&setting("MFSHA_MODEL_SEED", 1).to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, seed.as_bytes());
    let mut runner = TestRunner::new_with_rng(config, rng);
    let seen = Mutex::new(Seen::default());
    let result = runner.run(&(steps(count), room), |(steps, room)| {
        seen.lock()
            .expect("no run panics with it")
            .add(run(&steps, room)?);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    let seen = seen.into_inner().expect("no run panicked with it");
    println!("{}", seen.table());
    assert_eq!(seen.refusals_forbidden(), Vec::<FsError>::new());
    seen
}

#[test]
fn the_namespace_does_what_the_model_says() {
    let cases = setting("MFSHA_MODEL_CASES", 160);
    let seen = compare(cases, Just(Ceilings::default()));
    assert_eq!(seen.operations_missing(), Vec::<String>::new());
    assert_eq!(seen.refusals_missing(), Vec::<FsError>::new());
    assert!(seen.has_repeats());
}

/// Room for so little that it ends within a run, here or there.
fn little_room() -> impl Strategy<Value = Ceilings> {
    let ids = (1..40u16, 1..20u32, 1..6u64, 2..20u32);
    let tables = (1..5u32, 1..6usize, 1..5usize, 1..4usize);
    (ids, tables, 0..2u8).prop_map(|(ids, (names, locks, depth, chunkservers), ample)| {
        let all = Ceilings::default();
        let some = Ceilings {
            names,
            locks,
            inode_slots: ids.0,
            inodes_per_slot: ids.1,
            chunks_per_slot: ids.2,
            sessions: ids.3,
            depth,
            chunkservers,
        };
        // Where inodes end, little else is reached: so they are ample in every other run.
        if ample == 0 {
            return some;
        }
        Ceilings {
            inode_slots: all.inode_slots,
            inodes_per_slot: all.inodes_per_slot,
            ..some
        }
    })
}

#[test]
fn where_the_room_ends_both_say_so() {
    let cases = setting("MFSHA_MODEL_CASES", 240);
    let seen = compare(cases, little_room());
    let full = seen.refused_with(FsError::NoSpace);
    for what in [
        "OpenSession",
        "Create",
        "Mkdir",
        "Symlink",
        "Link",
        "Rename",
        "WriteChunk",
        "Flock",
        "PosixLock",
        "Snapshot",
        "Undelete",
        "RegisterChunkserver",
    ] {
        assert!(
            full.contains(&what),
            "{what} was never out of room: {full:?}"
        );
    }
}

/// A demand that nothing could miss would demand nothing.
#[test]
fn whatever_has_to_come_soon_is_missed() {
    let missing = Seen::default().refusals_missing();
    for error in [FsError::Perm, FsError::Active, FsError::Stale] {
        assert!(missing.contains(&error), "{error:?} is not demanded");
    }
    assert!(missing.iter().all(|error| due(*error) == Due::Soon));
}

/// The real namespace, but for one answer in so many.
struct Lying {
    real: Real,
    every: u64,
    answers: u64,
}

impl Subject for Lying {
    fn apply(&mut self, command: &Command) -> Outcome {
        self.answers += 1;
        let outcome = self.real.apply(command);
        if !self.answers.is_multiple_of(self.every) {
            return outcome;
        }
        let result = match outcome.result {
            Ok(Reply::Done) => Err(FsError::Again),
            Ok(_) => Ok(Reply::Done),
            Err(FsError::Perm) => Err(FsError::Access),
            Err(_) => Err(FsError::Perm),
        };
        Outcome { result, ..outcome }
    }

    fn query(&self, now: WallTime, query: &Query) -> Result<Answer, FsError> {
        self.real.query(now, query)
    }
}

#[test]
fn one_wrong_answer_in_a_hundred_is_noticed() {
    let mut rng = mfsha_core::rng::Seed::from_u64(5).rng();
    let mut run = Run::new(Lying {
        real: Real::new(),
        every: 100,
        answers: 0,
    });
    for _ in 0..400 {
        let step = Step {
            kind: rng.below(u64::from(Generator::kind_count())) as u16,
            seed: rng.next_u64(),
        };
        if run.step(step).is_err() {
            assert_eq!(run.subject.answers, 100, "it is noticed at once");
            return;
        }
    }
    panic!("wrong answers passed unnoticed");
}

#[test]
fn a_change_that_was_kept_from_the_namespace_is_noticed_at_the_end() {
    let mut run = Run::new(Real::new());
    let mut rng = mfsha_core::rng::Seed::from_u64(6).rng();
    for _ in 0..300 {
        let kind = rng.below(u64::from(Generator::kind_count())) as u16;
        let seed = rng.next_u64();
        run.step(Step { kind, seed }).unwrap();
    }
    run.compare_states().unwrap();
    let command = Command {
        stamp: Stamp {
            time: 1,
            node: NodeId(1),
        },
        now: WallTime(1_900_000_000),
        request: None,
        op: Op::TouchAtime {
            inode: InodeId::ROOT,
        },
    };
    run.model.carry_out(&command);
    run.compare_states().unwrap_err();
}

#[test]
fn two_hundred_and_forty_six_classes_can_be_made_and_no_more() {
    let mut run = Run::new(Real::new());
    for number in 0..247_u32 {
        let list = vec![[number; 4]];
        let command = Command {
            stamp: Stamp {
                time: u64::from(number),
                node: NodeId(1),
            },
            now: WallTime(number),
            request: None,
            op: Op::CreateClass {
                session: SessionId(0),
                class: StorageClass {
                    name: format!("class {number}").into_bytes(),
                    admin_only: false,
                    mode: ClassMode::Std,
                    archive_delay_days: 0,
                    create: list.clone(),
                    keep: list.clone(),
                    archive: list,
                },
            },
        };
        run.command(&command).unwrap();
    }
    run.compare_states().unwrap();
    let refused = run.seen.refused_with(FsError::ClassLimit);
    assert_eq!(refused, ["CreateClass"], "the last one has no id");
}

/// A command of the cluster itself.
fn by_cluster(number: u64, op: Op) -> Command {
    Command {
        stamp: Stamp {
            time: number,
            node: NodeId(1),
        },
        now: WallTime(number as u32),
        request: None,
        op,
    }
}

#[test]
fn a_snapshot_over_another_joins_names_that_were_apart() {
    let mut run = Run::new(Real::new());
    let caller = || Caller {
        session: SessionId(0),
        uid: 0,
        gids: vec![0],
    };
    let mut number = 0;
    let mut made = |run: &mut Run<Real>, op: Op| -> InodeId {
        number += 1;
        let command = by_cluster(number, op);
        let foretold = run.model.clone().carry_out(&command).result.unwrap();
        run.command(&command).unwrap();
        match foretold {
            Reply::Node { inode, .. } => inode,
            _ => InodeId(0),
        }
    };
    let mkdir = Op::Mkdir {
        caller: caller(),
        parent: InodeId::ROOT,
        name: b"src".to_vec(),
        mode: 0o755,
        umask: 0,
        copy_setgid: false,
    };
    let src = made(&mut run, mkdir);
    let create = Op::Create {
        caller: caller(),
        parent: src,
        name: b"a".to_vec(),
        kind: NodeKind::File,
        mode: 0o644,
        umask: 0,
        rdev: 0,
        open: false,
    };
    let file = made(&mut run, create);
    let link = Op::Link {
        caller: caller(),
        inode: file,
        parent: src,
        name: b"b".to_vec(),
    };
    made(&mut run, link);
    for keep_hardlinks in [false, true, true] {
        let snapshot = Op::Snapshot {
            caller: caller(),
            src,
            dst_parent: InodeId::ROOT,
            name: b"copy".to_vec(),
            flags: SnapshotFlags {
                overwrite: true,
                like_cp: false,
                keep_hardlinks,
            },
            umask: 0,
        };
        made(&mut run, snapshot);
        run.compare_states().unwrap();
        let held = run.subject.namespace.dump().unwrap();
        assert_eq!(run.model.dump().difference(&held), None);
    }
}

#[test]
fn sums_beyond_sixty_four_bits_are_told_and_moved_whole() {
    let mut run = Run::new(Real::new());
    let caller = || Caller {
        session: SessionId(0),
        uid: 0,
        gids: vec![0],
    };
    let mut number = 0;
    let mut give = |run: &mut Run<Real>, op: Op| -> Reply {
        number += 1;
        let command = by_cluster(number, op);
        let before = run.model.clone().carry_out(&command).result.unwrap();
        run.command(&command).unwrap();
        before
    };
    let mut dirs = Vec::new();
    for name in [b"from", b"into"] {
        let mkdir = Op::Mkdir {
            caller: caller(),
            parent: InodeId::ROOT,
            name: name.to_vec(),
            mode: 0o755,
            umask: 0,
            copy_setgid: false,
        };
        match give(&mut run, mkdir) {
            Reply::Node { inode, .. } => dirs.push(inode),
            other => panic!("{other:?}"),
        }
    }
    for file in 0..130_u32 {
        let create = Op::Create {
            caller: caller(),
            parent: dirs[0],
            name: file.to_string().into_bytes(),
            kind: NodeKind::File,
            mode: 0o644,
            umask: 0,
            rdev: 0,
            open: false,
        };
        let Reply::Node { inode, .. } = give(&mut run, create) else {
            panic!("a node is made");
        };
        let grow = Op::Truncate {
            caller: caller(),
            inode,
            length: mfsha_core::limits::FILE_BYTES_MAX,
            mode: TruncateMode::Path,
        };
        give(&mut run, grow);
    }
    let all = 130_i128 * (1 << 57);
    assert!(all > i128::from(u64::MAX) / 2);
    let rename = Op::Rename {
        caller: caller(),
        src_parent: InodeId::ROOT,
        src_name: b"from".to_vec(),
        dst_parent: dirs[1],
        dst_name: b"moved".to_vec(),
    };
    give(&mut run, rename);
    let unlink = Op::Unlink {
        caller: caller(),
        parent: dirs[0],
        name: b"0".to_vec(),
    };
    give(&mut run, unlink);
    run.compare_states().unwrap();
    let held = run.subject.namespace.dump().unwrap();
    assert_eq!(run.model.dump().difference(&held), None);
    let left = all - (1 << 57);
    assert_eq!(held.nodes[&dirs[1]].sums.unwrap().length, left);
    assert_eq!(held.trash_bytes, 1 << 57);
    run.subject.namespace.check().unwrap().unwrap();
}
