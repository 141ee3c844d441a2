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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::LogFormat;
    use crate::logs;

    /// Runs in a process of its own: the hook and its receiver are the process's.
    #[test]
    fn a_panic_is_told_unless_it_is_a_connection_s_own() {
        const MARK: &str = "MFSHA_TEST_PANICS_ARE_TOLD";
        if std::env::var_os(MARK).is_some() {
            return child();
        }
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        let name = "panics::tests::a_panic_is_told_unless_it_is_a_connection_s_own";
        let child = command
            .args(["--exact", name, "--nocapture"])
            .env(MARK, "1");
        let output = child.output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}");
        for said in ["of a part", "of a connection", "of a thread"] {
            assert!(text.contains(&format!("panicked: {said}")), "{text}");
        }
    }

    fn child() {
        logs::start("info", LogFormat::Plain).unwrap();
        let mut told = watch().expect("the first");
        assert!(watch().is_none(), "the second");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async {
            // Also after it has waited, when another task may have had its thread.
            let own = on_its_own(async {
                tokio::time::sleep(Duration::from_millis(1)).await;
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
}
