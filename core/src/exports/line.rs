//! The lines of a file: `ADDRESSES PATH OPTIONS`, `DEFAULTS OPTIONS`, comments.

use super::error::{ExportsError, Fault, Problem};
use super::option::{self, Accounts, Draft};
use super::record::{ExportPath, Record, without_slashes};
use super::{FAULT_COUNT_MAX, address};

/// MooseFS reads no longer lines, bytes.
const LINE_BYTES_MAX: usize = 9_998;
/// Longest word that an error repeats, characters.
const SHOWN_CHARS_MAX: usize = 80;

/// What a file says.
pub(super) struct Parsed {
    pub records: Vec<Record>,
    pub warnings: Vec<Fault>,
}

/// Reads all lines.
pub(super) fn parse(bytes: &[u8], accounts: &dyn Accounts) -> Result<Parsed, ExportsError> {
    // Editors of other systems put a mark in front.
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let mut file = File {
        accounts,
        defaults: Draft::new(),
        records: Vec::new(),
        exports: 0,
        warnings: Vec::new(),
        faults: Vec::new(),
    };
    for (at, text) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let line = Line {
            number: at + 1,
            text: trim_end(text),
        };
        if file.faults.len() >= FAULT_COUNT_MAX {
            file.faults.push(line.fault(0, Problem::More));
            break;
        }
        file.take_line(&line);
    }
    // A file that is all wrong has enough said about it.
    if file.exports == 0 && file.faults.is_empty() {
        return Err(ExportsError::whole(Problem::Empty));
    }
    if !file.faults.is_empty() {
        let faults = file.faults;
        return Err(ExportsError { faults });
    }
    file.warnings.truncate(FAULT_COUNT_MAX);
    Ok(Parsed {
        records: file.records,
        warnings: file.warnings,
    })
}

struct File<'a> {
    accounts: &'a dyn Accounts,
    defaults: Draft,
    records: Vec<Record>,
    /// Records that are for somebody: those of `DEFAULTS` lines are not.
    exports: usize,
    warnings: Vec<Fault>,
    faults: Vec<Fault>,
}

/// One line, and where it is.
struct Line<'a> {
    number: usize,
    text: &'a [u8],
}

impl Line<'_> {
    /// A fault whose word begins at this byte.
    fn fault(&self, at: usize, problem: Problem) -> Fault {
        let before = &self.text[..at.min(self.text.len())];
        Fault {
            line: self.number,
            column: String::from_utf8_lossy(before).chars().count() + 1,
            problem,
        }
    }
}

impl File<'_> {
    fn take_line(&mut self, line: &Line<'_>) {
        let text = line.text;
        let begin = skip_blanks(text, 0);
        if begin == text.len() || text[begin] == b'#' {
            return;
        }
        if text.len() > LINE_BYTES_MAX {
            let limit = LINE_BYTES_MAX;
            return self.refuse(line, 0, Problem::LineTooLong { limit });
        }
        let end = word_end(text, begin);
        let first = &text[begin..end];
        let rest = skip_blanks(text, end);
        if rest == text.len() {
            let word = shown(first);
            return self.refuse(line, begin, Problem::Incomplete { word });
        }
        let mut draft = self.defaults.clone();
        if first.eq_ignore_ascii_case(b"DEFAULTS") {
            if self.take_options(line, rest, &mut draft) {
                draft.map_root();
                self.records.push(draft.record.clone());
                self.defaults = draft;
            }
            return;
        }
        match address::parse(&shown(first)) {
            Ok(addresses) => (draft.record.from, draft.record.to) = addresses.into_inner(),
            Err(problem) => return self.refuse(line, begin, problem),
        }
        self.take_path(line, rest, draft);
    }

    fn take_path(&mut self, line: &Line<'_>, begin: usize, mut draft: Draft) {
        let text = line.text;
        let end = word_end(text, begin);
        let path = &text[begin..end];
        draft.record.path = match path {
            b"." => {
                draft.unmap_root();
                ExportPath::Meta
            }
            [b'/', ..] => ExportPath::Tree(without_slashes(path).to_vec()),
            _ => {
                let option = option::is_option(path);
                let word = shown(path);
                return self.refuse(line, begin, Problem::Path { word, option });
            }
        };
        let options = skip_blanks(text, end);
        if options < text.len() {
            if !self.take_options(line, options, &mut draft) {
                return;
            }
            draft.map_root();
        }
        self.records.push(draft.record);
        self.exports += 1;
    }

    /// Reads options to the end of the line; whether they are all good.
    fn take_options(&mut self, line: &Line<'_>, begin: usize, draft: &mut Draft) -> bool {
        let faults = self.faults.len();
        let mut at = begin;
        for option in line.text[begin..].split(|byte| *byte == b',') {
            let first = skip_blanks(option, 0);
            let word = trim_end(&option[first..]);
            for problem in draft.take(word, self.accounts) {
                let place = line.fault(at + first, problem);
                if place.problem.is_warning() {
                    self.warnings.push(place);
                } else if self.faults.len() < FAULT_COUNT_MAX {
                    self.faults.push(place);
                }
            }
            at += option.len() + 1;
        }
        if self.faults.len() == faults {
            for problem in draft.contradictions() {
                self.faults.push(line.fault(begin, problem));
            }
        }
        self.faults.len() == faults
    }

    fn refuse(&mut self, line: &Line<'_>, at: usize, problem: Problem) {
        self.faults.push(line.fault(at, problem));
    }
}

/// A word for an error.
pub(super) fn shown(word: &[u8]) -> String {
    let text = String::from_utf8_lossy(word);
    let mut shown: String = text.chars().take(SHOWN_CHARS_MAX).collect();
    if shown.len() < text.len() {
        shown.push_str("...");
    }
    shown
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

fn skip_blanks(text: &[u8], from: usize) -> usize {
    let rest = text[from..].iter().position(|byte| !is_blank(*byte));
    rest.map_or(text.len(), |rest| from + rest)
}

fn word_end(text: &[u8], from: usize) -> usize {
    let rest = text[from..].iter().position(|byte| is_blank(*byte));
    rest.map_or(text.len(), |rest| from + rest)
}

fn trim_end(text: &[u8]) -> &[u8] {
    let end = text
        .iter()
        .rposition(|byte| !is_blank(*byte) && *byte != b'\r');
    end.map_or(&[], |end| &text[..=end])
}
