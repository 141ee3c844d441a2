//! How long clients stood still: the longest operation of each client in each round, for clients
//! whose seat or leader was hit, and for the others.
//!
//! A stall is the time from asking to being answered of the operation that took longest, repeats
//! included. It counts for a round when the operation was under way during the fault or began
//! before everything had settled again.

use std::collections::BTreeMap;

use mfsha_core::id::NodeId;
use serde::{Deserialize, Serialize};

use crate::clock::millis;
use crate::journal::{Role, Via};
use crate::nemesis::Note;
use crate::plan::Kind;
use crate::recording::Recording;

/// How stalls of one kind are distributed, milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Distribution {
    /// Stalls there are: clients times rounds.
    pub count: usize,
    /// Half are shorter.
    pub median_ms: f64,
    /// 99 of 100 are shorter.
    pub p99_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

/// Whose stalls.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Group {
    /// In rounds of this fault; `None` for all.
    pub kind: Option<Kind>,
    /// Whether the clients' seat or leader was hit.
    pub is_hit: bool,
}

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Whose.
    #[serde(flatten)]
    pub group: Group,
    /// How long.
    #[serde(flatten)]
    pub stalls: Distribution,
}

/// What is known of a round's fault.
struct Fault<'a> {
    nodes: &'a [NodeId],
    leader_is_hit: bool,
    begin: u64,
}

/// The stalls of a run.
#[must_use]
pub fn measure(recording: &Recording) -> Vec<Line> {
    let mut stalls: BTreeMap<Group, Vec<u64>> = BTreeMap::new();
    for note in &recording.notes {
        let Note::Begin {
            at,
            round,
            kind,
            seats,
            nodes,
            leader,
        } = note
        else {
            continue;
        };
        let leader_is_hit = leader.is_some_and(|leader| seats.contains(&leader));
        let fault = Fault {
            nodes,
            leader_is_hit,
            begin: *at,
        };
        for (is_hit, stall) in round_stalls(recording, *round, &fault) {
            for kind in [None, Some(*kind)] {
                stalls
                    .entry(Group { kind, is_hit })
                    .or_default()
                    .push(stall);
            }
        }
    }
    stalls
        .into_iter()
        .map(|(group, stalls)| Line {
            group,
            stalls: distribution(stalls),
        })
        .collect()
}

/// The longest stall of each writer, and whether it was hit.
fn round_stalls(recording: &Recording, round: u32, fault: &Fault<'_>) -> Vec<(bool, u64)> {
    // Of each client: whether the node that answered it last before the fault was hit, and the
    // longest stall since.
    let mut clients: BTreeMap<u64, (bool, Option<u64>)> = BTreeMap::new();
    for (client, operation) in recording.operations(round) {
        let Some((ended_at, answer)) = Recording::answered(operation) else {
            continue;
        };
        if client.role != Role::Writer || matches!(operation.via, Via::Fast { .. }) {
            continue;
        }
        let (node_is_hit, longest) = clients.entry(client.client).or_default();
        if ended_at < fault.begin {
            *node_is_hit = answer.node.is_some_and(|node| fault.nodes.contains(&node));
        } else {
            *longest = (*longest).max(Some(ended_at - operation.invoked_at));
        }
    }
    let stalls = clients.into_values().filter_map(|(node_is_hit, longest)| {
        longest.map(|longest| (node_is_hit || fault.leader_is_hit, longest))
    });
    stalls.collect()
}

fn distribution(mut stalls: Vec<u64>) -> Distribution {
    stalls.sort_unstable();
    let at = |share: f64| {
        let rank = (stalls.len() as f64 * share).ceil() as usize;
        millis(stalls[rank.clamp(1, stalls.len()) - 1])
    };
    Distribution {
        count: stalls.len(),
        median_ms: at(0.5),
        p99_ms: at(0.99),
        max_ms: at(1.0),
    }
}

/// As a table.
#[must_use]
pub fn table(lines: &[Line]) -> String {
    let mut text = format!(
        "{:<10} {:<12} {:>6} {:>10} {:>10} {:>10}\n",
        "fault", "node/leader", "stalls", "median ms", "p99 ms", "max ms"
    );
    for line in lines {
        let kind = line
            .group
            .kind
            .map_or("all".to_owned(), |kind| kind.to_string());
        let whose = if line.group.is_hit { "hit" } else { "not hit" };
        let it = &line.stalls;
        text += &format!(
            "{kind:<10} {whose:<12} {:>6} {:>10.1} {:>10.1} {:>10.1}\n",
            it.count, it.median_ms, it.p99_ms, it.max_ms
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_members() {
        let it = distribution((1..=100).map(|ms| ms * 1_000_000).collect());
        assert_eq!(
            (it.count, it.median_ms, it.p99_ms, it.max_ms),
            (100, 50.0, 99.0, 100.0)
        );
        let one = distribution(vec![7_000_000]);
        assert_eq!((one.median_ms, one.p99_ms, one.max_ms), (7.0, 7.0, 7.0));
    }
}
