//! What `mfsha check-config` says: every setting with its source, and what is wrong.

use std::collections::BTreeMap;

use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};
use mfsha_core::native::admin::Setting;
use serde::Serialize;

use super::machines::is_this_machine;
use super::obstacles::{self, Obstacles};
use super::problem::{Place, Problem};
use super::running::{self, Inputs};
use crate::cli::exit;

/// Everything there is to say of a configuration.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Where settings were read from; `None` for no file.
    pub file: Option<String>,
    /// Every setting; the default in the place of a bad value.
    pub settings: Vec<Setting>,
    /// What an operator should hear.
    pub warnings: Vec<String>,
    /// What keeps a node from starting.
    pub errors: Vec<ReportedError>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, Serialize)]
pub struct ReportedError {
    /// Where.
    pub place: String,
    /// What, and what to do.
    pub message: String,
}

impl Report {
    /// Reads all layers and, when nothing is wrong with them, looks at what else a start needs.
    #[must_use]
    pub fn of(inputs: &Inputs) -> Self {
        let checked = running::check(inputs, &BTreeMap::new());
        let error = |problem: &Problem| ReportedError {
            place: problem.place.to_string(),
            message: problem.fault.to_string(),
        };
        // In the place of a bad value stands the default, which nobody means to start with.
        let obstacles = match checked.problems.is_empty() {
            true => obstacles::look(&checked.settings, &is_this_machine),
            false => Obstacles::default(),
        };
        let warnings = checked.warnings.iter().map(ToString::to_string);
        let obstacle = |message: String| ReportedError {
            place: Place::Together.to_string(),
            message,
        };
        let errors = checked.problems.iter().map(error);
        Self {
            file: inputs.file.as_ref().map(|path| path.display().to_string()),
            settings: checked.settings.listing(),
            warnings: warnings.chain(obstacles.warnings).collect(),
            errors: errors
                .chain(obstacles.errors.into_iter().map(obstacle))
                .collect(),
        }
    }

    /// The exit code: [`exit::USAGE`] when something is wrong.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self.errors.is_empty() {
            true => exit::OK,
            false => exit::USAGE,
        }
    }

    /// For programs.
    ///
    /// # Panics
    /// Never: texts and lists are JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("texts and lists are JSON")
    }

    /// For people: a table, then warnings, then errors.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut table = Table::new();
        table.load_style(NOTHING);
        table.set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(["key", "value", "source", "live"]);
        for setting in &self.settings {
            let live = if setting.live { "yes" } else { "" };
            table.add_row([&setting.key, &setting.value, &setting.source, live]);
        }
        let mut text: String = table
            .lines()
            .map(|line| line.trim_end().to_owned() + "\n")
            .collect();
        let file = self.file.as_deref().unwrap_or("none");
        text.push_str(&format!("\nfile: {file}\n"));
        for warning in &self.warnings {
            text.push_str(&format!("warning: {warning}\n"));
        }
        for ReportedError { place, message } in &self.errors {
            text.push_str(&format!("error: {place}: {message}\n"));
        }
        if self.errors.is_empty() {
            text.push_str("a node can start with this configuration\n");
        }
        text
    }
}
