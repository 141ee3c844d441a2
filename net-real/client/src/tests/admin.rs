//! The cluster as its operator sees and changes it.

use std::collections::BTreeSet;
use std::time::Duration;

use mfsha_core::id::NodeId;
use mfsha_core::native::request::NodeError;

use super::{client, options, try_client};
use crate::Fail;
use crate::admin::{AddStep, Added, AdminFail, MembersError};
use crate::testing::{Fake, Habit};

fn voters(fake: &Fake) -> Vec<u64> {
    let membership = fake.membership();
    membership.voters[0].iter().map(|node| node.0).collect()
}

#[tokio::test(start_paused = true)]
async fn the_view_names_all_nodes_those_that_are_down_too() {
    let fake = Fake::new(3);
    fake.down(2, true);
    fake.silent(3, true);
    let client = try_client(&fake, options("node-1")).await.unwrap();
    let view = client.admin().view().await;
    let numbers: Vec<_> = view.nodes.iter().map(|node| node.node.unwrap().0).collect();
    assert_eq!(numbers, [1, 2, 3]);
    assert_eq!(view.leader, Some(NodeId(1)));
    assert_eq!(view.live(), BTreeSet::from([NodeId(1)]));
    assert!(view.status(NodeId(1)).is_some());
    let trouble = view.nodes[1].status.as_ref().unwrap_err();
    assert!(trouble.contains("refused"), "{trouble}");
    let trouble = view.nodes[2].status.as_ref().unwrap_err();
    assert!(trouble.contains("does not answer"), "{trouble}");
}

#[tokio::test(start_paused = true)]
async fn leadership_is_handed_over_and_waited_for() {
    let fake = Fake::new(3);
    let admin = client(&fake).await.admin();
    admin.transfer_leadership(NodeId(3)).await.unwrap();
    assert_eq!(fake.leader(), Some(NodeId(3)));
    admin.transfer_leadership(NodeId(3)).await.unwrap();
    let refused = admin.transfer_leadership(NodeId(9)).await;
    assert!(matches!(refused, Err(MembersError::NoVoter { .. })));
    // An answer that got lost is no failure.
    fake.next(3, [Habit::DoAndCut]);
    admin.transfer_leadership(NodeId(1)).await.unwrap();
    fake.keep_leading();
    let refused = admin.transfer_leadership(NodeId(2)).await;
    assert!(
        matches!(refused, Err(MembersError::StillLeads { .. })),
        "{refused:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_node_is_added_as_a_learner_first_and_a_repeat_goes_on() {
    let fake = Fake::new(3);
    fake.at(4, "node-4:9430");
    fake.stuck(4, true);
    let client = client(&fake).await;
    let brief = client.with_timeout(Duration::from_secs(3));
    let stuck = brief.admin().add_node(NodeId(4), |_| {}).await;
    assert!(
        matches!(stuck, Err(MembersError::Behind { .. })),
        "{stuck:?}"
    );
    assert_eq!(
        voters(&fake),
        [1, 2, 3],
        "it does not vote before it has caught up"
    );
    assert!(fake.membership().learners.contains(&NodeId(4)));
    let adding = async {
        let mut steps = Vec::new();
        let admin = client.admin();
        let added = admin.add_node(NodeId(4), |step| steps.push(step)).await;
        (added, steps)
    };
    let help = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(voters(&fake), [1, 2, 3]);
        fake.stuck(4, false);
    };
    let ((added, steps), ()) = tokio::join!(adding, help);
    assert_eq!(added.unwrap(), Added::Now);
    assert!(
        !steps.contains(&AddStep::Joining),
        "it joined the first time"
    );
    assert!(steps.len() > 5, "{steps:?}");
    assert_eq!(steps.last(), Some(&AddStep::Promoting));
    assert_eq!(voters(&fake), [1, 2, 3, 4]);
    assert!(fake.membership().learners.is_empty());
    let again = client.admin().add_node(NodeId(4), |_| {}).await;
    assert_eq!(again.unwrap(), Added::Before);
}

#[tokio::test(start_paused = true)]
async fn a_change_of_members_whose_answer_is_lost_is_recognised() {
    for habit in [
        Habit::DoAndCut,
        Habit::DoAndHang,
        Habit::DoAndSay(NodeError::Unknown),
    ] {
        let fake = Fake::new(3);
        fake.at(4, "node-4:9430");
        let admin = client(&fake).await.admin();
        admin.leader_status().await.unwrap();
        // After the status comes the change.
        fake.next(1, [Habit::Say(NodeError::Overloaded), habit]);
        assert_eq!(admin.add_node(NodeId(4), |_| {}).await.unwrap(), Added::Now);
        assert_eq!(voters(&fake), [1, 2, 3, 4]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_removed_hands_over_first() {
    let fake = Fake::new(3);
    let admin = client(&fake).await.admin();
    let removed = admin.remove_node(NodeId(1), false).await.unwrap();
    assert_ne!(removed.leader, None);
    assert_eq!(fake.leader(), removed.leader);
    assert_eq!(voters(&fake), [2, 3]);
    let again = admin.remove_node(NodeId(1), false).await;
    assert!(matches!(again, Err(MembersError::NoMember { .. })));
}

#[tokio::test(start_paused = true)]
async fn no_node_is_removed_that_leaves_no_majority() {
    let fake = Fake::new(4);
    fake.down(3, true);
    fake.down(4, true);
    let client = client(&fake).await;
    let admin = client.admin();
    let refused = admin.remove_node(NodeId(2), false).await;
    let Err(MembersError::NoMajority {
        live, voters: of, ..
    }) = &refused
    else {
        panic!("{refused:?}");
    };
    assert_eq!((live.len(), of.len()), (1, 3));
    assert_eq!(voters(&fake), [1, 2, 3, 4]);
    // A dead one may go: two of three stay.
    admin.remove_node(NodeId(4), false).await.unwrap();
    assert_eq!(voters(&fake), [1, 2, 3]);
    admin.remove_node(NodeId(2), true).await.unwrap();
    admin.remove_node(NodeId(3), true).await.unwrap();
    let last = admin.remove_node(NodeId(1), true).await;
    assert!(
        matches!(last, Err(MembersError::LastVoter { .. })),
        "{last:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn settings_are_those_of_the_node_that_is_meant() {
    let fake = Fake::new(3);
    let admin = client(&fake).await.admin();
    let node = Some(NodeId(2));
    admin.set_setting(node, "LOG_LEVEL", "debug").await.unwrap();
    assert_eq!(admin.settings(node).await.unwrap()[0].value, "debug");
    let refused = admin.set_setting(node, "NO_SUCH", "1").await;
    assert!(
        matches!(refused, Err(AdminFail::NotDone(Fail::Admin(_)))),
        "{refused:?}"
    );
    assert_eq!(admin.reload(node).await.unwrap().changed, ["LOG_LEVEL"]);
    let nobody = admin.settings(Some(NodeId(77))).await;
    assert!(matches!(nobody, Err(AdminFail::NoAddress { .. })));
    assert!(admin.take_snapshot(node).await.unwrap().0 > 0);
    assert!(admin.take_snapshot(None).await.unwrap().0 > 0);
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_that_is_not_confirmed_is_unknown() {
    let fake = Fake::new(1);
    let client = try_client(&fake, options("node-1")).await.unwrap();
    fake.always(1, Some(Habit::Hang));
    let result = client.admin().take_snapshot(Some(NodeId(1))).await;
    assert!(
        matches!(result, Err(AdminFail::Unknown { .. })),
        "{result:?}"
    );
}
