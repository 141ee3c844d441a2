//! What becomes of a panic. Each test runs in a process of its own, for the hook is the process's; and
//! not among tests of locks, which a process that is just being made holds, too.

use std::process::{Command, Output};

use mfsha_net_real::config::LogFormat;
use mfsha_net_real::logs::{self, LogError};
use mfsha_net_real::panics;

/// Runs a test of this file again as a process, which `child` is for; `None` there.
fn in_a_process(name: &str, child: fn()) -> Option<Output> {
    const MARK: &str = "MFSHA_TEST_PANICS_HERE";
    if std::env::var_os(MARK).is_some() {
        child();
        return None;
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    let command = command
        .args(["--exact", name, "--nocapture"])
        .env(MARK, "1");
    Some(command.output().unwrap())
}

#[test]
fn a_panic_is_told_unless_it_is_a_connection_s_own() {
    let name = "a_panic_is_told_unless_it_is_a_connection_s_own";
    let Some(output) = in_a_process(name, tell) else {
        return;
    };
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    for said in ["of a part", "of a connection", "of a thread"] {
        assert!(text.contains(&format!("panicked: {said}")), "{text}");
    }
}

fn tell() {
    logs::start("info", LogFormat::Plain).unwrap();
    let mut told = panics::watch().expect("the first");
    assert!(panics::watch().is_none(), "the second");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .build()
        .unwrap();
    runtime.block_on(async {
        // Also after it has waited, when another task may have had its thread.
        let own = panics::on_its_own(async {
            tokio::task::yield_now().await;
            panic!("of a connection");
        });
        tokio::spawn(own).await.expect_err("it panics");
        tokio::spawn(async { panic!("of a part") })
            .await
            .expect_err("it panics");
        let first = told.recv().await.expect("a panic");
        assert!(first.contains("panicked: of a part"), "{first}");
        let thread = std::thread::spawn(|| panic!("of a thread"));
        thread.join().expect_err("it panics");
        let second = told.recv().await.expect("a panic");
        assert!(second.contains("panicked: of a thread"), "{second}");
    });
}

#[test]
fn a_panic_is_logged_with_thread_and_place() {
    let name = "a_panic_is_logged_with_thread_and_place";
    let Some(output) = in_a_process(name, log) else {
        return;
    };
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(7), "{text}");
    let line = text.lines().find(|line| line.starts_with('{'));
    let line = line.unwrap_or_else(|| panic!("{text}"));
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!(line["thread"], "wal-flush");
    assert_eq!(line["message"], "panicked: the disk is gone");
    let place = line["place"].as_str().unwrap();
    assert!(place.contains("panics.rs:"), "{line}");
}

fn log() {
    logs::start("info", LogFormat::Json).unwrap();
    let again = logs::start("info", LogFormat::Json);
    assert!(matches!(again, Err(LogError::Twice { .. })));
    let thread = std::thread::Builder::new().name("wal-flush".into());
    let joined = thread
        .spawn(|| panic!("the disk is {}", "gone"))
        .unwrap()
        .join();
    std::process::exit(if joined.is_err() { 7 } else { 8 });
}
