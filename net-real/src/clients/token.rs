//! The secret that native clients and operators have to know. It may change while the node runs.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The secret; clones are the same one. Only its hash is kept.
#[derive(Clone, Debug)]
pub struct Token(Arc<Mutex<blake3::Hash>>);

impl Token {
    /// This secret; an empty one asks for none.
    #[must_use]
    pub fn new(token: &[u8]) -> Self {
        Self(Arc::new(Mutex::new(blake3::hash(token))))
    }

    fn hash(&self) -> MutexGuard<'_, blake3::Hash> {
        // A panic elsewhere leaves a whole hash.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From here on who connects has to know this one; who is connected stays.
    pub fn set(&self, token: &[u8]) {
        *self.hash() = blake3::hash(token);
    }

    /// Whether this is the secret; takes the same time for every wrong one.
    #[must_use]
    pub fn is(&self, token: &[u8]) -> bool {
        let own = *self.hash();
        // Hashes compare in constant time.
        own == blake3::hash(b"") || own == blake3::hash(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_holds_for_every_clone() {
        let token = Token::new(b"");
        assert!(token.is(b"") && token.is(b"anything"), "none is asked for");
        let clone = token.clone();
        clone.set(b"secret");
        for (said, good) in [(&b"secret"[..], true), (b"other", false), (b"", false)] {
            assert_eq!(token.is(said), good, "{said:?}");
        }
    }
}
