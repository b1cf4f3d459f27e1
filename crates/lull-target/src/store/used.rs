//! What of a target's resources somebody uses, who would not go on with a smaller one [CONN-7].

use super::{Remembered, read};
use crate::RunError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Resources with a place on their rosters, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used(BTreeMap<String, Use>);

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Use {
    /// In bytes.
    size: u64,
    /// The initiators.
    users: Vec<String>,
}

impl Used {
    /// Of places: the resource, its size in bytes, the initiator.
    pub fn of<'a>(places: impl IntoIterator<Item = (&'a str, u64, String)>) -> Self {
        let mut used = Self::default();
        for (resource, size, user) in places {
            let one = used.0.entry(resource.to_owned()).or_default();
            one.size = size;
            one.users.push(user);
        }
        used
    }

    /// Of the state that a target left behind; nothing where there is none, or a target runs on it.
    pub fn stored(dir: &Path) -> Self {
        read::remembered(dir).map_or_else(|_| Self::default(), |remembered| remembered.used())
    }

    /// What [`Self::from_words`] reads.
    pub fn to_words(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// What a predecessor said; nothing where it said none, as an older release does.
    pub fn from_words(words: &str) -> Self {
        serde_json::from_str(words).unwrap_or_default()
    }

    /// Whether whoever uses the resource goes on with this medium of `size` bytes.
    ///
    /// # Errors
    /// It became smaller.
    pub fn fits(&self, name: &str, backend: &str, size: u64) -> Result<(), RunError> {
        match self.0.get(name) {
            Some(used) if size < used.size => Err(RunError::Shrunk {
                name: name.to_owned(),
                backend: backend.to_owned(),
                size,
                before: used.size,
                users: used.users.join(", "),
            }),
            Some(_) | None => Ok(()),
        }
    }
}

impl Remembered {
    /// What of it somebody uses.
    pub fn used(&self) -> Used {
        Used::of(self.seats.iter().filter_map(|seat| {
            let size = self.resources.get(&seat.resource)?.size;
            Some((&*seat.resource, size, seat.node.clone()))
        }))
    }
}
