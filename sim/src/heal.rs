//! The second half of a run: a core of seats is healed for good, and has to serve and converge.
//!
//! What is outside the core stays broken to the end, in a share of the runs: a majority must do
//! without the rest. The core is everybody while a disk is damaged or the operator is busy, since
//! then a bare majority may lack what the promises need.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::check::chunks;
use crate::event::{Event, Phase, StopReason};
use crate::net::Weather;
use crate::node::Kind;
use crate::place::{Place, Seat};
use crate::world::{Due, World};

/// How often the world looks whether the core serves and has converged.
const WATCH: Duration = Duration::from_millis(20);
/// How long the nodes of a healed core may take to be connected, in a run over streams: one waits
/// for an attempt that was begun before to fail (3 s), and then dials again (2 s later) or is
/// dialed by one that does so later than it would (2 s).
const CONNECT: Duration = Duration::from_secs(7);

impl<K: Kind> World<K> {
    pub(crate) async fn heal(&mut self) {
        if self.options.faults.detection_only {
            // Nothing is left that could heal: what nodes hold and say now is what is judged.
            self.emit(Event::DetectionJudged);
            self.detected = true;
            return;
        }
        let core = self.choose_core();
        self.phase = Phase::Liveness;
        self.healed_at = self.now;
        self.core = core.clone();
        self.emit(Event::PhaseBegins {
            phase: Phase::Liveness,
            core: core.clone(),
        });
        self.buggify.silence();
        self.net.calm();
        if let Some(streams) = &mut self.streams {
            streams.calm();
        }
        let released = self.net.clear_all(self.now);
        self.release(released);
        self.abandon_rest().await;
        let options = self.options.clone();
        for seat in &core {
            let now = self.now;
            self.state(*seat).heal(now, &options);
            self.resume(*seat).await;
            self.rearm_all(*seat);
            self.start(*seat).await;
        }
        if self.atlas.is_cycling() {
            self.restore_voters();
        }
        let mut actions = Vec::new();
        self.workload.probe(self.now, &core, &mut actions);
        self.carry_out(actions);
        if self.fleet.is_there() {
            self.with_fleet(|fleet, view, out| fleet.heal(view, &core, out));
        }
        self.with_crowd(|crowd, view, out| crowd.heal(view.now, &core, out));
        self.plan_in(WATCH, Due::Watch);
    }

    /// Whether this seat stays broken to the end.
    pub(crate) fn is_left_broken(&self, seat: Seat) -> bool {
        self.phase != Phase::Safety && !self.core.contains(&seat)
    }

    fn choose_core(&mut self) -> Vec<Seat> {
        let mut seats: Vec<Seat> = (0..self.options.nodes).map(Seat).collect();
        let all_needed = !self.options.leave_rest_broken
            || !self.is_formed()
            || !self.atlas.is_whole()
            || self.atlas.is_cycling()
            || self.workload.is_operator_busy();
        if !all_needed {
            let mut rng = self.seed.child("core").rng();
            rng.shuffle(&mut seats);
            seats.truncate(usize::from(self.options.nodes / 2 + 1));
            seats.sort();
        }
        seats
    }

    /// Seats outside the core are dead or cut off, for ever.
    async fn abandon_rest(&mut self) {
        let mut rng = self.seed.child("rest").rng();
        let mut cut = BTreeSet::new();
        for seat in (0..self.options.nodes).map(Seat) {
            if self.core.contains(&seat) {
                continue;
            }
            if rng.chance(1, 2) {
                self.stop(seat, StopReason::PowerLost).await;
            }
            for other in self.places() {
                if other != Place::Seat(seat) {
                    cut.insert((Place::Seat(seat), other));
                    // Some can still hear and not speak: the meanest kind of broken.
                    if rng.chance(3, 4) {
                        cut.insert((other, Place::Seat(seat)));
                    }
                }
            }
        }
        if !cut.is_empty() {
            self.net.bring(u64::MAX, Weather::Cut(cut));
        }
    }

    pub(crate) fn watch(&mut self) {
        if self.led_at.is_none() {
            self.watch_leader();
        }
        match self.served_at {
            None => self.watch_service(),
            Some(served_at) => {
                if self.has_converged() && self.unrest().is_none() {
                    self.phase = Phase::Quiescent;
                    let core = self.core.clone();
                    self.emit(Event::PhaseBegins {
                        phase: Phase::Quiescent,
                        core,
                    });
                    return;
                }
                let bound = Duration::from_millis(self.options.converge_bound_ms);
                if self.now.since(served_at) > bound {
                    let what = format!(
                        "the healed core {:?} has not become one state within {bound:?}: {} {}",
                        self.core,
                        self.standing(),
                        self.unrest().unwrap_or_default()
                    );
                    self.emit(Event::CoreLate { what });
                }
            }
        }
        self.plan_in(WATCH, Due::Watch);
    }

    fn watch_leader(&mut self) {
        let after = self.now.since(self.healed_at);
        if self.has_leader() {
            self.led_at = Some(self.now);
            return self.emit(Event::CoreLeads { after });
        }
        let mut bound = Duration::from_millis(self.options.lead_bound_ms);
        if self.streams.is_some() {
            bound += CONNECT;
        }
        if after > bound {
            let what = format!(
                "the healed core {:?} has no leader within {bound:?}: {}",
                self.core,
                self.standing()
            );
            self.emit(Event::CoreLate { what });
        }
    }

    /// Whether a node of the core leads in a term that is not over: one that was cut off may take
    /// itself for a leader until it hears of another.
    fn has_leader(&self) -> bool {
        let seats = self.core.iter();
        let views = seats.filter_map(|seat| self.seats[usize::from(seat.0)].view.as_ref());
        let last = views.max_by_key(|view| (view.status.term, view.status.leads));
        last.is_some_and(|view| view.status.leads)
    }

    fn watch_service(&mut self) {
        let after = self.now.since(self.healed_at);
        let unserved = self.workload.unserved();
        let mut unwritten = self.fleet.outstanding();
        unwritten.extend(self.crowd.outstanding());
        if unserved.is_empty() && unwritten.is_empty() {
            self.served_at = Some(self.now);
            self.emit(Event::CoreServes { after });
            return;
        }
        let bound = Duration::from_millis(self.options.serve_bound_ms);
        if after > bound {
            let what = format!(
                "the healed core {:?} does not serve client(s) {unserved:?} {unwritten:?} within \
                 {bound:?}: {}",
                self.core,
                self.standing()
            );
            self.emit(Event::CoreLate { what });
        }
    }

    /// Everybody in the core runs, is whole, and has applied all that its leader has in its log.
    fn has_converged(&self) -> bool {
        if !self.workload.is_idle() {
            return false;
        }
        let views: Option<Vec<_>> = self
            .core
            .iter()
            .map(|seat| self.seats[usize::from(seat.0)].view.as_ref())
            .collect();
        let Some(views) = views else {
            return false;
        };
        let Some(leader) = views.iter().find(|view| view.status.leads) else {
            return false;
        };
        let last = leader
            .raft
            .as_ref()
            .and_then(|raft| raft.last_log)
            .map(|id| id.index);
        last.is_some_and(|last| {
            views.iter().all(|view| {
                view.status.applied == last
                    && view.status.committed == last
                    && view.status.term == leader.status.term
                    && !view.status.repairing
            })
        })
    }

    /// What is not yet as it should be about copies of chunks, with chunkservers.
    fn unrest(&self) -> Option<String> {
        if !self.fleet.is_there() {
            return None;
        }
        let goals = self.core.iter().find_map(|seat| {
            let state = self.seats[usize::from(seat.0)].store.image();
            chunks::goals(&state, self.options.chunkservers)
        });
        match goals {
            Some(goals) => chunks::unrest(&goals, &self.fleet.disks()),
            None => Some("no state of the core can be read".to_owned()),
        }
    }

    /// Who stands where, for the report of a core that is late.
    fn standing(&self) -> String {
        let mut out = Vec::new();
        for state in &self.seats {
            out.push(match &state.view {
                None => format!("{} {} is down", state.seat, state.node),
                Some(view) => {
                    let status = &view.status;
                    format!(
                        "{} {} in {} {} committed {} applied {}{}",
                        state.seat,
                        state.node,
                        status.term,
                        if status.leads { "leads" } else { "follows" },
                        status.committed,
                        status.applied,
                        if status.repairing { " repairing" } else { "" }
                    )
                }
            });
        }
        out.extend(self.workload.outstanding());
        out.join("; ")
    }
}
