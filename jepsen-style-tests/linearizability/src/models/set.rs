//! A set of numbers, empty at first. Its members are independent until somebody lists them all.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::model::{Model, Parts, Sequential, Touches};
use crate::tree::Tree;

/// One set.
#[derive(Clone, Copy, Debug, Default)]
pub struct Set;

/// What the set is asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case", deny_unknown_fields)]
pub enum SetCall {
    /// Put it in; says whether it was new.
    Add {
        /// The member.
        value: i64,
    },
    /// Take it out; says whether it was there.
    Remove {
        /// The member.
        value: i64,
    },
    /// Is it there?
    Contains {
        /// The member.
        value: i64,
    },
    /// All members.
    List,
}

/// What the set answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SetReturn {
    /// To `add`: it was not there. To `remove` and `contains`: it was.
    Yes,
    /// The opposite.
    No,
    /// To `list`.
    Members(BTreeSet<i64>),
}

impl Model for Set {
    type State = Tree<i64, ()>;
    type Call = SetCall;
    type Return = SetReturn;

    fn init(&self) -> Self::State {
        Tree::default()
    }

    fn step(
        &self,
        state: &Self::State,
        call: &SetCall,
        returned: Option<&SetReturn>,
    ) -> Vec<Self::State> {
        let (next, answer) = self.apply(state, call);
        match returned {
            Some(returned) if *returned != answer => Vec::new(),
            _ => vec![next],
        }
    }

    fn is_observer(&self, call: &SetCall, returned: &SetReturn) -> bool {
        matches!(call, SetCall::Contains { .. } | SetCall::List) || *returned == SetReturn::No
    }
}

impl Sequential for Set {
    fn apply(&self, state: &Self::State, call: &SetCall) -> (Self::State, SetReturn) {
        let says = |yes: bool| if yes { SetReturn::Yes } else { SetReturn::No };
        let mut next = state.clone();
        let answer = match call {
            SetCall::Add { value } => {
                let is_new = state.get(value).is_none();
                next.insert(*value, ());
                says(is_new)
            }
            SetCall::Remove { value } => says(next.remove(value)),
            SetCall::Contains { value } => says(state.get(value).is_some()),
            SetCall::List => SetReturn::Members(state.iter().map(|(value, ())| *value).collect()),
        };
        (next, answer)
    }
}

impl Parts for Set {
    type Key = i64;

    fn touches(&self, call: &SetCall) -> Touches<i64> {
        match call {
            SetCall::Add { value } | SetCall::Remove { value } | SetCall::Contains { value } => {
                Touches::Parts(vec![*value])
            }
            SetCall::List => Touches::Everything,
        }
    }
}
