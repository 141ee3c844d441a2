//! Writes take effect once, and what is unknown is said to be so (P-ONCE).

use std::collections::BTreeSet;
use std::time::Duration;

use mfsha_core::id::InodeId;
use mfsha_core::namespace::error::FsError;
use mfsha_core::namespace::op::Op;
use mfsha_core::native::request::NodeError;

use super::{client, is_node, mkdir, options, settle, try_client};
use crate::error::Settlement;
use crate::testing::{Fake, Habit};
use crate::{Error, Fail};

fn unavailable() -> NodeError {
    NodeError::Unavailable {
        reason: "no majority".to_owned(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_asked_for_elsewhere_under_the_same_number() {
    for habit in [
        Habit::DoAndCut,
        Habit::DoAndHalf,
        Habit::DoAndHang,
        Habit::DoAndSay(NodeError::Unknown),
        Habit::DoAndSay(unavailable()),
        Habit::Garbage,
        Habit::Cut,
        Habit::Hang,
        Habit::Say(NodeError::Overloaded),
        Habit::Say(NodeError::Unknown),
    ] {
        let fake = Fake::new(3);
        let client = client(&fake).await;
        client.session().await.unwrap();
        let before = fake.version();
        fake.next(1, [habit.clone()]);
        // Made once: made twice, the second would be refused as there already.
        is_node(client.write(mkdir("a")).await);
        assert_eq!(fake.version(), before + 1, "{habit:?}");
        let numbers: BTreeSet<_> = fake.writes().into_iter().map(|write| write.1).collect();
        assert_eq!(numbers.len(), 1, "{habit:?}: one request, one number");
        assert!(fake.writes().len() > 1, "{habit:?}: it was repeated");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_lost_with_its_leader_is_known_to_the_next_one() {
    let fake = Fake::new(3);
    let client = client(&fake).await;
    client.session().await.unwrap();
    fake.next(1, [Habit::DoAndCut]);
    let write = client.write(mkdir("a"));
    fake.down(2, true);
    let after = async {
        while fake.writes().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        fake.down(1, true);
        fake.lead(Some(3));
    };
    let (result, ()) = tokio::join!(write, after);
    is_node(result);
    let asked: Vec<u64> = fake.writes().iter().map(|write| write.0.0).collect();
    assert_eq!((asked[0], asked[asked.len() - 1]), (1, 3));
}

#[tokio::test(start_paused = true)]
async fn refusals_of_the_tree_are_told_and_not_repeated() {
    let fake = Fake::new(3);
    let client = client(&fake).await;
    is_node(client.write(mkdir("a")).await);
    let asked = fake.writes().len();
    let again = client.write(mkdir("a")).await;
    assert!(matches!(again, Err(Error::Fs(FsError::Exist))));
    assert_eq!(fake.writes().len(), asked + 1);
}

#[tokio::test(start_paused = true)]
async fn time_that_is_over_before_anything_was_heard_means_that_nothing_happened() {
    let fake = Fake::new(3);
    let client = client(&fake).await;
    client.session().await.unwrap();
    fake.lead(None);
    let result = client.write(mkdir("a")).await;
    assert!(
        matches!(result, Err(Error::NotDone(Fail::Deadline { .. }))),
        "{result:?}"
    );
    let version = fake.version();
    fake.lead(Some(2));
    settle().await;
    assert_eq!(fake.version(), version, "nothing comes later either");
    is_node(client.write(mkdir("a")).await);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_outcome_is_said_to_be_unknown_and_barred_for_ever() {
    let fake = Fake::new(3);
    let client = client(&fake).await;
    client.session().await.unwrap();
    // It is kept by a leader that is cut off, and nobody else answers.
    fake.next(1, [Habit::Postpone]);
    for node in 1..=3 {
        fake.always(node, Some(Habit::Say(unavailable())));
    }
    let result = client.write(mkdir("a")).await;
    let Err(Error::Unknown(unknown)) = result else {
        panic!("{result:?}");
    };
    for node in 1..=3 {
        fake.always(node, None);
    }
    let settled = unknown.settling.settled().await;
    assert_eq!(settled, Some(Settlement::Barred));
    // Now the old leader comes back with it.
    let version = fake.version();
    let late = fake.carry_out_postponed();
    assert_eq!(late.len(), 1);
    assert_eq!(late[0].result, Err(FsError::Stale));
    assert_eq!(fake.version(), version);
    is_node(client.write(mkdir("a")).await);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_comes_late_settles_it() {
    let fake = Fake::new(3);
    let client = client(&fake).await;
    client.session().await.unwrap();
    fake.next(1, [Habit::DoAndLate]);
    let brief = client.with_timeout(Duration::from_secs(1));
    let result = brief.write(mkdir("a")).await;
    let Err(Error::Unknown(unknown)) = result else {
        panic!("{result:?}");
    };
    let settled = unknown.settling.settled().await;
    let Some(Settlement::Known(outcome)) = settled else {
        panic!("{settled:?}");
    };
    assert!(outcome.result.is_ok(), "{outcome:?}");
    assert_eq!(fake.writes().len(), 1, "nothing had to be barred");
}

#[tokio::test(start_paused = true)]
async fn a_number_in_doubt_is_used_up_by_a_request_that_changes_nothing() {
    let fake = Fake::new(3);
    let client = client(&fake).await;
    client.session().await.unwrap();
    fake.next(1, [Habit::DoAndCut]);
    fake.always(1, Some(Habit::Hang));
    let brief = client.with_timeout(Duration::from_secs(1));
    let result = brief.write(mkdir("a")).await;
    let Err(Error::Unknown(unknown)) = result else {
        panic!("{result:?}");
    };
    // The attempt that hangs goes on beyond the caller's time; its end bars the number.
    fake.always(1, None);
    assert_eq!(unknown.settling.settled().await, Some(Settlement::Barred));
    assert!(
        fake.writes().iter().any(|write| {
            matches!(&write.2, Op::SetTimes { times, .. } if times.is_empty())
                && write.1.lane == unknown.request.lane
                && write.1.seq > unknown.request.seq
        }),
        "the number was used up by a request that changes nothing"
    );
}

#[tokio::test(start_paused = true)]
async fn a_lane_in_doubt_is_not_used_for_another_request() {
    let fake = Fake::new(3);
    let mut options = options("node-1,node-2,node-3");
    options.lanes_max = 1;
    let client = try_client(&fake, options).await.unwrap();
    client.session().await.unwrap();
    fake.next(1, [Habit::Postpone]);
    for node in 1..=3 {
        fake.always(node, Some(Habit::Say(unavailable())));
    }
    assert!(matches!(
        client.write(mkdir("a")).await,
        Err(Error::Unknown(_))
    ));
    // The only lane is in doubt: the next caller waits for it in vain, and nothing happens.
    let next = client.write(mkdir("b")).await;
    assert!(
        matches!(next, Err(Error::NotDone(Fail::Deadline { .. }))),
        "{next:?}"
    );
    let named_b = |op: &Op| matches!(op, Op::Mkdir { name, .. } if name == b"b");
    assert!(!fake.writes().iter().any(|write| named_b(&write.2)));
    for node in 1..=3 {
        fake.always(node, None);
    }
    is_node(client.write(mkdir("b")).await);
    assert_eq!(fake.carry_out_postponed()[0].result, Err(FsError::Stale));
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_write_leaves_no_lane_in_doubt() {
    let fake = Fake::new(3);
    let mut options = options("node-1,node-2,node-3");
    options.lanes_max = 1;
    let client = try_client(&fake, options).await.unwrap();
    client.session().await.unwrap();
    for habit in [Habit::Hang, Habit::DoAndHang, Habit::Postpone] {
        fake.next(1, [habit]);
        let cancelled =
            tokio::time::timeout(Duration::from_millis(5), client.write(mkdir("a"))).await;
        assert!(cancelled.is_err());
        let name = format!("b{}", fake.version());
        is_node(client.write(mkdir(&name)).await);
    }
    let writes = fake.writes();
    for (at, (_, request, op)) in writes.iter().enumerate() {
        for (_, other, other_op) in &writes[..at] {
            assert!(
                request != other || op == other_op,
                "{request:?} stands for {op:?} and for {other_op:?}"
            );
        }
    }
    assert_eq!(fake.carry_out_postponed()[0].result, Err(FsError::Stale));
}

#[tokio::test(start_paused = true)]
async fn a_lost_session_is_replaced_when_nothing_happened() {
    let fake = Fake::new(3);
    let client = client(&fake).await;
    let session = client.session().await.unwrap();
    fake.apply(Op::CloseSession { session });
    is_node(client.write(mkdir("a")).await);
    assert_ne!(client.session().await.unwrap(), session);
}

#[tokio::test(start_paused = true)]
async fn a_session_lost_after_a_lost_answer_leaves_the_outcome_unknown() {
    let fake = Fake::new(3);
    let client = client(&fake).await;
    let session = client.session().await.unwrap();
    fake.next(1, [Habit::DoAndHang]);
    let write = client.write(mkdir("a"));
    let meanwhile = async {
        while fake.writes().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        fake.apply(Op::CloseSession { session });
    };
    let (result, ()) = tokio::join!(write, meanwhile);
    // The tree says `BadSession` to the repeat, yet the directory is there.
    let Err(Error::Unknown(unknown)) = result else {
        panic!("{result:?}");
    };
    assert_eq!(unknown.settling.settled().await, Some(Settlement::Barred));
    let tree = client.tree();
    assert!(tree.lookup(InodeId::ROOT, b"a").await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn closing_ends_the_session_and_bars_what_is_under_way() {
    let fake = Fake::new(3);
    let client = client(&fake).await;
    let session = client.session().await.unwrap();
    fake.next(1, [Habit::Postpone]);
    let brief = client.with_timeout(Duration::from_millis(100));
    assert!(matches!(
        brief.write(mkdir("a")).await,
        Err(Error::Unknown(_))
    ));
    // The answer to the close gets lost, too.
    let held = client.with_timeout(Duration::from_secs(2));
    fake.next(1, [Habit::DoAndCut]);
    held.close().await.unwrap();
    let late = fake.carry_out_postponed();
    assert_eq!(late[0].result, Err(FsError::BadSession));
    let closed = fake.apply(Op::CloseSession { session });
    assert_eq!(closed.result, Err(FsError::BadSession));
    assert!(matches!(
        client.write(mkdir("b")).await,
        Err(Error::NotDone(Fail::Closed))
    ));
    client.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn many_writes_at_once_share_lanes_and_each_happens_once() {
    let fake = Fake::new(3);
    let mut options = options("node-1,node-2,node-3");
    options.lanes_max = 4;
    let client = try_client(&fake, options).await.unwrap();
    client.session().await.unwrap();
    let before = fake.version();
    fake.next(
        1,
        [Habit::DoAndCut, Habit::Hang, Habit::DoAndHalf, Habit::Cut],
    );
    let mut writes = tokio::task::JoinSet::new();
    for number in 0..100 {
        let client = client.clone();
        writes.spawn(async move { client.write(mkdir(&format!("d{number}"))).await });
    }
    for result in writes.join_all().await {
        is_node(result);
    }
    assert_eq!(fake.version(), before + 100);
    let lanes: BTreeSet<_> = fake.writes().iter().map(|write| write.1.lane).collect();
    assert!(lanes.len() <= 4, "{lanes:?}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_nobody_holds_stops() {
    let fake = Fake::new(3);
    let client = client(&fake).await;
    client.session().await.unwrap();
    for node in 1..=3 {
        fake.always(node, Some(Habit::Hang));
    }
    let brief = client.with_timeout(Duration::from_millis(10));
    let Err(Error::Unknown(unknown)) = brief.write(mkdir("a")).await else {
        panic!("nobody answers");
    };
    drop((client, brief));
    assert_eq!(unknown.settling.settled().await, None);
    settle().await;
    let asked = fake.asked().len();
    settle().await;
    assert_eq!(fake.asked().len(), asked, "nothing is asked any more");
}
