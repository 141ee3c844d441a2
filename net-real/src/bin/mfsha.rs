//! `mfsha`: one node of a cluster. The command line is in `cli.rs`, the process in `daemon/`.

use std::process::ExitCode;

use mfsha_net_real::cli::Cli;
use mfsha_net_real::{commands, daemon};

fn main() -> ExitCode {
    let cli = match Cli::parse_or_exit_code(std::env::args_os()) {
        Ok(cli) => cli,
        Err(code) => return ExitCode::from(code),
    };
    match &cli.command {
        Some(command) => commands::run(&cli, command),
        None => daemon::run(&cli),
    }
}
