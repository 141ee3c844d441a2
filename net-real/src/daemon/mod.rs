//! The process: settings, data directory, transport, node, clients, HTTP, signals, put together.
//!
//! Order of a start: what can be wrong with settings and directories is found before a port is
//! opened; the transport finds the cluster, or forms it; then the node's thread opens log and
//! state. Order of an end: leadership is handed over, the node's thread ends, connections go, the
//! directory is unlocked.

mod ending;
mod join;
mod neighbours;
mod opening;
mod starting;
mod strangers;
mod wall_clock;
mod world;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mfsha_core::id::NodeId;
use mfsha_core::native::ClusterId;
use mfsha_core::transport::Identity;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tracing::{error, info, warn};

use crate::chunkservers;
use crate::cli::{Cli, exit};
use crate::clients::{self, Desk, Phase, Registry, Token};
use crate::data_dir::DataDir;
use crate::driver::{self, Clock, Ended, NodeHandle};
use crate::http;
use crate::metadata::metaid;
use crate::metrics::Metrics;
use crate::mounts;
use crate::panics;
use crate::room::{Port, Room};
use crate::transport::{self, AcceptedClient, TransportEvent};

use self::neighbours::Surroundings;
use self::starting::Prepared;
use self::strangers::Answers;
use self::wall_clock::WallClock;
use self::world::ProcessWorld;

/// Clients that may wait to be served by a task of their own.
const ACCEPTED_MAX: usize = 256;
/// How often it is looked at whether only strangers answer, and whether the clock was set.
const LOOK: Duration = Duration::from_millis(500);

/// Runs a node in the foreground until a signal or a fault ends it.
#[must_use]
pub fn run(cli: &Cli) -> ExitCode {
    panics::plant("main");
    let code = match starting::prepare(cli) {
        Ok(prepared) => run_prepared(prepared),
        Err(failure) => {
            failure.tell();
            failure.code
        }
    };
    ExitCode::from(code)
}

/// Threads for sockets. The node's thread needs a core for itself: with as many as there are cores,
/// each message woke a second one beside the one that took it, and both stood in the node's way.
fn network_threads() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    cores.saturating_sub(1).max(1)
}

fn run_prepared(prepared: Prepared) -> u8 {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(network_threads())
        .enable_all()
        .thread_name("net")
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(serve(prepared)),
        Err(error) => {
            error!("the system gives no threads: {error}");
            exit::SYSTEM
        }
    }
}

/// The data directory, used from blocking tasks and from the node's thread.
#[derive(Clone)]
struct SharedDir(Arc<Mutex<DataDir>>);

impl SharedDir {
    fn get(&self) -> MutexGuard<'_, DataDir> {
        // Every change is written before it is kept, so a panic elsewhere leaves a whole one.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Peers that are connected, and how well each says that it is placed. Some are before the node's
/// thread is there to hear it.
#[derive(Clone, Default)]
struct Connected(Arc<Mutex<BTreeMap<NodeId, u32>>>);

impl Connected {
    fn get(&self) -> MutexGuard<'_, BTreeMap<NodeId, u32>> {
        // A panic elsewhere leaves a map of whole entries.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the node's thread of everybody who is there. Hearing of somebody twice is harmless.
    fn tell(&self, node: &NodeHandle) {
        for (peer, priority) in &*self.get() {
            node.peer_up(*peer, *priority);
        }
    }
}

/// What ends a process.
enum End {
    /// SIGTERM or SIGINT.
    Asked(&'static str),
    /// The node's thread has ended by itself.
    Node(Ended),
    /// A part of the process has failed for good.
    Failed(String),
    /// A part of the process has panicked.
    Panicked(String),
    /// The data directory is of another cluster than all who answer.
    Strangers(String),
}

struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            hup: signal(SignalKind::hangup())?,
        })
    }
}

async fn serve(prepared: Prepared) -> u8 {
    let mut signals = match Signals::new() {
        Ok(signals) => signals,
        Err(error) => {
            error!("signals cannot be received: {error}");
            return exit::SYSTEM;
        }
    };
    let ports = match Ports::open(&prepared).await {
        Ok(ports) => ports,
        Err(NotBound { reason, code }) => {
            error!("{reason}");
            return code;
        }
    };
    let process = match Process::start(prepared, ports) {
        Ok(process) => process,
        Err(reason) => {
            error!("{reason}");
            return exit::SYSTEM;
        }
    };
    process.run(&mut signals).await
}

/// Everything that is listened at.
struct Ports {
    peers: TcpListener,
    pages: Option<TcpListener>,
    mounts: Option<TcpListener>,
    chunkservers: Option<TcpListener>,
}

impl Ports {
    async fn open(prepared: &Prepared) -> Result<Self, NotBound> {
        let settings = prepared.configuration.settings();
        let address = settings.listen_address();
        let keys = ("BIND_HOST", "MFSHA_PORT");
        let peers = listen(&address, "peers and clients", keys).await?;
        let pages = match settings.http_address() {
            Some(address) => {
                let keys = ("BIND_HOST", "MFSHA_HTTP_PORT");
                Some(listen(&address, "HTTP", keys).await?)
            }
            None => None,
        };
        let mounts = match settings.mounts_address() {
            Some(address) => {
                let keys = ("MATOCL_LISTEN_HOST", "MATOCL_LISTEN_PORT");
                Some(listen(&address, "mounts", keys).await?)
            }
            None => None,
        };
        let chunkservers = match settings.chunkservers_address() {
            Some(address) => {
                let keys = ("MATOCS_LISTEN_HOST", "MATOCS_LISTEN_PORT");
                Some(listen(&address, "chunkservers", keys).await?)
            }
            None => None,
        };
        Ok(Self {
            peers,
            pages,
            mounts,
            chunkservers,
        })
    }
}

/// A port that cannot be listened at.
struct NotBound {
    reason: String,
    code: u8,
}

/// Listens at a port; `host` and `port` are the keys that say which.
async fn listen(
    address: &str,
    who: &str,
    (host, port): (&str, &str),
) -> Result<TcpListener, NotBound> {
    TcpListener::bind(address).await.map_err(|error| {
        let (advice, code) = match error.kind() {
            ErrorKind::AddrInUse => (
                format!("end what uses the port, or set another {port}"),
                exit::UNAVAILABLE,
            ),
            ErrorKind::PermissionDenied => (
                format!("let mfsha's user listen there, or set a {port} above 1023"),
                exit::SYSTEM,
            ),
            // No address of this machine, or a name that is none.
            _ => (
                format!("set {host} to an address of this machine"),
                exit::USAGE,
            ),
        };
        let reason = format!("cannot listen on {address} for {who}: {error}; {advice}");
        NotBound { reason, code }
    })
}

/// Everything that runs.
struct Process {
    desk: Arc<Desk>,
    registry: Registry,
    surroundings: Arc<Surroundings>,
    peers: transport::Handle,
    connected: Connected,
    answers: Answers,
    directory: SharedDir,
    data_path: PathBuf,
    formed: oneshot::Receiver<Identity>,
    clients: mpsc::Receiver<AcceptedClient>,
    failed: mpsc::UnboundedReceiver<String>,
    panicked: Option<mpsc::UnboundedReceiver<String>>,
    /// Until the node is there to be asked.
    face: Option<mounts::Face>,
    mounts: Option<mounts::Handle>,
    chunkservers: Option<chunkservers::Face>,
}

impl Process {
    fn start(prepared: Prepared, ports: Ports) -> Result<Self, String> {
        let Ports {
            peers: listener,
            pages,
            mounts,
            chunkservers,
        } = ports;
        let settings = prepared.configuration.settings().clone();
        let metrics = Arc::new(Metrics::new());
        let room = Room::new(prepared.places, metrics.connections_turned_away.clone());
        let registry = Registry::default();
        let identity = prepared.directory.identity().clone();
        let token = Token::new(settings.auth_token().unwrap_or_default().as_bytes());
        let desk = Arc::new(Desk::new(
            identity.node,
            settings.region().to_owned(),
            token.clone(),
            metrics,
            registry.clone(),
        ));
        let (tell_formed, formed) = oneshot::channel();
        let (accepted, clients) = mpsc::channel(ACCEPTED_MAX);
        let (fail, failed) = mpsc::unbounded_channel();
        let data_path = prepared.directory.path().to_owned();
        let directory = SharedDir(Arc::new(Mutex::new(prepared.directory)));
        let keep = directory.clone();
        let persist = Arc::new(move |identity: &Identity| {
            keep.get().store(identity).map_err(std::io::Error::other)
        });
        let life = starting::random_u64()?;
        let machine = settings.transport_options(prepared.address, life, prepared.start);
        let seed = starting::random_seed()?;
        let options = transport::TransportOptions::new(
            machine,
            seed,
            prepared.tls.clone(),
            persist,
            room.clone(),
        );
        let connected = Connected::default();
        let answers = Answers::new(Instant::now());
        let hear = hear(
            Arc::clone(&desk),
            connected.clone(),
            answers.clone(),
            tell_formed,
        );
        let peers = transport::spawn(options, identity, vec![listener], hear, accepted)
            .map_err(|error| format!("the transport cannot start: {error}"))?;
        let log_path = directory.get().log_path();
        let exports = prepared.exports;
        let face = match mounts.zip(exports) {
            Some((listener, exports)) => {
                let seed = starting::random_seed()?;
                let port = Port::new(listener, room.clone(), "a mount or tool");
                Some(mounts::Face::new(port, exports, seed))
            }
            None => None,
        };
        let mounts = face.as_ref().map(mounts::Face::handle);
        let chunkservers = match chunkservers {
            Some(listener) => {
                let seed = starting::random_seed()?;
                let port = Port::new(listener, room.clone(), "a chunkserver");
                Some(chunkservers::Face::new(port, seed))
            }
            None => None,
        };
        let surroundings = Arc::new(Surroundings::new(
            peers.clone(),
            prepared.configuration,
            prepared.logs,
            prepared.tls,
            log_path,
            mounts.clone(),
            token,
        ));
        desk.introduce(Arc::clone(&surroundings));
        if let Some(pages) = pages {
            let desk = Arc::clone(&desk);
            tokio::spawn(async move {
                if let Err(error) = http::serve(pages, room, desk).await {
                    // Nobody hears of it only when the process is ending anyway.
                    let _ = fail.send(format!("HTTP has failed: {error}"));
                }
            });
        }
        Ok(Self {
            desk,
            registry,
            surroundings,
            peers,
            connected,
            answers,
            directory,
            data_path,
            formed,
            clients,
            failed,
            panicked: panics::watch(),
            face,
            mounts,
            chunkservers,
        })
    }

    async fn run(mut self, signals: &mut Signals) -> u8 {
        starting::notify_ready();
        let (tell_ended, mut ended) = mpsc::unbounded_channel();
        let mut waiting = tokio::time::interval(Duration::from_secs(10));
        waiting.tick().await;
        let mut look = tokio::time::interval(LOOK);
        let clock = Clock::start();
        let mut wall_clock = WallClock::new(Instant::now(), clock.wall_us());
        let mut is_formed = false;
        let end = loop {
            tokio::select! {
                formed = &mut self.formed, if !is_formed => {
                    let Ok(identity) = formed else {
                        break End::Failed("the transport has ended".to_owned());
                    };
                    is_formed = true;
                    if let Err(reason) = self.open(identity, tell_ended.clone()) {
                        break End::Failed(reason);
                    }
                }
                Some(client) = self.clients.recv() => self.serve_client(client),
                Some(how) = ended.recv() => break End::Node(how),
                Some(reason) = self.failed.recv() => break End::Failed(reason),
                Some(what) = next_panic(&mut self.panicked) => break End::Panicked(what),
                _ = waiting.tick(), if !is_formed => {
                    for line in self.peers.waiting() {
                        info!("waiting: {line}");
                    }
                }
                _ = look.tick() => {
                    if let Some(step) = wall_clock.look(Instant::now(), clock.wall_us()) {
                        warn!("{step}");
                    }
                    if is_formed
                        && let Some(others) = self.answers.only_strangers(Instant::now())
                    {
                        let own = self.desk.cluster();
                        break End::Strangers(strangers::explain(&self.data_path, own, &others));
                    }
                }
                _ = signals.term.recv() => break End::Asked("SIGTERM"),
                _ = signals.int.recv() => break End::Asked("SIGINT"),
                _ = signals.hup.recv() => self.surroundings.reload(),
            }
        };
        // What fails because another part has panicked may be heard of first.
        let panicked = self.panicked.as_mut().and_then(|it| it.try_recv().ok());
        let end = match (end, panicked) {
            (End::Failed(_), Some(what)) => End::Panicked(what),
            (end, _) => end,
        };
        self.end(end, ended, signals).await
    }

    /// Starts the node's thread: the cluster is known.
    fn open(
        &mut self,
        identity: Identity,
        tell_ended: mpsc::UnboundedSender<Ended>,
    ) -> Result<(), String> {
        let cluster = identity.cluster();
        info!(node = identity.node.0, %cluster, "of a cluster");
        starting::notify_phase("opens log and state");
        let (tell_number, number) = oneshot::channel();
        let world = ProcessWorld {
            peers: self.peers.clone(),
            registry: self.registry.clone(),
            desk: Arc::clone(&self.desk),
            mounts: self.mounts.clone(),
            chunkservers: self.chunkservers.as_ref().map(chunkservers::Face::handle),
            number: Some(tell_number),
        };
        // Whatever the options are: a node that died on its way goes on, and one that was taken
        // out stays out.
        let is_admitted = self.directory.get().is_admitted();
        let joins = identity.founding_voters().is_none() && !is_admitted;
        let opening = opening::Opening {
            settings: self.surroundings.settings(),
            identity,
            directory: self.directory.clone(),
            surroundings: Arc::clone(&self.surroundings),
        };
        let open = move |handle: &NodeHandle, clock: &Clock| opening.open(handle, clock);
        let ended = move |how| {
            // The process hears it unless it has ended itself.
            let _ = tell_ended.send(how);
        };
        let (handle, _thread) = driver::spawn(Clock::start(), world, open, ended)
            .map_err(|error| format!("the system gives no thread for the node: {error}"))?;
        self.desk.open(cluster, handle.clone());
        self.surroundings.set_node(handle.clone());
        self.connected.tell(&handle);
        let faces = Faces {
            mounts: self.face.take(),
            chunkservers: self.chunkservers.take(),
            desk: Arc::clone(&self.desk),
            surroundings: Arc::clone(&self.surroundings),
        };
        tokio::spawn(faces.serve(handle, cluster, number));
        if is_admitted {
            info!("this node joined and was a voter: whether it is one now is the cluster's word");
        }
        if joins {
            let task = join::join(
                Arc::clone(&self.desk),
                Arc::clone(&self.surroundings),
                self.peers.clone(),
                self.directory.clone(),
            );
            tokio::spawn(task);
        }
        Ok(())
    }

    fn serve_client(&self, client: AcceptedClient) {
        let AcceptedClient {
            stream, read, from, ..
        } = client;
        tokio::spawn(panics::on_its_own(clients::serve(
            stream,
            read,
            from.to_string(),
            self.registry.clone(),
            Arc::clone(&self.desk),
        )));
    }

    async fn end(
        self,
        end: End,
        mut ended: mpsc::UnboundedReceiver<Ended>,
        signals: &mut Signals,
    ) -> u8 {
        starting::notify_stopping();
        let (code, node_runs) = match end {
            End::Asked(by) => {
                info!(by, "ending");
                self.desk.enter(Phase::Ending);
                tokio::select! {
                    () = ending::hand_over(&self.desk, &self.registry, &self.connected) => {}
                    _ = signals.term.recv() => warn!("asked again: ending without handing over"),
                    _ = signals.int.recv() => warn!("asked again: ending without handing over"),
                }
                (exit::OK, true)
            }
            End::Node(Ended::Fault(reason)) => {
                error!("the node has stopped serving: {reason}");
                self.desk.enter(Phase::Ended(reason));
                (exit::SYSTEM, false)
            }
            End::Node(Ended::Refused(driver::Refused { reason, code })) => {
                error!("{reason}");
                (code, false)
            }
            End::Node(Ended::Asked) => (exit::OK, false),
            End::Node(Ended::Panicked) => (exit::BUG, false),
            End::Failed(reason) => {
                error!("{reason}");
                (exit::SYSTEM, true)
            }
            End::Panicked(what) => {
                error!("{what}: a bug; please report it, with the log; ending");
                (exit::BUG, true)
            }
            End::Strangers(reason) => {
                error!("{reason}");
                (exit::USAGE, true)
            }
        };
        if node_runs && let Some(handle) = self.desk.handle() {
            handle.stop();
            // A thread that flushes for ever must not keep the process.
            let patience = Duration::from_secs(10);
            if tokio::time::timeout(patience, ended.recv()).await.is_err() {
                warn!("the node's thread does not end; leaving it");
            }
        }
        self.peers.shutdown().await;
        info!("ended");
        code
    }
}

/// What is spoken with the parts of MooseFS.
struct Faces {
    mounts: Option<mounts::Face>,
    chunkservers: Option<chunkservers::Face>,
    desk: Arc<Desk>,
    surroundings: Arc<Surroundings>,
}

impl Faces {
    /// Serves from when the cluster's number is known: who is told another one goes away, and a
    /// chunkserver for good.
    async fn serve(
        self,
        node: NodeHandle,
        cluster: ClusterId,
        number: oneshot::Receiver<Option<u64>>,
    ) {
        panics::plant("faces");
        // Nobody tells when the node ends before.
        let Ok(number) = number.await else { return };
        let metaid = number.unwrap_or_else(|| metaid(cluster));
        let settings = self.surroundings.settings();
        if let Some(face) = self.mounts {
            let options = settings.mounts_options(metaid);
            tokio::spawn(face.serve(options, node.clone(), Clock::start()));
        }
        if let Some(face) = self.chunkservers {
            let options = settings.chunkservers_options(metaid);
            let count = self.desk.metrics().gauges().chunkservers.clone();
            tokio::spawn(face.serve(options, node, Clock::start(), count));
        }
    }
}

async fn next_panic(panicked: &mut Option<mpsc::UnboundedReceiver<String>>) -> Option<String> {
    match panicked {
        Some(panicked) => panicked.recv().await,
        None => None,
    }
}

/// What the transport tells goes to the node's thread, once there is one, and to the log.
fn hear(
    desk: Arc<Desk>,
    connected: Connected,
    answers: Answers,
    tell_formed: oneshot::Sender<Identity>,
) -> impl Fn(TransportEvent) + Send + 'static {
    let tell_formed = Mutex::new(Some(tell_formed));
    move |event| match event {
        TransportEvent::Formed(identity) => {
            let mut tell = tell_formed.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(tell) = tell.take() {
                // Nobody waits any more when the process ends.
                let _ = tell.send(*identity);
            }
        }
        TransportEvent::Deliver { from, message } => {
            if let Some(node) = desk.handle() {
                node.deliver(from, message);
            }
        }
        TransportEvent::PeerUp { peer, priority } => {
            info!(peer = peer.0, "connected");
            connected.get().insert(peer, priority);
            answers.on_peer();
            if let Some(node) = desk.handle() {
                node.peer_up(peer, priority);
            }
        }
        TransportEvent::PeerPlaced { peer, priority } => {
            info!(peer = peer.0, priority, "has another priority");
            connected.get().insert(peer, priority);
            // Hearing of a peer twice is harmless.
            if let Some(node) = desk.handle() {
                node.peer_up(peer, priority);
            }
        }
        TransportEvent::PeerLost(peer) => {
            info!(peer = peer.0, "connection lost");
            connected.get().remove(&peer);
            if let Some(node) = desk.handle() {
                node.peer_lost(peer);
            }
        }
        TransportEvent::AddressesChanged(_) => {}
        TransportEvent::Refused { by, refusal } => {
            error!(by = by.0, "refused: {refusal}");
            answers.on_refused(by, &refusal, Instant::now());
        }
        TransportEvent::Report(message) => warn!("{message}"),
    }
}
