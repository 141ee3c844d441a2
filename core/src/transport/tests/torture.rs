//! Everything at once: crashes, lost disks, cuts, resets, moves, traffic.

use std::collections::BTreeSet;

use super::world::World;
use crate::id::NodeId;
use crate::time::Duration;
use crate::transport::{Class, Input, Start};

const LONG: Duration = Duration::from_secs(60);

fn someone(world: &mut World, nodes: u64) -> NodeId {
    NodeId(world.rng.between(1, nodes))
}

/// Two different nodes.
fn pair(world: &mut World, nodes: u64) -> (NodeId, NodeId) {
    let one = world.rng.between(1, nodes);
    let step = world.rng.between(1, nodes - 1);
    (NodeId(one), NodeId((one - 1 + step) % nodes + 1))
}

fn fault(world: &mut World, nodes: u64, wipes: bool) {
    match world.rng.below(12) {
        0 | 1 => {
            let (node, silently) = (someone(world, nodes), world.rng.chance(1, 2));
            world.crash(node, silently);
        }
        2 if wipes => {
            let node = someone(world, nodes);
            world.crash(node, true);
            world.wipe(node);
            if world.rng.chance(1, 2) {
                // An operator who does not know better lets it join again.
                let join = world.join(node.0 % nodes + 1);
                world.hosts.get_mut(&node).expect("a host").start = Some(join);
            }
        }
        3 | 4 => world.reset_one(),
        5 | 6 => {
            let pair = pair(world, nodes);
            world.cut.insert(pair);
        }
        7 => {
            let node = someone(world, nodes);
            world.crash(node, false);
            world.move_away(node);
        }
        8 | 9 => world.cut.clear(),
        _ => {
            for node in 1..=nodes {
                world.start(NodeId(node));
            }
        }
    }
}

fn torture(seed: u64, nodes: u64, wipes: bool) {
    let mut world = World::new(seed, nodes);
    world.tune = |options| {
        options.control_bytes_max = 20_000;
        options.bulk_bytes_max = 20_000;
        options.handed_bytes_max = 2_000;
    };
    world.socket_bytes = world.rng.between(50, 6_000) as usize;
    // A founder under its old id with a new disk would refuse the cluster itself: one has joined.
    let founders = if wipes && nodes > 2 { nodes - 1 } else { nodes };
    let (start, join) = (world.together(1..=founders), world.join(1));
    for (node, host) in &mut world.hosts {
        let start = if node.0 > founders { &join } else { &start };
        host.start = Some(start.clone());
    }
    if wipes && seed.is_multiple_of(2) {
        for node in 1..=nodes {
            world.start(NodeId(node));
        }
        world.until("all are up", LONG, |world| world.all_up(1..=nodes));
    }
    for _ in 0..6_000 {
        if world.rng.chance(1, 80) {
            fault(&mut world, nodes, wipes);
        }
        if world.rng.chance(1, 3) {
            let (from, to) = pair(&mut world, nodes);
            let bulk = world.rng.chance(1, 3);
            let (class, bytes) = if bulk {
                (Class::Bulk, world.rng.between(1, 9_000))
            } else {
                (Class::Control, world.rng.between(1, 300))
            };
            world.send(from, to, class, bytes as usize);
        }
        world.turn();
    }
    heal(&mut world, nodes, wipes);
}

/// Everything is repaired: those who have not lost what they promised find each other.
fn heal(world: &mut World, nodes: u64, wipes: bool) {
    world.cut.clear();
    for node in 1..=nodes {
        world.start(NodeId(node));
    }
    // All may have moved while none of them ran: an operator says where they are.
    for node in 1..=nodes {
        for other in 1..=nodes {
            let (node, address) = (NodeId(node), world.address(other));
            let learned = Input::AddressLearned {
                node: NodeId(other),
                address,
            };
            world.step(node, learned);
        }
    }
    let good: Vec<_> = (1..=nodes)
        .filter(|node| !world.hosts[&NodeId(*node)].outlaw)
        .collect();
    if wipes {
        // A pledge to a disk that is gone can never be kept: no cluster may be formed.
        for _ in 0..4_000 {
            world.turn();
        }
        return;
    }
    let moved = |world: &World| (1..=nodes).any(|n| world.address(n).as_str() != format!("h{n}:1"));
    if moved(world) && world.clusters().is_empty() {
        // The list leads nowhere any more; the operator's to mend.
        return;
    }
    let wanted = good.clone();
    world.until("all are up", LONG, move |world| {
        world.all_up(wanted.iter().copied())
    });
    assert_eq!(world.clusters().len(), 1);
    everybody_is_heard(world, &good);
}

/// A connection may have been half dead when all were up: messages are sent until they arrive.
fn everybody_is_heard(world: &mut World, nodes: &[u64]) {
    let pairs = nodes
        .iter()
        .flat_map(|from| nodes.iter().map(move |to| (*from, *to)));
    let mut missing: BTreeSet<_> = pairs
        .filter(|(from, to)| from != to)
        .map(|(from, to)| (NodeId(from), NodeId(to)))
        .collect();
    for _ in 0..40 {
        let before = world.delivered.len();
        for (from, to) in missing.clone() {
            world.send(from, to, Class::Control, 10);
        }
        for _ in 0..500 {
            world.turn();
        }
        for (from, to, ..) in &world.delivered[before..] {
            missing.remove(&(*from, *to));
        }
        if missing.is_empty() {
            return;
        }
    }
    panic!("nobody hears: {missing:?}");
}

#[test]
fn nothing_breaks_the_laws_and_all_find_each_other_again() {
    for seed in 0..40 {
        torture(seed, 2 + seed % 3, false);
    }
}

#[test]
fn lost_disks_never_make_two_clusters_nor_are_they_heard() {
    for seed in 1_000..1_040 {
        torture(seed, 2 + seed % 3, true);
    }
}

fn three(seed: u64) -> World {
    let mut world = World::new(seed, 3);
    let start = world.together(1..=3);
    for node in 1..=3 {
        world.hosts.get_mut(&NodeId(node)).unwrap().start = Some(start.clone());
        world.start(NodeId(node));
    }
    world.until("all are up", LONG, |world| world.all_up(1..=3));
    world
}

#[test]
fn control_goes_before_a_backlog_of_bulk() {
    for seed in 0..10 {
        let mut world = three(seed);
        world.socket_bytes = 2_000;
        let (from, to) = (NodeId(1), NodeId(2));
        for _ in 0..100 {
            world.send(from, to, Class::Bulk, 200_000);
        }
        for _ in 0..50 {
            world.turn();
        }
        let control = world.send(from, to, Class::Control, 100);
        let before = world.delivered.len();
        world.until("control arrives", LONG, |world| {
            world.delivered.iter().any(|(.., seq)| *seq == control)
        });
        // One message was on its way, and the bound of what is handed over fits in it.
        assert!(
            world.delivered.len() <= before + 2,
            "bulk went before control"
        );
        assert!(world.all_up(1..=3), "and nobody was lost meanwhile");
    }
}

#[test]
fn what_does_not_fit_is_dropped_and_counted() {
    let mut world = three(3);
    world.cut.insert((NodeId(1), NodeId(2)));
    let mut sent = 0;
    for _ in 0..400 {
        world.send(NodeId(1), NodeId(2), Class::Bulk, 300_000);
        sent += 1;
    }
    let dropped = world.hosts[&NodeId(1)]
        .transport
        .as_ref()
        .unwrap()
        .dropped();
    assert!((sent - 120..sent).contains(&dropped), "{dropped} of {sent}");
}

#[test]
fn a_silent_or_deaf_peer_is_noticed_and_found_again() {
    // Whichever direction is cut, both notice: the deaf one by silence, the other by its close or
    // by what is not confirmed.
    for (from, to) in [(1, 2), (2, 1)] {
        let mut world = three(5);
        let (from, to) = (NodeId(from), NodeId(to));
        world.cut.insert((from, to));
        let start = world.now;
        let lost = |world: &World| !world.hosts[&to].up.contains(&from);
        world.until("the silence is noticed", Duration::from_millis(1_100), lost);
        assert!(
            world.now.since(start) > Duration::from_millis(700),
            "not before its time"
        );
        let both = |world: &World| !world.hosts[&from].up.contains(&to);
        world.until("the other notices", Duration::from_millis(3_200), both);
        assert!(world.all_up([1, 3]), "nobody else is touched");
        world.cut.clear();
        world.until("they find each other", LONG, |world| world.all_up(1..=3));
    }
}

#[test]
fn nobody_is_heard_before_its_start_is_noted() {
    let mut world = three(8);
    for node in [1, 3] {
        world.crash(NodeId(2), false);
        for _ in 0..200 {
            world.turn();
        }
        world.stuck_disks.insert(NodeId(node));
        world.start(NodeId(2));
        let other = 4 - node;
        world.until("the other hears it", LONG, |world| world.all_up([2, other]));
        for _ in 0..5_000 {
            world.turn();
            assert!(
                !world.hosts[&NodeId(node)].up.contains(&NodeId(2)),
                "not noted yet"
            );
        }
        world.stuck_disks.clear();
        world.until("it is noted", LONG, |world| world.all_up(1..=3));
    }
}

#[test]
fn a_node_that_moves_is_found_by_those_who_do_not_move() {
    for node in 1..=3 {
        let mut world = three(node);
        let node = NodeId(node);
        world.crash(node, false);
        world.move_away(node);
        world.hosts.get_mut(&node).unwrap().start = Some(Start::Known);
        world.start(node);
        world.until("it is up again", LONG, |world| world.all_up(1..=3));
    }
}
