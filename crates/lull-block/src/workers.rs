//! The threads that do what would block an event loop.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::{IoStatus, Request};

/// A small set of threads, shared by all resources of a process. Clones share it; when the last
/// clone is gone the threads finish what they have and end.
///
/// Each resource has a [`Lane`] of its own: a medium that hangs can occupy three quarters of the
/// threads at most, and its further work waits in its lane, in order. What waits is bounded by the
/// requests outstanding, each of which holds a buffer of a bounded pool or a place in its
/// session's window; nothing is dropped.
#[derive(Clone)]
pub struct Workers(Arc<Handle>);

struct Handle {
    shared: Arc<Shared>,
    per_lane: usize,
}

struct Shared {
    state: Mutex<State>,
    work: Condvar,
}

struct State {
    ready: VecDeque<Box<dyn Step>>,
    idle: usize,
    spawned: usize,
    most: usize,
    closed: bool,
}

/// Something for a worker to do once. May bring another step, which then queues up behind the
/// work of others.
trait Step: Send {
    fn run(self: Box<Self>) -> Option<Box<dyn Step>>;
}

impl Workers {
    /// At most `threads` threads (at least 2), each started when there is work that no other has
    /// time for.
    ///
    /// # Errors
    /// What the system says when not even one thread can be started.
    pub fn new(threads: usize) -> io::Result<Self> {
        let most = threads.max(2);
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                ready: VecDeque::new(),
                idle: 0,
                spawned: 1,
                most,
                closed: false,
            }),
            work: Condvar::new(),
        });
        // One is started now, so that work always finds at least one.
        spawn(&shared)?;
        Ok(Self(Arc::new(Handle { shared, per_lane: (most * 3 / 4).max(1) })))
    }

    /// A lane for the work of one resource.
    pub(crate) fn lane<W: Work>(&self, work: Arc<W>) -> Lane<W> {
        Lane(Arc::new(LaneShared {
            work,
            state: Mutex::new(LaneState { running: 0, waiting: VecDeque::new() }),
            workers: self.clone(),
        }))
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.work.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(self: &Arc<Self>, step: Box<dyn Step>) {
        let mut state = self.lock();
        state.ready.push_back(step);
        if state.idle >= state.ready.len() {
            drop(state);
            self.work.notify_one();
        } else if state.spawned < state.most {
            state.spawned += 1;
            drop(state);
            // Without one more thread the work waits for those that there are.
            if spawn(self).is_err() {
                self.lock().spawned -= 1;
            }
        }
    }

    fn work(&self) {
        let mut state = self.lock();
        loop {
            if let Some(step) = state.ready.pop_front() {
                drop(state);
                let next = step.run();
                state = self.lock();
                state.ready.extend(next);
            } else if state.closed {
                return;
            } else {
                state.idle += 1;
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.idle -= 1;
            }
        }
    }
}

fn spawn(shared: &Arc<Shared>) -> io::Result<()> {
    let shared = Arc::clone(shared);
    thread::Builder::new().name("lull-io".into()).spawn(move || shared.work()).map(drop)
}

/// A resource's work, as its lane sees it.
pub(crate) trait Work: Send + Sync + 'static {
    /// One piece of it.
    type Job: Send;

    /// Does one piece, blocking as long as it takes.
    fn run(&self, job: Self::Job) -> Outcome<Self::Job>;
}

/// What remains after a piece of work.
pub(crate) struct Outcome<J> {
    /// To be done after the work that waits already.
    pub(crate) next: Option<J>,
    /// Who is to be told, and what.
    pub(crate) answers: Answers,
}

/// Answers that are sent when the worker has let go of the resource: whoever has received the last
/// answer and drops the backend can rely on its file being closed and unlocked.
pub(crate) enum Answers {
    None,
    One(Request, Result<(), IoStatus>),
    Many(Vec<Request>, Result<(), IoStatus>),
}

impl Answers {
    pub(crate) fn send(self) {
        match self {
            Self::None => {}
            Self::One(request, result) => request.answer(result),
            Self::Many(all, result) => {
                for request in all {
                    request.answer(result);
                }
            }
        }
    }
}

/// The way of one resource to the workers.
pub(crate) struct Lane<W: Work>(Arc<LaneShared<W>>);

struct LaneShared<W: Work> {
    work: Arc<W>,
    state: Mutex<LaneState<W::Job>>,
    workers: Workers,
}

struct LaneState<J> {
    running: usize,
    waiting: VecDeque<J>,
}

struct LaneStep<W: Work> {
    lane: Arc<LaneShared<W>>,
    job: W::Job,
}

impl<W: Work> Lane<W> {
    /// Has a worker do the job, after what waits already.
    pub(crate) fn send(&self, job: W::Job) {
        let mut state = self.0.lock();
        if state.running == self.0.workers.0.per_lane {
            state.waiting.push_back(job);
            return;
        }
        state.running += 1;
        drop(state);
        self.0.workers.0.shared.push(Box::new(LaneStep { lane: Arc::clone(&self.0), job }));
    }
}

impl<W: Work> LaneShared<W> {
    fn lock(&self) -> MutexGuard<'_, LaneState<W::Job>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W: Work> Step for LaneStep<W> {
    fn run(self: Box<Self>) -> Option<Box<dyn Step>> {
        let Self { lane, job } = *self;
        let Outcome { next, answers } = lane.work.run(job);
        let mut state = lane.lock();
        state.waiting.extend(next);
        let more = state.waiting.pop_front();
        if more.is_none() {
            state.running -= 1;
        }
        drop(state);
        let step = match more {
            Some(job) => Some(Box::new(Self { lane, job }) as Box<dyn Step>),
            None => {
                drop(lane);
                None
            }
        };
        answers.send();
        step
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Reports that it began, then waits to be let go.
    struct Stuck(mpsc::Sender<u32>, Mutex<mpsc::Receiver<()>>);

    impl Work for Stuck {
        type Job = u32;

        fn run(&self, job: u32) -> Outcome<u32> {
            self.0.send(job).unwrap();
            // Released when the test drops its end.
            let _ = self.1.lock().unwrap().recv();
            Outcome { next: None, answers: Answers::None }
        }
    }

    struct Reporting(mpsc::Sender<u32>);

    impl Work for Reporting {
        type Job = u32;

        fn run(&self, job: u32) -> Outcome<u32> {
            self.0.send(job).unwrap();
            Outcome { next: (job > 100).then(|| job - 100), answers: Answers::None }
        }
    }

    #[test]
    fn a_resource_that_hangs_leaves_threads_to_the_others() {
        let workers = Workers::new(4).unwrap();
        let (began, beginnings) = mpsc::channel();
        let (release, held) = mpsc::channel();
        let stuck = workers.lane(Arc::new(Stuck(began, Mutex::new(held))));
        for job in 0..20 {
            stuck.send(job);
        }
        let (done, reports) = mpsc::channel();
        let lively = workers.lane(Arc::new(Reporting(done)));
        lively.send(201);
        assert_eq!(reports.iter().take(3).collect::<Vec<_>>(), [201, 101, 1]);
        drop(release);
        let mut all: Vec<u32> = beginnings.iter().take(20).collect();
        all.sort_unstable();
        assert_eq!(all, (0..20).collect::<Vec<_>>(), "what waited was not dropped");
    }
}
