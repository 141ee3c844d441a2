//! The machine: who is connected, how far each has come, and what it has to do.

mod entry;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use super::orders::{self, Orders};
use super::registration::{Form, Registration};
use super::{Effect, Event, Options, reports};
use crate::chunks::{Address, ConnId, Order, OrderKind, Report, Space};
use crate::exports::password::CHALLENGE_BYTES;
use crate::id::{ChunkId, CsId};
use crate::machine::{Machine, Outbox};
use crate::moosefs::chunkserver::{Complaint, ToChunkserver, ToMaster, VersionText};
use crate::moosefs::connection::{self, RequestNo, Standing};
use crate::moosefs::connections::Connections;
use crate::moosefs::frame::Packet;
use crate::moosefs::version::Version;
use crate::native::request::{CallId, ClientId};
use crate::rng::{Rng, Seed};
use crate::time::Instant;

/// Longest value of an option on the wire, bytes.
const SETTING_BYTES_MAX: usize = 255;

/// How far a chunkserver has come.
#[derive(Debug)]
enum Stage {
    /// It has not said who it is, or has to prove first that it may.
    New {
        challenge: Option<[u8; CHALLENGE_BYTES]>,
    },
    /// Its registration is on its way.
    Registering(Registering),
    /// It is registered.
    Joined(Box<Member>),
    /// It was told to come again, and its connection ends.
    PutOff,
}

#[derive(Debug)]
struct Registering {
    request: RequestNo,
    call: CallId,
    registration: Registration,
    /// When our patience ends.
    until: Instant,
}

/// A chunkserver that is registered.
#[derive(Debug)]
struct Member {
    csid: CsId,
    address: Address,
    version: Version,
    form: Form,
    /// It has named all that it knew of.
    listed: bool,
    /// As it said last.
    space: Space,
    orders: Orders,
}

/// One connection.
#[derive(Debug)]
struct Server {
    ip: Ipv4Addr,
    stage: Stage,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Chunkservers {
    options: Options,
    rng: Rng,
    connections: Connections<ConnId>,
    /// One entry for each connection.
    servers: BTreeMap<ConnId, Server>,
    /// One entry for each registration on its way.
    registering: BTreeSet<(Instant, ConnId)>,
    /// Those that are registered.
    joined: usize,
    next_call: u64,
    now: Instant,
}

impl Chunkservers {
    /// A face without connections. The seed makes challenges: nobody may know it.
    #[must_use]
    pub fn new(options: Options, seed: &Seed) -> Self {
        Self {
            options,
            rng: seed.child("challenges").rng(),
            connections: Connections::default(),
            servers: BTreeMap::new(),
            registering: BTreeSet::new(),
            joined: 0,
            next_call: 0,
            now: Instant::ZERO,
        }
    }

    /// Connections now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.servers.len()
    }

    /// Whether nobody is connected.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.servers.is_empty()
    }

    /// Chunkservers that are registered here now.
    #[must_use]
    pub fn joined(&self) -> usize {
        self.joined
    }

    /// Orders that were given to a chunkserver and not answered.
    #[must_use]
    pub fn orders(&self, conn: ConnId) -> usize {
        match self.servers.get(&conn).map(|server| &server.stage) {
            Some(Stage::Joined(member)) => member.orders.len(),
            _ => 0,
        }
    }

    fn on_event(&mut self, event: Event, out: &mut Outbox<Effect>) {
        match event {
            Event::Tick => {}
            Event::Accepted { conn, ip } => self.on_accepted(conn, ip, out),
            Event::Connection { conn, event } => self.connections.tell(conn, event),
            Event::Answered { client, response } => self.on_answered(client, response, out),
            Event::Order { conn, order } => self.on_order(conn, order, out),
            Event::Unseat { conn, reason } => self.connections.drop(conn, reason),
        }
    }

    fn on_accepted(&mut self, conn: ConnId, ip: Ipv4Addr, out: &mut Outbox<Effect>) {
        if self.servers.len() >= self.options.connections_max {
            let most = self.options.connections_max;
            let reason = connection::Closed::Dropped(format!("{most} are connected already"));
            let effect = connection::Effect::Close { reason };
            out.push(Effect::Connection { conn, effect });
            return;
        }
        let options = self.options.connection.clone();
        self.connections.open(conn, options, self.now);
        let stage = Stage::New { challenge: None };
        self.servers.insert(conn, Server { ip, stage });
    }

    /// Lets connections do what they have to, until nothing is left.
    fn run_connections(&mut self, out: &mut Outbox<Effect>) {
        self.connections.wake(self.now);
        while let Some((conn, effect)) = self.connections.next(self.now) {
            match effect {
                connection::Effect::Packet { request, packet } => {
                    self.on_packet(conn, request, &packet, out);
                }
                effect @ connection::Effect::Close { .. } => {
                    out.push(Effect::Connection { conn, effect });
                    self.on_gone(conn, out);
                }
                effect => out.push(Effect::Connection { conn, effect }),
            }
        }
    }

    /// A connection is closed. What its chunkserver has to do may be done or not: the node hears
    /// that it is gone, and nothing of each.
    fn on_gone(&mut self, conn: ConnId, out: &mut Outbox<Effect>) {
        let Some(server) = self.servers.remove(&conn) else {
            return;
        };
        match server.stage {
            Stage::New { .. } | Stage::PutOff => {}
            Stage::Registering(registering) => {
                self.registering.remove(&(registering.until, conn));
            }
            Stage::Joined(_) => {
                self.joined -= 1;
                let report = Report::Gone;
                out.push(Effect::Heard { conn, report });
            }
        }
        let client = ClientId(conn.0);
        out.push(Effect::Gone { client });
    }

    /// Is done with a packet, and says nothing that changes what the other side may say.
    fn done(&mut self, conn: ConnId, request: RequestNo, told: Option<&ToChunkserver<'_>>) {
        let packet = told.map(|told| told.encode().expect("an answer is short"));
        self.connections.done(conn, request, packet, Standing::Same);
    }

    // What chunkservers say.

    fn on_packet(
        &mut self,
        conn: ConnId,
        request: RequestNo,
        packet: &Packet,
        out: &mut Outbox<Effect>,
    ) {
        let said = match ToMaster::parse(packet.kind, &packet.payload) {
            Ok(said) => said,
            Err(error) => return self.connections.drop(conn, error.to_string()),
        };
        match said {
            ToMaster::Register(register) => self.on_register(conn, request, register, out),
            ToMaster::GetVersion { msgid } => {
                let text = Version::OURS.to_string();
                let version = VersionText {
                    msgid,
                    version: Version::OURS,
                    text: text.as_bytes(),
                };
                self.done(conn, request, Some(&ToChunkserver::Version(version)));
            }
            ToMaster::GetConfig { msgid, name } => {
                let value = self.options.settings.get(name);
                let mut value = value.cloned().unwrap_or_default();
                value.truncate(SETTING_BYTES_MAX);
                let value = &value;
                let told = ToChunkserver::ConfigValue { msgid, value };
                self.done(conn, request, Some(&told));
            }
            said => self.on_news(conn, request, said, out),
        }
    }

    fn member(&mut self, conn: ConnId) -> Option<&mut Member> {
        match &mut self.servers.get_mut(&conn)?.stage {
            Stage::Joined(member) => Some(member),
            _ => None,
        }
    }

    /// Something that only a registered chunkserver says.
    fn on_news(
        &mut self,
        conn: ConnId,
        request: RequestNo,
        said: ToMaster<'_>,
        out: &mut Outbox<Effect>,
    ) {
        let number = said.number();
        let Some(member) = self.member(conn) else {
            let reason = format!("packet {number} before a registration");
            return self.connections.drop(conn, reason);
        };
        let mut hear = |report| out.push(Effect::Heard { conn, report });
        match said {
            ToMaster::Nop => {}
            ToMaster::Space(space) => {
                member.space = reports::space_after(member.space, space);
                hear(Report::Space(member.space));
            }
            ToMaster::ChunkDamaged(chunks) => reports::damaged(chunks).for_each(hear),
            ToMaster::ChunkLost(chunks) => reports::lost(chunks).for_each(hear),
            ToMaster::ChunkNew(copies) => reports::found(copies).for_each(hear),
            ToMaster::CurrentLoad(load) => hear(reports::load(load)),
            ToMaster::ErrorOccurred => hear(Report::DiskError),
            ToMaster::Labels(labels) => hear(Report::Labels(labels.0)),
            ToMaster::Done(done) => {
                let known = member.orders.end(done);
                let kind = orders::kind_of(done.kind);
                self.on_done(conn, known, (kind, done.chunk, done.status), out);
            }
            ToMaster::Replicated { new, status } => {
                let known = member.orders.end_replication(new);
                let done = (OrderKind::Replicate, new.chunk, status);
                self.on_done(conn, known, done, out);
            }
            ToMaster::UnknownCommand(complaint) => {
                self.on_complaint(conn, complaint, "does not know", out);
            }
            ToMaster::BadCommandSize(complaint) => {
                self.on_complaint(conn, complaint, "cannot read", out);
            }
            // Nobody asks for checksums, and a master takes no notice of them.
            ToMaster::ChunkChecksum { .. } => {}
            ToMaster::ChunkOpDone { .. }
            | ToMaster::ChunkBlocks { .. }
            | ToMaster::ChunkChecksumTab { .. } => {
                let reason = format!("packet {number}, which it was not asked for");
                return self.connections.drop(conn, reason);
            }
            ToMaster::Register(_) | ToMaster::GetVersion { .. } | ToMaster::GetConfig { .. } => {
                unreachable!("answered before")
            }
        }
        self.done(conn, request, None);
    }

    fn on_done(
        &mut self,
        conn: ConnId,
        known: bool,
        (kind, chunk, status): (OrderKind, ChunkId, u8),
        out: &mut Outbox<Effect>,
    ) {
        if known {
            let report = Report::Done {
                kind,
                chunk,
                status,
            };
            return out.push(Effect::Heard { conn, report });
        }
        let who = self.name_of(conn);
        let message = format!(
            "{who} says that {kind:?} of {chunk} has ended with {status}, which it was not told to do"
        );
        out.push(Effect::Report { message });
    }

    fn on_complaint(
        &self,
        conn: ConnId,
        complaint: Complaint,
        what: &str,
        out: &mut Outbox<Effect>,
    ) {
        let Complaint { kind, length, .. } = complaint;
        let who = self.name_of(conn);
        let message = format!("{who} {what} packet {kind} of {length} bytes, as it says");
        out.push(Effect::Report { message });
    }

    /// For the log.
    fn name_of(&self, conn: ConnId) -> String {
        match self.servers.get(&conn) {
            Some(Server {
                stage: Stage::Joined(member),
                ..
            }) => {
                let Address { ip, port } = member.address;
                format!("chunkserver {} at {ip}:{port}", member.csid.0)
            }
            Some(server) => format!("a chunkserver at {}", server.ip),
            None => "a chunkserver that is gone".to_owned(),
        }
    }

    // What chunkservers have to do.

    fn on_order(&mut self, conn: ConnId, order: Order, out: &mut Outbox<Effect>) {
        if !self.servers.contains_key(&conn) {
            // The node hears that it is gone.
            return;
        }
        let packet = match self.member(conn) {
            Some(member) => member.orders.begin(order),
            None => None,
        };
        debug_assert!(
            packet.is_some(),
            "{} cannot be told {order:?}: it has not joined, or is busy with the chunk",
            self.name_of(conn)
        );
        let Some(packet) = packet else {
            let who = self.name_of(conn);
            let message = format!("{who} was not told {order:?}: it is busy with the chunk");
            return out.push(Effect::Report { message });
        };
        let standing = Standing::Same;
        let push = connection::Input::Push { packet, standing };
        self.connections.tell(conn, push);
    }

    // Time.

    fn on_timers(&mut self, out: &mut Outbox<Effect>) {
        while let Some((at, conn)) = self.registering.first().copied()
            && at <= self.now
        {
            let ms = self.options.register_patience.as_millis();
            self.put_off(conn, &format!("there was no outcome within {ms} ms"), out);
        }
    }
}

impl Machine for Chunkservers {
    type Input = Event;
    type Effect = Effect;

    fn step(&mut self, now: Instant, event: Event, out: &mut Outbox<Effect>) {
        self.now = self.now.max(now);
        self.on_event(event, out);
        self.on_timers(out);
        self.run_connections(out);
    }

    fn deadline(&self) -> Option<Instant> {
        let wake = self.connections.deadline();
        let register = self.registering.first().map(|(at, _)| *at);
        [wake, register].into_iter().flatten().min()
    }

    fn check(&self) {
        self.connections.check();
        let (connections, servers) = (self.connections.len(), self.servers.len());
        assert_eq!(connections, servers, "each connection is somebody's");
        let (mut registering, mut joined) = (0, 0);
        for (conn, server) in &self.servers {
            match &server.stage {
                Stage::New { .. } | Stage::PutOff => {}
                Stage::Registering(on_its_way) => {
                    let key = (on_its_way.until, *conn);
                    assert!(self.registering.contains(&key), "{conn:?} is not forgotten");
                    registering += 1;
                }
                Stage::Joined(member) => {
                    member.orders.check();
                    joined += 1;
                }
            }
        }
        assert_eq!(self.registering.len(), registering, "nobody else registers");
        assert_eq!(self.joined, joined, "who has joined is counted");
    }
}
