//! The place where guests stand.

use std::sync::{Arc, Mutex};

use super::guest::GuestBuilder;
use super::hub::Hub;
use super::stock::Stock;
use super::vsock::Carrier;
use crate::world::{Inner, World};

/// A place for guests. It is declared first in a test: when it is dropped, it shows the end of every console and log
/// where the test has failed.
#[derive(Debug)]
pub struct Lab {
    world: World,
    room: Arc<Room>,
}

/// What all guests share.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) world: Arc<Inner>,
    pub(super) stock: Stock,
    pub(super) hub: Hub,
    pub(super) vsock: Carrier,
    /// Their names; the place in the list, from 1, is the number in their addresses.
    names: Mutex<Vec<String>>,
}

impl Default for Lab {
    fn default() -> Self {
        Self::new()
    }
}

impl Lab {
    /// An empty lab, made of the stock of this target directory.
    ///
    /// # Panics
    /// Where there is none.
    pub fn new() -> Self {
        let (stock, world) = (Stock::here(), World::new());
        let (hub, vsock, names) = Default::default();
        let room = Arc::new(Room { world: world.inner(), stock, hub, vsock, names });
        Self { world, room }
    }

    /// Everything that is not in a guest: files, logs, daemons on this machine.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// A guest to be started.
    pub fn guest(&self, name: &str) -> GuestBuilder {
        GuestBuilder::new(Arc::clone(&self.room), name)
    }
}

impl Room {
    /// Enters a guest; its number.
    pub(super) fn enter(&self, name: &str) -> u8 {
        let mut names = self.names.lock().expect("the guests' names");
        assert!(!names.iter().any(|other| other == name), "two guests are called {name}");
        names.push(name.to_owned());
        u8::try_from(names.len()).expect("fewer than 256 guests")
    }

    /// All guests that were entered so far, as `/etc/hosts` has them.
    pub(super) fn hosts(&self) -> String {
        let names = self.names.lock().expect("the guests' names");
        let lines =
            names.iter().zip(1..).map(|(name, number)| format!("{} {name}\n", address(number)));
        format!("127.0.0.1 localhost\n{}", lines.collect::<String>())
    }
}

/// A guest's address in the lab's network.
pub(super) fn address(number: u8) -> String {
    format!("10.11.0.{number}")
}
