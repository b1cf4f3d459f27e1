//! What a service manager passes to a process that it starts: sockets that it listens on for it, and what an earlier life
//! of it gave to be kept.

use std::os::fd::OwnedFd;

use super::{InheritError, passed};

/// Everything that a service manager passed to this process, in its order, by name; several may bear one name. What
/// cannot be used is there as the error that says why. To be called at most once, early in the process.
pub fn from_service_manager() -> Vec<(String, Result<OwnedFd, InheritError>)> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
    if number("LISTEN_PID") != Some(std::process::id()) {
        return Vec::new();
    }
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let names = names.split(':').take(number("LISTEN_FDS").unwrap_or(0) as usize);
    (3..).zip(names).map(|(number, name)| (name.to_owned(), passed(number))).collect()
}
