//! The books of a leader: orders that are under way, by which run each relay was told of them, and
//! copies of which it knows that nothing has changed.
//!
//! They go with the leadership; nothing in them is needed to begin another one.

use std::collections::BTreeMap;

use super::channel::Sender;
use super::jobs::{Job, Ticket};
use super::keeper::{Keeper, Records};
use super::map::{PlaceNo, Server};
use super::order::Order;
use super::repair::Repair;
use super::talk::Task;
use super::upkeep::Upkeep;
use crate::id::{ChunkId, NodeId, Slot, Term};
use crate::store::StoreError;

/// Chunks that are remembered as written since their copies changed last; beyond this a writer
/// costs a version more.
const CLEAN_MAX: usize = 200_000;

/// Why an order was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// For a job of its chunk.
    Job,
    /// To keep the chunk at its goal.
    Upkeep,
}

/// An order on its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct OrderAt {
    pub place: PlaceNo,
    pub chunk: ChunkId,
    pub why: Why,
}

/// A relay, as the leader speaks to it.
#[derive(Debug)]
pub(super) struct Link {
    pub life: u64,
    pub sender: Sender<Task>,
}

/// A version of a chunk that is not settled and was made in this term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Raised {
    pub version: u32,
    /// Chunkservers were told of it: a copy that has it may be of this state.
    pub is_ordered: bool,
}

/// What a leader has under way.
#[derive(Debug)]
pub(super) struct Leading {
    pub term: Term,
    pub runs: u64,
    pub links: BTreeMap<NodeId, Link>,
    pub next_order: u64,
    pub orders: BTreeMap<u64, OrderAt>,
    pub jobs: BTreeMap<ChunkId, Job>,
    pub next_ticket: u64,
    /// Proposals on their way, and the chunks they are for.
    pub tickets: BTreeMap<Ticket, ChunkId>,
    /// Versions of chunks that are not settled and were made in this term: no order of an earlier
    /// one names them.
    pub raised: BTreeMap<ChunkId, Raised>,
    /// No other node can lead now.
    pub lease: bool,
    /// Copies that were all told of the version: nothing has changed while these are all there are.
    pub clean: BTreeMap<ChunkId, (u32, Vec<PlaceNo>)>,
    pub upkeep: Upkeep,
    /// Repairs, by the proposal that each waits for.
    pub repairs: BTreeMap<Ticket, Repair>,
    /// Slots of which ids are being passed over.
    pub passing: BTreeMap<Ticket, Slot>,
    /// An operator was told that this state is older than what chunkservers have.
    pub told_of_newer: bool,
}

impl Leading {
    pub fn new_ticket(&mut self) -> Ticket {
        self.next_ticket += 1;
        Ticket(self.next_ticket)
    }

    /// Whether no order is under way at a chunkserver but such as this leader knows of.
    pub fn has_fenced(&self, server: &Server) -> bool {
        let link = self.links.get(&server.via.relay);
        link.is_some_and(|link| {
            let (term, run) = link.sender.epoch();
            server.fenced == (Term(term), run)
        })
    }
}

impl Keeper {
    /// Nothing will be heard of what a chunkserver was to do.
    pub(super) fn fail_orders(
        &mut self,
        place: PlaceNo,
        records: &dyn Records,
    ) -> Result<(), StoreError> {
        let Some(leading) = &mut self.leading else {
            return Ok(());
        };
        let at = |(_, order): &(&u64, &OrderAt)| order.place == place;
        let theirs = leading.orders.iter().filter(at);
        let theirs: Vec<(u64, OrderAt)> = theirs.map(|(number, it)| (*number, *it)).collect();
        for (number, order) in theirs {
            if let Some(leading) = &mut self.leading {
                leading.orders.remove(&number);
            }
            match order.why {
                Why::Job => self.on_job_order(order.chunk, place, false, records)?,
                Why::Upkeep => self.on_errand_ended(order.chunk, place, false),
            }
        }
        Ok(())
    }

    /// All chunkservers of a relay are gone from the map, and what came of orders to them is not
    /// known. They may come back over the same connections: by then those orders must be void, or
    /// a copy that counts again may still be deleted.
    pub(super) fn unlink(&mut self, relay: NodeId) {
        #[cfg(feature = "planted-bugs")]
        if self.options.bug == Some(crate::planted::Bug::ForgottenOrdersCarriedOut) {
            return;
        }
        if let Some(leading) = &mut self.leading {
            leading.links.remove(&relay);
        }
    }

    /// The leader's way to a relay, which fences it.
    pub(super) fn link(&mut self, relay: NodeId) {
        let resend = self.options.resend;
        let lives = self.map.servers().filter(|(_, it)| it.via.relay == relay);
        let Some(life) = lives.map(|(_, it)| it.via.life).max() else {
            return;
        };
        let Some(leading) = &mut self.leading else {
            return;
        };
        if leading.links.get(&relay).is_some_and(|it| it.life == life) {
            return;
        }
        leading.runs += 1;
        let mut sender = Sender::new((leading.term.0, leading.runs), resend);
        sender.push(Task::Fence);
        leading.links.insert(relay, Link { life, sender });
    }

    /// Gives an order. The place must be one that can be used.
    pub(super) fn order(&mut self, place: PlaceNo, order: Order, why: Why) {
        let Some(server) = self.map.server(place) else {
            return;
        };
        let via = server.via;
        let Some(leading) = &mut self.leading else {
            return;
        };
        let Some(link) = leading.links.get_mut(&via.relay) else {
            return;
        };
        leading.next_order += 1;
        let number = leading.next_order;
        let chunk = order.chunk();
        leading.orders.insert(number, OrderAt { place, chunk, why });
        link.sender.push(Task::Order {
            life: via.life,
            conn: via.conn,
            number,
            order,
        });
    }

    /// Whether a chunkserver can be given orders now.
    pub(super) fn is_usable(&self, server: &Server) -> bool {
        let Some(leading) = &self.leading else {
            return false;
        };
        #[cfg(feature = "planted-bugs")]
        if self.options.bug == Some(crate::planted::Bug::OldOrdersCarriedOut) {
            return !self.is_given_up(server);
        }
        leading.lease && leading.has_fenced(server) && !self.is_given_up(server)
    }

    /// Whether it is no use to wait for a chunkserver.
    pub(super) fn is_given_up(&self, server: &Server) -> bool {
        let patience = self.options.cut_off_patience;
        server
            .cut_off
            .is_some_and(|since| since + patience <= self.now)
    }

    /// Whether nothing has changed among a chunk's copies since all were told of its version.
    pub(super) fn is_clean(&self, chunk: ChunkId, version: u32) -> bool {
        let Some(leading) = &self.leading else {
            return false;
        };
        let Some((told, places)) = leading.clean.get(&chunk) else {
            #[cfg(feature = "planted-bugs")]
            if self.options.bug == Some(crate::planted::Bug::WrittenWithoutVersion) {
                return !self.sound_places(chunk, version).is_empty();
            }
            return false;
        };
        #[cfg(feature = "planted-bugs")]
        if self.options.bug == Some(crate::planted::Bug::MissedWriteCounts) {
            return *told == version && !self.sound_places(chunk, version).is_empty();
        }
        *told == version && !places.is_empty() && *places == self.sound_places(chunk, version)
    }

    /// Where there is a copy of this version that can be written.
    pub(super) fn sound_places(&self, chunk: ChunkId, version: u32) -> Vec<PlaceNo> {
        let sound = self.map.copies(chunk).filter(|known| {
            let server = self.map.server(known.place);
            !known.damaged
                && known.version == version
                && server.is_some_and(|it| self.is_usable(it))
        });
        let mut places: Vec<PlaceNo> = sound.map(|known| known.place).collect();
        places.sort_unstable();
        places
    }

    /// A copy is being made, and may miss what is written meanwhile: it must not have the version
    /// that is written to next, even if nothing is heard of it again.
    pub(super) fn set_unclean(&mut self, chunk: ChunkId) {
        if let Some(leading) = &mut self.leading {
            leading.clean.remove(&chunk);
        }
    }

    pub(super) fn set_clean(&mut self, chunk: ChunkId, version: u32, mut places: Vec<PlaceNo>) {
        places.sort_unstable();
        if let Some(leading) = &mut self.leading {
            if leading.clean.len() >= CLEAN_MAX {
                // Any will do: it costs its next writer a version.
                leading.clean.pop_first();
            }
            leading.clean.insert(chunk, (version, places));
        }
    }
}
