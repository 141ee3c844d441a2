//! Damage on the disk, anywhere: it is found, or it is where nothing is.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::super::directory::{DATA_FILE, environment_path, generations};
use super::super::{Found, Verdict, verify};
use super::*;

/// A store with a tree of two levels, long values, free pages, and its file.
fn small_store(directory: &Path) -> (Model, PathBuf) {
    let (mut store, done) = open(options(directory));
    for round in 0..3_u32 {
        let mut batch = WriteBatch::default();
        for number in round * 7..round * 7 + 60 {
            let value = vec![(number + round) as u8; (number as usize * 5) % 60];
            batch.put(format!("key {number:04}").into_bytes(), value);
            batch.delete(format!("key {:04}", number.saturating_sub(50)).into_bytes());
        }
        batch.put(b"long".to_vec(), vec![round as u8; 5_000]);
        store.write(batch).unwrap();
        checkpoint(&mut store, &done).unwrap();
    }
    let model = all(&store);
    drop(store);
    let generation = generations(directory).unwrap()[0];
    let file = environment_path(directory, generation).join(DATA_FILE);
    (model, file)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// A state that was called sound is opened, read whole, written to a few times, and read again.
fn use_for_real(directory: &Path, model: &Model) {
    let (mut store, done) = open(StoreOptions {
        verify: Verify::Never,
        ..options(directory)
    });
    assert_eq!(all(&store), *model);
    for (key, value) in model {
        assert_eq!(store.get(key).unwrap().as_ref(), Some(value));
    }
    let mut model = model.clone();
    for round in 0..4_u8 {
        for number in 0..30_u8 {
            let (key, value) = (vec![b'z', number], vec![round; 150]);
            put(&mut store, &key, &value);
            model.insert(key, value);
        }
        checkpoint(&mut store, &done).unwrap();
    }
    assert_eq!(all(&store), model);
    drop(store);
    assert!(matches!(verify(directory), Verdict::Sound { .. }));
}

#[test]
fn every_damaged_byte_is_found_or_harmless() {
    let directory = tempfile::tempdir().unwrap();
    let home = directory.path().join("store");
    let (model, path) = small_store(&home);
    let Verdict::Sound { state } = verify(&home) else {
        panic!("{:?}", verify(&home))
    };
    assert_eq!(state.keys, model.len() as u64);
    let bytes = fs::read(&path).unwrap();
    let file = File::options().write(true).open(&path).unwrap();
    let (mut found, mut harmless) = (0, 0);
    for (at, byte) in bytes.iter().enumerate() {
        let damaged = match at % 3 {
            0 => byte ^ (1 << (at / 3 % 8)),
            1 => !byte,
            _ => byte.wrapping_add(1),
        };
        file.write_all_at(&[damaged], at as u64).unwrap();
        match verify(&home) {
            Verdict::Damaged { .. } => found += 1,
            Verdict::Sound { state: now } => {
                assert_eq!(now, state, "byte {at} changed the state without a word");
                harmless += 1;
                // A prime, so that all places within a page are tried.
                if harmless % 1_499 == 0 {
                    let tried = directory.path().join("tried");
                    copy(&home, &tried);
                    use_for_real(&tried, &model);
                    fs::remove_dir_all(&tried).unwrap();
                }
            }
            other => panic!("byte {at}: {other:?}"),
        }
        file.write_all_at(&[*byte], at as u64).unwrap();
    }
    assert!(found > 5_000, "{found} of {} bytes matter", bytes.len());
    assert!(harmless > 1_499, "{harmless} bytes do not");
    use_for_real(&home, &model);
}

#[test]
fn every_shortened_file_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let (_, path) = small_store(directory.path());
    let length = fs::metadata(&path).unwrap().len();
    let file = File::options().write(true).open(&path).unwrap();
    for length in (0..length).rev().step_by(509) {
        file.set_len(length).unwrap();
        // Free pages at the end may be missing: LMDB itself need not write them.
        if let Verdict::Sound { .. } = verify(directory.path()) {
            assert!(length > 4 * 4_096, "cut to {length}");
        }
    }
    let verdict = verify(directory.path());
    assert!(matches!(verdict, Verdict::Damaged { .. }), "{verdict:?}");
}

#[test]
fn a_damaged_store_is_set_aside_and_an_empty_one_opened() {
    let directory = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let (_, path) = small_store(directory.path());
        let bytes = fs::read(&path).unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        // In free pages too.
        let at = (0..bytes.len() - 8).filter(|at| bytes[*at..*at + 8] == *b"key 0050");
        for at in at {
            file.write_all_at(b"X", at as u64).unwrap();
        }
        let (mut store, done) = open(options(directory.path()));
        let Found::Damaged { reason, kept } = store.found().clone() else {
            panic!("{:?}", store.found())
        };
        assert!(reason.contains("page"), "{reason}");
        assert!(kept.unwrap().join(DATA_FILE).is_file());
        assert!(all(&store).is_empty());
        put(&mut store, b"healed", b"1");
        checkpoint(&mut store, &done).unwrap();
        drop(store);
        let (store, _done) = open(options(directory.path()));
        assert_eq!(*store.found(), Found::Checkpoint { verified: true });
        assert_eq!(all(&store).len(), 1);
    }
}

#[test]
fn a_file_that_is_gone_or_no_file_of_ours_is_damage() {
    for content in [None, Some(vec![]), Some(vec![7; 100_000])] {
        for verify in [Verify::Always, Verify::Never] {
            let directory = tempfile::tempdir().unwrap();
            let (_, path) = small_store(directory.path());
            match &content {
                Some(content) => fs::write(&path, content).unwrap(),
                None => fs::remove_file(&path).unwrap(),
            }
            let (store, _done) = open(StoreOptions {
                verify,
                ..options(directory.path())
            });
            let found = store.found();
            assert!(matches!(found, Found::Damaged { .. }), "{found:?}");
        }
    }
    let directory = tempfile::tempdir().unwrap();
    small_store(directory.path());
    fs::write(directory.path().join("CURRENT"), b"nonsense").unwrap();
    let lost = tempfile::tempdir().unwrap();
    small_store(lost.path());
    fs::remove_file(lost.path().join("CURRENT")).unwrap();
    let (store, _done) = open(options(lost.path()));
    assert!(matches!(
        store.found(),
        Found::Damaged { kept: Some(_), .. }
    ));
    let (store, _done) = open(options(directory.path()));
    assert!(matches!(
        store.found(),
        Found::Damaged { kept: Some(_), .. }
    ));
}

#[test]
fn a_store_that_is_open_is_not_checked_from_outside() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(options(directory.path()));
    let code = super::super::run_verify(directory.path());
    assert_eq!(code, std::process::ExitCode::FAILURE);
    drop(store);
    let code = super::super::run_verify(directory.path());
    assert_eq!(code, std::process::ExitCode::SUCCESS);
}
