//! The process dies in the midst of checkpoints and restores: what comes back is a state that a
//! checkpoint could have left, and not older than the last one that was reported.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use super::super::Found;
use super::*;

/// Tells the test below that it is the child, and where its store is.
const CHILD: &str = "MFSHA_STORE_CRASH_CHILD";
const KEYS: u64 = 300;

fn pair(key: u64, round: u64) -> (Vec<u8>, Vec<u8>) {
    let length = 20 + (key * round % 90) as usize * 60;
    (format!("k{key:03}").into_bytes(), vec![round as u8; length])
}

/// What the store holds after a round: of each key, what the last round that wrote it wrote.
fn state_after(round: u64) -> Model {
    let mut model = Model::new();
    model.insert(b"count".to_vec(), round.to_be_bytes().to_vec());
    for earlier in round.saturating_sub(KEYS / 30)..=round {
        for key in keys_of(earlier) {
            let (key, value) = pair(key, earlier);
            model.insert(key, value);
        }
    }
    model
}

/// Thirty keys are written in each round; after ten rounds it begins anew.
fn keys_of(round: u64) -> impl Iterator<Item = u64> {
    let first = round * 30 % KEYS;
    first..first + 30
}

/// Not a test by itself: the process that is killed.
#[test]
fn child() {
    let Some(directory) = std::env::var_os(CHILD) else {
        return;
    };
    let (sender, done) = mpsc::channel();
    let report = move |end: CheckpointDone| {
        println!("done {} {:?}", end.checkpoint.0, end.result);
        let _ = sender.send(());
    };
    let options = options(Path::new(&directory));
    let mut store = LmdbStore::open(options, report).unwrap();
    let count = store.get(b"count").unwrap();
    let last = count.map_or(0, |bytes| u64::from_be_bytes(bytes.try_into().unwrap()));
    println!("begin {last}");
    for round in last + 1.. {
        if round % 7 == 0 {
            store.restore_begin().unwrap();
            for (key, value) in state_after(round) {
                let mut batch = WriteBatch::default();
                batch.put(key, value);
                store.restore_write(batch).unwrap();
            }
            store.restore_commit().unwrap();
        } else {
            let mut batch = WriteBatch::default();
            batch.put(b"count".to_vec(), round.to_be_bytes().to_vec());
            for key in keys_of(round) {
                let (key, value) = pair(key, round);
                batch.put(key, value);
            }
            store.write(batch).unwrap();
        }
        store.start_checkpoint();
        // Three are always under way or wait.
        if round > last + 3 {
            done.recv().unwrap();
        }
    }
}

#[test]
fn a_killed_process_leaves_a_checkpoint_behind() {
    let directory = tempfile::tempdir().unwrap();
    let mut killed_at = Vec::new();
    for life in 0..10 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::tests::crash::child", "--nocapture"])
            .env(CHILD, directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (mut begun, mut reported) = (0, 0);
        for line in lines.by_ref().map(Result::unwrap) {
            if let Some(last) = line.split("begin ").nth(1) {
                begun = last.parse::<u64>().unwrap();
            }
            if let Some(done) = line.strip_prefix("done ") {
                let (number, result) = done.split_once(' ').unwrap();
                assert_eq!(result, "Ok(())");
                reported = begun + number.parse::<u64>().unwrap();
                if reported - begun >= 3 + life * 3 {
                    break;
                }
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        for line in lines.map(Result::unwrap) {
            // What it still said before it died counts.
            if let Some((number, "Ok(())")) = line
                .strip_prefix("done ")
                .and_then(|done| done.split_once(' '))
            {
                reported = begun + number.parse::<u64>().unwrap();
            }
        }
        let (store, _done) = open(StoreOptions {
            verify: Verify::AfterCrash,
            ..options(directory.path())
        });
        assert_eq!(*store.found(), Found::Checkpoint { verified: true });
        let found = all(&store);
        let count = u64::from_be_bytes(found[&b"count"[..]].clone().try_into().unwrap());
        assert!(
            count >= reported,
            "{count} was found, {reported} was reported"
        );
        // A restore leaves the keys of the last rounds alone; between two, more of them stay.
        let expected = expected(count);
        assert!(found == expected, "the state of {count} is another");
        killed_at.push(count);
    }
    assert!(killed_at.is_sorted(), "{killed_at:?}");
}

/// The content after `count` rounds: what the last restore left, and what was written since.
fn expected(count: u64) -> Model {
    let restored = count / 7 * 7;
    let mut model = if restored > 0 {
        state_after(restored)
    } else {
        Model::new()
    };
    for round in restored + 1..=count {
        for key in keys_of(round) {
            let (key, value) = pair(key, round);
            model.insert(key, value);
        }
    }
    model.insert(b"count".to_vec(), count.to_be_bytes().to_vec());
    model
}
