//! Registers by key, with compare-and-set. Every register holds 0 at first.

use serde::{Deserialize, Serialize};

use crate::model::{Model, Parts, Sequential, Touches};
use crate::tree::Tree;

/// Any number of independent registers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Registers;

/// What one register is asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case", deny_unknown_fields)]
pub enum RegisterCall {
    /// The value, please.
    Read {
        /// Which register.
        key: String,
    },
    /// Take this value.
    Write {
        /// Which register.
        key: String,
        /// The new value.
        value: i64,
    },
    /// Take this value if you hold that one.
    Cas {
        /// Which register.
        key: String,
        /// What it must hold.
        from: i64,
        /// The new value.
        to: i64,
    },
}

impl RegisterCall {
    fn key(&self) -> &String {
        match self {
            Self::Read { key } | Self::Write { key, .. } | Self::Cas { key, .. } => key,
        }
    }
}

/// What a register answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RegisterReturn {
    /// To a read: what it holds.
    Value(i64),
    /// To a write, or to a compare-and-set that found what it asked for.
    Done,
    /// To a compare-and-set that found something else, and changed nothing.
    Mismatch,
}

impl Model for Registers {
    type State = Tree<String, i64>;
    type Call = RegisterCall;
    type Return = RegisterReturn;

    fn init(&self) -> Self::State {
        Tree::default()
    }

    fn step(
        &self,
        state: &Self::State,
        call: &RegisterCall,
        returned: Option<&RegisterReturn>,
    ) -> Vec<Self::State> {
        let (next, answer) = self.apply(state, call);
        match returned {
            Some(returned) if *returned != answer => Vec::new(),
            _ => vec![next],
        }
    }

    fn is_observer(&self, call: &RegisterCall, returned: &RegisterReturn) -> bool {
        matches!(call, RegisterCall::Read { .. }) || *returned == RegisterReturn::Mismatch
    }
}

impl Sequential for Registers {
    fn apply(&self, state: &Self::State, call: &RegisterCall) -> (Self::State, RegisterReturn) {
        let held = state.get(call.key()).copied().unwrap_or(0);
        let (value, answer) = match call {
            RegisterCall::Read { .. } => return (state.clone(), RegisterReturn::Value(held)),
            RegisterCall::Cas { from, .. } if *from != held => {
                return (state.clone(), RegisterReturn::Mismatch);
            }
            RegisterCall::Write { value, .. } => (*value, RegisterReturn::Done),
            RegisterCall::Cas { to, .. } => (*to, RegisterReturn::Done),
        };
        let mut next = state.clone();
        // 0 is not stored: a register that was never written equals one that holds 0 again.
        if value == 0 {
            next.remove(call.key());
        } else {
            next.insert(call.key().clone(), value);
        }
        (next, answer)
    }
}

impl Parts for Registers {
    type Key = String;

    fn touches(&self, call: &RegisterCall) -> Touches<String> {
        Touches::Parts(vec![call.key().clone()])
    }
}
