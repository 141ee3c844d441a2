//! `ip` and `tc` as functions. Knows nothing of what they are used for.

use std::process::{Command, Stdio};

/// A command that did not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It cannot be run.
    #[error("cannot run `{line}`: {error}")]
    Start {
        /// The command line.
        line: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// It ran and failed.
    #[error("`{line}` failed: {said}")]
    Failed {
        /// The command line.
        line: String,
        /// What it said.
        said: String,
    },
}

/// Runs a command to its end and gives what it printed.
pub fn output(program: &str, arguments: &[&str]) -> Result<String, CommandError> {
    let line = || format!("{program} {}", arguments.join(" "));
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| CommandError::Start {
            line: line(),
            error,
        })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let said = if said.is_empty() {
        output.status.to_string()
    } else {
        said
    };
    Err(CommandError::Failed { line: line(), said })
}

/// `ip ...`
pub fn ip(arguments: &[&str]) -> Result<(), CommandError> {
    output("ip", arguments).map(drop)
}

/// `ip -n NAMESPACE ...`
pub fn ip_in(namespace: &str, arguments: &[&str]) -> Result<(), CommandError> {
    ip(&[&["-n", namespace], arguments].concat())
}

/// `tc -n NAMESPACE ...`
pub fn tc_in(namespace: &str, arguments: &[&str]) -> Result<(), CommandError> {
    output("tc", &[&["-n", namespace], arguments].concat()).map(drop)
}

/// Installs `iproute2` when it is missing and can be had; says what to do when it cannot.
pub fn ensure_installed() -> Result<(), String> {
    let missing = || output("ip", &["-V"]).is_err() || output("tc", &["-V"]).is_err();
    if !missing() {
        return Ok(());
    }
    eprintln!("mfsha-jepsen: installing iproute2");
    let install = || {
        output(
            "apt-get",
            &["install", "-qy", "--no-install-recommends", "iproute2"],
        )
    };
    let tried = install().or_else(|_| output("apt-get", &["update", "-q"]).and_then(|_| install()));
    match tried {
        Ok(_) if !missing() => Ok(()),
        Ok(_) => Err("`ip` and `tc` are missing although iproute2 is installed".to_owned()),
        Err(error) => Err(format!(
            "`ip` and `tc` are missing, install iproute2 ({error})"
        )),
    }
}
