//! `mfsha-jepsen`: the harness as a command.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use mfsha_jepsen::journal::write_json;
use mfsha_jepsen::lab::{self, HOSTS_MAX, Host, Lab, LabError};
use mfsha_jepsen::plan::Kind;
use mfsha_jepsen::recording::Recording;
use mfsha_jepsen::run::{self, Options, Outcome, Stop, Through, exit_code};
use mfsha_jepsen::{stalls, verdict};

/// Bad usage.
const EXIT_USAGE: u8 = 64;
/// This machine cannot carry it out.
const EXIT_CANNOT_RUN: u8 = 69;
/// The harness itself failed: a full disk, a journal that cannot be read.
const EXIT_OWN: u8 = 70;

/// Breaks a real cluster of mfsha processes from outside and judges what it promised.
///
/// Every host is a network namespace; needed are Linux, root, and `ip` (installed when missing).
#[derive(Debug, Parser)]
#[command(name = "mfsha-jepsen", version, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Exit codes: 0 every promise was kept; 1 something wrong happened; 2 something right did not happen \
in time; 3 a node died by itself; 5 a fault that was asked for never happened; 64 bad usage; 69 \
this machine cannot run it; 70 the harness itself failed; 130 interrupted.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Live rounds of faults under load, and judge them.
    Run(RunArgs),
    /// Judge again what a run has written down.
    Verdict {
        /// The directory that `run --out` filled.
        dir: PathBuf,
    },
    /// A lab by itself, to try things by hand.
    Lab {
        #[command(subcommand)]
        command: LabCommand,
    },
}

#[derive(Debug, Subcommand)]
enum LabCommand {
    /// Make hosts n1, n2, .. and u1; enter one with `ip netns exec mfsha-NAME-n1 COMMAND`.
    Up {
        /// Its name.
        #[arg(default_value = "lab")]
        name: String,
        /// Hosts beside u1.
        #[arg(long, value_name = "N", default_value_t = 3, value_parser = parse_nodes)]
        nodes: usize,
    },
    /// Remove a lab and end what runs in it; without a name, whatever dead runs left behind.
    Down {
        /// Its name.
        name: Option<String>,
    },
    /// The labs on this machine.
    List,
}

#[derive(Debug, Args)]
struct RunArgs {
    /// Rounds; each has one fault.
    #[arg(long, value_name = "N", default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rounds: u32,
    /// What is drawn: faults, targets, times, and what writers ask.
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Clients that write.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = parse_writers)]
    writers: usize,
    /// Nodes.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = parse_nodes)]
    nodes: usize,
    /// The daemon.
    #[arg(long, value_name = "FILE", default_value = "target/release/mfsha")]
    binary: PathBuf,
    /// Where journals, logs and verdict go: a directory that is new or empty.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Kinds of fault; all when not given.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "KIND,..")]
    nemesis: Vec<Kind>,
    /// Through what writers ask.
    #[arg(long, value_enum, default_value = "both")]
    client: Through,
    /// Nodes, peers and clients speak TLS, with certificates of this run's own.
    #[arg(long)]
    tls: bool,
    /// Pause of each client between two operations, milliseconds: from and to.
    #[arg(long, value_name = "A..B", default_value = "5..30", value_parser = parse_pause)]
    pause: (u64, u64),
    /// Keep the nodes' directories, also when every promise was kept.
    #[arg(long)]
    keep: bool,
    /// Name of the lab; one of this process's own when not given.
    #[arg(long, value_name = "NAME")]
    lab: Option<String>,
}

fn parse_within(text: &str, most: usize) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if (1..=most).contains(&number) => Ok(number),
        _ => Err(format!("give a number from 1 to {most}")),
    }
}

fn parse_nodes(text: &str) -> Result<usize, String> {
    parse_within(text, HOSTS_MAX - 1)
}

fn parse_writers(text: &str) -> Result<usize, String> {
    parse_within(text, 256)
}

fn parse_pause(text: &str) -> Result<(u64, u64), String> {
    let numbers = text.split_once("..").and_then(|(low, high)| {
        let (low, high) = (low.parse::<u64>().ok()?, high.parse::<u64>().ok()?);
        (low <= high && high <= 60_000).then_some((low, high))
    });
    numbers.ok_or_else(|| "give two numbers as in 5..30, up to 60000".to_owned())
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let is_error = error.use_stderr();
            // A closed terminal is nothing to tell anybody about.
            let _ = error.print();
            return if is_error {
                EXIT_USAGE.into()
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    let code = match cli.command {
        Command::Run(args) => run(args),
        Command::Verdict { dir } => judge_again(&dir),
        Command::Lab { command } => lab(command),
    };
    ExitCode::from(code)
}

fn run(args: RunArgs) -> u8 {
    let stop = Stop::default();
    if let Err(error) = listen_for_signals(stop.clone()) {
        eprintln!("mfsha-jepsen: {error}");
        return EXIT_OWN;
    }
    let options = Options {
        name: args
            .lab
            .unwrap_or_else(|| format!("run{}", std::process::id())),
        rounds: args.rounds,
        seed: args.seed,
        writers: args.writers,
        nodes: args.nodes,
        binary: args.binary,
        out: args.out,
        kinds: if args.nemesis.is_empty() {
            Kind::ALL.to_vec()
        } else {
            args.nemesis
        },
        keep: args.keep,
        through: args.client,
        tls: args.tls,
        pause_ms: args.pause,
    };
    match run::run(&options, &stop) {
        Ok(outcome) => {
            print!("{}", outcome.summary());
            println!("journals and logs: {}", options.out.display());
            outcome.exit_code()
        }
        Err(error) if error.cannot_run() => {
            eprintln!("SKIPPED: {error}");
            EXIT_CANNOT_RUN
        }
        Err(error @ (run::RunError::NotEmpty { .. } | run::RunError::NoBinary { .. })) => {
            eprintln!("mfsha-jepsen: {error}");
            EXIT_USAGE
        }
        Err(error) => {
            eprintln!("mfsha-jepsen: {error}");
            EXIT_OWN
        }
    }
}

/// The first SIGINT or SIGTERM ends the run in order, the second at once.
fn listen_for_signals(stop: Stop) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let (Ok(mut interrupt), Ok(mut terminate)) = (
                signal(SignalKind::interrupt()),
                signal(SignalKind::terminate()),
            ) else {
                return;
            };
            for number in 0.. {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                if number > 0 {
                    eprintln!("mfsha-jepsen: ended; `mfsha-jepsen lab down` removes what is left");
                    std::process::exit(130);
                }
                eprintln!("mfsha-jepsen: ending, and removing the lab");
                stop.tell();
            }
        });
    });
    Ok(())
}

fn judge_again(dir: &std::path::Path) -> u8 {
    let recording = match Recording::read(dir) {
        Ok(recording) => recording,
        Err(error) => {
            eprintln!("mfsha-jepsen: {error}");
            return EXIT_OWN;
        }
    };
    let outcome = Outcome {
        seed: recording.plan.seed,
        rounds: u32::try_from(recording.remains.len()).unwrap_or(u32::MAX),
        interrupted: false,
        seconds: 0.0,
        verdict: verdict::judge(&recording),
        stalls: stalls::measure(&recording),
    };
    print!("{}", outcome.summary());
    if let Err(error) = write_json(&dir.join("outcome.json"), &outcome) {
        eprintln!("mfsha-jepsen: {error}");
        return EXIT_OWN;
    }
    exit_code(&outcome.verdict)
}

fn lab(command: LabCommand) -> u8 {
    match command {
        LabCommand::Up { name, nodes } => {
            let mut hosts: Vec<Host> = (1..=nodes).map(|it| Host(format!("n{it}"))).collect();
            hosts.push(Host("u1".to_owned()));
            match Lab::up(&name, &hosts).and_then(|lab| {
                for (host, address) in lab.hosts() {
                    println!("{host:<4} {address:<14} {}", lab.namespace(host));
                }
                lab.leave_standing()
            }) {
                Ok(()) => 0,
                Err(error @ LabError::CannotRun { .. }) => {
                    eprintln!("SKIPPED: {error}");
                    EXIT_CANNOT_RUN
                }
                Err(error @ (LabError::Name { .. } | LabError::Exists { .. })) => {
                    eprintln!("mfsha-jepsen: {error}");
                    EXIT_USAGE
                }
                Err(error) => {
                    eprintln!("mfsha-jepsen: {error}");
                    EXIT_OWN
                }
            }
        }
        LabCommand::Down { name } => {
            let (names, troubles) = match name {
                Some(name) => (vec![name.clone()], lab::remove(&name)),
                None => lab::remove_dead(),
            };
            for name in names {
                println!("removed {name}");
            }
            for trouble in &troubles {
                eprintln!("mfsha-jepsen: {trouble}");
            }
            if troubles.is_empty() { 0 } else { EXIT_OWN }
        }
        LabCommand::List => {
            for remains in lab::find_remains() {
                println!(
                    "{}{}",
                    remains.name,
                    if remains.is_dead {
                        " (its run is dead)"
                    } else {
                        ""
                    }
                );
            }
            0
        }
    }
}
