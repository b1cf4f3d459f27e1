//! A load from its begin to its report.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use lull_frontend::nbd::client::ConnectError;
use tokio::task::{JoinSet, spawn_local};

use super::clock::now;
use super::judge::Judge;
use super::link::{Flag, Link};
use super::meter::{Meter, Window};
use super::order::{Picker, Plan};
use super::recorder::Recorder;
use super::report::{Record, Report};
use super::worker::Shared;

/// Blocks that one disk may have for verification: some 100 bytes of memory for each that is used.
const MOST_BLOCKS: u64 = 1 << 26;

/// A load that cannot begin.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each says it")]
pub enum StartError {
    #[error("{name}: {source}")]
    Connect { name: String, source: ConnectError },
    #[error("{name} has {size} bytes, fewer than one block of {block}")]
    TooSmall { name: String, size: u64, block: u32 },
    #[error("{name} is read-only\n  next: load it with --read-percent 100")]
    ReadOnly { name: String },
    #[error(
        "{name} takes requests of {least} to {most} bytes, in multiples of {least}, not {block}\n  next: choose another --block-size"
    )]
    Block { name: String, block: u32, least: u32, most: u32 },
    #[error(
        "{name}: {blocks} blocks are too many to verify\n  next: use a part with --span, or --no-verify"
    )]
    TooMany { name: String, blocks: u64 },
    #[error(
        "the history of {name} cannot be written to {path}: {source}\n  next: --record makes a new file; name one that does not exist"
    )]
    Record { name: String, path: String, source: std::io::Error },
}

/// A load that runs on the current tokio `LocalSet`.
#[derive(Debug)]
pub struct Load {
    shared: Rc<Shared>,
    workers: JoinSet<()>,
}

/// A look at a running load from elsewhere.
#[derive(Clone, Debug)]
pub struct Watch(Rc<Shared>);

impl Load {
    /// Connects and begins. `run` is a number that no other run has.
    ///
    /// # Errors
    /// The disk is not there or not fit for the plan.
    pub async fn start(plan: Plan, run: u64) -> Result<Self, StartError> {
        let connect = |source| StartError::Connect { name: plan.name.clone(), source };
        let link = Link::open(&plan.uri).await.map_err(connect)?;
        let blocks = blocks(&plan, &link)?;
        let judge = match plan.verify {
            true => Some(Judge::new(run, plan.block, recorder(&plan)?).into()),
            false => None,
        };
        let begun = now();
        let shared = Rc::new(Shared {
            picker: RefCell::new(Picker::new(&plan, blocks)),
            judge,
            link,
            stop: Flag::default(),
            meter: RefCell::new(Meter::new(begun)),
            verdict: RefCell::default(),
            rest: RefCell::default(),
            writes: Cell::new(0),
            begun,
            slot: Cell::new(begun),
            plan,
        });
        let mut workers = JoinSet::new();
        for _ in 0..shared.plan.depth {
            workers.spawn_local(Rc::clone(&shared).work());
        }
        if let Some(time) = shared.plan.time {
            let shared = Rc::clone(&shared);
            spawn_local(async move {
                tokio::time::sleep(time).await;
                shared.stop.raise();
            });
        }
        Ok(Self { shared, workers })
    }

    /// Something to look at it with.
    pub fn watch(&self) -> Watch {
        Watch(Rc::clone(&self.shared))
    }

    /// Waits until the load has ended by its plan or by [`Watch::stop`], reads everything that was
    /// written once more, and reports.
    pub async fn finish(mut self) -> Report {
        let shared = Rc::clone(&self.shared);
        let all_answered = self.drain().await;
        shared.stop.raise();
        let lasted = now().saturating_duration_since(shared.begun);
        shared.meter.borrow_mut().note_gap(now());
        let counted = Report::new(&shared.plan, &shared.meter.borrow(), lasted);
        let answered = all_answered && self.last_reading().await;
        let mut meter = shared.meter.borrow_mut();
        let left = meter.in_flight;
        meter.give_up(left, "no answer", now());
        let (wrong, record) = match &shared.judge {
            Some(judge) => {
                let mut judge = judge.borrow_mut();
                (Some(judge.wrong()), judge.end_record())
            }
            None => (None, None),
        };
        let record = record.map(|ended| Record::new(&shared.plan, ended));
        counted.conclude(&meter, shared.verdict.take(), wrong, answered, record)
    }

    /// Waits for the workers, but not for ever once they are told to stop.
    async fn drain(&mut self) -> bool {
        let shared = Rc::clone(&self.shared);
        let too_late = async {
            shared.stop.raised().await;
            tokio::time::sleep(shared.plan.patience).await;
        };
        tokio::select! {
            biased;
            () = join(&mut self.workers) => true,
            () = too_late => {
                self.workers.abort_all();
                false
            }
        }
    }

    /// Flushes, and reads what was written; says whether all of it was answered.
    async fn last_reading(&mut self) -> bool {
        let shared = Rc::clone(&self.shared);
        let Some(judge) = &shared.judge else { return true };
        if !shared.plan.writes() {
            return true;
        }
        *shared.rest.borrow_mut() = judge.borrow().written();
        shared.rest.borrow_mut().reverse();
        let all = async {
            // If it fails, that is counted.
            let _ = shared.flush().await;
            for _ in 0..shared.plan.depth {
                self.workers.spawn_local(Rc::clone(&shared).read_once_more());
            }
            join(&mut self.workers).await;
        };
        let mut done = std::pin::pin!(all);
        loop {
            let before = shared.verdict.borrow().verified_blocks;
            // Patience begins anew with every block: a large disk takes its time.
            if tokio::time::timeout(shared.plan.patience, done.as_mut()).await.is_ok() {
                return true;
            }
            if shared.verdict.borrow().verified_blocks == before {
                return false;
            }
        }
    }
}

/// Waits for all workers. One that panicked must not look like one that has finished.
async fn join(workers: &mut JoinSet<()>) {
    while let Some(ended) = workers.join_next().await {
        if let Err(Ok(panic)) = ended.map_err(tokio::task::JoinError::try_into_panic) {
            std::panic::resume_unwind(panic);
        }
    }
}

fn recorder(plan: &Plan) -> Result<Option<Recorder>, StartError> {
    let Some(path) = &plan.record else { return Ok(None) };
    let failed = |source| StartError::Record {
        name: plan.name.clone(),
        path: path.display().to_string(),
        source,
    };
    Recorder::create(path, &Judge::head()).map(Some).map_err(failed)
}

/// The blocks of the disk that the plan uses.
fn blocks(plan: &Plan, link: &Link) -> Result<u64, StartError> {
    let (name, block) = (plan.name.clone(), plan.block);
    let Some(export) = link.export() else { return Ok(1) };
    let (least, most) = (export.block.max(1), export.max_length);
    if block > most || block % least != 0 {
        return Err(StartError::Block { name, block, least, most });
    }
    if plan.writes() && export.read_only() {
        return Err(StartError::ReadOnly { name });
    }
    let size = export.size.min(plan.span.unwrap_or(u64::MAX));
    match size / u64::from(block) {
        0 => Err(StartError::TooSmall { name, size, block }),
        blocks if plan.verify && blocks > MOST_BLOCKS => Err(StartError::TooMany { name, blocks }),
        blocks => Ok(blocks),
    }
}

impl Watch {
    /// Ends the load: no new request is sent.
    pub fn stop(&self) {
        self.0.stop.raise();
    }

    /// What happened since this was last asked.
    pub fn take_window(&self) -> Window {
        self.0.meter.borrow_mut().take_window(now())
    }

    /// What happened since the begin.
    pub fn whole(&self) -> Window {
        self.0.meter.borrow().whole
    }

    /// For how long no request has succeeded.
    pub fn since_success(&self) -> Duration {
        self.0.meter.borrow().since_success(now())
    }

    /// Requests under way.
    pub fn in_flight(&self) -> u64 {
        self.0.meter.borrow().in_flight
    }

    /// Blocks that were found wrong so far.
    pub fn wrong(&self) -> u64 {
        self.0.judge.as_ref().map_or(0, |judge| judge.borrow().wrong())
    }
}
