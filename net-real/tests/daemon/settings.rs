//! `--config`, SIGHUP, and what is in force afterwards.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::Cluster;

/// One node that reads `mfsha.cfg`, and what stands in it.
struct Node {
    cluster: Cluster,
    file: PathBuf,
}

impl Node {
    /// A node that serves, by this file and these variables.
    fn start(text: &str, environment: &[(&str, &str)]) -> Self {
        let mut cluster = Cluster::new(1);
        let file = cluster.directory.path().join("mfsha.cfg");
        fs::write(&file, text).unwrap();
        let mut command = cluster.command(1);
        command
            .arg("--config")
            .arg(&file)
            .envs(environment.iter().copied());
        cluster.start_by(1, command);
        cluster.ready(1);
        Self { cluster, file }
    }

    /// Value and source of a setting.
    fn setting(&self, key: &str) -> (String, String) {
        let said = self.cluster.admin_json(&["config", "get", key]);
        let text = |part: &str| said[part].as_str().unwrap_or_default().into();
        (text("value"), text("source"))
    }

    /// Lines that the node has said.
    fn lines(&self, part: &str) -> usize {
        let log = self.cluster.said(1);
        log.lines().filter(|line| line.contains(part)).count()
    }

    /// Puts another file there and has it read; gives the lines that the node says from the one
    /// with `part` on, once it is there.
    fn reload(&self, text: Option<&str>, part: &str) -> String {
        match text {
            Some(text) => fs::write(&self.file, text).unwrap(),
            None => fs::remove_file(&self.file).unwrap(),
        }
        let before = self.cluster.said(1).len();
        self.cluster.signal(1, "HUP");
        self.cluster.until(1, &format!("says {part:?}"), || {
            self.cluster.said(1)[before..].contains(part)
        });
        self.cluster.said(1)[before..].to_owned()
    }

    fn at(&self, line: usize) -> String {
        format!("{}:{line}:", Path::new(&self.file).display())
    }
}

fn pair(value: &str, source: &str) -> (String, String) {
    (value.to_owned(), source.to_owned())
}

#[test]
fn a_reload_takes_over_what_may_change_and_names_what_may_not() {
    let node = Node::start("MFSHA_LOG_LEVEL = info\nMFSHA_REGION = north\n", &[]);
    assert_eq!(node.setting("MFSHA_LOG_LEVEL"), pair("info", "file"));
    assert_eq!(node.lines("client connected"), 0, "that is for debugging");

    let said = node.reload(
        Some("MFSHA_LOG_LEVEL = debug\nMFSHA_REGION = north\n"),
        "reloaded",
    );
    assert!(said.contains("changed=[\"MFSHA_LOG_LEVEL\"]"), "{said}");
    assert_eq!(node.setting("MFSHA_LOG_LEVEL"), pair("debug", "file"));
    assert!(node.lines("client connected") > 0, "debug is in force");

    // What takes a restart is told with its place, and the old value stays.
    let text = "MFSHA_LOG_LEVEL = info\n\nMFSHA_REGION = south\n";
    let said = node.reload(Some(text), "reloaded");
    assert!(said.contains("need_restart=[\"MFSHA_REGION\"]"), "{said}");
    let line = said.lines().find(|line| line.contains(&node.at(3)));
    let line = line.unwrap_or_else(|| panic!("no word of line 3: {said}"));
    assert!(line.contains("restart the node"), "{line}");
    assert_eq!(node.setting("MFSHA_REGION"), pair("north", "file"));
    assert_eq!(node.setting("MFSHA_LOG_LEVEL"), pair("info", "file"));

    // An operator's reload says the same.
    let said = node.cluster.admin_json(&["reload-config"]);
    assert_eq!(said["nodes"][0]["need_restart"][0], "MFSHA_REGION");
}

#[test]
fn a_file_that_cannot_be_used_changes_nothing() {
    let node = Node::start("MFSHA_LOG_LEVEL = info\n", &[]);
    let nothing = "nothing was reloaded";
    let said = node.reload(
        Some("MFSHA_LOG_LEVEL = debug\nMFSHA_PROT = 1\nHA_SNAPSHOT_LOG_SIZE = much\n"),
        nothing,
    );
    assert!(said.contains(&node.at(2)), "{said}");
    assert!(said.contains("is MFSHA_PORT meant?"), "{said}");
    node.cluster.until(1, "names the other line too", || {
        node.cluster.said(1).contains(&node.at(3))
    });
    assert_eq!(node.setting("MFSHA_LOG_LEVEL"), pair("info", "file"));
    // By itself every line is good.
    let said = node.reload(
        Some("MFSHA_LOG_LEVEL = debug\nHA_RAFT_HEARTBEAT_TIMEOUT = 299ms\n"),
        nothing,
    );
    assert!(said.contains("at most a third"), "{said}");
    assert_eq!(node.setting("MFSHA_LOG_LEVEL"), pair("info", "file"));
    let said = node.reload(None, nothing);
    assert!(said.contains("give its right path"), "{said}");
    assert_eq!(node.setting("MFSHA_LOG_LEVEL"), pair("info", "file"));
    assert_eq!(node.lines("client connected"), 0, "info is in force");
    node.cluster.create("/serves");
}

#[test]
fn exports_that_cannot_be_read_change_no_setting_either() {
    let exports = tempfile::NamedTempFile::new().unwrap();
    fs::write(&exports, "* / rw\n").unwrap();
    let text = |level: &str| {
        format!(
            "MFSHA_LOG_LEVEL = {level}\nMATOCL_LISTEN_PORT = 9421\nEXPORTS_FILENAME = {}\n",
            exports.path().display()
        )
    };
    let node = Node::start(&text("info"), &[]);
    fs::write(&exports, "* / rw\n* / rw,nonsense\n").unwrap();
    let said = node.reload(Some(&text("debug")), "nothing was reloaded");
    let path = exports.path().display().to_string();
    for part in [&path, "line 2", "nonsense"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(node.setting("MFSHA_LOG_LEVEL"), pair("info", "file"));
    fs::write(&exports, "* / ro\n").unwrap();
    node.reload(Some(&text("debug")), "reloaded");
    assert_eq!(node.setting("MFSHA_LOG_LEVEL"), pair("debug", "file"));
}

#[test]
fn the_environment_wins_over_the_file_also_after_a_reload() {
    let node = Node::start(
        "MFSHA_LOG_LEVEL = debug\nMFSHA_REGION = north\n",
        &[("MFSHA_LOG_LEVEL", "info"), ("MFSHA_REGION", "")],
    );
    assert_eq!(node.setting("MFSHA_LOG_LEVEL"), pair("info", "environment"));
    assert_eq!(node.setting("MFSHA_REGION"), pair("north", "file"));
    let said = node.reload(
        Some("MFSHA_LOG_LEVEL = trace\nMFSHA_REGION = north\n"),
        "reloaded",
    );
    assert!(said.contains("changed=[]"), "{said}");
    assert_eq!(node.setting("MFSHA_LOG_LEVEL"), pair("info", "environment"));
    // An operator's word stands above both, until the next start.
    node.cluster
        .admin_ok(&["config", "set", "MFSHA_LOG_LEVEL", "debug"]);
    assert_eq!(node.setting("MFSHA_LOG_LEVEL").0, "debug");
    assert!(node.lines("client connected") > 0, "debug is in force");
}

#[test]
fn what_an_operator_sets_holds_while_the_node_runs() {
    let mut node = Node::start("", &[]);
    let set = |node: &Node, key: &str, value: &str| {
        node.cluster.admin_ok(&["config", "set", key, value]);
        assert_eq!(node.setting(key).1, "operator", "{key}");
    };
    set(&node, "HA_CRDT_MAX_MEMORY", "32M");
    let status = node.cluster.admin_json(&["node-status"]);
    assert_eq!(status["memory_bytes_max"], 32 << 20, "{status}");

    // By default the state would become durable 30 s after the start, and not before.
    let checkpoint = |node: &Node| {
        let status = node.cluster.admin_json(&["node-status"]);
        status["checkpoint"].as_u64().expect("an index")
    };
    node.cluster.create("/kept");
    let before = checkpoint(&node);
    set(&node, "HA_METADATA_SYNC_INTERVAL", "1s");
    node.cluster
        .until(1, "has a checkpoint", || checkpoint(&node) > before);

    node.cluster
        .admin_ok(&["config", "set", "MFSHA_AUTH_TOKEN", "a-new-secret"]);
    let (good, said) = node.cluster.admin(&["status"]);
    assert!(!good, "{said}");
    assert!(said.contains("the token is missing or wrong"), "{said}");
    node.cluster.admin_options = vec!["--token".to_owned(), "a-new-secret".to_owned()];
    node.cluster.create("/by-the-new-one");
    let log = node.cluster.said(1);
    assert!(!log.contains("a-new-secret"), "{log}");

    // A file that says something else is read, and the operator's word stays.
    let said = node.reload(Some("HA_RAFT_PRIORITY = 5\n"), "reloaded");
    assert!(said.contains("changed=[\"HA_RAFT_PRIORITY\"]"), "{said}");
    assert_eq!(node.setting("HA_RAFT_PRIORITY"), pair("5", "file"));
}

#[test]
fn leadership_goes_where_an_operator_wants_it() {
    let mut cluster = Cluster::new(3);
    cluster.start_all();
    let leader = cluster.leader().expect("a cluster that serves is led");
    let next = if leader == 1 { 2 } else { 1 };
    let node = next.to_string();
    cluster.admin_ok(&["config", "set", "HA_RAFT_PRIORITY", "9", "--node", &node]);
    cluster.until(next, "leads", || cluster.leader() == Some(next));
    cluster.until(leader, "says why it does not", || {
        cluster.said(leader).contains("handed over to")
    });
    cluster.create("/by-the-next");
}
