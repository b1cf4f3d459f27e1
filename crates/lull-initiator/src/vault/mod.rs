//! Who keeps the log's memory over the end of this daemon [SAFE-10]: the service manager, or a small process of our own
//! that holds a descriptor and does nothing. Neither ever looks at it, and no request passes them.

mod process;
mod program;

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use lull_admin::Fault;
use lull_transport::handover::{self, Channel};
use lull_wire::AttachmentId;
use sd_notify::NotifyState;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::chronicle::Chronicle;
use crate::config::Keeping;

pub use process::keep_log;

/// After a keeper could not be started it is tried again so much later.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// Descriptors that a service manager kept for this process, by the names that were given to them.
pub fn passed() -> HashMap<String, OwnedFd> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
    if number("LISTEN_PID") != Some(std::process::id()) {
        return HashMap::new();
    }
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let names = names.split(':').take(number("LISTEN_FDS").unwrap_or(0) as usize);
    let taken = (3..).zip(names).filter_map(|(number, name)| match handover::passed(number) {
        Ok(file) => Some((name.to_owned(), file)),
        Err(error) => {
            tracing::warn!("what the service manager kept as {name} cannot be used: {error}");
            None
        }
    });
    taken.collect()
}

/// Where the memory of one attachment's log is to be found by the next life.
#[derive(Debug)]
pub struct Vault {
    keeping: Keeping,
    dir: PathBuf,
    attachment: String,
    /// What the service manager knows the memory by.
    label: String,
    keeper: Option<program::Keeper>,
    /// Why nobody has it.
    fault: Rc<RefCell<Option<Fault>>>,
}

impl Vault {
    /// Of attachment `name`, whose state is in `dir`.
    pub fn new(keeping: &Keeping, dir: &Path, name: &str, id: AttachmentId) -> Self {
        Self {
            keeping: keeping.clone(),
            dir: dir.to_owned(),
            attachment: name.to_owned(),
            label: format!("lull-log-{id}"),
            keeper: None,
            fault: Rc::default(),
        }
    }

    /// What the life before had kept, if it is still there.
    ///
    /// # Errors
    /// There is a keeper, and it does not give it.
    pub fn find(&mut self, passed: &mut HashMap<String, OwnedFd>) -> io::Result<Option<OwnedFd>> {
        match &self.keeping {
            Keeping::Nowhere => Ok(None),
            Keeping::ServiceManager => Ok(passed.remove(&self.label)),
            Keeping::Process(_) => {
                let found = program::find(&self.dir, &self.attachment)?;
                Ok(found.map(|(keeper, log)| {
                    self.keeper = Some(keeper);
                    log
                }))
            }
        }
    }

    /// From here on the next life finds this.
    ///
    /// # Errors
    /// Nobody keeps it.
    pub fn keep(&mut self, log: BorrowedFd<'_>) -> io::Result<()> {
        match &self.keeping {
            Keeping::Nowhere => Ok(()),
            Keeping::ServiceManager => {
                let name = NotifyState::FdName(&self.label);
                sd_notify::notify_with_fds(&[NotifyState::FdStore, name], &[log])
            }
            Keeping::Process(program) => {
                if self.keeper.is_none() {
                    self.keeper = Some(program::start(program, &self.dir, &self.attachment, log)?);
                }
                Ok(())
            }
        }
    }

    /// The next life finds nothing any more.
    pub fn forget(&mut self) {
        let keeper = self.keeper.take();
        match &self.keeping {
            Keeping::Nowhere => {}
            Keeping::ServiceManager => {
                let name = NotifyState::FdName(&self.label);
                if let Err(error) = sd_notify::notify(&[NotifyState::FdStoreRemove, name]) {
                    tracing::warn!(
                        "the service manager was not told that {} is over: {error}",
                        self.label
                    );
                }
            }
            Keeping::Process(_) => {
                if let Some(keeper) = keeper {
                    keeper.end();
                }
            }
        }
    }

    /// Watches over it from now on; must be called in a `LocalSet`.
    /// `fault`: why nobody does, so far.
    pub fn guard(self, log: OwnedFd, chronicle: Rc<Chronicle>, fault: Option<String>) -> Guard {
        *self.fault.borrow_mut() = fault.map(|why| Fault { since: chronicle.wall_ms(), why });
        let (wanted, wishes) = watch::channel(Wish::Keep);
        let fault = Rc::clone(&self.fault);
        Guard { wanted, fault, task: tokio::task::spawn_local(guard(self, log, wishes, chronicle)) }
    }
}

/// What is to become of what is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Keep,
    /// The attachment is over, and so is its log.
    Forget,
    /// The daemon ends, and the next life is to find it.
    Leave,
}

/// The one who sees to it that the log is kept while the daemon runs: a keeper that was ended is started again.
#[derive(Debug)]
pub struct Guard {
    wanted: watch::Sender<Wish>,
    fault: Rc<RefCell<Option<Fault>>>,
    task: JoinHandle<()>,
}

impl Guard {
    /// Why nobody keeps it, and since when; none: somebody does.
    pub fn fault(&self) -> Option<Fault> {
        self.fault.borrow().clone()
    }

    /// Ends when the next life will find nothing, or with `leave` what is there now.
    pub async fn finish(self, leave: bool) {
        self.wanted.send_replace(if leave { Wish::Leave } else { Wish::Forget });
        // It has no result, and nobody ends it before.
        let _ = self.task.await;
    }
}

async fn guard(
    mut vault: Vault,
    mut log: OwnedFd,
    mut wishes: watch::Receiver<Wish>,
    chronicle: Rc<Chronicle>,
) {
    let (name, fault) = (vault.attachment.clone(), Rc::clone(&vault.fault));
    loop {
        let failed = fault.borrow().is_some();
        let keeper = vault.keeper.as_ref().map(|keeper| keeper.channel());
        tokio::select! {
            biased;
            changed = wishes.changed() => match (changed.is_err(), *wishes.borrow_and_update()) {
                (true, _) | (false, Wish::Leave) => return,
                (false, Wish::Forget) => return vault.forget(),
                (false, Wish::Keep) => continue,
            },
            () = gone(keeper, failed) => {}
        }
        vault.keeper = None;
        // What is sent to the thread that starts a process has no part in this loop.
        let (keeping, dir) = (vault.keeping.clone(), vault.dir.clone());
        let attachment = name.clone();
        let started = tokio::task::spawn_blocking(move || {
            let kept = restart(&keeping, &dir, &attachment, &log);
            (log, kept)
        });
        let Ok((file, kept)) = started.await else { return };
        log = file;
        match kept {
            Ok(keeper) => {
                vault.keeper = keeper;
                if fault.take().is_some() {
                    let text = "the log of unflushed writes is kept again".to_owned();
                    chronicle.record(&name, "log_kept", text, None);
                }
            }
            Err(error) => {
                if !failed {
                    let why = not_kept(&error);
                    chronicle.warn(&name, "log_not_kept", why.clone());
                    *fault.borrow_mut() = Some(Fault { since: chronicle.wall_ms(), why });
                }
            }
        }
    }
}

fn restart(
    keeping: &Keeping,
    dir: &Path,
    attachment: &str,
    log: &OwnedFd,
) -> io::Result<Option<program::Keeper>> {
    match keeping {
        Keeping::Process(program) => {
            program::start(program, dir, attachment, log.as_fd()).map(Some)
        }
        // Nobody there could have been lost.
        Keeping::Nowhere | Keeping::ServiceManager => Ok(None),
    }
}

/// Why, with what follows from it.
pub fn not_kept(error: &io::Error) -> String {
    format!(
        "nobody keeps the log of unflushed writes over the end of this process ({error}); they are lost if it is \
         killed and the target loses its memory too"
    )
}

/// Ends when the keeper has, or when it is to be tried again to start one.
async fn gone(keeper: Option<io::Result<Channel>>, failed: bool) {
    match keeper {
        // It says nothing but what it is asked.
        Some(Ok(channel)) => drop(channel.recv().await),
        Some(Err(_)) => tokio::time::sleep(TRY_AGAIN).await,
        None if failed => tokio::time::sleep(TRY_AGAIN).await,
        None => std::future::pending().await,
    }
}
