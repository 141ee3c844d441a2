//! Hosts with transports, joined by streams that split, stall, break and lie.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::codec;
use crate::id::{NodeId, WriteId};
use crate::limits;
use crate::machine::{Machine, Outbox};
use crate::native::ClusterId;
use crate::rng::{Rng, Seed};
use crate::time::{Duration, Instant};
use crate::transport::{
    Address, Class, ConnId, DiskId, Effect, Identity, Input, Options, PeerRefusal, Speaker, Start,
    Transport,
};

pub const MESSAGE_KIND: u16 = 0x7777;

/// One direction of a stream.
#[derive(Default)]
struct Lane {
    /// Written, and not taken by the socket.
    written: VecDeque<u8>,
    /// Taken, and not arrived.
    flying: VecDeque<u8>,
    /// The writing end has closed; said after what flies.
    ended: bool,
}

/// An end of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct End {
    host: NodeId,
    life: u64,
    conn: ConnId,
}

/// A stream; end 0 has dialed.
struct Stream {
    ends: [End; 2],
    /// Whether the end has not closed or been told that the other has.
    open: [bool; 2],
    /// From end 0 to end 1, and back.
    lanes: [Lane; 2],
    /// What came to the accepting end before its first record was whole.
    first: Option<Vec<u8>>,
}

#[derive(Default)]
pub struct Host {
    pub transport: Option<Transport>,
    pub life: u64,
    /// What survives a crash.
    pub stored: Option<Identity>,
    pub start: Option<Start>,
    writing: VecDeque<(WriteId, Identity)>,
    next_accept: u64,
    pub formed: bool,
    pub up: BTreeSet<NodeId>,
    /// Peers that were placed otherwise since they were up.
    pub placed: BTreeMap<NodeId, u32>,
    pub refusals: Vec<PeerRefusal>,
    pub reports: Vec<String>,
    /// Its disk was emptied after it had founded or joined: nobody may hear it.
    pub outlaw: bool,
    /// It runs on the machine of this one.
    pub machine: Option<u64>,
    /// Port that it listens on, part of its address.
    port: u16,
}

pub struct World {
    pub now: Instant,
    pub rng: Rng,
    seed: Seed,
    pub hosts: BTreeMap<NodeId, Host>,
    streams: Vec<Stream>,
    dials: Vec<(Instant, End, Address, Option<NodeId>)>,
    /// Nothing passes from the first to the second.
    pub cut: BTreeSet<(NodeId, NodeId)>,
    pub socket_bytes: usize,
    /// Hosts whose writes do not end.
    pub stuck_disks: BTreeSet<NodeId>,
    pub tune: fn(&mut Options),
    sent: BTreeMap<(NodeId, NodeId, Class), BTreeMap<u64, Vec<u8>>>,
    next_seq: u64,
    last_delivered: BTreeMap<(NodeId, NodeId, Class), u64>,
    pub delivered: Vec<(NodeId, NodeId, Class, u64)>,
    disks: u128,
    lives: u64,
}

impl World {
    pub fn new(seed: u64, nodes: u64) -> Self {
        let seed = Seed::from_u64(seed);
        let host = |node| {
            (
                NodeId(node),
                Host {
                    port: 1,
                    ..Host::default()
                },
            )
        };
        Self {
            now: Instant(1),
            rng: seed.child("world").rng(),
            seed,
            hosts: (1..=nodes).map(host).collect(),
            streams: Vec::new(),
            dials: Vec::new(),
            cut: BTreeSet::new(),
            socket_bytes: 5_000,
            stuck_disks: BTreeSet::new(),
            tune: |_| {},
            sent: BTreeMap::new(),
            next_seq: 1,
            last_delivered: BTreeMap::new(),
            delivered: Vec::new(),
            disks: 1,
            lives: 1,
        }
    }

    pub fn address(&self, node: u64) -> Address {
        let host = &self.hosts[&NodeId(node)];
        let machine = host.machine.unwrap_or(node);
        Address::new(&format!("h{machine}:{}", host.port)).unwrap()
    }

    pub fn together(&self, nodes: impl IntoIterator<Item = u64>) -> Start {
        let address = |node| self.address(node).as_str().parse().unwrap();
        Start::Together {
            nodes: nodes.into_iter().map(address).collect(),
        }
    }

    pub fn join(&self, node: u64) -> Start {
        let nodes = vec![self.address(node).as_str().parse().unwrap()];
        Start::Join { nodes }
    }

    /// Starts a host that is down; with an empty disk it draws a new one.
    pub fn start(&mut self, node: NodeId) {
        let (life, now) = (self.lives, self.now);
        self.lives += 1;
        let address = self.address(node.0);
        let seed = self.seed.index(life);
        let disk = DiskId(self.disks);
        let host = self.hosts.get_mut(&node).unwrap();
        if host.transport.is_some() {
            return;
        }
        let identity = host.stored.clone().unwrap_or_else(|| {
            self.disks += 1;
            Identity::new(node, disk)
        });
        let start = host.start.clone().unwrap();
        let mut options = Options::new(address, life, start);
        options.priority = u32::try_from(node.0).expect("few nodes");
        (self.tune)(&mut options);
        host.transport = Some(Transport::new(options, identity, seed, now).unwrap());
        host.life = life;
        host.writing.clear();
        host.formed = false;
        host.up.clear();
        self.step(node, Input::Tick);
    }

    /// Ends a host's process. `silently`: its machine is gone with it, nobody is told.
    pub fn crash(&mut self, node: NodeId, silently: bool) {
        let host = self.hosts.get_mut(&node).unwrap();
        host.transport = None;
        // A write under way may or may not have reached the disk.
        if let Some((_, identity)) = host.writing.pop_front()
            && self.rng.chance(1, 2)
        {
            host.stored = Some(identity);
        }
        for stream in &mut self.streams {
            for end in 0..2 {
                if stream.ends[end].host == node && stream.open[end] {
                    stream.open[end] = false;
                    if silently {
                        stream.lanes[end].flying.clear();
                    }
                    stream.lanes[end].written.clear();
                    stream.lanes[end].ended = !silently;
                }
            }
        }
        self.dials.retain(|(_, end, ..)| end.host != node);
    }

    /// Takes a crashed host's disk away.
    pub fn wipe(&mut self, node: NodeId) {
        let pledged = self.clusters_that_know(node);
        let host = self.hosts.get_mut(&node).unwrap();
        assert!(
            host.transport.is_none(),
            "a disk is lost while its host is down"
        );
        host.outlaw |= pledged;
        host.stored = None;
    }

    /// Whether somebody of a cluster knows this host's present disk durably.
    fn clusters_that_know(&self, node: NodeId) -> bool {
        let Some(disk) = self.hosts[&node].stored.as_ref().map(|stored| stored.disk) else {
            return false;
        };
        self.hosts
            .values()
            .filter_map(|host| host.stored.as_ref())
            .any(|stored| {
                let founders = stored.standing.founders();
                stored.is_formed()
                    && (founders.is_some_and(|founders| founders.get(&node) == Some(&disk))
                        || stored
                            .peers
                            .get(&node)
                            .is_some_and(|peer| peer.disk == Some(disk)))
            })
    }

    pub fn move_away(&mut self, node: NodeId) {
        self.hosts.get_mut(&node).unwrap().port += 1;
    }

    /// Clusters that somebody is durably of.
    pub fn clusters(&self) -> BTreeSet<ClusterId> {
        let stored = self.hosts.values().filter_map(|host| host.stored.as_ref());
        stored
            .filter(|stored| stored.is_formed())
            .map(Identity::cluster)
            .collect()
    }

    pub fn send(&mut self, from: NodeId, to: NodeId, class: Class, bytes: usize) -> u64 {
        let seq = self.next_seq;
        self.next_seq += 1;
        let mut payload = codec::encode(&(from, to, class == Class::Bulk, seq));
        payload.resize(payload.len().max(bytes), seq as u8);
        let message = codec::seal(MESSAGE_KIND, 1, &payload);
        let sent = self.sent.entry((from, to, class)).or_default();
        sent.insert(seq, message.clone());
        self.step(from, Input::Send { to, class, message });
        seq
    }

    pub fn step(&mut self, node: NodeId, input: Input) {
        let now = self.now;
        let host = self.hosts.get_mut(&node).unwrap();
        let Some(transport) = &mut host.transport else {
            return;
        };
        let mut out = Outbox::new();
        transport.step(now, input, &mut out);
        transport.check();
        let effects: Vec<_> = out.drain().collect();
        for effect in effects {
            self.carry_out(node, effect);
        }
    }

    fn carry_out(&mut self, node: NodeId, effect: Effect) {
        let host = self.hosts.get_mut(&node).unwrap();
        let life = host.life;
        match effect {
            Effect::Dial {
                conn,
                node: meant,
                address,
            } => {
                let delay = Duration::from_micros(self.rng.between(100, 3_000));
                let end = End {
                    host: node,
                    life,
                    conn,
                };
                self.dials.push((self.now + delay, end, address, meant));
            }
            Effect::Write { conn, bytes } => {
                if let Some((stream, end)) = self.find(node, conn) {
                    self.streams[stream].lanes[end].written.extend(bytes);
                }
            }
            Effect::Close { conn, .. } => {
                self.dials
                    .retain(|(_, end, ..)| (end.host, end.conn) != (node, conn));
                if let Some((stream, end)) = self.find(node, conn) {
                    let stream = &mut self.streams[stream];
                    stream.open[end] = false;
                    let lane = &mut stream.lanes[end];
                    lane.flying.extend(lane.written.drain(..));
                    lane.ended = true;
                }
            }
            Effect::Deliver { from, message } => self.on_delivered(from, node, &message),
            Effect::PeerPlaced { peer, priority } => {
                assert!(host.up.contains(&peer), "only of one that is there");
                host.placed.insert(peer, priority);
            }
            Effect::PeerUp { peer, priority } => {
                assert_eq!(u64::from(priority), peer.0, "as the peer says");
                assert!(host.formed, "no peer before the node is formed");
                assert!(host.up.insert(peer), "a peer comes up once");
                let known = host
                    .stored
                    .as_ref()
                    .and_then(|stored| stored.peers.get(&peer));
                let disk = known.and_then(|known| known.disk);
                assert!(disk.is_some(), "its disk is noted before it is heard");
            }
            Effect::PeerLost { peer } => {
                assert!(host.up.remove(&peer), "who is lost was up");
            }
            Effect::PersistIdentity { write, identity } => {
                assert!(host.writing.is_empty(), "one write at a time");
                host.writing.push_back((write, identity));
            }
            Effect::Formed { identity } => {
                assert!(!host.formed, "formed once in a life");
                assert_eq!(
                    host.stored.as_ref(),
                    Some(&identity),
                    "formed once it is durable"
                );
                host.formed = true;
            }
            Effect::Refused { refusal, .. } => host.refusals.push(refusal),
            Effect::Report { message } => host.reports.push(message),
            Effect::AddressesChanged { .. } => {}
        }
    }

    /// Laws of delivery: exactly what was sent, in order, never twice, never from an outlaw.
    fn on_delivered(&mut self, from: NodeId, to: NodeId, message: &[u8]) {
        let payload = codec::unseal_all(MESSAGE_KIND, 1, message).expect("whole");
        let (said_from, said_to, bulk, seq): (NodeId, NodeId, bool, u64) = {
            // Fillers follow: find the head by growing it.
            (1..=payload.len())
                .find_map(|end| codec::decode(&payload[..end]).ok())
                .expect("a message of the world's")
        };
        assert_eq!(
            (said_from, said_to),
            (from, to),
            "delivered to whom it was sent"
        );
        let class = if bulk { Class::Bulk } else { Class::Control };
        let key = (from, to, class);
        let sent = self.sent.get(&key).and_then(|sent| sent.get(&seq));
        assert_eq!(
            sent.map(Vec::as_slice),
            Some(message),
            "exactly what was sent"
        );
        let last = self.last_delivered.entry(key).or_insert(0);
        assert!(seq > *last, "in order and once: {seq} after {last}");
        *last = seq;
        assert!(
            !self.hosts[&from].outlaw,
            "{from} has lost its disk and is heard by {to}"
        );
        assert!(self.hosts[&to].up.contains(&from), "heard while it is up");
        self.delivered.push((from, to, class, seq));
    }

    fn find(&self, host: NodeId, conn: ConnId) -> Option<(usize, usize)> {
        let life = self.hosts[&host].life;
        let wanted = End { host, life, conn };
        self.streams.iter().enumerate().find_map(|(at, stream)| {
            (0..2)
                .find(|end| stream.ends[*end] == wanted && stream.open[*end])
                .map(|end| (at, end))
        })
    }

    /// Lets a little time pass: what is due happens, bytes move.
    pub fn turn(&mut self) {
        self.now = self.now + Duration::from_micros(self.rng.between(50, 1_500));
        let nodes: Vec<_> = self.hosts.keys().copied().collect();
        for node in nodes {
            let due = self.hosts[&node]
                .transport
                .as_ref()
                .and_then(Machine::deadline);
            if due.is_some_and(|at| at <= self.now) {
                self.step(node, Input::Tick);
            }
            self.maybe_end_write(node);
        }
        self.end_dials();
        for at in 0..self.streams.len() {
            for end in 0..2 {
                self.fill_socket(at, end);
                self.fly(at, end);
            }
        }
        self.streams.retain(|stream| stream.open.contains(&true));
        assert!(
            self.clusters().len() <= 1,
            "one cluster: {:?}",
            self.clusters()
        );
    }

    fn maybe_end_write(&mut self, node: NodeId) {
        if !self.rng.chance(1, 4) || self.stuck_disks.contains(&node) {
            return;
        }
        let host = self.hosts.get_mut(&node).unwrap();
        if host.transport.is_none() {
            return;
        }
        let Some((write, identity)) = host.writing.pop_front() else {
            return;
        };
        let result = if self.rng.chance(1, 50) {
            Err("the disk is full".to_owned())
        } else {
            host.stored = Some(identity);
            Ok(())
        };
        self.step(node, Input::Persisted { write, result });
    }

    fn end_dials(&mut self) {
        let now = self.now;
        let (due, rest) = std::mem::take(&mut self.dials)
            .into_iter()
            .partition(|(at, ..)| *at <= now);
        self.dials = rest;
        let due: Vec<(Instant, End, Address, Option<NodeId>)> = due;
        for (at, end, address, meant) in due {
            let found = self
                .hosts
                .iter()
                .filter(|(node, _)| self.address(node.0) == address)
                .max_by_key(|(_, host)| host.transport.is_some());
            let target = found.map(|(node, host)| (*node, host.transport.is_some(), host.life));
            match target {
                Some((to, true, life)) => {
                    if self.is_cut(end.host, to) || self.is_cut(to, end.host) {
                        // Nobody answers: the machine's own timeout ends it.
                        self.dials
                            .push((at + Duration::from_millis(50), end, address, meant));
                        continue;
                    }
                    let host = self.hosts.get_mut(&to).unwrap();
                    host.next_accept += 1;
                    let conn = ConnId::Accepted(host.next_accept);
                    self.streams.push(Stream {
                        ends: [
                            end,
                            End {
                                host: to,
                                life,
                                conn,
                            },
                        ],
                        open: [true, true],
                        lanes: [Lane::default(), Lane::default()],
                        first: Some(Vec::new()),
                    });
                    let speaker = Speaker::Anyone;
                    self.step(
                        end.host,
                        Input::Dialed {
                            conn: end.conn,
                            speaker,
                        },
                    );
                }
                _ => {
                    let reason = "connection refused".into();
                    self.step(
                        end.host,
                        Input::DialFailed {
                            conn: end.conn,
                            reason,
                        },
                    );
                }
            }
        }
    }

    fn is_cut(&self, from: NodeId, to: NodeId) -> bool {
        self.cut.contains(&(from, to))
    }

    fn fill_socket(&mut self, at: usize, end: usize) {
        let stream = &mut self.streams[at];
        let lane = &mut stream.lanes[end];
        let room = self.socket_bytes.saturating_sub(lane.flying.len());
        let count = room.min(lane.written.len());
        if count == 0 || !stream.open[end] {
            return;
        }
        let count = self.rng.between(1, count as u64) as usize;
        lane.flying.extend(lane.written.drain(..count));
        let End { host, conn, .. } = stream.ends[end];
        self.step(host, Input::Sent { conn, bytes: count });
    }

    /// Moves bytes from one end to the other.
    fn fly(&mut self, at: usize, end: usize) {
        let stream = &mut self.streams[at];
        let (from, to) = (stream.ends[end].host, stream.ends[1 - end]);
        if self.cut.contains(&(from, to.host)) || !self.rng.chance(3, 4) {
            return;
        }
        if !stream.open[1 - end] {
            return;
        }
        let lane = &mut stream.lanes[end];
        if lane.flying.is_empty() {
            if lane.ended {
                stream.open[1 - end] = false;
                if stream.first.is_none() || end == 1 {
                    let (conn, reason) = (to.conn, "closed by the other side".into());
                    self.step(to.host, Input::Closed { conn, reason });
                }
            }
            return;
        }
        let count = self.rng.between(1, lane.flying.len() as u64) as usize;
        let bytes: Vec<u8> = lane.flying.drain(..count).collect();
        let input = match (&mut stream.first, end) {
            (Some(first), 0) => {
                // As the real driver: handed over once the first record is whole.
                first.extend(bytes);
                let header = codec::peek(first, limits::HELLO_BYTES_MAX);
                let Ok(Some(header)) = header else {
                    return;
                };
                if first.len() < header.record_bytes {
                    return;
                }
                let bytes = stream.first.take().unwrap();
                let speaker = Speaker::Anyone;
                Input::Accepted {
                    conn: to.conn,
                    bytes,
                    speaker,
                }
            }
            _ => Input::Bytes {
                conn: to.conn,
                bytes,
            },
        };
        self.step(to.host, input);
    }

    /// Breaks a stream; what flies is lost, in the middle of a record as it may be.
    pub fn reset_one(&mut self) {
        if self.streams.is_empty() {
            return;
        }
        let at = self.rng.below(self.streams.len() as u64) as usize;
        let half = self.rng.chance(1, 3);
        for end in 0..2 {
            let stream = &mut self.streams[at];
            stream.lanes[end].flying.clear();
            // Half open: one end never hears of it.
            if (half && end == 1) || !stream.open[end] {
                continue;
            }
            stream.open[end] = false;
            let End { host, conn, .. } = stream.ends[end];
            if stream.first.is_none() || end == 0 {
                let reason = "connection reset".into();
                self.step(host, Input::Closed { conn, reason });
            }
        }
    }

    /// Turns until it holds; panics with the reports when it does not within the time.
    pub fn until(&mut self, what: &str, within: Duration, mut holds: impl FnMut(&Self) -> bool) {
        let end = self.now + within;
        while !holds(self) {
            if self.now >= end {
                let hosts = self.hosts.iter().map(|(node, host)| {
                    let transport = host.transport.as_ref();
                    let (status, waiting) = (
                        transport.map(Transport::status),
                        transport.map(Transport::waiting),
                    );
                    format!("{node}: {status:?}\n  {waiting:?}\n  {:?}\n", host.reports)
                });
                panic!("{what} within {within:?}:\n{}", hosts.collect::<String>());
            }
            self.turn();
        }
    }

    pub fn all_up(&self, nodes: impl IntoIterator<Item = u64>) -> bool {
        let nodes: BTreeSet<_> = nodes.into_iter().map(NodeId).collect();
        nodes.iter().all(|node| {
            let others = nodes.iter().filter(|other| *other != node);
            let up = &self.hosts[node].up;
            others.into_iter().all(|other| up.contains(other))
        })
    }
}
