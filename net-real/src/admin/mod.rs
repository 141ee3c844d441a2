//! `mfsha-admin`: the cluster and its tree from the command line.
//!
//! Commands are calls of `mfsha-client`; here is only what people and scripts see: arguments,
//! tables, JSON, exit codes. `docs/admin.md` describes all of it.

mod args;
mod chunkservers;
mod cluster;
mod export;
mod files;
mod from_file;
mod members;
mod output;
mod session;
mod settings;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, Parser};
use mfsha_client::dial::{Dial, Tcp};
use mfsha_client::{Client, tls};

use args::{Cli, Command};
use output::{Failure, Output};

/// Making the first connection may take so long, however long the command may.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long most commands may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How long a command may take that moves a whole state.
const LONG_TIMEOUT: Duration = Duration::from_secs(3_600);

/// The program.
#[must_use]
pub fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("mfsha-admin: cannot start: {error}");
            return ExitCode::from(output::EXIT_USAGE);
        }
    };
    let mut output = Output::new(std::io::stderr().is_terminal());
    let arguments = std::env::args_os().collect();
    let env = |name: &str| std::env::var(name).ok();
    let code = runtime.block_on(run(arguments, &env, None, &mut output));
    output.print();
    // A name that is being looked up must not keep the program from ending.
    runtime.shutdown_background();
    ExitCode::from(code)
}

/// Runs one command line; gives the exit code. `dial`: other ways than TCP, for tests.
async fn run(
    arguments: Vec<OsString>,
    env: &dyn Fn(&str) -> Option<String>,
    dial: Option<Box<dyn Dial>>,
    output: &mut Output,
) -> u8 {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return output.usage(&error),
    };
    output.json = cli.common.json;
    match dispatch(cli, env, dial, output).await {
        Ok(()) => output::EXIT_DONE,
        Err(failure) => output.failure(&failure),
    }
}

async fn dispatch(
    cli: Cli,
    env: &dyn Fn(&str) -> Option<String>,
    dial: Option<Box<dyn Dial>>,
    output: &mut Output,
) -> Result<(), Failure> {
    match cli.command {
        Command::Completions { shell } => {
            let mut bytes = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "mfsha-admin", &mut bytes);
            output.raw(&bytes);
            return Ok(());
        }
        Command::Man => {
            output.raw(&args::man_pages());
            return Ok(());
        }
        _ => {}
    }
    let timeout = cli.common.timeout.unwrap_or(match cli.command {
        Command::AddNode { .. } | Command::Snapshot { .. } | Command::ExportMetadata { .. } => {
            LONG_TIMEOUT
        }
        _ => TIMEOUT,
    });
    let mut options = cli.common.options(env)?;
    options.timeout = timeout.min(CONNECT_TIMEOUT);
    let dial = match dial {
        Some(dial) => dial,
        None => {
            let tls = options.tls.as_ref().map(tls::connector).transpose();
            let tls = tls.map_err(|error| Failure::usage(error.to_string()))?;
            Box::new(Tcp { tls })
        }
    };
    let client = Client::connect_by(options, dial)
        .await
        .map_err(|error| Failure::usage(error.to_string()))??
        .with_timeout(timeout);
    match cli.command {
        Command::Status => cluster::status(&client, output).await,
        Command::NodeStatus { node } => cluster::node_status(&client, node, output).await,
        Command::RaftStats => cluster::raft_stats(&client, output).await,
        Command::Snapshot { node } => cluster::snapshot(&client, node, output).await,
        Command::ExportMetadata { file } => export::export(&client, &file, output).await,
        Command::TransferLeader { node } => members::transfer(&client, node, output).await,
        Command::AddNode { node } => members::add(&client, node, output).await,
        Command::RemoveNode { node, force } => members::remove(&client, node, force, output).await,
        Command::Config { command } => settings::config(&client, command, output).await,
        Command::ReloadConfig { which } => settings::reload(&client, which, output).await,
        Command::Chunkserver(command) => chunkservers::run(&client, command, output).await,
        Command::Fs(fs) => files::fs(&client, fs, output).await,
        Command::Completions { .. } | Command::Man => unreachable!("done above"),
    }
}
