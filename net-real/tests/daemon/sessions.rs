//! A session whose client died: its lock passes on, and the one beside it stays.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use mfsha_client::{Address, Client, ClientOptions, Error, Freshness};
use mfsha_core::codec;
use mfsha_core::id::{InodeId, SessionId};
use mfsha_core::namespace::error::FsError;
use mfsha_core::namespace::op::{
    Answer, Caller, FlockOp, NodeKind, Op, Query, Reply, SessionParams,
};
use mfsha_core::native::{ClientHello, HelloReply, PROTOCOL_NEWEST, PROTOCOL_OLDEST, Refusal};
use mfsha_core::time::WallTime;

use crate::support::{Cluster, PATIENCE, fault_library};

async fn client(cluster: &Cluster) -> Client {
    let addresses = Address::parse_list(&cluster.peers()).unwrap();
    let options = ClientOptions {
        session: SessionParams::unrestricted(),
        ..ClientOptions::new(addresses)
    };
    Client::connect(options).await.unwrap().unwrap()
}

async fn open_file(client: &Client) -> InodeId {
    let made = client.write(|session| Op::Create {
        caller: Caller {
            session,
            uid: 0,
            gids: vec![0],
        },
        parent: InodeId::ROOT,
        name: b"locked".to_vec(),
        kind: NodeKind::File,
        mode: 0o644,
        umask: 0,
        rdev: 0,
        open: true,
    });
    match made.await {
        Ok(Reply::Node { inode, .. }) => inode,
        other => panic!("{other:?}"),
    }
}

async fn try_lock(client: &Client, inode: InodeId) -> Result<Reply, Error> {
    let lock = client.write(move |session| Op::Flock {
        session,
        inode,
        owner: 1,
        reqid: 0,
        op: FlockOp::TryExclusive,
    });
    lock.await
}

/// Since when nobody speaks for a session; outside `None` when it is gone.
async fn mark(asker: &Client, session: SessionId) -> Option<Option<WallTime>> {
    let read = asker.read(Freshness::Strict, move |_| Query::GetSession { session });
    match read.await {
        Ok(Answer::Session { disconnected, .. }) => Some(disconnected),
        Err(Error::Fs(FsError::BadSession)) => None,
        other => panic!("{other:?}"),
    }
}

/// Waits until a session stands as it has to.
async fn until(
    asker: &Client,
    session: SessionId,
    what: &str,
    holds: impl Fn(Option<Option<WallTime>>) -> bool,
) {
    let end = tokio::time::Instant::now() + PATIENCE;
    while !holds(mark(asker, session).await) {
        assert!(tokio::time::Instant::now() < end, "{session} never {what}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[test]
fn what_a_dead_client_held_passes_on_and_the_living_keep_theirs() {
    let mut cluster = Cluster::new(1);
    let library = fault_library(cluster.directory.path());
    let clock = cluster.directory.path().join("clock");
    fs::write(&clock, "0").unwrap();
    let mut command = cluster.command(1);
    command
        .arg("--set=SESSION_SUSTAIN_TIME=60")
        .env("LD_PRELOAD", &library)
        .env("MFSHA_TEST_CLOCK", &clock);
    cluster.start_by(1, command);
    cluster.ready(1);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let dead = client(&cluster).await;
        let left = dead.session().await.unwrap();
        let file = open_file(&dead).await;
        try_lock(&dead, file).await.unwrap();
        // Without a word to the cluster.
        drop(dead);

        let alive = client(&cluster).await;
        let used = alive.session().await.unwrap();
        let inodes = vec![file];
        let opened = alive.write(move |session| Op::SetOpenFiles {
            session,
            inodes: inodes.clone(),
        });
        opened.await.unwrap();
        let held = try_lock(&alive, file).await;
        assert!(matches!(held, Err(Error::Fs(FsError::Again))), "{held:?}");

        let asker = client(&cluster).await;
        until(&asker, left, "is noted as left", |mark| {
            matches!(mark, Some(Some(_)))
        })
        .await;
        let held = try_lock(&alive, file).await;
        assert!(matches!(held, Err(Error::Fs(FsError::Again))), "{held:?}");
        // A minute later, by the wall clock.
        fs::write(&clock, "61").unwrap();
        until(&asker, left, "is ended", |mark| mark.is_none()).await;
        try_lock(&alive, file).await.unwrap();
        assert_eq!(mark(&asker, used).await, Some(None));
        assert_eq!(alive.session().await, Ok(used), "the same as ever");
        alive.close().await.unwrap();
    });
    let log = cluster.said(1);
    let ends = log.matches("nobody has spoken for session").count();
    assert_eq!(ends, 1, "{log}");
}

/// What a node answers to bytes that a client says first.
fn answer(cluster: &Cluster, hello: &[u8]) -> Vec<u8> {
    let mut socket = TcpStream::connect((cluster.ip(1), 9430)).expect("the node listens");
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.write_all(hello).unwrap();
    let mut said = Vec::new();
    let mut chunk = [0; 4_096];
    while codec::verify(&said).is_err() {
        match socket.read(&mut chunk) {
            Ok(0) => panic!("closed without a whole answer: {said:?}"),
            Ok(count) => said.extend_from_slice(&chunk[..count]),
            Err(error) => panic!("no answer: {error}"),
        }
    }
    said
}

#[test]
fn a_client_without_a_common_version_is_told_which_there_are() {
    let mut cluster = Cluster::new(1);
    cluster.start_all();
    let hello = |protocol| ClientHello {
        protocol,
        token: Vec::new(),
        cluster: None,
        program: "of another time".into(),
    };
    let refusal = HelloReply::Refused(Refusal::Protocol {
        oldest: PROTOCOL_OLDEST,
        newest: PROTOCOL_NEWEST,
    });
    let newer = (PROTOCOL_NEWEST + 1, PROTOCOL_NEWEST + 3);
    let older = (1, PROTOCOL_OLDEST - 1);
    for protocol in [newer, older] {
        let said = answer(&cluster, &hello(protocol).to_bytes());
        assert_eq!(HelloReply::from_bytes(&said), Ok(refusal.clone()));
    }
    // Who speaks more than the node meets it in the middle.
    let wide = hello((1, PROTOCOL_NEWEST + 9));
    match HelloReply::from_bytes(&answer(&cluster, &wide.to_bytes())) {
        Ok(HelloReply::Welcome(welcome)) => assert_eq!(welcome.protocol, PROTOCOL_NEWEST),
        other => panic!("{other:?}"),
    }
}
