//! The faces that chunkservers see: what they want done, and what nodes want of them.

use mfsha_core::chunks::{ConnId, Order, Report};
use mfsha_core::chunkservers as face;
use mfsha_core::id::Term;
use mfsha_core::moosefs::connection;
use mfsha_core::node;
use mfsha_core::rng::Seed;

use crate::event::Event;
use crate::face::{FaceEvent, METAID};
use crate::place::Seat;
use crate::view::View;

use super::{Deed, Fleet, Moment};

impl Fleet {
    /// A face asked to be woken.
    pub(super) fn on_wake<T>(
        &self,
        view: &View<'_, T>,
        seat: Seat,
        wakes: u64,
        out: &mut Vec<Deed>,
    ) {
        if let Some(life) = self.faces.woken(view, seat, wakes) {
            let event = FaceEvent::Chunkservers(face::Event::Tick);
            out.push(Deed::Face { seat, life, event });
        }
    }

    /// Plans the next wake-up of a face anew.
    pub fn rearm_face<T>(&mut self, view: &View<'_, T>, seat: Seat, out: &mut Vec<Deed>) {
        if let Some((at, wakes)) = self.faces.rearm(view, seat) {
            let moment = Moment::Wake { seat, wakes };
            out.push(Deed::Plan { at, moment });
        }
    }

    /// Hands something to the face of a node that runs and does not stand still.
    pub fn step_face<T: Clone>(
        &mut self,
        view: &View<'_, T>,
        seat: Seat,
        event: face::Event,
        out: &mut Vec<Deed>,
    ) {
        let Some(life) = view.life(seat) else {
            return;
        };
        let seed = &self.seed;
        self.faces.have((seat, life), || new_face(seed, seat, life));
        let mut todo = vec![event];
        while let Some(event) = todo.pop() {
            for effect in self.faces.step(view, seat, event) {
                self.do_effect(view, (seat, life), effect, &mut todo, out);
            }
        }
        self.rearm_face(view, seat, out);
    }

    fn do_effect<T: Clone>(
        &mut self,
        view: &View<'_, T>,
        (seat, life): (Seat, u32),
        effect: face::Effect,
        todo: &mut Vec<face::Event>,
        out: &mut Vec<Deed>,
    ) {
        let event = match effect {
            face::Effect::Connection { conn, effect } => {
                return self.on_socket(view, conn, effect, todo, out);
            }
            face::Effect::AskWrite {
                client,
                call,
                request,
                op,
            } => node::Event::AskWrite {
                client,
                call,
                request,
                op,
            },
            face::Effect::Gone { client } => node::Event::ClientGone { client },
            face::Effect::Heard { conn, report } => {
                self.tell_joined(conn, &report, out);
                node::Event::Chunkserver { conn, report }
            }
            face::Effect::Report { .. } => return,
        };
        out.push(Deed::Step { seat, life, event });
    }

    fn tell_joined(&self, conn: ConnId, report: &Report, out: &mut Vec<Deed>) {
        if let (Report::Joined(joined), Some(link)) = (report, self.links.get(&conn)) {
            out.push(Deed::Tell(Event::ServerJoined {
                server: link.server,
                seat: link.line.seat,
                csid: joined.csid,
                registration: joined.registration,
            }));
        }
    }

    fn on_socket<T: Clone>(
        &mut self,
        view: &View<'_, T>,
        conn: ConnId,
        effect: connection::Effect,
        todo: &mut Vec<face::Event>,
        out: &mut Vec<Deed>,
    ) {
        match effect {
            connection::Effect::Write { bytes } => {
                let event = connection::Input::Written { bytes: bytes.len() };
                todo.push(face::Event::Connection { conn, event });
                self.say(view, conn, false, bytes, out);
            }
            connection::Effect::Close { .. } => {
                if let Some(link) = self.links.get_mut(&conn) {
                    link.node_has = false;
                }
                // What was said before arrives: a registration that is put off is answered.
                self.send(view, conn, false, Moment::Closed { conn }, out);
                self.forget_link(conn);
            }
            // A simulated system's buffers have no end.
            _ => {}
        }
    }

    /// A node has something for a chunkserver to do. The wire does not say in which term.
    pub fn on_order(&mut self, conn: ConnId, term: Term, order: Order, out: &mut Vec<Deed>) {
        let Some(link) = self.links.get_mut(&conn) else {
            return;
        };
        link.terms.insert((order.kind(), order.chunk()), term);
        out.push(Deed::Tell(Event::ChunkOrdered {
            seat: link.line.seat,
            server: link.server,
            conn,
            term,
            order,
        }));
    }
}

fn new_face(seed: &Seed, seat: Seat, life: u32) -> face::Chunkservers {
    let seed = seed.child("face").index(seat.0.into());
    face::Chunkservers::new(face::Options::new(METAID), &seed.index(life.into()))
}
