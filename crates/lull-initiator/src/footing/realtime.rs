//! The calling thread's scheduling class. **Unsafe module**: system calls that rustix does not offer, with plain values and
//! one pointer to a local that outlives the call.

#![allow(unsafe_code)]

use std::io;

/// The class in which those of one priority take turns, by its number in linux/sched.h.
const ROUND_ROBIN: libc::c_int = 2;
/// The class of every other thread.
const OTHER: libc::c_int = 0;
/// The least priority in the first, and the only one in the second.
const LEAST: libc::c_int = 1;
const NONE: libc::c_int = 0;

/// Makes it a real-time thread of the least priority; those that it starts are so too.
pub fn enter() -> io::Result<()> {
    set(ROUND_ROBIN, LEAST)
}

/// Makes it a thread like others.
pub fn leave() -> io::Result<()> {
    set(OTHER, NONE)
}

/// Whether it is a real-time thread.
pub fn is_entered() -> bool {
    // SAFETY: only plain values are passed; 0 is the calling thread.
    let class = unsafe { libc::syscall(libc::SYS_sched_getscheduler, 0) };
    class == libc::c_long::from(ROUND_ROBIN)
}

fn set(class: libc::c_int, priority: libc::c_int) -> io::Result<()> {
    // By number: one of the C libraries that this is built with refuses to.
    // SAFETY: the kernel reads one int, the priority, from the pointer, and keeps it no longer than the call; 0 is the calling
    // thread.
    let answer =
        unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, class, &raw const priority) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
