//! P-FENCE: a deposed leader changes nothing at the chunkservers and tells nobody anything wrong.
//!
//! Every notice comes from the one leader of its term and follows from the committed entry at its
//! index. A chunkserver is given no order of a term that nobody led, has one at a time for a chunk,
//! and once it has carried out one of a term it is given, and carries out, none of an earlier one.
//! Answers to clients are judged by P-LINEAR.

use std::collections::{BTreeMap, BTreeSet};

use mfsha_core::chunks::{ConnId, Order};
use mfsha_core::id::{ChunkId, LogIndex, NodeId, Term};
use mfsha_core::namespace::op::Outcome;
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
    /// Newest term of which each chunkserver carried out an order, and that order.
    accepted: BTreeMap<u8, (Term, Order)>,
    /// Chunks for which a chunkserver has an order, on its last connection.
    busy: BTreeMap<u8, (ConnId, BTreeSet<ChunkId>)>,
}

impl FenceChecker {
    /// Judges by this history.
    #[must_use]
    pub fn new(history: SharedHistory) -> Self {
        Self {
            history,
            leaders: BTreeMap::new(),
            accepted: BTreeMap::new(),
            busy: BTreeMap::new(),
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

    fn on_ordered(
        &mut self,
        server: u8,
        conn: ConnId,
        term: Term,
        order: &Order,
    ) -> Result<(), String> {
        if !self.leaders.contains_key(&term) {
            return Err(format!("nobody ever led {term}"));
        }
        let newest = self.accepted.get(&server).map(|(newest, _)| *newest);
        if let Some(newest) = newest.filter(|newest| term < *newest) {
            return Err(format!("it had carried out one of {newest} before"));
        }
        let busy = self.busy.entry(server).or_insert((conn, BTreeSet::new()));
        if busy.0 != conn {
            *busy = (conn, BTreeSet::new());
        }
        if !busy.1.insert(order.chunk()) {
            return Err("it has another order for that chunk".to_owned());
        }
        Ok(())
    }

    fn on_done(&mut self, server: u8, term: Term, order: &Order, done: bool) -> Result<(), String> {
        if let Some((_, busy)) = self.busy.get_mut(&server) {
            busy.remove(&order.chunk());
        }
        let newest = self.accepted.entry(server).or_insert((term, *order));
        if done && term < newest.0 {
            return Err(format!(
                "it had carried out {:?} of {} before",
                newest.1, newest.0
            ));
        }
        if term > newest.0 {
            *newest = (term, *order);
        }
        Ok(())
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
                seat,
                server,
                conn,
                term,
                order,
            } => self
                .on_ordered(*server, *conn, *term, order)
                .map_err(|why| format!("{seat} gave cs{server} {order:?} of {term}: {why}")),
            Event::ChunkDone {
                server,
                term,
                order,
                done,
            } => self
                .on_done(*server, *term, order, *done)
                .map_err(|why| format!("cs{server} carried out {order:?} of {term}: {why}")),
            Event::ServerLeft { server, .. } | Event::ServerStopped { server } => {
                // What was under way there counts as ended: nothing more is heard of it.
                self.busy.remove(server);
                Ok(())
            }
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
    use mfsha_core::namespace::op::{ChunkAction, Notice, Reply};

    use super::super::testing::{applied, blank, command, leads, node_of, replied, show, write};
    use super::*;
    use crate::place::Seat;

    const ORDER: Order = Order::Create {
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

    fn ordered(term: u64, conn: u64) -> Event {
        Event::ChunkOrdered {
            seat: Seat(0),
            server: 0,
            conn: ConnId(conn),
            term: Term(term),
            order: ORDER,
        }
    }

    fn done(term: u64) -> Event {
        Event::ChunkDone {
            server: 0,
            term: Term(term),
            order: ORDER,
            done: true,
        }
    }

    #[test]
    fn orders_of_later_and_later_terms_are_lawful() {
        judge(vec![
            ordered(1, 1),
            done(1),
            ordered(1, 1),
            Event::ServerLeft {
                server: 0,
                seat: Seat(0),
                why: crate::event::Departure::Broke,
            },
            ordered(3, 2),
            done(3),
        ])
        .unwrap();
    }

    #[test]
    fn an_order_of_an_older_term_after_a_newer_one_is_caught() {
        assert!(judge(vec![ordered(3, 1), done(3), ordered(1, 1)]).is_err());
        assert!(judge(vec![ordered(3, 1), done(3), done(1)]).is_err());
    }

    #[test]
    fn an_order_of_a_term_that_nobody_led_is_caught() {
        assert!(judge(vec![ordered(2, 1)]).is_err());
    }

    #[test]
    fn two_orders_at_once_for_a_chunk_are_caught() {
        assert!(judge(vec![ordered(1, 1), ordered(1, 1)]).is_err());
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
}
