//! The machine's promises, kept in a small world of machines under a seed.

#[cfg(feature = "planted-bugs")]
mod planted;
mod torture;
mod world;

use std::collections::BTreeSet;

use world::{MS, Weather, World};

use super::message::{
    AppendReply, Ballot, Message, Refusal, Reply, Request, SnapshotAnswer, SnapshotHeader,
    WireEntry, WirePayload,
};
use super::*;
use crate::machine::{Machine, Outbox};
use crate::rng::Seed;
use crate::time::Instant;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The bound within which a connected majority has a leader that commits: the old leader's lease,
/// a probe phase without heartbeats, and a few elections.
const FAILOVER: Duration = ms(3_000);

fn three(seed: u64) -> World {
    let mut world = World::group(seed, Weather::fine(), 3, |_| {});
    world.await_leader(ms(2_000));
    world.commit(ms(1_000));
    world.converge(&[1, 2, 3], ms(1_000));
    world
}

fn followers(world: &World) -> Vec<NodeId> {
    let leader = world.leader();
    let all = world.nodes.keys().copied();
    all.filter(|node| Some(*node) != leader).collect()
}

#[test]
fn three_nodes_elect_replicate_and_apply() {
    let mut world = World::group(1, Weather::fine(), 3, |_| {});
    world.await_leader(ms(2_000));
    for _ in 0..50 {
        world.commit(ms(1_000));
    }
    world.converge(&[1, 2, 3], ms(1_000));
    assert!(world.applied(NodeId(3)).0 >= 51);
    world.run(ms(100));
    for node in world.nodes.values() {
        let machine = node.machine.as_ref().unwrap();
        assert_eq!(machine.counters(), Counters::default());
        let status = machine.status();
        assert_eq!(status.membership.voters.len(), 1);
        assert_eq!(status.applied, status.committed);
    }
}

#[test]
fn one_node_alone_leads_at_once_and_again_after_a_crash() {
    let mut world = World::group(2, Weather::fine(), 1, |_| {});
    world.await_leader(ms(1_000));
    let before = world.commit(ms(1_000));
    world.crash(NodeId(1));
    world.start(NodeId(1));
    world.await_leader(ms(2_000));
    assert!(world.commit(ms(1_000)) > before);
}

#[test]
fn the_loss_of_a_leader_is_survived() {
    for seed in 0..10 {
        let mut world = three(seed);
        let old = world.leader().unwrap();
        world.crash(old);
        world.commit(FAILOVER);
        assert_ne!(world.leader(), Some(old));
        world.start(old);
        world.converge(&[1, 2, 3], ms(3_000));
    }
}

/// By the election timeouts of production: the lease of the old leader, at most as long again, and
/// two rounds of messages and flushes.
#[test]
fn another_leads_and_commits_within_a_second() {
    let mut longest = Duration::ZERO;
    for seed in 0..200 {
        let mut world = three(1_000 + seed);
        let old = world.leader().unwrap();
        world.crash(old);
        let began = world.now;
        world.commit(ms(1_000));
        longest = longest.max(Duration::from_nanos(world.now - began));
    }
    assert!(
        longest > ms(400),
        "nobody stands before the lease is over: {longest:?}"
    );
}

#[test]
fn all_nodes_may_restart_at_once() {
    for seed in 0..10 {
        let mut world = three(seed);
        for _ in 0..20 {
            world.commit(ms(1_000));
        }
        for node in 1..=3 {
            world.crash(NodeId(node));
        }
        for node in 1..=3 {
            world.start(NodeId(node));
        }
        world.commit(FAILOVER);
        world.converge(&[1, 2, 3], ms(1_000));
    }
}

#[test]
fn nodes_that_start_one_after_the_other_elect() {
    let mut world = three(3);
    for node in 1..=3 {
        world.crash(NodeId(node));
    }
    world.start(NodeId(1));
    world.run(ms(3_000));
    world.start(NodeId(2));
    world.commit(FAILOVER);
    world.start(NodeId(3));
    world.converge(&[1, 2, 3], ms(3_000));
}

#[test]
fn cuts_in_one_direction_are_survived() {
    for seed in 0..10 {
        for deaf in [false, true] {
            let mut world = three(seed);
            let leader = world.leader().unwrap();
            for other in followers(&world) {
                let link = if deaf {
                    (other, leader)
                } else {
                    (leader, other)
                };
                world.cut.insert(link);
            }
            // The old leader may call itself one for as long as it hears of no other.
            let floor = world.applied(leader);
            let others = followers(&world);
            world.run_until(FAILOVER, "a new leader behind the cut", |world| {
                others
                    .iter()
                    .any(|node| world.nodes[node].role.0 == Role::Leader)
            });
            let index = world.commit(FAILOVER);
            assert!(index > floor);
        }
    }
}

/// The old leader reaches one member of a connected majority, which therefore would never vote
/// for another (openraft's default does not recover).
#[test]
fn a_bridge_between_an_old_leader_and_a_majority_is_survived() {
    for seed in 0..10 {
        let mut world = World::group(seed, Weather::fine(), 5, |_| {});
        let old = world.await_leader(ms(2_000));
        world.commit(ms(1_000));
        let others: Vec<u64> = followers(&world).iter().map(|node| node.0).collect();
        world.part(&[old.0], &others[1..]);
        world.part(&others[3..4], &others[..3]);
        let majority: BTreeSet<NodeId> = others[..3].iter().map(|node| NodeId(*node)).collect();
        world.run_until(FAILOVER, "a leader in the majority", |world| {
            majority
                .iter()
                .any(|node| world.nodes[node].role.0 == Role::Leader)
        });
        world.commit(FAILOVER);
    }
}

#[test]
fn a_node_that_was_isolated_does_not_depose_the_leader() {
    for seed in 0..10 {
        let mut world = three(seed);
        let leader = world.leader().unwrap();
        let term = world.nodes[&leader].role.1;
        let alone = followers(&world)[0];
        let rest: Vec<u64> = (1..=3).filter(|node| *node != alone.0).collect();
        world.part(&[alone.0], &rest);
        for _ in 0..20 {
            world.commit(ms(1_000));
            world.run(ms(100));
        }
        assert_eq!(
            world.nodes[&alone].role.1, term,
            "an isolated node does not raise its term"
        );
        world.cut.clear();
        world.converge(&[1, 2, 3], ms(2_000));
        world.run(ms(1_000));
        assert_eq!(world.leader(), Some(leader));
        assert_eq!(world.nodes[&leader].role.1, term);
    }
}

#[test]
fn membership_goes_from_three_to_five_and_back() {
    for seed in 0..5 {
        let mut world = three(seed);
        world.quorum_of.clear();
        for _ in 0..100 {
            world.commit(ms(1_000));
        }
        for node in [4, 5] {
            world.add(NodeId(node), |_| {});
        }
        let leader = world.leader().unwrap();
        let change = world.change(leader, 1..=5, []);
        world.fate(change, ms(5_000)).expect("the group grows");
        world.converge(&[1, 2, 3, 4, 5], ms(2_000));
        let status = world.nodes[&NodeId(5)].machine.as_ref().unwrap().status();
        assert_eq!(status.membership.voters, [(1..=5).map(NodeId).collect()]);
        assert!(status.membership.learners.is_empty());

        // Two of the new ones and one of the old carry on without the others.
        let keep = [leader.0, 4, 5];
        let gone: Vec<u64> = (1..=3).filter(|node| *node != leader.0).collect();
        let change = world.change(leader, keep, []);
        world.fate(change, ms(5_000)).expect("the group shrinks");
        for node in &gone {
            world.crash(NodeId(*node));
        }
        world.commit(FAILOVER);
        world.converge(&keep, ms(2_000));
    }
}

#[test]
fn a_leader_that_is_removed_hands_over() {
    for seed in 0..5 {
        let mut world = three(seed);
        world.quorum_of.clear();
        let leader = world.leader().unwrap();
        let keep: Vec<u64> = (1..=3).filter(|node| *node != leader.0).collect();
        let change = world.change(leader, keep.clone(), []);
        world.fate(change, ms(3_000)).expect("a leader may go");
        world.run_until(FAILOVER, "a leader among those that stay", |world| {
            world
                .leader()
                .is_some_and(|leader| keep.contains(&leader.0))
        });
        world.commit(ms(1_000));
    }
}

#[test]
fn a_voter_may_be_demoted_and_a_learner_is_kept_up() {
    let mut world = three(7);
    world.quorum_of.clear();
    world.add(NodeId(4), |_| {});
    let leader = world.leader().unwrap();
    let demoted = followers(&world)
        .into_iter()
        .find(|node| node.0 != 4)
        .unwrap();
    let keep: Vec<u64> = (1..=3).filter(|node| *node != demoted.0).collect();
    let change = world.change(leader, keep.clone(), [4, demoted.0]);
    world.fate(change, ms(3_000)).expect("roles may change");
    world.commit(ms(1_000));
    world.converge(&[1, 2, 3, 4], ms(2_000));
    let status = world.nodes[&leader].machine.as_ref().unwrap().status();
    assert_eq!(
        status.membership.learners,
        BTreeSet::from([NodeId(4), demoted])
    );
    let again = world.change(leader, keep, []);
    world.fate(again, ms(3_000)).expect("learners may go");
    let status = world.nodes[&leader].machine.as_ref().unwrap().status();
    assert!(status.membership.learners.is_empty());
}

#[test]
fn impossible_memberships_are_refused() {
    let mut world = three(8);
    let leader = world.leader().unwrap();
    let none = world.change(leader, [], []);
    assert!(matches!(
        world.fate(none, ms(1_000)),
        Err(RaftError::Refused { .. })
    ));
    let both = world.change(leader, [1, 2, 3], [3]);
    assert!(matches!(
        world.fate(both, ms(1_000)),
        Err(RaftError::Refused { .. })
    ));
    let follower = followers(&world)[0];
    let elsewhere = world.change(follower, [1, 2], []);
    assert!(matches!(
        world.fate(elsewhere, ms(1_000)),
        Err(RaftError::NotLeader { .. })
    ));
}

fn small_log(options: &mut Options) {
    options.snapshot_log_bytes = 8_192;
    options.log_keep_entries = 5;
    options.log_lag_bytes_max = 0;
}

#[test]
fn a_new_node_catches_up_by_a_snapshot() {
    for seed in 0..5 {
        let mut world = World::group(seed, Weather::fine(), 3, small_log);
        world.quorum_of.clear();
        world.await_leader(ms(2_000));
        for _ in 0..300 {
            world.commit(ms(1_000));
        }
        world.run(ms(200));
        let leader = world.leader().unwrap();
        let status = world.nodes[&leader].machine.as_ref().unwrap().status();
        assert!(status.purged.is_some(), "the log was purged");
        assert!(
            status.log_bytes < 3 * 8_192,
            "the log is bounded by bytes: {}",
            status.log_bytes
        );
        world.add(NodeId(4), small_log);
        let change = world.change(leader, 1..=4, []);
        world.fate(change, ms(10_000)).expect("the group grows");
        world.converge(&[1, 2, 3, 4], ms(2_000));
        // And it survives on what it installed.
        world.crash(NodeId(4));
        world.start(NodeId(4));
        world.converge(&[1, 2, 3, 4], ms(3_000));
    }
}

/// A straggler that was away for long is being sent a state, which takes two seconds, while entries
/// for many more snapshots are committed.
fn a_state_on_its_way(seed: u64, log_lag_bytes_max: u64) -> (World, NodeId, LogIndex) {
    let mut world = World::group(seed, Weather::fine(), 3, |options| {
        small_log(options);
        options.log_lag_bytes_max = log_lag_bytes_max;
    });
    world.await_leader(ms(2_000));
    world.quorum_of.clear();
    let straggler = followers(&world)[0];
    world.crash(straggler);
    world.run(ms(31_000));
    for _ in 0..300 {
        world.commit(ms(1_000));
    }
    world.state_takes = 2_000 * MS;
    world.start(straggler);
    // What was sent while nobody was there does not count.
    world.states_sent.clear();
    world.run_until(FAILOVER, "a state to be sent", |world| {
        world.states_sent.contains_key(&straggler)
    });
    let leader = world.leader().expect("the straggler disturbs nobody");
    let before = world.applied(leader);
    for _ in 0..400 {
        world.commit(ms(1_000));
    }
    (world, straggler, before)
}

fn purged(world: &World, node: NodeId) -> LogIndex {
    let status = world.nodes[&node].machine.as_ref().unwrap().status();
    status.purged.map_or(LogIndex(0), |id| id.index)
}

#[test]
fn a_leader_keeps_the_log_behind_a_state_that_is_on_its_way() {
    for seed in 0..3 {
        let (mut world, straggler, before) = a_state_on_its_way(seed, 1 << 20);
        let leader = world.leader().unwrap();
        assert_eq!(world.states_sent[&straggler], 1, "the state is on its way");
        assert!(purged(&world, leader) < before, "what it lacks is kept");
        world.converge(&[1, 2, 3], ms(5_000));
        assert_eq!(world.states_sent[&straggler], 1, "one state is enough");
        // Nobody needs it any more.
        for _ in 0..100 {
            world.commit(ms(1_000));
        }
        world.run(ms(200));
        assert!(purged(&world, leader) > before, "the log is purged then");
    }
}

#[test]
fn what_is_kept_for_a_peer_is_bounded_by_bytes_and_by_the_owner() {
    let (mut world, straggler, before) = a_state_on_its_way(0, 20_000);
    let leader = world.leader().unwrap();
    assert!(
        purged(&world, leader) > before,
        "more than may be is not kept"
    );
    world.converge(&[1, 2, 3], ms(9_000));
    assert!(world.states_sent[&straggler] > 1);

    let (mut world, _, before) = a_state_on_its_way(1, 1 << 20);
    let leader = world.leader().unwrap();
    assert!(purged(&world, leader) < before);
    world.input(leader, Input::ShortenLog);
    world.run(ms(100));
    assert!(purged(&world, leader) > before, "the owner needs the room");
    world.converge(&[1, 2, 3], ms(9_000));
}

/// A node that restarts often begins a segment of its log each time: few entries may fill it.
#[test]
fn a_log_that_has_to_become_shorter_keeps_nothing_for_the_number_of_its_entries() {
    let mut world = World::group(6, Weather::fine(), 3, |options| {
        options.log_keep_entries = 1_000;
    });
    world.await_leader(ms(2_000));
    for _ in 0..20 {
        world.commit(ms(1_000));
    }
    let leader = world.leader().unwrap();
    assert_eq!(purged(&world, leader), LogIndex(0));
    world.input(leader, Input::ShortenLog);
    world.run(ms(1_000));
    assert!(purged(&world, leader) > LogIndex(15));
    world.commit(ms(1_000));
    world.converge(&[1, 2, 3], ms(5_000));
}

#[test]
fn a_peer_that_restarts_is_not_sent_a_state() {
    let mut world = World::group(5, Weather::fine(), 3, |options| {
        small_log(options);
        options.log_lag_bytes_max = 1 << 20;
    });
    world.await_leader(ms(2_000));
    world.quorum_of.clear();
    let straggler = followers(&world)[0];
    world.commit(ms(1_000));
    world.crash(straggler);
    for _ in 0..400 {
        world.commit(ms(1_000));
    }
    world.start(straggler);
    world.converge(&[1, 2, 3], ms(5_000));
    assert_eq!(world.states_sent.get(&straggler), None);
}

#[test]
fn a_snapshot_that_was_not_kept_for_reading_is_built_before_it_is_sent() {
    let mut world = World::group(11, Weather::fine(), 3, small_log);
    world.await_leader(ms(2_000));
    let straggler = followers(&world)[0];
    world.crash(straggler);
    for _ in 0..300 {
        world.commit(ms(1_000));
    }
    // Both others restart: their checkpoints are durable, but hold nothing to read from.
    for node in 1..=3 {
        if NodeId(node) != straggler {
            world.crash(NodeId(node));
            world.start(NodeId(node));
        }
    }
    world.commit(FAILOVER);
    world.start(straggler);
    world.converge(&[1, 2, 3], ms(5_000));
}

#[test]
fn leadership_is_handed_over_on_request() {
    for seed in 0..10 {
        let mut world = three(seed);
        let leader = world.leader().unwrap();
        let to = followers(&world)[0];
        world.run(ms(100));
        world.input(leader, Input::TransferLeadership { to });
        // Far sooner than an election timeout.
        world.run_until(ms(100), "the new leader", |world| {
            world.leader() == Some(to)
        });
        world.commit(ms(500));
        // Nonsense is ignored.
        world.input(leader, Input::TransferLeadership { to });
        world.input(to, Input::TransferLeadership { to });
        world.input(to, Input::TransferLeadership { to: NodeId(9) });
        world.run(ms(500));
        assert_eq!(world.leader(), Some(to));
    }
}

#[test]
fn leadership_goes_to_the_highest_priority_and_stays() {
    for seed in 0..5 {
        let mut world = World::group(seed, Weather::fine(), 3, |options| {
            options.priority = [(NodeId(2), 5), (NodeId(3), 9)].into();
        });
        world.await_leader(ms(2_000));
        world.run_until(ms(5_000), "node 3 to lead", |world| {
            world.leader() == Some(NodeId(3))
        });
        let term = world.nodes[&NodeId(3)].role.1;
        world.run(ms(5_000));
        assert_eq!(
            world.nodes[&NodeId(3)].role,
            (Role::Leader, term, Some(NodeId(3)))
        );
        world.crash(NodeId(3));
        world.run_until(ms(8_000), "node 2 to lead", |world| {
            world.leader() == Some(NodeId(2))
        });
    }
}

#[test]
fn reads_are_answered_at_every_member() {
    for seed in 0..5 {
        let mut world = three(seed);
        for _ in 0..10 {
            let committed = world.commit(ms(1_000));
            for node in 1..=3 {
                for policy in [ReadPolicy::ReadIndex, ReadPolicy::Lease] {
                    let read = world.read(NodeId(node), policy);
                    let index = world.answer(read, ms(500)).expect("a majority is there");
                    assert!(index >= committed);
                }
            }
        }
    }
}

#[test]
fn a_lease_read_at_the_leader_asks_nobody() {
    let mut world = three(4);
    let leader = world.leader().unwrap();
    world.run(ms(200));
    let sent = world.sent;
    let read = world.read(leader, ReadPolicy::Lease);
    assert!(matches!(world.reads.get(&read), Some(Ok(_))));
    assert_eq!(world.sent, sent);
    let read = world.read(leader, ReadPolicy::ReadIndex);
    assert!(!world.reads.contains_key(&read));
    assert!(world.sent > sent);
    world.answer(read, ms(500)).expect("a majority is there");
}

#[test]
fn a_minority_answers_no_read_and_commits_nothing() {
    for seed in 0..5 {
        let mut world = three(seed);
        let leader = world.leader().unwrap();
        let others: Vec<u64> = followers(&world).iter().map(|node| node.0).collect();
        world.part(&[leader.0], &others);
        let proposal = world.propose(leader);
        // The lease that followers promised has run out.
        world.run(ms(400));
        for policy in [ReadPolicy::ReadIndex, ReadPolicy::Lease] {
            let read = world.read(leader, policy);
            assert!(world.answer(read, ms(2_000)).is_err());
        }
        assert_eq!(
            world.fate(proposal, ms(5_000)),
            Err(RaftError::Unknown),
            "it stands in the log and may yet be committed"
        );
        let late = world.propose(leader);
        assert!(matches!(
            world.fate(late, ms(1_000)),
            Err(RaftError::NoQuorum | RaftError::NotLeader { .. })
        ));
    }
}

#[test]
fn a_read_at_a_follower_that_knows_no_leader_is_refused_in_time() {
    let mut world = three(5);
    let alone = followers(&world)[0];
    let rest: Vec<u64> = (1..=3).filter(|node| *node != alone.0).collect();
    world.part(&[alone.0], &rest);
    for policy in [ReadPolicy::ReadIndex, ReadPolicy::Lease] {
        let read = world.read(alone, policy);
        assert!(world.answer(read, ms(2_000)).is_err());
    }
}

/// A voter that restarts must not help to depose a leader whose lease it had promised to respect.
fn restart_within_a_lease(seed: u64, tune: impl Fn(&mut Options)) {
    let mut world = World::group(seed, Weather::fine(), 3, tune);
    let leader = world.await_leader(ms(2_000));
    world.commit(ms(1_000));
    let others = followers(&world);
    let (promised, rival) = (others[0], others[1]);
    world.part(&[leader.0], &[rival.0]);
    world.run(ms(600));
    world.crash(promised);
    world.start(promised);
    world.part(&[leader.0], &[promised.0]);
    for _ in 0..700 {
        world.run(ms(1));
        if world.nodes[&rival].role.0 == Role::Leader {
            world.propose(rival);
        }
        // The law of linearizability is watched by the world.
        world.read(leader, ReadPolicy::Lease);
    }
}

#[test]
fn a_lease_outlives_the_restart_of_a_voter_that_promised_it() {
    for seed in 0..20 {
        restart_within_a_lease(seed, |_| {});
    }
}

#[test]
fn a_proposal_elsewhere_names_the_leader() {
    let mut world = three(6);
    let leader = world.leader().unwrap();
    let proposal = world.propose(followers(&world)[0]);
    assert_eq!(
        world.fate(proposal, ms(100)),
        Err(RaftError::NotLeader {
            leader: Some(leader)
        })
    );
}

#[test]
fn a_leader_that_is_deposed_says_that_it_does_not_know() {
    let mut world = three(9);
    let leader = world.leader().unwrap();
    let others: Vec<u64> = followers(&world).iter().map(|node| node.0).collect();
    world.part(&[leader.0], &others);
    let proposal = world.propose(leader);
    world.run_until(FAILOVER, "another leader", |world| {
        world.leader().is_some_and(|now| now != leader)
    });
    world.cut.clear();
    assert_eq!(world.fate(proposal, ms(3_000)), Err(RaftError::Unknown));
}

#[test]
fn the_same_seed_is_the_same_run() {
    let run = |seed| {
        let mut world = torture::world(seed, |_| {});
        torture::storm(&mut world, 40);
        (world.hash(), world.now)
    };
    for seed in 0..5 {
        let first = run(seed);
        println!("seed {seed}: trace hash {}", first.0);
        assert_eq!(first, run(seed));
    }
    assert_ne!(run(1).0, run(2).0);
}

#[test]
fn idle_nodes_sleep_and_leak_nothing() {
    let mut world = three(10);
    let load = |world: &World| -> Vec<(usize, usize)> {
        let machines = world.nodes.values();
        machines
            .map(|node| node.machine.as_ref().unwrap().load())
            .collect()
    };
    world.run(ms(2_000));
    let before = load(&world);
    for _ in 0..20 {
        world.commit(ms(1_000));
        world.run(ms(1_000));
    }
    for ((tasks, timers), (tasks_before, timers_before)) in load(&world).into_iter().zip(before) {
        assert!(tasks <= tasks_before + 8, "{tasks_before} to {tasks} tasks");
        assert!(
            timers <= timers_before + 8,
            "{timers_before} to {timers} timers"
        );
    }
}

#[test]
fn ticks_that_come_early_or_often_change_nothing() {
    let mut machine = RaftMachine::new(
        Options::new(NodeId(1)),
        Recovered::default(),
        Seed::from_u64(1),
        Instant::ZERO,
    );
    let mut out = Outbox::new();
    machine.step(Instant::ZERO, Input::Tick, &mut out);
    out.drain().for_each(drop);
    let deadline = machine.deadline();
    for _ in 0..100 {
        machine.step(Instant::ZERO, Input::Tick, &mut out);
        assert!(out.is_empty());
        assert_eq!(machine.deadline(), deadline);
    }
}

#[test]
fn a_clock_that_jumps_ahead_is_only_a_late_tick() {
    let mut world = three(12);
    // An hour passes for everybody while nothing runs.
    world.now += 3_600 * 1_000 * MS;
    world.commit(FAILOVER);
    world.converge(&[1, 2, 3], ms(1_000));
}

#[test]
fn what_cannot_be_recovered_is_named() {
    let id = |term, index| LogId {
        term: Term(term),
        leader: NodeId(1),
        index: LogIndex(index),
    };
    let blank = || WirePayload::Blank.encode();
    let good = Recovered {
        entries: vec![(id(1, 1), blank()), (id(1, 2), blank())],
        ..Recovered::default()
    };
    assert_eq!(good.validate(), Ok(()));
    let hole = Recovered {
        entries: vec![(id(1, 1), blank()), (id(1, 3), blank())],
        ..Recovered::default()
    };
    assert!(matches!(hole.validate(), Err(RecoverError::Hole { .. })));
    let back = Recovered {
        entries: vec![(id(2, 1), blank()), (id(1, 2), blank())],
        ..Recovered::default()
    };
    assert!(matches!(back.validate(), Err(RecoverError::Entry { .. })));
    let rotten = Recovered {
        entries: vec![(id(1, 1), vec![255, 255])],
        ..Recovered::default()
    };
    assert!(matches!(rotten.validate(), Err(RecoverError::Entry { .. })));
    let vote = Recovered {
        vote: Some(vec![1, 2, 3]),
        ..Recovered::default()
    };
    assert!(matches!(vote.validate(), Err(RecoverError::Vote { .. })));
    let behind = Recovered {
        purged: Some(id(1, 9)),
        ..Recovered::default()
    };
    assert!(matches!(
        behind.validate(),
        Err(RecoverError::StateBehindLog { .. })
    ));
    let nothing = Recovered {
        purged: Some(id(1, 0)),
        ..Recovered::default()
    };
    assert!(matches!(
        nothing.validate(),
        Err(RecoverError::Index { .. })
    ));
}

/// A crash after a snapshot was installed and before the log was purged.
#[test]
fn a_log_that_a_snapshot_overtook_or_contradicts_is_replaced() {
    let id = |term, leader, index| LogId {
        term: Term(term),
        leader: NodeId(leader),
        index: LogIndex(index),
    };
    let state = AppliedState {
        last: Some(id(2, 2, 8)),
        membership: Membership {
            voters: vec![BTreeSet::from([NodeId(1), NodeId(2)])],
            learners: BTreeSet::new(),
            set_by: Some(id(0, 0, 1)),
        },
    };
    // A log that ends before the state, one that contradicts it, one of a later term that lost.
    for (term, length) in [(1, 5), (1, 10), (3, 7)] {
        let entries = (1..=length).map(|index| (id(term, 1, index), WirePayload::Blank.encode()));
        let recovered = Recovered {
            entries: entries.collect(),
            applied: state.clone(),
            ..Recovered::default()
        };
        assert_eq!(recovered.validate(), Ok(()));
        let mut machine = RaftMachine::new(
            Options::new(NodeId(1)),
            recovered,
            Seed::from_u64(1),
            Instant::ZERO,
        );
        assert_eq!(machine.status().purged, state.last);
        assert_eq!(machine.status().last_log, state.last);
        assert_eq!(machine.status().membership, state.membership);
        let mut out = Outbox::new();
        machine.step(Instant::ZERO, Input::Tick, &mut out);
        let records: Vec<_> = out
            .drain()
            .filter_map(|effect| match effect {
                Effect::Persist { record, .. } => Some(record),
                _ => None,
            })
            .collect();
        let cut = Record::Truncate { last: LogIndex(0) };
        let purge = Record::Purge {
            through: state.last.unwrap(),
        };
        assert_eq!(records, [cut, purge]);
        machine.check();
    }
}

/// While openraft waits for a vote to become durable its metrics stand still, but entries that it
/// ordered before are applied meanwhile. The node must not show less as committed than it applied.
#[test]
fn what_is_applied_while_a_vote_becomes_durable_shows_as_committed() {
    let id = |term, leader, index| LogId {
        term: Term(term),
        leader: NodeId(leader),
        index: LogIndex(index),
    };
    let members = Membership {
        voters: vec![(1..=3).map(NodeId).collect()],
        learners: BTreeSet::new(),
        set_by: None,
    };
    let (first, second) = (id(0, 0, 1), id(1, 2, 2));
    let recovered = Recovered {
        entries: vec![(first, WirePayload::Membership(members).encode())],
        ..Recovered::default()
    };
    let mut machine = RaftMachine::new(
        Options::new(NodeId(1)),
        recovered,
        Seed::from_u64(1),
        Instant::ZERO,
    );
    let mut step = |input| {
        let mut out = Outbox::new();
        machine.step(Instant::ZERO, input, &mut out);
        machine.check();
        let effects: Vec<Effect> = out.drain().collect();
        (effects, machine.status())
    };
    let ask = |from, id, body| Input::Message {
        from: NodeId(from),
        message: Message::Request { life: 1, id, body }.encode(),
    };
    let append = |prev, entries, committed| Request::Append {
        ballot: Ballot {
            term: Term(1),
            node: NodeId(2),
            granted: true,
        },
        prev: Some(prev),
        entries,
        committed: Some(committed),
    };
    let entry = WireEntry {
        id: second,
        payload: WirePayload::Blank,
    };
    // The leader's ballot has to become durable. Behind it wait what commits the entry, and a
    // vote of a later term that has to become durable in turn.
    let (effects, _) = step(ask(2, 1, append(first, vec![entry], first)));
    let Some(Effect::Persist { write, .. }) = effects.last().cloned() else {
        panic!("the leader's ballot is kept: {effects:?}");
    };
    step(ask(2, 2, append(second, vec![], second)));
    let vote = Request::Vote {
        ballot: Ballot {
            term: Term(2),
            node: NodeId(3),
            granted: false,
        },
        last_log: Some(second),
        transfer: true,
    };
    step(ask(3, 1, vote));

    let (effects, status) = step(Input::Durable { write });
    let voting = effects.iter().any(|effect| {
        matches!(effect, Effect::Persist { record, .. } if matches!(record, Record::Vote { .. }))
    });
    assert!(
        voting,
        "the later vote is on its way to the disk: {effects:?}"
    );
    let applied = effects.iter().rev().find_map(|effect| match effect {
        Effect::Apply { entries } => entries.last().map(|entry| entry.id),
        _ => None,
    });
    assert_eq!(applied, Some(second), "{effects:?}");
    assert_eq!(status.committed, Some(second));
    let (_, status) = step(Input::Applied { through: second });
    assert_eq!(status.applied, status.committed);
}

/// Whoever looks on can tell a vote that was asked for from one that others may have heard of.
#[test]
fn a_vote_shows_as_kept_once_it_is_durable() {
    let first = LogId {
        term: Term(0),
        leader: NodeId(0),
        index: LogIndex(1),
    };
    let members = Membership {
        voters: vec![(1..=3).map(NodeId).collect()],
        learners: BTreeSet::new(),
        set_by: None,
    };
    let recovered = Recovered {
        entries: vec![(first, WirePayload::Membership(members).encode())],
        ..Recovered::default()
    };
    let mut machine = RaftMachine::new(
        Options::new(NodeId(1)),
        recovered,
        Seed::from_u64(1),
        Instant::ZERO,
    );
    let mut step = |input| {
        let mut out = Outbox::new();
        machine.step(Instant::ZERO, input, &mut out);
        (out.drain().collect::<Vec<Effect>>(), machine.status())
    };
    let body = Request::Vote {
        ballot: Ballot {
            term: Term(1),
            node: NodeId(2),
            granted: false,
        },
        last_log: Some(first),
        transfer: true,
    };
    let message = Message::Request {
        life: 1,
        id: 1,
        body,
    };
    let (effects, status) = step(Input::Message {
        from: NodeId(2),
        message: message.encode(),
    });
    let Some(Effect::Persist { write, .. }) = effects.last().cloned() else {
        panic!("the vote is kept before it is told: {effects:?}");
    };
    let vote = Vote {
        term: Term(1),
        candidate: NodeId(2),
        granted: false,
    };
    assert_eq!((status.vote, status.vote_kept), (Some(vote), None));
    let (_, status) = step(Input::Durable { write });
    assert_eq!((status.vote, status.vote_kept), (Some(vote), Some(vote)));
}

/// A checkpoint can be thousands of commands old, and all of them known to be committed.
#[test]
fn a_node_restarts_with_many_entries_to_apply_again() {
    let id = |index| LogId {
        term: Term(1),
        leader: NodeId(1),
        index: LogIndex(index),
    };
    let last = 5_000;
    let recovered = Recovered {
        entries: (1..=last)
            .map(|index| (id(index), WirePayload::Blank.encode()))
            .collect(),
        committed: Some(id(last)),
        ..Recovered::default()
    };
    let mut machine = RaftMachine::new(
        Options::new(NodeId(1)),
        recovered,
        Seed::from_u64(1),
        Instant::ZERO,
    );
    let mut out = Outbox::new();
    machine.step(Instant::ZERO, Input::Tick, &mut out);
    let mut applied = 0;
    for effect in out.drain() {
        if let Effect::Apply { entries } = effect {
            for entry in entries {
                applied += 1;
                assert_eq!(entry.id, id(applied));
            }
        }
    }
    assert_eq!(applied, last);
    machine.check();
    let through = id(last);
    machine.step(Instant::ZERO, Input::Applied { through }, &mut out);
    machine.check();
    assert_eq!(machine.status().applied, Some(through));
}

#[test]
fn hostile_messages_are_dropped_and_counted() {
    let mut world = three(13);
    let victim = followers(&world)[0];
    let other = followers(&world)[1];
    let ballot = Ballot {
        term: Term(u64::MAX),
        node: other,
        granted: true,
    };
    let id = |index| LogId {
        term: Term(1),
        leader: other,
        index: LogIndex(index),
    };
    let entry = |index| WireEntry {
        id: id(index),
        payload: WirePayload::Blank,
    };
    let append = |ballot, prev, entries| Request::Append {
        ballot,
        prev,
        entries,
        committed: None,
    };
    let empty = Membership::default();
    let bad = [
        append(ballot, None, vec![entry(2)]),
        append(ballot, Some(id(5)), vec![entry(6), entry(8)]),
        append(ballot, Some(id(0)), vec![]),
        append(
            Ballot {
                granted: false,
                ..ballot
            },
            None,
            vec![],
        ),
        append(
            ballot,
            None,
            vec![WireEntry {
                id: id(1),
                payload: WirePayload::Membership(empty),
            }],
        ),
        Request::Vote {
            ballot,
            last_log: None,
            transfer: true,
        },
    ];
    let count = bad.len() as u64;
    for body in bad {
        let message = Message::Request {
            life: 1,
            id: 1,
            body,
        };
        assert_eq!(
            Message::decode(other, &message.encode()),
            Err(Refusal::Malformed)
        );
        let message = message.encode();
        world.input(
            victim,
            Input::Message {
                from: other,
                message,
            },
        );
    }
    let forged = Message::Request {
        life: 1,
        id: 1,
        body: append(ballot, None, vec![]),
    };
    let input = Input::Message {
        from: NodeId(77),
        message: forged.encode(),
    };
    world.input(victim, input);
    let stale = Message::Reply {
        life: 1,
        id: 1,
        body: Reply::Append(AppendReply::Conflict),
    };
    let input = Input::Message {
        from: other,
        message: stale.encode(),
    };
    world.input(victim, input);
    let counters = world.nodes[&victim].machine.as_ref().unwrap().counters();
    assert_eq!(counters.malformed, count);
    assert_eq!(counters.forged, 1);
    assert_eq!(counters.stale_replies, 1);
    world.commit(ms(1_000));
}

#[test]
fn no_bytes_panic() {
    let mut rng = Seed::from_u64(5).rng();
    let mut machine = RaftMachine::new(
        Options::new(NodeId(1)),
        Recovered::default(),
        Seed::from_u64(1),
        Instant::ZERO,
    );
    let mut out = Outbox::new();
    let good = Message::Request {
        life: 3,
        id: 4,
        body: Request::Vote {
            ballot: Ballot {
                term: Term(1),
                node: NodeId(2),
                granted: false,
            },
            last_log: None,
            transfer: false,
        },
    }
    .encode();
    for _ in 0..2_000 {
        let mut bytes = good.clone();
        let keep = rng.below(bytes.len() as u64 + 1) as usize;
        bytes.truncate(keep);
        if !bytes.is_empty() {
            let at = rng.below(bytes.len() as u64) as usize;
            bytes[at] = rng.next_u64() as u8;
        }
        let _ = SnapshotHeader::decode(NodeId(2), &bytes);
        let _ = SnapshotAnswer::decode(&bytes);
        let _ = WirePayload::decode(&bytes);
        let input = Input::Message {
            from: NodeId(2),
            message: bytes.clone(),
        };
        machine.step(Instant::ZERO, input, &mut out);
        let input = Input::SnapshotReceived {
            from: NodeId(2),
            transfer: 1,
            header: bytes,
            id: SnapshotId(1),
        };
        machine.step(Instant::ZERO, input, &mut out);
    }
    assert!(machine.counters().malformed > 3_000);
}
