//! `HA_RAFT_PRIORITY`: leadership goes to the node that is placed best, and returns to it.

use crate::support::Cluster;

#[test]
fn a_second_sigterm_ends_a_leader_that_finds_nobody_to_hand_over_to() {
    let mut cluster = Cluster::new(3);
    cluster.start_all();
    cluster.create("/before");
    let leader = cluster.leader().expect("it has just answered");
    let others: Vec<_> = (1..=3).filter(|node| *node != leader).collect();
    for other in &others {
        cluster.signal(*other, "STOP");
    }
    cluster.signal(leader, "TERM");
    cluster.until(leader, "asks others to take over", || {
        cluster.said(leader).contains("is asked to take over")
    });
    cluster.signal(leader, "TERM");
    let end = cluster.ended(leader);
    let said = cluster.said(leader);
    assert_eq!(end.code(), Some(0), "{said}");
    assert!(said.contains("ending without handing over"), "{said}");
    for other in &others {
        cluster.signal(*other, "CONT");
    }
    cluster.all_there(&["/before".to_owned()]);
}

#[test]
fn a_leader_that_finds_nobody_to_hand_over_to_ends_by_itself() {
    let mut cluster = Cluster::new(3);
    cluster.start_all();
    cluster.create("/before");
    let leader = cluster.leader().expect("it has just answered");
    let others: Vec<_> = (1..=3).filter(|node| *node != leader).collect();
    for other in &others {
        cluster.signal(*other, "STOP");
    }
    cluster.signal(leader, "TERM");
    let end = cluster.ended(leader);
    let said = cluster.said(leader);
    assert_eq!(end.code(), Some(0), "{said}");
    assert!(said.contains("in time"), "{said}");
    for other in &others {
        cluster.signal(*other, "CONT");
    }
    cluster.all_there(&["/before".to_owned()]);
}

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
