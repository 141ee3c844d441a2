//! Nodes become one cluster, whatever the order.

use super::world::World;
use crate::id::NodeId;
use crate::time::Duration;
use crate::transport::{Identity, Start, StartError};

const LONG: Duration = Duration::from_secs(20);

#[test]
fn three_nodes_form_one_cluster_in_any_order() {
    for seed in 0..30 {
        let mut world = World::new(seed, 3);
        let start = world.together([1, 2, 3]);
        let mut order = [1, 2, 3];
        world.rng.shuffle(&mut order);
        for node in order {
            world.hosts.get_mut(&NodeId(node)).unwrap().start = Some(start.clone());
            world.start(NodeId(node));
            for _ in 0..world.rng.below(3_000) {
                world.turn();
            }
            assert!(
                node == order[2] || world.clusters().is_empty(),
                "all are needed"
            );
        }
        world.until("all are up", LONG, |world| world.all_up(1..=3));
        for host in world.hosts.values() {
            let identity = host.stored.as_ref().unwrap();
            let voters = identity.founding_voters().unwrap();
            assert_eq!(
                voters.into_iter().collect::<Vec<_>>(),
                [NodeId(1), NodeId(2), NodeId(3)]
            );
        }
    }
}

#[test]
fn a_node_alone_is_a_cluster_and_others_join_it() {
    let mut world = World::new(7, 3);
    world.hosts.get_mut(&NodeId(1)).unwrap().start = Some(Start::Alone);
    let join = [world.join(1), world.join(2)];
    for (node, start) in [2, 3].into_iter().zip(join) {
        world.hosts.get_mut(&NodeId(node)).unwrap().start = Some(start);
        world.start(NodeId(node));
    }
    for _ in 0..2_000 {
        world.turn();
    }
    assert!(world.clusters().is_empty(), "who joins forms nothing");
    world.start(NodeId(1));
    world.until("all are up", LONG, |world| world.all_up(1..=3));
    let voters = |node| {
        let stored: Option<&Identity> = world.hosts[&NodeId(node)].stored.as_ref();
        stored.unwrap().founding_voters()
    };
    assert_eq!(voters(1), Some([NodeId(1)].into()));
    assert_eq!(voters(2), None);
    // Later starts need nothing but what is stored.
    for node in 1..=3 {
        world.crash(NodeId(node), false);
        world.hosts.get_mut(&NodeId(node)).unwrap().start = Some(Start::Known);
        world.start(NodeId(node));
    }
    world.until("all are up again", LONG, |world| world.all_up(1..=3));
}

#[test]
fn lists_that_differ_form_nothing_and_say_so() {
    let mut world = World::new(9, 4);
    for (node, list) in [
        (1, [1, 2, 3]),
        (2, [1, 2, 3]),
        (3, [2, 3, 4]),
        (4, [2, 3, 4]),
    ] {
        let start = world.together(list);
        world.hosts.get_mut(&NodeId(node)).unwrap().start = Some(start);
        world.start(NodeId(node));
    }
    for _ in 0..20_000 {
        world.turn();
    }
    assert!(world.clusters().is_empty());
    let told = |node: u64| {
        let host = &world.hosts[&NodeId(node)];
        host.reports
            .iter()
            .any(|report| report.contains("--bootstrap list"))
    };
    assert!((1..=4).any(told), "an operator is told");
}

#[test]
fn a_list_without_the_node_or_with_one_twice_is_told() {
    let mut world = World::new(11, 3);
    let start = world.together([2, 3]);
    for node in 1..=3 {
        world.hosts.get_mut(&NodeId(node)).unwrap().start = Some(start.clone());
        world.start(NodeId(node));
    }
    world.until("the other two form", LONG, |world| world.all_up([2, 3]));
    world.until("the third is told", LONG, |world| {
        let host = &world.hosts[&NodeId(1)];
        host.reports
            .iter()
            .any(|report| report.contains("does not lead to this node"))
            || !host.refusals.is_empty()
    });
    let transport = world.hosts[&NodeId(1)].transport.as_ref().unwrap();
    assert!(!transport.waiting().is_empty());
}

#[test]
fn contradictions_of_options_and_identity_are_refused() {
    use crate::rng::Seed;
    use crate::time::Instant;
    use crate::transport::{DiskId, Founders, Options, Standing, Transport};
    let world = World::new(1, 3);
    let check = |start: Start, standing: Standing| {
        let options = Options::new(world.address(1), 1, start);
        let mut identity = Identity::new(NodeId(1), DiskId(1));
        identity.standing = standing;
        Transport::new(options, identity, Seed::from_u64(1), Instant::ZERO).err()
    };
    let pledged = Standing::Pledged {
        founders: Founders::from([(NodeId(1), DiskId(1)), (NodeId(2), DiskId(2))]),
    };
    let open = || Standing::Open;
    let none = Start::Together { nodes: vec![] };
    let twice = Start::Together {
        nodes: vec!["a:1".parse().unwrap(), "a:1".parse().unwrap()],
    };
    assert_eq!(check(Start::Known, open()), Some(StartError::NoCluster));
    assert!(matches!(check(none, open()), Some(StartError::Empty(_))));
    assert!(matches!(
        check(twice, open()),
        Some(StartError::Twice { .. })
    ));
    let error = check(world.join(2), pledged.clone());
    assert!(matches!(error, Some(StartError::Pledged { .. })));
    assert!(matches!(
        check(Start::Alone, pledged.clone()),
        Some(StartError::Pledged { .. })
    ));
    assert_eq!(check(world.together([1, 2]), pledged), None);
}
