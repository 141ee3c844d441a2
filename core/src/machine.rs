//! The contract between a machine and its driver.
//!
//! What decides is a machine; what touches the world is a driver. There are two drivers over the
//! same machines: the simulator, and the node on tokio.
//!
//! The driver's duties, in a loop:
//! 1. wait for the first of: a message, a finished disk operation, [`Machine::deadline`];
//! 2. call [`Machine::step`] with the node's clock and that one input;
//! 3. carry out every effect in the outbox, in order. A machine keeps back by itself what has to
//!    wait for a write, until it is told that the write is durable: no effect waits out here.
//!
//! A restart is a constructor over the durable half: a crash is dropping the machine and building
//! it again from what was flushed.

use crate::time::{Duration, Instant};

/// One participant of a protocol: a pure function of its state, `now` and one input.
pub trait Machine {
    /// Something that happened: a message came, a write became durable, a deadline passed.
    type Input;
    /// Something the world is asked to do. Never carried out in here.
    type Effect;

    /// Takes exactly one input; every consequence is in `out` when it returns.
    ///
    /// `now` never runs backwards from one call to the next; a driver whose clock did passes the
    /// highest instant it has passed before.
    fn step(&mut self, now: Instant, input: Self::Input, out: &mut Outbox<Self::Effect>);

    /// The next instant at which a tick would change anything; `None` means asleep.
    ///
    /// Ticks that come early or twice are harmless.
    fn deadline(&self) -> Option<Instant>;

    /// Panics, naming the broken invariant, when this state should be impossible.
    fn check(&self);
}

/// Where a machine puts its effects; the driver takes them out in order.
#[derive(Debug)]
pub struct Outbox<E> {
    effects: Vec<E>,
}

impl<E> Default for Outbox<E> {
    fn default() -> Self {
        Self {
            effects: Vec::new(),
        }
    }
}

impl<E> Outbox<E> {
    /// An empty outbox.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks for an effect.
    pub fn push(&mut self, effect: E) {
        self.effects.push(effect);
    }

    /// Takes everything out, oldest first.
    pub fn drain(&mut self) -> impl Iterator<Item = E> + '_ {
        self.effects.drain(..)
    }

    /// Whether nothing was asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.effects.is_empty()
    }
}

/// Timers of one machine: one deadline per kind; the machine's deadline is their minimum, and the
/// kind that set it is the reason for the next wake-up.
#[derive(Clone, Debug)]
pub struct Timers<K> {
    armed: std::collections::BTreeMap<K, Instant>,
}

impl<K> Default for Timers<K> {
    fn default() -> Self {
        Self {
            armed: std::collections::BTreeMap::new(),
        }
    }
}

impl<K: Copy + Ord> Timers<K> {
    /// Sets `kind` to go off `after` from `now`, in place of its present deadline.
    pub fn arm(&mut self, kind: K, now: Instant, after: Duration) {
        self.armed.insert(kind, now + after);
    }

    /// Stops `kind`.
    pub fn disarm(&mut self, kind: K) {
        self.armed.remove(&kind);
    }

    /// Whether `kind` is running.
    #[must_use]
    pub fn is_armed(&self, kind: K) -> bool {
        self.armed.contains_key(&kind)
    }

    /// The next deadline, and why.
    #[must_use]
    pub fn next(&self) -> Option<(Instant, K)> {
        self.armed.iter().map(|(kind, at)| (*at, *kind)).min()
    }

    /// Takes out one timer whose deadline has passed, the earliest first.
    pub fn expired(&mut self, now: Instant) -> Option<K> {
        let (at, kind) = self.next()?;
        (at <= now).then(|| {
            self.armed.remove(&kind);
            kind
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_go_off_in_order_and_once() {
        let mut timers = Timers::default();
        timers.arm('b', Instant(0), Duration::from_nanos(20));
        timers.arm('a', Instant(0), Duration::from_nanos(10));
        assert_eq!(timers.next(), Some((Instant(10), 'a')));
        assert_eq!(timers.expired(Instant(9)), None);
        assert_eq!(timers.expired(Instant(30)), Some('a'));
        assert_eq!(timers.expired(Instant(30)), Some('b'));
        assert_eq!(timers.expired(Instant(30)), None);
    }
}
