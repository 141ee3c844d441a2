//! No room on the disk: the checkpoint fails and says so, nothing is lost, and it goes on when
//! there is room again.

use std::path::PathBuf;
use std::process::Command;

use super::*;

fn fill(store: &mut LmdbStore, keys: u32) -> Model {
    let mut model = Model::new();
    let mut batch = WriteBatch::default();
    for number in 0..keys {
        let (key, value) = (number.to_be_bytes().to_vec(), vec![number as u8; 900]);
        batch.put(key.clone(), value.clone());
        model.insert(key, value);
    }
    store.write(batch).unwrap();
    model
}

#[test]
fn a_full_map_fails_the_checkpoint_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let small = StoreOptions {
        map_bytes_max: 1 << 20,
        ..options(directory.path())
    };
    let (mut store, done) = open(small.clone());
    let before = fill(&mut store, 100);
    checkpoint(&mut store, &done).unwrap();
    let much = fill(&mut store, 2_000);
    for _ in 0..3 {
        assert_eq!(checkpoint(&mut store, &done), Err(StoreError::Full));
        assert_eq!(all(&store), much);
    }
    assert_eq!(store.stats().figures().checkpoints_failed, 3);
    drop(store);
    let (mut store, done) = open(small);
    assert_eq!(all(&store), before, "the checkpoint before holds");
    fill(&mut store, 2_000);
    assert_eq!(checkpoint(&mut store, &done), Err(StoreError::Full));
    // What is removed before it was ever written needs no room.
    let mut batch = WriteBatch::default();
    for number in 200..2_000_u32 {
        batch.delete(number.to_be_bytes().to_vec());
    }
    store.write(batch).unwrap();
    checkpoint(&mut store, &done).unwrap();
    drop(store);
    let (mut store, done) = open(options(directory.path()));
    assert_eq!(all(&store).len(), 200);
    fill(&mut store, 2_000);
    checkpoint(&mut store, &done).unwrap();
    assert_eq!(all(&store), much, "a larger map takes it");
}

#[test]
fn a_restore_without_room_leaves_the_state_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, done) = open(StoreOptions {
        map_bytes_max: 1 << 20,
        ..options(directory.path())
    });
    let before = fill(&mut store, 100);
    checkpoint(&mut store, &done).unwrap();
    store.restore_begin().unwrap();
    let mut result = Ok(());
    for number in 0..4_000_u32 {
        let mut batch = WriteBatch::default();
        batch.put(number.to_be_bytes().to_vec(), vec![7; 900]);
        result = store.restore_write(batch);
        if result.is_err() {
            break;
        }
    }
    assert_eq!(result, Err(StoreError::Full));
    assert_eq!(all(&store), before);
    put(&mut store, b"more", b"1");
    checkpoint(&mut store, &done).unwrap();
    store.restore_begin().unwrap();
    store.restore_commit().unwrap();
    checkpoint(&mut store, &done).unwrap();
    assert!(all(&store).is_empty());
}

/// A file system of four megabytes, if this process may mount one.
struct Small(PathBuf);

impl Small {
    fn mount(at: &Path) -> Option<Self> {
        std::fs::create_dir(at).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"])
            .arg(at)
            .status();
        mounted
            .is_ok_and(|status| status.success())
            .then(|| Self(at.to_owned()))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // Nothing can be done about it here; the directory's removal will complain.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_fails_the_checkpoint_until_there_is_room() {
    let directory = tempfile::tempdir().unwrap();
    let Some(small) = Small::mount(&directory.path().join("small")) else {
        crate::testing::skipped("a full disk was not tried, for this process may not mount one");
        return;
    };
    let (mut store, done) = open(options(&small.0.join("state")));
    let before = fill(&mut store, 100);
    checkpoint(&mut store, &done).unwrap();
    let ballast = small.0.join("ballast");
    let full = std::fs::write(&ballast, vec![7; 8 << 20]).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    let much = fill(&mut store, 1_000);
    for _ in 0..3 {
        assert_eq!(checkpoint(&mut store, &done), Err(StoreError::Full));
        assert_eq!(all(&store), much);
    }
    drop(store);
    let (mut store, done) = open(options(&small.0.join("state")));
    assert_eq!(all(&store), before);
    fill(&mut store, 1_000);
    assert_eq!(checkpoint(&mut store, &done), Err(StoreError::Full));
    std::fs::remove_file(&ballast).unwrap();
    checkpoint(&mut store, &done).unwrap();
    assert_eq!(all(&store), much);
    drop(store);
    let (store, _done) = open(options(&small.0.join("state")));
    assert_eq!(all(&store), much);
}
