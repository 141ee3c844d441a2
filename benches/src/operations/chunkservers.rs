//! Chunkservers that register. There are ten others.

use std::net::Ipv4Addr;

use mfsha_core::chunks::Address;
use mfsha_core::id::CsId;
use mfsha_core::namespace::error::FsError;
use mfsha_core::namespace::op::Op;
use mfsha_core::time::WallTime;

use crate::case::Case;
use crate::stage::Stage;

/// Chunkservers that are known.
const KNOWN: u16 = 10;
/// The one that comes and goes.
const LAST: u16 = KNOWN + 1;

/// What is timed of them.
pub fn cases() -> Vec<Case> {
    vec![
        Case::new("register chunkserver, new", |stage| {
            populate(stage);
            let forgotten = stage.world.apply(forget()).result;
            assert!(matches!(forgotten, Ok(_) | Err(FsError::NotFound)));
            register(LAST)
        }),
        Case::new("register chunkserver, known", |stage| {
            populate(stage);
            register(KNOWN)
        }),
        Case::new("forget chunkserver", |stage| {
            populate(stage);
            stage.world.ok(register(LAST));
            forget()
        }),
        Case::new("set maintenance", |stage| {
            populate(stage);
            Op::SetMaintenance {
                csid: CsId(KNOWN),
                until: WallTime(stage.world.now.0 + 3_600),
            }
        }),
    ]
}

/// Those that are known register; who is known already, once more.
fn populate(stage: &mut Stage) {
    for csid in 1..=KNOWN {
        stage.world.ok(register(csid));
    }
}

fn register(csid: u16) -> Op {
    Op::RegisterChunkserver {
        csid: CsId(csid),
        address: Address {
            ip: Ipv4Addr::new(10, 0, 0, csid as u8),
            port: 9_422,
        },
    }
}

fn forget() -> Op {
    Op::ForgetChunkserver { csid: CsId(LAST) }
}
