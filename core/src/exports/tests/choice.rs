//! Which record counts for whom.

use std::net::Ipv4Addr;

use super::super::password::{PasswordDigest, Proof};
use super::super::*;
use super::good;
use crate::moosefs::version::Version;

const CHALLENGE: [u8; 32] = [
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26,
    27, 28, 29, 30, 31, 32,
];

fn asker(path: &str) -> Asker<'_> {
    Asker {
        ip: Ipv4Addr::new(10, 0, 0, 7),
        version: Version::OURS,
        path: Some(path.as_bytes()),
        proof: None,
    }
}

fn proof(password: &str) -> Option<Proof> {
    let passcode = PasswordDigest::of(password.as_bytes()).passcode(&CHALLENGE);
    Some(Proof {
        challenge: CHALLENGE,
        passcode,
    })
}

/// Number of the record that counts.
fn chosen(exports: &Exports, asker: &Asker<'_>) -> Result<usize, Refusal> {
    let record = exports.choose(asker)?;
    let at = |other: &Record| std::ptr::eq(other, record);
    Ok(exports.records().iter().position(at).expect("one of them"))
}

#[test]
fn the_digests_are_those_of_md5() {
    let hex = PasswordDigest::of_hex(b"d41d8cd98f00b204e9800998ecf8427e");
    assert_eq!(Some(PasswordDigest::of(b"")), hex);
    let hex = PasswordDigest::of_hex(b"5ebe2294ecd0e0f08eab7690d2a6ee69");
    assert_eq!(Some(PasswordDigest::of(b"secret")), hex);
    let passcode = PasswordDigest::of(b"secret").passcode(&CHALLENGE);
    let hex = PasswordDigest::of_hex(b"17199a0fe8770ff276f900c0b256e435");
    assert_eq!(hex, Some(PasswordDigest(passcode)));
    for digits in [
        &b""[..],
        b"5ebe",
        b"5ebe2294ecd0e0f08eab7690d2a6ee6g",
        &[b'0'; 34],
    ] {
        assert_eq!(PasswordDigest::of_hex(digits), None);
    }
}

#[test]
fn addresses_paths_and_versions_have_to_fit() {
    let exports = good("10.0.0.0/24 /a rw");
    let mut ask = asker("/a");
    assert_eq!(chosen(&exports, &ask), Ok(0));
    for path in ["a", "/a/", "//a//"] {
        assert_eq!(chosen(&exports, &asker(path)), Ok(0), "{path}");
    }
    for path in ["/", "", "/b", "/ab", "/a/b"] {
        assert_eq!(
            chosen(&exports, &asker(path)),
            Err(Refusal::NoExport),
            "{path}"
        );
    }
    ask.path = None;
    assert_eq!(chosen(&exports, &ask), Err(Refusal::NoExport));
    ask = asker("/a");
    ask.ip = Ipv4Addr::new(10, 0, 1, 0);
    assert_eq!(chosen(&exports, &ask), Err(Refusal::NoExport));

    let all = good("* /a alldirs\n* / rw");
    for (path, expected) in [("/a", Ok(0)), ("/a/b/c", Ok(0)), ("/", Ok(1))] {
        assert_eq!(chosen(&all, &asker(path)), expected, "{path}");
    }
    assert_eq!(chosen(&all, &asker("/ab")), Err(Refusal::NoExport));
    let root = good("* / alldirs");
    assert_eq!(chosen(&root, &asker("/any/thing")), Ok(0));

    let meta = good("* .\n* /");
    ask = asker("");
    assert_eq!(chosen(&meta, &ask), Ok(1));
    ask.path = None;
    assert_eq!(chosen(&meta, &ask), Ok(0));
}

/// The number of the file is not doubled, that of the client is.
#[test]
fn a_lowest_version_is_compared_as_moosefs_does() {
    let exports = good("* / minversion=3.0.117");
    let mut ask = asker("/");
    for (version, expected) in [
        (Version::new(3, 0, 58), Err(Refusal::NoExport)),
        (Version::new(3, 0, 59), Ok(0)),
        (Version::new(3, 1, 0), Ok(0)),
        (Version::new(2, 255, 127), Err(Refusal::NoExport)),
    ] {
        ask.version = version;
        assert_eq!(chosen(&exports, &ask), expected, "{version}");
    }
}

/// Two lines, and which one counts in this order and in the other.
#[test]
fn the_better_record_counts() {
    let password = "password=x";
    for (first, second, ahead, behind) in [
        // The same: the first.
        ("/ ro", "/ ro", 0, 0),
        ("/ ro", "/ rw", 1, 0),
        ("/ ro", "/ ro,maproot=0:0", 1, 0),
        ("/ ro", "/ ro,admin", 1, 0),
        ("/ ro", &format!("/ ro,{password}"), 1, 0),
        ("/ ro,alldirs", "/a ro", 1, 0),
        // One is better in one way, the other in another: each takes the place of the one before.
        ("/ rw", "/ ro,maproot=0:0", 1, 1),
        ("/ rw", "/ ro,admin", 1, 1),
        ("/ rw,alldirs", "/a ro", 1, 1),
        ("/ maproot=0:0", "/ admin", 1, 1),
        ("/ admin", &format!("/ {password}"), 1, 1),
        ("/ alldirs,password=x", "/a ro", 1, 1),
        // Better in two ways.
        ("/ ro", "/ rw,admin,maproot=0:0", 1, 0),
    ] {
        let path = if second.starts_with("/a") { "/a" } else { "/" };
        let mut ask = asker(path);
        ask.proof = proof("x");
        let exports = good(&format!("* {first}\n* {second}"));
        assert_eq!(chosen(&exports, &ask), Ok(ahead), "{first} then {second}");
        let exports = good(&format!("* {second}\n* {first}"));
        assert_eq!(chosen(&exports, &ask), Ok(behind), "{second} then {first}");
    }
}

#[test]
fn three_records_are_compared_two_at_a_time() {
    let exports = good("* / rw\n* / ro,maproot=0:0\n* / rw");
    // The second takes the first one's place, and the third the second's.
    assert_eq!(chosen(&exports, &asker("/")), Ok(2));
}

#[test]
fn a_password_has_to_be_proved() {
    let exports = good("* / rw,password=secret");
    let mut ask = asker("/");
    assert_eq!(chosen(&exports, &ask), Err(Refusal::NoPassword));
    ask.proof = proof("wrong");
    assert_eq!(chosen(&exports, &ask), Err(Refusal::BadPassword));
    ask.proof = proof("secret");
    assert_eq!(chosen(&exports, &ask), Ok(0));
    // An answer to no challenge proves nothing, though it is the right one for zeros.
    let challenge = [0; 32];
    let passcode = PasswordDigest::of(b"secret").passcode(&challenge);
    ask.proof = Some(Proof {
        challenge,
        passcode,
    });
    assert_eq!(chosen(&exports, &ask), Err(Refusal::NoPassword));
    // Another path has no record at all.
    ask = asker("/a");
    assert_eq!(chosen(&exports, &ask), Err(Refusal::NoExport));
}

#[test]
fn without_the_password_the_open_record_counts() {
    let exports = good("* / ro\n* / rw,password=one\n* / rw,admin,password=two");
    let mut ask = asker("/");
    assert_eq!(chosen(&exports, &ask), Ok(0));
    for (password, expected) in [("one", 1), ("two", 2), ("three", 0)] {
        ask.proof = proof(password);
        assert_eq!(chosen(&exports, &ask), Ok(expected), "{password}");
    }
}

#[test]
fn a_meta_session_maps_nobody_and_sees_no_tree() {
    let exports = good("DEFAULTS mapall=5:6\n* . rw,dynamicip,mingoal=2");
    let record = &exports.records()[1];
    let (root, ip) = (crate::id::InodeId::ROOT, Ipv4Addr::new(10, 0, 0, 7));
    let params = record.session_params(root, 9, ip, b"/mnt".to_vec());
    assert_eq!(params.root, crate::id::InodeId(0));
    let ids = [
        params.root_uid,
        params.root_gid,
        params.map_all_uid,
        params.map_all_gid,
    ];
    assert_eq!(ids, [0; 4]);
    assert_eq!((params.goal_min, params.exports_checksum), (2, 9));
    assert_eq!(params.peer_ip, 0x0A00_0007);
    assert!(params.flags.dynamic_ip, "its flags are its own");
}
