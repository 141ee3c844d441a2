//! The task that owns the machine: hands it what happens, carries out what it asks for. It
//! decides nothing.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use mfsha_core::exports::Exports;
use mfsha_core::id::LogIndex;
use mfsha_core::machine::{Machine, Outbox};
use mfsha_core::moosefs::connection;
use mfsha_core::mounts::{Effect, Event, Input, Mounts};
use mfsha_core::namespace::op::Notice;
use mfsha_core::native::request::{ClientId, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tracing::{debug, info, warn};

use super::FIRST_CLIENT;
use crate::driver::{Clock, NodeHandle};

/// What sockets say that may wait for the task: readers wait beyond it.
const SAID_MAX: usize = 256;
/// Bytes that are read at once.
const READ_BYTES: usize = 64 << 10;
/// A listener that fails (no descriptors) is tried again after this.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// Without a deadline the task looks again after this.
const IDLE: Duration = Duration::from_secs(3_600);

/// What others tell the task.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "answers are most of what is told, and each is moved once"
)]
pub enum Work {
    /// The node answers.
    Answered {
        /// Whom.
        client: ClientId,
        /// What.
        response: Response,
    },
    /// A command that was applied has news.
    News {
        /// Its place in the log.
        index: LogIndex,
        /// The news.
        notices: Vec<Notice>,
    },
    /// The state was replaced by a peer's.
    StateReplaced,
    /// Space on chunkservers is another now, bytes.
    Space {
        /// In total.
        total: u64,
        /// Of that, free.
        free: u64,
    },
    /// The exports were read again.
    Exports(Exports),
}

/// What a socket says.
type Said = (ClientId, connection::Input);

/// A connection's tasks.
struct Socket {
    ip: Ipv4Addr,
    reading: watch::Sender<bool>,
    write: mpsc::UnboundedSender<Vec<u8>>,
    tasks: [AbortHandle; 2],
}

/// See the module's documentation.
pub(super) struct Pump {
    machine: Mounts,
    node: NodeHandle,
    clock: Clock,
    sockets: BTreeMap<ClientId, Socket>,
    next: u64,
    said: mpsc::Sender<Said>,
    heard: mpsc::Receiver<Said>,
}

impl Pump {
    pub(super) fn new(machine: Mounts, node: NodeHandle, clock: Clock) -> Self {
        let (said, heard) = mpsc::channel(SAID_MAX);
        Self {
            machine,
            node,
            clock,
            sockets: BTreeMap::new(),
            next: FIRST_CLIENT,
            said,
            heard,
        }
    }

    pub(super) async fn run(
        mut self,
        listener: TcpListener,
        mut inbox: mpsc::UnboundedReceiver<Work>,
    ) {
        loop {
            let wait = match self.machine.deadline() {
                Some(at) => at.since(self.clock.now()),
                None => IDLE,
            };
            tokio::select! {
                work = inbox.recv() => match work {
                    Some(work) => self.on_work(work),
                    None => return,
                },
                Some((client, event)) = self.heard.recv() => {
                    self.step(Event::Connection { client, event });
                }
                accepted = listener.accept() => match accepted {
                    Ok((stream, from)) => self.on_accepted(stream, from.ip()),
                    Err(error) => {
                        warn!("a mount cannot be accepted: {error}");
                        tokio::time::sleep(ACCEPT_RETRY).await;
                    }
                },
                () = tokio::time::sleep(wait) => self.step(Event::Tick),
            }
        }
    }

    fn on_work(&mut self, work: Work) {
        self.step(match work {
            Work::Answered { client, response } => Event::Answered { client, response },
            Work::News { index, notices } => Event::News { index, notices },
            Work::Space { total, free } => Event::Space { total, free },
            Work::StateReplaced => Event::StateReplaced,
            Work::Exports(exports) => Event::Exports(exports),
        });
    }

    fn on_accepted(&mut self, stream: TcpStream, ip: IpAddr) {
        let ip = match ip {
            IpAddr::V4(ip) => Some(ip),
            IpAddr::V6(ip) => ip.to_ipv4_mapped(),
        };
        let Some(ip) = ip else {
            // No client of MooseFS 3 knows another kind of address.
            return;
        };
        if let Err(error) = stream.set_nodelay(true) {
            debug!("a mount is gone at once: {error}");
            return;
        }
        let client = ClientId(self.next);
        self.next += 1;
        let (read, write) = stream.into_split();
        let (reading, may_read) = watch::channel(true);
        let (to_write, bytes) = mpsc::unbounded_channel();
        let reader = tokio::spawn(read_all(client, read, may_read, self.said.clone()));
        let writer = tokio::spawn(write_all(client, write, bytes, self.said.clone()));
        let socket = Socket {
            ip,
            reading,
            write: to_write,
            tasks: [reader.abort_handle(), writer.abort_handle()],
        };
        self.sockets.insert(client, socket);
        self.step(Event::Accepted { client, ip });
    }

    fn step(&mut self, event: Event) {
        let wall_us = self.clock.wall_us();
        let mut out = Outbox::new();
        self.machine
            .step(self.clock.now(), Input { wall_us, event }, &mut out);
        for effect in out.drain() {
            self.carry_out(effect);
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Connection { client, effect } => self.on_socket(client, effect),
            Effect::Ask { client, request } => self.node.ask(client, request),
            Effect::AskWrite {
                client,
                call,
                request,
                op,
            } => self.node.ask_write(client, call, request, op),
            Effect::AskChunk { client, call, wish } => self.node.ask_chunk(client, call, wish),
            Effect::Gone { client } => self.node.client_gone(client),
            Effect::Report { message } => warn!("{message}"),
        }
    }

    fn on_socket(&mut self, client: ClientId, effect: connection::Effect) {
        match effect {
            connection::Effect::Write { bytes } => {
                if let Some(socket) = self.sockets.get(&client) {
                    // A writer that has ended has said so.
                    let _ = socket.write.send(bytes);
                }
            }
            connection::Effect::Reading { on } => {
                if let Some(socket) = self.sockets.get(&client) {
                    // A reader that has ended has said so.
                    let _ = socket.reading.send(on);
                }
            }
            connection::Effect::Close { reason } => {
                if let Some(socket) = self.sockets.remove(&client) {
                    let ip = socket.ip;
                    for task in socket.tasks {
                        task.abort();
                    }
                    match reason {
                        connection::Closed::Finished | connection::Closed::Ended(_) => {
                            debug!(%ip, %reason, "a mount or tool is gone");
                        }
                        reason => info!(%ip, %reason, "a mount or tool is cut off"),
                    }
                }
            }
            connection::Effect::Packet { .. } | connection::Effect::PartWanted { .. } => {
                unreachable!("the machine keeps these")
            }
        }
    }
}

/// Reads while it may, until the end.
async fn read_all(
    client: ClientId,
    mut socket: OwnedReadHalf,
    mut may_read: watch::Receiver<bool>,
    said: mpsc::Sender<Said>,
) {
    let mut buffer = vec![0; READ_BYTES];
    loop {
        if may_read.wait_for(|on| *on).await.is_err() {
            return;
        }
        let input = match socket.read(&mut buffer).await {
            Ok(0) => ended("it has closed"),
            Ok(count) => connection::Input::Bytes(buffer[..count].to_vec()),
            Err(error) => ended(&error.to_string()),
        };
        let over = matches!(input, connection::Input::Ended { .. });
        if said.send((client, input)).await.is_err() || over {
            return;
        }
    }
}

/// Writes what comes, and tells when it is in the socket.
async fn write_all(
    client: ClientId,
    mut socket: OwnedWriteHalf,
    mut bytes: mpsc::UnboundedReceiver<Vec<u8>>,
    said: mpsc::Sender<Said>,
) {
    while let Some(next) = bytes.recv().await {
        let input = match socket.write_all(&next).await {
            Ok(()) => connection::Input::Written { bytes: next.len() },
            Err(error) => ended(&error.to_string()),
        };
        let over = matches!(input, connection::Input::Ended { .. });
        if said.send((client, input)).await.is_err() || over {
            return;
        }
    }
}

fn ended(reason: &str) -> connection::Input {
    let reason = reason.to_owned();
    connection::Input::Ended { reason }
}
