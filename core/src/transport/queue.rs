//! What waits to be sent to one peer.

use std::collections::VecDeque;

use super::{Class, Options};

/// Messages of one class, oldest first, bounded in bytes.
#[derive(Debug, Default)]
struct Lane {
    messages: VecDeque<Vec<u8>>,
    /// Invariant: the sum of their lengths.
    bytes: usize,
}

impl Lane {
    fn push(&mut self, message: Vec<u8>, bytes_max: usize) -> bool {
        // One message alone always fits, so that a small bound delays but never bars.
        if self.bytes > 0 && self.bytes.saturating_add(message.len()) > bytes_max {
            return false;
        }
        self.bytes += message.len();
        self.messages.push_back(message);
        true
    }

    fn pop(&mut self) -> Option<Vec<u8>> {
        let message = self.messages.pop_front()?;
        self.bytes -= message.len();
        Some(message)
    }
}

/// Small messages are handed over together, up to this many bytes at once.
const TOGETHER_BYTES: usize = 16 << 10;

/// What waits to be sent to one peer.
#[derive(Debug, Default)]
pub(super) struct Queue {
    control: Lane,
    bulk: Lane,
}

impl Queue {
    /// Puts a message at the end of its class; false when there is no room for it.
    pub fn push(&mut self, class: Class, message: Vec<u8>, options: &Options) -> bool {
        match class {
            Class::Control => self.control.push(message, options.control_bytes_max),
            Class::Bulk => self.bulk.push(message, options.bulk_bytes_max),
        }
    }

    /// What goes next: control while there is any, else one message of bulk.
    pub fn pop(&mut self) -> Option<Vec<u8>> {
        let Some(mut bytes) = self.control.pop() else {
            return self.bulk.pop();
        };
        while let Some(next) = self.control.messages.front()
            && bytes.len() + next.len() <= TOGETHER_BYTES
        {
            bytes.extend(self.control.pop().expect("it was seen"));
        }
        Some(bytes)
    }

    /// Forgets everything; the number of messages that were there.
    pub fn clear(&mut self) -> u64 {
        let count = self.control.messages.len() + self.bulk.messages.len();
        *self = Self::default();
        count as u64
    }

    /// Panics when a bound or a sum does not hold.
    pub fn check(&self, options: &Options) {
        for (lane, max) in [
            (&self.control, options.control_bytes_max),
            (&self.bulk, options.bulk_bytes_max),
        ] {
            let sum: usize = lane.messages.iter().map(Vec::len).sum();
            assert_eq!(lane.bytes, sum, "bytes that wait are counted");
            assert!(
                sum <= max || lane.messages.len() == 1,
                "{sum} bytes wait, the bound is {max}"
            );
        }
    }
}
