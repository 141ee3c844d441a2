//! Bytes of memory per inode of a tree with a million files (or as many as the argument says), a
//! thousand to a directory: of keys and values alone, and of the whole process. Then the same with
//! a chunk in each file.
//!
//! ```text
//! cargo run --release -p mfsha-benches --bin inode-memory [FILES]
//! ```

use mfsha_benches::world::World;
use mfsha_core::id::InodeId;
use mfsha_core::namespace::op::Op;

/// Files of one directory.
const PER_DIR: usize = 1_000;

fn main() {
    let wanted = std::env::args().nth(1);
    let count: usize = wanted.map_or(1_000_000, |number| {
        number.parse().expect("the argument is a number of files")
    });
    let mut world = World::new();
    let (store, resident) = (world.tree.store().bytes(), resident());
    let mut files = Vec::with_capacity(count);
    let mut dir = InodeId::ROOT;
    for number in 0..count {
        if number % PER_DIR == 0 {
            dir = world.dir(InodeId::ROOT);
        }
        files.push(world.file(dir));
    }
    let own = files.capacity() * size_of::<InodeId>();
    report("empty files", &world, count, store, resident + own);
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
    report("files of one chunk", &world, count, store, resident + own);
}

fn report(what: &str, world: &World, count: usize, store: usize, before: usize) {
    let store = world.tree.store().bytes() - store;
    let process = resident().saturating_sub(before);
    println!(
        "{count} {what}: {} keys, {} bytes of keys and values a file, {} bytes of memory a file",
        world.tree.store().len(),
        store / count,
        process / count
    );
}

/// Bytes of this process that are in memory.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number.and_then(|it| it.parse::<usize>().ok()).unwrap_or(0) * 1_024
}
