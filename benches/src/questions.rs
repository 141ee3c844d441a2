//! What is timed of answering questions: those that mounts ask all the time, and the longest
//! answers.

use mfsha_core::id::InodeId;
use mfsha_core::namespace::error::FsError;
use mfsha_core::namespace::op::{Answer, Query};

use crate::stage::Stage;

/// Different questions of one sort, so that not the same keys are read each time.
const DIFFERENT: usize = 64;
/// Entries of a page, and chunks of a list.
const PAGE: u32 = 1_000;

/// One sort of question that is timed.
#[derive(Debug)]
pub struct Question {
    /// What it is called: words that no other is called by.
    pub name: &'static str,
    make: fn(&mut Stage) -> Vec<Query>,
    refusal: Option<FsError>,
}

impl Question {
    /// Makes what is asked about, and the questions.
    #[must_use]
    pub fn prepare(&self, stage: &mut Stage) -> Vec<Query> {
        (self.make)(stage)
    }

    /// Asks one of them: what is timed. `None` is the refusal that the question is about.
    ///
    /// # Panics
    /// When anything else comes of it than the question is about.
    #[must_use]
    pub fn ask(&self, stage: &Stage, query: &Query) -> Option<Answer> {
        let world = &stage.world;
        let answer = world.tree.query(world.now, query);
        let answer = answer.expect("memory does not fail");
        assert_eq!(
            answer.as_ref().err().copied(),
            self.refusal,
            "{}",
            self.name
        );
        answer.ok()
    }
}

/// All of them.
#[must_use]
pub fn all() -> Vec<Question> {
    let mut all = small();
    all.extend(long());
    all
}

fn question(name: &'static str, make: fn(&mut Stage) -> Vec<Query>) -> Question {
    Question {
        name,
        make,
        refusal: None,
    }
}

fn small() -> Vec<Question> {
    vec![
        question("lookup", |stage| {
            several(stage, |stage| {
                let (parent, _, name) = stage.named();
                let caller = stage.world.root();
                Query::Lookup {
                    caller,
                    parent,
                    name,
                }
            })
        }),
        Question {
            refusal: Some(FsError::NoEnt),
            ..question("lookup, no such name", |stage| {
                several(stage, |stage| Query::Lookup {
                    caller: stage.world.root(),
                    parent: stage.dir(),
                    name: stage.world.name(),
                })
            })
        },
        question("getattr", |stage| {
            several(stage, |stage| Query::GetAttr {
                caller: stage.world.root(),
                inode: stage.file(),
                opened: false,
            })
        }),
        question("access", |stage| {
            several(stage, |stage| Query::Access {
                caller: stage.world.root(),
                inode: stage.file(),
                mask: 4,
            })
        }),
        question("read chunk", |stage| {
            several(stage, |stage| Query::ReadChunk {
                caller: stage.world.root(),
                inode: stage.written(),
                index: 0,
            })
        }),
        question("dir stats", |stage| {
            several(stage, |stage| Query::DirStats {
                caller: stage.world.root(),
                inode: stage.dir(),
            })
        }),
        question("statfs", |stage| {
            vec![Query::StatFs {
                caller: stage.world.root(),
                total: 1 << 50,
                free: 1 << 49,
            }]
        }),
    ]
}

fn long() -> Vec<Question> {
    vec![
        question("readdir, page of 1,000", |stage| page(stage, false)),
        question("readdir with attributes, page of 1,000", |stage| {
            page(stage, true)
        }),
        question("chunk list of 1,000", |stage| {
            let inode = stage.file();
            for index in 0..PAGE {
                let write = stage.world.write_chunk(inode, index);
                stage.world.ok(write);
            }
            vec![Query::ListChunks {
                caller: stage.world.root(),
                inode,
                from: 0,
                max: PAGE,
            }]
        }),
    ]
}

/// Questions about different things.
fn several(stage: &mut Stage, make: fn(&mut Stage) -> Query) -> Vec<Query> {
    (0..DIFFERENT).map(|_| make(stage)).collect()
}

/// The first page of a directory that has more.
fn page(stage: &mut Stage, attrs: bool) -> Vec<Query> {
    let dir: InodeId = stage.world.dir(InodeId::ROOT);
    for _ in 0..PAGE {
        stage.world.file(dir);
    }
    vec![Query::ReadDir {
        caller: stage.world.root(),
        inode: dir,
        attrs,
        after: Vec::new(),
        max: PAGE,
    }]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_question_is_answered_and_pages_are_full() {
        let stage = Stage::small();
        let mut names = BTreeSet::new();
        let mut full = 0;
        for question in all() {
            assert!(names.insert(question.name), "{} twice", question.name);
            let mut stage = stage.copy();
            let queries = question.prepare(&mut stage);
            assert!(!queries.is_empty(), "{} asks nothing", question.name);
            for query in &queries {
                let length = match question.ask(&stage, query) {
                    Some(Answer::Entries { entries, .. }) => entries.len(),
                    Some(Answer::Chunks { chunks, .. }) => chunks.len(),
                    _ => continue,
                };
                assert_eq!(length, PAGE as usize, "{}", question.name);
                full += 1;
            }
        }
        assert_eq!(full, 3, "two pages and a list");
    }
}
