//! Three keepers over one tree, chunkservers that lose their connections, a network that loses,
//! repeats and reorders, and leaders that are deposed and do not know it: what a writer was told is
//! written stays readable, repairs find nothing to give up, and in the end every chunk has the copies that it should have.

mod one;
mod world;

use world::World;

use crate::rng::Seed;

fn run(number: u64) {
    let mut world = World::new(Seed::from_u64(number).child("chunks"));
    world.storm(1_500);
    world.calm();
    assert!(world.looked_at > 0, "some chunk was judged");
}

#[test]
fn what_was_written_stays_whatever_happens_to_relays_and_leaders() {
    for number in 0..40 {
        let result = std::panic::catch_unwind(|| run(number));
        assert!(result.is_ok(), "seed {number}");
    }
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

#[test]
fn a_cut_whose_client_is_gone_is_made_for_who_reads() {
    let mut world = World::new(Seed::from_u64(11).child("forsaken"));
    world.settle_in();
    world.forsake_a_cut();
}
