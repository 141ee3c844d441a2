//! Load: creates and stats by so many tasks at once, each waiting for its answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mfsha_client::Error;
use mfsha_client::tree::{NewNode, Place, Tree};
use mfsha_core::id::InodeId;
use mfsha_core::namespace::op::NodeKind;
use tokio::task::JoinSet;

/// Files in one directory of the fill.
const DIRECTORY_FILES: u64 = 1_000;
/// Tasks that fill.
const FILLERS: u64 = 128;

/// What a load came to.
pub struct Done {
    /// One for each operation.
    pub latencies: Vec<Duration>,
}

fn file() -> NewNode {
    NewNode {
        kind: NodeKind::File,
        mode: 0o644,
        umask: 0,
        rdev: 0,
    }
}

fn place(parent: InodeId, name: &str) -> Place {
    Place {
        parent,
        name: name.as_bytes().to_vec(),
    }
}

/// Makes a directory.
pub async fn directory(tree: &Tree, parent: InodeId, name: &str) -> Result<InodeId, Error> {
    Ok(tree.mkdir(place(parent, name), 0o755, 0).await?.inode)
}

/// Creates files by `tasks` writers for a time.
pub async fn creates(
    tree: &Tree,
    home: InodeId,
    tasks: u32,
    time: Duration,
) -> Result<Done, Error> {
    let tree = tree.clone();
    run(tasks, time, move |task, number| {
        let tree = tree.clone();
        let name = format!("f{task}-{number}");
        async move { tree.create(place(home, &name), file()).await.map(drop) }
    })
    .await
}

/// Reads the attributes of a directory by `tasks` readers for a time.
pub async fn reads(tree: &Tree, home: InodeId, tasks: u32, time: Duration) -> Result<Done, Error> {
    let tree = tree.clone();
    run(tasks, time, move |_, _| {
        let tree = tree.clone();
        async move { tree.getattr(home).await.map(drop) }
    })
    .await
}

async fn run<F>(
    tasks: u32,
    time: Duration,
    operation: impl Fn(u32, u64) -> F + Clone + Send + 'static,
) -> Result<Done, Error>
where
    F: Future<Output = Result<(), Error>> + Send + 'static,
{
    let end = Instant::now() + time;
    let mut set = JoinSet::new();
    for task in 0..tasks {
        let operation = operation.clone();
        set.spawn(async move {
            let mut took = Vec::new();
            let mut number = 0;
            while Instant::now() < end {
                let began = Instant::now();
                operation(task, number).await?;
                took.push(began.elapsed());
                number += 1;
            }
            Ok::<_, Error>(took)
        });
    }
    let mut latencies = Vec::new();
    for took in set.join_all().await {
        latencies.extend(took?);
    }
    Ok(Done { latencies })
}

/// Creates so many files, a thousand a directory.
pub async fn fill(
    tree: &Tree,
    root: InodeId,
    files: u64,
    progress: impl Fn(u64),
) -> Result<(), Error> {
    let home = directory(tree, root, "fill").await?;
    let next = Arc::new(AtomicU64::new(0));
    let mut set = JoinSet::new();
    for _ in 0..FILLERS {
        let (tree, next) = (tree.clone(), Arc::clone(&next));
        set.spawn(async move {
            loop {
                let first = next.fetch_add(DIRECTORY_FILES, Ordering::Relaxed);
                if first >= files {
                    return Ok::<_, Error>(());
                }
                let parent = directory(&tree, home, &format!("d{first}")).await?;
                for number in first..files.min(first + DIRECTORY_FILES) {
                    let at = place(parent, &format!("file-{number}"));
                    tree.create(at, file()).await?;
                }
            }
        });
    }
    let mut look = tokio::time::interval(Duration::from_secs(5));
    loop {
        tokio::select! {
            done = set.join_next() => match done {
                None => return Ok(()),
                Some(Ok(result)) => result?,
                Some(Err(_)) => panic!("a task that fills died"),
            },
            _ = look.tick() => progress(next.load(Ordering::Relaxed).min(files)),
        }
    }
}
