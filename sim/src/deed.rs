//! What the world is to do for those outside the nodes; `M` is a moment that they wait for.

use mfsha_core::node;

use crate::data::{By, Served, Wish};
use crate::event::Event;
use crate::face::FaceEvent;
use crate::place::Seat;
use crate::time::SimTime;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) enum Deed<M> {
    /// A node is told.
    Step {
        seat: Seat,
        life: u32,
        event: node::Event,
    },
    /// A face of a node is told.
    Face {
        seat: Seat,
        life: u32,
        event: FaceEvent,
    },
    /// Something is due.
    Plan { at: SimTime, moment: M },
    /// It happened.
    Tell(Event),
    /// A mount wants something of chunkservers.
    Want(Wish),
    /// It is told what came of that.
    Serve(By, Served),
}
