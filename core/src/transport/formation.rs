//! How nodes become a cluster, exactly once, whatever crashes meanwhile.
//!
//! A node that is given a list of all nodes waits until it is connected to each of them, then
//! *pledges* to form a cluster with exactly these, each with its present disk. A pledge is durable
//! before it is told, and is never taken back. Who knows that all have pledged the same is
//! *formed*, and so is who hears it from one of them.
//!
//! Why it is safe: a cluster comes into being only when every founder has pledged it, and a founder
//! pledges one set in the life of its disk. So of two sets that share a founder at most one ever
//! becomes a cluster. Without the pledge it would not be: a node that has seen all disks could call
//! itself formed, while another disk is replaced and the rest form with the new one.

use super::conn::{Conn, State};
use super::dialing::Who;
use super::identity::{Founders, Identity, IdentityError, Standing};
use super::judge::judge_standing;
use super::machine::Transport;
use super::{ConnId, Effect, Options, PeerAddress, Start};
use crate::id::NodeId;
use crate::limits;
use crate::machine::Outbox;

/// Why a transport cannot be built: options and identity contradict each other.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The stored identity is not sound.
    #[error("the stored identity cannot be used: {0}")]
    Identity(#[from] IdentityError),
    /// Ids begin at 1.
    #[error("0 is no node id: give the node a number from 1 that no other node has or had")]
    NodeId,
    /// Say how the node comes into a cluster.
    #[error(
        "this node is of no cluster yet: start it with --init to form one alone, with --bootstrap \
         and a list of all nodes to form one together, or with --join to join one"
    )]
    NoCluster,
    /// The list has no node in it.
    #[error("the list of nodes is empty: give the addresses of {0}")]
    Empty(&'static str),
    /// More nodes than anybody needs.
    #[error(
        "{count} nodes are too many; at most {} can be given",
        limits::PEER_COUNT_MAX
    )]
    TooMany {
        /// How many were given.
        count: usize,
    },
    /// A node is in the list twice.
    #[error("{text} stands twice in the list of nodes")]
    Twice {
        /// Its address or id.
        text: String,
    },
    /// The node is bound to a cluster that is being formed.
    #[error(
        "this node is bound to form a cluster with {founders:?}: start it with --bootstrap and the \
         list that it was given before; or, when no node of that list is formed yet, empty the \
         data directories of them all"
    )]
    Pledged {
        /// Whom it is bound to.
        founders: Founders,
    },
}

pub(super) fn check_start(options: &Options, identity: &Identity) -> Result<(), StartError> {
    identity.validate()?;
    if identity.node == NodeId(0) {
        return Err(StartError::NodeId);
    }
    check_list(options.start.nodes())?;
    let alone = Founders::from([(identity.node, identity.disk)]);
    match (&identity.standing, &options.start) {
        (Standing::Formed { .. }, _) => Ok(()),
        (_, Start::Together { nodes }) if nodes.is_empty() => {
            Err(StartError::Empty("all nodes of the cluster to be"))
        }
        (_, Start::Join { nodes }) if nodes.is_empty() => {
            Err(StartError::Empty("some nodes of the cluster"))
        }
        (Standing::Open, Start::Known) => Err(StartError::NoCluster),
        (Standing::Pledged { founders }, Start::Alone) if *founders == alone => Ok(()),
        (Standing::Pledged { founders }, Start::Alone | Start::Join { .. }) => {
            let founders = founders.clone();
            Err(StartError::Pledged { founders })
        }
        _ => Ok(()),
    }
}

fn check_list(nodes: &[PeerAddress]) -> Result<(), StartError> {
    if nodes.len() > limits::PEER_COUNT_MAX {
        return Err(StartError::TooMany { count: nodes.len() });
    }
    for (at, one) in nodes.iter().enumerate() {
        for other in &nodes[..at] {
            let text = match one.node {
                Some(node) if other.node == Some(node) => node.to_string(),
                _ if one.address == other.address => one.address.to_string(),
                _ => continue,
            };
            return Err(StartError::Twice { text });
        }
    }
    Ok(())
}

impl Transport {
    pub(super) fn begin_formation(&mut self) {
        let alone = matches!(self.options.start, Start::Alone);
        if alone && !self.identity.is_formed() {
            let founders = Founders::from([(self.identity.node, self.identity.disk)]);
            self.identity.standing = Standing::Formed { founders };
        }
    }

    /// What a node that is of no cluster yet waits for, a line each; empty once it is formed.
    #[must_use]
    pub fn waiting(&self) -> Vec<String> {
        let trouble = |trouble: &Option<String>| match trouble {
            Some(trouble) => trouble.clone(),
            None => "no connection yet".to_owned(),
        };
        let reached = |node: &NodeId| self.up_conn(*node).is_some();
        let mut lines: Vec<_> = self.formation_trouble.iter().cloned().collect();
        match &self.identity.standing {
            Standing::Formed { .. } => lines.clear(),
            Standing::Pledged { founders } => {
                let own = self.identity.node;
                for node in founders.keys().filter(|node| **node != own) {
                    if !self.pledged.contains(node) {
                        let peer = self.peers.get(node).map(|peer| &peer.trouble);
                        let why = match peer {
                            Some(_) if reached(node) => "it is not ready yet".to_owned(),
                            Some(why) => trouble(why),
                            None => trouble(&None),
                        };
                        lines.push(format!("{node}: {why}"));
                    }
                }
            }
            Standing::Open => {
                for entry in &self.entries {
                    let address = &entry.given.address;
                    match entry.who {
                        Who::Unknown => {
                            lines.push(format!("{address}: {}", trouble(&entry.trouble)))
                        }
                        Who::Is(node) if !reached(&node) => {
                            let peer = self.peers.get(&node).and_then(|p| p.trouble.clone());
                            lines.push(format!("{node} at {address}: {}", trouble(&peer)));
                        }
                        Who::Is(_) | Who::Oneself => {}
                    }
                }
            }
        }
        lines
    }

    fn up_conn(&self, node: NodeId) -> Option<&Conn> {
        let id = self.peers.get(&node)?.conn?;
        self.conns.get(&id)
    }

    /// The other side of a connection has come a step further.
    pub(super) fn on_standing(&mut self, id: ConnId, standing: Standing, out: &mut Outbox<Effect>) {
        let conn = self.conns.get_mut(&id).expect("it has just spoken");
        let hello = conn.hello.as_mut().expect("known before it tells more");
        hello.standing = standing;
        match judge_standing(&self.identity, hello) {
            Ok(()) => self.announce(out),
            Err(refusal) => self.refuse(id, refusal, out),
        }
    }

    /// Goes as far towards a cluster as what is known allows.
    pub(super) fn advance_formation(&mut self, out: &mut Outbox<Effect>) {
        if self.identity.standing == Standing::Open {
            match self.options.start {
                Start::Together { .. } => self.maybe_pledge(out),
                Start::Join { .. } => self.maybe_join(out),
                Start::Known | Start::Alone => {}
            }
        }
        if let Standing::Pledged { founders } = &self.identity.standing {
            let founders = founders.clone();
            self.maybe_form(founders, out);
        }
        let durable = self.durable.as_ref().filter(|durable| durable.is_formed());
        if let (Some(durable), false) = (durable, self.formed) {
            self.formed = true;
            let identity = durable.clone();
            out.push(Effect::Formed { identity });
        }
    }

    /// Pledges, when there is a connection to every node of the list.
    fn maybe_pledge(&mut self, out: &mut Outbox<Effect>) {
        let mut founders = Founders::new();
        for entry in &self.entries {
            let (node, disk) = match entry.who {
                Who::Unknown => return,
                Who::Oneself => (self.identity.node, self.identity.disk),
                Who::Is(node) => {
                    let Some(hello) = self.up_conn(node).and_then(|conn| conn.hello.as_ref())
                    else {
                        return;
                    };
                    (node, hello.disk)
                }
            };
            if founders.insert(node, disk).is_some() {
                let text = format!("two addresses of the --bootstrap list lead to {node}");
                return self.become_stuck(text, out);
            }
        }
        if !founders.contains_key(&self.identity.node) {
            let text = format!(
                "the --bootstrap list does not lead to this node; it has to hold all nodes, this \
                 one as {}",
                self.options.address
            );
            return self.become_stuck(text, out);
        }
        for node in founders.keys() {
            let hello = self.up_conn(*node).and_then(|conn| conn.hello.as_ref());
            let bound = hello.and_then(|hello| hello.standing.founders());
            if bound.is_some_and(|bound| *bound != founders) {
                let text = format!(
                    "{node} is bound to a cluster of others, {bound:?}: give every node the same \
                     --bootstrap list, stop them all, empty the data directories of those that are \
                     of no cluster, and start them again"
                );
                return self.become_stuck(text, out);
            }
        }
        self.formation_trouble = None;
        self.identity.standing = Standing::Pledged { founders };
        self.judge_again(out);
    }

    fn become_stuck(&mut self, text: String, out: &mut Outbox<Effect>) {
        if self.formation_trouble.as_ref() != Some(&text) {
            out.push(Effect::Report {
                message: text.clone(),
            });
            self.formation_trouble = Some(text);
        }
    }

    /// Is formed, when everybody has pledged the same or somebody is formed already.
    fn maybe_form(&mut self, founders: Founders, out: &mut Outbox<Effect>) {
        let mut formed = false;
        for conn in self.conns.values() {
            let Some(hello) = conn.hello.as_ref().filter(|_| conn.state == State::Up) else {
                continue;
            };
            let place = founders.get(&hello.node) == Some(&hello.disk);
            match &hello.standing {
                Standing::Formed { founders: theirs } => formed |= *theirs == founders,
                Standing::Pledged { founders: theirs } if place && *theirs == founders => {
                    self.pledged.insert(hello.node);
                }
                Standing::Pledged { .. } | Standing::Open => {}
            }
        }
        let own = self.identity.node;
        formed |= founders
            .keys()
            .all(|node| *node == own || self.pledged.contains(node));
        if formed {
            self.become_formed(founders, out);
        }
    }

    /// Takes the cluster of a node that is of one.
    fn maybe_join(&mut self, out: &mut Outbox<Effect>) {
        let own = self.identity.node;
        let found = self.conns.values().find_map(|conn| {
            let hello = conn.hello.as_ref().filter(|_| conn.state == State::Up)?;
            match &hello.standing {
                // Founders with this id and another disk: that one refuses this node.
                Standing::Formed { founders } if !founders.contains_key(&own) => {
                    Some(founders.clone())
                }
                _ => None,
            }
        });
        if let Some(founders) = found {
            self.become_formed(founders, out);
        }
    }

    fn become_formed(&mut self, founders: Founders, out: &mut Outbox<Effect>) {
        for (node, disk) in &founders {
            if let Some(known) = self.identity.peers.get_mut(node) {
                known.disk = Some(*disk);
                // Which disk gave the present number is not known.
                known.incarnation = 0;
            }
        }
        self.identity.standing = Standing::Formed { founders };
        self.formation_trouble = None;
        self.judge_again(out);
        let ids: Vec<_> = self.conns.keys().copied().collect();
        for id in ids {
            self.note(id);
        }
    }

    /// After this node's own step: with some it may have nothing to do any more.
    fn judge_again(&mut self, out: &mut Outbox<Effect>) {
        let judge = |(id, conn): (&ConnId, &Conn)| {
            let hello = conn.hello.as_ref()?;
            let refusal = judge_standing(&self.identity, hello).err()?;
            Some((*id, refusal))
        };
        let refused: Vec<_> = self.conns.iter().filter_map(judge).collect();
        for (id, refusal) in refused {
            self.refuse(id, refusal, out);
        }
    }
}
