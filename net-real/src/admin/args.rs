//! Arguments of `mfsha-admin`. What is written here is what `--help` and the manual show.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, CommandFactory, Parser, Subcommand};
use mfsha_client::{Address, ClientOptions, TlsFiles};
use mfsha_core::id::{CsId, NodeId};

use super::from_file::FromFile;
use super::output::Failure;

/// Nodes that are asked when none are named.
const NODES_DEFAULT: &str = "127.0.0.1:9430";

const EXIT_CODES: &str = "Exit codes:
  0   done
  1   refused, or not done in time; nothing happened
  2   the outcome is not known: it may or may not have happened
  64  wrong arguments, or files that cannot be used
  69  no node can be reached";

/// Looks after an mfsha cluster: its nodes, its members, its settings, its tree.
#[derive(Debug, Parser)]
#[command(name = "mfsha-admin", version, about, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Args)]
pub struct Common {
    /// Read nodes, port, token and TLS from this mfsha.cfg, as a node does; options and variables
    /// of the environment stand above it
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// Nodes to ask, with commas; one that answers is enough. Without it MFSHA_NODES, then those of
    /// --config, then 127.0.0.1:9430
    #[arg(long, value_name = "HOST[:PORT],...", global = true)]
    pub nodes: Option<String>,
    /// Token of the cluster. Without it MFSHA_AUTH_TOKEN, which other users of this machine do not
    /// see
    #[arg(long, global = true)]
    pub token: Option<String>,
    /// Certificates of the authority that nodes are checked by, PEM; turns TLS on. Without it
    /// MFSHA_TLS_CA
    #[arg(long, value_name = "FILE", global = true)]
    pub tls_ca: Option<PathBuf>,
    /// Own certificate, PEM. Without it MFSHA_TLS_CERT
    #[arg(long, value_name = "FILE", global = true)]
    pub tls_cert: Option<PathBuf>,
    /// Key of the own certificate, PEM. Without it MFSHA_TLS_KEY
    #[arg(long, value_name = "FILE", global = true)]
    pub tls_key: Option<PathBuf>,
    /// How long the command may take, as 500ms, 10s or 5m. Without it 30s; for add-node,
    /// snapshot and export-metadata an hour
    #[arg(long, value_name = "TIME", value_parser = parse_time, global = true)]
    pub timeout: Option<Duration>,
    /// Print JSON, for programs
    #[arg(long, global = true)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show all nodes: who leads, who follows, who is behind, what is wrong
    Status,
    /// Show all that one node says of itself
    NodeStatus {
        /// The node; without it the leader
        #[arg(value_parser = parse_node)]
        node: Option<NodeId>,
    },
    /// Show consensus at each node that answers
    RaftStats,
    /// Hand leadership to a voter, and wait until it leads
    TransferLeader {
        /// Who shall lead
        #[arg(value_parser = parse_node)]
        node: NodeId,
    },
    /// Make a running node a member: a learner first, a voter when it has caught up. Asked again,
    /// it goes on where it stopped
    AddNode {
        /// The new node's id
        #[arg(value_parser = parse_node)]
        node: NodeId,
    },
    /// Take a node out; when it leads, another takes over first
    RemoveNode {
        /// Its id
        #[arg(value_parser = parse_node)]
        node: NodeId,
        /// Also when fewer than a majority of those who stay answer
        #[arg(long)]
        force: bool,
    },
    /// Keep a snapshot of the state and shorten the log
    Snapshot {
        /// At which node; without it the leader
        #[arg(value_parser = parse_node)]
        node: Option<NodeId>,
    },
    /// Write the state as it is now to a metadata.mfs that mfsmaster 3.0.117 starts from. Clients
    /// are to be unmounted before
    ExportMetadata {
        /// The new file; one that is there is left alone
        file: PathBuf,
    },
    /// Look at settings, or change them until the next start
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Have nodes read mfsha.cfg again; without --node all that answer
    ReloadConfig {
        #[command(flatten)]
        which: Which,
    },
    /// Chunkservers: which there are, which will not come back, which are being worked on
    #[command(subcommand)]
    Chunkserver(Chunkserver),
    /// Work on the tree, as root
    #[command(subcommand)]
    Fs(Fs),
    /// Print completions for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man,
}

#[derive(Clone, Copy, Debug, Args)]
pub struct Which {
    /// Only this node
    #[arg(long, value_parser = parse_node, conflicts_with = "all")]
    pub node: Option<NodeId>,
    /// All nodes; needs every one of them to answer
    #[arg(long)]
    pub all: bool,
}

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Show one setting, or all
    Get {
        /// Its key, as in mfsha.cfg
        key: Option<String>,
        /// At this node; without it the leader
        #[arg(long, value_parser = parse_node)]
        node: Option<NodeId>,
    },
    /// Give a setting another value until the next start; without --node at all nodes that answer
    Set {
        /// Its key, as in mfsha.cfg
        key: String,
        /// Its new value
        value: String,
        #[command(flatten)]
        which: Which,
    },
}

#[derive(Debug, Subcommand)]
pub enum Chunkserver {
    /// Show all that have registered, as the leader sees them
    List,
    /// Remove one that will not come back: what it alone had is lost, and may be told so or
    /// repaired. It must not be connected
    Forget {
        /// Its number, as list shows it
        #[arg(value_parser = parse_chunkserver)]
        csid: CsId,
    },
    /// While one is in maintenance and away, what it has is not copied anew
    Maintenance {
        /// Its number, as list shows it
        #[arg(value_parser = parse_chunkserver)]
        csid: CsId,
        /// Begin or end it
        #[arg(value_name = "on|off")]
        wish: Switch,
        /// It ends by itself after this time, as 30m or 12h; without it when it is told to
        #[arg(long = "for", value_name = "TIME", value_parser = parse_time)]
        duration: Option<Duration>,
    },
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Switch {
    On,
    Off,
}

#[derive(Debug, Subcommand)]
pub enum Fs {
    /// List a directory
    Ls {
        /// The directory
        #[arg(default_value = "/")]
        path: OsString,
    },
    /// Show a node's attributes; of a symbolic link its own
    Stat {
        /// Its path
        path: OsString,
    },
    /// Show a directory and all below it
    Tree {
        /// The directory
        #[arg(default_value = "/")]
        path: OsString,
        /// Levels to go down
        #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        depth: u32,
    },
    /// Make a directory
    Mkdir {
        /// Its path
        path: OsString,
        /// Permission bits, octal
        #[arg(long, short, default_value = "755", value_parser = parse_mode)]
        mode: u16,
    },
    /// Make an empty file
    Create {
        /// Its path
        path: OsString,
        /// Permission bits, octal
        #[arg(long, short, default_value = "644", value_parser = parse_mode)]
        mode: u16,
    },
    /// Rename; what has the new name already is replaced
    Mv {
        /// Old path
        from: OsString,
        /// New path, the name included
        to: OsString,
    },
    /// Take away the name of anything but a directory
    Rm {
        /// Its path
        path: OsString,
    },
    /// Remove an empty directory
    Rmdir {
        /// Its path
        path: OsString,
    },
    /// Make another name for a node, or a symbolic link
    Ln {
        /// A path; with -s any text
        target: OsString,
        /// Path of the new name
        path: OsString,
        /// A symbolic link
        #[arg(short, long)]
        symbolic: bool,
    },
    /// Show where a symbolic link leads
    Readlink {
        /// Its path
        path: OsString,
    },
    /// Set attributes
    Setattr {
        /// Path of the node
        path: OsString,
        /// Permission bits, octal
        #[arg(long, value_parser = parse_mode)]
        mode: Option<u16>,
        /// Owner
        #[arg(long)]
        uid: Option<u32>,
        /// Group
        #[arg(long)]
        gid: Option<u32>,
        /// Access time, seconds since 1970, or now
        #[arg(long, value_parser = parse_set_time)]
        atime: Option<SetTimeArg>,
        /// Modification time, seconds since 1970, or now
        #[arg(long, value_parser = parse_set_time)]
        mtime: Option<SetTimeArg>,
    },
    /// Set a file's length
    Truncate {
        /// Its path
        path: OsString,
        /// New length, bytes
        length: u64,
    },
    /// Extended attributes
    #[command(subcommand)]
    Xattr(Xattr),
    /// Show sums of the file system
    Statfs,
}

#[derive(Debug, Subcommand)]
pub enum Xattr {
    /// Show one value
    Get {
        /// Path of the node
        path: OsString,
        /// Name of the attribute
        name: OsString,
    },
    /// Set a value, new or not
    Set {
        /// Path of the node
        path: OsString,
        /// Name of the attribute
        name: OsString,
        /// Its value
        value: OsString,
    },
    /// List names
    List {
        /// Path of the node
        path: OsString,
    },
    /// Take one away
    Rm {
        /// Path of the node
        path: OsString,
        /// Name of the attribute
        name: OsString,
    },
}

/// A time to be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetTimeArg {
    Now,
    At(u32),
}

impl Common {
    /// What a client is built with; what is not given comes from the environment, then from the
    /// file.
    pub fn options(&self, env: &dyn Fn(&str) -> Option<String>) -> Result<ClientOptions, Failure> {
        let set = |name: &str| env(name).filter(|value| !value.is_empty());
        let found = self.config.as_deref();
        let found = found.map(|path| FromFile::read(path, env)).transpose()?;
        let (found_nodes, found_token, found_tls) = match found {
            Some(found) => (Some(found.addresses), found.token, found.tls),
            None => (None, None, None),
        };
        let nodes = self.nodes.clone().or_else(|| set("MFSHA_NODES"));
        let addresses = match (nodes, found_nodes) {
            (Some(text), _) => Address::parse_list(&text),
            (None, Some(found)) => Ok(found),
            (None, None) => Address::parse_list(NODES_DEFAULT),
        };
        let addresses = addresses.map_err(|error| Failure::usage(error.to_string()))?;
        let mut options = ClientOptions::new(addresses);
        let token = self.token.clone().or_else(|| set("MFSHA_AUTH_TOKEN"));
        let token = token.or(found_token);
        options.token = token.unwrap_or_default().into_bytes();
        options.program = concat!("mfsha-admin ", env!("CARGO_PKG_VERSION")).to_owned();
        let file = |given: &Option<PathBuf>, name: &str| {
            given.clone().or_else(|| set(name).map(PathBuf::from))
        };
        let (found_ca, found_identity) = match found_tls {
            Some(found) => (Some(found.ca), found.identity),
            None => (None, None),
        };
        let ca = file(&self.tls_ca, "MFSHA_TLS_CA").or(found_ca);
        let cert = file(&self.tls_cert, "MFSHA_TLS_CERT");
        let key = file(&self.tls_key, "MFSHA_TLS_KEY");
        let (cert, key) = match (cert, key, found_identity) {
            // A pair belongs together: half of it is never taken from elsewhere.
            (None, None, Some((cert, key))) => (Some(cert), Some(key)),
            (cert, key, _) => (cert, key),
        };
        options.tls = match (ca, cert, key) {
            (None, None, None) => None,
            (Some(ca), Some(cert), Some(key)) => Some(TlsFiles {
                ca,
                identity: Some((cert, key)),
            }),
            (Some(ca), None, None) => Some(TlsFiles { ca, identity: None }),
            _ => {
                let text = "TLS needs --tls-ca, and --tls-cert and --tls-key together \
                            (or MFSHA_TLS_CA, MFSHA_TLS_CERT, MFSHA_TLS_KEY)";
                return Err(Failure::usage(text.to_owned()));
            }
        };
        // One lane does for one command after the other.
        options.lanes_max = 1;
        Ok(options)
    }
}

/// The manual: the page of the program, then one for each command.
pub fn man_pages() -> Vec<u8> {
    let mut bytes = Vec::new();
    let page = clap_mangen::Man::new(Cli::command());
    page.render(&mut bytes).expect("memory can be written to");
    bytes
}

fn parse_node(text: &str) -> Result<NodeId, String> {
    let digits = text.strip_prefix('n').unwrap_or(text);
    match digits.parse() {
        Ok(node) if node > 0 => Ok(NodeId(node)),
        _ => Err("a node is named by its id, a number above zero, as 3 or n3".to_owned()),
    }
}

fn parse_chunkserver(text: &str) -> Result<CsId, String> {
    match text.parse() {
        Ok(csid) if csid > 0 => Ok(CsId(csid)),
        _ => Err("a chunkserver is named by its number, 1 to 65535".to_owned()),
    }
}

fn parse_mode(text: &str) -> Result<u16, String> {
    u16::from_str_radix(text, 8)
        .ok()
        .filter(|mode| *mode <= 0o7777 && !text.starts_with('+'))
        .ok_or_else(|| "give permission bits as octal digits, up to 7777".to_owned())
}

fn parse_set_time(text: &str) -> Result<SetTimeArg, String> {
    if text == "now" {
        return Ok(SetTimeArg::Now);
    }
    let seconds = text.parse().map(SetTimeArg::At);
    seconds.map_err(|_| "give seconds since 1970, or now".to_owned())
}

fn parse_time(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|sign: char| sign.is_ascii_alphabetic());
    let number: Option<u64> = digits.parse().ok().filter(|number| *number > 0);
    let unit_ms = match &text[digits.len()..] {
        "ms" => Some(1),
        "" | "s" => Some(1_000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        _ => None,
    };
    number
        .zip(unit_ms)
        .and_then(|(number, unit)| number.checked_mul(unit))
        // Ten years are for ever.
        .filter(|ms| *ms <= 315_360_000_000)
        .map(Duration::from_millis)
        .ok_or_else(|| "give a time above zero, as 500ms, 10s, 5m or 1h".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn times_nodes_and_modes() {
        assert_eq!(parse_time("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_time("10"), Ok(Duration::from_secs(10)));
        assert_eq!(parse_time("5m"), Ok(Duration::from_secs(300)));
        for wrong in ["", "0s", "s", "1d", "-1s", "1.5s", "99999999999h", "1s1"] {
            assert!(parse_time(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(parse_node("n3"), Ok(NodeId(3)));
        for wrong in ["0", "n", "x", "-1", ""] {
            assert!(parse_node(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(parse_mode("0755"), Ok(0o755));
        for wrong in ["", "8", "10000", "+7", "-7"] {
            assert!(parse_mode(wrong).is_err(), "{wrong:?}");
        }
    }
}
