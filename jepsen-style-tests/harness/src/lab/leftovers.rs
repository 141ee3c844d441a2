//! What a lab leaves on a machine, and how it is removed, by a lab that ends and by `lab down`
//! after one that was killed.
//!
//! Each lab has a file `/run/mfsha-labs/NAME` with the process that made it. A process is named by
//! its id and the time of its start, so that a number that was used again is not mistaken.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::LabError;
use super::command::{ip, output};

const CLAIMS: &str = "/run/mfsha-labs";
/// What a claim says when the lab was made to stay.
const STANDING: &str = "standing";

/// The right to a lab's name.
#[derive(Debug)]
pub struct Claim {
    path: PathBuf,
}

/// A lab that is on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remains {
    /// Its name.
    pub name: String,
    /// Whether the process that made it is gone, so that nobody will remove it.
    pub is_dead: bool,
}

impl Claim {
    pub fn take(name: &str) -> Result<Self, LabError> {
        let path = Path::new(CLAIMS).join(name);
        let fail = |error| LabError::File {
            path: path.display().to_string(),
            error,
        };
        fs::create_dir_all(CLAIMS).map_err(fail)?;
        let mut file = match OpenOptions::new().write(true).create_new(true).open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                return Err(LabError::Exists {
                    name: name.to_owned(),
                });
            }
            other => other.map_err(fail)?,
        };
        let own = std::process::id();
        let start = start_of(own).unwrap_or_default();
        writeln!(file, "{own} {start}").map_err(fail)?;
        Ok(Self { path })
    }

    pub fn leave_standing(self) -> Result<(), LabError> {
        fs::write(&self.path, STANDING).map_err(|error| LabError::File {
            path: self.path.display().to_string(),
            error,
        })
    }
}

/// When a process began, in ticks since the machine did; `None` when there is none.
fn start_of(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; the 20th field after it is the start.
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split(' ').nth(19).map(str::to_owned)
}

fn is_dead(claim: &str) -> bool {
    let mut words = claim.split_whitespace();
    let Some(pid) = words.next().and_then(|word| word.parse().ok()) else {
        return false;
    };
    start_of(pid).as_deref() != words.next()
}

/// Labs on this machine, by name.
#[must_use]
pub fn find_remains() -> Vec<Remains> {
    let entries = fs::read_dir(CLAIMS).into_iter().flatten().flatten();
    let mut found: Vec<Remains> = entries
        .map(|entry| Remains {
            name: entry.file_name().to_string_lossy().into_owned(),
            is_dead: fs::read_to_string(entry.path()).is_ok_and(|claim| is_dead(&claim)),
        })
        .collect();
    found.sort_by(|one, other| one.name.cmp(&other.name));
    found
}

/// Removes a lab by its name, whoever made it; says what went wrong.
pub fn remove(name: &str) -> Vec<String> {
    remove_namespaces(name)
}

/// Removes every lab whose maker is gone; gives their names and what went wrong.
pub fn remove_dead() -> (Vec<String>, Vec<String>) {
    let dead = find_remains().into_iter().filter(|remains| remains.is_dead);
    let (mut names, mut troubles) = (Vec::new(), Vec::new());
    for remains in dead {
        troubles.extend(remove_namespaces(&remains.name));
        names.push(remains.name);
    }
    (names, troubles)
}

/// Ends what runs in a lab's namespaces, and removes them and the claim.
pub fn remove_namespaces(name: &str) -> Vec<String> {
    let mut troubles = Vec::new();
    let prefix = format!("mfsha-{name}-");
    let entries = fs::read_dir("/run/netns").into_iter().flatten().flatten();
    let own = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        // Another lab's name may begin with this one's: hosts have no dash.
        .filter(|it| {
            it.strip_prefix(&prefix)
                .is_some_and(|host| !host.contains('-'))
        });
    for namespace in own {
        if let Err(trouble) = end_processes(&namespace) {
            troubles.push(trouble);
        }
        if let Err(error) = ip(&["netns", "del", &namespace]) {
            troubles.push(error.to_string());
        }
    }
    if troubles.is_empty()
        && let Err(error) = fs::remove_file(Path::new(CLAIMS).join(name))
        && error.kind() != std::io::ErrorKind::NotFound
    {
        troubles.push(format!("{CLAIMS}/{name}: {error}"));
    }
    troubles
}

/// Kills what is in a namespace. Threads of this process that entered it do not count.
fn end_processes(namespace: &str) -> Result<(), String> {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let listed = output("ip", &["netns", "pids", namespace]).map_err(|e| e.to_string())?;
        let own = i32::try_from(std::process::id()).unwrap_or_default();
        let pids = listed
            .split_whitespace()
            .filter_map(|word| word.parse::<i32>().ok());
        let others: Vec<i32> = pids.filter(|pid| *pid != own && !is_zombie(*pid)).collect();
        if others.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("processes {others:?} in {namespace} do not end"));
        }
        for pid in others {
            // One that has ended by itself meanwhile is as good.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn is_zombie(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_none_or(|(_, rest)| rest.starts_with('Z'))
}
