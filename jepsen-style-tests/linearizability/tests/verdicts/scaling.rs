//! How much has to be explored, counted and not timed.

use mfsha_linearizability::check::{Budget, Spent, Verdict, check, check_parts};
use mfsha_linearizability::history::{End, History, Operation, ProcessId};
use mfsha_linearizability::models::{
    RegisterCall, RegisterReturn, Registers, Set, SetCall, SetReturn,
};

use crate::simulation::{FewKeys, Run, Trees, simulate};

fn spent<S>(verdict: &Verdict<S>) -> Spent {
    match verdict {
        Verdict::Linearizable { spent, .. } | Verdict::Undecided { spent } => *spent,
        Verdict::NotLinearizable(violation) => violation.spent,
    }
}

fn run(operation_count: usize, process_count: u64, unknown_one_in: u64) -> Run {
    Run {
        seed: 42,
        process_count,
        operation_count,
        unknown_one_in,
        failed_one_in: 50,
    }
}

#[test]
fn long_histories_cost_about_one_configuration_an_operation() {
    for (process_count, unknown_one_in, most) in [(1, 0, 1), (5, 0, 3), (5, 1_000, 4)] {
        let run = run(20_000, process_count, unknown_one_in);
        let history = simulate(FewKeys, run);
        let verdict = check(&Registers, &history, Budget::default());
        assert!(matches!(verdict, Verdict::Linearizable { .. }));
        let spent = spent(&verdict);
        println!("registers, {process_count} processes, 20,000 operations: {spent}");
        assert!(
            spent.configurations <= most * 20_000 + 1,
            "{run:?}: {spent}"
        );
    }
}

#[test]
fn long_histories_of_a_tree_are_judged_by_subtree() {
    let run = run(10_000, 4, 2_000);
    let model = Trees { crosses: false };
    let history = simulate(model, run);
    let parts = check_parts(&model, &history, Budget::default());
    assert_eq!(parts.len(), 2);
    for part in parts {
        let count = part.part.operations.len() as u64;
        let spent = spent(&part.verdict);
        println!("subtree {:?}, {count} operations: {spent}", part.part.keys);
        assert!(matches!(part.verdict, Verdict::Linearizable { .. }));
        assert!(spent.configurations <= 4 * count, "{spent}");
    }
}

fn returned<C, R>(process: u64, invoked_at: u64, at: u64, call: C, value: R) -> Operation<C, R> {
    Operation {
        process: ProcessId(process),
        invoked_at,
        call,
        end: End::Returned { at, value },
    }
}

/// Waves of ten writers and ten readers; each wave overlaps the next. The last read is stale.
fn waves(wave_count: u64) -> History<RegisterCall, RegisterReturn> {
    let key = || "k".to_owned();
    let mut operations = Vec::new();
    for wave in 0..wave_count {
        let from = wave * 100;
        for own in 0..10 {
            let value = (wave * 10 + own) as i64 + 1;
            let write = RegisterCall::Write { key: key(), value };
            let read = RegisterCall::Read { key: key() };
            let (start, end) = (from + own, from + 90 + own);
            operations.push(returned(own, start, end, write, RegisterReturn::Done));
            let seen = RegisterReturn::Value(value);
            operations.push(returned(10 + own, start, end, read, seen));
        }
    }
    let last = wave_count * 100;
    let read = RegisterCall::Read { key: key() };
    operations.push(returned(
        99,
        last + 1,
        last + 2,
        read,
        RegisterReturn::Value(1),
    ));
    History::new(operations).unwrap()
}

#[test]
fn failing_histories_grow_with_their_length_not_with_its_power() {
    let count = |wave_count| {
        let history = waves(wave_count);
        let verdict = check(&Registers, &history, Budget::default());
        let Verdict::NotLinearizable(violation) = verdict else {
            panic!("the last read is stale");
        };
        let read_last = violation.blocked.0 == history.len() - 1;
        assert!(read_last, "blamed {}", violation.blocked);
        println!("{} operations: {}", history.len(), violation.spent);
        violation.spent.configurations
    };
    let (ten, twenty) = (count(10), count(20));
    assert!(
        twenty < ten * 3,
        "201 operations {ten}, 401 operations {twenty}"
    );
    assert!(twenty < 500_000, "{twenty}");
}

#[test]
fn hundreds_of_callers_at_once_who_ask_the_same_are_one() {
    // 300 processes add the same member at once: one wins. Nobody removed it, yet it is gone.
    let add = || SetCall::Add { value: 1 };
    let mut operations: Vec<_> = (0..300)
        .map(|process| {
            let answer = if process == 77 {
                SetReturn::Yes
            } else {
                SetReturn::No
            };
            returned(process, process, 1_000 + process, add(), answer)
        })
        .collect();
    let unanswered = (300..400).map(|process| Operation {
        process: ProcessId(process),
        invoked_at: 5,
        call: add(),
        end: End::Unknown { gave_up_at: None },
    });
    operations.extend(unanswered);
    let gone = SetCall::Contains { value: 1 };
    operations.push(returned(500, 2_000, 2_001, gone, SetReturn::No));
    let history = History::new(operations).unwrap();
    let verdict = check(&Set, &history, Budget::default());
    assert!(matches!(verdict, Verdict::NotLinearizable(_)));
    println!("400 callers at once: {}", spent(&verdict));
    assert!(spent(&verdict).configurations < 2_000);
}

#[test]
fn what_is_too_hard_ends_undecided_within_its_budget() {
    // 200 different writes at once, then a value that nobody wrote: every subset is possible.
    let key = || "k".to_owned();
    let mut operations: Vec<_> = (0..200)
        .map(|process| {
            let value = process as i64 + 1;
            let write = RegisterCall::Write { key: key(), value };
            returned(process, 0, 1_000, write, RegisterReturn::Done)
        })
        .collect();
    let read = RegisterCall::Read { key: key() };
    operations.push(returned(500, 2_000, 2_001, read, RegisterReturn::Value(-1)));
    let history = History::new(operations).unwrap();
    let budget = Budget {
        configurations: 20_000,
    };
    let verdict = check(&Registers, &history, budget);
    assert!(matches!(verdict, Verdict::Undecided { .. }));
    assert_eq!(spent(&verdict).configurations, 20_001);
    assert_eq!(
        check(&Registers, &history, budget),
        verdict,
        "the same again"
    );
}
