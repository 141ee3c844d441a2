//! The machine's promises, kept in a small world of machines under a seed.

mod world;

use world::{Weather, World};

use crate::id::NodeId;
use crate::time::Duration;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
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
}
