//! A native client or a node that says anything.

use super::{ClientHello, HelloReply, ToClient, ToNode};
use crate::codec;

/// Reads `bytes` as each record of the native protocol, sealed by whoever sent them and as the
/// payload of an honest seal. What is understood is said again as it came.
///
/// # Panics
/// When reading does, or when a record changes on its way through.
pub fn fuzz_native(bytes: &[u8]) {
    // A stranger's bytes are seldom sealed: the payload is what can be wrong in interesting ways.
    let sealed = |kind| codec::seal(kind, super::VERSION, bytes);
    for record in [bytes.to_vec(), sealed(super::TO_NODE_KIND)] {
        if let Ok(said) = ToNode::from_bytes(&record) {
            assert_eq!(ToNode::from_bytes(&said.to_bytes()), Ok(said));
        }
    }
    for record in [bytes.to_vec(), sealed(super::TO_CLIENT_KIND)] {
        if let Ok(said) = ToClient::from_bytes(&record) {
            assert_eq!(ToClient::from_bytes(&said.to_bytes()), Ok(said));
        }
    }
    for record in [bytes.to_vec(), sealed(super::CLIENT_HELLO_KIND)] {
        if let Ok(said) = ClientHello::from_bytes(&record) {
            assert_eq!(ClientHello::from_bytes(&said.to_bytes()), Ok(said));
        }
    }
    for record in [bytes.to_vec(), sealed(super::HELLO_REPLY_KIND)] {
        if let Ok(said) = HelloReply::from_bytes(&record) {
            assert_eq!(HelloReply::from_bytes(&said.to_bytes()), Ok(said));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn anything_may_be_said(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            super::fuzz_native(&bytes);
        }

        /// Small numbers are often the number of a variant or a length.
        #[test]
        fn anything_that_looks_like_a_record_may_be_said(
            bytes in prop::collection::vec(0_u8..12, 0..200)
        ) {
            super::fuzz_native(&bytes);
        }
    }
}
