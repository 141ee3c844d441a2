//! Good lines and their values.

use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::super::*;
use super::{Machine, good};
use crate::id::InodeId;
use crate::namespace::op::{Disable, SessionParams};

fn ip(text: &str) -> Ipv4Addr {
    text.parse().expect("an address")
}

fn tree(path: &str) -> ExportPath {
    ExportPath::Tree(path.into())
}

/// A record for everybody and the root, changed.
fn everybody(change: impl FnOnce(&mut Record)) -> Record {
    let mut record = Record::defaults();
    record.to = Ipv4Addr::BROADCAST;
    change(&mut record);
    record
}

/// The only record of a file with this line.
fn one(line: &str) -> Record {
    let exports = good(line);
    let [record] = exports.records() else {
        panic!("{line}: {exports:?}");
    };
    record.clone()
}

#[test]
fn the_file_that_debian_ships_means_what_it_says() {
    let exports = good(
        "# Allow everything but \"meta\".\n*\t\t\t/\trw,alldirs,admin,maproot=0:0\n\n\
         # Allow \"meta\".\r\n*\t\t\t.\trw\r\n",
    );
    let whole = everybody(|record| {
        record.flags.read_only = false;
        record.flags.admin = true;
        record.all_dirs = true;
        (record.root_uid, record.root_gid) = (0, 0);
    });
    let meta = everybody(|record| {
        record.flags.read_only = false;
        record.path = ExportPath::Meta;
        (record.root_uid, record.root_gid) = (0, 0);
    });
    assert_eq!(exports.records(), [whole.clone(), meta]);
    let info = Vec::new();
    let params = whole.session_params(InodeId::ROOT, 0, Ipv4Addr::UNSPECIFIED, info);
    assert_eq!(params, SessionParams::unrestricted());
}

#[test]
fn addresses_are_read_in_every_form() {
    for (word, from, to) in [
        ("*", "0.0.0.0", "255.255.255.255"),
        ("10.0.0.7", "10.0.0.7", "10.0.0.7"),
        ("10.0.0.77/24", "10.0.0.0", "10.0.0.255"),
        ("10.0.0.77/32", "10.0.0.77", "10.0.0.77"),
        ("10.0.0.77/0", "0.0.0.0", "255.255.255.255"),
        ("10.0.0.77/255.255.0.0", "10.0.0.0", "10.0.255.255"),
        ("10.1.2.3/255.0.255.0", "10.0.2.0", "10.255.2.255"),
        ("10.0.0.7-10.0.1.9", "10.0.0.7", "10.0.1.9"),
        ("10.0.0.7-10.0.0.7", "10.0.0.7", "10.0.0.7"),
        ("010.000.0.08", "10.0.0.8", "10.0.0.8"),
    ] {
        let record = one(&format!("{word} /"));
        assert_eq!((record.from, record.to), (ip(from), ip(to)), "{word}");
    }
}

#[test]
fn paths_lose_the_slashes_at_their_ends() {
    for (word, path) in [
        ("/", tree("")),
        ("///", tree("")),
        ("/a/b", tree("a/b")),
        ("//a//b//", tree("a//b")),
        ("/.", tree(".")),
        (".", ExportPath::Meta),
    ] {
        assert_eq!(one(&format!("* {word}")).path, path, "{word}");
    }
}

#[test]
fn every_option_has_its_value() {
    type Change = fn(&mut Record);
    let cases: &[(&str, Change)] = &[
        ("ro", |_| {}),
        ("readonly", |_| {}),
        ("rw", |r| r.flags.read_only = false),
        ("readwrite", |r| r.flags.read_only = false),
        ("rw,ro", |_| {}),
        ("alldirs", |r| r.all_dirs = true),
        ("dynamicip", |r| r.flags.dynamic_ip = true),
        ("ignoregid", |r| r.flags.ignore_gid = true),
        ("admin", |r| r.flags.admin = true),
        ("canchangequota", |r| r.flags.admin = true),
        (" alldirs , admin\t, ro ", |r| {
            r.all_dirs = true;
            r.flags.admin = true;
        }),
        ("maproot=1:2", |r| (r.root_uid, r.root_gid) = (1, 2)),
        ("maproot=0", |r| (r.root_uid, r.root_gid) = (0, 100)),
        ("maproot=nobody", |r| {
            (r.root_uid, r.root_gid) = (65_534, 65_533)
        }),
        ("maproot=nobody:staff", |r| {
            (r.root_uid, r.root_gid) = (65_534, 50)
        }),
        ("maproot=4294967295:staff", |r| {
            (r.root_uid, r.root_gid) = (u32::MAX, 50)
        }),
        ("mapall=5:6", |r| {
            r.flags.map_all = true;
            (r.map_all_uid, r.map_all_gid) = (5, 6);
            (r.root_uid, r.root_gid) = (5, 6);
        }),
        ("mapall=5:6,maproot=1:2", |r| {
            r.flags.map_all = true;
            (r.map_all_uid, r.map_all_gid) = (5, 6);
            (r.root_uid, r.root_gid) = (1, 2);
        }),
        ("password=secret", |r| {
            r.password = Some(password::PasswordDigest::of(b"secret"));
        }),
        ("md5pass=5ebe2294ecd0e0f08eab7690d2A6EE69", |r| {
            r.password = Some(password::PasswordDigest::of(b"secret"));
        }),
        ("password=a = #b", |r| {
            r.password = Some(password::PasswordDigest::of(b"a = #b"));
        }),
        ("minversion=3", |r| r.min_version = 0x03_0000),
        ("minversion=3.1", |r| r.min_version = 0x03_0100),
        ("minversion=3.0.117", |r| r.min_version = 0x03_0075),
        ("mingoal=2,maxgoal=3", |r| (r.goal_min, r.goal_max) = (2, 3)),
        ("maxgoal=1", |r| r.goal_max = 1),
        ("mintrashtime=0", |_| {}),
        ("mintrashtime=90", |r| r.trash_seconds_min = 90),
        ("mintrashtime=1w2D3h4M5s", |r| {
            r.trash_seconds_min = 604_800 + 2 * 86_400 + 3 * 3_600 + 4 * 60 + 5;
        }),
        ("maxtrashtime=2h,mintrashtime=1h", |r| {
            (r.trash_seconds_min, r.trash_seconds_max) = (3_600, 7_200);
        }),
        ("maxtrashtime=4294967295", |_| {}),
        ("umask=0027", |r| r.umask = 0o027),
        ("umask=0777", |r| r.umask = 0o777),
        ("disable=chown:setfacl", |r| r.disables = 1 | (1 << 24)),
        ("disable=chown, disable=chmod : read", |r| {
            r.disables = 0b11 | (1 << 14)
        }),
    ];
    for (options, change) in cases {
        let expected = everybody(change);
        assert_eq!(one(&format!("* / {options}")), expected, "{options}");
    }
}

#[test]
fn operations_have_the_bits_of_the_protocol() {
    for (bit, (name, disable)) in DISABLES.iter().enumerate() {
        assert_eq!(*disable as usize, bit, "{name}");
        let record = one(&format!("* / disable={name}"));
        assert_eq!(record.disables, 1 << bit, "{name}");
    }
    assert_eq!(DISABLES.last().map(|last| last.1), Some(Disable::SetFacl));
}

#[test]
fn defaults_count_for_the_lines_behind_them_and_are_for_nobody() {
    let exports = good(
        "10.0.0.1 /\ndefaults rw,mapall=5:6\n10.0.0.2 /a\n10.0.0.3 /b ro\n\
         DEFAULTS maproot=7:8\n10.0.0.4 .\n10.0.0.5 /c mapall=9:9\n",
    );
    let seen = exports.records().iter().map(|record| {
        let last = record.from.octets()[3];
        let writable = !record.flags.read_only;
        (last, writable, record.map_all_uid, record.root_uid)
    });
    let expected = [
        (1, false, 999, 999),
        (0, true, 5, 5),
        (2, true, 5, 5),
        (3, false, 5, 5),
        (0, true, 5, 7),
        (4, true, 5, 7),
        (5, true, 9, 7),
    ];
    assert_eq!(seen.collect::<Vec<_>>(), expected);
    assert_eq!(exports.records()[1].to, Ipv4Addr::UNSPECIFIED);
}

#[test]
fn what_is_suspicious_comes_beside_the_records() {
    let text = "* . rw,alldirs,disable=read\n* / canchangequota\n* / minversion=3.0.117\n";
    let (exports, warnings) = Exports::parse(text.as_bytes(), &NoAccounts).expect("good");
    assert_eq!(exports.records().len(), 3);
    let warnings: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "line 1, character 8: alldirs means nothing for the meta file system, and is ignored",
            "line 1, character 16: disable means nothing for the meta file system, and is ignored",
            "line 2, character 5: canchangequota is an old name of admin",
            "line 3, character 5: minversion=3.0.117 is compared as MooseFS does, without \
             doubling the last number: it lets clients from 3.0.59 on in",
        ]
    );
}

#[test]
fn the_checksum_is_the_records_in_any_order() {
    let lines = [
        "* / rw",
        "10.0.0.1 /a password=x",
        "10.0.0.1 . rw",
        "* / umask=0022",
    ];
    let of = |lines: &[&str]| good(&lines.join("\n")).checksum();
    let all = of(&lines);
    let mut other = lines;
    other.reverse();
    assert_eq!(of(&other), all);
    assert_eq!(
        good("# x\n\n* / rw").checksum(),
        good("* / readwrite").checksum()
    );
    // Written down so that a later version gives the same sessions their place.
    assert_eq!(of(&["* / rw"]), 3_321_379_126_476_132_582);
}

/// Whatever is changed in a record, its checksum is another one.
#[test]
fn every_value_counts_for_the_checksum() {
    let mut seen = std::collections::BTreeMap::new();
    for options in [
        "ro",
        "rw",
        "alldirs",
        "dynamicip",
        "ignoregid",
        "admin",
        "maproot=1:999",
        "maproot=999:1",
        "mapall=1:999",
        "mapall=999:1",
        "mapall=1:999,maproot=999:999",
        "password=a",
        "password=b",
        "minversion=1",
        "mingoal=2",
        "maxgoal=8",
        "mintrashtime=1",
        "maxtrashtime=1",
        "umask=0001",
        "disable=read",
    ] {
        for place in ["* /", "* .", "* /a", "10.0.0.0/8 /", "10.0.0.0/9 /"] {
            let line = format!("{place} {options}");
            let exports = good(&line);
            let record = exports.records()[0].clone();
            let before = seen.insert(exports.checksum(), record.clone());
            assert!(before.is_none_or(|before| before == record), "{line}");
        }
    }
    assert!(seen.len() > 90, "{}", seen.len());
}

proptest! {
    /// Random bytes, and random pieces of good lines: an error or records, never a panic.
    #[test]
    fn no_text_panics(bytes: Vec<u8>, pieces in proptest::collection::vec(0..PIECES.len(), 0..40)) {
        let _ = Exports::parse(&bytes, &Machine);
        let text: String = pieces.iter().map(|piece| PIECES[*piece]).collect();
        if let Err(error) = Exports::parse(text.as_bytes(), &Machine) {
            prop_assert!(!error.faults.is_empty());
        }
    }
}

const PIECES: [&str; 34] = [
    "*",
    " ",
    "\n",
    "\t",
    ",",
    "=",
    "/",
    ".",
    "10.0.0.1",
    "-",
    "/24",
    "DEFAULTS",
    "rw",
    "ro",
    "maproot=",
    "mapall=",
    "0:0",
    "nobody",
    "password=",
    "s3cret",
    "md5pass=",
    "minversion=",
    "3.0.1",
    "mingoal=",
    "9",
    "1w",
    "2h",
    "mintrashtime=",
    "umask=0",
    "22",
    "disable=",
    "read",
    "#",
    "\u{e4}",
];
