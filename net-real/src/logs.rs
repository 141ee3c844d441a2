//! Logs: to standard error, as lines or JSON, with a filter that may change while the node runs.
//!
//! Also what is said when a thread panics. Who logs what is not known here.

use std::io::{self, IsTerminal};
use std::panic::PanicHookInfo;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use crate::config::LogFormat;

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
        let bare = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphabetic());
        let level = part.parse::<tracing_subscriber::filter::LevelFilter>();
        if bare && level.is_err() {
            return Err(format!("{part} is no level"));
        }
    }
    EnvFilter::builder()
        .with_regex(false)
        .parse(text)
        .map_err(|error| error.to_string())
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
        LogFormat::Plain => Box::new(fmt::layer().with_ansi(colours).with_writer(writer)),
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

/// Logs every panic with its thread, message and place, before what the standard hook does.
fn report_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        log_panic(info);
        before(info);
    }));
}

fn log_panic(info: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let message = info.payload_as_str().unwrap_or("(no text)");
    let place = info
        .location()
        .map_or_else(|| "(unknown)".to_owned(), ToString::to_string);
    tracing::error!(
        target: "mfsha::panic",
        thread = thread.name().unwrap_or("(no name)"),
        place,
        "panicked: {message}"
    );
}
