//! The tested cluster: a daemon on each seat of a lab, and what is known of it from outside.
//!
//! A seat is a host that keeps its address; the node that sits there may be replaced by another
//! with a new id. Nothing here decides what is done to it.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use mfsha_client::tls::TlsError;
use mfsha_core::id::NodeId;
use mfsha_core::native::request::{NodeStatus, RequestBody, ResponseBody};

use crate::authority::{Authority, AuthorityError};
use crate::door::{Door, Speech};
use crate::lab::{Host, Lab, LabError};
use crate::process::Process;
use crate::wire::{self, Connection};

/// Where nodes take clients.
pub const PORT: u16 = 9_430;
/// How long one node may take to say how it stands.
const STATUS_PATIENCE: Duration = Duration::from_millis(500);
/// How long a node may take to end after SIGTERM.
const STOP_PATIENCE: Duration = Duration::from_secs(10);
/// Pause between two looks at the cluster.
const LOOK_PAUSE: Duration = Duration::from_millis(50);

/// How a node came to its cluster; its command line is the same at every start.
#[derive(Clone, Debug)]
enum Origin {
    /// It was there when the cluster was formed.
    Founder,
    /// It joined with a disk that was empty, through this peer.
    Joined { peer: String },
}

/// A host and the node on it.
#[derive(Debug)]
pub struct Seat {
    /// The host.
    pub host: Host,
    /// The address.
    pub address: SocketAddr,
    /// Where its node takes clients.
    pub door: Door,
    /// The node.
    pub node: NodeId,
    origin: Origin,
    process: Option<Process>,
}

/// A node that ended although nobody ended it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Death {
    /// Which.
    pub node: NodeId,
    /// On which seat.
    pub seat: usize,
    /// How.
    pub status: String,
}

/// Why the cluster does not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// See there.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// The system refuses a signal or a directory.
    #[error("node {node}: {error}")]
    System {
        /// Which.
        node: NodeId,
        /// Why.
        error: std::io::Error,
    },
    /// See there.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// See there.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A membership change did not happen in time.
    #[error("{what} did not happen within {seconds} s: {last}")]
    NotInTime {
        /// What was asked.
        what: String,
        /// How long was waited.
        seconds: u64,
        /// What was seen last.
        last: String,
    },
}

/// Daemons in a lab. Dropping it kills them.
#[derive(Debug)]
pub struct Cluster {
    /// The network.
    pub lab: Lab,
    binary: PathBuf,
    dir: PathBuf,
    /// Of a run with TLS.
    authority: Option<Authority>,
    seats: Vec<Seat>,
    next_id: u64,
}

impl Cluster {
    /// A cluster whose nodes are not started yet; `hosts` are hosts of the lab.
    ///
    /// # Errors
    /// The directories for data and logs cannot be made.
    pub fn new(
        lab: Lab,
        hosts: &[Host],
        binary: &Path,
        dir: &Path,
        with_tls: bool,
    ) -> Result<Self, ClusterError> {
        for name in ["data", "log"] {
            let path = dir.join(name);
            fs::create_dir_all(&path).map_err(|error| LabError::File {
                path: path.display().to_string(),
                error,
            })?;
        }
        let authority = with_tls.then(|| Authority::new(&dir.join("tls")));
        let authority = authority.transpose()?;
        let speech = match &authority {
            Some(authority) => Speech::tls(authority.client()?)?,
            None => Speech::clear(),
        };
        let seats: Vec<Seat> = (1..)
            .zip(hosts)
            .map(|(number, host)| {
                let address = SocketAddr::from((lab.address(host), PORT));
                Seat {
                    host: host.clone(),
                    address,
                    door: Door::new(address, speech.clone()),
                    node: NodeId(number),
                    origin: Origin::Founder,
                    process: None,
                }
            })
            .collect();
        let next_id = seats.len() as u64 + 1;
        Ok(Self {
            lab,
            binary: binary.to_owned(),
            dir: dir.to_owned(),
            authority,
            seats,
            next_id,
        })
    }

    /// The seats.
    #[must_use]
    pub fn seats(&self) -> &[Seat] {
        &self.seats
    }

    /// Where nodes take clients.
    #[must_use]
    pub fn doors(&self) -> Vec<Door> {
        self.seats.iter().map(|seat| seat.door.clone()).collect()
    }

    /// The seat of a node.
    #[must_use]
    pub fn seat_of(&self, node: NodeId) -> Option<usize> {
        self.seats.iter().position(|seat| seat.node == node)
    }

    fn data_path(&self, seat: usize) -> PathBuf {
        self.dir.join("data").join(&self.seats[seat].host.0)
    }

    /// Starts a seat's node, with the command line that it always has.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub fn start(&mut self, seat: usize) -> Result<(), ClusterError> {
        let it = &self.seats[seat];
        assert!(it.process.is_none(), "a node is started once");
        let mut arguments = vec![
            format!("--node-id={}", it.node.0),
            format!("--bind={}", it.address.ip()),
            format!("--data-path={}", self.data_path(seat).display()),
        ];
        match &it.origin {
            Origin::Founder => {
                let peers: Vec<String> = self
                    .seats
                    .iter()
                    .map(|seat| seat.address.ip().to_string())
                    .collect();
                arguments.push(format!("--peers={}", peers.join(",")));
                arguments.push("--bootstrap".to_owned());
            }
            Origin::Joined { peer } => {
                arguments.push("--join-cluster".to_owned());
                arguments.push(format!("--peer={peer}"));
            }
        }
        if let Some(authority) = &self.authority {
            arguments.extend(authority.options_of_node(it.node.0)?);
        }
        let log = self.dir.join("log").join(format!("{}.log", it.host));
        let namespace = self.lab.namespace(&it.host);
        let process = Process::start(&namespace, &self.binary, &arguments, &log)?;
        self.seats[seat].process = Some(process);
        Ok(())
    }

    /// Starts every node that does not run.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub fn start_all(&mut self) -> Result<(), ClusterError> {
        let idle: Vec<usize> = (0..self.seats.len())
            .filter(|seat| self.seats[*seat].process.is_none())
            .collect();
        idle.into_iter().try_for_each(|seat| self.start(seat))
    }

    /// Kills a seat's node. True when that is what ended it.
    ///
    /// # Errors
    /// [`ClusterError::System`].
    pub fn kill(&mut self, seat: usize) -> Result<bool, ClusterError> {
        let node = self.seats[seat].node;
        match self.seats[seat].process.take() {
            None => Ok(false),
            Some(process) => process
                .kill()
                .map_err(|error| ClusterError::System { node, error }),
        }
    }

    /// Holds a seat's node, or lets it go on. True when it does.
    ///
    /// # Errors
    /// [`ClusterError::System`].
    pub fn pause(&self, seat: usize, pauses: bool) -> Result<bool, ClusterError> {
        let it = &self.seats[seat];
        let Some(process) = &it.process else {
            return Ok(false);
        };
        let done = if pauses {
            process.pause()
        } else {
            process.resume()
        };
        done.map_err(|error| ClusterError::System {
            node: it.node,
            error,
        })
    }

    /// Ends all nodes in order; gives those that did not end well by themselves.
    ///
    /// # Errors
    /// [`ClusterError::System`].
    pub fn stop_all(&mut self) -> Result<Vec<NodeId>, ClusterError> {
        let mut bad = Vec::new();
        for seat in &mut self.seats {
            if let Some(process) = seat.process.take() {
                let stopped = process.stop(STOP_PATIENCE);
                let node = seat.node;
                if !stopped.map_err(|error| ClusterError::System { node, error })? {
                    bad.push(node);
                }
            }
        }
        Ok(bad)
    }

    /// Nodes that ended although nobody ended them.
    ///
    /// # Errors
    /// [`ClusterError::System`].
    pub fn deaths(&mut self) -> Result<Vec<Death>, ClusterError> {
        let mut deaths = Vec::new();
        for (number, seat) in self.seats.iter_mut().enumerate() {
            let Some(process) = &mut seat.process else {
                continue;
            };
            let node = seat.node;
            let ended = process.ended();
            if let Some(status) = ended.map_err(|error| ClusterError::System { node, error })? {
                let status = ExitStatus::to_string(&status);
                deaths.push(Death {
                    node,
                    seat: number,
                    status,
                });
                seat.process = None;
            }
        }
        Ok(deaths)
    }

    /// How each seat's node says it stands; `None` for one that does not answer.
    pub async fn statuses(&self) -> Vec<Option<NodeStatus>> {
        let mut asked = Vec::new();
        for door in self.doors() {
            let asks = async move { wire::status(&door, STATUS_PATIENCE).await };
            asked.push(tokio::spawn(asks));
        }
        let mut statuses = Vec::new();
        for one in asked {
            statuses.push(one.await.ok().flatten());
        }
        statuses
    }

    /// The seat that leads, as far as anybody says so; of several that say it, the newest term.
    pub async fn leader(&self) -> Option<usize> {
        let statuses = self.statuses().await;
        let leading = statuses.iter().enumerate().filter_map(|(seat, status)| {
            status
                .as_ref()
                .filter(|status| status.leads)
                .map(|status| (status.term, seat))
        });
        leading.max().map(|(_, seat)| seat)
    }

    /// Waits until all nodes answer, follow one leader and form the whole membership.
    ///
    /// # Errors
    /// [`ClusterError::NotInTime`] with what was seen last.
    pub async fn agreed(&self, patience: Duration) -> Result<u64, ClusterError> {
        self.wait(patience, false).await
    }

    /// As [`Self::agreed`], and all have applied the same; gives the index up to which they have.
    /// Nobody may be at work.
    ///
    /// # Errors
    /// [`ClusterError::NotInTime`] with what was seen last.
    pub async fn settled(&self, patience: Duration) -> Result<u64, ClusterError> {
        self.wait(patience, true).await
    }

    async fn wait(&self, patience: Duration, at_rest: bool) -> Result<u64, ClusterError> {
        let until = Instant::now() + patience;
        loop {
            let statuses = self.statuses().await;
            let last = match self.unsettled(&statuses, at_rest) {
                Ok(index) => return Ok(index),
                Err(reason) => reason,
            };
            if Instant::now() > until {
                return Err(ClusterError::NotInTime {
                    what: "agreement of all nodes".to_owned(),
                    seconds: patience.as_secs(),
                    last,
                });
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }

    fn unsettled(&self, statuses: &[Option<NodeStatus>], at_rest: bool) -> Result<u64, String> {
        let mut all = Vec::new();
        for (seat, status) in self.seats.iter().zip(statuses) {
            match status {
                None => return Err(format!("{} on {} does not answer", seat.node, seat.host)),
                Some(status) if status.node != seat.node => {
                    return Err(format!("{} says it is {}", seat.node, status.node));
                }
                Some(status) if status.repairing => {
                    return Err(format!("{} repairs itself", seat.node));
                }
                Some(status) => all.push(status),
            }
        }
        let own: BTreeSet<NodeId> = self.seats.iter().map(|seat| seat.node).collect();
        let first = all[0];
        for status in &all {
            if status.leader.is_none() || status.leader != first.leader {
                return Err(format!("{} follows {:?}", status.node, status.leader));
            }
            if status.membership.voters != [own.clone()] {
                return Err(format!(
                    "{} knows members {:?}",
                    status.node, status.membership
                ));
            }
            let same = status.applied == first.applied && status.committed == first.committed;
            if at_rest && !same {
                return Err(format!(
                    "{} is at {} of {}, {} at {} of {}",
                    status.node,
                    status.applied,
                    status.committed,
                    first.node,
                    first.applied,
                    first.committed
                ));
            }
        }
        Ok(first.applied.0)
    }

    /// Takes a seat's disk away and puts a node with a new id there, which joins; then removes the
    /// old id. Gives old and new.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub async fn replace(
        &mut self,
        seat: usize,
        away: Duration,
        patience: Duration,
    ) -> Result<(NodeId, NodeId), ClusterError> {
        let old = self.seats[seat].node;
        self.kill(seat)?;
        let data = self.data_path(seat);
        match fs::remove_dir_all(&data) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(ClusterError::System { node: old, error });
            }
            _ => {}
        }
        tokio::time::sleep(away).await;
        let new = NodeId(self.next_id);
        self.next_id += 1;
        let peer = (seat + 1) % self.seats.len();
        let peer = self.seats[peer].address.ip().to_string();
        self.seats[seat].node = new;
        self.seats[seat].origin = Origin::Joined { peer };
        self.start(seat)?;
        let until = Instant::now() + patience;
        let what = format!("joining of {new}");
        let is_in = |voters: &BTreeSet<NodeId>| voters.contains(&new);
        let mut voters = self.wait_for_voters(until, patience, &what, is_in).await?;
        voters.remove(&old);
        self.change_members(until, patience, old, voters).await?;
        Ok((old, new))
    }

    /// The voters that the leader knows; `None` without a leader, or while they are changed.
    pub async fn voters(&self) -> Option<BTreeSet<NodeId>> {
        let statuses = self.statuses().await;
        let leading = statuses.into_iter().flatten().filter(|status| status.leads);
        let membership = leading.max_by_key(|status| status.term)?.membership;
        match &membership.voters[..] {
            [voters] => Some(voters.clone()),
            _ => None,
        }
    }

    /// Waits until the leader knows voters as wanted.
    async fn wait_for_voters(
        &self,
        until: Instant,
        patience: Duration,
        what: &str,
        is_wanted: impl Fn(&BTreeSet<NodeId>) -> bool,
    ) -> Result<BTreeSet<NodeId>, ClusterError> {
        loop {
            let voters = self.voters().await;
            if let Some(voters) = voters.as_ref().filter(|voters| is_wanted(voters)) {
                return Ok(voters.clone());
            }
            if Instant::now() > until {
                return Err(ClusterError::NotInTime {
                    what: what.to_owned(),
                    seconds: patience.as_secs(),
                    last: format!("the leader knows voters {voters:?}"),
                });
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }

    /// As an operator removes a node: asks the leader until the membership is that.
    async fn change_members(
        &self,
        until: Instant,
        patience: Duration,
        old: NodeId,
        voters: BTreeSet<NodeId>,
    ) -> Result<(), ClusterError> {
        let mut last = "no leader".to_owned();
        while Instant::now() < until {
            if let Some(leader) = self.leader().await {
                let body = RequestBody::ChangeMembership {
                    voters: voters.clone(),
                    learners: BTreeSet::new(),
                };
                match ask_once(&self.seats[leader].door, body).await {
                    Ok(ResponseBody::MembershipChanged { .. }) => return Ok(()),
                    Ok(other) => last = format!("{other:?}"),
                    Err(reason) => last = reason,
                }
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
        Err(ClusterError::NotInTime {
            what: format!("removal of {old}"),
            seconds: patience.as_secs(),
            last,
        })
    }
}

async fn ask_once(door: &Door, body: RequestBody) -> Result<ResponseBody, String> {
    let patience = Duration::from_secs(5);
    let mut connection = Connection::open(door, patience)
        .await
        .map_err(|error| error.to_string())?;
    let answer = connection
        .ask(body, patience)
        .await
        .map_err(|error| error.to_string())?;
    answer.map_err(|error| error.to_string())
}
