//! Three processes on loopback addresses, ended and cleaned up with this program.

use std::error::Error;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mfsha_client::{Address, Client};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

type Outcome<T> = Result<T, Box<dyn Error>>;

const IPS: [&str; 3] = ["127.78.0.1", "127.78.0.2", "127.78.0.3"];
const PATIENCE: Duration = Duration::from_secs(120);

pub struct Nodes {
    binary: PathBuf,
    directory: PathBuf,
    children: Vec<Option<Child>>,
}

impl Nodes {
    /// Starts three nodes that form a new cluster.
    pub fn start(binary: &Path, directory: &Path) -> Outcome<Self> {
        fs::create_dir_all(directory)?;
        let mut nodes = Self {
            binary: binary.to_owned(),
            directory: directory.to_owned(),
            children: vec![None, None, None],
        };
        for node in 1..=3 {
            nodes.restart(node)?;
        }
        Ok(nodes)
    }

    /// Starts a node, with what it has on its disk.
    pub fn restart(&mut self, node: usize) -> Outcome<()> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.directory.join(format!("node{node}.log")))?;
        let child = Command::new(&self.binary)
            .arg(format!("--node-id={node}"))
            .arg(format!("--bind={}", IPS[node - 1]))
            .arg(format!("--peers={}", IPS.join(",")))
            .arg(format!("--data-path={}", self.data(node).display()))
            .arg("--bootstrap")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .map_err(|error| format!("{}: {error}", self.binary.display()))?;
        self.children[node - 1] = Some(child);
        Ok(())
    }

    /// What a node has logged since it was started last.
    pub fn since_start(&self, node: usize) -> Outcome<Vec<String>> {
        let log = fs::read_to_string(self.directory.join(format!("node{node}.log")))?;
        let lines: Vec<_> = log.lines().map(ToOwned::to_owned).collect();
        let begin = lines
            .iter()
            .rposition(|line| line.contains("starting version"));
        Ok(lines[begin.unwrap_or(0)..].to_vec())
    }

    fn data(&self, node: usize) -> PathBuf {
        self.directory.join(format!("node{node}"))
    }

    /// SIGKILL.
    pub fn kill(&mut self, node: usize) -> Outcome<()> {
        if let Some(mut child) = self.children[node - 1].take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    pub fn addresses(&self) -> Outcome<Vec<Address>> {
        Ok(Address::parse_list(&IPS.join(","))?)
    }

    /// Waits until somebody leads.
    pub async fn ready(&self, client: &Client) -> Outcome<()> {
        client
            .with_timeout(PATIENCE)
            .admin()
            .leader_status()
            .await?;
        for node in 1..=3 {
            self.node_ready(node).await?;
        }
        Ok(())
    }

    pub async fn leader(&self, client: &Client) -> Outcome<usize> {
        Ok(usize::try_from(
            client.admin().leader_status().await?.node.0,
        )?)
    }

    /// Waits until a node says that it can serve.
    pub async fn node_ready(&self, node: usize) -> Outcome<()> {
        let end = Instant::now() + PATIENCE;
        while !is_ready(IPS[node - 1]).await.unwrap_or(false) {
            if Instant::now() > end {
                return Err(format!("node {node} is not ready after {PATIENCE:?}").into());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Resident bytes of one node, of its own pages alone: not the pages of the state's file.
    pub fn memory_of(&self, node: usize) -> Outcome<u64> {
        let child = self.children[node - 1].as_ref().ok_or("the node runs")?;
        let status = fs::read_to_string(format!("/proc/{}/status", child.id()))?;
        let line = status.lines().find(|line| line.starts_with("RssAnon:"));
        let kibibytes = line.and_then(|line| line.split_whitespace().nth(1));
        Ok(kibibytes.ok_or("no RssAnon")?.parse::<u64>()? << 10)
    }

    /// The most of the three.
    pub fn memory_bytes(&self) -> Outcome<u64> {
        let mut most = 0;
        for node in 1..=3 {
            most = most.max(self.memory_of(node)?);
        }
        Ok(most)
    }

    /// Bytes of the state's files.
    pub fn disk_bytes(&self, node: usize) -> Outcome<u64> {
        fn sum(path: &Path) -> std::io::Result<u64> {
            let mut bytes = 0;
            for entry in fs::read_dir(path)? {
                let entry = entry?;
                let metadata = entry.metadata()?;
                bytes += if metadata.is_dir() {
                    sum(&entry.path())?
                } else {
                    std::os::unix::fs::MetadataExt::blocks(&metadata) * 512
                };
            }
            Ok(bytes)
        }
        Ok(sum(&self.data(node).join("state"))?)
    }
}

async fn is_ready(ip: &str) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect((ip, 9432)).await?;
    stream
        .write_all(b"GET /readyz HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n")
        .await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer.starts_with("HTTP/1.1 200"))
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for child in self.children.iter_mut().flatten() {
            // One that has ended by itself is fine.
            let _ = child.kill();
            let _ = child.wait();
        }
        if let Err(error) = fs::remove_dir_all(&self.directory) {
            eprintln!("{} is left behind: {error}", self.directory.display());
        }
    }
}
