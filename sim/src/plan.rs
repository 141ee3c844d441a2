//! A run as a value: seed, options and schedule, and as a file that keeps a failure.
//!
//! A seed alone draws its plan. A plan in a file holds everything in full, so that it survives
//! changes of what a seed draws: that is what a regression is.

use std::path::Path;

use mfsha_core::rng::Seed;
use serde::{Deserialize, Serialize};

use crate::check::ViolationKind;
use crate::options::{Options, SetError};
use crate::schedule::{FaultEntry, OperationEntry, Schedule};
use crate::verdict::Verdict;

/// Version of what a seed draws: the same seed under another version is another run.
pub const SCHEMA: u32 = 4;

/// Everything that fixes a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// What this failure is, in a sentence; empty for a drawn plan.
    #[serde(default)]
    pub sentence: String,
    /// [`SCHEMA`] when it was drawn.
    pub schema: u32,
    /// The seed: fixes latencies and all that is drawn while the run goes on.
    pub seed: u64,
    /// What the run has to come to.
    #[serde(default)]
    pub expect: Expectation,
    /// Its options.
    pub options: Options,
    /// Faults, in order of time.
    #[serde(default)]
    pub faults: Vec<FaultEntry>,
    /// Operations, in order of time.
    #[serde(default)]
    pub operations: Vec<OperationEntry>,
}

/// What a kept run has to come to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expectation {
    /// The checker that has to find a violation; empty when all have to be content.
    pub checker: String,
    /// Of which kind.
    pub kind: Option<ViolationKind>,
}

/// Why a plan cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The file cannot be read.
    #[error("cannot read {file}: {error}")]
    Read {
        /// Which.
        file: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// The file is no plan.
    #[error("{file} is not a plan of a run: {error}")]
    Parse {
        /// Which.
        file: String,
        /// What the parser said.
        error: toml::de::Error,
    },
    /// Options that no run can be made of.
    #[error("{0}")]
    Options(String),
    /// A `--set` was refused.
    #[error(transparent)]
    Set(#[from] SetError),
}

impl Plan {
    /// Draws the plan of a seed, with some options replaced.
    ///
    /// # Errors
    /// [`PlanError::Set`].
    pub fn draw(seed: u64, set: &[String]) -> Result<Self, PlanError> {
        let root = Seed::from_u64(seed);
        let mut options = Options::draw(&root);
        for text in set {
            options.set(text)?;
        }
        let schedule = Schedule::draw(&root, &options);
        Ok(Self {
            sentence: String::new(),
            schema: SCHEMA,
            seed,
            expect: Expectation::default(),
            options,
            faults: schedule.faults,
            operations: schedule.operations,
        })
    }

    /// Reads a plan from a file, with some options replaced.
    ///
    /// # Errors
    /// See [`PlanError`].
    pub fn read(file: &Path, set: &[String]) -> Result<Self, PlanError> {
        let name = || file.display().to_string();
        let text = std::fs::read_to_string(file).map_err(|error| PlanError::Read {
            file: name(),
            error,
        })?;
        let mut plan: Self = toml::from_str(&text).map_err(|error| PlanError::Parse {
            file: name(),
            error,
        })?;
        for text in set {
            plan.options.set(text)?;
        }
        plan.options.validate().map_err(PlanError::Options)?;
        Ok(plan)
    }

    /// The plan as a file's text.
    #[must_use]
    pub fn text(&self) -> String {
        toml::to_string(self).expect("a plan is tables of plain values")
    }

    /// Its lists.
    #[must_use]
    pub fn schedule(&self) -> Schedule {
        Schedule {
            faults: self.faults.clone(),
            operations: self.operations.clone(),
        }
    }
}

impl Expectation {
    /// What a verdict would have to be expected as.
    #[must_use]
    pub fn of(verdict: &Verdict) -> Self {
        match verdict.violation() {
            None => Self::default(),
            Some(violation) => Self {
                checker: violation.checker.clone(),
                kind: Some(violation.kind),
            },
        }
    }

    /// Whether this is what was expected.
    #[must_use]
    pub fn is_met_by(&self, verdict: &Verdict) -> bool {
        *self == Self::of(verdict)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_survives_being_written_down() {
        for seed in 0..20 {
            let plan = Plan::draw(seed, &["safety_ms=2000".into()]).unwrap();
            assert_eq!(toml::from_str::<Plan>(&plan.text()).unwrap(), plan);
        }
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(Plan::draw(1, &["knots=1".into()]).is_err());
        assert!(Plan::read(Path::new("no such file"), &[]).is_err());
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("plan.toml");
        std::fs::write(&file, "seed = \"many\"").unwrap();
        assert!(matches!(
            Plan::read(&file, &[]),
            Err(PlanError::Parse { .. })
        ));
    }
}
