//! Orders whose leader has lost sight of the chunkserver.

use super::*;

/// Two copies where one is wanted; one is being deleted when the leader loses sight of both
/// chunkservers for a moment. How many copies are left then.
fn copies_after_losing_sight(options: Options) -> usize {
    let mut one = One::with(options);
    one.lead(1);
    one.join(1, true);
    one.join(2, true);
    let (inode, info) = one.file("f");
    one.end(inode, info.chunk);
    one.bed.ok(Op::SetSclass {
        caller: root(),
        inode,
        class: 1,
        only: None,
        mode: SetMode::Set,
        recursive: false,
    });
    one.tells(1, 20 * GIB, 100 * GIB);
    one.tells(2, 10 * GIB, 100 * GIB);
    one.slow = true;
    one.pass(Duration::from_secs(130));
    one.passes();
    let [(conn, order)] = one.left_undone[..] else {
        panic!("{:?}", one.left_undone);
    };
    let chunk = info.chunk;
    assert_eq!(order, Order::Delete { chunk });
    assert_eq!(conn, one.servers[&CsId(1)].conn, "the fullest");
    // The relay tells everything anew, over the same connections.
    one.keeper.set_nodes(&BTreeSet::new());
    one.keeper.set_nodes(&BTreeSet::from([NODE]));
    one.slow = false;
    one.run();
    one.tells(1, 10 * GIB, 100 * GIB);
    one.tells(2, 20 * GIB, 100 * GIB);
    one.passes();
    one.order(conn, &order);
    one.passes();
    one.copies(chunk)
}

#[test]
fn an_order_of_before_is_waited_for_when_a_chunkserver_is_seen_again() {
    assert_eq!(copies_after_losing_sight(one_by_one()), 1);
}

#[cfg(feature = "planted-bugs")]
#[test]
fn who_forgets_orders_that_may_still_be_carried_out_is_found() {
    let bug = Some(crate::planted::Bug::ForgottenOrdersCarriedOut);
    let options = Options {
        bug,
        ..one_by_one()
    };
    assert_eq!(copies_after_losing_sight(options), 0);
}
