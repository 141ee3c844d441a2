//! What operators see of the cluster here.

use super::Effect;
use super::machine::Node;
use super::pending::{Caller, Origin};
use super::request::{CallId, ClientId, NodeError, ResponseBody};
use crate::disk::Disk;
use crate::machine::Outbox;
use crate::native::inspect::{Inspect, Inspected, Overview, PATHS_BYTES_MAX, SESSIONS_MAX};
use crate::raft::Role;
use crate::store::{StateStore, StoreError};

impl<D: Disk, S: StateStore> Node<D, S> {
    /// A face of this node wants to see something.
    pub(super) fn on_inspect(
        &mut self,
        client: ClientId,
        call: CallId,
        what: &Inspect,
        out: &mut Outbox<Effect>,
    ) {
        let origin = Origin::Client { client, call };
        let deadline = self.now;
        let caller = Caller { origin, deadline };
        if self.raft.is_none() {
            let reason = "the node is starting, or healing itself from a peer".to_owned();
            return self.answer(caller, Err(NodeError::Unavailable { reason }), out);
        }
        match self.inspected(what) {
            Ok(seen) => self.answer(caller, Ok(ResponseBody::Inspected(seen)), out),
            Err(error) => {
                let reason = format!("{error}; ask another node");
                self.answer(caller, Err(NodeError::Unavailable { reason }), out);
                self.on_read_fault(&error, out);
            }
        }
    }

    /// What is to be seen here.
    ///
    /// # Errors
    /// [`StoreError`]; nothing is done about it.
    pub fn inspected(&self, what: &Inspect) -> Result<Inspected, StoreError> {
        let namespace = &self.namespace;
        Ok(match what {
            Inspect::Overview => Inspected::Overview(Box::new(self.overview()?)),
            Inspect::Chunkservers => Inspected::Chunkservers(self.chunkservers()?),
            Inspect::Census => {
                let census = self.chunks.keeper.census();
                Inspected::Census(census.map(|census| Box::new(census.clone())))
            }
            Inspect::Sessions { after } => {
                Inspected::Sessions(namespace.sessions_seen(*after, SESSIONS_MAX)?)
            }
            Inspect::Quotas => Inspected::Quotas(namespace.quotas()?),
            Inspect::Paths(inodes) => Inspected::Paths(namespace.paths(inodes, PATHS_BYTES_MAX)?),
        })
    }

    fn overview(&self) -> Result<Overview, StoreError> {
        let sums = self.namespace.sums()?;
        Ok(Overview {
            status: self.status(),
            role: self.raft_status().map_or(Role::Follower, |raft| raft.role),
            role_since: self.role_since,
            version: self.namespace.version(),
            tree: sums.tree,
            trash_bytes: sums.trash_bytes,
            sustained_bytes: sums.sustained_bytes,
            space: self.chunks.keeper.map().space(),
        })
    }
}
