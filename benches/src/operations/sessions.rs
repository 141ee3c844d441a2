//! Sessions, and lists of what they have open.

use mfsha_core::namespace::op::{Op, SessionParams};

use crate::case::Case;

/// Files that a session has open.
const FILES: usize = 10;

/// What is timed of them.
pub fn cases() -> Vec<Case> {
    vec![
        Case::new("open session", |_| Op::OpenSession { params: params() }),
        Case::new("update session", |stage| Op::UpdateSession {
            session: stage.world.session,
            params: params(),
        }),
        Case::new("session disconnected", |stage| Op::SetSessionConnected {
            session: stage.world.session,
            connected: false,
        }),
        Case::new("close session, 10 files open", |stage| Op::CloseSession {
            session: stage.session_with(FILES).0,
        }),
        Case::new("expire session, 10 files open", |stage| {
            let (session, _) = stage.session_with(FILES);
            stage.world.ok(Op::SetSessionConnected {
                session,
                connected: false,
            });
            Op::ExpireSession {
                session,
                since: stage.world.now,
            }
        }),
        Case::new("open files, one of 10 is another", |stage| {
            let (session, mut inodes) = stage.session_with(FILES);
            inodes[0] = stage.file();
            Op::SetOpenFiles { session, inodes }
        }),
    ]
}

fn params() -> SessionParams {
    SessionParams {
        info: b"/mnt/mfs".to_vec(),
        ..SessionParams::unrestricted()
    }
}
