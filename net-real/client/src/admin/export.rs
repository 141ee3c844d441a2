//! The state as a file of `mfsmaster`, a part at a time.

use mfsha_core::native::admin::{AdminAnswer, AdminRequest, ExportPart};

use super::{Admin, AdminFail, unexpected};

/// Why an export came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The nodes did not give it.
    #[error(transparent)]
    Admin(#[from] AdminFail),
    /// What they gave could not be kept.
    #[error("{0}")]
    Kept(String),
}

impl Admin {
    /// Has the leader write the state as it is now, as a `metadata.mfs`, and gives its parts to
    /// `keep` in order. `export` names this export: a number drawn at random.
    ///
    /// # Errors
    /// [`ExportError`]: what was kept is of no use.
    pub async fn export(
        &self,
        export: u64,
        mut keep: impl FnMut(ExportPart) -> Result<(), String>,
    ) -> Result<(), ExportError> {
        let leader = self.leader_status().await?.node;
        for part in 0.. {
            let request = AdminRequest::Export { export, part };
            let told = match self.ask(Some(leader), request).await? {
                AdminAnswer::Exported(told) => told,
                other => return Ok(unexpected(&other)?),
            };
            let is_last = told.is_last;
            keep(told).map_err(ExportError::Kept)?;
            if is_last {
                break;
            }
        }
        Ok(())
    }
}
