//! The task that owns the machine: hands it what happens, carries out what it asks for. It
//! decides nothing.

use std::time::Duration;

use mfsha_core::exports::Exports;
use mfsha_core::id::{LogIndex, SessionId};
use mfsha_core::machine::{Machine, Outbox};
use mfsha_core::moosefs::connection;
use mfsha_core::mounts::{Effect, Event, Input, Mounts};
use mfsha_core::namespace::op::Notice;
use mfsha_core::native::request::{ClientId, Response};
use mfsha_core::time::WallTime;
use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use super::FIRST_CLIENT;
use super::process::{PERIOD, Watch};
use crate::driver::{Clock, NodeHandle};
use crate::room::Port;
use crate::sockets::{Happened, Sockets};

/// What others tell the task.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "answers are most of what is told, and each is moved once"
)]
pub enum Work {
    /// The node answers.
    Answered {
        /// Whom.
        client: ClientId,
        /// What.
        response: Response,
    },
    /// A command that was applied has news.
    News {
        /// Its place in the log.
        index: LogIndex,
        /// The session whose own client changed data by it.
        by: Option<SessionId>,
        /// The news.
        notices: Vec<Notice>,
    },
    /// The state was replaced by a peer's.
    StateReplaced,
    /// Copies of chunks are at other chunkservers than before.
    CopiesMoved,
    /// Space on chunkservers is another now, bytes.
    Space {
        /// In total.
        total: u64,
        /// Of that, free.
        free: u64,
    },
    /// The state was stored whole, or could not be.
    Stored {
        /// How long it took.
        took: Duration,
        /// Whether it is stored.
        good: bool,
    },
    /// The exports were read again.
    Exports(Exports),
}

/// See the module's documentation.
pub(super) struct Pump {
    machine: Mounts,
    node: NodeHandle,
    clock: Clock,
    sockets: Sockets<ClientId>,
    watch: Watch,
}

impl Pump {
    pub(super) fn new(machine: Mounts, node: NodeHandle, clock: Clock, port: Port) -> Self {
        Self {
            machine,
            node,
            clock,
            sockets: Sockets::new(port, FIRST_CLIENT, ClientId),
            watch: Watch::new(),
        }
    }

    pub(super) async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Work>) {
        let mut looks = tokio::time::interval(PERIOD);
        loop {
            let deadline = self.machine.deadline();
            tokio::select! {
                work = inbox.recv() => match work {
                    Some(work) => self.on_work(work),
                    None => return,
                },
                _ = looks.tick() => {
                    let process = self.watch.look();
                    self.step(Event::Process(process));
                }
                happened = self.sockets.next(deadline, &self.clock) => self.step(match happened {
                    Happened::Accepted(client, ip) => Event::Accepted { client, ip },
                    Happened::Said(client, event) => Event::Connection { client, event },
                    Happened::Nothing => Event::Tick,
                }),
            }
        }
    }

    fn on_work(&mut self, work: Work) {
        let event = match work {
            Work::Stored { took, good } => {
                let seconds = u32::try_from(self.clock.wall_us() / 1_000_000);
                self.watch
                    .stored(WallTime(seconds.unwrap_or(u32::MAX)), took, good);
                Event::Process(self.watch.look())
            }
            Work::Answered { client, response } => Event::Answered { client, response },
            Work::News { index, by, notices } => Event::News { index, by, notices },
            Work::Space { total, free } => Event::Space { total, free },
            Work::StateReplaced => Event::StateReplaced,
            Work::CopiesMoved => Event::CopiesMoved,
            Work::Exports(exports) => Event::Exports(exports),
        };
        self.step(event);
    }

    fn step(&mut self, event: Event) {
        let wall_us = self.clock.wall_us();
        let mut out = Outbox::new();
        self.machine
            .step(self.clock.now(), Input { wall_us, event }, &mut out);
        for effect in out.drain() {
            self.carry_out(effect);
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Connection { client, effect } => self.on_socket(client, effect),
            Effect::Ask { client, request } => self.node.ask(client, request),
            Effect::AskWrite {
                client,
                call,
                request,
                op,
            } => self.node.ask_write(client, call, request, op),
            Effect::AskChunk { client, call, wish } => self.node.ask_chunk(client, call, wish),
            Effect::Inspect { client, call, what } => self.node.ask_inspect(client, call, what),
            Effect::Gone { client } => self.node.client_gone(client),
            Effect::Report { message } => warn!("{message}"),
        }
    }

    fn on_socket(&mut self, client: ClientId, effect: connection::Effect) {
        let Some((ip, reason)) = self.sockets.carry_out(client, effect) else {
            return;
        };
        match reason {
            connection::Closed::Finished | connection::Closed::Ended(_) => {
                debug!(%ip, %reason, "a mount or tool is gone");
            }
            reason => info!(%ip, %reason, "a mount or tool is cut off"),
        }
    }
}
