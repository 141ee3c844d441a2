//! How far something long has come: a bar on a terminal, lines elsewhere.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// How often a bar is drawn anew.
const DRAWN: Duration = Duration::from_millis(200);
/// How often a line is written.
const LINE: Duration = Duration::from_secs(10);
/// The clock is looked at once for so many records.
const RECORDS: u32 = 1_024;

/// What something long shows of itself on standard error.
pub struct Progress {
    bar: Option<ProgressBar>,
    what: String,
    began: Instant,
    next: Instant,
    records: u32,
}

impl Progress {
    /// Begins to show.
    #[must_use]
    pub fn new(what: &str) -> Self {
        Self::on(what, stderr().is_terminal())
    }

    fn on(what: &str, is_terminal: bool) -> Self {
        let bar = is_terminal.then(|| {
            let style = ProgressStyle::with_template("{msg} {wide_bar} {percent:>3} % {elapsed}");
            let bar = ProgressBar::new(1);
            match style {
                Ok(style) => bar.with_style(style),
                Err(_) => bar,
            }
        });
        let began = Instant::now();
        Self {
            bar,
            what: what.to_owned(),
            began,
            next: began + LINE.min(DRAWN),
            records: 0,
        }
    }

    /// Goes on with another part of it.
    pub fn now(&mut self, what: &str) {
        if self.what != what {
            what.clone_into(&mut self.what);
        }
    }

    /// So much of all is done. Says whether that was shown.
    pub fn note(&mut self, done: u64, all: u64) -> bool {
        self.records += 1;
        if self.records < RECORDS {
            return false;
        }
        self.step(done, all)
    }

    /// As [`Self::note`], where each step is a long one.
    pub fn step(&mut self, done: u64, all: u64) -> bool {
        self.records = 0;
        let now = Instant::now();
        if now < self.next {
            return false;
        }
        match &self.bar {
            Some(bar) => {
                self.next = now + DRAWN;
                bar.set_message(self.what.clone());
                bar.set_length(all.max(1));
                bar.set_position(done);
            }
            None => {
                self.next = now + LINE;
                let percent = (u128::from(done) * 100).checked_div(all.into());
                let percent = percent.unwrap_or(100);
                let seconds = self.began.elapsed().as_secs();
                eprintln!("{}: {percent} %, {seconds} s", self.what);
            }
        }
        true
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
