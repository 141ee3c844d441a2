//! What came of a run, as a child process tells its parent, and as people are told.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;

use serde::{Deserialize, Serialize};

use crate::check::{Violation, ViolationKind};
use crate::node::Kind;
use crate::options::Options;
use crate::plan::{Plan, SCHEMA};
use crate::real::Real;
use crate::time::SimTime;
use crate::trace;
use crate::world::{Finished, World};

/// All is well.
pub const EXIT_OK: u8 = 0;
/// Something wrong happened.
pub const EXIT_CORRECTNESS: u8 = 1;
/// Something right did not happen in time.
pub const EXIT_LIVENESS: u8 = 2;
/// A node or the simulator died.
pub const EXIT_CRASH: u8 = 3;
/// One seed made two different runs.
pub const EXIT_DETERMINISM: u8 = 4;
/// A required situation was never reached, a planted bug escaped, or an alarm did not ring.
pub const EXIT_COVERAGE: u8 = 5;
/// The command line makes no sense.
pub const EXIT_USAGE: u8 = 64;

/// The commit that this program was built from, with `-dirty` where files were changed since;
/// `unknown` where there was no git.
pub const COMMIT: &str = env!("MFSHA_COMMIT");

/// What came of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Verdict {
    /// Every promise was kept.
    Kept,
    /// One was broken.
    Broken {
        /// When.
        at: SimTime,
        /// Which.
        violation: Violation,
    },
}

/// Everything that is told about a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// Hash of its trace; empty when the process died before it was known.
    pub trace_hash: String,
    /// Events in it.
    pub events: u64,
    /// Virtual time that passed.
    pub simulated: SimTime,
    /// What came of it.
    pub verdict: Verdict,
    /// Situations reached, and how often.
    pub coverage: BTreeMap<String, u64>,
    /// The last lines of the trace, when a promise was broken; what the process said, when it
    /// died.
    pub last: Vec<String>,
}

/// Lines of the trace that a failing run tells.
const LAST_LINES: usize = 60;

impl Verdict {
    /// What was broken, if anything.
    #[must_use]
    pub fn violation(&self) -> Option<&Violation> {
        match self {
            Self::Kept => None,
            Self::Broken { violation, .. } => Some(violation),
        }
    }

    /// The process's exit code.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self.violation().map(|violation| violation.kind) {
            None => EXIT_OK,
            Some(ViolationKind::Correctness) => EXIT_CORRECTNESS,
            Some(ViolationKind::Liveness) => EXIT_LIVENESS,
            Some(ViolationKind::Crash) => EXIT_CRASH,
        }
    }
}

impl Report {
    /// Lives a plan in this process, and writes every event to a file, when there is one.
    #[must_use]
    pub fn of(plan: &Plan, told: Option<File>) -> Self {
        let finished = world::<Real>(plan, false).telling(told).run(plan.seed);
        Self::of_finished(plan.seed, &finished)
    }

    /// What is told of a finished run.
    #[must_use]
    pub fn of_finished(seed: u64, finished: &Finished) -> Self {
        let (verdict, last) = match &finished.violation {
            None => (Verdict::Kept, Vec::new()),
            Some((at, violation)) => {
                let events = finished.trace.events();
                let skipped = events.len().saturating_sub(LAST_LINES);
                let lines = events
                    .iter()
                    .skip(skipped)
                    .map(|(at, event)| trace::line(*at, event));
                let verdict = Verdict::Broken {
                    at: *at,
                    violation: violation.clone(),
                };
                (verdict, lines.collect())
            }
        };
        Self {
            seed,
            trace_hash: finished.trace.hash(),
            events: finished.trace.count(),
            simulated: finished.simulated,
            verdict,
            coverage: finished.coverage.clone(),
            last,
        }
    }

    /// A run whose process died without a report.
    #[must_use]
    pub fn died(seed: u64, how: String, said: &str) -> Self {
        let lines: Vec<&str> = said.lines().collect();
        let skipped = lines.len().saturating_sub(LAST_LINES);
        Self {
            seed,
            trace_hash: String::new(),
            events: 0,
            simulated: SimTime::ZERO,
            verdict: Verdict::Broken {
                at: SimTime::ZERO,
                violation: Violation {
                    checker: "runner".into(),
                    promise: "P-PROCESS".into(),
                    kind: ViolationKind::Crash,
                    sentence: how,
                },
            },
            coverage: BTreeMap::new(),
            last: lines[skipped..]
                .iter()
                .map(|line| (*line).to_owned())
                .collect(),
        }
    }

    /// The one block that a failing run prints.
    #[must_use]
    pub fn block(&self, replay: &str, differing: &[String]) -> String {
        let Verdict::Broken { at, violation } = &self.verdict else {
            return String::new();
        };
        let mut out = String::new();
        let mut line = |name: &str, text: &str| {
            writeln!(out, "  {name:<9} {text}").expect("text takes everything");
        };
        line("checker", &violation.checker);
        line("promise", &violation.promise);
        line("time", &format!("{:.6} s", at.seconds()));
        line("seed", &format!("{} (schema {SCHEMA})", self.seed));
        line("commit", COMMIT);
        line("what", &violation.sentence.replace('\n', "\n            "));
        line(
            "options",
            &match differing {
                [] => "as the seed draws them".to_owned(),
                differing => differing.join(" "),
            },
        );
        line("replay", replay);
        format!("== violation {}\n{out}", "=".repeat(60))
    }
}

/// Lives a plan with nodes of this kind.
#[must_use]
pub fn live<K: Kind>(plan: &Plan, whole_trace: bool) -> Finished {
    world::<K>(plan, whole_trace).run(plan.seed)
}

fn world<K: Kind>(plan: &Plan, whole_trace: bool) -> World<K> {
    let options = plan.options.clone();
    World::new(plan.seed, options, plan.schedule(), whole_trace)
}

/// The command that repeats a run of a seed.
#[must_use]
pub fn replay_command(seed: u64, differing: &[String]) -> String {
    let mut command = format!("cargo sim replay {seed}");
    for set in differing {
        write!(command, " --set '{set}'").expect("text takes everything");
    }
    command
}

/// Options as they are printed before a run.
#[must_use]
pub fn options_text(options: &Options) -> String {
    let mut out = String::new();
    for (key, value) in options.flat() {
        writeln!(out, "{key} = {value}").expect("text takes everything");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_tell_failures_apart() {
        let broken = |kind| Verdict::Broken {
            at: SimTime::ZERO,
            violation: Violation {
                checker: "tree".into(),
                promise: "P-TREE".into(),
                kind,
                sentence: "a cycle".into(),
            },
        };
        assert_eq!(Verdict::Kept.exit_code(), 0);
        assert_eq!(broken(ViolationKind::Correctness).exit_code(), 1);
        assert_eq!(broken(ViolationKind::Liveness).exit_code(), 2);
        assert_eq!(broken(ViolationKind::Crash).exit_code(), 3);
    }

    #[test]
    fn a_block_names_everything_that_a_person_needs() {
        let report = Report::died(17, "killed by signal 9".into(), "out of memory");
        let set = ["net.loss_ppm=0".to_owned()];
        let block = report.block(&replay_command(17, &set), &set);
        for part in [
            "runner",
            "P-PROCESS",
            "17",
            "killed by signal 9",
            &format!("commit    {COMMIT}"),
            "net.loss_ppm=0",
            "cargo sim replay 17 --set 'net.loss_ppm=0'",
        ] {
            assert!(block.contains(part), "{part} is not in {block}");
        }
    }

    #[test]
    fn the_commit_is_one_or_unknown() {
        let hash = COMMIT.strip_suffix("-dirty").unwrap_or(COMMIT);
        let digits = hash.chars().all(|digit| digit.is_ascii_hexdigit());
        let known = hash.len() >= 12 && digits;
        assert!(known || COMMIT == "unknown", "{COMMIT}");
    }

    #[test]
    fn a_report_survives_the_pipe() {
        let report = Report::died(17, "killed".into(), "a\nb");
        let text = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
    }
}
