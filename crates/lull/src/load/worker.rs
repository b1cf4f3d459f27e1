//! A load at work: so many workers, each with one request at a time.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use lull_frontend::nbd::Errno;
use lull_frontend::nbd::client::{Connection, RequestError};
use lull_history::Outcome;

use super::clock::now;
use super::judge::{Fault, Judge};
use super::link::{Flag, Link};
use super::meter::{Kind, Meter};
use super::order::{Pick, Picker, Plan};
use super::pattern;
use super::report::Verdict;

/// What a worker waits after an error: no consumer hammers a disk that fails.
const AFTER_ERROR: Duration = Duration::from_millis(5);

/// Attempts to read a block in the last reading.
const LAST_READ_ATTEMPTS: u32 = 3;

/// Faults that are told in full.
const TOLD_FAULTS: usize = 8;

/// What the workers of one load share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) plan: Plan,
    pub(super) link: Link,
    pub(super) stop: Flag,
    pub(super) picker: RefCell<Picker>,
    pub(super) judge: Option<RefCell<Judge>>,
    pub(super) meter: RefCell<Meter>,
    pub(super) verdict: RefCell<Verdict>,
    /// Blocks that the last reading has yet to begin.
    pub(super) rest: RefCell<Vec<u64>>,
    pub(super) writes: Cell<u64>,
    pub(super) begun: Instant,
    /// When the next request may be sent, where the rate is limited.
    pub(super) slot: Cell<Instant>,
}

/// A request that did not succeed; it is counted already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failed {
    /// It was not sent, or answered with an error: whatever it did, it will do no more.
    Surely,
    /// Its connection was lost: a server that is still there may carry it out later.
    Perhaps,
}

impl Failed {
    fn outcome(self) -> Outcome {
        match self {
            Self::Surely => Outcome::Failed,
            Self::Perhaps => Outcome::Unknown,
        }
    }
}

fn outcome<T>(answer: &Result<T, Failed>) -> Outcome {
    answer.as_ref().map_or_else(|failed| failed.outcome(), |_| Outcome::Done)
}

impl Shared {
    pub(super) async fn work(self: Rc<Self>) {
        let mut buffer = vec![0; self.plan.block as usize];
        while let Some(pick) = self.next_pick().await {
            let done = match pick.read {
                true => self.read(pick.block, std::mem::take(&mut buffer)).await,
                false => self.write(pick.block, std::mem::take(&mut buffer)).await,
            };
            let done = match done {
                Ok(back) => {
                    buffer = back;
                    if pick.read { Ok(()) } else { self.flush_in_turn().await }
                }
                Err(failed) => Err(failed),
            };
            if buffer.len() != self.plan.block as usize {
                buffer = vec![0; self.plan.block as usize];
            }
            if done.is_err() {
                tokio::time::sleep(AFTER_ERROR).await;
            }
        }
    }

    async fn next_pick(&self) -> Option<Pick> {
        if self.stop.is_raised() {
            return None;
        }
        if let Some(rate) = self.plan.rate {
            // What could not be sent in its time is left out: a burst is no steady load.
            let slot = self.slot.get().max(now());
            self.slot.set(slot + Duration::from_secs(1) / rate.max(1));
            tokio::select! {
                biased;
                () = self.stop.raised() => return None,
                () = tokio::time::sleep_until(slot.into()) => {}
            }
        }
        self.picker.borrow_mut().next()
    }

    async fn read(&self, block: u64, buffer: Vec<u8>) -> Result<Vec<u8>, Failed> {
        let offset = block * u64::from(self.plan.block);
        let id = self.judge.as_ref().map(|judge| judge.borrow_mut().begin_read(block));
        let answer = self
            .ask(Kind::Read, &self.stop, async |connection| connection.read(offset, buffer).await)
            .await;
        if let Some(id) = id
            && self.judge_read(id, block, &answer)
        {
            self.verdict.borrow_mut().checked_reads += 1;
        }
        answer
    }

    /// Whether it returned something that is explained.
    fn judge_read(&self, id: u64, block: u64, answer: &Result<Vec<u8>, Failed>) -> bool {
        let Some(judge) = &self.judge else { return false };
        let mut judge = judge.borrow_mut();
        match answer {
            Ok(content) => match judge.end_read(id, block, content) {
                Ok(()) => return true,
                Err(fault) => self.fault(fault),
            },
            Err(failed) => judge.end(id, failed.outcome()),
        }
        false
    }

    async fn write(&self, block: u64, mut buffer: Vec<u8>) -> Result<Vec<u8>, Failed> {
        let offset = block * u64::from(self.plan.block);
        let mut id = 0;
        if let Some(judge) = &self.judge {
            let begun = judge.borrow_mut().begin_write(block, &mut buffer);
            match begun {
                Some(begun) => id = begun,
                None => return Box::pin(self.read(block, buffer)).await,
            }
        } else {
            let place = offset / pattern::SECTOR as u64;
            pattern::fill(&mut buffer, self.plan.seed, place, self.writes.get());
        }
        self.writes.set(self.writes.get() + 1);
        let answer = self
            .ask(Kind::Write, &self.stop, async |connection| {
                connection.write(offset, buffer, false).await
            })
            .await;
        if let Some(judge) = &self.judge {
            judge.borrow_mut().end(id, outcome(&answer));
        }
        answer.map(|()| Vec::new())
    }

    async fn flush_in_turn(&self) -> Result<(), Failed> {
        match self.plan.flush_every {
            0 => Ok(()),
            every if self.writes.get().is_multiple_of(every) => self.flush().await,
            _ => Ok(()),
        }
    }

    pub(super) async fn flush(&self) -> Result<(), Failed> {
        if self.link.export().is_some_and(|export| !export.can_flush()) {
            return Ok(());
        }
        let id = self.judge.as_ref().map(|judge| judge.borrow_mut().begin_flush());
        let never = Flag::default();
        let answer =
            self.ask(Kind::Flush, &never, async |connection| connection.flush().await).await;
        if let (Some(judge), Some(id)) = (&self.judge, id) {
            judge.borrow_mut().end(id, outcome(&answer));
        }
        answer
    }

    /// Sends one request over the connection and counts what comes of it. While there is none it
    /// waits for one, but not beyond `stop`.
    async fn ask<T>(
        &self,
        kind: Kind,
        stop: &Flag,
        request: impl AsyncFnOnce(Connection) -> Result<T, RequestError>,
    ) -> Result<T, Failed> {
        let (number, connection) = self.link.connection(stop).await.ok_or(Failed::Surely)?;
        let sent = now();
        self.meter.borrow_mut().begin();
        let answer = request(connection).await;
        let mut meter = self.meter.borrow_mut();
        match answer {
            Ok(answer) => {
                let bytes = if kind == Kind::Flush { 0 } else { u64::from(self.plan.block) };
                meter.success(kind, bytes, sent, now());
                Ok(answer)
            }
            Err(error) => {
                meter.failure(&error_kind(&error), sent, now());
                let lost = matches!(error, RequestError::Lost(_));
                if lost && self.link.lost(number) {
                    meter.losses += 1;
                    if let Some(judge) = &self.judge {
                        judge.borrow_mut().lost();
                    }
                }
                if self.plan.stop_at_error {
                    self.stop.raise();
                }
                Err(if lost { Failed::Perhaps } else { Failed::Surely })
            }
        }
    }

    pub(super) async fn read_once_more(self: Rc<Self>) {
        let mut buffer = vec![0; self.plan.block as usize];
        loop {
            let Some(block) = self.rest.borrow_mut().pop() else { return };
            let mut attempts = LAST_READ_ATTEMPTS;
            loop {
                buffer.resize(self.plan.block as usize, 0);
                match self.last_read(block, std::mem::take(&mut buffer)).await {
                    Ok(back) => {
                        buffer = back;
                        self.verdict.borrow_mut().verified_blocks += 1;
                        break;
                    }
                    Err(_) if attempts > 1 => attempts -= 1,
                    Err(_) => {
                        self.verdict.borrow_mut().unread_blocks += 1;
                        break;
                    }
                }
            }
        }
    }

    async fn last_read(&self, block: u64, buffer: Vec<u8>) -> Result<Vec<u8>, Failed> {
        let never = Flag::default();
        let offset = block * u64::from(self.plan.block);
        let Some(judge) = &self.judge else { return Err(Failed::Surely) };
        let id = judge.borrow_mut().begin_read(block);
        let answer = self
            .ask(Kind::Read, &never, async |connection| connection.read(offset, buffer).await)
            .await;
        self.judge_read(id, block, &answer);
        answer
    }

    fn fault(&self, fault: Fault) {
        let mut verdict = self.verdict.borrow_mut();
        *verdict.wrong.entry(fault.kind.as_str()).or_default() += 1;
        if verdict.told.len() < TOLD_FAULTS {
            let Fault { block, kind, text } = fault;
            let at = block * u64::from(self.plan.block);
            verdict.told.push(format!("block {block} (at byte {at}), {}: {text}", kind.as_str()));
        }
        if self.plan.stop_at_error {
            self.stop.raise();
        }
    }
}

fn error_kind(error: &RequestError) -> String {
    match error {
        RequestError::Answered(errno) => match errno {
            Errno::Perm => "EPERM",
            Errno::Io => "EIO",
            Errno::NoMem => "ENOMEM",
            Errno::Inval => "EINVAL",
            Errno::NoSpace => "ENOSPC",
            Errno::Overflow => "EOVERFLOW",
            Errno::NotSupported => "ENOTSUP",
            Errno::Shutdown => "ESHUTDOWN",
            Errno::Other(code) => return format!("error {code}"),
        }
        .to_owned(),
        RequestError::Lost(_) => "connection lost".to_owned(),
        RequestError::NotOffered(what) => format!("not offered: {what}"),
        RequestError::TooLong { .. } => "request too long".to_owned(),
    }
}
