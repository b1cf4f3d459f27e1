//! The loop: requests from the kernel to the device.

use std::io;
use std::os::unix::fs::FileExt as _;
use std::rc::Rc;

use super::abi::{DEPTH, Description, Want, data_at, entry, queue};
use super::block_device::Queue;
use super::kernel::arrived;
use super::reply::Duty;
use crate::device::{self, Device, Op, Reply};
use crate::nbd::{Closer, Stage};

/// A result for what is refused: a failed input or output.
const IO: i32 = -5;

/// Serves a device's queue until the device was stopped and every request is answered by `device`. While `closer` rests
/// nothing more is taken; the rest of what it says is the caller's to do.
///
/// # Errors
/// What the kernel says of its queue.
pub async fn serve<D: Device>(queue: Rc<Queue>, device: Rc<D>, closer: Closer) -> io::Result<()> {
    let mut open = usize::from(DEPTH);
    {
        let mut ring = queue.ring.borrow_mut();
        (0..DEPTH).for_each(|tag| ring.push(queue::FETCH, tag, entry(tag, 0)));
    }
    loop {
        queue.ring.borrow_mut().submit()?;
        let rests = closer.stage() == Stage::Quiet;
        let next = if rests { None } else { queue.ring.borrow_mut().next() };
        match next {
            Some((tag, 0)) => take(&queue, &*device, tag).await,
            // The device has stopped: no request comes under this tag any more.
            Some(_) => open -= 1,
            None if open == 0 && queue.in_flight.get() == 0 => return Ok(()),
            None => {
                tokio::select! {
                    biased;
                    () = queue.added.notified() => {}
                    () = closer.when(|stage| (stage == Stage::Quiet) != rests) => {}
                    rung = arrived(&queue.bell), if !rests => rung?,
                }
            }
        }
    }
}

async fn take<D: Device>(queue: &Rc<Queue>, device: &D, tag: u16) {
    let bytes = queue.ring.borrow().description(tag);
    let Description { want, offset, length } = Description::decode(&bytes);
    if queue.stopping.get() || want == Want::Unknown {
        return queue.answer(tag, IO);
    }
    let (op, data) = match want {
        Want::Read => (Op::Read, true),
        Want::Write { durable } => (Op::Write { fua: durable }, true),
        Want::Flush => (Op::Flush, false),
        Want::Discard => (Op::Discard, false),
        Want::Zeroes { durable, keep_allocated } => {
            (Op::WriteZeroes { fua: durable, keep_allocated, fast: false }, false)
        }
        Want::Unknown => unreachable!("refused above"),
    };
    let buffer = match data {
        true => {
            let mut buffer = device.some_buffer(length as u32).await;
            let fetched = match op {
                Op::Write { .. } => {
                    queue.ring.borrow().queue().read_exact_at(buffer.as_mut(), data_at(tag))
                }
                _ => Ok(()),
            };
            if fetched.is_err() {
                return queue.answer(tag, IO);
            }
            Some(buffer)
        }
        false => None,
    };
    // Only reads and writes say how much they did.
    let duty = Duty::new(queue, tag, if data { length as i32 } else { 0 }, op == Op::Read);
    let (offset, length) = if op == Op::Flush { (0, 0) } else { (offset, length) };
    device.submit(op, offset, length, buffer, Reply::new(device::Duty::Ublk(duty)));
}
