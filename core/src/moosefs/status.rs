//! Statuses: what MooseFS's programs tell each other when something was not done.
//!
//! That it was done (0) is no status here: a reply is a `Result`.

use std::fmt;
use std::num::NonZeroU8;

/// A status other than 0. Numbers that are not named here are kept as they are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Status(NonZeroU8);

macro_rules! statuses {
    ($($number:literal $name:ident $text:literal,)*) => {
        impl Status {
            $(
                #[doc = $text]
                pub const $name: Self = Self(NonZeroU8::new($number).expect("above 0"));
            )*

            /// All that have a name, in order.
            pub const NAMED: &[Self] = &[$(Self::$name),*];

            /// MooseFS's name of it.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self.number() {
                    $($number => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

statuses! {
    1 EPERM "Not permitted.",
    2 ENOTDIR "Not a directory.",
    3 ENOENT "No such file or directory.",
    4 EACCES "Permission denied.",
    5 EEXIST "File exists.",
    6 EINVAL "Invalid argument.",
    7 ENOTEMPTY "Directory not empty.",
    8 CHUNKLOST "No copy of the chunk, and none to be expected.",
    9 OUTOFMEMORY "Out of memory.",
    10 INDEXTOOBIG "Chunk index too big.",
    11 LOCKED "Chunk locked by a writer.",
    12 NOCHUNKSERVERS "No chunkservers.",
    13 NOCHUNK "No such chunk.",
    14 CHUNKBUSY "An operation on the chunk is running.",
    15 REGISTER "Wrong registration.",
    16 NOTDONE "Not done by the chunkservers.",
    17 NOTOPENED "Not open in this session.",
    18 NOTSTARTED "Not started.",
    19 WRONGVERSION "Wrong version of a chunk.",
    20 CHUNKEXIST "Chunk exists.",
    21 NOSPACE "No space left.",
    22 IO "Input or output failed.",
    23 BNUMTOOBIG "Block number too big.",
    24 WRONGSIZE "Wrong size.",
    25 WRONGOFFSET "Wrong offset.",
    26 CANTCONNECT "Cannot connect.",
    27 WRONGCHUNKID "Wrong chunk id.",
    28 DISCONNECTED "Disconnected.",
    29 CRC "Wrong checksum.",
    30 DELAYED "Delayed.",
    31 CANTCREATEPATH "Cannot create the path.",
    32 MISMATCH "Data mismatch.",
    33 EROFS "Read-only file system.",
    34 QUOTA "Quota exceeded.",
    35 BADSESSIONID "No such session.",
    36 NOPASSWORD "A password is needed.",
    37 BADPASSWORD "Wrong password.",
    38 ENOATTR "No such attribute.",
    39 ENOTSUP "Not supported.",
    40 ERANGE "Result too large.",
    41 NOTFOUND "Not found.",
    42 ACTIVE "Still active.",
    43 CSNOTPRESENT "A chunkserver that has the chunk is away.",
    44 WAITING "The lock has to be waited for.",
    45 EAGAIN "Try again.",
    46 EINTR "Interrupted.",
    47 ECANCELED "Cancelled.",
    48 ENOENT_NOCACHE "No such file or directory, and not to be remembered as missing.",
    49 EPERM_NOTADMIN "Needs an administrator's session.",
    50 CLASSEXISTS "Storage class exists.",
    51 CLASSLIMITREACH "Too many storage classes.",
    52 NOSUCHCLASS "No such storage class.",
    53 CLASSINUSE "Storage class in use.",
}

impl Status {
    /// What a byte of the wire says: that it was done, or why not.
    ///
    /// # Errors
    /// The status, when the byte is not 0.
    pub const fn of_byte(byte: u8) -> Result<(), Self> {
        match NonZeroU8::new(byte) {
            None => Ok(()),
            Some(number) => Err(Self(number)),
        }
    }

    /// The byte that says how it went.
    #[must_use]
    pub const fn to_byte(result: Result<(), Self>) -> u8 {
        match result {
            Ok(()) => 0,
            Err(status) => status.number(),
        }
    }

    /// Its number, 1 to 255.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0.get()
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "status {}", self.number()),
        }
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_done_or_a_status() {
        assert_eq!(Status::of_byte(0), Ok(()));
        for byte in 1..=u8::MAX {
            let status = Status::of_byte(byte).unwrap_err();
            assert_eq!(Status::to_byte(Err(status)), byte);
            assert_eq!(status.name().is_some(), byte <= 53);
        }
        assert_eq!(Status::to_byte(Ok(())), 0);
    }

    #[test]
    fn names_and_numbers_go_together() {
        let numbers: Vec<u8> = Status::NAMED.iter().map(|named| named.number()).collect();
        assert_eq!(numbers, (1..=53).collect::<Vec<u8>>());
        assert_eq!(Status::ENOENT_NOCACHE.number(), 48);
        assert_eq!(Status::EROFS.to_string(), "EROFS");
        assert_eq!(Status::of_byte(99).unwrap_err().to_string(), "status 99");
    }
}
