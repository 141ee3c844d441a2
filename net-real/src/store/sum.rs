//! A sum over the whole state that changes with every key and value, and does not depend on their
//! order: kept up to date change by change, compared with what a walk over the file finds.
//!
//! LMDB does not check its pages. A lost page, a key that cannot be found any more, or a changed
//! value leaves this sum behind.

/// How keys are kept: a tag, then the key.
const TAG_KEY: u8 = 1;
/// Where the sum is kept: before every key.
pub(super) const SUM_KEY: &[u8] = &[0];
const SUM_VERSION: u8 = 1;
const SEAL_BYTES: usize = 8;

/// Count and sum of a state's keys and values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateSum {
    /// Number of keys.
    pub keys: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
    /// Sum of 128 bits of hash of every key with its value, modulo 2^128.
    pub sum: u128,
}

impl StateSum {
    /// A key came.
    pub(super) fn add(&mut self, key: &[u8], value: &[u8]) {
        self.keys = self.keys.wrapping_add(1);
        self.bytes = self.bytes.wrapping_add(length(key, value));
        self.sum = self.sum.wrapping_add(hash(key, value));
    }

    /// A key went.
    pub(super) fn remove(&mut self, key: &[u8], value: &[u8]) {
        self.keys = self.keys.wrapping_sub(1);
        self.bytes = self.bytes.wrapping_sub(length(key, value));
        self.sum = self.sum.wrapping_sub(hash(key, value));
    }

    /// As it is kept beside the state.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = vec![SUM_VERSION];
        out.extend(self.keys.to_le_bytes());
        out.extend(self.bytes.to_le_bytes());
        out.extend(self.sum.to_le_bytes());
        let seal = blake3::hash(&out);
        out.extend(&seal.as_bytes()[..SEAL_BYTES]);
        out
    }

    /// What [`Self::encode`] made; a sentence when these bytes are something else.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let Some((body, seal)) = bytes.split_last_chunk::<SEAL_BYTES>() else {
            return Err(format!("the sum of the state has {} bytes", bytes.len()));
        };
        if blake3::hash(body).as_bytes()[..SEAL_BYTES] != *seal {
            return Err("the sum of the state is damaged".to_owned());
        }
        let body: &[u8; 33] = body
            .try_into()
            .map_err(|_| format!("the sum of the state has {} bytes", bytes.len()))?;
        if body[0] != SUM_VERSION {
            let version = body[0];
            return Err(format!(
                "the sum of the state is of version {version}, known is {SUM_VERSION}: a newer \
                 program wrote it"
            ));
        }
        let word = |at: usize| u64::from_le_bytes(body[at..at + 8].try_into().expect("8 bytes"));
        Ok(Self {
            keys: word(1),
            bytes: word(9),
            sum: u128::from_le_bytes(body[17..33].try_into().expect("16 bytes")),
        })
    }
}

fn length(key: &[u8], value: &[u8]) -> u64 {
    (key.len() + value.len()) as u64
}

fn hash(key: &[u8], value: &[u8]) -> u128 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(key.len() as u64).to_le_bytes());
    hasher.update(key);
    hasher.update(value);
    let bytes: [u8; 16] = hasher.finalize().as_bytes()[..16]
        .try_into()
        .expect("a hash has 32 bytes");
    u128::from_le_bytes(bytes)
}

/// A key as it is kept, on the stack.
pub(super) struct StoredKey {
    bytes: [u8; super::KEY_BYTES_MAX + 1],
    length: usize,
}

impl StoredKey {
    /// Of a key that is not too long; a longer one is in no store, and neither is what this gives.
    pub fn new(key: &[u8]) -> Option<Self> {
        let mut bytes = [0; super::KEY_BYTES_MAX + 1];
        bytes[0] = TAG_KEY;
        bytes.get_mut(1..=key.len())?.copy_from_slice(key);
        let length = key.len() + 1;
        Some(Self { bytes, length })
    }
}

impl std::ops::Deref for StoredKey {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// The user's key in a kept one; `None` when it is none of the user's.
pub(super) fn user_key(stored: &[u8]) -> Option<&[u8]> {
    stored.strip_prefix(&[TAG_KEY])
}

/// First kept key behind every key of the user.
pub(super) const KEYS_END: &[u8] = &[TAG_KEY + 1];
/// First kept key of the user.
pub(super) const KEYS_BEGIN: &[u8] = &[TAG_KEY];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_does_not_matter_and_everything_else_does() {
        let mut one = StateSum::default();
        one.add(b"a", b"1");
        one.add(b"b", b"2");
        let mut two = StateSum::default();
        two.add(b"b", b"2");
        two.add(b"c", b"3");
        two.add(b"a", b"1");
        assert_ne!(one, two);
        two.remove(b"c", b"3");
        assert_eq!(one, two);
        let mut other = StateSum::default();
        other.add(b"a", b"2");
        other.add(b"b", b"1");
        assert_ne!(one.sum, other.sum, "values changed places");
        let mut other = StateSum::default();
        other.add(b"a1", b"");
        other.add(b"b2", b"");
        assert_ne!(one.sum, other.sum, "key and value moved into one another");
    }

    #[test]
    fn every_flipped_bit_of_the_record_is_noticed() {
        let mut sum = StateSum::default();
        sum.add(b"a", b"1");
        let bytes = sum.encode();
        assert_eq!(StateSum::decode(&bytes), Ok(sum));
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(StateSum::decode(&damaged).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(StateSum::decode(&bytes[..length]).is_err());
        }
    }

    #[test]
    fn keys_have_a_longest() {
        assert!(StoredKey::new(&[7; super::super::KEY_BYTES_MAX]).is_some());
        assert!(StoredKey::new(&[7; super::super::KEY_BYTES_MAX + 1]).is_none());
        assert_eq!(user_key(&StoredKey::new(b"k").unwrap()), Some(&b"k"[..]));
        assert_eq!(user_key(SUM_KEY), None);
    }
}
