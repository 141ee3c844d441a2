//! Whom to dial, where, and when: the node with the higher id first, for ever, less and less often.

use std::collections::BTreeSet;

use super::conn::{Conn, State, Target};
use super::hello::PeerHello;
use super::machine::{Peer, Transport};
use super::{Address, ConnId, Effect, PeerAddress};
use crate::id::NodeId;
use crate::machine::Outbox;
use crate::time::{Duration, Instant};

/// When to dial next.
#[derive(Debug, Default)]
pub(super) struct Dialer {
    /// The dial under way, until its connection is up or has ended.
    conn: Option<ConnId>,
    failures: u32,
    /// Dials so far: the addresses take turns.
    count: usize,
    next_at: Instant,
}

impl Dialer {
    /// A connection is up.
    pub fn reset(&mut self, now: Instant) {
        self.failures = 0;
        self.next_at = now;
    }

    /// Nothing will change soon: an operator has to act.
    pub fn slow_down(&mut self) {
        self.failures = u32::MAX;
    }
}

/// Who is at a configured address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    Unknown,
    Is(NodeId),
    Oneself,
}

/// A configured address.
#[derive(Debug)]
pub(super) struct Entry {
    pub given: PeerAddress,
    pub who: Who,
    dialer: Dialer,
    pub trouble: Option<String>,
}

impl Entry {
    /// The node has reached itself there.
    pub fn is_oneself(&mut self) {
        self.who = Who::Oneself;
        self.trouble = None;
    }

    /// This node is there.
    pub fn is(&mut self, node: NodeId) {
        self.who = Who::Is(node);
        self.trouble = None;
    }
}

impl Transport {
    pub(super) fn begin_dialing(&mut self) {
        for given in self.options.start.nodes().to_vec() {
            let own = given.node == Some(self.identity.node)
                || (given.node.is_none() && given.address == self.options.address);
            let who = match given.node {
                _ if own => Who::Oneself,
                Some(node) => Who::Is(node),
                None => Who::Unknown,
            };
            self.entries.push(Entry {
                given,
                who,
                dialer: Dialer::default(),
                trouble: None,
            });
        }
        self.make_peers();
    }

    /// Makes sure that there is a [`Peer`] for everybody who is known.
    pub(super) fn make_peers(&mut self) {
        let entries = self.entries.iter().filter_map(|entry| match entry.who {
            Who::Is(node) => Some(node),
            Who::Unknown | Who::Oneself => None,
        });
        let known = self.identity.peers.keys().copied();
        let listed = self.listed.iter().flatten().copied();
        let nodes: BTreeSet<_> = entries.chain(known).chain(listed).collect();
        let lower_at = self.now + self.options.lower_dials_after;
        for node in nodes {
            if node != self.identity.node {
                self.peers.entry(node).or_insert_with(|| Peer {
                    lower_at,
                    ..Peer::default()
                });
            }
        }
    }

    pub(super) fn on_listed(&mut self, nodes: BTreeSet<NodeId>) {
        self.listed = Some(nodes);
        self.make_peers();
    }

    pub(super) fn on_address_learned(&mut self, node: NodeId, address: Address) {
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.learned = Some(address);
        }
    }

    /// Where a node may be, the likeliest first.
    pub(super) fn addresses_of(&self, node: NodeId) -> Vec<&Address> {
        let known = self.identity.peers.get(&node).map(|peer| &peer.address);
        let learned = self.peers.get(&node).and_then(|peer| peer.learned.as_ref());
        let entries = self.entries.iter();
        let given = entries.filter(|entry| entry.who == Who::Is(node));
        let mut all: Vec<&Address> = Vec::new();
        for address in known
            .into_iter()
            .chain(learned)
            .chain(given.map(|entry| &entry.given.address))
        {
            if !all.contains(&address) {
                all.push(address);
            }
        }
        all
    }

    /// Who said this hello is where it was dialed, and where it says that it is.
    pub(super) fn resolve_entries(&mut self, id: ConnId, hello: &PeerHello) {
        let target = self.conns.get(&id).and_then(|conn| conn.target);
        for (number, entry) in self.entries.iter_mut().enumerate() {
            if entry.who == Who::Unknown
                && (target == Some(Target::Entry(number)) || entry.given.address == hello.address)
            {
                entry.is(hello.node);
            }
        }
    }

    /// Somebody else is where a node was expected: nobody knows any more who is at the addresses
    /// that were thought to be its own, but for what the operator says.
    pub(super) fn forget_entries_of(&mut self, node: NodeId) {
        for entry in &mut self.entries {
            if entry.who == Who::Is(node) && entry.given.node.is_none() {
                entry.who = Who::Unknown;
            }
        }
    }

    /// The connection that a dial was for is up.
    pub(super) fn end_dial(&mut self, target: Option<Target>, id: ConnId) {
        if let Some(dialer) = target.and_then(|target| self.dialer(target))
            && dialer.conn == Some(id)
        {
            dialer.conn = None;
        }
    }

    /// A connection has ended; the next dial waits a little, longer each time.
    pub(super) fn fail_dial(&mut self, target: Option<Target>, id: ConnId) {
        let now = self.now;
        let Some(target) = target else { return };
        let Some(failures) = self.dialer(target).map(|dialer| dialer.failures) else {
            return;
        };
        let delay = self.backoff(failures);
        let Some(dialer) = self.dialer(target) else {
            return;
        };
        dialer.next_at = now + delay;
        if dialer.conn == Some(id) {
            dialer.conn = None;
            dialer.failures = dialer.failures.saturating_add(1);
        }
    }

    /// Doubles with each failure up to the bound; between half of that and all of it, so that
    /// nodes that failed together do not try together.
    fn backoff(&mut self, failures: u32) -> Duration {
        let factor = 1_u32.checked_shl(failures).unwrap_or(u32::MAX);
        let (min, max) = (self.options.redial_min, self.options.redial_max);
        let longest = min.saturating_mul(factor).min(max);
        let nanos = u64::try_from(longest.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.rng.between(nanos / 2, nanos))
    }

    fn dialer(&mut self, target: Target) -> Option<&mut Dialer> {
        match target {
            Target::Node(node) => self.peers.get_mut(&node).map(|peer| &mut peer.dialer),
            Target::Entry(entry) => self.entries.get_mut(entry).map(|entry| &mut entry.dialer),
        }
    }

    pub(super) fn slow_down(&mut self, target: Target) {
        if let Some(dialer) = self.dialer(target) {
            dialer.slow_down();
        }
    }

    /// When this target is to be dialed; `None` while it is not.
    fn dial_at(&self, target: Target) -> Option<Instant> {
        match target {
            Target::Node(node) => {
                let peer = self.peers.get(&node)?;
                let waits = peer.conn.is_some()
                    || peer.dialer.conn.is_some()
                    || !self.is_wanted(node)
                    || self.addresses_of(node).is_empty()
                    || self.conns.values().any(|conn| conn.peer() == Some(node));
                let higher = self.identity.node > node;
                let from = if higher { Instant::ZERO } else { peer.lower_at };
                (!waits).then_some(peer.dialer.next_at.max(from))
            }
            Target::Entry(entry) => {
                let entry = self.entries.get(entry)?;
                // Once of a cluster and with a peer, everybody else is learned from that one.
                let needed = !self.formed || self.peers.values().all(|peer| !peer.up);
                let due = entry.who == Who::Unknown && entry.dialer.conn.is_none() && needed;
                due.then_some(entry.dialer.next_at)
            }
        }
    }

    pub(super) fn is_wanted(&self, node: NodeId) -> bool {
        match &self.listed {
            Some(listed) if self.formed => listed.contains(&node),
            _ => true,
        }
    }

    fn targets(&self) -> impl Iterator<Item = Target> + '_ {
        let nodes = self.peers.keys().map(|node| Target::Node(*node));
        nodes.chain((0..self.entries.len()).map(Target::Entry))
    }

    pub(super) fn next_dial_at(&self) -> Option<Instant> {
        self.durable.as_ref()?;
        self.targets()
            .filter_map(|target| self.dial_at(target))
            .min()
    }

    pub(super) fn dial_who_is_due(&mut self, out: &mut Outbox<Effect>) {
        let due: Vec<_> = self
            .targets()
            .filter(|target| self.dial_at(*target).is_some_and(|at| at <= self.now))
            .collect();
        for target in due {
            self.dial(target, out);
        }
    }

    fn dial(&mut self, target: Target, out: &mut Outbox<Effect>) {
        let (node, address) = match target {
            Target::Node(node) => {
                let addresses = self.addresses_of(node);
                let count = self.peers[&node].dialer.count;
                (Some(node), addresses[count % addresses.len()].clone())
            }
            Target::Entry(entry) => (None, self.entries[entry].given.address.clone()),
        };
        let number = self.next_dial;
        self.next_dial += 1;
        let id = ConnId::Dialed(number);
        let mut conn = Conn::new(State::Dialing, self.now);
        conn.target = Some(target);
        conn.address = Some(address.clone());
        conn.dial = number;
        self.conns.insert(id, conn);
        if let Some(dialer) = self.dialer(target) {
            dialer.conn = Some(id);
            dialer.count = dialer.count.wrapping_add(1);
        }
        out.push(Effect::Dial {
            conn: id,
            node,
            address,
        });
    }
}
