//! Three real nodes on this machine under load, measured from outside.
//!
//! ```text
//! cargo build --release -p mfsha-net-real --bins
//! cargo run --release -p mfsha-benches --bin cluster -- --binary target/release/mfsha
//! ```
//!
//! Figures are for comparison within one run: nodes and load share the machine.

mod floor;
mod load;
mod nodes;
mod report;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Parser;
use mfsha_client::{Client, ClientOptions, Freshness};
use nodes::Nodes;
use report::Report;

/// Latency, throughput, restart and memory of three nodes on this machine.
#[derive(Parser)]
struct Arguments {
    /// The daemon to measure.
    #[arg(long, default_value = "target/release/mfsha")]
    binary: PathBuf,
    /// Where the nodes keep their data, on the disk that is to be measured; made and removed.
    #[arg(long, default_value = "target/cluster-bench")]
    directory: PathBuf,
    /// Seconds for each load.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Files that are made for restart and memory; 0 leaves that part out.
    #[arg(long, default_value_t = 1_000_000)]
    files: u64,
    /// How often a follower is killed and started again; the files stay.
    #[arg(long, default_value_t = 5)]
    restarts: u32,
    /// Numbers of writers.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64, 256])]
    writers: Vec<u32>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let report = runtime.block_on(measure(&arguments))?;
    report.print(arguments.json);
    Ok(())
}

async fn measure(arguments: &Arguments) -> Result<Report, Box<dyn std::error::Error>> {
    let mut report = Report::default();
    let time = Duration::from_secs(arguments.seconds);
    let mut nodes = Nodes::start(&arguments.binary, &arguments.directory)?;
    let client = connect(&nodes).await?;
    nodes.ready(&client).await?;

    // The log's batches are whole pages.
    for bytes in [512, 4_096] {
        report.latency(
            &format!("floor: one flush of {bytes} bytes"),
            &floor::flushes(&arguments.directory, bytes, time)?,
        );
    }
    report.latency(
        "floor: a flush of 4096 bytes, three at once",
        &floor::flushes_of_three(&arguments.directory, 4_096, time)?,
    );
    report.latency(
        "floor: one round trip on loopback",
        &floor::round_trips(time).await?,
    );

    let tree = client.tree();
    let root = tree.resolve(b"/", false).await?.inode;
    let home = load::directory(&tree, root, "one").await?;
    report.latency(
        "strict write, one client",
        &load::creates(&tree, home, 1, time).await?.latencies,
    );
    for (what, freshness) in [
        ("strict read, one client", Freshness::Strict),
        ("read by lease, one client", Freshness::Lease),
        ("fast read, one client", Freshness::Fast),
    ] {
        let tree = tree.with_freshness(freshness);
        report.latency(what, &load::reads(&tree, home, 1, time).await?.latencies);
    }
    for writers in &arguments.writers {
        let name = format!("w{writers}");
        let home = load::directory(&tree, root, &name).await?;
        let written = load::creates(&tree, home, *writers, time).await?;
        report.rate(&format!("creates, {writers} writers"), &written, time);
        let read = load::reads(&tree, home, *writers, time).await?;
        report.rate(&format!("strict stats, {writers} readers"), &read, time);
    }
    stall(&client, root, &mut report).await?;
    if arguments.files > 0 {
        many_files(arguments, &client, root, &mut nodes, &mut report).await?;
    }
    // The cluster goes away with its directory.
    let _ = client.close().await;
    Ok(report)
}

/// The longest that a writer waits while a snapshot of the state is taken under load.
async fn stall(
    client: &Client,
    root: mfsha_core::id::InodeId,
    report: &mut Report,
) -> Result<(), Box<dyn std::error::Error>> {
    let tree = client.tree();
    let home = load::directory(&tree, root, "stall").await?;
    let admin = client.admin();
    let snapshot = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let began = Instant::now();
        (admin.take_snapshot(None).await, began.elapsed())
    });
    let time = Duration::from_secs(4);
    let written = load::creates(&tree, home, 16, time).await?;
    let (taken, took) = snapshot.await?;
    taken?;
    report.latency("16 writers while a snapshot is taken", &written.latencies);
    report.duration("the snapshot took", took);
    Ok(())
}

/// Makes many files, then looks at memory, restart and reading cold.
async fn many_files(
    arguments: &Arguments,
    client: &Client,
    root: mfsha_core::id::InodeId,
    nodes: &mut Nodes,
    report: &mut Report,
) -> Result<(), Box<dyn std::error::Error>> {
    let tree = client.tree();
    let empty = nodes.memory_bytes()?;
    let began = Instant::now();
    load::fill(&tree, root, arguments.files, |made| {
        eprint!("\r{made} files")
    })
    .await?;
    eprintln!();
    report.duration(
        &format!("making {} files, 128 writers", arguments.files),
        began.elapsed(),
    );
    let hot = nodes.memory_bytes()?;
    let per_file = |bytes: u64| bytes.saturating_sub(empty) as f64 / arguments.files as f64;
    report.number("memory of a node per file, hot: bytes", per_file(hot));
    // The state on disk, then the process anew.
    client.admin().take_snapshot(None).await?;
    let leader = nodes.leader(client).await?;
    let follower = if leader == 1 { 2 } else { 1 };
    for number in 0..arguments.restarts {
        // So much was done since its last checkpoint, more or less.
        let home = load::directory(&tree, root, &format!("restart{number}")).await?;
        let time = Duration::from_millis(700 * u64::from(number));
        load::creates(&tree, home, 64, time).await?;
        nodes.kill(follower)?;
        let began = Instant::now();
        nodes.restart(follower)?;
        nodes.node_ready(follower).await?;
        report.duration("restart of a follower after SIGKILL", began.elapsed());
        for line in nodes.since_start(follower)? {
            eprintln!("    {line}");
        }
    }
    report.number(
        "memory of that node per file, cold: bytes",
        per_file(nodes.memory_of(follower)?),
    );
    report.number(
        "state on disk per file: bytes",
        nodes.disk_bytes(follower)? as f64 / arguments.files as f64,
    );
    Ok(())
}

async fn connect(nodes: &Nodes) -> Result<Client, Box<dyn std::error::Error>> {
    let mut options = ClientOptions::new(nodes.addresses()?);
    options.lanes_max = 512;
    options.timeout = Duration::from_secs(60);
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        match Client::connect(options.clone()).await? {
            Ok(client) => return Ok(client),
            Err(fail) if Instant::now() > end => return Err(fail.into()),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}
