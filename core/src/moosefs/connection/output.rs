//! What waits to be written to one peer: whole packets, and at most one at a time that is given in
//! parts.

use std::collections::VecDeque;

use super::RequestNo;

/// One packet that is to be written.
#[derive(Debug)]
enum Item {
    Packet(Vec<u8>),
    InParts {
        request: RequestNo,
        /// Bytes that were not given yet, not 0.
        bytes_left: u64,
        /// Whether the owner was asked for more.
        asked: bool,
        /// The part that was given last. Invariant: empty when `asked`.
        part: Vec<u8>,
    },
}

/// The queue of one connection.
#[derive(Debug, Default)]
pub(super) struct Output {
    items: VecDeque<Item>,
    /// Bytes at the front that were handed over already.
    front_used: usize,
    /// Bytes that wait here.
    waiting_bytes: usize,
    /// Bytes that were handed over and not reported as written.
    handed_bytes: usize,
}

impl Output {
    /// Bytes that are held, here and by the driver.
    pub fn held_bytes(&self) -> usize {
        self.waiting_bytes + self.handed_bytes
    }

    /// Whether bytes were handed over that are not written yet.
    pub fn is_handed(&self) -> bool {
        self.handed_bytes > 0
    }

    /// Whether nothing waits and nothing is under way, not even the rest of a packet.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty() && self.handed_bytes == 0
    }

    pub fn push(&mut self, packet: Vec<u8>) {
        assert!(!packet.is_empty(), "a packet has a header");
        self.waiting_bytes += packet.len();
        self.items.push_back(Item::Packet(packet));
    }

    pub fn push_in_parts(&mut self, request: RequestNo, packet_bytes: u64) {
        assert!(packet_bytes > 0, "a packet has a header");
        self.items.push_back(Item::InParts {
            request,
            bytes_left: packet_bytes,
            asked: false,
            part: Vec::new(),
        });
    }

    /// Takes the part that was asked for.
    pub fn push_part(&mut self, request: RequestNo, bytes: Vec<u8>) {
        let Some(Item::InParts {
            request: wanted,
            bytes_left,
            asked,
            part,
        }) = self.items.front_mut()
        else {
            panic!("nobody asked for a part of the reply to {request}");
        };
        assert!(*asked && *wanted == request, "nobody asked for this part");
        assert!(!bytes.is_empty(), "a part has something in it");
        let left = bytes_left.checked_sub(bytes.len() as u64);
        *bytes_left = left.expect("the parts are the packet");
        *asked = false;
        self.waiting_bytes += bytes.len();
        *part = bytes;
    }

    pub fn on_written(&mut self, bytes: usize) {
        let left = self.handed_bytes.checked_sub(bytes);
        self.handed_bytes = left.expect("no more is written than was handed over");
    }

    /// The part to ask for now, if any, and how many bytes are missing; asked for once.
    pub fn next_wanted(&mut self) -> Option<(RequestNo, u64)> {
        let front = self.items.front_mut()?;
        let Item::InParts {
            request,
            bytes_left,
            asked,
            part,
        } = front
        else {
            return None;
        };
        let wanted = !*asked && part.is_empty();
        *asked |= wanted;
        wanted.then_some((*request, *bytes_left))
    }

    /// The next bytes for the driver, so that it holds at most `handed_bytes_max`.
    pub fn next_piece(&mut self, handed_bytes_max: usize) -> Option<Vec<u8>> {
        let room = handed_bytes_max.saturating_sub(self.handed_bytes);
        let bytes = match self.items.front_mut()? {
            Item::Packet(packet) => packet,
            Item::InParts { part, .. } => part,
        };
        let count = room.min(bytes.len() - self.front_used);
        if count == 0 {
            return None;
        }
        let piece = if count == bytes.len() {
            std::mem::take(bytes)
        } else {
            let piece = bytes[self.front_used..][..count].to_vec();
            self.front_used += count;
            if self.front_used == bytes.len() {
                *bytes = Vec::new();
            }
            piece
        };
        if bytes.is_empty() {
            self.front_used = 0;
            let more = matches!(self.items[0], Item::InParts { bytes_left, .. } if bytes_left > 0);
            if !more {
                self.items.pop_front();
            }
        }
        self.waiting_bytes -= count;
        self.handed_bytes += count;
        Some(piece)
    }

    /// Panics when the counts are not what is held.
    pub fn check(&self) {
        let mut waiting = 0;
        for (at, item) in self.items.iter().enumerate() {
            match item {
                Item::Packet(packet) => {
                    assert!(!packet.is_empty(), "a packet has a header");
                    waiting += packet.len();
                }
                Item::InParts {
                    bytes_left,
                    asked,
                    part,
                    ..
                } => {
                    assert!(!*asked || part.is_empty(), "asked for while one is here");
                    assert!(!*asked || at == 0, "only the front is asked for");
                    let something = *bytes_left > 0 || !part.is_empty();
                    assert!(something, "a packet that was given whole is gone");
                    waiting += part.len();
                }
            }
        }
        assert!(waiting >= self.front_used, "no more is used than is there");
        let waiting = waiting - self.front_used;
        assert_eq!(waiting, self.waiting_bytes, "bytes that wait are counted");
    }
}
