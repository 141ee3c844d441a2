//! Failures kept: plans in files, each with what its run has to come to.

use std::path::{Path, PathBuf};

use crate::child::{Children, Job};
use crate::plan::{Plan, PlanError};
use crate::verdict::Report;

/// One kept plan and what came of it now.
#[derive(Debug)]
pub struct Kept {
    /// Its file.
    pub file: PathBuf,
    /// The plan.
    pub plan: Plan,
    /// What came of it.
    pub report: Report,
}

impl Kept {
    /// Whether it came to what it has to come to.
    #[must_use]
    pub fn is_met(&self) -> bool {
        self.plan.expect.is_met_by(&self.report.verdict)
    }
}

/// Lives every plan of a directory, in order of name.
///
/// # Errors
/// The directory or a plan in it cannot be read.
pub fn live_all(directory: &Path, children: &Children) -> Result<Vec<Kept>, PlanError> {
    let mut files = Vec::new();
    let read = |error| PlanError::Read {
        file: directory.display().to_string(),
        error,
    };
    for entry in std::fs::read_dir(directory).map_err(read)? {
        let file = entry.map_err(read)?.path();
        if file
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            files.push(file);
        }
    }
    files.sort();
    files
        .into_iter()
        .map(|file| {
            let plan = Plan::read(&file, &[])?;
            let report = children.live(&Job::Plan(Box::new(plan.clone())));
            Ok(Kept { file, plan, report })
        })
        .collect()
}
