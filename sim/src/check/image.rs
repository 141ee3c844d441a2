//! Reading a state's content as checkers get it.

use std::sync::Arc;

use mfsha_core::id::LogIndex;
use mfsha_core::namespace::key::Key;
use mfsha_core::namespace::{Law, Namespace, inspect};

use crate::store::SimStore;

use super::StateImage;

/// The tree in a state; `None` when there is none, or its mark is damaged.
#[must_use]
pub fn namespace(state: &StateImage) -> Option<Namespace<SimStore>> {
    applied(state)?;
    Namespace::open(SimStore::of_image(Arc::clone(state))).ok()
}

/// What was applied last to a state; `None` when it is empty (its node heals), or cannot be read.
#[must_use]
pub fn applied(state: &StateImage) -> Option<LogIndex> {
    let store = SimStore::of_image(Arc::clone(state));
    let mark = inspect(&store).ok()??;
    Some(mark.index)
}

/// The content as one number.
#[must_use]
pub fn hash(state: &StateImage) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    for part in state.iter().flat_map(|(key, value)| [key, value]) {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize()
}

/// The first law of the tree that a state breaks, and how.
#[must_use]
pub fn broken_law(state: &StateImage) -> Option<(Law, String)> {
    match namespace(state)?.check() {
        Ok(Ok(())) => None,
        Ok(Err(violation)) => Some((violation.law, violation.to_string())),
        Err(error) => Some((Law::Readable, error.to_string())),
    }
}

/// Where two states differ first, for people.
#[must_use]
pub fn first_difference(one: &StateImage, other: &StateImage) -> String {
    let keys = one.keys().chain(other.keys());
    match keys.filter(|key| one.get(*key) != other.get(*key)).min() {
        None => "nowhere".to_owned(),
        Some(key) => {
            let name =
                Key::parse(key).map_or_else(|| format!("{key:02x?}"), |key| format!("{key:?}"));
            let says = |state: &StateImage| match state.get(key) {
                Some(value) => format!("{value:02x?}"),
                None => "nothing".to_owned(),
            };
            format!(
                "{name} is {} in one, {} in the other",
                says(one),
                says(other)
            )
        }
    }
}
