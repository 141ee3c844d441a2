//! The table of keys as texts: a commented `mfsha.cfg`, and the reference of the manual.

use std::fmt::Write;

use super::key::{KEYS, Spec};

/// Longest line of a comment, bytes.
const LINE_BYTES: usize = 98;

/// A `mfsha.cfg` with every key, each as a comment with its default.
#[must_use]
pub fn sample() -> String {
    let mut text = String::from(
        "# Configuration of mfsha.\n\
         #\n\
         # A line is KEY = VALUE; a comment has a line of its own. What stands here is overridden by\n\
         # variables of the environment with the key's name, and those by the command line.\n\
         # `mfsha check-config` shows what holds, and what is wrong.\n\
         # SIGHUP has the file read again; keys marked \"live\" change at once.\n",
    );
    for spec in &KEYS {
        text.push('\n');
        push_wrapped(&mut text, spec.doc);
        push_wrapped(&mut text, &format!("({})", facts(spec)));
        let gap = if spec.default.is_empty() { "" } else { " " };
        writeln!(text, "# {} ={gap}{}", spec.name, spec.default).expect("memory takes it");
    }
    text
}

fn facts(spec: &Spec) -> String {
    let mut facts = spec.kind.describe();
    if spec.live {
        facts.push_str("; live");
    }
    if spec.secret {
        facts.push_str("; secret");
    }
    facts
}

fn push_wrapped(text: &mut String, sentence: &str) {
    let mut line = String::from("#");
    for word in sentence.split(' ') {
        if line.len() + 1 + word.len() > LINE_BYTES {
            text.push_str(&line);
            text.push('\n');
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    text.push_str(&line);
    text.push('\n');
}

/// The table of keys in Markdown, as it stands in `docs/operations.md`.
#[must_use]
pub fn reference() -> String {
    let mut text =
        String::from("| key | value | default | live | what it is |\n|---|---|---|---|---|\n");
    for spec in &KEYS {
        let default = match (spec.default, spec.secret) {
            ("", true) => "none; never shown".into(),
            ("", false) => "none".into(),
            (value, _) => format!("`{value}`"),
        };
        let live = if spec.live { "yes" } else { "no" };
        let (name, value, doc) = (spec.name, spec.kind.describe(), spec.doc);
        writeln!(text, "| `{name}` | {value} | {default} | {live} | {doc} |")
            .expect("memory takes it");
    }
    text
}
