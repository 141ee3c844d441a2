//! The task that owns the machine: hands it what happens, carries out what it asks for, and has a
//! line in the log for who comes and goes. It decides nothing.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use mfsha_core::chunks::{ConnId, Joined, Report};
use mfsha_core::chunkservers::{Chunkservers, Effect, Event};
use mfsha_core::machine::{Machine, Outbox};
use mfsha_core::moosefs::connection::{self, Closed};
use mfsha_core::moosefs::version::Version;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use super::FIRST_CONN;
use crate::driver::{Clock, NodeHandle};
use crate::room::Port;
use crate::sockets::{Happened, Sockets};

/// See the module's documentation.
pub(super) struct Pump {
    machine: Chunkservers,
    node: NodeHandle,
    clock: Clock,
    count: Gauge,
    sockets: Sockets<ConnId>,
    /// Who is registered, for the log.
    joined: BTreeMap<ConnId, Joined>,
}

impl Pump {
    pub(super) fn new(
        machine: Chunkservers,
        node: NodeHandle,
        clock: Clock,
        count: Gauge,
        port: Port,
    ) -> Self {
        Self {
            machine,
            node,
            clock,
            count,
            sockets: Sockets::new(port, FIRST_CONN, ConnId),
            joined: BTreeMap::new(),
        }
    }

    pub(super) async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Event>) {
        loop {
            let deadline = self.machine.deadline();
            tokio::select! {
                event = inbox.recv() => match event {
                    Some(event) => self.step(event),
                    None => return,
                },
                happened = self.sockets.next(deadline, &self.clock) => self.step(match happened {
                    Happened::Accepted(conn, ip) => Event::Accepted { conn, ip },
                    Happened::Said(conn, event) => Event::Connection { conn, event },
                    Happened::Nothing => Event::Tick,
                }),
            }
        }
    }

    fn step(&mut self, event: Event) {
        let mut out = Outbox::new();
        self.machine.step(self.clock.now(), event, &mut out);
        for effect in out.drain() {
            self.carry_out(effect);
        }
        let joined = i64::try_from(self.machine.joined());
        self.count.set(joined.unwrap_or(i64::MAX));
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Connection { conn, effect } => self.on_socket(conn, effect),
            Effect::AskWrite {
                client,
                call,
                request,
                op,
            } => self.node.ask_write(client, call, request, op),
            Effect::Gone { client } => self.node.client_gone(client),
            Effect::Heard { conn, report } => {
                self.note(conn, &report);
                self.node.chunkserver(conn, report);
            }
            Effect::Report { message } => warn!("{message}"),
        }
    }

    fn on_socket(&mut self, conn: ConnId, effect: connection::Effect) {
        if let Some((ip, reason)) = self.sockets.carry_out(conn, effect) {
            self.note_closed(conn, ip, &reason);
        }
    }

    fn note(&mut self, conn: ConnId, report: &Report) {
        if let Report::Joined(joined) = report {
            self.joined.insert(conn, *joined);
            info!(
                csid = joined.csid.0,
                address = %address(joined),
                version = %Version(joined.version),
                registration = joined.registration,
                "a chunkserver has registered"
            );
        }
    }

    fn note_closed(&mut self, conn: ConnId, ip: Ipv4Addr, reason: &Closed) {
        match (self.joined.remove(&conn), reason) {
            (Some(joined), Closed::Finished) => {
                let address = address(&joined);
                info!(csid = joined.csid.0, %address, "a chunkserver has left");
            }
            (Some(joined), reason) => {
                let address = address(&joined);
                warn!(csid = joined.csid.0, %address, %reason, "a chunkserver is lost");
            }
            (None, Closed::Finished | Closed::Ended(_)) => {
                debug!(%ip, %reason, "a chunkserver that was not registered is gone");
            }
            (None, reason) => warn!(%ip, %reason, "a chunkserver is refused"),
        }
    }
}

fn address(joined: &Joined) -> String {
    format!("{}:{}", joined.address.ip, joined.address.port)
}
