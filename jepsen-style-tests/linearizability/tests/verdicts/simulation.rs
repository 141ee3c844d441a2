//! A truly linearizable object under concurrent callers: every operation takes effect at one
//! instant between its call and its answer, or, if its caller gives up, at any time or never.

use proptest::prelude::*;

use mfsha_linearizability::check::{Budget, Verdict, check, check_parts};
use mfsha_linearizability::history::{End, History, Operation, ProcessId};
use mfsha_linearizability::model::{Parts, Sequential};
use mfsha_linearizability::models::{
    Namespace, NamespaceCall, Path, RegisterCall, Registers, Set, SetCall,
};

/// SplitMix64.
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % end
    }
}

/// A model with a workload.
pub trait Workload: Sequential + Parts + Clone {
    /// A call as a client of this run might make. `number` is used once in a run.
    fn draw(&self, dice: &mut Dice, number: i64) -> Self::Call;

    /// Calls that every run begins with.
    fn prologue(&self) -> Vec<Self::Call> {
        Vec::new()
    }
}

/// Knobs of a run.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    pub seed: u64,
    pub process_count: u64,
    pub operation_count: usize,
    /// One in so many operations is not answered; 0 for none.
    pub unknown_one_in: u64,
    /// One in so many operations fails for certain; 0 for none.
    pub failed_one_in: u64,
}

pub type HistoryOf<M> = History<
    <M as mfsha_linearizability::model::Model>::Call,
    <M as mfsha_linearizability::model::Model>::Return,
>;

/// An operation under way.
struct Flight<R> {
    operation: usize,
    /// Set when it took effect.
    answer: Option<R>,
}

/// The object, its callers, and what a recorder saw.
pub struct World<M: Workload> {
    model: M,
    pub state: M::State,
    pub operations: Vec<Operation<M::Call, M::Return>>,
    flights: Vec<Option<Flight<M::Return>>>,
    /// Operations whose callers gave up and which may still take effect.
    adrift: Vec<M::Call>,
    pub now: u64,
    pub dice: Dice,
    number: i64,
}

impl<M: Workload> World<M> {
    pub fn new(model: M, run: Run) -> Self {
        let mut world = Self {
            state: model.init(),
            flights: (0..run.process_count).map(|_| None).collect(),
            operations: Vec::new(),
            adrift: Vec::new(),
            now: 0,
            dice: Dice(run.seed),
            number: 1_000,
            model,
        };
        for call in world.model.prologue() {
            world.ask(&call);
        }
        world
    }

    /// Lets one thing happen: a call, an effect, an answer, an effect long given up.
    pub fn step(&mut self, run: Run) {
        self.now += self.dice.below(3);
        let process = self.dice.below(run.process_count) as usize;
        if self.dice.below(20) == 0 && !self.adrift.is_empty() {
            let at = self.dice.below(self.adrift.len() as u64) as usize;
            let call = self.adrift.swap_remove(at);
            self.state = self.model.apply(&self.state, &call).0;
            return;
        }
        match self.flights[process].take() {
            None => {
                self.number += 1;
                let call = self.model.draw(&mut self.dice, self.number);
                let operation = self.record(process as u64, call);
                let answer = None;
                self.flights[process] = Some(Flight { operation, answer });
            }
            Some(flight) => self.advance(run, process, flight),
        }
    }

    fn advance(&mut self, run: Run, process: usize, flight: Flight<M::Return>) {
        let call = self.operations[flight.operation].call.clone();
        let end = &mut self.operations[flight.operation].end;
        let at = self.now;
        let mut one_in = |odds: u64| odds > 0 && self.dice.below(odds) == 0;
        match flight.answer {
            None if one_in(run.failed_one_in) => *end = End::Failed { at },
            is_done if one_in(run.unknown_one_in) => {
                *end = End::Unknown {
                    gave_up_at: Some(at),
                };
                if is_done.is_none() {
                    self.adrift.push(call);
                }
            }
            None => {
                let (state, answer) = self.model.apply(&self.state, &call);
                self.state = state;
                let answer = Some(answer);
                let operation = flight.operation;
                self.flights[process] = Some(Flight { operation, answer });
            }
            Some(value) => *end = End::Returned { at, value },
        }
    }

    fn record(&mut self, process: u64, call: M::Call) -> usize {
        self.operations.push(Operation {
            process: ProcessId(process),
            invoked_at: self.now,
            call,
            end: End::Unknown { gave_up_at: None },
        });
        self.operations.len() - 1
    }

    /// A call by a caller who is alone: nobody else's call is open in its time, except for those
    /// that were given up.
    pub fn ask(&mut self, call: &M::Call) -> M::Return {
        let (state, answer) = self.model.apply(&self.state, call);
        self.state = state;
        self.tell(call, answer.clone());
        answer
    }

    /// A call that nobody recorded.
    pub fn ask_unrecorded(&mut self, call: &M::Call) {
        self.state = self.model.apply(&self.state, call).0;
    }

    /// Waits until every caller has its answer; nothing is given up meanwhile.
    pub fn settle(&mut self, run: Run) {
        let patient = Run {
            unknown_one_in: 0,
            failed_one_in: 0,
            ..run
        };
        for process in 0..self.flights.len() {
            while let Some(flight) = self.flights[process].take() {
                self.advance(patient, process, flight);
            }
        }
        self.now += 1;
    }

    /// Records an answer without asking the object.
    pub fn tell(&mut self, call: &M::Call, value: M::Return) {
        self.now += 1;
        let operation = self.record(u64::MAX, call.clone());
        self.now += 1;
        self.operations[operation].end = End::Returned {
            at: self.now,
            value,
        };
        self.now += 1;
    }

    pub fn finish(self) -> HistoryOf<M> {
        History::new(self.operations).expect("each process waits")
    }
}

/// A run of this many operations.
pub fn simulate<M: Workload>(model: M, run: Run) -> HistoryOf<M> {
    let mut world = World::new(model, run);
    while world.operations.len() < run.operation_count {
        world.step(run);
    }
    world.finish()
}

/// Registers; a few keys, small values.
#[derive(Clone, Copy)]
pub struct FewKeys;

/// Delegates what a model answers to another.
macro_rules! same_answers {
    ($name:ty, $inner:ident) => {
        impl mfsha_linearizability::model::Model for $name {
            type State = <$inner as mfsha_linearizability::model::Model>::State;
            type Call = <$inner as mfsha_linearizability::model::Model>::Call;
            type Return = <$inner as mfsha_linearizability::model::Model>::Return;

            fn init(&self) -> Self::State {
                $inner.init()
            }

            fn step(
                &self,
                state: &Self::State,
                call: &Self::Call,
                returned: Option<&Self::Return>,
            ) -> Vec<Self::State> {
                $inner.step(state, call, returned)
            }

            fn is_observer(&self, call: &Self::Call, returned: &Self::Return) -> bool {
                $inner.is_observer(call, returned)
            }
        }

        impl mfsha_linearizability::model::Sequential for $name {
            fn apply(&self, state: &Self::State, call: &Self::Call) -> (Self::State, Self::Return) {
                $inner.apply(state, call)
            }
        }
    };
}
pub(crate) use same_answers;

/// Delegates to another model what belongs together, too.
macro_rules! same_parts {
    ($name:ty, $inner:ident) => {
        impl Parts for $name {
            type Key = <$inner as Parts>::Key;

            fn touches(
                &self,
                call: &Self::Call,
            ) -> mfsha_linearizability::model::Touches<Self::Key> {
                $inner.touches(call)
            }
        }
    };
}

same_answers!(FewKeys, Registers);
same_parts!(FewKeys, Registers);

impl Workload for FewKeys {
    fn draw(&self, dice: &mut Dice, number: i64) -> RegisterCall {
        let key = ["a", "b"][dice.below(2) as usize].to_owned();
        let small = dice.below(4) as i64;
        match dice.below(5) {
            0 | 1 => RegisterCall::Read { key },
            2 => RegisterCall::Write { key, value: number },
            3 => RegisterCall::Write { key, value: small },
            _ => RegisterCall::Cas {
                key,
                from: small,
                to: dice.below(4) as i64,
            },
        }
    }
}

/// A set with few members, sometimes listed.
#[derive(Clone, Copy)]
pub struct FewMembers {
    pub lists: bool,
}

same_answers!(FewMembers, Set);
same_parts!(FewMembers, Set);

impl Workload for FewMembers {
    fn draw(&self, dice: &mut Dice, _number: i64) -> SetCall {
        let value = dice.below(5) as i64;
        match dice.below(10) {
            0..=2 => SetCall::Add { value },
            3..=5 => SetCall::Remove { value },
            6 if self.lists => SetCall::List,
            _ => SetCall::Contains { value },
        }
    }
}

/// Two subtrees with few names; the tops of the subtrees stay.
#[derive(Clone, Copy)]
pub struct Trees {
    /// Whether anything moves from one subtree to the other.
    pub crosses: bool,
}

same_answers!(Trees, Namespace);
same_parts!(Trees, Namespace);

pub fn path(text: &str) -> Path {
    Path::try_from(text.to_owned()).expect("a path")
}

impl Trees {
    fn draw_path(dice: &mut Dice, top: &str) -> Path {
        let names = ["x", "y", "z"];
        let name = names[dice.below(3) as usize];
        path(&match dice.below(3) {
            0 => format!("{top}/{name}/{}", names[dice.below(3) as usize]),
            _ => format!("{top}/{name}"),
        })
    }
}

impl Workload for Trees {
    fn draw(&self, dice: &mut Dice, _number: i64) -> NamespaceCall {
        use NamespaceCall as C;
        let tops = ["/left", "/right"];
        let top = tops[dice.below(2) as usize];
        let path = Self::draw_path(dice, top);
        let other_top = match self.crosses {
            true => tops[dice.below(2) as usize],
            false => top,
        };
        let to = Self::draw_path(dice, other_top);
        let mode = Some(dice.below(4) as u16);
        match dice.below(16) {
            0 | 1 => C::Create { path, mode },
            2 | 3 => C::Mkdir { path, mode },
            4 => C::Symlink {
                path,
                target: dice.below(3).to_string(),
            },
            5 => C::Link { from: path, to },
            6 | 7 => C::Unlink { path },
            8 => C::Rmdir { path },
            9 | 10 => C::Rename { from: path, to },
            11 => C::Lookup { path },
            12 => C::Getattr { path },
            13 => C::SetMode {
                path,
                mode: dice.below(4) as u16,
            },
            14 => C::Readdir { path },
            _ => C::Readlink { path },
        }
    }

    fn prologue(&self) -> Vec<NamespaceCall> {
        let mkdir = |top| NamespaceCall::Mkdir {
            path: path(top),
            mode: Some(0o755),
        };
        vec![mkdir("/left"), mkdir("/right")]
    }
}

pub fn runs() -> impl Strategy<Value = Run> {
    let odds = prop_oneof![Just(0u64), Just(30), Just(12)];
    (any::<u64>(), 1..6u64, 10..150usize, odds.clone(), odds).prop_map(
        |(seed, process_count, operation_count, unknown_one_in, failed_one_in)| Run {
            seed,
            process_count,
            operation_count,
            unknown_one_in,
            failed_one_in,
        },
    )
}

fn assert_accepted<M: Workload>(model: M, run: Run) {
    let history = simulate(model.clone(), run);
    let whole = check(&model, &history, Budget::default());
    assert!(
        matches!(whole, Verdict::Linearizable { .. }),
        "{run:?}: {whole:?}"
    );
    for part in check_parts(&model, &history, Budget::default()) {
        let verdict = &part.verdict;
        assert!(
            matches!(verdict, Verdict::Linearizable { .. }),
            "{run:?}: {part:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn registers_that_are_linearizable_are_accepted(run in runs()) {
        assert_accepted(FewKeys, run);
    }

    #[test]
    fn sets_that_are_linearizable_are_accepted(run in runs(), lists: bool) {
        assert_accepted(FewMembers { lists }, run);
    }

    #[test]
    fn trees_that_are_linearizable_are_accepted(run in runs(), crosses: bool) {
        assert_accepted(Trees { crosses }, run);
    }
}
