//! The secret that chunkservers and nodes share (`AUTH_CODE`).

use std::fmt;

use crate::exports::password::{self, CHALLENGE_BYTES, DIGEST_BYTES};

/// A secret, which is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct AuthCode(Vec<u8>);

impl fmt::Debug for AuthCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthCode(..)")
    }
}

impl AuthCode {
    /// As it stands in the settings.
    #[must_use]
    pub fn new(secret: &[u8]) -> Self {
        Self(secret.to_vec())
    }

    /// What a chunkserver that knows it answers to a challenge.
    #[must_use]
    pub fn passcode(&self, challenge: &[u8; CHALLENGE_BYTES]) -> [u8; DIGEST_BYTES] {
        password::passcode(&self.0, challenge)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passcode_is_md5_of_the_secret_between_the_halves_of_the_challenge() {
        let challenge: [u8; 32] = std::array::from_fn(|at| at as u8);
        // md5sum of the bytes 0 to 15, "sesame", and the bytes 16 to 31.
        let right = "daabe2374e1c4461909cf52fe87f2184";
        let given = AuthCode::new(b"sesame").passcode(&challenge);
        let given: String = given.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(given, right);
        let other = AuthCode::new(b"sesam").passcode(&challenge);
        assert_ne!(other, AuthCode::new(b"sesame").passcode(&challenge));
        assert_eq!(format!("{:?}", AuthCode::new(b"sesame")), "AuthCode(..)");
    }
}
