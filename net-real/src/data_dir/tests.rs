//! Directories that are made, kept, refused; damage, a full disk, and what the system may deny.

use std::process::Command;

use mfsha_core::transport::{Address, KnownPeer, Standing};

use super::*;

const NODE: Option<NodeId> = Some(NodeId(7));

struct Place {
    root: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self {
            root: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self) -> PathBuf {
        self.root.path().join("data")
    }

    fn open(&self) -> Result<DataDir, DataDirError> {
        DataDir::open(&self.path(), NODE)
    }

    fn refusal(&self) -> DataDirError {
        self.open().expect_err("it has to be refused")
    }
}

fn says(error: &DataDirError, parts: &[&str]) {
    let said = error.to_string();
    for part in parts {
        assert!(said.contains(part), "{part} is not in: {said}");
    }
}

/// An identity with everything in it.
fn formed(before: &Identity) -> Identity {
    let mut identity = before.clone();
    identity.incarnation += 1;
    let founders = [(before.node, before.disk), (NodeId(8), DiskId(99))].into();
    identity.standing = Standing::Formed { founders };
    let peer = KnownPeer {
        disk: Some(DiskId(99)),
        incarnation: 3,
        address: Address::new("[fe80::8]:9430").unwrap(),
    };
    identity.peers.insert(NodeId(8), peer);
    identity
}

#[test]
fn a_directory_is_made_once_and_remembers() {
    let place = Place::new();
    let mut first = place.open().unwrap();
    assert_eq!(first.identity().node, NodeId(7));
    assert!(first.log_path().is_dir() && first.state_path().is_dir());
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&fs::metadata(place.path()).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o700);
    let identity = formed(first.identity());
    first.store(&identity).unwrap();
    assert_eq!(first.identity(), &identity);
    drop(first);
    // The id may be left to the directory.
    for given in [NODE, None] {
        let again = DataDir::open(&place.path(), given).unwrap();
        assert_eq!(again.identity(), &identity);
    }
    let other = Place::new().open().unwrap();
    assert_ne!(other.identity().disk, identity.disk, "disks are told apart");
}

#[test]
fn that_it_was_admitted_is_remembered() {
    let place = Place::new();
    let mut first = place.open().unwrap();
    assert!(!first.is_admitted());
    first.store_admitted().unwrap();
    let identity = formed(first.identity());
    first.store(&identity).unwrap();
    drop(first);
    let again = place.open().unwrap();
    assert!(again.is_admitted());
    assert_eq!(again.identity(), &identity);
}

#[test]
fn notes_of_format_3_say_nothing_of_an_admission() {
    let place = Place::new();
    let directory = place.open().unwrap();
    let identity = directory.identity().clone();
    drop(directory);
    let format = Format {
        version: 3,
        written_by: "mfsha before".into(),
    };
    let mut bytes = codec::seal(FORMAT_KIND, RECORD_VERSION, &codec::encode(&format));
    bytes.extend(codec::seal(NOTES_KIND, 1, &codec::encode(&true)));
    bytes.extend(identity.to_bytes());
    fs::write(place.path().join(IDENTITY_FILE), bytes).unwrap();
    fs::write(place.path().join(LOG_DIRECTORY).join("segment"), "some").unwrap();
    let again = place.open().unwrap();
    let kept = Notes {
        log_began: true,
        admitted: false,
    };
    assert_eq!((again.identity(), again.notes), (&identity, kept));
}

#[test]
fn only_its_own_node_may_have_it() {
    let place = Place::new();
    let node = |node| Some(NodeId(node));
    let error = DataDir::owner(&place.path(), None).unwrap_err();
    says(&error, &["is new and the node has no id"]);
    assert_eq!(DataDir::owner(&place.path(), node(9)).unwrap(), NodeId(9));
    assert!(!place.path().exists(), "a look makes nothing");
    let directory = place.open().unwrap();
    // Also while a process has it.
    assert_eq!(DataDir::owner(&place.path(), None).unwrap(), NodeId(7));
    assert_eq!(DataDir::owner(&place.path(), node(7)).unwrap(), NodeId(7));
    let looked = DataDir::owner(&place.path(), node(9)).unwrap_err();
    drop(directory);
    let opened = DataDir::open(&place.path(), node(9)).unwrap_err();
    for error in [looked, opened] {
        says(&error, &["belongs to node 7", "MFSHA_NODE_ID is 9"]);
        assert_eq!(error.exit_code(), exit::USAGE);
    }
}

#[test]
fn a_new_directory_needs_an_id_and_its_parent() {
    let place = Place::new();
    let error = DataDir::open(&place.path(), None).unwrap_err();
    says(&error, &["is new and the node has no id", "--node-id"]);
    place.open().expect("what was left behind is no obstacle");
    let deep = place.root.path().join("not/mounted");
    let error = DataDir::open(&deep, NODE).unwrap_err();
    says(
        &error,
        &[
            "not/mounted cannot be made",
            "not does not exist",
            "mount the disk",
        ],
    );
    assert!(!deep.parent().unwrap().exists());
}

#[test]
fn one_process_at_a_time_and_the_other_is_named() {
    let place = Place::new();
    let first = place.open().unwrap();
    let error = place.refusal();
    says(
        &error,
        &[
            &format!("in use by process {}", std::process::id()),
            "stop that one",
        ],
    );
    assert_eq!(error.exit_code(), exit::UNAVAILABLE);
    fs::write(place.path().join(LOCK_FILE), "no number").unwrap();
    says(&place.refusal(), &["in use by another process"]);
    drop(first);
    place.open().unwrap();
}

#[test]
fn what_is_no_directory_of_ours_is_refused() {
    let place = Place::new();
    fs::write(place.path(), "a file").unwrap();
    says(&place.refusal(), &["data is not a directory"]);
    let below = place.path().join("below");
    says(
        &DataDir::open(&below, NODE).unwrap_err(),
        &["below is not a directory"],
    );
    fs::remove_file(place.path()).unwrap();
    fs::create_dir(place.path()).unwrap();
    fs::create_dir(place.path().join("lost+found")).unwrap();
    for name in ["photos", "letters", "bills", "rest"] {
        fs::create_dir(place.path().join(name)).unwrap();
    }
    let error = place.refusal();
    says(
        &error,
        &[
            "holds bills, letters, photos and is no data directory",
            "empty",
        ],
    );
    for name in ["photos", "letters", "bills", "rest"] {
        fs::remove_dir(place.path().join(name)).unwrap();
    }
    place.open().unwrap();
    fs::remove_dir(place.path().join("log")).unwrap();
    fs::write(place.path().join("log"), "").unwrap();
    says(&place.refusal(), &["log is not a directory"]);
}

#[test]
fn a_lost_identity_is_not_made_up() {
    let place = Place::new();
    let directory = place.open().unwrap();
    fs::write(directory.state_path().join("data.mdb"), "x").unwrap();
    drop(directory);
    fs::remove_file(place.path().join(IDENTITY_FILE)).unwrap();
    let error = place.refusal();
    says(
        &error,
        &["identity is missing", "state holds files", "never used"],
    );
    assert_eq!(error.exit_code(), exit::DATA);
}

#[test]
fn a_lost_log_is_not_begun_again() {
    let place = Place::new();
    let mut directory = place.open().unwrap();
    let identity = formed(directory.identity());
    directory.store(&identity).unwrap();
    drop(directory);
    let mut directory = place.open().expect("the log has not begun");
    let segment = directory.log_path().join("segment-0");
    fs::write(&segment, "x").unwrap();
    directory.store_log_began().unwrap();
    directory
        .store(&identity)
        .expect("other changes keep the note");
    let log = directory.log_path();
    drop(directory);
    place.open().expect("it is there");
    let lost = |error: DataDirError| {
        says(&error, &["log is empty", "never used"]);
        assert_eq!(error.exit_code(), exit::DATA);
    };
    fs::remove_file(&segment).unwrap();
    fs::write(log.join(LOCK_FILE), "").unwrap();
    lost(place.refusal());
    fs::remove_dir_all(&log).unwrap();
    lost(place.refusal());
    lost(place.refusal());
}

#[test]
fn every_flipped_bit_and_every_cut_of_the_identity_is_refused() {
    let place = Place::new();
    let mut directory = place.open().unwrap();
    let identity = formed(directory.identity());
    directory.store(&identity).unwrap();
    drop(directory);
    let file = place.path().join(IDENTITY_FILE);
    let good = fs::read(&file).unwrap();
    let refused = |bytes: &[u8], what: &str| {
        fs::write(&file, bytes).unwrap();
        let error = place.open().map(|_| ()).expect_err(what);
        assert!(
            matches!(error, DataDirError::Damaged { .. }),
            "{what}: {error}"
        );
        says(&error, &["identity is damaged", "never used"]);
        assert_eq!(
            fs::read(&file).unwrap(),
            bytes,
            "nothing is written over it"
        );
    };
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bent = good.clone();
            bent[at] ^= 1 << bit;
            refused(&bent, &format!("byte {at}, bit {bit}"));
        }
        refused(&good[..at], &format!("cut at {at}"));
    }
    let mut longer = good.clone();
    longer.push(0);
    refused(&longer, "a byte too many");
    refused(
        &vec![0; IDENTITY_FILE_BYTES_MAX as usize + 1],
        "far too long",
    );
    fs::write(&file, &good).unwrap();
    assert_eq!(place.open().unwrap().identity(), &identity);
}

#[test]
fn a_format_that_is_not_read_says_who_wrote_it() {
    for version in [FORMAT_VERSION + 1, FORMAT_OLDEST - 1] {
        let place = Place::new();
        drop(place.open().unwrap());
        let format = Format {
            version,
            written_by: "mfsha 9.9.9\u{1b}[31m".into(),
        };
        let mut bytes = codec::seal(FORMAT_KIND, RECORD_VERSION, &codec::encode(&format));
        bytes.extend(b"something that this program cannot read");
        fs::write(place.path().join(IDENTITY_FILE), &bytes).unwrap();
        let error = place.refusal();
        let what = format!("has format {version}, written by mfsha 9.9.9[31m;");
        says(&error, &[&what, program()]);
        assert_eq!(error.exit_code(), exit::DATA);
        let after = fs::read(place.path().join(IDENTITY_FILE)).unwrap();
        assert_eq!(after, bytes, "it is left as it was");
    }
}

#[test]
fn what_a_crash_left_half_written_is_no_obstacle() {
    let place = Place::new();
    let mut directory = place.open().unwrap();
    let new = place.path().join(IDENTITY_NEW_FILE);
    fs::write(&new, "half").unwrap();
    let identity = formed(directory.identity());
    directory.store(&identity).unwrap();
    assert!(!new.exists(), "it took its place");
    fs::write(&new, "half").unwrap();
    drop(directory);
    assert_eq!(place.open().unwrap().identity(), &identity);
    // Before the first identity was in place.
    fs::remove_file(place.path().join(IDENTITY_FILE)).unwrap();
    place.open().expect("nothing was promised yet");
}

#[test]
fn a_promise_is_never_taken_back() {
    let place = Place::new();
    let mut directory = place.open().unwrap();
    let open = directory.identity().clone();
    let formed = formed(&open);
    let pledged = {
        let founders = formed.standing.founders().unwrap().clone();
        let standing = Standing::Pledged { founders };
        Identity {
            standing,
            ..formed.clone()
        }
    };
    let refuse = |directory: &mut DataDir, identity: &Identity, part: &str| {
        let before = directory.identity().clone();
        let error = directory.store(identity).expect_err(part);
        says(&error, &["may not change", part]);
        assert_eq!(directory.identity(), &before);
    };
    let change = |change: &dyn Fn(&mut Identity)| {
        let mut identity = pledged.clone();
        change(&mut identity);
        identity
    };
    directory.store(&pledged).unwrap();
    let standing = Standing::Open;
    let back = Identity { standing, ..open };
    refuse(
        &mut directory,
        &Identity {
            incarnation: 9,
            ..back
        },
        "the pledge",
    );
    let other_node = Identity::new(NodeId(8), formed.disk);
    refuse(&mut directory, &other_node, "the node");
    let other_disk = Identity::new(NodeId(7), DiskId(1));
    refuse(&mut directory, &other_disk, "the disk");
    refuse(
        &mut directory,
        &change(&|new| new.incarnation = 0),
        "backwards",
    );
    let own_peer = change(&|new| {
        let peer = new.peers[&NodeId(8)].clone();
        new.peers.insert(NodeId(7), peer);
    });
    refuse(&mut directory, &own_peer, "contradicts itself");
    directory.store(&formed).unwrap();
    refuse(&mut directory, &pledged, "the cluster");
}

/// A small file system of its own, when this user may mount one.
struct Mounted {
    path: PathBuf,
    _root: tempfile::TempDir,
}

impl Mounted {
    fn new(options: &str) -> Option<Self> {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().to_owned();
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", options, "mfsha-test"])
            .arg(&path);
        if mount.output().is_ok_and(|output| output.status.success()) {
            return Some(Self { path, _root: root });
        }
        crate::testing::skipped("this user may not mount a file system; run the tests as root");
        None
    }

    fn remount(&self, options: &str) {
        let mut mount = Command::new("mount");
        mount
            .args(["-o", &format!("remount,{options}")])
            .arg(&self.path);
        assert!(mount.status().unwrap().success());
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // One that cannot be unmounted stays behind; the test has its verdict all the same.
        let _ = Command::new("umount").arg(&self.path).status();
    }
}

#[test]
fn a_full_disk_is_said_and_the_identity_before_holds() {
    let Some(disk) = Mounted::new("size=128k") else {
        return;
    };
    let path = disk.path.join("data");
    let filler = disk.path.join("filler");
    let fill = || {
        let mut file = File::create(&filler).unwrap();
        while file.write_all(&[1; 4_096]).is_ok() {}
        while file.write_all(&[1]).is_ok() {}
    };
    let full = |error: &DataDirError| {
        says(error, &["No space left", "free some space"]);
        assert_eq!(error.exit_code(), exit::SYSTEM);
    };
    fill();
    full(&DataDir::open(&path, NODE).unwrap_err());
    fs::remove_file(&filler).unwrap();
    let mut directory = DataDir::open(&path, NODE).unwrap();
    let before = directory.identity().clone();
    let after = formed(&before);
    fill();
    full(&directory.store(&after).unwrap_err());
    full(&directory.store_log_began().unwrap_err());
    assert_eq!(directory.identity(), &before);
    drop(directory);
    let mut directory = DataDir::open(&path, NODE).expect("a full disk can still be read");
    assert_eq!(directory.identity(), &before);
    fs::remove_file(&filler).unwrap();
    directory.store(&after).expect("there is space again");
    drop(directory);
    assert_eq!(DataDir::open(&path, NODE).unwrap().identity(), &after);
}

#[test]
fn a_read_only_file_system_is_said() {
    let Some(disk) = Mounted::new("size=128k") else {
        return;
    };
    let path = disk.path.join("data");
    drop(DataDir::open(&path, NODE).unwrap());
    disk.remount("ro");
    for path in [path, disk.path.join("other")] {
        let error = DataDir::open(&path, NODE).unwrap_err();
        says(&error, &["Read-only file system", "mount it for writing"]);
        assert_eq!(error.exit_code(), exit::SYSTEM);
    }
}

#[test]
fn without_permission_it_is_said_what_to_do() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let closed = place.root.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o500)).unwrap();
    // Root passes every mode; nobody makes directories among the kernel's own files.
    let path = match File::create(closed.join("probe")) {
        Err(_) => closed.join("data"),
        Ok(_) => PathBuf::from("/sys/kernel"),
    };
    let error = DataDir::open(&path, NODE).unwrap_err();
    if path.starts_with("/sys") && !error.to_string().contains("ermission") {
        crate::testing::skipped(&format!(
            "root is denied nothing here ({error}); run the tests as another user"
        ));
        return;
    }
    says(&error, &["ermission", "let mfsha's user own it"]);
    assert_eq!(error.exit_code(), exit::SYSTEM);
}

#[test]
fn what_the_system_denies_comes_with_advice() {
    for (number, part) in [
        (13, "let mfsha's user own it"),
        (1, "let mfsha's user own it"),
        (30, "mount it for writing"),
        (28, "free some space"),
        (122, "free some space"),
        (24, "LimitNOFILE"),
        (23, "LimitNOFILE"),
        (5, "look at the disk"),
    ] {
        let error = refused("open", Path::new("/d"))(io::Error::from_raw_os_error(number));
        says(&error, &["cannot open /d: ", part]);
    }
}

/// Runs in a process of its own, in which few files may be open.
#[test]
fn out_of_descriptors_is_said() {
    const MARK: &str = "MFSHA_TEST_DESCRIPTORS";
    if let Some(path) = std::env::var_os(MARK) {
        let mut held = Vec::new();
        while let Ok(file) = File::open("/dev/null") {
            held.push(file);
        }
        let error = DataDir::open(Path::new(&path), NODE).expect_err("there is none left");
        drop(held);
        says(&error, &["Too many open files", "LimitNOFILE"]);
        DataDir::open(Path::new(&path), NODE).unwrap();
        println!("it was said");
        return;
    }
    let place = Place::new();
    let name = "data_dir::tests::out_of_descriptors_is_said";
    let script = "ulimit -n 64 && exec \"$0\" --exact \"$1\" --nocapture";
    let mut shell = Command::new("sh");
    shell
        .args(["-c", script])
        .arg(std::env::current_exe().unwrap())
        .arg(name);
    let output = shell.env(MARK, place.path()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    assert!(text.contains("it was said"), "{text}");
}
