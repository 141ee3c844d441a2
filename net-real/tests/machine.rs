//! Faults of a real machine: each ends in a clear message, and nothing acknowledged is lost.

mod support;

use std::fs::{self, File};
use std::io::Write;

use support::{Cluster, SmallFileSystem, fault_library, switch_on};

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
    let value = "v".repeat(60_000);
    let mut acknowledged = 0;
    for number in 0..500 {
        let name = format!("user.x{}", number % 50);
        if !cluster
            .admin(&[
                "--timeout",
                "3",
                "fs",
                "xattr",
                "set",
                "/before1",
                &name,
                &value,
            ])
            .0
        {
            break;
        }
        acknowledged += 1;
    }
    assert!(acknowledged < 500, "the disk never was full");
    let status = cluster.ended(1);
    assert_eq!(status.code(), Some(74), "{}", cluster.said(1));
    let said = cluster.said(1);
    assert!(said.contains("no space left"), "{said}");
    // With space again it goes on where it was.
    fs::remove_file(small.0.join("ballast")).unwrap();
    cluster.start(1);
    cluster.ready(1);
    cluster.all_there(&made);
    let names = cluster.admin_ok(&["fs", "xattr", "list", "/before1"]);
    assert!(names.contains("user.x0") || acknowledged == 0, "{names}");
    cluster.kill(1);
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
    fs::remove_file(&switch).unwrap();
    cluster.start(1);
    cluster.ready(1);
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

#[test]
fn a_node_out_of_file_descriptors_goes_on_serving_those_who_are_there() {
    let mut cluster = Cluster::new(1);
    let plain = cluster.command(1);
    let mut command = std::process::Command::new("sh");
    command
        .args(["-c", "ulimit -n 64; exec \"$0\" \"$@\""])
        .arg(plain.get_program())
        .args(plain.get_args());
    cluster.start_by(1, command);
    cluster.ready(1);
    let made = create_until_refused(&cluster, "before", 3);
    // Far more connections than there are descriptors.
    let mut held = Vec::new();
    for _ in 0..200 {
        if let Ok(stream) = std::net::TcpStream::connect((cluster.ip(1), 9430)) {
            held.push(stream);
        }
    }
    cluster.until(1, "says that it is out of descriptors", || {
        cluster.said(1).to_lowercase().contains("open files")
    });
    drop(held);
    cluster.until(1, "serves again", || {
        cluster
            .admin(&["--timeout", "3", "fs", "create", "/after"])
            .0
            || cluster.admin(&["fs", "stat", "/after"]).0
    });
    cluster.all_there(&made);
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
    for hours in ["-1", "-100000", "3", "0"] {
        let seconds = hours.parse::<i64>().unwrap() * 3_600;
        fs::write(&clock, seconds.to_string()).unwrap();
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
