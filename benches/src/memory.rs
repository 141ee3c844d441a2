//! Bytes of memory per inode of a tree with many files, a thousand to a directory: of keys and
//! values alone, and of the whole process. First empty files, then with a chunk in each.

use mfsha_core::id::InodeId;
use mfsha_core::namespace::op::Op;

use crate::world::World;

/// Files of one directory.
const PER_DIR: usize = 1_000;

/// What so many files need.
#[derive(Clone, Debug)]
pub struct Figures {
    /// What they are.
    pub what: &'static str,
    /// How many.
    pub files: usize,
    /// Keys in the store.
    pub keys: usize,
    /// Bytes of keys and values a file.
    pub stored_bytes: usize,
    /// Bytes by which the process grew, a file.
    pub process_bytes: usize,
}

/// Makes so many files in a tree in memory. For the process's growth to mean something nothing else
/// may have been done in it before.
///
/// # Panics
/// Without a file.
#[must_use]
pub fn measure(files_count: usize) -> Vec<Figures> {
    assert!(files_count > 0, "bytes a file need a file");
    let mut world = World::new();
    let stored = world.tree.store().bytes();
    let mut files = Vec::with_capacity(files_count);
    let own = files.capacity() * size_of::<InodeId>();
    let before = Before {
        stored,
        // The list of files is touched, and so counted, as it fills.
        process: resident_bytes() + own,
    };
    let mut dir = InodeId::ROOT;
    for number in 0..files_count {
        if number % PER_DIR == 0 {
            dir = world.dir(InodeId::ROOT);
        }
        files.push(world.file(dir));
    }
    let empty = before.figures("empty files", &world, files_count);
    for file in &files {
        let chunk = world.chunk(*file);
        world.ok(Op::WriteChunkEnd {
            caller: world.root(),
            inode: *file,
            index: 0,
            chunk,
            length: 4_096,
            may_touch_times: true,
        });
    }
    let written = before.figures("files of one chunk", &world, files_count);
    vec![empty, written]
}

/// Bytes before the first file.
struct Before {
    stored: usize,
    process: usize,
}

impl Before {
    fn figures(&self, what: &'static str, world: &World, files: usize) -> Figures {
        let store = world.tree.store();
        Figures {
            what,
            files,
            keys: store.len(),
            stored_bytes: (store.bytes() - self.stored) / files,
            process_bytes: resident_bytes().saturating_sub(self.process) / files,
        }
    }
}

/// Bytes of this process that are in memory; 0 where the system does not tell.
fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number.and_then(|it| it.parse::<usize>().ok()).unwrap_or(0) * 1_024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_takes_room_beside_its_file() {
        let figures = measure(50);
        let [empty, written] = figures.as_slice() else {
            panic!("two sorts of files: {figures:?}");
        };
        assert_eq!((empty.files, written.files), (50, 50));
        assert!(empty.stored_bytes > 50, "a file has keys: {empty:?}");
        // The chunk, and the slot that names it.
        assert_eq!(written.keys, empty.keys + 100);
        assert!(written.stored_bytes > empty.stored_bytes);
    }
}
