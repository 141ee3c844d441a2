//! One connection: how far its two sides know each other, and whether it is alive.

use super::frames::FrameReader;
use super::hello::PeerHello;
use super::{Address, Speaker};
use crate::id::NodeId;
use crate::limits;
use crate::time::Instant;

/// What a dial is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Target {
    /// A node that is known.
    Node(NodeId),
    /// A configured address, by its place in the list, while nobody knows who is there.
    Entry(usize),
}

/// How far the two sides know each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    /// Dialed, not there yet.
    Dialing,
    /// Dialed; our hello is out, a welcome is awaited.
    HelloSent,
    /// Accepted; the hello is awaited.
    HelloAwaited,
    /// The other side's hello is here and liked; its disk is being noted.
    Noting,
    /// Accepted; our welcome is out, `Ready` is awaited.
    Welcomed,
    /// Both know each other.
    Up,
}

/// A sign of life that was not confirmed yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unheard {
    pub number: u64,
    pub since: Instant,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Conn {
    pub state: State,
    pub speaker: Speaker,
    /// What it was dialed for; `None` when it was accepted.
    pub target: Option<Target>,
    /// Where it was dialed to.
    pub address: Option<Address>,
    /// Number of the dial in the dialer's life.
    pub dial: u64,
    /// What the other side said; there from `Noting` on.
    pub hello: Option<Box<PeerHello>>,
    pub reader: FrameReader,
    /// When it came into being (a dial: when it ended well): the handshake is timed from here.
    pub since: Instant,
    /// Bytes handed to the driver and not reported as sent.
    pub handed_bytes: usize,
    /// When the other side last said anything.
    pub heard_at: Instant,
    /// When the next sign of life is due.
    pub alive_at: Instant,
    /// Signs of life sent.
    pub alive_sent: u64,
    /// Highest sign of life heard.
    pub alive_heard: u64,
    /// The oldest of ours that may not have arrived.
    pub unheard: Option<Unheard>,
}

impl Conn {
    pub fn new(state: State, now: Instant) -> Self {
        Self {
            state,
            speaker: Speaker::Anyone,
            target: None,
            address: None,
            dial: 0,
            hello: None,
            reader: FrameReader::new(limits::HELLO_BYTES_MAX),
            since: now,
            handed_bytes: 0,
            heard_at: now,
            alive_at: now,
            alive_sent: 0,
            alive_heard: 0,
            unheard: None,
        }
    }

    /// Who is on the other side, once it has said so and is liked.
    pub fn peer(&self) -> Option<NodeId> {
        self.hello.as_ref().map(|hello| hello.node)
    }

    /// Which of several connections with one peer is kept: both sides compute the same order, so
    /// they never close each other's. A new life of the peer beats an old one, a dial of the higher
    /// node one of the lower, a later dial an earlier one of the same node.
    pub fn rank(&self, own: NodeId) -> (u64, bool, u64) {
        let hello = self.hello.as_ref().expect("ranked once the peer is known");
        let dialed_by_higher = self.target.is_some() == (own > hello.node);
        (hello.incarnation, dialed_by_higher, self.dial)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::{DiskId, Standing};

    /// A connection as one end sees it.
    fn seen(peer: u64, dialed_here: bool, dial: u64) -> Conn {
        let mut conn = Conn::new(State::Up, Instant::ZERO);
        conn.target = dialed_here.then_some(Target::Node(NodeId(peer)));
        conn.dial = dial;
        conn.hello = Some(Box::new(PeerHello {
            protocol: (1, 1),
            node: NodeId(peer),
            disk: DiskId(1),
            incarnation: 1,
            life: 1,
            address: "a:1".parse().unwrap(),
            dial,
            meant: None,
            joins: false,
            priority: 0,
            standing: Standing::Open,
            known: std::collections::BTreeMap::new(),
        }));
        conn
    }

    #[test]
    fn both_ends_keep_the_same_connection() {
        let (low, high) = (NodeId(1), NodeId(2));
        // Each connection: who dialed, and its number there.
        let all = [(low, 1), (low, 7), (high, 1), (high, 3)];
        let best = |own: NodeId, peer: NodeId| {
            let rank = |(by, dial): &(NodeId, u64)| seen(peer.0, *by == own, *dial).rank(own);
            all.iter().max_by_key(|conn| rank(conn)).unwrap()
        };
        assert_eq!(best(low, high), best(high, low));
        assert_eq!(
            best(low, high),
            &(high, 3),
            "the higher node's, and its latest"
        );
    }
}
