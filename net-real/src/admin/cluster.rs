//! How nodes stand.

use std::collections::BTreeSet;

use mfsha_client::Client;
use mfsha_client::admin::{ClusterView, NodeView};
use mfsha_core::id::{LogIndex, NodeId};
use mfsha_core::membership::{Membership, Role};
use mfsha_core::native::admin::{ProcessStatus, RaftStatus};
use mfsha_core::wal::record::LogId;
use serde_json::{Value, json};

use super::output::{Failure, Output, bytes_for_people, pairs, table, time_for_people};

/// A value, or a bar where there is none.
fn or_bar(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

fn ids(nodes: &BTreeSet<NodeId>) -> Vec<u64> {
    nodes.iter().map(|node| node.0).collect()
}

/// All nodes.
pub async fn status(client: &Client, output: &mut Output) -> Result<(), Failure> {
    let view = client.admin().view().await;
    let answered = view
        .nodes
        .iter()
        .filter_map(|node| node.status.as_ref().ok());
    let newest = answered.map(|status| status.node.committed).max();
    let newest = newest.unwrap_or(LogIndex(0));
    let rows = view.nodes.iter().map(|node| row(node, newest)).collect();
    let header = [
        "NODE",
        "ADDRESS",
        "ROLE",
        "TERM",
        "COMMITTED",
        "APPLIED",
        "LAG",
        "REGION",
        "VERSION",
        "UPTIME",
        "TROUBLE",
    ];
    let mut text = table(header, rows);
    if view.leader.is_none() {
        text.push_str("\n\nNo node knows a leader: nothing can be changed now.");
    }
    output.show(&text, &status_json(&view, newest));
    Ok(())
}

fn row(view: &NodeView, newest: LogIndex) -> [String; 11] {
    let status = view.status.as_deref().ok();
    let of = |value: &dyn Fn(&ProcessStatus) -> String| or_bar(status.map(value));
    [
        or_bar(view.node.map(|node| node.0)),
        or_bar(view.address.as_ref()),
        role(status).to_owned(),
        of(&|status| status.node.term.0.to_string()),
        of(&|status| status.node.committed.0.to_string()),
        of(&|status| status.node.applied.0.to_string()),
        of(&|status| lag(status, newest).to_string()),
        of(&|status| status.region.clone()),
        of(&|status| status.version.clone()),
        of(&|status| time_for_people(status.uptime_ms)),
        trouble(view).unwrap_or_default(),
    ]
}

fn lag(status: &ProcessStatus, newest: LogIndex) -> u64 {
    newest.0.saturating_sub(status.node.applied.0)
}

/// What a node is, as its own members say.
fn role(status: Option<&ProcessStatus>) -> &'static str {
    let Some(status) = status else {
        return "unknown";
    };
    let (node, membership) = (status.node.node, &status.node.membership);
    if status.node.leads {
        "leader"
    } else if membership
        .voters
        .iter()
        .any(|voters| voters.contains(&node))
    {
        "follower"
    } else if membership.learners.contains(&node) {
        "learner"
    } else {
        "outside"
    }
}

/// What is wrong with a node.
fn trouble(view: &NodeView) -> Option<String> {
    let status = match &view.status {
        Ok(status) => status,
        Err(reason) => return Some(reason.clone()),
    };
    if status.node.repairing {
        return Some("repairing its disk".to_owned());
    }
    let apart = status.peers.iter().filter(|(_, peer)| !peer.connected);
    let apart: Vec<String> = apart.map(|(peer, _)| peer.0.to_string()).collect();
    (!apart.is_empty()).then(|| format!("no connection to {}", apart.join(", ")))
}

fn status_json(view: &ClusterView, newest: LogIndex) -> Value {
    let nodes = view.nodes.iter().map(|node| {
        let status = node.status.as_deref().ok();
        json!({
            "node": node.node.map(|node| node.0),
            "address": node.address,
            "reachable": status.is_some(),
            "role": role(status),
            "term": status.map(|status| status.node.term.0),
            "leader": status.and_then(|status| status.node.leader).map(|node| node.0),
            "committed": status.map(|status| status.node.committed.0),
            "applied": status.map(|status| status.node.applied.0),
            "lag": status.map(|status| lag(status, newest)),
            "region": status.map(|status| &status.region),
            "version": status.map(|status| &status.version),
            "uptime_ms": status.map(|status| status.uptime_ms),
            "metadata_version": status.map(|status| status.metadata_version),
            "trouble": trouble(node),
        })
    });
    json!({
        "leader": view.leader.map(|node| node.0),
        "nodes": nodes.collect::<Vec<Value>>(),
    })
}

/// One node.
pub async fn node_status(
    client: &Client,
    node: Option<NodeId>,
    output: &mut Output,
) -> Result<(), Failure> {
    let admin = client.admin();
    let node = match node {
        Some(node) => node,
        None => admin.leader_status().await?.node,
    };
    let status = admin.process(Some(node)).await?;
    output.show(&node_text(&status), &node_json(&status));
    Ok(())
}

fn node_text(status: &ProcessStatus) -> String {
    let of = &status.node;
    let (held, most) = status.memory_bytes;
    let mut text = pairs(&[
        ("node", of.node.0.to_string()),
        ("cluster", status.cluster.to_string()),
        ("role", role(Some(status)).to_owned()),
        ("leader", or_bar(of.leader.map(|node| node.0))),
        ("term", of.term.0.to_string()),
        ("committed", of.committed.0.to_string()),
        ("applied", of.applied.0.to_string()),
        ("checkpoint", status.checkpoint.0.to_string()),
        ("metadata version", status.metadata_version.to_string()),
        ("members", members_text(&of.membership)),
        ("repairing", of.repairing.to_string()),
        ("program", status.version.clone()),
        ("uptime", time_for_people(status.uptime_ms)),
        (
            "region",
            or_bar(Some(&status.region).filter(|it| !it.is_empty())),
        ),
        ("clients", status.clients.to_string()),
        (
            "memory",
            format!("{} of {}", bytes_for_people(held), bytes_for_people(most)),
        ),
        ("state on disk", bytes_for_people(status.state_bytes)),
        ("log on disk", bytes_for_people(status.log_bytes)),
    ]);
    let peers = status.peers.iter().map(|(node, peer)| {
        [
            node.0.to_string(),
            or_bar(peer.address.as_ref()),
            if peer.connected { "yes" } else { "no" }.to_owned(),
            peer.trouble.clone().unwrap_or_default(),
        ]
    });
    text.push('\n');
    text.push_str(&table(
        ["PEER", "ADDRESS", "CONNECTED", "TROUBLE"],
        peers.collect(),
    ));
    text
}

fn members_text(membership: &Membership) -> String {
    let list = |nodes: &BTreeSet<NodeId>| {
        let names: Vec<String> = nodes.iter().map(|node| node.0.to_string()).collect();
        names.join(", ")
    };
    let sets: Vec<String> = membership.voters.iter().map(list).collect();
    let mut text = format!("voters {}", sets.join(" and "));
    if !membership.learners.is_empty() {
        text.push_str(&format!("; learners {}", list(&membership.learners)));
    }
    text
}

fn members_json(membership: &Membership) -> Value {
    json!({
        "voters": membership.voters.iter().map(ids).collect::<Vec<_>>(),
        "learners": ids(&membership.learners),
    })
}

fn node_json(status: &ProcessStatus) -> Value {
    let of = &status.node;
    let peers = status.peers.iter().map(|(node, peer)| {
        json!({
            "node": node.0,
            "address": peer.address,
            "connected": peer.connected,
            "trouble": peer.trouble,
        })
    });
    json!({
        "node": of.node.0,
        "cluster": status.cluster.to_string(),
        "role": role(Some(status)),
        "leader": of.leader.map(|node| node.0),
        "term": of.term.0,
        "committed": of.committed.0,
        "applied": of.applied.0,
        "checkpoint": status.checkpoint.0,
        "metadata_version": status.metadata_version,
        "membership": members_json(&of.membership),
        "repairing": of.repairing,
        "version": status.version,
        "uptime_ms": status.uptime_ms,
        "region": status.region,
        "clients": status.clients,
        "memory_bytes": status.memory_bytes.0,
        "memory_bytes_max": status.memory_bytes.1,
        "state_bytes": status.state_bytes,
        "log_bytes": status.log_bytes,
        "peers": peers.collect::<Vec<Value>>(),
    })
}

/// Consensus at each node.
pub async fn raft_stats(client: &Client, output: &mut Output) -> Result<(), Failure> {
    let admin = client.admin();
    let view = admin.view().await;
    let mut all = Vec::new();
    for node in view.live() {
        match admin.raft(Some(node)).await {
            Ok(raft) => all.push(raft),
            Err(error) => output.remark(&format!("node {}: {error}", node.0)),
        }
    }
    let text = raft_text(&all);
    let nodes: Vec<Value> = all.iter().map(raft_json).collect();
    output.show(&text, &json!({ "nodes": nodes }));
    Ok(())
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::Learner => "learner",
        Role::Follower => "follower",
        Role::Candidate => "candidate",
        Role::Leader => "leader",
    }
}

fn raft_text(all: &[RaftStatus]) -> String {
    let index = |id: Option<LogId>| or_bar(id.map(|id| id.index.0));
    let rows = all.iter().map(|raft| {
        [
            raft.node.node.0.to_string(),
            role_name(raft.role).to_owned(),
            raft.node.term.0.to_string(),
            or_bar(raft.node.leader.map(|node| node.0)),
            index(raft.last_log),
            raft.node.committed.0.to_string(),
            raft.node.applied.0.to_string(),
            index(raft.purged),
            index(raft.snapshot),
            bytes_for_people(raft.log_memory_bytes),
        ]
    });
    let header = [
        "NODE",
        "ROLE",
        "TERM",
        "LEADER",
        "LAST",
        "COMMITTED",
        "APPLIED",
        "PURGED",
        "SNAPSHOT",
        "LOG MEMORY",
    ];
    let mut text = table(header, rows.collect());
    for raft in all.iter().filter(|raft| raft.role == Role::Leader) {
        text.push_str(&format!(
            "\n\nMembers as leader {} sees them: {}\n",
            raft.node.node.0,
            members_text(&raft.node.membership)
        ));
        let behind = raft.matched.iter().map(|(node, has)| {
            let last = raft.last_log.map_or(0, |id| id.index.0);
            let lag = has.map(|has| last.saturating_sub(has.0));
            [
                node.0.to_string(),
                or_bar(has.map(|has| has.0)),
                or_bar(lag),
            ]
        });
        text.push_str(&table(["MEMBER", "HAS", "LAG"], behind.collect()));
    }
    text
}

fn log_id_json(id: Option<LogId>) -> Value {
    id.map_or(
        Value::Null,
        |id| json!({ "term": id.term.0, "leader": id.leader.0, "index": id.index.0 }),
    )
}

fn raft_json(raft: &RaftStatus) -> Value {
    let matched = raft.matched.iter();
    let matched =
        matched.map(|(node, has)| json!({ "node": node.0, "index": has.map(|has| has.0) }));
    json!({
        "node": raft.node.node.0,
        "role": role_name(raft.role),
        "term": raft.node.term.0,
        "leader": raft.node.leader.map(|node| node.0),
        "committed": raft.node.committed.0,
        "applied": raft.node.applied.0,
        "last_log": log_id_json(raft.last_log),
        "purged": log_id_json(raft.purged),
        "snapshot": log_id_json(raft.snapshot),
        "log_memory_bytes": raft.log_memory_bytes,
        "membership": members_json(&raft.node.membership),
        "matched": matched.collect::<Vec<Value>>(),
    })
}

/// A snapshot.
pub async fn snapshot(
    client: &Client,
    node: Option<NodeId>,
    output: &mut Output,
) -> Result<(), Failure> {
    let admin = client.admin();
    let node = match node {
        Some(node) => node,
        None => admin.leader_status().await?.node,
    };
    let bar = output.progress(&format!("node {} makes its state durable", node.0));
    let taken = admin.take_snapshot(Some(node)).await;
    bar.finish_and_clear();
    let applied = taken?;
    output.show(
        &format!("node {} holds a snapshot up to index {}", node.0, applied.0),
        &json!({ "node": node.0, "applied": applied.0 }),
    );
    Ok(())
}
