//! One end of a pair, through a fork and an exec.
//!
//! Two things here the compiler cannot see: code that runs between fork and exec, and a number
//! that becomes a descriptor.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::io::{Errno, FdFlags, fcntl_dupfd_cloexec, fcntl_getfd, fcntl_setfd};
use rustix::net::{AddressFamily, SocketType, sockopt};

/// A number under which nothing was inherited, or something else.
#[derive(Debug, thiserror::Error)]
#[error("descriptor {fd} was not handed to this process as it should: {source}")]
pub struct InheritError {
    /// The number that was given.
    pub fd: RawFd,
    /// What is wrong with it.
    pub source: io::Error,
}

/// Lets the child of `command` keep `end` open under a number that is at least `lowest`, and
/// returns that number, which is the same in the child and is to be told to it by an argument or a
/// variable. In this process, and in any other child, it stays close-on-exec; it is closed here
/// when `command` is dropped.
pub fn inherit(command: &mut Command, end: OwnedFd, lowest: RawFd) -> io::Result<RawFd> {
    let end = match end.as_raw_fd() >= lowest {
        true => end,
        false => fcntl_dupfd_cloexec(&end, lowest).map_err(|error| match error {
            // No such number may be given.
            Errno::INVAL => Errno::MFILE,
            other => other,
        })?,
    };
    let number = end.as_raw_fd();
    // SAFETY: the closure runs in the child between fork and exec, where only async-signal-safe
    // calls are allowed; it makes one fcntl call and neither allocates nor locks. `end` is owned by
    // the closure, so that the number stays open until `command` is dropped.
    unsafe {
        command.pre_exec(move || fcntl_setfd(&end, FdFlags::empty()).map_err(io::Error::from));
    }
    Ok(number)
}

/// The end that [`inherit`] gave this process under `number`; close-on-exec from now on. To be
/// called at most once for a number, early in the process, by the one who was told the number.
pub fn inherited(number: RawFd) -> Result<OwnedFd, InheritError> {
    adopt(number, |borrowed| {
        let domain = sockopt::socket_domain(borrowed)?;
        let kind = sockopt::socket_type(borrowed)?;
        Ok(domain == AddressFamily::UNIX && kind == SocketType::SEQPACKET)
    })
}

/// Any descriptor that a service manager passed under `number`, as its variables say; close-on-exec from now on. To be
/// called at most once for a number, early in the process.
pub fn passed(number: RawFd) -> Result<OwnedFd, InheritError> {
    adopt(number, |_| Ok(true))
}

fn adopt(
    number: RawFd,
    is_right: impl FnOnce(std::os::fd::BorrowedFd<'_>) -> io::Result<bool>,
) -> Result<OwnedFd, InheritError> {
    let wrong = |source: io::Error| InheritError { fd: number, source };
    if number < 3 {
        return Err(wrong(io::Error::new(io::ErrorKind::InvalidInput, "it is a standard stream")));
    }
    // SAFETY: only borrowed for calls that fail with EBADF where the number is not open.
    let borrowed = unsafe { std::os::fd::BorrowedFd::borrow_raw(number) };
    let flags = fcntl_getfd(borrowed).map_err(|e| wrong(e.into()))?;
    // What this process opened itself is close-on-exec; only what was left open on purpose is not.
    let left_open = !flags.contains(FdFlags::CLOEXEC);
    if !left_open || !is_right(borrowed).map_err(wrong)? {
        return Err(wrong(io::Error::new(io::ErrorKind::InvalidInput, "it is something else")));
    }
    fcntl_setfd(borrowed, FdFlags::CLOEXEC).map_err(|e| wrong(e.into()))?;
    // SAFETY: the number is open, and nobody in this process owns it: std and everything here open
    // descriptors close-on-exec, which this one was not. A second call finds it close-on-exec and
    // fails above.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}
