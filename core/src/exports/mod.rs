//! `mfsexports.cfg`: who may mount what, and how. Text in, records or every error in it out.
//!
//! A line that MooseFS would skip or half understand with a warning is an error here: what is not
//! understood might be what forbids something. Files and the machine's users are not known here;
//! the caller hands over the bytes and what it knows of accounts.
//!
//! | module | what lives there |
//! |---|---|
//! | [`Exports`] | all records, their checksum, the choice of one for a client |
//! | [`Record`] | one record |
//! | [`password`] | passwords and the challenge that proves them |

mod address;
mod error;
#[cfg(any(test, feature = "fuzzing"))]
mod fuzz;
mod line;
mod option;
pub mod password;
mod record;
#[cfg(test)]
mod tests;

#[cfg(feature = "fuzzing")]
pub use fuzz::fuzz_exports;

pub use error::{ExportsError, Fault, Problem};
pub use option::{Accounts, DISABLES, NoAccounts};
pub use record::{ExportPath, Record};

use std::net::Ipv4Addr;

use crate::moosefs::version::Version;
use password::Proof;

/// No file is longer, bytes.
pub const FILE_BYTES_MAX: usize = 1 << 20;
/// Faults that are told at once.
pub const FAULT_COUNT_MAX: usize = 50;

/// The records of one file, in its order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exports {
    records: Vec<Record>,
    checksum: u64,
}

/// Who wants to mount what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker<'a> {
    /// Where it is.
    pub ip: Ipv4Addr,
    /// Its version.
    pub version: Version,
    /// The directory; `None` for the meta file system.
    pub path: Option<&'a [u8]>,
    /// What it knows of a password.
    pub proof: Option<Proof>,
}

/// Why nothing may be mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No record is for this client and this path: `EACCES`.
    #[error("no export is for this client and path")]
    NoExport,
    /// There is one, with a password, and the client gave none: `NOPASSWORD`.
    #[error("the export has a password, and none was given")]
    NoPassword,
    /// There is one, with another password: `BADPASSWORD`.
    #[error("the password is wrong")]
    BadPassword,
}

impl Exports {
    /// Reads a file. What is suspicious but harmless comes beside the records.
    ///
    /// # Errors
    /// [`ExportsError`] with everything that is wrong, line by line.
    pub fn parse(
        bytes: &[u8],
        accounts: &dyn Accounts,
    ) -> Result<(Self, Vec<Fault>), ExportsError> {
        if bytes.len() > FILE_BYTES_MAX {
            return Err(ExportsError::whole(Problem::FileTooLong));
        }
        let parsed = line::parse(bytes, accounts)?;
        Ok((Self::new(parsed.records), parsed.warnings))
    }

    /// Of these records, in this order.
    #[must_use]
    pub fn new(records: Vec<Record>) -> Self {
        let checksums = records.iter().map(Record::checksum);
        let checksum = checksums.fold(0, u64::wrapping_add);
        Self { records, checksum }
    }

    /// The records, in the order of the file.
    #[must_use]
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// The same on every node that has the same records, in whatever order.
    #[must_use]
    pub fn checksum(&self) -> u64 {
        self.checksum
    }

    /// The record that counts for a client.
    ///
    /// Records are gone through in the file's order, and one that is better in one way takes the
    /// place of the one before, whatever else it is: it may be written, root is not mapped, it
    /// has more rights, it needs a password, its path is longer. That is no order (a read-only
    /// record with an unmapped root takes the place of a writable one before it), and it is
    /// MooseFS's.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn choose(&self, asker: &Asker<'_>) -> Result<&Record, Refusal> {
        let proof = asker.proof.as_ref().filter(|proof| proof.has_challenge());
        let mut best: Option<&Record> = None;
        let mut refused = None;
        for record in &self.records {
            if !record.is_for(asker) {
                continue;
            }
            match (&record.password, proof) {
                (Some(_), None) => {
                    refused = Some(Refusal::NoPassword);
                    continue;
                }
                (Some(password), Some(proof)) if !proof.proves(password) => {
                    refused = Some(Refusal::BadPassword);
                    continue;
                }
                _ => {}
            }
            if best.is_none_or(|best| record.is_preferred_to(best)) {
                best = Some(record);
            }
        }
        best.ok_or(refused.unwrap_or(Refusal::NoExport))
    }
}
