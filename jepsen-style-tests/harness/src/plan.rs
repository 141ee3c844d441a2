//! What a run does, drawn from its seed before it begins: which fault in which round, on whom, and
//! for how long. Who leads is only known then, so "the leader" is a target like another.

use std::time::Duration;

use mfsha_core::rng::{Rng, Seed};
use serde::{Deserialize, Serialize};

/// A kind of fault.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// `kill -9`, and a restart on the same directory.
    Kill,
    /// SIGSTOP, and SIGCONT later.
    Pause,
    /// No frame from or to the host.
    Cut,
    /// The host hears nobody; what it says is heard.
    CutIn,
    /// Nobody hears the host; it hears all.
    CutOut,
    /// Two nodes do not hear each other; the others hear both.
    Bridge,
    /// Frames from and to the host are late, and some are lost.
    Slow,
    /// All nodes are killed at once.
    KillAll,
    /// The disk is lost: a node with a new id takes the place, and the old id is removed.
    Replace,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Kill,
        Self::Pause,
        Self::Cut,
        Self::CutIn,
        Self::CutOut,
        Self::Bridge,
        Self::Slow,
        Self::KillAll,
        Self::Replace,
    ];

    /// How long such a fault lasts: from and to.
    fn bounds_ms(self) -> (u64, u64) {
        match self {
            Self::Kill => (100, 2_500),
            Self::Pause => (300, 4_000),
            // Looking for the effect takes a third of a second of it.
            Self::Cut | Self::CutIn | Self::CutOut | Self::Bridge => (500, 4_000),
            Self::Slow => (1_000, 4_000),
            Self::KillAll => (50, 1_000),
            Self::Replace => (0, 500),
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Kill => "kill",
            Self::Pause => "pause",
            Self::Cut => "cut",
            Self::CutIn => "cut-in",
            Self::CutOut => "cut-out",
            Self::Bridge => "bridge",
            Self::Slow => "slow",
            Self::KillAll => "kill-all",
            Self::Replace => "replace",
        })
    }
}

/// Who is hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// Who leads at that moment; when nobody is known to, the first seat.
    Leader,
    /// Whoever sits there, from 0.
    Seat(usize),
}

/// One round.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Round {
    /// Its number, from 1.
    pub number: u32,
    /// The fault.
    pub kind: Kind,
    /// On whom.
    pub target: Target,
    /// Work before it, milliseconds.
    pub calm_ms: u64,
    /// How long it lasts, milliseconds.
    pub fault_ms: u64,
    /// Work after everything is healed, milliseconds.
    pub tail_ms: u64,
    /// For [`Kind::Slow`]: delay each way, milliseconds.
    pub delay_ms: u64,
    /// For [`Kind::Slow`]: frames lost, percent.
    pub loss_percent: u8,
}

impl Round {
    /// How long the fault lasts.
    #[must_use]
    pub fn fault(&self) -> Duration {
        Duration::from_millis(self.fault_ms)
    }
}

/// What one number and a few options make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The number.
    pub seed: u64,
    /// Seats.
    pub nodes: usize,
    /// Clients that write.
    pub writers: usize,
    /// Kinds of fault that have to happen.
    pub kinds: Vec<Kind>,
    /// Rounds in order.
    pub rounds: Vec<Round>,
}

impl Plan {
    /// Draws a plan. Every kind comes once before any comes again, as far as there are rounds.
    ///
    /// # Panics
    /// When there are no nodes, or no kinds.
    #[must_use]
    pub fn draw(seed: u64, rounds: u32, nodes: usize, writers: usize, kinds: &[Kind]) -> Self {
        assert!(nodes > 0, "a cluster has nodes");
        assert!(!kinds.is_empty(), "a round has a fault");
        let root = Seed::from_u64(seed);
        let mut order = root.child("order").rng();
        let mut deck: Vec<Kind> = Vec::new();
        let mut draw_kind = || {
            if deck.is_empty() {
                deck = kinds.to_vec();
                order.shuffle(&mut deck);
            }
            deck.pop().expect("it was filled just now")
        };
        let rounds: Vec<Round> = (1..=rounds)
            .map(|number| {
                let mut rng = root.child("round").index(u64::from(number)).rng();
                draw_round(&mut rng, number, draw_kind(), nodes)
            })
            .collect();
        let mut kinds: Vec<Kind> = rounds.iter().map(|round| round.kind).collect();
        kinds.sort();
        kinds.dedup();
        Self {
            seed,
            nodes,
            writers,
            kinds,
            rounds,
        }
    }
}

fn draw_round(rng: &mut Rng, number: u32, kind: Kind, nodes: usize) -> Round {
    let (low, high) = kind.bounds_ms();
    let seat = Target::Seat(rng.below(nodes as u64) as usize);
    Round {
        number,
        kind,
        target: if rng.chance(7, 10) {
            Target::Leader
        } else {
            seat
        },
        calm_ms: rng.between(200, 900),
        fault_ms: rng.between(low, high),
        tail_ms: rng.between(200, 600),
        delay_ms: rng.between(20, 150),
        loss_percent: rng.below(11) as u8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_means_one_plan() {
        let draw = |seed| Plan::draw(seed, 30, 3, 16, &Kind::ALL);
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1).rounds, draw(2).rounds);
        // More rounds only add to those before.
        let longer = Plan::draw(1, 40, 3, 16, &Kind::ALL);
        assert_eq!(longer.rounds[..30], draw(1).rounds);
    }

    #[test]
    fn every_kind_comes_before_any_comes_again() {
        for seed in 0..50 {
            let plan = Plan::draw(seed, 9, 3, 16, &Kind::ALL);
            assert_eq!(plan.kinds, Kind::ALL);
        }
        assert_eq!(Plan::draw(1, 4, 3, 16, &Kind::ALL).kinds.len(), 4);
    }

    #[test]
    fn leaders_are_hit_most_often() {
        let plan = Plan::draw(3, 200, 3, 16, &Kind::ALL);
        let leaders = plan
            .rounds
            .iter()
            .filter(|round| round.target == Target::Leader)
            .count();
        assert!((110..170).contains(&leaders), "{leaders}");
    }
}
