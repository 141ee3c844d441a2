//! Sockets of one port of MooseFS's programs: each has a task that reads and one that writes, for
//! the task that owns the machine. What comes and goes is not looked at.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use mfsha_core::moosefs::connection::{Closed, Effect, Input};
use mfsha_core::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tracing::{debug, warn};

use crate::advice::with_advice;
use crate::driver::Clock;
use crate::room::{Port, Seat};
use crate::transport::Throttle;

/// What sockets say that may wait for the task: readers wait beyond it.
const SAID_MAX: usize = 256;
/// Bytes that are read at once.
const READ_BYTES: usize = 64 << 10;
/// A listener that fails (no descriptors) is tried again after this.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// Without a deadline a task looks again after this.
const IDLE: Duration = Duration::from_secs(3_600);

/// What a socket says.
type Said<K> = (K, Input);

/// What happens at a port.
pub(crate) enum Happened<K> {
    /// A connection was accepted, and comes from there.
    Accepted(K, Ipv4Addr),
    /// Something happened to a connection.
    Said(K, Input),
    /// The time was over.
    Nothing,
}

/// A connection's tasks.
struct Socket {
    ip: Ipv4Addr,
    reading: watch::Sender<bool>,
    write: mpsc::UnboundedSender<Vec<u8>>,
    tasks: [AbortHandle; 2],
    /// Its place, until it is closed.
    _seat: Seat,
}

/// Sockets by the names of their connections.
pub(crate) struct Sockets<K> {
    port: Port,
    sockets: BTreeMap<K, Socket>,
    name: fn(u64) -> K,
    next: u64,
    said: mpsc::Sender<Said<K>>,
    heard: mpsc::Receiver<Said<K>>,
    /// The listener has failed: when to try it again.
    accept_again: Option<tokio::time::Instant>,
    told: Throttle,
}

impl<K: Copy + Ord + Send + 'static> Sockets<K> {
    /// None yet. Connections get the names of numbers from `first` on.
    pub(crate) fn new(port: Port, first: u64, name: fn(u64) -> K) -> Self {
        let (said, heard) = mpsc::channel(SAID_MAX);
        Self {
            port,
            sockets: BTreeMap::new(),
            name,
            next: first,
            said,
            heard,
            accept_again: None,
            told: Throttle::default(),
        }
    }

    /// What happens next, at the deadline at the latest. Nothing is lost when this is given up.
    pub(crate) async fn next(&mut self, deadline: Option<Instant>, clock: &Clock) -> Happened<K> {
        let wait = deadline.map_or(IDLE, |at| at.since(clock.now()));
        let end = tokio::time::Instant::now() + wait;
        loop {
            let again = self.accept_again.unwrap_or(end);
            tokio::select! {
                Some((key, said)) = self.heard.recv() => return Happened::Said(key, said),
                () = tokio::time::sleep_until(again), if self.accept_again.is_some() => {
                    self.accept_again = None;
                }
                accepted = self.port.accept(), if self.accept_again.is_none() => match accepted {
                    Ok((stream, from, seat)) => match self.open(stream, from, seat) {
                        Ok((key, ip)) => return Happened::Accepted(key, ip),
                        Err(reason) => debug!(ip = %from, "{} is not served: {reason}", self.port.who),
                    },
                    Err(error) => {
                        // Meanwhile those who are there are served.
                        self.accept_again = Some(tokio::time::Instant::now() + ACCEPT_RETRY);
                        let error = with_advice(&error);
                        let text = format!("{} cannot be accepted: {error}", self.port.who);
                        if let Some(text) = self.told.pass(text) {
                            warn!("{text}");
                        }
                    }
                },
                () = tokio::time::sleep_until(end) => return Happened::Nothing,
            }
        }
    }

    /// Takes a connection that was accepted; gives its name and where it comes from, or why it is
    /// not taken.
    fn open(
        &mut self,
        stream: TcpStream,
        from: IpAddr,
        seat: Seat,
    ) -> Result<(K, Ipv4Addr), String> {
        let ip = match from {
            IpAddr::V4(ip) => Some(ip),
            IpAddr::V6(ip) => ip.to_ipv4_mapped(),
        };
        let ip = ip.ok_or("MooseFS 3 knows no addresses but those of IPv4")?;
        stream
            .set_nodelay(true)
            .map_err(|error| format!("it is gone at once: {error}"))?;
        let key = (self.name)(self.next);
        self.next += 1;
        let (read, write) = stream.into_split();
        let (reading, may_read) = watch::channel(true);
        let (to_write, bytes) = mpsc::unbounded_channel();
        let reader = tokio::spawn(read_all(key, read, may_read, self.said.clone()));
        let writer = tokio::spawn(write_all(key, write, bytes, self.said.clone()));
        let socket = Socket {
            ip,
            reading,
            write: to_write,
            tasks: [reader.abort_handle(), writer.abort_handle()],
            _seat: seat,
        };
        self.sockets.insert(key, socket);
        Ok((key, ip))
    }

    /// Does what a connection wants of the driver. When that is the end, gives where it came from
    /// and why it ended.
    pub(crate) fn carry_out(&mut self, key: K, effect: Effect) -> Option<(Ipv4Addr, Closed)> {
        match effect {
            Effect::Write { bytes } => {
                if let Some(socket) = self.sockets.get(&key) {
                    // A writer that has ended has said so.
                    let _ = socket.write.send(bytes);
                }
                None
            }
            Effect::Reading { on } => {
                if let Some(socket) = self.sockets.get(&key) {
                    // A reader that has ended has said so.
                    let _ = socket.reading.send(on);
                }
                None
            }
            Effect::Close { reason } => {
                let socket = self.sockets.remove(&key)?;
                for task in socket.tasks {
                    task.abort();
                }
                Some((socket.ip, reason))
            }
            Effect::Packet { .. } | Effect::PartWanted { .. } => {
                unreachable!("the machine keeps these")
            }
        }
    }
}

/// Reads while it may, until the end.
async fn read_all<K: Copy>(
    key: K,
    mut socket: OwnedReadHalf,
    mut may_read: watch::Receiver<bool>,
    said: mpsc::Sender<Said<K>>,
) {
    let mut buffer = vec![0; READ_BYTES];
    loop {
        if may_read.wait_for(|on| *on).await.is_err() {
            return;
        }
        let input = match socket.read(&mut buffer).await {
            Ok(0) => ended("it has closed"),
            Ok(count) => Input::Bytes(buffer[..count].to_vec()),
            Err(error) => ended(&error.to_string()),
        };
        let over = matches!(input, Input::Ended { .. });
        if said.send((key, input)).await.is_err() || over {
            return;
        }
    }
}

/// Writes what comes, and tells when it is in the socket.
async fn write_all<K: Copy>(
    key: K,
    mut socket: OwnedWriteHalf,
    mut bytes: mpsc::UnboundedReceiver<Vec<u8>>,
    said: mpsc::Sender<Said<K>>,
) {
    while let Some(next) = bytes.recv().await {
        let input = match socket.write_all(&next).await {
            Ok(()) => Input::Written { bytes: next.len() },
            Err(error) => ended(&error.to_string()),
        };
        let over = matches!(input, Input::Ended { .. });
        if said.send((key, input)).await.is_err() || over {
            return;
        }
    }
}

fn ended(reason: &str) -> Input {
    let reason = reason.to_owned();
    Input::Ended { reason }
}
