//! Which commit the simulator is built from, for the blocks of failing seeds.
//!
//! A tree without git, or inside the repository of something else, is of an unknown commit.

use std::process::Command;

/// Whatever the simulator is made of, from here; a change of it makes the commit a changed one.
const SOURCES: [&str; 4] = ["src", "model/src", "../core/src", "../Cargo.lock"];

fn main() {
    for source in SOURCES {
        println!("cargo::rerun-if-changed={source}");
    }
    // The first is written by whatever moves the commit, also in a second work tree.
    for file in ["logs/HEAD", "HEAD"] {
        if let Some(path) = git(&["rev-parse", "--git-path", file]) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    println!("cargo::rustc-env=MFSHA_COMMIT={}", commit());
}

fn commit() -> String {
    let unknown = || "unknown".to_owned();
    if git(&["rev-parse", "--show-prefix"]).as_deref() != Some("sim/") {
        return unknown();
    }
    let Some(hash) = git(&["rev-parse", "--short=12", "HEAD"]) else {
        return unknown();
    };
    let arguments = ["status", "--porcelain", "--untracked-files=no"];
    match git(&arguments).as_deref() {
        Some("") => hash,
        _ => format!("{hash}-dirty"),
    }
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .arg("--no-optional-locks")
        .args(arguments)
        .output()
        .ok()?;
    let said = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| said.trim().to_owned())
}
