//! Which versions of copies hold what a chunk holds.

use std::ops::RangeInclusive;

use super::keeper::Records;
use crate::namespace::op::{ChunkAction, ChunkInfo};
use crate::namespace::record::Ranges;
use crate::store::StoreError;

/// The versions of copies that are as good as any other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sound {
    versions: RangeInclusive<u32>,
    /// The version that all were known to have: good, whatever was passed over.
    first: Option<u32>,
    passed: Ranges,
}

impl Sound {
    /// One version alone.
    #[must_use]
    pub fn only(version: u32) -> Self {
        Self {
            versions: version..=version,
            first: None,
            passed: Ranges::default(),
        }
    }

    /// Those of a chunk: of one that is not settled all from the version before on, for nobody was
    /// told that it may be used at any of them, but none that was passed over, for such a copy is
    /// not of this state.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn of(info: &ChunkInfo, records: &dyn Records) -> Result<Self, StoreError> {
        let (from, first) = match info.unsettled.map(|it| it.action) {
            Some(ChunkAction::Raised { from_version }) => (from_version, Some(from_version)),
            Some(ChunkAction::Created | ChunkAction::Duplicated { .. }) => (1, None),
            Some(ChunkAction::Kept) | None => (info.version, None),
        };
        // Nothing is between the two otherwise.
        let passed = match from < info.version {
            true => records.passed_versions(info.chunk)?,
            false => Ranges::default(),
        };
        Ok(Self {
            versions: from..=info.version,
            first,
            passed,
        })
    }

    /// Whether a copy of this version is one of them.
    #[must_use]
    pub fn contains(&self, version: u32) -> bool {
        self.versions.contains(&version)
            && (self.first == Some(version) || !self.passed.contains(version.into()))
    }
}
