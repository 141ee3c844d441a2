//! STREAM: what a transport gives its node is what the peer's was given, in order and once.
//!
//! Of messages of one class from one node to another a part may be lost, with a connection or for
//! want of room; the rest comes in the order in which it was handed over, unchanged, and nothing
//! comes twice. And since every node here is honest, nothing that comes ever makes no sense, unless
//! a bit of it was flipped on the way: a frame that was torn ends with its connection, and one that
//! was spoilt is known by its checksum.

use std::collections::{BTreeMap, VecDeque};

use mfsha_core::id::NodeId;

use crate::event::Event;
use crate::place::Seat;
use crate::time::SimTime;

use super::{Checker, Violation, broken};

/// From whom, to whom.
type Pair = (NodeId, NodeId);

/// Watches connections.
#[derive(Debug, Default)]
pub struct StreamChecker {
    /// Length and hash of what was handed over and may still come: control, and bulk.
    handed: BTreeMap<Pair, [VecDeque<(usize, u64)>; 2]>,
    /// Pieces that came spoilt to a seat; each may make no sense to it once.
    spoilt: BTreeMap<Seat, u64>,
}

impl StreamChecker {
    /// Takes a message, and all before it that can come no more, out of what may come.
    fn take(&mut self, pair: Pair, message: (usize, u64)) -> bool {
        let Some(classes) = self.handed.get_mut(&pair) else {
            return false;
        };
        for class in classes {
            if let Some(at) = class.iter().position(|handed| *handed == message) {
                class.drain(..=at);
                return true;
            }
        }
        false
    }
}

impl Checker for StreamChecker {
    fn name(&self) -> &'static str {
        "stream"
    }

    fn promise(&self) -> &'static str {
        "STREAM"
    }

    fn on_event(&mut self, _now: SimTime, event: &Event) -> Result<(), Violation> {
        match event {
            Event::Handed {
                node,
                to,
                bulk,
                bytes,
                hash,
                ..
            } => {
                let classes = self.handed.entry((*node, *to)).or_default();
                classes[usize::from(*bulk)].push_back((*bytes, *hash));
                Ok(())
            }
            Event::Received {
                node,
                from,
                bytes,
                hash,
                ..
            } => match self.take((*from, *node), (*bytes, *hash)) {
                true => Ok(()),
                false => Err(broken(
                    self,
                    format!(
                        "{node} was given a message of {bytes} B ({hash:016x}) from {from} that \
                         {from} has not sent, or that came before, or too late"
                    ),
                )),
            },
            Event::Corrupted { seat, .. } => {
                *self.spoilt.entry(*seat).or_default() += 1;
                Ok(())
            }
            Event::Nonsense { seat, node } => match self.spoilt.get_mut(seat) {
                Some(left) if *left > 0 => {
                    *left -= 1;
                    Ok(())
                }
                _ => Err(broken(
                    self,
                    format!("{node} could not read what an honest peer sent"),
                )),
            },
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::MessageNumber;
    use crate::place::Place;

    fn handed(bulk: bool, hash: u64) -> Event {
        Event::Handed {
            seat: Seat(0),
            node: NodeId(1),
            to: NodeId(2),
            bulk,
            bytes: 10,
            hash,
        }
    }

    fn received(hash: u64) -> Event {
        Event::Received {
            seat: Seat(1),
            node: NodeId(2),
            from: NodeId(1),
            bytes: 10,
            hash,
        }
    }

    fn judge(events: &[Event]) -> Result<(), Violation> {
        let mut checker = StreamChecker::default();
        let mut all = events.iter();
        all.try_for_each(|event| checker.on_event(SimTime::ZERO, event))
    }

    #[test]
    fn losses_are_lawful_and_classes_overtake_each_other() {
        let sent = [handed(true, 1), handed(false, 2), handed(false, 3)];
        let came = [received(3), received(1)];
        assert!(judge(&[&sent[..], &came[..]].concat()).is_ok());
    }

    #[test]
    fn what_was_not_sent_or_comes_twice_or_out_of_order_is_found() {
        let sent = [handed(false, 1), handed(false, 2)];
        for came in [&[9][..], &[1, 1], &[2, 1]] {
            let mut events = sent.to_vec();
            events.extend(came.iter().map(|hash| received(*hash)));
            assert!(judge(&events).is_err(), "{came:?}");
        }
        let nonsense = Event::Nonsense {
            seat: Seat(1),
            node: NodeId(2),
        };
        assert!(judge(std::slice::from_ref(&nonsense)).is_err());
        let corrupted = Event::Corrupted {
            message: MessageNumber(1),
            from: Place::Seat(Seat(0)),
            seat: Seat(1),
        };
        let once = [corrupted, nonsense.clone()];
        assert!(judge(&once).is_ok(), "it was spoilt");
        let twice = [&once[..], &[nonsense]].concat();
        assert!(judge(&twice).is_err(), "one of two was not");
    }
}
