//! Faces of nodes: the machines that those outside speak with, one for each life of a node.
//!
//! A face lives and stands still with its node, and goes by its node's clocks. What it says is
//! carried out by whoever owns it.

use std::collections::BTreeMap;
use std::time::Duration;

use mfsha_core::machine::{Machine, Outbox};
use mfsha_core::{chunkservers, mounts};

use crate::place::Seat;
use crate::time::SimTime;
use crate::view::View;

/// The cluster, as those outside know it.
pub(crate) const METAID: u64 = 77;

/// Something for a face.
#[derive(Debug)]
pub(crate) enum FaceEvent {
    Mounts(mounts::Event),
    Chunkservers(chunkservers::Event),
}

impl FaceEvent {
    /// Whether it says only that time has passed: one that stands still need not hear of it.
    pub fn is_tick(&self) -> bool {
        matches!(
            self,
            Self::Mounts(mounts::Event::Tick) | Self::Chunkservers(chunkservers::Event::Tick)
        )
    }
}

/// A machine that can be a face.
pub(crate) trait Face: Machine {
    /// What it is told, without the time of day.
    type Event;

    fn input(wall_us: u64, event: Self::Event) -> Self::Input;
}

impl Face for mounts::Mounts {
    type Event = mounts::Event;

    fn input(wall_us: u64, event: mounts::Event) -> mounts::Input {
        mounts::Input { wall_us, event }
    }
}

impl Face for chunkservers::Chunkservers {
    type Event = chunkservers::Event;

    fn input(_: u64, event: chunkservers::Event) -> chunkservers::Event {
        event
    }
}

/// The face of one life.
struct Living<F> {
    life: u32,
    machine: F,
    /// Counts wake-ups that were planned, over all lives, so that old ones are known as such.
    wakes: u64,
}

/// The faces of one kind, by seat.
pub(crate) struct Faces<F>(BTreeMap<Seat, Living<F>>);

impl<F> Default for Faces<F> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<F: Face> Faces<F> {
    /// Makes a life's face, unless there is one.
    pub fn have(&mut self, (seat, life): (Seat, u32), new: impl FnOnce() -> F) {
        let known = self.0.get(&seat);
        if known.is_some_and(|it| it.life == life) {
            return;
        }
        let wakes = known.map_or(0, |it| it.wakes);
        let machine = new();
        let living = Living {
            life,
            machine,
            wakes,
        };
        self.0.insert(seat, living);
    }

    /// Tells the face of a seat, which there is, and gives what it wants done.
    pub fn step<T>(&mut self, view: &View<'_, T>, seat: Seat, event: F::Event) -> Vec<F::Effect> {
        let clock = &view.seat(seat).clock;
        let machine = &mut self.0.get_mut(&seat).expect("it is there").machine;
        let input = F::input(clock.wall_us(view.now), event);
        let mut effects = Outbox::new();
        machine.step(clock.monotonic(view.now), input, &mut effects);
        machine.check();
        effects.drain().collect()
    }

    /// When the face of the life that runs in a seat is to be woken next, and the number of that
    /// wake-up: those before it are of no use any more.
    pub fn rearm<T>(&mut self, view: &View<'_, T>, seat: Seat) -> Option<(SimTime, u64)> {
        let living = self.0.get_mut(&seat)?;
        if !view.runs(seat, living.life) {
            return None;
        }
        living.wakes += 1;
        let deadline = living.machine.deadline()?;
        let at = view.seat(seat).clock.when(view.now, deadline)?;
        Some((at.max(view.now + Duration::from_nanos(1)), living.wakes))
    }

    /// The life whose face this wake-up is for, when it still is.
    pub fn woken<T>(&self, view: &View<'_, T>, seat: Seat, wakes: u64) -> Option<u32> {
        let living = self.0.get(&seat).filter(|it| it.wakes == wakes)?;
        view.runs(seat, living.life).then_some(living.life)
    }
}
