//! The kernel's side of the duty to answer.

use std::rc::Rc;

use super::abi::{self, errno};
use super::channel::Channel;
use crate::device::Outcome;
use crate::nbd::Errno;

/// What is owed to the kernel for one request.
#[derive(Debug)]
pub(crate) struct Duty {
    channel: Rc<Channel>,
    unique: u64,
    form: Form,
}

/// The form of the answer.
#[derive(Debug, Clone, Copy)]
pub(super) enum Form {
    /// Nothing but success.
    Done,
    /// `length` bytes of what was read, from the `skip`th on: the device was asked for whole blocks.
    Data { skip: u32, length: u32 },
    /// How much was written.
    Written { length: u32 },
}

impl Duty {
    pub(super) fn new(channel: &Rc<Channel>, unique: u64, form: Form) -> Duty {
        channel.begin();
        Duty { channel: Rc::clone(channel), unique, form }
    }

    pub(crate) fn done<B: AsRef<[u8]>>(self, outcome: Outcome<B>) {
        let Duty { channel, unique, form } = &self;
        match (form, outcome) {
            (_, Err(error)) => channel.refuse(*unique, number(error)),
            (Form::Done, Ok(_)) => channel.refuse(*unique, 0),
            (Form::Written { length }, Ok(_)) => channel.answer(*unique, &abi::write_out(*length)),
            (Form::Data { skip, length }, Ok(Some(buffer))) => {
                let (from, to) = (*skip as usize, *skip as usize + *length as usize);
                match buffer.as_ref().get(from..to) {
                    Some(bytes) => channel.answer(*unique, bytes),
                    None => panic!("a read must be answered with exactly the bytes it asked for"),
                }
            }
            (Form::Data { .. }, Ok(None)) => {
                panic!("a read that succeeds must be answered with its buffer")
            }
        }
        self.channel.end();
    }

    /// Says nothing: the request stays the kernel's until the descriptor is closed, or somebody else has it and asks
    /// for it again.
    pub(crate) fn abandon(self) {
        self.channel.end();
    }

    /// The kernel does not tell who has stopped waiting.
    pub(crate) fn is_heard(&self) -> bool {
        true
    }
}

/// The number of Linux for an error.
pub(super) fn number(error: Errno) -> i32 {
    match error {
        Errno::Perm => errno::PERM,
        Errno::NoSpace => errno::NO_SPACE,
        Errno::Inval => errno::INVALID,
        Errno::NotSupported => errno::NOT_SUPPORTED,
        Errno::Io | Errno::NoMem | Errno::Overflow | Errno::Shutdown | Errno::Other(_) => errno::IO,
    }
}
