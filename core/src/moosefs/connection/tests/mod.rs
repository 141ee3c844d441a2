//! Connections on a simulated clock: single rules one by one, then thousands of peers at once.

mod cases;
mod torture;

use super::{Effect, Input, Reply, RequestNo, Standing};

/// A whole packet of this number with these bytes.
fn packet(kind: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = kind.to_be_bytes().to_vec();
    bytes.extend((payload.len() as u32).to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// The owner is done with a packet, and nothing else changes.
fn done(request: RequestNo, reply: Reply) -> Input {
    let standing = Standing::Same;
    Input::Done {
        request,
        reply,
        standing,
    }
}

/// The bytes of all writes among these.
fn written(effects: &[Effect]) -> Vec<u8> {
    let bytes = effects.iter().filter_map(|effect| match effect {
        Effect::Write { bytes } => Some(bytes.as_slice()),
        _ => None,
    });
    bytes.collect::<Vec<_>>().concat()
}
