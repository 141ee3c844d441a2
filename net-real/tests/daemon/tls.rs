//! Certificates and tokens: who is let in, and what is said to and of the others.

use std::fs;
use std::process::Command;

use crate::lifecycle::bare;
use crate::support::ca::{Ca, Pair};
use crate::support::{Cluster, admin};

/// Three nodes with certificates of one authority, and an operator with another.
fn cluster(ca: &Ca) -> Cluster {
    let mut cluster = Cluster::new(3);
    for node in 1..=3 {
        let options = ca.node(node).of_node(&ca.path());
        cluster.options.insert(node, options);
    }
    cluster.admin_options = ca.client().of_admin(&ca.path());
    cluster
}

/// Asks by other options than the operator's, until the node's log has a line with all of `parts`;
/// each time it has to be refused. Gives what the asker was told.
fn refused(cluster: &Cluster, options: &[String], parts: &[&str]) -> String {
    let mut said = String::new();
    let node = cluster.ip(1);
    let mut line = vec!["--nodes", &node, "--timeout", "2"];
    line.extend(options.iter().map(String::as_str));
    line.push("status");
    // Strangers are reported once a second at most, so one report may stand for several.
    cluster.until(1, &format!("says {parts:?} of {options:?}"), || {
        let (code, text) = admin(&line);
        assert_eq!(code, Some(69), "{options:?} is let in: {text}");
        said = text;
        let log = cluster.said(1);
        log.lines()
            .any(|line| parts.iter().all(|part| line.contains(part)))
    });
    said
}

#[test]
fn only_certificates_of_the_cluster_s_authority_open_a_node() {
    let (ca, other) = (Ca::new(), Ca::new());
    let mut cluster = cluster(&ca);
    cluster.start_all();
    cluster.create("/before");
    let status = cluster.admin_json(&["status"]);
    for node in 0..3 {
        assert_eq!(status["nodes"][node]["reachable"], true, "{status}");
    }
    let foreign = other.client().of_admin(&ca.path());
    let told = refused(
        &cluster,
        &foreign,
        &["closed a connection", "not of the CA that is trusted here"],
    );
    assert!(
        told.contains("it does not accept this program's certificate: it trusts another CA"),
        "{told}"
    );
    let only_ca = [format!("--tls-ca={}", ca.path().display())];
    refused(&cluster, &only_ca, &["it shows no certificate"]);
    refused(&cluster, &[], &["it does not speak TLS"]);
    let distrustful = ca.client().of_admin(&other.path());
    let told = refused(&cluster, &distrustful, &["it trusts another CA"]);
    assert!(
        told.contains("not of the CA that is trusted here"),
        "{told}"
    );
    cluster.all_there(&["/before".to_owned()]);
}

#[test]
fn a_peer_that_cannot_prove_who_it_is_is_turned_away() {
    let (ca, other) = (Ca::new(), Ca::new());
    let mut cluster = cluster(&ca);
    cluster.start_all();
    cluster.create("/before");
    cluster.kill(3);

    // The node's own directory, and a certificate of another authority.
    let good = cluster.options[&3].clone();
    let foreign = other.node(3).of_node(&other.path());
    cluster.options.insert(3, foreign);
    cluster.start(3);
    cluster.until(3, "hears that it is not trusted", || {
        cluster.said(3).contains("not of the CA")
            || cluster.said(3).contains("it trusts another CA")
    });
    cluster.until(1, "says that it does not know node 3's authority", || {
        let log = cluster.said(1);
        log.contains("it trusts another CA") || log.contains("not of the CA")
    });
    let status = cluster.admin_json(&["status"]);
    assert_eq!(status["nodes"][2]["reachable"], false, "{status}");
    cluster.kill(3);

    // Somebody else's certificate is found before a port is opened.
    let stolen = ca.node(2).of_node(&ca.path());
    cluster.options.insert(3, stolen);
    cluster.start(3);
    let end = cluster.ended(3);
    assert_eq!(end.code(), Some(64), "{}", cluster.said(3));
    let log = cluster.said(3);
    assert!(log.contains("lacks the DNS name node-3.mfsha"), "{log}");

    // A good certificate, but of another node than the one that is dialed.
    let other_node = ca.node(4).of_node(&ca.path());
    let mut command = Command::new(env!("CARGO_BIN_EXE_mfsha"));
    command
        .arg("--node-id=4")
        .arg(format!("--bind={}", cluster.ip(3)))
        .arg(format!("--peers={}", cluster.peers()))
        .arg(format!(
            "--data-path={}",
            cluster.directory.path().join("node4").display()
        ))
        .arg("--bootstrap")
        .args(other_node)
        .env_remove("NOTIFY_SOCKET");
    cluster.start_by(3, command);
    cluster.until(1, "says that somebody else is at node 3's address", || {
        let log = cluster.said(1);
        log.contains("lacks the name node-3.mfsha (it has") && log.contains("node-4.mfsha")
    });
    cluster.kill(3);

    cluster.options.insert(3, good);
    cluster.start(3);
    cluster.ready(3);
    cluster.until(3, "is connected again", || {
        cluster.admin_json(&["status"])["nodes"][2]["reachable"] == true
    });
    cluster.all_there(&["/before".to_owned()]);
}

#[test]
fn certificates_of_another_authority_come_into_force_by_sighup() {
    let (ca, next) = (Ca::new(), Ca::new());
    let mut cluster = Cluster::new(1);
    // The files that the node reads, which are replaced.
    let at = |cluster: &Cluster, name: &str| cluster.directory.path().join(name);
    let files = Pair {
        certificate: at(&cluster, "node.crt"),
        key: at(&cluster, "node.key"),
    };
    let trusted = at(&cluster, "ca.pem");
    let put = |ca: &Ca| {
        let pair = ca.node(1);
        fs::copy(pair.certificate, &files.certificate).unwrap();
        fs::copy(pair.key, &files.key).unwrap();
        fs::copy(ca.path(), &trusted).unwrap();
    };
    put(&ca);
    cluster.options.insert(1, files.of_node(&trusted));
    cluster.admin_options = ca.client().of_admin(&ca.path());
    cluster.start(1);
    cluster.until(1, "takes part", || cluster.admin(&["status"]).0);
    cluster.create("/before");

    let reload = |cluster: &Cluster, part: &str| {
        let before = cluster.said(1).len();
        cluster.signal(1, "HUP");
        cluster.until(1, &format!("says {part:?}"), || {
            cluster.said(1)[before..].contains(part)
        });
    };
    // Half of a replacement changes nothing: the old ones stay in use.
    fs::write(&files.key, "no key").unwrap();
    reload(&cluster, "the certificates in use stay");
    assert!(
        cluster.said(1).contains("nothing was reloaded"),
        "{}",
        cluster.said(1)
    );
    cluster.admin_ok(&["fs", "stat", "/before"]);
    put(&next);
    reload(&cluster, "reloaded");
    let (good, said) = cluster.admin(&["--timeout", "2", "fs", "stat", "/before"]);
    assert!(!good, "the old authority is trusted still: {said}");
    cluster.admin_options = next.client().of_admin(&next.path());
    cluster.admin_ok(&["fs", "stat", "/before"]);
    assert!(!cluster.is_over(1));
}

#[test]
fn a_wrong_token_is_refused_and_never_logged() {
    let token = "a-secret-that-is-nowhere-else";
    let mut cluster = Cluster::new(1);
    let mut command = cluster.command(1);
    command.env("MFSHA_AUTH_TOKEN", token);
    cluster.start_by(1, command);
    cluster.ready(1);
    let node = cluster.ip(1);
    for wrong in [&[][..], &["--token", "a-secret-that-is"]] {
        let line = [&["--nodes", &node, "status"], wrong].concat();
        let (code, said) = admin(&line);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("the token is missing or wrong"), "{said}");
    }
    let log = cluster.said(1);
    assert!(
        log.lines()
            .any(|line| line.contains("client turned away") && line.contains("token")),
        "{log}"
    );
    cluster.admin_options = vec!["--token".to_owned(), token.to_owned()];
    cluster.create("/a");
    let shown = cluster.admin_ok(&["config", "get", "MFSHA_AUTH_TOKEN"]);
    assert!(shown.contains("***"), "{shown}");
    assert!(!shown.contains(token), "{shown}");
    assert!(!cluster.said(1).contains(token), "{}", cluster.said(1));
}

#[test]
fn a_node_joins_under_tls_once_its_token_is_corrected() {
    let ca = Ca::new();
    let mut cluster = Cluster::new(3);
    let settings = |cluster: &Cluster, node: u64, token: &str| {
        let path = cluster.directory.path().join(format!("node{node}.cfg"));
        fs::write(&path, format!("MFSHA_AUTH_TOKEN = {token}\n")).unwrap();
        format!("--config={}", path.display())
    };
    for node in 1..=3 {
        let token = if node == 3 { "a-wrong-one" } else { "sesame" };
        let mut options = ca.node(node).of_node(&ca.path());
        options.push(settings(&cluster, node, token));
        cluster.options.insert(node, options);
    }
    cluster.admin_options = ca.client().of_admin(&ca.path());
    let token = ["--token".to_owned(), "sesame".to_owned()];
    cluster.admin_options.extend(token);
    let bare = |cluster: &Cluster, node: u64, more: &[String]| {
        let mut command = bare(cluster, node);
        command.args(&cluster.options[&node]).args(more);
        command
    };
    let first = bare(&cluster, 1, &["--init-cluster".to_owned()]);
    cluster.start_by(1, first);
    let status = |cluster: &Cluster| cluster.admin(&["--timeout", "3", "status"]).0;
    cluster.until(1, "serves", || status(&cluster));
    let join = [
        "--join-cluster".to_owned(),
        format!("--peer={}", cluster.ip(1)),
    ];
    let third = bare(&cluster, 3, &join);
    cluster.start_by(3, third);
    cluster.until(3, "says why it is not taken in", || {
        cluster.said(3).contains("the token is missing or wrong")
    });
    settings(&cluster, 3, "sesame");
    cluster.signal(3, "HUP");
    cluster.until(3, "is a voter", || {
        cluster.said(3).contains("this node is a voter now")
    });
    let voters = cluster.admin_json(&["node-status", "1"])["membership"]["voters"].clone();
    assert_eq!(voters, serde_json::json!([[1, 3]]));
}
