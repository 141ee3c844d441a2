//! The command line of `mfsha`.
//!
//! Parsed here, and turned into what [`crate::config`] and the transport are given. What is done
//! with it is `main`'s.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory, Parser, Subcommand};
use mfsha_core::id::NodeId;
use mfsha_core::transport::{Address, PeerAddress, Start};

use crate::config::{
    Environment, Given, Inputs, Key, NAME_BYTES_MAX, PeersError, Settings, meant, parse_peers,
};

/// The configuration that is read when no other is named, if it exists.
pub const DEFAULT_CONFIG: &str = "/etc/mfsha/mfsha.cfg";

/// Exit codes, as `docs/operations.md` has them.
pub mod exit {
    /// Everything went well.
    pub const OK: u8 = 0;
    /// The command line or a setting is wrong.
    pub const USAGE: u8 = 64;
    /// The data directory is damaged, or belongs to somebody else.
    pub const DATA: u8 = 65;
    /// Something that is needed is in use: a port, or the data directory.
    pub const UNAVAILABLE: u8 = 69;
    /// A bug; a panic that nobody caught gives 101.
    pub const BUG: u8 = 70;
    /// The system refused: no permission, no space, a failed read or write.
    pub const SYSTEM: u8 = 74;
}

/// The metadata server of mfsha: one node of a cluster. Without a command it runs in the
/// foreground until SIGTERM or SIGINT.
// Not `Debug`: what is set may be a secret.
#[derive(Clone, Parser)]
#[command(
    name = "mfsha",
    version,
    max_term_width = 100,
    after_help = "Every key of mfsha.cfg can be given as a variable of the environment and with --set.\n\
        Three nodes, on each the same list and its own number:\n  \
        mfsha --node-id=1 --bind=10.0.0.1 --peers=10.0.0.1,10.0.0.2,10.0.0.3 --data-path=DIR --bootstrap"
)]
pub struct Cli {
    /// Settings.
    #[command(flatten)]
    pub settings: SettingArgs,
    /// How the node comes into a cluster.
    #[command(flatten)]
    pub start: StartArgs,
    /// What to do instead of running.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Options that stand for settings.
#[derive(Clone, Default, Args)]
#[command(next_help_heading = "Settings")]
pub struct SettingArgs {
    /// Read this configuration [default: /etc/mfsha/mfsha.cfg, if it exists]
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// Number of this node (MFSHA_NODE_ID)
    #[arg(long, value_name = "N", global = true)]
    pub node_id: Option<String>,
    /// Address to listen at (BIND_HOST)
    #[arg(long, value_name = "HOST", global = true)]
    pub bind: Option<String>,
    /// Where others reach this node (MFSHA_ADVERTISE_HOST)
    #[arg(long, value_name = "HOST", global = true)]
    pub advertise: Option<String>,
    /// Port for peers, clients and operators (MFSHA_PORT)
    #[arg(long, value_name = "PORT", global = true)]
    pub port: Option<String>,
    /// Port for metrics, health and the status page; 0 for none (MFSHA_HTTP_PORT)
    #[arg(long, value_name = "PORT", global = true)]
    pub http_port: Option<String>,
    /// The nodes: HOST, HOST:PORT, ID@HOST or ID@HOST:PORT (MFSHA_PEERS)
    #[arg(long, value_name = "NODE,NODE,...", global = true)]
    pub peers: Option<String>,
    /// The data directory (DATA_PATH)
    #[arg(long, value_name = "DIR", global = true)]
    pub data_path: Option<String>,
    /// What is logged (MFSHA_LOG_LEVEL)
    #[arg(long, value_name = "FILTER", global = true)]
    pub log_level: Option<String>,
    /// Give any key a value; may be repeated
    #[arg(long, value_name = "KEY=VALUE", global = true)]
    pub set: Vec<String>,
}

/// How a node that is of no cluster yet comes into one.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "A new data directory needs one of these")]
pub struct StartArgs {
    /// Form a new cluster together with all nodes of --peers, each started with the same list
    #[arg(long)]
    pub bootstrap: bool,
    /// Form a new cluster of this node alone, which others join
    #[arg(long)]
    pub init_cluster: bool,
    /// Join the cluster of the node that --peer names
    #[arg(long)]
    pub join_cluster: bool,
    /// A node of the cluster to join; may be repeated
    #[arg(long, value_name = "HOST[:PORT]")]
    pub peer: Vec<String>,
    /// With --init-cluster: begin with what a stopped mfsmaster 3.0.117 left in this metadata.mfs
    #[arg(long, value_name = "FILE", requires = "init_cluster")]
    pub import_metadata: Option<PathBuf>,
}

/// What to do instead of running.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Show every setting with its source, and what is wrong; 64 when something is
    CheckConfig {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Read a metadata.mfs of MooseFS to its end and say what is in it; 65 when it is damaged
    CheckMetadata {
        /// The file; it is only read
        file: PathBuf,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Print a commented mfsha.cfg with every key
    PrintConfig,
    /// Print what completes options in a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man,
    /// Check the state in the data directory of a node that does not run
    #[command(hide = true)]
    VerifyState,
}

/// Why a command line cannot be carried out. Exit code [`exit::USAGE`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CliError {
    /// `--set` without `=`.
    #[error("--set {text}: write --set KEY=VALUE")]
    SetForm {
        /// What was given; the part that may be a secret is left out.
        text: String,
    },
    /// `--set` of a key that does not exist.
    #[error("--set {name}: there is no key {name:?}{}", meant(*.nearest))]
    UnknownKey {
        /// What was given.
        name: String,
        /// The one that was meant, perhaps.
        nearest: Option<Key>,
    },
    /// Two ways into a cluster at once.
    #[error(
        "{first} and {second} exclude each other: --bootstrap forms a cluster of all --peers, \
         --init-cluster forms one of this node alone, --join-cluster joins one that exists"
    )]
    TwoStarts {
        /// One.
        first: &'static str,
        /// The other.
        second: &'static str,
    },
    /// `--join-cluster` without anybody to ask.
    #[error(
        "--join-cluster needs a node of the cluster: add --peer=HOST[:PORT], or set MFSHA_PEERS"
    )]
    JoinWhom,
    /// `--peer` without `--join-cluster`.
    #[error(
        "--peer names a node of the cluster to join: add --join-cluster; to form a cluster of \
         several nodes give them all with --peers and --bootstrap"
    )]
    PeerWithoutJoin,
    /// `--peer` that is no node.
    #[error("--peer {text}: {reason}")]
    Peer {
        /// What was given.
        text: String,
        /// What is wrong with it.
        reason: PeersError,
    },
    /// `--bootstrap` without peers.
    #[error(
        "--bootstrap needs the nodes of the new cluster: give the same list to each of them with \
         --peers or MFSHA_PEERS; for a cluster of this node alone use --init-cluster"
    )]
    BootstrapWhom,
    /// Peers whose list has another address for this node.
    #[error(
        "MFSHA_PEERS has node {} at {listed}, but this node has that id and is reached at {own}; \
         correct one of them (MFSHA_ADVERTISE_HOST, MFSHA_PEERS)", .node.0
    )]
    OwnAddress {
        /// This node.
        node: NodeId,
        /// Where the list has it.
        listed: Address,
        /// Where it is reached.
        own: Address,
    },
    /// The list has this node's address under another id.
    #[error(
        "MFSHA_PEERS has node {} at {address}, but that is this node, whose id is {}; correct \
         MFSHA_NODE_ID or MFSHA_PEERS", .listed.0, .own.0
    )]
    OwnNode {
        /// The id in the list.
        listed: NodeId,
        /// This node's.
        own: NodeId,
        /// This node's address.
        address: Address,
    },
    /// A node of no cluster, and no word how it comes into one.
    #[error(
        "{data_path} belongs to no cluster yet: start with --bootstrap (a new cluster of all \
         --peers), --init-cluster (a new one of this node alone) or --join-cluster --peer=HOST \
         (one that exists)"
    )]
    NoStart {
        /// The data directory.
        data_path: String,
    },
    /// An import into a cluster that is there.
    #[error(
        "--import-metadata: {data_path} belongs to a cluster already, and keeps what it has: start \
         without --import-metadata, or import into an empty directory"
    )]
    ImportFormed {
        /// The data directory.
        data_path: String,
    },
    /// An import that was cut short, and no word of going on with it.
    #[error(
        "{data_path} holds an import that did not end: give --import-metadata again to begin it \
         anew, or remove {left} to go on without it"
    )]
    ImportLeft {
        /// The data directory.
        data_path: String,
        /// What is left of the import.
        left: String,
    },
    /// An option of starting beside a command that starts nothing.
    #[error("{option} starts a node; leave it out beside a command")]
    StartBesideCommand {
        /// The option.
        option: &'static str,
    },
}

impl Cli {
    /// Parses the command line of the process. When there is nothing to run (help, a version, a
    /// wrong option), says so and gives the exit code.
    ///
    /// # Errors
    /// The exit code; what there was to say has been said.
    pub fn parse_or_exit_code<I, T>(arguments: I) -> Result<Self, u8>
    where
        I: IntoIterator<Item = T>,
        T: Into<OsString> + Clone,
    {
        Self::try_parse_from(arguments).map_err(|error| {
            // Nobody is left to hear that nobody listens.
            let _ = error.print();
            if error.use_stderr() {
                exit::USAGE
            } else {
                exit::OK
            }
        })
    }

    /// Where the configuration is read from.
    ///
    /// # Errors
    /// [`CliError::SetForm`] or [`CliError::UnknownKey`].
    pub fn inputs(&self, environment: Environment) -> Result<Inputs, CliError> {
        let default = Path::new(DEFAULT_CONFIG);
        let file = match &self.settings.config {
            Some(path) => Some(path.clone()),
            // A broken link there, or no permission, is for the reader to report.
            None => default.symlink_metadata().is_ok().then(|| default.into()),
        };
        Ok(Inputs {
            file,
            environment,
            command_line: self.settings.given()?,
        })
    }

    /// How the node comes into a cluster, for the transport. `own` is this node and where others
    /// reach it. The transport ignores it when the node is of a cluster already.
    ///
    /// # Errors
    /// [`CliError`], but for the variants of [`Self::inputs`].
    pub fn start(
        &self,
        settings: &Settings,
        own: (NodeId, &Address),
        formed: bool,
    ) -> Result<Start, CliError> {
        let start = &self.start;
        if !start.peer.is_empty() && !start.join_cluster {
            return Err(CliError::PeerWithoutJoin);
        }
        let chosen = start.chosen();
        if let [first, second, ..] = chosen[..] {
            return Err(CliError::TwoStarts { first, second });
        }
        check_own(settings, own)?;
        if start.bootstrap {
            return together(settings, own);
        }
        if start.join_cluster {
            return start.join(settings, own);
        }
        match (start.init_cluster, formed) {
            (_, true) => Ok(known(settings, own)),
            (true, false) => Ok(Start::Alone),
            (false, false) => Err(CliError::NoStart {
                data_path: settings.data_path().display().to_string(),
            }),
        }
    }

    /// Refuses options of starting beside a command.
    ///
    /// # Errors
    /// [`CliError::StartBesideCommand`].
    pub fn check_command(&self) -> Result<(), CliError> {
        let peer = (!self.start.peer.is_empty()).then_some("--peer");
        let chosen = self.start.chosen();
        match (&self.command, chosen.first().copied().or(peer)) {
            (Some(_), Some(option)) => Err(CliError::StartBesideCommand { option }),
            _ => Ok(()),
        }
    }
}

impl SettingArgs {
    fn given(&self) -> Result<Vec<Given>, CliError> {
        let options = [
            ("--node-id", Key::NodeId, &self.node_id),
            ("--bind", Key::BindHost, &self.bind),
            ("--advertise", Key::AdvertiseHost, &self.advertise),
            ("--port", Key::Port, &self.port),
            ("--http-port", Key::HttpPort, &self.http_port),
            ("--peers", Key::Peers, &self.peers),
            ("--data-path", Key::DataPath, &self.data_path),
            ("--log-level", Key::LogLevel, &self.log_level),
        ];
        let mut given: Vec<_> = options
            .into_iter()
            .filter_map(|(option, key, text)| {
                let text = text.clone()?;
                let option = option.to_owned();
                Some(Given { option, key, text })
            })
            .collect();
        for set in &self.set {
            let Some((name, text)) = set.split_once('=') else {
                let name = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
                let text = set.chars().take_while(name).take(NAME_BYTES_MAX).collect();
                return Err(CliError::SetForm { text });
            };
            let name = name.trim();
            let Some(key) = Key::named(name) else {
                let nearest = Key::nearest(name);
                let name = name.chars().take(100).collect();
                return Err(CliError::UnknownKey { name, nearest });
            };
            given.push(Given {
                option: format!("--set {}", key.name()),
                key,
                text: text.into(),
            });
        }
        Ok(given)
    }
}

impl StartArgs {
    /// The option that says how a new data directory comes into a cluster, when one is given.
    #[must_use]
    pub fn option(&self) -> Option<&'static str> {
        self.chosen().first().copied()
    }

    fn chosen(&self) -> Vec<&'static str> {
        let all = [
            (self.bootstrap, "--bootstrap"),
            (self.init_cluster, "--init-cluster"),
            (self.join_cluster, "--join-cluster"),
        ];
        let chosen = all.into_iter().filter(|(given, _)| *given);
        chosen.map(|(_, name)| name).collect()
    }

    fn join(&self, settings: &Settings, own: (NodeId, &Address)) -> Result<Start, CliError> {
        let mut nodes = Vec::new();
        for text in &self.peer {
            let peers = parse_peers(text).map_err(|reason| CliError::Peer {
                text: text.chars().take(100).collect(),
                reason,
            })?;
            nodes.extend(peers.iter().map(|peer| peer.address(settings.port())));
        }
        nodes.extend(settings.peer_addresses());
        let nodes = others(nodes, own);
        match nodes.is_empty() {
            true => Err(CliError::JoinWhom),
            false => Ok(Start::Join { nodes }),
        }
    }
}

/// Those who are not this node, each once.
fn others(mut nodes: Vec<PeerAddress>, own: (NodeId, &Address)) -> Vec<PeerAddress> {
    nodes.retain(|peer| peer.node != Some(own.0) && &peer.address != own.1);
    // With and without its id is the same node.
    nodes.sort_by(|a, b| (&a.address, b.node).cmp(&(&b.address, a.node)));
    nodes.dedup_by(|a, b| a.address == b.address);
    nodes
}

/// A node of a cluster looks for its peers at the addresses that it remembers, and at those of
/// `MFSHA_PEERS`: all may have moved, or the data directory is of another cluster than they are.
fn known(settings: &Settings, own: (NodeId, &Address)) -> Start {
    let nodes = others(settings.peer_addresses(), own);
    match nodes.is_empty() {
        true => Start::Known,
        false => Start::Together { nodes },
    }
}

/// What the list says of this node must be what this node says of itself.
pub(crate) fn check_own(
    settings: &Settings,
    (node, own): (NodeId, &Address),
) -> Result<(), CliError> {
    for peer in settings.peer_addresses() {
        let Some(listed) = peer.node else { continue };
        if listed == node && &peer.address != own {
            return Err(CliError::OwnAddress {
                node,
                listed: peer.address,
                own: own.clone(),
            });
        }
        if listed != node && &peer.address == own {
            return Err(CliError::OwnNode {
                listed,
                own: node,
                address: peer.address,
            });
        }
    }
    Ok(())
}

/// All nodes, this one included, whether the list has it or not.
fn together(settings: &Settings, (node, own): (NodeId, &Address)) -> Result<Start, CliError> {
    let mut nodes = settings.peer_addresses();
    if nodes.is_empty() {
        return Err(CliError::BootstrapWhom);
    }
    match nodes.iter_mut().find(|peer| &peer.address == own) {
        Some(peer) => peer.node = Some(node),
        None => nodes.push(PeerAddress {
            node: Some(node),
            address: own.clone(),
        }),
    }
    nodes.sort_by(|a, b| a.address.cmp(&b.address));
    Ok(Start::Together { nodes })
}

/// What completes options in a shell.
#[must_use]
pub fn completions(shell: clap_complete::Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "mfsha", &mut script);
    script
}

/// The manual page, in troff.
///
/// # Panics
/// Never: memory takes it.
#[must_use]
pub fn manual() -> Vec<u8> {
    let mut page = Vec::new();
    let manual = clap_mangen::Man::new(Cli::command());
    manual.render(&mut page).expect("memory takes it");
    page
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::Configuration;

    fn cli(line: &str) -> Cli {
        Cli::try_parse_from(line.split_whitespace()).unwrap_or_else(|error| panic!("{error}"))
    }

    fn settings(cli: &Cli) -> Settings {
        let mut inputs = cli.inputs(Environment::Fixed(BTreeMap::new())).unwrap();
        if cli.settings.config.is_none() {
            inputs.file = None; // The machine's own is not this test's.
        }
        Configuration::load(inputs).unwrap().settings().clone()
    }

    fn start(line: &str, formed: bool) -> Result<Start, CliError> {
        let cli = cli(line);
        let settings = settings(&cli);
        let node = settings.node_id().unwrap();
        let own = settings.own_address(node, &|_| false).unwrap();
        cli.start(&settings, (node, &own), formed)
    }

    fn shown(nodes: &[PeerAddress]) -> Vec<String> {
        let id = |peer: &PeerAddress| peer.node.map_or(0, |node| node.0);
        let nodes = nodes.iter();
        nodes
            .map(|peer| format!("{}@{}", id(peer), peer.address))
            .collect()
    }

    #[test]
    fn the_definition_holds() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_guide_s_line_starts_a_node() {
        let line = "mfsha --node-id=2 --bind=10.0.0.2 --peers=10.0.0.1,10.0.0.2,10.0.0.3 \
                    --data-path=DIR --bootstrap";
        let Ok(Start::Together { nodes }) = start(line, false) else {
            panic!("it forms a cluster");
        };
        let expected = ["0@10.0.0.1:9430", "2@10.0.0.2:9430", "0@10.0.0.3:9430"];
        assert_eq!(shown(&nodes), expected);
    }

    #[test]
    fn a_list_without_this_node_means_it_too() {
        let line = "mfsha --node-id=2 --bind=b --peers=a,c:1 --port 7 --bootstrap";
        let Ok(Start::Together { nodes }) = start(line, true) else {
            panic!("it forms a cluster");
        };
        assert_eq!(shown(&nodes), ["0@a:7", "2@b:7", "0@c:1"]);
    }

    #[test]
    fn whoever_joins_asks_every_node_it_knows_but_itself() {
        let line = "mfsha --node-id=4 --bind=d --join-cluster --peer a --peer=[::1]:5 --peers=b,d";
        let Ok(Start::Join { nodes }) = start(line, false) else {
            panic!("it joins");
        };
        assert_eq!(shown(&nodes), ["0@[::1]:5", "0@a:9430", "0@b:9430"]);
        // With and without its id is the same node.
        let twice = "mfsha --node-id=4 --bind=d --join-cluster --peer=a --peers=1@a,2@b";
        let Ok(Start::Join { nodes }) = start(twice, false) else {
            panic!("it joins");
        };
        assert_eq!(shown(&nodes), ["1@a:9430", "2@b:9430"]);
    }

    #[test]
    fn an_import_is_the_beginning_of_a_cluster_of_one() {
        let import = "--import-metadata=/tmp/metadata.mfs";
        for other in ["", "--bootstrap", "--join-cluster --peer=b"] {
            let line = format!("mfsha --node-id=1 --bind=a {other} {import}");
            assert!(
                Cli::try_parse_from(line.split_whitespace()).is_err(),
                "{line}"
            );
        }
        let line = format!("mfsha --node-id=1 --bind=a --init-cluster {import}");
        assert_eq!(start(&line, false), Ok(Start::Alone));
    }

    #[test]
    fn the_way_into_a_cluster_is_needed_once() {
        let line = "mfsha --node-id=1 --bind=a --peers=a,b --data-path=/srv/x";
        let Ok(Start::Together { nodes }) = start(line, true) else {
            panic!("its peers are looked for where the list has them");
        };
        assert_eq!(shown(&nodes), ["0@b:9430"]);
        let nobody = "mfsha --node-id=1 --bind=a --init-cluster";
        assert_eq!(start(nobody, true), Ok(Start::Known));
        let twice = "mfsha --node-id=1 --bind=a --peers=b,3@b:9430";
        let Ok(Start::Together { nodes }) = start(twice, true) else {
            panic!("it knows a peer");
        };
        assert_eq!(shown(&nodes), ["3@b:9430"]);
        let said = start(line, false).unwrap_err().to_string();
        assert!(
            said.starts_with("/srv/x belongs to no cluster yet"),
            "{said}"
        );
        let alone = "mfsha --node-id=1 --bind=a --init-cluster";
        assert_eq!(start(alone, false), Ok(Start::Alone));
    }

    #[test]
    fn wrong_combinations_are_told_what_to_do() {
        for (line, part) in [
            (
                "--bootstrap --init-cluster",
                "--bootstrap and --init-cluster exclude each other",
            ),
            (
                "--init-cluster --join-cluster --peer b",
                "exclude each other",
            ),
            ("--join-cluster", "add --peer=HOST[:PORT]"),
            ("--join-cluster --peer a", "add --peer=HOST[:PORT]"),
            ("--peer b", "add --join-cluster"),
            (
                "--bootstrap --peer b",
                "give them all with --peers and --bootstrap",
            ),
            (
                "--join-cluster --peer b:x",
                "--peer b:x: \"b:x\" has no port",
            ),
            (
                "--bootstrap",
                "for a cluster of this node alone use --init-cluster",
            ),
            (
                "--bootstrap --peers 1@x,b --advertise a",
                "has node 1 at x:9430, but this node",
            ),
            (
                "--bootstrap --peers 2@a,b",
                "has node 2 at a:9430, but that is this node",
            ),
        ] {
            let line = format!("mfsha --node-id=1 --bind=a {line}");
            let said = start(&line, false).expect_err(&line).to_string();
            assert!(said.contains(part), "{line}: {said}");
        }
        for (line, part) in [
            (
                "mfsha --set MFSHA_AUTH_TOKEN:secret-secret-secret",
                "write --set KEY=VALUE",
            ),
            ("mfsha --set MFSHA_PROT=1", "is MFSHA_PORT meant?"),
        ] {
            let error = cli(line)
                .inputs(Environment::Process)
                .expect_err(line)
                .to_string();
            assert!(
                error.contains(part) && !error.contains("secret-secret"),
                "{error}"
            );
        }
        let error = cli("mfsha --bootstrap check-config").check_command();
        let option = "--bootstrap";
        assert_eq!(error, Err(CliError::StartBesideCommand { option }));
        assert_eq!(cli("mfsha check-config").check_command(), Ok(()));
    }

    #[test]
    fn options_are_settings_and_stand_before_or_behind_a_command() {
        for line in [
            "mfsha --port 5 --http-port 0 --log-level debug --set HA_RAFT_PRIORITY=9 check-config --json",
            "mfsha check-config --json --port 5 --http-port 0 --log-level debug --set HA_RAFT_PRIORITY=9",
        ] {
            let cli = cli(line);
            assert!(matches!(
                cli.command,
                Some(Command::CheckConfig { json: true })
            ));
            let settings = settings(&cli);
            assert_eq!((settings.port(), settings.http_port()), (5, None));
            assert_eq!((settings.priority(), settings.log_filter()), (9, "debug"));
        }
        let cli = cli("mfsha --config /x/y");
        let inputs = cli.inputs(Environment::Process).unwrap();
        assert_eq!(inputs.file, Some("/x/y".into()));
        let given = Cli::try_parse_from(["mfsha", "--port", "5", "--set", "MFSHA_PORT=6"]);
        let mut inputs = given
            .unwrap()
            .inputs(Environment::Fixed(BTreeMap::new()))
            .unwrap();
        inputs.file = None;
        let error = Configuration::load(inputs).unwrap_err().to_string();
        assert!(error.contains("was given before, with --port"), "{error}");
    }

    #[test]
    fn a_wrong_option_ends_with_64_and_help_with_0() {
        let code = |line: &str| Cli::parse_or_exit_code(line.split_whitespace()).err();
        assert_eq!(code("mfsha --nonsense"), Some(exit::USAGE));
        assert_eq!(code("mfsha nonsense"), Some(exit::USAGE));
        assert_eq!(code("mfsha --version"), Some(exit::OK));
        assert_eq!(code("mfsha --bootstrap"), None);
    }

    #[test]
    fn the_unit_does_not_repeat_a_start_that_cannot_go_better() {
        let unit = include_str!("../packaging/mfsha.service");
        let line = format!(
            "\nRestartPreventExitStatus={} {}\n",
            exit::USAGE,
            exit::DATA
        );
        assert!(unit.contains(&line), "{line}");
    }

    #[test]
    fn shells_and_the_manual_know_the_options() {
        let manual = String::from_utf8(manual()).unwrap();
        assert!(manual.contains("init\\-cluster"), "{manual}");
        for shell in [clap_complete::Shell::Bash, clap_complete::Shell::Zsh] {
            let script = String::from_utf8(completions(shell)).unwrap();
            assert!(script.contains("--join-cluster"));
            assert!(script.contains("check-config"));
        }
    }
}
