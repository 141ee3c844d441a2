//! `HA_RAFT_PRIORITY`: leadership goes to the node that is placed best, and returns to it.

use crate::support::Cluster;

#[test]
fn leadership_moves_to_the_best_placed_node_and_comes_back_to_it() {
    let mut cluster = Cluster::new(3);
    for (node, priority) in [(1, 1), (2, 10), (3, 5)] {
        let option = format!("--set=HA_RAFT_PRIORITY={priority}");
        cluster.options.insert(node, vec![option]);
    }
    cluster.start_all();
    let mut made = vec!["/first".to_owned()];
    cluster.create("/first");
    let leads = |cluster: &Cluster, wanted: u64, witness: u64| {
        cluster.until(witness, &format!("sees node {wanted} lead"), || {
            cluster.leader() == Some(wanted)
        });
    };
    leads(&cluster, 2, 2);
    for round in 0..2 {
        cluster.kill(2);
        // Next best while the best is away.
        leads(&cluster, 3, 3);
        let path = format!("/without{round}");
        cluster.create(&path);
        made.push(path);
        cluster.start(2);
        leads(&cluster, 2, 2);
        // It leads with everything that was done without it.
        cluster.all_there(&made);
    }
}
