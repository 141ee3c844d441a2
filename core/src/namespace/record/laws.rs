//! The laws of everything that a key can hold, over random values: joins commute, associate and
//! repeat without effect, and what is stored comes back.
//!
//! The domains are small, so that two values often have the same stamp, dot or number and differ
//! in the rest: that is where a join forgets to decide. Records are made with every field named,
//! so that a new field has to be drawn here, and one that a join leaves out does not commute.

use std::fmt::Debug;
use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;
use crate::chunks::Address;
use crate::crdt::laws::{self, gcounter, link_counter, lww_of, orset_of, pncounter};
use crate::namespace::error::FsError;
use crate::namespace::key::Key;
use crate::namespace::op::{ChunkAction, ClassMode, Cut, Reply, Whereabouts};

/// Panics when a law does not hold for these three records.
fn check<R: Record + PartialEq + Debug>(a: &R, b: &R, c: &R) {
    laws::check(a, b, c);
    assert_eq!(
        codec::decode::<R>(&codec::encode(a)).as_ref(),
        Ok(a),
        "what is stored comes back"
    );
}

/// One test for each kind of key, of what it holds. A kind that is new does not compile until it is
/// here.
macro_rules! laws_of_records {
    ($($test:ident: $key:pat => $record:ty, $strategy:expr;)+) => {
        /// Which test draws what a key of this kind holds.
        fn test_of(key: &Key) -> &'static str {
            match key {
                $($key => stringify!($test),)+
            }
        }

        proptest! {
            $(
                #[test]
                fn $test(a in $strategy, b in $strategy, c in $strategy) {
                    check::<$record>(&a, &b, &c);
                }
            )+
        }
    };
}

laws_of_records! {
    inode: Key::Inode(_) => Inode, any_inode();
    edge: Key::Edge(..) => Edge, orset_of(any_target());
    stats: Key::Stats(_) => Stats, any_stats();
    quota: Key::Quota(_) => Quota, value_or_none(any_quota());
    chunk_slot: Key::ChunkSlot(..) => ChunkSlot, value_or_none((0..3u64).prop_map(ChunkId));
    xattr: Key::Xattr(..) => Xattr, value_or_none(any_bytes());
    acl: Key::Acl(..) => AclRecord, value_or_none(any_acl());
    flocks: Key::Flocks(_) => Flocks, value_or_none(any_flocks());
    posix_locks: Key::PosixLocks(_) => PosixLocks, value_or_none(any_posix_locks());
    opened: Key::Opened(..) | Key::SessionOpened(..) => Opened, value_or_none(Just(()));
    trashed: Key::Trashed(_) => Trashed, value_or_none(any_bytes());
    sustained: Key::Sustained(_) => Sustained, value_or_none(any_bytes());
    chunk: Key::Chunk(_) => Chunk, any_chunk();
    slot_ids: Key::SlotIds(_) => SlotIds, any_slot_ids();
    passed: Key::PassedIds(_) | Key::PassedVersions(_) => Passed, value_or_none(any_ranges());
    applied: Key::Applied => Applied, any_applied();
    shard_ids: Key::ShardIds => ShardIds, any_shard_ids();
    detached: Key::Detached => DetachedBytes, any_detached();
    metaid: Key::MetaId => MetaId, value_or_none(0..3u64);
    session: Key::Session(_) => Session, value_or_none(any_session());
    lane: Key::Lane(..) => LaneRecord, any_lane();
    class: Key::Class(_) => Class, value_or_none(any_class());
    chunkserver: Key::Chunkserver(_) => Chunkserver, value_or_none(any_chunkserver());
}

#[test]
fn every_kind_of_key_has_its_test() {
    assert_eq!(test_of(&Key::Applied), "applied");
}

/// Both were carried out by a broken promise; whichever comes first, the same one is remembered.
#[test]
fn of_two_outcomes_of_one_request_the_same_one_stays() {
    let last = |print, outcome: &Outcome| {
        LaneRecord(Some(LaneLast {
            seq: RequestSeq(7),
            print,
            at: WallTime(1),
            outcome: outcome.clone(),
            gone: false,
        }))
    };
    let done = Outcome {
        result: Ok(Reply::Done),
        notices: Vec::new(),
        version: 3,
        repeated: false,
    };
    let refused = Outcome {
        result: Err(FsError::NoEnt),
        ..done.clone()
    };
    for (one, other) in [
        (last(1, &done), last(1, &refused)),
        (last(1, &done), last(2, &done)),
    ] {
        let (mut first, mut second) = (one.clone(), other.clone());
        first.join(&other);
        second.join(&one);
        assert_eq!(first, second);
        assert!(first == one || first == other, "one of the two stays whole");
    }
}

/// A register of a value that can be gone.
fn value_or_none<T: Clone + Ord + Debug>(
    value: impl Strategy<Value = T>,
) -> impl Strategy<Value = Lww<Option<T>>> {
    lww_of(prop::option::of(value))
}

fn any_time() -> impl Strategy<Value = WallTime> {
    (0..3u32).prop_map(WallTime)
}

fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(0..3u8, 0..3)
}

fn any_kind() -> impl Strategy<Value = NodeKind> {
    prop_oneof![
        Just(NodeKind::File),
        Just(NodeKind::Directory),
        Just(NodeKind::Symlink),
    ]
}

fn any_target() -> impl Strategy<Value = Target> {
    (0..3u32, any_kind()).prop_map(|(inode, kind)| Target {
        inode: InodeId(inode),
        kind,
    })
}

fn any_origin() -> impl Strategy<Value = Origin> {
    (any_kind(), 0..2u32, any_bytes()).prop_map(|(kind, rdev, target)| Origin {
        kind,
        rdev,
        target,
    })
}

fn any_whereabouts() -> impl Strategy<Value = Whereabouts> {
    prop_oneof![
        Just(Whereabouts::Linked),
        Just(Whereabouts::Trash),
        Just(Whereabouts::Sustained),
    ]
}

fn any_inode() -> impl Strategy<Value = Inode> {
    let owner = (
        prop::option::of(any_origin()),
        lww_of(0..3u16),
        lww_of(0..3u32),
        lww_of(0..3u32),
    );
    let times = (
        lww_of(any_time()),
        lww_of(any_time()),
        lww_of(any_time()),
        lww_of(0..3u64),
        lww_of(0..3u64),
    );
    let values = (
        lww_of(0..3u8),
        lww_of(0..3u8),
        lww_of(0..3u8),
        lww_of(0..3u16),
        lww_of(any_whereabouts()),
        lww_of(any::<bool>()),
    );
    let name = (0..3u32, any_bytes()).prop_map(|(parent, name)| (InodeId(parent), name));
    let names = (
        link_counter(),
        link_counter(),
        orset_of(name),
        any::<bool>(),
    );
    (owner, times, values, names).prop_map(|(owner, times, values, names)| {
        let (origin, mode, uid, gid) = owner;
        let (atime, mtime, ctime, length, reserved) = times;
        let (winattr, eattr, class, trash_hours, whereabouts, decorated) = values;
        let (links, subdirs, parents, gone) = names;
        Inode {
            origin,
            mode,
            uid,
            gid,
            atime,
            mtime,
            ctime,
            length,
            reserved,
            winattr,
            eattr,
            class,
            trash_hours,
            whereabouts,
            decorated,
            links,
            subdirs,
            parents,
            gone,
        }
    })
}

fn any_stats() -> impl Strategy<Value = Stats> {
    let nodes = (pncounter(), pncounter(), pncounter(), pncounter());
    let bytes = (pncounter(), pncounter(), pncounter());
    (nodes, bytes, 0..3u32, any::<bool>()).prop_map(|(nodes, bytes, height, gone)| {
        let (inodes, dirs, files, chunks) = nodes;
        let (length, size, real_size) = bytes;
        Stats {
            inodes,
            dirs,
            files,
            chunks,
            length,
            size,
            real_size,
            height,
            gone,
        }
    })
}

fn any_limits() -> impl Strategy<Value = QuotaLimits> {
    (prop::option::of(0..2u32), prop::option::of(0..2u64)).prop_map(|(inodes, size)| QuotaLimits {
        inodes,
        size,
        ..QuotaLimits::default()
    })
}

fn any_quota() -> impl Strategy<Value = QuotaRecord> {
    let since = prop::option::of(any_time());
    (any_limits(), any_limits(), 0..2u32, since).prop_map(
        |(soft, hard, grace_seconds, over_soft_since)| QuotaRecord {
            soft,
            hard,
            grace_seconds,
            over_soft_since,
        },
    )
}

fn any_acl() -> impl Strategy<Value = Acl> {
    let named = || prop::collection::vec((0..2u32, 0..2u16), 0..2);
    (0..2u16, 0..2u16, 0..2u16, 0..2u16, named(), named()).prop_map(
        |(user, group, other, mask, named_users, named_groups)| Acl {
            user,
            group,
            other,
            mask,
            named_users,
            named_groups,
        },
    )
}

fn any_flocks() -> impl Strategy<Value = FlockTable> {
    let held = (0..2u32, 0..2u64, any::<bool>())
        .prop_map(|(session, owner, exclusive)| (SessionId(session), owner, exclusive));
    let waiting = (0..2u32, 0..2u64, 0..2u32, any::<bool>()).prop_map(
        |(session, owner, reqid, exclusive)| FlockWaiter {
            session: SessionId(session),
            owner,
            reqid,
            exclusive,
        },
    );
    let many = (
        prop::collection::vec(held, 0..3),
        prop::collection::vec(waiting, 0..3),
    );
    many.prop_map(|(held, waiting)| FlockTable { held, waiting })
}

fn any_range() -> impl Strategy<Value = PosixRange> {
    let kind = prop_oneof![Just(PosixLockKind::Read), Just(PosixLockKind::Write)];
    (0..2u64, 2..4u64, 0..2u32, 0..2u64, 0..2u32, kind).prop_map(
        |(start, end, session, owner, pid, kind)| PosixRange {
            start,
            end,
            session: SessionId(session),
            owner,
            pid,
            kind,
        },
    )
}

fn any_posix_locks() -> impl Strategy<Value = PosixTable> {
    let many = (
        prop::collection::vec(any_range(), 0..3),
        prop::collection::vec((any_range(), 0..2u32), 0..3),
    );
    many.prop_map(|(held, waiting)| PosixTable { held, waiting })
}

fn any_unsettled() -> impl Strategy<Value = Unsettled> {
    let action = prop_oneof![
        Just(ChunkAction::Created),
        (0..2u32).prop_map(|from_version| ChunkAction::Raised { from_version }),
        (0..2u64, 0..2u32).prop_map(|(from, from_version)| ChunkAction::Duplicated {
            from: ChunkId(from),
            from_version,
        }),
    ];
    let cut = (0..2u32, 0..2u64).prop_map(|(bytes, file_length)| Cut { bytes, file_length });
    (action, prop::option::of(cut), 0..2u32, 0..2u32).prop_map(|(action, cut, inode, index)| {
        Unsettled {
            action,
            cut,
            inode: InodeId(inode),
            index,
        }
    })
}

fn any_chunk() -> impl Strategy<Value = Chunk> {
    let parts = (
        lww_of(0..3u32),
        lww_of(any_time()),
        lww_of(any::<bool>()),
        value_or_none(any_unsettled()),
        link_counter(),
        any::<bool>(),
    );
    parts.prop_map(
        |(version, locked_until, archived, unsettled, references, gone)| Chunk {
            version,
            locked_until,
            archived,
            unsettled,
            references,
            gone,
        },
    )
}

fn any_slot_ids() -> impl Strategy<Value = SlotIds> {
    (gcounter(), gcounter()).prop_map(|(inodes, chunks)| SlotIds { inodes, chunks })
}

fn any_ranges() -> impl Strategy<Value = Ranges> {
    prop::collection::vec((0..4u64, 0..2u64), 0..3).prop_map(|parts| {
        let mut ranges = Ranges::default();
        for (low, more) in parts {
            ranges.insert(low, low + more);
        }
        ranges
    })
}

fn any_shard_ids() -> impl Strategy<Value = ShardIds> {
    (gcounter(), gcounter()).prop_map(|(sessions, registrations)| ShardIds {
        sessions,
        registrations,
    })
}

fn any_detached() -> impl Strategy<Value = DetachedBytes> {
    (pncounter(), pncounter()).prop_map(|(trash, sustained)| DetachedBytes { trash, sustained })
}

fn any_applied() -> impl Strategy<Value = Applied> {
    (0..3u64, 0..3u64, any_bytes()).prop_map(|(index, version, note)| {
        Applied(AppliedMark {
            index: LogIndex(index),
            version,
            note,
        })
    })
}

fn any_session() -> impl Strategy<Value = SessionRecord> {
    let disconnected = prop::option::of(any_time());
    (0..2u32, 0..2u16, any_bytes(), disconnected).prop_map(|(root, umask, info, disconnected)| {
        SessionRecord {
            params: SessionParams {
                root: InodeId(root),
                umask,
                info,
                ..SessionParams::unrestricted()
            },
            disconnected,
        }
    })
}

fn any_outcome() -> impl Strategy<Value = Outcome> {
    let result = prop_oneof![
        Just(Ok(Reply::Done)),
        Just(Err(FsError::NoEnt)),
        Just(Err(FsError::Perm)),
    ];
    (result, 0..2u64, any::<bool>()).prop_map(|(result, version, repeated)| Outcome {
        result,
        notices: Vec::new(),
        version,
        repeated,
    })
}

fn any_lane() -> impl Strategy<Value = LaneRecord> {
    let last = (0..3u64, 0..2u64, any_time(), any_outcome(), any::<bool>());
    let last = last.prop_map(|(seq, print, at, outcome, gone)| LaneLast {
        seq: RequestSeq(seq),
        print,
        at,
        outcome,
        gone,
    });
    prop::option::of(last).prop_map(LaneRecord)
}

fn any_class() -> impl Strategy<Value = StorageClass> {
    let mode = prop_oneof![
        Just(ClassMode::Loose),
        Just(ClassMode::Std),
        Just(ClassMode::Strict),
    ];
    let copies = || prop::collection::vec((0..2u32).prop_map(|mask| [mask, 0, 0, 0]), 0..3);
    let lists = (copies(), copies(), copies());
    (any_bytes(), any::<bool>(), mode, 0..2u16, lists).prop_map(
        |(name, admin_only, mode, archive_delay_days, (create, keep, archive))| StorageClass {
            name,
            admin_only,
            mode,
            archive_delay_days,
            create,
            keep,
            archive,
        },
    )
}

fn any_chunkserver() -> impl Strategy<Value = ChunkserverRecord> {
    let address = (1..3u8, 0..2u16).prop_map(|(ip, port)| Address {
        ip: Ipv4Addr::new(10, 0, 0, ip),
        port,
    });
    (address, 0..3u64, any_time(), any_time()).prop_map(
        |(address, registration, registered_at, maintenance_until)| ChunkserverRecord {
            address,
            registration,
            registered_at,
            maintenance_until,
        },
    )
}
