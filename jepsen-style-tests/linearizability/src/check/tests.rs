//! The search against one that tries everything, on small histories; and the same comparison
//! against searches that are broken on purpose, each of which it must catch.

use super::search::{Finding, Flaw, Search};
use super::*;
use crate::history::{End, Operation, ProcessId};
use crate::models::{RegisterCall, RegisterReturn, Registers, Set, SetCall, SetReturn};

/// SplitMix64: small, seeded, and not the checker's.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % end
    }
}

/// Tries every subset of the unanswered operations, in every order, straight from the definition.
fn brute_force<M: Model>(model: &M, history: &History<M::Call, M::Return>) -> bool {
    let (mut answered, mut unknown) = (Vec::new(), Vec::new());
    for operation in history.operations() {
        match operation.end {
            End::Returned { .. } => answered.push(operation),
            End::Unknown { .. } => unknown.push(operation),
            End::Failed { .. } => {}
        }
    }
    (0..1u32 << unknown.len()).any(|subset| {
        let mut chosen = answered.clone();
        let happened = |at: usize| subset & (1 << at) != 0;
        chosen.extend(
            (0..unknown.len())
                .filter(|at| happened(*at))
                .map(|at| unknown[at]),
        );
        any_order(model, &mut chosen, 0)
    })
}

fn any_order<M: Model>(
    model: &M,
    operations: &mut [&Operation<M::Call, M::Return>],
    fixed: usize,
) -> bool {
    if fixed == operations.len() {
        return agrees_with_time(operations) && explains(model, operations);
    }
    (fixed..operations.len()).any(|at| {
        operations.swap(fixed, at);
        let found = any_order(model, operations, fixed + 1);
        operations.swap(fixed, at);
        found
    })
}

fn agrees_with_time<C, R>(order: &[&Operation<C, R>]) -> bool {
    order.iter().enumerate().all(|(at, earlier)| {
        order[at + 1..].iter().all(|later| match later.end {
            End::Returned { at, .. } => at >= earlier.invoked_at,
            _ => true,
        })
    })
}

fn explains<M: Model>(model: &M, order: &[&Operation<M::Call, M::Return>]) -> bool {
    let mut states = vec![model.init()];
    for operation in order {
        states = states
            .iter()
            .flat_map(|state| model.step(state, &operation.call, operation.returned()))
            .collect();
    }
    !states.is_empty()
}

/// A history of a few operations with answers out of a hat: about as often right as wrong.
fn small_history<C, R>(
    dice: &mut Dice,
    mut asked: impl FnMut(&mut Dice) -> (C, R),
) -> History<C, R> {
    let mut operations = Vec::new();
    let process_count = 2 + dice.below(3);
    let mut left = 2 + dice.below(5);
    for process in 0..process_count {
        let mut now = dice.below(6);
        while left > 0 && dice.below(4) > 0 {
            left -= 1;
            let invoked_at = now;
            now += dice.below(6);
            let (call, value) = asked(dice);
            let end = match dice.below(8) {
                0 => End::Failed { at: now },
                1 => End::Unknown {
                    gave_up_at: Some(now),
                },
                _ => End::Returned { at: now, value },
            };
            now += dice.below(3);
            operations.push(Operation {
                process: ProcessId(process),
                invoked_at,
                call,
                end,
            });
        }
    }
    History::new(operations).expect("each process waits")
}

fn register_history(seed: u64) -> History<RegisterCall, RegisterReturn> {
    small_history(&mut Dice(seed), |dice| {
        let key = "k".to_owned();
        let value = dice.below(3) as i64;
        match dice.below(3) {
            0 => (RegisterCall::Read { key }, RegisterReturn::Value(value)),
            1 => (RegisterCall::Write { key, value }, RegisterReturn::Done),
            _ => {
                let to = dice.below(3) as i64;
                let answer = [RegisterReturn::Done, RegisterReturn::Mismatch];
                let answer = answer[dice.below(2) as usize].clone();
                (
                    RegisterCall::Cas {
                        key,
                        from: value,
                        to,
                    },
                    answer,
                )
            }
        }
    })
}

fn set_history(seed: u64) -> History<SetCall, SetReturn> {
    small_history(&mut Dice(seed), |dice| {
        let value = dice.below(2) as i64;
        let answer = [SetReturn::Yes, SetReturn::No][dice.below(2) as usize].clone();
        match dice.below(7) {
            0 | 1 => (SetCall::Add { value }, answer),
            2 | 3 => (SetCall::Remove { value }, answer),
            4 | 5 => (SetCall::Contains { value }, answer),
            _ => {
                let members = (0..2).filter(|_| dice.below(2) == 0).collect();
                (SetCall::List, SetReturn::Members(members))
            }
        }
    })
}

/// One member, always gained or lost: many equal operations, whose order among others matters.
fn duel_history(seed: u64) -> History<SetCall, SetReturn> {
    small_history(&mut Dice(seed), |dice| {
        let call = match dice.below(2) {
            0 => SetCall::Add { value: 0 },
            _ => SetCall::Remove { value: 0 },
        };
        (call, SetReturn::Yes)
    })
}

fn search<M: Model>(model: &M, history: &History<M::Call, M::Return>, flaw: Flaw) -> bool {
    let all: Vec<OpIndex> = (0..history.len()).map(OpIndex).collect();
    match Search::new(model, history, &all, flaw).run(Budget::default()) {
        Finding::Order(order) => {
            if flaw == Flaw::None {
                assert_witness(model, history, &order);
            }
            true
        }
        Finding::Stuck { .. } => false,
        Finding::OutOfBudget => panic!("a small history took the whole budget"),
    }
}

fn assert_witness<M: Model>(model: &M, history: &History<M::Call, M::Return>, order: &[OpIndex]) {
    let operations: Vec<_> = order.iter().map(|index| history.get(*index)).collect();
    assert!(
        agrees_with_time(&operations),
        "witness {order:?} breaks real time"
    );
    assert!(
        explains(model, &operations),
        "witness {order:?} does not explain"
    );
    for (at, operation) in history.operations().iter().enumerate() {
        let count = order.iter().filter(|index| index.0 == at).count();
        match operation.end {
            End::Returned { .. } => assert_eq!(count, 1),
            End::Unknown { .. } => assert!(count <= 1),
            End::Failed { .. } => assert_eq!(count, 0),
        }
    }
}

/// How many of these histories are (linearizable, not, judged wrongly by the flawed search).
fn compare<M: Parts>(
    model: &M,
    histories: impl Iterator<Item = History<M::Call, M::Return>>,
    flaw: Flaw,
) -> (u32, u32, u32) {
    let (mut yes, mut no, mut wrong) = (0, 0, 0);
    for history in histories {
        let truth = brute_force(model, &history);
        *if truth { &mut yes } else { &mut no } += 1;
        let verdict = search(model, &history, flaw);
        wrong += u32::from(verdict != truth);
        if flaw == Flaw::None {
            assert_eq!(verdict, truth, "{history:#?}");
            let parts = check_parts(model, &history, Budget::default());
            let all_fine = parts
                .iter()
                .all(|part| matches!(part.verdict, Verdict::Linearizable { .. }));
            assert_eq!(all_fine, truth, "by parts: {history:#?}");
            assert_explained(model, &history);
        }
    }
    (yes, no, wrong)
}

/// A violation names what is really wrong.
fn assert_explained<M: Model>(model: &M, history: &History<M::Call, M::Return>) {
    let Verdict::NotLinearizable(violation) = check(model, history, Budget::default()) else {
        return;
    };
    assert!(violation.window_is_minimal);
    assert!(violation.window.contains(&violation.blocked));
    for partial in &violation.partials {
        let placed: Vec<_> = partial
            .order
            .iter()
            .map(|index| history.get(*index))
            .collect();
        assert!(agrees_with_time(&placed) && explains(model, &placed));
        assert!(!partial.order.contains(&violation.blocked));
    }
    let end = history
        .get(violation.blocked)
        .ended_at()
        .expect("it was answered");
    let keep = |keeps: &dyn Fn(OpIndex) -> bool| {
        let operations = history.operations().iter().enumerate();
        let kept = operations.filter(|(at, _)| keeps(OpIndex(*at)));
        History::new(kept.map(|(_, operation)| operation.clone()).collect()).unwrap()
    };
    // What is called up to the blocked answer fails by itself ...
    let called = |index: OpIndex| history.get(index).invoked_at <= end;
    assert!(!brute_force(model, &keep(&called)));
    // ... and still does without the observers of that time that are not in the window, which
    // begins with the last call before which nothing was open.
    let spans = || {
        let operations = history
            .operations()
            .iter()
            .filter(|op| op.invoked_at <= end);
        operations.filter_map(|op| match op.end {
            End::Returned { at, .. } => Some((op.invoked_at, at)),
            _ => None,
        })
    };
    let is_quiet = |at: u64| !spans().any(|(from, to)| from < at && at <= to);
    let before = |at: &u64| *at <= history.get(violation.blocked).invoked_at && is_quiet(*at);
    let first = spans().map(|(from, _)| from).filter(before).max();
    let is_observer = |index: OpIndex| {
        let operation = history.get(index);
        operation
            .returned()
            .is_some_and(|value| model.is_observer(&operation.call, value))
    };
    let in_window = |index: OpIndex| {
        let is_old = Some(history.get(index).invoked_at) < first;
        called(index) && (is_old || !is_observer(index) || violation.window.contains(&index))
    };
    assert!(!brute_force(model, &keep(&in_window)));
    // Each observer that is left is needed.
    for needed in violation.window.iter().filter(|i| is_observer(**i)) {
        let without = |index: OpIndex| index != *needed && in_window(index);
        assert!(*needed == violation.blocked || brute_force(model, &keep(&without)));
    }
}

#[test]
fn agrees_with_brute_force() {
    let (yes, no, wrong) = compare(&Registers, (0..6_000).map(register_history), Flaw::None);
    assert!(
        yes > 1_000 && no > 1_000 && wrong == 0,
        "{yes} {no} {wrong}"
    );
    let (yes, no, wrong) = compare(&Set, (0..6_000).map(set_history), Flaw::None);
    assert!(
        yes > 1_000 && no > 1_000 && wrong == 0,
        "{yes} {no} {wrong}"
    );
    let (yes, no, wrong) = compare(&Set, (0..6_000).map(duel_history), Flaw::None);
    assert!(
        yes > 1_000 && no > 1_000 && wrong == 0,
        "{yes} {no} {wrong}"
    );
}

#[test]
fn the_comparison_catches_every_flaw() {
    for flaw in [
        Flaw::MemoryForgetsState,
        Flaw::MemoryForgetsOperations,
        Flaw::IgnoresRealTime,
        Flaw::UnknownNeverHappens,
        Flaw::FailedMayHappen,
        Flaw::IdempotentIsObserver,
        Flaw::TwinsIgnoreAnswers,
        Flaw::TiesAreOrdered,
    ] {
        let (.., wrong) = compare(&Registers, (0..3_000).map(register_history), flaw);
        let (.., set_wrong) = compare(&Set, (0..3_000).map(set_history), flaw);
        let (.., duel_wrong) = compare(&Set, (0..3_000).map(duel_history), flaw);
        println!("{flaw:?}: wrong {wrong}, {set_wrong} and {duel_wrong} times of 3,000");
        assert!(
            wrong + set_wrong + duel_wrong > 0,
            "{flaw:?} was not noticed"
        );
    }
}

#[test]
fn no_budget_is_no_verdict() {
    let history = (0..)
        .map(register_history)
        .find(|history| !brute_force(&Registers, history))
        .expect("a violation is soon found");
    let none = Budget { configurations: 0 };
    assert!(matches!(
        check(&Registers, &history, none),
        Verdict::Undecided { .. }
    ));
}

#[test]
fn an_empty_history_is_linearizable() {
    let history = History::new(Vec::new()).unwrap();
    assert_eq!(
        check(&Set, &history, Budget { configurations: 0 }),
        Verdict::Linearizable {
            order: Vec::new(),
            spent: Spent::default()
        }
    );
}
