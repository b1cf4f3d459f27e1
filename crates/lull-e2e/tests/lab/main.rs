//! Whole operating systems: they boot, they reboot, their power is cut.

mod cast;
mod guest_disk;
mod handles;
mod mounts;
mod power_cut;
mod root;
mod systemd;
mod vsock;
mod write_back;
