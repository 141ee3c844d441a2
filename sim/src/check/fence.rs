//! P-FENCE: a deposed leader changes nothing at the chunkservers and tells nobody anything wrong.
//!
//! Every order and every notice comes from the one leader of its term and follows from the
//! committed entry at its index. A chunkserver that carried out an order of one term carries out
//! none of an earlier one. Answers to clients are judged by P-LINEAR.

use std::collections::BTreeMap;

use mfsha_core::id::{LogIndex, NodeId, Term};
use mfsha_core::namespace::op::{ChunkAction, Notice, Outcome, Reply};
use mfsha_core::node::ChunkOrder;
use mfsha_core::raft::Role;

use crate::event::Event;
use crate::time::SimTime;

use super::history::SharedHistory;
use super::{Checker, NodeView, Violation, broken};

/// Watches orders and notices.
#[derive(Debug)]
pub struct FenceChecker {
    history: SharedHistory,
    leaders: BTreeMap<Term, NodeId>,
    /// Newest term of which each chunkserver carried out an order, and whose that was.
    accepted: BTreeMap<u8, (Term, NodeId)>,
}

impl FenceChecker {
    /// Judges by this history.
    #[must_use]
    pub fn new(history: SharedHistory) -> Self {
        Self {
            history,
            leaders: BTreeMap::new(),
            accepted: BTreeMap::new(),
        }
    }

    fn judge_sender(&self, node: NodeId, term: Term) -> Result<(), String> {
        match self.leaders.get(&term) {
            Some(leader) if *leader == node => Ok(()),
            Some(leader) => Err(format!(
                "{node} speaks as leader of {term}, which {leader} leads"
            )),
            None => Err(format!(
                "{node} speaks as leader of {term}, which it never led"
            )),
        }
    }

    /// The entry behind something that was sent, when its outcome lets `follows` hold.
    fn judge_origin(
        &self,
        term: Term,
        index: LogIndex,
        follows: impl Fn(&Outcome) -> bool,
    ) -> Result<(), String> {
        let history = self.history.borrow();
        let Some(entry) = history.get(index) else {
            return Err(format!("nothing was committed at {index}"));
        };
        if entry.id.term > term {
            return Err(format!(
                "{:?} was committed at {index}, in a later term",
                entry.id
            ));
        }
        match entry.command() {
            Some((_, outcome)) if follows(outcome) => Ok(()),
            Some((_, outcome)) => Err(format!("the outcome at {index} was {outcome:?}")),
            None => Err(format!("{:?} is no command", entry.id)),
        }
    }

    fn judge_order(
        &self,
        node: NodeId,
        term: Term,
        index: LogIndex,
        order: &ChunkOrder,
    ) -> Result<(), String> {
        self.judge_sender(node, term)?;
        self.judge_origin(term, index, |outcome| orders(outcome).contains(order))
    }

    fn on_accepted(&mut self, server: u8, node: NodeId, term: Term) -> Result<(), String> {
        let (newest, whose) = *self.accepted.entry(server).or_insert((term, node));
        if term < newest {
            return Err(format!(
                "it had carried out one of {newest} by {whose} before"
            ));
        }
        self.accepted.insert(server, (term, node));
        Ok(())
    }
}

/// What chunkservers have to do for an outcome.
fn orders(outcome: &Outcome) -> Vec<ChunkOrder> {
    let mut orders = Vec::new();
    match outcome.result {
        Ok(Reply::Chunk {
            chunk,
            version,
            action,
            ..
        }) => orders.extend(order_for(action, chunk, version, None)),
        Ok(Reply::TruncateChunk {
            chunk,
            version,
            action,
            bytes,
            ..
        }) => orders.extend(order_for(action, chunk, version, Some(bytes))),
        _ => {}
    }
    for notice in &outcome.notices {
        if let Notice::ChunkUnused { chunk, version } = *notice {
            orders.push(ChunkOrder::Delete { chunk, version });
        }
    }
    orders
}

fn order_for(
    action: ChunkAction,
    chunk: mfsha_core::id::ChunkId,
    version: u32,
    bytes: Option<u32>,
) -> Option<ChunkOrder> {
    match (action, bytes) {
        (ChunkAction::Created, _) => Some(ChunkOrder::Create { chunk, version }),
        (ChunkAction::Duplicated { from, from_version }, _) => Some(ChunkOrder::Duplicate {
            chunk,
            version,
            from,
            from_version,
        }),
        (ChunkAction::Raised { from_version }, None) => Some(ChunkOrder::SetVersion {
            chunk,
            from: from_version,
            to: version,
        }),
        (ChunkAction::Raised { from_version }, Some(bytes)) => Some(ChunkOrder::Truncate {
            chunk,
            from: from_version,
            to: version,
            bytes,
        }),
        (ChunkAction::Kept, _) => None,
    }
}

impl Checker for FenceChecker {
    fn name(&self) -> &'static str {
        "fence"
    }

    fn promise(&self) -> &'static str {
        "P-FENCE"
    }

    fn on_event(&mut self, _now: SimTime, event: &Event) -> Result<(), Violation> {
        let judged = match event {
            Event::RoleChanged {
                node,
                role: Role::Leader,
                term,
                ..
            } => {
                self.leaders.entry(*term).or_insert(*node);
                Ok(())
            }
            Event::ChunkOrdered {
                node,
                term,
                index,
                order,
                ..
            } => self
                .judge_order(*node, *term, *index, order)
                .map_err(|why| format!("{node} ordered {order:?} at {index} in {term}: {why}")),
            Event::ChunkAccepted {
                server,
                node,
                term,
                index,
                order,
            } => self
                .judge_order(*node, *term, *index, order)
                .and_then(|()| self.on_accepted(*server, *node, *term))
                .map_err(|why| {
                    format!("cs{server} carried out {order:?} of {node} in {term}: {why}")
                }),
            Event::ChunkRefused {
                server,
                node,
                term,
                newest,
            } if newest <= term => Err(format!(
                "cs{server} refused an order of {node} in {term} for one of {newest}"
            )),
            Event::Noticed {
                node,
                term,
                index,
                notices,
                ..
            } => self
                .judge_sender(*node, *term)
                .and_then(|()| {
                    self.judge_origin(*term, *index, |outcome| {
                        !outcome.repeated && outcome.notices == *notices
                    })
                })
                .map_err(|why| format!("{node} told of {notices:?} at {index} in {term}: {why}")),
            _ => Ok(()),
        };
        judged.map_err(|sentence| broken(self, sentence))
    }

    fn after_step(&mut self, _now: SimTime, node: &NodeView) -> Result<(), Violation> {
        if let Some(raft) = &node.raft
            && raft.role == Role::Leader
        {
            self.leaders.entry(raft.term).or_insert(node.node);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use mfsha_core::id::ChunkId;

    use super::super::testing::{applied, blank, command, leads, node_of, replied, show, write};
    use super::*;
    use crate::place::Seat;

    const ORDER: ChunkOrder = ChunkOrder::Create {
        chunk: ChunkId(5),
        version: 1,
    };

    fn judge(events: Vec<Event>) -> Result<(), Violation> {
        let history = SharedHistory::default();
        let unused = Notice::ChunkUnused {
            chunk: ChunkId(4),
            version: 2,
        };
        let mut outcome = replied(
            Reply::Chunk {
                chunk: ChunkId(5),
                version: 1,
                action: ChunkAction::Created,
                length: 0,
            },
            1,
        );
        outcome.notices.push(unused);
        let mut all = vec![
            leads(0, 1),
            applied(0, blank(1, 1)),
            applied(0, command(1, 2, &write(1, 1, 1), outcome)),
            leads(1, 3),
        ];
        all.extend(events);
        show(&mut FenceChecker::new(history.clone()), &history, &all)
    }

    fn accepted(seat: u8, term: u64, index: u64, order: ChunkOrder) -> Event {
        Event::ChunkAccepted {
            server: 0,
            node: node_of(seat),
            term: Term(term),
            index: LogIndex(index),
            order,
        }
    }

    fn ordered(seat: u8, term: u64, index: u64, order: ChunkOrder) -> Event {
        Event::ChunkOrdered {
            seat: Seat(seat),
            node: node_of(seat),
            term: Term(term),
            index: LogIndex(index),
            order,
        }
    }

    #[test]
    fn orders_of_leaders_that_follow_from_their_entry_are_lawful() {
        let delete = ChunkOrder::Delete {
            chunk: ChunkId(4),
            version: 2,
        };
        judge(vec![
            ordered(0, 1, 2, ORDER),
            accepted(0, 1, 2, ORDER),
            accepted(0, 1, 2, delete),
            accepted(1, 3, 2, delete),
            accepted(1, 3, 2, delete),
        ])
        .unwrap();
    }

    #[test]
    fn an_order_of_an_older_term_after_a_newer_one_is_caught() {
        let late = vec![accepted(1, 3, 2, ORDER), accepted(0, 1, 2, ORDER)];
        assert!(judge(late).is_err());
    }

    #[test]
    fn an_order_by_who_never_led_its_term_is_caught() {
        assert!(judge(vec![ordered(0, 3, 2, ORDER)]).is_err());
        assert!(judge(vec![ordered(2, 2, 2, ORDER)]).is_err());
        assert!(judge(vec![accepted(2, 3, 2, ORDER)]).is_err());
    }

    #[test]
    fn an_order_that_follows_from_no_entry_is_caught() {
        assert!(judge(vec![ordered(0, 1, 1, ORDER)]).is_err());
        assert!(judge(vec![ordered(0, 1, 9, ORDER)]).is_err());
        let other = ChunkOrder::Create {
            chunk: ChunkId(6),
            version: 1,
        };
        assert!(judge(vec![accepted(0, 1, 2, other)]).is_err());
    }

    #[test]
    fn notices_that_are_wrong_or_not_the_leaders_are_caught() {
        let noticed = |seat, term, notices| Event::Noticed {
            seat: Seat(seat),
            node: node_of(seat),
            term: Term(term),
            index: LogIndex(2),
            notices,
        };
        let right = vec![Notice::ChunkUnused {
            chunk: ChunkId(4),
            version: 2,
        }];
        judge(vec![noticed(0, 1, right.clone())]).unwrap();
        assert!(judge(vec![noticed(2, 1, right)]).is_err());
        assert!(judge(vec![noticed(0, 1, Vec::new())]).is_err());
    }

    #[test]
    fn a_relay_that_refuses_the_newest_leader_is_caught() {
        let refused = |term, newest| Event::ChunkRefused {
            server: 0,
            node: node_of(0),
            term: Term(term),
            newest: Term(newest),
        };
        judge(vec![refused(1, 3)]).unwrap();
        assert!(judge(vec![refused(3, 3)]).is_err());
    }
}
