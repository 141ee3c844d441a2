//! Chunkservers that have registered: which of them has which id, and where each is reached.
//!
//! Whether one is connected is not known here: each node knows its own connections alone.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::error::FsError;
use super::key::Key;
use super::op::{Answer, Notice, Reply};
use super::record::{Chunkserver, ChunkserverRecord, ShardIds};
use super::txn::{Res, Txn};
use crate::chunks::Address;
use crate::crdt::LOG_REPLICA;
use crate::id::CsId;
use crate::time::WallTime;

/// A chunkserver registers, claiming an id or none. It gets the first of these: the id that has
/// its address, whatever it claims; the id that it claims, when it is known: it has moved; the id
/// that it claims, new; the lowest free one.
///
/// MooseFS lets no server take the id of one that is connected. That cannot be judged here, so a
/// move is always taken; of two servers with one id the later registration counts, and the other
/// is to be sent away by whoever holds its connection.
///
/// # Errors
/// `Invalid` for an address that nobody else can reach; `NoSpace` when there are as many
/// chunkservers as there may be.
pub fn register(txn: &mut Txn<'_>, claimed: CsId, address: Address) -> Res<Reply> {
    if address.ip.is_loopback() || address.ip.is_unspecified() {
        return Err(FsError::Invalid.into());
    }
    let known = all(txn)?;
    let there = known
        .iter()
        .find(|(_, record)| record.address == address)
        .map(|(csid, _)| *csid);
    let claims = known.contains_key(&claimed).then_some(claimed);
    let csid = match there.or(claims) {
        Some(csid) => csid,
        None => free_id(txn, &known, claimed)?,
    };
    let registration = next_registration(txn)?;
    let record = ChunkserverRecord {
        address,
        registration,
        registered_at: txn.now(),
        maintenance_until: known
            .get(&csid)
            .map_or(WallTime(0), |record| record.maintenance_until),
    };
    txn.set(&Key::Chunkserver(csid), Some(record))?;
    txn.notify(Notice::ChunkserverRegistered { csid, registration });
    Ok(Reply::ChunkserverRegistered { csid, registration })
}

/// A chunkserver will not come back: its id is free.
///
/// # Errors
/// `NotFound`.
pub fn forget(txn: &mut Txn<'_>, csid: CsId) -> Res<Reply> {
    get(txn, csid)?;
    txn.set::<ChunkserverRecord>(&Key::Chunkserver(csid), None)?;
    txn.notify(Notice::ChunkserverForgotten { csid });
    Ok(Reply::Done)
}

/// What a chunkserver lacks is not made anew until then.
///
/// # Errors
/// `NotFound`.
pub fn set_maintenance(txn: &mut Txn<'_>, csid: CsId, until: WallTime) -> Res<Reply> {
    let record = ChunkserverRecord {
        maintenance_until: until,
        ..get(txn, csid)?
    };
    txn.set(&Key::Chunkserver(csid), Some(record))?;
    Ok(Reply::Done)
}

/// All of them, in order of id.
///
/// # Errors
/// Only that the state cannot be read.
pub fn list(txn: &Txn<'_>) -> Res<Answer> {
    let all = all(txn)?;
    let told = all.iter().map(|(csid, record)| record.info(*csid));
    Ok(Answer::Chunkservers(told.collect()))
}

/// All of them by id: at most [`crate::limits::CHUNKSERVER_COUNT_MAX`].
///
/// # Errors
/// Only that the state cannot be read.
pub fn all(txn: &Txn<'_>) -> Res<BTreeMap<CsId, ChunkserverRecord>> {
    let mut out = BTreeMap::new();
    let prefix = Key::Chunkserver(CsId(0)).prefix();
    txn.scan::<Chunkserver>(&prefix, None, |key, record| {
        if let (Key::Chunkserver(csid), Some(Some(record))) = (key, record.get()) {
            out.insert(csid, *record);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(out)
}

fn get(txn: &Txn<'_>, csid: CsId) -> Res<ChunkserverRecord> {
    Ok(txn
        .value(&Key::Chunkserver(csid))?
        .ok_or(FsError::NotFound)?)
}

/// An id for a chunkserver that is new: the one that it claims, if any.
fn free_id(txn: &Txn<'_>, known: &BTreeMap<CsId, ChunkserverRecord>, claimed: CsId) -> Res<CsId> {
    if known.len() >= txn.ceilings().chunkservers {
        return Err(FsError::NoSpace.into());
    }
    if claimed != CsId(0) {
        return Ok(claimed);
    }
    let free = (1..=u16::MAX)
        .map(CsId)
        .find(|csid| !known.contains_key(csid));
    Ok(free.ok_or(FsError::NoSpace)?)
}

/// The number of one more registration.
fn next_registration(txn: &mut Txn<'_>) -> Res<u64> {
    let ids: ShardIds = txn.get(&Key::ShardIds)?.unwrap_or_default();
    let delta = ShardIds {
        registrations: ids.registrations.add(LOG_REPLICA, 1),
        ..ShardIds::default()
    };
    let now = txn.join(&Key::ShardIds, &delta)?;
    Ok(now.registrations.value())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::super::ceilings::Ceilings;
    use super::super::op::{ChunkserverInfo, Op, Query};
    use super::super::testing::Bed;
    use super::*;

    fn at(host: u8) -> Address {
        Address {
            ip: Ipv4Addr::new(10, 0, 0, host),
            port: 9_422,
        }
    }

    fn claim(csid: u16, address: Address) -> Op {
        let csid = CsId(csid);
        Op::RegisterChunkserver { csid, address }
    }

    /// The id and the number that a registration gives.
    fn registered(bed: &mut Bed, csid: u16, address: Address) -> (u16, u64) {
        let outcome = bed.outcome(claim(csid, address));
        match (outcome.result, outcome.notices.as_slice()) {
            (
                Ok(Reply::ChunkserverRegistered { csid, registration }),
                [
                    Notice::ChunkserverRegistered {
                        csid: told,
                        registration: number,
                    },
                ],
            ) => {
                assert_eq!((csid, registration), (*told, *number));
                (csid.0, registration)
            }
            other => panic!("a registration was expected, not {other:?}"),
        }
    }

    fn listed(bed: &Bed) -> Vec<ChunkserverInfo> {
        match bed.ask(Query::ListChunkservers) {
            Ok(Answer::Chunkservers(all)) => all,
            other => panic!("chunkservers were expected, not {other:?}"),
        }
    }

    fn ids(bed: &Bed) -> Vec<(u16, Address)> {
        let all = listed(bed);
        all.iter().map(|one| (one.csid.0, one.address)).collect()
    }

    #[test]
    fn one_without_an_id_gets_the_lowest_that_is_free() {
        let mut bed = Bed::new();
        assert_eq!(registered(&mut bed, 0, at(1)), (1, 1));
        assert_eq!(registered(&mut bed, 3, at(3)), (3, 2));
        assert_eq!(registered(&mut bed, 0, at(2)), (2, 3));
        assert_eq!(registered(&mut bed, 0, at(4)), (4, 4));
        let all = [(1, at(1)), (2, at(2)), (3, at(3)), (4, at(4))];
        assert_eq!(ids(&bed), all);
    }

    #[test]
    fn one_that_comes_again_keeps_its_id_and_gets_another_number() {
        let mut bed = Bed::new();
        registered(&mut bed, 7, at(1));
        bed.now += 5;
        assert_eq!(registered(&mut bed, 7, at(1)), (7, 2));
        let expected = ChunkserverInfo {
            csid: CsId(7),
            address: at(1),
            registration: 2,
            registered_at: WallTime(bed.now),
            maintenance_until: WallTime(0),
        };
        assert_eq!(listed(&bed), [expected]);
    }

    #[test]
    fn the_address_says_who_it_is_whatever_it_claims() {
        let mut bed = Bed::new();
        registered(&mut bed, 1, at(1));
        registered(&mut bed, 2, at(2));
        for claimed in [0, 2, 9] {
            assert_eq!(registered(&mut bed, claimed, at(1)).0, 1);
        }
        assert_eq!(ids(&bed), [(1, at(1)), (2, at(2))]);
        // The same host with another port is another one.
        let other = Address {
            port: 9_522,
            ..at(1)
        };
        assert_eq!(registered(&mut bed, 0, other).0, 3);
    }

    #[test]
    fn one_that_moved_keeps_its_id_and_frees_its_old_address() {
        let mut bed = Bed::new();
        registered(&mut bed, 1, at(1));
        assert_eq!(registered(&mut bed, 1, at(2)), (1, 2));
        assert_eq!(ids(&bed), [(1, at(2))]);
        assert_eq!(registered(&mut bed, 0, at(1)), (2, 3));
    }

    #[test]
    fn one_that_was_forgotten_is_gone_and_its_id_is_free() {
        let mut bed = Bed::new();
        registered(&mut bed, 0, at(1));
        registered(&mut bed, 0, at(2));
        let forget = |csid| Op::ForgetChunkserver { csid: CsId(csid) };
        bed.refused(vec![
            (FsError::NotFound, forget(3)),
            (FsError::NotFound, forget(0)),
        ]);
        let outcome = bed.outcome(forget(1));
        assert_eq!(outcome.result, Ok(Reply::Done));
        let notice = Notice::ChunkserverForgotten { csid: CsId(1) };
        assert_eq!(outcome.notices, [notice]);
        assert_eq!(ids(&bed), [(2, at(2))]);
        bed.refused(vec![(FsError::NotFound, forget(1))]);
        // Numbers of registrations are never given again.
        assert_eq!(registered(&mut bed, 0, at(3)), (1, 3));
    }

    #[test]
    fn maintenance_is_kept_over_a_registration_and_not_over_a_forgetting() {
        let mut bed = Bed::new();
        registered(&mut bed, 1, at(1));
        let set = |until| Op::SetMaintenance {
            csid: CsId(1),
            until: WallTime(until),
        };
        let until = |bed: &Bed| listed(bed)[0].maintenance_until.0;
        for time in [u32::MAX, 5_000] {
            assert_eq!(bed.ok(set(time)), Reply::Done);
            assert_eq!(until(&bed), time);
        }
        assert_eq!(listed(&bed)[0].registration, 1);
        registered(&mut bed, 1, at(2));
        assert_eq!(until(&bed), 5_000);
        bed.ok(Op::ForgetChunkserver { csid: CsId(1) });
        bed.refused(vec![(FsError::NotFound, set(1))]);
        registered(&mut bed, 1, at(2));
        assert_eq!(until(&bed), 0);
    }

    #[test]
    fn an_address_that_nobody_else_reaches_is_refused() {
        let mut bed = Bed::new();
        let on = |ip| claim(1, Address { ip, port: 9_422 });
        bed.refused(vec![
            (FsError::Invalid, on(Ipv4Addr::new(127, 3, 2, 1))),
            (FsError::Invalid, on(Ipv4Addr::UNSPECIFIED)),
        ]);
    }

    #[test]
    fn there_are_so_many_and_no_more() {
        let mut bed = Bed::new();
        bed.tree = bed.tree.with_ceilings(Ceilings {
            chunkservers: 2,
            ..Ceilings::default()
        });
        registered(&mut bed, 0, at(1));
        registered(&mut bed, 9, at(2));
        bed.refused(vec![
            (FsError::NoSpace, claim(0, at(3))),
            (FsError::NoSpace, claim(5, at(3))),
        ]);
        // Whoever is known already comes in.
        assert_eq!(registered(&mut bed, 9, at(3)).0, 9);
        assert_eq!(registered(&mut bed, 0, at(1)).0, 1);
    }
}
