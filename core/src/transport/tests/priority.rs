//! A node that is placed otherwise than it said.

use super::world::World;
use crate::id::NodeId;
use crate::time::Duration;
use crate::transport::hello::PRIORITY_PROTOCOL;
use crate::transport::{Input, Start};

const LONG: Duration = Duration::from_secs(20);

#[test]
fn peers_hear_of_another_priority_while_they_are_connected() {
    let mut world = World::new(5, 3);
    let start = world.together([1, 2, 3]);
    for node in [1, 2, 3] {
        world.hosts.get_mut(&NodeId(node)).unwrap().start = Some(start.clone());
        world.start(NodeId(node));
    }
    world.until("all are up", LONG, |world| world.all_up([1, 2, 3]));
    world.step(NodeId(1), Input::Placed { priority: 90 });
    world.until("both have heard", LONG, |world| {
        [2, 3].iter().all(|node| {
            let placed = &world.hosts[&NodeId(*node)].placed;
            placed.get(&NodeId(1)) == Some(&90)
        })
    });
    assert_eq!(world.hosts[&NodeId(1)].placed.len(), 0, "nobody else moved");

    // Who says what it said before says nothing new.
    world.hosts.get_mut(&NodeId(2)).unwrap().placed.clear();
    world.step(NodeId(1), Input::Placed { priority: 90 });
    world.step(NodeId(1), Input::Placed { priority: 1 });
    world.until("the last word counts", LONG, |world| {
        world.hosts[&NodeId(2)].placed.get(&NodeId(1)) == Some(&1)
    });

    // A hello of a new connection has it from the beginning.
    world.crash(NodeId(3), false);
    world.hosts.get_mut(&NodeId(3)).unwrap().start = Some(Start::Known);
    world.start(NodeId(3));
    world.until("it is up again", LONG, |world| world.all_up([1, 2, 3]));
}

#[test]
fn a_peer_of_the_version_before_is_a_peer_and_is_told_nothing_that_it_does_not_know() {
    let mut world = World::new(6, 3);
    // Node 2 runs the program before priorities were told.
    world.tune = |options| {
        if options.priority == 2 {
            options.protocol = (3, PRIORITY_PROTOCOL - 1);
        }
    };
    let start = world.together([1, 2, 3]);
    for node in [1, 2, 3] {
        world.hosts.get_mut(&NodeId(node)).unwrap().start = Some(start.clone());
        world.start(NodeId(node));
    }
    world.until("all are up", LONG, |world| world.all_up([1, 2, 3]));
    for node in [1, 2] {
        world.step(NodeId(node), Input::Placed { priority: 90 });
    }
    world.until("node 3 has heard of node 1", LONG, |world| {
        world.hosts[&NodeId(3)].placed.get(&NodeId(1)) == Some(&90)
    });
    let until = world.now + LONG;
    world.until("long enough for all to hear", LONG + LONG, |world| {
        world.now >= until
    });
    assert!(world.all_up([1, 2, 3]), "they stay connected");
    assert_eq!(world.hosts[&NodeId(2)].placed.len(), 0, "too old to hear");
    let heard = &world.hosts[&NodeId(3)].placed;
    assert_eq!(heard.get(&NodeId(2)), None, "too old to tell");
}
