//! The simulator's command line.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use mfsha_sim::child::{Children, Job};
use mfsha_sim::plan::{Plan, PlanError};
use mfsha_sim::real::Real;
use mfsha_sim::runner::{self, Sweep};
use mfsha_sim::verdict::{self, Report, Verdict};
use mfsha_sim::{bugs, coverage, html, ideal, regression, shrink, task, trace};

/// Runs are made of small pieces: a tenth of their time was the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Breaks a cluster of mfsha nodes under a seed and judges what they promise.
///
/// One number fixes a run: the cluster, its limits, the workload, the faults, every latency. The
/// same seed gives the same run in any process.
#[derive(Debug, Parser)]
#[command(name = "mfsha-sim", version, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Exit codes: 0 every promise was kept; 1 something wrong happened; 2 something right did not happen \
in time; 3 a node or the simulator died; 4 one seed made two different runs; 5 a required \
situation was never reached, a planted bug escaped or the canary kept quiet; 64 bad usage.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Live many seeds, each in a process of its own.
    Run(RunArgs),
    /// Live one seed, or a plan kept in a file, and tell what happened.
    Replay(ReplayArgs),
    /// Make a failing seed or plan small, and write it down as a regression.
    Shrink(ShrinkArgs),
    /// Draw a run as one HTML file.
    Trace(TraceArgs),
    /// Print the options that a seed draws, by the names that --set takes.
    Options {
        /// The seed.
        seed: u64,
        #[command(flatten)]
        set: SetArgs,
    },
    /// Show that each bug put in on purpose is found.
    Bugs(BugsArgs),
    /// Live a run that has to fail: proves that alarms ring.
    Canary,
    /// Live one job in this process and print its report for the parent.
    #[command(hide = true)]
    One(OneArgs),
}

#[derive(Debug, Args)]
struct SetArgs {
    /// Replace an option that the seed draws: `net.loss_ppm=0`. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

#[derive(Debug, Args)]
struct ChildArgs {
    /// Runs at a time; as many as there are cores when not given.
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// How long one run may take, in seconds of real time.
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    timeout: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Tier {
    /// Whole nodes: consensus, log and state on faulty disks, networks and clocks.
    Full,
    /// The tree alone over an ideal log, with crashes and replays: many times faster.
    Ideal,
}

#[derive(Debug, Args)]
struct RunArgs {
    /// Seeds, from and up to but not with: `0..1000`; 0..100 when there are no regressions to
    /// live either.
    #[arg(long, value_name = "A..B", value_parser = parse_seeds)]
    seeds: Option<(u64, u64)>,
    /// Which tier.
    #[arg(long, value_enum, default_value = "full")]
    tier: Tier,
    /// Share of seeds that are lived in two processes and have to come to the same, percent.
    #[arg(long, value_name = "P", default_value_t = 5)]
    twice_percent: u64,
    /// Fail when a required situation was never reached. On by itself from 1,000 seeds.
    #[arg(long)]
    require_coverage: bool,
    /// Begin nothing new after so many failing seeds.
    #[arg(long, value_name = "N", default_value_t = 10)]
    failures_max: u64,
    /// Live the plans kept in this directory first.
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = "sim/regressions")]
    regressions: Option<PathBuf>,
    #[command(flatten)]
    set: SetArgs,
    #[command(flatten)]
    children: ChildArgs,
}

#[derive(Debug, Args)]
struct ReplayArgs {
    /// A seed, or the file of a plan.
    run: String,
    /// Print the whole trace, a line per event.
    #[arg(long)]
    whole: bool,
    #[command(flatten)]
    set: SetArgs,
}

#[derive(Debug, Args)]
struct ShrinkArgs {
    /// A seed, or the file of a plan.
    run: String,
    /// Where to write what is left: a file, or a directory for a name made from the failure;
    /// sim/regressions when not given.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Most runs.
    #[arg(long, value_name = "N", default_value_t = 2_000)]
    tries: u64,
    #[command(flatten)]
    set: SetArgs,
    #[command(flatten)]
    children: ChildArgs,
}

#[derive(Debug, Args)]
struct TraceArgs {
    /// A seed, or the file of a plan.
    run: String,
    /// The file to write.
    #[arg(long, value_name = "FILE")]
    html: PathBuf,
    #[command(flatten)]
    set: SetArgs,
}

#[derive(Debug, Args)]
struct BugsArgs {
    /// Only name them.
    #[arg(long)]
    list: bool,
    /// Only these.
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// A bug escapes when none of so many seeds finds it.
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    seeds: u64,
    #[command(flatten)]
    children: ChildArgs,
}

#[derive(Debug, Args)]
struct OneArgs {
    seed: Option<u64>,
    /// Read a plan from stdin.
    #[arg(long)]
    plan: bool,
    #[arg(long)]
    ideal: bool,
    /// Write every event to this file as it happens.
    #[arg(long, value_name = "FILE")]
    tell: Option<PathBuf>,
    #[command(flatten)]
    set: SetArgs,
}

fn parse_seeds(text: &str) -> Result<(u64, u64), String> {
    let number = |text: &str| {
        text.trim()
            .parse::<u64>()
            .map_err(|error| error.to_string())
    };
    match text.split_once("..") {
        Some((first, end)) => {
            let range = (number(first)?, number(end)?);
            if range.0 >= range.1 {
                return Err("the range is empty".into());
            }
            Ok(range)
        }
        None => number(text).map(|seed| (seed, seed.saturating_add(1))),
    }
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way too, and are no mistake.
            let code = if error.use_stderr() {
                verdict::EXIT_USAGE
            } else {
                verdict::EXIT_OK
            };
            let _ = error.print();
            return code.into();
        }
    };
    let ended = match cli.command {
        Command::Run(args) => run(args),
        Command::Replay(args) => replay(&args),
        Command::Shrink(args) => shrink(args),
        Command::Trace(args) => draw(&args),
        Command::Options { seed, set } => options(seed, &set),
        Command::Bugs(args) => find_bugs(&args),
        Command::Canary => canary(),
        Command::One(args) => one(&args),
    };
    match ended {
        Ok(code) => code.into(),
        Err(error) => {
            eprintln!("mfsha-sim: {error}");
            verdict::EXIT_USAGE.into()
        }
    }
}

/// What ends a command before it has a verdict.
#[derive(Debug)]
struct Stopped(String);

impl std::fmt::Display for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<PlanError> for Stopped {
    fn from(error: PlanError) -> Self {
        Self(error.to_string())
    }
}

impl From<std::io::Error> for Stopped {
    fn from(error: std::io::Error) -> Self {
        Self(error.to_string())
    }
}

type Ended = Result<u8, Stopped>;

impl ChildArgs {
    fn children(&self) -> Result<Children, Stopped> {
        Ok(Children::of_this_program(Duration::from_secs(
            self.timeout,
        ))?)
    }

    fn jobs(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, Into::into);
        self.jobs.unwrap_or_else(cores).max(1)
    }
}

/// Seeds of a run that names none.
const SEEDS_DEFAULT: (u64, u64) = (0, 100);

fn run(args: RunArgs) -> Ended {
    let children = args.children.children()?;
    // A mistake in --set is told once, before a thousand children tell it.
    Plan::draw(0, &args.set.set)?;
    let mut kept_code = verdict::EXIT_OK;
    if let Some(directory) = &args.regressions {
        kept_code = live_regressions(directory, &children)?;
        if args.seeds.is_none() {
            return Ok(kept_code);
        }
    }
    let seeds = args.seeds.unwrap_or(SEEDS_DEFAULT);
    let sweep = Sweep {
        seeds,
        ideal: args.tier == Tier::Ideal,
        jobs: args.children.jobs(),
        twice_percent: args.twice_percent.min(100),
        require_coverage: args.require_coverage
            || (seeds.1 - seeds.0 >= coverage::SEEDS_MIN && args.set.set.is_empty()),
        failures_max: args.failures_max.max(1),
        set: args.set.set,
    };
    let summary = runner::sweep(&sweep, &children);
    Ok(if summary.exit_code == 0 {
        kept_code
    } else {
        summary.exit_code
    })
}

fn live_regressions(directory: &Path, children: &Children) -> Ended {
    let (mut lived, mut failed) = (0, 0);
    let mut code = verdict::EXIT_OK;
    for kept in regression::live_all(directory, children)? {
        let file = kept.file.display();
        println!("{file} trace hash {}", kept.report.trace_hash);
        lived += 1;
        if !kept.is_met() {
            failed += 1;
            println!(
                "{file}: expected {:?}, came to {:?}",
                kept.plan.expect, kept.report.verdict
            );
            print!(
                "{}",
                kept.report.block(&format!("cargo sim replay {file}"), &[])
            );
            code = match kept.report.verdict.exit_code() {
                0 => verdict::EXIT_CORRECTNESS,
                code => code,
            };
        }
    }
    println!("{lived} regressions lived, {failed} not as expected");
    Ok(code)
}

fn plan_of(run: &str, set: &[String]) -> Result<Plan, Stopped> {
    Ok(match run.parse::<u64>() {
        Ok(seed) => Plan::draw(seed, set)?,
        Err(_) => Plan::read(Path::new(run), set)?,
    })
}

fn replay(args: &ReplayArgs) -> Ended {
    let plan = plan_of(&args.run, &args.set.set)?;
    println!("{}", verdict::options_text(&plan.options));
    println!(
        "{} faults, {} operations",
        plan.faults.len(),
        plan.operations.len()
    );
    task::watch_panics();
    let finished = verdict::live::<Real>(&plan, args.whole);
    let report = Report::of_finished(plan.seed, &finished);
    if args.whole {
        for (at, event) in finished.trace.events() {
            println!("{}", trace::line(*at, event));
        }
    } else {
        for line in &report.last {
            println!("{line}");
        }
    }
    println!(
        "seed {} trace hash {} ({} events, {:.3} simulated seconds)",
        plan.seed,
        report.trace_hash,
        report.events,
        report.simulated.seconds()
    );
    if report.verdict == Verdict::Kept {
        println!("every promise was kept");
    }
    let from_file = args.run.parse::<u64>().is_err();
    let differing = match from_file {
        true => Vec::new(),
        false => runner::differing(plan.seed, &args.set.set),
    };
    let command = match from_file {
        true => format!("cargo sim replay {}", args.run),
        false => verdict::replay_command(plan.seed, &differing),
    };
    print!("{}", report.block(&command, &differing));
    if from_file && !plan.expect.is_met_by(&report.verdict) {
        println!("the plan expects {:?}", plan.expect);
    }
    Ok(report.verdict.exit_code())
}

fn shrink(args: ShrinkArgs) -> Ended {
    let plan = plan_of(&args.run, &args.set.set)?;
    let children = args.children.children()?;
    let before = (plan.faults.len(), plan.operations.len());
    let shrunk = match shrink::shrink(plan, &children, args.children.jobs(), args.tries) {
        Ok(shrunk) => shrunk,
        Err(report) => {
            println!("seed {} trace hash {}", report.seed, report.trace_hash);
            println!("every promise was kept: there is nothing to shrink");
            return Ok(verdict::EXIT_OK);
        }
    };
    let name = format!("{}.toml", shrink::slug(&shrunk.plan, &shrunk.report));
    let out = match args.out {
        None => Path::new("sim/regressions").join(name),
        Some(out) if out.is_dir() => out.join(name),
        Some(out) => out,
    };
    if let Some(parent) = out.parent() {
        std::fs::create_dir_all(parent)?;
    }
    if let Err(error) = std::fs::write(&out, shrunk.plan.text()) {
        // It took many runs: what was found is not thrown away.
        println!("{}", shrunk.plan.text());
        return Err(Stopped(format!("cannot write {}: {error}", out.display())));
    }
    println!(
        "{} faults and {} operations are left of {} and {}, after {} runs",
        shrunk.plan.faults.len(),
        shrunk.plan.operations.len(),
        before.0,
        before.1,
        shrunk.tries
    );
    for entry in &shrunk.plan.faults {
        println!("  {:>14} fault {:?}", entry.at, entry.fault);
    }
    for entry in &shrunk.plan.operations {
        println!(
            "  {:>14} client{} lane {} {}",
            entry.at, entry.client, entry.lane, entry.kind
        );
    }
    println!("written to {}", out.display());
    let command = format!("cargo sim replay {}", out.display());
    print!("{}", shrunk.report.block(&command, &[]));
    Ok(shrunk.report.verdict.exit_code())
}

fn draw(args: &TraceArgs) -> Ended {
    let plan = plan_of(&args.run, &args.set.set)?;
    task::watch_panics();
    let finished = verdict::live::<Real>(&plan, true);
    let page = html::page(plan.seed, &plan.options, &finished);
    std::fs::write(&args.html, page)?;
    println!("seed {} trace hash {}", plan.seed, finished.trace.hash());
    println!(
        "{} events drawn in {}",
        finished.trace.count(),
        args.html.display()
    );
    Ok(verdict::EXIT_OK)
}

fn options(seed: u64, set: &SetArgs) -> Ended {
    let plan = Plan::draw(seed, &set.set)?;
    print!("{}", verdict::options_text(&plan.options));
    Ok(verdict::EXIT_OK)
}

fn find_bugs(args: &BugsArgs) -> Ended {
    if let Some(name) = args.names.iter().find(|name| !bugs::is_known(name)) {
        return Err(Stopped(format!("there is no bug called `{name}`")));
    }
    let children = args.children.children()?;
    let mut escaped = 0;
    for planted in bugs::ALL {
        if !args.names.is_empty() && !args.names.iter().any(|name| name == planted.name) {
            continue;
        }
        if args.list {
            println!(
                "{} {:<12} {}",
                planted.title(),
                planted.promise,
                planted.what
            );
            continue;
        }
        for judge in planted.judges {
            match runner::find(planted, judge, args.seeds, args.children.jobs(), &children) {
                Some((seed, report)) => {
                    let violation = report.verdict.violation().expect("it was found by one");
                    println!(
                        "{} found by {} ({}) after {} seeds",
                        planted.title(),
                        violation.checker,
                        violation.promise,
                        seed + 1
                    );
                }
                None => {
                    escaped += 1;
                    println!(
                        "{} ESCAPED {judge} in {} seeds",
                        planted.title(),
                        args.seeds
                    );
                }
            }
        }
    }
    Ok(if escaped == 0 {
        verdict::EXIT_OK
    } else {
        verdict::EXIT_COVERAGE
    })
}

fn canary() -> Ended {
    let children = Children::of_this_program(Duration::from_secs(120))?;
    let report = children.live(&Job::Seed(0, vec!["canary=true".into()]));
    let rang = report
        .verdict
        .violation()
        .is_some_and(|violation| violation.checker == "canary");
    println!("seed 0 trace hash {}", report.trace_hash);
    if rang {
        println!("the canary was told to fail, and did");
        return Ok(verdict::EXIT_OK);
    }
    println!("the canary kept quiet: {:?}", report.verdict);
    Ok(verdict::EXIT_COVERAGE)
}

/// The child's side of `child::Children`.
fn one(args: &OneArgs) -> Ended {
    task::watch_panics();
    let told = args.tell.as_ref().map(std::fs::File::create).transpose()?;
    let report = match (args.seed, args.plan) {
        (Some(seed), false) if args.ideal => ideal::live(seed, told),
        (Some(seed), false) => Report::of(&Plan::draw(seed, &args.set.set)?, told),
        (None, true) => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text)?;
            let plan = toml::from_str::<Plan>(&text).map_err(|error| Stopped(error.to_string()))?;
            Report::of(&plan, told)
        }
        _ => return Err(Stopped("a seed or a plan, not both".into())),
    };
    println!(
        "{}",
        serde_json::to_string(&report).map_err(|error| Stopped(error.to_string()))?
    );
    Ok(report.verdict.exit_code())
}
