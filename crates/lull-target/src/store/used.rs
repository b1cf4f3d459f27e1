//! What of a target's resources somebody uses, who would not go on with a smaller one [CONN-7].

use super::{Remembered, read};
use crate::RunError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Bytes of the words for a successor: Linux takes no string of 128 KiB or more in a program's environment. Beyond it the
/// successor says when it starts what it would have said before anybody is paused.
const MOST_WORDS: usize = 100_000;
/// How many users are named; of further ones there is the number.
const USERS_NAMED: usize = 3;

/// Resources with a place on their rosters, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used(BTreeMap<String, Use>);

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Use {
    /// In bytes.
    size: u64,
    /// The initiators, as far as they are named, and how many places there are.
    users: Vec<String>,
    places: usize,
}

impl Used {
    /// Of places: the resource, its size in bytes, the initiator.
    pub fn of<'a>(places: impl IntoIterator<Item = (&'a str, u64, String)>) -> Self {
        let mut used = Self::default();
        for (resource, size, user) in places {
            let one = used.0.entry(resource.to_owned()).or_default();
            (one.size, one.places) = (size, one.places + 1);
            if one.users.len() < USERS_NAMED && !one.users.contains(&user) {
                one.users.push(user);
            }
        }
        used
    }

    /// Of the state that a target left behind; nothing where there is none, or a target runs on it.
    pub fn stored(dir: &Path) -> Self {
        read::remembered(dir).map_or_else(|_| Self::default(), |remembered| remembered.used())
    }

    /// What [`Self::from_words`] reads; nothing where it would be more than can be said.
    pub fn to_words(&self) -> String {
        let words = serde_json::to_string(self).unwrap_or_default();
        if words.len() > MOST_WORDS { String::new() } else { words }
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
                users: used.in_words(),
            }),
            Some(_) | None => Ok(()),
        }
    }
}

impl Use {
    fn in_words(&self) -> String {
        let named = self.users.join(", ");
        match self.places.saturating_sub(self.users.len()) {
            0 => named,
            more => format!("{named} and {more} more"),
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

#[cfg(test)]
mod tests {
    use super::*;

    /// [PAUSE-9] However many places there are, a successor can be started and says in a line why it does not serve.
    #[test]
    fn many_places_are_few_words() {
        let places = (0..5000u32).map(|at| ("db1", 2, format!("{at:064}")));
        let words = Used::of(places).to_words();
        assert!(words.len() < 1000);
        let Err(refused) = Used::from_words(&words).fits("db1", "file:/db1", 1) else {
            panic!("it is smaller")
        };
        assert!(refused.to_string().contains("2 and 4997 more)"), "{refused}");
        let names: Vec<_> = (0..5000).map(|at| format!("{at:064}")).collect();
        let many = Used::of(names.iter().map(|name| (&**name, 2, "web1".to_owned())));
        assert_eq!(many.to_words(), "", "no program is started with as many");
    }
}
