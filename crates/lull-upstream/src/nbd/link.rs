//! The thread's own: requests in, over one connection after the other, until each is answered.

use super::dial::{self, Pauses};
use super::durable::{self, Durable};
use super::export::Promise;
use super::memory::Memory;
use super::ranges::Ranges;
use crate::health::Health;
use crate::inbox::Inbox;
use crate::{Notice, Notify as Tell};
use lull_block::{Buffer, Extent, Geometry, IoStatus, Op, Request};
use lull_frontend::nbd::client::{Connection, RequestError};
use lull_frontend::nbd::{Errno, Uri};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::mem;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

/// How often is looked whether a server that has requests answers any.
const LOOK: Duration = Duration::from_secs(1);
/// A server that answers nothing for so long is given up where its requests are wanted back.
const SILENCE: Duration = Duration::from_secs(10);
/// How long what is under way may take to end when the medium is closed.
const LEAVE: Duration = Duration::from_secs(1);
/// How long the good-bye may take.
const GOODBYE: Duration = Duration::from_millis(250);

/// What was asked for.
pub(super) struct Asked {
    pub(super) uri: Uri,
    pub(super) read_only: bool,
    pub(super) write_through: bool,
}

/// How a request ended on a connection that did not carry it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The answer is this.
    Failed(IoStatus),
    /// The connection is lost: it is sent again.
    Lost,
    /// The server goes down and takes nothing more: the same.
    GoingDown,
}

impl Ended {
    pub(super) fn of(error: &RequestError) -> Self {
        Self::Failed(match error {
            RequestError::Lost(_) => return Self::Lost,
            RequestError::Answered(Errno::Shutdown) => return Self::GoingDown,
            RequestError::Answered(errno) => match errno {
                Errno::Perm => IoStatus::ReadOnly,
                Errno::NoMem => IoStatus::NoMemory,
                Errno::Inval | Errno::Overflow => IoStatus::Invalid,
                Errno::NoSpace => IoStatus::NoSpace,
                Errno::NotSupported => IoStatus::NotSupported,
                Errno::Io | Errno::Shutdown | Errno::Other(_) => IoStatus::Io,
            },
            RequestError::NotOffered(_) => IoStatus::NotSupported,
            RequestError::TooLong { .. } => IoStatus::Invalid,
        })
    }
}

/// How a connection's time ended.
enum Over {
    /// The medium is closed.
    Closed,
    /// It was lost.
    Lost(Rc<str>),
}

/// A request with its place in the order of arrival.
struct Held {
    number: u64,
    request: Request,
    /// What a write sends; its request has no buffer then.
    data: Rc<Buffer>,
}

impl Held {
    fn new(number: u64, mut request: Request) -> Self {
        let data = match request.op {
            Op::Write { .. } => mem::take(&mut request.buffer),
            _ => Buffer::empty(),
        };
        Self { number, request, data: Rc::new(data) }
    }

    fn answer(mut self, result: Result<(), IoStatus>) {
        if let Op::Write { .. } = self.request.op {
            // A connection may hold on to it for a moment; then the pool has it back a little later.
            self.request.buffer = Rc::try_unwrap(self.data).unwrap_or_default();
        }
        self.request.answer(result);
    }
}

/// All that outlives a connection.
pub(super) struct Link {
    asked: Asked,
    promise: Promise,
    tell: Tell,
    inbox: Arc<Inbox>,
    health: Arc<Health>,
    /// Not sent, in their order.
    waiting: RefCell<VecDeque<Held>>,
    /// Sent and not answered by a connection that is lost; all of them came before those that wait.
    lost: RefCell<Vec<Held>>,
    /// Where changes are under way.
    changing: RefCell<Ranges>,
    durable: Durable,
    under_way: Cell<usize>,
    /// Requests that have ended.
    ended: Cell<u64>,
    /// One of them has.
    one_ended: Notify,
    arrived: Cell<u64>,
}

impl Link {
    /// Connects for the first time.
    pub(super) async fn open(
        asked: Asked,
        patience: Duration,
        tell: Tell,
        inbox: Arc<Inbox>,
        health: Arc<Health>,
    ) -> Result<(Self, Connection<Memory>), String> {
        let until = Instant::now() + patience;
        let mut pauses = Pauses::new();
        let conn = loop {
            let why = match dial::connect(&asked.uri).await {
                Ok(conn) => break conn,
                Err(why) => why,
            };
            let pause = pauses.next();
            if Instant::now() + pause > until {
                return Err(format!(
                    "{why}: see whether its server runs and what it offers (nbdinfo --list)"
                ));
            }
            sleep(pause).await;
        };
        let promise =
            Promise::of(conn.export(), asked.read_only).map_err(|unfit| unfit.to_string())?;
        if !promise.flush && !promise.geometry.read_only {
            let (uri, durable_writes) = (asked.uri.to_string(), conn.export().can_fua());
            tell(&Notice::NeverFlushes { uri, durable_writes });
        }
        let link = Self {
            asked,
            promise,
            tell,
            inbox,
            health,
            waiting: RefCell::default(),
            lost: RefCell::default(),
            changing: RefCell::default(),
            durable: Durable::default(),
            under_way: Cell::new(0),
            ended: Cell::new(0),
            one_ended: Notify::new(),
            arrived: Cell::new(0),
        };
        Ok((link, conn))
    }

    pub(super) fn geometry(&self) -> Geometry {
        self.promise.geometry
    }

    /// Carries requests until the medium is closed.
    pub(super) async fn live(self: Rc<Self>, mut conn: Connection<Memory>) {
        while let Over::Lost(why) = self.serve(&conn).await {
            let uri = self.asked.uri.to_string();
            (self.tell)(&Notice::Lost { uri: uri.clone(), why: why.to_string() });
            self.health.waits(format!("be reachable again ({why})"));
            if self.durable.connection_lost() {
                (self.tell)(&Notice::Unflushed { uri: uri.clone() });
            }
            let again = self.put_back();
            match self.reconnect(&why).await {
                Some(new) => conn = new,
                None => break,
            }
            (self.tell)(&Notice::Back { uri, away: self.health.fine(), again });
        }
        self.refuse_all();
    }

    /// Uses one connection; when this returns, no request is under way.
    async fn serve(self: &Rc<Self>, conn: &Connection<Memory>) -> Over {
        let mut arrived = Vec::new();
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut seen, mut silent) = (None, Duration::ZERO);
        let over = loop {
            let blocked = self.dispatch(conn);
            let busy = self.under_way.get() > 0;
            tokio::select! {
                biased;
                why = conn.ended() => break Over::Lost(why),
                open = self.inbox.take(&mut arrived) => match open {
                    true => self.enqueue(&mut arrived),
                    false => break Over::Closed,
                },
                () = self.one_ended.notified(), if blocked => {}
                _ = look.tick(), if busy => {
                    silent = if self.look(&mut seen) { silent + LOOK } else { Duration::ZERO };
                    // Whoever wants requests back does not wait for ever.
                    if silent >= SILENCE && self.inbox.gives_back() {
                        break Over::Lost("it does not answer".into());
                    }
                }
            }
        };
        if let Over::Closed = over {
            // Whoever closes has waited for answers already, if anybody wants them.
            let _ = timeout(LEAVE, self.idle()).await;
            let _ = timeout(GOODBYE, conn.clone().disconnect()).await;
        }
        conn.abort("the medium was closed");
        self.idle().await;
        over
    }

    /// Sends what waits, in order; says whether the next waits for a change that it overlaps ([SAFE-3]).
    fn dispatch(self: &Rc<Self>, conn: &Connection<Memory>) -> bool {
        loop {
            let mut waiting = self.waiting.borrow_mut();
            let Some(Held { request, .. }) = waiting.front() else { return false };
            let change = request.op.is_change();
            if change && !self.changing.borrow_mut().enter(request.offset, request.length) {
                return true;
            }
            let Some(held) = waiting.pop_front() else { return false };
            drop(waiting);
            self.under_way.set(self.under_way.get() + 1);
            tokio::task::spawn_local(Rc::clone(self).carry(conn.clone(), held));
        }
    }

    fn enqueue(&self, arrived: &mut Vec<Request>) {
        if self.inbox.take_renewed() {
            self.durable.renew();
        }
        let mut waiting = self.waiting.borrow_mut();
        for request in arrived.drain(..) {
            let number = self.arrived.get();
            self.arrived.set(number + 1);
            waiting.push_back(Held::new(number, request));
        }
    }

    /// Notes when a server that has requests has answered none since the last look; says whether that is so.
    fn look(&self, seen: &mut Option<u64>) -> bool {
        let now = self.ended.get();
        let silent = seen.replace(now) == Some(now);
        if silent {
            self.health.waits("answer what it was sent".to_owned());
        } else {
            self.health.fine();
        }
        silent
    }

    /// Waits until nothing is under way.
    async fn idle(&self) {
        while self.under_way.get() > 0 {
            self.one_ended.notified().await;
        }
    }

    /// One request on one connection.
    async fn carry(self: Rc<Self>, conn: Connection<Memory>, mut held: Held) {
        let result = self.perform(&conn, &mut held).await;
        if held.request.op.is_change() {
            self.changing.borrow_mut().leave(held.request.offset);
        }
        match result {
            Ok(()) => held.answer(Ok(())),
            Err(Ended::Failed(status)) => held.answer(Err(status)),
            Err(again) => {
                if again == Ended::GoingDown {
                    conn.abort("the server is shutting down");
                }
                self.lost.borrow_mut().push(held);
            }
        }
        self.ended.set(self.ended.get() + 1);
        self.under_way.set(self.under_way.get() - 1);
        self.one_ended.notify_one();
    }

    async fn perform(&self, conn: &Connection<Memory>, held: &mut Held) -> Result<(), Ended> {
        let Held { request, data, .. } = held;
        let (offset, length) = (request.offset, request.length);
        match request.op {
            Op::Read => {
                // [SAFE-2] What is found there may be older than what was acknowledged: first that is sent again.
                self.durable.sound()?;
                let mut memory = Memory::Fill(mem::take(&mut request.buffer));
                let result = conn.fill(offset, &mut memory).await;
                request.buffer = memory.into_buffer();
                result.map_err(|error| Ended::of(&error))
            }
            Op::Write { fua } => {
                let send = async |fua| conn.write(offset, Memory::Send(Rc::clone(data)), fua).await;
                self.change(conn, fua, send).await
            }
            // Nothing is known of what zeroes cost there.
            Op::WriteZeroes { fast: true, .. } => Err(Ended::Failed(IoStatus::NotSupported)),
            Op::WriteZeroes { fua, keep_allocated, fast: false } => {
                let send = async |fua| conn.write_zeroes(offset, length, fua, keep_allocated).await;
                self.change(conn, fua, send).await
            }
            // What a discard leaves behind is not defined, so there is nothing that a crash could undo.
            Op::Discard => conn.trim(offset, length).await.map_err(|error| Ended::of(&error)),
            Op::Flush => self.flush(conn).await,
            Op::ReadAhead => Ok(()),
            // Nothing better is known than that there may be data.
            Op::Extents => {
                let entry = Extent::data(length.into()).encode();
                request.buffer[..entry.len()].copy_from_slice(&entry);
                request.buffer.truncate(entry.len());
                Ok(())
            }
        }
    }

    /// A change whose content matters. `send` sends it, durably or not.
    async fn change(
        &self,
        conn: &Connection<Memory>,
        durable: bool,
        send: impl AsyncFn(bool) -> Result<(), RequestError>,
    ) -> Result<(), Ended> {
        let can_fua = conn.export().can_fua();
        if !self.promise.flush {
            // Each must be durable by itself, as far as the server goes.
            return send(can_fua).await.map_err(|error| Ended::of(&error));
        }
        if !durable && !self.asked.write_through {
            let result = send(false).await.map_err(|error| Ended::of(&error));
            if result.is_ok() {
                self.durable.acknowledged();
            }
            return result;
        }
        self.durable.sound()?;
        let turn = if can_fua { self.durable.claim() } else { None };
        let Some(turn) = turn else {
            send(false).await.map_err(|error| Ended::of(&error))?;
            return self.flush(conn).await;
        };
        match send(true).await {
            Ok(()) => Ok(()),
            Err(error) if durable::is_write_back(&error) => Err(self.durable.failed(&error, turn)),
            Err(error) => Err(Ended::of(&error)),
        }
    }

    async fn flush(&self, conn: &Connection<Memory>) -> Result<(), Ended> {
        if !self.promise.flush {
            return Ok(());
        }
        self.durable.flush(async || conn.flush().await).await
    }

    /// What a lost connection left unanswered waits again, before everything that came later; says how many.
    fn put_back(&self) -> usize {
        let mut lost = self.lost.take();
        lost.sort_by_key(|held| held.number);
        let again = lost.len();
        let mut waiting = self.waiting.borrow_mut();
        lost.into_iter().rev().for_each(|held| waiting.push_front(held));
        again
    }

    /// Dials until the same export is back; `None` when the medium is closed.
    async fn reconnect(&self, lost: &str) -> Option<Connection<Memory>> {
        let mut pauses = Pauses::new();
        let mut known = lost.to_owned();
        let dial = async {
            loop {
                let why = match dial::connect(&self.asked.uri).await {
                    Ok(conn) => match self.promise.kept_by(conn.export()) {
                        Ok(()) => return conn,
                        Err(unfit) => unfit.to_string(),
                    },
                    Err(why) => why,
                };
                if why != known {
                    self.health.waits(format!("serve again ({why})"));
                    (self.tell)(&Notice::Away {
                        uri: self.asked.uri.to_string(),
                        why: why.clone(),
                    });
                    known = why;
                }
                sleep(pauses.next()).await;
            }
        };
        tokio::select! {
            biased;
            () = self.inbox.closed() => None,
            conn = dial => Some(conn),
            never = self.hold() => match never {},
        }
    }

    /// Keeps requests while nobody can be asked, or gives them back.
    async fn hold(&self) -> Infallible {
        let mut arrived = Vec::new();
        loop {
            if self.inbox.gives_back() {
                self.answer_all(IoStatus::NotExecuted);
            }
            if !self.inbox.take(&mut arrived).await {
                return std::future::pending().await;
            }
            self.enqueue(&mut arrived);
        }
    }

    /// Nothing is sent any more.
    fn refuse_all(&self) {
        self.put_back();
        self.answer_all(IoStatus::Faulted);
    }

    fn answer_all(&self, status: IoStatus) {
        let all = mem::take(&mut *self.waiting.borrow_mut());
        all.into_iter().for_each(|held| held.answer(Err(status)));
    }
}
