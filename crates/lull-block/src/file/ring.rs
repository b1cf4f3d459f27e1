//! One io_uring per thread: what would block its event loop is done by the kernel meanwhile.
//!
//! Requests go into the ring of the thread that starts them and are answered on it. They are shown
//! to the kernel once per turn of the event loop, however many there are, by the task that waits
//! for completions; so neither a request nor an answer costs a system call of its own under load,
//! and none costs a hop between threads.

mod kernel;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};

use rustix::io::Errno;
use tokio::io::unix::AsyncFd;

use super::engine::{Home, Job};
use super::medium::{durable_failure, sync_failure};
use crate::workers::Outcome;
use crate::{IoStatus, Request};

use kernel::{DEPTH, Kernel};

/// What one file may have under way in one ring: a medium that hangs leaves room for the others.
/// Its further requests wait in order, each with its buffer, hence bounded by a pool.
const PER_FILE: usize = DEPTH as usize / 4 * 3;

thread_local! {
    static RING: RefCell<Option<Ring>> = const { RefCell::new(None) };
}

/// Why this process may not use io_uring; asked of the kernel once.
pub(super) fn permitted() -> Result<(), Errno> {
    static ANSWER: OnceLock<Result<(), Errno>> = OnceLock::new();
    *ANSWER.get_or_init(kernel::probe)
}

/// The ring of the thread that made it. While it exists, files' requests that are started on this
/// thread go through the ring where that is faster; on a thread without one they go to the
/// [`Workers`](crate::Workers).
///
/// Whoever has it must have [`IoLoop::run`] polled for as long as anything is started on the
/// thread. When it is dropped it waits until the kernel has let go of all buffers and files.
pub struct IoLoop {
    arrived: AsyncFd<OwnedFd>,
    /// Belongs to its thread.
    _here: PhantomData<*const ()>,
}

impl IoLoop {
    /// Gives the calling thread a ring. Must be called within a tokio runtime with I/O enabled.
    ///
    /// # Errors
    /// What the kernel says where io_uring is not permitted (containers often forbid it) or its
    /// memory cannot be had; `AlreadyExists` where the thread has one.
    pub fn start() -> io::Result<Self> {
        permitted()?;
        RING.with_borrow_mut(|here| {
            if here.is_some() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            let (kernel, arrived) = Kernel::new()?;
            *here =
                Some(Ring { kernel, files: Vec::new(), waiting: 0, waker: None, called: false });
            Ok(Self { arrived, _here: PhantomData })
        })
    }

    /// Shows requests to the kernel and hands its answers on, until dropped.
    pub async fn run(&self) -> Infallible {
        poll_fn(|context| self.turn(context)).await
    }

    fn turn(&self, context: &mut Context<'_>) -> Poll<Infallible> {
        loop {
            RING.with_borrow_mut(|here| {
                if let Some(ring) = here {
                    ring.turn(context.waker());
                }
            });
            match self.arrived.poll_read_ready(context) {
                // What came between the turn and this is seen by the next turn.
                Poll::Ready(Ok(mut ready)) => ready.clear_ready(),
                // An error: the runtime is going.
                Poll::Ready(Err(_)) | Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl Drop for IoLoop {
    fn drop(&mut self) {
        // Where the thread itself is ending its ring may be gone already, in the same manner.
        let ring = RING.try_with(|here| here.borrow_mut().take());
        drop(ring);
    }
}

/// Starts a job in this thread's ring. Gives it back where the thread has none.
pub(super) fn start(home: &Arc<Home>, job: Job) -> Result<(), Job> {
    let mut job = Some(job);
    // No ring either while the thread is ending.
    let _ = RING.try_with(|here| {
        if let Some(ring) = &mut *here.borrow_mut()
            && let Some(job) = job.take()
        {
            ring.start(Arc::clone(home), job);
            ring.call();
        }
    });
    job.map_or(Ok(()), Err)
}

/// A job on its way through the kernel.
struct Flight {
    home: Arc<Home>,
    job: Job,
    /// Bytes of its transfer that are done.
    done: usize,
    /// The place of its file in [`Ring::files`].
    file: usize,
}

/// What becomes of a job after an answer of the kernel.
enum Landed {
    Ended(Result<(), IoStatus>),
    /// Part of it is done.
    Goes,
    /// The kernel could not begin: a thread can wait where a ring could not.
    ToWorker,
}

impl Flight {
    fn file(&self) -> BorrowedFd<'_> {
        self.home.medium().file().as_fd()
    }

    /// The request whose buffer is filled or stored; `None` for a sync.
    fn transfer(&self) -> Option<&Request> {
        self.job.transfer()
    }

    fn transfer_mut(&mut self) -> Option<&mut Request> {
        self.job.transfer_mut()
    }

    fn land(&mut self, answer: Result<usize, Errno>) -> Landed {
        let length = self.transfer().map(|request| request.buffer.len());
        match (answer, length) {
            (Err(Errno::AGAIN | Errno::INTR), _) => Landed::ToWorker,
            (Err(errno), None) => Landed::Ended(Err(sync_failure(errno))),
            (Err(errno), Some(_)) if matches!(self.job, Job::WriteThrough(_)) => {
                Landed::Ended(Err(durable_failure(errno)))
            }
            (Err(errno), Some(_)) => Landed::Ended(Err(errno.into())),
            (Ok(_), None) => Landed::Ended(Ok(())),
            // The size was fixed when the file was opened: somebody cut it since.
            (Ok(0), Some(_)) => Landed::Ended(Err(IoStatus::Io)),
            (Ok(more), Some(length)) => {
                self.done += more;
                if self.done >= length { Landed::Ended(Ok(())) } else { Landed::Goes }
            }
        }
    }
}

/// One thread's ring.
struct Ring {
    kernel: Kernel,
    /// The files that have something here; places of others are free.
    files: Vec<File>,
    /// Flights that wait in all of them.
    waiting: usize,
    /// The task that takes turns.
    waker: Option<Waker>,
    /// Whether it was woken since its last turn.
    called: bool,
}

#[derive(Default)]
struct File {
    /// The address of its [`Home`], which is alive while anything is here; 0 in a free place.
    home: usize,
    under_way: usize,
    waiting: VecDeque<Flight>,
}

impl Ring {
    /// The place of a file, a free one where it has nothing here yet.
    fn place(&mut self, home: &Arc<Home>) -> usize {
        let address = Arc::as_ptr(home) as usize;
        let known = self.files.iter().position(|file| file.home == address);
        let place = known.or_else(|| self.files.iter().position(|file| file.home == 0));
        let place = place.unwrap_or(self.files.len());
        if place == self.files.len() {
            self.files.push(File::default());
        }
        self.files[place].home = address;
        place
    }

    fn start(&mut self, home: Arc<Home>, job: Job) {
        let place = self.place(&home);
        let flight = Flight { home, job, done: 0, file: place };
        let file = &mut self.files[place];
        if file.waiting.is_empty() && file.under_way < PER_FILE {
            match self.kernel.push(flight) {
                Ok(()) => file.under_way += 1,
                Err(flight) => self.wait(flight),
            }
        } else {
            self.wait(flight);
        }
    }

    fn wait(&mut self, flight: Flight) {
        self.files[flight.file].waiting.push_back(flight);
        self.waiting += 1;
    }

    /// Wakes the task that takes turns, once: it runs when those that are ready have run, and so
    /// finds all that they started.
    fn call(&mut self) {
        if !self.called
            && let Some(waker) = &self.waker
        {
            self.called = true;
            waker.wake_by_ref();
        }
    }

    fn turn(&mut self, waker: &Waker) {
        if !self.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            self.waker = Some(waker.clone());
        }
        self.called = false;
        loop {
            let entered = self.kernel.enter();
            let landed = self.collect();
            if entered.is_err() {
                // The kernel lacks memory for the moment. The others have their turn first.
                self.call();
                return;
            }
            if landed == 0 && !self.kernel.has_unseen() {
                return;
            }
        }
    }

    /// Takes all answers that are there; how many there were.
    fn collect(&mut self) -> usize {
        let mut count = 0;
        while let Some((flight, answer)) = self.kernel.landed() {
            count += 1;
            self.land(flight, answer);
        }
        while self.waiting > 0 && self.let_go() {}
        count
    }

    fn land(&mut self, mut flight: Flight, answer: Result<usize, Errno>) {
        let landed = flight.land(answer);
        let place = flight.file;
        self.files[place].under_way -= 1;
        match landed {
            Landed::Goes => self.again(flight),
            Landed::ToWorker => flight.home.by_worker(flight.job),
            Landed::Ended(result) => {
                let Flight { home, job, .. } = flight;
                let Outcome { next, answers } = home.settle(job, result);
                if let Some(next) = next {
                    self.start(Arc::clone(&home), next);
                }
                // Before the answers: whoever has the last one may rely on the file being closed.
                drop(home);
                answers.send();
            }
        }
        let file = &mut self.files[place];
        if file.under_way == 0 && file.waiting.is_empty() {
            file.home = 0;
        }
    }

    /// Pushes a flight that has just landed in part: it has its place in the ring still.
    fn again(&mut self, flight: Flight) {
        let place = flight.file;
        match self.kernel.push(flight) {
            Ok(()) => self.files[place].under_way += 1,
            Err(flight) => self.wait(flight),
        }
    }

    /// Pushes one waiting flight of each file that may; whether there was one.
    fn let_go(&mut self) -> bool {
        let mut any = false;
        for file in &mut self.files {
            if file.under_way >= PER_FILE || !self.kernel.has_room() {
                continue;
            }
            let Some(flight) = file.waiting.pop_front() else { continue };
            match self.kernel.push(flight) {
                Ok(()) => {
                    file.under_way += 1;
                    self.waiting -= 1;
                    any = true;
                }
                Err(flight) => file.waiting.push_front(flight),
            }
        }
        any
    }
}

impl Drop for Ring {
    /// [SAFE-6] Nothing of this thread's is on its way to a medium when its lock goes.
    fn drop(&mut self) {
        while self.kernel.outstanding() > 0 {
            match self.kernel.wait() {
                Ok(()) => {}
                Err(error) if passes(&error) => {}
                Err(_) => break,
            }
            self.collect();
        }
        // Only where the ring itself has failed.
        for file in &mut self.files {
            for Flight { home, job, .. } in file.waiting.drain(..) {
                let mut left = Some(job);
                while let Some(job) = left {
                    let Outcome { next, answers } = home.settle(job, Err(IoStatus::Faulted));
                    answers.send();
                    left = next;
                }
            }
        }
    }
}

/// Whether the same call may succeed when it is made again.
fn passes(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::INTR | Errno::AGAIN | Errno::BUSY))
}
