//! The loop: requests from the kernel to the device.

use std::io;
use std::os::unix::fs::FileExt as _;
use std::rc::Rc;
use std::time::Duration;

use super::abi::{Description, Want, data_at};
use super::kernel::arrived;
use super::queue::Queue;
use super::reply::Duty;
use super::taken::Taken;
use crate::device::{self, Device, Op, Reply};
use crate::nbd::{Closer, Stage};
use crate::turns::Turns;

/// A result for what is refused: a failed input or output.
const IO: i32 = -5;
/// How a command ends whose device was stopped.
const STOPPED: i32 = -19;
/// How long is waited before the kernel is shown again what it had no memory for.
const BREATH: Duration = Duration::from_millis(10);

/// Serves a device's queue until the device was stopped and every request is answered by `device`. What somebody in this
/// process has taken from the queue before, and not answered, comes first. While `closer` rests nothing more is taken; the
/// rest of what it says is the caller's to do.
///
/// # Errors
/// What the kernel says of its queue.
pub async fn serve<D: Device>(queue: Rc<Queue>, device: Rc<D>, closer: Closer) -> io::Result<()> {
    let mut taken = Taken::new(queue.owed.get(), &closer);
    let mut turns = Turns::default();
    loop {
        turns.one_more().await;
        let shown = queue.ring.borrow_mut().submit()?;
        let rests = closer.stage() == Stage::Quiet;
        let mut starved = false;
        if !rests && let Some(tag) = taken.first() {
            starved = !hand_out(&queue, &*device, tag);
            if !starved {
                taken.goes(tag);
                continue;
            }
        }
        let came = if rests || starved { None } else { queue.ring.borrow_mut().next() };
        match came {
            Some((tag, 0)) => {
                let bit = queue.takes(tag);
                if queue.stopping.get() {
                    refuse(&queue, tag);
                } else {
                    taken.comes(bit, &closer);
                }
            }
            // No request comes under this tag any more.
            Some((_, STOPPED)) => {}
            Some((tag, refused)) => return Err(queue.refused(tag, refused)),
            None if queue.is_over() => return Ok(()),
            None => {
                tokio::select! {
                    biased;
                    () = queue.added.notified() => {}
                    () = closer.when(|stage| (stage == Stage::Quiet) != rests) => {}
                    rung = arrived(&queue.bell), if !rests && !starved => rung?,
                    () = device.buffer_freed(), if starved => {}
                    () = tokio::time::sleep(BREATH), if !shown => {}
                }
            }
        }
    }
}

/// Gives the request of a tag to the device; false where there is no memory for it yet.
fn hand_out<D: Device>(queue: &Rc<Queue>, device: &D, tag: u16) -> bool {
    let bytes = queue.ring.borrow().description(tag);
    let Description { want, offset, length } = Description::decode(&bytes);
    let (op, data) = match want {
        Want::Read => (Op::Read, true),
        Want::Write { durable } => (Op::Write { fua: durable }, true),
        Want::Flush => (Op::Flush, false),
        Want::Discard => (Op::Discard, false),
        Want::Zeroes { durable, keep_allocated } => {
            (Op::WriteZeroes { fua: durable, keep_allocated, fast: false }, false)
        }
        Want::Unknown => return refuse(queue, tag),
    };
    let buffer = match data {
        true => {
            let Some(mut buffer) = device.buffer(length as u32) else { return false };
            let fetched = match op {
                Op::Write { .. } => {
                    queue.ring.borrow().queue().read_exact_at(buffer.as_mut(), data_at(tag))
                }
                _ => Ok(()),
            };
            if fetched.is_err() {
                return refuse(queue, tag);
            }
            Some(buffer)
        }
        false => None,
    };
    // Only reads and writes say how much they did.
    let duty = Duty::new(queue, tag, if data { length as i32 } else { 0 }, op == Op::Read);
    let (offset, length) = if op == Op::Flush { (0, 0) } else { (offset, length) };
    device.submit(op, offset, length, buffer, Reply::new(device::Duty::Ublk(duty)));
    true
}

fn refuse(queue: &Queue, tag: u16) -> bool {
    queue.answer(tag, IO);
    true
}
