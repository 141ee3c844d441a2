//! What people and programs see: tables or JSON, messages, exit codes.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use comfy_table::{ContentArrangement, Table};
use indicatif::{ProgressBar, ProgressStyle};
use mfsha_client::admin::{AdminFail, ChunkserverError, ExportError, MembersError};
use mfsha_client::{Error, Fail};
use serde_json::{Value, json};

/// Done.
pub const EXIT_DONE: u8 = 0;
/// Refused, or not done in time; nothing happened.
pub const EXIT_REFUSED: u8 = 1;
/// It may or may not have happened.
pub const EXIT_UNKNOWN: u8 = 2;
/// Wrong arguments, or files that cannot be used.
pub const EXIT_USAGE: u8 = 64;
/// No node can be reached.
pub const EXIT_UNREACHABLE: u8 = 69;

/// Why a command failed, and what its exit code is.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    text: String,
}

impl Failure {
    /// The caller can do better.
    pub fn usage(text: String) -> Self {
        let code = EXIT_USAGE;
        Self { code, text }
    }

    /// Nothing happened.
    pub fn refused(text: String) -> Self {
        let code = EXIT_REFUSED;
        Self { code, text }
    }

    fn unknown(text: String) -> Self {
        let code = EXIT_UNKNOWN;
        Self { code, text }
    }

    /// The same failure, with what it was about in front.
    pub fn about(self, what: &str) -> Self {
        let text = format!("{what}: {}", self.text);
        Self { text, ..self }
    }

    /// Whether it may have happened.
    pub fn is_unknown(&self) -> bool {
        self.code == EXIT_UNKNOWN
    }
}

impl From<Fail> for Failure {
    fn from(fail: Fail) -> Self {
        match &fail {
            Fail::Unreachable { .. } => Self {
                code: EXIT_UNREACHABLE,
                text: format!(
                    "{fail}\nLook at --nodes (or MFSHA_NODES), and whether the nodes run."
                ),
            },
            Fail::Deadline { .. } => Self::refused(format!(
                "{fail}\nNothing happened. See `mfsha-admin status`; --timeout gives it more time."
            )),
            _ => Self::refused(fail.to_string()),
        }
    }
}

impl From<AdminFail> for Failure {
    fn from(fail: AdminFail) -> Self {
        match fail {
            AdminFail::NotDone(fail) => fail.into(),
            AdminFail::Unknown { .. } => Self::unknown(fail.to_string()),
            AdminFail::NoAddress { .. } => Self::refused(fail.to_string()),
        }
    }
}

impl From<MembersError> for Failure {
    fn from(error: MembersError) -> Self {
        match error {
            MembersError::Admin(fail) => fail.into(),
            error => Self::refused(error.to_string()),
        }
    }
}

impl From<ChunkserverError> for Failure {
    fn from(error: ChunkserverError) -> Self {
        match error {
            ChunkserverError::Admin(fail) => fail.into(),
            ChunkserverError::Write(error) => error.into(),
            error => Self::refused(error.to_string()),
        }
    }
}

impl From<ExportError> for Failure {
    fn from(error: ExportError) -> Self {
        match error {
            ExportError::Admin(fail) => fail.into(),
            ExportError::Kept(why) => Self::refused(why),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::NotDone(fail) => fail.into(),
            Error::Fs(error) => Self::refused(error.to_string()),
            Error::Unknown(unknown) => {
                Self::unknown(format!("{unknown}\nLook at the tree before asking again."))
            }
        }
    }
}

/// What is printed in the end, and progress on the way.
#[derive(Debug, Default)]
pub struct Output {
    /// JSON in place of tables.
    pub json: bool,
    /// Whether somebody watches.
    watched: bool,
    /// For standard output.
    pub out: Vec<u8>,
    /// For standard error.
    pub err: String,
}

impl Output {
    /// `watched`: standard error is a terminal.
    pub fn new(watched: bool) -> Self {
        Self {
            watched,
            ..Self::default()
        }
    }

    /// Bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// The text for people, or the value for programs.
    pub fn show(&mut self, text: &str, value: &Value) {
        if self.json {
            self.out.extend_from_slice(value.to_string().as_bytes());
        } else {
            self.out.extend_from_slice(text.trim_end().as_bytes());
        }
        self.out.push(b'\n');
    }

    /// A remark for people.
    pub fn remark(&mut self, text: &str) {
        let _ = writeln!(self.err, "mfsha-admin: {text}");
    }

    /// Tells why it failed; gives the exit code.
    pub fn failure(&mut self, failure: &Failure) -> u8 {
        if self.json {
            let value = json!({ "error": failure.text, "code": failure.code });
            self.out.extend_from_slice(value.to_string().as_bytes());
            self.out.push(b'\n');
        }
        self.remark(&failure.text);
        failure.code
    }

    /// Help, the version, or what is wrong with the arguments.
    pub fn usage(&mut self, error: &clap::Error) -> u8 {
        let text = error.render().to_string();
        if error.use_stderr() {
            self.err.push_str(&text);
            return EXIT_USAGE;
        }
        self.out.extend_from_slice(text.as_bytes());
        EXIT_DONE
    }

    /// Something that moves while a command runs, when somebody watches.
    pub fn progress(&self, what: &str) -> ProgressBar {
        if !self.watched || self.json {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::new_spinner();
        let style = ProgressStyle::with_template("{spinner} {msg} [{elapsed}]");
        bar.set_style(style.expect("the template is right"));
        bar.set_message(what.to_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        bar
    }

    /// Writes it all. Who stops reading half-way does not want the rest.
    pub fn print(&self) {
        let _ = std::io::stdout().lock().write_all(&self.out);
        let _ = std::io::stderr().lock().write_all(self.err.as_bytes());
    }
}

/// A table without lines, as wide as its content.
pub fn table<const N: usize>(header: [&str; N], rows: Vec<[String; N]>) -> String {
    let mut table = Table::new();
    table
        .load_style(comfy_table::presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(header);
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let lines = table.lines();
    let lines: Vec<String> = lines.map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

/// Two columns: what, and how much.
pub fn pairs(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut out = String::new();
    for (name, value) in rows {
        let _ = writeln!(out, "{name:<width$}  {value}");
    }
    out
}

/// Bytes that users chose, so that they show as one line and steer no terminal.
pub fn readable(bytes: &[u8]) -> String {
    let mut out = String::new();
    for part in bytes.utf8_chunks() {
        for sign in part.valid().chars() {
            if sign.is_control() || sign == '\\' {
                out.extend(sign.escape_default());
            } else {
                out.push(sign);
            }
        }
        for byte in part.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

/// Puts bytes that users chose into JSON: as text, and where they are none also as hexadecimal.
pub fn put_bytes(into: &mut Value, key: &str, bytes: &[u8]) {
    into[key] = json!(String::from_utf8_lossy(bytes));
    if std::str::from_utf8(bytes).is_err() {
        let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
        into[format!("{key}_hex")] = json!(digits.collect::<String>());
    }
}

/// A number of bytes for people.
pub fn bytes_for_people(bytes: u64) -> String {
    let mut unit = 0;
    let mut rest = bytes;
    while rest >= 10_240 && unit < 5 {
        rest /= 1_024;
        unit += 1;
    }
    format!("{rest} {}", ["B", "KiB", "MiB", "GiB", "TiB", "PiB"][unit])
}

/// How long something has run, for people.
pub fn time_for_people(ms: u64) -> String {
    let seconds = ms / 1_000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, ..) => format!("{hours}h {minutes}m"),
        _ => format!("{days}d {hours}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_steer_no_terminal() {
        assert_eq!(readable("a\u{1b}[31m\n".as_bytes()), "a\\u{1b}[31m\\n");
        assert_eq!(readable(b"\xff\xc3\xa4"), "\\xffä");
        let mut value = json!({});
        put_bytes(&mut value, "name", b"a");
        assert_eq!(value, json!({ "name": "a" }));
        put_bytes(&mut value, "name", b"\xff");
        assert_eq!(value["name_hex"], json!("ff"));
    }

    #[test]
    fn amounts_for_people() {
        assert_eq!(bytes_for_people(10_239), "10239 B");
        assert_eq!(bytes_for_people(10_240), "10 KiB");
        assert_eq!(bytes_for_people(u64::MAX), "16383 PiB");
        assert_eq!(time_for_people(59_999), "59s");
        assert_eq!(time_for_people(61_000), "1m 1s");
        assert_eq!(time_for_people(93_784_000), "1d 2h");
    }
}
