//! Closing a connection from outside, or taking it out of this process.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

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
    waiting: RefCell<Vec<Waker>>,
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
        for waker in self.waiting.take() {
            waker.wake();
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
    pub(crate) fn halfway(&self) -> Halfway {
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
        poll_fn(|cx| {
            if is_so() {
                return Poll::Ready(());
            }
            let mut waiting = self.0.waiting.borrow_mut();
            if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                waiting.push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }
}
