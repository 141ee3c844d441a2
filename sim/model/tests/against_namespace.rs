//! The real namespace against the model: every command and every query, one by one, and in the
//! end everything that queries can show.
//!
//! `MFSHA_MODEL_CASES` and `MFSHA_MODEL_STEPS` make the runs longer.

mod harness;

use std::sync::Mutex;

use harness::{REFUSALS, Run, Seen, Subject};
use mfsha_core::id::{LogIndex, NodeId, SessionId};
use mfsha_core::namespace::Namespace;
use mfsha_core::namespace::error::FsError;
use mfsha_core::namespace::op::{
    Answer, ClassMode, Command, Op, Outcome, Query, Reply, StorageClass,
};
use mfsha_core::store::MemStore;
use mfsha_core::time::{Stamp, WallTime};
use mfsha_model::generate::{Generator, Step};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

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
    proptest::collection::vec(one.no_shrink(), 1..=count)
}

/// What a failing run says: every step up to the one that differs.
fn run(steps: &[Step]) -> Result<Seen, TestCaseError> {
    let mut run = Run::new(Real::new());
    for (number, step) in steps.iter().enumerate() {
        run.step(*step)
            .map_err(|mismatch| TestCaseError::fail(format!("step {number}: {mismatch}")))?;
        let version = run.subject.namespace.version();
        prop_assert_eq!(version, run.model.version());
    }
    run.compare_states()
        .map_err(|mismatch| TestCaseError::fail(format!("at the end: {mismatch}")))?;
    Ok(run.seen)
}

#[test]
fn the_namespace_does_what_the_model_says() {
    let cases = setting("MFSHA_MODEL_CASES", 48);
    let count = setting("MFSHA_MODEL_STEPS", 600);
    let mut runner = TestRunner::new(Config {
        cases: cases as u32,
        failure_persistence: None,
        max_shrink_iters: 4_096,
        ..Config::default()
    });
    let seen = Mutex::new(Seen::default());
    let result = runner.run(&steps(count), |steps| {
        seen.lock()
            .expect("no run panics with it")
            .add(run(&steps)?);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    let seen = seen.into_inner().expect("no run panicked with it");
    println!("{}", seen.table());
    assert_eq!(seen.operations_missing(), Vec::<String>::new());
    assert_eq!(seen.refusals_missing(REFUSALS), Vec::<FsError>::new());
    assert!(seen.has_repeats());
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
            inode: mfsha_core::id::InodeId::ROOT,
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
    let missing = run.seen.refusals_missing(&[FsError::ClassLimit]);
    assert_eq!(missing, Vec::new(), "the last one has no id");
}
