//! Linearizable histories with one wrong thing in the middle: all must be refused.
//!
//! What is wrong is wrong for certain: it is about a name or value that nobody else uses, so that
//! no unanswered operation of the run can explain it.

use proptest::prelude::*;

use mfsha_linearizability::check::{Budget, Verdict, check_parts};
use mfsha_linearizability::models::{
    Errno, NamespaceCall, NamespaceReply, RegisterCall, RegisterReturn, SetCall, SetReturn,
};

use crate::simulation::{FewKeys, FewMembers, HistoryOf, Run, Trees, Workload, World, path, runs};

/// What a broken system does.
#[derive(Clone, Copy, Debug)]
enum Bug {
    /// Answers from before a change that was acknowledged.
    StaleRead,
    /// Acknowledges a change that it forgets.
    LostWrite,
    /// Carries out two changes in the other order.
    Reordered,
    /// Carries out a change again that its client sent twice.
    DoubleEffect,
}

/// Plants a bug; `is_fixed` does the same things rightly, to show that only the bug is refused.
trait Plant: Workload {
    fn plant(world: &mut World<Self>, bug: Bug, is_fixed: bool);
}

impl Plant for FewKeys {
    fn plant(world: &mut World<Self>, bug: Bug, is_fixed: bool) {
        let key = || "a".to_owned();
        let write = |value| RegisterCall::Write { key: key(), value };
        let read = RegisterCall::Read { key: key() };
        // Values that no caller of the run writes, and each written once.
        let (old, new) = (-1, -2);
        world.ask(&write(old));
        match bug {
            Bug::StaleRead => {
                world.ask(&write(new));
                let shown = if is_fixed { new } else { old };
                world.tell(&read, RegisterReturn::Value(shown));
            }
            Bug::LostWrite => {
                world.tell(&write(new), RegisterReturn::Done);
                if is_fixed {
                    world.state.insert(key(), new);
                }
                world.ask(&read);
            }
            Bug::Reordered => {
                let order = if is_fixed { [old, new] } else { [new, old] };
                world.tell(&write(new), RegisterReturn::Done);
                for value in order {
                    let key = key();
                    world.state.insert(key, value);
                }
                world.ask(&read);
            }
            Bug::DoubleEffect => {
                let cas = RegisterCall::Cas {
                    key: key(),
                    from: old,
                    to: new,
                };
                assert_eq!(world.ask(&cas), RegisterReturn::Done);
                let back = RegisterCall::Cas {
                    key: key(),
                    from: new,
                    to: old,
                };
                assert_eq!(world.ask(&back), RegisterReturn::Done);
                if !is_fixed {
                    world.state.insert(key(), new);
                }
                world.ask(&read);
            }
        }
    }
}

impl Plant for FewMembers {
    fn plant(world: &mut World<Self>, bug: Bug, is_fixed: bool) {
        let value = -1;
        let (add, remove) = (SetCall::Add { value }, SetCall::Remove { value });
        let contains = SetCall::Contains { value };
        assert_eq!(world.ask(&add), SetReturn::Yes);
        match bug {
            Bug::StaleRead if is_fixed => world.tell(&contains, SetReturn::Yes),
            Bug::StaleRead => world.tell(&contains, SetReturn::No),
            Bug::LostWrite => {
                if !is_fixed {
                    world.state.remove(&value);
                }
                world.ask(&contains);
            }
            Bug::Reordered => {
                world.ask(&remove);
                world.tell(&add, SetReturn::Yes);
                if is_fixed {
                    world.state.insert(value, ());
                }
                world.ask(&contains);
            }
            Bug::DoubleEffect => {
                world.ask(&remove);
                if !is_fixed {
                    world.state.insert(value, ());
                }
                world.ask(&contains);
            }
        }
    }
}

impl Plant for Trees {
    fn plant(world: &mut World<Self>, bug: Bug, is_fixed: bool) {
        use NamespaceCall as C;
        let (one, two, three) = (path("/left/p1"), path("/left/p2"), path("/right/p3"));
        let at = |path: &_| C::Lookup {
            path: Clone::clone(path),
        };
        let create = C::Create {
            path: one.clone(),
            mode: None,
        };
        let rename = |from: &_, to: &_| C::Rename {
            from: Clone::clone(from),
            to: Clone::clone(to),
        };
        let missing = NamespaceReply {
            error: Some(Errno::Enoent),
            ..NamespaceReply::default()
        };
        let before = world.state.clone();
        assert_eq!(world.ask(&create).error, None);
        match bug {
            Bug::StaleRead if is_fixed => _ = world.ask(&at(&one)),
            Bug::StaleRead => world.tell(&at(&one), missing),
            Bug::LostWrite => {
                if !is_fixed {
                    world.state = before;
                }
                world.ask(&at(&one));
            }
            Bug::Reordered => {
                // The second rename was carried out first, found nothing, and was acknowledged.
                let done = NamespaceReply::default();
                world.ask(&rename(&one, &two));
                if is_fixed {
                    world.ask(&rename(&two, &three));
                } else {
                    world.tell(&rename(&two, &three), done);
                }
                world.ask(&at(&two));
            }
            Bug::DoubleEffect => {
                world.ask(&C::Unlink { path: one.clone() });
                if !is_fixed {
                    world.ask_unrecorded(&create);
                }
                world.ask(&at(&one));
            }
        }
    }
}

/// A run with the bug planted where `after` of its operations were called.
fn planted<M: Plant>(model: M, run: Run, after: usize, bug: Bug, is_fixed: bool) -> HistoryOf<M> {
    let mut world = World::new(model, run);
    let mut is_planted = false;
    while world.operations.len() < run.operation_count || !is_planted {
        if !is_planted && world.operations.len() >= after.min(run.operation_count) {
            world.settle(run);
            M::plant(&mut world, bug, is_fixed);
            is_planted = true;
        }
        world.step(run);
    }
    world.finish()
}

fn is_refused<M: Plant>(model: &M, history: &HistoryOf<M>) -> bool {
    let parts = check_parts(model, history, Budget::default());
    let undecided = |part: &_| matches!(verdict_of(part), Verdict::Undecided { .. });
    assert!(!parts.iter().any(undecided), "out of budget");
    parts
        .iter()
        .any(|part| matches!(part.verdict, Verdict::NotLinearizable(_)))
}

fn verdict_of<K, S>(part: &mfsha_linearizability::check::PartVerdict<K, S>) -> &Verdict<S> {
    &part.verdict
}

fn bugs() -> impl Strategy<Value = Bug> {
    prop_oneof![
        Just(Bug::StaleRead),
        Just(Bug::LostWrite),
        Just(Bug::Reordered),
        Just(Bug::DoubleEffect),
    ]
}

/// Refused with the bug, accepted without.
fn assert_caught<M: Plant>(model: M, mut run: Run, after: usize, bug: Bug) {
    // Refusing means going through every way in which the unanswered may have happened.
    run.unknown_one_in = if run.unknown_one_in == 0 { 0 } else { 30 };
    let broken = planted(model.clone(), run, after, bug, false);
    assert!(
        is_refused(&model, &broken),
        "{bug:?} was not noticed: {run:?}"
    );
    let fixed = planted(model.clone(), run, after, bug, true);
    assert!(
        !is_refused(&model, &fixed),
        "{bug:?} was seen where it is not: {run:?}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_broken_register_is_refused(run in runs(), after in 0..100usize, bug in bugs()) {
        assert_caught(FewKeys, run, after, bug);
    }

    #[test]
    fn a_broken_set_is_refused(run in runs(), after in 0..100usize, bug in bugs(), lists: bool) {
        assert_caught(FewMembers { lists }, run, after, bug);
    }

    #[test]
    fn a_broken_tree_is_refused(run in runs(), after in 0..100usize, bug in bugs(), crosses: bool) {
        assert_caught(Trees { crosses }, run, after, bug);
    }
}
