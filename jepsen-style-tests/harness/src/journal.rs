//! What is written down while a run goes on, line by line, outside of the tested processes.
//!
//! Every client has a file. The call is written before it leaves, the end after it came; a call
//! without an end has an unknown one. Nothing here judges.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use mfsha_core::id::NodeId;
use mfsha_linearizability::history::End;
use mfsha_linearizability::models::{NamespaceCall, NamespaceReply};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// What the first line of every file calls itself.
const FORMAT: &str = "mfsha-jepsen";
const VERSION: u32 = 1;
/// Longest line that is read, bytes.
const LINE_BYTES_MAX: usize = 16 << 20;

/// Who writes a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Makes what a round needs, and looks at what is left of it.
    Keeper,
    /// Changes and reads, through whichever node serves it.
    Writer,
    /// Reads from one certain seat.
    Reader,
}

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    format: String,
    version: u32,
    /// The client's number; unique in a run.
    pub client: u64,
    /// What it does.
    pub role: Role,
}

/// What a register is asked to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RegisterAction {
    /// Hold this, whatever is held.
    Set(i64),
    /// Hold this if nothing is held.
    Create(i64),
    /// Hold this if something is held.
    Replace(i64),
    /// Hold nothing.
    Remove,
    /// Say what is held.
    Read,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Call {
    /// Of the tree.
    Tree(NamespaceCall),
    /// Of an extended attribute that serves as a register. Values are not 0: that is "nothing".
    Register {
        /// The file whose attribute it is.
        key: String,
        /// What to do.
        action: RegisterAction,
    },
}

/// Which way it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Via {
    /// Through the log.
    Write,
    /// A read that has to be fresh.
    Strict,
    /// A read of a node's own state, not older than this index.
    Fast {
        /// Highest index that this client has seen.
        not_before: u64,
    },
}

/// What was answered, in the words of what was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Seen {
    /// By the tree.
    Tree(NamespaceReply),
    /// A register holds this; 0 is nothing.
    Held(i64),
    /// The register was changed.
    Done,
    /// Something was held, so nothing was created.
    Present,
    /// Nothing was held, so nothing was replaced or removed.
    Absent,
    /// A refusal that no call of this workload can have: never right.
    Odd(String),
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Log index of the change, or of the state that was read; of a repeated change, that of the
    /// repeat. The client library does not tell it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<u64>,
    /// Metadata version after a change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// Whether the outcome was remembered from an earlier attempt.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub repeated: bool,
    /// Who answered, when that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeId>,
    /// What.
    pub seen: Seen,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case", deny_unknown_fields)]
enum Event {
    Invoke {
        at: u64,
        round: u32,
        via: Via,
        call: Call,
    },
    Ok {
        at: u64,
        answer: Answer,
    },
    Fail {
        at: u64,
        reason: String,
    },
    Unknown {
        at: u64,
        reason: String,
    },
}

/// One operation, as it was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// In which round.
    pub round: u32,
    /// When it left, nanoseconds.
    pub invoked_at: u64,
    /// Which way.
    pub via: Via,
    /// What.
    pub call: Call,
    /// How it ended.
    pub end: End<Answer>,
}

impl Operation {
    /// When the client was free again; `None` when it never was.
    #[must_use]
    pub fn ended_at(&self) -> Option<u64> {
        match self.end {
            End::Returned { at, .. } | End::Failed { at } => Some(at),
            End::Unknown { gave_up_at } => gave_up_at,
        }
    }
}

/// All operations of a client, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientJournal {
    /// Its number.
    pub client: u64,
    /// What it does.
    pub role: Role,
    /// What it did.
    pub operations: Vec<Operation>,
}

/// Why a file is no journal. The run cannot be judged.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// It cannot be read or written.
    #[error("{path}: {error}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Not what a recorder writes.
    #[error("{path}, line {line}: {reason}")]
    Line {
        /// Which.
        path: PathBuf,
        /// Its line, from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
}

/// A file of lines that is being written.
#[derive(Debug)]
pub struct Lines {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Lines {
    /// Begins a file.
    ///
    /// # Errors
    /// [`JournalError::Io`].
    pub fn create(path: &Path) -> Result<Self, JournalError> {
        let file = File::create(path).map_err(|error| JournalError::Io {
            path: path.to_owned(),
            error,
        })?;
        Ok(Self {
            path: path.to_owned(),
            file: BufWriter::new(file),
        })
    }

    /// Writes a line, and hands it to the system at once: a killed recorder loses no line that it
    /// had written.
    ///
    /// # Errors
    /// [`JournalError::Io`]: a full disk, for example. Then the run must end.
    pub fn write(&mut self, line: &impl Serialize) -> Result<(), JournalError> {
        let written = serde_json::to_writer(&mut self.file, line).map_err(io::Error::from);
        written
            .and_then(|()| self.file.write_all(b"\n"))
            .and_then(|()| self.file.flush())
            .map_err(|error| JournalError::Io {
                path: self.path.clone(),
                error,
            })
    }
}

/// Writes one client's journal.
#[derive(Debug)]
pub struct Recorder(Lines);

impl Recorder {
    /// Begins a client's file.
    ///
    /// # Errors
    /// [`JournalError::Io`].
    pub fn create(path: &Path, client: u64, role: Role) -> Result<Self, JournalError> {
        let mut lines = Lines::create(path)?;
        lines.write(&Header {
            format: FORMAT.to_owned(),
            version: VERSION,
            client,
            role,
        })?;
        Ok(Self(lines))
    }

    /// Before the call leaves.
    ///
    /// # Errors
    /// [`JournalError::Io`]: then it must not leave.
    pub fn invoke(
        &mut self,
        at: u64,
        round: u32,
        via: Via,
        call: &Call,
    ) -> Result<(), JournalError> {
        self.0.write(&Event::Invoke {
            at,
            round,
            via,
            call: call.clone(),
        })
    }

    /// After the end came.
    ///
    /// # Errors
    /// [`JournalError::Io`].
    pub fn end(&mut self, end: &Ended) -> Result<(), JournalError> {
        let at = end.at;
        self.0.write(&match end.how.clone() {
            How::Answered(answer) => Event::Ok { at, answer },
            How::Failed(reason) => Event::Fail { at, reason },
            How::Unknown(reason) => Event::Unknown { at, reason },
        })
    }
}

/// How a call ended, and when.
#[derive(Clone, Debug)]
pub struct Ended {
    /// When the caller learnt so, nanoseconds.
    pub at: u64,
    /// How.
    pub how: How,
}

/// How a call ended.
#[derive(Clone, Debug)]
pub enum How {
    /// With an answer.
    Answered(Answer),
    /// It certainly did not happen, and never will.
    Failed(String),
    /// Nobody knows.
    Unknown(String),
}

/// Reads a client's journal. A last line that was cut short counts as not written.
///
/// # Errors
/// [`JournalError`].
pub fn read_client(path: &Path) -> Result<ClientJournal, JournalError> {
    let refuse = |line: usize, reason: String| JournalError::Line {
        path: path.to_owned(),
        line,
        reason,
    };
    let mut lines = read_raw(path)?.into_iter();
    let (_, first) = lines
        .next()
        .ok_or_else(|| refuse(1, "the file is empty".to_owned()))?;
    let header: Header = serde_json::from_str(&first).map_err(|e| refuse(1, e.to_string()))?;
    if header.format != FORMAT || header.version != VERSION {
        return Err(refuse(
            1,
            format!("not a journal of version {VERSION} of {FORMAT}"),
        ));
    }
    let mut operations: Vec<Operation> = Vec::new();
    let (mut is_open, mut last) = (false, 0);
    for (line, text) in lines {
        let event: Event = serde_json::from_str(&text).map_err(|e| refuse(line, e.to_string()))?;
        let (at, end) = match event {
            Event::Invoke {
                at,
                round,
                via,
                call,
            } => {
                if is_open {
                    return Err(refuse(line, "a call while another is open".to_owned()));
                }
                is_open = true;
                let end = End::Unknown { gave_up_at: None };
                operations.push(Operation {
                    round,
                    invoked_at: at,
                    via,
                    call,
                    end,
                });
                (at, None)
            }
            Event::Ok { at, answer } => (at, Some(End::Returned { at, value: answer })),
            Event::Fail { at, .. } => (at, Some(End::Failed { at })),
            Event::Unknown { at, .. } => (
                at,
                Some(End::Unknown {
                    gave_up_at: Some(at),
                }),
            ),
        };
        if at < last {
            return Err(refuse(line, "time runs backwards".to_owned()));
        }
        last = at;
        if let Some(end) = end {
            let open = operations.last_mut().filter(|_| is_open);
            let open = open.ok_or_else(|| refuse(line, "an end without a call".to_owned()))?;
            open.end = end;
            is_open = false;
        }
    }
    Ok(ClientJournal {
        client: header.client,
        role: header.role,
        operations,
    })
}

/// Reads a file of lines of one kind.
///
/// # Errors
/// [`JournalError`].
pub fn read_lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, JournalError> {
    let parse = |(line, text): (usize, String)| {
        serde_json::from_str(&text).map_err(|error| JournalError::Line {
            path: path.to_owned(),
            line,
            reason: error.to_string(),
        })
    };
    read_raw(path)?.into_iter().map(parse).collect()
}

/// Whole lines and their numbers.
fn read_raw(path: &Path) -> Result<Vec<(usize, String)>, JournalError> {
    let fail = |error| JournalError::Io {
        path: path.to_owned(),
        error,
    };
    let mut reader = BufReader::new(File::open(path).map_err(fail)?);
    let mut lines = Vec::new();
    loop {
        let mut bytes = Vec::new();
        let mut limited = io::Read::take(&mut reader, LINE_BYTES_MAX as u64);
        limited.read_until(b'\n', &mut bytes).map_err(fail)?;
        let line = lines.len() + 1;
        match bytes.pop() {
            None => return Ok(lines),
            Some(b'\n') => {}
            Some(_) if bytes.len() + 1 == LINE_BYTES_MAX => {
                let reason = format!("longer than {LINE_BYTES_MAX} bytes");
                return Err(JournalError::Line {
                    path: path.to_owned(),
                    line,
                    reason,
                });
            }
            Some(_) => return Ok(lines),
        }
        let text = String::from_utf8(bytes).map_err(|error| JournalError::Line {
            path: path.to_owned(),
            line,
            reason: error.to_string(),
        })?;
        lines.push((line, text));
    }
}

/// Writes a value as one JSON file, whole or not at all.
///
/// # Errors
/// [`JournalError::Io`].
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<(), JournalError> {
    let fail = |error| JournalError::Io {
        path: path.to_owned(),
        error,
    };
    let bytes = serde_json::to_vec_pretty(value).map_err(|error| fail(error.into()))?;
    let beside = path.with_extension("tmp");
    std::fs::write(&beside, bytes).map_err(fail)?;
    std::fs::rename(&beside, path).map_err(fail)
}

/// Reads a value from a JSON file.
///
/// # Errors
/// [`JournalError`].
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, JournalError> {
    let fail = |error| JournalError::Io {
        path: path.to_owned(),
        error,
    };
    let bytes = std::fs::read(path).map_err(fail)?;
    serde_json::from_slice(&bytes).map_err(|error| JournalError::Line {
        path: path.to_owned(),
        line: error.line(),
        reason: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(lines: &[&str]) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("client-1.jsonl");
        let header = r#"{"format":"mfsha-jepsen","version":1,"client":1,"role":"writer"}"#;
        let text = std::iter::once(&header)
            .chain(lines)
            .map(|line| format!("{line}\n"));
        std::fs::write(&path, text.collect::<String>()).unwrap();
        (dir, path)
    }

    const CALL: &str = r#"{"event":"invoke","at":5,"round":1,"via":"write","call":{"register":{"key":"a","action":{"set":3}}}}"#;

    #[test]
    fn what_was_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("client.jsonl");
        let mut recorder = Recorder::create(&path, 7, Role::Writer).unwrap();
        let call = Call::Register {
            key: "k".to_owned(),
            action: RegisterAction::Set(4),
        };
        let answer = Answer {
            index: Some(9),
            version: Some(2),
            repeated: true,
            node: Some(NodeId(1)),
            seen: Seen::Done,
        };
        recorder.invoke(1, 3, Via::Write, &call).unwrap();
        recorder
            .end(&Ended {
                at: 2,
                how: How::Answered(answer.clone()),
            })
            .unwrap();
        recorder
            .invoke(4, 3, Via::Fast { not_before: 9 }, &call)
            .unwrap();
        recorder
            .end(&Ended {
                at: 5,
                how: How::Unknown("gone".to_owned()),
            })
            .unwrap();
        recorder.invoke(6, 3, Via::Strict, &call).unwrap();
        let read = read_client(&path).unwrap();
        assert_eq!((read.client, read.role), (7, Role::Writer));
        let ends: Vec<_> = read.operations.into_iter().map(|it| it.end).collect();
        assert_eq!(
            ends,
            [
                End::Returned {
                    at: 2,
                    value: answer
                },
                End::Unknown {
                    gave_up_at: Some(5)
                },
                End::Unknown { gave_up_at: None },
            ]
        );
    }

    #[test]
    fn what_no_recorder_writes_is_refused_with_its_line() {
        for (lines, line, reason) in [
            (vec![CALL, CALL], 3, "another is open"),
            (
                vec![r#"{"event":"fail","at":5,"reason":""}"#],
                2,
                "without a call",
            ),
            (
                vec![CALL, r#"{"event":"fail","at":4,"reason":""}"#],
                3,
                "backwards",
            ),
            (vec![r#"{"event":"nothing"}"#], 2, "nothing"),
        ] {
            let (_dir, path) = file(&lines);
            let error = read_client(&path).unwrap_err().to_string();
            assert!(error.contains(&format!("line {line}")), "{error}");
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn a_torn_line_was_never_written() {
        let (_dir, path) = file(&[CALL]);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.extend(br#"{"event":"ok","#);
        std::fs::write(&path, bytes).unwrap();
        let read = read_client(&path).unwrap();
        assert_eq!(read.operations.len(), 1);
        assert_eq!(read.operations[0].end, End::Unknown { gave_up_at: None });
    }
}
