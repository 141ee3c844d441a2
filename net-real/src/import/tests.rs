//! A data directory with the real master's file in it, and without.

use mfsha_core::id::{LogIndex, NodeId};
use mfsha_core::namespace::Namespace;

use super::*;

const REAL: &[u8] =
    include_bytes!("../../../core/src/moosefs/metadata/testdata/written-by-3.0.117.mfs");

struct Bed {
    directory: tempfile::TempDir,
}

impl Bed {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
        }
    }

    fn open(&self) -> DataDir {
        DataDir::open(&self.directory.path().join("data"), Some(NodeId(3))).unwrap()
    }

    fn import(&self, data: &DataDir, bytes: &[u8]) -> Result<(), Refused> {
        let file = self.directory.path().join("metadata.mfs");
        fs::write(&file, bytes).unwrap();
        import(data, &file, &mut || {})
    }
}

fn state(data: &DataDir) -> Namespace<LmdbStore> {
    let store = LmdbStore::open(StoreOptions::new(&data.state_path()), |_| {}).unwrap();
    Namespace::open(store).unwrap()
}

#[test]
fn the_real_masters_file_is_the_state_and_durable() {
    let bed = Bed::new();
    let data = bed.open();
    assert_eq!(left_in(&data), None);
    bed.import(&data, REAL).unwrap();
    assert!(!data.path().join(DIRECTORY).exists());
    {
        let tree = state(&data);
        assert_eq!(tree.check().unwrap(), Ok(()));
        assert_eq!(tree.dump().unwrap().nodes.len(), 13);
        assert_eq!(tree.applied().note, note_of_founder(NodeId(3), LogIndex(1)));
    }
    // The node was not formed: what is there was not begun with, and the same again takes its place.
    assert_eq!(left_in(&data), Some(data.state_path()));
    bed.import(&data, REAL).unwrap();
    assert_eq!(state(&data).dump().unwrap().nodes.len(), 13);
}

#[test]
fn a_damaged_file_leaves_no_state_and_is_refused_with_the_place() {
    let bed = Bed::new();
    let data = bed.open();
    let cut = &REAL[..REAL.len() - 5];
    let refused = bed.import(&data, cut).unwrap_err();
    assert_eq!(refused.exit_code(), exit::DATA);
    let place = format!("ends at byte {}", cut.len());
    assert!(refused.to_string().contains(&place), "{refused}");
    assert_eq!(left_in(&data), None);
    let mut unfit = REAL.to_vec();
    let at = unfit.windows(2).position(|it| it == b"f3").unwrap();
    unfit[at + 1] = b'2';
    let refused = bed.import(&data, &unfit).unwrap_err();
    assert_eq!(refused.exit_code(), exit::DATA);
    assert!(refused.to_string().contains("a second \"f2\""), "{refused}");
    assert_eq!(left_in(&data), None);
    let none = import(&data, &bed.directory.path().join("none"), &mut || {}).unwrap_err();
    assert_eq!(none.exit_code(), exit::SYSTEM);
}

#[test]
fn an_import_that_was_killed_is_seen_and_begun_anew() {
    let bed = Bed::new();
    let data = bed.open();
    // As a kill in the middle leaves it.
    let own = data.path().join(DIRECTORY);
    fs::create_dir_all(own.join("scratch")).unwrap();
    fs::create_dir_all(own.join("state")).unwrap();
    fs::write(own.join("state").join("open"), b"").unwrap();
    drop(data);
    let data = bed.open();
    assert_eq!(left_in(&data), Some(own));
    bed.import(&data, REAL).unwrap();
    assert_eq!(state(&data).dump().unwrap().nodes.len(), 13);
}
