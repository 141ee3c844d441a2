//! A cluster that is played: the real tree behind nodes that lead, hang, lie and cut connections
//! as a test tells them. For tests only.
//!
//! All nodes share one tree, so whatever one carries out the others know: what a test sees is what
//! an ideal cluster would show. Consensus is not in here.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};

use mfsha_core::codec;
use mfsha_core::id::{CsId, LogIndex, NodeId, SessionId, Term};
use mfsha_core::membership::{Membership, Role};
use mfsha_core::namespace::Namespace;
use mfsha_core::namespace::op::{ChunkserverInfo, Command, Op, Outcome, Query, RequestId};
use mfsha_core::native::admin::{
    AdminAnswer, AdminCall, AdminError, AdminReply, AdminRequest, ChunkserverHeard,
    ChunkserverStatus, PeerStatus, ProcessStatus, RaftStatus, Setting,
};
use mfsha_core::native::request::{
    Consistency, NodeError, NodeStatus, RequestBody, Response, ResponseBody,
};
use mfsha_core::native::{
    ClientHello, ClusterId, HELLO_BYTES_MAX, HelloReply, Refusal, TO_NODE_BYTES_MAX, ToClient,
    ToNode, Welcome,
};
use mfsha_core::store::MemStore;
use mfsha_core::time::{Stamp, WallTime};
use mfsha_core::wal::record::LogId;
use tokio::io::{AsyncWriteExt, DuplexStream};

use crate::address::Address;
use crate::dial::{Dial, Dialing, Stream};
use crate::record::Records;

/// What a node does with one request, in place of the right thing.
#[derive(Clone, Debug)]
pub enum Habit {
    /// Closes the connection without doing it.
    Cut,
    /// Does it, and closes the connection before the answer.
    DoAndCut,
    /// Does it, sends half of the answer, and closes the connection.
    DoAndHalf,
    /// Does not do it and does not answer.
    Hang,
    /// Does it and does not answer.
    DoAndHang,
    /// Does it, and answers two seconds later; what comes on the connection meanwhile waits.
    DoAndLate,
    /// Does it when [`Fake::carry_out_postponed`] says so, and does not answer.
    Postpone,
    /// Says this without doing it.
    Say(NodeError),
    /// Does it, and says this.
    DoAndSay(NodeError),
    /// Answers with a record that makes no sense.
    Garbage,
}

/// A played cluster. Clones are the same one.
#[derive(Clone)]
pub struct Fake(Arc<Mutex<State>>);

struct State {
    tree: Namespace<MemStore>,
    index: u64,
    term: u64,
    leader: Option<NodeId>,
    membership: Membership,
    nodes: BTreeMap<NodeId, Played>,
    token: Vec<u8>,
    cluster: ClusterId,
    /// Whether a leader hands over when asked.
    hands_over: bool,
    /// Learners that get nothing.
    stuck: BTreeSet<NodeId>,
    postponed: Vec<RequestBody>,
    settings: BTreeMap<String, String>,
    /// What is heard of chunkservers.
    heard: BTreeMap<CsId, ChunkserverHeard>,
    /// Who was asked what.
    asked: Vec<(NodeId, RequestBody)>,
    hellos: u64,
}

#[derive(Default)]
struct Played {
    address: String,
    /// What comes next; empty is the right thing.
    habits: VecDeque<Habit>,
    /// What it does with everything that no habit is left for.
    always: Option<Habit>,
    /// What it does with changes of the tree by a session.
    on_change: Option<Habit>,
    down: bool,
    /// Connections are made but nobody answers on them.
    silent: bool,
    /// Says of itself that it leads in this term, which is over.
    claims: Option<u64>,
    /// Who it says leads, in place of who does.
    believes: Option<Option<NodeId>>,
}

impl Fake {
    /// Nodes 1 to `count`, all voters, the first leads; their addresses are `node-1:9430` and so
    /// on.
    #[must_use]
    pub fn new(count: u64) -> Self {
        let voters: BTreeSet<NodeId> = (1..=count).map(NodeId).collect();
        let played = |node: &NodeId| Played {
            address: format!("node-{}:9430", node.0),
            ..Played::default()
        };
        let tree = Namespace::open(MemStore::new()).expect("memory does not fail");
        Self(Arc::new(Mutex::new(State {
            tree,
            index: 1,
            term: 7,
            leader: Some(NodeId(1)),
            nodes: voters.iter().map(|node| (*node, played(node))).collect(),
            membership: Membership {
                voters: vec![voters],
                learners: BTreeSet::new(),
                set_by: None,
            },
            token: Vec::new(),
            cluster: ClusterId(0xC1),
            hands_over: true,
            stuck: BTreeSet::new(),
            postponed: Vec::new(),
            settings: BTreeMap::from([("LOG_LEVEL".to_owned(), "info".to_owned())]),
            heard: BTreeMap::new(),
            asked: Vec::new(),
            hellos: 0,
        })))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().expect("no test panics within")
    }

    fn with(&self, node: u64, change: impl FnOnce(&mut Played)) {
        let mut state = self.lock();
        change(state.nodes.entry(NodeId(node)).or_default());
    }

    /// The next requests that a node gets are treated so, one each.
    pub fn next(&self, node: u64, habits: impl IntoIterator<Item = Habit>) {
        self.with(node, |played| played.habits.extend(habits));
    }

    /// Every request that a node gets is treated so; `None` to become good.
    pub fn always(&self, node: u64, habit: Option<Habit>) {
        self.with(node, |played| played.always = habit);
    }

    /// Every change of the tree by a session is treated so, its end excepted.
    pub fn on_change(&self, node: u64, habit: Habit) {
        self.with(node, |played| played.on_change = Some(habit));
    }

    /// Refuses connections, or takes them.
    pub fn down(&self, node: u64, down: bool) {
        self.with(node, |played| played.down = down);
    }

    /// Takes connections but says nothing on them.
    pub fn silent(&self, node: u64, silent: bool) {
        self.with(node, |played| played.silent = silent);
    }

    /// What a node says of who leads, whoever does.
    pub fn believes(&self, node: u64, leader: Option<u64>) {
        self.with(node, |played| played.believes = Some(leader.map(NodeId)));
    }

    /// A node takes itself for the leader of an older term.
    pub fn claims(&self, node: u64, term: u64) {
        self.with(node, |played| played.claims = Some(term));
    }

    /// Puts a node at another address.
    pub fn at(&self, node: u64, address: &str) {
        self.with(node, |played| address.clone_into(&mut played.address));
    }

    /// Somebody leads, or nobody.
    pub fn lead(&self, leader: Option<u64>) {
        let mut state = self.lock();
        state.term += 1;
        state.leader = leader.map(NodeId);
    }

    /// The cluster asks for a token.
    pub fn token(&self, token: &str) {
        self.lock().token = token.as_bytes().to_vec();
    }

    /// A leader that is asked to hand over does not.
    pub fn keep_leading(&self) {
        self.lock().hands_over = false;
    }

    /// A learner that gets no entries, or gets them again.
    pub fn stuck(&self, node: u64, stuck: bool) {
        let mut state = self.lock();
        if stuck {
            state.stuck.insert(NodeId(node));
        } else {
            state.stuck.remove(&NodeId(node));
        }
    }

    /// What is heard of a chunkserver from now on; `None`: it is connected to no node.
    pub fn hear(&self, csid: u16, heard: Option<ChunkserverHeard>) {
        let mut state = self.lock();
        match heard {
            Some(heard) => state.heard.insert(CsId(csid), heard),
            None => state.heard.remove(&CsId(csid)),
        };
    }

    /// The members.
    #[must_use]
    pub fn membership(&self) -> Membership {
        self.lock().membership.clone()
    }

    /// Who leads.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        self.lock().leader
    }

    /// Everything that was asked of nodes' machines so far, in order.
    #[must_use]
    pub fn asked(&self) -> Vec<(NodeId, RequestBody)> {
        self.lock().asked.clone()
    }

    /// Writes that nodes got so far, but for those that open sessions.
    #[must_use]
    pub fn writes(&self) -> Vec<(NodeId, RequestId, Op)> {
        let asked = self.asked().into_iter();
        asked
            .filter_map(|(node, body)| match body {
                RequestBody::Write {
                    session,
                    lane,
                    seq,
                    op,
                } if session != SessionId(0) => {
                    Some((node, RequestId::new(session, lane, seq), op))
                }
                _ => None,
            })
            .collect()
    }

    /// Connections that were begun so far.
    #[must_use]
    pub fn hellos(&self) -> u64 {
        self.lock().hellos
    }

    /// Commands that took effect so far.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.lock().tree.version()
    }

    /// Carries out a command by the cluster itself.
    ///
    /// # Panics
    /// When the tree cannot be written.
    pub fn apply(&self, op: Op) -> Outcome {
        self.lock().apply(None, op)
    }

    /// Carries out what was postponed, as a leader that was slow would; gives what came of it.
    #[must_use]
    pub fn carry_out_postponed(&self) -> Vec<Outcome> {
        let mut state = self.lock();
        let postponed = std::mem::take(&mut state.postponed);
        let writes = postponed.into_iter().filter_map(|body| match body {
            RequestBody::Write {
                session,
                lane,
                seq,
                op,
            } => Some((RequestId::new(session, lane, seq), op)),
            _ => None,
        });
        let writes: Vec<_> = writes.collect();
        writes
            .into_iter()
            .map(|(request, op)| state.apply(Some(request), op))
            .collect()
    }

    /// Ways to these nodes that are no sockets, for tests that stop the clock.
    #[must_use]
    pub fn dial(&self) -> Box<dyn Dial> {
        Box::new(FakeDial(self.clone()))
    }

    /// Serves one node on a listener until the task is ended; by TLS where an acceptor is given.
    pub async fn serve(
        &self,
        node: u64,
        listener: tokio::net::TcpListener,
        tls: Option<tokio_rustls::TlsAcceptor>,
    ) {
        while let Ok((stream, _)) = listener.accept().await {
            let (fake, tls) = (self.clone(), tls.clone());
            tokio::spawn(async move {
                match tls {
                    None => fake.talk(NodeId(node), Box::new(stream)).await,
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(stream).await {
                            fake.talk(NodeId(node), Box::new(stream)).await;
                        }
                    }
                }
            });
        }
    }

    async fn talk(&self, node: NodeId, mut stream: Box<dyn Stream>) {
        let mut records = Records::new(HELLO_BYTES_MAX);
        let Ok(Some(record)) = records.next(&mut stream).await else {
            return;
        };
        if self.lock().nodes[&node].silent {
            return std::future::pending().await;
        }
        let reply = match ClientHello::from_bytes(&record) {
            Ok(hello) => self.lock().welcome(node, &hello),
            Err(_) => return,
        };
        let refused = matches!(reply, HelloReply::Refused(_));
        if stream.write_all(&reply.to_bytes()).await.is_err() || refused {
            return;
        }
        records.set_payload_bytes_max(TO_NODE_BYTES_MAX);
        while let Ok(Some(record)) = records.next(&mut stream).await {
            let Ok(message) = ToNode::from_bytes(&record) else {
                return;
            };
            let late = self.lock().is_late(node, &message);
            let (answer, goes_on) = self.lock().on_message(node, message);
            if late {
                tokio::time::sleep(std::time::Duration::from_secs(2)).await;
            }
            if stream.write_all(&answer).await.is_err() || stream.flush().await.is_err() {
                return;
            }
            if !goes_on {
                return;
            }
        }
    }
}

impl State {
    fn welcome(&mut self, node: NodeId, hello: &ClientHello) -> HelloReply {
        self.hellos += 1;
        if hello.token != self.token {
            return HelloReply::Refused(Refusal::Token);
        }
        if hello.cluster.is_some_and(|meant| meant != self.cluster) {
            let cluster = self.cluster;
            return HelloReply::Refused(Refusal::Cluster { cluster });
        }
        HelloReply::Welcome(Welcome {
            protocol: mfsha_core::native::PROTOCOL_NEWEST,
            cluster: self.cluster,
            node,
            addresses: self.addresses(),
        })
    }

    fn addresses(&self) -> BTreeMap<NodeId, String> {
        let nodes = self.nodes.iter();
        nodes
            .map(|(node, played)| (*node, played.address.clone()))
            .collect()
    }

    /// Whether the answer to what comes next is to be held back.
    fn is_late(&self, node: NodeId, message: &ToNode) -> bool {
        let next = self.nodes[&node].habits.front();
        matches!(message, ToNode::Request(_)) && matches!(next, Some(Habit::DoAndLate))
    }

    /// Bytes to send, and whether the connection goes on.
    fn on_message(&mut self, node: NodeId, message: ToNode) -> (Vec<u8>, bool) {
        let request = match message {
            ToNode::Admin(call) => return (self.on_admin(node, call).to_bytes(), true),
            ToNode::Request(request) => request,
        };
        self.asked.push((node, request.body.clone()));
        let played = self
            .nodes
            .get_mut(&node)
            .expect("it is asked, so it is there");
        let on_change = played
            .on_change
            .clone()
            .filter(|_| is_change(&request.body));
        let habit = played.habits.pop_front().or(on_change);
        let habit = habit.or_else(|| played.always.clone());
        let call = request.call;
        let body = request.body;
        let answer = |result| ToClient::Response(Response { call, result }).to_bytes();
        match habit {
            None | Some(Habit::DoAndLate) => (answer(self.carry_out(node, body)), true),
            Some(Habit::Cut) => (Vec::new(), false),
            Some(Habit::Hang) => (Vec::new(), true),
            Some(Habit::Say(error)) => (answer(Err(error)), true),
            Some(Habit::Garbage) => (codec::seal(9, 9, b"nonsense"), true),
            Some(Habit::Postpone) => {
                self.postponed.push(body);
                (Vec::new(), true)
            }
            Some(Habit::DoAndCut) => {
                let _ = self.carry_out(node, body);
                (Vec::new(), false)
            }
            Some(Habit::DoAndHang) => {
                let _ = self.carry_out(node, body);
                (Vec::new(), true)
            }
            Some(Habit::DoAndHalf) => {
                let mut bytes = answer(self.carry_out(node, body));
                bytes.truncate(bytes.len() / 2);
                (bytes, false)
            }
            Some(Habit::DoAndSay(error)) => {
                let _ = self.carry_out(node, body);
                (answer(Err(error)), true)
            }
        }
    }

    fn carry_out(&mut self, node: NodeId, body: RequestBody) -> Result<ResponseBody, NodeError> {
        let believes = self.nodes[&node].believes;
        let leader = believes.unwrap_or(self.leader);
        let leads = self.leader == Some(node) && believes.is_none();
        let wants_leader = matches!(
            body,
            RequestBody::Write { .. }
                | RequestBody::ChangeMembership { .. }
                | RequestBody::TransferLeadership { .. }
                | RequestBody::KeepSession { .. }
        );
        if wants_leader && !leads {
            return Err(NodeError::NotLeader { leader });
        }
        match body {
            RequestBody::Write {
                session,
                lane,
                seq,
                op,
            } => {
                let request = (session != SessionId(0)).then(|| RequestId::new(session, lane, seq));
                let outcome = self.apply(request, op);
                let index = LogIndex(self.index);
                Ok(ResponseBody::Written { index, outcome })
            }
            RequestBody::KeepSession { session } => self.carry_out(
                node,
                RequestBody::Read {
                    consistency: Consistency::StrictByLease,
                    query: Query::GetSession { session },
                },
            ),
            RequestBody::Read { query, .. } => {
                let result = self.tree.query(WallTime(1), &query);
                Ok(ResponseBody::Read {
                    index: LogIndex(self.index),
                    result: result.expect("memory does not fail"),
                })
            }
            RequestBody::ChangeMembership { voters, learners } => {
                self.index += 1;
                self.membership = Membership {
                    voters: vec![voters],
                    learners,
                    set_by: Some(self.last()),
                };
                let index = LogIndex(self.index);
                Ok(ResponseBody::MembershipChanged { index })
            }
            RequestBody::TransferLeadership { to } => {
                if self.hands_over {
                    self.term += 1;
                    self.leader = Some(to);
                }
                Ok(ResponseBody::TransferStarted)
            }
            RequestBody::Status => Ok(ResponseBody::Status(self.status(node))),
            RequestBody::TakeSnapshot => Ok(ResponseBody::SnapshotTaken {
                applied: LogIndex(self.index),
            }),
        }
    }

    fn apply(&mut self, request: Option<RequestId>, op: Op) -> Outcome {
        self.index += 1;
        let command = Command {
            stamp: Stamp {
                time: self.index,
                node: NodeId(1),
            },
            now: WallTime(1_700_000_000),
            request,
            op,
        };
        let outcome = self.tree.apply(LogIndex(self.index), &command);
        outcome.expect("memory does not fail")
    }

    fn last(&self) -> LogId {
        LogId {
            term: Term(self.term),
            leader: self.leader.unwrap_or_default(),
            index: LogIndex(self.index),
        }
    }

    fn status(&self, node: NodeId) -> NodeStatus {
        let Played {
            believes, claims, ..
        } = self.nodes[&node];
        NodeStatus {
            node,
            term: Term(claims.unwrap_or(self.term)),
            leader: believes.unwrap_or(self.leader),
            leads: claims.is_some() || self.leader == Some(node) && believes.is_none(),
            committed: LogIndex(self.index),
            applied: LogIndex(self.index),
            membership: self.membership.clone(),
            repairing: false,
        }
    }

    fn on_admin(&mut self, node: NodeId, call: AdminCall) -> ToClient {
        let result = match call.request {
            AdminRequest::Process => Ok(AdminAnswer::Process(Box::new(self.process(node)))),
            AdminRequest::Raft => Ok(AdminAnswer::Raft(Box::new(self.raft(node)))),
            AdminRequest::Addresses => Ok(AdminAnswer::Addresses(self.addresses())),
            AdminRequest::Settings => Ok(AdminAnswer::Settings(self.settings())),
            AdminRequest::Chunkservers => Ok(AdminAnswer::Chunkservers(self.chunkservers())),
            AdminRequest::SetSetting { key, value } => match self.settings.get_mut(&key) {
                Some(held) => {
                    *held = value;
                    Ok(AdminAnswer::SettingSet)
                }
                None => Err(AdminError::Setting(format!("there is no setting {key}"))),
            },
            AdminRequest::Export { .. } => {
                Err(AdminError::Refused("there is nothing to export".to_owned()))
            }
            AdminRequest::ReloadSettings => Ok(AdminAnswer::Reloaded {
                changed: vec!["LOG_LEVEL".to_owned()],
                need_restart: vec!["DATA_PATH".to_owned()],
            }),
        };
        let call = call.call;
        ToClient::Admin(AdminReply { call, result })
    }

    fn settings(&self) -> Vec<Setting> {
        let settings = self.settings.iter();
        settings
            .map(|(key, value)| Setting {
                key: key.clone(),
                value: value.clone(),
                source: "file".to_owned(),
                live: true,
            })
            .collect()
    }

    fn chunkservers(&self) -> Vec<ChunkserverStatus> {
        let all = self.tree.chunkservers().expect("memory does not fail");
        let status = |info: ChunkserverInfo| ChunkserverStatus {
            heard: self.heard.get(&info.csid).copied(),
            info,
        };
        all.into_iter().map(status).collect()
    }

    fn process(&self, node: NodeId) -> ProcessStatus {
        let peers = self.nodes.iter().filter(|(peer, _)| **peer != node);
        ProcessStatus {
            node: self.status(node),
            cluster: self.cluster,
            version: "0.1.0".to_owned(),
            uptime_ms: 93_784_000,
            region: "eu".to_owned(),
            peers: peers
                .map(|(peer, played)| {
                    let status = PeerStatus {
                        address: Some(played.address.clone()),
                        connected: !played.down,
                        trouble: played.down.then(|| "connection refused".to_owned()),
                    };
                    (*peer, status)
                })
                .collect(),
            clients: 1,
            memory_bytes: (1 << 20, 1 << 30),
            state_bytes: 4 << 20,
            log_bytes: 1 << 20,
            checkpoint: LogIndex(self.index),
            metadata_version: self.tree.version(),
        }
    }

    fn raft(&self, node: NodeId) -> RaftStatus {
        let status = self.status(node);
        let learner = self.membership.learners.contains(&node);
        let role = match (status.leads, learner) {
            (true, _) => Role::Leader,
            (false, true) => Role::Learner,
            (false, false) => Role::Follower,
        };
        let members = self.membership.voters.iter().flatten();
        let members = members.chain(&self.membership.learners);
        let matched = members.filter(|member| **member != node).map(|member| {
            let has = (!self.stuck.contains(member)).then_some(LogIndex(self.index));
            (*member, has)
        });
        RaftStatus {
            role,
            matched: if status.leads {
                matched.collect()
            } else {
                BTreeMap::new()
            },
            node: status,
            last_log: Some(self.last()),
            purged: None,
            snapshot: None,
            log_memory_bytes: 12_345,
        }
    }
}

/// Whether it changes the tree in the name of a session.
fn is_change(body: &RequestBody) -> bool {
    match body {
        RequestBody::Write { session, op, .. } => {
            *session != SessionId(0) && !matches!(op, Op::CloseSession { .. })
        }
        _ => false,
    }
}

struct FakeDial(Fake);

impl Dial for FakeDial {
    fn dial(&self, address: &Address) -> Dialing {
        let (fake, address) = (self.0.clone(), address.to_string());
        Box::pin(async move {
            let node = {
                let state = fake.lock();
                let mut nodes = state.nodes.iter();
                nodes
                    .find(|(_, played)| played.address == address && !played.down)
                    .map(|(node, _)| *node)
            };
            let Some(node) = node else {
                return Err(std::io::ErrorKind::ConnectionRefused.into());
            };
            let (here, there): (DuplexStream, DuplexStream) = tokio::io::duplex(1 << 16);
            tokio::spawn(async move { fake.talk(node, Box::new(there)).await });
            Ok(Box::new(here) as Box<dyn Stream>)
        })
    }
}
