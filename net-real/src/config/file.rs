//! The form of `mfsha.cfg`: `KEY = VALUE`, comments from `#` at the beginning of a line, and empty
//! lines, as in MooseFS's own files.
//!
//! What a value means is not known here.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use super::key::Key;
use super::problem::{Fault, PROBLEM_COUNT_MAX, Place, Problem};

/// No configuration is longer, bytes.
pub const FILE_BYTES_MAX: u64 = 1 << 20;

/// One line that gives a key a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The key.
    pub key: Key,
    /// The value as it stands there, without spaces around it; may be empty.
    pub text: String,
    /// Line, from 1.
    pub line: usize,
    /// Character where the value begins, from 1.
    pub column: usize,
}

/// Reads a configuration; good lines come back also when others are wrong.
#[must_use]
pub fn read_file(path: &Path) -> (Vec<Assignment>, Vec<Problem>) {
    let whole = |fault| {
        let place = Place::File { path: path.into() };
        (Vec::new(), vec![Problem { place, fault }])
    };
    match read_bytes(path) {
        Ok(bytes) => parse(path, &bytes),
        Err(fault) => whole(fault),
    }
}

fn read_bytes(path: &Path) -> Result<Vec<u8>, Fault> {
    let refused = |error: io::Error| Fault::Read {
        reason: error.to_string(),
        kind: error.kind(),
    };
    // A pipe without a writer would keep the open waiting for ever.
    let mut options = File::options();
    options.read(true).custom_flags(O_NONBLOCK);
    let file = options.open(path).map_err(refused)?;
    let kind = file.metadata().map_err(refused)?.file_type();
    if !kind.is_file() {
        let what = match () {
            () if kind.is_dir() => "a directory",
            () if kind.is_fifo() => "a pipe",
            () if kind.is_socket() => "a socket",
            () => "a device",
        };
        return Err(Fault::NotAFile { what });
    }
    let mut bytes = Vec::new();
    let mut bounded = file.take(FILE_BYTES_MAX + 1);
    bounded.read_to_end(&mut bytes).map_err(refused)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(Fault::TooLong);
    }
    Ok(bytes)
}

/// `O_NONBLOCK` of Linux on every architecture that Rust's standard library is at home on, but for
/// MIPS and SPARC; there the open of a pipe waits.
const O_NONBLOCK: i32 = 0o4000;

/// Reads the bytes of a configuration; `path` is for messages.
#[must_use]
pub(super) fn parse(path: &Path, bytes: &[u8]) -> (Vec<Assignment>, Vec<Problem>) {
    let mut parser = Parser {
        path,
        seen: BTreeMap::new(),
        assignments: Vec::new(),
        problems: Vec::new(),
    };
    // Editors of other systems put a mark in front.
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    for (at, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        if parser.problems.len() >= PROBLEM_COUNT_MAX {
            parser.refuse(at + 1, 1, Fault::More);
            break;
        }
        match std::str::from_utf8(line) {
            Ok(text) => parser.take_line(at + 1, text),
            Err(error) => {
                let good = String::from_utf8_lossy(&line[..error.valid_up_to()]);
                parser.refuse(at + 1, good.chars().count() + 1, Fault::NotUtf8);
            }
        }
    }
    (parser.assignments, parser.problems)
}

struct Parser<'a> {
    path: &'a Path,
    /// Where a key was given first.
    seen: BTreeMap<Key, usize>,
    assignments: Vec<Assignment>,
    problems: Vec<Problem>,
}

impl Parser<'_> {
    fn refuse(&mut self, line: usize, column: usize, fault: Fault) {
        let path = self.path.into();
        let place = Place::Line { path, line, column };
        self.problems.push(Problem { place, fault });
    }

    fn take_line(&mut self, line: usize, text: &str) {
        let trimmed = text.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            return;
        }
        let column = |at: usize| text[..at].chars().count() + 1;
        let first = column(text.len() - text.trim_start().len());
        let Some((before, value)) = text.split_once('=') else {
            return self.refuse(line, first, Fault::NoEquals);
        };
        let name = before.trim();
        if name.is_empty() {
            return self.refuse(line, first, Fault::NoKey);
        }
        let Some(key) = Key::named(name) else {
            let nearest = Key::nearest(name);
            let name = name.chars().take(100).collect();
            return self.refuse(line, first, Fault::UnknownKey { name, nearest });
        };
        if let Some(before) = self.seen.insert(key, line) {
            let before = format!("in line {before}");
            return self.refuse(line, first, Fault::Twice { key, before });
        }
        let spaces = value.len() - value.trim_start().len();
        let start = before.len() + 1 + spaces;
        if let Some(at) = comment_behind(value) {
            let at = column(before.len() + 1 + at);
            return self.refuse(line, at, Fault::CommentBehind { key });
        }
        self.assignments.push(Assignment {
            key,
            text: value.trim().into(),
            line,
            column: column(start),
        });
    }
}

/// Where a `#` follows a space.
fn comment_behind(value: &str) -> Option<usize> {
    let mut before = '=';
    for (at, letter) in value.char_indices() {
        if letter == '#' && before.is_whitespace() {
            return Some(at);
        }
        before = letter;
    }
    None
}
