//! Logs: to standard error, as lines or JSON, with a filter that may change while the node runs.
//!
//! Also what is said when a thread panics. Who logs what is not known here.

use std::io::{self, IsTerminal};
use std::panic::PanicHookInfo;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use crate::config::LogFormat;
use crate::panics;

/// Why logging cannot begin, or its filter cannot change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// The filter does not parse. Caused by the operator.
    #[error("{text:?} is no filter of logs: {reason}")]
    Filter {
        /// The filter.
        text: String,
        /// What the parser said.
        reason: String,
    },
    /// Logging was set up before. A bug in the program.
    #[error("logging was set up already: {reason}")]
    Twice {
        /// What the library said.
        reason: String,
    },
    /// Logging has ended.
    #[error("the filter cannot change any more: {reason}")]
    Gone {
        /// What the library said.
        reason: String,
    },
}

/// Changes what is logged. Cloned freely.
#[derive(Clone)]
pub struct LogControl {
    filter: reload::Handle<EnvFilter, Registry>,
}

/// Reads a filter; every directive has to be right.
///
/// # Errors
/// What the parser said.
pub fn parse_filter(text: &str) -> Result<EnvFilter, String> {
    // A bare word is a target to the parser, and a slip in a level would log nothing.
    for part in text.split(',').map(str::trim) {
        let bare = !part.is_empty() && !part.contains(['=', '[', ']', '{', '}']);
        let level = part.parse::<tracing_subscriber::filter::LevelFilter>();
        if bare && level.is_err() && !is_module(part) {
            return Err(format!("{part} is no level"));
        }
    }
    EnvFilter::builder()
        .with_regex(false)
        .parse(text)
        .map_err(|error| error.to_string())
}

/// Whether a bare word can only mean a module: nobody writes a level so.
fn is_module(part: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':');
    (part.contains('_') || part.contains("::")) && part.bytes().all(letter)
}

fn filter_of(text: &str) -> Result<EnvFilter, LogError> {
    parse_filter(text).map_err(|reason| LogError::Filter {
        text: text.into(),
        reason,
    })
}

fn layer<W>(format: LogFormat, colours: bool, writer: W) -> Box<dyn Layer<Filtered> + Send + Sync>
where
    W: for<'a> fmt::MakeWriter<'a> + Send + Sync + 'static,
{
    match format {
        LogFormat::Plain => Box::new(
            fmt::layer()
                .with_target(false)
                .with_ansi(colours)
                .with_writer(writer),
        ),
        LogFormat::Json => Box::new(
            fmt::layer()
                .json()
                .flatten_event(true)
                .with_ansi(false)
                .with_writer(writer),
        ),
    }
}

type Filtered =
    tracing_subscriber::layer::Layered<reload::Layer<EnvFilter, Registry>, Registry, Registry>;

/// A subscriber that writes to `writer`, and what changes its filter.
fn subscriber<W>(
    filter: &str,
    format: LogFormat,
    colours: bool,
    writer: W,
) -> Result<(impl tracing::Subscriber + Send + Sync + use<W>, LogControl), LogError>
where
    W: for<'a> fmt::MakeWriter<'a> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(filter_of(filter)?);
    let subscriber = tracing_subscriber::registry()
        .with(filter)
        .with(layer(format, colours, writer));
    Ok((subscriber, LogControl { filter: handle }))
}

/// Begins logging for the whole process, to standard error, and says what panics.
///
/// Colours are used on a terminal, unless `NO_COLOR` is set.
///
/// # Errors
/// [`LogError::Filter`] or [`LogError::Twice`].
pub fn start(filter: &str, format: LogFormat) -> Result<LogControl, LogError> {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let colours = io::stderr().is_terminal() && !plain;
    let (subscriber, control) = subscriber(filter, format, colours, io::stderr)?;
    subscriber.try_init().map_err(|error| LogError::Twice {
        reason: error.to_string(),
    })?;
    report_panics();
    Ok(control)
}

impl LogControl {
    /// Changes what is logged.
    ///
    /// # Errors
    /// [`LogError::Filter`]: nothing has changed. [`LogError::Gone`]: logging has ended.
    pub fn set_filter(&self, text: &str) -> Result<(), LogError> {
        let filter = filter_of(text)?;
        self.filter.reload(filter).map_err(|error| LogError::Gone {
            reason: error.to_string(),
        })
    }
}

const NO_NAME: &str = "(no name)";
const NO_TEXT: &str = "(no text)";

/// Logs every panic with its thread, message and place, before what the standard hook does, and
/// tells who has to end for it.
fn report_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        log_panic(info);
        before(info);
        let thread = std::thread::current();
        panics::tell(
            thread.name().unwrap_or(NO_NAME),
            info.payload_as_str().unwrap_or(NO_TEXT),
        );
    }));
}

fn log_panic(info: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let message = info.payload_as_str().unwrap_or(NO_TEXT);
    let place = info
        .location()
        .map_or_else(|| "(unknown)".to_owned(), ToString::to_string);
    tracing::error!(
        target: "mfsha::panic",
        thread = thread.name().unwrap_or(NO_NAME),
        place,
        "panicked: {message}"
    );
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Kept {
        fn take(&self) -> String {
            let bytes = std::mem::take(&mut *self.0.lock().unwrap());
            String::from_utf8(bytes).unwrap()
        }
    }

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logging(format: LogFormat) -> (impl tracing::Subscriber + Send + Sync, LogControl, Kept) {
        let kept = Kept::default();
        let writer = kept.clone();
        let made = subscriber("info", format, false, move || writer.clone());
        let (subscriber, control) = made.unwrap();
        (subscriber, control, kept)
    }

    #[test]
    fn what_is_logged_may_change_while_it_runs() {
        let (subscriber, control, kept) = logging(LogFormat::Plain);
        tracing::subscriber::with_default(subscriber, || {
            let log = || {
                tracing::debug!(target: "mfsha_core::raft", "deep");
                tracing::info!(target: "mfsha_core::wal", "shallow");
                kept.take()
            };
            let text = log();
            assert!(text.contains("shallow") && !text.contains("deep"), "{text}");
            control.set_filter("warn,mfsha_core::raft=debug").unwrap();
            let text = log();
            assert!(!text.contains("shallow") && text.contains("deep"), "{text}");
            let error = control.set_filter("wran").unwrap_err();
            assert!(matches!(error, LogError::Filter { .. }), "{error}");
            assert!(log().contains("deep"), "a wrong filter changes nothing");
            control.set_filter("off").unwrap();
            assert_eq!(log(), "");
        });
        assert!(matches!(
            control.set_filter("info"),
            Err(LogError::Gone { .. })
        ));
    }

    #[test]
    fn json_is_one_object_a_line() {
        let (subscriber, _control, kept) = logging(LogFormat::Json);
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(node = 3, "said \"so\"\nand more");
            tracing::warn!("again");
        });
        let text = kept.take();
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["node"], 3);
        assert_eq!(lines[0]["message"], "said \"so\"\nand more");
        assert_eq!(lines[1]["level"], "WARN");
    }

    #[test]
    fn filters_with_a_slip_are_refused() {
        for good in [
            "info",
            "OFF",
            "warn,a::b=debug",
            "a_b=trace",
            "info,[span{field=1}]=debug",
        ] {
            assert!(parse_filter(good).is_ok(), "{good}");
        }
        for bad in [
            "inof",
            "info,debgu",
            "a=loud",
            "a=b=c",
            "info;debug",
            "a_b c",
        ] {
            assert!(parse_filter(bad).is_err(), "{bad}");
        }
    }
}
