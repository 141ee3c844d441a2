//! What faces ask finds the leader by itself, and takes effect once.

use super::*;
use crate::namespace::op::RequestId;
use crate::node::peer::PeerBody;

impl Cluster {
    /// Asks without waiting for the answer.
    fn ask(&mut self, id: NodeId, body: RequestBody) -> CallId {
        self.calls += 1;
        let (client, call) = (ClientId(1), CallId(self.calls));
        let request = Request { call, body };
        self.step(id, Event::Ask { client, request });
        call
    }

    fn ask_mkdir(&mut self, id: NodeId, name: &str, seq: u64) -> CallId {
        let (session, lane, seq) = (SessionId(1), Lane(0), RequestSeq(seq));
        let op = mkdir(name);
        self.ask(
            id,
            RequestBody::Write {
                session,
                lane,
                seq,
                op,
            },
        )
    }

    fn await_answer(&mut self, call: CallId, steps: u32) -> Result<ResponseBody, NodeError> {
        for _ in 0..steps {
            if let Some(response) = self.responses.remove(&call) {
                return response.result;
            }
            self.run_for(Duration::from_millis(10));
        }
        panic!("an ask has no answer");
    }
}

/// The directory that an answer says was made.
fn made(answer: Result<ResponseBody, NodeError>) -> InodeId {
    match answer {
        Ok(ResponseBody::Written { outcome, .. }) => match outcome.result {
            Ok(Reply::Node { inode, .. }) => inode,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_write_asked_at_any_node_takes_effect() {
    let mut cluster = Cluster::new(3);
    cluster.open_session();
    for id in 1..=3 {
        let name = format!("d{id}");
        let call = cluster.ask_mkdir(NodeId(id), &name, id);
        made(cluster.await_answer(call, 100));
    }
    assert_eq!(cluster.names(NodeId(1)), ["d1", "d2", "d3"]);
    cluster.assert_converged();
}

#[test]
fn a_write_waits_for_the_next_leader_and_takes_effect_once() {
    let mut cluster = Cluster::new(3);
    cluster.open_session();
    let (leader, follower) = (cluster.leader(), cluster.follower());
    // The leader dies with the command in its log, replicated or not, and the answer unsaid.
    let call = cluster.ask_mkdir(follower, "a", 1);
    cluster.run_for(Duration::from_micros(2_300));
    cluster.kill(leader);
    cluster.step(follower, Event::PeerLost { peer: leader });
    let first = made(cluster.await_answer(call, 1_000));
    // Asked again by the client after it has moved to another node.
    let other = *cluster
        .hosts
        .keys()
        .find(|id| **id != leader && **id != follower)
        .unwrap();
    let call = cluster.ask_mkdir(other, "a", 1);
    assert_eq!(made(cluster.await_answer(call, 1_000)), first);
    cluster.start(leader).unwrap();
    cluster.assert_converged();
    assert_eq!(cluster.names(leader), ["a"]);
}

#[test]
fn asks_and_answers_that_get_lost_are_said_again() {
    let mut cluster = Cluster::new(3);
    cluster.open_session();
    let follower = cluster.follower();
    let leader = cluster.leader();
    // On its way to the leader everything is lost, and nobody is told.
    let call = cluster.ask_mkdir(follower, "a", 1);
    cluster.queue.retain(|_, (_, _, arrival)| {
        let Arrival::Message(_, message) = arrival else {
            return true;
        };
        let said = PeerMessage::from_bytes(message).unwrap();
        !matches!(said.body, PeerBody::Ask { .. })
    });
    cluster.run_for(Duration::from_millis(500));
    assert_eq!(cluster.names(leader), [""; 0]);
    let first = made(cluster.await_answer(call, 200));
    // The answer is lost.
    let call = cluster.ask_mkdir(follower, "b", 2);
    for _ in 0..50 {
        cluster.run_for(Duration::from_micros(100));
        cluster.queue.retain(|_, (_, _, arrival)| {
            let Arrival::Message(_, message) = arrival else {
                return true;
            };
            let said = PeerMessage::from_bytes(message).unwrap();
            !matches!(said.body, PeerBody::Told { .. })
        });
    }
    assert_eq!(cluster.names(leader), ["a", "b"]);
    assert!(!cluster.responses.contains_key(&call), "its answer is lost");
    assert_ne!(made(cluster.await_answer(call, 200)), first);
    assert_eq!(cluster.names(leader), ["a", "b"]);
}

#[test]
fn reads_and_writes_wait_while_there_is_no_majority_and_end_at_last() {
    let mut cluster = Cluster::new(3);
    cluster.open_session();
    let (leader, follower) = (cluster.leader(), cluster.follower());
    cluster.cut.insert(follower);
    cluster.run_for(Duration::from_secs(3));
    let write = cluster.ask_mkdir(follower, "a", 1);
    let query = Query::GetAttr {
        caller: caller(),
        inode: ROOT,
        opened: false,
    };
    let consistency = Consistency::Strict;
    let read = cluster.ask(follower, RequestBody::Read { consistency, query });
    cluster.run_for(Duration::from_secs(10));
    assert!(cluster.responses.is_empty(), "an ask takes no refusal");
    cluster.cut.clear();
    made(cluster.await_answer(write, 1_000));
    let answer = cluster.await_answer(read, 1_000);
    assert!(matches!(
        answer,
        Ok(ResponseBody::Read {
            result: Ok(Answer::Attr(_)),
            ..
        })
    ));
    assert_eq!(cluster.names(leader), ["a"]);
    // Nobody waits for ever.
    cluster.cut.insert(follower);
    cluster.run_for(Duration::from_secs(3));
    let write = cluster.ask_mkdir(follower, "b", 2);
    let end = cluster.await_answer(write, 3_100);
    assert_eq!(end, Err(NodeError::Unknown));
}

#[test]
fn what_no_log_could_take_is_refused_where_it_was_asked() {
    let mut cluster = Cluster::new(3);
    cluster.open_session();
    let follower = cluster.follower();
    let sent = cluster.sent;
    let call = cluster.ask_mkdir(follower, &"n".repeat(9_000), 1);
    let answer = cluster.responses.remove(&call).unwrap().result;
    assert!(matches!(answer, Err(NodeError::Invalid { .. })));
    assert_eq!(cluster.sent, sent, "nothing was sent");
}

#[test]
fn a_node_that_stops_or_heals_leaves_nobody_waiting() {
    let mut cluster = Cluster::new(3);
    cluster.open_session();
    let follower = cluster.follower();
    cluster.cut.insert(follower);
    cluster.run_for(Duration::from_secs(2));
    let call = cluster.ask_mkdir(follower, "a", 1);
    let gone = {
        let host = cluster.hosts.get_mut(&follower).unwrap();
        let node = host.node.as_mut().unwrap();
        let mut out = Outbox::new();
        node.become_stopped("for the test".to_owned(), &mut out);
        let replies = out.drain().filter_map(|it| match it {
            Effect::Reply { response, .. } => Some(response),
            _ => None,
        });
        replies.collect::<Vec<_>>()
    };
    let expected = Response {
        call,
        result: Err(NodeError::Unknown),
    };
    assert_eq!(gone, [expected]);
}

#[test]
fn a_client_that_left_is_not_answered() {
    let mut cluster = Cluster::new(3);
    cluster.open_session();
    let (leader, follower) = (cluster.leader(), cluster.follower());
    for id in [leader, follower] {
        let call = cluster.ask_mkdir(id, &format!("d{}", id.0), id.0);
        let client = ClientId(1);
        cluster.step(id, Event::ClientGone { client });
        cluster.run_for(Duration::from_secs(2));
        assert!(!cluster.responses.contains_key(&call));
        let node = cluster.hosts[&id].node.as_ref().unwrap();
        assert_eq!(node.asks.len(), 0);
    }
}

#[test]
fn requests_that_the_face_numbers_are_told_apart_by_their_print() {
    let mut cluster = Cluster::new(3);
    cluster.open_session();
    let follower = cluster.follower();
    let mut ask = |print, name: &str| {
        cluster.calls += 1;
        let call = CallId(cluster.calls);
        let request = RequestId {
            print,
            ..RequestId::new(SessionId(1), Lane(4), RequestSeq(1))
        };
        let (client, op) = (ClientId(1), Box::new(mkdir(name)));
        let event = Event::AskWrite {
            client,
            call,
            request,
            op,
        };
        cluster.step(follower, event);
        match cluster.await_answer(call, 100) {
            Ok(ResponseBody::Written { outcome, .. }) => (outcome.repeated, outcome.result),
            other => panic!("{other:?}"),
        }
    };
    let (first, result) = ask(5, "a");
    assert!(!first && result.is_ok());
    assert_eq!(ask(5, "a"), (true, result));
    assert_eq!(ask(6, "b"), (false, Err(FsError::Stale)));
}

/// What keeps a node that is behind from telling a client that its cache is current: who asks
/// hears of every change first that the answer knows of.
#[test]
fn the_news_of_a_command_come_before_answers_that_know_of_it() {
    let mut cluster = Cluster::new(3);
    cluster.open_session();
    let (leader, follower) = (cluster.leader(), cluster.follower());
    let file = match cluster.write(leader, 1, create("file")) {
        Ok(ResponseBody::Written { outcome, .. }) => match outcome.result {
            Ok(Reply::Node { inode, .. }) => inode,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    };
    for length in 1..=20 {
        let truncate = Op::Truncate {
            caller: caller(),
            inode: file,
            length,
            mode: crate::namespace::op::TruncateMode::Path,
        };
        let changed = match cluster.write(leader, 1 + length, truncate) {
            Ok(ResponseBody::Written { index, outcome }) if outcome.result.is_ok() => index,
            other => panic!("{other:?}"),
        };
        let query = get_attr(file);
        let consistency = match length % 2 {
            0 => Consistency::Strict,
            // What is asked after the answer to a command, wherever that came from.
            _ => Consistency::Fast {
                not_before: changed,
            },
        };
        let call = cluster.ask(follower, RequestBody::Read { consistency, query });
        let answer = cluster.await_answer(call, 100);
        assert!(matches!(answer, Ok(ResponseBody::Read { index, .. }) if index >= changed));
        let said = cluster.said.iter().filter(|(node, _)| *node == follower);
        let said: Vec<Said> = said.map(|(_, said)| *said).collect();
        let news = Said::News(changed, Some(caller().session));
        let heard = said.iter().position(|said| *said == news);
        let answered = said
            .iter()
            .position(|said| matches!(said, Said::Read(of, _) if *of == call));
        assert!(heard.is_some(), "{said:?}");
        assert!(heard < answered, "{said:?}");
    }
}

fn create(name: &str) -> Op {
    Op::Create {
        caller: caller(),
        parent: ROOT,
        name: name.into(),
        kind: crate::namespace::op::NodeKind::File,
        mode: 0o644,
        umask: 0,
        rdev: 0,
        open: false,
    }
}

#[test]
fn the_number_of_a_chunkserver_that_is_connected_is_not_given_to_another_machine() {
    use crate::chunks::{Address, ConnId, Joined, Report, Space};
    use crate::id::CsId;

    let mut cluster = Cluster::new(3);
    let at = |host| Address {
        ip: std::net::Ipv4Addr::new(10, 0, 0, host),
        port: 9_422,
    };
    let relay = cluster.follower();
    let register = |cluster: &mut Cluster, csid: u16, host| {
        let op = Op::RegisterChunkserver {
            csid: CsId(csid),
            address: at(host),
        };
        cluster.calls += 1;
        let (session, lane, seq) = (SessionId(0), Lane(0), RequestSeq(cluster.calls));
        let body = RequestBody::Write {
            session,
            lane,
            seq,
            op,
        };
        let call = cluster.ask(relay, body);
        let answer = cluster.await_answer(call, 200);
        let Ok(ResponseBody::Written { outcome, .. }) = answer else {
            panic!("{answer:?}");
        };
        match outcome.result {
            Ok(Reply::ChunkserverRegistered { csid, registration }) => (csid.0, registration),
            other => panic!("{other:?}"),
        }
    };
    let (csid, registration) = register(&mut cluster, 7, 1);
    assert_eq!(csid, 7);
    let conn = ConnId(1);
    let joined = Joined {
        csid: CsId(csid),
        registration,
        address: at(1),
        version: 0x0003_00EA,
        space: Space::default(),
    };
    let said = |report| Event::Chunkserver { conn, report };
    cluster.step(relay, said(Report::Joined(joined)));
    cluster.run_for(Duration::from_millis(100));
    // Another machine claims it; it itself comes again.
    assert_eq!(register(&mut cluster, 7, 2).0, 1);
    assert_eq!(register(&mut cluster, 7, 1).0, 7);
    let leader = cluster.leader();
    let status = |cluster: &Cluster| {
        let node = cluster.hosts[&leader].node.as_ref().unwrap();
        node.chunkservers().unwrap()
    };
    // Its registration before counts no more, and is sent away.
    cluster.run_for(Duration::from_millis(100));
    let all = status(&cluster);
    let heard = all.iter().map(|it| (it.info.csid.0, it.heard.is_some()));
    assert_eq!(heard.collect::<Vec<_>>(), [(1, false), (7, false)]);
    // Once it is gone, whoever claims the number is taken for it.
    cluster.step(relay, said(Report::Gone));
    cluster.run_for(Duration::from_millis(100));
    assert_eq!(register(&mut cluster, 7, 3).0, 7);
}
