//! A node that is placed otherwise than it said.

use super::world::World;
use crate::id::NodeId;
use crate::time::Duration;
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
