//! Makes a failure small: delta debugging over the schedule, then plainer options.
//!
//! A smaller plan counts when the same checker finds the same kind of violation. Every try is a
//! process of its own. What is left is written down in full, as a regression.

#![expect(
    clippy::disallowed_methods,
    reason = "the parent process lives several children at a time; it lives no run"
)]

use std::collections::BTreeSet;

use crate::child::{Children, Job};
use crate::plan::{Expectation, Plan};
use crate::schedule::{FaultEntry, OperationEntry};
use crate::verdict::{Report, Verdict};

/// What a shrinking came to.
#[derive(Debug)]
pub struct Shrunk {
    /// The smallest plan found.
    pub plan: Plan,
    /// Its report.
    pub report: Report,
    /// Runs that it took.
    pub tries: u64,
}

/// Options tried in turn, each kept when the failure stays.
const PLAINER: &[&str] = &[
    "buggify.core=false",
    "buggify.active_percent=0",
    "net.streams=false",
    "net.tear_ppm=0",
    "net.segment_bytes=0",
    "net.loss_ppm=0",
    "net.duplicate_ppm=0",
    "net.reorder_ppm=0",
    "net.tail_ppm=0",
    "net.latency_min_us=50",
    "net.latency_mean_us=50",
    "disk.flush_min_us=70",
    "disk.flush_mean_us=30",
    "disk.checkpoint_max_ms=2",
    "clock.drift_max_ppm=0",
    "clock.wall_offset_max_ms=0",
    "raft.shuffle_tasks=false",
    "raft.priorities=false",
    "raft.append_bytes_max=1048576",
    "raft.snapshot_log_bytes=1048576",
    "raft.log_keep_entries=128",
    "raft.log_lag_bytes_max=0",
    "log.segment_bytes=262144",
    "node.checkpoint_interval_ms=30000",
    "node.checkpoint_log_bytes=8388608",
    "node.apply_entries_max=1024",
    "node.request_timeout_ms=5000",
    "node.pending_max=1000",
    "node.store_bytes_max=0",
    "node.faces=false",
    "disk.pages_tear=false",
    "workload.stray_percent=0",
    "leave_rest_broken=false",
    "chunkservers=0",
    "mounts=0",
];

/// Runs plans and remembers what counts as the failure.
struct Shrinker<'a> {
    children: &'a Children,
    jobs: usize,
    wanted: Expectation,
    tries: u64,
    tries_max: u64,
    best: Plan,
    report: Report,
}

/// Shrinks a failing plan; `Err` is its report when it does not fail.
///
/// # Errors
/// The run keeps every promise: there is nothing to shrink.
pub fn shrink(
    plan: Plan,
    children: &Children,
    jobs: usize,
    tries_max: u64,
) -> Result<Shrunk, Box<Report>> {
    let report = children.live(&Job::Plan(Box::new(plan.clone())));
    if report.verdict == Verdict::Kept {
        return Err(Box::new(report));
    }
    let mut shrinker = Shrinker {
        children,
        jobs: jobs.max(1),
        wanted: Expectation::of(&report.verdict),
        tries: 1,
        tries_max,
        best: plan,
        report,
    };
    shrinker.cut_after_the_end();
    // Each may make room for the other, so they take turns until nothing changes.
    loop {
        let before = (shrinker.best.faults.len(), shrinker.best.operations.len());
        shrinker.reduce(
            |plan| &plan.faults,
            |plan, kept: Vec<FaultEntry>| plan.faults = kept,
        );
        shrinker.reduce(
            |plan| &plan.operations,
            |plan, kept: Vec<OperationEntry>| plan.operations = kept,
        );
        let after = (shrinker.best.faults.len(), shrinker.best.operations.len());
        if before == after {
            break;
        }
    }
    shrinker.make_plainer();
    let Shrinker {
        mut best,
        report,
        tries,
        wanted,
        ..
    } = shrinker;
    best.expect = wanted;
    best.sentence = report
        .verdict
        .violation()
        .map(|violation| violation.sentence.clone())
        .unwrap_or_default();
    Ok(Shrunk {
        plan: best,
        report,
        tries,
    })
}

impl Shrinker<'_> {
    /// What was planned for after the failure cannot have caused it.
    fn cut_after_the_end(&mut self) {
        let Verdict::Broken { at, .. } = self.report.verdict else {
            return;
        };
        let mut plan = self.best.clone();
        plan.faults.retain(|entry| entry.at <= at);
        plan.operations.retain(|entry| entry.at <= at);
        self.first_failing(vec![plan]);
    }

    /// Takes the first of these plans that fails in the same way as the best so far.
    fn first_failing(&mut self, candidates: Vec<Plan>) -> bool {
        for batch in candidates.chunks(self.jobs) {
            if self.tries >= self.tries_max {
                return false;
            }
            self.tries += batch.len() as u64;
            let children = self.children;
            let reports: Vec<Report> = std::thread::scope(|scope| {
                let running: Vec<_> = batch
                    .iter()
                    .map(|plan| {
                        let job = Job::Plan(Box::new(plan.clone()));
                        scope.spawn(move || children.live(&job))
                    })
                    .collect();
                running
                    .into_iter()
                    .map(|child| child.join().expect("living a child does not panic"))
                    .collect()
            });
            for (plan, report) in batch.iter().zip(reports) {
                if self.wanted.is_met_by(&report.verdict) {
                    self.best = plan.clone();
                    self.report = report;
                    eprintln!(
                        "{} tries: {} faults, {} operations",
                        self.tries,
                        self.best.faults.len(),
                        self.best.operations.len()
                    );
                    return true;
                }
            }
        }
        false
    }

    /// Delta debugging of one list: ever smaller pieces are taken out as long as the failure
    /// stays.
    fn reduce<T: Clone>(
        &mut self,
        list: impl Fn(&Plan) -> &Vec<T>,
        put: impl Fn(&mut Plan, Vec<T>),
    ) {
        let mut pieces = 1;
        loop {
            let entries = list(&self.best).clone();
            if entries.is_empty() || self.tries >= self.tries_max {
                return;
            }
            let size = entries.len().div_ceil(pieces);
            let candidates = (0..entries.len())
                .step_by(size)
                .map(|from| {
                    let out: BTreeSet<usize> = (from..from + size).collect();
                    let kept = entries
                        .iter()
                        .enumerate()
                        .filter(|(at, _)| !out.contains(at))
                        .map(|(_, entry)| entry.clone())
                        .collect();
                    let mut plan = self.best.clone();
                    put(&mut plan, kept);
                    plan
                })
                .collect();
            if self.first_failing(candidates) {
                pieces = pieces.saturating_sub(1).max(1);
            } else if size == 1 {
                return;
            } else {
                pieces = (pieces * 2).min(entries.len());
            }
        }
    }

    fn make_plainer(&mut self) {
        for set in PLAINER {
            let mut plan = self.best.clone();
            if plan.options.set(set).is_ok() && plan != self.best {
                self.first_failing(vec![plan]);
            }
        }
        // The healing may begin as soon as the last entry is over.
        let last = self.best.faults.iter().map(|entry| entry.at);
        let last = last
            .chain(self.best.operations.iter().map(|entry| entry.at))
            .max();
        if let Some(last) = last {
            let mut plan = self.best.clone();
            plan.options.safety_ms = last.0 / 1_000_000 + 1;
            if plan.options.safety_ms < self.best.options.safety_ms {
                self.first_failing(vec![plan]);
            }
        }
    }
}

/// A name for a regression's file, out of what failed: `p-once-17`.
#[must_use]
pub fn slug(plan: &Plan, report: &Report) -> String {
    let checker = report
        .verdict
        .violation()
        .map_or("kept", |violation| violation.checker.as_str());
    let name = match plan.options.bug.as_str() {
        "" => format!("{checker}-{}", plan.seed),
        bug => format!("{bug}-{checker}-{}", plan.seed),
    };
    name.chars()
        .map(|letter| {
            if letter.is_ascii_alphanumeric() {
                letter
            } else {
                '-'
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plainer_options_exist() {
        for set in PLAINER {
            let mut plan = Plan::draw(3, &[]).unwrap();
            plan.options
                .set(set)
                .unwrap_or_else(|error| panic!("{set}: {error}"));
        }
    }
}
