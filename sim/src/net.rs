//! The network between places: latency, loss, doubling, overtaking, cuts, clogs, resets.
//!
//! It knows nothing of what it carries. A link is one direction between two places; what happens
//! to a message is drawn from a stream of that link and the message's number on it, so taking one
//! message out of a run leaves the others' fates alone. Messages of one link keep their order
//! unless one is drawn to be overtaken, as on a connection that is made anew.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mfsha_core::rng::{Rng, Seed};

use crate::draw;
use crate::event::{LossReason, MessageNumber};
use crate::options::NetOptions;
use crate::place::Place;
use crate::time::SimTime;

/// A lost piece of a stream is sent again after this long, then after twice that, and so on.
const RESEND_MIN: Duration = Duration::from_millis(10);
/// But it is lost no more once it would wait this long.
const RESEND_MAX: Duration = Duration::from_millis(500);

/// A link: from, to.
pub type Link = (Place, Place);

/// What one fault does to the network while it lasts.
#[derive(Clone, Debug)]
pub enum Weather {
    /// Messages on these links are lost.
    Cut(BTreeSet<Link>),
    /// Messages on these links are held until it is over.
    Clog(BTreeSet<Link>),
    /// Messages on these links take longer.
    Slow(BTreeSet<Link>, Duration),
    /// Messages everywhere are lost more often, parts of a million.
    Loss(u32),
    /// Messages everywhere are doubled more often, parts of a million.
    Duplicate(u32),
    /// Messages everywhere are overtaken more often, parts of a million.
    Reorder(u32),
    /// Pieces of streams everywhere have a bit flipped, parts of a million.
    Corrupt(u32),
}

/// A message on its way.
#[derive(Clone, Debug)]
pub struct Flight<T> {
    /// Its number.
    pub message: MessageNumber,
    /// Where it came from.
    pub from: Place,
    /// Where it goes.
    pub to: Place,
    /// Which connection of the link carries it.
    connection: u64,
    /// What it says.
    pub body: T,
}

/// What becomes of a message that was sent.
#[derive(Debug)]
pub enum Fate<T> {
    /// It arrives once, or twice.
    Arrives(Vec<(SimTime, Flight<T>)>),
    /// It is held by a clog and comes out of [`Net::clear`] later.
    Held,
    /// It is lost.
    Lost(LossReason),
}

/// The network of one run.
#[derive(Debug)]
pub struct Net<T> {
    seed: Seed,
    options: NetOptions,
    /// What is in force, by the number of the fault that brought it.
    weather: BTreeMap<u64, Weather>,
    links: BTreeMap<Link, LinkState>,
    held: Vec<Flight<T>>,
    /// Tells good links from bad ones, where they differ.
    links_draw: u64,
}

#[derive(Debug)]
struct LinkState {
    seed: Seed,
    /// Messages sent so far.
    sent: u64,
    /// Connections made so far.
    connection: u64,
    /// When the last message that keeps the order arrives.
    last: SimTime,
}

impl<T: Clone> Net<T> {
    /// A network in fair weather.
    #[must_use]
    pub fn new(seed: &Seed, options: &NetOptions) -> Self {
        Self {
            seed: seed.child("net"),
            options: options.clone(),
            weather: BTreeMap::new(),
            links: BTreeMap::new(),
            held: Vec::new(),
            links_draw: seed.child("links").rng().next_u64(),
        }
    }

    /// Sends a message and says what becomes of it.
    pub fn send(&mut self, now: SimTime, message: MessageNumber, link: Link, body: T) -> Fate<T> {
        if self.is_cut(link) {
            // The draw is used up all the same: a cut that is taken out shifts no later fate.
            self.link(link).sent += 1;
            return Fate::Lost(LossReason::Cut);
        }
        let clogged = self.is_clogged(link);
        let connection = self.link(link).connection;
        let (from, to) = link;
        let flight = Flight {
            message,
            from,
            to,
            connection,
            body,
        };
        if clogged {
            self.link(link).sent += 1;
            self.held.push(flight);
            return Fate::Held;
        }
        self.fly(now, flight)
    }

    /// Whether a message that was on its way may be handed over now.
    ///
    /// # Errors
    /// Why not: its connection was reset under it, or its link is cut now.
    pub fn arrive(&mut self, flight: &Flight<T>) -> Result<(), LossReason> {
        let link = (flight.from, flight.to);
        if self.link(link).connection != flight.connection {
            return Err(LossReason::Reset);
        }
        if self.is_cut(link) {
            return Err(LossReason::Cut);
        }
        Ok(())
    }

    /// Resets both directions between two places: what is on the way will not be handed over,
    /// however much of it has arrived.
    pub fn reset(&mut self, a: Place, b: Place) {
        for link in [(a, b), (b, a)] {
            let state = self.link(link);
            state.connection += 1;
            state.last = SimTime::ZERO;
        }
        self.held.retain(|flight| {
            (flight.from, flight.to) != (a, b) && (flight.from, flight.to) != (b, a)
        });
    }

    /// Brings weather, under a number that clears it.
    pub fn bring(&mut self, number: u64, weather: Weather) {
        self.weather.insert(number, weather);
    }

    /// Clears what this number brought; messages that a clog held go on their way now, in order.
    pub fn clear(&mut self, now: SimTime, number: u64) -> Vec<(SimTime, Flight<T>)> {
        self.weather.remove(&number);
        self.release(now)
    }

    /// Clears everything.
    pub fn clear_all(&mut self, now: SimTime) -> Vec<(SimTime, Flight<T>)> {
        self.weather.clear();
        self.release(now)
    }

    /// From now no message is lost, doubled or late by chance.
    pub fn calm(&mut self) {
        self.options.loss_ppm = 0;
        self.options.duplicate_ppm = 0;
        self.options.reorder_ppm = 0;
        self.options.tail_ppm = 0;
        self.options.links_differ = false;
    }

    /// Whether messages on this link are lost now.
    #[must_use]
    pub fn is_cut(&self, link: Link) -> bool {
        self.weather
            .values()
            .any(|weather| matches!(weather, Weather::Cut(links) if links.contains(&link)))
    }

    fn is_clogged(&self, link: Link) -> bool {
        self.weather
            .values()
            .any(|weather| matches!(weather, Weather::Clog(links) if links.contains(&link)))
    }

    fn release(&mut self, now: SimTime) -> Vec<(SimTime, Flight<T>)> {
        let mut out = Vec::new();
        for flight in std::mem::take(&mut self.held) {
            if self.is_clogged((flight.from, flight.to)) {
                self.held.push(flight);
            } else {
                let least = Duration::from_micros(self.options.latency_min_us);
                let state = self.link((flight.from, flight.to));
                state.last = state.last.max(now + least) + Duration::from_nanos(1);
                out.push((state.last, flight));
            }
        }
        out
    }

    fn fly(&mut self, now: SimTime, flight: Flight<T>) -> Fate<T> {
        let link = (flight.from, flight.to);
        let Chances {
            loss,
            duplicate,
            reorder,
            extra,
        } = self.chances(link);
        let seed = &self.seed;
        let state = self
            .links
            .entry(link)
            .or_insert_with(|| LinkState::new(seed, link));
        let mut rng = state.seed.index(state.sent).rng();
        state.sent += 1;
        let (first, second) = (
            latency(&self.options, &mut rng) + extra,
            latency(&self.options, &mut rng) + extra,
        );
        if draw::ppm(&mut rng, loss) {
            return Fate::Lost(LossReason::Chance);
        }
        let overtaken = draw::ppm(&mut rng, reorder);
        let arrival = if overtaken {
            now + first + first
        } else {
            let arrival = (now + first).max(state.last + Duration::from_nanos(1));
            state.last = arrival;
            arrival
        };
        let mut arrivals = vec![(arrival, flight)];
        if draw::ppm(&mut rng, duplicate) {
            let again = arrivals[0].1.clone();
            arrivals.push((arrival + second, again));
        }
        Fate::Arrives(arrivals)
    }

    /// How long a piece of a stream travels: one that is lost is sent again, after a while that
    /// doubles.
    pub fn travel(&self, link: Link, rng: &mut Rng) -> Duration {
        let chances = self.chances(link);
        let mut time = latency(&self.options, rng) + chances.extra;
        let mut again = RESEND_MIN;
        while again < RESEND_MAX && draw::ppm(rng, chances.loss) {
            time += again;
            again *= 2;
        }
        time
    }

    /// Pieces of streams that have a bit flipped now, parts of a million.
    #[must_use]
    pub fn corrupt_ppm(&self) -> u32 {
        let each = self.weather.values().map(|weather| match weather {
            Weather::Corrupt(ppm) => *ppm,
            _ => 0,
        });
        each.fold(0, u32::saturating_add)
    }

    /// Whether nothing passes this link now: what is sent is sent again until it does.
    #[must_use]
    pub fn is_blocked(&self, link: Link) -> bool {
        !self.weather.is_empty() && (self.is_cut(link) || self.is_clogged(link))
    }

    /// What the weather makes of the chances of a message on this link.
    fn chances(&self, link: Link) -> Chances {
        let (loss, duplicate, reorder) = (
            self.options.loss_ppm,
            self.options.duplicate_ppm,
            self.options.reorder_ppm,
        );
        let (times, of) = self.quality(link);
        let share = |ppm: u32| ppm * times / of;
        let late = self.options.latency_mean_us * u64::from(times.saturating_sub(1));
        let mut chances = Chances {
            loss: share(loss),
            duplicate: share(duplicate),
            reorder: share(reorder),
            extra: Duration::from_micros(late),
        };
        for weather in self.weather.values() {
            match weather {
                Weather::Loss(ppm) => chances.loss = chances.loss.saturating_add(*ppm),
                Weather::Duplicate(ppm) => {
                    chances.duplicate = chances.duplicate.saturating_add(*ppm);
                }
                Weather::Reorder(ppm) => chances.reorder = chances.reorder.saturating_add(*ppm),
                Weather::Slow(links, by) if links.contains(&link) => chances.extra += *by,
                Weather::Slow(..) | Weather::Cut(_) | Weather::Clog(_) | Weather::Corrupt(_) => {}
            }
        }
        chances
    }

    /// What of the chances of all links is this link's: so many times, divided by so many.
    fn quality(&self, (from, to): Link) -> (u32, u32) {
        if !self.options.links_differ {
            return (1, 1);
        }
        // Any mixing does that tells links apart: it is asked for each message.
        let mixed = (self.links_draw ^ (from.number() << 32 | to.number()))
            .wrapping_mul(0x9e37_79b9_7f4a_7c15);
        match mixed >> 61 {
            0 => (0, 1),
            1 | 2 => (1, 4),
            3 => (4, 1),
            _ => (1, 1),
        }
    }

    fn link(&mut self, link: Link) -> &mut LinkState {
        let seed = &self.seed;
        self.links
            .entry(link)
            .or_insert_with(|| LinkState::new(seed, link))
    }
}

impl LinkState {
    fn new(seed: &Seed, link: Link) -> Self {
        Self {
            seed: seed.index(link.0.number() << 32 | link.1.number()),
            sent: 0,
            connection: 0,
            last: SimTime::ZERO,
        }
    }
}

/// What may become of a message on a link, parts of a million, and how much longer it takes.
struct Chances {
    loss: u32,
    duplicate: u32,
    reorder: u32,
    extra: Duration,
}

fn latency(options: &NetOptions, rng: &mut Rng) -> Duration {
    let base = options.latency_min_us * 1_000;
    let more = draw::exponential(rng, options.latency_mean_us * 1_000);
    let tail = if draw::ppm(rng, options.tail_ppm) {
        rng.below(options.tail_max_ms * 1_000_000 + 1)
    } else {
        0
    };
    Duration::from_nanos(base + more + tail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::place::Seat;

    const A: Place = Place::Seat(Seat(0));
    const B: Place = Place::Seat(Seat(1));

    fn net() -> Net<u32> {
        let options = NetOptions {
            latency_min_us: 50,
            latency_mean_us: 100,
            tail_ppm: 1_000,
            tail_max_ms: 100,
            loss_ppm: 0,
            duplicate_ppm: 0,
            reorder_ppm: 0,
            streams: false,
            segment_bytes: 0,
            tear_ppm: 0,
            links_differ: false,
        };
        Net::new(&Seed::from_u64(1), &options)
    }

    fn links(pairs: &[Link]) -> BTreeSet<Link> {
        pairs.iter().copied().collect()
    }

    fn arrivals(net: &mut Net<u32>, count: u32) -> Vec<(SimTime, u32)> {
        let mut out = Vec::new();
        for body in 0..count {
            let now = SimTime(u64::from(body) * 1_000);
            if let Fate::Arrives(all) = net.send(now, MessageNumber(body.into()), (A, B), body) {
                out.extend(all.into_iter().map(|(at, flight)| (at, flight.body)));
            }
        }
        out.sort();
        out
    }

    #[test]
    fn in_fair_weather_all_arrive_once_and_in_order() {
        let bodies: Vec<u32> = arrivals(&mut net(), 1_000)
            .into_iter()
            .map(|a| a.1)
            .collect();
        assert_eq!(bodies, (0..1_000).collect::<Vec<_>>());
    }

    #[test]
    fn weather_loses_doubles_and_reorders_and_is_cleared() {
        let mut net = net();
        net.bring(1, Weather::Loss(200_000));
        net.bring(2, Weather::Duplicate(200_000));
        net.bring(3, Weather::Reorder(200_000));
        let bodies: Vec<u32> = arrivals(&mut net, 1_000).into_iter().map(|a| a.1).collect();
        let distinct: BTreeSet<u32> = bodies.iter().copied().collect();
        assert!((700..900).contains(&distinct.len()), "{}", distinct.len());
        assert!(bodies.len() > distinct.len() + 50);
        assert!(!bodies.is_sorted());
        for number in 1..=3 {
            assert!(net.clear(SimTime::ZERO, number).is_empty());
        }
        assert_eq!(arrivals(&mut net, 100).len(), 100);
    }

    #[test]
    fn one_way_cuts_are_one_way() {
        let mut net = net();
        net.bring(1, Weather::Cut(links(&[(A, B)])));
        let there = net.send(SimTime::ZERO, MessageNumber(1), (A, B), 1);
        assert!(matches!(there, Fate::Lost(LossReason::Cut)));
        let back = net.send(SimTime::ZERO, MessageNumber(2), (B, A), 2);
        assert!(matches!(back, Fate::Arrives(_)));
    }

    #[test]
    fn a_cut_catches_what_is_on_the_way() {
        let mut net = net();
        let Fate::Arrives(all) = net.send(SimTime::ZERO, MessageNumber(1), (A, B), 1) else {
            panic!("nothing stands in its way");
        };
        net.bring(1, Weather::Cut(links(&[(A, B)])));
        assert_eq!(net.arrive(&all[0].1), Err(LossReason::Cut));
    }

    #[test]
    fn a_clog_delivers_later_and_in_order() {
        let mut net = net();
        net.bring(1, Weather::Clog(links(&[(A, B)])));
        for body in 0..10 {
            let fate = net.send(SimTime::ZERO, MessageNumber(body), (A, B), body as u32);
            assert!(matches!(fate, Fate::Held));
        }
        let later = SimTime(5_000_000_000);
        let released = net.clear(later, 1);
        assert_eq!(released.len(), 10);
        assert!(released.is_sorted_by_key(|(at, flight)| (*at, flight.body)));
        assert!(released[0].0 > later);
        assert!(
            released
                .iter()
                .all(|(_, flight)| net.arrive(flight).is_ok())
        );
    }

    #[test]
    fn a_reset_hands_over_nothing_that_was_on_the_way() {
        let mut net = net();
        let Fate::Arrives(all) = net.send(SimTime::ZERO, MessageNumber(1), (A, B), 1) else {
            panic!("nothing stands in its way");
        };
        net.bring(1, Weather::Clog(links(&[(B, A)])));
        net.send(SimTime::ZERO, MessageNumber(2), (B, A), 2);
        net.reset(A, B);
        assert_eq!(net.arrive(&all[0].1), Err(LossReason::Reset));
        assert!(net.clear(SimTime::ZERO, 1).is_empty());
        let Fate::Arrives(all) = net.send(SimTime::ZERO, MessageNumber(3), (A, B), 3) else {
            panic!("nothing stands in its way");
        };
        assert_eq!(net.arrive(&all[0].1), Ok(()));
    }

    #[test]
    fn taking_a_message_out_of_one_link_leaves_other_links_alone() {
        let mut one = net();
        let mut two = net();
        one.send(SimTime::ZERO, MessageNumber(1), (B, A), 9);
        assert_eq!(arrivals(&mut one, 100), arrivals(&mut two, 100));
    }
}
