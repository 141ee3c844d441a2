//! What a master answers to a registration: `MATOCS_MASTER_ACK`.
//!
//! A chunkserver tells the forms apart by their length, and disconnects at every other length.

use std::net::Ipv4Addr;
use std::num::NonZeroU16;

use super::number::MATOCS_MASTER_ACK;
use crate::id::CsId;
use crate::moosefs::reader::{PacketError, Reader};
use crate::moosefs::version::Version;
use crate::moosefs::writer::Writer;

/// Bytes of a challenge.
pub const CHALLENGE_BYTES: usize = 32;

/// The kinds of answer, on the wire.
const OK: u8 = 0;
const REDIRECT: u8 = 1;
const WAIT: u8 = 2;
const AUTHENTICATE: u8 = 3;

/// Servers before this are not answered at all.
const ANSWERED: Version = Version(0x0001_0638);
/// From here on every packet of copies is answered.
const COPIES_ANSWERED: Version = Version::new(2, 0, 0);
/// From here on servers take the cluster's id.
const WITH_METAID: Version = Version::new(2, 0, 33);

/// An answer to a registration. No timeout is zero: the server would disconnect at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ack {
    /// The copies of one packet are noted: go on. 1 byte.
    Next,
    /// A server of version 5 is registered. 5 bytes.
    Old {
        /// Version of the master.
        version: Version,
    },
    /// A server before 2.0.33 is registered. 9 bytes.
    Numbered {
        /// Version of the master.
        version: Version,
        /// Silence after which both sides disconnect, seconds.
        timeout_seconds: NonZeroU16,
        /// The server's number, which it keeps.
        csid: CsId,
    },
    /// The server is registered. 17 bytes.
    Welcome {
        /// Version of the master.
        version: Version,
        /// Silence after which both sides disconnect, seconds.
        timeout_seconds: NonZeroU16,
        /// The server's number, which it keeps.
        csid: CsId,
        /// The cluster's id, which it keeps. A server that has kept another one ends itself.
        metaid: u64,
    },
    /// Connect to another master, on the same port. 5 bytes.
    Redirect {
        /// Where it is; `None` when that is not known.
        leader: Option<Ipv4Addr>,
    },
    /// Stay connected, the master is not ready yet. 7 or 15 bytes.
    Wait {
        /// Version of the master.
        version: Version,
        /// Silence after which both sides disconnect, seconds.
        timeout_seconds: NonZeroU16,
        /// The cluster's id. A server that has kept another one disconnects.
        metaid: Option<u64>,
    },
    /// Register again, with a passcode made from this. 33 bytes.
    Authenticate {
        /// Random bytes.
        challenge: [u8; CHALLENGE_BYTES],
    },
}

impl Ack {
    /// The answer to a registration's beginning, in the form for a server of version `server`;
    /// `None` when it expects none.
    #[must_use]
    pub fn to_begin(
        server: Version,
        timeout_seconds: NonZeroU16,
        csid: CsId,
        metaid: u64,
    ) -> Option<Self> {
        let version = Version::OURS;
        if server >= WITH_METAID {
            Some(Self::Welcome {
                version,
                timeout_seconds,
                csid,
                metaid,
            })
        } else {
            (server >= ANSWERED).then_some(Self::Numbered {
                version,
                timeout_seconds,
                csid,
            })
        }
    }

    /// The answer to the beginning of a registration of version 5; `None` when a server of
    /// version `server` expects none.
    #[must_use]
    pub fn to_old_begin(server: Version) -> Option<Self> {
        let version = Version::OURS;
        (server >= ANSWERED).then_some(Self::Old { version })
    }

    /// The answer to one packet of copies of a registration of version 6; `None` when a server of
    /// version `server` expects none. Packets of version 5 are never answered.
    #[must_use]
    pub fn to_copies(server: Version) -> Option<Self> {
        (server >= COPIES_ANSWERED).then_some(Self::Next)
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, PacketError> {
        let kind = reader.u8()?;
        match (kind, reader.remaining()) {
            (OK, 0) => Ok(Self::Next),
            (OK, 4) => Ok(Self::Old {
                version: Version(reader.u32()?),
            }),
            (OK, 8) => Ok(Self::Numbered {
                version: Version(reader.u32()?),
                timeout_seconds: read_timeout(reader)?,
                csid: CsId(reader.u16()?),
            }),
            (OK, 16) => Ok(Self::Welcome {
                version: Version(reader.u32()?),
                timeout_seconds: read_timeout(reader)?,
                csid: CsId(reader.u16()?),
                metaid: reader.u64()?,
            }),
            (REDIRECT, 4) => {
                let leader = Ipv4Addr::from(reader.u32()?);
                let leader = (!leader.is_unspecified()).then_some(leader);
                Ok(Self::Redirect { leader })
            }
            (WAIT, rest @ (6 | 14)) => Ok(Self::Wait {
                version: Version(reader.u32()?),
                timeout_seconds: read_timeout(reader)?,
                metaid: (rest == 14).then(|| reader.u64()).transpose()?,
            }),
            (AUTHENTICATE, CHALLENGE_BYTES) => Ok(Self::Authenticate {
                challenge: reader.array()?,
            }),
            _ => Err(reader.wrong("an answer of this kind never has this length")),
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new(MATOCS_MASTER_ACK);
        match *self {
            Self::Next => writer.u8(OK),
            Self::Old { version } => writer.u8(OK).u32(version.0),
            Self::Numbered {
                version,
                timeout_seconds,
                csid,
            } => {
                writer.u8(OK).u32(version.0);
                writer.u16(timeout_seconds.get()).u16(csid.0)
            }
            Self::Welcome {
                version,
                timeout_seconds,
                csid,
                metaid,
            } => {
                writer.u8(OK).u32(version.0);
                writer.u16(timeout_seconds.get()).u16(csid.0).u64(metaid)
            }
            Self::Redirect { leader } => {
                let leader = leader.unwrap_or(Ipv4Addr::UNSPECIFIED);
                writer.u8(REDIRECT).u32(leader.into())
            }
            Self::Wait {
                version,
                timeout_seconds,
                metaid,
            } => {
                writer.u8(WAIT).u32(version.0).u16(timeout_seconds.get());
                match metaid {
                    Some(metaid) => writer.u64(metaid),
                    None => &mut writer,
                }
            }
            Self::Authenticate { challenge } => writer.u8(AUTHENTICATE).bytes(&challenge),
        };
        writer.finish()
    }
}

fn read_timeout(reader: &mut Reader<'_>) -> Result<NonZeroU16, PacketError> {
    let seconds = reader.u16()?;
    NonZeroU16::new(seconds).ok_or(reader.wrong("a timeout of zero"))
}
