//! The thread that owns a node, over real files.

use std::path::Path;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use mfsha_core::id::{GroupId, InodeId, Lane, NodeId, RequestSeq, SessionId};
use mfsha_core::membership::Role;
use mfsha_core::namespace::op::{Caller, Op};
use mfsha_core::native::request::{
    CallId, ClientId, NodeError, Request, RequestBody, Response, ResponseBody,
};
use mfsha_core::node::{Node, Options};
use mfsha_core::rng::Seed;
use mfsha_core::store::MemStore;
use mfsha_core::wal::WalOptions;

use super::*;
use crate::disk::FileDisk;

/// How long a test waits for what has to come, before it says that it did not.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a node did, as far as tests look.
#[derive(Debug)]
enum Seen {
    Reply(Box<Response>),
    Leads,
    Applied,
    Ended(Ended),
}

struct TestWorld {
    seen: Sender<Seen>,
    /// Of a node that is asked to end when it has applied something.
    ends: Option<Receiver<NodeHandle>>,
}

impl World for TestWorld {
    fn send(&mut self, to: NodeId, _class: Class, _message: Vec<u8>) {
        panic!("a node alone sends to {to}");
    }

    fn reply(&mut self, _client: ClientId, response: Response) {
        let seen = Seen::Reply(Box::new(response));
        self.seen.send(seen).unwrap();
    }

    fn order(&mut self, conn: ConnId, order: Order) {
        panic!("no chunkserver is at {conn:?} for {order:?}");
    }

    fn unseat(&mut self, conn: ConnId, reason: String) {
        panic!("no chunkserver is at {conn:?} to be told: {reason}");
    }

    fn note(&mut self, note: Note<'_>) {
        match note {
            Note::Role(RoleChange {
                role: Role::Leader, ..
            }) => self.seen.send(Seen::Leads).unwrap(),
            Note::Applied { .. } => {
                self.seen.send(Seen::Applied).unwrap();
                if let Some(handle) = self.ends.take() {
                    handle.recv().unwrap().stop();
                }
            }
            _ => {}
        }
    }
}

fn start(directory: &Path, capacity_bytes: Option<u64>) -> (NodeHandle, Receiver<Seen>) {
    start_with(directory, capacity_bytes, false)
}

/// With `stops` the node applies one entry a step, and is asked to end when it has applied one.
fn start_with(
    directory: &Path,
    capacity_bytes: Option<u64>,
    stops: bool,
) -> (NodeHandle, Receiver<Seen>) {
    let (seen, look) = mpsc::channel();
    let told = seen.clone();
    let (give, handle) = mpsc::channel();
    let ends = stops.then_some(handle);
    let directory = directory.to_owned();
    let open = move |handle: &NodeHandle, clock: &Clock| {
        if stops {
            give.send(handle.clone()).unwrap();
        }
        open_alone(&directory, capacity_bytes, stops, handle, clock)
    };
    let ended = move |how| told.send(Seen::Ended(how)).unwrap();
    let (handle, _thread) = spawn(Clock::start(), TestWorld { seen, ends }, open, ended).unwrap();
    (handle, look)
}

/// A node that is a cluster by itself; `steps` has it apply one entry at a time.
fn open_alone(
    directory: &Path,
    capacity_bytes: Option<u64>,
    steps: bool,
    handle: &NodeHandle,
    clock: &Clock,
) -> Result<Node<FileDisk, MemStore>, Refused> {
    let report = handle.clone();
    let disk = FileDisk::open(directory, capacity_bytes, move |done| {
        report.flushed(done.flush, done.result);
    })
    .map_err(|error| refused(&error))?;
    let options = Options {
        wal: WalOptions::small(NodeId(1)),
        bootstrap: Some([NodeId(1)].into()),
        apply_entries_max: if steps { 1 } else { 64 },
        ..Options::new(GroupId(1), raft::Options::new(NodeId(1)), 1)
    };
    let seed = Seed::from_u64(1);
    Node::open(options, disk, MemStore::new(), seed, clock.now()).map_err(|error| refused(&error))
}

fn refused(error: &dyn std::fmt::Display) -> Refused {
    Refused {
        reason: error.to_string(),
        code: 74,
    }
}

fn wait<T>(look: &Receiver<Seen>, mut wanted: impl FnMut(Seen) -> Option<T>) -> T {
    loop {
        let seen = look.recv_timeout(PATIENCE).expect("what has to come comes");
        if let Some(found) = wanted(seen) {
            return found;
        }
    }
}

fn answer(seen: Seen) -> Option<Response> {
    match seen {
        Seen::Reply(response) => Some(*response),
        _ => None,
    }
}

fn mkdir(call: u64, name: &str) -> Request {
    Request {
        call: CallId(call),
        body: RequestBody::Write {
            session: SessionId(0),
            lane: Lane(0),
            seq: RequestSeq(0),
            op: Op::Mkdir {
                caller: Caller {
                    session: SessionId(0),
                    uid: 0,
                    gids: vec![0],
                },
                parent: InodeId::ROOT,
                name: name.as_bytes().to_vec(),
                mode: 0o755,
                umask: 0,
                copy_setgid: false,
            },
        },
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
}

#[test]
fn a_node_alone_leads_answers_and_ends_when_asked() {
    let directory = tempfile::tempdir().unwrap();
    let (node, look) = start(directory.path(), None);
    wait(&look, |seen| matches!(seen, Seen::Leads).then_some(()));
    node.request(ClientId(1), mkdir(5, "a"));
    let response = wait(&look, answer);
    assert_eq!(response.call, CallId(5));
    assert!(
        matches!(&response.result, Ok(ResponseBody::Written { outcome, .. }) if outcome.result.is_ok()),
        "{response:?}"
    );
    let inspection = runtime().block_on(node.inspect()).expect("it runs");
    assert!(inspection.status.leads);
    assert_eq!(inspection.version, 1, "one command was carried out");
    node.stop();
    let how = wait(&look, |seen| match seen {
        Seen::Ended(how) => Some(how),
        _ => None,
    });
    assert_eq!(how, Ended::Asked);
    assert!(runtime().block_on(node.inspect()).is_none(), "it has ended");
}

#[test]
fn what_was_acknowledged_is_there_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let (node, look) = start(directory.path(), None);
    wait(&look, |seen| matches!(seen, Seen::Leads).then_some(()));
    for call in 0..20 {
        node.request(ClientId(1), mkdir(call, &format!("d{call}")));
        wait(&look, answer);
    }
    node.stop();
    wait(&look, |seen| matches!(seen, Seen::Ended(_)).then_some(()));
    let (node, look) = start(directory.path(), None);
    wait(&look, |seen| matches!(seen, Seen::Leads).then_some(()));
    node.request(ClientId(1), mkdir(1, "d7"));
    let response = wait(&look, answer);
    let Ok(ResponseBody::Written { outcome, .. }) = response.result else {
        panic!("{response:?}");
    };
    assert!(outcome.result.is_err(), "d7 exists already");
    node.stop();
}

#[test]
fn a_node_that_replays_a_long_log_ends_when_asked() {
    let directory = tempfile::tempdir().unwrap();
    let (node, look) = start(directory.path(), None);
    wait(&look, |seen| matches!(seen, Seen::Leads).then_some(()));
    for call in 0..40 {
        node.request(ClientId(1), mkdir(call, &format!("d{call}")));
        wait(&look, answer);
    }
    node.stop();
    wait(&look, |seen| matches!(seen, Seen::Ended(_)).then_some(()));
    // Its state is in memory, so all of the log is applied again.
    let (_node, look) = start_with(directory.path(), None, true);
    let mut applied = 0;
    let how = wait(&look, |seen| match seen {
        Seen::Applied => {
            applied += 1;
            None
        }
        Seen::Ended(how) => Some(how),
        _ => None,
    });
    assert_eq!(how, Ended::Asked);
    assert!((1..20).contains(&applied), "it had applied {applied} of 40");
}

#[test]
fn a_full_disk_ends_the_node_with_its_reason_and_no_acknowledgement() {
    let directory = tempfile::tempdir().unwrap();
    // Room for three small segments: the first writes fit.
    let (node, look) = start(directory.path(), Some(50_000));
    wait(&look, |seen| matches!(seen, Seen::Leads).then_some(()));
    let mut acknowledged = 0;
    let mut call = 0;
    let ended = loop {
        call += 1;
        node.request(ClientId(1), mkdir(call, &format!("directory-{call}")));
        let seen = wait(&look, |seen| match seen {
            Seen::Reply(response) => Some(Ok(response.result)),
            Seen::Ended(how) => Some(Err(how)),
            Seen::Leads | Seen::Applied => None,
        });
        match seen {
            Ok(Ok(_)) => acknowledged += 1,
            Ok(Err(NodeError::Unavailable { .. } | NodeError::Unknown)) => {}
            Ok(Err(other)) => panic!("{other:?}"),
            Err(how) => break how,
        }
        assert!(call < 10_000, "the disk never was full");
    };
    let Ended::Fault(reason) = ended else {
        panic!("{ended:?}");
    };
    assert!(reason.contains("no space left"), "{reason}");
    assert!(acknowledged > 0, "the disk was full from the start");
    // With room again, everything acknowledged is there.
    let (node, look) = start(directory.path(), None);
    wait(&look, |seen| matches!(seen, Seen::Leads).then_some(()));
    node.request(ClientId(1), mkdir(call + 1, "one-more"));
    let response = wait(&look, answer);
    assert!(response.result.is_ok(), "{response:?}");
    let inspection = runtime().block_on(node.inspect()).expect("it runs");
    assert!(inspection.version > acknowledged, "{inspection:?}");
    node.stop();
}

#[test]
fn a_node_that_cannot_open_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a-file");
    std::fs::write(&file, b"not a directory").unwrap();
    let (_node, look) = start(&file, None);
    let how = wait(&look, |seen| match seen {
        Seen::Ended(how) => Some(how),
        _ => None,
    });
    assert!(
        matches!(&how, Ended::Refused(refused) if refused.reason.contains("a-file")),
        "{how:?}"
    );
}

#[test]
fn peers_messages_that_find_too_much_waiting_are_dropped_and_counted_until_there_is_room() {
    const MIB: usize = 1 << 20;
    let directory = tempfile::tempdir().unwrap();
    let (seen, look) = mpsc::channel();
    let (let_go, gate) = mpsc::channel::<()>();
    let told = seen.clone();
    let at = directory.path().to_owned();
    let open = move |handle: &NodeHandle, clock: &Clock| {
        gate.recv().unwrap();
        open_alone(&at, None, false, handle, clock)
    };
    let ended = move |how| told.send(Seen::Ended(how)).unwrap();
    let world = TestWorld { seen, ends: None };
    let (node, _thread) = spawn(Clock::start(), world, open, ended).unwrap();
    // What makes no sense to it takes room as well as anything.
    let fits = INBOX_BYTES_MAX / MIB;
    for _ in 0..fits {
        node.deliver(NodeId(2), vec![0; MIB]);
    }
    assert_eq!(node.dropped(), 0);
    node.deliver(NodeId(2), vec![0]);
    node.deliver(NodeId(2), vec![0; MIB]);
    assert_eq!(node.dropped(), 2);
    // Its clients are heard all the same, behind what waits.
    node.request(ClientId(1), mkdir(5, "a"));
    let_go.send(()).unwrap();
    assert_eq!(wait(&look, answer).call, CallId(5));
    node.deliver(NodeId(2), vec![0; INBOX_BYTES_MAX]);
    assert_eq!(node.dropped(), 2, "there is room again");
    node.stop();
    wait(&look, |seen| {
        matches!(seen, Seen::Ended(Ended::Asked)).then_some(())
    });
}
