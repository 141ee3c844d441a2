//! A cluster that begins with what the real master left, and a file of it again.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::lifecycle::{bare, with};
use crate::support::Cluster;

const REAL: &[u8] =
    include_bytes!("../../../core/src/moosefs/metadata/testdata/written-by-3.0.117.mfs");

fn file(cluster: &Cluster, bytes: &[u8]) -> (PathBuf, String) {
    let path = cluster.data(1).with_file_name("metadata.mfs");
    fs::write(&path, bytes).unwrap();
    let option = format!("--import-metadata={}", path.display());
    (path, option)
}

/// What a start that ends by itself comes to.
fn refused(cluster: &mut Cluster, node: u64, command: Command) -> (Option<i32>, String) {
    let before = cluster.said(node).len();
    cluster.start_by(node, command);
    let code = cluster.ended(node).code();
    (code, cluster.said(node)[before..].to_owned())
}

#[test]
fn a_cluster_begins_with_an_imported_file_and_gives_it_back() {
    let mut cluster = Cluster::new(3);
    let (_, import) = file(&cluster, REAL);
    let first = with(bare(&cluster, 1), &["--init-cluster", &import]);
    cluster.start_by(1, first);
    cluster.ready(1);
    assert!(cluster.said(1).contains("imported"), "{}", cluster.said(1));
    let peer = format!("--peer={}", cluster.ip(1));
    for node in 2..=3 {
        let joins = with(bare(&cluster, node), &["--join-cluster", &peer]);
        cluster.start_by(node, joins);
        cluster.until(node, "says that it votes", || {
            cluster.said(node).contains("this node is a voter")
        });
        cluster.ready(node);
    }
    cluster.create("/after");
    // The node that imported is not needed any more, and comes back.
    cluster.kill(1);
    let listed = cluster.admin_ok(&["fs", "ls", "/dir"]);
    for name in ["f1", "f2", "f3", "hole", "sub", "with space"] {
        assert!(listed.contains(name), "{listed}");
    }
    let plain = bare(&cluster, 1);
    cluster.start_by(1, plain);
    cluster.ready(1);
    cluster.all_there(&["/after".to_owned()]);

    let out = cluster.data(1).with_file_name("out.mfs");
    let out = out.to_str().unwrap();
    let said = cluster.admin_json(&["export-metadata", out]);
    let contents = &said["contents"];
    assert_eq!(contents["metaid"], 7_713_129_847_508_564_713_u64, "{said}");
    assert_eq!(contents["records"]["files in the trash"], 1, "{said}");
    assert_eq!(contents["records"]["chunks"], 6, "{said}");
    assert_eq!(contents["records"]["directories"], 4, "{said}");
    // A file that is there is left alone.
    let (good, why) = cluster.admin(&["export-metadata", out]);
    assert!(!good && why.contains("is there already"), "{why}");
}

#[test]
fn nothing_is_imported_over_a_state_or_from_a_damaged_file() {
    let mut cluster = Cluster::new(1);
    let (_, import) = file(&cluster, &REAL[..REAL.len() - 20]);
    let damaged = with(bare(&cluster, 1), &["--init-cluster", &import]);
    let (code, said) = refused(&mut cluster, 1, damaged);
    assert_eq!(code, Some(65), "{said}");
    assert!(
        said.contains(&format!("byte {}", REAL.len() - 20)),
        "{said}"
    );
    let alone = with(bare(&cluster, 1), &[&import]);
    let (code, said) = refused(&mut cluster, 1, alone);
    assert_eq!(code, Some(64), "{said}");
    assert!(said.contains("--init-cluster"), "{said}");

    // Killed in the middle: what is left is told, and the same command begins anew.
    fs::create_dir(cluster.data(1).join("import")).unwrap();
    let other = with(bare(&cluster, 1), &["--init-cluster"]);
    let (code, said) = refused(&mut cluster, 1, other);
    assert_eq!(code, Some(64), "{said}");
    assert!(said.contains("an import that did not end"), "{said}");
    let (_, import) = file(&cluster, REAL);
    let again = with(bare(&cluster, 1), &["--init-cluster", &import]);
    cluster.start_by(1, again);
    cluster.ready(1);
    assert!(cluster.admin_ok(&["fs", "ls", "/dir"]).contains("f1"));

    cluster.kill(1);
    let formed = with(bare(&cluster, 1), &["--init-cluster", &import]);
    let (code, said) = refused(&mut cluster, 1, formed);
    assert_eq!(code, Some(64), "{said}");
    assert!(said.contains("belongs to a cluster already"), "{said}");
    let plain = bare(&cluster, 1);
    cluster.start_by(1, plain);
    cluster.ready(1);
    assert!(cluster.admin_ok(&["fs", "ls", "/dir"]).contains("f1"));
}
