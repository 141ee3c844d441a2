//! Carries out one fault, looks from outside whether it had its effect, and undoes it.
//!
//! What happened is written down with its real times. A fault whose effect could not be seen is
//! written down as such: the judges do not count it.

use std::time::Duration;

use mfsha_core::id::NodeId;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::clock::Clock;
use crate::cluster::{Cluster, ClusterError};
use crate::journal::{JournalError, Lines};
use crate::lab::{Host, Mesh};
use crate::plan::{Kind, Round, Target};
use crate::wire;

/// How long a replaced node may take to be a voter, and the old one to be gone.
const REPLACE_PATIENCE: Duration = Duration::from_secs(60);
/// How long a paused node is asked for its status, in vain.
const SILENCE: Duration = Duration::from_millis(200);
/// How long a node that has just become a voter may take to say who it is.
const ANSWER: Duration = Duration::from_secs(3);
const LOOK_PAUSE: Duration = Duration::from_millis(50);

/// A fault, as it is written down: a line when it begins, one when its effect was looked for, one
/// when it was undone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Note {
    /// It begins.
    Begin {
        /// When, nanoseconds.
        at: u64,
        /// In which round.
        round: u32,
        /// What.
        kind: Kind,
        /// Seats that are hit.
        seats: Vec<usize>,
        /// Nodes that are hit.
        nodes: Vec<NodeId>,
        /// The seat that led, when that was known.
        leader: Option<usize>,
    },
    /// It was looked for its effect.
    Effect {
        /// When.
        at: u64,
        /// In which round.
        round: u32,
        /// Whether it was seen.
        shown: bool,
        /// What was seen.
        what: String,
    },
    /// It is undone.
    End {
        /// When.
        at: u64,
        /// In which round.
        round: u32,
        /// Whether that was seen.
        healed: bool,
        /// What was seen.
        what: String,
    },
}

impl Note {
    /// In which round.
    #[must_use]
    pub fn round(&self) -> u32 {
        match self {
            Self::Begin { round, .. } | Self::Effect { round, .. } | Self::End { round, .. } => {
                *round
            }
        }
    }
}

/// Why a fault cannot be carried out or undone.
#[derive(Debug, thiserror::Error)]
pub enum NemesisError {
    /// See there.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// See there.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// See there.
    #[error(transparent)]
    Lab(#[from] crate::lab::LabError),
}

/// What was seen.
struct Sight {
    shown: bool,
    what: String,
}

fn sight(shown: bool, what: impl Into<String>) -> Sight {
    Sight {
        shown,
        what: what.into(),
    }
}

/// Who breaks things.
pub struct Nemesis<'a> {
    /// What is broken.
    pub cluster: &'a mut Cluster,
    /// Who hears whom.
    pub mesh: &'a Mesh,
    /// The clock of all journals.
    pub clock: Clock,
    /// Where it is written down.
    pub notes: &'a mut Lines,
}

impl Nemesis<'_> {
    /// Carries out a round's fault from its begin to its end.
    ///
    /// # Errors
    /// [`NemesisError`]; what was done may not be undone then.
    pub async fn strike(&mut self, round: &Round) -> Result<(), NemesisError> {
        let leader = self.cluster.leader().await;
        let first = match round.target {
            Target::Leader => leader.unwrap_or(0),
            Target::Seat(seat) => seat,
        };
        let seats = self.seats_hit(round.kind, first);
        let nodes = seats
            .iter()
            .map(|seat| self.cluster.seats()[*seat].node)
            .collect();
        self.notes.write(&Note::Begin {
            at: self.clock.now(),
            round: round.number,
            kind: round.kind,
            seats: seats.clone(),
            nodes,
            leader,
        })?;
        match round.kind {
            Kind::Kill | Kind::KillAll => self.kill(round, &seats).await,
            Kind::Pause => self.pause(round, first).await,
            Kind::Cut | Kind::CutIn | Kind::CutOut | Kind::Bridge => self.cut(round, &seats).await,
            Kind::Slow => self.slow(round, first).await,
            Kind::Replace => self.replace(round, first).await,
        }
    }

    fn seats_hit(&self, kind: Kind, first: usize) -> Vec<usize> {
        let count = self.cluster.seats().len();
        match kind {
            Kind::KillAll => (0..count).collect(),
            Kind::Bridge if count > 1 => vec![first, (first + 1) % count],
            _ => vec![first],
        }
    }

    fn host(&self, seat: usize) -> Host {
        self.cluster.seats()[seat].host.clone()
    }

    fn effect(&mut self, round: &Round, sight: Sight) -> Result<(), JournalError> {
        let (at, round) = (self.clock.now(), round.number);
        self.notes.write(&Note::Effect {
            at,
            round,
            shown: sight.shown,
            what: sight.what,
        })
    }

    fn end(&mut self, round: &Round, sight: Sight) -> Result<(), JournalError> {
        let (at, round) = (self.clock.now(), round.number);
        self.notes.write(&Note::End {
            at,
            round,
            healed: sight.shown,
            what: sight.what,
        })
    }

    async fn kill(&mut self, round: &Round, seats: &[usize]) -> Result<(), NemesisError> {
        let until = Instant::now() + round.fault();
        let mut killed = 0;
        for seat in seats {
            killed += usize::from(self.cluster.kill(*seat)?);
        }
        let what = format!("{killed} of {} ended by SIGKILL", seats.len());
        self.effect(round, sight(killed == seats.len(), what))?;
        tokio::time::sleep_until(until).await;
        for seat in seats {
            self.cluster.start(*seat)?;
        }
        self.end(round, sight(true, "started again"))?;
        Ok(())
    }

    async fn pause(&mut self, round: &Round, seat: usize) -> Result<(), NemesisError> {
        let until = Instant::now() + round.fault();
        let stands = self.cluster.pause(seat, true)?;
        let door = &self.cluster.seats()[seat].door;
        let is_silent = wire::status(door, SILENCE).await.is_none();
        let what = format!("stands: {stands}, silent: {is_silent}");
        self.effect(round, sight(stands && is_silent, what))?;
        tokio::time::sleep_until(until).await;
        let runs = self.cluster.pause(seat, false)?;
        self.end(round, sight(runs, format!("runs: {runs}")))?;
        Ok(())
    }

    async fn cut(&mut self, round: &Round, seats: &[usize]) -> Result<(), NemesisError> {
        let until = Instant::now() + round.fault();
        let host = self.host(seats[0]);
        let lab = &self.cluster.lab;
        let others: Vec<Host> = lab
            .hosts()
            .keys()
            .filter(|it| **it != host)
            .cloned()
            .collect();
        let second = seats
            .get(1)
            .map(|seat| self.cluster.seats()[*seat].host.clone());
        let lab = &mut self.cluster.lab;
        match (round.kind, &second) {
            (Kind::Bridge, Some(second)) => {
                lab.drop_from(&host, second)?;
                lab.drop_from(second, &host)?;
            }
            (Kind::CutIn, _) => others
                .iter()
                .try_for_each(|other| lab.drop_from(other, &host))?,
            (Kind::CutOut, _) => others
                .iter()
                .try_for_each(|other| lab.drop_from(&host, other))?,
            _ => lab.cut(&host)?,
        }
        let wanted = wanted(round.kind, &host, second.as_ref(), &others);
        let effect = tokio::task::block_in_place(|| self.who_hears(&wanted));
        self.effect(round, effect)?;
        tokio::time::sleep_until(until).await;
        self.cluster.lab.heal(&host)?;
        let wanted: Vec<(Host, Host, bool)> = wanted
            .into_iter()
            .map(|(from, to, _)| (from, to, true))
            .collect();
        let healed = tokio::task::block_in_place(|| self.who_hears(&wanted));
        self.end(round, healed)?;
        Ok(())
    }

    /// Whether each link carries, or does not, as it should.
    fn who_hears(&self, wanted: &[(Host, Host, bool)]) -> Sight {
        let links: Vec<(Host, Host)> = wanted
            .iter()
            .map(|(from, to, _)| (from.clone(), to.clone()))
            .collect();
        let mut words = Vec::new();
        let mut shown = true;
        for ((from, to, should), does) in wanted.iter().zip(self.mesh.carry(&links)) {
            shown &= does == *should;
            words.push(format!("{from} {} {to}", if does { "->" } else { "-x" }));
        }
        sight(shown, words.join(", "))
    }

    async fn slow(&mut self, round: &Round, seat: usize) -> Result<(), NemesisError> {
        let until = Instant::now() + round.fault();
        let host = self.host(seat);
        let other = self.host((seat + 1) % self.cluster.seats().len());
        let delay = Duration::from_millis(round.delay_ms);
        self.cluster.lab.slow(&host, delay, round.loss_percent)?;
        let measured = tokio::task::block_in_place(|| self.mesh.reach(&other, &host));
        let is_late = measured.is_some_and(|measured| measured >= delay);
        let what = format!(
            "{delay:?} and {} % by {:?}: {measured:?} measured",
            round.loss_percent,
            self.cluster.lab.slow_by()
        );
        self.effect(round, sight(is_late, what))?;
        tokio::time::sleep_until(until).await;
        self.cluster.lab.heal(&host)?;
        let measured = tokio::task::block_in_place(|| self.mesh.reach(&other, &host));
        self.end(
            round,
            sight(measured.is_some(), format!("{measured:?} measured")),
        )?;
        Ok(())
    }

    async fn replace(&mut self, round: &Round, seat: usize) -> Result<(), NemesisError> {
        let (old, new) = self
            .cluster
            .replace(seat, round.fault(), REPLACE_PATIENCE)
            .await?;
        let door = &self.cluster.seats()[seat].door;
        let answers = wire::status(door, ANSWER).await.map(|status| status.node);
        let what = format!("{answers:?} answers where {old} was");
        self.effect(round, sight(answers == Some(new), what))?;
        // The leader may change at this very moment: it is asked until there is one.
        let until = Instant::now() + ANSWER;
        let voters = loop {
            match self.cluster.voters().await {
                Some(voters) => break voters,
                None if Instant::now() > until => break Default::default(),
                None => tokio::time::sleep(LOOK_PAUSE).await,
            }
        };
        let is_done = voters.contains(&new) && !voters.contains(&old);
        self.end(round, sight(is_done, format!("voters: {voters:?}")))?;
        Ok(())
    }
}

/// Who should hear whom, one link each way between the hit and each that matters.
fn wanted(
    kind: Kind,
    host: &Host,
    second: Option<&Host>,
    others: &[Host],
) -> Vec<(Host, Host, bool)> {
    let mut wanted = Vec::new();
    for other in others {
        let is_second = second == Some(other);
        let (hears, is_heard) = match kind {
            Kind::Bridge => (!is_second, !is_second),
            Kind::CutIn => (false, true),
            Kind::CutOut => (true, false),
            _ => (false, false),
        };
        // Two of them are enough to see what became of the link, and quick.
        if is_second || wanted.len() < 4 {
            wanted.push((other.clone(), host.clone(), hears));
            wanted.push((host.clone(), other.clone(), is_heard));
        }
    }
    wanted
}
