//! Three keepers over one tree, chunkservers that lose their connections, a network that loses,
//! repeats and reorders, and leaders that are deposed and do not know it: what a writer was told is
//! written stays readable, and in the end every chunk has the copies that it should have.

mod world;

use world::World;

use crate::rng::Seed;

fn run(number: u64) {
    let mut world = World::new(Seed::from_u64(number).child("chunks"));
    world.storm(1_500);
    world.calm();
}

#[test]
fn what_was_written_stays_whatever_happens_to_relays_and_leaders() {
    let (from, to) = range();
    for number in from..to {
        let result = std::panic::catch_unwind(|| run(number));
        assert!(
            result.is_ok(),
            "seed {number}: CHUNK_SEEDS={number}..{}",
            number + 1
        );
    }
}

/// Which seeds to run: `CHUNK_SEEDS=A..B`, or a few.
fn range() -> (u64, u64) {
    let given = option_env!("CHUNK_SEEDS").map(str::to_owned);
    let given = given.or_else(|| std::env::var("CHUNK_SEEDS").ok());
    let Some((from, to)) = given.as_deref().and_then(|it| it.split_once("..")) else {
        return (0, 60);
    };
    (from.parse().unwrap(), to.parse().unwrap())
}

#[test]
fn nothing_happens_in_a_calm_world_but_what_is_asked_for() {
    let mut world = World::new(Seed::from_u64(7).child("calm"));
    world.settle_in();
    for _ in 0..50 {
        world.write_and_wait();
    }
    world.calm();
}
