//! Who is refused, and what it is told.

use super::super::{PEER_PROTOCOL_NEWEST, PEER_PROTOCOL_OLDEST};
use super::world::World;
use crate::codec;
use crate::id::NodeId;
use crate::machine::{Machine, Outbox};
use crate::rng::Seed;
use crate::time::{Duration, Instant};
use crate::transport::{
    ConnId, DiskId, Effect, Founders, Identity, Input, Note, Options, PEER_HELLO_KIND, PeerRefusal,
    Speaker, Standing, Start, Transport,
};

const LONG: Duration = Duration::from_secs(20);

fn pair() -> World {
    let mut world = World::new(3, 3);
    let start = world.together([1, 2]);
    for node in [1, 2] {
        world.hosts.get_mut(&NodeId(node)).unwrap().start = Some(start.clone());
        world.start(NodeId(node));
    }
    world.until("both are up", LONG, |world| world.all_up([1, 2]));
    world
}

fn refused(world: &mut World, node: u64, which: fn(&PeerRefusal) -> bool) -> String {
    world.until("it is refused", LONG, |world| {
        world.hosts[&NodeId(node)].refusals.iter().any(which)
    });
    let refusals = &world.hosts[&NodeId(node)].refusals;
    refusals
        .iter()
        .find(|refusal| which(refusal))
        .unwrap()
        .to_string()
}

#[test]
fn a_node_that_lost_its_disk_is_told_to_take_a_new_id() {
    for start in [Start::Known, Start::Alone] {
        let mut world = pair();
        world.crash(NodeId(2), true);
        world.wipe(NodeId(2));
        let join = world.join(1);
        let host = world.hosts.get_mut(&NodeId(2)).unwrap();
        host.start = Some(match start {
            Start::Known => join,
            _ => host.start.clone().unwrap(),
        });
        world.start(NodeId(2));
        let text = refused(&mut world, 2, |refusal| {
            matches!(refusal, PeerRefusal::OtherDisk { .. })
        });
        assert!(text.contains("under an id that was never used"), "{text}");
        assert!(!world.all_up([1, 2]));
    }
}

#[test]
fn an_older_copy_of_a_data_directory_is_refused() {
    let mut world = pair();
    let old = world.hosts[&NodeId(2)].stored.clone();
    for _ in 0..2 {
        world.crash(NodeId(2), false);
        world.start(NodeId(2));
        world.until("it is up again", LONG, |world| world.all_up([1, 2]));
    }
    world.crash(NodeId(2), false);
    world.hosts.get_mut(&NodeId(2)).unwrap().stored = old;
    world.start(NodeId(2));
    let text = refused(&mut world, 2, |refusal| {
        matches!(refusal, PeerRefusal::OlderCopy { .. })
    });
    assert!(text.contains("older copy"), "{text}");
}

#[test]
fn another_cluster_is_told_apart() {
    let mut world = pair();
    let host = world.hosts.get_mut(&NodeId(3)).unwrap();
    host.start = Some(Start::Alone);
    // One cluster a world is a law of the others' tests: this one looks from outside.
    world.start(NodeId(3));
    let mut identity = world.hosts[&NodeId(3)]
        .transport
        .as_ref()
        .unwrap()
        .identity()
        .clone();
    world.crash(NodeId(3), false);
    identity.incarnation = 5;
    let hello = |standing| {
        use crate::transport::judge::Case;
        use crate::transport::{Options, PeerHello, Speaker};
        let transport = world.hosts[&NodeId(1)].transport.as_ref().unwrap();
        let hello = PeerHello {
            protocol: (PEER_PROTOCOL_OLDEST, PEER_PROTOCOL_NEWEST),
            node: identity.node,
            disk: identity.disk,
            incarnation: 5,
            life: 99,
            address: world.address(3),
            dial: 1,
            meant: None,
            joins: false,
            priority: 0,
            standing,
            known: Default::default(),
        };
        let case = |speaker: &Speaker, meant| {
            let options = Options::new(world.address(1), 1, Start::Known);
            Case {
                options: &options,
                own: transport.identity(),
                last_life: None,
                meant,
                speaker,
            }
            .judge(&hello)
        };
        let others = Speaker::Nodes([NodeId(4)].into());
        (
            case(&Speaker::Anyone, None),
            case(&others, None),
            case(&Speaker::Anyone, Some(NodeId(9))),
        )
    };
    let (other, certificate, meant) = hello(identity.standing.clone());
    assert!(
        matches!(other, Err(PeerRefusal::OtherCluster { .. })),
        "{other:?}"
    );
    assert!(
        matches!(certificate, Err(PeerRefusal::Certificate { .. })),
        "{certificate:?}"
    );
    assert!(
        matches!(meant, Err(PeerRefusal::NotMeant { .. })),
        "{meant:?}"
    );
    let (late, ..) = hello(crate::transport::Standing::Open);
    assert!(
        matches!(late, Err(PeerRefusal::NotFounder { .. })),
        "{late:?}"
    );
}

#[test]
fn clusters_that_count_their_nodes_alike_are_told_apart_before_their_disks_are() {
    use crate::transport::judge::judge_standing;
    use crate::transport::{DiskId, Identity, PeerHello, Standing};
    let of = |node: u64, disks: [u128; 2]| {
        let mut identity = Identity::new(NodeId(node), DiskId(disks[node as usize - 1]));
        let disks = (1..).map(NodeId).zip(disks.map(DiskId));
        identity.standing = Standing::Formed {
            founders: disks.collect(),
        };
        identity
    };
    let said = |identity: &Identity| PeerHello {
        protocol: (PEER_PROTOCOL_OLDEST, PEER_PROTOCOL_NEWEST),
        node: identity.node,
        disk: identity.disk,
        incarnation: 1,
        life: 99,
        address: "10.0.0.2:9430".parse().unwrap(),
        dial: 1,
        meant: None,
        joins: false,
        priority: 0,
        standing: identity.standing.clone(),
        known: Default::default(),
    };
    let (own, stranger) = (of(1, [11, 12]), of(2, [21, 22]));
    let refusal = PeerRefusal::OtherCluster {
        node: NodeId(1),
        cluster: own.cluster(),
    };
    assert_eq!(judge_standing(&own, &said(&stranger)), Err(refusal));
    // One of the same cluster, or of none yet, is still known by its disk.
    let mut copy = said(&of(2, [11, 12]));
    assert_eq!(judge_standing(&own, &copy), Ok(()));
    copy.disk = DiskId(22);
    let refusal = PeerRefusal::OtherDisk { refused: NodeId(2) };
    assert_eq!(judge_standing(&own, &copy), Err(refusal.clone()));
    copy.standing = Standing::Open;
    assert_eq!(judge_standing(&own, &copy), Err(refusal));
}

#[test]
fn a_late_bootstrap_is_told_to_join() {
    let mut world = pair();
    let start = world.together([1, 2, 3]);
    world.hosts.get_mut(&NodeId(3)).unwrap().start = Some(start);
    world.start(NodeId(3));
    let text = refused(&mut world, 3, |refusal| {
        matches!(refusal, PeerRefusal::NotFounder { .. })
    });
    assert!(text.contains("--join"), "{text}");
}

#[test]
fn another_node_at_the_address_of_one_that_was_replaced_is_no_alarm() {
    let mut world = World::new(4, 4);
    let start = world.together([1, 2, 3]);
    for node in [1, 2, 3] {
        world.hosts.get_mut(&NodeId(node)).unwrap().start = Some(start.clone());
        world.start(NodeId(node));
    }
    world.until("all are up", LONG, |world| world.all_up([1, 2, 3]));
    world.crash(NodeId(3), false);
    let join = world.join(1);
    let successor = world.hosts.get_mut(&NodeId(4)).unwrap();
    (successor.machine, successor.start) = (Some(3), Some(join));
    world.start(NodeId(4));
    world.until("its successor is up", LONG, |world| world.all_up([1, 2, 4]));
    // It knows of both from its disk, and not yet who is a member.
    world.crash(NodeId(2), false);
    world.hosts.get_mut(&NodeId(2)).unwrap().start = Some(Start::Known);
    world.start(NodeId(2));
    world.until("it has met the other one", LONG, |world| {
        let reports = &world.hosts[&NodeId(2)].reports;
        reports.iter().any(|report| report.contains("was expected"))
    });
    let alarms = &world.hosts[&NodeId(2)].refusals;
    assert!(alarms.is_empty(), "{alarms:?}");
}

/// Node 2 runs a program that is too new, or too old, for node 1.
#[test]
fn peers_without_a_common_version_are_told_which_they_need() {
    const NEWER: (u16, u16) = (PEER_PROTOCOL_NEWEST + 1, PEER_PROTOCOL_NEWEST + 2);
    const OLDER: (u16, u16) = (1, PEER_PROTOCOL_OLDEST - 1);
    let tunes: [fn(&mut Options); 2] = [
        |options| {
            if options.priority == 2 {
                options.protocol = NEWER;
            }
        },
        |options| {
            if options.priority == 2 {
                options.protocol = OLDER;
            }
        },
    ];
    for tune in tunes {
        let mut world = World::new(4, 2);
        world.tune = tune;
        let start = world.together([1, 2]);
        for node in [1, 2] {
            world.hosts.get_mut(&NodeId(node)).unwrap().start = Some(start.clone());
            world.start(NodeId(node));
        }
        // Whoever hears the hello first says it; the other one is told.
        let told = |refusal: &PeerRefusal| matches!(refusal, PeerRefusal::Protocol { .. });
        for node in [1, 2] {
            let text = refused(&mut world, node, told);
            assert!(text.contains("no common protocol version"), "{text}");
            assert!(text.contains("upgrade the older"), "{text}");
        }
        assert!(!world.all_up([1, 2]));
        let identity = world.hosts[&NodeId(1)].stored.as_ref().unwrap();
        assert!(!identity.is_formed(), "no cluster with a stranger");
    }
}

/// The record of a hello has a version of its own: one that this program cannot read is answered
/// all the same.
#[test]
fn a_hello_that_cannot_be_read_yet_is_told_which_versions_there_are() {
    let mut identity = Identity::new(NodeId(1), DiskId(1));
    let founders = Founders::from([(NodeId(1), DiskId(1)), (NodeId(2), DiskId(2))]);
    identity.standing = Standing::Formed { founders };
    let options = Options::new("a:1".parse().unwrap(), 1, Start::Known);
    let seed = Seed::from_u64(1);
    let mut transport = Transport::new(options, identity, seed, Instant::ZERO).unwrap();
    let conn = ConnId::Accepted(1);
    let input = Input::Accepted {
        conn,
        bytes: codec::seal(PEER_HELLO_KIND, u16::MAX, b"of another time"),
        speaker: Speaker::Anyone,
    };
    let mut told = Vec::new();
    let mut todo = vec![input, Input::Tick];
    while let Some(input) = todo.pop() {
        let mut out = Outbox::new();
        transport.step(Instant::ZERO, input, &mut out);
        for effect in out.drain() {
            match effect {
                Effect::PersistIdentity { write, .. } => {
                    let result = Ok(());
                    todo.push(Input::Persisted { write, result });
                }
                Effect::Write { bytes, .. } => told.extend(bytes),
                _ => {}
            }
        }
    }
    let refusal = PeerRefusal::Protocol {
        node: NodeId(1),
        oldest: PEER_PROTOCOL_OLDEST,
        newest: PEER_PROTOCOL_NEWEST,
    };
    assert_eq!(
        Note::from_bytes(&told),
        Ok(Note::Refused {
            by: NodeId(1),
            refusal
        })
    );
}
