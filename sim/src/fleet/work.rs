//! What chunkservers do: orders, each in its time, and their own ends and beginnings.

use std::time::Duration;

use mfsha_core::chunks::{ConnId, Order};
use mfsha_core::id::ChunkId;
use mfsha_core::moosefs::chunkserver::{Operation, Register, ToMaster};

use crate::event::{Departure, Event};
use crate::place::Place;
use crate::time::SimTime;
use crate::view::View;

use super::server::{Job, Server, Stage};
use super::talk::order_of;
use super::{Deed, Fleet, Moment};

impl Fleet {
    /// An order arrives.
    pub(super) fn on_operation<T>(
        &mut self,
        view: &View<'_, T>,
        conn: ConnId,
        server: u8,
        operation: Operation,
        out: &mut Vec<Deed>,
    ) {
        let order = order_of(&operation);
        let link = self.links.get_mut(&conn).expect("it came on this one");
        let term = link.terms.remove(&(order.kind(), order.chunk()));
        let term = term.unwrap_or_else(|| panic!("no node gave {order:?}"));
        let number = self.next_job;
        self.next_job += 1;
        let mean = self.options.order_mean_us * 1_000;
        let after = crate::draw::exponential(&mut self.rng, mean);
        let job = Job {
            conn,
            term,
            order,
            operation,
        };
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
        self.answer(view, job.conn, &job.operation, done, out);
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
                if !self.may_spoil(server, chunk, *from) {
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

    /// Whether the copy of a chunkserver may be spoilt now: it is remembered that it is.
    pub(super) fn may_spoil(&mut self, server: u8, chunk: ChunkId, version: u32) -> bool {
        let others = self.servers.iter().filter(|it| it.number != server);
        let copies = others.filter_map(|it| it.disk.get(&chunk));
        let sound = copies.filter(|it| !it.bad && it.version >= version);
        sound.count() > 0 && self.spoilt.insert(chunk)
    }

    /// What a chunkserver was doing for a connection is done all the same, or never; nobody is told
    /// which.
    pub(super) fn end_jobs(&mut self, server: u8, out: &mut Vec<Deed>) {
        let jobs = std::mem::take(&mut self.server(server).jobs);
        for job in jobs.into_values() {
            if self.rng.chance(1, 2) {
                self.carry_out(server, &job, out);
            }
        }
    }

    /// A chunkserver is stopped as its operator does it: it says so, and what it was told to do is
    /// carried out, but not told of any more.
    pub fn stop<T: Clone>(
        &mut self,
        view: &View<'_, T>,
        server: u8,
        down_ms: u64,
        out: &mut Vec<Deed>,
    ) {
        let it = &self.servers[usize::from(server)];
        if !it.up {
            return;
        }
        let member = matches!(it.talk.stage, Stage::Member);
        if let Some(conn) = it.link.filter(|_| member) {
            let said = ToMaster::Register(Register::Disconnect);
            self.utter(view, conn, &said, out);
            out.push(Deed::Tell(Event::ServerSaidThatItStops { server }));
        }
        let jobs = std::mem::take(&mut self.server(server).jobs);
        for job in jobs.into_values() {
            self.carry_out(server, &job, out);
        }
        let now = view.now;
        if let Some(conn) = self.go_down(now, server, down_ms, out) {
            // Behind all that it said, so that its node hears that first.
            self.send(view, conn, true, Moment::Gone { conn }, out);
        }
    }

    /// A chunkserver dies, and starts again later. What is on its disk stays.
    pub fn crash(&mut self, now: SimTime, server: u8, down_ms: u64, out: &mut Vec<Deed>) {
        if !self.servers[usize::from(server)].up {
            return;
        }
        self.end_jobs(server, out);
        if let Some(conn) = self.go_down(now, server, down_ms, out) {
            self.break_link(now, conn, Departure::Broke, out);
        }
    }

    /// Its process ends: the connection that it had.
    fn go_down(
        &mut self,
        now: SimTime,
        server: u8,
        down_ms: u64,
        out: &mut Vec<Deed>,
    ) -> Option<ConnId> {
        let it = self.server(server);
        it.up = false;
        let conn = it.link.take();
        out.push(Deed::Tell(Event::ServerStopped { server }));
        self.break_chains(now, server, out);
        out.push(Deed::Plan {
            at: now + Duration::from_millis(down_ms),
            moment: Moment::Start { server },
        });
        conn
    }

    pub(super) fn start_server(&mut self, now: SimTime, server: u8, out: &mut Vec<Deed>) {
        let it = self.server(server);
        if std::mem::replace(&mut it.up, true) {
            return;
        }
        it.starts += 1;
        out.push(Deed::Tell(Event::ServerStarted { server }));
        self.connect_in(now, server, 1, 200, out);
    }
}
