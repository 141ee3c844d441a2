//! A run in a process of its own.
//!
//! One process lives one seed: lazy initialisers and thread-locals of libraries are consumed once
//! per process and would make the second run in it another one. A child that dies, whatever of,
//! is a failure of its seed, and what it said is kept.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the parent process waits for its children, in real time; it lives no run"
)]

use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::plan::Plan;
use crate::trace::{self, Parting};
use crate::verdict::Report;

/// Bytes of a child's output that are kept; what it says beyond them is read and dropped.
const OUTPUT_BYTES_MAX: u64 = 64 << 20;

/// How children are made.
#[derive(Clone, Debug)]
pub struct Children {
    /// This program.
    pub program: PathBuf,
    /// How long one may take, in real time.
    pub timeout: Duration,
}

/// What a child is to live.
#[derive(Clone, Debug)]
pub enum Job {
    /// What this seed draws, with some options replaced.
    Seed(u64, Vec<String>),
    /// The operations of this seed over an ideal log.
    Ideal(u64),
    /// A plan in full.
    Plan(Box<Plan>),
}

impl Job {
    fn seed(&self) -> u64 {
        match self {
            Self::Seed(seed, _) | Self::Ideal(seed) => *seed,
            Self::Plan(plan) => plan.seed,
        }
    }
}

impl Children {
    /// Children of the running program.
    ///
    /// # Errors
    /// The system does not tell which program runs.
    pub fn of_this_program(timeout: Duration) -> std::io::Result<Self> {
        Ok(Self {
            program: std::env::current_exe()?,
            timeout,
        })
    }

    /// Lives a job in a child and says what came of it.
    #[must_use]
    pub fn live(&self, job: &Job) -> Report {
        self.live_telling(job, None)
    }

    /// Lives a job in two children, and says where they become different runs, if they do.
    #[must_use]
    pub fn live_twice(&self, job: &Job) -> (Report, Report, Option<Parting>) {
        let (one, two) = (Told::new(job, 1), Told::new(job, 2));
        let reports = [&one, &two].map(|told| self.live_telling(job, Some(&told.file)));
        let [first, second] = reports;
        let parting = match first.trace_hash == second.trace_hash {
            true => None,
            // A child that died before its first event has told nothing.
            false => one.parting(&two).unwrap_or_default(),
        };
        (first, second, parting)
    }

    fn live_telling(&self, job: &Job, told: Option<&Path>) -> Report {
        let seed = job.seed();
        match self.try_live(job, told) {
            Ok(ended) => ended.report(seed),
            Err(error) => Report::died(seed, format!("no child could be run: {error}"), ""),
        }
    }

    fn try_live(&self, job: &Job, told: Option<&Path>) -> std::io::Result<Ended> {
        let mut command = Command::new(&self.program);
        command.arg("one");
        if let Some(file) = told {
            command.arg("--tell").arg(file);
        }
        let mut plan_text = String::new();
        match job {
            Job::Seed(seed, set) => {
                command.arg(seed.to_string());
                for text in set {
                    command.arg("--set").arg(text);
                }
            }
            Job::Ideal(seed) => {
                command.arg(seed.to_string()).arg("--ideal");
            }
            Job::Plan(plan) => {
                plan_text = plan.text();
                command.arg("--plan");
            }
        }
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        self.attend(command.spawn()?, plan_text)
    }

    /// Feeds a child, listens to it, and ends it when it takes too long.
    fn attend(&self, mut child: Child, input: String) -> std::io::Result<Ended> {
        let mut stdin = child.stdin.take().expect("it was piped");
        let feeding = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
        let stdout = listen(child.stdout.take().expect("it was piped"));
        let stderr = listen(child.stderr.take().expect("it was piped"));
        let deadline = Instant::now() + self.timeout;
        let mut late = false;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if Instant::now() > deadline {
                late = true;
                child.kill()?;
                break child.wait()?;
            }
            std::thread::sleep(Duration::from_millis(3));
        };
        // A child that died before it had read its plan breaks the pipe; its status says enough.
        let _ = feeding.join();
        Ok(Ended {
            status,
            late: late.then_some(self.timeout),
            stdout: stdout.join().unwrap_or_default(),
            stderr: stderr.join().unwrap_or_default(),
        })
    }
}

/// The file in which a child tells every event; it goes with this.
struct Told {
    file: PathBuf,
}

impl Told {
    fn new(job: &Job, number: u32) -> Self {
        let (process, seed) = (std::process::id(), job.seed());
        let name = format!("mfsha-sim-{process}-{seed}-{number}.trace");
        Self {
            file: std::env::temp_dir().join(name),
        }
    }

    fn parting(&self, other: &Self) -> std::io::Result<Option<Parting>> {
        let read = |told: &Self| Ok::<_, std::io::Error>(BufReader::new(File::open(&told.file)?));
        trace::parting(read(self)?, read(other)?)
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        // A child that could not begin made none.
        let _ = std::fs::remove_file(&self.file);
    }
}

/// A child that has ended.
struct Ended {
    status: ExitStatus,
    late: Option<Duration>,
    stdout: String,
    stderr: String,
}

impl Ended {
    fn report(self, seed: u64) -> Report {
        if let Some(timeout) = self.late {
            let how = format!("the run took longer than {timeout:?} of real time");
            return Report::died(seed, how, &self.stderr);
        }
        // The report is the last line; anything before it was said by somebody else.
        match self
            .stdout
            .lines()
            .last()
            .map(serde_json::from_str::<Report>)
        {
            Some(Ok(report)) if self.status.code().is_some() => report,
            _ => {
                let how = format!("the process died: {}", self.status);
                Report::died(seed, how, &self.stderr)
            }
        }
    }
}

fn listen(mut pipe: impl Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What could be read counts; an error means that the child is gone.
        let _ = pipe.by_ref().take(OUTPUT_BYTES_MAX).read_to_end(&mut bytes);
        // A pipe closed under a child that still speaks would be what it dies of.
        let _ = std::io::copy(&mut pipe, &mut std::io::sink());
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::ViolationKind;

    fn children(program: &str, timeout: Duration) -> Children {
        Children {
            program: program.into(),
            timeout,
        }
    }

    #[test]
    fn a_child_that_dies_or_says_nothing_is_a_crash_of_its_seed() {
        for program in ["/bin/false", "/bin/true", "/no/such/program"] {
            let job = Job::Seed(5, Vec::new());
            let report = children(program, Duration::from_secs(10)).live(&job);
            let violation = report.verdict.violation().expect("no report is a failure");
            assert_eq!(violation.kind, ViolationKind::Crash, "{program}");
            assert_eq!(report.seed, 5);
        }
    }

    #[test]
    fn a_child_that_takes_too_long_is_ended() {
        // `sleep one 5 ...` would refuse its arguments; `yes` never ends by itself.
        let command = Command::new("/usr/bin/yes")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let ended = children("/usr/bin/yes", Duration::from_millis(50))
            .attend(command, String::new())
            .unwrap();
        let report = ended.report(6);
        let violation = report.verdict.violation().unwrap();
        assert!(violation.sentence.contains("longer than"), "{violation:?}");
    }
}
