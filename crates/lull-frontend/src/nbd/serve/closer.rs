//! Closing a connection from outside, or taking it out of this process.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use slab::Slab;

use super::Parted;

/// What is to become of a connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Stage {
    /// It is served.
    #[default]
    Open,
    /// Nothing more is read; answers still leave.
    Quiet,
    /// It leaves this process as it is.
    Parting,
    /// It ends.
    Closed,
}

/// A handle that closes one connection, or all those that it is given to. Nothing is said to the
/// client: requests under way are answered, then the stream ends as it would for a lost server.
///
/// It also takes connections out of a process whose successor goes on with them: [`Closer::quiet`], then
/// [`Closer::part`] or, where nothing comes of it, [`Closer::go_on`].
#[derive(Debug, Clone, Default)]
pub struct Closer(Rc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    stage: Cell<Stage>,
    /// One place for whoever waits, for as long as it does.
    waiting: RefCell<Slab<Waker>>,
    parted: RefCell<Vec<Parted>>,
    halfway: Cell<usize>,
}

/// A face has taken a request and is to ask for more of it: in parts, or once there is memory.
#[derive(Debug)]
pub struct Halfway(Rc<Inner>);

impl Drop for Halfway {
    fn drop(&mut self) {
        self.0.halfway.update(|count| count - 1);
        // Only then somebody waits for it.
        if self.0.halfway.get() == 0 && self.0.stage.get() == Stage::Closed {
            self.0.wake();
        }
    }
}

impl Inner {
    fn wake(&self) {
        for (_, waker) in &*self.waiting.borrow() {
            waker.wake_by_ref();
        }
    }
}

impl Closer {
    /// A handle that has not been used.
    pub fn new() -> Closer {
        Closer::default()
    }

    /// Closes: nothing more is read.
    pub fn close(&self) {
        self.turn(Stage::Closed);
    }

    /// Nothing more is read until [`Closer::go_on`]; what was read is answered.
    pub fn quiet(&self) {
        self.turn(Stage::Quiet);
    }

    /// Ends a [`Closer::quiet`].
    pub fn go_on(&self) {
        self.turn(Stage::Open);
    }

    /// Takes connections out: what is unanswered from here on is owed by whoever resumes them. Each ends as if its
    /// client had left, and is found with [`Closer::parted`].
    pub fn part(&self) {
        self.turn(Stage::Parting);
    }

    /// The connections that were taken out so far.
    pub fn parted(&self) -> Vec<Parted> {
        self.0.parted.take()
    }

    pub(super) fn leave(&self, connection: Parted) {
        self.0.parted.borrow_mut().push(connection);
    }

    /// A connection that is closed stays closed.
    fn turn(&self, stage: Stage) {
        if self.0.stage.get() != Stage::Closed {
            self.0.stage.set(stage);
        }
        self.0.wake();
    }

    /// From here on, until what this returns is dropped, [`Closer::whole`] does not end.
    pub fn halfway(&self) -> Halfway {
        self.0.halfway.update(|count| count + 1);
        Halfway(Rc::clone(&self.0))
    }

    /// Whether all that was taken is asked for.
    pub fn is_whole(&self) -> bool {
        self.0.halfway.get() == 0
    }

    /// Ends once it is; to be waited for after [`Closer::close`].
    pub async fn whole(&self) {
        self.once(|| self.is_whole()).await;
    }

    /// What is to become of it.
    pub fn stage(&self) -> Stage {
        self.0.stage.get()
    }

    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
        self.stage() == Stage::Closed
    }

    /// Ends once [`Closer::close`] was called.
    pub async fn closed(&self) {
        self.when(|stage| stage == Stage::Closed).await;
    }

    /// Ends once `wanted` is true of the stage.
    pub async fn when(&self, wanted: impl Fn(Stage) -> bool) {
        self.once(|| wanted(self.stage())).await;
    }

    async fn once(&self, is_so: impl Fn() -> bool) {
        let mut place = Place { of: &self.0, number: None };
        poll_fn(|cx| {
            if is_so() {
                return Poll::Ready(());
            }
            place.keep(cx);
            Poll::Pending
        })
        .await;
    }
}

/// A place among those who wait. [SEC-4] It ends with the wait, since connections come and go for as long as the
/// daemon lives.
struct Place<'a> {
    of: &'a Inner,
    number: Option<usize>,
}

impl Place<'_> {
    fn keep(&mut self, cx: &Context<'_>) {
        let mut waiting = self.of.waiting.borrow_mut();
        match self.number {
            Some(number) => waiting[number].clone_from(cx.waker()),
            None => self.number = Some(waiting.insert(cx.waker().clone())),
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let waker = self.number.map(|number| self.of.waiting.borrow_mut().remove(number));
        drop(waker); // it may be the last that is left of its task
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Wake};

    use super::*;

    /// A task's waker: how often it was woken.
    #[derive(Default)]
    struct Task(AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// [SEC-4] A waker keeps the memory of its task, and each one kept is looked at again.
    #[test]
    fn nothing_is_kept_of_a_task_that_waits_no_more() {
        let closer = Closer::new();
        let staying = Arc::new(Task::default());
        let mut stays = pin!(closer.closed());
        let waker = Waker::from(Arc::clone(&staying));
        assert!(stays.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        drop(waker);
        for _ in 0..1000 {
            let task = Arc::new(Task::default());
            let waker = Waker::from(Arc::clone(&task));
            {
                let mut waits = pin!(closer.closed());
                for _ in 0..2 {
                    assert!(waits.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
                }
            }
            drop(waker);
            assert_eq!(Arc::strong_count(&task), 1, "its waker is kept");
        }
        closer.close();
        assert_eq!(staying.0.load(Ordering::Relaxed), 1, "who still waits is told");
        let mut polled = Context::from_waker(Waker::noop());
        assert!(stays.as_mut().poll(&mut polled).is_ready());
    }

    #[test]
    fn who_waits_in_another_task_than_before_is_woken_there() {
        let closer = Closer::new();
        let mut waits = pin!(closer.closed());
        let tasks: [Arc<Task>; 2] = Default::default();
        for task in &tasks {
            let waker = Waker::from(Arc::clone(task));
            assert!(waits.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        }
        closer.close();
        assert_eq!(tasks.map(|task| task.0.load(Ordering::Relaxed)), [0, 1]);
    }
}
