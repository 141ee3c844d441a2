//! A connection between somebody outside and one life of a node, as TCP gives it: everything
//! arrives, in order, or the connection is broken.

use std::time::Duration;

use mfsha_core::rng::Rng;

use crate::net::Net;
use crate::place::{Place, Seat};
use crate::time::SimTime;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Line {
    /// Who is connected.
    pub outside: Place,
    /// With whom.
    pub seat: Seat,
    /// In which life.
    pub life: u32,
    /// Nothing passes any more; whoever has an end will hear of it.
    pub broken: bool,
    /// When the last of what went up, and down, arrives.
    last: [SimTime; 2],
}

impl Line {
    /// A connection that holds.
    pub fn new(outside: Place, seat: Seat, life: u32) -> Self {
        Self {
            outside,
            seat,
            life,
            broken: false,
            last: [SimTime::ZERO; 2],
        }
    }

    /// When what is sent now, `up` to the node or down from it, arrives.
    pub fn arrival<T: Clone>(
        &mut self,
        now: SimTime,
        up: bool,
        net: &Net<T>,
        rng: &mut Rng,
    ) -> SimTime {
        let (outside, seat) = (self.outside, Place::Seat(self.seat));
        let way = if up { (outside, seat) } else { (seat, outside) };
        let after = net.travel(way, rng);
        let last = &mut self.last[usize::from(up)];
        let at = (now + after).max(*last + Duration::from_nanos(1));
        *last = at;
        at
    }

    /// Whether nothing passes between the two, one way or the other.
    pub fn is_blocked<T: Clone>(&self, net: &Net<T>) -> bool {
        let (outside, seat) = (self.outside, Place::Seat(self.seat));
        net.is_blocked((outside, seat)) || net.is_blocked((seat, outside))
    }
}

/// What one end writes, cut at any byte in some cases, as TCP may.
pub(crate) fn pieces(bytes: Vec<u8>, rng: &mut Rng) -> Vec<Vec<u8>> {
    let mut head = bytes;
    if head.len() > 1 && rng.chance(1, 4) {
        let at = rng.between(1, head.len() as u64 - 1) as usize;
        let tail = head.split_off(at);
        return vec![head, tail];
    }
    vec![head]
}
