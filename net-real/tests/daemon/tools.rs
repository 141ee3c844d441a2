//! `mfsha-admin fs` against a real node, each command; and what the pages of HTTP look like.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::Cluster;

#[test]
fn every_command_on_the_tree_does_what_it_says() {
    let mut cluster = Cluster::new(1);
    cluster.start_all();
    let ok = |line: &[&str]| cluster.admin_ok(&[&["fs"], line].concat());
    let json = |line: &[&str]| cluster.admin_json(&[&["fs"], line].concat());
    let refused = |line: &[&str]| {
        let (good, said) = cluster.admin(&[&["fs"], line].concat());
        assert!(!good, "{line:?}: {said}");
        said
    };
    ok(&["mkdir", "/d", "--mode", "750"]);
    ok(&["create", "/d/file", "--mode", "640"]);
    ok(&["ln", "/d/file", "/d/name"]);
    ok(&["ln", "-s", "file", "/d/link"]);
    assert_eq!(ok(&["readlink", "/d/link"]).trim(), "file");
    let line = ["setattr", "/d/name", "--mode", "600", "--uid", "7"];
    let times = ["--mtime", "1000000000", "--atime", "900000000"];
    ok(&[&line[..], &["--gid", "8"], &times].concat());
    let stat = json(&["stat", "/d/file"]);
    let wanted = [
        ("uid", 7),
        ("gid", 8),
        ("nlink", 2),
        ("length", 0),
        ("mtime", 1_000_000_000),
        ("atime", 900_000_000),
    ];
    for (name, value) in wanted {
        assert_eq!(stat[name], value, "{name}: {stat}");
    }
    assert_eq!(stat["mode"], 0o600, "{stat}");
    ok(&["truncate", "/d/file", "12345"]);
    assert_eq!(json(&["stat", "/d/file"])["length"], 12_345);
    ok(&["xattr", "set", "/d/file", "user.a", "one"]);
    assert_eq!(ok(&["xattr", "get", "/d/name", "user.a"]).trim(), "one");
    assert!(ok(&["xattr", "list", "/d/file"]).contains("user.a"));
    ok(&["xattr", "rm", "/d/file", "user.a"]);
    refused(&["xattr", "get", "/d/file", "user.a"]);
    ok(&["mv", "/d/name", "/moved"]);
    let listed = ok(&["ls", "/"]);
    assert!(listed.contains("moved") && listed.contains('d'), "{listed}");
    let tree = ok(&["tree", "/", "--depth", "3"]);
    for name in ["moved", "file", "link"] {
        assert!(tree.contains(name), "{name}: {tree}");
    }
    let said = refused(&["rmdir", "/d"]);
    assert!(said.to_lowercase().contains("not empty"), "{said}");
    ok(&["rm", "/d/link"]);
    ok(&["rm", "/d/file"]);
    ok(&["rmdir", "/d"]);
    refused(&["stat", "/d"]);
    assert_eq!(json(&["stat", "/moved"])["nlink"], 1);
    let sums = json(&["statfs"]);
    // The root, the file that is left, and what the trash keeps of the rest is no inode of names.
    assert!(sums["inodes"].as_u64() >= Some(2), "{sums}");
}

/// Names that `# TYPE` declares, with their types, and the samples; panics where the text breaks a
/// rule of OpenMetrics 1.0.0.
fn parse_openmetrics(text: &str) -> (BTreeMap<String, String>, BTreeMap<String, f64>) {
    let (mut families, mut samples) = (BTreeMap::new(), BTreeMap::new());
    let mut helped = BTreeSet::new();
    let body = text
        .strip_suffix("# EOF\n")
        .expect("it ends with its end marker");
    for line in body.lines() {
        assert!(!line.is_empty(), "an empty line");
        let words: Vec<_> = line.splitn(4, ' ').collect();
        match words[..] {
            ["#", "TYPE", name, kind] => {
                let before = families.insert(name.to_owned(), kind.to_owned());
                assert_eq!(before, None, "{name} is declared twice");
            }
            ["#", "HELP", name, help] => {
                assert!(help.ends_with('.'), "{line}");
                assert!(helped.insert(name.to_owned()), "{name} is explained twice");
            }
            ["#", "UNIT", ..] => {}
            _ => {
                let (series, value) = line.rsplit_once(' ').expect("a name and a value");
                let value: f64 = value.parse().expect("a number");
                let name = series.split('{').next().expect("a part");
                let family = ["_total", "_bucket", "_sum", "_count"]
                    .iter()
                    .find_map(|end| {
                        name.strip_suffix(end)
                            .filter(|it| families.contains_key(*it))
                    })
                    .unwrap_or(name);
                assert!(families.contains_key(family), "{line}: no type");
                assert!(helped.contains(family), "{line}: no help");
                let counts = families[family] == "counter";
                assert!(!counts || name.ends_with("_total"), "{line}");
                let before = samples.insert(series.to_owned(), value);
                assert_eq!(before, None, "{series} is there twice");
            }
        }
    }
    (families, samples)
}

#[test]
fn metrics_are_openmetrics_and_say_what_is_so() {
    let mut cluster = Cluster::new(1);
    cluster.start_all();
    cluster.create("/one");
    let (code, text) = cluster.get(1, "/metrics").expect("it answers");
    assert_eq!(code, 200);
    let (families, samples) = parse_openmetrics(&text);
    assert!(families.len() > 20, "{families:?}");
    for name in families.keys() {
        assert!(name.starts_with("mfsha_"), "{name}");
    }
    for (name, value) in [("mfsha_leads", 1.0), ("mfsha_voters", 1.0)] {
        assert_eq!(samples.get(name), Some(&value), "{name}: {text}");
    }
    for name in ["mfsha_log_bytes", "mfsha_applied_index", "mfsha_term"] {
        assert!(samples.get(name) > Some(&0.0), "{name}: {text}");
    }
    let broken = [
        text.replace("# EOF\n", ""),
        text.replacen("# TYPE mfsha_voters", "# NO mfsha_voters", 1),
        text.replacen("mfsha_voters 1", "mfsha_voters one", 1),
    ];
    for text in broken {
        std::panic::catch_unwind(|| parse_openmetrics(&text)).expect_err("it is broken");
    }
}
