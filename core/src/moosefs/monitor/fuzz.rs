//! A master and a tool that hear anything.

use super::{FromMonitor, ToMonitor};
use crate::moosefs::frame::Packet;
use crate::moosefs::sample::Draw;

/// Hands `bytes` to a master as the payload of every question, and to the one who asked as that of
/// the answer.
///
/// # Panics
/// When a side panics, or says something else than what it understood.
pub fn fuzz_monitor(bytes: &[u8]) {
    for kind in FromMonitor::NUMBERS {
        let payload = bytes.to_vec();
        let packet = Packet {
            kind: *kind,
            payload: payload.clone(),
        };
        if let Ok(asked) = FromMonitor::parse(&packet) {
            assert_eq!(asked.number(), *kind);
            assert!(!asked.encode().is_empty());
        }
        let asked = FromMonitor::sample(*kind, &mut Draw::new(bytes));
        let kind = kind + 1;
        if let Ok(told) = ToMonitor::parse(&Packet { kind, payload }, &asked) {
            assert_eq!(told.number(), kind);
            assert!(told.encode(asked.id()).len() >= bytes.len().min(8));
        }
    }
}
