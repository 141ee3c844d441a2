//! What a panic means for the process: it is a bug, and the process ends (exit code 70).
//!
//! A task that panicked is gone, and with it the port or the machine that was its own; the rest
//! would go on as if nothing were. A process that ends is one that others notice, and that is
//! started again. Nothing that was acknowledged rests on what it had in memory.
//!
//! The exception is what serves one connection and owns nothing else ([`on_its_own`]): its panic
//! costs that connection. Otherwise a request that finds a bug would end one node after the other.

use std::future::Future;
use std::sync::OnceLock;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Who hears of panics, once somebody does.
static HEARS: OnceLock<UnboundedSender<String>> = OnceLock::new();

tokio::task_local! {
    static ON_ITS_OWN: ();
}

/// Panics of this process from now on, each with its thread and its text. There is one such
/// receiver in a process: the second call gives `None`.
#[must_use]
pub fn watch() -> Option<UnboundedReceiver<String>> {
    let (tell, told) = unbounded_channel();
    HEARS.set(tell).ok()?;
    Some(told)
}

/// Runs what serves one connection: its panic ends that, and nobody is told but the log.
pub async fn on_its_own<F: Future>(serves: F) -> F::Output {
    ON_ITS_OWN.scope((), serves).await
}

/// The same for what blocks its thread.
pub fn on_its_own_here<T>(serves: impl FnOnce() -> T) -> T {
    ON_ITS_OWN.sync_scope((), serves)
}

/// Panics here when the environment names this place, for tests of what a panic there means. Only
/// in builds with debug assertions.
pub(crate) fn plant(place: &str) {
    if cfg!(debug_assertions) && std::env::var("MFSHA_TEST_PANIC").is_ok_and(|at| at == place) {
        panic!("put in on purpose");
    }
}

/// For the panic hook, on the thread that panics.
pub(crate) fn tell(thread: &str, message: &str) {
    if ON_ITS_OWN.try_with(|()| ()).is_ok() {
        return;
    }
    if let Some(hears) = HEARS.get() {
        // Nobody listens any more when the process is ending.
        let _ = hears.send(format!("thread {thread} panicked: {message}"));
    }
}
