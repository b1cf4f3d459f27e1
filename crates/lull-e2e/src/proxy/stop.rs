//! A message at which a connection stops, and what holds it there.

use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use lull_wire::{HEADER_LENGTH, Kind, Message, OpCode};

/// A message at which what its sender sends on that connection stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    kind: Kind,
    /// Of requests, only those that ask for this.
    op: Option<OpCode>,
    /// Which of them, from 1, since the proxy was told.
    number: u64,
    /// Whether the message itself is passed on.
    passes: bool,
}

impl Mark {
    /// Before the first message of this kind.
    pub const fn before(kind: Kind) -> Self {
        Self { kind, op: None, number: 1, passes: false }
    }

    /// Behind it.
    pub const fn after(kind: Kind) -> Self {
        Self { passes: true, ..Self::before(kind) }
    }

    /// Before the first request that asks for this.
    pub const fn before_request(op: OpCode) -> Self {
        Self { op: Some(op), ..Self::before(Kind::Request) }
    }

    /// Not the first of them, but this one, from 1.
    #[must_use]
    pub const fn number(self, number: u64) -> Self {
        Self { number, ..self }
    }
}

/// The initiator's end of a connection.
#[derive(Clone, Debug)]
pub(super) struct ClientEnd {
    pub(super) stream: Arc<UnixStream>,
    /// It was lost, and the target is to hear nothing of that.
    pub(super) lost: Arc<AtomicBool>,
}

/// How far a [`Mark`] is.
#[derive(Debug, Default)]
enum Stop {
    /// There is none, or it is over.
    #[default]
    None,
    /// It has not come.
    Awaited(Mark),
    /// It has come on this connection.
    Here(ClientEnd),
    /// It is over: what was held back is being passed on, or the connection is cut.
    Ending { cut: bool },
    /// What was held back has been passed on.
    Taken,
}

/// The one stop that a proxy has at a time.
#[derive(Debug, Default)]
pub(super) struct Stops {
    stop: Mutex<Stop>,
    /// It has become another.
    changed: Condvar,
}

impl Stops {
    fn lock(&self) -> MutexGuard<'_, Stop> {
        self.stop.lock().expect("the stop")
    }

    pub(super) fn at(&self, mark: Mark) {
        *self.lock() = Stop::Awaited(mark);
    }

    pub(super) fn is_here(&self) -> bool {
        matches!(*self.lock(), Stop::Here(_))
    }

    /// The initiator's end of the stopped connection is lost, and its target hears nothing of that yet.
    #[track_caller]
    pub(super) fn lose_client(&self) {
        let stop = self.lock();
        let Stop::Here(client) = &*stop else { panic!("nothing is stopped: {stop:?}") };
        client.lost.store(true, Ordering::SeqCst);
        // It may have ended by itself.
        let _ = client.stream.shutdown(Shutdown::Both);
    }

    /// Counts a message; whether it passes, if this is where its sender stops.
    pub(super) fn meets(&self, kind: Kind, frame: &[u8]) -> Option<bool> {
        let mut stop = self.lock();
        let Stop::Awaited(mark) = &mut *stop else { return None };
        if kind != mark.kind || mark.op.is_some_and(|op| !asks_for(kind, frame, op)) {
            return None;
        }
        mark.number -= 1;
        if mark.number > 0 {
            return None;
        }
        let passes = mark.passes;
        *stop = Stop::None;
        Some(passes)
    }

    /// Waits for the end of the stop that has come on this connection; none where it was cut.
    pub(super) fn wait(&self, client: &ClientEnd) -> Option<Ending<'_>> {
        let mut stop = self.lock();
        *stop = Stop::Here(client.clone());
        while matches!(*stop, Stop::Here(_)) {
            stop = self.changed.wait(stop).expect("the stop");
        }
        let cut = matches!(*stop, Stop::Ending { cut: true });
        drop(stop);
        let ending = Ending(self);
        (!cut).then_some(ending)
    }

    /// Ends it, and waits until that has happened: nothing that was held back meets the next one.
    /// Whether it was passed on.
    pub(super) fn end(&self, cut: bool) -> bool {
        let mut stop = self.lock();
        if !matches!(*stop, Stop::Here(_)) {
            *stop = Stop::None;
            return false;
        }
        *stop = Stop::Ending { cut };
        self.changed.notify_all();
        while matches!(*stop, Stop::Ending { .. }) {
            stop = self.changed.wait(stop).expect("the stop");
        }
        matches!(std::mem::take(&mut *stop), Stop::Taken)
    }
}

/// The end of a stop, until what was held back is passed on.
pub(super) struct Ending<'a>(&'a Stops);

impl Ending<'_> {
    pub(super) fn taken(self) {
        *self.0.lock() = Stop::Taken;
        // The rest is what a drop does.
    }
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        let mut stop = self.0.lock();
        if !matches!(*stop, Stop::Taken) {
            *stop = Stop::None;
        }
        self.0.changed.notify_all();
    }
}

/// Whether a frame is a request for this.
fn asks_for(kind: Kind, frame: &[u8], op: OpCode) -> bool {
    let message = Message::decode(kind, &frame[HEADER_LENGTH..]).expect("a message of ours");
    matches!(message, Message::Request(request) if request.op == op)
}
