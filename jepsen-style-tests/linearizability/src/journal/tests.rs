use proptest::prelude::*;

use super::*;
use crate::models::{RegisterCall, RegisterReturn};

const HEAD: &str = "{\"format\":\"mfsha-history\",\"version\":1,\"model\":\"register\"}\n";
const CALL: &str = r#"{"event":"invoke","process":1,"at":5,"call":{"op":"read","key":"a"}}"#;
const ANSWER: &str = r#"{"event":"ok","process":1,"at":7,"return":{"value":0}}"#;

fn read(text: &str, tail: TornTail) -> Result<History<RegisterCall, RegisterReturn>, JournalError> {
    JournalReader::open(text.as_bytes())?.read(tail)
}

/// What a journal of these lines is refused with.
fn refusal(lines: &[&str]) -> String {
    let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
    read(&format!("{HEAD}{body}"), TornTail::Refuse)
        .expect_err("must be refused")
        .to_string()
}

#[test]
fn a_journal_reads_as_it_was_written_by_hand() {
    let history = read(
        &format!("{HEAD}{CALL}\n{ANSWER}\n{CALL_LATER}\n"),
        TornTail::Refuse,
    );
    let history = history.unwrap();
    assert_eq!(history.len(), 2);
    let first = history.get(OpIndex(0));
    assert_eq!((first.invoked_at, first.ended_at()), (5, Some(7)));
    assert_eq!(first.returned(), Some(&RegisterReturn::Value(0)));
    assert_eq!(
        history.get(OpIndex(1)).end,
        End::Unknown { gave_up_at: None }
    );
}

const CALL_LATER: &str =
    r#"{"event":"invoke","process":1,"at":7,"call":{"op":"cas","key":"a","from":-1,"to":2}}"#;

#[test]
fn wrong_lines_are_named() {
    assert_eq!(
        refusal(&[CALL, CALL]),
        "line 3: p1 calls while its call of line 2 is open"
    );
    assert_eq!(
        refusal(&[ANSWER]),
        "line 2: an operation of p1 ends, but none is open"
    );
    assert_eq!(
        refusal(&[CALL, r#"{"event":"fail","process":1,"at":4}"#]),
        "line 3: p1 is at 4, but was at 5 before"
    );
    assert!(refusal(&[CALL, "{}"]).starts_with("line 3 does not parse: "));
    assert!(refusal(&[""]).starts_with("line 2 does not parse: "));
    let misspelt = CALL.replace("\"at\"", "\"when\"");
    assert!(refusal(&[&misspelt]).starts_with("line 2 does not parse: "));
    let unknown_field = ANSWER.replace("}}", "},\"extra\":1}");
    assert!(refusal(&[CALL, &unknown_field]).starts_with("line 3 does not parse: "));
}

#[test]
fn a_wrong_header_is_refused() {
    let open = |text: &str| {
        JournalReader::open(text.as_bytes())
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        open(""),
        "line 1 is not the header of a journal: the file is empty"
    );
    assert!(open(&format!("{CALL}\n")).starts_with("line 1 is not the header"));
    assert_eq!(
        open(&HEAD.replace(":1,", ":2,")),
        "journal has version 2, this program reads 1"
    );
    assert!(open(&HEAD.replace("mfsha-history", "other")).ends_with("format is \"other\""));
}

#[test]
fn a_torn_tail_is_refused_unless_it_is_allowed() {
    for cut in 0..ANSWER.len() {
        let text = format!("{HEAD}{CALL}\n{}", &ANSWER[..cut]);
        let strict = read(&text, TornTail::Refuse);
        if cut > 0 {
            assert!(
                matches!(strict, Err(JournalError::Truncated { line: 3 })),
                "{cut}"
            );
        }
        let history = read(&text, TornTail::Forget).unwrap();
        assert_eq!(
            history.get(OpIndex(0)).end,
            End::Unknown { gave_up_at: None }
        );
    }
}

#[test]
fn a_long_line_is_refused_before_it_is_held() {
    struct Endless;
    impl Read for Endless {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            into.fill(b' ');
            Ok(into.len())
        }
    }
    let source = io::BufReader::new(HEAD.as_bytes().chain(Endless));
    let result = JournalReader::open(source)
        .unwrap()
        .read::<RegisterCall, RegisterReturn>(TornTail::Forget);
    assert!(matches!(result, Err(JournalError::LineTooLong { line: 2 })));
}

/// Operations of processes that wait, with every kind of end.
fn histories() -> impl Strategy<Value = History<u8, u8>> {
    let operation = (0..4u64, 0..9u64, any::<u8>(), 0..4u8, any::<u8>());
    prop::collection::vec((0..3u64, operation), 0..40).prop_map(|drawn| {
        let mut clocks = [0u64; 3];
        let mut stuck = [false; 3];
        let mut operations = Vec::new();
        for (process, (pause, length, call, end, value)) in drawn {
            let own = process as usize;
            if stuck[own] {
                continue;
            }
            let invoked_at = clocks[own] + pause;
            let at = invoked_at + length;
            clocks[own] = at;
            let end = match end {
                0 => End::Failed { at },
                1 => End::Unknown {
                    gave_up_at: Some(at),
                },
                2 if value > 200 => {
                    stuck[own] = true;
                    End::Unknown { gave_up_at: None }
                }
                _ => End::Returned { at, value },
            };
            operations.push(Operation {
                process: ProcessId(process),
                invoked_at,
                call,
                end,
            });
        }
        History::new(operations).expect("each process waits")
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read(history in histories()) {
        let bytes = write(Vec::new(), "bytes", &history).unwrap();
        let reader = JournalReader::open(&bytes[..]).unwrap();
        prop_assert_eq!(reader.model(), "bytes");
        let again: History<u8, u8> = reader.read(TornTail::Refuse).unwrap();
        let sorted = |history: &History<u8, u8>| {
            let mut all = history.operations().to_vec();
            all.sort_by_key(|op| (op.process, op.invoked_at, op.ended_at().unwrap_or(u64::MAX)));
            all
        };
        // Operations of no length at one instant may change places: compare what they are.
        let shown = |history: &History<u8, u8>| {
            let mut all: Vec<_> = sorted(history).iter().map(|op| format!("{op:?}")).collect();
            all.sort();
            all
        };
        prop_assert_eq!(shown(&again), shown(&history));
    }

    #[test]
    fn no_bytes_panic(bytes: Vec<u8>, headed: bool) {
        let mut text = if headed { HEAD.as_bytes().to_vec() } else { Vec::new() };
        text.extend(bytes);
        if let Ok(reader) = JournalReader::open(&text[..]) {
            let _ = reader.read::<RegisterCall, RegisterReturn>(TornTail::Forget);
        }
    }

    #[test]
    fn every_damaged_byte_is_an_error_or_a_history(at: prop::sample::Index, to: u8) {
        let mut text = format!("{HEAD}{CALL}\n{ANSWER}\n{CALL_LATER}\n").into_bytes();
        let at = at.index(text.len());
        text[at] = to;
        if let Ok(reader) = JournalReader::open(&text[..]) {
            let _ = reader.read::<RegisterCall, RegisterReturn>(TornTail::Forget);
        }
    }
}
