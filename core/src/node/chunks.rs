//! Chunkservers: what they say, and what they have to do.

use super::Effect;
use super::machine::Node;
use crate::chunks::{ConnId, Report};
use crate::disk::Disk;
use crate::machine::Outbox;
use crate::store::StateStore;

impl<D: Disk, S: StateStore> Node<D, S> {
    /// A chunkserver that is connected to this node says something.
    pub(super) fn on_report(&mut self, _conn: ConnId, _report: Report, _out: &mut Outbox<Effect>) {}
}
