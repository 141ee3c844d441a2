//! Many seeds: children side by side, reports in order, and what they come to together.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the parent process waits for its children and measures how long they take; it lives no run"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{IsTerminal, Write};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mfsha_core::rng::Seed;

use crate::bugs::Planted;
use crate::child::{Children, Job};
use crate::coverage::{self, During};
use crate::options::Options;
use crate::plan::Plan;
use crate::trace::Parting;
use crate::verdict::{self, Report};

/// A sweep over seeds.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// Seeds, from and up to but not with.
    pub seeds: (u64, u64),
    /// Options to replace in each.
    pub set: Vec<String>,
    /// The ideal tier instead of whole nodes.
    pub ideal: bool,
    /// Children at a time.
    pub jobs: usize,
    /// Share of seeds that are lived twice, percent. Failing seeds always are.
    pub twice_percent: u64,
    /// Fail when a required situation was never reached.
    pub require_coverage: bool,
    /// Stop after so many failing seeds.
    pub failures_max: u64,
}

/// What a sweep came to.
#[derive(Debug, Default)]
pub struct Summary {
    /// Seeds lived.
    pub seeds: u64,
    /// Seeds that were asked for and not begun, after too many failures.
    pub not_lived: u64,
    /// Seeds with a broken promise.
    pub failed: Vec<u64>,
    /// Seeds that made two different runs.
    pub undetermined: Vec<u64>,
    /// Seeds that were lived twice.
    pub twice: u64,
    /// Virtual seconds that passed.
    pub simulated: f64,
    /// Events in all traces.
    pub events: u64,
    /// Situations reached: in how many seeds, and how often.
    pub coverage: BTreeMap<String, (u64, u64)>,
    /// The exit code of the first failure, 0 when there is none.
    pub exit_code: u8,
}

/// A seed's runs: one, or two that have to be the same.
struct Lived {
    report: Report,
    again: Option<Report>,
    /// Where two runs became different ones.
    parting: Option<Parting>,
}

/// Lives a sweep, prints each seed's hash and each failure's block, and says what it came to.
pub fn sweep(sweep: &Sweep, children: &Children) -> Summary {
    let began = Instant::now();
    let (first, end) = sweep.seeds;
    let mut summary = Summary::default();
    let mut progress = Progress::new(end.saturating_sub(first));
    // Reports come in any order and are told in the order of their seeds.
    let mut waiting: BTreeMap<u64, Lived> = BTreeMap::new();
    let mut next = first;
    let queue = Arc::new(Mutex::new(first..end));
    let mut not_lived = end..end;
    let (sender, receiver) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..sweep.jobs.max(1) {
            let (queue, sender) = (Arc::clone(&queue), sender.clone());
            scope.spawn(move || {
                loop {
                    let seed = queue.lock().expect("no one panics with it").next();
                    let Some(seed) = seed else { return };
                    if sender.send((seed, live(sweep, children, seed))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for (seed, lived) in receiver {
            waiting.insert(seed, lived);
            while let Some(lived) = waiting.remove(&next) {
                tell(sweep, next, lived, &mut summary);
                next += 1;
            }
            progress.maybe_tell(&summary);
            if summary.failed.len() as u64 >= sweep.failures_max && not_lived.is_empty() {
                // What is under way ends; nothing new begins.
                let mut queue = queue.lock().expect("no one panics with it");
                not_lived = std::mem::replace(&mut *queue, end..end);
            }
        }
    });
    for (seed, lived) in waiting {
        tell(sweep, seed, lived, &mut summary);
    }
    for seed in not_lived {
        println!("seed {seed}: not lived");
        summary.not_lived += 1;
    }
    tell_summary(sweep, &mut summary, began.elapsed());
    summary
}

fn live(sweep: &Sweep, children: &Children, seed: u64) -> Lived {
    let job = if sweep.ideal {
        Job::Ideal(seed)
    } else {
        Job::Seed(seed, sweep.set.clone())
    };
    let mut chance = Seed::from_u64(seed).child("twice").rng();
    let chosen = chance.chance(sweep.twice_percent, 100);
    let first = (!chosen).then(|| children.live(&job));
    if let Some(report) = &first
        && report.verdict.violation().is_none()
    {
        return Lived {
            report: report.clone(),
            again: None,
            parting: None,
        };
    }
    // Both tell every event: what differs once need not differ again.
    let (one, two, parting) = children.live_twice(&job);
    let (report, again) = match first {
        None => (one, two),
        Some(first) if one.trace_hash != first.trace_hash => (first, one),
        Some(first) => (first, two),
    };
    Lived {
        report,
        again: Some(again),
        parting,
    }
}

fn tell(sweep: &Sweep, seed: u64, lived: Lived, summary: &mut Summary) {
    let Lived {
        report,
        again,
        parting,
    } = lived;
    println!("seed {seed} trace hash {}", report.trace_hash);
    summary.seeds += 1;
    summary.simulated += report.simulated.seconds();
    summary.events += report.events;
    for (situation, count) in &report.coverage {
        let (seeds, times) = summary.coverage.entry(situation.clone()).or_default();
        *seeds += 1;
        *times += count;
    }
    if let Some(again) = &again {
        summary.twice += 1;
        if again.trace_hash != report.trace_hash {
            println!(
                "seed {seed} lost determinism: a second process has trace hash {}",
                again.trace_hash
            );
            tell_parting(parting.as_ref());
            summary.undetermined.push(seed);
            summary.exit_code = verdict::EXIT_DETERMINISM;
        }
    }
    if report.verdict.violation().is_some() {
        let differing = differing(seed, &sweep.set);
        let command = if sweep.ideal {
            format!("cargo sim run --tier ideal --seeds {seed}..{}", seed + 1)
        } else {
            verdict::replay_command(seed, &differing)
        };
        print!("{}", report.block(&command, &differing));
        if report.trace_hash.is_empty() {
            for line in &report.last {
                println!("  | {line}");
            }
        }
        summary.failed.push(seed);
        if summary.exit_code == 0 {
            summary.exit_code = report.verdict.exit_code();
        }
    }
    // A reader that has gone away ends the sweep by the next print, not by this one.
    let _ = std::io::stdout().flush();
}

/// Longest line of an event that is told, characters.
const LINE_CHARS_MAX: usize = 2_000;

fn tell_parting(parting: Option<&Parting>) {
    let Some(Parting { same, next }) = parting else {
        println!("  two more runs, which told every event, are the same");
        return;
    };
    println!("  the first {same} events are the same; the next, after the hash of it:");
    for (which, line) in ["one", "the other"].into_iter().zip(next) {
        let line = line.as_deref().unwrap_or("nothing more happened");
        let line: String = line.chars().take(LINE_CHARS_MAX).collect();
        println!("  {which:<9} {line}");
    }
}

/// Options of a seed that `set` makes differ from what it draws.
#[must_use]
pub fn differing(seed: u64, set: &[String]) -> Vec<String> {
    let drawn = Options::draw(&Seed::from_u64(seed));
    Plan::draw(seed, set).map_or_else(|_| set.to_vec(), |plan| plan.options.differing(&drawn))
}

fn tell_summary(sweep: &Sweep, summary: &mut Summary, took: Duration) {
    let seconds = took.as_secs_f64().max(1e-9);
    tell_coverage(summary, sweep.ideal);
    if !sweep.ideal {
        let counts = summary
            .coverage
            .iter()
            .map(|(name, (_, times))| (name.clone(), *times));
        let missing = coverage::missing(&counts.collect());
        if !missing.is_empty() {
            println!("required situations never reached: {}", missing.join(", "));
            if sweep.require_coverage && summary.exit_code == 0 {
                summary.exit_code = verdict::EXIT_COVERAGE;
            }
        }
        if !sweep.require_coverage {
            println!(
                "coverage was not demanded of {} seeds: it is from {} on, without --set, or with --require-coverage",
                sweep.seeds.1 - sweep.seeds.0,
                coverage::SEEDS_MIN
            );
        }
    }
    if summary.not_lived > 0 {
        println!(
            "\n{} seeds were not lived: {} had failed by then",
            summary.not_lived,
            summary.failed.len()
        );
    }
    println!(
        "\n{} seeds, {} failed, {} of {} run twice differ",
        summary.seeds,
        summary.failed.len(),
        summary.undetermined.len(),
        summary.twice,
    );
    println!(
        "{:.0} simulated seconds in {seconds:.1} s with {} at a time: {:.0} simulated seconds per second, {} events",
        summary.simulated,
        sweep.jobs,
        summary.simulated / seconds,
        summary.events
    );
}

/// Tells what was reached: a line for each situation, and a table of what was under way meanwhile.
fn tell_coverage(summary: &Summary, ideal: bool) {
    let required: BTreeSet<String> = match ideal {
        true => BTreeSet::new(),
        false => coverage::required().collect(),
    };
    // What a sweep of `SEEDS_MIN` seeds would have reached by now is compared, not the bare count.
    let few = |seeds: u64| seeds * coverage::SEEDS_MIN < coverage::RARE_SEEDS * summary.seeds;
    println!("\nsituations reached (seeds, times; ! is required and rare):");
    let mut crossed: BTreeMap<&str, BTreeMap<&str, String>> = BTreeMap::new();
    for (situation, (seeds, times)) in &summary.coverage {
        let rare = required.contains(situation) && few(*seeds);
        let mark = if rare { "!" } else { " " };
        match situation.split_once(" during ") {
            Some((situation, during)) if !ideal => {
                let cell = format!("{seeds}{}", mark.trim());
                crossed.entry(situation).or_default().insert(during, cell);
            }
            _ => println!("{mark} {seeds:>6} {times:>9}  {situation}"),
        }
    }
    if crossed.is_empty() {
        return;
    }
    let columns = During::ALL.map(During::name);
    println!("\nwhat was under way meanwhile (seeds):");
    for (at, column) in columns.into_iter().enumerate() {
        println!("  {:>3}  during {column}", at + 1);
    }
    let heads: Vec<String> = (1..=columns.len()).map(|at| format!("{at:>5}")).collect();
    println!("  {}", heads.concat());
    for (situation, cells) in crossed {
        let cells = columns.map(|column| {
            let cell = cells.get(column).map_or(".", String::as_str);
            format!("{cell:>5}")
        });
        println!("  {}  {situation}", cells.concat());
    }
}

/// The first seed in which this checker, judging alone, finds a planted bug, and its report; all
/// judge for the empty name. Seeds are counted from 0.
#[must_use]
pub fn find(
    planted: &Planted,
    judge: &str,
    seeds: u64,
    jobs: usize,
    children: &Children,
) -> Option<(u64, Report)> {
    let mut set = vec![format!("bug={}", planted.name), format!("judge={judge}")];
    set.extend(planted.set.iter().map(|text| (*text).to_owned()));
    let jobs = jobs.max(1) as u64;
    for first in (0..seeds).step_by(jobs as usize) {
        let found = std::thread::scope(|scope| {
            let running: Vec<_> = (first..seeds.min(first + jobs))
                .map(|seed| {
                    let job = Job::Seed(seed, set.clone());
                    (seed, scope.spawn(move || children.live(&job)))
                })
                .collect();
            let mut found = None;
            for (seed, child) in running {
                let report = child.join().expect("living a child does not panic");
                // A run that died or hung proves nothing about the checker.
                let by_judge = report
                    .verdict
                    .violation()
                    .is_some_and(|violation| judge.is_empty() || violation.checker == judge);
                if found.is_none() && by_judge {
                    found = Some((seed, report));
                }
            }
            found
        });
        if found.is_some() {
            return found;
        }
    }
    None
}

/// Tells from time to time how far a sweep is, on stderr.
struct Progress {
    of: u64,
    last: Instant,
    every: Duration,
}

impl Progress {
    fn new(of: u64) -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self {
            of,
            last: Instant::now(),
            every: Duration::from_secs(if terminal { 2 } else { 15 }),
        }
    }

    fn maybe_tell(&mut self, summary: &Summary) {
        if self.last.elapsed() >= self.every {
            self.last = Instant::now();
            eprintln!(
                "{} of {} seeds, {} failed, {:.0} simulated seconds",
                summary.seeds,
                self.of,
                summary.failed.len(),
                summary.simulated
            );
        }
    }
}
