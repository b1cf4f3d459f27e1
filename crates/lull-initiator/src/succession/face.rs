//! What one life leaves of a face and the next one finds of it.

use std::collections::HashMap;
use std::os::fd::OwnedFd;

use lull_frontend::nbd::{Parted, Resumed};
use lull_transport::Listener;

use crate::block_device::Parked;
use crate::buffer::Bytes;
use crate::mounted::{Found, Mount};

/// What a life before this one left of a face.
#[derive(Debug, Default)]
pub struct Inherited {
    /// Sockets by their names.
    pub listeners: HashMap<String, OwnedFd>,
    /// Connections.
    pub clients: Vec<Resumed<Bytes>>,
    /// That of this host's kernel, for a device.
    pub kernel: Option<Resumed<Bytes>>,
    /// The mounted file.
    pub mount: Option<Found>,
    /// The device of ublk's, where that life was this process's too.
    pub block: Option<Parked>,
}

/// What is left of a face that is given away.
#[derive(Debug, Default)]
pub struct Leaving {
    /// Sockets with their names.
    pub listeners: Vec<(String, Listener)>,
    /// The connection of this host's kernel.
    pub kernel: Option<Parted>,
    /// What is to be known of the mounted file.
    pub mount: Option<Mount>,
    /// The device of ublk's.
    pub block: Option<Parked>,
}

impl Inherited {
    /// Whether there is anything: consumers of a life before wait for this one.
    pub fn is_some(&self) -> bool {
        let Self { listeners, clients, kernel, mount, block } = self;
        let socket = !listeners.is_empty() || !clients.is_empty();
        socket || kernel.is_some() || mount.is_some() || block.is_some()
    }
}
