//! Chunkservers that have registered (section 4.4).

use mfsha_core::chunks::Address;
use mfsha_core::id::CsId;
use mfsha_core::namespace::error::FsError;
use mfsha_core::namespace::op::{ChunkserverInfo, Notice, Reply};
use mfsha_core::time::WallTime;

use crate::apply::Step;
use crate::state::Model;

impl Model {
    /// Who comes from a known address is who was there before; who claims a known id has moved.
    pub(crate) fn register_chunkserver(
        &mut self,
        step: &mut Step,
        claimed: CsId,
        address: Address,
    ) -> Result<Reply, FsError> {
        let first = address.ip.octets()[0];
        if first == 127 || address.ip.octets() == [0; 4] {
            return Err(FsError::Invalid);
        }
        let mut known = self.chunkservers.values();
        let csid = match known.find(|one| one.address == address) {
            Some(one) => one.csid,
            None if self.chunkservers.contains_key(&claimed) => claimed,
            None if self.chunkservers.len() >= self.ceilings.chunkservers => {
                return Err(FsError::NoSpace);
            }
            None if claimed != CsId(0) => claimed,
            None => {
                let mut ids = (1..=u16::MAX).map(CsId);
                ids.find(|id| !self.chunkservers.contains_key(id))
                    .ok_or(FsError::NoSpace)?
            }
        };
        self.registrations += 1;
        let registration = self.registrations;
        let before = self.chunkservers.get(&csid);
        let info = ChunkserverInfo {
            csid,
            address,
            registration,
            registered_at: step.now,
            maintenance_until: before.map_or(WallTime(0), |one| one.maintenance_until),
        };
        self.chunkservers.insert(csid, info);
        step.server_notices
            .push(Notice::ChunkserverRegistered { csid, registration });
        Ok(Reply::ChunkserverRegistered { csid, registration })
    }

    pub(crate) fn forget_chunkserver(
        &mut self,
        step: &mut Step,
        csid: CsId,
    ) -> Result<Reply, FsError> {
        self.chunkservers.remove(&csid).ok_or(FsError::NotFound)?;
        step.server_notices
            .push(Notice::ChunkserverForgotten { csid });
        Ok(Reply::Done)
    }

    pub(crate) fn set_maintenance(
        &mut self,
        csid: CsId,
        until: WallTime,
    ) -> Result<Reply, FsError> {
        let known = self.chunkservers.get_mut(&csid);
        known.ok_or(FsError::NotFound)?.maintenance_until = until;
        Ok(Reply::Done)
    }
}
