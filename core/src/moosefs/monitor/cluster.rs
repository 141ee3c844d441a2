//! The master and its chunkservers.

use crate::moosefs::fields::{Field, Form, packet};
use crate::moosefs::reader::{PacketError, Reader};
use crate::moosefs::writer::Writer;
use crate::time::WallTime;

/// What a master is within its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum MasterState {
    /// It leads.
    Leader = 1,
    /// It wants to lead.
    Elect = 2,
    /// It follows.
    Follower = 3,
}

/// How a master stands in its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MasterStates(pub [u8; 4]);

impl MasterStates {
    /// It is that, stays that, and is in step with the leader.
    #[must_use]
    pub const fn stable(state: MasterState) -> Self {
        let state = state as u8;
        let stable = match state {
            2 => 0,
            _ => state,
        };
        Self([state, state, stable, 1])
    }
}

impl Field for MasterStates {
    fn read(reader: &mut Reader<'_>, form: Form) -> Result<Self, PacketError> {
        Field::read(reader, form).map(Self)
    }

    fn write(&self, writer: &mut Writer, form: Form) {
        self.0.write(writer, form);
    }
}

packet! {
    /// A master, and the whole in numbers.
    Info {
        /// Its version.
        version: u32,
        /// Memory of its process, bytes.
        memory: u64,
        /// Time of processors within the system, tenths of a microsecond each second.
        system_time: u64,
        /// Time of processors outside of it.
        user_time: u64,
        /// Bytes on chunkservers.
        total: u64,
        /// Bytes that can be written.
        available: u64,
        /// Bytes that are free.
        free: u64,
        /// Bytes in the trash.
        trash_bytes: u64,
        /// Files in the trash.
        trash_files: u32,
        /// Bytes of sustained files.
        sustained_bytes: u64,
        /// Sustained files.
        sustained_files: u32,
        /// Nodes of the tree.
        nodes: u32,
        /// Directories.
        dirs: u32,
        /// Files.
        files: u32,
        /// Chunks.
        chunks: u32,
        /// Copies of chunks.
        copies: u32,
        /// Copies that do not lie on disks which shall be emptied.
        copies_staying: u32,
        /// When metadata were stored last.
        stored_at: WallTime,
        /// How long that took, milliseconds.
        stored_ms: u32,
        /// 0 when that succeeded.
        store_status: u8,
        /// How it stands in its cluster.
        states: MasterStates,
        /// Who leads.
        leader_ip: u32,
        /// When the state last changed.
        state_changed: WallTime,
        /// Metadata version.
        metadata_version: u64,
        /// Checksum of the exports.
        exports_checksum: u64,
        /// The time, microseconds since 1970.
        now_us: u64,
        /// When the last change was made.
        changed_at: u32,
    }
}

packet! {
    /// A chunkserver.
    ChunkserverListed {
        /// Bits: 1 not connected, 2 in maintenance, 4 in maintenance for a short while.
        flags: u8,
        /// Major, middle and minor number of its version.
        version: [u8; 3],
        /// Its address.
        ip: u32,
        /// Its port.
        port: u16,
        /// Its number.
        csid: u16,
        /// Bytes in use.
        used: u64,
        /// Bytes in all.
        total: u64,
        /// Copies.
        chunks: u32,
        /// Bytes in use on disks that shall be emptied.
        removal_used: u64,
        /// Bytes in all on them.
        removal_total: u64,
        /// Copies on them.
        removal_chunks: u32,
        /// Errors of its disks.
        errors: u32,
        /// Jobs that it has.
        load: u32,
        /// For how long it counts as overloaded, seconds.
        grace: u32,
        /// Its labels: `A` is bit 0.
        labels: u32,
        /// Whether what shall be emptied can be taken away: 0 there is none, 1 in progress, 2 ready.
        removal: u8,
    }
}

packet! {
    /// A metalogger.
    Metalogger {
        /// Its version.
        version: u32,
        /// Its address.
        ip: u32,
    }
}

packet! {
    /// Who answers.
    Module {
        /// 1 for a master.
        kind: u8,
        /// Its version.
        version: u32,
        /// Its number.
        number: u16,
        /// Its cluster.
        metaid: u64,
        /// Who leads.
        leader_ip: u32,
        /// On which port.
        leader_port: u16,
    }
}

packet! {
    /// Bytes that a master took and that are in use, for: the table of chunks, chunks, their lists
    /// of chunkservers, the table of names, names, the table of nodes, nodes, deleted nodes, lists
    /// of chunks, symbolic links, quotas.
    Memory {
        /// Taken, and in use.
        uses: [(u64, u64); 11],
    }
}

#[cfg(any(test, feature = "fuzzing"))]
impl crate::moosefs::sample::Sample for MasterStates {
    fn sample(draw: &mut crate::moosefs::sample::Draw<'_>, form: Form) -> Self {
        Self(crate::moosefs::sample::Sample::sample(draw, form))
    }
}
