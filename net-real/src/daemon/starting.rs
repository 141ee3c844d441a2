//! What happens before a port is opened: settings, logs, data directory, certificates.

use mfsha_core::exports::Exports;
use mfsha_core::rng::Seed;
use mfsha_core::transport::{Address, Start};
use sd_notify::NotifyState;
use tracing::{info, warn};

use crate::cli::{Cli, CliError, exit};
use crate::clients::CLIENTS_MAX;
use crate::config::{Configuration, Environment, is_this_machine};
use crate::data_dir::DataDir;
use crate::import;
use crate::logs::{self, LogControl};
use crate::mounts;
use crate::room;
use crate::tls::{Tls, TlsFiles};

/// Everything that a process needs before it opens a port.
pub(super) struct Prepared {
    pub(super) configuration: Configuration,
    pub(super) logs: LogControl,
    pub(super) directory: DataDir,
    pub(super) address: Address,
    pub(super) start: Start,
    pub(super) tls: Option<Tls>,
    /// Who may mount what, when there is a port for mounts.
    pub(super) exports: Option<Exports>,
    /// Connections that there is room for.
    pub(super) places: usize,
}

/// Why a process does not start.
pub(super) struct Failure {
    /// What to exit with.
    pub(super) code: u8,
    reason: String,
}

impl Failure {
    fn new(code: u8, reason: impl ToString) -> Self {
        Self {
            code,
            reason: reason.to_string(),
        }
    }

    /// Says it where an operator looks first.
    pub(super) fn tell(&self) {
        eprintln!("mfsha: {}", self.reason);
    }
}

/// Prepares a start.
pub(super) fn prepare(cli: &Cli) -> Result<Prepared, Failure> {
    let usage = |reason: String| Failure::new(exit::USAGE, reason);
    let inputs = cli
        .inputs(Environment::Process)
        .map_err(|error| usage(error.to_string()))?;
    let configuration = Configuration::load(inputs).map_err(|error| usage(error.to_string()))?;
    let settings = configuration.settings();
    let logs = logs::start(settings.log_filter(), settings.log_format())
        .map_err(|error| usage(error.to_string()))?;
    for warning in configuration.warnings() {
        warn!("{warning}");
    }
    let directory = DataDir::open(settings.data_path(), settings.node_id())
        .map_err(|error| Failure::new(error.exit_code(), error))?;
    let identity = directory.identity();
    let address = settings
        .own_address(identity.node, &is_this_machine)
        .map_err(|error| usage(error.to_string()))?;
    let start = cli
        .start(settings, (identity.node, &address), identity.is_formed())
        .map_err(|error| usage(error.to_string()))?;
    if let Some(option) = cli.start.option().filter(|_| identity.is_formed()) {
        info!(
            data = %directory.path().display(),
            cluster = %identity.cluster(),
            "{option} has no effect: the data directory belongs to a cluster already"
        );
    }
    maybe_import(cli, &directory)?;
    let tls = match settings.tls() {
        Some(paths) => {
            let files = TlsFiles {
                ca: paths.ca,
                certificate: paths.cert,
                key: paths.key,
                node: Some(identity.node),
            };
            Some(Tls::load(files).map_err(|error| usage(error.to_string()))?)
        }
        None => None,
    };
    let segments_max = settings.wal_options(identity.node).segments_max;
    let places = room::places(segments_max, CLIENTS_MAX as u64);
    let exports = match settings.mounts_port() {
        Some(_) => {
            let (exports, warnings) =
                mounts::read_exports(settings.exports_path()).map_err(usage)?;
            for warning in warnings {
                warn!("{warning}");
            }
            Some(exports)
        }
        None => None,
    };
    info!(
        version = env!("CARGO_PKG_VERSION"),
        node = identity.node.0,
        %address,
        data = %directory.path().display(),
        tls = tls.is_some(),
        "starting"
    );
    Ok(Prepared {
        logs,
        address,
        start,
        tls,
        exports,
        places,
        directory,
        configuration,
    })
}

/// Imports what the command line names, before anything of a cluster is there.
fn maybe_import(cli: &Cli, directory: &DataDir) -> Result<(), Failure> {
    let data_path = || directory.path().display().to_string();
    let usage = |error: CliError| Failure::new(exit::USAGE, error);
    let is_formed = directory.identity().is_formed();
    let Some(file) = &cli.start.import_metadata else {
        return match import::left_in(directory).filter(|_| !is_formed) {
            Some(left) => Err(usage(CliError::ImportLeft {
                data_path: data_path(),
                left: left.display().to_string(),
            })),
            None => Ok(()),
        };
    };
    if is_formed {
        return Err(usage(CliError::ImportFormed {
            data_path: data_path(),
        }));
    }
    notify_phase("imports metadata.mfs");
    import::import(directory, file, &mut notify_alive)
        .map_err(|error| Failure::new(error.exit_code(), error))
}

/// Tells systemd that a start which takes long goes on.
fn notify_alive() {
    notify(&[NotifyState::ExtendTimeoutUsec(60_000_000)]);
}

/// Tells systemd, when it started the process, that the ports are open. It is not told later, when
/// the node serves: with others still to come that may take as long as they like, and a start must
/// not be given up for it.
pub(super) fn notify_ready() {
    notify(&[
        NotifyState::Ready,
        NotifyState::Status("waits for its cluster"),
    ]);
}

/// Tells systemd what the process does now.
pub(super) fn notify_phase(phase: &str) {
    notify(&[NotifyState::Status(phase)]);
}

/// Tells systemd that the process is ending.
pub(super) fn notify_stopping() {
    notify(&[NotifyState::Stopping, NotifyState::Status("ends")]);
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!("systemd cannot be told: {error}");
    }
}

/// 64 bits that no other start has.
pub(super) fn random_u64() -> Result<u64, String> {
    getrandom::u64().map_err(|error| format!("the system has no randomness: {error}"))
}

/// A seed that no other start has.
pub(super) fn random_seed() -> Result<Seed, String> {
    let mut seed = Seed::from_u64(random_u64()?);
    // The root takes 64 bits; children add the rest.
    for _ in 0..3 {
        seed = seed.index(random_u64()?);
    }
    Ok(seed)
}
