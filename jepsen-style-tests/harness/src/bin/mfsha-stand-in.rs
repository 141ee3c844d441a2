//! The stand-in as a process with the daemon's command line, for tests of the harness. Whoever is
//! first among the peers holds the tree; the others send clients there. A mistake can be put in by
//! `MFSHA_STAND_IN_MISTAKE`: `forget`, `twice` or `stale`.

use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::Parser;
use mfsha_core::codec::SEAL_BYTES;
use mfsha_core::id::{LogIndex, NodeId, SessionId, Term};
use mfsha_core::membership::Membership;
use mfsha_core::namespace::op::{Op, RequestId};
use mfsha_core::native::admin::{AdminAnswer, AdminCall, AdminError, AdminReply, AdminRequest};
use mfsha_core::native::request::{
    NodeError, NodeStatus, Request, RequestBody, Response, ResponseBody,
};
use mfsha_core::native::{ClientHello, ClusterId, HelloReply, ToClient, ToNode, Welcome};
use mfsha_jepsen::cluster::PORT;
use mfsha_jepsen::door::{Door, Speech};
use mfsha_jepsen::stand_in::{Tree, founders};
use mfsha_jepsen::wire::{self, Connection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The daemon's options, as far as the harness uses them.
#[derive(Debug, Parser)]
struct Cli {
    #[arg(long)]
    node_id: u64,
    #[arg(long)]
    bind: IpAddr,
    #[arg(long, value_delimiter = ',')]
    peers: Vec<IpAddr>,
    #[arg(long)]
    data_path: PathBuf,
    #[arg(long)]
    bootstrap: bool,
}

/// What is done wrong on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mistake {
    None,
    /// Some creations are acknowledged and not written down.
    Forget,
    /// Answers to some creations get lost, and a repeat is carried out again.
    Twice,
    /// Reads show a state that is twenty changes old.
    Stale,
}

/// How far behind [`Mistake::Stale`] is, in changes.
const LAG: usize = 20;

struct Held {
    tree: Tree,
    /// The same tree, some changes ago, and the changes between.
    old: Tree,
    since: VecDeque<(Option<RequestId>, Op)>,
    writes: u64,
}

struct Node {
    id: NodeId,
    peers: Vec<IpAddr>,
    mistake: Mistake,
    /// `None` where clients are sent on.
    held: Option<Mutex<Held>>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let ended = runtime.and_then(|runtime| runtime.block_on(serve(cli)));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mfsha-stand-in: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(cli: Cli) -> std::io::Result<()> {
    let mistake = match std::env::var("MFSHA_STAND_IN_MISTAKE").as_deref() {
        Ok("forget") => Mistake::Forget,
        Ok("twice") => Mistake::Twice,
        Ok("stale") => Mistake::Stale,
        _ => Mistake::None,
    };
    std::fs::create_dir_all(&cli.data_path)?;
    let held = if cli.peers.first() == Some(&cli.bind) {
        let tree = Tree::open(&cli.data_path.join("log"))?;
        let old = Tree::new();
        Some(Mutex::new(Held {
            tree,
            old,
            since: VecDeque::new(),
            writes: 0,
        }))
    } else {
        None
    };
    let node = Arc::new(Node {
        id: NodeId(cli.node_id),
        peers: cli.peers,
        mistake,
        held,
    });
    let listener = TcpListener::bind((cli.bind, PORT)).await?;
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                let node = Arc::clone(&node);
                tokio::spawn(async move {
                    // A client that goes away is nothing to tell anybody about.
                    let _ = node.talk(stream).await;
                });
            }
            _ = terminate.recv() => return Ok(()),
        }
    }
}

impl Node {
    async fn talk(&self, mut stream: TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let bad = |error| std::io::Error::other(format!("{error}"));
        let hello = record(&mut stream).await?;
        ClientHello::from_bytes(&hello).map_err(bad)?;
        let welcome = HelloReply::Welcome(Welcome {
            protocol: mfsha_core::native::PROTOCOL_NEWEST,
            cluster: ClusterId(1),
            node: self.id,
            addresses: self.addresses(),
        });
        stream.write_all(&welcome.to_bytes()).await?;
        loop {
            let bytes = record(&mut stream).await?;
            let answer = match ToNode::from_bytes(&bytes).map_err(bad)? {
                ToNode::Request(request) => match self.answer(request).await {
                    Some(response) => ToClient::Response(response),
                    None => return Ok(()),
                },
                ToNode::Admin(call) => ToClient::Admin(self.admin(&call)),
            };
            stream.write_all(&answer.to_bytes()).await?;
        }
    }

    fn addresses(&self) -> std::collections::BTreeMap<NodeId, String> {
        let address = |ip: &IpAddr| SocketAddr::new(*ip, PORT).to_string();
        (1..)
            .map(NodeId)
            .zip(self.peers.iter().map(address))
            .collect()
    }

    fn admin(&self, call: &AdminCall) -> AdminReply {
        let result = match call.request {
            AdminRequest::Addresses => Ok(AdminAnswer::Addresses(self.addresses())),
            _ => Err(AdminError::Unavailable(
                "a stand-in knows no more".to_owned(),
            )),
        };
        AdminReply {
            call: call.call,
            result,
        }
    }

    /// `None` when the answer gets lost.
    async fn answer(&self, request: Request) -> Option<Response> {
        let call = request.call;
        let result = match (&self.held, request.body) {
            (
                Some(held),
                RequestBody::Write {
                    session,
                    lane,
                    seq,
                    op,
                },
            ) => {
                let id = RequestId::new(session, lane, seq);
                let id = (session != SessionId(0) && self.mistake != Mistake::Twice).then_some(id);
                let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
                let (is_lost, result) = self.write(&mut held, id, op);
                if is_lost {
                    return None;
                }
                result
            }
            (None, RequestBody::Write { .. }) => Err(NodeError::NotLeader {
                leader: Some(NodeId(1)),
            }),
            (Some(held), RequestBody::Read { query, .. }) => {
                let held = held.lock().unwrap_or_else(PoisonError::into_inner);
                let is_stale = self.mistake == Mistake::Stale && held.old.index() > LogIndex(0);
                let (index, result) = if is_stale {
                    held.old.read(&query)
                } else {
                    held.tree.read(&query)
                };
                Ok(ResponseBody::Read { index, result })
            }
            (None, body @ RequestBody::Read { .. }) => self.pass_on(body).await,
            (_, RequestBody::Status) => self.status().await.map(ResponseBody::Status),
            (_, _) => Err(NodeError::Invalid {
                reason: "a stand-in cannot do that".to_owned(),
            }),
        };
        Some(Response { call, result })
    }

    fn write(
        &self,
        held: &mut Held,
        id: Option<RequestId>,
        op: Op,
    ) -> (bool, Result<ResponseBody, NodeError>) {
        held.writes += 1;
        let is_new = matches!(&op, Op::Create { name, .. } if name.starts_with(b"w"));
        let forgets = self.mistake == Mistake::Forget && is_new && held.writes.is_multiple_of(7);
        if self.mistake == Mistake::Stale {
            held.since.push_back((id, op.clone()));
            while held.since.len() > LAG {
                let (id, op) = held.since.pop_front().expect("it is long");
                // It has no file, so nothing can fail.
                let _ = held.old.write(id, op, false);
            }
        }
        let is_lost = self.mistake == Mistake::Twice && is_new && held.writes.is_multiple_of(7);
        let result = match held.tree.write(id, op, !forgets) {
            Ok((index, outcome)) => Ok(ResponseBody::Written { index, outcome }),
            Err(error) => Err(NodeError::Unavailable {
                reason: error.to_string(),
            }),
        };
        (is_lost, result)
    }

    fn first(&self) -> SocketAddr {
        SocketAddr::new(self.peers[0], PORT)
    }

    async fn pass_on(&self, body: RequestBody) -> Result<ResponseBody, NodeError> {
        let patience = Duration::from_millis(700);
        let lost = |error: wire::WireError| NodeError::Unavailable {
            reason: error.to_string(),
        };
        let first = Door::new(self.first(), Speech::clear());
        let mut connection = Connection::open(&first, patience).await.map_err(lost)?;
        connection.ask(body, patience).await.map_err(lost)?
    }

    async fn status(&self) -> Result<NodeStatus, NodeError> {
        let Some(held) = &self.held else {
            let asked = self.pass_on(RequestBody::Status).await?;
            let ResponseBody::Status(status) = asked else {
                return Err(NodeError::Unknown);
            };
            return Ok(NodeStatus {
                node: self.id,
                leads: false,
                ..status
            });
        };
        let index = held
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .tree
            .index();
        Ok(NodeStatus {
            node: self.id,
            term: Term(1),
            leader: Some(NodeId(1)),
            leads: true,
            committed: index,
            applied: index,
            membership: Membership {
                voters: vec![founders(self.peers.len())],
                learners: BTreeSet::new(),
                set_by: None,
            },
            repairing: false,
        })
    }
}

async fn record(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; SEAL_BYTES];
    stream.read_exact(&mut bytes).await?;
    let length = u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]) as usize;
    if length > mfsha_core::limits::RECORD_BYTES_MAX {
        return Err(std::io::Error::other("a record is too long"));
    }
    bytes.resize(SEAL_BYTES + length, 0);
    stream.read_exact(&mut bytes[SEAL_BYTES..]).await?;
    Ok(bytes)
}
