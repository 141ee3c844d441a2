//! The model by itself: it keeps a tree, its requests reach everything, and what differs from it
//! is noticed.

mod harness;

use std::collections::BTreeSet;

use harness::{Run, Seen, Subject};
use mfsha_core::id::InodeId;
use mfsha_core::namespace::error::FsError;
use mfsha_core::namespace::op::{Answer, Command, NodeKind, Outcome, Query, Reply, Whereabouts};
use mfsha_core::rng::Seed;
use mfsha_core::time::WallTime;
use mfsha_model::Model;
use mfsha_model::generate::{Generator, Step};

/// The tree is one: every directory but the root has one parent, everything linked is reached
/// from the root, what is detached is a file without a name (P-TREE).
fn check_tree(model: &Model) {
    let mut reached = BTreeSet::new();
    let mut ahead = vec![InodeId::ROOT];
    while let Some(dir) = ahead.pop() {
        reached.insert(dir);
        for (_, child) in model.entries(dir) {
            let (kind, whereabouts) = model.kind(child).expect("a name leads to a node");
            assert_eq!(whereabouts, Whereabouts::Linked, "{child} has a name");
            let new = reached.insert(child);
            if kind == NodeKind::Directory {
                assert!(new, "{child} has two parents");
                ahead.push(child);
            }
        }
    }
    for inode in model.inodes() {
        let (kind, whereabouts) = model.kind(inode).expect("it was listed");
        let linked = whereabouts == Whereabouts::Linked;
        assert_eq!(
            linked,
            reached.contains(&inode),
            "{inode} is reached when linked"
        );
        assert!(
            linked || kind == NodeKind::File,
            "only files are kept without a name"
        );
    }
}

fn steps(seed: u64, count: u64) -> impl Iterator<Item = Step> {
    let mut rng = Seed::from_u64(seed).rng();
    (0..count).map(move |_| Step {
        kind: rng.below(u64::from(Generator::kind_count())) as u16,
        seed: rng.next_u64(),
    })
}

#[test]
fn requests_at_random_reach_every_operation_and_refusal_and_the_model_stays_a_tree() {
    let mut seen = Seen::default();
    for seed in 0..30 {
        let mut run = Run::new(Model::new());
        for step in steps(seed, 1_000) {
            run.step(step).unwrap();
            check_tree(&run.model);
        }
        run.compare_states().unwrap();
        seen.add(run.seen);
    }
    println!("{}", seen.table());
    assert_eq!(seen.operations_missing(), Vec::<String>::new());
    assert_eq!(seen.refusals_missing(), Vec::<FsError>::new());
    assert_eq!(seen.refusals_forbidden(), Vec::<FsError>::new());
    assert!(seen.refused_with(FsError::Quota).contains(&"Create"));
    assert!(seen.has_repeats());
}

#[test]
fn a_step_left_out_leaves_the_others_meaningful() {
    let mut run = Run::new(Model::new());
    for step in steps(3, 600).step_by(3) {
        run.step(step).unwrap();
    }
    assert!(run.model.version() > 20, "most requests still succeed");
}

/// How a subject can be wrong.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Result,
    Version,
    Notice,
    Repeated,
    ReusedInode,
    Answer,
    ForgottenChange,
}

/// The model, with a mistake at every `every`-th chance.
struct Faulty {
    inner: Model,
    fault: Fault,
    every: u32,
    chances: u32,
}

impl Faulty {
    fn strikes(&mut self) -> bool {
        self.chances += 1;
        self.chances.is_multiple_of(self.every)
    }
}

impl Subject for Faulty {
    fn apply(&mut self, command: &Command) -> Outcome {
        let before = self.inner.clone();
        let mut outcome = self.inner.carry_out(command);
        let fault = self.fault;
        match fault {
            Fault::Result if outcome.result == Err(FsError::NoEnt) && self.strikes() => {
                outcome.result = Err(FsError::Perm);
            }
            Fault::Version if outcome.result.is_ok() && self.strikes() => outcome.version += 1,
            Fault::Notice if !outcome.notices.is_empty() && self.strikes() => {
                outcome.notices.pop();
            }
            Fault::Repeated if outcome.repeated && self.strikes() => outcome.repeated = false,
            Fault::ReusedInode => {
                if let Ok(Reply::Node { inode, .. }) = &mut outcome.result
                    && before.kind(*inode).is_none()
                    && self.strikes()
                {
                    *inode = InodeId::ROOT;
                }
            }
            Fault::ForgottenChange if outcome.result == Ok(Reply::Done) && self.strikes() => {
                self.inner = before;
            }
            _ => {}
        }
        outcome
    }

    fn query(&self, now: WallTime, query: &Query) -> Result<Answer, FsError> {
        let mut answer = self.inner.query(now, query);
        if let (Fault::Answer, Ok(Answer::Attr(attr))) = (self.fault, &mut answer)
            && attr.nlink > 2
        {
            attr.nlink -= 1;
        }
        answer
    }
}

#[test]
fn every_kind_of_mistake_is_noticed() {
    let faults = [
        Fault::Result,
        Fault::Version,
        Fault::Notice,
        Fault::Repeated,
        Fault::ReusedInode,
        Fault::Answer,
        Fault::ForgottenChange,
    ];
    for fault in faults {
        let mut run = Run::new(Faulty {
            inner: Model::new(),
            fault,
            every: 3,
            chances: 0,
        });
        let noticed = steps(1, 2_000)
            .map(|step| run.step(step))
            .find_map(Result::err);
        let noticed = noticed.or_else(|| run.compare_states().err());
        assert!(noticed.is_some(), "{fault:?} passed unnoticed");
    }
}

#[test]
fn a_mismatch_leaves_the_model_as_it_was() {
    let mut run = Run::new(Model::new());
    for step in steps(2, 200) {
        run.step(step).unwrap();
    }
    let before = run.model.clone();
    let mut generator = Generator::new();
    let mut rng = Seed::from_u64(9).rng();
    let mut noticed = 0;
    for _ in 0..200 {
        let request = generator.next(&run.model, &mut rng);
        let mfsha_model::generate::Request::Command(command) = request else {
            continue;
        };
        let mut outcome = before.clone().carry_out(&command);
        outcome.version += 7;
        run.model.apply(&command, &outcome).unwrap_err();
        noticed += 1;
        assert_eq!(run.model, before);
    }
    assert!(noticed > 50);
}
