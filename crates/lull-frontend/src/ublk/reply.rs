//! The kernel's side of the duty to answer.

use std::os::unix::fs::FileExt as _;
use std::rc::Rc;

use super::abi::data_at;
use super::queue::Queue;
use crate::device::Outcome;
use crate::nbd::Errno;

/// Linux's number for a failed input or output, and for a lack of space, as results have them.
const IO: i32 = -5;
const NO_SPACE: i32 = -28;

/// What is owed to the kernel for one request.
pub(crate) struct Duty {
    queue: Rc<Queue>,
    tag: u16,
    /// Bytes that a success answers for.
    length: i32,
    /// The data is to be brought.
    reads: bool,
}

impl std::fmt::Debug for Duty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Duty").field("tag", &self.tag).field("length", &self.length).finish()
    }
}

impl Duty {
    pub(super) fn new(queue: &Rc<Queue>, tag: u16, length: i32, reads: bool) -> Self {
        Duty { queue: Rc::clone(queue), tag, length, reads }
    }

    pub(crate) fn done<B: AsRef<[u8]>>(self, outcome: Outcome<B>) {
        let result = match outcome {
            Err(Errno::NoSpace) => NO_SPACE,
            Err(_) => IO,
            Ok(Some(buffer)) if self.reads => self.bring(buffer.as_ref()),
            Ok(None) if self.reads => {
                panic!("a read that succeeds must be answered with its buffer")
            }
            Ok(_) => self.length,
        };
        self.queue.answer(self.tag, result);
    }

    /// Fails it: a device that is taken down in good order leaves nobody waiting.
    pub(crate) fn abandon(self) {
        self.queue.answer(self.tag, IO);
    }

    /// Leaves it to whoever serves the queue next, in this process or, by the kernel, in another one.
    pub(crate) fn leave(self) {}

    fn bring(&self, data: &[u8]) -> i32 {
        assert_eq!(
            data.len(),
            self.length as usize,
            "a read is answered with all that it asked for"
        );
        let queue = self.queue.ring.borrow();
        match queue.queue().write_all_at(data, data_at(self.tag)) {
            Ok(()) => self.length,
            Err(_) => IO,
        }
    }
}
