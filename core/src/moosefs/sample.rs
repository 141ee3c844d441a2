//! Packets made up from bytes, for tests and fuzzing: every byte string is some packet.
//!
//! Drawn from bytes rather than from a stream of randomness, so that a failing case shrinks with
//! its bytes.

use super::fields::{Blob, Form, Name, Text};
use super::version::Version;
use crate::id::{ChunkId, InodeId, SessionId};
use crate::time::WallTime;

/// Bytes to draw from; zeros when they are used up.
#[derive(Debug)]
pub struct Draw<'a>(&'a [u8]);

impl<'a> Draw<'a> {
    /// Draws from these bytes.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// A byte.
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    /// Some bytes: most often few, sometimes as many as are left, never more than `bytes_max`.
    pub fn bytes(&mut self, bytes_max: usize) -> Vec<u8> {
        let wanted = match self.byte() {
            255 => bytes_max,
            other => usize::from(other % 12),
        };
        let count = wanted.min(bytes_max).min(self.0.len());
        let (drawn, rest) = self.0.split_at(count);
        self.0 = rest;
        drawn.to_vec()
    }
}

/// Something that can be made up.
pub trait Sample {
    /// Makes it up, as a client of the form's version would know it.
    fn sample(draw: &mut Draw<'_>, form: Form) -> Self;
}

macro_rules! integers {
    ($($type:ident),*) => {$(
        impl Sample for $type {
            fn sample(draw: &mut Draw<'_>, _: Form) -> Self {
                $type::from_be_bytes(std::array::from_fn(|_| draw.byte()))
            }
        }
    )*};
}

macro_rules! wrapped {
    ($($type:ident),*) => {$(
        impl Sample for $type {
            fn sample(draw: &mut Draw<'_>, form: Form) -> Self {
                Self(Sample::sample(draw, form))
            }
        }
    )*};
}

integers!(u8, u16, u32, u64);
wrapped!(InodeId, ChunkId, SessionId, WallTime, Version);

impl<T: Sample> Sample for Option<T> {
    fn sample(draw: &mut Draw<'_>, form: Form) -> Self {
        (!draw.byte().is_multiple_of(4)).then(|| T::sample(draw, form))
    }
}

impl<T: Sample> Sample for Vec<T> {
    fn sample(draw: &mut Draw<'_>, form: Form) -> Self {
        let count = draw.byte() % 5;
        (0..count).map(|_| T::sample(draw, form)).collect()
    }
}

impl<T: Sample, const N: usize> Sample for [T; N] {
    fn sample(draw: &mut Draw<'_>, form: Form) -> Self {
        std::array::from_fn(|_| T::sample(draw, form))
    }
}

impl<T: Sample, U: Sample> Sample for (T, U) {
    fn sample(draw: &mut Draw<'_>, form: Form) -> Self {
        (T::sample(draw, form), U::sample(draw, form))
    }
}

impl Sample for Name {
    fn sample(draw: &mut Draw<'_>, _: Form) -> Self {
        Self::new(draw.bytes(255)).expect("at most 255 bytes were drawn")
    }
}

impl Sample for Blob {
    fn sample(draw: &mut Draw<'_>, _: Form) -> Self {
        Self(draw.bytes(usize::MAX))
    }
}

impl Sample for Text {
    fn sample(draw: &mut Draw<'_>, _: Form) -> Self {
        let mut bytes = draw.bytes(usize::MAX);
        bytes.retain(|byte| *byte != 0);
        Self(bytes)
    }
}
