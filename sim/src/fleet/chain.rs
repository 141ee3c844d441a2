//! Data of mounts at chunkservers: a write goes from one that has the chunk to the next, and what
//! they say of it back the same way; a read asks one of them.
//!
//! Each names chunk and version, and a chunkserver whose copy has another version refuses. It hands
//! data on before it has written them itself. When something goes wrong some have the data and
//! others not, and the mount hears no more than that.
//!
//! A chain that its mount has heard to be broken is dead: none of its data is written after that.
//! In truth bytes may still be on their way to a chunkserver then.

use std::time::Duration;

use mfsha_core::moosefs::chunkserver::{ListBuf, ToMaster};

use crate::data::{By, Served, Spot, Trouble, Want, Wish};
use crate::draw;
use crate::event::Event;
use crate::place::Place;
use crate::time::SimTime;
use crate::view::View;

use super::server::Stage;
use super::{Deed, Fleet, Moment};

/// A mount hears within this, in milliseconds, that something has gone wrong.
const NEWS_MS: (u64, u64) = (1, 500);

/// Data on its way.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    by: By,
    spot: Spot,
    value: u64,
    links: Vec<Link>,
    broken: bool,
}

/// One chunkserver of a chain.
#[derive(Clone, Copy, Debug)]
struct Link {
    server: u8,
    /// Which of its lives got the data.
    life: u32,
    written: bool,
    /// All behind it have written.
    behind: bool,
}

/// What happens next to data on its way; numbers are places in the chain.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// It comes to a chunkserver.
    Arrives(usize),
    /// That writes it.
    Writes(usize),
    /// What it says of that, and of all behind it, comes to whoever is before it.
    Answered(usize),
    /// The mount hears that the chain is broken.
    Over,
}

/// A read on its way.
#[derive(Clone, Debug)]
pub(crate) struct Fetch {
    by: By,
    spot: Spot,
    server: u8,
    served: Served,
}

impl Fleet {
    /// A mount wants something.
    pub fn on_want<T: Clone>(&mut self, view: &View<'_, T>, wish: Wish, out: &mut Vec<Deed>) {
        let number = self.next_data;
        self.next_data += 1;
        let Wish { by, spot, what } = wish;
        match what {
            Want::Store { value, servers } => {
                let links = servers.into_iter().map(|server| Link {
                    server,
                    life: 0,
                    written: false,
                    behind: false,
                });
                let chain = Chain {
                    by,
                    spot,
                    value,
                    links: links.collect(),
                    broken: false,
                };
                self.chains.insert(number, chain);
                self.hand_on(view, number, 0, out);
            }
            Want::Fetch { server } => {
                let served = Served::Failed;
                let fetch = Fetch {
                    by,
                    spot,
                    server,
                    served,
                };
                self.fetches.insert(number, fetch);
                let way = (Place::Mount(by.mount), Place::Chunkserver(server));
                self.carry_fetch(view, number, way, false, out);
            }
        }
    }

    /// Something that may happen to any data.
    fn is_data_unlucky(&mut self) -> bool {
        !self.healed && draw::ppm(&mut self.data_rng, self.options.break_ppm)
    }

    /// How long data takes on this way, unless nothing passes.
    fn data_travel<T: Clone>(
        &mut self,
        view: &View<'_, T>,
        (from, to): (Place, Place),
    ) -> Option<Duration> {
        if view.is_blocked(from, to) || self.is_data_unlucky() {
            return None;
        }
        Some(view.net.travel((from, to), &mut self.data_rng))
    }

    // Writing.

    /// Where data comes from before it is at this place of its chain.
    fn before(chain: &Chain, at: usize) -> Place {
        match at.checked_sub(1).and_then(|at| chain.links.get(at)) {
            Some(link) => Place::Chunkserver(link.server),
            None => Place::Mount(chain.by.mount),
        }
    }

    fn plan_step(number: u64, step: Step, at: SimTime, out: &mut Vec<Deed>) {
        let moment = Moment::Chain {
            chain: number,
            step,
        };
        out.push(Deed::Plan { at, moment });
    }

    /// Data goes to this place of its chain.
    fn hand_on<T: Clone>(
        &mut self,
        view: &View<'_, T>,
        number: u64,
        at: usize,
        out: &mut Vec<Deed>,
    ) {
        let chain = &self.chains[&number];
        let server = chain.links[at].server;
        let way = (Self::before(chain, at), Place::Chunkserver(server));
        let up = self.servers[usize::from(server)].up;
        match self.data_travel(view, way).filter(|_| up) {
            Some(after) => Self::plan_step(number, Step::Arrives(at), view.now + after, out),
            None => self.break_chain(view.now, number, server, Trouble::Unreachable, out),
        }
    }

    /// Nothing more is handed on; the mount hears of it in a while.
    fn break_chain(
        &mut self,
        now: SimTime,
        number: u64,
        server: u8,
        why: Trouble,
        out: &mut Vec<Deed>,
    ) {
        let Some(chain) = self.chains.get_mut(&number) else {
            return;
        };
        if std::mem::replace(&mut chain.broken, true) {
            return;
        }
        let some = chain.links.iter().any(|link| link.written);
        out.push(Deed::Tell(Event::ChainBroke {
            mount: chain.by.mount,
            server,
            chunk: chain.spot.chunk,
            version: chain.spot.version,
            why,
            some,
        }));
        let after = Duration::from_millis(self.data_rng.between(NEWS_MS.0, NEWS_MS.1));
        Self::plan_step(number, Step::Over, now + after, out);
    }

    /// A chunkserver dies, and all chains through it break.
    pub(super) fn break_chains(&mut self, now: SimTime, server: u8, out: &mut Vec<Deed>) {
        let through = |chain: &Chain| chain.links.iter().any(|link| link.server == server);
        let chains = self.chains.iter().filter(|(_, chain)| through(chain));
        for number in chains.map(|(number, _)| *number).collect::<Vec<_>>() {
            self.break_chain(now, number, server, Trouble::Unreachable, out);
        }
    }

    pub(super) fn on_step<T: Clone>(
        &mut self,
        view: &View<'_, T>,
        number: u64,
        step: Step,
        out: &mut Vec<Deed>,
    ) {
        if !self.chains.contains_key(&number) {
            return;
        }
        match step {
            Step::Arrives(at) => self.on_arrival(view, number, at, out),
            Step::Writes(at) => self.on_written(view, number, at, out),
            Step::Answered(0) => {
                if let Some(chain) = self.chains.remove(&number) {
                    out.push(Deed::Serve(chain.by, Served::Stored));
                }
            }
            Step::Answered(at) => {
                if let Some(chain) = self.chains.get_mut(&number) {
                    chain.links[at - 1].behind = true;
                }
                self.maybe_answer(view, number, at - 1, out);
            }
            Step::Over => {
                if let Some(chain) = self.chains.remove(&number) {
                    out.push(Deed::Serve(chain.by, Served::Failed));
                }
            }
        }
    }

    fn on_arrival<T: Clone>(
        &mut self,
        view: &View<'_, T>,
        number: u64,
        at: usize,
        out: &mut Vec<Deed>,
    ) {
        let server = self.chains[&number].links[at].server;
        let it = &self.servers[usize::from(server)];
        let (up, life) = (it.up, it.starts);
        if !up {
            return self.break_chain(view.now, number, server, Trouble::Unreachable, out);
        }
        if let Some(chain) = self.chains.get_mut(&number) {
            chain.links[at].life = life;
        }
        let mean = self.options.order_mean_us * 1_000;
        let after = Duration::from_nanos(draw::exponential(&mut self.data_rng, mean));
        Self::plan_step(number, Step::Writes(at), view.now + after, out);
        let chain = &self.chains[&number];
        if !chain.broken && at + 1 < chain.links.len() {
            self.hand_on(view, number, at + 1, out);
        }
    }

    fn on_written<T: Clone>(
        &mut self,
        view: &View<'_, T>,
        number: u64,
        at: usize,
        out: &mut Vec<Deed>,
    ) {
        let chain = &self.chains[&number];
        let (link, spot, value) = (chain.links[at], chain.spot, chain.value);
        let it = &self.servers[usize::from(link.server)];
        if !it.up || it.starts != link.life {
            // It died meanwhile, and the chain with it.
            return;
        }
        if let Err(why) = self.store_block(view, link.server, spot, value, out) {
            return self.break_chain(view.now, number, link.server, why, out);
        }
        if let Some(chain) = self.chains.get_mut(&number) {
            chain.links[at].written = true;
        }
        self.maybe_answer(view, number, at, out);
    }

    /// A chunkserver writes a block into a copy of the version that the mount names.
    fn store_block<T: Clone>(
        &mut self,
        view: &View<'_, T>,
        server: u8,
        spot: Spot,
        value: u64,
        out: &mut Vec<Deed>,
    ) -> Result<(), Trouble> {
        self.find_copy(server, spot)?;
        if !self.healed && draw::ppm(&mut self.data_rng, self.options.fail_ppm) {
            self.spoil(view, server, spot, out);
            return Err(Trouble::Disk);
        }
        if let Some(stored) = self.server(server).disk.get_mut(&spot.chunk) {
            stored.content.blocks[spot.at] = value;
        }
        self.tell_copy(server, spot.chunk, out);
        Ok(())
    }

    /// The copy that a mount means: its version is what keeps those out who know an older one.
    fn find_copy(&self, server: u8, spot: Spot) -> Result<u64, Trouble> {
        let stored = self.servers[usize::from(server)].disk.get(&spot.chunk);
        let stored = stored.filter(|it| !it.bad).ok_or(Trouble::NoCopy)?;
        match stored.version == spot.version {
            true => Ok(stored.content.blocks[spot.at]),
            false => Err(Trouble::Version(stored.version)),
        }
    }

    /// A disk cannot write: the copy is bad from now, if another one is good, and its node hears so.
    fn spoil<T: Clone>(&mut self, view: &View<'_, T>, server: u8, spot: Spot, out: &mut Vec<Deed>) {
        if !self.may_spoil(server, spot.chunk, spot.version) {
            return;
        }
        if let Some(stored) = self.server(server).disk.get_mut(&spot.chunk) {
            stored.bad = true;
        }
        self.tell_copy(server, spot.chunk, out);
        let it = self.server(server);
        let member = matches!(it.talk.stage, Stage::Member);
        if let Some(conn) = it.link.filter(|_| member) {
            let bad: ListBuf<_> = [spot.chunk].into_iter().collect();
            self.utter(view, conn, &ToMaster::ChunkDamaged(bad.as_list()), out);
        }
    }

    /// Answers for all from this place of the chain on, when they have written.
    fn maybe_answer<T: Clone>(
        &mut self,
        view: &View<'_, T>,
        number: u64,
        at: usize,
        out: &mut Vec<Deed>,
    ) {
        let Some(chain) = self.chains.get(&number).filter(|chain| !chain.broken) else {
            return;
        };
        let link = chain.links[at];
        let is_last = at + 1 == chain.links.len();
        if !link.written || !is_last && !link.behind {
            return;
        }
        let way = (Place::Chunkserver(link.server), Self::before(chain, at));
        match self.data_travel(view, way) {
            Some(after) => Self::plan_step(number, Step::Answered(at), view.now + after, out),
            None => self.break_chain(view.now, number, link.server, Trouble::Unreachable, out),
        }
    }

    // Reading.

    fn carry_fetch<T: Clone>(
        &mut self,
        view: &View<'_, T>,
        number: u64,
        way: (Place, Place),
        back: bool,
        out: &mut Vec<Deed>,
    ) {
        let moment = |back| Moment::Fetch {
            fetch: number,
            back,
        };
        match self.data_travel(view, way) {
            Some(after) => out.push(Deed::Plan {
                at: view.now + after,
                moment: moment(back),
            }),
            None => {
                if let Some(fetch) = self.fetches.get_mut(&number) {
                    fetch.served = Served::Failed;
                }
                let after = Duration::from_millis(self.data_rng.between(NEWS_MS.0, NEWS_MS.1));
                out.push(Deed::Plan {
                    at: view.now + after,
                    moment: moment(true),
                });
            }
        }
    }

    pub(super) fn on_fetch<T: Clone>(
        &mut self,
        view: &View<'_, T>,
        number: u64,
        back: bool,
        out: &mut Vec<Deed>,
    ) {
        if back {
            if let Some(fetch) = self.fetches.remove(&number) {
                out.push(Deed::Serve(fetch.by, fetch.served));
            }
            return;
        }
        let Some(fetch) = self.fetches.get(&number).cloned() else {
            return;
        };
        let server = fetch.server;
        let found = match self.servers[usize::from(server)].up {
            true => self.find_copy(server, fetch.spot),
            false => Err(Trouble::Unreachable),
        };
        let served = match found {
            Ok(value) => Served::Fetched(value, server),
            Err(why) => {
                out.push(Deed::Tell(Event::FetchRefused {
                    mount: fetch.by.mount,
                    server,
                    chunk: fetch.spot.chunk,
                    version: fetch.spot.version,
                    why,
                }));
                Served::Failed
            }
        };
        if let Some(fetch) = self.fetches.get_mut(&number) {
            fetch.served = served;
        }
        let way = (Place::Chunkserver(server), Place::Mount(fetch.by.mount));
        self.carry_fetch(view, number, way, true, out);
    }
}
