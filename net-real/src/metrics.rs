//! What is counted and measured, in the text format of Prometheus.
//!
//! Everything is an atomic: counting costs the node's thread nothing worth speaking of. How the
//! node stands (term, indexes, peers) is asked of it when somebody scrapes.

use std::fmt::Write;
use std::time::Duration;

use mfsha_core::native::request::RequestBody;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// What a call of a client is, for its measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum CallKind {
    /// Changes the tree.
    Write,
    /// Reads the tree.
    Read,
    /// Anything an operator asks.
    Admin,
}

impl CallKind {
    /// Of a request.
    #[must_use]
    pub fn of(body: &RequestBody) -> Self {
        match body {
            RequestBody::Write { .. } => Self::Write,
            RequestBody::Read { .. } | RequestBody::KeepSession { .. } => Self::Read,
            RequestBody::ChangeMembership { .. }
            | RequestBody::TransferLeadership { .. }
            | RequestBody::Status
            | RequestBody::TakeSnapshot => Self::Admin,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    kind: CallKind,
    result: CallResult,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
enum CallResult {
    /// It was carried out (a refusal of the tree is an answer too).
    Answered,
    /// It has no outcome here: not the leader, overloaded, not available.
    Refused,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: CallKind,
}

/// Everything that is counted in one process.
pub struct Metrics {
    registry: Registry,
    calls: Family<CallLabels, Counter>,
    call_seconds: Family<KindLabel, Histogram>,
    pub(crate) role_changes: Counter,
    pub(crate) leaderships: Counter,
    pub(crate) applied: Counter,
    pub(crate) states_replaced: Counter,
    pub(crate) flush_seconds: Histogram,
    pub(crate) flush_failures: Counter,
    pub(crate) checkpoint_seconds: Histogram,
    pub(crate) checkpoint_failures: Counter,
    pub(crate) step_seconds: Histogram,
    pub(crate) reports: Counter,
    pub(crate) orders: Counter,
    pub(crate) connections_turned_away: Counter,
    gauges: Gauges,
}

/// What is asked of the node when somebody scrapes.
#[derive(Clone, Default)]
pub struct Gauges {
    /// 1 while this node leads.
    pub leads: Gauge,
    /// 1 while the node can serve.
    pub ready: Gauge,
    /// Present term.
    pub term: Gauge,
    /// Highest committed index.
    pub committed: Gauge,
    /// Highest applied index.
    pub applied: Gauge,
    /// Index of the last checkpoint.
    pub checkpoint: Gauge,
    /// Metadata version.
    pub version: Gauge,
    /// Voters of the present membership.
    pub voters: Gauge,
    /// Peers with a connection.
    pub peers_connected: Gauge,
    /// Clients with a connection.
    pub clients: Gauge,
    /// Chunkservers that are registered here; set as they come and go.
    pub chunkservers: Gauge,
    /// Bytes of changes held in memory until the state on disk has them.
    pub memory_bytes: Gauge,
    /// Bytes that may be.
    pub memory_bytes_max: Gauge,
    /// Bytes of the state on disk.
    pub state_bytes: Gauge,
    /// Bytes of the log on disk.
    pub log_bytes: Gauge,
    /// Bytes of log entries held in memory.
    pub log_memory_bytes: Gauge,
    /// Peer messages dropped: no connection, or too much waited.
    pub messages_dropped: Gauge,
}

/// From 20 microseconds to 20 seconds.
fn latencies() -> Histogram {
    Histogram::new(exponential_buckets(20e-6, 2.0, 21))
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Nothing counted yet.
    #[must_use]
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("mfsha"),
            calls: Family::default(),
            call_seconds: Family::new_with_constructor(latencies),
            role_changes: Counter::default(),
            leaderships: Counter::default(),
            applied: Counter::default(),
            states_replaced: Counter::default(),
            flush_seconds: latencies(),
            flush_failures: Counter::default(),
            checkpoint_seconds: latencies(),
            checkpoint_failures: Counter::default(),
            step_seconds: latencies(),
            reports: Counter::default(),
            orders: Counter::default(),
            connections_turned_away: Counter::default(),
            gauges: Gauges::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        let counters = [
            (
                "role_changes",
                "Changes of role, term or leader seen",
                &self.role_changes,
            ),
            (
                "leaderships",
                "Elections won by this node",
                &self.leaderships,
            ),
            ("commands_applied", "Log entries applied", &self.applied),
            (
                "states_replaced",
                "Times a peer's state took the place of this one's",
                &self.states_replaced,
            ),
            (
                "flush_failures",
                "Flushes of the log that failed",
                &self.flush_failures,
            ),
            (
                "checkpoint_failures",
                "Checkpoints of the state that failed",
                &self.checkpoint_failures,
            ),
            (
                "reports",
                "Lines an operator should have read",
                &self.reports,
            ),
            (
                "orders",
                "Orders for chunkservers and news for clients decided here",
                &self.orders,
            ),
            (
                "connections_turned_away",
                "Connections that there was no room for",
                &self.connections_turned_away,
            ),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
        registry.register(
            "calls",
            "Calls of native clients that were answered",
            self.calls.clone(),
        );
        let unit = || Unit::Seconds;
        registry.register_with_unit(
            "call",
            "From a call's last byte to its answer's",
            unit(),
            self.call_seconds.clone(),
        );
        registry.register_with_unit(
            "flush",
            "Flushes of the log",
            unit(),
            self.flush_seconds.clone(),
        );
        registry.register_with_unit(
            "checkpoint",
            "Checkpoints of the state",
            unit(),
            self.checkpoint_seconds.clone(),
        );
        registry.register_with_unit(
            "step",
            "Steps of the node's machine",
            unit(),
            self.step_seconds.clone(),
        );
        let g = &self.gauges;
        let gauges = [
            ("leads", "1 while this node leads", &g.leads),
            ("ready", "1 while this node can serve", &g.ready),
            ("term", "Present term", &g.term),
            (
                "committed_index",
                "Highest log index known to be committed",
                &g.committed,
            ),
            ("applied_index", "Highest log index applied", &g.applied),
            (
                "checkpoint_index",
                "Log index that the last checkpoint holds",
                &g.checkpoint,
            ),
            ("metadata_version", "Commands carried out", &g.version),
            ("voters", "Voters of the group", &g.voters),
            (
                "peers_connected",
                "Peers with a connection",
                &g.peers_connected,
            ),
            (
                "clients_connected",
                "Native clients with a connection",
                &g.clients,
            ),
            (
                "chunkservers_connected",
                "Chunkservers that are registered at this node",
                &g.chunkservers,
            ),
            (
                "memory_bytes",
                "Bytes of changes held in memory until the state on disk has them",
                &g.memory_bytes,
            ),
            (
                "memory_bytes_max",
                "Bytes of such changes that may be held; beyond it writes wait for a checkpoint",
                &g.memory_bytes_max,
            ),
            ("state_bytes", "Bytes of the state on disk", &g.state_bytes),
            ("log_bytes", "Bytes of the log on disk", &g.log_bytes),
            (
                "log_memory_bytes",
                "Bytes of log entries held in memory",
                &g.log_memory_bytes,
            ),
            (
                "messages_dropped",
                "Peer messages dropped: no connection, or too much waited",
                &g.messages_dropped,
            ),
        ];
        for (name, help, gauge) in gauges {
            registry.register(name, help, gauge.clone());
        }
    }

    /// A call was answered, `took` after it came.
    pub fn on_answered(&self, kind: CallKind, good: bool, took: Duration) {
        let result = if good {
            CallResult::Answered
        } else {
            CallResult::Refused
        };
        self.calls.get_or_create(&CallLabels { kind, result }).inc();
        self.call_seconds
            .get_or_create(&KindLabel { kind })
            .observe(took.as_secs_f64());
    }

    /// What is set when somebody scrapes.
    #[must_use]
    pub fn gauges(&self) -> &Gauges {
        &self.gauges
    }

    /// As text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        if let Err(error) = encode(&mut text, &self.registry) {
            // Writing to a string fails only when a label does.
            let _ = writeln!(text, "# the metrics are incomplete: {error}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_in_the_text() {
        let metrics = Metrics::new();
        metrics.on_answered(CallKind::Write, true, Duration::from_millis(1));
        metrics.gauges().term.set(7);
        let text = metrics.text();
        assert!(
            text.contains("mfsha_calls_total{kind=\"Write\",result=\"Answered\"} 1"),
            "{text}"
        );
        assert!(text.contains("mfsha_term 7"), "{text}");
        assert!(text.contains("mfsha_flush_seconds_bucket"), "{text}");
        assert!(text.ends_with("# EOF\n"));
    }
}
