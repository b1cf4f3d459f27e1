//! The two tasks of a ring: one takes requests, the other tells the guest of those that are done.

use std::rc::Rc;

use tokio::task::JoinHandle;

use super::live::{Duty, Job, Live, Step};
use super::memory::Fault;
use super::record::Record;
use super::ring::Layout;
use super::serve::Told;
use super::signal::{Kick, Signal};
use crate::device::{self, Device, Op, Reply};
use crate::nbd::Errno;
use crate::turns::Turns;

/// From where on a ring is served.
#[derive(Debug)]
pub struct Beginning {
    /// Where its parts are.
    pub layout: Layout,
    /// Both sides say from which event on they want to hear.
    pub event_index: bool,
    /// The first head, where there is no record.
    pub next: u16,
    /// The record of requests in flight, and the ring's number in it.
    pub record: Option<(Rc<Record>, u16)>,
}

/// A ring's tasks, which end with it.
#[derive(Debug)]
pub struct Tasks([JoinHandle<()>; 2]);

impl Drop for Tasks {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

impl Tasks {
    /// Serves a ring until this is dropped.
    pub fn start<D: Device + 'static>(
        queue: u16,
        live: &Rc<Live>,
        device: &Rc<D>,
        kick: Kick,
        signal: &Rc<Signal>,
        from: Beginning,
        told: Rc<dyn Fn(Told)>,
    ) -> Tasks {
        let (telling, call) = (Rc::clone(live), Rc::clone(signal));
        let tells = tokio::task::spawn_local(async move {
            loop {
                telling.news.notified().await;
                telling.publish(&call);
            }
        });
        let (live, device, signal) = (Rc::clone(live), Rc::clone(device), Rc::clone(signal));
        let takes = tokio::task::spawn_local(async move {
            let fault = take(queue, &live, &*device, &kick, &signal, from, &*told).await;
            live.broken(fault.clone());
            told(Told::Broken { queue, fault });
        });
        Tasks([tells, takes])
    }
}

async fn take<D: Device>(
    queue: u16,
    live: &Rc<Live>,
    device: &D,
    kick: &Kick,
    signal: &Signal,
    from: Beginning,
    told: &dyn Fn(Told),
) -> Fault {
    match live.begin(from.layout, from.event_index, from.next, from.record).await {
        Ok(0) => {}
        Ok(requests) => told(Told::Recovered { queue, requests }),
        Err(fault) => return fault,
    }
    // It may have missed what was told by a life that has ended since.
    signal.call();
    // Whatever the guest's processors do meanwhile: what they ask, take back, and say between two looks.
    let mut turns = Turns::default();
    loop {
        while let Some(step) = live.next() {
            if let Step::Ask(job) = step {
                ask(live, device, job).await;
            }
            turns.one_more().await;
        }
        turns.one_more().await;
        if let Some(fault) = live.fault() {
            return fault;
        }
        if !live.is_asleep() {
            continue;
        }
        tokio::select! {
            biased;
            () = live.work.notified() => {}
            () = live.turned() => {}
            heard = kick.heard() => if heard.is_err() {
                return Fault::Ring("its descriptor for kicks cannot be read");
            }
        }
    }
}

async fn ask<D: Device>(live: &Rc<Live>, device: &D, job: Job) {
    let Job { head, op, offset, length } = job;
    // There may be no memory for a while.
    let _halfway = live.halfway();
    let buffer = match job.has_data() {
        true => {
            let mut buffer = device.some_buffer(length as u32).await;
            if matches!(op, Op::Write { .. }) && live.fill(head, buffer.as_mut()).is_err() {
                return live.answered::<D::Buffer>(head, Err(Errno::Io));
            }
            Some(buffer)
        }
        false => None,
    };
    let reply = Reply::new(device::Duty::Guest(Duty::new(live, head)));
    device.submit(op, offset, length, buffer, reply);
}
