//! The port: everybody who connects, up to the first record, which says who is a peer and who a
//! client.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mfsha_core::codec;
use mfsha_core::limits;
use mfsha_core::native::{CLIENT_HELLO_KIND, HelloReply, Refusal};
use mfsha_core::transport::{PEER_HELLO_KIND, Speaker};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use super::pump::Happening;
use super::{AcceptedClient, Stream};
use crate::room::{Room, Seat};
use crate::tls::{self, Tls};

/// Why the port cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen on {address}: {error}; another program may have the port, or the address is none of this machine"
)]
pub struct ListenError {
    /// Where.
    pub address: SocketAddr,
    /// What the system said.
    pub error: io::Error,
}

/// Begins to listen. Must be called within a tokio runtime.
///
/// # Errors
/// [`ListenError`].
pub fn listen(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, ListenError> {
    let listeners = addresses.iter().map(|address| {
        listen_one(*address).map_err(|error| ListenError {
            address: *address,
            error,
        })
    });
    listeners.collect()
}

fn listen_one(address: SocketAddr) -> io::Result<TcpListener> {
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // A second listener has IPv4, when it is wanted.
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(1_024)?;
    TcpListener::from_std(socket.into())
}

/// How long a client may take to hear that there is no room for it.
const FAREWELL: Duration = Duration::from_millis(500);
/// Bytes that a socket takes and has not sent yet: what control may wait behind.
const UNSENT_BYTES: u32 = 64 << 10;

/// Sets a connection up for small messages that must not wait.
pub(super) fn tune(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    #[cfg(target_os = "linux")]
    socket2::SockRef::from(socket).set_tcp_notsent_lowat(UNSENT_BYTES)?;
    Ok(())
}

/// Reports at most one thing a second, and how many it kept back.
#[derive(Default)]
pub(crate) struct Throttle {
    last: Option<Instant>,
    kept_back: u64,
}

impl Throttle {
    pub(crate) fn pass(&mut self, text: String) -> Option<String> {
        let now = Instant::now();
        let recent = |last: Instant| now.duration_since(last) < Duration::from_secs(1);
        if self.last.is_some_and(recent) {
            self.kept_back += 1;
            return None;
        }
        self.last = Some(now);
        Some(match std::mem::take(&mut self.kept_back) {
            0 => text,
            more => format!("{text} (and {more} more of this kind)"),
        })
    }
}

/// What the accepting task works with.
#[derive(Clone)]
pub(super) struct Door {
    pub tls: Option<Tls>,
    pub hello_timeout: Duration,
    pub hello_waiting_max: usize,
    pub room: Room,
    pub happenings: mpsc::Sender<Happening>,
    pub clients: mpsc::Sender<AcceptedClient>,
    pub throttle: Arc<Mutex<Throttle>>,
}

impl Door {
    async fn report(&self, text: String) {
        let passed = {
            let mut throttle = self.throttle.lock().unwrap_or_else(PoisonError::into_inner);
            throttle.pass(text)
        };
        if let Some(text) = passed {
            // A transport that has ended has nobody to tell.
            let _ = self.happenings.send(Happening::Report(text)).await;
        }
    }

    /// Accepts until it is aborted.
    pub async fn serve(self, listener: TcpListener) {
        let mut greetings = JoinSet::new();
        let mut oldest: VecDeque<AbortHandle> = VecDeque::new();
        let mut pause = Duration::from_millis(10);
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                Some(_) = greetings.join_next(), if !greetings.is_empty() => continue,
            };
            let (socket, from) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    let text = format!(
                        "cannot accept connections: {error}; when files are short, raise the limit \
                         of open files"
                    );
                    self.report(text).await;
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(1));
                    continue;
                }
            };
            pause = Duration::from_millis(10);
            let Some(seat) = self.room.take_for_peer() else {
                self.room.turn_away("a peer or client", from.ip());
                continue;
            };
            oldest.retain(|task| !task.is_finished());
            if oldest.len() >= self.hello_waiting_max
                && let Some(task) = oldest.pop_front()
            {
                task.abort();
            }
            oldest.push_back(greetings.spawn(self.clone().greet(socket, from, seat)));
        }
    }

    async fn greet(self, socket: TcpStream, from: SocketAddr, seat: Seat) {
        let timeout = self.hello_timeout;
        let kept = seat.is_kept();
        let greeted = tokio::time::timeout(timeout, self.first_record(socket, seat)).await;
        let (mut stream, speaker, read, kind) = match greeted {
            Ok(Ok(greeted)) => greeted,
            Ok(Err(reason)) => {
                return self
                    .report(format!("closed a connection from {from}: {reason}"))
                    .await;
            }
            Err(_) => {
                let text = format!("closed a connection from {from}: no hello in {timeout:?}");
                return self.report(text).await;
            }
        };
        match kind {
            PEER_HELLO_KIND => {
                let accepted = Happening::Accepted {
                    stream,
                    read,
                    speaker,
                };
                // A transport that has ended closes everything.
                let _ = self.happenings.send(accepted).await;
            }
            // What is kept is for peers.
            _ if kept => {
                self.room.turn_away("a client", from.ip());
                refuse(&mut stream).await;
            }
            _ => {
                let certified = stream.is_tls();
                let client = AcceptedClient {
                    stream,
                    read,
                    from,
                    certified,
                };
                if self.clients.try_send(client).is_err() {
                    let text = format!("closed a client's connection from {from}: too many wait");
                    self.report(text).await;
                }
            }
        }
    }

    /// Takes a connection through TLS and reads its first record.
    async fn first_record(
        &self,
        socket: TcpStream,
        seat: Seat,
    ) -> Result<(Stream, Speaker, Vec<u8>, u16), String> {
        tune(&socket).map_err(|error| error.to_string())?;
        let (mut stream, speaker) = match &self.tls {
            None => (Stream::plain(socket, Some(seat)), Speaker::Anyone),
            Some(tls) => {
                let stream = tls.accept(socket).await;
                let stream = stream.map_err(|error| tls::explain(&error))?;
                let speaker = tls::speaker(&stream);
                (Stream::tls(stream, Some(seat)), speaker)
            }
        };
        let mut read = Vec::new();
        loop {
            let payload_bytes_max = limits::HELLO_BYTES_MAX - codec::SEAL_BYTES;
            match codec::peek(&read, payload_bytes_max) {
                Err(_) if read.starts_with(&[0x16, 0x03]) => {
                    return Err(
                        "it speaks TLS, which is off at this node; turn it on at every node \
                                and client, or at none"
                            .into(),
                    );
                }
                Err(error) => return Err(error.to_string()),
                Ok(Some(header)) if !matches!(header.kind, PEER_HELLO_KIND | CLIENT_HELLO_KIND) => {
                    return Err("its first record is no hello of a node or a client".into());
                }
                Ok(Some(header)) if read.len() >= header.record_bytes => {
                    return Ok((stream, speaker, read, header.kind));
                }
                Ok(_) => {}
            }
            // Small steps: what comes before the hello is no reason to take room.
            let mut chunk = [0; 4_096];
            match stream.read(&mut chunk).await {
                Ok(0) => return Err("it closed before its hello".into()),
                Ok(count) => read.extend_from_slice(&chunk[..count]),
                Err(error) => return Err(tls::explain(&error)),
            }
        }
    }
}

/// Tells a client that there is no room for it, so that it asks another node at once.
async fn refuse(stream: &mut Stream) {
    let reason = "too many are connected to this node; ask another".to_owned();
    let refusal = HelloReply::Refused(Refusal::NotReady { reason }).to_bytes();
    let farewell = async {
        stream.write_all(&refusal).await?;
        stream.flush().await
    };
    // Whether it hears that is its own affair.
    let _ = tokio::time::timeout(FAREWELL, farewell).await;
}
