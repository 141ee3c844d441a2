//! Who breaks things: turns entries of the schedule into what they do to the world.

use std::collections::BTreeSet;
use std::time::Duration;

use mfsha_core::id::NodeId;
use mfsha_core::node;
use mfsha_core::node::request::{RequestBody, ResponseBody};
use mfsha_core::transport;

use crate::atlas;
use crate::disk::DiskFaults;
use crate::event::{Event, FaultStage, Phase, StopReason};
use crate::fault::Fault;
use crate::net::{Link, Weather};
use crate::node::Kind;
use crate::place::{Place, Seat};
use crate::schedule::FaultEntry;
use crate::seat::SeatState;
use crate::time::SimTime;
use crate::workload;
use crate::world::{Due, Waiting, World};

impl<K: Kind> World<K> {
    pub(crate) async fn on_fault_begin(&mut self, entry: FaultEntry) {
        if self.phase != Phase::Safety {
            return;
        }
        let admitted = self
            .atlas
            .admit(&entry.fault)
            .and_then(|()| self.means_something(&entry))
            .and_then(|()| self.comes_in_time(&entry));
        let stage = match admitted {
            Ok(()) => FaultStage::Begins,
            Err(why) => FaultStage::Skipped(why),
        };
        self.emit(Event::Fault {
            entry: entry.number,
            fault: entry.fault.clone(),
            stage,
        });
        if admitted.is_ok() {
            self.atlas.on_fault(&entry.fault);
            self.strike(entry).await;
        }
    }

    /// A cluster that is being formed needs every disk: the promises begin when it is.
    fn comes_in_time(&mut self, entry: &FaultEntry) -> Result<(), &'static str> {
        if self.is_formed() || !atlas::may_cost_a_disk(entry.fault.kind()) {
            return Ok(());
        }
        Err("the cluster is not formed yet")
    }

    /// A process that does not run can be neither killed nor paused.
    fn means_something(&self, entry: &FaultEntry) -> Result<(), &'static str> {
        let runs = |seat: &Seat| {
            let state = &self.seats[usize::from(seat.0)];
            state.running.is_some() || state.door.machine.is_some()
        };
        match &entry.fault {
            Fault::Kill { seat, .. }
            | Fault::PowerLoss { seat, .. }
            | Fault::FailFlush { seat, .. }
            | Fault::FailWrite { seat, .. }
            | Fault::FailCheckpoint { seat, .. }
                if !runs(seat) =>
            {
                Err("the node is down")
            }
            Fault::CorruptBurst { .. } if self.streams.is_none() => {
                Err("nodes talk by whole messages in this run")
            }
            Fault::ServerCrash { server, .. }
            | Fault::ServerStop { server, .. }
            | Fault::DataCut { server, .. }
            | Fault::ServerCut { server, .. }
                if *server >= self.options.chunkservers =>
            {
                Err("there is no such chunkserver")
            }
            Fault::Pause { seat, .. } if !runs(seat) || self.seats[usize::from(seat.0)].paused => {
                Err("the node is down or stands still")
            }
            _ => Ok(()),
        }
    }

    async fn strike(&mut self, entry: FaultEntry) {
        let now = self.now;
        match entry.fault.clone() {
            Fault::Partition { side, for_ms } => {
                let links = self.between(|from, to| bit(side, from) != bit(side, to));
                self.bring(entry, Weather::Cut(links), for_ms);
            }
            Fault::OneWayPartition { side, for_ms } => {
                let links = self.between(|from, to| bit(side, from) && !bit(side, to));
                self.bring(entry, Weather::Cut(links), for_ms);
            }
            Fault::Bridge { seat, side, for_ms } => {
                let links = self.between(|from, to| {
                    from != seat && to != seat && bit(side, from) != bit(side, to)
                });
                self.bring(entry, Weather::Cut(links), for_ms);
            }
            Fault::ClientPartition {
                client,
                reachable,
                for_ms,
            } => {
                let client = Place::Client(client);
                let links = (0..self.options.nodes)
                    .map(Seat)
                    .filter(|seat| !bit(reachable, *seat))
                    .flat_map(|seat| both(client, Place::Seat(seat)))
                    .collect();
                self.bring(entry, Weather::Cut(links), for_ms);
            }
            Fault::ServerCut {
                server,
                reachable,
                for_ms,
            } => {
                let server = Place::Chunkserver(server);
                let links = (0..self.options.nodes)
                    .map(Seat)
                    .filter(|seat| !bit(reachable, *seat))
                    .flat_map(|seat| both(server, Place::Seat(seat)))
                    .collect();
                self.bring(entry, Weather::Cut(links), for_ms);
            }
            Fault::ServerCrash { server, down_ms } => {
                self.with_fleet(|fleet, _, out| fleet.crash(now, server, down_ms, out));
            }
            Fault::ServerStop { server, down_ms } => {
                self.with_fleet(|fleet, view, out| fleet.stop(view, server, down_ms, out));
            }
            Fault::DataCut {
                server,
                mounts,
                servers,
                one_way,
                for_ms,
            } => {
                let bit = |bits: u8, number: u8| bits >> (number % 8) & 1 == 1;
                let here = Place::Chunkserver(server);
                let mounts = (0..self.options.mounts)
                    .filter(|it| !bit(mounts, *it))
                    .map(Place::Mount);
                let servers = (0..self.options.chunkservers)
                    .filter(|it| *it != server && !bit(servers, *it))
                    .map(Place::Chunkserver);
                let links = mounts.chain(servers).flat_map(|other| {
                    let ways = both(here, other);
                    ways.into_iter()
                        .filter(move |way| !one_way || way.0 == here)
                });
                let links = links.collect();
                self.bring(entry, Weather::Cut(links), for_ms);
            }
            Fault::SlowLink {
                from,
                to,
                extra_ms,
                for_ms,
            } => {
                let link = BTreeSet::from([(Place::Seat(from), Place::Seat(to))]);
                let weather = Weather::Slow(link, Duration::from_millis(extra_ms));
                self.bring(entry, weather, for_ms);
            }
            Fault::Clog { from, to, for_ms } => {
                let link = BTreeSet::from([(Place::Seat(from), Place::Seat(to))]);
                self.bring(entry, Weather::Clog(link), for_ms);
            }
            Fault::SwizzleClog { clog, step_ms, .. } => {
                for step in 0..2 * clog.len() {
                    let after = Duration::from_millis(step_ms * step as u64);
                    self.plan_in(after, Due::FaultStep(entry.clone(), step));
                }
            }
            Fault::LossBurst { ppm, for_ms } => self.bring(entry, Weather::Loss(ppm), for_ms),
            Fault::DuplicateBurst { ppm, for_ms } => {
                self.bring(entry, Weather::Duplicate(ppm), for_ms);
            }
            Fault::ReorderBurst { ppm, for_ms } => self.bring(entry, Weather::Reorder(ppm), for_ms),
            Fault::CorruptBurst { ppm, for_ms } => self.bring(entry, Weather::Corrupt(ppm), for_ms),
            Fault::Reset { a, b } => self.reset(a, b),
            Fault::TransferLeader { to } => {
                let to = self.state(to).node;
                self.administer(RequestBody::TransferLeadership { to });
            }
            Fault::CycleMember { seat, for_ms } => {
                let node = self.state(seat).node;
                let mut voters = self.voters.clone();
                voters.remove(&node);
                self.atlas.set_cycling(true);
                self.administer(workload::membership(&voters, &BTreeSet::from([node])));
                self.end_in(entry, for_ms);
            }
            Fault::Shrink { seat, keep, for_ms } => {
                let stays = |state: &&SeatState| state.seat == seat || bit(keep, state.seat);
                let seats = self.seats.iter();
                let kept: BTreeSet<NodeId> = seats.filter(stays).map(|state| state.node).collect();
                let learners = self.voters.difference(&kept).copied().collect();
                self.atlas.set_cycling(true);
                self.administer(workload::membership(&kept, &learners));
                self.end_in(entry, for_ms);
            }
            Fault::WallJump { seat, by_ms } => self.state(seat).clock.jump_wall(now, by_ms),
            Fault::MonotonicJump { seat, by_ms } => {
                self.state(seat).clock.jump_monotonic(now, by_ms);
                self.rearm_all(seat);
            }
            Fault::ClockRate { seat, ppm, for_ms } => {
                self.state(seat).clock.set_rate(now, ppm);
                self.rearm_all(seat);
                self.end_in(entry, for_ms);
            }
            _ => self.strike_machine(entry).await,
        }
    }

    /// Faults of one machine or of all.
    async fn strike_machine(&mut self, entry: FaultEntry) {
        let now = self.now;
        match entry.fault.clone() {
            Fault::Kill { seat, down_ms } => {
                self.stop(seat, StopReason::Killed).await;
                self.plan_in(Duration::from_millis(down_ms), Due::Start { seat });
            }
            Fault::PowerLoss { seat, down_ms } => {
                self.stop(seat, StopReason::PowerLost).await;
                self.plan_in(Duration::from_millis(down_ms), Due::Start { seat });
            }
            Fault::PowerLossAll { down_ms, step_ms } => {
                for seat in (0..self.options.nodes).map(Seat) {
                    self.stop(seat, StopReason::PowerLost).await;
                    let after = down_ms + step_ms * u64::from(seat.0);
                    self.plan_in(Duration::from_millis(after), Due::Start { seat });
                }
            }
            Fault::Pause {
                seat,
                clock_stops,
                for_ms,
            } => {
                let state = self.state(seat);
                state.paused = true;
                if clock_stops {
                    state.clock.stop(now);
                }
                let node = state.node;
                self.emit(Event::NodePaused { seat, node });
                self.end_in(entry, for_ms);
            }
            Fault::LoseDisk { seat, down_ms } => {
                self.stop(seat, StopReason::DiskLost).await;
                self.replace(seat);
                self.plan_in(Duration::from_millis(down_ms), Due::Start { seat });
            }
            Fault::SlowDisk {
                seat,
                factor,
                for_ms,
            } => {
                let heals = SimTime(self.options.safety_ms * 1_000_000);
                let ends = (now + Duration::from_millis(for_ms)).min(heals);
                let state = self.state(seat);
                state.slow = factor;
                state.slow_until = state.slow_until.max(ends);
                self.end_in(entry, for_ms);
            }
            Fault::FullDisk { seat, for_ms } => {
                let state = self.state(seat);
                state.restart_ms = for_ms;
                state.disk.set_capacity_bytes(state.disk.used_bytes());
                // The state lies on the same disk; in half of the cases the log meets it first.
                state.store.set_full(for_ms % 2 == 0);
                self.end_in(entry, for_ms);
            }
            Fault::FailFlush { seat, down_ms } => self.state(seat).fail_flush = Some(down_ms),
            Fault::FailWrite { seat, down_ms } => {
                let state = self.state(seat);
                state.restart_ms = down_ms;
                state.disk.fail_next_write();
            }
            Fault::FailCheckpoint { seat, down_ms } => {
                let state = self.state(seat);
                state.restart_ms = down_ms;
                state.store.fail_next_checkpoint();
            }
            Fault::BitFlipOnRead {
                seat,
                permille,
                for_ms,
            } => {
                self.state(seat).faults.read_flip = permille.into();
                self.suffer(entry, for_ms);
            }
            Fault::ReadErrors {
                seat,
                permille,
                for_ms,
            } => {
                let rng = self
                    .seed
                    .child("state reads")
                    .index(entry.number.into())
                    .rng();
                let state = self.state(seat);
                state.faults.read_error = permille.into();
                state.restart_ms = for_ms;
                // A command reads its state many times: a share of the log's reads is plenty.
                state.store.set_read_errors(Some((100 * permille, rng)));
                self.suffer(entry, for_ms);
            }
            Fault::Misdirect {
                seat,
                permille,
                for_ms,
            } => {
                self.state(seat).faults.misdirect = permille.into();
                self.suffer(entry, for_ms);
            }
            Fault::RotLog { seat, draw } => {
                let mut rng = self.seed.child("rot").index(draw).rng();
                let rotten = self.state(seat).disk.rot(&mut rng);
                if let Some((file, offset)) = rotten {
                    let summary = format!("sector at {offset} of {file} rotted");
                    self.emit(Event::DiskCrashed { seat, summary });
                }
                self.note_effects(seat);
            }
            Fault::RotState { seat, draw } => {
                if let Some(key) = self.state(seat).store.rot(draw) {
                    let summary = format!("value of key {key:02x?} rotted");
                    self.emit(Event::DiskCrashed { seat, summary });
                }
                self.note_effects(seat);
            }
            other => unreachable!("{} strikes no machine", other.kind().name()),
        }
    }

    pub(crate) fn on_fault_step(&mut self, entry: &FaultEntry, step: usize) {
        let Fault::SwizzleClog { clog, release, .. } = &entry.fault else {
            unreachable!("only swizzling has steps");
        };
        if self.phase != Phase::Safety {
            return;
        }
        let number = |seat: Seat| (u64::from(entry.number) << 8) | (u64::from(seat.0) + 1);
        match clog.get(step) {
            Some(seat) => {
                let links = self.between(|from, to| from == *seat || to == *seat);
                self.net.bring(number(*seat), Weather::Clog(links));
            }
            None => {
                let seat = release[step - clog.len()];
                let released = self.net.clear(self.now, number(seat));
                self.release(released);
            }
        }
    }

    pub(crate) async fn on_fault_end(&mut self, entry: FaultEntry) {
        if self.phase != Phase::Safety {
            return;
        }
        let now = self.now;
        self.emit(Event::Fault {
            entry: entry.number,
            fault: entry.fault.clone(),
            stage: FaultStage::Ends,
        });
        match &entry.fault {
            Fault::Pause { seat, .. } => self.resume(*seat).await,
            Fault::SlowDisk { seat, .. } => {
                let state = self.state(*seat);
                // Another one may last longer.
                if state.slow_until <= now {
                    state.slow = 1;
                }
            }
            Fault::FullDisk { seat, .. } => {
                let bytes = self.options.disk.capacity_bytes;
                self.state(*seat).disk.set_capacity_bytes(bytes);
                self.state(*seat).store.set_full(false);
            }
            Fault::BitFlipOnRead { seat, .. } => {
                self.state(*seat).faults.read_flip = 0;
                self.set_disk_faults(*seat);
            }
            Fault::ReadErrors { seat, .. } => {
                self.state(*seat).faults.read_error = 0;
                self.state(*seat).store.set_read_errors(None);
                self.set_disk_faults(*seat);
            }
            Fault::Misdirect { seat, .. } => {
                self.state(*seat).faults.misdirect = 0;
                self.set_disk_faults(*seat);
            }
            Fault::ClockRate { seat, .. } => {
                self.state(*seat).clock.reset_rate(now);
                self.rearm_all(*seat);
            }
            Fault::CycleMember { .. } | Fault::Shrink { .. } => self.restore_voters(),
            _ => {
                let released = self.net.clear(now, u64::from(entry.number) << 8);
                self.release(released);
            }
        }
    }

    /// A node that stood still goes on: what waited comes first.
    pub(crate) async fn resume(&mut self, seat: Seat) {
        let now = self.now;
        let state = self.state(seat);
        if !state.paused {
            return;
        }
        state.paused = false;
        state.clock.resume(now);
        let (node, waiting) = (state.node, std::mem::take(&mut state.inbox));
        self.emit(Event::NodeResumed { seat, node });
        let life = self.state(seat).life;
        for event in waiting {
            match event {
                Waiting::Node(event) => self.step(seat, event).await,
                Waiting::Transport(input) => self.step_transport(seat, input),
                Waiting::Told(told) => self.on_told(seat, life, told).await,
                Waiting::Face(event) => self.step_face(seat, event),
            }
        }
        self.step_transport(seat, transport::Input::Tick);
        self.step(seat, node::Event::Tick).await;
        self.rearm_all(seat);
    }

    /// Plans the wake-ups of a process anew.
    pub(crate) fn rearm_all(&mut self, seat: Seat) {
        self.rearm(seat);
        self.rearm_transport_clock(seat);
        self.rearm_faces(seat);
    }

    /// The operator makes everybody a voter again who should be one.
    pub(crate) fn restore_voters(&mut self) {
        let voters = self.voters.clone();
        self.administer(workload::membership(&voters, &BTreeSet::new()));
    }

    /// Gives the seat to a new node with an empty disk, which is to take the old one's place.
    fn replace(&mut self, seat: Seat) {
        let new = self.new_node_id();
        let state = self.state(seat);
        let old = state.replaces.unwrap_or(state.node);
        state.disk.lose_everything();
        // It is another disk: what the old one suffered it does not.
        state.faults = DiskFaults::default();
        state.disk.heal();
        state.store = crate::store::SimStore::new();
        state.door.stored = None;
        state.node = new;
        state.replaces = Some(old);
        self.voters.remove(&old);
        self.voters.insert(new);
        self.workload.on_seat_taken(seat, new);
    }

    /// A node would not start on what its disk has become.
    pub(crate) fn on_refusal(&mut self, seat: Seat, node: NodeId, reason: String) {
        self.emit(Event::NodeStopped {
            seat,
            node,
            reason: StopReason::RefusedToOpen(reason),
        });
        let detection_only = self.options.faults.detection_only;
        let state = self.state(seat);
        let faults = &state.faults;
        let failed = state.disk.counts().write_errors > state.write_errors;
        let transient = faults.read_flip > 0 || faults.read_error > 0 || failed;
        let busy = self.atlas.replacing().is_some_and(|other| other != seat);
        // In a run that judges detection the operator has nothing to replace it from.
        if !transient && !busy && !detection_only && self.options.nodes > 1 {
            // What an operator does who reads the message.
            self.atlas.on_replacing(seat);
            self.replace(seat);
        }
        let now = self.now;
        let patience = if detection_only { 2_000 } else { 200 };
        let retry_at = now + Duration::from_millis(patience);
        let state = self.state(seat);
        if state.retry_at <= now {
            state.retry_at = retry_at;
            self.plan(retry_at, Due::Start { seat });
        }
    }

    /// A node with an empty disk runs: the operator has it admitted.
    pub(crate) fn maybe_admit(&mut self, seat: Seat) {
        if self.state(seat).replaces.is_some() {
            self.restore_voters();
        }
    }

    /// What the operator was told.
    pub(crate) fn on_operator_answers(&mut self) {
        while let Some((body, result)) = self.workload.take_answer() {
            let RequestBody::ChangeMembership { voters, .. } = &body else {
                continue;
            };
            match result {
                Ok(ResponseBody::MembershipChanged { .. }) => {
                    self.voters_are_whole = *voters == self.voters;
                    for at in 0..self.seats.len() {
                        let state = &mut self.seats[at];
                        let (seat, new) = (state.seat, state.node);
                        if voters.contains(&new)
                            && let Some(old) = state.replaces.take()
                        {
                            self.atlas.on_replaced(seat);
                            self.emit(Event::NodeReplaced { seat, old, new });
                        }
                    }
                }
                // Refused: ask for what is wanted now, until it is so.
                _ => self.restore_voters(),
            }
        }
        // An answer to what was asked before the voter was to become a learner says nothing of it.
        if self.voters_are_whole && !self.workload.is_operator_busy() {
            self.atlas.set_cycling(false);
        }
    }

    fn reset(&mut self, a: Seat, b: Seat) {
        if a == b {
            return;
        }
        if self.streams.is_some() {
            return self.reset_streams(a, b);
        }
        self.net.reset(Place::Seat(a), Place::Seat(b));
        for (seat, peer) in [(a, b), (b, a)] {
            let peer = self.state(peer).node;
            let life = self.state(seat).life;
            self.plan(self.now, Due::PeerLost { seat, life, peer });
        }
    }

    fn administer(&mut self, body: RequestBody) {
        let mut actions = Vec::new();
        self.workload.administer(self.now, body, &mut actions);
        self.carry_out(actions);
    }

    fn bring(&mut self, entry: FaultEntry, weather: Weather, for_ms: u64) {
        self.net.bring(u64::from(entry.number) << 8, weather);
        self.end_in(entry, for_ms);
    }

    fn suffer(&mut self, entry: FaultEntry, for_ms: u64) {
        self.set_disk_faults(entry.fault.seat().expect("disks have seats"));
        self.end_in(entry, for_ms);
    }

    fn set_disk_faults(&mut self, seat: Seat) {
        let state = self.state(seat);
        state.disk.set_faults(state.faults.clone());
    }

    fn end_in(&mut self, entry: FaultEntry, for_ms: u64) {
        self.plan_in(Duration::from_millis(for_ms), Due::FaultEnd(entry));
    }

    /// Links between seats for which this holds.
    fn between(&self, holds: impl Fn(Seat, Seat) -> bool) -> BTreeSet<Link> {
        let seats = self.options.nodes;
        (0..seats)
            .flat_map(|from| (0..seats).map(move |to| (Seat(from), Seat(to))))
            .filter(|(from, to)| from != to && holds(*from, *to))
            .map(|(from, to)| (Place::Seat(from), Place::Seat(to)))
            .collect()
    }
}

fn bit(mask: u8, seat: Seat) -> bool {
    mask >> seat.0 & 1 == 1
}

fn both(a: Place, b: Place) -> [Link; 2] {
    [(a, b), (b, a)]
}
