//! Connections of chunkservers: bytes in order, in pieces, or the end.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use mfsha_core::chunks::{ConnId, OrderKind};
use mfsha_core::chunkservers as face;
use mfsha_core::id::{ChunkId, Term};
use mfsha_core::moosefs::connection;

use crate::event::{Departure, Event};
use crate::face::FaceEvent;
use crate::line::{self, Line};
use crate::place::{Place, Seat};
use crate::time::SimTime;
use crate::view::View;

use super::server::{Server, Talk};
use super::{Deed, Fleet, Moment};

/// A registration that is not answered for so long ends with its connection, as with
/// mfschunkserver.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection of a chunkserver to one life of a node.
#[derive(Debug)]
pub(crate) struct Link {
    pub server: u8,
    pub line: Line,
    /// The node has its end.
    pub node_has: bool,
    /// Terms in which its orders were given.
    pub terms: BTreeMap<(OrderKind, ChunkId), Term>,
}

impl Fleet {
    pub(super) fn server(&mut self, server: u8) -> &mut Server {
        &mut self.servers[usize::from(server)]
    }

    /// A chunkserver looks for a node after a while.
    pub(super) fn connect_in(
        &mut self,
        now: SimTime,
        server: u8,
        least_ms: u64,
        most_ms: u64,
        out: &mut Vec<Deed>,
    ) {
        let after = Duration::from_millis(self.rng.between(least_ms, most_ms));
        let it = self.server(server);
        it.turn += 1;
        let turn = it.turn;
        out.push(Deed::Plan {
            at: now + after,
            moment: Moment::Connect { server, turn },
        });
    }

    pub(super) fn connect<T: Clone>(
        &mut self,
        view: &View<'_, T>,
        server: u8,
        turn: u64,
        out: &mut Vec<Deed>,
    ) {
        let it = &self.servers[usize::from(server)];
        if !it.up || it.turn != turn || it.link.is_some() {
            return;
        }
        let seat = *self.rng.pick(&self.reachable);
        let here = Place::Chunkserver(server);
        let life = view.life(seat);
        let Some(life) = life.filter(|_| !view.is_blocked(here, Place::Seat(seat))) else {
            return self.connect_in(view.now, server, 100, 400, out);
        };
        let conn = ConnId(self.next_conn);
        self.next_conn += 1;
        let link = Link {
            server,
            line: Line::new(here, seat, life),
            node_has: false,
            terms: BTreeMap::new(),
        };
        self.links.insert(conn, link);
        let it = self.server(server);
        it.link = Some(conn);
        it.talk = Talk::new(view.now);
        let begin = it.begin();
        self.send(view, conn, true, Moment::Accepted { conn }, out);
        self.say(view, conn, true, begin, out);
        out.push(Deed::Plan {
            at: view.now + PATIENCE,
            moment: Moment::Late { conn },
        });
    }

    /// Sends something up, or down: in order, or the connection is broken.
    pub(super) fn send<T: Clone>(
        &mut self,
        view: &View<'_, T>,
        conn: ConnId,
        up: bool,
        moment: Moment,
        out: &mut Vec<Deed>,
    ) {
        let unlucky = self.is_unlucky();
        let Some(link) = self.links.get_mut(&conn) else {
            return;
        };
        let line = &mut link.line;
        if line.broken {
            return;
        }
        if unlucky || !view.runs(line.seat, line.life) || line.is_blocked(view.net) {
            return self.break_link(view.now, conn, Departure::Broke, out);
        }
        let at = line.arrival(view.now, up, view.net, &mut self.rng);
        out.push(Deed::Plan { at, moment });
    }

    /// One end says something, in pieces of any size.
    pub(super) fn say<T: Clone>(
        &mut self,
        view: &View<'_, T>,
        conn: ConnId,
        up: bool,
        bytes: Vec<u8>,
        out: &mut Vec<Deed>,
    ) {
        for bytes in line::pieces(bytes, &mut self.rng) {
            let moment = match up {
                true => Moment::Up { conn, bytes },
                false => Moment::Down { conn, bytes },
            };
            self.send(view, conn, up, moment, out);
        }
    }

    /// Nothing passes any more: both ends hear of it, each in its own time.
    pub(super) fn break_link(
        &mut self,
        now: SimTime,
        conn: ConnId,
        why: Departure,
        out: &mut Vec<Deed>,
    ) {
        let Some(link) = self.links.get_mut(&conn) else {
            return;
        };
        if std::mem::replace(&mut link.line.broken, true) {
            return;
        }
        let (server, seat) = (link.server, link.line.seat);
        out.push(Deed::Tell(Event::ServerLeft { server, seat, why }));
        for moment in [Moment::Gone { conn }, Moment::Dropped { conn }] {
            let after = Duration::from_millis(self.rng.between(1, 2_000));
            out.push(Deed::Plan {
                at: now + after,
                moment,
            });
        }
    }

    /// The process of a node has ended, and its system says so.
    pub fn on_node_stopped(&mut self, now: SimTime, seat: Seat, out: &mut Vec<Deed>) {
        let theirs = self.links.iter().filter(|(_, link)| link.line.seat == seat);
        let theirs: Vec<ConnId> = theirs.map(|(conn, _)| *conn).collect();
        for conn in theirs {
            self.break_link(now, conn, Departure::Broke, out);
        }
    }

    /// A connection of which the node can hear: its life still runs.
    fn at_node<T>(&mut self, view: &View<'_, T>, conn: ConnId) -> Option<&mut Link> {
        let link = self.links.get_mut(&conn)?;
        view.runs(link.line.seat, link.line.life).then_some(link)
    }

    /// Tells the face at the other end of a connection.
    fn tell_face(link: &Link, event: face::Event, out: &mut Vec<Deed>) {
        let (seat, life) = (link.line.seat, link.line.life);
        let event = FaceEvent::Chunkservers(event);
        out.push(Deed::Face { seat, life, event });
    }

    pub(super) fn on_accepted<T>(&mut self, view: &View<'_, T>, conn: ConnId, out: &mut Vec<Deed>) {
        let Some(link) = self.at_node(view, conn).filter(|it| !it.line.broken) else {
            return self.break_link(view.now, conn, Departure::Broke, out);
        };
        link.node_has = true;
        let ip = Ipv4Addr::new(10, 0, 0, link.server + 1);
        Self::tell_face(link, face::Event::Accepted { conn, ip }, out);
    }

    /// Bytes arrive at the node.
    pub(super) fn on_up<T>(
        &mut self,
        view: &View<'_, T>,
        conn: ConnId,
        bytes: Vec<u8>,
        out: &mut Vec<Deed>,
    ) {
        if let Some(link) = self.at_node(view, conn)
            && link.node_has
            && !link.line.broken
        {
            let event = connection::Input::Bytes(bytes);
            Self::tell_face(link, face::Event::Connection { conn, event }, out);
        }
    }

    /// A node hears that a connection is gone.
    pub(super) fn on_gone<T>(&mut self, view: &View<'_, T>, conn: ConnId, out: &mut Vec<Deed>) {
        if let Some(link) = self.at_node(view, conn)
            && link.node_has
        {
            let reason = "it broke".to_owned();
            let event = connection::Input::Ended { reason };
            Self::tell_face(link, face::Event::Connection { conn, event }, out);
        }
        if let Some(link) = self.links.get_mut(&conn) {
            link.node_has = false;
        }
        self.forget_link(conn);
    }

    /// A chunkserver closes its connection, and looks for another.
    pub(super) fn give_up(
        &mut self,
        now: SimTime,
        conn: ConnId,
        why: Departure,
        out: &mut Vec<Deed>,
    ) {
        self.break_link(now, conn, why, out);
        self.on_dropped(now, conn, out);
    }

    /// A chunkserver hears that its connection is gone.
    pub(super) fn on_dropped(&mut self, now: SimTime, conn: ConnId, out: &mut Vec<Deed>) {
        let Some(server) = self.end_of(conn) else {
            return self.forget_link(conn);
        };
        self.end_jobs(server, out);
        self.server(server).link = None;
        self.forget_link(conn);
        let most = if self.healed { 300 } else { 1_500 };
        self.connect_in(now, server, 20, most, out);
    }

    /// The chunkserver that still has its end of a connection.
    pub(super) fn end_of(&self, conn: ConnId) -> Option<u8> {
        let server = self.links.get(&conn)?.server;
        let it = &self.servers[usize::from(server)];
        (it.up && it.link == Some(conn)).then_some(server)
    }

    /// Forgets a connection that neither end has.
    pub(super) fn forget_link(&mut self, conn: ConnId) {
        let Some(link) = self.links.get(&conn) else {
            return;
        };
        let held = self.servers[usize::from(link.server)].link == Some(conn);
        if !held && !link.node_has {
            self.links.remove(&conn);
        }
    }
}
