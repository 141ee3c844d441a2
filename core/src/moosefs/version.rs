//! Versions of MooseFS programs, as they stand on the wire.

use std::fmt;

/// A version: `major << 16 | middle << 8 | minor * 2`, the lowest bit set in the commercial
/// edition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u32);

impl Version {
    /// The version that this program reports: 3.0.117, so that every program takes the newest
    /// forms that are known here.
    pub const OURS: Self = Self::new(3, 0, 117);

    /// Of its three numbers; `major` at least 2.
    #[must_use]
    pub const fn new(major: u16, middle: u8, minor: u8) -> Self {
        assert!(minor < 128, "the minor number is doubled within one byte");
        Self(((major as u32) << 16) | ((middle as u32) << 8) | (minor as u32 * 2))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, low, middle, minor] = self.0.to_be_bytes();
        let major = u16::from_be_bytes([major, low]);
        write!(f, "{major}.{middle}.{}", minor / 2)?;
        if minor % 2 == 1 {
            f.write_str(" PRO")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reported_version_is_the_one_of_the_captures() {
        assert_eq!(Version::OURS.0, 0x0003_00EA);
        assert_eq!(Version::OURS.to_string(), "3.0.117");
        assert_eq!(Version(0x0003_00EB).to_string(), "3.0.117 PRO");
    }
}
