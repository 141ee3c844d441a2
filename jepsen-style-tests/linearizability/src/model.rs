//! What a checker must be told about an object: where it starts and what each call may answer.
//!
//! A model knows nothing of time, processes or concurrency. It is the object as one thread would
//! see it.

use std::fmt::{Debug, Display};
use std::hash::Hash;

/// An object with a sequential meaning.
///
/// Equal states must behave equally ever after, and states that behave equally should be equal:
/// the checker remembers states, and a state that carries needless detail (ids drawn in order of
/// execution, say) makes it remember the same thing many times.
pub trait Model {
    /// The object between two operations.
    type State: Clone + Eq + Hash + Debug;
    /// What is asked.
    type Call: Clone + Eq + Hash + Debug;
    /// What is answered.
    type Return: Clone + Eq + Hash + Debug;

    /// The object before the first operation.
    fn init(&self) -> Self::State;

    /// The states that the object may be in after it took this call and answered so.
    ///
    /// `returned` is `None` when nobody saw the answer: then any answer is fine. Empty means that
    /// the call cannot be answered so in this state.
    fn step(
        &self,
        state: &Self::State,
        call: &Self::Call,
        returned: Option<&Self::Return>,
    ) -> Vec<Self::State>;

    /// Promises that this call with this answer only looks.
    ///
    /// An observer may learn (fix what the state left open) but never change: leaving it out of
    /// any sequence of operations must not make the rest of the sequence impossible. The checker
    /// then places it as soon as it fits, and may drop it when it explains a violation. `false`
    /// is always right, and slower.
    fn is_observer(&self, _call: &Self::Call, _returned: &Self::Return) -> bool {
        false
    }
}

/// A model that always has exactly one answer, which it can give.
///
/// [`Model::step`] of such a model compares; simulations and tests execute.
pub trait Sequential: Model {
    /// Carries out a call.
    fn apply(&self, state: &Self::State, call: &Self::Call) -> (Self::State, Self::Return);
}

/// Which independent parts of the object a call reads or writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Touches<K> {
    /// These parts; several are joined. None at all means that the call depends on nothing.
    Parts(Vec<K>),
    /// Every part: a listing of the whole, for example.
    Everything,
}

/// A model that falls into parts which do not see each other.
///
/// The promise: operations that share no part commute, and neither can tell whether the other
/// happened. Then a history is linearizable exactly when its restriction to each part is
/// (Herlihy and Wing's locality).
pub trait Parts: Model {
    /// Name of a part.
    type Key: Clone + Ord + Debug + Display;

    /// What a call touches, whatever it answers.
    fn touches(&self, call: &Self::Call) -> Touches<Self::Key>;
}
