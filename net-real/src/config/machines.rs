//! Settings as options of the core's machines, and where this node is for others.

use std::collections::BTreeSet;
use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

use mfsha_core::chunks;
use mfsha_core::chunkservers::{self, AuthCode};
use mfsha_core::id::{GroupId, NodeId};
use mfsha_core::limits::PAGE_BYTES;
use mfsha_core::transport::{Address, Identity, PeerAddress, Start};
use mfsha_core::wal::WalOptions;
use mfsha_core::{mounts, node, raft, transport};

use super::checks::is_every_address;
use super::settings::Settings;

/// Bytes of a segment of a log that may be long enough for many of them. Each start begins another
/// one, and reads and writes whole ones.
const SEGMENT_BYTES: u64 = 16 << 20;
/// Entries are kept for members that lack them up to this many times what the log is cut at. Well
/// below what the log on disk may take.
const LAG_PER_SNAPSHOT: u64 = 4;
/// Clients speak for their sessions several times within this.
const SESSION_GRACE_MIN: Duration = Duration::from_secs(20);
/// A session is noted as left after this long at most, however long it is sustained then.
const SESSION_GRACE_MAX: Duration = Duration::from_secs(60);
/// A log has at least this many segments: it is freed by whole ones.
const SEGMENT_COUNT_MIN: u64 = 16;

/// Nobody can tell where others reach this node. The operator says it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "BIND_HOST is {bind}, every address, and no node of MFSHA_PEERS is this machine: others would \
     not know where to reach this node; set MFSHA_ADVERTISE_HOST (--advertise) to its name or \
     address, or name this node in MFSHA_PEERS as ID@HOST"
)]
pub struct UnknownAddress {
    /// The host to listen at.
    pub bind: String,
}

impl Settings {
    /// Options of consensus. Of the priorities only this node's is known here; the others come
    /// from the peers, as inputs.
    #[must_use]
    pub fn raft_options(&self, node: NodeId) -> raft::Options {
        let lease = self.election_timeout();
        raft::Options {
            election_timeout: (lease / 2, lease),
            heartbeat: self.heartbeat(),
            snapshot_log_bytes: self.snapshot_log_bytes(),
            log_lag_bytes_max: self.snapshot_log_bytes().saturating_mul(LAG_PER_SNAPSHOT),
            priority: [(node, self.priority())].into(),
            ..raft::Options::new(node)
        }
    }

    /// Options of the write-ahead log: its segments together stay within `HA_LOG_SIZE_MAX`.
    #[must_use]
    pub fn wal_options(&self, owner: NodeId) -> WalOptions {
        let page = PAGE_BYTES as u64;
        let bytes = self.log_bytes_max();
        let segment = (bytes / SEGMENT_COUNT_MIN).min(SEGMENT_BYTES) / page * page;
        let small = |number: u64| u32::try_from(number).expect("the table bounds the log");
        WalOptions {
            segment_bytes: small(segment),
            segments_max: small(bytes / segment),
            ..WalOptions::new(owner)
        }
    }

    /// Options of a node for one group. `life` is drawn at random for each start.
    #[must_use]
    pub fn node_options(&self, identity: &Identity, group: GroupId, life: u64) -> node::Options {
        let raft = self.raft_options(identity.node);
        let founders = identity.standing.founders().into_iter().flatten();
        let known = founders.map(|(node, _)| node).chain(identity.peers.keys());
        let peers: BTreeSet<_> = known.copied().filter(|n| *n != identity.node).collect();
        node::Options {
            wal: self.wal_options(identity.node),
            bootstrap: identity.founding_voters(),
            peers,
            checkpoint_interval: self.checkpoint_interval(),
            news: self.mounts_port().is_some(),
            session_sustain: Some(self.session_sustain()),
            chunks: self.chunks_options(),
            session_grace: (self.session_sustain() / 3).clamp(SESSION_GRACE_MIN, SESSION_GRACE_MAX),
            ..node::Options::new(group, raft, life)
        }
    }

    /// Options of what the node does with chunks.
    #[must_use]
    pub fn chunks_options(&self) -> chunks::Options {
        let (deletes, receives, gives) = self.chunks_limits();
        chunks::Options {
            upkeep_delay: self.replications_delay_init(),
            absence: self.replications_delay_disconnect(),
            announced_absence: self.temp_maintenance_timeout(),
            upkeep_pause: self.chunks_loop_min_time(),
            deletes_max: deletes.into(),
            receives_max: receives.into(),
            gives_max: gives.into(),
            balance_accepted_percent: self.acceptable_percentage_difference(),
            ..chunks::Options::default()
        }
    }

    /// What of [`Self::node_options`] may change while the node runs.
    #[must_use]
    pub fn tuning(&self) -> node::Tuning {
        node::Tuning {
            checkpoint_interval: self.checkpoint_interval(),
            priority: self.priority(),
        }
    }

    /// Options of the transport; `life` as for [`Self::node_options`].
    #[must_use]
    pub fn transport_options(
        &self,
        address: Address,
        life: u64,
        start: Start,
    ) -> transport::Options {
        transport::Options {
            priority: self.priority(),
            ..transport::Options::new(address, life, start)
        }
    }

    /// `host:port` to listen at for peers, clients and operators.
    #[must_use]
    pub fn listen_address(&self) -> String {
        format!("{}:{}", self.bind_host(), self.port())
    }

    /// `host:port` to serve pages over HTTP at; `None` when that is off.
    #[must_use]
    pub fn http_address(&self) -> Option<String> {
        let port = self.http_port()?;
        Some(format!("{}:{port}", self.bind_host()))
    }

    /// `host:port` to listen at for mounts; `None` when that is off.
    #[must_use]
    pub fn mounts_address(&self) -> Option<String> {
        let port = self.mounts_port()?;
        Some(format!("{}:{port}", self.mounts_host()))
    }

    /// `host:port` to listen at for chunkservers; `None` when that is off.
    #[must_use]
    pub fn chunkservers_address(&self) -> Option<String> {
        let port = self.chunkservers_port()?;
        Some(format!("{}:{port}", self.chunkservers_host()))
    }

    /// Options of the face of mounts and tools, for the cluster with this number.
    #[must_use]
    pub fn mounts_options(&self, metaid: u64) -> mounts::Options {
        let sustain = self.session_sustain().as_secs();
        mounts::Options {
            sustain_seconds: u32::try_from(sustain).unwrap_or(u32::MAX),
            ..mounts::Options::new(metaid)
        }
    }

    /// Options of the face of chunkservers, for the cluster with this number.
    #[must_use]
    pub fn chunkservers_options(&self, metaid: u64) -> chunkservers::Options {
        let code = self.chunkservers_auth_code();
        chunkservers::Options {
            auth_code: code.map(|code| AuthCode::new(code.as_bytes())),
            timeout_seconds: self.chunkservers_timeout_seconds(),
            ..chunkservers::Options::new(metaid)
        }
    }

    /// The nodes as the operator names them, each with a port.
    #[must_use]
    pub fn peer_addresses(&self) -> Vec<PeerAddress> {
        let peers = self.peers().iter();
        peers.map(|peer| peer.address(self.port())).collect()
    }

    /// Where others reach this node: what is given, else what is bound, else the entry of
    /// `MFSHA_PEERS` with this node's id, else the first that `is_here`; see [`is_this_machine`].
    ///
    /// # Errors
    /// [`UnknownAddress`]: the operator has to say it.
    pub fn own_address(
        &self,
        node: NodeId,
        is_here: &dyn Fn(&str) -> bool,
    ) -> Result<Address, UnknownAddress> {
        let peers = self.peers().iter();
        let named = peers.clone().find(|peer| peer.node == Some(node));
        let bound = Some(self.bind_host()).filter(|host| !is_every_address(host));
        if let Some(host) = self.advertise_host() {
            return Ok(at(host, self.port()));
        }
        if let Some(peer) = named {
            return Ok(peer.address(self.port()).address);
        }
        if let Some(host) = bound {
            return Ok(at(host, self.port()));
        }
        let mut unnamed = peers.filter(|peer| peer.node.is_none());
        let own = unnamed.find(|peer| {
            let port = peer.port.unwrap_or(self.port());
            port == self.port() && is_here(&peer.host)
        });
        match own {
            Some(peer) => Ok(peer.address(self.port()).address),
            None => Err(UnknownAddress {
                bind: self.bind_host().into(),
            }),
        }
    }
}

fn at(host: &str, port: u16) -> Address {
    Address::new(&format!("{host}:{port}")).expect("the host was tried with the longest port")
}

/// Whether a host is this machine: an address that can be bound, or the machine's own name. Asks
/// no name server.
#[must_use]
pub fn is_this_machine(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>() {
        Ok(ip) => UdpSocket::bind((ip, 0)).is_ok(),
        Err(_) => own_names().iter().any(|own| is_name_of(host, own)),
    }
}

fn own_names() -> Vec<String> {
    let told = std::env::var("HOSTNAME").ok();
    let kernel = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let names = [told, kernel].into_iter().flatten();
    let names = names.map(|name| name.trim().to_owned());
    names.filter(|name| !name.is_empty()).collect()
}

/// Whether `host` is `own`, or one of them is the other with its domain.
fn is_name_of(host: &str, own: &str) -> bool {
    let within = |long: &str, short: &str| {
        long.len() > short.len()
            && long.as_bytes()[short.len()] == b'.'
            && long.as_bytes()[..short.len()].eq_ignore_ascii_case(short.as_bytes())
    };
    host.eq_ignore_ascii_case(own) || within(host, own) || within(own, host)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::key::Key;
    use crate::config::settings::{Held, Source};
    use mfsha_core::transport::{DiskId, KnownPeer, Standing};

    fn with(given: &[(Key, &str)]) -> Settings {
        let mut settings = Settings::default();
        for (key, text) in given {
            let value = key.spec().kind.parse(text);
            let value = Some(value.unwrap_or_else(|error| panic!("{text}: {error}")));
            let source = Source::CommandLine;
            settings.put(*key, Held { value, source });
        }
        settings
    }

    fn identity() -> Identity {
        let founders = [(NodeId(1), DiskId(1)), (NodeId(2), DiskId(2))].into();
        let mut identity = Identity::new(NodeId(1), DiskId(1));
        identity.standing = Standing::Formed { founders };
        let peer = KnownPeer {
            disk: None,
            incarnation: 0,
            address: Address::new("c:1").unwrap(),
        };
        identity.peers.insert(NodeId(3), peer);
        identity
    }

    #[test]
    fn every_setting_of_a_machine_reaches_it() {
        let settings = with(&[
            (Key::ElectionTimeout, "1s"),
            (Key::HeartbeatTimeout, "100"),
            (Key::Priority, "7"),
            (Key::SyncInterval, "5"),
            (Key::SnapshotLogSize, "8M"),
            (Key::LogSizeMax, "2G"),
            (Key::SessionSustain, "90"),
            (Key::ReplicationsDelayInit, "7"),
            (Key::ReplicationsDelayDisconnect, "5min"),
            (Key::TempMaintenanceTimeout, "1h"),
            (Key::ChunksLoopMinTime, "300"),
            (Key::ChunksSoftDelLimit, "11"),
            (Key::ChunksWriteRepLimit, "3"),
            (Key::ChunksReadRepLimit, "4"),
            (Key::AcceptablePercentageDifference, "9"),
        ]);
        let options = settings.node_options(&identity(), GroupId(4), 11);
        let second = Duration::from_secs(1);
        assert_eq!(options.raft.election_timeout, (second / 2, second));
        assert_eq!(options.raft.heartbeat, Duration::from_millis(100));
        assert_eq!(options.raft.snapshot_log_bytes, 8 << 20);
        assert_eq!(options.raft.log_lag_bytes_max, 32 << 20);
        assert_eq!(options.raft.priority, [(NodeId(1), 7)].into());
        assert_eq!(options.checkpoint_interval, Duration::from_secs(5));
        assert_eq!(options.session_sustain, Some(90 * second));
        assert_eq!(options.session_grace, 30 * second);
        let chunks = chunks::Options {
            upkeep_delay: 7 * second,
            absence: 300 * second,
            announced_absence: 3_600 * second,
            upkeep_pause: 300 * second,
            deletes_max: 11,
            receives_max: 3,
            gives_max: 4,
            balance_accepted_percent: 9,
            ..chunks::Options::default()
        };
        assert_eq!(options.chunks, chunks);
        assert_eq!(options.wal.segments_max, 128);
        assert_eq!(
            (options.node, options.group, options.life),
            (NodeId(1), GroupId(4), 11)
        );
        assert_eq!(options.bootstrap, Some([NodeId(1), NodeId(2)].into()));
        assert_eq!(options.peers, [NodeId(2), NodeId(3)].into());
    }

    #[test]
    fn what_nobody_sets_of_chunks_is_as_in_the_machine() {
        let options = Settings::default().chunks_options();
        assert_eq!(options, chunks::Options::default());
    }

    #[test]
    fn every_allowed_length_of_the_log_makes_options_that_hold() {
        let kind = Key::LogSizeMax.spec().kind;
        for text in [
            "64M",
            "65M",
            "67108865",
            "1023M",
            "1G",
            "4G",
            "100000000007",
            "1T",
        ] {
            assert!(kind.parse(text).is_ok(), "{text} is allowed");
            let settings = with(&[(Key::LogSizeMax, text)]);
            let options = settings.wal_options(NodeId(1));
            assert_eq!(options.validate(), Ok(()), "{text}");
            let all = u64::from(options.segment_bytes) * u64::from(options.segments_max);
            assert!(all <= settings.log_bytes_max(), "{text}");
            assert!(all >= settings.log_bytes_max() / 10 * 9, "{text}");
        }
    }

    #[test]
    fn where_a_node_is_follows_from_what_is_most_explicit() {
        let nobody = |_: &str| false;
        let own = |given: &[(Key, &str)], is_here: &dyn Fn(&str) -> bool| {
            let address = with(given).own_address(NodeId(2), is_here);
            address.map_or_else(|error| error.to_string(), |found| found.to_string())
        };
        let peers = (Key::Peers, "a,b:7,2@c:8");
        assert_eq!(own(&[peers, (Key::AdvertiseHost, "x")], &nobody), "x:9430");
        assert_eq!(own(&[peers], &nobody), "c:8");
        let bound = (Key::BindHost, "::1");
        assert_eq!(own(&[(Key::Peers, "a,b"), bound], &nobody), "[::1]:9430");
        let unnamed = (Key::Peers, "a,b,b:9431");
        assert_eq!(own(&[unnamed], &|host| host == "b"), "b:9430");
        let port = (Key::Port, "9431");
        assert_eq!(own(&[unnamed, port], &|host| host == "b"), "b:9431");
        // Another node on the same machine is not this one.
        let other = own(&[(Key::Peers, "1@b,a:1")], &|_| true);
        assert!(other.contains("set MFSHA_ADVERTISE_HOST"), "{other}");
        let wild = own(&[(Key::BindHost, "[::]")], &nobody);
        assert!(wild.contains("BIND_HOST is [::]"), "{wild}");
    }

    #[test]
    fn this_machine_knows_its_own_names_and_addresses() {
        assert!(is_this_machine("127.0.0.1"));
        // An address for examples, which nobody may have.
        assert!(!is_this_machine("192.0.2.1"));
        assert!(is_name_of("a.example.org", "A"));
        assert!(is_name_of("a", "a.example.org"));
        assert!(!is_name_of("ab", "a"));
        assert!(!is_name_of("a.b", "a.c"));
    }
}
