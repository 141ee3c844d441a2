//! Chunkservers and their connections.

use std::time::Duration;

use mfsha_core::chunks::{ConnId, Joined, Order, Report};
use mfsha_core::id::{ChunkId, CsId, Lane, RequestSeq, SessionId, Term};
use mfsha_core::namespace::op::{Op, Reply, RequestId};
use mfsha_core::node;
use mfsha_core::node::request::{CallId, ClientId, NodeError, ResponseBody};

use crate::event::Event;
use crate::line::Line;
use crate::place::{Place, Seat};
use crate::time::SimTime;

use super::server::{Job, Server};
use super::{CLIENTS, Deed, Fleet, Moment, View};

/// A chunkserver tells how it is this often.
const BEAT: Duration = Duration::from_millis(300);
/// It waits for a welcome for so long.
const PATIENCE: Duration = Duration::from_secs(3);
/// Copies that it names at once.
const PORTION: usize = 3;
/// Its version, as on the wire.
const VERSION: u32 = 0x0003_00EA;

/// A connection of a chunkserver to one life of a node.
#[derive(Debug)]
pub(crate) struct Link {
    pub server: u8,
    line: Line,
    /// The node has it.
    node_has: bool,
    /// The node has taken the chunkserver in.
    joined: bool,
    /// The chunkserver has been told so.
    welcome: bool,
}

impl Fleet {
    fn server(&mut self, server: u8) -> &mut Server {
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
        let life = view.lives[usize::from(seat.0)];
        let Some(life) = life.filter(|_| !view.is_blocked(here, Place::Seat(seat))) else {
            return self.connect_in(view.now, server, 100, 400, out);
        };
        let conn = ConnId(self.next_conn);
        self.next_conn += 1;
        let link = Link {
            server,
            line: Line::new(here, seat, life),
            node_has: false,
            joined: false,
            welcome: false,
        };
        self.links.insert(conn, link);
        self.server(server).link = Some(conn);
        self.send(view, conn, true, Moment::Hello { conn }, out);
        out.push(Deed::Plan {
            at: view.now + PATIENCE,
            moment: Moment::HelloLate { conn },
        });
    }

    /// Sends something up, or down: in order, or the connection is broken.
    fn send<T: Clone>(
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
            return self.break_link(view.now, conn, out);
        }
        let at = line.arrival(view.now, up, view.net, &mut self.rng);
        out.push(Deed::Plan { at, moment });
    }

    /// Nothing passes any more: both ends hear of it, each in its own time.
    fn break_link(&mut self, now: SimTime, conn: ConnId, out: &mut Vec<Deed>) {
        let Some(link) = self.links.get_mut(&conn) else {
            return;
        };
        if std::mem::replace(&mut link.line.broken, true) {
            return;
        }
        let event = Event::ServerLeft {
            server: link.server,
            seat: link.line.seat,
        };
        out.push(Deed::Tell(event));
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
            self.break_link(now, conn, out);
        }
    }

    pub(super) fn on_hello<T: Clone>(
        &mut self,
        view: &View<'_, T>,
        conn: ConnId,
        out: &mut Vec<Deed>,
    ) {
        let Some(link) = self.links.get_mut(&conn) else {
            return;
        };
        if link.line.broken || !view.runs(link.line.seat, link.line.life) {
            return self.break_link(view.now, conn, out);
        }
        link.node_has = true;
        let (seat, life, server) = (link.line.seat, link.line.life, link.server);
        let it = &self.servers[usize::from(server)];
        let op = Op::RegisterChunkserver {
            csid: it.csid,
            address: it.address(),
        };
        let event = node::Event::AskWrite {
            client: ClientId(2 * CLIENTS + conn.0),
            call: CallId(0),
            request: RequestId::new(SessionId(0), Lane(0), RequestSeq(0)),
            op: Box::new(op),
        };
        out.push(Deed::Step { seat, life, event });
    }

    pub(super) fn on_hello_late<T: Clone>(
        &mut self,
        view: &View<'_, T>,
        conn: ConnId,
        out: &mut Vec<Deed>,
    ) {
        if self.links.get(&conn).is_some_and(|link| !link.welcome) {
            self.break_link(view.now, conn, out);
        }
    }

    /// The replicated state has a chunkserver's registration.
    pub(super) fn on_registered<T: Clone>(
        &mut self,
        view: &View<'_, T>,
        conn: ConnId,
        result: Result<ResponseBody, NodeError>,
        out: &mut Vec<Deed>,
    ) {
        let Some(link) = self.links.get_mut(&conn) else {
            return;
        };
        if !link.node_has {
            return;
        }
        let (seat, life, server) = (link.line.seat, link.line.life, link.server);
        let Ok(ResponseBody::Written { outcome, .. }) = result else {
            return self.break_link(view.now, conn, out);
        };
        let Ok(Reply::ChunkserverRegistered { csid, registration }) = outcome.result else {
            return self.break_link(view.now, conn, out);
        };
        link.joined = true;
        let it = &self.servers[usize::from(server)];
        let joined = Joined {
            csid,
            registration,
            address: it.address(),
            version: VERSION,
            space: it.space(),
        };
        let report = Report::Joined(joined);
        let event = node::Event::Chunkserver { conn, report };
        out.push(Deed::Tell(Event::ServerJoined {
            server,
            seat,
            csid,
            registration,
        }));
        out.push(Deed::Step { seat, life, event });
        self.send(view, conn, false, Moment::Welcome { conn, csid }, out);
    }

    pub(super) fn on_welcome<T: Clone>(
        &mut self,
        view: &View<'_, T>,
        conn: ConnId,
        csid: CsId,
        out: &mut Vec<Deed>,
    ) {
        let Some(server) = self.end_of(conn) else {
            return;
        };
        if let Some(link) = self.links.get_mut(&conn) {
            link.welcome = true;
        }
        let it = self.server(server);
        it.csid = csid;
        let (copies, bad) = it.listing();
        for part in copies.chunks(PORTION) {
            self.report(view, conn, Report::Found(part.to_vec()), out);
        }
        if !bad.is_empty() {
            self.report(view, conn, Report::Damaged(bad), out);
        }
        self.report(view, conn, Report::Listed, out);
        self.beat_in(view.now, conn, out);
    }

    /// The chunkserver that still has its end of a connection.
    fn end_of(&self, conn: ConnId) -> Option<u8> {
        let server = self.links.get(&conn)?.server;
        let it = &self.servers[usize::from(server)];
        (it.up && it.link == Some(conn)).then_some(server)
    }

    fn report<T: Clone>(
        &mut self,
        view: &View<'_, T>,
        conn: ConnId,
        report: Report,
        out: &mut Vec<Deed>,
    ) {
        self.send(view, conn, true, Moment::Up { conn, report }, out);
    }

    pub(super) fn on_up<T: Clone>(
        &mut self,
        view: &View<'_, T>,
        conn: ConnId,
        report: Report,
        out: &mut Vec<Deed>,
    ) {
        let Some(link) = self.links.get(&conn) else {
            return;
        };
        if link.line.broken || !link.joined || !view.runs(link.line.seat, link.line.life) {
            return;
        }
        let (seat, life) = (link.line.seat, link.line.life);
        let event = node::Event::Chunkserver { conn, report };
        out.push(Deed::Step { seat, life, event });
    }

    fn beat_in(&mut self, now: SimTime, conn: ConnId, out: &mut Vec<Deed>) {
        out.push(Deed::Plan {
            at: now + BEAT,
            moment: Moment::Beat { conn },
        });
    }

    pub(super) fn on_beat<T: Clone>(
        &mut self,
        view: &View<'_, T>,
        conn: ConnId,
        out: &mut Vec<Deed>,
    ) {
        let Some(server) = self.end_of(conn) else {
            return;
        };
        let space = self.server(server).space();
        self.report(view, conn, Report::Space(space), out);
        self.beat_in(view.now, conn, out);
    }

    /// A node hears that a connection is gone.
    pub(super) fn on_gone<T: Clone>(
        &mut self,
        view: &View<'_, T>,
        conn: ConnId,
        out: &mut Vec<Deed>,
    ) {
        let Some(link) = self.links.get_mut(&conn) else {
            return;
        };
        link.node_has = false;
        let (seat, life) = (link.line.seat, link.line.life);
        if std::mem::take(&mut link.joined) && view.runs(seat, life) {
            let report = Report::Gone;
            let event = node::Event::Chunkserver { conn, report };
            out.push(Deed::Step { seat, life, event });
        }
        self.forget_link(conn);
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

    /// Forgets a connection that neither end has.
    fn forget_link(&mut self, conn: ConnId) {
        let Some(link) = self.links.get(&conn) else {
            return;
        };
        let held = self.servers[usize::from(link.server)].link == Some(conn);
        if !held && !link.node_has {
            self.links.remove(&conn);
        }
    }

    /// A node has no use for a connection any more.
    pub fn on_unseat<T: Clone>(&mut self, view: &View<'_, T>, conn: ConnId, out: &mut Vec<Deed>) {
        self.on_gone(view, conn, out);
        self.break_link(view.now, conn, out);
    }

    /// A node has something for a chunkserver to do.
    pub fn on_order<T: Clone>(
        &mut self,
        view: &View<'_, T>,
        (conn, term, order): (ConnId, Term, Order),
        out: &mut Vec<Deed>,
    ) {
        if let Some(link) = self.links.get(&conn) {
            out.push(Deed::Tell(Event::ChunkOrdered {
                seat: link.line.seat,
                server: link.server,
                conn,
                term,
                order,
            }));
        }
        self.send(view, conn, false, Moment::Order { conn, term, order }, out);
    }

    pub(super) fn on_order_arrived<T: Clone>(
        &mut self,
        view: &View<'_, T>,
        conn: ConnId,
        term: Term,
        order: Order,
        out: &mut Vec<Deed>,
    ) {
        let Some(server) = self.end_of(conn) else {
            return;
        };
        if self.links.get(&conn).is_none_or(|link| link.line.broken) {
            return;
        }
        let number = self.next_job;
        self.next_job += 1;
        let mean = self.options.order_mean_us * 1_000;
        let after = crate::draw::exponential(&mut self.rng, mean);
        let job = Job { conn, term, order };
        self.server(server).jobs.insert(number, job);
        out.push(Deed::Plan {
            at: view.now + Duration::from_nanos(after),
            moment: Moment::Work {
                server,
                job: number,
            },
        });
    }

    pub(super) fn on_work<T: Clone>(
        &mut self,
        view: &View<'_, T>,
        server: u8,
        job: u64,
        out: &mut Vec<Deed>,
    ) {
        let Some(job) = self.server(server).jobs.remove(&job) else {
            return;
        };
        let reachable = match job.order {
            Order::Replicate { source, .. } => {
                let source = Place::Chunkserver(Server::number_at(source));
                !view.is_blocked(Place::Chunkserver(server), source)
            }
            _ => true,
        };
        let done = reachable && !self.is_failing(server, &job.order, out);
        let done = done && self.carry_out(server, &job, out);
        if !done {
            out.push(Deed::Tell(Event::ChunkDone {
                server,
                term: job.term,
                order: job.order,
                done,
            }));
        }
        let (kind, chunk) = (job.order.kind(), job.order.chunk());
        let report = Report::Done {
            kind,
            chunk,
            status: u8::from(!done),
        };
        self.report(view, job.conn, report, out);
    }

    /// Carries an order out; whether that could be done.
    fn carry_out(&mut self, server: u8, job: &Job, out: &mut Vec<Deed>) -> bool {
        let source = match job.order {
            Order::Replicate { chunk, source, .. } => {
                let source = &self.servers[usize::from(Server::number_at(source))];
                source.disk.get(&chunk).copied().filter(|_| source.up)
            }
            _ => None,
        };
        let it = self.server(server);
        let done = it.carry_out(&job.order, source);
        if done {
            out.push(Deed::Tell(Event::ChunkDone {
                server,
                term: job.term,
                order: job.order,
                done,
            }));
            self.tell_copy(server, job.order.chunk(), out);
        }
        done
    }

    pub(super) fn tell_copy(&mut self, server: u8, chunk: ChunkId, out: &mut Vec<Deed>) {
        let copy = self.server(server).disk.get(&chunk).copied();
        out.push(Deed::Tell(Event::CopyChanged {
            server,
            chunk,
            copy,
        }));
    }

    /// Some orders cannot be carried out. A copy is spoilt by that at most once for each chunk, and
    /// only where there is another: disks do not promise more.
    fn is_failing(&mut self, server: u8, order: &Order, out: &mut Vec<Deed>) -> bool {
        if self.healed || !crate::draw::ppm(&mut self.rng, self.options.fail_ppm) {
            return false;
        }
        let chunk = order.chunk();
        match order {
            Order::Create { .. }
            | Order::Replicate { .. }
            | Order::Duplicate { .. }
            | Order::DupTrunc { .. } => true,
            // It is there for the next try.
            Order::Delete { .. } => true,
            Order::SetVersion { from, .. } | Order::Truncate { from, .. } => {
                let others = self.servers.iter().filter(|it| it.number != server);
                let copies = others.filter_map(|it| it.disk.get(&chunk));
                let sound = copies.filter(|it| !it.bad && it.version >= *from);
                if sound.count() == 0 || !self.spoilt.insert(chunk) {
                    return false;
                }
                if let Some(stored) = self.server(server).disk.get_mut(&chunk) {
                    stored.bad = true;
                }
                self.tell_copy(server, chunk, out);
                true
            }
        }
    }

    /// What a chunkserver was doing for a connection is done all the same, or never; nobody is told
    /// which.
    fn end_jobs(&mut self, server: u8, out: &mut Vec<Deed>) {
        let jobs = std::mem::take(&mut self.server(server).jobs);
        for job in jobs.into_values() {
            if self.rng.chance(1, 2) {
                self.carry_out(server, &job, out);
            }
        }
    }

    /// A chunkserver dies, and starts again later. What is on its disk stays.
    pub fn crash(&mut self, now: SimTime, server: u8, down_ms: u64, out: &mut Vec<Deed>) {
        if !self.servers[usize::from(server)].up {
            return;
        }
        self.end_jobs(server, out);
        let it = self.server(server);
        it.up = false;
        let conn = it.link.take();
        out.push(Deed::Tell(Event::ServerStopped { server }));
        if let Some(conn) = conn {
            self.break_link(now, conn, out);
        }
        out.push(Deed::Plan {
            at: now + Duration::from_millis(down_ms),
            moment: Moment::Start { server },
        });
    }

    pub(super) fn start_server(&mut self, now: SimTime, server: u8, out: &mut Vec<Deed>) {
        let it = self.server(server);
        if std::mem::replace(&mut it.up, true) {
            return;
        }
        out.push(Deed::Tell(Event::ServerStarted { server }));
        self.connect_in(now, server, 1, 200, out);
    }
}
