//! All nodes at once.

use std::collections::BTreeSet;

use mfsha_core::id::NodeId;
use mfsha_core::native::admin::{AdminAnswer, AdminRequest, ProcessStatus};
use tokio::task::JoinSet;

use super::Admin;
use crate::client::{Miss, Why};

/// What is known of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeView {
    /// Its number, when known.
    pub node: Option<NodeId>,
    /// `host:port`, when known.
    pub address: Option<String>,
    /// What it says, or why it says nothing.
    pub status: Result<Box<ProcessStatus>, String>,
}

/// What is known of all nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterView {
    /// In order of number; those whose number is not known last.
    pub nodes: Vec<NodeView>,
    /// The leader of the highest term that any node speaks of.
    pub leader: Option<NodeId>,
}

impl ClusterView {
    /// Nodes that answered.
    #[must_use]
    pub fn live(&self) -> BTreeSet<NodeId> {
        let live = self.nodes.iter().filter(|node| node.status.is_ok());
        live.filter_map(|node| node.node).collect()
    }

    /// What a node says, when it answered.
    #[must_use]
    pub fn status(&self, node: NodeId) -> Option<&ProcessStatus> {
        let view = self.nodes.iter().find(|view| view.node == Some(node))?;
        view.status.as_deref().ok()
    }
}

impl Admin {
    /// Asks every node whose address is known, all at once, each for as long as one attempt may
    /// take. Nodes that take part but have no known address are listed too.
    pub async fn view(&self) -> ClusterView {
        let core = &self.client.core;
        // One answer tells where the others are.
        let _ = self.addresses().await;
        let mut asking = JoinSet::new();
        for (number, slot) in core.book.all() {
            let core = std::sync::Arc::clone(core);
            asking.spawn(async move {
                let limit = core.options.attempt_timeout;
                let asked = core.attempt_admin(&slot, AdminRequest::Process, limit);
                let status = match asked.await {
                    Ok(AdminAnswer::Process(status)) => Ok(status),
                    Ok(_) => Err("the answer does not fit the question".to_owned()),
                    Err(miss) => Err(reason(miss)),
                };
                let node = status.as_ref().ok().map(|status| status.node.node);
                NodeView {
                    node: node.or(number),
                    address: Some(slot.address.to_string()),
                    status,
                }
            });
        }
        let mut nodes = Vec::new();
        while let Some(view) = asking.join_next().await {
            nodes.extend(view.ok());
        }
        complete(nodes)
    }
}

fn reason(miss: Miss) -> String {
    match miss {
        Miss::Maybe(reason) | Miss::Nothing(Why::Unreachable(reason)) => reason,
        Miss::Nothing(Why::Refused(refusal)) => refusal.to_string(),
        Miss::Nothing(Why::Elsewhere(_) | Why::Overloaded) => "it has too much to do".to_owned(),
        Miss::Never(fail) => fail.to_string(),
    }
}

/// Puts nodes into order, each once, and adds the members that nobody knows an address of.
fn complete(mut nodes: Vec<NodeView>) -> ClusterView {
    // One node may have several addresses: the one that works is shown.
    nodes.sort_by_key(|view| {
        let last = view.node.is_none();
        (last, view.node, view.status.is_err(), view.address.clone())
    });
    nodes.dedup_by(|later, first| later.node.is_some() && later.node == first.node);
    let said = || nodes.iter().filter_map(|view| view.status.as_ref().ok());
    let members: BTreeSet<NodeId> = said()
        .flat_map(|status| {
            let membership = &status.node.membership;
            let voters = membership.voters.iter().flatten();
            voters.chain(&membership.learners).copied()
        })
        .collect();
    let newest = said().filter(|status| status.node.leader.is_some());
    let leader = newest
        .max_by_key(|status| status.node.term)
        .and_then(|status| status.node.leader);
    let known: BTreeSet<NodeId> = nodes.iter().filter_map(|view| view.node).collect();
    for node in members.difference(&known) {
        nodes.push(NodeView {
            node: Some(*node),
            address: None,
            status: Err("no node tells its address".to_owned()),
        });
    }
    nodes.sort_by_key(|view| (view.node.is_none(), view.node));
    ClusterView { nodes, leader }
}
