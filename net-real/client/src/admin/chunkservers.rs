//! Chunkservers: which there are, which will not come back, which are being worked on.

use mfsha_core::id::{CsId, NodeId};
use mfsha_core::namespace::op::Op;
use mfsha_core::native::admin::{AdminAnswer, AdminRequest, ChunkserverStatus};
use mfsha_core::time::WallTime;

use super::{Admin, AdminFail, unexpected};
use crate::error::Error;

/// Why a chunkserver was not removed or not put into maintenance.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ChunkserverError {
    /// The cluster could not be asked.
    #[error(transparent)]
    Admin(#[from] AdminFail),
    /// The cluster refused, or nobody knows.
    #[error(transparent)]
    Write(#[from] Error),
    /// The state has none with this number.
    #[error("there is no chunkserver {}", csid.0)]
    NotThere {
        /// The number.
        csid: CsId,
    },
    /// It is in use.
    #[error(
        "chunkserver {} is connected to node {}: stop it first, and empty its disks before that",
        csid.0, relay.0
    )]
    Connected {
        /// The chunkserver.
        csid: CsId,
        /// Where it is connected.
        relay: NodeId,
    },
}

impl Admin {
    /// All chunkservers by number, as the leader sees them.
    ///
    /// # Errors
    /// [`AdminFail`].
    pub async fn chunkservers(&self) -> Result<Vec<ChunkserverStatus>, AdminFail> {
        let leader = self.leader_status().await?.node;
        match self.ask(Some(leader), AdminRequest::Chunkservers).await? {
            AdminAnswer::Chunkservers(all) => Ok(all),
            other => unexpected(&other),
        }
    }

    /// Removes a chunkserver that will not come back. It must not be connected: it would register
    /// again at once. Returns when that is committed.
    ///
    /// # Errors
    /// [`ChunkserverError`].
    pub async fn forget_chunkserver(&self, csid: CsId) -> Result<(), ChunkserverError> {
        let there = self.chunkserver(csid).await?;
        if let Some(heard) = there.heard {
            let relay = heard.relay;
            return Err(ChunkserverError::Connected { csid, relay });
        }
        let op = move |_| Op::ForgetChunkserver { csid };
        self.client.write(op).await?;
        Ok(())
    }

    /// What a chunkserver lacks while it is away is not made anew until then: 0 ends that,
    /// `u32::MAX` is until it is ended. Returns when that is committed.
    ///
    /// # Errors
    /// [`ChunkserverError`].
    pub async fn set_maintenance(
        &self,
        csid: CsId,
        until: WallTime,
    ) -> Result<(), ChunkserverError> {
        self.chunkserver(csid).await?;
        let op = move |_| Op::SetMaintenance { csid, until };
        self.client.write(op).await?;
        Ok(())
    }

    async fn chunkserver(&self, csid: CsId) -> Result<ChunkserverStatus, ChunkserverError> {
        let all = self.chunkservers().await?;
        let found = all.into_iter().find(|status| status.info.csid == csid);
        found.ok_or(ChunkserverError::NotThere { csid })
    }
}
