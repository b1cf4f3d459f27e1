//! The daemon against a scripted target in the same process, driven through its real sockets: NBD, the protocol,
//! the admin interface.

mod bench;
mod cuts;
mod heirs;
mod hostile;
mod leaving;
mod life;
mod lists;
mod medium;
mod outages;
mod refusals;
mod target;
