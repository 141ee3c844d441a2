//! Real processes on loopback addresses that no other test has.

#![allow(dead_code, reason = "each test uses its part")]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long a test waits for what has to come, before it says that it did not.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A prefix `127.a.b.` of this process and number.
fn network() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let pid = std::process::id();
    // 64 processes of one time at most run tests with 8 clusters each.
    format!(
        "127.{}.{}.",
        100 + pid % 100,
        (pid / 100 * 8 + number) % 250 + 1
    )
}

/// Nodes of one cluster, each in a directory of its own; all end with the test.
pub struct Cluster {
    network: String,
    count: u64,
    pub directory: tempfile::TempDir,
    nodes: Vec<Option<Child>>,
}

impl Cluster {
    /// A cluster of so many nodes, none started.
    pub fn new(count: u64) -> Self {
        Self {
            network: network(),
            count,
            directory: tempfile::tempdir().expect("a directory for the test"),
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
            .env_remove("NOTIFY_SOCKET");
        command
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
    fn has_ended(&self, node: u64) -> bool {
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
                Instant::now() < end && !self.has_ended(node),
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
        let output = Command::new(env!("CARGO_BIN_EXE_mfsha-admin"))
            .args(["--nodes", &self.peers()])
            .args(arguments)
            .env_remove("MFSHA_NODES")
            .output()
            .expect("mfsha-admin runs");
        let said = [output.stdout, output.stderr].concat();
        (
            output.status.success(),
            String::from_utf8_lossy(&said).into_owned(),
        )
    }

    /// As [`Self::admin`], and it has to go well.
    pub fn admin_ok(&self, arguments: &[&str]) -> String {
        let (good, said) = self.admin(arguments);
        assert!(good, "mfsha-admin {arguments:?}: {said}");
        said
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in 1..=self.count {
            self.kill(node);
        }
    }
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
        eprintln!("SKIPPED: no file system can be mounted here (it takes root)");
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
