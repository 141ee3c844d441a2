//! What an operator does when the system says no to a file.
//!
//! It knows the system's errors, not which file it is about: whoever asks names that.

use std::io::{self, ErrorKind};

/// What to do about an error.
pub(crate) fn advice(error: &io::Error) -> &'static str {
    // The standard library has no names for these yet: EIO, EMFILE and ENFILE.
    match error.raw_os_error() {
        Some(5) => {
            return "the disk fails: look at the disk and the system's log; what it cannot read \
                    comes from the others once there is another disk";
        }
        Some(23 | 24) => {
            return "raise the limit of open files (LimitNOFILE in the unit, or ulimit -n)";
        }
        _ => {}
    }
    match error.kind() {
        ErrorKind::PermissionDenied => {
            "let mfsha's user own it, and enter the directories above it"
        }
        ErrorKind::ReadOnlyFilesystem => {
            "the file system is mounted read-only: mount it for writing, or look in the system's \
             log for the error that made it so"
        }
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "the disk or a quota is full: free some space, or use another disk"
        }
        ErrorKind::NotFound => "it was there a moment ago: is somebody clearing it away?",
        _ => "look at the disk and the system's log",
    }
}

/// The error, and what to do about it.
pub(crate) fn with_advice(error: &io::Error) -> String {
    format!("{error}; {}", advice(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_running_node_meets_comes_with_advice() {
        for (number, part) in [
            (5, "look at the disk"),
            (24, "LimitNOFILE"),
            (28, "free some space"),
            (30, "mount it for writing"),
        ] {
            let error = io::Error::from_raw_os_error(number);
            let said = with_advice(&error);
            assert!(said.starts_with(&error.to_string()), "{said}");
            assert!(said.contains(part), "{said}");
        }
    }
}
