//! Chunkservers, as packets on connections, with the faces of the nodes that they speak with; and
//! those who write and read chunks, as nodes see them: by what faces ask.
//!
//! A machine like those it stands before: facts go in, deeds come out, the world carries them out.
//! A face lives and stands still with its node. Connections lose nothing as long as they hold; they break when their link is cut, by chance, and
//! with either end, and each end hears of it in its own time. Clients ask any node, and ask again
//! elsewhere what was not answered.

mod actor;
mod chain;
mod face;
mod link;
mod server;
mod talk;
mod work;

use std::collections::BTreeMap;
use std::time::Duration;

use mfsha_core::chunks::{Address, ConnId};
use mfsha_core::chunkservers::Chunkservers;
use mfsha_core::id::{ChunkId, InodeId, SessionId};
use mfsha_core::node;
use mfsha_core::node::request::{ClientId, NodeError, Response, ResponseBody};
use mfsha_core::rng::{Rng, Seed};

use crate::event::{Departure, Event};
use crate::face::Faces;
use crate::options::{ChunkOptions, Options};
use crate::place::{Place, Seat};
use crate::view::View;

use actor::Actor;
use chain::{Chain, Fetch};
use link::Link;
use server::{PORT, Server};

pub use server::{Content, Stored, total_bytes};

/// The chunkserver at an address.
pub(crate) fn number_at(ip: std::net::Ipv4Addr) -> u8 {
    Server::number_at(Address { ip, port: PORT })
}

/// Who asks of a node: from this number on the fleet's clients.
const CLIENTS: u64 = 1 << 40;
/// Connections of chunkservers have numbers from here on, as in production; registrations are asked
/// for under the same.
const CONNS: u64 = 1 << 62;

/// A moment that something of the fleet waits for.
#[derive(Clone, Debug)]
pub(crate) enum Moment {
    /// A chunkserver looks for a node.
    Connect { server: u8, turn: u64 },
    /// Its connection is accepted.
    Accepted { conn: ConnId },
    /// Its registration was not answered for too long.
    Late { conn: ConnId },
    /// Bytes arrive at the node.
    Up { conn: ConnId, bytes: Vec<u8> },
    /// Bytes arrive at the chunkserver.
    Down { conn: ConnId, bytes: Vec<u8> },
    /// A face wants to be woken.
    Wake { seat: Seat, wakes: u64 },
    /// An order has been carried out, or not.
    Work { server: u8, job: u64 },
    /// A node hears that a connection is gone.
    Gone { conn: ConnId },
    /// A chunkserver hears it.
    Dropped { conn: ConnId },
    /// It hears that the node has closed it, behind all that the node said.
    Closed { conn: ConnId },
    /// A chunkserver gives a sign of life, or has heard nothing for long.
    Beat { conn: ConnId },
    /// A chunkserver runs again.
    Start { server: u8 },
    /// A client asks, or asks again.
    Try {
        actor: usize,
        call: u64,
        attempt: u64,
    },
    /// What a client asks arrives.
    Asked {
        seat: Seat,
        life: u32,
        event: Box<node::Event>,
    },
    /// What it is told arrives.
    Answer {
        actor: usize,
        call: u64,
        result: Box<Result<ResponseBody, NodeError>>,
    },
    /// A client goes on.
    Go { actor: usize, turn: u64 },
    /// What a client wants of a chunkserver arrives there.
    Data { actor: usize, turn: u64 },
    /// Data of a mount goes one step on.
    Chain { chain: u64, step: chain::Step },
    /// A mount's question arrives at its chunkserver, or the answer at the mount.
    Fetch { fetch: u64, back: bool },
}

/// What the world is to do.
pub(crate) type Deed = crate::deed::Deed<Moment>;

/// See the module's documentation.
pub(crate) struct Fleet {
    options: ChunkOptions,
    seed: Seed,
    faces: Faces<Chunkservers>,
    rng: Rng,
    servers: Vec<Server>,
    links: BTreeMap<ConnId, Link>,
    next_conn: u64,
    next_job: u64,
    actors: Vec<Actor>,
    session: Option<SessionId>,
    dir: Option<InodeId>,
    /// Seats that are asked.
    reachable: Vec<Seat>,
    next_call: u64,
    next_stamp: u64,
    next_file: u32,
    next_read: u64,
    /// Files that there are: number and inode.
    files: BTreeMap<u32, InodeId>,
    /// Chunks of which a copy was spoilt: one is enough for a run.
    spoilt: std::collections::BTreeSet<ChunkId>,
    healed: bool,
    /// Decides what becomes of mounts' data.
    data_rng: Rng,
    /// Mounts' data on its way through chunkservers.
    chains: BTreeMap<u64, Chain>,
    /// What mounts want to read.
    fetches: BTreeMap<u64, Fetch>,
    next_data: u64,
}

impl Fleet {
    pub fn new(seed: &Seed, options: &Options) -> Self {
        let seed = seed.child("fleet");
        let servers = (0..options.chunkservers).map(Server::new).collect();
        let count = match options.chunkservers {
            0 => 0,
            _ => 1 + usize::from(options.chunks.files) + usize::from(options.chunks.readers),
        };
        let actors = (0..count).map(|number| {
            let rng = seed.child("actor").index(number as u64).rng();
            Actor::new(number, &options.chunks, rng)
        });
        Self {
            options: options.chunks.clone(),
            rng: seed.rng(),
            data_rng: seed.child("data").rng(),
            chains: BTreeMap::new(),
            fetches: BTreeMap::new(),
            next_data: 1,
            seed,
            faces: Faces::default(),
            servers,
            links: BTreeMap::new(),
            next_conn: CONNS,
            next_job: 1,
            actors: actors.collect(),
            session: None,
            dir: None,
            reachable: (0..options.nodes).map(Seat).collect(),
            next_call: 1,
            next_stamp: 1,
            next_file: 1,
            next_read: 1,
            files: BTreeMap::new(),
            spoilt: std::collections::BTreeSet::new(),
            healed: false,
        }
    }

    /// Whether there is one.
    pub fn is_there(&self) -> bool {
        !self.servers.is_empty()
    }

    /// Everybody begins.
    pub fn start<T: Clone>(&mut self, view: &View<'_, T>, out: &mut Vec<Deed>) {
        for server in 0..self.servers.len() as u8 {
            out.push(Deed::Tell(Event::ServerStarted { server }));
            self.connect_in(view.now, server, 1, 200, out);
        }
        if !self.actors.is_empty() {
            self.go(view.now, 0, Duration::from_millis(1), out);
        }
    }

    /// Something is due.
    pub fn on_moment<T: Clone>(&mut self, view: &View<'_, T>, moment: Moment, out: &mut Vec<Deed>) {
        match moment {
            Moment::Connect { server, turn } => self.connect(view, server, turn, out),
            Moment::Accepted { conn } => self.on_accepted(view, conn, out),
            Moment::Late { conn } => self.on_late(view, conn, out),
            Moment::Up { conn, bytes } => self.on_up(view, conn, bytes, out),
            Moment::Down { conn, bytes } => self.on_down(view, conn, &bytes, out),
            Moment::Wake { seat, wakes } => self.on_wake(view, seat, wakes, out),
            Moment::Work { server, job } => self.on_work(view, server, job, out),
            Moment::Gone { conn } => self.on_gone(view, conn, out),
            Moment::Dropped { conn } => self.on_dropped(view.now, conn, out),
            Moment::Closed { conn } => {
                if self.end_of(conn).is_some() {
                    self.give_up(view.now, conn, Departure::Closed, out);
                }
            }
            Moment::Beat { conn } => self.on_beat(view, conn, out),
            Moment::Start { server } => self.start_server(view.now, server, out),
            Moment::Try {
                actor,
                call,
                attempt,
            } => self.attempt(view, actor, call, attempt, out),
            Moment::Asked { seat, life, event } => {
                if view.runs(seat, life) {
                    let event = *event;
                    out.push(Deed::Step { seat, life, event });
                }
            }
            Moment::Answer {
                actor,
                call,
                result,
            } => self.on_answer(view, actor, call, *result, out),
            Moment::Go { actor, turn } => self.on_go(view, actor, turn, out),
            Moment::Data { actor, turn } => self.on_data(view, actor, turn, out),
            Moment::Chain { chain, step } => self.on_step(view, chain, step, out),
            Moment::Fetch { fetch, back } => self.on_fetch(view, fetch, back, out),
        }
    }

    /// Whether an answer is for a face: it asked for a chunkserver.
    pub fn is_registration(client: ClientId) -> bool {
        client.0 >= CONNS
    }

    /// Whether an answer is for somebody here.
    pub fn knows(client: ClientId) -> bool {
        client.0 >= CLIENTS
    }

    /// A node answers.
    pub fn on_reply<T: Clone>(
        &mut self,
        view: &View<'_, T>,
        seat: Seat,
        client: ClientId,
        response: Response,
        out: &mut Vec<Deed>,
    ) {
        let actor = (client.0 - CLIENTS) as usize;
        let place = self.actors[actor].place();
        if view.is_blocked(Place::Seat(seat), place) || self.is_unlucky() {
            return;
        }
        let after = view.net.travel((Place::Seat(seat), place), &mut self.rng);
        let moment = Moment::Answer {
            actor,
            call: response.call.0,
            result: Box::new(response.result),
        };
        out.push(Deed::Plan {
            at: view.now + after,
            moment,
        });
    }

    /// From now only these seats are asked, nothing goes wrong by chance any more, and every file is
    /// written and read once more.
    pub fn heal<T: Clone>(&mut self, view: &View<'_, T>, core: &[Seat], out: &mut Vec<Deed>) {
        self.reachable = core.to_vec();
        self.healed = true;
        for server in 0..self.servers.len() as u8 {
            if !self.servers[usize::from(server)].up {
                self.start_server(view.now, server, out);
            }
        }
        self.probe(view.now, out);
    }

    /// Something that may happen to any message.
    fn is_unlucky(&mut self) -> bool {
        !self.healed && crate::draw::ppm(&mut self.rng, self.options.break_ppm)
    }

    /// Copies on all disks: by chunk, and by server.
    pub fn disks(&self) -> BTreeMap<ChunkId, BTreeMap<u8, Stored>> {
        let mut all: BTreeMap<ChunkId, BTreeMap<u8, Stored>> = BTreeMap::new();
        for server in &self.servers {
            for (chunk, stored) in &server.disk {
                all.entry(*chunk)
                    .or_default()
                    .insert(server.number, *stored);
            }
        }
        all
    }
}
