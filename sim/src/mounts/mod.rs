//! Mounts, as packets on connections: the faces of the nodes with what mounts say to them.
//!
//! A machine like those it stands before: facts go in, deeds come out, the world carries them out.
//! A face lives and stands still with its node. A mount has one connection at a time, comes back to
//! its session at any node, and says again what was not answered.

mod mount;
mod scribe;
mod thread;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use mfsha_core::exports::{Exports, Record};
use mfsha_core::id::InodeId;
use mfsha_core::moosefs::connection;
use mfsha_core::mounts as face;
use mfsha_core::namespace::op::SessionFlags;
use mfsha_core::node;
use mfsha_core::node::request::ClientId;
use mfsha_core::planted::Bug;
use mfsha_core::rng::{Rng, Seed};

use crate::data::{By, DataFact, Served, Wish};
use crate::event::Event;
use crate::face::{FaceEvent, Faces, METAID};
use crate::generator::PREFIX;
use crate::line::{self, Line};
use crate::options::{MountOptions, Options};
use crate::place::{Place, Seat};
use crate::time::SimTime;
use crate::view::View;

use mount::Mount;
use scribe::{Next, Shared};
pub use thread::About;

/// Connections of mounts have numbers from here on, as in production.
const CLIENTS: u64 = 1 << 63;
/// Name of the file that all mounts lock. Other clients leave it alone, as they do directories of
/// mounts: see [`crate::generator`].
const LOCK_FILE: &str = "own-lock";

/// Name of the directory in which a mount works.
fn directory(mount: u8) -> String {
    format!("{PREFIX}mount{mount}")
}

/// A moment that a mount, a connection or a face waits for.
#[derive(Clone, Debug)]
pub(crate) enum Moment {
    /// A mount looks for a node.
    Connect { mount: u8, turn: u64 },
    /// Its connection is accepted.
    Accepted { client: ClientId },
    /// Bytes arrive at the node.
    Up { client: ClientId, bytes: Vec<u8> },
    /// Bytes arrive at the mount.
    Down { client: ClientId, bytes: Vec<u8> },
    /// The node hears that a connection is gone.
    Gone { client: ClientId },
    /// The mount hears it.
    Dropped { client: ClientId },
    /// A mount says that it is there, and which files it has open; or has heard nothing for long.
    Beat { client: ClientId },
    /// A thread asks something.
    Go { mount: u8, thread: u32 },
    /// One that reads and writes data goes on.
    Scribe { mount: u8, scribe: u32, turn: u64 },
    /// A face wants to be woken.
    Wake { seat: Seat, wakes: u64 },
}

/// What the world is to do.
pub(crate) type Deed = crate::deed::Deed<Moment>;

/// A connection.
struct Link {
    mount: u8,
    line: Line,
    /// The node has its end.
    node_has: bool,
}

/// See the module's documentation.
pub(crate) struct Crowd {
    options: MountOptions,
    /// A mistake that faces make on purpose.
    bug: Option<Bug>,
    seed: Seed,
    rng: Rng,
    mounts: Vec<Mount>,
    faces: Faces<face::Mounts>,
    links: BTreeMap<ClientId, Link>,
    next_client: u64,
    /// Seats that are asked.
    reachable: Vec<Seat>,
    /// The file that all mounts lock.
    lock_file: Option<InodeId>,
    /// What those who read and write data share.
    shared: Shared,
    healed: bool,
}

impl Crowd {
    pub fn new(seed: &Seed, options: &Options) -> Self {
        let seed = seed.child("mounts");
        let scribes = match options.chunkservers {
            0 => 0,
            _ => options.mount.scribes,
        };
        let mounts = (0..options.mounts).map(|number| {
            let rng = seed.child("mount").index(number.into()).rng();
            let data = seed.child("scribe").index(number.into());
            Mount::new(number, &options.mount, rng, (scribes, &data))
        });
        Self {
            options: options.mount.clone(),
            bug: crate::bugs::named(&options.bug),
            rng: seed.rng(),
            mounts: mounts.collect(),
            faces: Faces::default(),
            links: BTreeMap::new(),
            next_client: CLIENTS,
            reachable: (0..options.nodes).map(Seat).collect(),
            lock_file: None,
            shared: Shared {
                goal_max: options.chunks.goal_max,
                ..Shared::default()
            },
            healed: false,
            seed,
        }
    }

    /// Whether there are mounts.
    pub fn is_there(&self) -> bool {
        !self.mounts.is_empty()
    }

    /// Whether an answer of a node is for a face.
    pub fn knows(client: ClientId) -> bool {
        client.0 >= CLIENTS
    }

    fn mount(&mut self, mount: u8) -> &mut Mount {
        &mut self.mounts[usize::from(mount)]
    }

    /// Everybody begins.
    pub fn start(&mut self, now: SimTime, out: &mut Vec<Deed>) {
        for mount in 0..self.mounts.len() as u8 {
            self.connect_in(now, mount, 1, 100, out);
            let scribes = self.mount(mount).scribes.iter();
            out.extend(scribes.map(|it| Deed::Plan {
                at: now + Duration::from_millis(1),
                moment: Moment::Scribe {
                    mount,
                    scribe: it.number,
                    turn: it.turn,
                },
            }));
        }
    }

    /// From now only these seats are asked, nothing goes wrong by chance any more, and everything
    /// that threads made is looked at once more.
    pub fn heal(&mut self, now: SimTime, core: &[Seat], out: &mut Vec<Deed>) {
        self.reachable = core.to_vec();
        self.healed = true;
        self.shared.healed = true;
        for mount in 0..self.mounts.len() as u8 {
            self.mount(mount).probe();
            self.go_on(now, mount, out);
        }
    }

    /// What mounts still wait for, in words.
    pub fn outstanding(&self) -> Vec<String> {
        self.mounts.iter().filter_map(Mount::outstanding).collect()
    }

    /// Something is due.
    pub fn on_moment<T: Clone>(&mut self, view: &View<'_, T>, moment: Moment, out: &mut Vec<Deed>) {
        match moment {
            Moment::Connect { mount, turn } => self.connect(view, mount, turn, out),
            Moment::Accepted { client } => self.on_accepted(view, client, out),
            Moment::Up { client, bytes } => self.on_up(view, client, bytes, out),
            Moment::Down { client, bytes } => self.on_down(view, client, &bytes, out),
            Moment::Gone { client } => self.on_gone(view, client, out),
            Moment::Dropped { client } => self.on_dropped(view.now, client, out),
            Moment::Beat { client } => self.on_beat(view, client, out),
            Moment::Go { mount, thread } => self.on_go(view, mount, thread, out),
            Moment::Scribe {
                mount,
                scribe,
                turn,
            } => self.on_scribe(view, mount, scribe, turn, out),
            Moment::Wake { seat, wakes } => self.on_wake(view, seat, wakes, out),
        }
    }

    // Data.

    /// A scribe has paused long enough.
    fn on_scribe<T: Clone>(
        &mut self,
        view: &View<'_, T>,
        mount: u8,
        scribe: u32,
        turn: u64,
        out: &mut Vec<Deed>,
    ) {
        let it = self.mounts[usize::from(mount)].scribe(scribe);
        if it.turn != turn || it.asked.is_some() {
            return;
        }
        let mut facts = Vec::new();
        let next = it.go_on(&self.shared, &mut facts);
        self.do_next(view, (mount, scribe), next, facts, out);
    }

    /// Chunkservers answer a mount.
    pub fn on_served<T: Clone>(
        &mut self,
        view: &View<'_, T>,
        by: By,
        served: Served,
        out: &mut Vec<Deed>,
    ) {
        let it = self.mounts[usize::from(by.mount)].scribe(by.thread);
        if it.turn != by.turn {
            return;
        }
        let mut facts = Vec::new();
        let next = it.on_served(served, &self.shared, &mut facts);
        self.do_next(view, (by.mount, by.thread), next, facts, out);
    }

    /// Carries out what a scribe wants to do next.
    fn do_next<T: Clone>(
        &mut self,
        view: &View<'_, T>,
        (mount, scribe): (u8, u32),
        next: Next,
        facts: Vec<DataFact>,
        out: &mut Vec<Deed>,
    ) {
        let thread = scribe;
        let said = |fact| {
            Deed::Tell(Event::DataSaid {
                mount,
                thread,
                fact,
            })
        };
        out.extend(facts.into_iter().map(said));
        let it = self.mounts[usize::from(mount)].scribe(scribe);
        it.turn += 1;
        let turn = it.turn;
        match next {
            Next::Ask => self.say_for_scribes(view, mount, out),
            Next::Pause(after) => out.push(Deed::Plan {
                at: view.now + after,
                moment: Moment::Scribe {
                    mount,
                    scribe,
                    turn,
                },
            }),
            Next::Want(spot, what) => {
                let by = By {
                    mount,
                    thread,
                    turn,
                };
                out.push(Deed::Want(Wish { by, spot, what }));
            }
            Next::Rest => {}
        }
    }

    /// Says what scribes of a mount ask, and did not say on its present connection.
    fn say_for_scribes<T: Clone>(&mut self, view: &View<'_, T>, mount: u8, out: &mut Vec<Deed>) {
        let it = self.mount(mount);
        let bytes = it.unsaid_by_scribes();
        if let Some(client) = it.client.filter(|_| !bytes.is_empty()) {
            self.say(view, client, bytes, out);
        }
    }

    // Faces.

    fn on_wake<T: Clone>(
        &mut self,
        view: &View<'_, T>,
        seat: Seat,
        wakes: u64,
        out: &mut Vec<Deed>,
    ) {
        if let Some(life) = self.faces.woken(view, seat, wakes) {
            let event = FaceEvent::Mounts(face::Event::Tick);
            out.push(Deed::Face { seat, life, event });
        }
    }

    /// Plans the next wake-up of a face anew.
    pub fn rearm_face<T>(&mut self, view: &View<'_, T>, seat: Seat, out: &mut Vec<Deed>) {
        if let Some((at, wakes)) = self.faces.rearm(view, seat) {
            let moment = Moment::Wake { seat, wakes };
            out.push(Deed::Plan { at, moment });
        }
    }

    /// Hands something to the face of a node that runs and does not stand still.
    pub fn step_face<T: Clone>(
        &mut self,
        view: &View<'_, T>,
        seat: Seat,
        event: face::Event,
        out: &mut Vec<Deed>,
    ) {
        let Some(life) = view.life(seat) else {
            return;
        };
        let (seed, bug) = (&self.seed, self.bug);
        let new = || Self::new_face(seed, bug, seat, life);
        self.faces.have((seat, life), new);
        let mut todo = vec![event];
        while let Some(event) = todo.pop() {
            for effect in self.faces.step(view, seat, event) {
                self.carry_out(view, (seat, life), effect, &mut todo, out);
            }
        }
        self.rearm_face(view, seat, out);
    }

    fn new_face(seed: &Seed, bug: Option<Bug>, seat: Seat, life: u32) -> face::Mounts {
        let all = Record {
            to: Ipv4Addr::BROADCAST,
            all_dirs: true,
            flags: SessionFlags {
                admin: true,
                ..SessionFlags::default()
            },
            root_uid: 0,
            root_gid: 0,
            ..Record::defaults()
        };
        let seed = seed.child("face").index(seat.0.into());
        let options = face::Options {
            bug,
            ..face::Options::new(METAID)
        };
        face::Mounts::new(options, Exports::new(vec![all]), &seed.index(life.into()))
    }

    fn carry_out<T: Clone>(
        &mut self,
        view: &View<'_, T>,
        (seat, life): (Seat, u32),
        effect: face::Effect,
        todo: &mut Vec<face::Event>,
        out: &mut Vec<Deed>,
    ) {
        let event = match effect {
            face::Effect::Connection { client, effect } => {
                return self.on_socket(view, client, effect, todo, out);
            }
            face::Effect::Ask { client, request } => node::Event::Ask { client, request },
            face::Effect::AskWrite {
                client,
                call,
                request,
                op,
            } => node::Event::AskWrite {
                client,
                call,
                request,
                op,
            },
            face::Effect::AskChunk { client, call, wish } => {
                node::Event::AskChunk { client, call, wish }
            }
            face::Effect::Inspect { client, call, what } => {
                node::Event::Inspect { client, call, what }
            }
            face::Effect::Gone { client } => node::Event::ClientGone { client },
            face::Effect::Report { .. } => return,
        };
        out.push(Deed::Step { seat, life, event });
    }

    fn on_socket<T: Clone>(
        &mut self,
        view: &View<'_, T>,
        client: ClientId,
        effect: connection::Effect,
        todo: &mut Vec<face::Event>,
        out: &mut Vec<Deed>,
    ) {
        match effect {
            connection::Effect::Write { bytes } => {
                let event = connection::Input::Written { bytes: bytes.len() };
                todo.push(face::Event::Connection { client, event });
                self.send(view, client, false, Moment::Down { client, bytes }, out);
            }
            connection::Effect::Close { .. } => {
                if let Some(link) = self.links.get_mut(&client) {
                    link.node_has = false;
                }
                self.break_link(view.now, client, out);
            }
            _ => {}
        }
    }

    // Connections.

    fn connect_in(
        &mut self,
        now: SimTime,
        mount: u8,
        least_ms: u64,
        most_ms: u64,
        out: &mut Vec<Deed>,
    ) {
        let after = Duration::from_millis(self.rng.between(least_ms, most_ms));
        let it = self.mount(mount);
        it.turn += 1;
        let turn = it.turn;
        out.push(Deed::Plan {
            at: now + after,
            moment: Moment::Connect { mount, turn },
        });
    }

    fn connect<T: Clone>(&mut self, view: &View<'_, T>, mount: u8, turn: u64, out: &mut Vec<Deed>) {
        let it = &self.mounts[usize::from(mount)];
        if it.turn != turn || it.client.is_some() {
            return;
        }
        let seat = *self.rng.pick(&self.reachable);
        let life = view.life(seat);
        let line = life.map(|life| Line::new(Place::Mount(mount), seat, life));
        let Some(line) = line.filter(|line| !line.is_blocked(view.net)) else {
            return self.connect_in(view.now, mount, 50, 300, out);
        };
        let client = ClientId(self.next_client);
        self.next_client += 1;
        let link = Link {
            mount,
            line,
            node_has: false,
        };
        self.links.insert(client, link);
        out.push(Deed::Tell(Event::MountConnected { mount, seat }));
        self.send(view, client, true, Moment::Accepted { client }, out);
        let register = self.mount(mount).on_connected(view.now, client);
        self.say(view, client, register, out);
        self.beat_in(view.now, client, out);
    }

    /// Sends something up, or down: in order, or the connection is broken.
    fn send<T: Clone>(
        &mut self,
        view: &View<'_, T>,
        client: ClientId,
        up: bool,
        moment: Moment,
        out: &mut Vec<Deed>,
    ) {
        let unlucky = !self.healed && crate::draw::ppm(&mut self.rng, self.options.break_ppm);
        let Some(link) = self.links.get_mut(&client) else {
            return;
        };
        let line = &mut link.line;
        if line.broken {
            return;
        }
        let dead = view.life(line.seat) != Some(line.life);
        if unlucky || dead || line.is_blocked(view.net) {
            return self.break_link(view.now, client, out);
        }
        let at = line.arrival(view.now, up, view.net, &mut self.rng);
        out.push(Deed::Plan { at, moment });
    }

    /// A mount says something, in pieces of any size.
    fn say<T: Clone>(
        &mut self,
        view: &View<'_, T>,
        client: ClientId,
        bytes: Vec<u8>,
        out: &mut Vec<Deed>,
    ) {
        for bytes in line::pieces(bytes, &mut self.rng) {
            self.send(view, client, true, Moment::Up { client, bytes }, out);
        }
    }

    /// Nothing passes any more: both ends hear of it, each in its own time.
    fn break_link(&mut self, now: SimTime, client: ClientId, out: &mut Vec<Deed>) {
        let Some(link) = self.links.get_mut(&client) else {
            return;
        };
        if std::mem::replace(&mut link.line.broken, true) {
            return;
        }
        let (mount, seat) = (link.mount, link.line.seat);
        out.push(Deed::Tell(Event::MountLeft { mount, seat }));
        for moment in [Moment::Gone { client }, Moment::Dropped { client }] {
            let after = Duration::from_millis(self.rng.between(1, 1_000));
            out.push(Deed::Plan {
                at: now + after,
                moment,
            });
        }
    }

    /// The process of a node has ended, and its system says so.
    pub fn on_node_stopped(&mut self, now: SimTime, seat: Seat, out: &mut Vec<Deed>) {
        let theirs = self.links.iter().filter(|(_, link)| link.line.seat == seat);
        for client in theirs.map(|(client, _)| *client).collect::<Vec<_>>() {
            self.break_link(now, client, out);
        }
    }

    /// The line of a connection that the node can hear of, when its life still runs.
    fn at_node<T>(&mut self, view: &View<'_, T>, client: ClientId) -> Option<&mut Link> {
        let link = self.links.get_mut(&client)?;
        (view.life(link.line.seat) == Some(link.line.life)).then_some(link)
    }

    fn on_accepted<T: Clone>(&mut self, view: &View<'_, T>, client: ClientId, out: &mut Vec<Deed>) {
        let Some(link) = self.at_node(view, client).filter(|it| !it.line.broken) else {
            return self.break_link(view.now, client, out);
        };
        link.node_has = true;
        let ip = Ipv4Addr::new(10, 2, 0, link.mount + 1);
        let (seat, life) = (link.line.seat, link.line.life);
        let event = face::Event::Accepted { client, ip };
        let event = FaceEvent::Mounts(event);
        out.push(Deed::Face { seat, life, event });
    }

    fn on_up<T: Clone>(
        &mut self,
        view: &View<'_, T>,
        client: ClientId,
        bytes: Vec<u8>,
        out: &mut Vec<Deed>,
    ) {
        let Some(link) = self.at_node(view, client) else {
            return;
        };
        if !link.node_has || link.line.broken {
            return;
        }
        let (seat, life) = (link.line.seat, link.line.life);
        let event = connection::Input::Bytes(bytes);
        let event = face::Event::Connection { client, event };
        let event = FaceEvent::Mounts(event);
        out.push(Deed::Face { seat, life, event });
    }

    fn on_gone<T: Clone>(&mut self, view: &View<'_, T>, client: ClientId, out: &mut Vec<Deed>) {
        if let Some(link) = self.at_node(view, client)
            && std::mem::take(&mut link.node_has)
        {
            let (seat, life) = (link.line.seat, link.line.life);
            let reason = "it broke".to_owned();
            let event = connection::Input::Ended { reason };
            let event = face::Event::Connection { client, event };
            let event = FaceEvent::Mounts(event);
            out.push(Deed::Face { seat, life, event });
        }
        self.forget_link(client);
    }

    fn on_dropped(&mut self, now: SimTime, client: ClientId, out: &mut Vec<Deed>) {
        if let Some(mount) = self.links.get(&client).map(|link| link.mount)
            && self.mount(mount).on_disconnected(client)
        {
            let most = if self.healed { 100 } else { 500 };
            self.connect_in(now, mount, 1, most, out);
        }
        self.forget_link(client);
    }

    /// Forgets a connection that neither end has.
    fn forget_link(&mut self, client: ClientId) {
        let Some(link) = self.links.get(&client) else {
            return;
        };
        let held = self.mounts[usize::from(link.mount)].client == Some(client);
        if !held && !link.node_has {
            self.links.remove(&client);
        }
    }
}
