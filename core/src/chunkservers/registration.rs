//! One registration on its way to its answer.

use std::net::Ipv4Addr;
use std::num::NonZeroU16;

use super::reports;
use crate::chunks::{Address, Joined, Space};
use crate::id::CsId;
use crate::moosefs::chunkserver::{Ack, Begin, EncodeError, Place, ToChunkserver};
use crate::moosefs::version::Version;
use crate::namespace::op::Op;
use crate::time::Duration;

/// Which version of the registration a chunkserver speaks: 5 when it had no luck with 6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Five,
    Six,
}

/// A chunkserver that wants to be registered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Registration {
    form: Form,
    version: Version,
    address: Address,
    csid: CsId,
    timeout_seconds: NonZeroU16,
    space: Space,
}

impl Registration {
    /// In version 6. `peer` is where its connection comes from, `timeout_seconds` what counts when
    /// it leaves that to us.
    pub fn of_begin(
        begin: &Begin,
        peer: Ipv4Addr,
        timeout_seconds: NonZeroU16,
    ) -> Result<Self, String> {
        Ok(Self {
            form: Form::Six,
            version: begin.version,
            address: address_of(begin.place, peer)?,
            csid: begin.csid,
            timeout_seconds: NonZeroU16::new(begin.timeout_seconds).unwrap_or(timeout_seconds),
            space: reports::space(begin.space),
        })
    }

    /// In version 5, which names neither a number nor the space.
    pub fn of_old_begin(
        version: Version,
        place: Place,
        peer: Ipv4Addr,
        timeout_seconds: NonZeroU16,
    ) -> Result<Self, String> {
        Ok(Self {
            form: Form::Five,
            version,
            address: address_of(place, peer)?,
            csid: CsId(0),
            timeout_seconds,
            space: Space::default(),
        })
    }

    /// What has to be in the replicated state before it is answered.
    pub fn op(&self) -> Op {
        Op::RegisterChunkserver {
            csid: self.csid,
            address: self.address,
        }
    }

    /// What a chunkserver that got this number is told; `None` when its version expects nothing.
    pub fn welcome(&self, csid: CsId, metaid: u64) -> Option<Result<Vec<u8>, EncodeError>> {
        let ack = match self.form {
            Form::Five => Ack::to_old_begin(self.version),
            Form::Six => Ack::to_begin(self.version, self.timeout_seconds, csid, metaid),
        };
        ack.map(|ack| ToChunkserver::Ack(ack).encode())
    }

    /// What the node hears of it.
    pub fn joined(&self, csid: CsId, registration: u64) -> Joined {
        Joined {
            csid,
            registration,
            address: self.address,
            version: self.version.0,
            space: self.space,
        }
    }

    pub fn form(&self) -> Form {
        self.form
    }

    pub fn address(&self) -> Address {
        self.address
    }

    /// Silence after which both sides give up.
    pub fn silence_max(&self) -> Duration {
        Duration::from_secs(self.timeout_seconds.get().into())
    }
}

/// Where others reach it.
fn address_of(place: Place, peer: Ipv4Addr) -> Result<Address, String> {
    let Place { ip, port } = place;
    let ip = if ip.is_unspecified() { peer } else { ip };
    if ip.is_loopback() || ip.is_unspecified() {
        return Err(format!(
            "it would be reached at {ip}:{port}, where no other machine finds it: give it a real \
             address in CSSERV_LISTEN_HOST, and one of a node in MASTER_HOST"
        ));
    }
    if port == 0 {
        return Err("it does not say at which port it is reached".to_owned());
    }
    Ok(Address { ip, port })
}
