//! What those outside the nodes, chunkservers and mounts, may look at.

use crate::net::Net;
use crate::place::{Place, Seat};
use crate::seat::SeatState;
use crate::time::SimTime;

/// See the module's documentation.
pub(crate) struct View<'a, T> {
    pub now: SimTime,
    pub net: &'a Net<T>,
    pub seats: &'a [SeatState],
}

impl<T> View<'_, T> {
    /// A machine room.
    pub fn seat(&self, seat: Seat) -> &SeatState {
        &self.seats[usize::from(seat.0)]
    }

    /// The life that runs in a seat.
    pub fn life(&self, seat: Seat) -> Option<u32> {
        let state = self.seat(seat);
        state.running.as_ref().map(|_| state.life)
    }

    /// Whether this life runs.
    pub fn runs(&self, seat: Seat, life: u32) -> bool {
        self.life(seat) == Some(life)
    }
}

impl<T: Clone> View<'_, T> {
    /// Whether nothing passes between two places, one way or the other.
    pub fn is_blocked(&self, a: Place, b: Place) -> bool {
        self.net.is_blocked((a, b)) || self.net.is_blocked((b, a))
    }
}
