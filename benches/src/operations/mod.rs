//! What is timed of applying commands: every operation at least once as it usually goes, and where
//! another course costs something else, that too. One file for each section of [`Op`].
//!
//! [`Op`]: mfsha_core::namespace::op::Op

mod attributes;
mod chunks;
mod chunkservers;
mod classes;
mod data;
mod locks;
mod names;
mod requests;
mod sessions;
mod snapshots;
mod subtrees;
mod trash;

use crate::case::Case;

/// All of them.
#[must_use]
pub fn all() -> Vec<Case> {
    let sections = [
        sessions::cases(),
        names::cases(),
        attributes::cases(),
        data::cases(),
        chunks::cases(),
        locks::cases(),
        subtrees::cases(),
        trash::cases(),
        snapshots::cases(),
        classes::cases(),
        chunkservers::cases(),
        requests::cases(),
    ];
    sections.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use mfsha_core::namespace::op::{ChunkAction, Reply};

    use super::*;
    use crate::stage::Stage;
    use crate::variant;

    #[test]
    fn every_operation_is_timed() {
        let stage = Stage::small();
        let mut timed = BTreeSet::new();
        for case in all() {
            let mut stage = stage.copy();
            // The second and third time it finds what it left behind.
            for _ in 0..3 {
                let command = case.prepare(&mut stage);
                case.run(&mut stage, &command);
                if case.is_carried_out() {
                    timed.insert(variant::of(&command.op));
                }
            }
        }
        let untimed: Vec<_> = variant::ALL
            .iter()
            .filter(|variant| !timed.contains(*variant))
            .collect();
        assert!(untimed.is_empty(), "no case applies {untimed:?}");
    }

    #[test]
    fn no_two_are_called_the_same() {
        let names: Vec<_> = all().iter().map(|case| case.name).collect();
        let different: BTreeSet<_> = names.iter().collect();
        assert_eq!(different.len(), names.len());
    }

    /// What comes of a case, the second time.
    fn reply(name: &str) -> Reply {
        let cases = all();
        let case = cases.iter().find(|case| case.name == name);
        let case = case.unwrap_or_else(|| panic!("no case is called {name}"));
        let mut stage = Stage::small();
        let mut last = None;
        for _ in 0..2 {
            let command = case.prepare(&mut stage);
            last = case.run(&mut stage, &command).result.ok();
        }
        last.unwrap_or_else(|| panic!("{name} is refused"))
    }

    #[test]
    fn cases_take_the_course_that_they_are_called_by() {
        let swept = |freed| Reply::Swept {
            freed,
            sustained: 0,
            next: None,
        };
        assert_eq!(reply("sweep, 100 files end"), swept(100));
        assert_eq!(reply("sweep, nothing to do"), swept(0));
        assert_eq!(reply("flock, waiting"), Reply::LockWaiting);
        assert!(matches!(
            reply("truncate inside a chunk"),
            Reply::TruncateChunk { bytes: 100, .. }
        ));
        let action = |name| match reply(name) {
            Reply::Chunk { action, .. } => action,
            other => panic!("a chunk was expected, not {other:?}"),
        };
        assert_eq!(action("write chunk, new"), ChunkAction::Created);
        assert_eq!(action("write chunk, own"), ChunkAction::Kept);
        assert!(matches!(
            action("write chunk, shared"),
            ChunkAction::Duplicated { .. }
        ));
        assert!(matches!(
            action("write chunk, moved"),
            ChunkAction::Raised { from_version: 1 }
        ));
        // The directory and its four files.
        assert!(matches!(
            reply("set trash time below a directory"),
            Reply::Changed { changed: 5, .. }
        ));
    }
}
