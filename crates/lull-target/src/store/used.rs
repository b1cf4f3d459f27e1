//! What of a target's resources must not be smaller: somebody uses it, who would not go on [CONN-7], or it is known by that [SAFE-8].

use super::{Remembered, read};
use crate::{ResourceConfig, RunError};
use lull_block::BackendSpec;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Bytes of the words for a successor: Linux takes no string of 128 KiB or more in a program's environment. Beyond it the
/// successor says when it starts what it would have said before anybody is paused.
const MOST_WORDS: usize = 100_000;
/// How many users are named; of further ones there is the number.
const USERS_NAMED: usize = 3;

/// Resources with a place on their rosters, and block devices, by name.
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
    /// Of places: the resource, its size in bytes, the initiator; none for a block device as such.
    pub fn of<'a>(places: impl IntoIterator<Item = (&'a str, u64, Option<String>)>) -> Self {
        let mut used = Self::default();
        for (resource, size, user) in places {
            let one = used.0.entry(resource.to_owned()).or_default();
            one.size = size;
            if let Some(user) = user {
                one.places += 1;
                if one.users.len() < USERS_NAMED && !one.users.contains(&user) {
                    one.users.push(user);
                }
            }
        }
        used
    }

    /// Of the state that a target left behind; nothing where there is none, or a target runs on it.
    pub fn stored(dir: &Path) -> Self {
        read::remembered(dir).map_or_else(|_| Self::default(), |remembered| remembered.used())
    }

    /// What [`Self::from_words`] reads: without names, without devices that nobody uses, or nothing, where it would be more than
    /// can be said.
    pub fn to_words(&self) -> String {
        let words = |used: &Self| serde_json::to_string(used).unwrap_or_default();
        let mut nameless = self.clone();
        nameless.0.values_mut().for_each(|one| one.users.clear());
        let mut seats = nameless.clone();
        seats.0.retain(|_, one| one.places > 0);
        let mut all = [words(self), words(&nameless), words(&seats)].into_iter();
        all.find(|words| words.len() <= MOST_WORDS).unwrap_or_default()
    }

    /// What a predecessor said; nothing where it said none, as an older release does.
    pub fn from_words(words: &str) -> Self {
        serde_json::from_str(words).unwrap_or_default()
    }

    /// Whether whoever uses the resource goes on with this medium of `size` bytes, and whether it may be that medium; in
    /// words it is `backend`, and `device` where it was asked for its name.
    ///
    /// # Errors
    /// It became smaller.
    pub fn fits(
        &self,
        resource: &ResourceConfig,
        backend: &str,
        device: Option<&str>,
        size: u64,
    ) -> Result<(), RunError> {
        match self.0.get(&resource.name) {
            Some(used) if size < used.size && used.places == 0 => {
                Err(RunError::other_medium(resource, backend, device))
            }
            Some(used) if size < used.size => Err(RunError::Shrunk {
                name: resource.name.clone(),
                backend: backend.to_owned(),
                size,
                before: used.size,
                users: used.in_words(),
                by: enlarging(&resource.backend, used.size),
            }),
            Some(_) | None => Ok(()),
        }
    }
}

/// How a medium becomes as large as it was, where that is the same everywhere.
fn enlarging(backend: &BackendSpec, size: u64) -> String {
    match backend {
        BackendSpec::File(file) if file.path.is_file() => {
            format!(" (if it is the same disk: `truncate --size={size} {:?}`)", file.path)
        }
        BackendSpec::Faulty(_, inner) => enlarging(inner, size),
        BackendSpec::File(_)
        | BackendSpec::Memory { .. }
        | BackendSpec::Null { .. }
        | BackendSpec::Remote(_) => String::new(),
    }
}

impl Use {
    fn in_words(&self) -> String {
        let named = self.users.join(", ");
        match self.places.saturating_sub(self.users.len()) {
            0 => named,
            more if named.is_empty() => format!("{more} places"),
            more => format!("{named} and {more} more"),
        }
    }
}

impl Remembered {
    /// What of it somebody uses.
    pub fn used(&self) -> Used {
        let seats = self.seats.iter().filter_map(|seat| {
            let size = self.resources.get(&seat.resource)?.size;
            Some((&*seat.resource, size, Some(seat.node.clone())))
        });
        let devices = self.resources.iter().filter(|(_, row)| row.device.is_some());
        Used::of(seats.chain(devices.map(|(name, row)| (&**name, row.size, None))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn db1(backend: &str) -> ResourceConfig {
        ResourceConfig { name: "db1".into(), backend: backend.parse().unwrap() }
    }

    /// [PAUSE-9] However many places there are, a successor can be started and says in a line why it does not serve.
    #[test]
    fn many_places_are_few_words() {
        let places = (0..5000u32).map(|at| ("db1", 2, Some(format!("{at:064}"))));
        let words = Used::of(places).to_words();
        assert!(words.len() < 1000);
        let Err(refused) = Used::from_words(&words).fits(&db1("file:/db1"), "file:/db1", None, 1)
        else {
            panic!("it is smaller")
        };
        assert!(refused.to_string().contains("2 and 4997 more)"), "{refused}");
        let names: Vec<_> = (0..5000).map(|at| format!("db{at}")).collect();
        let many = |most: usize, user: &str| {
            let used = names[..most].iter().map(|name| (&**name, 2, Some(user.to_owned())));
            Used::of(used).to_words()
        };
        let some = many(1500, &"w".repeat(64));
        assert!(some.len() <= MOST_WORDS);
        assert!(
            Used::from_words(&some).fits(&db1("file:/db1"), "file:/db1", None, 1).is_err(),
            "by size alone"
        );
        assert_eq!(many(5000, "web1"), "", "no program is started with as many");
    }

    /// [SAFE-8] [PAUSE-9] A block device is known by its size, whoever uses it: nobody is paused for another one.
    #[test]
    fn a_smaller_device_is_another_one_though_nobody_uses_it() {
        let used = Used::from_words(&Used::of([("db1", 2, None)]).to_words());
        let fits = |size| used.fits(&db1("file:/dev/vdb"), "file:/dev/vdb", Some("eui.1"), size);
        assert!(fits(2).is_ok() && fits(3).is_ok(), "it may grow");
        let refused = fits(1).expect_err("it is smaller");
        assert!(matches!(refused, RunError::OtherMedium { .. }), "{refused:?}");
        assert!(refused.to_string().contains("file:/dev/vdb (eui.1) is not the disk"), "{refused}");
    }
}
