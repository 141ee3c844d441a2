//! Who hears whom: one datagram at a time, so that each direction is seen by itself.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::{Host, Lab, LabError, PROBE_PORT, inside};

/// How long a datagram on a slow link may be under way, finding the neighbour included.
const PATIENCE: Duration = Duration::from_millis(600);
/// The same on links that are not slow.
const QUICK_PATIENCE: Duration = Duration::from_millis(100);
/// Datagrams of one question: a link that loses some still carries one of them.
const TRIES: u32 = 3;
const LOOK_PAUSE: Duration = Duration::from_micros(200);

/// A socket on every host of a lab.
#[derive(Debug)]
pub struct Mesh {
    sockets: BTreeMap<Host, (Ipv4Addr, UdpSocket)>,
    number: AtomicU64,
}

impl Mesh {
    /// Opens the sockets.
    ///
    /// # Errors
    /// [`LabError`].
    pub fn open(lab: &Lab) -> Result<Self, LabError> {
        let mut sockets = BTreeMap::new();
        for (host, address) in lab.hosts() {
            let socket = inside(&lab.namespace(host), || bind(*address))?.map_err(|error| {
                LabError::File {
                    path: format!("probe socket of {host}"),
                    error,
                }
            })?;
            sockets.insert(host.clone(), (*address, socket));
        }
        Ok(Self {
            sockets,
            number: AtomicU64::new(1),
        })
    }

    /// How long what `from` sends is under way to `to`; `None` when nothing arrives. Blocks for up
    /// to two seconds. Ask one question at a time.
    ///
    /// # Panics
    /// When a host is of another lab.
    pub fn reach(&self, from: &Host, to: &Host) -> Option<Duration> {
        self.ask(&[(from.clone(), to.clone())], PATIENCE)[0]
    }

    /// Which of these links, none of them slow, carry. Blocks for less than half a second.
    ///
    /// # Panics
    /// When a host is of another lab.
    pub fn carry(&self, links: &[(Host, Host)]) -> Vec<bool> {
        self.ask(links, QUICK_PATIENCE)
            .iter()
            .map(Option::is_some)
            .collect()
    }

    fn ask(&self, links: &[(Host, Host)], patience: Duration) -> Vec<Option<Duration>> {
        let mut found = vec![None; links.len()];
        for _ in 0..TRIES {
            let begin = Instant::now();
            let mut sent = BTreeMap::new();
            for (at, (from, to)) in links
                .iter()
                .enumerate()
                .filter(|(at, _)| found[*at].is_none())
            {
                let number = self.number.fetch_add(1, Ordering::Relaxed);
                let to = SocketAddr::from((self.sockets[to].0, PROBE_PORT));
                // A host without a route or with a failed neighbour is told so: as good as lost.
                let _ = self.sockets[from].1.send_to(&number.to_le_bytes(), to);
                sent.insert(number, at);
            }
            while !sent.is_empty() && begin.elapsed() < patience {
                for number in links.iter().filter_map(|(_, to)| self.heard(to)) {
                    if let Some(at) = sent.remove(&number) {
                        found[at] = Some(begin.elapsed());
                    }
                }
                std::thread::sleep(LOOK_PAUSE);
            }
        }
        found
    }

    /// The next number that a host has heard.
    fn heard(&self, host: &Host) -> Option<u64> {
        let mut bytes = [0; 8];
        match self.sockets[host].1.recv(&mut bytes) {
            Ok(8) => Some(u64::from_le_bytes(bytes)),
            _ => None,
        }
    }
}

fn bind(address: Ipv4Addr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((address, PROBE_PORT))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}
