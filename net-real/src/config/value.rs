//! Values: what a key may hold, how it is written, and what is said when it is not.
//!
//! A value that is printed parses back to itself. It is not known here which key it belongs to.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::peers::{self, Peer, PeersError};

/// Longest value of any key, bytes.
pub const VALUE_BYTES_MAX: usize = 128 << 10;
/// Longest path, bytes; what Linux takes.
const PATH_BYTES_MAX: usize = 4_095;
/// Longest filter of logs, bytes.
const FILTER_BYTES_MAX: usize = 4_096;

/// The unit of a bare number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Thousandths of a second.
    Milliseconds,
    /// Seconds.
    Seconds,
}

/// What a value may be.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A whole number.
    Integer {
        /// Smallest.
        min: u64,
        /// Largest.
        max: u64,
    },
    /// A number of bytes, with `K`, `M`, `G` or `T` for powers of 1,024.
    Bytes {
        /// Smallest.
        min: u64,
        /// Largest.
        max: u64,
    },
    /// A span of time, with `ms`, `s`, `min` or `h`.
    Duration {
        /// Shortest, ms.
        min_ms: u64,
        /// Longest, ms.
        max_ms: u64,
        /// What a number without a unit means.
        bare: Scale,
    },
    /// Yes or no.
    Switch,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A name of a machine, or an IP address.
    Host,
    /// A path.
    Path,
    /// Any text of one line.
    Text {
        /// Longest, bytes.
        bytes_max: usize,
    },
    /// Letters, digits and signs of ASCII, without spaces.
    Secret {
        /// Longest, bytes.
        bytes_max: usize,
    },
    /// Directives of `tracing-subscriber`'s `EnvFilter`.
    Filter,
    /// Nodes and where they are.
    Peers,
}

/// A value of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Of [`Kind::Integer`].
    Integer(u64),
    /// Of [`Kind::Bytes`].
    Bytes(u64),
    /// Of [`Kind::Duration`]; whole milliseconds.
    Duration(Duration),
    /// Of [`Kind::Switch`].
    Switch(bool),
    /// Of [`Kind::Choice`], [`Kind::Text`] and [`Kind::Filter`].
    Text(String),
    /// Of [`Kind::Host`]; an IPv6 address has its brackets.
    Host(String),
    /// Of [`Kind::Path`].
    Path(PathBuf),
    /// Of [`Kind::Secret`].
    Secret(Secret),
    /// Of [`Kind::Peers`].
    Peers(Vec<Peer>),
}

/// A text that is not shown by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text, for those who compare or send it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(STARS)
    }
}

/// What stands in the place of a secret.
pub const STARS: &str = "********";

/// Why a text is no value of its key. The text is that of the operator, who corrects it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// There is nothing after the `=`.
    #[error("it has no value; give one, or leave the line out for the default")]
    Empty,
    /// Longer than any value may be.
    #[error("it is {bytes} bytes long, at most {limit} are allowed")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The bound.
        limit: usize,
    },
    /// Not a number, or not with this unit.
    #[error("{text:?} is not {wanted}")]
    NotA {
        /// The text.
        text: String,
        /// What it has to be.
        wanted: String,
    },
    /// A number beyond what is allowed.
    #[error("{text} is out of range: {allowed}")]
    Range {
        /// The text.
        text: String,
        /// The range and its unit.
        allowed: String,
    },
    /// None of the words that are allowed.
    #[error("{text:?} is none of {}{}", words.join(", "), meant(nearest))]
    Choice {
        /// The text.
        text: String,
        /// The words.
        words: Vec<&'static str>,
        /// The one that was meant, perhaps.
        nearest: Option<&'static str>,
    },
    /// A character that has no place there. The text is not repeated: it may be secret.
    #[error("character {at} is {what}; {wanted}")]
    Character {
        /// Which, from 1.
        at: usize,
        /// What it is.
        what: &'static str,
        /// What may stand there.
        wanted: &'static str,
    },
    /// No filter of logs.
    #[error(
        "{text:?} is no filter of logs ({reason}): write error, warn, info, debug, trace or off, \
         or module=level, separated by commas"
    )]
    Filter {
        /// The text.
        text: String,
        /// What the parser said.
        reason: String,
    },
    /// No list of nodes.
    #[error("{0}")]
    Peers(#[from] PeersError),
}

fn meant(nearest: &Option<&'static str>) -> String {
    nearest.map_or_else(String::new, |word| format!("; is {word} meant?"))
}

impl Kind {
    /// Reads a value.
    ///
    /// # Errors
    /// [`ValueError`], without the name of the key.
    pub fn parse(&self, text: &str) -> Result<Value, ValueError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(ValueError::Empty);
        }
        bounded(text, VALUE_BYTES_MAX)?;
        match *self {
            Self::Integer { min, max } => {
                let number = whole(text).ok_or_else(|| not_a(text, self.describe()))?;
                self.within(text, number, min, max).map(Value::Integer)
            }
            Self::Bytes { min, max } => {
                let number = bytes_of(text).ok_or_else(|| not_a(text, self.describe()))?;
                self.within(text, number, min, max).map(Value::Bytes)
            }
            Self::Duration {
                min_ms,
                max_ms,
                bare,
            } => {
                let ms = millis_of(text, bare).ok_or_else(|| not_a(text, self.describe()))?;
                let ms = self.within(text, ms, min_ms, max_ms)?;
                Ok(Value::Duration(Duration::from_millis(ms)))
            }
            Self::Switch => switch(text),
            Self::Choice(words) => choice(text, words),
            Self::Host => host(text).map(Value::Host),
            Self::Path => {
                bounded(text, PATH_BYTES_MAX)?;
                printable(text)?;
                Ok(Value::Path(PathBuf::from(text)))
            }
            Self::Text { bytes_max } => {
                bounded(text, bytes_max)?;
                printable(text)?;
                Ok(Value::Text(text.into()))
            }
            Self::Secret { bytes_max } => {
                bounded(text, bytes_max)?;
                graphic(text)?;
                Ok(Value::Secret(Secret(text.into())))
            }
            Self::Filter => filter(text),
            Self::Peers => Ok(Value::Peers(peers::parse(text)?)),
        }
    }

    fn within(&self, text: &str, number: u64, min: u64, max: u64) -> Result<u64, ValueError> {
        if (min..=max).contains(&number) {
            return Ok(number);
        }
        Err(ValueError::Range {
            text: text.into(),
            allowed: self.describe(),
        })
    }

    /// What a value has to be, its range and its unit, as it goes on after "it is".
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Integer { min, max } => format!("a whole number from {min} to {max}"),
            Self::Bytes { min, max } => format!(
                "a number of bytes from {} to {}, with K, M, G or T for powers of 1024",
                Value::Bytes(*min),
                Value::Bytes(*max)
            ),
            Self::Duration {
                min_ms,
                max_ms,
                bare,
            } => format!(
                "a time from {} to {}, with ms, s, min or h, a bare number in {}",
                Value::Duration(Duration::from_millis(*min_ms)),
                Value::Duration(Duration::from_millis(*max_ms)),
                match bare {
                    Scale::Milliseconds => "ms",
                    Scale::Seconds => "s",
                }
            ),
            Self::Switch => "1 or 0 (also yes or no, true or false, on or off)".into(),
            Self::Choice(words) => words.join(" or "),
            Self::Host => "a host name or an IP address".into(),
            Self::Path => "a path".into(),
            Self::Text { bytes_max } => format!("a text of at most {bytes_max} bytes"),
            Self::Secret { bytes_max } => {
                format!("a text without spaces, ASCII, at most {bytes_max} bytes")
            }
            Self::Filter => "a filter of logs".into(),
            Self::Peers => "a list of nodes".into(),
        }
    }
}

fn not_a(text: &str, wanted: String) -> ValueError {
    let text = shortened(text);
    ValueError::NotA { text, wanted }
}

/// The beginning of a text, for messages.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(80) {
        None => text.into(),
        Some((end, _)) => format!("{}...", &text[..end]),
    }
}

fn bounded(text: &str, limit: usize) -> Result<(), ValueError> {
    let bytes = text.len();
    if bytes > limit {
        return Err(ValueError::TooLong { bytes, limit });
    }
    Ok(())
}

fn printable(text: &str) -> Result<(), ValueError> {
    match text.chars().position(char::is_control) {
        None => Ok(()),
        Some(at) => Err(ValueError::Character {
            at: at + 1,
            what: "a control character",
            wanted: "only what can be printed may stand there",
        }),
    }
}

fn graphic(text: &str) -> Result<(), ValueError> {
    match text.chars().position(|c| !c.is_ascii_graphic()) {
        None => Ok(()),
        Some(at) => Err(ValueError::Character {
            at: at + 1,
            what: "a space, a control character or not of ASCII",
            wanted: "only letters, digits and signs of ASCII may stand there",
        }),
    }
}

/// Digits alone: no sign, no spaces.
fn whole(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// A number and the word behind it.
fn split_unit(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    (&text[..end], text[end..].trim_start())
}

fn bytes_of(text: &str) -> Option<u64> {
    let (number, unit) = split_unit(text);
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return None,
    };
    whole(number)?.checked_mul(1 << shift)
}

fn millis_of(text: &str, bare: Scale) -> Option<u64> {
    let (number, unit) = split_unit(text);
    let scale = match (unit, bare) {
        ("ms", _) | ("", Scale::Milliseconds) => 1,
        ("s", _) | ("", Scale::Seconds) => 1_000,
        ("min", _) => 60_000,
        ("h", _) => 3_600_000,
        _ => return None,
    };
    whole(number)?.checked_mul(scale)
}

fn switch(text: &str) -> Result<Value, ValueError> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "yes" | "true" | "on" => Ok(Value::Switch(true)),
        "0" | "no" | "false" | "off" => Ok(Value::Switch(false)),
        _ => Err(not_a(text, Kind::Switch.describe())),
    }
}

fn choice(text: &str, words: &'static [&'static str]) -> Result<Value, ValueError> {
    if let Some(word) = words.iter().find(|word| word.eq_ignore_ascii_case(text)) {
        return Ok(Value::Text((*word).into()));
    }
    let text = shortened(text);
    let nearest = mfsha_core::spelling::nearest(&text, words.iter().copied());
    Err(ValueError::Choice {
        text,
        words: words.to_vec(),
        nearest,
    })
}

/// A host as it stands before `:port`: an IPv6 address gets its brackets.
fn host(text: &str) -> Result<String, ValueError> {
    let wrong = || {
        let wanted = format!("{}, without a port", Kind::Host.describe());
        not_a(text, wanted)
    };
    let host = match text.parse::<std::net::Ipv6Addr>() {
        Ok(ip) => format!("[{ip}]"),
        Err(_) => text.to_owned(),
    };
    if peers::is_host(&host) {
        Ok(host)
    } else {
        Err(wrong())
    }
}

fn filter(text: &str) -> Result<Value, ValueError> {
    bounded(text, FILTER_BYTES_MAX)?;
    printable(text)?;
    match crate::logs::parse_filter(text) {
        Ok(_) => Ok(Value::Text(text.into())),
        Err(reason) => Err(ValueError::Filter {
            text: shortened(text),
            reason: shortened(&reason),
        }),
    }
}

/// As it is written in `mfsha.cfg`; stars for a secret.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(number) => write!(f, "{number}"),
            Self::Bytes(bytes) => {
                let units = [(40, "T"), (30, "G"), (20, "M"), (10, "K")];
                let unit = units
                    .iter()
                    .find(|(shift, _)| *bytes != 0 && bytes.is_multiple_of(1 << shift));
                match unit {
                    Some((shift, name)) => write!(f, "{}{name}", bytes >> shift),
                    None => write!(f, "{bytes}"),
                }
            }
            Self::Duration(time) => {
                let ms = time.as_millis();
                let units = [(3_600_000, "h"), (60_000, "min"), (1_000, "s"), (1, "ms")];
                let exact = |(scale, _): &&(u128, &str)| ms != 0 && ms.is_multiple_of(*scale);
                match units.iter().find(exact) {
                    // Below two minutes seconds are what people say.
                    Some((60_000, _)) if ms < 120_000 => write!(f, "{}s", ms / 1_000),
                    Some((scale, name)) => write!(f, "{}{name}", ms / scale),
                    None => write!(f, "{ms}ms"),
                }
            }
            Self::Switch(on) => write!(f, "{}", u8::from(*on)),
            Self::Text(text) | Self::Host(text) => f.write_str(text),
            Self::Path(path) => write!(f, "{}", path.display()),
            Self::Secret(_) => f.write_str(STARS),
            Self::Peers(peers) => {
                for (at, peer) in peers.iter().enumerate() {
                    let comma = if at == 0 { "" } else { "," };
                    write!(f, "{comma}{peer}")?;
                }
                Ok(())
            }
        }
    }
}
