//! What settings demand of each other, and what an operator should hear though nothing is wrong.

use std::net::IpAddr;
use std::time::Duration;

use super::key::{KEYS, Key};
use super::problem::{Place, meant};
use super::settings::{Settings, Source};
use super::value::Value;

/// The longest heartbeat is the election timeout by this: one or two that get lost must not cost
/// the leader its office.
const HEARTBEATS_PER_ELECTION: u32 = 3;
/// The log on disk may take at least this many times what it is cut at: it is cut only when the
/// state is durable, and short batches take whole sectors.
const LOG_PER_SNAPSHOT: u64 = 8;

/// Settings that cannot stand together. The operator changes one of them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Contradiction {
    /// A follower would take a leader for dead that speaks in time.
    #[error(
        "HA_RAFT_HEARTBEAT_TIMEOUT is {heartbeat:?} and HA_RAFT_ELECTION_TIMEOUT is {election:?}: \
         the heartbeat must be at most a third of the election timeout, or a lost packet costs the \
         leader its office; set the heartbeat to {:?} or less, or the election timeout to {:?} or \
         more",
        *.election / HEARTBEATS_PER_ELECTION, *.heartbeat * HEARTBEATS_PER_ELECTION
    )]
    Heartbeat {
        /// The heartbeat.
        heartbeat: Duration,
        /// The election timeout.
        election: Duration,
    },
    /// TLS is on and lacks a file.
    #[error("MFSHA_TLS_ENABLE is on and {} is not given; give it, or turn TLS off", .missing.name())]
    TlsFile {
        /// The key that is missing.
        missing: Key,
    },
    /// More than one shard.
    #[error(
        "HA_SHARD_COUNT is {count}: many shards are not there yet; set it to 1, or take it out"
    )]
    ManyShards {
        /// How many.
        count: u64,
    },
    /// The log on disk could be full before it is cut.
    #[error(
        "HA_LOG_SIZE_MAX is {log} and HA_SNAPSHOT_LOG_SIZE is {snapshot}: the log on disk must \
         have room for at least {LOG_PER_SNAPSHOT} times that; set HA_LOG_SIZE_MAX to {} or more",
        Value::Bytes(bytes * LOG_PER_SNAPSHOT)
    )]
    LogSize {
        /// The log, as written.
        log: String,
        /// What it is cut at, as written.
        snapshot: String,
        /// What it is cut at, bytes.
        bytes: u64,
    },
    /// Two servers on one port of one address.
    #[error(
        "{} and {} are both {port}; give one of them another port", .first.name(), .second.name()
    )]
    OnePort {
        /// One server's key.
        first: Key,
        /// The other's.
        second: Key,
        /// The port.
        port: u16,
    },
    /// Nobody can dial "every address".
    #[error(
        "MFSHA_ADVERTISE_HOST is {host}, which nobody can dial; give the name or address at which \
         others reach this node"
    )]
    AdvertisedWildcard {
        /// The host.
        host: String,
    },
}

/// What an operator should hear.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Warning {
    /// A key without a meaning so far.
    #[error("{} is set ({place}) and has no meaning yet", .key.name())]
    Unused {
        /// The key.
        key: Key,
        /// Where it is set.
        place: Source,
    },
    /// TLS is off, its files are given.
    #[error("{} is given and TLS is off; set MFSHA_TLS_ENABLE = 1 to use it", .key.name())]
    TlsOff {
        /// The key.
        key: Key,
    },
    /// The secret can be read on the network.
    #[error(
        "MFSHA_AUTH_TOKEN is sent in the clear while TLS is off; whoever reads the network has it"
    )]
    TokenInClear,
    /// Every user of the machine sees the command lines.
    #[error(
        "{} is given on the command line, where every user of this machine can read it; put it \
         into mfsha.cfg or the environment", .key.name()
    )]
    SecretOnCommandLine {
        /// The key.
        key: Key,
    },
    /// Every user of the machine reads the file.
    #[error(
        "{file} holds {} and every user of this machine can read it; chmod 640 it", .key.name()
    )]
    SecretInOpenFile {
        /// The file.
        file: String,
        /// The key.
        key: Key,
    },
    /// A variable that looks like a key and is none.
    #[error("environment variable {name} is no key{}", meant(Some(*.nearest)))]
    UnknownVariable {
        /// Its name.
        name: String,
        /// The key that was meant, perhaps.
        nearest: Key,
    },
    /// A reload found another value for a key that holds until the node ends. The old value stays.
    #[error(
        "{}{} is not what is in use, and cannot change while the node runs; restart the node to \
         take it over, or put the old value back", at(.place.as_ref()), .key.name()
    )]
    TakesRestart {
        /// The key.
        key: Key,
        /// Where the new value stands; `None` when it is the default.
        place: Option<Place>,
    },
}

/// A place in front of what is said of it.
fn at(place: Option<&Place>) -> String {
    place.map_or_else(
        || "the default of ".to_owned(),
        |place| format!("{place}: "),
    )
}

/// Everything that contradicts itself.
pub(super) fn contradictions(settings: &Settings) -> Vec<Contradiction> {
    let mut found = Vec::new();
    let (heartbeat, election) = (settings.heartbeat(), settings.election_timeout());
    if heartbeat * HEARTBEATS_PER_ELECTION > election {
        found.push(Contradiction::Heartbeat {
            heartbeat,
            election,
        });
    }
    if settings.switch(Key::TlsEnable) {
        let missing = TLS_FILES
            .into_iter()
            .filter(|key| settings.value(*key).is_none());
        found.extend(missing.map(|missing| Contradiction::TlsFile { missing }));
    }
    let count = settings.shard_count();
    if count > 1 {
        found.push(Contradiction::ManyShards { count });
    }
    let (log, bytes) = (settings.log_bytes_max(), settings.snapshot_log_bytes());
    if log < bytes * LOG_PER_SNAPSHOT {
        found.push(Contradiction::LogSize {
            log: Value::Bytes(log).to_string(),
            snapshot: Value::Bytes(bytes).to_string(),
            bytes,
        });
    }
    found.extend(shared_ports(settings));
    if let Some(host) = settings
        .advertise_host()
        .filter(|host| is_every_address(host))
    {
        let host = host.to_owned();
        found.push(Contradiction::AdvertisedWildcard { host });
    }
    found
}

/// Servers that would listen at one port of one address.
fn shared_ports(settings: &Settings) -> Vec<Contradiction> {
    let bound = settings.bind_host();
    let servers = [
        (Key::Port, bound, Some(settings.port())),
        (Key::HttpPort, bound, settings.http_port()),
        (
            Key::MountsPort,
            settings.mounts_host(),
            settings.mounts_port(),
        ),
        (
            Key::ChunkserversPort,
            settings.chunkservers_host(),
            settings.chunkservers_port(),
        ),
    ];
    let mut found = Vec::new();
    for (at, (second, host, port)) in servers.into_iter().enumerate() {
        let Some(port) = port else { continue };
        let before = servers[..at].iter();
        let same = before.filter(|(_, other, taken)| *taken == Some(port) && overlap(host, other));
        found.extend(same.map(|(first, ..)| Contradiction::OnePort {
            first: *first,
            second,
            port,
        }));
    }
    found
}

/// Whether one port cannot be listened at on both hosts, as far as the texts tell.
fn overlap(one: &str, other: &str) -> bool {
    let ip = |host: &str| bare(host).parse::<IpAddr>().ok();
    match (ip(one), ip(other)) {
        (Some(one), Some(other)) if one.is_unspecified() || other.is_unspecified() => {
            // Every IPv6 address takes those of IPv4 in.
            let both = |ip: IpAddr| ip.is_unspecified() && ip.is_ipv6();
            both(one) || both(other) || one.is_ipv4() == other.is_ipv4()
        }
        (Some(one), Some(other)) => one == other,
        (Some(ip), None) | (None, Some(ip)) => ip.is_unspecified(),
        (None, None) => one.eq_ignore_ascii_case(other),
    }
}

const TLS_FILES: [Key; 3] = [Key::TlsCertPath, Key::TlsKeyPath, Key::TlsCaPath];

/// What is worth a word about the settings alone.
pub(super) fn warnings(settings: &Settings) -> Vec<Warning> {
    let given = |key: Key| settings.source(key) != Source::Default && settings.value(key).is_some();
    let unused = KEYS
        .iter()
        .filter(|spec| spec.unused && given(spec.key))
        .map(|spec| Warning::Unused {
            key: spec.key,
            place: settings.source(spec.key),
        });
    let mut found: Vec<_> = unused.collect();
    if !settings.switch(Key::TlsEnable) {
        let files = TLS_FILES.into_iter().filter(|key| given(*key));
        found.extend(files.map(|key| Warning::TlsOff { key }));
        if settings.auth_token().is_some() {
            found.push(Warning::TokenInClear);
        }
    }
    let secrets = KEYS.iter().filter(|spec| spec.secret);
    let shown = secrets.filter(|spec| settings.source(spec.key) == Source::CommandLine);
    found.extend(shown.map(|spec| Warning::SecretOnCommandLine { key: spec.key }));
    found
}

/// Whether a host means every address of the machine.
pub(super) fn is_every_address(host: &str) -> bool {
    bare(host)
        .parse::<IpAddr>()
        .is_ok_and(|ip| ip.is_unspecified())
}

fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}
