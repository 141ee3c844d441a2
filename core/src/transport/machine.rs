//! The transport itself: connections come into being, get to know each other, carry, and end.
//!
//! Whom to dial is in `dialing`, how a cluster is formed in `formation`, who is refused in `judge`.

use std::collections::{BTreeMap, BTreeSet};

use super::conn::{Conn, State, Target, Unheard};
use super::dialing::{Dialer, Entry};
use super::hello::{Note, PEER_HELLO_KIND, PEER_NOTE_KIND, PeerHello, PeerRefusal};
use super::identity::{Identity, KnownPeer, Standing};
use super::judge::Case;
use super::queue::Queue;
use super::{Address, Class, ConnId, Effect, Input, Options, Speaker, StartError};
use crate::buggify::Site;
use crate::codec::{self, DecodeError};
use crate::id::{NodeId, WriteId};
use crate::limits;
use crate::machine::{Machine, Outbox};
use crate::native::admin::PeerStatus;
use crate::rng::{Rng, Seed};
use crate::time::{Duration, Instant};

/// Reports on strangers' nonsense come at most this often.
const NONSENSE_REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// What is kept of one peer in memory.
#[derive(Debug, Default)]
pub(super) struct Peer {
    /// The connection that is up.
    pub conn: Option<ConnId>,
    /// Whether the node was told so. Invariant: `conn` is there.
    pub up: bool,
    pub queue: Queue,
    pub dialer: Dialer,
    /// A node with a higher id is left to dial until then.
    pub lower_at: Instant,
    /// Where somebody says that it is.
    pub learned: Option<Address>,
    /// Why there is no connection, as last reported.
    pub trouble: Option<String>,
    /// Start and life of its process that was liked last.
    pub life: Option<(u64, u64)>,
    /// What its last connection had of a frame when it broke.
    #[cfg(feature = "planted-bugs")]
    pub half_frame: Vec<u8>,
}

/// Versions of what peers are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct News {
    standing: u64,
    known: u64,
    priority: u64,
}

/// All connections of one node to its peers; see the module's documentation.
#[derive(Debug)]
pub struct Transport {
    pub(super) options: Options,
    pub(super) rng: Rng,
    pub(super) now: Instant,
    /// What is to be kept.
    pub(super) identity: Identity,
    /// What is kept: everything that is told to others rests on it. `None` before the first write
    /// of this life is durable; until then nobody is spoken to.
    pub(super) durable: Option<Identity>,
    /// The write under way.
    writing: Option<(WriteId, Identity)>,
    next_write: u64,
    /// When a failed write is tried again.
    write_retry_at: Option<Instant>,
    /// Whether [`Effect::Formed`] was given.
    pub(super) formed: bool,
    /// Raised whenever the durable standing, and what is known of peers, changes.
    news: News,
    /// How far each connection was told.
    told: BTreeMap<ConnId, News>,
    pub(super) conns: BTreeMap<ConnId, Conn>,
    pub(super) peers: BTreeMap<NodeId, Peer>,
    pub(super) entries: Vec<Entry>,
    pub(super) listed: Option<BTreeSet<NodeId>>,
    /// Founders that were seen to have pledged what this node has pledged.
    pub(super) pledged: BTreeSet<NodeId>,
    pub(super) next_dial: u64,
    addresses_told: BTreeMap<NodeId, Address>,
    nonsense_report_at: Instant,
    nonsense: u64,
    dropped: u64,
    /// What the operator was last told about the way into a cluster.
    pub(super) formation_trouble: Option<String>,
    /// Whether the first tick has come.
    begun: bool,
}

impl Transport {
    /// Builds the transport of a node with this identity, as it was stored or as it was just made.
    ///
    /// # Errors
    /// [`StartError`]: the options and the identity contradict each other.
    pub fn new(
        options: Options,
        identity: Identity,
        seed: Seed,
        now: Instant,
    ) -> Result<Self, StartError> {
        super::formation::check_start(&options, &identity)?;
        let mut transport = Self {
            rng: seed.child("transport").rng(),
            now,
            durable: None,
            writing: None,
            next_write: 1,
            write_retry_at: None,
            formed: false,
            news: News::default(),
            told: BTreeMap::new(),
            conns: BTreeMap::new(),
            peers: BTreeMap::new(),
            entries: Vec::new(),
            listed: None,
            pledged: BTreeSet::new(),
            next_dial: 1,
            addresses_told: BTreeMap::new(),
            nonsense_report_at: now,
            nonsense: 0,
            dropped: 0,
            formation_trouble: None,
            begun: false,
            identity,
            options,
        };
        transport.identity.incarnation += 1;
        transport.begin_formation();
        transport.begin_dialing();
        Ok(transport)
    }

    /// The identity as it is to be kept; the last `PersistIdentity` has it, or the next.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The peers, as an operator sees them.
    #[must_use]
    pub fn status(&self) -> BTreeMap<NodeId, PeerStatus> {
        let status = |(node, peer): (&NodeId, &Peer)| {
            let address = self.addresses_of(*node).first().map(ToString::to_string);
            let status = PeerStatus {
                address,
                connected: peer.conn.is_some(),
                trouble: peer.trouble.clone(),
            };
            (*node, status)
        };
        self.peers.iter().map(status).collect()
    }

    /// Where this node and its peers are, as far as known.
    #[must_use]
    pub fn addresses(&self) -> BTreeMap<NodeId, Address> {
        let peers = self.identity.peers.iter();
        let own = (self.identity.node, self.options.address.clone());
        peers
            .map(|(node, peer)| (*node, peer.address.clone()))
            .chain([own])
            .collect()
    }

    /// Messages that were dropped: no connection, or no room.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Bytes from peers and strangers that made no sense, in occasions.
    #[must_use]
    pub fn nonsense(&self) -> u64 {
        self.nonsense
    }

    fn on_tick(&mut self, out: &mut Outbox<Effect>) {
        self.begun = true;
        if self.write_retry_at.is_some_and(|at| at <= self.now) {
            self.write_retry_at = None;
        }
        let ids: Vec<_> = self.conns.keys().copied().collect();
        for id in ids {
            self.watch(id, out);
        }
    }

    /// Ends a connection that takes too long or is dead; sends a sign of life when it is time.
    fn watch(&mut self, id: ConnId, out: &mut Outbox<Effect>) {
        let (now, options) = (self.now, &self.options);
        let Some(conn) = self.conns.get(&id) else {
            return;
        };
        let reason = match conn.state {
            State::Dialing if conn.since + options.dial_timeout <= now => {
                Some("no answer to the attempt to connect")
            }
            State::Dialing => None,
            State::Up if conn.heard_at + options.silence_max <= now => Some("it is silent"),
            State::Up => conn
                .unheard
                .is_some_and(|unheard| unheard.since + options.unheard_max <= now)
                .then_some("what is sent to it does not arrive"),
            _ => (conn.since + options.handshake_timeout <= now)
                .then_some("it did not get through the handshake in time"),
        };
        if let Some(reason) = reason {
            return self.close(id, reason, out);
        }
        if conn.state == State::Up && conn.alive_at <= now {
            self.send_alive(id, out);
        }
    }

    fn send_alive(&mut self, id: ConnId, out: &mut Outbox<Effect>) {
        let now = self.now;
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        conn.alive_sent += 1;
        conn.alive_at = now + self.options.alive_interval;
        let number = conn.alive_sent;
        conn.unheard.get_or_insert(Unheard { number, since: now });
        let heard = conn.alive_heard;
        self.write(id, Note::Alive { number, heard }.to_bytes(), out);
    }

    fn on_dialed(&mut self, id: ConnId, speaker: Speaker, out: &mut Outbox<Effect>) {
        let meant = self.meant(id);
        let (now, own) = (self.now, self.own_hello(0, meant));
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        if conn.state != State::Dialing {
            return;
        }
        conn.state = State::HelloSent;
        conn.speaker = speaker;
        conn.since = now;
        conn.heard_at = now;
        let own = PeerHello {
            dial: conn.dial,
            ..own
        };
        self.told.insert(id, self.news);
        self.write(id, own.to_bytes(), out);
    }

    fn on_accepted(
        &mut self,
        id: ConnId,
        bytes: &[u8],
        speaker: Speaker,
        out: &mut Outbox<Effect>,
    ) {
        assert!(
            matches!(id, ConnId::Accepted(_)),
            "the driver numbers what it accepts"
        );
        if self.durable.is_none() {
            // Nothing can be said yet; whoever it is tries again.
            let reason = "this node is still starting".into();
            return out.push(Effect::Close { conn: id, reason });
        }
        let mut conn = Conn::new(State::HelloAwaited, self.now);
        conn.speaker = speaker;
        let twice = self.conns.insert(id, conn);
        assert!(twice.is_none(), "numbers of connections are not used again");
        self.on_bytes(id, bytes, out);
    }

    fn on_bytes(&mut self, id: ConnId, bytes: &[u8], out: &mut Outbox<Effect>) {
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        conn.heard_at = self.now;
        conn.reader.push(bytes);
        while let Some(conn) = self.conns.get_mut(&id) {
            match conn.reader.next_record() {
                Ok(Some(record)) => self.on_record(id, record, out),
                Ok(None) => return,
                Err(error) => self.on_nonsense(id, &error, out),
            }
        }
    }

    fn on_record(&mut self, id: ConnId, record: Vec<u8>, out: &mut Outbox<Effect>) {
        let state = self.conns[&id].state;
        let header = codec::peek(&record, limits::RECORD_BYTES_MAX);
        let kind = header.ok().flatten().map(|header| header.kind);
        let result = match (state, kind) {
            (State::HelloAwaited, Some(PEER_HELLO_KIND)) => {
                PeerHello::from_bytes(&record).map(|hello| self.on_hello(id, hello, out))
            }
            (State::HelloAwaited, _) => Err(unexpected("before its hello")),
            (_, Some(PEER_NOTE_KIND)) => {
                Note::from_bytes(&record).and_then(|note| self.on_note(id, state, note, out))
            }
            (State::Up, Some(kind)) if kind != PEER_HELLO_KIND => {
                self.on_message(id, record, out);
                Ok(())
            }
            _ => Err(unexpected("in the handshake")),
        };
        match result {
            Ok(()) => {}
            // A newer program's hello cannot be read, but it can be told why.
            Err(DecodeError::Version { .. }) => {
                let (oldest, newest) = self.options.protocol;
                let refusal = PeerRefusal::Protocol {
                    node: self.identity.node,
                    oldest,
                    newest,
                };
                self.refuse(id, refusal, out);
            }
            Err(error) => self.on_nonsense(id, &error, out),
        }
    }

    fn on_note(
        &mut self,
        id: ConnId,
        state: State,
        note: Note,
        out: &mut Outbox<Effect>,
    ) -> Result<(), DecodeError> {
        match (note, state) {
            (Note::Welcome(hello), State::HelloSent) => self.on_hello(id, *hello, out),
            (Note::Refused { by, refusal }, _) => self.on_refused(id, by, refusal, out),
            (Note::Ready, State::Welcomed) => self.become_up(id, out),
            (Note::Alive { number, heard }, State::Up) => self.on_alive(id, number, heard)?,
            (Note::Standing(standing), State::Noting | State::Up) => {
                self.on_standing(id, standing, out);
            }
            (Note::Known(known), State::Noting | State::Up) => self.on_known(id, known),
            (Note::Priority(priority), State::Noting | State::Up) => {
                self.on_priority(id, priority, out);
            }
            _ => return Err(unexpected("out of turn")),
        }
        Ok(())
    }

    fn on_alive(&mut self, id: ConnId, number: u64, heard: u64) -> Result<(), DecodeError> {
        let conn = self.conns.get_mut(&id).expect("it has just spoken");
        if number <= conn.alive_heard || heard > conn.alive_sent {
            return Err(unexpected("with numbers that never were"));
        }
        conn.alive_heard = number;
        if conn.unheard.is_some_and(|unheard| unheard.number <= heard) {
            conn.unheard = None;
        }
        Ok(())
    }

    /// The other side of a connection has said who it is.
    fn on_hello(&mut self, id: ConnId, hello: PeerHello, out: &mut Outbox<Effect>) {
        let conn = &self.conns[&id];
        let case = Case {
            options: &self.options,
            own: &self.identity,
            last_life: self.peers.get(&hello.node).and_then(|peer| peer.life),
            meant: self.meant(id),
            speaker: &conn.speaker,
        };
        let judged = case.judge(&hello);
        let result = judged.and_then(|()| self.make_room(hello.node));
        if let Err(refusal) = result {
            return self.refuse(id, refusal, out);
        }
        self.like(id, hello, out);
    }

    fn like(&mut self, id: ConnId, hello: PeerHello, out: &mut Outbox<Effect>) {
        let peer = hello.node;
        self.resolve_entries(id, &hello);
        let conn = self.conns.get_mut(&id).expect("its hello is being judged");
        if conn.target.is_none() {
            conn.dial = hello.dial;
        }
        conn.hello = Some(Box::new(hello));
        let rank = conn.rank(self.identity.node);
        let others = self.conns_of(peer, id);
        if others.iter().any(|(_, other, _)| *other > rank) {
            return self.refuse(id, PeerRefusal::Duplicate, out);
        }
        for (other, _, state) in others {
            if state != State::Up {
                self.refuse(other, PeerRefusal::Duplicate, out);
            }
        }
        let conn = self.conns.get_mut(&id).expect("it is the one that is kept");
        conn.state = State::Noting;
        let bytes_max = codec::SEAL_BYTES + limits::RECORD_BYTES_MAX;
        conn.reader.set_record_bytes_max(bytes_max);
        #[cfg(feature = "planted-bugs")]
        if self.options.bug == Some(crate::planted::Bug::FrameUnchecked) {
            conn.reader.leave_unchecked();
        }
        self.note(id);
        self.maybe_end_noting(id, out);
    }

    /// Other connections whose other side is known to be this peer, with their ranks.
    fn conns_of(&self, peer: NodeId, but: ConnId) -> Vec<(ConnId, (u64, bool, u64), State)> {
        let own = self.identity.node;
        let others = self
            .conns
            .iter()
            .filter(|(id, conn)| **id != but && conn.peer() == Some(peer));
        others
            .map(|(id, conn)| (*id, conn.rank(own), conn.state))
            .collect()
    }

    /// Puts down what a hello says of its sender, and of others.
    pub(super) fn note(&mut self, id: ConnId) {
        let Some(hello) = self.conns.get(&id).and_then(|conn| conn.hello.as_deref()) else {
            return;
        };
        let formed = self.identity.is_formed();
        let disk = formed.then_some(hello.disk);
        let told = KnownPeer {
            disk,
            incarnation: hello.incarnation,
            address: hello.address.clone(),
        };
        let known = self.identity.peers.get(&hello.node);
        // A connection of the peer's former life may still be there.
        let former = known.is_some_and(|known| {
            formed && known.disk == disk && known.incarnation > hello.incarnation
        });
        if !former {
            self.identity.peers.insert(hello.node, told);
        }
        let known = hello.known.clone();
        self.on_known(id, known);
    }

    /// What a peer knows of others counts, unless it is of no cluster and this node of one.
    fn on_known(&mut self, id: ConnId, known: BTreeMap<NodeId, KnownPeer>) {
        let hello = self.conns.get(&id).and_then(|conn| conn.hello.as_deref());
        let cluster = hello.map(|hello| hello.standing.cluster());
        if !self.identity.is_formed() || cluster == Some(self.identity.cluster()) {
            for (node, heard) in known {
                self.note_hearsay(node, heard);
            }
        }
        self.make_peers();
    }

    /// A peer is placed otherwise than it said before.
    fn on_priority(&mut self, id: ConnId, priority: u32, out: &mut Outbox<Effect>) {
        let conn = self.conns.get_mut(&id).expect("it has just spoken");
        let hello = conn.hello.as_mut().expect("known before it tells more");
        hello.priority = priority;
        let peer = hello.node;
        let told = self.peers.get(&peer);
        if told.is_some_and(|known| known.up && known.conn == Some(id)) {
            out.push(Effect::PeerPlaced { peer, priority });
        }
    }

    /// This node is placed otherwise than its options said.
    fn on_placed(&mut self, priority: u32) {
        if self.options.priority != priority {
            self.options.priority = priority;
            self.news.priority += 1;
        }
    }

    /// What a peer says of a third node: its newer address, for the same disk.
    fn note_hearsay(&mut self, node: NodeId, heard: KnownPeer) {
        let full = self.identity.peers.len() >= limits::PEER_COUNT_MAX;
        let disk = heard.disk.filter(|_| self.identity.is_formed());
        match self.identity.peers.get_mut(&node) {
            _ if node == self.identity.node || node == NodeId(0) => {}
            Some(known) => {
                if heard.incarnation > known.incarnation
                    && (known.disk.is_none() || known.disk == heard.disk)
                {
                    *known = KnownPeer { disk, ..heard };
                }
            }
            None if full => {}
            None => {
                self.identity
                    .peers
                    .insert(node, KnownPeer { disk, ..heard });
            }
        }
    }

    /// Makes sure that there is room to remember a peer: of those who are no members any more, one
    /// is forgotten.
    fn make_room(&mut self, node: NodeId) -> Result<(), PeerRefusal> {
        let known = &self.identity.peers;
        if known.contains_key(&node) || known.len() < limits::PEER_COUNT_MAX {
            return Ok(());
        }
        let listed = self.listed.as_ref().ok_or(PeerRefusal::TooMany)?;
        let idle = |node: &&NodeId| {
            !listed.contains(node) && self.conns.values().all(|conn| conn.peer() != Some(**node))
        };
        let old = known.keys().find(idle).copied();
        let old = old.ok_or(PeerRefusal::TooMany)?;
        self.identity.peers.remove(&old);
        self.peers.remove(&old);
        Ok(())
    }

    /// Whether what has to be kept of a peer before it is spoken with is kept.
    pub(super) fn is_noted(&self, hello: &PeerHello) -> bool {
        if !self.identity.is_formed() {
            return true;
        }
        let durable = self.durable.as_ref();
        let known = durable.and_then(|durable| durable.peers.get(&hello.node));
        known.is_some_and(|known| {
            known.disk == Some(hello.disk) && known.incarnation >= hello.incarnation
        })
    }

    fn maybe_end_noting(&mut self, id: ConnId, out: &mut Outbox<Effect>) {
        let conn = &self.conns[&id];
        let (Some(hello), State::Noting) = (&conn.hello, conn.state) else {
            return;
        };
        if !self.is_noted(hello) {
            return;
        }
        if conn.target.is_some() {
            self.write(id, Note::Ready.to_bytes(), out);
            return self.become_up(id, out);
        }
        let own = self.own_hello(conn.dial, None);
        self.told.insert(id, self.news);
        self.write(id, Note::Welcome(Box::new(own)).to_bytes(), out);
        let conn = self.conns.get_mut(&id).expect("it was there");
        conn.state = State::Welcomed;
    }

    fn become_up(&mut self, id: ConnId, out: &mut Outbox<Effect>) {
        let now = self.now;
        let conn = self.conns.get_mut(&id).expect("it has just spoken");
        conn.state = State::Up;
        conn.heard_at = now;
        conn.alive_at = now;
        let hello = conn.hello.as_ref().expect("known before it is up");
        let (peer, life) = (hello.node, (hello.incarnation, hello.life));
        let target = conn.target;
        for (other, _, _) in self.conns_of(peer, id) {
            // Those of higher rank were kept when this one's hello came, or came later and ended
            // this one then.
            self.refuse(other, PeerRefusal::Duplicate, out);
        }
        let dials = self.conns.iter().filter(|(other, conn)| {
            **other != id && conn.state == State::Dialing && conn.target == Some(Target::Node(peer))
        });
        for dial in dials.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.close(dial, "there is a connection already", out);
        }
        self.end_dial(target, id);
        let known = self.peers.entry(peer).or_default();
        assert_eq!(known.conn, None, "one connection a peer");
        known.conn = Some(id);
        known.life = Some(life);
        known.trouble = None;
        known.dialer.reset(now);
        #[cfg(feature = "planted-bugs")]
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.reader
                .read_first(std::mem::take(&mut known.half_frame));
        }
        self.tell_news(id, out);
        self.send_alive(id, out);
        // At once: messages may follow in the same bytes.
        self.announce(out);
    }

    fn on_message(&mut self, id: ConnId, message: Vec<u8>, out: &mut Outbox<Effect>) {
        let Some(from) = self.conns[&id].peer() else {
            return;
        };
        if self.peers[&from].up {
            out.push(Effect::Deliver { from, message });
        } else {
            // The peer was quicker in taking this node for one of its cluster than the reverse.
            self.dropped += 1;
        }
    }

    fn on_send(&mut self, to: NodeId, class: Class, message: Vec<u8>, out: &mut Outbox<Effect>) {
        let header = codec::peek(&message, limits::RECORD_BYTES_MAX);
        let whole = header.is_ok_and(|header| {
            header.is_some_and(|header| {
                header.record_bytes == message.len()
                    && !matches!(header.kind, PEER_HELLO_KIND | PEER_NOTE_KIND)
            })
        });
        assert!(whole, "a message is one whole sealed record, not of ours");
        let taken = match self.peers.get_mut(&to) {
            Some(peer) if peer.up && !self.options.buggify.fires(Site::QueueFull) => {
                peer.queue.push(class, message, &self.options)
            }
            _ => false,
        };
        if !taken {
            self.dropped += 1;
            return;
        }
        self.feed(to, out);
    }

    /// Hands to the driver what it has room for.
    fn feed(&mut self, to: NodeId, out: &mut Outbox<Effect>) {
        let Some(peer) = self.peers.get_mut(&to) else {
            return;
        };
        let Some(id) = peer.conn else {
            return;
        };
        let conn = self.conns.get_mut(&id).expect("a peer's connection exists");
        while conn.handed_bytes < self.options.handed_bytes_max
            && let Some(bytes) = peer.queue.pop()
        {
            conn.handed_bytes += bytes.len();
            out.push(Effect::Write { conn: id, bytes });
        }
    }

    fn on_sent(&mut self, id: ConnId, bytes: usize, out: &mut Outbox<Effect>) {
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        assert!(
            bytes <= conn.handed_bytes,
            "no more can be sent than was written"
        );
        conn.handed_bytes -= bytes;
        if let Some(peer) = conn.peer()
            && self.peers.get(&peer).is_some_and(|p| p.conn == Some(id))
        {
            self.feed(peer, out);
        }
    }

    /// Writes one of the transport's own records: at once, ahead of everything that waits.
    pub(super) fn write(&mut self, id: ConnId, bytes: Vec<u8>, out: &mut Outbox<Effect>) {
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.handed_bytes += bytes.len();
            out.push(Effect::Write { conn: id, bytes });
        }
    }

    /// Tells the other side of a connection what has changed here since it was told.
    fn tell_news(&mut self, id: ConnId, out: &mut Outbox<Effect>) {
        let Some(durable) = &self.durable else { return };
        let told = self.told.insert(id, self.news).unwrap_or_default();
        let standing = (told.standing != self.news.standing)
            .then(|| Note::Standing(durable.standing.clone()).to_bytes());
        let known =
            (told.known != self.news.known).then(|| Note::Known(durable.peers.clone()).to_bytes());
        let priority = (told.priority != self.news.priority)
            .then(|| Note::Priority(self.options.priority).to_bytes());
        for note in standing.into_iter().chain(known).chain(priority) {
            self.write(id, note, out);
        }
    }

    /// Ends a connection, and tells the other side why.
    pub(super) fn refuse(&mut self, id: ConnId, refusal: PeerRefusal, out: &mut Outbox<Effect>) {
        let by = self.identity.node;
        let reason = refusal.to_string();
        self.on_refusal(id, by, &refusal, out);
        let note = Note::Refused { by, refusal };
        self.write(id, note.to_bytes(), out);
        self.end(id, reason, false, out);
    }

    /// The other side ends a connection and says why.
    fn on_refused(
        &mut self,
        id: ConnId,
        by: NodeId,
        refusal: PeerRefusal,
        out: &mut Outbox<Effect>,
    ) {
        let new = self.on_refusal(id, by, &refusal, out);
        if let PeerRefusal::NotMeant { meant, .. } = &refusal {
            // Where a member was, another is: its own word will come. Where a node was that is no
            // member any more, all is as it should be.
            if new && self.is_wanted(*meant) {
                let message = format!("refused: {refusal}");
                out.push(Effect::Report { message });
            }
        } else if refusal.is_trouble() && new {
            out.push(Effect::Refused {
                by,
                refusal: refusal.clone(),
            });
        }
        self.end(id, format!("it refuses: {refusal}"), false, out);
    }

    /// Draws the conclusions of a refusal, whoever refused; whether it is news.
    fn on_refusal(
        &mut self,
        id: ConnId,
        by: NodeId,
        refusal: &PeerRefusal,
        out: &mut Outbox<Effect>,
    ) -> bool {
        let target = self.conns.get(&id).and_then(|conn| conn.target);
        if let Some(Target::Entry(entry)) = target {
            match refusal {
                PeerRefusal::Oneself => self.entries[entry].is_oneself(),
                PeerRefusal::Duplicate if by != self.identity.node => self.entries[entry].is(by),
                _ => {}
            }
        }
        if let PeerRefusal::NotMeant { meant, .. } = refusal {
            self.forget_entries_of(*meant);
        }
        if !refusal.is_trouble() {
            return false;
        }
        if let Some(target) = target {
            self.slow_down(target);
        }
        let who = self.conns.get(&id).and_then(Conn::peer);
        self.become_troubled(id, who, &format!("refused: {refusal}"), out)
    }

    /// A connection has ended without having been asked to.
    fn on_closed(&mut self, id: ConnId, reason: String, out: &mut Outbox<Effect>) {
        self.become_troubled(id, None, &reason, out);
        self.end(id, reason, true, out);
    }

    /// Ends a connection that is of no use.
    pub(super) fn close(&mut self, id: ConnId, reason: &str, out: &mut Outbox<Effect>) {
        self.become_troubled(id, None, reason, out);
        self.end(id, reason.to_owned(), false, out);
    }

    fn on_nonsense(&mut self, id: ConnId, error: &DecodeError, out: &mut Outbox<Effect>) {
        self.nonsense += 1;
        let reason = format!("what it says makes no sense: {error}");
        let known = self.conns[&id].peer().is_some() || self.conns[&id].target.is_some();
        if known {
            self.become_troubled(id, None, &reason, out);
        } else if self.nonsense_report_at <= self.now {
            self.nonsense_report_at = self.now + NONSENSE_REPORT_INTERVAL;
            let message = format!("a connection from a stranger was closed: {reason}");
            out.push(Effect::Report { message });
        }
        self.end(id, reason, false, out);
    }

    /// Remembers why there is no connection, and reports it when it is news.
    fn become_troubled(
        &mut self,
        id: ConnId,
        who: Option<NodeId>,
        reason: &str,
        out: &mut Outbox<Effect>,
    ) -> bool {
        let Some(conn) = self.conns.get(&id) else {
            return false;
        };
        let address = conn
            .address
            .as_ref()
            .map(|address| format!(" at {address}"));
        let address = address.unwrap_or_default();
        let (slot, name) = match (who.or(conn.peer()), conn.target) {
            (Some(node), _) | (None, Some(Target::Node(node))) => {
                let peer = self.peers.entry(node).or_default();
                // What one connection suffers is no trouble while another carries.
                if peer.conn.is_some_and(|up| up != id) {
                    return false;
                }
                (&mut peer.trouble, node.to_string())
            }
            (None, Some(Target::Entry(entry))) => {
                (&mut self.entries[entry].trouble, "a node".to_owned())
            }
            (None, None) => return false,
        };
        if slot.as_deref() == Some(reason) {
            return false;
        }
        *slot = Some(reason.to_owned());
        let message = format!("{name}{address}: {reason}");
        out.push(Effect::Report { message });
        true
    }

    /// Takes a connection out of the books.
    fn end(&mut self, id: ConnId, reason: String, gone: bool, out: &mut Outbox<Effect>) {
        let Some(conn) = self.conns.remove(&id) else {
            return;
        };
        self.told.remove(&id);
        if !gone {
            out.push(Effect::Close { conn: id, reason });
        }
        self.fail_dial(conn.target, id);
        let Some(node) = conn.peer() else { return };
        let Some(peer) = self.peers.get_mut(&node) else {
            return;
        };
        if peer.conn != Some(id) {
            return;
        }
        #[cfg(feature = "planted-bugs")]
        if self.options.bug == Some(crate::planted::Bug::HalfFrameKept) {
            peer.half_frame = conn.reader.held().to_vec();
        }
        peer.conn = None;
        peer.lower_at = self.now + self.options.lower_dials_after;
        self.dropped += peer.queue.clear();
        if std::mem::take(&mut peer.up) {
            out.push(Effect::PeerLost { peer: node });
        }
    }

    /// What this node says of itself. Everything in it that binds is durable.
    fn own_hello(&self, dial: u64, meant: Option<NodeId>) -> PeerHello {
        let durable = self.durable.as_ref();
        let durable = durable.expect("nobody is spoken to before the first write");
        PeerHello {
            protocol: self.options.protocol,
            node: durable.node,
            disk: durable.disk,
            incarnation: durable.incarnation,
            life: self.options.life,
            address: self.options.address.clone(),
            dial,
            meant,
            joins: matches!(self.options.start, super::Start::Join { .. }),
            priority: self.options.priority,
            standing: durable.standing.clone(),
            known: durable.peers.clone(),
        }
    }

    /// Whom a connection was dialed for.
    fn meant(&self, id: ConnId) -> Option<NodeId> {
        match self.conns.get(&id)?.target? {
            Target::Node(node) => Some(node),
            Target::Entry(_) => None,
        }
    }

    fn on_persisted(
        &mut self,
        write: WriteId,
        result: Result<(), String>,
        out: &mut Outbox<Effect>,
    ) {
        let Some((number, identity)) = self.writing.take() else {
            return;
        };
        assert_eq!(number, write, "one write is under way at a time");
        if let Err(error) = result {
            let message = format!(
                "the node's identity cannot be stored: {error}; the node waits, and tries again"
            );
            out.push(Effect::Report { message });
            self.write_retry_at = Some(self.now + Duration::from_secs(1));
            return;
        }
        let before = self.durable.as_ref();
        if before.is_none_or(|before| before.standing != identity.standing) {
            self.news.standing += 1;
        }
        if before.is_none_or(|before| before.peers != identity.peers) {
            self.news.known += 1;
        }
        self.durable = Some(identity);
    }

    fn maybe_persist(&mut self, out: &mut Outbox<Effect>) {
        if self.writing.is_some()
            || self.write_retry_at.is_some()
            || self.durable.as_ref() == Some(&self.identity)
        {
            return;
        }
        let write = WriteId(self.next_write);
        self.next_write += 1;
        let identity = self.identity.clone();
        self.writing = Some((write, identity.clone()));
        out.push(Effect::PersistIdentity { write, identity });
    }

    /// Whatever follows from what has just changed.
    fn settle(&mut self, out: &mut Outbox<Effect>) {
        if !self.begun {
            return;
        }
        self.advance_formation(out);
        self.maybe_persist(out);
        if self.durable.is_none() {
            return;
        }
        let ids: Vec<_> = self.conns.keys().copied().collect();
        for id in &ids {
            if self.conns.contains_key(id) {
                self.maybe_end_noting(*id, out);
            }
            let state = self.conns.get(id).map(|conn| conn.state);
            if matches!(state, Some(State::Welcomed | State::Up)) {
                self.tell_news(*id, out);
            }
        }
        self.announce(out);
        self.dial_who_is_due(out);
        let addresses = self.addresses();
        if addresses != self.addresses_told {
            self.addresses_told = addresses.clone();
            out.push(Effect::AddressesChanged { addresses });
        }
    }

    /// Tells the node of peers that it can talk with.
    pub(super) fn announce(&mut self, out: &mut Outbox<Effect>) {
        if !self.formed {
            return;
        }
        let cluster = self.identity.cluster();
        let ready = self.peers.iter().filter_map(|(node, peer)| {
            let conn = peer.conn.and_then(|id| self.conns.get(&id));
            let hello = conn.and_then(|conn| conn.hello.as_deref())?;
            let ready = !peer.up && hello.standing.cluster() == cluster && self.is_noted(hello);
            ready.then_some((*node, hello.priority))
        });
        let ready: Vec<_> = ready.collect();
        for (peer, priority) in ready {
            self.peers.entry(peer).or_default().up = true;
            out.push(Effect::PeerUp { peer, priority });
        }
    }

    /// A node that was paused itself has not listened: nobody is silent before it has.
    fn forgive_own_pause(&mut self, now: Instant) {
        let grace = self.options.silence_max / 2;
        if now.since(self.now) < grace {
            return;
        }
        let earliest = now - grace;
        for conn in self.conns.values_mut() {
            conn.heard_at = conn.heard_at.max(earliest);
            if let Some(unheard) = &mut conn.unheard {
                unheard.since = unheard.since.max(earliest);
            }
        }
    }

    fn wake_of(&self, conn: &Conn) -> Instant {
        let options = &self.options;
        match conn.state {
            State::Dialing => conn.since + options.dial_timeout,
            State::Up => {
                let unheard = conn
                    .unheard
                    .map(|unheard| unheard.since + options.unheard_max);
                let silent = conn.heard_at + options.silence_max;
                let next = silent.min(conn.alive_at);
                unheard.map_or(next, |unheard| unheard.min(next))
            }
            _ => conn.since + options.handshake_timeout,
        }
    }
}

fn unexpected(when: &str) -> DecodeError {
    DecodeError::Malformed {
        reason: format!("a record {when}"),
    }
}

impl Machine for Transport {
    type Input = Input;
    type Effect = Effect;

    fn step(&mut self, now: Instant, input: Input, out: &mut Outbox<Effect>) {
        assert!(now >= self.now, "time runs forwards");
        self.forgive_own_pause(now);
        self.now = now;
        match input {
            // The two that come often change nothing that others follow from.
            Input::Send { to, class, message } => return self.on_send(to, class, message, out),
            Input::Sent { conn, bytes } => return self.on_sent(conn, bytes, out),
            Input::Tick => self.on_tick(out),
            Input::Dialed { conn, speaker } => self.on_dialed(conn, speaker, out),
            Input::DialFailed { conn, reason } | Input::Closed { conn, reason } => {
                self.on_closed(conn, reason, out);
            }
            Input::Accepted {
                conn,
                bytes,
                speaker,
            } => self.on_accepted(conn, &bytes, speaker, out),
            Input::Bytes { conn, bytes } => self.on_bytes(conn, &bytes, out),
            Input::Listed { nodes } => self.on_listed(nodes),
            Input::Placed { priority } => self.on_placed(priority),
            Input::AddressLearned { node, address } => self.on_address_learned(node, address),
            Input::Persisted { write, result } => self.on_persisted(write, result, out),
        }
        self.settle(out);
    }

    fn deadline(&self) -> Option<Instant> {
        if !self.begun {
            return Some(self.now);
        }
        let conns = self.conns.values().map(|conn| self.wake_of(conn));
        let next = conns.chain(self.write_retry_at).min();
        let dial = self.next_dial_at();
        match (next, dial) {
            (Some(next), Some(dial)) => Some(next.min(dial)),
            (next, dial) => next.or(dial),
        }
    }

    fn check(&self) {
        for (node, peer) in &self.peers {
            peer.queue.check(&self.options);
            assert_ne!(*node, self.identity.node, "nobody is its own peer");
            assert!(!peer.up || peer.conn.is_some(), "{node} is up by nothing");
            if let Some(id) = peer.conn {
                let conn = self.conns.get(&id).expect("a peer's connection exists");
                assert_eq!(conn.state, State::Up, "a peer's connection is up");
                assert_eq!(conn.peer(), Some(*node), "and the peer's own");
            }
            if peer.up {
                let durable = self.durable.as_ref().expect("something is durable");
                assert!(
                    durable.is_formed(),
                    "a peer of a node that is of no cluster"
                );
            }
        }
        for (id, conn) in &self.conns {
            let known = conn.state >= State::Noting;
            assert_eq!(conn.hello.is_some(), known, "known from `Noting` on");
            if conn.state == State::Up {
                let node = conn.peer().expect("known");
                assert_eq!(self.peers[&node].conn, Some(*id), "one connection a peer");
            }
        }
        if let Some(Standing::Pledged { founders }) = self.durable.as_ref().map(|d| &d.standing) {
            let now = self.identity.standing.founders();
            assert_eq!(now, Some(founders), "a pledge is never taken back");
        }
        assert!(self.identity.validate().is_ok(), "the identity is sound");
    }
}
