//! Whole operating systems: they boot, they reboot, their power is cut.

mod alone;
mod cast;
mod detached;
mod doors;
mod flood;
mod going_down;
mod guest_disk;
mod handles;
mod holds;
mod line;
mod mounted;
mod mounts;
mod old_target;
mod power_cut;
mod ring;
mod root;
mod systemd;
mod vsock;
mod write_back;
