//! How a process starts, is asked how it is, hands over, and ends.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Cluster, PATIENCE, admin};

/// A node's command without a word of peers or of how it comes into a cluster.
pub fn bare(cluster: &Cluster, node: u64) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mfsha"));
    command
        .arg(format!("--node-id={node}"))
        .arg(format!("--bind={}", cluster.ip(node)))
        .arg(format!("--data-path={}", cluster.data(node).display()))
        .arg("--set=HA_LOG_SIZE_MAX=64M")
        .arg("--set=HA_SNAPSHOT_LOG_SIZE=4M")
        .env_remove("NOTIFY_SOCKET");
    command
}

pub fn with(mut command: Command, options: &[&str]) -> Command {
    command.args(options);
    command
}

/// Two nodes form a cluster and serve; gives the option that names them.
fn start_pair(cluster: &mut Cluster, nodes: [u64; 2]) -> String {
    let pair = format!("--peers={},{}", cluster.ip(nodes[0]), cluster.ip(nodes[1]));
    for node in nodes {
        let together = with(bare(cluster, node), &[&pair, "--bootstrap"]);
        cluster.start_by(node, together);
    }
    for node in nodes {
        cluster.ready(node);
    }
    pair
}

/// What the process of a command has said when it has ended by itself: its exit code, and that.
fn outcome(mut command: Command) -> (Option<i32>, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().expect("it starts");
    let said = [stdout, stderr].concat();
    (status.code(), String::from_utf8_lossy(&said).into_owned())
}

/// The leader, once one is known; and that each of these nodes sees the same one.
fn agreed_leader(cluster: &Cluster, nodes: &[u64]) -> u64 {
    let mut found = None;
    cluster.until(nodes[0], "sees a leader that all agree on", || {
        let seen = nodes.iter().map(|node| {
            let ip = cluster.ip(*node);
            let (_, said) = admin(&["--json", "--nodes", &ip, "node-status", &node.to_string()]);
            let status: Value = serde_json::from_str(&said).ok()?;
            status["leader"].as_u64()
        });
        let seen: Vec<_> = seen.collect();
        found = seen[0].filter(|_| seen.iter().all(|leader| *leader == seen[0]));
        found.is_some()
    });
    found.expect("it was waited for")
}

/// The lines of the log with this message, of a node that logs JSON.
fn messages(cluster: &Cluster, node: u64, message: &str) -> Vec<Value> {
    let log = cluster.said(node);
    let lines = log
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    lines
        .filter(|line: &Value| line["message"] == message)
        .collect()
}

#[test]
fn sigterm_hands_leadership_over_and_writes_go_on() {
    let mut cluster = Cluster::new(3);
    let json = "--set=MFSHA_LOG_FORMAT=json".to_owned();
    for node in 1..=3 {
        cluster.options.insert(node, vec![json.clone()]);
    }
    cluster.start_all();
    cluster.create("/before");
    let leader = agreed_leader(&cluster, &[1, 2, 3]);

    let enough = AtomicBool::new(false);
    let made = std::thread::scope(|threads| {
        let writer = threads.spawn(|| {
            let mut made = vec!["/before".to_owned()];
            while !enough.load(Ordering::Relaxed) {
                let path = format!("/while{}", made.len());
                cluster.create(&path);
                made.push(path);
            }
            made
        });
        cluster.signal(leader, "TERM");
        let end = Instant::now() + PATIENCE;
        while !cluster.is_over(leader) && Instant::now() < end {
            sleep(Duration::from_millis(20));
        }
        enough.store(true, Ordering::Relaxed);
        writer.join().expect("the writer gets everything written")
    });
    let status = cluster.ended(leader);
    assert_eq!(status.code(), Some(0), "{}", cluster.said(leader));

    let handed = messages(&cluster, leader, "leadership is handed over");
    let [handed] = &handed[..] else {
        panic!("once, and with success: {}", cluster.said(leader));
    };
    let to = handed["to"].as_u64().expect("to whom");
    assert_ne!(to, leader, "{handed}");
    let asked = messages(&cluster, leader, "a voter is asked to take over");
    assert_eq!(Some(asked.len() as u64), handed["requests"].as_u64());
    assert!(
        asked.iter().any(|line| line["to"].as_u64() == Some(to)),
        "who leads was asked: {asked:?}"
    );
    assert_eq!(messages(&cluster, leader, "ended").len(), 1);

    let others: Vec<u64> = (1..=3).filter(|node| *node != leader).collect();
    assert_ne!(agreed_leader(&cluster, &others), leader);
    cluster.create("/after");
    cluster.all_there(&made);
    cluster.start(leader);
    cluster.ready(leader);
    cluster.all_there(&["/after".to_owned()]);
}

#[test]
fn each_change_of_role_is_a_line_with_term_reason_and_duration() {
    // A node alone leads before anything is written down; of three, one is elected.
    let mut cluster = Cluster::new(3);
    for node in 1..=3 {
        let options = vec!["--set=MFSHA_LOG_FORMAT=json".to_owned()];
        cluster.options.insert(node, options);
    }
    cluster.start_all();
    let leader = agreed_leader(&cluster, &[1, 2, 3]);
    let leads = |line: &&Value| line["role"] == "Leader";
    cluster.until(leader, "says that it leads", || {
        messages(&cluster, leader, "role")
            .iter()
            .any(|line| leads(&line))
    });
    let roles = messages(&cluster, leader, "role");
    assert_eq!(roles[0]["reason"], "started", "{roles:?}");
    let led = roles.iter().find(leads);
    let led = led.expect("it was waited for");
    assert!(led["term"].as_u64() > Some(0), "{led}");
    assert_eq!(led["reason"], "won the election", "{led}");
    assert_eq!(led["leader"], leader, "{led}");
    for line in &roles {
        assert!(line["lasted_ms"].is_u64(), "{line}");
        assert!(line["term"].is_u64(), "{line}");
        assert!(line["reason"].is_string(), "{line}");
    }
}

/// Waits for a datagram with this line in it; gives all lines until then, that one included.
fn told(socket: &UnixDatagram, wanted: &str) -> Vec<String> {
    let end = Instant::now() + PATIENCE;
    let mut lines = Vec::new();
    while !lines.iter().any(|line| line == wanted) {
        assert!(Instant::now() < end, "{wanted} never came: {lines:?}");
        let mut bytes = [0; 4096];
        // One that comes to nothing is asked again.
        if let Ok(length) = socket.recv(&mut bytes) {
            let text = String::from_utf8_lossy(&bytes[..length]);
            lines.extend(text.lines().map(str::to_owned));
        }
    }
    lines
}

#[test]
fn systemd_hears_of_start_phases_and_end() {
    let mut cluster = Cluster::new(1);
    let path = cluster.directory.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket
        .set_read_timeout(Some(Duration::from_secs(1)))
        .expect("a time of patience");
    let mut command = cluster.command(1);
    command.env("NOTIFY_SOCKET", &path);
    cluster.start_by(1, command);
    let mut lines = told(&socket, "READY=1");
    lines.extend(told(&socket, "STATUS=takes part in its cluster"));
    let at = |line: &str| lines.iter().position(|found| found == line);
    let opens = at("STATUS=opens log and state").expect("it says that it opens");
    assert!(at("READY=1") < Some(opens), "{lines:?}");
    assert_eq!(at("STOPPING=1"), None, "{lines:?}");
    cluster.ready(1);
    cluster.signal(1, "TERM");
    told(&socket, "STOPPING=1");
    assert_eq!(cluster.ended(1).code(), Some(0), "{}", cluster.said(1));
}

#[test]
fn a_node_lives_while_it_waits_for_others_and_is_ready_when_they_came() {
    let mut cluster = Cluster::new(3);
    // The last first, and each once the one before has said that it waits.
    cluster.start(3);
    cluster.until(3, "answers", || cluster.get(3, "/livez").is_some());
    let (code, said) = cluster.get(3, "/livez").expect("it has just answered");
    assert_eq!((code, said.trim()), (200, "forming"));
    let (code, said) = cluster.get(3, "/readyz").expect("it has just answered");
    assert_eq!(code, 503, "{said}");
    assert!(said.contains("not formed or joined yet"), "{said}");
    cluster.start(1);
    cluster.until(1, "says that it is not ready", || {
        cluster
            .get(1, "/readyz")
            .is_some_and(|(code, _)| code == 503)
    });
    cluster.start(2);
    for node in 1..=3 {
        cluster.ready(node);
        cluster.until(node, "works", || {
            cluster.get(node, "/livez") == Some((200, "works\n".to_owned()))
        });
        let bytes = cluster.metric(node, "mfsha_log_bytes");
        assert!(bytes > Some(0.0), "node {node}: {bytes:?}");
    }
    cluster.create("/formed");
    cluster.all_there(&["/formed".to_owned()]);
}

#[test]
fn one_node_forms_a_cluster_and_others_join_it() {
    let mut cluster = Cluster::new(3);
    let first = with(bare(&cluster, 1), &["--init-cluster"]);
    cluster.start_by(1, first);
    cluster.ready(1);
    cluster.create("/alone");
    let peer = format!("--peer={}", cluster.ip(1));
    for node in 2..=3 {
        let joins = with(bare(&cluster, node), &["--join-cluster", &peer]);
        cluster.start_by(node, joins);
        cluster.until(node, "says that it votes", || {
            cluster.said(node).contains("this node is a voter")
        });
        cluster.ready(node);
    }
    let status = cluster.admin_json(&["node-status", "3"]);
    let voters = serde_json::json!([[1, 2, 3]]);
    assert_eq!(status["membership"]["voters"], voters, "{status}");

    // It took part in what was before it, and goes on without the first.
    cluster.kill(1);
    cluster.create("/without-the-first");
    cluster.all_there(&["/alone".to_owned(), "/without-the-first".to_owned()]);

    // What was needed once has no effect from then on, and that is said.
    let again = with(bare(&cluster, 1), &["--init-cluster"]);
    cluster.start_by(1, again);
    cluster.ready(1);
    assert!(
        cluster
            .said(1)
            .contains("--init-cluster has no effect: the data directory belongs to a cluster"),
        "{}",
        cluster.said(1)
    );
    cluster.all_there(&["/alone".to_owned(), "/without-the-first".to_owned()]);
}

#[test]
fn a_node_that_was_removed_stays_out_and_one_on_its_way_goes_on() {
    let mut cluster = Cluster::new(3);
    let pair = start_pair(&mut cluster, [1, 2]);
    // On its way: it is of the cluster, which cannot take it in without a majority.
    cluster.kill(2);
    let peer = format!("--peer={}", cluster.ip(1));
    let joins = with(bare(&cluster, 3), &["--join-cluster", &peer]);
    cluster.start_by(3, joins);
    cluster.until(3, "is of the cluster", || {
        cluster.said(3).contains("log and state are open")
    });
    cluster.kill(3);
    assert!(!cluster.said(3).contains("is a voter"));
    let again = with(bare(&cluster, 2), &[&pair]);
    cluster.start_by(2, again);
    let plain = with(bare(&cluster, 3), &[]);
    cluster.start_by(3, plain);
    cluster.until(3, "says that it votes", || {
        cluster.said(3).contains("this node is a voter")
    });
    cluster.ready(3);
    let voters = |cluster: &Cluster| {
        let status = cluster.admin_json(&["node-status", "1"]);
        status["membership"]["voters"].clone()
    };
    assert_eq!(voters(&cluster), serde_json::json!([[1, 2, 3]]));

    // Removed and started as ever, it stays out; asked for, it comes back.
    let removed = cluster.admin_json(&["remove-node", "3"]);
    assert_eq!(removed["node"], 3, "{removed}");
    cluster.signal(3, "TERM");
    assert_eq!(cluster.ended(3).code(), Some(0), "{}", cluster.said(3));
    let before = cluster.said(3).len();
    let joins = with(bare(&cluster, 3), &["--join-cluster", &peer]);
    cluster.start_by(3, joins);
    // It says so in the place of asking.
    cluster.until(3, "says that it does not ask", || {
        cluster.said(3)[before..].contains("this node joined and was a voter")
    });
    cluster.create("/without-node-3");
    assert_eq!(voters(&cluster), serde_json::json!([[1, 2]]));
    let said = cluster.said(3)[before..].to_owned();
    assert!(said.contains("--join-cluster has no effect"), "{said}");
    assert!(!said.contains("joining"), "{said}");
    cluster.admin_json(&["add-node", "3"]);
    assert_eq!(voters(&cluster), serde_json::json!([[1, 2, 3]]));
    cluster.ready(3);
}

#[test]
fn a_panic_in_any_part_ends_the_process_and_the_others_go_on() {
    let mut cluster = Cluster::new(3);
    let exports = cluster.directory.path().join("mfsexports.cfg");
    fs::write(&exports, "* / rw\n").unwrap();
    let faces = vec![
        "--set=MATOCL_LISTEN_PORT=9421".to_owned(),
        "--set=MATOCS_LISTEN_PORT=9420".to_owned(),
        format!("--set=EXPORTS_FILENAME={}", exports.display()),
    ];
    cluster.options.insert(3, faces);
    cluster.start_all();
    cluster.create("/before");
    cluster.signal(3, "TERM");
    assert_eq!(cluster.ended(3).code(), Some(0), "{}", cluster.said(3));
    let places = ["transport", "faces", "mounts", "chunkservers", "main"];
    for place in places {
        let mut command = cluster.command(3);
        command.env("MFSHA_TEST_PANIC", place);
        let before = cluster.said(3).len();
        cluster.start_by(3, command);
        let end = cluster.ended(3);
        let said = cluster.said(3)[before..].to_owned();
        let (code, why) = match place {
            "main" => (101, "put in on purpose"),
            _ => (70, "panicked: put in on purpose: a bug; please report it"),
        };
        assert_eq!(end.code(), Some(code), "{place}: {said}");
        assert!(said.contains(why), "{place}: {said}");
    }
    cluster.create("/without");
    cluster.start(3);
    cluster.ready(3);
    cluster.all_there(&["/before".to_owned(), "/without".to_owned()]);
}

#[test]
fn a_panic_in_what_an_operator_asks_costs_that_answer_alone() {
    let mut cluster = Cluster::new(1);
    let mut command = cluster.command(1);
    command.env("MFSHA_TEST_PANIC", "export");
    cluster.start_by(1, command);
    cluster.ready(1);
    cluster.create("/before");
    let file = cluster.directory.path().join("metadata.mfs");
    let (good, said) = cluster.admin(&["export-metadata", &file.display().to_string()]);
    assert!(!good, "{said}");
    assert!(said.contains("the export has ended"), "{said}");
    cluster.until(1, "logs the panic", || {
        cluster.said(1).contains("put in on purpose")
    });
    cluster.create("/after");
    cluster.all_there(&["/before".to_owned()]);
    cluster.signal(1, "TERM");
    assert_eq!(cluster.ended(1).code(), Some(0), "{}", cluster.said(1));
}

/// A second node whose port is somebody's, whose address no machine here has, and whose name is
/// none: each says what to set, and ends with a code of its own.
#[test]
fn a_port_that_cannot_be_listened_at_is_named_with_what_to_set() {
    let cluster = Cluster::new(1);
    let _taken = std::net::TcpListener::bind((cluster.ip(1), 9430)).unwrap();
    let run = |bind: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mfsha"));
        let data = format!("--data-path={}", cluster.data(1).display());
        let host = format!("--bind={bind}");
        command
            .args(["--node-id=1", &data, &host, "--init-cluster"])
            .args(["--set=MFSHA_ADVERTISE_HOST=127.0.0.1"])
            .env_remove("NOTIFY_SOCKET");
        outcome(command)
    };
    let (code, said) = run(&cluster.ip(1));
    assert_eq!(code, Some(69), "{said}");
    assert!(said.contains("end what uses the port"), "{said}");
    // An address that is documented never to be anybody's.
    for foreign in ["192.0.2.77", "no-such-host.invalid"] {
        let (code, said) = run(foreign);
        assert_eq!(code, Some(64), "{said}");
        let what = "set BIND_HOST to an address of this machine";
        assert!(said.contains(what) && said.contains(foreign), "{said}");
    }
}

#[test]
fn a_data_directory_is_one_process_s_and_one_node_s() {
    let mut cluster = Cluster::new(1);
    cluster.start_all();
    let data = format!("--data-path={}", cluster.data(1).display());
    // Other ports than the first one's: the directory is what is looked at.
    let ip = cluster.ip(5);
    let other = |node: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mfsha"));
        let bind = format!("--bind={ip}");
        command
            .args([node, &data, &bind])
            .env_remove("NOTIFY_SOCKET");
        command
    };
    let (code, said) = outcome(other("--node-id=1"));
    assert_eq!(code, Some(69), "{said}");
    let holder = format!("is in use by process {}", cluster.pid(1));
    assert!(said.contains(&holder), "{said}");
    assert!(said.contains("stop that one"), "{said}");
    cluster.create("/undisturbed");

    cluster.signal(1, "TERM");
    assert_eq!(cluster.ended(1).code(), Some(0), "{}", cluster.said(1));
    let (code, said) = outcome(other("--node-id=9"));
    assert_eq!(code, Some(64), "{said}");
    let owner = "belongs to node 1, but MFSHA_NODE_ID is 9";
    assert!(said.contains(owner), "{said}");
    cluster.start(1);
    cluster.ready(1);
    cluster.all_there(&["/undisturbed".to_owned()]);
}

#[test]
fn who_answers_for_another_cluster_ends_the_start() {
    let mut cluster = Cluster::new(4);
    let id = |cluster: &Cluster, node: u64| {
        let node = node.to_string();
        let status = cluster.admin_json(&["node-status", &node]);
        status["cluster"].as_str().expect("a cluster").to_owned()
    };
    // Node 1 alone is one cluster, nodes 2 and 3 are another.
    let alone = with(bare(&cluster, 1), &["--init-cluster"]);
    cluster.start_by(1, alone);
    cluster.ready(1);
    let own = id(&cluster, 1);
    cluster.signal(1, "TERM");
    assert_eq!(cluster.ended(1).code(), Some(0), "{}", cluster.said(1));
    let pair = start_pair(&mut cluster, [2, 3]);
    let other = id(&cluster, 2);
    assert_ne!(own, other);

    let peer = format!("--peer={}", cluster.ip(2));
    for options in [&["--join-cluster", &peer][..], &[pair.as_str()][..]] {
        let before = cluster.said(1).len();
        let strange = with(bare(&cluster, 1), options);
        cluster.start_by(1, strange);
        let end = cluster.ended(1);
        let said = cluster.said(1)[before..].to_owned();
        assert_eq!(end.code(), Some(64), "{options:?}: {said}");
        for part in [
            &format!("belongs to cluster {own}, but"),
            &format!("node 2 belongs to cluster {other}"),
            "set DATA_PATH",
        ] {
            assert!(said.contains(part), "{options:?}: no {part:?}: {said}");
        }
        let option = "--join-cluster has no effect: the data directory belongs to a cluster";
        assert_eq!(said.contains(option), options.len() > 1, "{said}");
    }

    // Where nobody answers it serves; that nothing is made of that later, `strangers.rs` tests on a
    // clock of its own.
    let nobody = format!("--peers={}", cluster.ip(4));
    let waits = with(bare(&cluster, 1), &[&nobody]);
    cluster.start_by(1, waits);
    cluster.ready(1);
}

#[test]
fn a_cluster_that_counts_its_nodes_alike_is_another_one() {
    let mut cluster = Cluster::new(2);
    let pair = format!("--peers={},{}", cluster.ip(1), cluster.ip(2));
    let aside = cluster.data(1).with_extension("aside");
    let form = |cluster: &mut Cluster| {
        for node in 1..=2 {
            let together = with(bare(cluster, node), &[&pair, "--bootstrap"]);
            cluster.start_by(node, together);
        }
        cluster.ready(1);
        cluster.ready(2);
        let status = cluster.admin_json(&["node-status", "1"]);
        status["cluster"].as_str().expect("a cluster").to_owned()
    };
    let own = form(&mut cluster);
    for node in 1..=2 {
        cluster.signal(node, "TERM");
        assert_eq!(
            cluster.ended(node).code(),
            Some(0),
            "{}",
            cluster.said(node)
        );
    }
    std::fs::rename(cluster.data(1), &aside).expect("it can be moved");
    std::fs::remove_dir_all(cluster.data(2)).expect("it can be removed");
    let other = form(&mut cluster);
    assert_ne!(own, other);
    cluster.signal(1, "TERM");
    assert_eq!(cluster.ended(1).code(), Some(0), "{}", cluster.said(1));

    // Node 2 is one of either cluster, on another disk.
    std::fs::remove_dir_all(cluster.data(1)).expect("it can be removed");
    std::fs::rename(&aside, cluster.data(1)).expect("it can be moved");
    let before = cluster.said(1).len();
    let strange = with(bare(&cluster, 1), &[&pair]);
    cluster.start_by(1, strange);
    let end = cluster.ended(1);
    let said = cluster.said(1)[before..].to_owned();
    assert_eq!(end.code(), Some(64), "{said}");
    for part in [
        format!("belongs to cluster {own}, but"),
        format!("node 2 belongs to cluster {other}"),
    ] {
        assert!(said.contains(&part), "no {part:?}: {said}");
    }
}

#[test]
fn check_config_says_by_its_code_whether_a_node_can_start() {
    let cluster = Cluster::new(1);
    let check = |options: &[&str]| {
        let mut command = bare(&cluster, 1);
        command.arg("check-config").args(options);
        outcome(command)
    };
    let (code, said) = check(&[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("a node can start"), "{said}");
    assert!(!cluster.data(1).exists(), "a look makes nothing");
    let (code, said) = check(&["--set=MFSHA_HTTP_PORT=9430"]);
    assert_eq!(code, Some(64), "{said}");
    assert!(said.contains("are both 9430"), "{said}");
    let (code, said) = check(&["--set=MFSHA_PROT=1"]);
    assert_eq!(code, Some(64), "{said}");
    let (code, said) = check(&["--json", "--set=MATOCL_LISTEN_PORT=9421"]);
    // What is on this machine decides, and the code and the text agree.
    let report: Value = serde_json::from_str(&said).expect("JSON");
    let errors = report["errors"].as_array().expect("a list");
    assert_eq!(code, Some(if errors.is_empty() { 0 } else { 64 }), "{said}");

    // Nothing at all is not enough, and a start says the same.
    let mut nothing = Command::new(env!("CARGO_BIN_EXE_mfsha"));
    let data = format!("--data-path={}", cluster.data(2).display());
    nothing.args(["check-config", &data]).env_clear();
    let (code, said) = outcome(nothing);
    assert_eq!(code, Some(64), "{said}");
    assert!(said.contains("the node has no id"), "{said}");
    assert!(said.contains("set MFSHA_ADVERTISE_HOST"), "{said}");
}

#[test]
fn members_come_and_go_by_an_operator_s_word() {
    let mut cluster = Cluster::new(3);
    cluster.start_all();
    cluster.create("/before");
    let leader = agreed_leader(&cluster, &[1, 2, 3]);
    let followers: Vec<u64> = (1..=3).filter(|node| *node != leader).collect();
    let (out, stays) = (followers[0], followers[1]);

    let stats = cluster.admin_json(&["raft-stats"]);
    let nodes = stats["nodes"].as_array().expect("a list");
    assert_eq!(nodes.len(), 3, "{stats}");
    for node in nodes {
        let leads = node["node"] == leader;
        assert_eq!(node["role"], if leads { "leader" } else { "follower" });
        assert_eq!(node["leader"], leader, "{node}");
        let matched = node["matched"].as_array().expect("a list");
        assert_eq!(matched.is_empty(), !leads, "{node}");
    }
    let status = cluster.admin_json(&["node-status", &out.to_string()]);
    assert_eq!(status["node"], out, "{status}");
    assert_eq!(status["role"], "follower", "{status}");
    assert_eq!(status["leader"], leader, "{status}");
    assert!(status["log_bytes"].as_u64() > Some(0), "{status}");
    assert_eq!(
        status["peers"].as_array().map(Vec::len),
        Some(2),
        "{status}"
    );
    let of_leader = cluster.admin_json(&["node-status"]);
    assert_eq!(of_leader["node"], leader, "{of_leader}");

    let removed = cluster.admin_json(&["remove-node", &out.to_string()]);
    assert_eq!(removed["node"], out, "{removed}");
    let mut left = vec![leader, stays];
    left.sort_unstable();
    assert_eq!(removed["voters"], serde_json::json!(left), "{removed}");
    cluster.create("/without");
    assert!(!cluster.is_over(out), "its process goes on");

    let out_text = out.to_string();
    let added = cluster.admin_json(&["add-node", &out_text]);
    assert_eq!(added, serde_json::json!({"node": out, "changed": true}));
    let added = cluster.admin_json(&["add-node", &out_text]);
    assert_eq!(added, serde_json::json!({"node": out, "changed": false}));
    cluster.ready(out);
    let status = cluster.admin_json(&["node-status", &out_text]);
    let voters = serde_json::json!([[1, 2, 3]]);
    assert_eq!(status["membership"]["voters"], voters, "{status}");

    // A leader that is taken out hands over first.
    let leader = agreed_leader(&cluster, &[1, 2, 3]);
    let removed = cluster.admin_json(&["remove-node", &leader.to_string()]);
    let next = removed["new_leader"].as_u64().expect("another leads");
    assert_ne!(next, leader, "{removed}");
    cluster.create("/after");
    let all = ["/before", "/without", "/after"].map(str::to_owned);
    cluster.all_there(&all);
}
