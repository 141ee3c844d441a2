//! Copies move from fuller chunkservers to emptier ones while no chunk lacks any: a copy is made at
//! the emptier one first; that it is one too many then, and which of them goes, is the upkeep's.

use std::collections::BTreeMap;

use super::census::Deed;
use super::keeper::Keeper;
use super::leading::Why;
use super::map::{Known, PlaceNo, Server};
use super::order::Order;
use super::placement;
use super::report::Space;
use super::upkeep::Errand;
use crate::limits;
use crate::namespace::op::{ChunkInfo, LabelExpr};

/// The emptiest chunkservers, among which each chunk's copy finds its place.
const TARGETS_MAX: usize = 16;
/// A copy counts with this many bytes until its chunkservers say how much room they have.
const COPY_BYTES: u64 = limits::CHUNK_BYTES + limits::CHUNK_HEADER_BYTES;
/// A chunkserver with less room than for so many copies is given none.
const ROOM_COPIES: u64 = 11;
const MILLION: u128 = 1_000_000;

/// Where moving stands.
#[derive(Debug, Default)]
pub(super) struct Balance {
    /// Chunkservers were fuller and emptier by more than is accepted, and are not even yet.
    is_under_way: bool,
    /// In the pass before this no chunk lacked a copy that could be made.
    was_whole: bool,
    /// In this pass one does.
    is_lacking: bool,
    /// Where copies may go, the emptiest first.
    targets: Vec<PlaceNo>,
    /// Copies that came to and will leave a chunkserver by moves since it told its space.
    moved: BTreeMap<PlaceNo, (Space, u64, u64)>,
}

impl Balance {
    /// A chunk lacks a copy.
    pub fn on_lacking(&mut self) {
        self.is_lacking = true;
    }

    /// A pass has ended.
    pub fn on_pass(&mut self) {
        self.was_whole = !std::mem::take(&mut self.is_lacking);
    }

    /// Bytes in use once all moves are made, in millionths of all; `more` copies come and `less` go.
    fn filled(&self, place: PlaceNo, server: &Server, more: u64, less: u64) -> u64 {
        let space = &server.space;
        let moved = self.moved.get(&place).filter(|it| it.0 == *space);
        let (came, left) = moved.map_or((0, 0), |it| (it.1, it.2));
        let used = u128::from(space.used) + u128::from(came + more) * u128::from(COPY_BYTES);
        let used = used.saturating_sub(u128::from(left + less) * u128::from(COPY_BYTES));
        u64::try_from(used * MILLION / u128::from(space.total.max(1))).unwrap_or(u64::MAX)
    }

    fn note_move(&mut self, place: PlaceNo, space: Space, came: u64, left: u64) {
        let noted = self.moved.entry(place).or_insert((space, 0, 0));
        if noted.0 != space {
            *noted = (space, 0, 0);
        }
        noted.1 += came;
        noted.2 += left;
    }
}

impl Keeper {
    /// Looks how full chunkservers are, for the chunks that come next.
    pub(super) fn weigh(&mut self) {
        let accepted = u64::from(self.options.balance_accepted_percent) * 10_000;
        let Some(leading) = &self.leading else {
            return;
        };
        let balance = &leading.upkeep.balance;
        let is_even_tempered = |server: &Server| {
            server.listed && !server.leaving && server.space.total > 0 && self.is_usable(server)
        };
        let there = self.map.servers().filter(|(_, it)| is_even_tempered(it));
        let mut filled: Vec<(u64, PlaceNo)> = there
            .map(|(place, server)| (balance.filled(place, server, 0, 0), place))
            .collect();
        filled.sort_unstable();
        let (least, most) = match (filled.first(), filled.last()) {
            (Some(least), Some(most)) => (least.0, most.0),
            _ => (0, 0),
        };
        // Once it is begun it goes on to half of what is accepted: so it does not begin again with
        // the next file that is written.
        let limit = match balance.is_under_way {
            true => accepted / 2,
            false => accepted,
        };
        let is_under_way = most - least > limit;
        let takes = |(_, place): &(u64, PlaceNo)| {
            self.map.server(*place).is_some_and(|server| {
                let room = server.space.total.saturating_sub(server.space.used);
                !server.overloaded && room >= ROOM_COPIES * COPY_BYTES
            })
        };
        let targets = match is_under_way {
            true => filled.iter().copied().filter(takes).map(|(_, at)| at),
            false => return self.set_targets(false, Vec::new()),
        };
        let targets = targets.take(TARGETS_MAX).collect();
        self.set_targets(true, targets);
    }

    fn set_targets(&mut self, is_under_way: bool, targets: Vec<PlaceNo>) {
        let servers = &self.map;
        if let Some(leading) = &mut self.leading {
            let balance = &mut leading.upkeep.balance;
            balance.is_under_way = is_under_way;
            balance.targets = targets;
            balance
                .moved
                .retain(|place, _| servers.server(*place).is_some());
        }
    }

    /// Begins to move a copy of a chunk that has exactly those that are wanted, all of them good, if
    /// that makes chunkservers more even.
    pub(super) fn maybe_move(&mut self, info: &ChunkInfo, staying: &[Known], wanted: &[LabelExpr]) {
        let Some((from, to)) = self.worthwhile_move(staying, wanted) else {
            return;
        };
        let chunk = info.chunk;
        let gives = self.options.gives_max;
        let source = staying.iter().map(|it| it.place).find(|place| {
            let upkeep = self.leading.as_ref().map(|leading| &leading.upkeep);
            upkeep.is_some_and(|upkeep| upkeep.gives_from(*place) < gives)
        });
        let source = source.and_then(|it| Some((it, self.map.server(it)?.joined.address)));
        let spaces = self.map.server(from).zip(self.map.server(to));
        let spaces = spaces.map(|(from, to)| (from.space, to.space));
        let (Some((source, address)), Some((from_space, to_space))) = (source, spaces) else {
            return;
        };
        let Some(leading) = &mut self.leading else {
            return;
        };
        let upkeep = &mut leading.upkeep;
        upkeep.begin_copy((chunk, to), Errand::copy_from(source));
        upkeep.balance.note_move(from, from_space, 0, 1);
        upkeep.balance.note_move(to, to_space, 1, 0);
        upkeep.counting.note(Deed::Rebalance, true);
        // It may miss what is written meanwhile, as any copy that is being made.
        self.set_unclean(chunk);
        let order = Order::Replicate {
            chunk,
            version: info.version,
            source: address,
        };
        self.order(to, order, Why::Upkeep);
        #[cfg(feature = "planted-bugs")]
        if self.options.bug == Some(crate::planted::Bug::MovedBeforeCopied) {
            self.order(from, Order::Delete { chunk }, Why::Upkeep);
        }
    }

    /// From where to where, when the class still has what it wants, and it is not the other way
    /// round then.
    fn worthwhile_move(
        &self,
        staying: &[Known],
        wanted: &[LabelExpr],
    ) -> Option<(PlaceNo, PlaceNo)> {
        let upkeep = &self.leading.as_ref()?.upkeep;
        let balance = &upkeep.balance;
        if !balance.is_under_way || !balance.was_whole || balance.is_lacking {
            return None;
        }
        let least = u64::from(self.options.balance_accepted_percent) * 10_000 / 2;
        let filled = |place: PlaceNo, more, less| {
            let server = self.map.server(place)?;
            Some(balance.filled(place, server, more, less))
        };
        let full = |it: &&Known| (filled(it.place, 0, 0), it.place);
        let from = staying.iter().max_by_key(full)?.place;
        let labels_with = |to: PlaceNo| -> Vec<u32> {
            let places = staying.iter().map(|it| it.place);
            let places = places.map(|place| if place == from { to } else { place });
            let labels = places.map(|place| self.map.server(place).map_or(0, |it| it.labels));
            labels.collect()
        };
        let is_better = |to: &&PlaceNo| {
            let now = filled(from, 0, 0).zip(filled(**to, 0, 0));
            let then = filled(from, 0, 1).zip(filled(**to, 1, 0));
            let is_worth = now.is_some_and(|(from, to)| from > to.saturating_add(least));
            let is_still = then.is_some_and(|(from, to)| from >= to);
            is_worth && is_still
        };
        let to = balance.targets.iter().filter(is_better).find(|to| {
            let is_free = staying.iter().all(|it| it.place != **to);
            is_free
                && upkeep.receives_at(**to) == 0
                && placement::matched(wanted, &labels_with(**to))
                    .iter()
                    .all(Option::is_some)
        });
        to.map(|to| (from, *to))
    }
}
