//! One daemon on one host: started, killed, held and let go, always by the very process that this
//! program started, never by a name.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::lab::{LabError, inside};

/// A child that is not reaped before it is known to have ended, so its id cannot be another's.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts a program in a namespace; what it says is appended to a file.
    ///
    /// # Errors
    /// [`LabError`]: the namespace or the program cannot be used.
    pub fn start(
        namespace: &str,
        program: &Path,
        arguments: &[String],
        log: &Path,
    ) -> Result<Self, LabError> {
        let fail = |path: &Path, error| LabError::File {
            path: path.display().to_string(),
            error,
        };
        let out = open_log(log, program, arguments).map_err(|error| fail(log, error))?;
        let error_out = out.try_clone().map_err(|error| fail(log, error))?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(error_out)
            // A Ctrl-C at the terminal is for the harness, which then ends the daemons in order.
            .process_group(0);
        let child = inside(namespace, || command.spawn())?.map_err(|error| fail(program, error))?;
        Ok(Self { child })
    }

    /// Its number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("process ids are positive and small"))
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(kill(self.pid(), signal)?)
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// The system cannot say.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// SIGKILL. True when that is what ended it; false when it had ended before.
    ///
    /// # Errors
    /// The system refuses.
    pub fn kill(mut self) -> io::Result<bool> {
        self.child.kill()?;
        Ok(self.child.wait()?.signal() == Some(Signal::SIGKILL as i32))
    }

    /// SIGSTOP, until the system says that it stands. False when it does not within a second.
    ///
    /// # Errors
    /// The system refuses.
    pub fn pause(&self) -> io::Result<bool> {
        self.signal(Signal::SIGSTOP)?;
        Ok(self.comes_to(|state| state == 'T'))
    }

    /// SIGCONT, until it runs. False when it does not within a second.
    ///
    /// # Errors
    /// The system refuses.
    pub fn resume(&self) -> io::Result<bool> {
        self.signal(Signal::SIGCONT)?;
        Ok(self.comes_to(|state| state != 'T'))
    }

    fn comes_to(&self, is_there: impl Fn(char) -> bool) -> bool {
        let until = Instant::now() + Duration::from_secs(1);
        loop {
            if self.state().is_some_and(&is_there) {
                return true;
            }
            if Instant::now() > until {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The system's letter for what it does: R, S, D, T, Z.
    fn state(&self) -> Option<char> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id())).ok()?;
        stat.rsplit_once(") ")?.1.chars().next()
    }

    /// SIGTERM, and SIGKILL when it has not ended in time. True when it ended by itself and well.
    ///
    /// # Errors
    /// The system refuses.
    pub fn stop(mut self, patience: Duration) -> io::Result<bool> {
        self.signal(Signal::SIGCONT)?;
        self.signal(Signal::SIGTERM)?;
        let until = Instant::now() + patience;
        while Instant::now() < until {
            if let Some(status) = self.ended()? {
                return Ok(status.success());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.child.kill()?;
        self.child.wait()?;
        Ok(false)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn open_log(log: &Path, program: &Path, arguments: &[String]) -> io::Result<File> {
    let mut file = OpenOptions::new().create(true).append(true).open(log)?;
    writeln!(file, "--- {} {}", program.display(), arguments.join(" "))?;
    Ok(file)
}
