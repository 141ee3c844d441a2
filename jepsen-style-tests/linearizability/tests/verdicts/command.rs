//! `mfsha-lincheck` as a person or a script uses it.

use std::io::Write;
use std::process::{Command, Output, Stdio};

const HEAD: &str = r#"{"format":"mfsha-history","version":1,"model":"namespace"}"#;

fn lines(events: &[&str]) -> String {
    let mut journal = format!("{HEAD}\n");
    for event in events {
        journal += event;
        journal.push('\n');
    }
    journal
}

fn invoke(process: u64, at: u64, call: &str) -> String {
    format!(r#"{{"event":"invoke","process":{process},"at":{at},"call":{call}}}"#)
}

fn ok(process: u64, at: u64, value: &str) -> String {
    format!(r#"{{"event":"ok","process":{process},"at":{at},"return":{value}}}"#)
}

fn run(journal: &str, flags: &[&str]) -> (Option<i32>, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_mfsha-lincheck"))
        .arg("-")
        .args(flags)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary was built");
    let mut stdin = child.stdin.take().expect("piped");
    // A command that refuses its flags does not read: a broken pipe is fine.
    let _ = stdin.write_all(journal.as_bytes());
    drop(stdin);
    let Output {
        status,
        stdout,
        stderr,
    } = child.wait_with_output().expect("it ends");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (status.code(), text(stdout), text(stderr))
}

fn create_then_lookup(answer: &str) -> String {
    lines(&[
        &invoke(1, 10, r#"{"op":"create","path":"/t/f"}"#),
        &ok(1, 20, r#"{"error":"ENOENT"}"#),
        &invoke(1, 30, r#"{"op":"create","path":"/f","mode":420}"#),
        &ok(1, 40, r#"{"inode":5}"#),
        &invoke(2, 50, r#"{"op":"getattr","path":"/f"}"#),
        &ok(2, 60, answer),
    ])
}

#[test]
fn the_exit_status_is_the_verdict() {
    let good = create_then_lookup(r#"{"inode":5,"mode":420,"kind":"file","links":1}"#);
    let (code, out, err) = run(&good, &[]);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    assert!(
        out.starts_with("linearizable: 3 operations, 2 parts"),
        "{out}"
    );

    let bad = create_then_lookup(r#"{"error":"ENOENT"}"#);
    let (code, out, _) = run(&bad, &[]);
    assert_eq!(code, Some(1), "{out}");
    assert!(out.contains("#2 cannot be placed"), "{out}");
    assert!(
        out.contains(">      #2    p2 [          50 ..           60] {\"op\":\"getattr\""),
        "{out}"
    );
    assert!(out.contains("the state is { /f 0644 i5, }"), "{out}");
    // The clocks may have been that wrong.
    assert_eq!(run(&bad, &["--clock-error", "5"]).0, Some(0));
    assert_eq!(run(&bad, &["--clock-error", "4"]).0, Some(1));

    let (code, out, _) = run(&good, &["--budget", "0"]);
    assert_eq!(code, Some(2));
    assert!(out.contains("undecided"), "{out}");
}

#[test]
fn bad_input_is_not_a_verdict() {
    let cut = lines(&[]) + r#"{"event":"inv"#;
    let (code, out, err) = run(&cut, &[]);
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert!(err.contains("line 2 is cut short"), "{err}");
    assert_eq!(run(&cut, &["--torn-tail"]).0, Some(0));
    assert_eq!(run("", &[]).0, Some(2));
    let other = HEAD.replace("namespace", "queue") + "\n";
    assert!(run(&other, &[]).2.contains("no model \"queue\""));
    assert_eq!(run("", &["--no-such-flag"]).0, Some(2));
    assert!(
        run("", &["--help"])
            .1
            .contains("Exit status: 0 linearizable, 1 a violation")
    );
}

#[test]
fn json_says_the_same() {
    let bad = create_then_lookup(r#"{"inode":6}"#);
    for flags in [&["--json"][..], &["--json", "--whole"]] {
        let (code, out, _) = run(&bad, flags);
        assert_eq!(code, Some(1));
        let value: serde_json::Value = serde_json::from_str(&out).expect("one object");
        assert_eq!(value["verdict"], "not-linearizable");
        let parts = value["parts"].as_array().expect("a list");
        assert_eq!(parts.len(), if flags.len() == 1 { 2 } else { 1 });
        assert_eq!(parts[0]["violation"]["blocked"], 2);
        assert_eq!(parts[0]["violation"]["window"], serde_json::json!([2]));
    }
}
