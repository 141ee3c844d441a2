//! `mfsha-lincheck JOURNAL`: the checker as a command. Knows files, words and exit codes; the
//! verdict comes from the library.

use std::error::Error;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use mfsha_linearizability::check::{Budget, PartVerdict, Verdict, Violation, check, check_parts};
use mfsha_linearizability::history::{End, History, OpIndex};
use mfsha_linearizability::journal::{JournalReader, TornTail};
use mfsha_linearizability::model::Parts;
use mfsha_linearizability::models::{Namespace, Registers, Set};
use mfsha_linearizability::partition::Part;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Says whether a recorded history is linearizable.
///
/// Exit status: 0 linearizable, 1 a violation, 2 undecided within the budget, or the journal
/// cannot be judged.
#[derive(Debug, Parser)]
#[command(name = "mfsha-lincheck", version)]
struct Arguments {
    /// The journal, one JSON object a line; `-` is standard input.
    journal: PathBuf,

    /// Configurations to explore in each part, and as many to minimise a violation.
    #[arg(long, value_name = "COUNT", default_value_t = Budget::default().configurations)]
    budget: u64,

    /// How far the clocks of the recorders may differ, in the journal's unit of time.
    #[arg(long, value_name = "TIME", default_value_t = 0)]
    clock_error: u64,

    /// Leave out a last line that is cut short, instead of refusing the journal.
    #[arg(long)]
    torn_tail: bool,

    /// Judge the history as a whole, not by independent parts.
    #[arg(long)]
    whole: bool,

    /// Print one JSON object instead of text.
    #[arg(long)]
    json: bool,

    /// Operations of a violation to print at most; the latest are printed.
    #[arg(long, value_name = "COUNT", default_value_t = 40)]
    lines: usize,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match judge(&arguments).and_then(|report| Ok(report.print(arguments.json)?)) {
        Ok(code) => code,
        Err(error) => {
            let mut message = format!("mfsha-lincheck: {error}");
            let mut source = error.source();
            while let Some(inner) = source {
                message += &format!(": {inner}");
                source = inner.source();
            }
            eprintln!("{message}");
            ExitCode::from(2)
        }
    }
}

/// What is printed, both ways.
struct Report {
    code: u8,
    text: String,
    json: Value,
}

impl Report {
    fn print(&self, as_json: bool) -> io::Result<ExitCode> {
        let mut out = io::stdout().lock();
        if as_json {
            writeln!(out, "{}", self.json)?;
        } else {
            write!(out, "{}", self.text)?;
        }
        out.flush()?;
        Ok(ExitCode::from(self.code))
    }
}

fn judge(arguments: &Arguments) -> Result<Report, Box<dyn Error>> {
    let source: Box<dyn BufRead> = if arguments.journal.as_os_str() == "-" {
        Box::new(BufReader::new(io::stdin()))
    } else {
        let file = File::open(&arguments.journal)
            .map_err(|error| format!("{}: {error}", arguments.journal.display()))?;
        Box::new(BufReader::new(file))
    };
    let reader = JournalReader::open(source)?;
    let name = reader.model().to_owned();
    match name.as_str() {
        "register" => judge_as(&Registers, reader, arguments),
        "set" => judge_as(&Set, reader, arguments),
        "namespace" => judge_as(&Namespace, reader, arguments),
        _ => Err(format!("no model {name:?}; there are register, set and namespace").into()),
    }
}

fn judge_as<M>(
    model: &M,
    reader: JournalReader<Box<dyn BufRead>>,
    arguments: &Arguments,
) -> Result<Report, Box<dyn Error>>
where
    M: Parts,
    M::Call: Serialize + DeserializeOwned,
    M::Return: Serialize + DeserializeOwned,
{
    let torn_tail = match arguments.torn_tail {
        true => TornTail::Forget,
        false => TornTail::Refuse,
    };
    let history = reader
        .read::<M::Call, M::Return>(torn_tail)?
        .widened(arguments.clock_error);
    let budget = Budget {
        configurations: arguments.budget,
    };
    let parts = if arguments.whole {
        vec![PartVerdict {
            part: Part {
                keys: Vec::new(),
                operations: (0..history.len()).map(OpIndex).collect(),
            },
            verdict: check(model, &history, budget),
        }]
    } else {
        check_parts(model, &history, budget)
    };
    Ok(report::<M>(&history, &parts, arguments))
}

fn report<M>(
    history: &History<M::Call, M::Return>,
    parts: &[PartVerdict<M::Key, M::State>],
    arguments: &Arguments,
) -> Report
where
    M: Parts,
    M::Call: Serialize,
    M::Return: Serialize,
{
    let (mut text, mut json_parts) = (String::new(), Vec::new());
    let (mut violated, mut undecided, mut configurations) = (0, 0, 0);
    for PartVerdict { part, verdict } in parts {
        let name = format!("{:?}, {} operations", part.keys, part.operations.len());
        let (word, spent, violation) = match verdict {
            Verdict::Linearizable { spent, .. } => ("linearizable", *spent, None),
            Verdict::Undecided { spent } => ("undecided", *spent, None),
            Verdict::NotLinearizable(found) => ("not-linearizable", found.spent, Some(found)),
        };
        configurations += spent.configurations;
        if let Some(violation) = violation {
            violated += 1;
            text += &format!("part {name}: NOT LINEARIZABLE ({spent})\n");
            text += &explain::<M>(history, violation, arguments.lines);
        } else if word == "undecided" {
            undecided += 1;
            text += &format!("part {name}: undecided ({spent}); try a larger --budget\n");
        }
        json_parts.push(json!({
            "keys": part.keys.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "operations": part.operations.len(),
            "verdict": word,
            "configurations": spent.configurations,
            "steps": spent.steps,
            "violation": violation.map(|violation| violation_json::<M>(violation)),
        }));
    }
    let (code, word) = match (violated, undecided) {
        (0, 0) => (0, "linearizable"),
        (0, _) => (2, "undecided"),
        _ => (1, "not-linearizable"),
    };
    text += &format!(
        "{word}: {} operations, {} parts ({violated} violated, {undecided} undecided), \
         {configurations} configurations\n",
        history.len(),
        parts.len(),
    );
    let json = json!({
        "verdict": word,
        "operations": history.len(),
        "configurations": configurations,
        "parts": json_parts,
    });
    Report { code, text, json }
}

fn violation_json<M: Parts>(violation: &Violation<M::State>) -> Value {
    let indices = |all: &[OpIndex]| all.iter().map(|index| index.0).collect::<Vec<_>>();
    json!({
        "blocked": violation.blocked.0,
        "window": indices(&violation.window),
        "window_is_minimal": violation.window_is_minimal,
        "pending": indices(&violation.pending),
        "partials": violation.partials.iter().map(|partial| json!({
            "placed": partial.order.len(),
            "order": indices(&partial.order),
            "state": format!("{:?}", partial.state),
            "refused": indices(&partial.refused),
        })).collect::<Vec<_>>(),
    })
}

/// A violation for a person: the window as a table, then what was tried last.
fn explain<M>(
    history: &History<M::Call, M::Return>,
    violation: &Violation<M::State>,
    lines: usize,
) -> String
where
    M: Parts,
    M::Call: Serialize,
    M::Return: Serialize,
{
    let mut text = format!(
        "  {} cannot be placed. Operations are numbered in order of their calls' lines, from 0.\n",
        violation.blocked
    );
    let minimal = if violation.window_is_minimal {
        ""
    } else {
        ", not minimised to the end"
    };
    text += &format!(
        "  What happened since nothing was open ({} operations{minimal}):\n",
        violation.window.len()
    );
    text += &table::<M>(history, &violation.window, violation.blocked, lines);
    if !violation.pending.is_empty() {
        text += "  Never answered, from before, and possible at any time:\n";
        text += &table::<M>(history, &violation.pending, violation.blocked, lines);
    }
    for partial in &violation.partials {
        let tail = partial.order.len().saturating_sub(8);
        let last: Vec<String> = partial.order[tail..]
            .iter()
            .map(OpIndex::to_string)
            .collect();
        let refused: Vec<String> = partial.refused.iter().map(OpIndex::to_string).collect();
        text += &format!(
            "  After {} operations in order (the last: {})\n    the state is {:?}\n    and none of \
             {} leads on.\n",
            partial.order.len(),
            last.join(" "),
            partial.state,
            refused.join(" "),
        );
    }
    text
}

fn table<M>(
    history: &History<M::Call, M::Return>,
    which: &[OpIndex],
    blocked: OpIndex,
    lines: usize,
) -> String
where
    M: Parts,
    M::Call: Serialize,
    M::Return: Serialize,
{
    let hidden = which.len().saturating_sub(lines);
    let mut text = match hidden {
        0 => String::new(),
        hidden => format!("    ... {hidden} earlier ones, see --lines\n"),
    };
    for index in &which[hidden..] {
        let operation = history.get(*index);
        let mark = if *index == blocked { ">" } else { " " };
        let (until, answer) = match &operation.end {
            End::Returned { at, value } => (at.to_string(), as_json(value)),
            End::Unknown { .. } => ("?".to_owned(), "unknown".to_owned()),
            End::Failed { at } => (at.to_string(), "failed".to_owned()),
        };
        let name = index.to_string();
        let process = operation.process.to_string();
        text += &format!(
            "  {mark} {name:>7} {process:>5} [{:>12} .. {until:>12}] {} -> {answer}\n",
            operation.invoked_at,
            as_json(&operation.call),
        );
    }
    text
}

/// As it stands in the journal.
fn as_json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_else(|error| format!("({error})"))
}
