//! Passwords of exports. What is kept is MD5 of the password, and what proves it is MD5 of that
//! between the halves of a challenge: the wire leaves no choice.

use std::fmt;

use md5::{Digest, Md5};

/// Bytes of a challenge.
pub const CHALLENGE_BYTES: usize = 32;
/// Bytes of a digest.
pub const DIGEST_BYTES: usize = 16;

/// MD5 of a password. As good as the password itself, so it is not shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PasswordDigest(pub [u8; DIGEST_BYTES]);

impl fmt::Debug for PasswordDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordDigest(..)")
    }
}

impl PasswordDigest {
    /// Of a password.
    #[must_use]
    pub fn of(password: &[u8]) -> Self {
        Self(Md5::digest(password).into())
    }

    /// Of 32 hexadecimal digits.
    #[must_use]
    pub fn of_hex(digits: &[u8]) -> Option<Self> {
        let (pairs, rest) = digits.as_chunks::<2>();
        let mut digest = [0; DIGEST_BYTES];
        if pairs.len() != DIGEST_BYTES || !rest.is_empty() {
            return None;
        }
        for (byte, [high, low]) in digest.iter_mut().zip(pairs) {
            let digit = |digit: u8| char::from(digit).to_digit(16);
            *byte = ((digit(*high)? << 4) | digit(*low)?) as u8;
        }
        Some(Self(digest))
    }

    /// What a client that knows the password answers to a challenge.
    #[must_use]
    pub fn passcode(&self, challenge: &[u8; CHALLENGE_BYTES]) -> [u8; DIGEST_BYTES] {
        passcode(&self.0, challenge)
    }
}

/// What somebody who knows a secret answers to a challenge.
#[must_use]
pub fn passcode(secret: &[u8], challenge: &[u8; CHALLENGE_BYTES]) -> [u8; DIGEST_BYTES] {
    let (first, second) = challenge.split_at(CHALLENGE_BYTES / 2);
    let hash = Md5::new().chain_update(first).chain_update(secret);
    hash.chain_update(second).finalize().into()
}

/// Whether an answer is the right one. Takes as long for a wrong one, wherever it is wrong.
#[must_use]
pub fn is_right(given: &[u8; DIGEST_BYTES], right: &[u8; DIGEST_BYTES]) -> bool {
    let pairs = right.iter().zip(given);
    pairs.fold(0, |all, (right, given)| all | (right ^ given)) == 0
}

/// A challenge, and what the client answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof {
    /// What the client was given on this connection, zeros when it did not ask.
    pub challenge: [u8; CHALLENGE_BYTES],
    /// Its answer.
    pub passcode: [u8; DIGEST_BYTES],
}

impl Proof {
    /// Whether there was a challenge: zeros would let an answer be prepared.
    pub(super) fn has_challenge(&self) -> bool {
        self.challenge != [0; CHALLENGE_BYTES]
    }

    /// Whether it is for this password.
    #[must_use]
    pub fn proves(&self, password: &PasswordDigest) -> bool {
        is_right(&self.passcode, &password.passcode(&self.challenge))
    }
}
