//! Histories as JSON lines, so that recorder and judge need not be one program.
//!
//! ```text
//! {"format":"mfsha-history","version":1,"model":"register"}
//! {"event":"invoke","process":1,"at":100,"call":{"op":"write","key":"a","value":5}}
//! {"event":"ok","process":1,"at":180,"return":"done"}
//! {"event":"invoke","process":2,"at":150,"call":{"op":"read","key":"a"}}
//! {"event":"unknown","process":2,"at":900}
//! ```
//!
//! Lines of one process stand in order; those of several may be mixed in any way (files of several
//! recorders, one after the other). This file knows nothing of what calls and answers mean.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::history::{
    End, History, HistoryError, OPERATION_COUNT_MAX, OpIndex, Operation, ProcessId,
};

/// Longest line, bytes without its end.
pub const LINE_BYTES_MAX: usize = 1 << 20;
/// What the first line calls itself.
const FORMAT: &str = "mfsha-history";
/// The version written here, and the only one read.
const VERSION: u32 = 1;

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    format: String,
    version: u32,
    model: String,
}

/// Every other line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case", deny_unknown_fields)]
enum Line<C, R> {
    Invoke {
        process: ProcessId,
        at: u64,
        call: C,
    },
    Ok {
        process: ProcessId,
        at: u64,
        #[serde(rename = "return")]
        value: R,
    },
    Fail {
        process: ProcessId,
        at: u64,
    },
    Unknown {
        process: ProcessId,
        at: u64,
    },
}

/// Why a journal cannot be read. It is damaged, or its recorder is wrong; the history is not
/// judged.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file cannot be read.
    #[error("cannot read the journal")]
    Io(#[from] io::Error),
    /// The first line is not that of a journal.
    #[error("line 1 is not the header of a journal: {reason}")]
    Header {
        /// What is wrong.
        reason: String,
    },
    /// Another version.
    #[error("journal has version {found}, this program reads {VERSION}")]
    Version {
        /// Its version.
        found: u32,
    },
    /// Nothing was allocated beyond the limit.
    #[error("line {line} is longer than {LINE_BYTES_MAX} bytes")]
    LineTooLong {
        /// Which, from 1.
        line: usize,
    },
    /// The last line has no end: its writer was stopped in the middle.
    #[error(
        "line {line} is cut short; the recorder may have been killed (a torn tail can be allowed)"
    )]
    Truncated {
        /// Which, from 1.
        line: usize,
    },
    /// Not an event of this model.
    #[error("line {line} does not parse: {reason}")]
    Malformed {
        /// Which, from 1.
        line: usize,
        /// What the parser said.
        reason: String,
    },
    /// A process asked twice.
    #[error("line {line}: {process} calls while its call of line {open_line} is open")]
    TwoOpen {
        /// Which, from 1.
        line: usize,
        /// Whose.
        process: ProcessId,
        /// Where the open call is.
        open_line: usize,
    },
    /// An answer without a question.
    #[error("line {line}: an operation of {process} ends, but none is open")]
    NothingOpen {
        /// Which, from 1.
        line: usize,
        /// Whose.
        process: ProcessId,
    },
    /// A process whose time runs backwards, so an answer before its call for one.
    #[error("line {line}: {process} is at {at}, but was at {previous} before")]
    TimeRunsBack {
        /// Which, from 1.
        line: usize,
        /// Whose.
        process: ProcessId,
        /// This line's time.
        at: u64,
        /// The time of the process's line before.
        previous: u64,
    },
    /// More than [`OPERATION_COUNT_MAX`].
    #[error("line {line}: more than {OPERATION_COUNT_MAX} operations")]
    TooMany {
        /// Which, from 1.
        line: usize,
    },
    /// Each line is fine, but together they are not a history.
    #[error(transparent)]
    History(#[from] HistoryError),
}

/// What to do about a last line that has no end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum TornTail {
    /// Refuse the journal.
    #[default]
    Refuse,
    /// Leave the line out: a call that never left the recorder's hands, or an end that is then
    /// unknown. Right when calls are written before they are sent.
    Forget,
}

/// A journal whose first line was read.
#[derive(Debug)]
pub struct JournalReader<R> {
    lines: Lines<R>,
    model: String,
}

impl<R: BufRead> JournalReader<R> {
    /// Reads the first line.
    ///
    /// # Errors
    /// [`JournalError::Header`], `Version`, `LineTooLong`, `Truncated` or `Io`.
    pub fn open(source: R) -> Result<Self, JournalError> {
        let mut lines = Lines {
            source,
            number: 0,
            is_torn: false,
        };
        let refuse = |reason: String| JournalError::Header { reason };
        let line = lines
            .next()?
            .ok_or_else(|| refuse("the file is empty".into()))?;
        if lines.is_torn {
            return Err(JournalError::Truncated { line: 1 });
        }
        let header: Header =
            serde_json::from_slice(&line).map_err(|error| refuse(error.to_string()))?;
        if header.format != FORMAT {
            return Err(refuse(format!("format is {:?}", header.format)));
        }
        if header.version != VERSION {
            return Err(JournalError::Version {
                found: header.version,
            });
        }
        Ok(Self {
            lines,
            model: header.model,
        })
    }

    /// Name of the model whose calls are in the journal.
    #[must_use]
    pub fn model(&self) -> &str {
        &self.model
    }

    /// Reads all operations, in order of their calls' lines.
    ///
    /// # Errors
    /// [`JournalError`], naming the line.
    pub fn read<C: DeserializeOwned, V: DeserializeOwned>(
        mut self,
        torn_tail: TornTail,
    ) -> Result<History<C, V>, JournalError> {
        let mut collected = Collected {
            operations: Vec::new(),
            processes: BTreeMap::new(),
        };
        while let Some(bytes) = self.lines.next()? {
            let line = self.lines.number;
            if self.lines.is_torn {
                match torn_tail {
                    TornTail::Refuse => return Err(JournalError::Truncated { line }),
                    TornTail::Forget => break,
                }
            }
            let event =
                serde_json::from_slice(&bytes).map_err(|error| JournalError::Malformed {
                    line,
                    reason: error.to_string(),
                })?;
            collected.on_line(line, event)?;
        }
        Ok(History::new(collected.operations)?)
    }
}

/// Lines of bounded length.
#[derive(Debug)]
struct Lines<R> {
    source: R,
    /// Number of the line last read, from 1.
    number: usize,
    /// Whether that line had no end.
    is_torn: bool,
}

impl<R: BufRead> Lines<R> {
    fn next(&mut self) -> Result<Option<Vec<u8>>, JournalError> {
        let mut line = Vec::new();
        let limit = LINE_BYTES_MAX as u64 + 1;
        self.source
            .by_ref()
            .take(limit)
            .read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Ok(None);
        }
        self.number += 1;
        if line.last() == Some(&b'\n') {
            line.pop();
        } else if line.len() as u64 == limit {
            return Err(JournalError::LineTooLong { line: self.number });
        } else {
            self.is_torn = true;
        }
        Ok(Some(line))
    }
}

/// What is known of a process while its lines are read.
struct Caller {
    at: u64,
    /// Line and operation of its open call.
    open: Option<(usize, OpIndex)>,
}

/// Operations as their lines come.
struct Collected<C, R> {
    operations: Vec<Operation<C, R>>,
    processes: BTreeMap<ProcessId, Caller>,
}

impl<C, R> Collected<C, R> {
    fn on_line(&mut self, line: usize, event: Line<C, R>) -> Result<(), JournalError> {
        let (process, at, end) = match event {
            Line::Invoke { process, at, call } => return self.on_invoke(line, process, at, call),
            Line::Ok { process, at, value } => (process, at, End::Returned { at, value }),
            Line::Fail { process, at } => (process, at, End::Failed { at }),
            Line::Unknown { process, at } => {
                let gave_up_at = Some(at);
                (process, at, End::Unknown { gave_up_at })
            }
        };
        let open = self.on_time(line, process, at)?.open.take();
        let (_, index) = open.ok_or(JournalError::NothingOpen { line, process })?;
        self.operations[index.0].end = end;
        Ok(())
    }

    fn on_invoke(
        &mut self,
        line: usize,
        process: ProcessId,
        at: u64,
        call: C,
    ) -> Result<(), JournalError> {
        if self.operations.len() == OPERATION_COUNT_MAX {
            return Err(JournalError::TooMany { line });
        }
        let index = OpIndex(self.operations.len());
        let caller = self.on_time(line, process, at)?;
        if let Some((open_line, _)) = caller.open {
            return Err(JournalError::TwoOpen {
                line,
                process,
                open_line,
            });
        }
        caller.open = Some((line, index));
        self.operations.push(Operation {
            process,
            invoked_at: at,
            call,
            end: End::Unknown { gave_up_at: None },
        });
        Ok(())
    }

    fn on_time(
        &mut self,
        line: usize,
        process: ProcessId,
        at: u64,
    ) -> Result<&mut Caller, JournalError> {
        let caller = self
            .processes
            .entry(process)
            .or_insert(Caller { at, open: None });
        if at < caller.at {
            return Err(JournalError::TimeRunsBack {
                line,
                process,
                at,
                previous: caller.at,
            });
        }
        caller.at = at;
        Ok(caller)
    }
}

/// Writes a journal while it happens. Every event is one line and one `write`; the caller decides
/// when to flush, and must write a call before it is sent.
#[derive(Debug)]
pub struct JournalWriter<W> {
    sink: W,
}

impl<W: Write> JournalWriter<W> {
    /// Writes the first line.
    ///
    /// # Errors
    /// When the sink fails.
    pub fn create(sink: W, model: &str) -> io::Result<Self> {
        let mut writer = Self { sink };
        writer.line(&Header {
            format: FORMAT.to_owned(),
            version: VERSION,
            model: model.to_owned(),
        })?;
        Ok(writer)
    }

    /// A process is about to ask.
    ///
    /// # Errors
    /// When the sink fails.
    pub fn invoke<C: Serialize>(
        &mut self,
        process: ProcessId,
        at: u64,
        call: &C,
    ) -> io::Result<()> {
        self.line(&Line::<&C, ()>::Invoke { process, at, call })
    }

    /// It was answered.
    ///
    /// # Errors
    /// When the sink fails.
    pub fn ok<R: Serialize>(&mut self, process: ProcessId, at: u64, value: &R) -> io::Result<()> {
        self.line(&Line::<(), &R>::Ok { process, at, value })
    }

    /// It certainly did not happen, and never will.
    ///
    /// # Errors
    /// When the sink fails.
    pub fn fail(&mut self, process: ProcessId, at: u64) -> io::Result<()> {
        self.line(&Line::<(), ()>::Fail { process, at })
    }

    /// It gave up; whether it happened is not known.
    ///
    /// # Errors
    /// When the sink fails.
    pub fn unknown(&mut self, process: ProcessId, at: u64) -> io::Result<()> {
        self.line(&Line::<(), ()>::Unknown { process, at })
    }

    /// Hands the sink back, flushed.
    ///
    /// # Errors
    /// When the sink fails.
    pub fn finish(mut self) -> io::Result<W> {
        self.sink.flush()?;
        Ok(self.sink)
    }

    fn line<T: Serialize>(&mut self, value: &T) -> io::Result<()> {
        let mut line = serde_json::to_vec(value)?;
        line.push(b'\n');
        self.sink.write_all(&line)
    }
}

/// Writes a whole history, in order of time.
///
/// # Errors
/// When the sink fails.
pub fn write<W: Write, C: Serialize, R: Serialize>(
    sink: W,
    model: &str,
    history: &History<C, R>,
) -> io::Result<W> {
    let mut by_process: Vec<&Operation<C, R>> = history.operations().iter().collect();
    by_process.sort_by_key(|op| (op.process, op.invoked_at, op.ended_at().unwrap_or(u64::MAX)));
    // Both events of an operation, in the order in which its process saw them; the sort by time is
    // stable, so that this order survives where times are equal.
    let mut events: Vec<(u64, &Operation<C, R>, bool)> = Vec::with_capacity(2 * history.len());
    for operation in by_process {
        events.push((operation.invoked_at, operation, true));
        events.extend(operation.ended_at().map(|at| (at, operation, false)));
    }
    events.sort_by_key(|(at, ..)| *at);
    let mut writer = JournalWriter::create(sink, model)?;
    for (at, operation, is_call) in events {
        match (&operation.end, is_call) {
            (_, true) => writer.invoke(operation.process, at, &operation.call)?,
            (End::Returned { value, .. }, false) => writer.ok(operation.process, at, value)?,
            (End::Failed { .. }, false) => writer.fail(operation.process, at)?,
            (End::Unknown { .. }, false) => writer.unknown(operation.process, at)?,
        }
    }
    writer.finish()
}

/// Body of the fuzz target `journal`: no bytes may panic, and what was read is read again from
/// what is written.
#[cfg(feature = "fuzzing")]
pub fn fuzz_journal(bytes: &[u8]) {
    use crate::models::{
        NamespaceCall, NamespaceReply, RegisterCall, RegisterReturn, SetCall, SetReturn,
    };
    fuzz_as::<RegisterCall, RegisterReturn>(bytes);
    fuzz_as::<SetCall, SetReturn>(bytes);
    fuzz_as::<NamespaceCall, NamespaceReply>(bytes);
}

#[cfg(feature = "fuzzing")]
fn fuzz_as<C, R>(bytes: &[u8])
where
    C: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
    R: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let Ok(reader) = JournalReader::open(bytes) else {
        return;
    };
    let model = reader.model().to_owned();
    let Ok(history) = reader.read::<C, R>(TornTail::Forget) else {
        return;
    };
    let written = write(Vec::new(), &model, &history).expect("memory takes all");
    let again: History<C, R> = JournalReader::open(&written[..])
        .and_then(|reader| reader.read(TornTail::Refuse))
        .expect("what is written can be read");
    let sorted = |history: &History<C, R>| {
        let mut all: Vec<_> = history
            .operations()
            .iter()
            .map(|op| format!("{op:?}"))
            .collect();
        all.sort();
        all
    };
    assert_eq!(sorted(&history), sorted(&again));
}

#[cfg(test)]
mod tests;
