//! What a node does when its state cannot be gone on with: stops, and throws nothing away.
//!
//! A damaged value is this replica's own trouble. The node leaves a mark beside its log and stops;
//! started again, it asks its peers for a whole state, builds it beside its own, and puts it in
//! place once it is complete. When no peer can give one, what it has is still the best there is:
//! all of it but the damage can be served.
//!
//! The mark is a file on the disk of the log, and there is nothing in it. It is no record of the
//! log, for a full log could not take it; nor is it in the store, which is what is in doubt. Losing
//! it costs only time: the damage is found again when it is touched again.

use super::Effect;
use super::machine::{Node, Timer};
use super::repair::{self, Repair, Verdict};
use crate::disk::{Disk, FlushId};
use crate::id::LogIndex;
use crate::machine::Outbox;
use crate::store::{StateStore, StoreError};
use crate::wal::GroupLog;

/// Name of the file that says that the state has to be healed.
pub(super) const MARK: &str = "must-heal";

/// What is known of the state's damage.
#[derive(Default)]
pub(super) struct Damage {
    /// The mark lies beside the log.
    pub marked: bool,
    /// Why the state cannot even be opened.
    pub unreadable: Option<StoreError>,
    /// No peer could give a whole state in this life, so that the node goes on with the damage.
    pub incurable: bool,
    /// The node stops when the mark is durable.
    pub ending: Option<Ending>,
    /// Faults that were told and gone on from.
    faults: u64,
}

/// A node that is about to stop.
pub(super) struct Ending {
    reason: String,
    /// The flush that makes the mark durable, once it has begun.
    flush: Option<FlushId>,
}

impl Damage {
    /// As the start found it.
    pub fn found(marked: bool, unreadable: Option<StoreError>) -> Self {
        Self {
            marked,
            unreadable,
            ..Self::default()
        }
    }

    /// Whether a peer's state is needed before taking part.
    pub fn needs_healing(&self) -> bool {
        self.marked || self.unreadable.is_some()
    }
}

impl<D: Disk, S: StateStore> Node<D, S> {
    /// What was to be applied cannot be: stops, and keeps everything.
    pub(super) fn become_unfit(&mut self, error: &StoreError, out: &mut Outbox<Effect>) {
        match error {
            StoreError::Corrupt { .. } => self.become_ending(error, out),
            StoreError::Full | StoreError::Io { .. } => {
                let reason =
                    format!("{error}; nothing is lost: remove the cause, and start the node again");
                self.become_stopped(reason, out);
            }
            StoreError::Contradiction { .. } => {
                let reason = format!(
                    "{error}; every replica has it so, and nothing was thrown away: keep the \
                     disks of all nodes, and report this"
                );
                self.become_stopped(reason, out);
            }
        }
    }

    /// A question, or a peer that wants the state, met a fault. What else is asked is answered as
    /// long as it can be: only damage that a peer may heal is worth a stop.
    pub(super) fn on_read_fault(&mut self, error: &StoreError, out: &mut Outbox<Effect>) {
        let hopeless = match error {
            StoreError::Corrupt { .. } => self.damage.incurable,
            StoreError::Contradiction { .. } => true,
            StoreError::Full | StoreError::Io { .. } => false,
        };
        if !hopeless {
            return self.become_unfit(error, out);
        }
        self.damage.faults += 1;
        // Whoever asks again and again does not fill the operator's log.
        if self.damage.faults.is_power_of_two() {
            let count = self.damage.faults;
            let message = format!("{error}; what needs it is refused, {count} times so far");
            out.push(Effect::Report { message });
        }
    }

    /// Leaves the mark, and stops once it is durable.
    fn become_ending(&mut self, error: &StoreError, out: &mut Outbox<Effect>) {
        if self.stopped.is_some() || self.damage.ending.is_some() {
            return;
        }
        let reason = format!(
            "{error}; started again, the node heals itself from a peer, and keeps its own state \
             until it has a whole one"
        );
        if self.damage.marked {
            return self.become_stopped(reason, out);
        }
        if let Err(error) = self.wal.put_beside(MARK) {
            let message = format!(
                "the state is damaged, and no mark can be left that says so ({error}): the \
                 damage will be found again when it is touched"
            );
            out.push(Effect::Report { message });
            return self.become_stopped(reason, out);
        }
        self.damage.marked = true;
        self.damage.ending = Some(Ending {
            reason,
            flush: None,
        });
        self.leave_service("the node's state is damaged", out);
    }

    /// A flush has begun.
    pub(super) fn note_flush(&mut self, flush: FlushId) {
        if let Some(ending) = &mut self.damage.ending {
            ending.flush.get_or_insert(flush);
        }
    }

    /// A flush has ended well: stops when the mark was what it waited for.
    pub(super) fn maybe_end(&mut self, flush: FlushId, out: &mut Outbox<Effect>) {
        if let Some(ending) = &self.damage.ending
            && ending.flush == Some(flush)
        {
            self.become_stopped(ending.reason.clone(), out);
        }
    }

    /// A peer's whole state is durable here: the mark goes.
    pub(super) fn clear_damage(&mut self, out: &mut Outbox<Effect>) {
        self.damage.unreadable = None;
        self.damage.incurable = false;
        if !self.damage.marked {
            return;
        }
        match self.wal.remove_beside(MARK) {
            Ok(()) => self.damage.marked = false,
            Err(error) => out.push(Effect::Report {
                message: format!("the mark {MARK} cannot be removed ({error}); remove it"),
            }),
        }
    }

    /// The log is durable, the state is damaged: asks the peers for theirs.
    pub(super) fn begin_healing(&mut self, log: GroupLog, out: &mut Outbox<Effect>) {
        // As if there were no state. What the log holds behind a peer's state is kept.
        let at_least = match repair::judge(&log, LogIndex(0)) {
            Verdict::Needs(index) => index,
            Verdict::Whole => LogIndex(1),
            Verdict::Lost(_) => unreachable!("such a node was not opened"),
        };
        // Nor older than this one's own, so that nothing is applied a second time.
        let own = match self.damage.unreadable {
            Some(_) => LogIndex(0),
            None => self.durable,
        };
        let at_least = at_least.max(own);
        let fits = match repair::judge(&log, self.durable) {
            Verdict::Needs(index) => index <= self.durable,
            Verdict::Whole => true,
            Verdict::Lost(_) => false,
        };
        let why = match &self.damage.unreadable {
            Some(error) => error.to_string(),
            None => "a damaged value was found before".to_owned(),
        };
        out.push(Effect::Report {
            message: format!(
                "the state is damaged ({why}); a peer's is asked for, of {at_least} or later"
            ),
        });
        let peers = self.options.peers.iter().copied();
        let mut repair = Repair::new(at_least, log, peers);
        if fits && self.damage.unreadable.is_none() {
            repair.keep_after = Some(self.now + self.options.heal_patience);
        }
        self.repair = Some(repair);
        self.timers
            .arm(Timer::Repair, self.now, crate::time::Duration::ZERO);
    }

    /// Goes on with the damaged state when there is no better one; says whether it does.
    pub(super) fn maybe_keep_state(&mut self, out: &mut Outbox<Effect>) -> bool {
        let now = self.now;
        let Some(repair) = self.repair.take_if(|repair| repair.is_hopeless(now)) else {
            return false;
        };
        self.timers.disarm(Timer::Repair);
        self.incoming = None;
        self.damage.incurable = true;
        out.push(Effect::Report {
            message: "no peer has a whole state: the node goes on with its own, and refuses what \
                      needs the damaged part"
                .to_owned(),
        });
        self.take_part_with(repair.log, out);
        true
    }
}
