//! Which nodes there are, where they are, and who leads: what is known of it.
//!
//! An address at which a node has answered is worth more than one that another node tells: only
//! the first is known to work from here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mfsha_core::id::NodeId;
use mfsha_core::native::{
    ClientHello, ClusterId, PROTOCOL_NEWEST, PROTOCOL_OLDEST, Refusal, Welcome,
};
use tokio::time::{Instant, timeout};

use crate::address::Address;
use crate::dial::Dial;
use crate::explain::explain;
use crate::link::{Link, OpenError};
use crate::options::ClientOptions;

/// Addresses that are kept at most, beside those that the client was given.
const TOLD_COUNT_MAX: usize = 256;
/// An address that failed is not tried again before this.
const PAUSE: Duration = Duration::from_millis(200);

/// The way to one address.
pub struct Slot {
    pub address: Address,
    way: tokio::sync::Mutex<Way>,
}

#[derive(Default)]
struct Way {
    link: Option<(Link, NodeId)>,
    /// The last failure, and until when it stands.
    failed: Option<(OpenError, Instant)>,
}

/// All of it.
pub struct Book {
    options: ClientOptions,
    dial: Box<dyn Dial>,
    known: Mutex<Known>,
}

struct Known {
    slots: BTreeMap<Address, Arc<Slot>>,
    /// Where a node has answered.
    proven: BTreeMap<NodeId, Address>,
    /// Where nodes are said to be.
    told: BTreeMap<NodeId, Address>,
    leader: Option<NodeId>,
    cluster: Option<ClusterId>,
    /// Which address is asked when nothing better is known.
    turn: usize,
}

impl Book {
    pub fn new(options: ClientOptions, dial: Box<dyn Dial>, turn: u64) -> Self {
        let slots: BTreeMap<Address, Arc<Slot>> = options
            .addresses
            .iter()
            .map(|address| (address.clone(), slot(address)))
            .collect();
        let known = Known {
            turn: (turn % slots.len().max(1) as u64) as usize,
            slots,
            proven: BTreeMap::new(),
            told: BTreeMap::new(),
            leader: None,
            cluster: options.cluster,
        };
        Self {
            options,
            dial,
            known: Mutex::new(known),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The way to the leader as far as known, otherwise to whoever's turn it is.
    pub fn best(&self) -> Arc<Slot> {
        let leader = self.lock().leader;
        leader
            .and_then(|leader| self.of(leader))
            .unwrap_or_else(|| self.any())
    }

    /// The way to whoever's turn it is.
    pub fn any(&self) -> Arc<Slot> {
        let known = self.lock();
        let at = known.turn % known.slots.len();
        let slot = known.slots.values().nth(at);
        Arc::clone(slot.expect("given addresses are never removed, and there is one"))
    }

    /// The way to a node, when its address is known.
    pub fn of(&self, node: NodeId) -> Option<Arc<Slot>> {
        let known = self.lock();
        let address = known.proven.get(&node).or_else(|| known.told.get(&node))?;
        known.slots.get(address).cloned()
    }

    /// Ways to all nodes, each once: those whose number is known, then other addresses.
    pub fn all(&self) -> Vec<(Option<NodeId>, Arc<Slot>)> {
        let known = self.lock();
        let mut out = Vec::new();
        let mut seen = BTreeSet::new();
        let numbered = known.told.keys().chain(known.proven.keys());
        for node in numbered.collect::<BTreeSet<_>>() {
            let address = known.proven.get(node).or_else(|| known.told.get(node));
            seen.extend(known.proven.get(node));
            seen.extend(known.told.get(node));
            if let Some(slot) = address.and_then(|address| known.slots.get(address)) {
                out.push((Some(*node), Arc::clone(slot)));
            }
        }
        for (address, slot) in &known.slots {
            if !seen.contains(address) {
                out.push((None, Arc::clone(slot)));
            }
        }
        out
    }

    /// How many addresses there are.
    pub fn count(&self) -> usize {
        self.lock().slots.len()
    }

    /// It was of no use to ask there: somebody else is next, and this one is not taken for the
    /// leader any more.
    pub fn pass_over(&self, slot: &Slot) {
        let mut known = self.lock();
        let at = known.turn % known.slots.len();
        if known.slots.keys().nth(at) == Some(&slot.address) {
            known.turn = (at + 1) % known.slots.len();
        }
        let led_there = known.leader.is_some_and(|leader| {
            let address = known
                .proven
                .get(&leader)
                .or_else(|| known.told.get(&leader));
            address == Some(&slot.address)
        });
        if led_there {
            known.leader = None;
        }
    }

    /// Somebody says who leads. True when a way there is known.
    pub fn hear_leader(&self, leader: NodeId) -> bool {
        self.lock().leader = Some(leader);
        self.of(leader).is_some()
    }

    /// A node has done what only a leader does.
    pub fn see_leader(&self, leader: NodeId) {
        self.lock().leader = Some(leader);
    }

    /// A node tells where the nodes are. What is no address is passed over.
    pub fn hear_addresses(&self, told: &BTreeMap<NodeId, String>) {
        let mut known = self.lock();
        known.told = told
            .iter()
            .take(TOLD_COUNT_MAX)
            .filter_map(|(node, text)| Some((*node, text.parse().ok()?)))
            .collect();
        let known = &mut *known;
        let mut wanted: BTreeSet<Address> = self.options.addresses.iter().cloned().collect();
        wanted.extend(known.told.values().cloned());
        known.slots.retain(|address, _| wanted.contains(address));
        known.proven.retain(|_, address| wanted.contains(address));
        for address in wanted {
            known.slots.entry(address).or_insert_with_key(slot);
        }
    }

    /// The cluster, once a node has said it.
    pub fn cluster(&self) -> Option<ClusterId> {
        self.lock().cluster
    }

    /// The connection to an address, made now if there is none. Calls that want it at the same
    /// time share it, and its failure for a little while.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn link(&self, slot: &Slot) -> Result<(Link, NodeId), OpenError> {
        let mut way = slot.way.lock().await;
        if let Some((link, node)) = &way.link
            && link.is_open()
        {
            return Ok((link.clone(), *node));
        }
        way.link = None;
        if let Some((error, until)) = &way.failed
            && Instant::now() < *until
        {
            return Err(error.clone());
        }
        let limit = self.options.connect_timeout;
        let opened = timeout(limit, self.open(&slot.address)).await;
        let opened = opened.unwrap_or_else(|_| {
            let text = format!("{} does not answer within {limit:?}", slot.address);
            Err(OpenError::Io(text))
        });
        match opened {
            Ok((link, welcome)) => {
                self.welcome(&slot.address, &welcome);
                way.failed = None;
                way.link = Some((link.clone(), welcome.node));
                Ok((link, welcome.node))
            }
            Err(error) => {
                tracing::debug!(address = %slot.address, %error, "no connection");
                way.failed = Some((error.clone(), Instant::now() + PAUSE));
                Err(error)
            }
        }
    }

    /// The node does not answer: the next call makes another connection. Calls on this one go on.
    pub async fn forget_link(&self, slot: &Slot, link: &Link) {
        let mut way = slot.way.lock().await;
        if way.link.as_ref().is_some_and(|(held, _)| held.is(link)) {
            way.link = None;
        }
    }

    /// The node is silent, and another is asked instead: the next call makes another connection.
    pub fn drop_link(&self, slot: &Slot) {
        // Whoever is making one right now will have a fresh one.
        if let Ok(mut way) = slot.way.try_lock() {
            way.link = None;
        }
    }

    async fn open(&self, address: &Address) -> Result<(Link, Welcome), OpenError> {
        let hello = ClientHello {
            protocol: (PROTOCOL_OLDEST, PROTOCOL_NEWEST),
            token: self.options.token.clone(),
            cluster: self.cluster(),
            program: self.options.program.clone(),
        };
        let stream = self.dial.dial(address).await;
        let stream =
            stream.map_err(|error| OpenError::Io(format!("{address}: {}", explain(&error))))?;
        let opened = Link::open(stream, &hello, self.options.calls_max).await;
        let (link, welcome) = opened.map_err(|error| match error {
            OpenError::Io(reason) => OpenError::Io(format!("{address}: {reason}")),
            refused @ OpenError::Refused(_) => refused,
        })?;
        match hello.cluster {
            Some(meant) if meant != welcome.cluster => Err(OpenError::Refused(Refusal::Cluster {
                cluster: welcome.cluster,
            })),
            _ => Ok((link, welcome)),
        }
    }

    fn welcome(&self, address: &Address, welcome: &Welcome) {
        self.hear_addresses(&welcome.addresses);
        let mut known = self.lock();
        known.proven.retain(|_, proven| proven != address);
        // An address is forgotten when nobody tells of it; it may have been, meanwhile.
        if known.slots.contains_key(address) {
            known.proven.insert(welcome.node, address.clone());
        }
        if known.cluster.is_none() && welcome.cluster != ClusterId::default() {
            known.cluster = Some(welcome.cluster);
        }
    }
}

fn slot(address: &Address) -> Arc<Slot> {
    Arc::new(Slot {
        address: address.clone(),
        way: tokio::sync::Mutex::default(),
    })
}
