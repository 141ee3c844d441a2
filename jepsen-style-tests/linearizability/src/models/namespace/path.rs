//! Absolute paths in normal form. Knows nothing of what they lead to.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Longest name in a path, bytes; as on the wire of MooseFS.
const NAME_BYTES_MAX: usize = 255;
/// Longest path, bytes; Linux's `PATH_MAX`.
const PATH_BYTES_MAX: usize = 4_096;

/// Why text is not a path that this model takes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It does not begin with a slash.
    #[error("path {path:?} is not absolute")]
    NotAbsolute {
        /// The text.
        path: String,
    },
    /// An empty name, `.`, `..`, a NUL, or a name that is too long.
    #[error("path {path:?} has a name that no directory can hold: {name:?}")]
    Name {
        /// The text.
        path: String,
        /// The name.
        name: String,
    },
    /// Longer than the kernel takes.
    #[error("path is {bytes} bytes long, the limit is {PATH_BYTES_MAX}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
}

/// An absolute path in normal form: `/`, or names each behind one slash.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Path(Arc<str>);

impl Path {
    /// The top.
    #[must_use]
    pub fn root() -> Self {
        Self("/".into())
    }

    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn is_root(&self) -> bool {
        &*self.0 == "/"
    }

    /// The names from the top down; none for the root.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').filter(|name| !name.is_empty())
    }

    /// The directory and the last name; `None` for the root.
    pub(super) fn split(&self) -> Option<(Self, &str)> {
        let (parent, name) = self.0.rsplit_once('/')?;
        match (parent, name) {
            (_, "") => None,
            ("", name) => Some((Self::root(), name)),
            (parent, name) => Some((Self(parent.into()), name)),
        }
    }

    pub(super) fn child(&self, name: &str) -> Self {
        Self(if self.is_root() {
            format!("/{name}").into()
        } else {
            format!("{}/{name}", self.0).into()
        })
    }

    /// Where this path leads once `from`, which is it or above it, has become `to`.
    pub(super) fn moved(&self, from: &Self, to: &Self) -> Self {
        let below = self.0.strip_prefix(&*from.0).expect("it is moved along");
        Self(format!("{}{below}", to.0).into())
    }

    pub(super) fn is_below(&self, other: &Self) -> bool {
        let rest = self.0.strip_prefix(&*other.0);
        !self.is_root() && (other.is_root() || rest.is_some_and(|rest| rest.starts_with('/')))
    }
}

impl TryFrom<String> for Path {
    type Error = PathError;

    fn try_from(path: String) -> Result<Self, PathError> {
        if path.len() > PATH_BYTES_MAX {
            return Err(PathError::TooLong { bytes: path.len() });
        }
        let Some(names) = path.strip_prefix('/') else {
            return Err(PathError::NotAbsolute { path });
        };
        let is_bad = |name: &&str| {
            matches!(*name, "" | "." | "..") || name.len() > NAME_BYTES_MAX || name.contains('\0')
        };
        let bad = match names {
            "" => None,
            names => names.split('/').find(is_bad).map(str::to_owned),
        };
        match bad {
            Some(name) => Err(PathError::Name { path, name }),
            None => Ok(Self(path.into())),
        }
    }
}

impl From<Path> for String {
    fn from(path: Path) -> Self {
        path.0.to_string()
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
