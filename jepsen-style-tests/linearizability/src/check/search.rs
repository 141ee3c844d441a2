//! The search itself: Wing and Gong's, with Lowe's memory.
//!
//! Operations not yet placed form a linked list in order of their calls. Those that may come next
//! are the ones called no later than the first answer in that list. Placing one takes it out of
//! the list; running out of choices puts it back. A configuration, that is (operations placed,
//! state), is entered once. The set of placed operations is remembered as its complement among
//! those that may come next: what was called after the first open answer cannot have been placed,
//! and what was called before it and is not in the complement has been. That is as exact as a bit
//! for every operation, and as short as the history is concurrent.
//!
//! Four things keep failing histories small; each is sound by an exchange of neighbours:
//! - an observer that fits is placed at once, and nothing else is tried there;
//! - of operations with the same call and the same answer, the one called and answered no later
//!   goes first;
//! - an operation without an answer is not placed where it changes nothing;
//! - operations are tried in order of their answers, so that one without an answer is only used
//!   when nothing else leads on (this is order of search, not reduction).

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use super::{Budget, Partial, Spent};
use crate::history::{End, History, OpIndex};
use crate::model::Model;

/// Partial orders kept for the reader of a violation.
const PARTIAL_COUNT_MAX: usize = 3;

/// A defect of the search put in on purpose, so that its tests are seen to catch it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// As it should be.
    None,
    /// A configuration counts as known when its operations were seen in any state.
    #[cfg(test)]
    MemoryForgetsState,
    /// A configuration counts as known when its state was seen after any operations.
    #[cfg(test)]
    MemoryForgetsOperations,
    /// Operations may move past each other although one was answered before the other's call.
    #[cfg(test)]
    IgnoresRealTime,
    /// What was not answered is taken not to have happened.
    #[cfg(test)]
    UnknownNeverHappens,
    /// What certainly failed may have happened all the same.
    #[cfg(test)]
    FailedMayHappen,
    /// Whatever changes nothing here is taken for an observer.
    #[cfg(test)]
    IdempotentIsObserver,
    /// Equal operations go in order of their calls, whichever must be answered first.
    #[cfg(test)]
    TwinsIgnoreAnswers,
    /// An answer at the same instant as a call counts as before it.
    #[cfg(test)]
    TiesAreOrdered,
}

/// What a search found.
pub(super) enum Finding<S> {
    /// An order that explains everything.
    Order(Vec<OpIndex>),
    /// No order does.
    Stuck {
        blocked: OpIndex,
        partials: Vec<Partial<S>>,
    },
    /// The budget ended.
    OutOfBudget,
}

/// One operation, as the search sees it.
struct Op<'a, C, R> {
    index: OpIndex,
    invoked_at: u64,
    /// `None`: never answered; it may be placed at any time or not at all.
    answer: Option<(u64, &'a R)>,
    call: &'a C,
    is_observer: bool,
    /// An equal operation that goes first without loss.
    twin: Option<u32>,
}

impl<C, R> Op<'_, C, R> {
    /// Answered ones first, by time of the answer.
    fn rank(&self) -> (bool, u64) {
        match self.answer {
            Some((at, _)) => (false, at),
            None => (true, self.invoked_at),
        }
    }
}

/// Number of a state in `States`.
type StateId = u32;

/// Every distinct state once.
struct States<S> {
    ids: HashMap<Rc<S>, StateId>,
    all: Vec<Rc<S>>,
}

impl<S: Eq + std::hash::Hash> States<S> {
    fn id(&mut self, state: S) -> StateId {
        if let Some(id) = self.ids.get(&state) {
            return *id;
        }
        let id = StateId::try_from(self.all.len()).expect("fewer states than configurations");
        let state = Rc::new(state);
        self.ids.insert(Rc::clone(&state), id);
        self.all.push(state);
        id
    }
}

/// One level of the depth-first search: a configuration and what is still to be tried in it.
struct Frame {
    state: StateId,
    /// The operation that led here; `None` at the root.
    placed: Option<u32>,
    /// Operations to try, in order; `tried` of them have been.
    choices: Vec<u32>,
    tried: usize,
    /// States that the last tried operation can lead to besides those already entered.
    outcomes: Vec<StateId>,
    /// The open operation whose answer comes first.
    blocked: u32,
}

/// A search over some operations of a history. Runs once.
pub(super) struct Search<'a, M: Model> {
    model: &'a M,
    /// In order of their calls.
    ops: Vec<Op<'a, M::Call, M::Return>>,
    /// Linked list of the operations that are not placed; the last cell is its head.
    next: Vec<u32>,
    previous: Vec<u32>,
    is_placed: Vec<bool>,
    answered_count: usize,
    answered_open: usize,
    states: States<M::State>,
    seen: HashSet<(Box<[u32]>, StateId)>,
    stack: Vec<Frame>,
    best: Best,
    spent: Spent,
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "flaws are put in by tests alone")
    )]
    flaw: Flaw,
}

/// The dead ends that came furthest.
#[derive(Default)]
struct Best {
    /// How far, the greatest so far.
    reached: Option<Reach>,
    ends: Vec<DeadEnd>,
}

/// How far a dead end came: the answer that could not be reached and its operation, the answered
/// operations placed, and, the fewer the better, the unanswered ones.
type Reach = ((bool, u64), u32, usize, Reverse<usize>);

struct DeadEnd {
    order: Vec<u32>,
    state: StateId,
    refused: Vec<u32>,
}

impl<'a, M: Model> Search<'a, M> {
    pub(super) fn new(
        model: &'a M,
        history: &'a History<M::Call, M::Return>,
        among: &[OpIndex],
        flaw: Flaw,
    ) -> Self {
        let mut ops: Vec<Op<'a, M::Call, M::Return>> = among
            .iter()
            .filter(|index| match history.get(**index).end {
                End::Returned { .. } | End::Unknown { .. } => true,
                #[cfg(test)]
                End::Failed { .. } => flaw == Flaw::FailedMayHappen,
                #[cfg(not(test))]
                End::Failed { .. } => false,
            })
            .map(|&index| {
                let operation = history.get(index);
                let answer = match &operation.end {
                    End::Returned { at, value } => Some((*at, value)),
                    End::Unknown { .. } | End::Failed { .. } => None,
                };
                Op {
                    index,
                    invoked_at: operation.invoked_at,
                    answer,
                    call: &operation.call,
                    is_observer: answer
                        .is_some_and(|(_, value)| model.is_observer(&operation.call, value)),
                    twin: None,
                }
            })
            .collect();
        ops.sort_by_key(|op| (op.invoked_at, op.rank(), op.index));
        find_twins(&mut ops, flaw);
        let count = ops.len() as u32; // bounded by OPERATION_COUNT_MAX
        let answered_count = ops.iter().filter(|op| op.answer.is_some()).count();
        Self {
            model,
            next: (1..=count).chain([0]).collect(),
            previous: [count].into_iter().chain(0..count).collect(),
            is_placed: vec![false; ops.len()],
            answered_count,
            answered_open: answered_count,
            ops,
            states: States {
                ids: HashMap::new(),
                all: Vec::new(),
            },
            seen: HashSet::new(),
            stack: Vec::new(),
            best: Best::default(),
            spent: Spent::default(),
            flaw,
        }
    }

    pub(super) fn spent(&self) -> Spent {
        self.spent
    }

    /// Searches until an order is found, none can be, or the budget ends.
    pub(super) fn run(&mut self, budget: Budget) -> Finding<M::State> {
        let root = self.states.id(self.model.init());
        if self.is_explained() {
            return Finding::Order(Vec::new());
        }
        self.enter(root, None);
        while !self.stack.is_empty() {
            if self.spent.configurations > budget.configurations {
                return Finding::OutOfBudget;
            }
            let Some((op, state)) = self.choose() else {
                self.leave();
                continue;
            };
            self.place(op);
            if self.is_explained() {
                let mut order = self.order();
                order.push(op);
                return Finding::Order(order.into_iter().map(|op| self.index(op)).collect());
            }
            if !self.enter(state, Some(op)) {
                self.unplace(op);
            }
        }
        let (_, blocked, ..) = self.best.reached.expect("the root was left");
        let ends = std::mem::take(&mut self.best.ends);
        Finding::Stuck {
            blocked: self.index(blocked),
            partials: ends.into_iter().map(|end| self.partial(end)).collect(),
        }
    }

    fn is_explained(&self) -> bool {
        self.answered_open == 0
    }

    /// The operations that may come next, in order of their calls, and among them the one that
    /// must be answered first.
    fn candidates(&self) -> (Box<[u32]>, u32) {
        let head = self.ops.len() as u32;
        let mut candidates = Vec::new();
        let mut first: Option<(u64, u32)> = None;
        let mut at = self.next[head as usize];
        while at != head {
            let op = &self.ops[at as usize];
            if first.is_some_and(|(answered_at, _)| self.is_before(answered_at, op.invoked_at)) {
                break;
            }
            candidates.push(at);
            if let Some((answered_at, _)) = op.answer {
                first = Some(first.map_or((answered_at, at), |f| f.min((answered_at, at))));
            }
            at = self.next[at as usize];
        }
        let blocked = first.map_or(candidates[0], |(_, op)| op);
        (candidates.into(), blocked)
    }

    /// Whether an answer came before a call. At the same instant nothing is known: they overlap.
    fn is_before(&self, answered_at: u64, invoked_at: u64) -> bool {
        #[cfg(test)]
        match self.flaw {
            Flaw::IgnoresRealTime => return false,
            Flaw::TiesAreOrdered => return answered_at <= invoked_at,
            _ => {}
        }
        answered_at < invoked_at
    }

    /// Goes one level down, unless this configuration was entered before.
    fn enter(&mut self, state: StateId, placed: Option<u32>) -> bool {
        let (candidates, blocked) = self.candidates();
        if !self.remember(&candidates, state) {
            return false;
        }
        self.spent.configurations += 1;
        let mut choices = candidates.into_vec();
        choices.retain(|op| self.may_try(*op));
        choices.sort_by_key(|op| self.ops[*op as usize].rank());
        let mut frame = Frame {
            state,
            placed,
            choices: Vec::with_capacity(choices.len()),
            tried: 0,
            outcomes: Vec::new(),
            blocked,
        };
        for op in choices {
            if !self.takes_at_once(op) {
                frame.choices.push(op);
                continue;
            }
            let outcomes = self.outcomes(state, op);
            if outcomes.contains(&state) {
                frame.choices = vec![op];
                break;
            }
            if !outcomes.is_empty() {
                frame.choices.push(op);
            }
        }
        self.stack.push(frame);
        true
    }

    fn remember(&mut self, candidates: &[u32], state: StateId) -> bool {
        #[cfg(test)]
        match self.flaw {
            Flaw::MemoryForgetsState => return self.seen.insert((candidates.into(), 0)),
            Flaw::MemoryForgetsOperations => return self.seen.insert((Box::new([]), state)),
            _ => {}
        }
        self.seen.insert((candidates.into(), state))
    }

    /// Whether this operation is placed as soon as it fits.
    fn takes_at_once(&self, op: u32) -> bool {
        let op = &self.ops[op as usize];
        #[cfg(test)]
        if self.flaw == Flaw::IdempotentIsObserver {
            return op.answer.is_some();
        }
        op.is_observer
    }

    fn may_try(&self, op: u32) -> bool {
        let op = &self.ops[op as usize];
        #[cfg(test)]
        if self.flaw == Flaw::UnknownNeverHappens && op.answer.is_none() {
            return false;
        }
        op.twin.is_none_or(|twin| self.is_placed[twin as usize])
    }

    /// The next operation and state to try in the configuration on top of the stack.
    fn choose(&mut self) -> Option<(u32, StateId)> {
        loop {
            let frame = self.stack.last_mut()?;
            if let Some(state) = frame.outcomes.pop() {
                return Some((frame.choices[frame.tried - 1], state));
            }
            let op = *frame.choices.get(frame.tried)?;
            frame.tried += 1;
            let state = frame.state;
            let mut outcomes = self.outcomes(state, op);
            if self.ops[op as usize].is_observer && outcomes.contains(&state) {
                outcomes = vec![state];
            }
            self.stack.last_mut()?.outcomes = outcomes;
        }
    }

    /// Where an operation can lead from a state.
    fn outcomes(&mut self, from: StateId, op: u32) -> Vec<StateId> {
        self.spent.steps += 1;
        let op = &self.ops[op as usize];
        let state = Rc::clone(&self.states.all[from as usize]);
        let answer = op.answer.map(|(_, value)| value);
        let next = self.model.step(&state, op.call, answer);
        next.into_iter()
            .map(|state| self.states.id(state))
            .filter(|id| answer.is_some() || *id != from)
            .collect()
    }

    /// Goes one level up from a configuration in which nothing is left to try.
    fn leave(&mut self) {
        let frame = self.stack.pop().expect("called on a level");
        self.maybe_note(&frame);
        if let Some(op) = frame.placed {
            self.unplace(op);
        }
    }

    /// Keeps a dead end that came at least as far as the ones before it.
    fn maybe_note(&mut self, frame: &Frame) {
        let placed = self.stack.len();
        let answered = self.answered_count - self.answered_open;
        let reached = (
            self.ops[frame.blocked as usize].rank(),
            frame.blocked,
            answered,
            Reverse(placed - answered),
        );
        let best = self.best.reached.get_or_insert(reached);
        if reached < *best {
            return;
        }
        if reached > *best {
            *best = reached;
            self.best.ends.clear();
        }
        let known = self.best.ends.iter().any(|end| end.state == frame.state);
        if known || self.best.ends.len() == PARTIAL_COUNT_MAX {
            return;
        }
        let mut order = self.order();
        order.extend(frame.placed);
        self.best.ends.push(DeadEnd {
            order,
            state: frame.state,
            refused: self.candidates().0.into_vec(),
        });
    }

    fn partial(&self, end: DeadEnd) -> Partial<M::State> {
        let indices = |ops: Vec<u32>| ops.into_iter().map(|op| self.index(op)).collect();
        Partial {
            order: indices(end.order),
            state: (*self.states.all[end.state as usize]).clone(),
            refused: indices(end.refused),
        }
    }

    /// The operations placed on the way to the configuration on top of the stack.
    fn order(&self) -> Vec<u32> {
        self.stack.iter().filter_map(|frame| frame.placed).collect()
    }

    fn index(&self, op: u32) -> OpIndex {
        self.ops[op as usize].index
    }

    fn place(&mut self, op: u32) {
        let at = op as usize;
        let (before, after) = (self.previous[at], self.next[at]);
        self.next[before as usize] = after;
        self.previous[after as usize] = before;
        self.is_placed[at] = true;
        self.answered_open -= usize::from(self.ops[at].answer.is_some());
    }

    fn unplace(&mut self, op: u32) {
        let at = op as usize;
        let (before, after) = (self.previous[at], self.next[at]);
        self.next[before as usize] = op;
        self.previous[after as usize] = op;
        self.is_placed[at] = false;
        self.answered_open += usize::from(self.ops[at].answer.is_some());
    }
}

/// Links each operation to the last equal one that was called and answered no later.
///
/// If the later of the two may come next, so may the earlier; where an order has them the other
/// way round, they can be exchanged.
fn find_twins<C: Eq + std::hash::Hash, R: Eq + std::hash::Hash>(
    ops: &mut [Op<'_, C, R>],
    flaw: Flaw,
) {
    let mut last: HashMap<(&C, Option<&R>), u32> = HashMap::new();
    let mut twins = vec![None; ops.len()];
    for (at, op) in ops.iter().enumerate() {
        let answer = op.answer.map(|(_, value)| value);
        if let Some(earlier) = last.insert((op.call, answer), at as u32) {
            let in_order = ops[earlier as usize].rank() <= op.rank();
            #[cfg(test)]
            let in_order = in_order || flaw == Flaw::TwinsIgnoreAnswers;
            #[cfg(not(test))]
            let _ = flaw;
            twins[at] = in_order.then_some(earlier);
        }
    }
    for (op, twin) in ops.iter_mut().zip(twins) {
        op.twin = twin;
    }
}
