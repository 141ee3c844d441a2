//! The whole configuration: forms of the file, layers, checks, reloads, and the texts made from
//! the table.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;

use super::value::VALUE_BYTES_MAX;
use super::*;

struct Setup {
    directory: tempfile::TempDir,
    inputs: Inputs,
}

impl Setup {
    fn new(file: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mfsha.cfg");
        fs::write(&path, file).unwrap();
        let inputs = Inputs {
            file: Some(path),
            environment: Environment::Fixed(BTreeMap::new()),
            command_line: Vec::new(),
        };
        Self { directory, inputs }
    }

    fn variables(mut self, variables: &[(&str, &str)]) -> Self {
        let variables = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), OsString::from(value)));
        self.inputs.environment = Environment::Fixed(variables.collect());
        self
    }

    fn options(mut self, given: &[(Key, &str)]) -> Self {
        let given = given.iter().map(|(key, text)| Given {
            option: format!("--set {}", key.name()),
            key: *key,
            text: (*text).into(),
        });
        self.inputs.command_line = given.collect();
        self
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("mfsha.cfg")
    }

    fn load(&self) -> Configuration {
        Configuration::load(self.inputs.clone()).unwrap_or_else(|error| panic!("{error}"))
    }

    /// What is said instead of loading, without the path of the file.
    fn refusal(&self) -> String {
        let error = Configuration::load(self.inputs.clone()).expect_err("it has to be refused");
        let directory = format!("{}/", self.directory.path().display());
        error.to_string().replace(&directory, "")
    }
}

fn refusal(file: &str) -> String {
    Setup::new(file).refusal()
}

#[test]
fn the_guide_s_file_is_read() {
    let configuration = Setup::new(
        "\u{feff}# a node\r\n\
         MFSHA_NODE_ID = 2\r\n\
         \r\n\
         \t MFSHA_PEERS=10.0.0.1, 10.0.0.2,3@[fe80::3]:9999  \n\
         DATA_PATH = /srv/my data\n\
         \x20 # indented\n\
         HA_RAFT_ELECTION_TIMEOUT = 1 s\n\
         HA_METADATA_SYNC_INTERVAL = 5\n\
         HA_CRDT_MAX_MEMORY = 3g\n\
         MFSHA_AUTH_TOKEN = a#b=c\n\
         MFSHA_TLS_ENABLE = no",
    )
    .load();
    let settings = configuration.settings();
    assert_eq!(settings.node_id().unwrap().0, 2);
    assert_eq!(settings.port(), 9_430);
    assert_eq!(settings.http_port(), Some(9_432));
    let peers: Vec<_> = settings.peer_addresses();
    assert_eq!(peers[2].address.as_str(), "[fe80::3]:9999");
    assert_eq!(peers[1].address.as_str(), "10.0.0.2:9430");
    assert_eq!(settings.data_path(), Path::new("/srv/my data"));
    assert_eq!(settings.election_timeout(), Duration::from_secs(1));
    assert_eq!(settings.checkpoint_interval(), Duration::from_secs(5));
    assert_eq!(settings.memory_bytes_max(), 3 << 30);
    assert_eq!(settings.auth_token(), Some("a#b=c"));
    assert_eq!(settings.tls(), None);
    assert_eq!(settings.source(Key::NodeId), Source::File);
    assert_eq!(settings.source(Key::Port), Source::Default);
}

#[test]
fn every_slip_names_line_column_and_what_to_do() {
    for (file, said) in [
        (
            "MFSHA_PORT",
            "mfsha.cfg:1:1: a line is KEY = VALUE, a comment that begins with #, or empty; there \
             is no = here",
        ),
        (
            "\n  = 1",
            "mfsha.cfg:2:3: there is no key in front of the =",
        ),
        (
            "\n\n MFSHA_PROT = 1",
            "mfsha.cfg:3:2: there is no key \"MFSHA_PROT\"; is MFSHA_PORT meant?",
        ),
        (
            "WORKING_USER = mfs",
            "mfsha.cfg:1:1: there is no key \"WORKING_USER\"; `mfsha print-config` prints them all",
        ),
        (
            "MFSHA_PORT = 1\nMFSHA_PORT = 2",
            "mfsha.cfg:2:1: MFSHA_PORT was given before, in line 1; take one of the two out",
        ),
        (
            "MFSHA_PORT =   94x0",
            "mfsha.cfg:1:16: MFSHA_PORT: \"94x0\" is not a whole number from 1 to 65535",
        ),
        (
            "MFSHA_PORT = 65536",
            "mfsha.cfg:1:14: MFSHA_PORT: 65536 is out of range: a whole number from 1 to 65535",
        ),
        (
            "MFSHA_NODE_ID = 0",
            "mfsha.cfg:1:17: MFSHA_NODE_ID: 0 is out of range: a whole number from 1 to 4294967295",
        ),
        (
            "MFSHA_PORT =",
            "mfsha.cfg:1:13: MFSHA_PORT: it has no value; give one, or leave the line out for the \
             default",
        ),
        (
            "HA_CRDT_MAX_MEMORY = 1K",
            "mfsha.cfg:1:22: HA_CRDT_MAX_MEMORY: 1K is out of range: a number of bytes from 16M to \
             1T, with K, M, G or T for powers of 1024",
        ),
        (
            "HA_RAFT_ELECTION_TIMEOUT = 3m",
            "mfsha.cfg:1:28: HA_RAFT_ELECTION_TIMEOUT: \"3m\" is not a time from 50ms to 60s, with \
             ms, s, min or h, a bare number in ms",
        ),
        (
            "MFSHA_LOG_FORMAT = jsn",
            "mfsha.cfg:1:20: MFSHA_LOG_FORMAT: \"jsn\" is none of plain, json; is json meant?",
        ),
        (
            "MFSHA_REGION = a # b",
            "mfsha.cfg:1:18: a comment needs a line of its own; a value may not hold a # after a \
             space",
        ),
        (
            "BIND_HOST = a:1",
            "mfsha.cfg:1:13: BIND_HOST: \"a:1\" is not a host name or an IP address, without a port",
        ),
        (
            "DATA_PATH = a\0b",
            "mfsha.cfg:1:13: DATA_PATH: character 2 is a control character; only what can be \
             printed may stand there",
        ),
        (
            "MFSHA_LOG_LEVEL = inof",
            "mfsha.cfg:1:19: MFSHA_LOG_LEVEL: \"inof\" is no filter of logs (inof is no level): \
             write error, warn, info, debug, trace or off, or module=level, separated by commas",
        ),
        (
            "MFSHA_TLS_ENABLE = maybe",
            "mfsha.cfg:1:20: MFSHA_TLS_ENABLE: \"maybe\" is not 1 or 0 (also yes or no, true or \
             false, on or off)",
        ),
        (
            "MFSHA_PEERS = a,,b",
            "mfsha.cfg:1:15: MFSHA_PEERS: node 2 of the list is empty; take the extra comma out",
        ),
    ] {
        assert_eq!(refusal(file), said, "{file}");
    }
}

#[test]
fn everything_that_is_wrong_is_said_at_once_up_to_a_bound() {
    let said = refusal("MFSHA_PORT = x\nfoo\nHA_SHARD_COUNT = 2");
    assert_eq!(said.lines().count(), 3, "{said}");
    let said = refusal(&"what\n".repeat(100_000));
    assert_eq!(said.lines().count(), super::problem::PROBLEM_COUNT_MAX + 1);
    assert!(said.ends_with("and more; put these right first"), "{said}");
}

#[test]
fn a_secret_is_in_no_message() {
    for file in [
        "MFSHA_AUTH_TOKEN = se cret",
        "MFSHA_AUTH_TOKEN = secret # secret",
        "MFSHA_AUTH_TOKEN : secret",
        "MFSHA_AUTH_TOKN = secret",
        "MFSHA_AUTH_TOKEN = secretö",
    ] {
        let said = refusal(file);
        assert!(
            !said.contains("secret") && !said.contains("se cret"),
            "{said}"
        );
    }
    let setup = Setup::new("MFSHA_AUTH_TOKEN = hush");
    let configuration = setup.load();
    assert_eq!(configuration.settings().auth_token(), Some("hush"));
    let report = Report::of(&setup.inputs);
    let shown = format!(
        "{configuration:?}{:?}{}{}",
        configuration.listing(),
        report.to_text(),
        report.to_json()
    );
    assert!(!shown.contains("hush"), "{shown}");
    assert!(report.to_text().contains(STARS));
}

#[test]
fn what_is_no_file_is_refused_by_what_it_is() {
    let mut setup = Setup::new("");
    let directory = setup.directory.path().to_owned();
    let mut said = |path: &Path| {
        setup.inputs.file = Some(path.into());
        setup.refusal()
    };
    let missing = said(&directory.join("none.cfg"));
    assert!(missing.starts_with("none.cfg: cannot be read"), "{missing}");
    assert!(missing.contains("--config"), "{missing}");
    assert!(said(&directory).contains("is a directory, not a file"));
    assert!(said(Path::new("/dev/zero")).contains("is a device, not a file"));
    let pipe = directory.join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    assert!(said(&pipe).contains("is a pipe, not a file"));
    let long = directory.join("long");
    fs::write(&long, vec![b'#'; FILE_BYTES_MAX as usize + 1]).unwrap();
    assert!(said(&long).contains("longer than 1048576 bytes"));
    fs::write(&long, vec![b'#'; FILE_BYTES_MAX as usize]).unwrap();
    setup.inputs.file = Some(long);
    setup.load();
    // Root reads everything; for others a file without a bit is closed.
    let closed = directory.join("closed");
    fs::write(&closed, "").unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::read(&closed).is_err() {
        setup.inputs.file = Some(closed);
        let said = setup.refusal();
        assert!(said.contains("let mfsha's user read it"), "{said}");
    } else {
        crate::testing::skipped("this user reads files that nobody may read");
    }
}

#[test]
fn bytes_that_are_no_text_are_shown_where_they_are() {
    let setup = Setup::new("");
    fs::write(setup.path(), b"# fine\nMFSHA_REGION = \xc3\xa9\xff\n").unwrap();
    assert_eq!(
        setup.refusal(),
        "mfsha.cfg:2:17: is not UTF-8; write the file in UTF-8"
    );
    let mut setup = Setup::new("");
    let bad = OsString::from_vec(vec![b'9', 0xff]);
    setup.inputs.environment = Environment::Fixed([("MFSHA_PORT".into(), bad)].into());
    assert!(
        setup
            .refusal()
            .starts_with("environment variable MFSHA_PORT: is not UTF-8")
    );
}

#[test]
fn later_layers_win_and_each_value_knows_its_own() {
    let setup = Setup::new("MFSHA_PORT = 1\nMFSHA_REGION = file\nMFSHA_HTTP_PORT = 11")
        .variables(&[
            ("MFSHA_PORT", "2"),
            ("MFSHA_HTTP_PORT", "12"),
            // Not set, to whoever starts containers.
            ("MFSHA_REGION", ""),
        ])
        .options(&[(Key::Port, "3")]);
    let mut configuration = setup.load();
    let held = |configuration: &Configuration, key: Key| {
        let listing = configuration.listing();
        let setting = listing.into_iter().find(|s| s.key == key.name()).unwrap();
        (setting.value, setting.source)
    };
    let expected = [
        (Key::Port, "3", "command line"),
        (Key::HttpPort, "12", "environment"),
        (Key::Region, "file", "file"),
        (Key::ElectionTimeout, "300ms", "default"),
        (Key::NodeId, "", "default"),
    ];
    for (key, value, source) in expected {
        let expected = (value.to_owned(), source.to_owned());
        assert_eq!(held(&configuration, key), expected);
    }
    configuration.set("MFSHA_LOG_LEVEL", "debug").unwrap();
    let expected = ("debug".to_owned(), "operator".to_owned());
    assert_eq!(held(&configuration, Key::LogLevel), expected);
}

#[test]
fn one_layer_does_not_hide_what_is_wrong_in_a_lower_one() {
    let setup = Setup::new("MFSHA_PORT = x").options(&[(Key::Port, "1"), (Key::Port, "2")]);
    let said = setup.refusal();
    assert!(said.contains("mfsha.cfg:1:14: MFSHA_PORT"), "{said}");
    let twice = "option --set MFSHA_PORT: MFSHA_PORT was given before, with --set MFSHA_PORT";
    assert!(said.contains(twice), "{said}");
}

#[test]
fn settings_that_cannot_stand_together_are_refused_with_what_to_do() {
    for (file, part) in [
        (
            "HA_RAFT_HEARTBEAT_TIMEOUT = 101",
            "set the heartbeat to 100ms or less, or the election timeout to 303ms or more",
        ),
        ("HA_SHARD_COUNT = 2", "many shards are not there yet"),
        (
            "HA_SNAPSHOT_LOG_SIZE = 1G",
            "set HA_LOG_SIZE_MAX to 8G or more",
        ),
        ("MFSHA_HTTP_PORT = 9430", "are both 9430"),
        (
            "MFSHA_ADVERTISE_HOST = ::",
            "MFSHA_ADVERTISE_HOST is [::], which nobody can dial",
        ),
        (
            "MFSHA_TLS_ENABLE = 1\nMFSHA_TLS_CERT_PATH = /c\nMFSHA_TLS_CA_PATH = /a",
            "MFSHA_TLS_ENABLE is on and MFSHA_TLS_KEY_PATH is not given",
        ),
    ] {
        let said = refusal(file);
        assert!(said.starts_with("settings: "), "{said}");
        assert!(said.contains(part), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    // At the bound they hold.
    let settings = "HA_RAFT_HEARTBEAT_TIMEOUT = 100\nHA_SNAPSHOT_LOG_SIZE = 512M";
    Setup::new(settings).load();
}

#[test]
fn an_operator_hears_of_what_is_suspicious() {
    let setup =
        Setup::new("HA_GOSSIP_INTERVAL = 5s\nMFSHA_AUTH_TOKEN = x\nMFSHA_TLS_CERT_PATH = /c\n")
            .variables(&[
                ("MFSHA_PROT", "1"),
                ("HA_ASYNC_REPLICATION", "1"),
                ("HA_SOMETHING_ELSE_ALTOGETHER", "1"),
                ("HOME", "/"),
            ]);
    fs::set_permissions(setup.path(), fs::Permissions::from_mode(0o644)).unwrap();
    let warnings = |setup: &Setup| -> Vec<String> {
        let configuration = setup.load();
        configuration
            .warnings()
            .iter()
            .map(ToString::to_string)
            .collect()
    };
    let said = warnings(&setup);
    for part in [
        "MFSHA_AUTH_TOKEN and every user of this machine can read it",
        "environment variable MFSHA_PROT is no key; is MFSHA_PORT meant?",
        "HA_GOSSIP_INTERVAL is set (file) and has no meaning yet",
        "HA_ASYNC_REPLICATION is set (environment) and has no meaning yet",
        "MFSHA_TLS_CERT_PATH is given and TLS is off",
        "sent in the clear",
    ] {
        assert!(
            said.iter().any(|line| line.contains(part)),
            "{part}: {said:?}"
        );
    }
    assert_eq!(said.len(), 6, "{said:?}");
    fs::set_permissions(setup.path(), fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(warnings(&setup).len(), 5);
    let shown = Setup::new("").options(&[(Key::AuthToken, "x")]);
    assert!(
        warnings(&shown)
            .iter()
            .any(|line| line.contains("on the command line"))
    );
    assert_eq!(
        warnings(&Setup::new("")),
        [""; 0],
        "defaults are not suspicious"
    );
}

#[test]
fn a_reload_takes_over_what_may_change_and_names_the_rest() {
    let setup = Setup::new("MFSHA_LOG_LEVEL = info\nMFSHA_PORT = 1\nMFSHA_REGION = a");
    let mut configuration = setup.load();
    let new = "MFSHA_LOG_LEVEL = debug\nMFSHA_PORT = 2\nMFSHA_REGION = a\nMFSHA_HTTP_PORT = 3";
    fs::write(setup.path(), new).unwrap();
    for changed in [vec![Key::LogLevel], vec![]] {
        let reload = configuration.reload().unwrap();
        assert_eq!(reload.changed, changed);
        assert_eq!(reload.need_restart, [Key::Port, Key::HttpPort]);
        assert_eq!(configuration.settings().port(), 1);
        assert_eq!(configuration.settings().log_filter(), "debug");
    }
    // A setting that is gone from the file is the default again.
    fs::write(setup.path(), "MFSHA_PORT = 1\nMFSHA_REGION = a").unwrap();
    let reload = configuration.reload().unwrap();
    assert_eq!(reload.changed, [Key::LogLevel]);
    assert_eq!(reload.need_restart, []);
    assert_eq!(configuration.settings().log_filter(), "info,openraft=warn");
    assert_eq!(
        configuration.settings().source(Key::LogLevel),
        Source::Default
    );
}

#[test]
fn a_reload_of_what_is_wrong_changes_nothing() {
    let setup = Setup::new("MFSHA_LOG_LEVEL = warn");
    let mut configuration = setup.load();
    let before = configuration.settings().clone();
    for wrong in [
        "MFSHA_LOG_LEVEL = debug\nMFSHA_PORT = x",
        "MFSHA_LOG_LEVEL = debug\nHA_SHARD_COUNT = 9",
        "MFSHA_LOG_LEVEL = nonsense",
    ] {
        fs::write(setup.path(), wrong).unwrap();
        configuration.reload().expect_err(wrong);
        assert_eq!(configuration.settings(), &before);
    }
    fs::remove_file(setup.path()).unwrap();
    configuration.reload().expect_err("the file is gone");
    assert_eq!(configuration.settings(), &before);
}

#[test]
fn what_an_operator_set_outlives_a_reload() {
    let setup = Setup::new("MFSHA_LOG_LEVEL = warn");
    let mut configuration = setup.load();
    assert_eq!(
        configuration.set(" MFSHA_LOG_LEVEL ", "trace"),
        Ok(Key::LogLevel)
    );
    fs::write(setup.path(), "MFSHA_LOG_LEVEL = error").unwrap();
    assert_eq!(configuration.reload().unwrap().changed, []);
    assert_eq!(configuration.settings().log_filter(), "trace");
    assert_eq!(
        configuration.settings().source(Key::LogLevel),
        Source::Operator
    );
}

#[test]
fn an_operator_is_told_why_a_key_cannot_be_set() {
    let mut configuration = Setup::new("").load();
    let before = configuration.settings().clone();
    for (key, value, part) in [
        ("MFSHA_LOGLEVEL", "info", "is MFSHA_LOG_LEVEL meant?"),
        ("MFSHA_PORT", "1", "restart the node"),
        ("MFSHA_LOG_LEVEL", "", "it has no value"),
        ("MFSHA_LOG_LEVEL", "a=b=c", "is no filter of logs"),
    ] {
        let error = configuration.set(key, value).expect_err(key).to_string();
        assert!(error.contains(part), "{error}");
        assert_eq!(configuration.settings(), &before);
    }
}

/// What `check-config` says of these lines, with a data directory that can be made; without the
/// paths of the test.
fn checked(lines: &str) -> Report {
    let setup = Setup::new("");
    checked_in(&setup, lines)
}

fn checked_in(setup: &Setup, lines: &str) -> Report {
    let data = setup.directory.path().join("data");
    let file = format!("DATA_PATH = {}\n{lines}", data.display());
    fs::write(setup.path(), file).unwrap();
    Report::of(&setup.inputs)
}

fn only_error(report: &Report) -> &str {
    let [error] = &report.errors[..] else {
        panic!("there is one error: {:?}", report.errors);
    };
    assert_eq!(report.exit_code(), 64);
    &error.message
}

#[test]
fn nothing_given_is_not_enough_for_a_start() {
    let report = checked("");
    assert_eq!(report.exit_code(), 64);
    let text = report.to_text();
    assert!(text.contains("the node has no id"), "{text}");
    assert!(text.contains("set MFSHA_ADVERTISE_HOST"), "{text}");
    assert!(!text.contains("a node can start"), "{text}");

    let report = checked("MFSHA_NODE_ID = 1");
    assert!(only_error(&report).contains("set MFSHA_ADVERTISE_HOST"));
    let report = checked("BIND_HOST = 127.0.0.1");
    assert!(only_error(&report).contains("the node has no id"));
    // With its id the list would say where it is.
    let report = checked("MFSHA_PEERS = 1@a, 2@b");
    assert!(only_error(&report).contains("the node has no id"));
    let report = checked("MFSHA_NODE_ID = 1\nMFSHA_PEERS = 1@a, 2@b");
    assert_eq!(report.exit_code(), 0, "{}", report.to_text());
    let report = checked("MFSHA_NODE_ID = 1\nMFSHA_PEERS = 127.0.0.1, 192.0.2.1");
    assert_eq!(report.exit_code(), 0, "{}", report.to_text());
}

#[test]
fn a_data_directory_says_which_node_starts() {
    let setup = Setup::new("");
    let data = setup.directory.path().join("data");
    let directory = crate::data_dir::DataDir::open(&data, Some(mfsha_core::id::NodeId(7)));
    // Held as by a node that runs.
    let _directory = directory.unwrap();
    let report = checked_in(&setup, "BIND_HOST = 127.0.0.1");
    assert_eq!(report.exit_code(), 0, "{}", report.to_text());
    let report = checked_in(&setup, "BIND_HOST = 127.0.0.1\nMFSHA_NODE_ID = 8");
    assert!(only_error(&report).contains("belongs to node 7, but MFSHA_NODE_ID is 8"));
    let report = checked_in(&setup, "MFSHA_PEERS = 8@127.0.0.1\nBIND_HOST = 127.0.0.1");
    let said = only_error(&report);
    assert!(said.contains("node 8 at 127.0.0.1:9430, but that is this node"));
}

#[test]
fn a_list_that_has_this_node_elsewhere_is_an_error() {
    let report = checked("MFSHA_NODE_ID = 1\nMFSHA_PEERS = 1@a, 2@b\nMFSHA_ADVERTISE_HOST = c");
    let said = only_error(&report);
    assert!(said.contains("has node 1 at a:9430"), "{said}");
}

#[test]
fn files_that_a_start_reads_are_read() {
    let node = "MFSHA_NODE_ID = 1\nBIND_HOST = 127.0.0.1\n";
    let setup = Setup::new("");
    let exports = setup.directory.path().join("exports");
    let lines = format!(
        "{node}MATOCL_LISTEN_PORT = 9421\nEXPORTS_FILENAME = {}\n",
        exports.display()
    );
    let report = checked_in(&setup, &lines);
    assert!(only_error(&report).contains("exports cannot be read"));
    fs::write(&exports, "* rw\n").unwrap();
    let report = checked_in(&setup, &lines);
    assert!(only_error(&report).contains("exports cannot be used"));
    fs::write(&exports, "* / rw,minversion=3.0.117\n").unwrap();
    let report = checked_in(&setup, &lines);
    assert_eq!(report.exit_code(), 0, "{}", report.to_text());
    assert!(report.to_text().contains("warning: "), "of the version");
    // Nobody reads it without a port for mounts.
    fs::remove_file(&exports).unwrap();
    let off = lines.replace("9421", "0");
    assert_eq!(checked_in(&setup, &off).exit_code(), 0);

    let ca = crate::tls::tests::Ca::new();
    let tls = |files: &crate::tls::TlsFiles| {
        format!(
            "{node}MFSHA_TLS_ENABLE = 1\nMFSHA_TLS_CERT_PATH = {}\nMFSHA_TLS_KEY_PATH = {}\n\
             MFSHA_TLS_CA_PATH = {}\n",
            files.certificate.display(),
            files.key.display(),
            files.ca.display()
        )
    };
    let own = ca.node(1);
    let report = checked_in(&setup, &tls(&own));
    assert_eq!(report.exit_code(), 0, "{}", report.to_text());
    let report = checked_in(&setup, &tls(&ca.node(2)));
    let said = only_error(&report);
    assert!(said.contains("lacks the DNS name node-1.mfsha"), "{said}");
    let missing = crate::tls::TlsFiles {
        key: "/nowhere/key".into(),
        ..own
    };
    let report = checked_in(&setup, &tls(&missing));
    assert!(only_error(&report).contains("cannot read /nowhere/key"));
}

#[test]
fn two_servers_need_two_ports_where_their_addresses_meet() {
    let mounts = "MATOCL_LISTEN_PORT";
    for (lines, first, second) in [
        (
            "MATOCL_LISTEN_PORT = 9430",
            "MFSHA_PORT",
            "MATOCL_LISTEN_PORT",
        ),
        (
            "MATOCS_LISTEN_PORT = 9432",
            "MFSHA_HTTP_PORT",
            "MATOCS_LISTEN_PORT",
        ),
        (
            "MATOCL_LISTEN_PORT = 5\nMATOCS_LISTEN_PORT = 5",
            "MATOCL_LISTEN_PORT",
            "MATOCS_LISTEN_PORT",
        ),
        (
            "BIND_HOST = 10.0.0.1\nMATOCL_LISTEN_HOST = [::]\nMATOCL_LISTEN_PORT = 9430",
            "MFSHA_PORT",
            "MATOCL_LISTEN_PORT",
        ),
        (
            "MATOCL_LISTEN_HOST = a\nMATOCL_LISTEN_PORT = 9430",
            "MFSHA_PORT",
            mounts,
        ),
    ] {
        let said = refusal(lines);
        let wanted = format!("settings: {first} and {second} are both ");
        assert!(said.starts_with(&wanted), "{lines}: {said}");
    }
    for apart in [
        "BIND_HOST = 10.0.0.1\nMATOCL_LISTEN_HOST = 10.0.0.2\nMATOCL_LISTEN_PORT = 9430",
        "MATOCL_LISTEN_HOST = [::1]\nMATOCL_LISTEN_PORT = 9430",
        "MFSHA_HTTP_PORT = 0\nMATOCL_LISTEN_PORT = 0\nMATOCS_LISTEN_PORT = 0",
    ] {
        Setup::new(apart).load();
    }
}

#[test]
fn a_report_has_every_key_and_says_whether_a_node_can_start() {
    let good = checked("MFSHA_PORT = 5\nMFSHA_NODE_ID = 1\nBIND_HOST = 127.0.0.1");
    assert_eq!(good.exit_code(), 0, "{}", good.to_text());
    assert!(good.to_text().contains("a node can start"));
    let text = good.to_text();
    for spec in &KEYS {
        assert!(text.contains(spec.name), "{text}");
    }
    let line = text
        .lines()
        .find(|line| line.contains("MFSHA_PORT "))
        .unwrap();
    let words: Vec<_> = line.split_whitespace().collect();
    assert_eq!(words, ["MFSHA_PORT", "5", "file"]);
    let bad = Report::of(&Setup::new("MFSHA_PORT = x").inputs);
    assert_eq!(bad.exit_code(), 64);
    assert!(bad.to_text().contains("error: "));
    let json: serde_json::Value = serde_json::from_str(&bad.to_json()).unwrap();
    assert_eq!(json["settings"].as_array().unwrap().len(), KEYS.len());
    assert!(
        json["errors"][0]["place"]
            .as_str()
            .unwrap()
            .ends_with("mfsha.cfg:1:14")
    );
}

/// The file as it is in the tree; written anew when `REWRITE` is set.
fn kept(path: &str, wanted: impl Fn(&str) -> String) -> (String, String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let kept = fs::read_to_string(&path).unwrap_or_default();
    let wanted = wanted(&kept);
    if std::env::var_os("REWRITE").is_some() {
        fs::write(&path, &wanted).unwrap();
        return (wanted.clone(), wanted);
    }
    (kept, wanted)
}

#[test]
fn the_packaged_file_is_what_print_config_prints() {
    let (kept, wanted) = kept("packaging/mfsha.cfg", |_| sample());
    assert_eq!(
        kept, wanted,
        "REWRITE=1 cargo test -p mfsha-net-real writes it anew"
    );
}

#[test]
fn the_manual_s_table_of_keys_is_the_one_in_the_code() {
    let (from, to) = ("<!-- keys -->\n", "<!-- /keys -->");
    let (kept, wanted) = kept("../docs/operations.md", |kept| {
        let (before, rest) = kept.split_once(from).expect("the mark before the table");
        let (_, after) = rest.split_once(to).expect("the mark behind the table");
        format!("{before}{from}\n{}\n{to}{after}", reference())
    });
    assert_eq!(
        kept, wanted,
        "REWRITE=1 cargo test -p mfsha-net-real writes it anew"
    );
}

#[test]
fn the_sample_with_every_key_taken_in_is_the_defaults() {
    let lines = sample();
    let taken = lines.lines().map(|line| {
        let bare = line.strip_prefix("# ").unwrap_or(line);
        let key = bare.split_once(" =").and_then(|(name, _)| Key::named(name));
        if key.is_some() { bare } else { line }
    });
    let file = taken.collect::<Vec<_>>().join("\n");
    let configuration = Setup::new(&file).load();
    let defaults = Settings::default();
    for key in Key::all() {
        assert_eq!(configuration.settings().value(key), defaults.value(key));
        assert_eq!(
            configuration.settings().source(key),
            Source::File,
            "{}",
            key.name()
        );
    }
    let untouched = Setup::new(&lines).load();
    assert_eq!(untouched.settings(), &defaults);
}

fn any_value() -> impl Strategy<Value = (Key, String)> {
    let host = "[a-z0-9][a-z0-9.-]{0,20}";
    let peer = (
        prop::option::of(1..u32::MAX),
        host,
        prop::option::of(1..=u16::MAX),
    );
    let peer = peer.prop_map(|(id, host, port)| {
        let id = id.map_or_else(String::new, |id| format!("{id}@"));
        let port = port.map_or_else(String::new, |port| format!(":{port}"));
        format!("{id}{host}{port}")
    });
    let time = (
        0..100_000u64,
        prop::sample::select(vec!["", "ms", "s", "min", " h"]),
    );
    let time = time.prop_map(|(number, unit)| format!("{number}{unit}"));
    let size = (
        0..5_000u64,
        prop::sample::select(vec!["", "K", "m", "GiB", " T"]),
    );
    let size = size.prop_map(|(number, unit)| format!("{number}{unit}"));
    let text = prop_oneof![
        time,
        size,
        any::<u64>().prop_map(|number| number.to_string()),
        prop::collection::vec(peer, 1..5).prop_map(|peers| peers.join(",")),
        any::<std::net::Ipv6Addr>().prop_map(|ip| ip.to_string()),
        "[a-z0-9_.=,/# ä-]{0,40}",
        "(info|debug|off|mfsha_core=trace)(,(warn|a::b=error))?",
        prop::sample::select(vec!["1", "no", "TRUE", "plain", "JSON", "0.0.0.0", "[::]"])
            .prop_map(str::to_owned),
    ];
    (prop::sample::select(Key::all().collect::<Vec<_>>()), text)
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(bytes: Vec<u8>) {
        let _ = file::parse(Path::new("x"), &bytes);
    }

    #[test]
    fn no_lines_make_the_parser_panic(
        lines in prop::collection::vec(
            prop_oneof![
                any_value().prop_map(|(key, text)| format!("{} = {text}", key.name())),
                "[A-Z_]{0,20} ?=? ?.{0,20}",
                ".{0,40}",
            ],
            0..20,
        ),
    ) {
        let text = lines.join("\n");
        let (assignments, problems) = file::parse(Path::new("x"), text.as_bytes());
        let count = text.split('\n').count();
        for given in &assignments {
            prop_assert!((1..=count).contains(&given.line));
            let line = text.split('\n').nth(given.line - 1).unwrap();
            let found: String = line.chars().skip(given.column - 1).collect();
            prop_assert_eq!(found.trim_end(), &given.text);
            let _ = given.key.spec().kind.parse(&given.text);
        }
        prop_assert!(assignments.len() + problems.len() <= count);
    }

    #[test]
    fn a_value_that_is_printed_parses_back((key, text) in any_value()) {
        let spec = key.spec();
        if let Ok(value) = spec.kind.parse(&text) {
            let shown = value.to_string();
            if spec.secret {
                prop_assert_eq!(shown, STARS);
            } else {
                prop_assert_eq!(spec.kind.parse(&shown), Ok(value), "{} as {}", text, shown);
            }
        }
    }

    #[test]
    fn settings_that_are_printed_load_again(
        values in prop::collection::vec(any_value(), 0..40),
    ) {
        let good = values.iter().filter(|(key, text)| key.spec().kind.parse(text).is_ok());
        let given: BTreeMap<Key, &str> = good.map(|(key, text)| (*key, text.as_str())).collect();
        let given: Vec<_> = given.into_iter().collect();
        let first = Setup::new("").options(&given);
        let Ok(first) = Configuration::load(first.inputs.clone()) else {
            return Ok(());
        };
        let lines = first.listing().into_iter().filter(|s| s.value != STARS);
        let file: String = lines.map(|s| format!("{} = {}\n", s.key, s.value)).collect();
        // A value of the command line may hold what a file cannot say.
        prop_assume!(!file.contains(" #"));
        let second = Setup::new(&file).load();
        for key in Key::all().filter(|key| !key.spec().secret) {
            prop_assert_eq!(first.settings().value(key), second.settings().value(key));
        }
    }
}

#[test]
fn nothing_long_is_taken_or_repeated() {
    let long = "9".repeat(VALUE_BYTES_MAX + 1);
    for spec in &KEYS {
        let error = spec.kind.parse(&long).expect_err(spec.name);
        assert!(error.to_string().len() < 500, "{}", spec.name);
        let error = spec.kind.parse(&"ä b".repeat(1_000)).err();
        let said = error.map_or(0, |error| error.to_string().len());
        assert!(said < 1_000, "{}: {said}", spec.name);
    }
}
