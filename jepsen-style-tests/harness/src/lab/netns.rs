//! Threads inside of a network namespace. A thread that has moved stays there until it ends, and
//! what it opens or starts belongs to that namespace.

use std::fs::File;
use std::thread;

use nix::sched::{CloneFlags, setns};

/// A namespace that cannot be entered.
#[derive(Debug, thiserror::Error)]
#[error("cannot enter network namespace {namespace}: {error}")]
pub struct NamespaceError {
    /// Which.
    pub namespace: String,
    /// Why.
    pub error: std::io::Error,
}

/// Moves the calling thread.
///
/// # Errors
/// [`NamespaceError`]: it does not exist, or this user may not.
pub fn enter(namespace: &str) -> Result<(), NamespaceError> {
    let refuse = |error| NamespaceError {
        namespace: namespace.to_owned(),
        error,
    };
    let file = File::open(format!("/run/netns/{namespace}")).map_err(refuse)?;
    setns(file, CloneFlags::CLONE_NEWNET).map_err(|errno| refuse(errno.into()))
}

/// Does something on a thread inside of a namespace, and waits for it.
///
/// # Errors
/// [`NamespaceError`]: then nothing was done.
///
/// # Panics
/// When `what` does.
pub fn inside<T: Send>(
    namespace: &str,
    what: impl FnOnce() -> T + Send,
) -> Result<T, NamespaceError> {
    thread::scope(|scope| {
        let thread = scope.spawn(|| enter(namespace).map(|()| what()));
        match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}
