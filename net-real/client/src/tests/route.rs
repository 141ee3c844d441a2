//! Finding who can answer, within bounds.

use std::time::Duration;

use mfsha_core::id::NodeId;
use mfsha_core::namespace::op::Op;
use mfsha_core::native::request::{Consistency, NodeError, RequestBody};
use mfsha_core::native::{ClusterId, Refusal};
use tokio::time::Instant;

use super::{client, is_node, mkdir, options, try_client};
use crate::read::Freshness;
use crate::testing::{Fake, Habit};
use crate::{Error, Fail, OptionsError};

#[tokio::test(start_paused = true)]
async fn a_hint_leads_to_a_node_that_was_not_given() {
    let fake = Fake::new(3);
    fake.lead(Some(3));
    let client = try_client(&fake, options("node-1")).await.unwrap();
    let start = Instant::now();
    is_node(client.write(mkdir("a")).await);
    assert_eq!(
        start.elapsed(),
        Duration::ZERO,
        "hints are followed at once"
    );
    assert_eq!(fake.writes()[0].0, NodeId(3));
}

#[tokio::test(start_paused = true)]
async fn without_a_hint_the_others_are_tried() {
    let fake = Fake::new(3);
    fake.lead(Some(3));
    fake.believes(1, None);
    fake.believes(2, None);
    let client = client(&fake).await;
    is_node(client.write(mkdir("a")).await);
}

#[tokio::test(start_paused = true)]
async fn hints_in_a_circle_are_followed_in_bounded_number() {
    let fake = Fake::new(3);
    fake.lead(None);
    fake.believes(1, Some(2));
    fake.believes(2, Some(1));
    fake.believes(3, Some(1));
    let client = client(&fake).await;
    let result = client.write(mkdir("a")).await;
    assert!(
        matches!(result, Err(Error::NotDone(Fail::Deadline { .. }))),
        "{result:?}"
    );
    // Thirty seconds with waits of up to one second, four attempts between two of them.
    let asked = fake.asked().len();
    assert!((30..400).contains(&asked), "{asked} requests");
}

#[tokio::test(start_paused = true)]
async fn a_hint_to_a_dead_leader_does_not_stop_the_search() {
    let fake = Fake::new(3);
    fake.down(1, true);
    let client = client(&fake).await;
    let write = client.write(mkdir("a"));
    let elected = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        fake.lead(Some(2));
    };
    let (result, ()) = tokio::join!(write, elected);
    is_node(result);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_hangs_is_passed_over() {
    let fake = Fake::new(3);
    let client = client(&fake).await;
    is_node(client.write(mkdir("a")).await);
    fake.always(1, Some(Habit::Hang));
    fake.lead(Some(2));
    let start = Instant::now();
    is_node(client.write(mkdir("b")).await);
    // A quarter of a second of silence, and the wait before a first repeat.
    assert!(start.elapsed() <= Duration::from_millis(260));
    fake.silent(2, true);
    fake.always(2, Some(Habit::Cut));
    fake.lead(Some(3));
    is_node(client.write(mkdir("c")).await);
}

#[tokio::test(start_paused = true)]
async fn a_silent_leader_is_waited_for_until_another_one_leads() {
    let fake = Fake::new(3);
    let client = client(&fake).await;
    client.session().await.unwrap();
    // It may have done it; an election takes its time.
    fake.always(1, Some(Habit::DoAndHang));
    let before = fake.version();
    let start = Instant::now();
    let write = client.write(mkdir("a"));
    let elected = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        fake.lead(None);
        tokio::time::sleep(Duration::from_millis(600)).await;
        fake.lead(Some(3));
    };
    let (result, ()) = tokio::join!(write, elected);
    is_node(result);
    // Looks come at 250 ms, then after 250 ms, then after 400 ms each time, or sooner.
    let took = start.elapsed();
    assert!(took <= Duration::from_millis(1_110), "{took:?}");
    assert_eq!(fake.version(), before + 1, "it took effect once");
    let nodes: Vec<_> = fake.writes().iter().map(|write| write.0.0).collect();
    assert_eq!(nodes, [1, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_does_not_even_welcome_holds_nobody_up() {
    let fake = Fake::new(3);
    fake.lead(Some(2));
    let client = client(&fake).await;
    client.session().await.unwrap();
    fake.next(2, [Habit::Cut]);
    fake.silent(2, true);
    fake.lead(Some(3));
    fake.believes(1, Some(2));
    let start = Instant::now();
    is_node(client.write(mkdir("a")).await);
    let took = start.elapsed();
    assert!(took <= Duration::from_millis(800), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_only_slow_is_asked_once() {
    let fake = Fake::new(3);
    let client = client(&fake).await;
    client.session().await.unwrap();
    // Cut off from the others, and nobody has told it yet that its term is over.
    fake.claims(2, 5);
    fake.next(1, [Habit::DoAndLate]);
    is_node(client.write(mkdir("a")).await);
    assert_eq!(fake.writes().len(), 1);
    let statuses = fake.asked().into_iter();
    let statuses = statuses.filter(|(_, body)| matches!(body, RequestBody::Status));
    let nodes: Vec<_> = statuses.map(|(node, _)| node.0).collect();
    // Two seconds, and both others in each look.
    assert!((4..=16).contains(&nodes.len()), "{nodes:?}");
    assert!(nodes.contains(&2) && nodes.contains(&3) && !nodes.contains(&1));
}

#[tokio::test(start_paused = true)]
async fn a_session_is_spoken_for_while_its_client_is_there_and_no_longer() {
    let fake = Fake::new(3);
    let client = client(&fake).await;
    let session = client.session().await.unwrap();
    let spoken = |fake: &Fake| {
        let words = fake.asked().into_iter();
        let words = words.filter(|(_, body)| *body == RequestBody::KeepSession { session });
        words.map(|(node, _)| node.0).collect::<Vec<_>>()
    };
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(spoken(&fake), [1; 10]);
    fake.lead(Some(2));
    tokio::time::sleep(Duration::from_secs(12)).await;
    assert_eq!(spoken(&fake)[10..], [1, 2, 2], "the new leader hears it");
    drop(client);
    let before = spoken(&fake).len();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(spoken(&fake).len(), before);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_the_cluster_has_ended_is_replaced() {
    let fake = Fake::new(3);
    let client = client(&fake).await;
    let session = client.session().await.unwrap();
    fake.apply(Op::CloseSession { session });
    assert_eq!(client.session().await, Ok(session), "nobody has told it");
    tokio::time::sleep(Duration::from_secs(7)).await;
    let other = client.session().await.unwrap();
    assert_ne!(other, session);
    is_node(client.write(mkdir("a")).await);
    assert_eq!(client.session().await, Ok(other));
}

#[tokio::test(start_paused = true)]
async fn nodes_that_move_are_found_again() {
    let fake = Fake::new(3);
    let client = client(&fake).await;
    is_node(client.write(mkdir("a")).await);
    // The leader restarts elsewhere: its old address is dead, the others know the new one.
    fake.next(1, [Habit::Cut]);
    fake.at(1, "elsewhere:1");
    is_node(client.write(mkdir("b")).await);
}

#[tokio::test(start_paused = true)]
async fn a_wrong_token_is_told_at_once() {
    let fake = Fake::new(3);
    fake.token("secret");
    let start = Instant::now();
    let refused = try_client(&fake, options("node-1,node-2")).await;
    assert_eq!(refused.err(), Some(Fail::Refused(Refusal::Token)));
    assert!(start.elapsed() < Duration::from_secs(1));
    let mut right = options("node-1");
    right.token = b"secret".to_vec();
    assert!(try_client(&fake, right).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn another_cluster_is_refused() {
    let fake = Fake::new(1);
    let mut other = options("node-1");
    other.cluster = Some(ClusterId(5));
    let refused = try_client(&fake, other).await.err();
    assert!(
        matches!(refused, Some(Fail::Refused(Refusal::Cluster { .. }))),
        "{refused:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn nobody_there_is_told_when_the_time_is_over() {
    let fake = Fake::new(3);
    for node in 1..=3 {
        fake.down(node, true);
    }
    let start = Instant::now();
    let failed = try_client(&fake, options("node-1,node-2")).await.err();
    assert!(
        matches!(failed, Some(Fail::Unreachable { .. })),
        "{failed:?}"
    );
    assert_eq!(start.elapsed(), Duration::from_secs(30));
    for node in 1..=3 {
        fake.down(node, false);
        fake.silent(node, true);
    }
    let failed = try_client(&fake, options("node-1,node-2")).await.err();
    assert!(
        matches!(failed, Some(Fail::Unreachable { .. })),
        "{failed:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn overload_is_waited_out() {
    let fake = Fake::new(3);
    let client = client(&fake).await;
    client.session().await.unwrap();
    fake.next(1, vec![Habit::Say(NodeError::Overloaded); 5]);
    let start = Instant::now();
    is_node(client.write(mkdir("a")).await);
    let waited = start.elapsed();
    assert!(waited >= Duration::from_millis(150), "{waited:?}");
    assert_eq!(fake.writes().len(), 6);
}

#[tokio::test(start_paused = true)]
async fn one_connection_carries_many_calls() {
    let fake = Fake::new(3);
    let client = client(&fake).await;
    client.session().await.unwrap();
    let before = fake.hellos();
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..500 {
        let tree = client.tree();
        calls.spawn(async move { tree.statfs().await.is_ok() });
    }
    assert!(calls.join_all().await.into_iter().all(|fine| fine));
    assert!(fake.hellos() <= before + 1);
}

#[tokio::test(start_paused = true)]
async fn fast_reads_ask_for_nothing_older_than_what_was_seen() {
    let fake = Fake::new(3);
    let client = client(&fake).await;
    is_node(client.write(mkdir("a")).await);
    let seen = client.seen();
    assert!(seen.0 > 0);
    let tree = client.tree().with_freshness(Freshness::Fast);
    tree.statfs().await.unwrap();
    let asked = fake.asked();
    let Some((
        _,
        RequestBody::Read {
            consistency: Consistency::Fast { not_before },
            ..
        },
    )) = asked.last()
    else {
        panic!("{asked:?}");
    };
    assert_eq!(*not_before, seen);
}

#[tokio::test(start_paused = true)]
async fn options_without_sense_are_refused() {
    let fake = Fake::new(1);
    let refused = async |change: fn(&mut crate::ClientOptions)| {
        let mut options = options("node-1");
        change(&mut options);
        crate::Client::connect_by(options, fake.dial()).await.err()
    };
    let none = refused(|options| options.addresses.clear()).await;
    assert!(matches!(none, Some(OptionsError::NoAddress)));
    let lanes = refused(|options| options.lanes_max = 0).await;
    assert!(matches!(lanes, Some(OptionsError::Lanes { given: 0, .. })));
    let lanes = refused(|options| options.lanes_max = 65_536).await;
    assert!(matches!(lanes, Some(OptionsError::Lanes { .. })));
    let time = refused(|options| options.timeout = Duration::ZERO).await;
    assert!(matches!(time, Some(OptionsError::NoTime { .. })));
    let token = refused(|options| options.token = vec![0; 5_000]).await;
    assert!(matches!(token, Some(OptionsError::Token { bytes: 5_000 })));
}
