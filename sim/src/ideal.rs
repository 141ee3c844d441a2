//! The fast tier: the tree alone, over a log that never loses or reorders anything.
//!
//! Several replicas apply one list of commands. Each may crash back to its last checkpoint at any
//! time and replay what follows; requests come again. What every replica answers at every index,
//! first time or replayed, has to be the same, and so has what they hold in the end. Nothing here
//! knows of consensus, disks or networks, so it is many times faster than whole nodes.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::Arc;

use mfsha_core::id::{Lane, LogIndex, NodeId, RequestSeq, SessionId};
use mfsha_core::namespace::Namespace;
use mfsha_core::namespace::op::{Command, Op, Outcome, Reply, RequestId, SessionParams};
use mfsha_core::rng::{Rng, Seed};
use mfsha_core::store::StateStore;
use mfsha_core::time::{Stamp, WallTime};
use mfsha_core::wal::record::LogId;

use crate::check::{Violation, ViolationKind};
use crate::event::{AppliedEntry, AppliedPayload, Event};
use crate::generator::{self, Knowledge, Wish};
use crate::place::Seat;
use crate::store::SimStore;
use crate::time::SimTime;
use crate::trace::Trace;
use crate::verdict::Report;
use crate::world::Finished;

/// Commands of one run.
const COMMANDS: u64 = 3_000;
/// Virtual nanoseconds between two commands.
const STEP: u64 = 5_000_000;
const REPLICAS: u8 = 3;

struct Replica {
    store: SimStore,
    tree: Namespace<SimStore>,
    crashes: u32,
}

struct Ideal {
    rng: Rng,
    log: Vec<Arc<Command>>,
    /// What applying each entry came to, the first time.
    outcomes: Vec<Arc<Outcome>>,
    replicas: Vec<Replica>,
    knowledge: Knowledge,
    kinds: Vec<(&'static str, u32)>,
    sessions: Vec<SessionId>,
    seqs: BTreeMap<SessionId, u64>,
    trace: Trace,
    coverage: BTreeMap<String, u64>,
}

/// Lives one seed, and writes every event to a file, when there is one.
#[must_use]
pub fn live(seed: u64, told: Option<File>) -> Report {
    let mut ideal = Ideal::new(seed);
    ideal.trace = ideal.trace.telling(told);
    let mut violation = None;
    let mut now = SimTime::ZERO;
    for step in 0..COMMANDS {
        now = SimTime((step + 1) * STEP);
        if let Err(sentence) = ideal.step(now) {
            violation = Some((now, sentence));
            break;
        }
    }
    if violation.is_none() {
        violation = ideal.compare().err().map(|sentence| (now, sentence));
    }
    let violation = violation.map(|(at, sentence)| {
        let violation = Violation {
            checker: "ideal".into(),
            promise: "P-CONVERGE".into(),
            kind: ViolationKind::Correctness,
            sentence,
        };
        (at, violation)
    });
    let finished = Finished {
        trace: ideal.trace,
        violation,
        simulated: now,
        coverage: ideal.coverage,
    };
    Report::of_finished(seed, &finished)
}

impl Ideal {
    fn new(seed: u64) -> Self {
        let seed = Seed::from_u64(seed).child("ideal");
        let mut rng = seed.rng();
        let replicas = (0..REPLICAS)
            .map(|_| {
                let store = SimStore::new();
                Replica {
                    tree: Namespace::open(store.clone()).expect("an empty store opens"),
                    store,
                    crashes: 0,
                }
            })
            .collect();
        // Swarm: each run has its own mix.
        let kinds = generator::KINDS
            .iter()
            .map(|kind| {
                let on = generator::is_basic(kind) || rng.chance(2, 3);
                (*kind, if on { rng.between(1, 10) as u32 } else { 0 })
            })
            .collect();
        Self {
            knowledge: Knowledge::new(*rng.pick(&[3, 10, 100])),
            rng,
            log: Vec::new(),
            outcomes: Vec::new(),
            replicas,
            kinds,
            sessions: Vec::new(),
            seqs: BTreeMap::new(),
            trace: Trace::new(false),
            coverage: BTreeMap::new(),
        }
    }

    /// One command enters the log; replicas apply, lag, checkpoint, crash.
    fn step(&mut self, now: SimTime) -> Result<(), String> {
        if let Some(command) = self.next_command(now) {
            self.log.push(Arc::new(command));
        }
        self.catch_up(0, now)?;
        for replica in 0..self.replicas.len() {
            match self.rng.below(40) {
                0 => self.crash(replica, now)?,
                1 | 2 => {
                    let store = &mut self.replicas[replica].store;
                    let checkpoint = store.start_checkpoint();
                    // One in four does not end before the next crash.
                    if self.rng.chance(3, 4) {
                        let _ = store.finish_checkpoint(checkpoint);
                    }
                }
                // A replica that lags applies several at once.
                3..=9 => self.catch_up(replica, now)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn next_command(&mut self, now: SimTime) -> Option<Command> {
        let seconds = 1_767_225_600 + (now.0 / 1_000_000_000) as u32;
        let stamp = Stamp {
            time: 1_767_225_600_000_000 + now.0 / 1_000,
            node: NodeId(1 + self.rng.below(3)),
        };
        let command = |request, op| Command {
            stamp,
            now: WallTime(seconds),
            request,
            op,
        };
        if self.sessions.len() < 3 {
            let params = SessionParams::unrestricted();
            return Some(command(None, Op::OpenSession { params }));
        }
        if self.rng.chance(1, 20) && !self.log.is_empty() {
            // Somebody asks again, the last request of its lane or an older one.
            let back = self.rng.below(10.min(self.log.len() as u64)) as usize;
            let again = Arc::clone(&self.log[self.log.len() - 1 - back]);
            if again.request.is_some() {
                self.count("request repeated");
                return Some(Command::clone(&again));
            }
        }
        let session = *self.rng.pick(&self.sessions);
        let weights = self.kinds.iter().map(|(_, weight)| *weight);
        let kind = crate::draw::weighted(&mut self.rng, weights)?;
        let wish = self
            .knowledge
            .draw(self.kinds[kind].0, session, &mut self.rng)?;
        let Wish::Write(op) = wish else { return None };
        let seq = self.seqs.entry(session).or_default();
        *seq += 1;
        let request = RequestId::new(session, Lane(0), RequestSeq(*seq));
        Some(command(Some(request), op))
    }

    fn crash(&mut self, at: usize, now: SimTime) -> Result<(), String> {
        self.count("replica crashed");
        let replica = &mut self.replicas[at];
        replica.crashes += 1;
        replica.store.crash();
        replica.tree = Namespace::open(replica.store.clone())
            .map_err(|error| format!("replica {at} does not open after a crash: {error}"))?;
        self.catch_up(at, now)
    }

    /// Applies everything in the log that a replica has not applied.
    fn catch_up(&mut self, at: usize, now: SimTime) -> Result<(), String> {
        loop {
            let tree = &mut self.replicas[at].tree;
            let index = tree.applied().index.next();
            let Some(command) = self.log.get(index.0 as usize - 1).map(Arc::clone) else {
                return Ok(());
            };
            let outcome = tree
                .apply(index, &command)
                .map_err(|error| format!("replica {at} cannot apply {index}: {error}"))?;
            self.on_outcome(at, now, index, &command, outcome)?;
        }
    }

    fn on_outcome(
        &mut self,
        at: usize,
        now: SimTime,
        index: LogIndex,
        command: &Arc<Command>,
        outcome: Outcome,
    ) -> Result<(), String> {
        match self.outcomes.get(index.0 as usize - 1) {
            Some(first) if **first != outcome => Err(format!(
                "replica {at} answers {outcome:?} at {index}, where {first:?} was answered first; \
                 the command is {command:?}"
            )),
            Some(_) => {
                self.count("entry applied again or elsewhere");
                Ok(())
            }
            None => {
                let before = self.outcomes.last().map_or(0, |outcome| outcome.version);
                if outcome.version != before && outcome.version != before + 1 {
                    return Err(format!(
                        "the version goes from {before} to {} at {index}",
                        outcome.version
                    ));
                }
                self.learn(&command.op, &outcome);
                let outcome = Arc::new(outcome);
                self.outcomes.push(Arc::clone(&outcome));
                let entry = AppliedEntry {
                    id: LogId {
                        index,
                        ..LogId::default()
                    },
                    version: outcome.version,
                    payload: AppliedPayload::Command {
                        command: Arc::clone(command),
                        outcome,
                    },
                };
                self.knowledge.on_applied(&entry);
                let event = Event::Applied {
                    seat: Seat(at as u8),
                    node: NodeId(at as u64 + 1),
                    life: self.replicas[at].crashes + 1,
                    entry,
                };
                self.trace.record(now, event);
                Ok(())
            }
        }
    }

    fn learn(&mut self, op: &Op, outcome: &Outcome) {
        let Ok(reply) = &outcome.result else {
            return;
        };
        if outcome.repeated {
            self.count("repeat answered from memory");
            return;
        }
        if let Reply::Session(session) = reply {
            self.sessions.push(*session);
        }
        self.knowledge.on_written(op, reply);
    }

    /// In the end all replicas hold the same bytes.
    fn compare(&mut self) -> Result<(), String> {
        for at in 0..self.replicas.len() {
            self.catch_up(at, SimTime(COMMANDS * STEP))?;
        }
        let first = self.replicas[0].store.image();
        for (at, replica) in self.replicas.iter().enumerate().skip(1) {
            let image = replica.store.image();
            let differs = first
                .iter()
                .find(|(key, value)| image.get(*key) != Some(*value))
                .map(|(key, _)| key)
                .or_else(|| image.keys().find(|key| !first.contains_key(*key)));
            if let Some(key) = differs {
                return Err(format!("replicas 0 and {at} differ at key {key:02x?}"));
            }
        }
        Ok(())
    }

    fn count(&mut self, situation: &str) {
        *self.coverage.entry(situation.to_owned()).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::Verdict;

    #[test]
    fn replicas_agree_whatever_crashes_and_every_run_repeats() {
        for seed in 0..3 {
            let report = live(seed, None);
            assert_eq!(report.verdict, Verdict::Kept, "seed {seed}");
            assert!(report.coverage.contains_key("replica crashed"));
            assert_eq!(live(seed, None), report);
        }
    }

    #[test]
    fn a_replica_that_answers_otherwise_is_noticed() {
        let mut ideal = Ideal::new(1);
        for step in 0..50 {
            ideal.step(SimTime(step * STEP)).unwrap();
        }
        let changed = ideal.outcomes.len() / 2;
        let mut outcome = Outcome::clone(&ideal.outcomes[changed]);
        outcome.version += 1;
        ideal.outcomes[changed] = Arc::new(outcome);
        let noticed = (0..REPLICAS as usize).any(|at| {
            ideal.replicas[at].store = SimStore::new();
            ideal.crash(at, SimTime(1)).is_err()
        });
        assert!(noticed);
    }

    #[test]
    fn a_replica_that_holds_something_else_is_noticed() {
        let mut ideal = Ideal::new(1);
        for step in 0..50 {
            ideal.step(SimTime(step * STEP)).unwrap();
        }
        let mut batch = mfsha_core::store::WriteBatch::default();
        batch.put(b"zzz".to_vec(), b"stray".to_vec());
        ideal.replicas[1].store.write(batch).unwrap();
        assert!(ideal.compare().unwrap_err().contains("differ"));
    }
}
