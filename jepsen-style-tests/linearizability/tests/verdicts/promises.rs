//! What a model promises the checker: that observers only look, and that parts do not see each
//! other. Each promise is also broken on purpose.

use mfsha_linearizability::model::{Model, Parts, Sequential, Touches};
use mfsha_linearizability::models::{Namespace, NamespaceCall, RegisterCall, Registers};

use crate::simulation::{Dice, FewKeys, FewMembers, Run, Trees, Workload, World, same_answers};

const RUN: Run = Run {
    seed: 7,
    process_count: 3,
    operation_count: 0,
    unknown_one_in: 0,
    failed_one_in: 0,
};

/// Calls on the states of a run that the model calls observers although they change the state,
/// and how many really are observers.
fn false_observers<M: Workload>(model: M) -> (usize, usize) {
    let mut world = World::new(model.clone(), RUN);
    let mut dice = Dice(11);
    let (mut wrong, mut right) = (0, 0);
    for _ in 0..5_000 {
        world.step(RUN);
        let call = model.draw(&mut dice, 1);
        let (next, answer) = model.apply(&world.state, &call);
        if model.is_observer(&call, &answer) {
            *if next == world.state {
                &mut right
            } else {
                &mut wrong
            } += 1;
        }
    }
    (wrong, right)
}

/// Pairs of calls on the states of a run that touch different parts although their order can be
/// told, and how many really are independent.
fn false_parts<M: Workload>(model: M) -> (usize, usize) {
    let mut world = World::new(model.clone(), RUN);
    let mut dice = Dice(13);
    let (mut wrong, mut right) = (0, 0);
    for _ in 0..5_000 {
        world.step(RUN);
        let (one, other) = (model.draw(&mut dice, 1), model.draw(&mut dice, 2));
        let (Touches::Parts(of_one), Touches::Parts(of_other)) =
            (model.touches(&one), model.touches(&other))
        else {
            continue;
        };
        if of_one.iter().any(|key| of_other.contains(key)) {
            continue;
        }
        let (after_one, first) = model.apply(&world.state, &one);
        let (one_other, second) = model.apply(&after_one, &other);
        let (after_other, alone) = model.apply(&world.state, &other);
        let (other_one, last) = model.apply(&after_other, &one);
        let same = one_other == other_one && first == last && second == alone;
        *if same { &mut right } else { &mut wrong } += 1;
    }
    (wrong, right)
}

#[test]
fn observers_only_look() {
    for (wrong, right) in [
        false_observers(FewKeys),
        false_observers(FewMembers { lists: true }),
        false_observers(Trees { crosses: true }),
    ] {
        assert!(wrong == 0 && right > 1_000, "{wrong} wrong, {right} right");
    }
}

#[test]
fn parts_do_not_see_each_other() {
    for (wrong, right) in [
        false_parts(FewKeys),
        false_parts(FewMembers { lists: true }),
        false_parts(Trees { crosses: true }),
    ] {
        assert!(wrong == 0 && right > 1_000, "{wrong} wrong, {right} right");
    }
}

/// Calls every compare-and-set an observer.
#[derive(Clone, Copy)]
struct CarelessKeys;

impl Model for CarelessKeys {
    type State = <Registers as Model>::State;
    type Call = <Registers as Model>::Call;
    type Return = <Registers as Model>::Return;

    fn init(&self) -> Self::State {
        Registers.init()
    }

    fn step(
        &self,
        state: &Self::State,
        call: &Self::Call,
        returned: Option<&Self::Return>,
    ) -> Vec<Self::State> {
        Registers.step(state, call, returned)
    }

    fn is_observer(&self, call: &Self::Call, _returned: &Self::Return) -> bool {
        matches!(call, RegisterCall::Cas { .. })
    }
}

impl Sequential for CarelessKeys {
    fn apply(&self, state: &Self::State, call: &Self::Call) -> (Self::State, Self::Return) {
        Registers.apply(state, call)
    }
}

impl Parts for CarelessKeys {
    type Key = String;

    fn touches(&self, call: &Self::Call) -> Touches<String> {
        Registers.touches(call)
    }
}

impl Workload for CarelessKeys {
    fn draw(&self, dice: &mut Dice, number: i64) -> RegisterCall {
        FewKeys.draw(dice, number)
    }
}

/// Takes every path for a part of its own.
#[derive(Clone, Copy)]
struct CarelessTree;

same_answers!(CarelessTree, Namespace);

impl Parts for CarelessTree {
    type Key = String;

    fn touches(&self, call: &NamespaceCall) -> Touches<String> {
        // The journal's form of a call holds its paths, and here stands for them.
        Touches::Parts(vec![
            serde_json::to_string(call).expect("calls are written"),
        ])
    }
}

impl Workload for CarelessTree {
    fn draw(&self, dice: &mut Dice, number: i64) -> NamespaceCall {
        Trees { crosses: false }.draw(dice, number)
    }

    fn prologue(&self) -> Vec<NamespaceCall> {
        Trees { crosses: false }.prologue()
    }
}

#[test]
fn broken_promises_are_noticed() {
    assert!(false_observers(CarelessKeys).0 > 0);
    assert!(false_parts(CarelessTree).0 > 0);
}
