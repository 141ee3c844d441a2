//! What unit tests share.

use std::io::Write;

/// Says that a test was not tried, where `./check` sees it.
pub(crate) fn skipped(why: &str) {
    // Not `eprintln!`, which a test that passes does not show.
    let _ = std::io::stderr().write_all(format!("!!! SKIPPED: {why}\n").as_bytes());
}
