//! The task that owns the machine: one input at a time in, its effects out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mfsha_core::id::NodeId;
use mfsha_core::machine::{Machine, Outbox};
use mfsha_core::time::Instant;
use mfsha_core::transport::{
    Address, ConnId, Effect, Identity, Input, Speaker, StartError, Transport,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinHandle};

use super::handle::{Ask, Handle, Shared, Shown};
use super::link::Link;
use super::listen::{Door, tune};
use super::{AcceptedClient, Persist, Stream, TransportEvent, TransportOptions};
use crate::panics;
use crate::tls::{self, Tls};

/// Happenings that may wait for the pump; who has more waits.
const HAPPENING_COUNT: usize = 256;
/// What is shown to the daemon is at most this old.
const SHOW_INTERVAL: Duration = Duration::from_millis(100);

/// What connections and other tasks tell the pump.
pub(super) enum Happening {
    Input(Input),
    Dialed {
        conn: ConnId,
        stream: Stream,
        speaker: Speaker,
    },
    Accepted {
        stream: Stream,
        read: Vec<u8>,
        speaker: Speaker,
    },
    Report(String),
}

/// Starts the transport on sockets that listen already. Must be called within a tokio runtime.
///
/// `events` is called by the transport's task and must not block. `clients` gets the connections
/// of native clients; when it is full, they are closed.
///
/// # Errors
/// [`StartError`]: the options and the identity contradict each other.
pub fn spawn(
    options: TransportOptions,
    identity: Identity,
    listeners: Vec<TcpListener>,
    events: impl Fn(TransportEvent) + Send + 'static,
    clients: mpsc::Sender<AcceptedClient>,
) -> Result<Handle, StartError> {
    let machine = Transport::new(options.machine, identity, options.seed, Instant::ZERO)?;
    let (asks, asked) = mpsc::unbounded_channel();
    let (ending, ended) = watch::channel(());
    let (happenings, happened) = mpsc::channel(HAPPENING_COUNT);
    let shared = Arc::new(Shared::new(options.inbox_bytes_max));
    let door = Door {
        tls: options.tls.clone(),
        hello_timeout: options.hello_timeout,
        hello_waiting_max: options.hello_waiting_max,
        room: options.room,
        happenings: happenings.clone(),
        clients,
        throttle: Arc::default(),
    };
    let doors = listeners
        .into_iter()
        .map(|listener| tokio::spawn(door.clone().serve(listener)));
    let pump = Pump {
        machine,
        begun: tokio::time::Instant::now(),
        shared: shared.clone(),
        doors: doors.collect(),
        links: BTreeMap::new(),
        dials: BTreeMap::new(),
        next_accepted: 1,
        happenings,
        tls: options.tls,
        persist: options.persist,
        events,
        shown_at: None,
        _ending: ending,
    };
    pump.show_now();
    tokio::spawn(pump.run(asked, happened));
    Ok(Handle {
        shared,
        asks,
        ended,
    })
}

struct Pump<E> {
    machine: Transport,
    /// The beginning of the machine's clock.
    begun: tokio::time::Instant,
    shared: Arc<Shared>,
    doors: Vec<JoinHandle<()>>,
    links: BTreeMap<ConnId, Link>,
    dials: BTreeMap<ConnId, AbortHandle>,
    next_accepted: u64,
    happenings: mpsc::Sender<Happening>,
    tls: Option<Tls>,
    persist: Persist,
    events: E,
    /// When what is shown was last renewed; `None` when something has changed since.
    shown_at: Option<tokio::time::Instant>,
    /// Dropped with the pump: that is how the handle learns of its end.
    _ending: watch::Sender<()>,
}

impl<E> Drop for Pump<E> {
    fn drop(&mut self) {
        for door in &self.doors {
            door.abort();
        }
        for dial in self.dials.values() {
            dial.abort();
        }
    }
}

impl<E: Fn(TransportEvent) + Send + 'static> Pump<E> {
    async fn run(
        mut self,
        mut asked: mpsc::UnboundedReceiver<Ask>,
        mut happened: mpsc::Receiver<Happening>,
    ) {
        panics::plant("transport");
        self.step(Input::Tick);
        loop {
            let wake = self.wake();
            tokio::select! {
                ask = asked.recv() => match ask {
                    None | Some(Ask::Shutdown) => break,
                    Some(ask) => self.on_ask(ask),
                },
                // The pump holds a sender itself, so this never ends.
                Some(happening) = happened.recv() => self.on_happening(happening),
                () = tokio::time::sleep_until(wake) => self.step(Input::Tick),
            }
            self.maybe_show();
        }
        for door in std::mem::take(&mut self.doors) {
            door.abort();
            // The port is free once its task is gone; how that ended does not matter.
            let _ = door.await;
        }
    }

    fn now(&self) -> Instant {
        let nanos = self.begun.elapsed().as_nanos();
        Instant(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    fn wake(&self) -> tokio::time::Instant {
        let machine = self
            .machine
            .deadline()
            .map(|at| self.begun + Duration::from_nanos(at.0));
        // Also when the machine sleeps: what is shown has to be renewed.
        let show = tokio::time::Instant::now() + SHOW_INTERVAL;
        machine.map_or(show, |at| at.min(show))
    }

    fn on_ask(&mut self, ask: Ask) {
        match ask {
            Ask::Send { to, class, message } => {
                self.shared.on_taken(message.len());
                self.step(Input::Send { to, class, message });
            }
            Ask::Listed(nodes) => self.step(Input::Listed { nodes }),
            Ask::Learned(node, address) => self.step(Input::AddressLearned { node, address }),
            Ask::Placed(priority) => self.step(Input::Placed { priority }),
            Ask::Shutdown => unreachable!("the loop has ended"),
        }
    }

    fn on_happening(&mut self, happening: Happening) {
        match happening {
            Happening::Input(input) => {
                if let Input::DialFailed { conn, .. } = &input {
                    self.dials.remove(conn);
                }
                if let Input::Closed { conn, .. } = &input {
                    self.links.remove(conn);
                }
                self.step(input);
            }
            Happening::Dialed {
                conn,
                stream,
                speaker,
            } => {
                // A dial that was given up meanwhile is no longer in the books.
                if self.dials.remove(&conn).is_some() {
                    let link = Link::new(conn, stream, &self.happenings);
                    self.links.insert(conn, link);
                    self.step(Input::Dialed { conn, speaker });
                }
            }
            Happening::Accepted {
                stream,
                read,
                speaker,
            } => {
                let conn = ConnId::Accepted(self.next_accepted);
                self.next_accepted += 1;
                let link = Link::new(conn, stream, &self.happenings);
                self.links.insert(conn, link);
                self.step(Input::Accepted {
                    conn,
                    bytes: read,
                    speaker,
                });
            }
            Happening::Report(text) => (self.events)(TransportEvent::Report(text)),
        }
    }

    fn step(&mut self, input: Input) {
        let mut out = Outbox::new();
        self.machine.step(self.now(), input, &mut out);
        for effect in out.drain() {
            self.carry_out(effect);
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Write { conn, bytes } => {
                if let Some(link) = self.links.get(&conn) {
                    link.write(bytes);
                }
                return;
            }
            Effect::Deliver { from, message } => {
                return (self.events)(TransportEvent::Deliver { from, message });
            }
            Effect::Dial {
                conn,
                node,
                address,
            } => self.dial(conn, node, address),
            Effect::Close { conn, .. } => {
                self.links.remove(&conn);
                if let Some(dial) = self.dials.remove(&conn) {
                    dial.abort();
                }
            }
            Effect::PersistIdentity { write, identity } => {
                let (persist, happenings) = (self.persist.clone(), self.happenings.clone());
                tokio::spawn(async move {
                    let done = tokio::task::spawn_blocking(move || persist(&identity)).await;
                    let result = match done {
                        Ok(result) => result.map_err(|error| error.to_string()),
                        Err(error) => Err(format!("storing it panicked: {error}")),
                    };
                    let persisted = Input::Persisted { write, result };
                    // A pump that has ended needs it no more.
                    let _ = happenings.send(Happening::Input(persisted)).await;
                });
            }
            Effect::PeerUp { peer, priority } => {
                self.tell(TransportEvent::PeerUp { peer, priority });
            }
            Effect::PeerPlaced { peer, priority } => {
                self.tell(TransportEvent::PeerPlaced { peer, priority });
            }
            Effect::PeerLost { peer } => self.tell(TransportEvent::PeerLost(peer)),
            Effect::Formed { identity } => self.tell(TransportEvent::Formed(Box::new(identity))),
            Effect::AddressesChanged { addresses } => {
                self.tell(TransportEvent::AddressesChanged(addresses));
            }
            Effect::Refused { by, refusal } => self.tell(TransportEvent::Refused { by, refusal }),
            Effect::Report { message } => self.tell(TransportEvent::Report(message)),
        }
        self.shown_at = None;
    }

    /// Tells the daemon; what it can look up meanwhile is as new as what it is told.
    fn tell(&self, event: TransportEvent) {
        self.show_now();
        (self.events)(event);
    }

    fn dial(&mut self, conn: ConnId, node: Option<NodeId>, address: Address) {
        let (tls, happenings) = (self.tls.clone(), self.happenings.clone());
        let task = tokio::spawn(async move {
            let happening = match connect(tls, node, &address).await {
                Ok((stream, speaker)) => Happening::Dialed {
                    conn,
                    stream,
                    speaker,
                },
                Err(reason) => Happening::Input(Input::DialFailed { conn, reason }),
            };
            // A pump that has ended needs it no more.
            let _ = happenings.send(happening).await;
        });
        self.dials.insert(conn, task.abort_handle());
    }

    fn maybe_show(&mut self) {
        let now = tokio::time::Instant::now();
        if self.shown_at.is_none_or(|at| at + SHOW_INTERVAL <= now) {
            self.show_now();
            self.shown_at = Some(now);
        }
    }

    fn show_now(&self) {
        let shown = Shown {
            peers: self.machine.status(),
            addresses: self.machine.addresses(),
            waiting: self.machine.waiting(),
            dropped: self.machine.dropped(),
        };
        *self.shared.shown() = shown;
    }
}

/// Connects to the first address of a name that answers.
async fn connect(
    tls: Option<Tls>,
    node: Option<NodeId>,
    address: &Address,
) -> Result<(Stream, Speaker), String> {
    let found = tokio::net::lookup_host(address.as_str()).await;
    let found = found.map_err(|error| format!("cannot find the address of {address}: {error}"))?;
    let mut trouble = format!("{address} has no address");
    for ip in found {
        match TcpStream::connect(ip).await {
            Ok(socket) => return greet(tls, node, socket).await,
            Err(error) => trouble = format!("cannot connect to {ip}: {error}"),
        }
    }
    Err(trouble)
}

async fn greet(
    tls: Option<Tls>,
    node: Option<NodeId>,
    socket: TcpStream,
) -> Result<(Stream, Speaker), String> {
    tune(&socket).map_err(|error| error.to_string())?;
    let Some(tls) = tls else {
        return Ok((Stream::plain(socket, None), Speaker::Anyone));
    };
    let stream = tls.connect(socket, node).await;
    let stream = stream.map_err(|error| tls::explain(&error))?;
    let speaker = tls::speaker(&stream);
    Ok((Stream::tls(stream, None), speaker))
}
