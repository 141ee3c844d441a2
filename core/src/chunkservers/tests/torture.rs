//! Many chunkservers at two nodes, with packets in pieces, registrations answered in any order or
//! not at all, and connections that are lost at any time: the node hears everything that was said,
//! in order and once, and every order arrives and is answered once.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use super::rig::*;
use crate::chunks::{Address, Order, OrderKind, Report};
use crate::id::{ChunkId, CsId};
use crate::moosefs::chunkserver::{
    Ack, Labels, ListBuf, Operation, Register, ToChunkserver, ToMaster,
};
use crate::native::request::NodeError;
use crate::rng::{Rng, Seed};
use crate::time::Duration;

const SERVERS: usize = 5;
const CHUNKS: u64 = 12;
const STEPS: usize = 1_500;

/// A chunkserver on one connection.
struct Visit {
    conn: Conn,
    registered: bool,
    listed: bool,
    /// Bytes that are on their way to the node.
    unsent: Vec<u8>,
    /// Bytes that were said, and those that have arrived.
    said_bytes: usize,
    sent_bytes: usize,
    /// What it said, and where that ends.
    said: Vec<(usize, Report)>,
    heard: Vec<Report>,
    /// What it was told, and has not answered.
    to_do: Vec<Operation>,
    /// What the node gave and has not heard the end of.
    ordered: BTreeMap<ChunkId, OrderKind>,
}

#[derive(Default)]
struct Count {
    joined: usize,
    put_off: usize,
    orders: usize,
    done: usize,
    cut_off: usize,
}

struct World {
    rig: Rig,
    rng: Rng,
    visits: [Option<Visit>; SERVERS],
    csids: [Option<CsId>; SERVERS],
    registrations: BTreeSet<u64>,
    count: Count,
}

impl Visit {
    fn say(&mut self, said: &ToMaster<'_>, heard: Option<Report>) {
        let bytes = said.encode().unwrap();
        self.said_bytes += bytes.len();
        self.unsent.extend(bytes);
        self.said
            .extend(heard.map(|report| (self.said_bytes, report)));
    }
}

impl World {
    fn step(&mut self) {
        let at = self.rng.below(SERVERS as u64) as usize;
        match self.rng.below(30) {
            0 => self.lose(at),
            1 => self.rig.pass(Duration::from_millis(100)),
            2 => self.rig.holds = self.rng.chance(1, 3),
            3 => {
                let fails = self.rng.chance(1, 8);
                self.rig.failing = fails.then_some(NodeError::Unknown);
            }
            4..8 => self.release(),
            8..14 => self.give_order(at),
            14..22 => self.deliver(at),
            _ => self.go_on(at),
        }
        for at in 0..SERVERS {
            self.listen(at);
        }
    }

    fn release(&mut self) {
        let count = self.rig.held.len() as u64;
        if count > 0 {
            let at = self.rng.below(count) as usize;
            self.rig.release(at);
        }
    }

    fn lose(&mut self, at: usize) {
        if let Some(visit) = &self.visits[at] {
            let conn = visit.conn;
            self.rig.lose(conn);
        }
    }

    fn give_order(&mut self, at: usize) {
        let Some(visit) = &mut self.visits[at] else {
            return;
        };
        let chunk = ChunkId(self.rng.below(CHUNKS));
        let version = 3;
        let source = Address {
            ip: HOME,
            port: PORT,
        };
        let order = match self.rng.below(3) {
            0 => Order::Create { chunk, version },
            1 => Order::Replicate {
                chunk,
                version,
                source,
            },
            _ => Order::Delete { chunk },
        };
        let joined = self.rig.joined(visit.conn).is_some();
        if joined && !visit.ordered.contains_key(&chunk) {
            visit.ordered.insert(chunk, order.kind());
            self.count.orders += 1;
            self.rig.order(visit.conn, order);
        }
    }

    /// Says something: registers, names what it has, or answers.
    fn go_on(&mut self, at: usize) {
        let Some(visit) = &mut self.visits[at] else {
            let node = self.rng.below(2) as usize;
            let conn = self.rig.connect(node, address(at));
            let mut visit = Visit {
                conn,
                registered: false,
                listed: false,
                unsent: Vec::new(),
                said_bytes: 0,
                sent_bytes: 0,
                said: Vec::new(),
                heard: Vec::new(),
                to_do: Vec::new(),
                ordered: BTreeMap::new(),
            };
            // Now and then it has forgotten its number.
            let known = self.csids[at].filter(|_| self.rng.chance(3, 4));
            let csid = known.unwrap_or(CsId(0)).0;
            visit.say(&ToMaster::Register(Register::Begin(begin(csid))), None);
            self.visits[at] = Some(visit);
            return;
        };
        if !visit.registered {
            return;
        }
        let first = self.rng.below(1_000);
        let (said, heard) = copies(first, self.rng.between(1, 5));
        match self.rng.below(5) {
            0 if !visit.listed => {
                visit.listed = true;
                visit.say(&ToMaster::Register(Register::End), Some(Report::Listed));
            }
            1 if visit.listed => {
                visit.say(
                    &ToMaster::ChunkNew(said.as_list()),
                    Some(Report::Found(heard)),
                );
            }
            1 => {
                let register = Register::Copies(said.as_list());
                visit.say(&ToMaster::Register(register), Some(Report::Found(heard)));
            }
            2 => {
                let chunks: Vec<ChunkId> = heard.iter().map(|copy| copy.chunk).collect();
                let list: ListBuf<ChunkId> = chunks.iter().copied().collect();
                let report = Report::Lost(chunks);
                visit.say(&ToMaster::ChunkLost(list.as_list()), Some(report));
            }
            3 => {
                let labels = first as u32;
                let report = Report::Labels(labels);
                visit.say(&ToMaster::Labels(Labels(labels)), Some(report));
            }
            _ => self.answer(at),
        }
    }

    /// Ends one of the things that it has to do, in any order.
    fn answer(&mut self, at: usize) {
        let visit = self.visits[at].as_mut().expect("it is connected");
        let (1.., status) = (visit.to_do.len(), self.rng.below(2) as u8) else {
            return;
        };
        let which = self.rng.below(visit.to_do.len() as u64) as usize;
        let operation = visit.to_do.swap_remove(which);
        let chunk = operation.chunk();
        let kind = visit.ordered[&chunk];
        let report = Report::Done {
            kind,
            chunk,
            status,
        };
        visit.say(&operation.done(status), Some(report));
    }

    /// Some of the bytes arrive.
    fn deliver(&mut self, at: usize) {
        let Some(visit) = &mut self.visits[at] else {
            return;
        };
        if visit.unsent.is_empty() {
            return;
        }
        let count = self.rng.between(1, visit.unsent.len() as u64) as usize;
        let piece: Vec<u8> = visit.unsent.drain(..count).collect();
        visit.sent_bytes += count;
        self.rig.bytes(visit.conn, &piece);
    }

    fn listen(&mut self, at: usize) {
        let Some(visit) = &mut self.visits[at] else {
            return;
        };
        while let Some((kind, payload)) = self.rig.told(visit.conn) {
            match ToChunkserver::parse(kind, &payload).unwrap() {
                ToChunkserver::Operation(operation) => visit.to_do.push(operation),
                ToChunkserver::Ack(Ack::Next) => {}
                ToChunkserver::Ack(Ack::Welcome { csid, metaid, .. }) => {
                    assert!(!visit.registered, "once");
                    assert_eq!(metaid, METAID);
                    let before = self.csids[at].get_or_insert(csid);
                    assert_eq!(*before, csid, "it keeps its number");
                    visit.registered = true;
                    self.count.joined += 1;
                    let joined = self.rig.joined(visit.conn).expect("the node hears of it");
                    assert_eq!(joined.csid, csid);
                    let new = self.registrations.insert(joined.registration);
                    assert!(new, "no registration has the number of another");
                }
                ToChunkserver::Ack(Ack::Redirect { leader: None }) => self.count.put_off += 1,
                other => panic!("{other:?}"),
            }
        }
        for report in self.rig.reports(visit.conn) {
            if let Report::Done { kind, chunk, .. } = &report {
                assert_eq!(visit.ordered.remove(chunk), Some(*kind), "it was under way");
                self.count.done += 1;
            }
            visit.heard.push(report);
        }
        let (node, conn) = visit.conn;
        let closed = self.rig.closed(visit.conn);
        let under_way = match closed {
            None => visit.ordered.len(),
            Some(_) => 0,
        };
        assert_eq!(self.rig.nodes[node].orders(conn), under_way);
        let arrived = visit
            .said
            .iter()
            .take_while(|(end, _)| *end <= visit.sent_bytes);
        let arrived = arrived.map(|(_, report)| report);
        assert!(arrived.eq(&visit.heard), "{:?}", visit.heard);
        if closed.is_some() {
            assert_eq!(self.rig.is_gone(visit.conn), visit.registered);
            self.count.cut_off += visit.ordered.len();
            self.visits[at] = None;
        }
    }
}

fn address(at: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, 10 + at as u8)
}

fn torture(seed: u64) -> Count {
    let mut world = World {
        rig: Rig::new(),
        rng: Seed::from_u64(seed).rng(),
        visits: [const { None }; SERVERS],
        csids: [None; SERVERS],
        registrations: BTreeSet::new(),
        count: Count::default(),
    };
    // Their packets are in pieces: nothing may come in between.
    world.rig.alive = false;
    for _ in 0..STEPS {
        world.step();
    }
    for at in 0..SERVERS {
        world.lose(at);
        world.listen(at);
    }
    assert!(world.rig.nodes.iter().all(|node| node.joined() == 0));
    assert_eq!(world.rig.messages.len(), world.count.put_off);
    world.count
}

#[test]
fn whatever_is_lost_the_node_hears_everything_once_and_in_order() {
    let mut all = Count::default();
    for seed in 0..40 {
        let count = torture(seed);
        all.joined += count.joined;
        all.put_off += count.put_off;
        all.orders += count.orders;
        all.done += count.done;
        all.cut_off += count.cut_off;
    }
    assert!(
        all.joined > 300 && all.put_off > 10,
        "{} {}",
        all.joined,
        all.put_off
    );
    assert!(
        all.done > 500 && all.cut_off > 100,
        "{} {}",
        all.done,
        all.cut_off
    );
    assert_eq!(all.orders, all.done + all.cut_off, "each ends somehow");
}
