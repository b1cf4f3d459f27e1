//! The kernel's own NBD client, `/dev/nbdN`, given one end of a pair of sockets: there is no handshake, since whoever
//! connects the device says what it is.
//!
//! Two clocks of the kernel's meet here. With a timeout of its own ([`NbdDevice::open`] sets none) it would take a
//! connection whose requests are not answered for broken, which is what every hold looks like. Without one it only looks
//! after a request each time the block layer's timer for it ends, and sends it again where its connection was exchanged
//! meanwhile: that is how the requests of a daemon that was killed come to the next one. So that timer is set to a second
//! instead of thirty. All of this holds for a single connection only; with several the kernel ends one whenever a timer
//! does.

mod device;
mod held;
mod netlink;

pub use device::{Found, NbdDevice, NbdDeviceError};
pub use held::Held;
pub(crate) use netlink::try_reading;
