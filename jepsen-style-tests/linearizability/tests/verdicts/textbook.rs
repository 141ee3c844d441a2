//! Histories from papers and talks, drawn as lanes: whose verdict everybody agrees on.

use mfsha_linearizability::check::{Budget, Verdict, check, check_parts};
use mfsha_linearizability::history::{End, History, OpIndex, Operation, ProcessId};
use mfsha_linearizability::models::{
    Errno, Namespace, NamespaceCall, NamespaceReply, Path, RegisterCall, RegisterReturn, Registers,
};

type Register = Operation<RegisterCall, RegisterReturn>;

fn op<C, R>(process: u64, (from, to): (u64, u64), call: C, value: R) -> Operation<C, R> {
    Operation {
        process: ProcessId(process),
        invoked_at: from,
        call,
        end: End::Returned { at: to, value },
    }
}

fn lost<C, R>(process: u64, (from, to): (u64, u64), call: C) -> Operation<C, R> {
    Operation {
        process: ProcessId(process),
        invoked_at: from,
        call,
        end: End::Unknown {
            gave_up_at: Some(to),
        },
    }
}

fn key() -> String {
    "x".to_owned()
}

fn write(value: i64) -> RegisterCall {
    RegisterCall::Write { key: key(), value }
}

fn w(process: u64, span: (u64, u64), value: i64) -> Register {
    op(process, span, write(value), RegisterReturn::Done)
}

fn r(process: u64, span: (u64, u64), value: i64) -> Register {
    let call = RegisterCall::Read { key: key() };
    op(process, span, call, RegisterReturn::Value(value))
}

fn cas(process: u64, span: (u64, u64), from: i64, to: i64, is_done: bool) -> Register {
    let answer = match is_done {
        true => RegisterReturn::Done,
        false => RegisterReturn::Mismatch,
    };
    op(
        process,
        span,
        RegisterCall::Cas {
            key: key(),
            from,
            to,
        },
        answer,
    )
}

/// `None` when linearizable, else the index of the operation that cannot be placed.
fn blocked(operations: Vec<Register>) -> Option<usize> {
    let history = History::new(operations).unwrap();
    match check(&Registers, &history, Budget::default()) {
        Verdict::Linearizable { .. } => None,
        Verdict::NotLinearizable(violation) => Some(violation.blocked.0),
        Verdict::Undecided { .. } => panic!("a few operations took the whole budget"),
    }
}

#[test]
fn a_read_during_a_write_may_see_either() {
    assert_eq!(blocked(vec![w(1, (0, 10), 1), r(2, (2, 5), 0)]), None);
    assert_eq!(blocked(vec![w(1, (0, 10), 1), r(2, (2, 5), 1)]), None);
    assert_eq!(blocked(vec![w(1, (0, 10), 1), r(2, (2, 5), 2)]), Some(1));
}

#[test]
fn once_seen_a_write_stays_seen() {
    let new_then_old = vec![w(1, (0, 10), 1), r(2, (1, 3), 1), r(3, (4, 6), 0)];
    assert_eq!(blocked(new_then_old), Some(2));
    let old_then_new = vec![w(1, (0, 10), 1), r(2, (1, 3), 0), r(3, (4, 6), 1)];
    assert_eq!(blocked(old_then_new), None);
}

#[test]
fn a_read_after_a_write_is_not_stale() {
    assert_eq!(blocked(vec![w(1, (0, 1), 1), r(2, (2, 3), 0)]), Some(1));
    // At one instant nothing is known of the order.
    assert_eq!(blocked(vec![w(1, (0, 2), 1), r(2, (2, 3), 0)]), None);
}

#[test]
fn sequential_consistency_is_not_enough() {
    // Each process by itself is fine; real time is not.
    let swapped = vec![w(1, (0, 1), 1), w(2, (2, 3), 2), r(3, (4, 5), 1)];
    assert_eq!(blocked(swapped), Some(2));
}

#[test]
fn two_readers_agree_on_the_order_of_two_writes() {
    let disagree = vec![
        w(1, (0, 20), 1),
        w(2, (0, 20), 2),
        r(3, (1, 4), 1),
        r(3, (5, 8), 2),
        r(4, (1, 4), 2),
        r(4, (9, 12), 1),
    ];
    assert!(blocked(disagree).is_some());
    let agree = vec![
        w(1, (0, 20), 1),
        w(2, (0, 20), 2),
        r(3, (1, 4), 1),
        r(3, (5, 8), 2),
        r(4, (1, 4), 1),
        r(4, (9, 12), 2),
    ];
    assert_eq!(blocked(agree), None);
}

#[test]
fn one_of_two_compare_and_sets_wins() {
    assert!(blocked(vec![cas(1, (0, 9), 0, 1, true), cas(2, (0, 9), 0, 2, true)]).is_some());
    assert_eq!(
        blocked(vec![
            cas(1, (0, 9), 0, 1, true),
            cas(2, (0, 9), 0, 2, false)
        ]),
        None
    );
    assert!(blocked(vec![cas(1, (0, 9), 0, 1, false)]).is_some());
}

#[test]
fn an_unanswered_write_happens_late_or_never_but_once() {
    let maybe = || lost(1, (0, 1), write(1));
    assert_eq!(blocked(vec![maybe(), r(2, (5, 6), 0)]), None);
    assert_eq!(blocked(vec![maybe(), r(2, (5, 6), 1)]), None);
    assert_eq!(
        blocked(vec![maybe(), r(2, (5, 6), 0), r(2, (50, 60), 1)]),
        None
    );
    assert_eq!(
        blocked(vec![maybe(), r(2, (5, 6), 1), r(2, (50, 60), 0)]),
        Some(2)
    );
    let twice = vec![maybe(), r(2, (5, 6), 1), w(2, (7, 8), 2), r(2, (50, 60), 1)];
    assert_eq!(blocked(twice), Some(3));
    let early = vec![lost(1, (5, 6), write(1)), r(2, (0, 1), 1)];
    assert_eq!(blocked(early), Some(1));
}

#[test]
fn a_failed_write_never_happens() {
    let failed = Operation {
        end: End::Failed { at: 1 },
        ..lost(1, (0, 1), write(1))
    };
    assert_eq!(blocked(vec![failed.clone(), r(2, (5, 6), 0)]), None);
    assert_eq!(blocked(vec![failed, r(2, (5, 6), 1)]), Some(1));
}

#[test]
fn a_violation_shows_what_one_has_to_look_at() {
    let history = History::new(vec![
        w(1, (0, 10), 7),
        r(2, (20, 30), 7),
        w(1, (40, 60), 8),
        r(2, (45, 50), 7),
        r(3, (46, 53), 8),
        r(2, (55, 70), 7),
        r(4, (47, 54), 8),
        r(2, (80, 90), 8),
    ])
    .unwrap();
    let Verdict::NotLinearizable(violation) = check(&Registers, &history, Budget::default()) else {
        panic!("8, seen by p3, went back to 7");
    };
    // The first read of 7 may have come before both reads of 8, the second may not.
    assert_eq!(violation.blocked, OpIndex(5));
    let window: Vec<usize> = violation.window.iter().map(|index| index.0).collect();
    assert!(window.contains(&2) && window.contains(&5));
    assert!(!window.contains(&3) && !window.contains(&1) && !window.contains(&7));
    assert_eq!(
        window.len(),
        3,
        "one of the reads of 8 suffices: {window:?}"
    );
}

fn path(text: &str) -> Path {
    Path::try_from(text.to_owned()).unwrap()
}

#[test]
fn a_rename_between_subtrees_is_one_step() {
    let (from, to) = (path("/a/f"), path("/b/f"));
    let ok = NamespaceReply::default;
    let no = || NamespaceReply {
        error: Some(Errno::Enoent),
        ..NamespaceReply::default()
    };
    let mkdir = |path| NamespaceCall::Mkdir { path, mode: None };
    let create = NamespaceCall::Create {
        path: from.clone(),
        mode: None,
    };
    let rename = NamespaceCall::Rename {
        from: from.clone(),
        to: to.clone(),
    };
    let lookup = |path: &Path| NamespaceCall::Lookup { path: path.clone() };
    let run = |reader: [(Path, NamespaceReply); 2]| {
        let [(one, first), (other, second)] = reader;
        let history = History::new(vec![
            op(1, (0, 1), mkdir(path("/a")), ok()),
            op(1, (2, 3), mkdir(path("/b")), ok()),
            op(1, (4, 5), create.clone(), ok()),
            op(1, (10, 90), rename.clone(), ok()),
            op(2, (20, 30), lookup(&one), first),
            op(2, (40, 50), lookup(&other), second),
        ])
        .unwrap();
        let parts = check_parts(&Namespace, &history, Budget::default());
        assert_eq!(parts.len(), 1, "the rename joins both subtrees");
        matches!(parts[0].verdict, Verdict::Linearizable { .. })
    };
    assert!(run([(from.clone(), ok()), (to.clone(), no())]));
    assert!(run([(from.clone(), no()), (to.clone(), ok())]));
    assert!(
        run([(from.clone(), ok()), (to.clone(), ok())]),
        "moved in between"
    );
    assert!(
        !run([(from.clone(), no()), (to.clone(), no())]),
        "lost in between"
    );
    assert!(!run([(to.clone(), ok()), (from, ok())]), "in both places");
}
