//! Lines and what they mean, lines and what is wrong with them, and which record counts.

mod choice;
mod faults;
mod lines;

use super::*;

/// Knows a few accounts.
struct Machine;

impl Accounts for Machine {
    fn user(&self, name: &str) -> Option<(u32, u32)> {
        (name == "nobody").then_some((65_534, 65_533))
    }

    fn group(&self, name: &str) -> Option<u32> {
        (name == "staff").then_some(50)
    }

    fn group_of(&self, uid: u32) -> Option<u32> {
        (uid == 0 || uid == 7).then_some(uid + 100)
    }
}

/// The records of a good file.
fn good(text: &str) -> Exports {
    let (exports, _) = Exports::parse(text.as_bytes(), &Machine).expect(text);
    exports
}

/// The faults of a bad one, each as it is shown.
fn bad(text: &str) -> Vec<String> {
    let error = Exports::parse(text.as_bytes(), &Machine).expect_err(text);
    error.faults.iter().map(ToString::to_string).collect()
}
