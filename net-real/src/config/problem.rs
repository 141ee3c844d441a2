//! What is wrong with a configuration, and where.

use std::fmt;
use std::path::PathBuf;

use mfsha_core::native::admin::AdminError;

use super::checks::Contradiction;
use super::file::FILE_BYTES_MAX;
use super::key::Key;
use super::value::ValueError;

/// More problems than these are not counted: somebody gave the wrong file.
pub(super) const PROBLEM_COUNT_MAX: usize = 50;

/// Where something is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a file as a whole.
    File {
        /// The file.
        path: PathBuf,
    },
    /// In a line of a file.
    Line {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Character, from 1.
        column: usize,
    },
    /// In a variable of the environment.
    Variable {
        /// Its name.
        name: &'static str,
    },
    /// In an option of the command line.
    Option {
        /// The option, as it was given.
        option: String,
    },
    /// Between several settings.
    Together,
}

/// What is wrong. Caused by the operator, but for [`Fault::Read`], where the system refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The file cannot be read.
    #[error("cannot be read: {reason}; {}", advice(*.kind))]
    Read {
        /// What the system said.
        reason: String,
        /// Its kind.
        kind: std::io::ErrorKind,
    },
    /// A directory, a pipe or a device.
    #[error("is {what}, not a file; name a file")]
    NotAFile {
        /// What it is.
        what: &'static str,
    },
    /// Longer than a configuration ever is.
    #[error("is longer than {FILE_BYTES_MAX} bytes; that is no mfsha.cfg")]
    TooLong,
    /// Bytes that are no text.
    #[error("is not UTF-8; write the file in UTF-8")]
    NotUtf8,
    /// A line that is none of what a line may be.
    #[error("a line is KEY = VALUE, a comment that begins with #, or empty; there is no = here")]
    NoEquals,
    /// Nothing in front of the `=`.
    #[error("there is no key in front of the =")]
    NoKey,
    /// No such key.
    #[error("there is no key {name:?}{}", meant(*.nearest))]
    UnknownKey {
        /// What stands there.
        name: String,
        /// The one that was meant, perhaps.
        nearest: Option<Key>,
    },
    /// A key for the second time.
    #[error("{} was given before, {before}; take one of the two out", .key.name())]
    Twice {
        /// The key.
        key: Key,
        /// Where.
        before: String,
    },
    /// A comment behind a value, or a value with ` #` in it: nobody could tell.
    #[error("a comment needs a line of its own; a value may not hold a # after a space")]
    CommentBehind {
        /// The key.
        key: Key,
    },
    /// The value is none for this key.
    #[error("{}: {error}", .key.name())]
    Value {
        /// The key.
        key: Key,
        /// What is wrong with it.
        error: ValueError,
    },
    /// Settings that cannot stand together.
    #[error("{0}")]
    Contradiction(#[from] Contradiction),
    /// More is wrong than is worth telling.
    #[error("and more; put these right first")]
    More,
}

pub(crate) fn meant(nearest: Option<Key>) -> String {
    match nearest {
        Some(key) => format!("; is {} meant?", key.name()),
        None => "; `mfsha print-config` prints them all".into(),
    }
}

fn advice(kind: std::io::ErrorKind) -> &'static str {
    match kind {
        std::io::ErrorKind::NotFound => "give its right path with --config",
        std::io::ErrorKind::PermissionDenied => {
            "let mfsha's user read it, and enter the directories above it"
        }
        _ => "look at the disk and the system's log",
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// What.
    pub fault: Fault,
}

/// Why there is no configuration: everything that is wrong with it. At least one problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The problems, as they stand in the file, the environment and the command line.
    pub problems: Vec<Problem>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path } => write!(f, "{}", path.display()),
            Self::Line { path, line, column } => write!(f, "{}:{line}:{column}", path.display()),
            Self::Variable { name } => write!(f, "environment variable {name}"),
            Self::Option { option } => write!(f, "option {option}"),
            Self::Together => f.write_str("settings"),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.fault)
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.problems.iter().enumerate() {
            let line_end = if at == 0 { "" } else { "\n" };
            write!(f, "{line_end}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

impl From<ConfigError> for AdminError {
    fn from(error: ConfigError) -> Self {
        Self::Reload(error.to_string())
    }
}
