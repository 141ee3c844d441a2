//! Real processes on loopback addresses that no other test has.

#![allow(dead_code, reason = "each test uses its part")]

pub mod ca;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long a test waits for what has to come, before it says that it did not.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A prefix `127.a.b.` that no other test has, here or in another process, as long as the listener
/// is kept.
fn network() -> (String, TcpListener) {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..10_000 {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let at = (std::process::id().wrapping_mul(37).wrapping_add(number)) % 25_000;
        let network = format!("127.{}.{}.", 100 + at / 250, at % 250 + 1);
        if let Ok(claim) = TcpListener::bind(format!("{network}254:9430")) {
            return (network, claim);
        }
    }
    panic!("every network of the loopback is taken");
}

/// Nodes of one cluster, each in a directory of its own; all end with the test.
pub struct Cluster {
    network: String,
    _claim: TcpListener,
    count: u64,
    pub directory: tempfile::TempDir,
    /// Further options of a node.
    pub options: BTreeMap<u64, Vec<String>>,
    /// Further options of `mfsha-admin`.
    pub admin_options: Vec<String>,
    nodes: Vec<Option<Child>>,
}

impl Cluster {
    /// A cluster of so many nodes, none started.
    pub fn new(count: u64) -> Self {
        let (network, claim) = network();
        Self {
            network,
            _claim: claim,
            count,
            directory: tempfile::tempdir().expect("a directory for the test"),
            options: BTreeMap::new(),
            admin_options: Vec::new(),
            nodes: (0..count).map(|_| None).collect(),
        }
    }

    pub fn ip(&self, node: u64) -> String {
        format!("{}{node}", self.network)
    }

    pub fn peers(&self) -> String {
        let ips: Vec<_> = (1..=self.count).map(|node| self.ip(node)).collect();
        ips.join(",")
    }

    pub fn data(&self, node: u64) -> PathBuf {
        self.directory.path().join(format!("node{node}"))
    }

    pub fn log(&self, node: u64) -> PathBuf {
        self.directory.path().join(format!("node{node}.log"))
    }

    /// What the node has said so far, in all its lives.
    pub fn said(&self, node: u64) -> String {
        fs::read_to_string(self.log(node)).unwrap_or_default()
    }

    /// The command that starts a node: the same at every start, the first one included.
    pub fn command(&self, node: u64) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mfsha"));
        command
            .arg(format!("--node-id={node}"))
            .arg(format!("--bind={}", self.ip(node)))
            .arg(format!("--peers={}", self.peers()))
            .arg(format!("--data-path={}", self.data(node).display()))
            .arg("--set=HA_LOG_SIZE_MAX=64M")
            .arg("--set=HA_SNAPSHOT_LOG_SIZE=4M")
            .arg("--bootstrap")
            .args(self.options.get(&node).into_iter().flatten())
            .env_remove("NOTIFY_SOCKET");
        command
    }

    /// A cluster of which every node serves.
    pub fn start_all(&mut self) {
        for node in 1..=self.count {
            self.start(node);
        }
        for node in 1..=self.count {
            self.ready(node);
        }
    }

    pub fn start(&mut self, node: u64) {
        let command = self.command(node);
        self.start_by(node, command);
    }

    /// Starts a node by a command of the test's.
    pub fn start_by(&mut self, node: u64, mut command: Command) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log(node))
            .expect("a log for the node");
        let errors = log.try_clone().expect("a second handle on the log");
        let child = command
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .expect("the node starts");
        self.nodes[node as usize - 1] = Some(child);
    }

    pub fn pid(&self, node: u64) -> u32 {
        self.nodes[node as usize - 1]
            .as_ref()
            .expect("the node runs")
            .id()
    }

    /// SIGKILL.
    pub fn kill(&mut self, node: u64) {
        if let Some(mut child) = self.nodes[node as usize - 1].take() {
            // One that has ended by itself is fine.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Another signal.
    pub fn signal(&self, node: u64, signal: &str) {
        let pid = self.pid(node).to_string();
        let done = Command::new("kill")
            .arg(format!("-{signal}"))
            .arg(pid)
            .status();
        assert!(done.expect("kill runs").success());
    }

    /// Whether the process of a node is over.
    pub fn is_over(&self, node: u64) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid(node)));
        stat.is_ok_and(|stat| {
            stat.rsplit(')')
                .next()
                .is_some_and(|rest| rest.starts_with(" Z"))
        })
    }

    /// Waits until the node has ended by itself.
    pub fn ended(&mut self, node: u64) -> ExitStatus {
        let mut child = self.nodes[node as usize - 1].take().expect("the node runs");
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = child.try_wait().expect("its status can be read") {
                return status;
            }
            if Instant::now() > end {
                let _ = child.kill();
                let _ = child.wait();
                panic!("node {node} does not end; it said:\n{}", self.said(node));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until `/readyz` of a node says yes.
    pub fn ready(&self, node: u64) {
        self.until(node, "is ready", || {
            self.get(node, "/readyz")
                .is_some_and(|(code, _)| code == 200)
        });
    }

    /// Waits for something about a node.
    pub fn until(&self, node: u64, what: &str, mut holds: impl FnMut() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !holds() {
            assert!(
                Instant::now() < end && !self.is_over(node),
                "node {node} never {what}; it said:\n{}",
                self.said(node)
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// One page of a node: code and body.
    pub fn get(&self, node: u64, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect((self.ip(node), 9432)).ok()?;
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .ok()?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n"
        )
        .ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let code = answer.split(' ').nth(1)?.parse().ok()?;
        let body = answer.split_once("\r\n\r\n")?.1.to_owned();
        Some((code, body))
    }

    /// A number among the metrics of a node.
    pub fn metric(&self, node: u64, name: &str) -> Option<f64> {
        let (_, text) = self.get(node, "/metrics")?;
        let line = text
            .lines()
            .find(|line| line.split(' ').next() == Some(name))?;
        line.rsplit(' ').next()?.parse().ok()
    }

    /// Runs `mfsha-admin` against the whole cluster: whether it went well, and what it said.
    pub fn admin(&self, arguments: &[&str]) -> (bool, String) {
        let nodes = self.peers();
        let options = self.admin_options.iter().map(String::as_str);
        let first = ["--nodes", &nodes].into_iter().chain(options);
        let all: Vec<_> = first.chain(arguments.iter().copied()).collect();
        let (code, said) = admin(&all);
        (code == Some(0), said)
    }

    /// As [`Self::admin`], and it has to go well.
    pub fn admin_ok(&self, arguments: &[&str]) -> String {
        let (good, said) = self.admin(arguments);
        assert!(good, "mfsha-admin {arguments:?}: {said}");
        said
    }

    /// What a command says with `--json`, which has to go well.
    pub fn admin_json(&self, arguments: &[&str]) -> serde_json::Value {
        let said = self.admin_ok(&[&["--json"], arguments].concat());
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
    }

    /// Who leads, when a node that answers knows.
    pub fn leader(&self) -> Option<u64> {
        let (good, said) = self.admin(&["--json", "--timeout", "3", "status"]);
        let status: serde_json::Value = serde_json::from_str(&said).ok()?;
        good.then(|| status["leader"].as_u64()).flatten()
    }

    /// Makes an empty file, however often it takes to learn that it is there.
    pub fn create(&self, path: &str) {
        let end = Instant::now() + PATIENCE;
        loop {
            let (made, said) = self.admin(&["fs", "create", path]);
            // An answer that was lost is no loss: then the file is there already.
            if made || self.admin(&["fs", "stat", path]).0 {
                return;
            }
            assert!(Instant::now() < end, "{path} is never made: {said}");
        }
    }

    /// Fails when one of these files is missing.
    pub fn all_there(&self, paths: &[String]) {
        let listing = self.admin_ok(&["fs", "ls", "/"]);
        for path in paths {
            let name = path.trim_start_matches('/');
            assert!(
                listing.split_whitespace().any(|word| word == name),
                "{path} was acknowledged and is gone:\n{listing}"
            );
        }
    }
}

/// Runs `mfsha-admin`, without anything of the environment that it reads: the exit code, and what
/// it said.
pub fn admin(arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mfsha-admin"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("MFSHA_") {
            command.env_remove(name);
        }
    }
    let output = command.args(arguments).output().expect("mfsha-admin runs");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    (output.status.code(), said)
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in 1..=self.count {
            self.kill(node);
        }
    }
}

/// Says that a test was not tried, where `./check` sees it.
pub fn skipped(why: &str) {
    // Not `eprintln!`, which a test that passes does not show.
    let _ = std::io::stderr().write_all(format!("!!! SKIPPED: {why}\n").as_bytes());
}

/// Turns a fault of `faults.c` on, for the files whose path begins so; for all when it is empty.
pub fn switch_on(switch: &Path, prefix: &Path) {
    // Under its name at once whole: an empty one is for all files.
    let whole = switch.with_extension("new");
    fs::write(&whole, prefix.as_os_str().as_encoded_bytes()).expect("a switch");
    fs::rename(&whole, switch).expect("a switch under its name");
}

/// The faults of `faults.c`, built by the C compiler that LMDB needed as well.
pub fn fault_library(directory: &Path) -> PathBuf {
    let library = directory.join("faults.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/faults.c");
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(&library)
        .arg(source)
        .arg("-ldl")
        .status();
    assert!(built.expect("a C compiler is there").success());
    library
}

/// A file system in memory of so many mebibytes, unmounted at the end; `None`, said loudly, where
/// none can be made.
pub struct SmallFileSystem(pub PathBuf);

impl SmallFileSystem {
    pub fn mount(at: &Path, mebibytes: u32) -> Option<Self> {
        fs::create_dir_all(at).expect("a mount point");
        let options = format!("size={mebibytes}m");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(at)
            .status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(Self(at.to_owned()));
        }
        skipped("no file system can be mounted here (it takes root)");
        None
    }

    pub fn remount(&self, option: &str) {
        let done = Command::new("mount")
            .args(["-o", &format!("remount,{option}")])
            .arg(&self.0)
            .status();
        assert!(done.expect("mount runs").success());
    }
}

impl Drop for SmallFileSystem {
    fn drop(&mut self) {
        // A lazy one also works while something is still open.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
