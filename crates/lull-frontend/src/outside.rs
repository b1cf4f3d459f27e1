//! What this crate reads that a kernel wrote, taken with any bytes: for whoever tries them all. It panics where what is read
//! is not what was written.

/// A request of a block device, and what such a device is.
pub fn ublk(bytes: &[u8]) {
    crate::ublk::try_reading(bytes);
}

/// What the kernel's families answer.
pub fn netlink(bytes: &[u8]) {
    crate::nbd::kernel::try_reading(bytes);
}
