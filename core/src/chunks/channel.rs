//! Items from one node to another, each once and in order, over messages that get lost, repeated
//! and reordered. What is behind a window waits; what was not acknowledged is sent again.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::time::{Duration, Instant};

/// Names one run of items; a later run of the same sender is greater, and makes the earlier void.
pub type Epoch = (u64, u64);

/// Some items of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch<T> {
    /// Which run.
    pub epoch: Epoch,
    /// Number of the first item, from 0.
    pub first: u64,
    /// The items.
    pub items: Vec<T>,
}

/// How far a run was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    /// Which run.
    pub epoch: Epoch,
    /// Items before this one have arrived.
    pub next: u64,
    /// Another run has taken its place meanwhile: nothing of this one is taken any more, and if its
    /// sender is still there, it begins a new one.
    pub over: bool,
    /// Life of the node that received it: in one life it forgets nothing, so that what it told
    /// earlier can be known for old.
    pub receiver: u64,
}

/// What an acknowledgement means for the sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The run goes on.
    GoOn,
    /// The receiver has forgotten what it had: a new run has to begin.
    Forgotten,
}

/// The sending end.
#[derive(Clone, Debug)]
pub struct Sender<T> {
    epoch: Epoch,
    /// Number of the first item that is kept.
    first: u64,
    kept: VecDeque<T>,
    /// Number of the next item to be sent.
    next: u64,
    again_at: Option<Instant>,
    resend: Duration,
    /// In which life the receiver acknowledged what is not kept any more.
    receiver: Option<u64>,
}

impl<T: Clone> Sender<T> {
    /// A run without items. What is not acknowledged for `resend` is sent again.
    pub fn new(epoch: Epoch, resend: Duration) -> Self {
        Self {
            epoch,
            first: 0,
            kept: VecDeque::new(),
            next: 0,
            again_at: None,
            resend,
            receiver: None,
        }
    }

    /// Which run this is.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// How many items are not acknowledged.
    pub fn waiting(&self) -> usize {
        self.kept.len()
    }

    /// Adds an item.
    pub fn push(&mut self, item: T) {
        self.kept.push_back(item);
    }

    /// What is to be sent now, if anything: at most `items_max` items, and no item further than
    /// `window` from the first that is not acknowledged.
    pub fn take(&mut self, now: Instant, items_max: usize, window: usize) -> Option<Batch<T>> {
        if self.again_at.is_some_and(|at| at <= now) {
            self.rewind();
        }
        let from = (self.next - self.first) as usize;
        let to = self.kept.len().min(window).min(from + items_max);
        if from >= to {
            return None;
        }
        let items: Vec<T> = self.kept.range(from..to).cloned().collect();
        let first = self.next;
        self.next += items.len() as u64;
        self.again_at.get_or_insert(now + self.resend);
        Some(Batch {
            epoch: self.epoch,
            first,
            items,
        })
    }

    /// What was sent may be lost: it is sent again.
    pub fn rewind(&mut self) {
        self.next = self.first;
        self.again_at = None;
    }

    /// The receiver told how far it is.
    pub fn on_heard(&mut self, now: Instant, heard: Heard) -> Verdict {
        if heard.epoch != self.epoch || heard.next > self.first + self.kept.len() as u64 {
            return Verdict::GoOn;
        }
        if heard.over {
            return Verdict::Forgotten;
        }
        if heard.next < self.first {
            return match self.receiver == Some(heard.receiver) {
                // It was told before what was told since.
                true => Verdict::GoOn,
                false => Verdict::Forgotten,
            };
        }
        self.receiver = Some(heard.receiver);
        let arrived = heard.next - self.first;
        if arrived > 0 {
            self.kept.drain(..arrived as usize);
            self.first = heard.next;
            self.next = self.next.max(self.first);
            self.again_at = (self.next > self.first).then(|| now + self.resend);
        }
        Verdict::GoOn
    }

    /// When something has to be sent again.
    pub fn deadline(&self) -> Option<Instant> {
        self.again_at
    }
}

/// The receiving end.
#[derive(Clone, Debug)]
pub struct Receiver {
    life: u64,
    epoch: Option<Epoch>,
    next: u64,
    /// First parts of runs before, and their last runs: lives of a relay are drawn at random, so a
    /// later one need not be greater.
    past: VecDeque<Epoch>,
}

/// First parts of runs before that are remembered.
const PAST_MAX: usize = 64;

/// What came out of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received<T> {
    /// A new run began: what earlier ones said is void.
    pub begun: bool,
    /// Items that had not arrived before.
    pub items: Vec<T>,
    /// To be told to the sender; `None` for a run that is void.
    pub heard: Option<Heard>,
}

impl Receiver {
    /// One that has received nothing, in this life of its node.
    pub fn new(life: u64) -> Self {
        Self {
            life,
            epoch: None,
            next: 0,
            past: VecDeque::new(),
        }
    }

    /// A batch came.
    pub fn on_batch<T>(&mut self, batch: Batch<T>) -> Received<T> {
        let nothing = |heard| Received {
            begun: false,
            items: Vec::new(),
            heard,
        };
        let mut begun = false;
        match self.epoch {
            Some(epoch) if batch.epoch.0 == epoch.0 && batch.epoch < epoch => return nothing(None),
            Some(epoch) if batch.epoch == epoch => {}
            _ if self.is_past(batch.epoch) => {
                // Nobody is there any more who would hear this, or else begins anew.
                return nothing(Some(Heard {
                    epoch: batch.epoch,
                    next: 0,
                    over: true,
                    receiver: self.life,
                }));
            }
            _ if batch.first == 0 => {
                begun = true;
                self.remember(batch.epoch);
                self.epoch = Some(batch.epoch);
                self.next = 0;
            }
            // The beginning is missing: the sender sends it again, or begins anew.
            _ => {
                return nothing(Some(Heard {
                    epoch: batch.epoch,
                    next: 0,
                    over: false,
                    receiver: self.life,
                }));
            }
        }
        let epoch = batch.epoch;
        let known = self.next.saturating_sub(batch.first);
        let fits = batch.first <= self.next;
        let items: Vec<T> = if fits {
            let known = usize::try_from(known).unwrap_or(usize::MAX);
            batch.items.into_iter().skip(known).collect()
        } else {
            Vec::new()
        };
        self.next += items.len() as u64;
        Received {
            begun,
            items,
            heard: Some(Heard {
                epoch,
                next: self.next,
                over: false,
                receiver: self.life,
            }),
        }
    }

    fn is_past(&self, epoch: Epoch) -> bool {
        let mut past = self.past.iter();
        past.any(|last| last.0 == epoch.0 && epoch.1 <= last.1)
    }

    /// A run takes the place of the present one.
    fn remember(&mut self, next: Epoch) {
        self.past.retain(|last| last.0 != next.0);
        if let Some(epoch) = self.epoch.filter(|epoch| epoch.0 != next.0) {
            self.past.push_back(epoch);
            if self.past.len() > PAST_MAX {
                self.past.pop_front();
            }
        }
    }

    /// The run that is being received.
    pub fn epoch(&self) -> Option<Epoch> {
        self.epoch
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Seed;

    const RESEND: Duration = Duration::from_millis(100);

    /// A run over a network that loses, repeats and reorders, with a receiver that may forget all.
    fn torture(number: u64) {
        let mut rng = Seed::from_u64(number).rng();
        let mut now = Instant::ZERO;
        let mut sender = Sender::new((1, 0), RESEND);
        let mut life = 1;
        let mut receiver = Receiver::new(life);
        let (mut there, mut back) = (Vec::new(), Vec::new());
        let (mut given, mut arrived) = (0_u64, Vec::new());
        let mut calm = false;
        for step in 0..4_000 {
            calm |= step > 3_000;
            now = now + Duration::from_millis(rng.below(40));
            if given < 200 && rng.chance(1, 3) {
                sender.push(given);
                given += 1;
            }
            if let Some(batch) = sender.take(now, 7, 20) {
                for _ in 0..if calm { 1 } else { rng.below(3) } {
                    there.push(batch.clone());
                }
            }
            while !there.is_empty() && (calm || rng.chance(1, 2)) {
                let batch = there.remove(rng.below(there.len() as u64) as usize);
                let received = receiver.on_batch(batch);
                if received.begun {
                    arrived.clear();
                }
                arrived.extend(received.items);
                if let Some(heard) = received.heard
                    && (calm || rng.chance(2, 3))
                {
                    back.push(heard);
                }
            }
            if !calm && rng.chance(1, 200) {
                life += 1;
                receiver = Receiver::new(life);
            }
            while !back.is_empty() && (calm || rng.chance(1, 2)) {
                let heard = back.remove(rng.below(back.len() as u64) as usize);
                if sender.on_heard(now, heard) == Verdict::Forgotten {
                    sender = Sender::new((1, sender.epoch().1 + 1), RESEND);
                    for item in 0..given {
                        sender.push(item);
                    }
                }
            }
            // Never a gap, never a repetition.
            assert!(
                arrived.iter().copied().eq(0..arrived.len() as u64),
                "seed {number}: {arrived:?}"
            );
        }
        assert_eq!(arrived.len() as u64, given, "seed {number}: all arrive");
        assert_eq!(sender.waiting(), 0, "seed {number}: and the sender knows");
    }

    #[test]
    fn every_item_arrives_once_and_in_order() {
        for number in 0..200 {
            torture(number);
        }
    }
}
