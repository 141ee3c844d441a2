//! Carries Ethernet frames between two interfaces of one namespace, each held back by a fixed time
//! and some of them lost: a slow link where the kernel has no `netem`.
//!
//! Frames leave a veth with their checksums left to hardware that is not there; the carrier fills
//! them in. It carries what fits a wire, so senders must not hand over larger segments.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mfsha_core::rng::{Rng, Seed};
use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind, recv, send, socket,
};

use super::{LabError, NamespaceError, inside};

const FRAME_BYTES_MAX: usize = 65_536;
/// Frames that wait at most; what comes on top is lost, as on a full queue.
const FRAMES_MAX: usize = 65_536;

/// Two threads, one each way; dropping it ends them.
#[derive(Debug)]
pub struct DelayLine {
    ends: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl DelayLine {
    /// Begins to carry between two interfaces of a namespace.
    pub fn start(
        namespace: &str,
        one: &str,
        other: &str,
        delay: Duration,
        loss_percent: u8,
    ) -> Result<Self, LabError> {
        let (one, other) = inside(namespace, || {
            open(one).and_then(|it| Ok((it, open(other)?)))
        })?
        .map_err(|error| NamespaceError {
            namespace: namespace.to_owned(),
            error,
        })?;
        let (one, other) = (Arc::new(one), Arc::new(other));
        let ends = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for (way, from, to) in [("to", &one, &other), ("from", &other, &one)] {
            let direction = Direction {
                from: Arc::clone(from),
                to: Arc::clone(to),
                delay,
                loss_percent: u64::from(loss_percent),
                rng: Seed::from_u64(0).child(way).rng(),
                waiting: VecDeque::new(),
            };
            let ends = Arc::clone(&ends);
            threads.push(std::thread::spawn(move || direction.carry(&ends)));
        }
        Ok(Self { ends, threads })
    }
}

impl Drop for DelayLine {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so already.
            let _ = thread.join();
        }
    }
}

struct Direction {
    from: Arc<OwnedFd>,
    to: Arc<OwnedFd>,
    delay: Duration,
    loss_percent: u64,
    rng: Rng,
    waiting: VecDeque<(Instant, Vec<u8>)>,
}

impl Direction {
    fn carry(mut self, ends: &AtomicBool) {
        let mut bytes = vec![0; FRAME_BYTES_MAX];
        while !ends.load(Ordering::Relaxed) {
            self.wait();
            self.take_in(&mut bytes);
            self.let_out();
        }
    }

    fn wait(&self) {
        let first = self
            .waiting
            .front()
            .map(|(due, _)| due.saturating_duration_since(Instant::now()));
        let wait = first
            .unwrap_or(Duration::MAX)
            .min(Duration::from_millis(20));
        // Rounded up, so that nothing spins on a frame that is not quite due.
        let millis = u8::try_from(wait.as_micros().div_ceil(1_000)).unwrap_or(20);
        let mut fds = [PollFd::new(self.from.as_fd(), PollFlags::POLLIN)];
        // Whatever woke it: the loop looks by itself.
        let _ = poll(&mut fds, PollTimeout::from(millis));
    }

    fn take_in(&mut self, bytes: &mut [u8]) {
        while let Ok(length) = recv(self.from.as_raw_fd(), bytes, MsgFlags::MSG_DONTWAIT) {
            let is_lost = self.rng.below(100) < self.loss_percent;
            if is_lost || self.waiting.len() >= FRAMES_MAX {
                continue;
            }
            let mut frame = bytes[..length].to_vec();
            fill_checksum(&mut frame);
            self.waiting.push_back((Instant::now() + self.delay, frame));
        }
    }

    fn let_out(&mut self) {
        while let Some((due, frame)) = self.waiting.front() {
            if *due > Instant::now() {
                return;
            }
            if send(self.to.as_raw_fd(), frame, MsgFlags::MSG_DONTWAIT) == Err(Errno::EAGAIN) {
                return;
            }
            // Sent, or refused for good: too long, or the interface is down. Lost, then.
            self.waiting.pop_front();
        }
    }
}

fn open(interface: &str) -> io::Result<OwnedFd> {
    let fd = socket(
        AddressFamily::Packet,
        SockType::Raw,
        SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC,
        SockProtocol::EthAll,
    )?;
    bind(fd.as_raw_fd(), &link_address(interface)?)?;
    Ok(fd)
}

/// With protocol 0, which binds to the protocol that the socket was made with.
fn link_address(interface: &str) -> io::Result<LinkAddr> {
    let found = getifaddrs()?
        .filter(|it| it.interface_name == interface)
        .find_map(|it| {
            it.address
                .and_then(|address| address.as_link_addr().copied())
        });
    found.ok_or_else(|| io::Error::other(format!("no interface {interface}")))
}

const ETHERNET_BYTES: usize = 14;

/// Computes the checksum of TCP or UDP over IPv4; other frames stay as they are.
fn fill_checksum(frame: &mut [u8]) {
    let Some(ip) = frame.get_mut(ETHERNET_BYTES..) else {
        return;
    };
    if frame_type_is_ipv4(ip) {
        fill_ipv4(ip);
    }
}

fn frame_type_is_ipv4(ip: &[u8]) -> bool {
    ip.len() >= 20 && ip[0] >> 4 == 4
}

fn fill_ipv4(ip: &mut [u8]) {
    let header = usize::from(ip[0] & 15) * 4;
    let total = usize::from(u16::from_be_bytes([ip[2], ip[3]]));
    let at = match ip[9] {
        6 => 16,
        17 => 6,
        _ => return,
    };
    let is_fragment = u16::from_be_bytes([ip[6], ip[7]]) & 0x3fff != 0;
    if is_fragment || header < 20 || total > ip.len() || total < header + at + 2 {
        return;
    }
    let (protocol, length) = (u32::from(ip[9]), (total - header) as u32);
    ip[header + at..header + at + 2].fill(0);
    let sum = words(&ip[12..20]) + protocol + length + words(&ip[header..total]);
    let checksum = !fold(sum);
    // Zero means "none" to UDP.
    let checksum = if checksum == 0 { 0xffff } else { checksum };
    ip[header + at..header + at + 2].copy_from_slice(&checksum.to_be_bytes());
}

fn words(bytes: &[u8]) -> u32 {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low));
    bytes.chunks(2).map(word).sum()
}

fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    sum as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A UDP datagram from 10.0.0.1:1 to 10.0.0.2:2 that says "abc".
    fn datagram() -> Vec<u8> {
        let mut frame = vec![0; ETHERNET_BYTES];
        frame.extend([
            0x45, 0, 0, 31, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
        ]);
        frame.extend([0, 1, 0, 2, 0, 11, 0xaa, 0xaa]);
        frame.extend(b"abc");
        frame
    }

    #[test]
    fn a_checksum_makes_the_sum_all_ones() {
        let mut frame = datagram();
        fill_checksum(&mut frame);
        let ip = &frame[ETHERNET_BYTES..];
        let sum = words(&ip[12..20]) + 17 + 11 + words(&ip[20..]);
        assert_eq!(fold(sum), 0xffff);
        assert_ne!(frame, datagram(), "it was wrong before");
    }

    #[test]
    fn frames_that_are_cut_short_or_strange_stay_as_they_are() {
        for length in 0..datagram().len() {
            let mut frame = datagram()[..length].to_vec();
            fill_checksum(&mut frame);
            assert_eq!(frame, datagram()[..length]);
        }
        let mut arp = datagram();
        arp[ETHERNET_BYTES] = 0;
        let before = arp.clone();
        fill_checksum(&mut arp);
        assert_eq!(arp, before);
    }
}
