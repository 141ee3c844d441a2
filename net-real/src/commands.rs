//! What `mfsha` does instead of running: configuration, completions, manual, checks.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use crate::cli::{Cli, Command, completions, exit, manual};
use crate::config::{Environment, Report, sample};
use crate::{metadata, store};

/// Carries a command out.
#[must_use]
pub fn run(cli: &Cli, command: &Command) -> ExitCode {
    if let Err(error) = cli.check_command() {
        return fail(exit::USAGE, &error);
    }
    match command {
        Command::CheckConfig { json } => match cli.inputs(Environment::Process) {
            Ok(inputs) => {
                let report = Report::of(&inputs);
                let text = if *json {
                    report.to_json() + "\n"
                } else {
                    report.to_text()
                };
                let printed = print(text.as_bytes());
                if report.errors.is_empty() {
                    printed
                } else {
                    ExitCode::from(report.exit_code())
                }
            }
            Err(error) => fail(exit::USAGE, &error),
        },
        Command::CheckMetadata { file, json } => check_metadata(file, *json),
        Command::PrintConfig => print(sample().as_bytes()),
        Command::Completions { shell } => print(&completions(*shell)),
        Command::Man => print(&manual()),
        Command::VerifyState => verify_state(cli),
    }
}

fn check_metadata(file: &Path, json: bool) -> ExitCode {
    match metadata::read(file) {
        Ok(contents) if json => match serde_json::to_string(&contents) {
            Ok(text) => print((text + "\n").as_bytes()),
            Err(error) => fail(exit::BUG, &error),
        },
        Ok(contents) => print(contents.to_text().as_bytes()),
        Err(error) => {
            let code = match error {
                metadata::Unusable::Unopened(_) => exit::SYSTEM,
                metadata::Unusable::Damaged(_) => exit::DATA,
            };
            fail(code, &format!("{}: {error}", file.display()))
        }
    }
}

fn verify_state(cli: &Cli) -> ExitCode {
    let inputs = match cli.inputs(Environment::Process) {
        Ok(inputs) => inputs,
        Err(error) => return fail(exit::USAGE, &error),
    };
    match crate::config::Configuration::load(inputs) {
        Ok(configuration) => {
            let path = configuration.settings().data_path();
            store::run_verify(&path.join(crate::data_dir::STATE_DIRECTORY))
        }
        Err(error) => fail(exit::USAGE, &error),
    }
}

fn print(bytes: &[u8]) -> ExitCode {
    match std::io::stdout().write_all(bytes) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(exit::SYSTEM, &error),
    }
}

fn fail(code: u8, error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("mfsha: {error}");
    ExitCode::from(code)
}
