//! Bytes that rot in one node's data directory: it heals from the others or says what to do, and
//! what was acknowledged stays.
//!
//! `MFSHA_TEST_POSITIONS=N` tries N places in every kind of file in place of a few.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::support::{Cluster, PATIENCE};

/// The node that suffers.
const VICTIM: u64 = 3;
/// Exit codes after which a supervisor starts a node again by itself.
const MAY_START_AGAIN: [i32; 2] = [69, 74];

/// Places that are tried in each kind of file.
fn positions() -> u64 {
    let given = std::env::var("MFSHA_TEST_POSITIONS").ok();
    given.map_or(3, |text| {
        text.parse().expect("MFSHA_TEST_POSITIONS is a number")
    })
}

/// A cluster whose nodes have log and state on disk, and the files that it holds.
fn filled() -> (Cluster, Vec<String>) {
    let mut cluster = Cluster::new(3);
    for node in 1..=3 {
        let often = "--set=HA_METADATA_SYNC_INTERVAL=1s".to_owned();
        cluster.options.insert(node, vec![often]);
    }
    cluster.start_all();
    let mut made = Vec::new();
    for number in 0..4 {
        let path = format!("/file{number}");
        cluster.create(&path);
        // Large enough for pages of its own, so that there is more to hit than the root.
        let value = format!("{number}").repeat(20_000);
        cluster.admin_ok(&["fs", "xattr", "set", &path, "user.v", &value]);
        made.push(path);
    }
    for node in ["1", "2", "3"] {
        cluster.admin_ok(&["snapshot", node]);
    }
    (cluster, made)
}

/// The files of a data directory by kind.
fn files_by_kind(data: &Path) -> BTreeMap<&'static str, Vec<PathBuf>> {
    let mut kinds: BTreeMap<&'static str, Vec<PathBuf>> = BTreeMap::new();
    let mut todo = vec![data.to_owned()];
    while let Some(directory) = todo.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                // What was set aside is kept for whoever wants to look at it, and read by nobody.
                if !path.ends_with("damaged") {
                    todo.push(path);
                }
                continue;
            }
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let in_log = directory.ends_with("log");
            let kind = match name.as_str() {
                // Neither holds anything that a start reads.
                "lock" | "lock.mdb" => continue,
                "identity" => "identity",
                "CURRENT" => "CURRENT",
                "data.mdb" => "data.mdb",
                _ if in_log => "log",
                _ => continue,
            };
            kinds.entry(kind).or_default().push(path);
        }
    }
    for paths in kinds.values_mut() {
        paths.sort();
    }
    kinds
}

/// How far into a file something has been written, bytes.
fn used_bytes(path: &Path) -> u64 {
    let bytes = fs::read(path).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0);
    end.map_or(0, |at| at as u64 + 1)
}

/// The first byte, the last that is used, and others in between, of each file in turn.
fn places(kind: &str, files: &[PathBuf], count: u64) -> Vec<(PathBuf, u64)> {
    let used: Vec<_> = files.iter().map(|path| (path, used_bytes(path))).collect();
    let used: Vec<_> = used.into_iter().filter(|(_, bytes)| *bytes > 0).collect();
    assert!(!used.is_empty(), "no {kind} holds anything");
    let at = |number: u64| {
        let (path, bytes) = used[number as usize % used.len()];
        let last = bytes - 1;
        // Steps that meet all kinds of places: headers, middles, ends.
        let offset = match number {
            0 => 8.min(last),
            _ if number == count - 1 => last,
            _ => (last / count * number) | 5,
        };
        (path.clone(), offset.min(last))
    };
    (0..count).map(at).collect()
}

fn flip(path: &Path, offset: u64) {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    byte[0] ^= 0x10;
    file.write_all_at(&byte, offset).unwrap();
    file.sync_all().unwrap();
}

fn says_what_to_do(said: &str) -> bool {
    said.contains("must be replaced by a node with a new id")
        || said.contains("under a node id that was never used")
}

/// How a start ended.
#[derive(Debug, PartialEq, Eq)]
enum Start {
    Serves,
    Refused,
}

impl Cluster {
    /// Starts the victim, again as a supervisor would, until it serves or gives up.
    fn start_victim(&mut self) -> Start {
        for _ in 0..4 {
            self.start(VICTIM);
            let end = Instant::now() + PATIENCE;
            loop {
                if self.is_over(VICTIM) {
                    break;
                }
                let ready = self.get(VICTIM, "/readyz");
                if ready.is_some_and(|(code, _)| code == 200) {
                    return Start::Serves;
                }
                let said = || self.said(VICTIM);
                assert!(
                    Instant::now() < end,
                    "it neither serves nor ends:\n{}",
                    said()
                );
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            let code = self.ended(VICTIM).code();
            if !code.is_some_and(|code| MAY_START_AGAIN.contains(&code)) {
                assert_eq!(code, Some(65), "{}", self.said(VICTIM));
                return Start::Refused;
            }
        }
        panic!("it ends again and again:\n{}", self.said(VICTIM));
    }

    /// What a stopped node's state adds up to; it has to be sound.
    fn sum(&self, node: u64) -> String {
        let output = Command::new(env!("CARGO_BIN_EXE_mfsha"))
            .arg(format!("--data-path={}", self.data(node).display()))
            .arg("verify-state")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.starts_with("sound: "), "node {node}: {said}");
        said
    }

    /// Stops all nodes at the same state, and compares what they hold, to the byte.
    fn assert_equal(&mut self) {
        self.until(VICTIM, "has all that the others have", || {
            let status = self.admin_json(&["status"]);
            let nodes = status["nodes"].as_array().unwrap();
            let applied = &nodes[0]["applied"];
            applied.is_u64() && nodes.iter().all(|node| &node["applied"] == applied)
        });
        for node in 1..=3 {
            self.admin_ok(&["snapshot", &node.to_string()]);
        }
        for node in 1..=3 {
            self.kill(node);
        }
        let first = self.sum(1);
        for node in 2..=3 {
            assert_eq!(self.sum(node), first, "node {node} differs from node 1");
        }
    }
}

#[test]
fn a_bent_byte_in_any_file_is_healed_or_named_and_costs_nothing() {
    let (mut cluster, mut made) = filled();
    let count = positions();
    let data = cluster.data(VICTIM);
    let kinds: Vec<_> = files_by_kind(&data).into_keys().collect();
    assert_eq!(kinds, ["CURRENT", "data.mdb", "identity", "log"]);
    let (mut healed, mut refused) = (0, 0);
    for kind in kinds {
        for number in 0..count {
            cluster.kill(VICTIM);
            // Names change as state and log go on.
            let files = files_by_kind(&data).remove(kind).unwrap();
            let (path, offset) = places(kind, &files, count)[number as usize].clone();
            flip(&path, offset);
            let before = cluster.said(VICTIM).len();
            let path_made = format!("/during-{kind}-{number}");
            cluster.create(&path_made);
            made.push(path_made);
            let place = format!("byte {offset} of {}", path.display());
            if cluster.start_victim() == Start::Serves {
                healed += 1;
            } else {
                refused += 1;
                let said = cluster.said(VICTIM)[before..].to_owned();
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                assert!(said.contains(&name), "{place}: no word of {name}:\n{said}");
                assert!(says_what_to_do(&said), "{place}: what to do?\n{said}");
                // As it was it is good again.
                flip(&path, offset);
                assert_eq!(cluster.start_victim(), Start::Serves, "{place}");
            }
            eprintln!("{place}: {healed} healed or harmless, {refused} refused so far");
        }
    }
    assert!(
        healed > 0 && refused > 0,
        "{healed} healed, {refused} refused"
    );
    cluster.all_there(&made);
    cluster.assert_equal();
    // The victim itself serves all of it.
    cluster.start_all();
    cluster.until(VICTIM, "leads", || {
        cluster.admin(&["transfer-leader", &VICTIM.to_string()]).0
    });
    cluster.all_there(&made);
}

#[test]
fn bytes_that_rot_under_a_running_node_cost_nothing() {
    let (mut cluster, mut made) = filled();
    let data = cluster.data(VICTIM);
    for kind in ["log", "data.mdb"] {
        let files = files_by_kind(&data).remove(kind).unwrap();
        for (path, offset) in places(kind, &files, positions()) {
            flip(&path, offset);
        }
        let path = format!("/while-{kind}-rots");
        cluster.create(&path);
        made.push(path);
        cluster.all_there(&made);
    }
    let before = cluster.said(VICTIM).len();
    // It may have noticed by itself.
    cluster.kill(VICTIM);
    let start = cluster.start_victim();
    cluster.all_there(&made);
    match start {
        Start::Serves => cluster.assert_equal(),
        Start::Refused => {
            let said = cluster.said(VICTIM)[before..].to_owned();
            assert!(says_what_to_do(&said), "what to do?\n{said}");
        }
    }
}
