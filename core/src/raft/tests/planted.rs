//! Each bug put in on purpose is caught: the net holds.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{FAILOVER, ms, restart_within_a_lease, three, torture};
use crate::id::NodeId;
use crate::planted::Bug;

/// Runs seeds until one breaks a law; says which law. No escape within `limit` seeds.
fn caught(bug: Bug, limit: u64, run: impl Fn(u64)) -> String {
    for seed in 0..limit {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(seed))) {
            let text = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
                .unwrap_or_default();
            println!("{bug:?}: seed {seed}: {text}");
            return text;
        }
    }
    panic!("{bug:?} escaped {limit} seeds");
}

fn caught_in_a_storm(bug: Bug, limit: u64) -> String {
    caught(bug, limit, |seed| {
        torture::torture(seed, 40, |options| options.bug = Some(bug));
    })
}

#[test]
fn acknowledging_before_the_flush_is_caught() {
    assert!(caught_in_a_storm(Bug::AckBeforeFlush, 20).contains("law "));
}

#[test]
fn committing_without_a_quorum_is_caught() {
    let text = caught_in_a_storm(Bug::CommitWithoutQuorum, 20);
    assert!(text.contains("law committed on a quorum"));
}

#[test]
fn a_vote_that_was_not_kept_is_caught() {
    let text = caught_in_a_storm(Bug::VoteNotPersisted, 100);
    assert!(text.contains("law one vote") || text.contains("law election safety"));
}

#[test]
fn an_unchecked_read_is_caught() {
    assert!(caught_in_a_storm(Bug::UncheckedRead, 20).contains("law linearizable"));
}

#[test]
fn a_lease_kept_too_long_is_caught() {
    assert!(caught_in_a_storm(Bug::LeaseKeptTooLong, 100).contains("law linearizable"));
}

#[test]
fn a_lease_forgotten_on_restart_is_caught() {
    let bug = Bug::LeaseForgottenOnRestart;
    let text = caught(bug, 50, |seed| {
        restart_within_a_lease(seed, |options| options.bug = Some(bug));
    });
    assert!(text.contains("law linearizable"));
}

#[test]
fn a_peer_that_is_never_retried_is_caught() {
    let bug = Bug::PeersNeverRetried;
    let text = caught(bug, 5, |seed| {
        let mut world = super::World::group(seed, super::Weather::fine(), 3, |options| {
            options.bug = Some(bug);
        });
        world.await_leader(ms(2_000));
        world.commit(ms(1_000));
        for node in 1..=3 {
            world.crash(NodeId(node));
        }
        for node in 1..=3 {
            world.start(NodeId(node));
            world.run(ms(3_000));
        }
        world.commit(FAILOVER);
    });
    assert!(text.contains("law liveness"));
    // Without the bug the same story ends well: see `nodes_that_start_one_after_the_other_elect`.
    drop(three(0));
}
