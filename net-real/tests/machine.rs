//! Faults of a real machine: each ends in a clear message, and nothing acknowledged is lost.

mod support;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mfsha_client::{Address, Client, ClientOptions};
use mfsha_core::id::InodeId;
use mfsha_core::namespace::op::{Caller, NodeKind, Op, Reply, SessionParams, XattrMode};

use support::{Cluster, PATIENCE, SmallFileSystem, fault_library, switch_on};

/// Makes files until one is refused, and gives the names that were acknowledged.
fn create_until_refused(cluster: &Cluster, prefix: &str, most: usize) -> Vec<String> {
    let mut made = Vec::new();
    for number in 0..most {
        let path = format!("/{prefix}{number}");
        let (good, _) = cluster.admin(&["--timeout", "3", "fs", "create", &path]);
        if !good {
            return made;
        }
        made.push(path);
    }
    made
}

#[test]
fn a_full_disk_ends_the_node_and_loses_nothing() {
    let mut cluster = Cluster::new(1);
    let Some(small) = SmallFileSystem::mount(&cluster.data(1), 48) else {
        return;
    };
    cluster.start(1);
    cluster.ready(1);
    let made = create_until_refused(&cluster, "before", 5);
    assert_eq!(made.len(), 5);
    // Somebody else fills the disk; the log wants its next segment after some large values.
    let mut ballast = File::create(small.0.join("ballast")).unwrap();
    while ballast.write_all(&[1; 65_536]).is_ok() {}
    drop(ballast);
    let filling = "v".repeat(60_000);
    let name = |number: usize| format!("user.x{}", number % 50);
    let value = |number: usize| format!("{number} {filling}");
    let mut acknowledged = 0;
    let set = |cluster: &Cluster, number: usize| {
        let (name, value) = (name(number), value(number));
        let set = ["fs", "xattr", "set", "/before1", &name, &value];
        cluster.admin(&[&["--timeout", "3"][..], &set].concat()).0
    };
    while acknowledged < 500 && set(&cluster, acknowledged) {
        acknowledged += 1;
    }
    assert!(acknowledged < 500, "the disk never was full");
    assert!(acknowledged > 0, "it was full before anything was asked");
    let status = cluster.ended(1);
    assert_eq!(status.code(), Some(74), "{}", cluster.said(1));
    let said = cluster.said(1);
    assert!(said.contains("no space left"), "{said}");
    // With space again it goes on where it was.
    fs::remove_file(small.0.join("ballast")).unwrap();
    cluster.start(1);
    cluster.ready(1);
    cluster.all_there(&made);
    // Each name has what was acknowledged for it last. The one whose answer never came may have
    // either.
    for number in acknowledged.saturating_sub(50)..acknowledged {
        let kept = cluster.admin_ok(&["fs", "xattr", "get", "/before1", &name(number)]);
        let (kept, unknown) = (kept.trim(), name(number) == name(acknowledged));
        let is = |number: usize| kept == value(number);
        let short: String = kept.chars().take(20).collect();
        assert!(
            is(number) || unknown && is(acknowledged),
            "{} of {number}: {short}",
            name(number)
        );
    }
    cluster.kill(1);
}

/// Creates files at all nodes from several threads, until it is told to end.
struct Writers<'c> {
    cluster: &'c Cluster,
    made: Mutex<Vec<String>>,
    over: AtomicBool,
}

impl<'c> Writers<'c> {
    fn new(cluster: &'c Cluster) -> Self {
        Self {
            cluster,
            made: Mutex::default(),
            over: AtomicBool::new(false),
        }
    }

    fn count(&self) -> usize {
        self.made.lock().unwrap().len()
    }

    fn until(&self, what: &str, witness: u64, holds: impl Fn() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !holds() {
            if Instant::now() > end {
                self.over.store(true, Ordering::Relaxed);
                let said = self.cluster.said(witness);
                panic!("{what} never came; node {witness} said:\n{said}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Writes while `meanwhile` runs.
    fn during(&self, meanwhile: impl FnOnce()) {
        std::thread::scope(|threads| {
            for writer in 0..3 {
                threads.spawn(move || {
                    for number in 0.. {
                        if self.over.load(Ordering::Relaxed) {
                            return;
                        }
                        let path = format!("/writer{writer}_{number}");
                        let create = ["--timeout", "10", "fs", "create", &path];
                        if self.cluster.admin(&create).0 {
                            self.made.lock().unwrap().push(path);
                        }
                    }
                });
            }
            meanwhile();
            self.over.store(true, Ordering::Relaxed);
        });
    }
}

#[test]
fn a_leader_whose_disk_is_full_costs_three_nodes_nothing_that_was_acknowledged() {
    let mut cluster = Cluster::new(3);
    let mut small = Vec::new();
    for node in 1..=3 {
        let Some(disk) = SmallFileSystem::mount(&cluster.data(node), 48) else {
            return;
        };
        small.push(disk);
    }
    cluster.start_all();
    let leader = cluster.leader().expect("a node leads");
    let ballast = small[leader as usize - 1].0.join("ballast");
    let writers = Writers::new(&cluster);
    writers.during(|| {
        writers.until("the first files", leader, || writers.count() >= 10);
        let mut fill = File::create(&ballast).unwrap();
        while fill.write_all(&[1; 65_536]).is_ok() {}
        drop(fill);
        // The log has room in its segment still: large values use it up.
        let value = "v".repeat(60_000);
        writers.until("the leader's end", leader, || {
            let set = ["fs", "xattr", "set", "/", "user.x", &value];
            cluster.admin(&[&["--timeout", "3"][..], &set].concat());
            cluster.is_over(leader)
        });
        let before = writers.count();
        let others = (1..=3).find(|node| *node != leader).unwrap();
        writers.until("further files", others, || writers.count() >= before + 10);
    });
    let made = writers.made.into_inner().unwrap();
    let status = cluster.ended(leader);
    assert_eq!(status.code(), Some(74), "{}", cluster.said(leader));
    let said = cluster.said(leader);
    assert!(said.contains("free some space"), "{said}");
    cluster.all_there(&made);
    // Also when it is back, and one of those that went on without it is not.
    fs::remove_file(&ballast).unwrap();
    cluster.start(leader);
    cluster.ready(leader);
    let other = (1..=3).find(|node| *node != leader).unwrap();
    cluster.kill(other);
    cluster.all_there(&made);
    for node in 1..=3 {
        cluster.kill(node);
    }
}

#[test]
fn a_failing_flush_ends_the_node_and_nothing_is_acknowledged_after_it() {
    let mut cluster = Cluster::new(1);
    let library = fault_library(cluster.directory.path());
    let switch = cluster.directory.path().join("fail-flush");
    let mut command = cluster.command(1);
    command
        .env("LD_PRELOAD", &library)
        .env("MFSHA_TEST_FAIL_FLUSH", &switch);
    cluster.start_by(1, command);
    cluster.ready(1);
    let made = create_until_refused(&cluster, "before", 5);
    assert_eq!(made.len(), 5);
    File::create(&switch).unwrap();
    let after = create_until_refused(&cluster, "after", 1);
    assert!(after.is_empty(), "acknowledged though the flush failed");
    let status = cluster.ended(1);
    assert_eq!(status.code(), Some(74), "{}", cluster.said(1));
    let said = cluster.said(1);
    assert!(said.contains("Input/output error"), "{said}");
    let advice = "what it cannot read comes from the others";
    assert!(said.contains(advice), "{said}");
    fs::remove_file(&switch).unwrap();
    cluster.start(1);
    cluster.ready(1);
    cluster.all_there(&made);
}

#[test]
fn a_state_that_cannot_be_flushed_ends_the_node_and_loses_nothing() {
    let mut cluster = Cluster::new(1);
    let library = fault_library(cluster.directory.path());
    let switch = cluster.directory.path().join("fail-flush");
    let mut command = cluster.command(1);
    command
        .env("LD_PRELOAD", &library)
        .env("MFSHA_TEST_FAIL_FLUSH", &switch);
    cluster.start_by(1, command);
    cluster.ready(1);
    let mut made = create_until_refused(&cluster, "before", 5);
    assert_eq!(made.len(), 5);
    switch_on(&switch, &cluster.data(1).join("state"));
    // The log is sound, so this is acknowledged, and the state is to be made durable.
    made.extend(create_until_refused(&cluster, "meanwhile", 5));
    assert_eq!(made.len(), 10, "{}", cluster.said(1));
    let (good, said) = cluster.admin(&["--timeout", "3", "snapshot"]);
    assert!(!good, "{said}");
    made.extend(create_until_refused(&cluster, "later", 10_000));
    let status = cluster.ended(1);
    assert_eq!(status.code(), Some(74), "{}", cluster.said(1));
    let said = cluster.said(1);
    for part in [
        "a checkpoint failed, 2 in a row",
        "Input/output error",
        "look at the disk",
        "start the node again",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    fs::remove_file(&switch).unwrap();
    cluster.start(1);
    cluster.ready(1);
    cluster.all_there(&made);
    cluster.admin_ok(&["snapshot"]);
}

#[test]
fn a_leader_whose_flush_fails_costs_three_nodes_nothing_that_was_acknowledged() {
    let mut cluster = Cluster::new(3);
    let library = fault_library(cluster.directory.path());
    let directory = cluster.directory.path().to_owned();
    let switch = |node: u64| directory.join(format!("fail-flush{node}"));
    for node in 1..=3 {
        let mut command = cluster.command(node);
        command
            .env("LD_PRELOAD", &library)
            .env("MFSHA_TEST_FAIL_FLUSH", switch(node));
        cluster.start_by(node, command);
    }
    for node in 1..=3 {
        cluster.ready(node);
    }
    let leader = cluster.leader().expect("a node leads");
    let writers = Writers::new(&cluster);
    writers.during(|| {
        writers.until("the first files", leader, || writers.count() >= 10);
        File::create(switch(leader)).unwrap();
        writers.until("the leader's end", leader, || cluster.is_over(leader));
        let before = writers.count();
        writers.until("further files", leader, || writers.count() >= before + 10);
    });
    let made = writers.made.into_inner().unwrap();
    let status = cluster.ended(leader);
    assert_eq!(status.code(), Some(74), "{}", cluster.said(leader));
    let said = cluster.said(leader);
    assert!(said.contains("Input/output error"), "{said}");
    assert!(said.contains("look at the disk"), "{said}");
    cluster.all_there(&made);
    // Also when it is back, and one of those that went on without it is not.
    fs::remove_file(switch(leader)).unwrap();
    cluster.start(leader);
    cluster.ready(leader);
    let other = (1..=3).find(|node| *node != leader).unwrap();
    cluster.kill(other);
    cluster.all_there(&made);
}

#[test]
fn a_file_system_that_becomes_read_only_ends_the_node_and_loses_nothing() {
    let mut cluster = Cluster::new(1);
    let library = fault_library(cluster.directory.path());
    let switch = cluster.directory.path().join("read-only");
    let mut command = cluster.command(1);
    command
        .env("LD_PRELOAD", &library)
        .env("MFSHA_TEST_READ_ONLY", &switch);
    cluster.start_by(1, command);
    cluster.ready(1);
    let made = create_until_refused(&cluster, "before", 5);
    assert_eq!(made.len(), 5);
    switch_on(&switch, &cluster.data(1));
    let after = create_until_refused(&cluster, "after", 1);
    assert!(
        after.is_empty(),
        "acknowledged though nothing can be written"
    );
    let status = cluster.ended(1);
    assert_eq!(status.code(), Some(74), "{}", cluster.said(1));
    let said = cluster.said(1);
    assert!(said.contains("Read-only file system"), "{said}");
    assert!(said.contains("mount it for writing"), "{said}");
    fs::remove_file(&switch).unwrap();
    cluster.start(1);
    cluster.ready(1);
    cluster.all_there(&made);
}

#[test]
fn a_read_only_file_system_is_named() {
    let mut cluster = Cluster::new(1);
    let Some(small) = SmallFileSystem::mount(&cluster.data(1), 48) else {
        return;
    };
    cluster.start(1);
    cluster.ready(1);
    let made = create_until_refused(&cluster, "before", 3);
    cluster.kill(1);
    small.remount("ro");
    cluster.start(1);
    let status = cluster.ended(1);
    assert_eq!(status.code(), Some(74), "{}", cluster.said(1));
    assert!(cluster.said(1).contains("read-only"), "{}", cluster.said(1));
    small.remount("rw");
    cluster.start(1);
    cluster.ready(1);
    cluster.all_there(&made);
}

/// Names of the log's segments.
fn segments(cluster: &Cluster) -> BTreeSet<String> {
    let files = fs::read_dir(cluster.data(1).join("log")).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("wal-")).collect()
}

fn caller(session: mfsha_core::id::SessionId) -> Caller {
    let (uid, gids) = (0, vec![0]);
    Caller { session, uid, gids }
}

async fn client_with_a_file(cluster: &Cluster) -> (Client, InodeId) {
    let addresses = Address::parse_list(&cluster.peers()).unwrap();
    let options = ClientOptions {
        session: SessionParams::unrestricted(),
        ..ClientOptions::new(addresses)
    };
    let client = Client::connect(options).await.unwrap().unwrap();
    let made = client.write(|session| Op::Create {
        caller: caller(session),
        parent: InodeId::ROOT,
        name: b"written".to_vec(),
        kind: NodeKind::File,
        mode: 0o644,
        umask: 0,
        rdev: 0,
        open: false,
    });
    match made.await {
        Ok(Reply::Node { inode, .. }) => (client, inode),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_node_out_of_file_descriptors_goes_on_serving_those_who_are_there() {
    let mut cluster = Cluster::new(1);
    let plain = cluster.command(1);
    // The log is cut late, so that it has no file to take again.
    let late = |argument: &std::ffi::OsStr| match argument.to_str() {
        Some("--set=HA_SNAPSHOT_LOG_SIZE=4M") => "--set=HA_SNAPSHOT_LOG_SIZE=8M".into(),
        _ => argument.to_owned(),
    };
    let mut command = std::process::Command::new("sh");
    command
        .args(["-c", "ulimit -n 256; exec \"$0\" \"$@\""])
        .arg(plain.get_program())
        .args(plain.get_args().map(late));
    cluster.start_by(1, command);
    cluster.ready(1);
    let said = cluster.said(1);
    assert!(
        said.contains("files that may be open are limited to 256"),
        "{said}"
    );
    let made = create_until_refused(&cluster, "before", 3);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (client, inode) = runtime.block_on(client_with_a_file(&cluster));
    // Far more connections than there are descriptors; those of HTTP stay.
    let mut held = Vec::new();
    for port in [9432, 9430] {
        for _ in 0..400 {
            if let Ok(stream) = TcpStream::connect((cluster.ip(1), port)) {
                held.push(stream);
            }
        }
    }
    cluster.until(1, "turns somebody away", || {
        cluster.said(1).contains("no room for more connections")
    });
    let open = fs::read_dir(
        Path::new("/proc")
            .join(cluster.pid(1).to_string())
            .join("fd"),
    );
    let open = open.unwrap().count();
    assert!((180..240).contains(&open), "{open} descriptors are in use");
    // Whoever is there writes on, and the log goes over to new files.
    let before = segments(&cluster);
    runtime.block_on(async {
        for number in 0..170_u8 {
            let written = client.write(move |session| Op::SetXattr {
                caller: caller(session),
                inode,
                opened: false,
                name: format!("user.x{}", number % 10).into_bytes(),
                value: vec![b'a' + number % 26; 60_000],
                mode: XattrMode::CreateOrReplace,
            });
            if let Err(error) = written.await {
                panic!(
                    "write {number}: {error}; the node said:\n{}",
                    cluster.said(1)
                );
            }
        }
    });
    let after = segments(&cluster);
    let new = after.difference(&before).count();
    assert!(new >= 2, "{new} new segments: {after:?}");
    drop(held);
    cluster.until(1, "serves again", || {
        cluster
            .admin(&["--timeout", "3", "fs", "create", "/after"])
            .0
            || cluster.admin(&["fs", "stat", "/after"]).0
    });
    let turned_away = cluster.metric(1, "mfsha_connections_turned_away_total");
    assert!(turned_away > Some(100.0), "{turned_away:?}");
    cluster.all_there(&made);
    cluster.kill(1);
    cluster.start(1);
    cluster.ready(1);
    cluster.all_there(&made);
    let value = cluster.admin_ok(&["fs", "xattr", "get", "/written", "user.x9"]);
    assert!(value.trim() == "n".repeat(60_000), "the last write is gone");
    runtime.block_on(async { drop(client) });
}

#[test]
fn a_clock_set_back_disturbs_nothing() {
    let mut cluster = Cluster::new(1);
    let library = fault_library(cluster.directory.path());
    let clock = cluster.directory.path().join("clock");
    fs::write(&clock, "0").unwrap();
    let mut command = cluster.command(1);
    command
        .env("LD_PRELOAD", &library)
        .env("MFSHA_TEST_CLOCK", &clock);
    cluster.start_by(1, command);
    cluster.ready(1);
    let mut made = create_until_refused(&cluster, "before", 3);
    cluster.admin_ok(&["fs", "xattr", "set", "/before0", "user.k", "first"]);
    let elections = cluster.metric(1, "mfsha_leaderships_total");
    let steps = [
        ("-1", "back"),
        ("-100000", "back"),
        ("3", "forward"),
        ("0", "back"),
    ];
    for (told, (hours, way)) in (1..).zip(steps) {
        let seconds = hours.parse::<i64>().unwrap() * 3_600;
        fs::write(&clock, seconds.to_string()).unwrap();
        cluster.until(1, &format!("says that its clock went {way}"), || {
            let said = cluster.said(1);
            let steps = said
                .lines()
                .filter(|line| line.contains("machine was set "));
            let steps: Vec<_> = steps.collect();
            let last = format!("machine was set {way} by");
            steps.len() == told && steps.last().is_some_and(|line| line.contains(&last))
        });
        let name = format!("hours{hours}_");
        let more = create_until_refused(&cluster, &name, 2);
        assert_eq!(
            more.len(),
            2,
            "with the clock at {hours} hours: {}",
            cluster.said(1)
        );
        made.extend(more);
        // The later write wins, whatever the clock says.
        let written = format!("at {hours}");
        cluster.admin_ok(&["fs", "xattr", "set", "/before0", "user.k", &written]);
        let value = cluster.admin_ok(&["fs", "xattr", "get", "/before0", "user.k"]);
        assert_eq!(value.trim(), written);
    }
    assert_eq!(cluster.metric(1, "mfsha_leaderships_total"), elections);
    cluster.all_there(&made);
}

#[test]
fn a_leader_whose_clock_is_far_from_the_others_loses_nothing_when_it_dies() {
    let mut cluster = Cluster::new(3);
    let library = fault_library(cluster.directory.path());
    let directory = cluster.directory.path().to_owned();
    let clock = |node: u64| directory.join(format!("clock{node}"));
    for node in 1..=3 {
        fs::write(clock(node), "0").unwrap();
        let mut command = cluster.command(node);
        command
            .env("LD_PRELOAD", &library)
            .env("MFSHA_TEST_CLOCK", clock(node));
        cluster.start_by(node, command);
    }
    for node in 1..=3 {
        cluster.ready(node);
    }
    let set = |cluster: &Cluster, written: &str| {
        let path = format!("/{written}");
        cluster.create(&path);
        cluster.admin_ok(&["fs", "xattr", "set", "/", "user.k", written]);
        let value = cluster.admin_ok(&["fs", "xattr", "get", "/", "user.k"]);
        assert_eq!(value.trim(), written);
        path
    };
    let mut made = vec![set(&cluster, "first")];
    // A day ahead, then a day behind: what the next leader writes comes after it all the same.
    for (round, seconds) in [("ahead", "86400"), ("behind", "-86400")] {
        let leader = cluster.leader().expect("a node leads");
        fs::write(clock(leader), seconds).unwrap();
        cluster.until(leader, "says that its clock was set", || {
            let said = cluster.said(leader);
            said.lines().any(|line| line.contains("machine was set "))
        });
        made.push(set(&cluster, &format!("{round}-under-it")));
        cluster.kill(leader);
        made.push(set(&cluster, &format!("{round}-without-it")));
        fs::write(clock(leader), "0").unwrap();
        cluster.start(leader);
        cluster.ready(leader);
        made.push(set(&cluster, &format!("{round}-with-it")));
    }
    cluster.all_there(&made);
}
