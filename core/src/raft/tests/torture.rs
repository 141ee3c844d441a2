//! Random faults under random weather: safety always, then healing and a served group.

use super::ms;
use super::world::{MS, Weather, World};
use crate::id::NodeId;
use crate::raft::{Input, Options, ReadPolicy};

fn weather(world: &mut World) -> Weather {
    let rng = world.draw();
    let slow = rng.chance(1, 4);
    Weather {
        delay: if slow {
            (MS, 60 * MS)
        } else {
            (MS / 10, rng.between(MS, 10 * MS))
        },
        loss: *rng.pick(&[0, 0, 10, 100]),
        twice: *rng.pick(&[0, 20]),
        flush: *rng.pick(&[(MS / 10, MS), (MS, 20 * MS)]),
        drift_ppm: 500,
    }
}

/// A fresh group of three or five under weather drawn from the seed.
pub(super) fn world(seed: u64, tune: impl Fn(&mut Options)) -> World {
    let count = if seed.is_multiple_of(4) { 5 } else { 3 };
    let mut world = World::group(seed, Weather::fine(), count, |options| {
        options.snapshot_log_bytes = 6_000;
        options.log_keep_entries = 5;
        // In every third world a leader keeps more for those who lag.
        let keeps = seed.is_multiple_of(3);
        options.log_lag_bytes_max = if keeps { 18_000 } else { 0 };
        tune(options);
    });
    // A group exists once its first entry is durable; before, a crash takes it away again.
    world.commit(ms(3_000));
    world.weather = weather(&mut world);
    world
}

/// `rounds` of work and faults, at least one member of the majority always up.
pub(super) fn storm(world: &mut World, rounds: u64) {
    let all: Vec<u64> = world.nodes.keys().map(|node| node.0).collect();
    for _ in 0..rounds {
        let node = NodeId(*world.draw().pick(&all));
        let other = NodeId(*world.draw().pick(&all));
        match world.draw().below(20) {
            0..=1 => {
                if world.is_up(node) {
                    world.crash(node);
                }
            }
            2..=4 => {
                if world.is_up(node) {
                    world.crash(node);
                }
                world.start(node);
            }
            5 => {
                if let Some(leader) = world.leader() {
                    world.crash(leader);
                    world.start(leader);
                }
            }
            6..=7 => {
                world.cut.insert((node, other));
            }
            8 => {
                let rest: Vec<u64> = all
                    .iter()
                    .copied()
                    .filter(|other| *other != node.0)
                    .collect();
                world.part(&[node.0], &rest);
            }
            9 => {
                if let Some(leader) = world.leader() {
                    let rest: Vec<u64> = all
                        .iter()
                        .copied()
                        .filter(|other| *other != leader.0)
                        .collect();
                    let some = world.draw().between(1, rest.len() as u64) as usize;
                    world.part(&[leader.0], &rest[..some]);
                }
            }
            10..=12 => world.cut.clear(),
            13 => {
                if let Some(leader) = world.leader() {
                    world.input(leader, Input::TransferLeadership { to: other });
                }
            }
            14 => {
                world.input(node, Input::PeerLost { peer: other });
            }
            15 => {
                world.weather = weather(world);
            }
            _ => {
                for node in &all {
                    if !world.is_up(NodeId(*node)) {
                        world.start(NodeId(*node));
                    }
                }
            }
        }
        let steps = world.draw().between(1, 8);
        for _ in 0..steps {
            let node = NodeId(*world.draw().pick(&all));
            let at_leader = world.draw().chance(3, 4);
            let target = world.leader().filter(|_| at_leader).unwrap_or(node);
            if world.is_up(target) {
                world.propose(target);
            }
            let policy = *world
                .draw()
                .pick(&[ReadPolicy::ReadIndex, ReadPolicy::Lease]);
            if world.is_up(node) {
                world.read(node, policy);
            }
            let pause = world.draw().between(1, 80);
            world.run(ms(pause));
        }
    }
}

/// Everything is repaired; then the group must serve and agree.
pub(super) fn heal(world: &mut World) {
    world.cut.clear();
    world.weather = Weather::fine();
    let nodes: Vec<u64> = world.nodes.keys().map(|node| node.0).collect();
    for node in &nodes {
        if !world.is_up(NodeId(*node)) {
            world.start(NodeId(*node));
        }
    }
    world.commit(ms(6_000));
    let nodes: Vec<u64> = world.members().iter().map(|node| node.0).collect();
    world.converge(&nodes, ms(6_000));
    for node in world.nodes.values() {
        assert_eq!(node.stopped, None, "faults stop no machine");
    }
}

/// A random membership that keeps a voter.
fn change(world: &mut World) {
    let Some(leader) = world.leader() else {
        return;
    };
    let mut nodes: Vec<u64> = world.nodes.keys().map(|node| node.0).collect();
    world.draw().shuffle(&mut nodes);
    let voters = world.draw().between(1, nodes.len() as u64) as usize;
    let learners = world.draw().below((nodes.len() - voters) as u64 + 1) as usize;
    let learners = nodes[voters..voters + learners].to_vec();
    let _ = world.change(leader, nodes[..voters].to_vec(), learners);
}

pub(super) fn torture(seed: u64, rounds: u64, tune: impl Fn(&mut Options)) -> World {
    println!("seed {seed}");
    let mut world = world(seed, tune);
    storm(&mut world, rounds);
    heal(&mut world);
    world
}

#[test]
fn two_hundred_seeds_of_random_faults_keep_the_laws() {
    let mut commands = 0;
    let mut snapshots = 0;
    for seed in 0..200 {
        let world = torture(seed, 40, |_| {});
        commands += world.commands;
        snapshots += world
            .nodes
            .values()
            .filter(|node| node.machine.as_ref().unwrap().status().purged.is_some())
            .count();
    }
    assert!(commands > 20_000, "only {commands} commands were applied");
    assert!(snapshots > 200, "only {snapshots} logs were purged");
}

#[test]
fn random_changes_of_membership_under_faults_keep_the_laws() {
    let mut changed = 0;
    for seed in 1_000..1_060 {
        println!("seed {seed}");
        let mut world = world(seed, |_| {});
        world.quorum_of.clear();
        for node in [6, 7] {
            world.add(NodeId(node), |options| {
                options.snapshot_log_bytes = 6_000;
                options.log_keep_entries = 5;
                options.log_lag_bytes_max = 0;
            });
        }
        for _ in 0..8 {
            change(&mut world);
            storm(&mut world, 4);
        }
        heal(&mut world);
        let leader = world.leader().unwrap();
        let status = world.nodes[&leader].machine.as_ref().unwrap().status();
        changed += u64::from(status.membership.set_by.unwrap().term.0 > 0);
    }
    assert!(
        changed > 30,
        "only {changed} runs ended with another membership"
    );
}
