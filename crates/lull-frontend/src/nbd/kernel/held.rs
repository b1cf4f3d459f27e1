//! The use of a device, for as long as it is served.

use std::os::unix::net::UnixStream;
use std::path::Path;

use super::{Found, NbdDevice, NbdDeviceError};
use crate::nbd::Geometry;

/// A device that is connected under a name. Dropping it disconnects the device, which may block; whoever dies, or
/// panics, leaves it to its next life. All sockets that were given to the kernel must have ended before.
#[derive(Debug)]
pub struct Held {
    device: NbdDevice,
    name: String,
}

impl Held {
    /// As [`NbdDevice::open`].
    ///
    /// # Errors
    /// What stands in the way.
    pub fn open(
        device: NbdDevice,
        name: String,
        geometry: &Geometry,
    ) -> Result<(Held, Found, UnixStream), NbdDeviceError> {
        let (found, socket) = device.open(&name, geometry)?;
        Ok((Held { device, name }, found, socket))
    }

    /// Goes on with a device whose connection another process has handed over; `None` where somebody has disconnected it.
    pub fn resume(device: NbdDevice, name: String) -> Option<Held> {
        device.is_of(&name).then_some(Held { device, name })
    }

    /// Leaves it connected, for the next process.
    pub fn leave(self) {
        std::mem::forget(self);
    }

    /// The device.
    pub fn device(&self) -> &NbdDevice {
        &self.device
    }

    /// The name under which it is connected.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The device's path.
    pub fn path(&self) -> &Path {
        self.device.path()
    }

    /// Whether it still is.
    pub fn is_connected(&self) -> bool {
        self.device.is_of(&self.name)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // A kernel that refuses has let go of it already.
            let _ = self.device.disconnect(&self.name);
        }
    }
}
