//! How many connections a process takes: as many as it has descriptors for, less those that the
//! log, the state and its peers cannot do without.
//!
//! A log that finds no descriptor for its next file ends the node, so connections are turned away
//! long before. It knows nothing of what is said on one.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use prometheus_client::metrics::counter::Counter;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::warn;

use crate::transport::Throttle;

/// Descriptors that no connection of others gets, beside those of the log's segments: those of
/// the two pools below, of the ports, of the state, of dials to peers, of files that are replaced.
const RESERVE: u64 = 64;
/// Connections of peers, and such as have not said yet who they are, beyond all other room: a
/// crowd of clients must not cost a node its cluster.
const PEER_PLACES: usize = 16;
/// Connections of HTTP beyond all other room: nor must it cost the node its probes.
const PAGE_PLACES: usize = 8;
/// Places that there are in any case, however low the limit is.
const PLACES_MIN: u64 = 8;
/// More are never counted.
const PLACES_MAX: u64 = 1 << 24;

/// Raises the limit of open files as far as this process may, and gives how many connections have
/// room beside a log of so many segments. Says so when that is less than `wanted`.
pub(crate) fn places(segments_max: u32, wanted: u64) -> usize {
    let limit = raise_limit();
    let kept = RESERVE + u64::from(segments_max);
    let places = limit.saturating_sub(kept).clamp(PLACES_MIN, PLACES_MAX);
    if places < wanted {
        warn!(
            "files that may be open are limited to {limit}, of which {kept} are kept for log and \
             state: of clients, mounts and chunkservers together, {places} are let in and the \
             others turned away; for {wanted} raise the limit to {} (LimitNOFILE in the unit, or \
             ulimit -n)",
            wanted + kept
        );
    }
    usize::try_from(places).expect("it was bounded")
}

/// The limit, once it is as high as it may be.
fn raise_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    let now = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => raised,
        Err(error) => {
            warn!("the limit of open files cannot be raised: {error}");
            limit
        }
    };
    now.current.unwrap_or(u64::MAX)
}

/// Room for connections, shared by all ports.
#[derive(Clone)]
pub(crate) struct Room {
    all: Arc<Semaphore>,
    peers: Arc<Semaphore>,
    pages: Arc<Semaphore>,
    turned_away: Counter,
    throttle: Arc<Mutex<Throttle>>,
}

/// A connection's place: free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    _permit: OwnedSemaphorePermit,
    kept: bool,
}

impl Seat {
    /// Whether it is one of those that are kept for peers, or for HTTP.
    pub(crate) fn is_kept(&self) -> bool {
        self.kept
    }
}

impl Room {
    /// Room for so many; `turned_away` counts those who found none.
    pub(crate) fn new(places: usize, turned_away: Counter) -> Self {
        Self {
            all: Arc::new(Semaphore::new(places)),
            peers: Arc::new(Semaphore::new(PEER_PLACES)),
            pages: Arc::new(Semaphore::new(PAGE_PLACES)),
            turned_away,
            throttle: Arc::default(),
        }
    }

    /// A place for anybody.
    pub(crate) fn take(&self) -> Option<Seat> {
        let permit = Arc::clone(&self.all).try_acquire_owned().ok()?;
        Some(Seat {
            _permit: permit,
            kept: false,
        })
    }

    /// A place for a connection that may be a peer's.
    pub(crate) fn take_for_peer(&self) -> Option<Seat> {
        self.take().or_else(|| take_kept(&self.peers))
    }

    /// A place for a question over HTTP.
    pub(crate) fn take_for_page(&self) -> Option<Seat> {
        self.take().or_else(|| take_kept(&self.pages))
    }

    /// Counts a connection that found no place, and says so now and then.
    pub(crate) fn turn_away(&self, who: &str, from: IpAddr) {
        self.turned_away.inc();
        let text = format!(
            "turned away {who} from {from}: there is no room for more connections; where so many \
             are meant to be, raise the limit of open files (LimitNOFILE in the unit, or ulimit -n)"
        );
        let passed = {
            let mut throttle = self.throttle.lock().unwrap_or_else(PoisonError::into_inner);
            throttle.pass(text)
        };
        if let Some(text) = passed {
            warn!("{text}");
        }
    }
}

fn take_kept(pool: &Arc<Semaphore>) -> Option<Seat> {
    let permit = Arc::clone(pool).try_acquire_owned().ok()?;
    Some(Seat {
        _permit: permit,
        kept: true,
    })
}

/// A port whose connections have places in the room.
pub(crate) struct Port {
    listener: TcpListener,
    room: Room,
    /// Who connects there, for the log.
    pub(crate) who: &'static str,
}

impl Port {
    pub(crate) fn new(listener: TcpListener, room: Room, who: &'static str) -> Self {
        Self {
            listener,
            room,
            who,
        }
    }

    /// The next connection that has a place. Nothing is lost when this is given up.
    pub(crate) async fn accept(&self) -> io::Result<(TcpStream, IpAddr, Seat)> {
        loop {
            let (stream, from) = self.listener.accept().await?;
            match self.room.take() {
                Some(seat) => return Ok((stream, from.ip(), seat)),
                None => self.room.turn_away(self.who, from.ip()),
            }
        }
    }
}

/// The port of HTTP.
pub(crate) struct Pages {
    pub(crate) listener: TcpListener,
    pub(crate) room: Room,
}

/// A connection of HTTP, and its place.
pub(crate) struct Page {
    stream: TcpStream,
    _seat: Seat,
}

impl axum::serve::Listener for Pages {
    type Io = Page;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Page, SocketAddr) {
        loop {
            let (stream, from) = axum::serve::Listener::accept(&mut self.listener).await;
            match self.room.take_for_page() {
                Some(seat) => {
                    let page = Page {
                        stream,
                        _seat: seat,
                    };
                    return (page, from);
                }
                None => self.room.turn_away("a client of HTTP", from.ip()),
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl AsyncRead for Page {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for Page {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_leaves_places_for_peers_and_probes_and_gives_its_own_back() {
        let room = Room::new(2, Counter::default());
        let mut crowd: Vec<_> = (0..2)
            .map(|_| room.take().expect("there is room"))
            .collect();
        assert!(room.take().is_none(), "there is none left");
        let peers: Vec<_> = std::iter::from_fn(|| room.take_for_peer()).collect();
        assert_eq!(peers.len(), PEER_PLACES);
        assert!(peers.iter().all(Seat::is_kept));
        let pages: Vec<_> = std::iter::from_fn(|| room.take_for_page()).collect();
        assert_eq!(pages.len(), PAGE_PLACES);
        assert!(room.take().is_none(), "those are not for everybody");
        drop(crowd.pop());
        let again = room.take_for_peer().expect("one has left");
        assert!(!again.is_kept(), "what is kept is the last resort");
    }

    #[test]
    fn who_is_turned_away_is_counted_each_time() {
        let counter = Counter::default();
        let room = Room::new(0, counter.clone());
        for _ in 0..3 {
            room.turn_away("a mount", IpAddr::from([127, 0, 0, 1]));
        }
        assert_eq!(counter.get(), 3);
    }
}
