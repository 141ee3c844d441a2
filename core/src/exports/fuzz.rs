//! A file of exports that holds anything.

use std::net::Ipv4Addr;

use super::{Asker, Exports, NoAccounts};
use crate::moosefs::version::Version;

/// Reads `bytes` as `mfsexports.cfg`, and has clients of all kinds choose from what it says.
///
/// # Panics
/// When reading does, when a fault names no line of the file, or when a record is chosen that the
/// file does not hold.
pub fn fuzz_exports(bytes: &[u8]) {
    let lines = bytes.split(|byte| *byte == b'\n').count();
    let exports = match Exports::parse(bytes, &NoAccounts) {
        Ok((exports, _)) => exports,
        Err(error) => {
            assert!(!error.to_string().is_empty(), "an error says something");
            return;
        }
    };
    assert!(
        exports.records().len() <= lines,
        "a line is one record at most"
    );
    let (again, _) = Exports::parse(bytes, &NoAccounts).expect("it was read before");
    assert_eq!(again.checksum(), exports.checksum(), "it says one thing");
    for ip in [Ipv4Addr::LOCALHOST, Ipv4Addr::new(10, 0, 0, 1)] {
        for path in [Some(b"/".as_slice()), Some(b"/a/b"), None] {
            let asker = Asker {
                ip,
                version: Version::OURS,
                path,
                proof: None,
            };
            if let Ok(record) = exports.choose(&asker) {
                assert!(exports.records().contains(record), "it is in the file");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::fuzz_exports;

    proptest! {
        #[test]
        fn anything_may_be_in_the_file(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
            fuzz_exports(&bytes);
        }

        #[test]
        fn words_of_the_language_may_come_in_any_order(words in prop::collection::vec(
            prop::sample::select(vec![
                "*", "10.0.0.0/8", "10.0.0.1-10.0.0.9", "/", ".", "/a", "rw", "ro", "admin",
                "alldirs", "maproot=0", "maproot=1:2", "mapall=5", "password=x", "md5pass=00",
                "minversion=2.0", "mingoal=2", "maxgoal=9", "mintrashtime=1h", "disable=rename",
                "umask=022", "#", ",", "\n", " ", "=", "ignoregid", "nonrootallowedtosetquota",
            ]),
            0..60,
        )) {
            fuzz_exports(words.concat().as_bytes());
            fuzz_exports(words.join(" ").as_bytes());
            fuzz_exports(words.join(",").as_bytes());
        }
    }
}
