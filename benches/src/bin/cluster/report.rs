//! What was measured, as a table or as JSON.

use std::time::Duration;

use crate::load::Done;

/// One line.
struct Line {
    what: String,
    values: Vec<(&'static str, f64)>,
}

/// What was measured.
#[derive(Default)]
pub struct Report {
    lines: Vec<Line>,
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// The value below which this part of a sorted list lies; 0 for an empty one.
fn quantile(sorted: &[Duration], part: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    let at = (last as f64 * part).round() as usize;
    sorted.get(at).copied().map_or(0.0, micros)
}

impl Report {
    fn push(&mut self, what: &str, values: Vec<(&'static str, f64)>) {
        let line = Line {
            what: what.to_owned(),
            values,
        };
        eprintln!("{}", text(&line));
        self.lines.push(line);
    }

    /// Latencies in microseconds.
    pub fn latency(&mut self, what: &str, took: &[Duration]) {
        let values = latencies(took);
        self.push(what, values);
    }

    /// A rate, and latencies.
    pub fn rate(&mut self, what: &str, done: &Done, time: Duration) {
        let mut values = vec![(
            "per_second",
            done.latencies.len() as f64 / time.as_secs_f64(),
        )];
        values.extend(latencies(&done.latencies));
        self.push(what, values);
    }

    /// A time in milliseconds.
    pub fn duration(&mut self, what: &str, took: Duration) {
        self.push(what, vec![("ms", took.as_secs_f64() * 1e3)]);
    }

    /// A number.
    pub fn number(&mut self, what: &str, value: f64) {
        self.push(what, vec![("value", value)]);
    }

    /// Prints everything.
    pub fn print(&self, json: bool) {
        if json {
            let lines: Vec<_> = self
                .lines
                .iter()
                .map(|line| {
                    let values: serde_json::Map<_, _> = line
                        .values
                        .iter()
                        .map(|(name, value)| ((*name).to_owned(), (*value).into()))
                        .collect();
                    serde_json::json!({ "what": line.what, "values": values })
                })
                .collect();
            println!("{}", serde_json::Value::from(lines));
        } else {
            for line in &self.lines {
                println!("{}", text(line));
            }
        }
    }
}

fn latencies(took: &[Duration]) -> Vec<(&'static str, f64)> {
    let mut sorted = took.to_vec();
    sorted.sort_unstable();
    vec![
        ("p50_us", quantile(&sorted, 0.5)),
        ("p99_us", quantile(&sorted, 0.99)),
        ("max_us", quantile(&sorted, 1.0)),
        ("count", sorted.len() as f64),
    ]
}

fn text(line: &Line) -> String {
    let values: Vec<_> = line
        .values
        .iter()
        .map(|(name, value)| format!("{name} {value:.0}"))
        .collect();
    format!("{:<48} {}", line.what, values.join("  "))
}
