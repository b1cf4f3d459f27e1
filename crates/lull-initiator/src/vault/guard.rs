//! Who sees to it while the daemon runs that all is kept, and that nothing is when the attachment is over.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use lull_admin::Fault;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, spawn_blocking};

use super::{Kept, Place, Vault};
use crate::chronicle::Chronicle;

/// After a keeper could not be started it is tried again so much later.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// What is to become of what is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Keep,
    /// The attachment is over, and so is its log.
    Forget,
    /// The daemon ends, and the next life is to find it.
    Leave,
}

/// The one who sees to it that all is kept while the daemon runs: a keeper that was ended is started again.
#[derive(Debug)]
pub struct Guard {
    wanted: watch::Sender<Wish>,
    more: mpsc::UnboundedSender<Kept>,
    fault: Rc<RefCell<Option<Fault>>>,
    busy: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Guard {
    /// Watches over it from now on; must be called in a `LocalSet`.
    /// `fault`: why nobody has it, so far.
    pub fn over(vault: Vault, chronicle: Rc<Chronicle>, fault: Option<String>) -> Self {
        let fault = fault.map(|why| Fault { since: chronicle.wall_ms(), why });
        let fault = Rc::new(RefCell::new(fault));
        let (wanted, wishes) = watch::channel(Wish::Keep);
        let (more, comes) = mpsc::unbounded_channel();
        let busy = watch::Sender::new(false);
        let said = (Rc::clone(&fault), busy.clone());
        let task = tokio::task::spawn_local(guard(vault, comes, wishes, chronicle, said));
        Guard { wanted, more, fault, busy, task }
    }

    /// Whether somebody is just given what is kept, or is to be: [`Guard::finish`] would wait for that, or not have it done.
    pub fn is_busy(&self) -> bool {
        *self.busy.borrow()
    }

    /// Ends when nobody is.
    pub fn idle(&self) -> impl Future<Output = ()> + use<> {
        let mut busy = self.busy.subscribe();
        // The other end is here: where it is gone nobody waits for this.
        async move { _ = busy.wait_for(|busy| !busy).await }
    }

    /// Why nobody keeps it, and since when; none: somebody does.
    pub fn fault(&self) -> Option<Fault> {
        self.fault.borrow().clone()
    }

    /// The next life is to find this too, in place of what it would find under the same names.
    pub fn keep(&self, more: Kept) {
        // A guard that is over has nothing to keep any more.
        if self.more.send(more).is_ok() {
            self.busy.send_replace(true);
        }
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
    mut comes: mpsc::UnboundedReceiver<Kept>,
    mut wishes: watch::Receiver<Wish>,
    chronicle: Rc<Chronicle>,
    (fault, busy): (Rc<RefCell<Option<Fault>>>, watch::Sender<bool>),
) {
    let name = vault.attachment.clone();
    loop {
        let failed = fault.borrow().is_some();
        tokio::select! {
            biased;
            changed = wishes.changed() => match (changed.is_err(), *wishes.borrow_and_update()) {
                (true, _) | (false, Wish::Leave) => return,
                (false, Wish::Forget) => {
                    // A keeper is given some time to end, which nobody else of this process waits for.
                    let _ = spawn_blocking(move || vault.forget()).await;
                    return;
                }
                (false, Wish::Keep) => continue,
            },
            Some(more) = comes.recv() => vault.take_in(more),
            () = gone(&vault.place, failed) => {}
        }
        busy.send_replace(true);
        // A process is started, and another one waited for.
        let settled = spawn_blocking(move || {
            let settled = vault.settle(0);
            (vault, settled)
        });
        let settled = settled.await;
        busy.send_replace(!comes.is_empty());
        let Ok((returned, settled)) = settled else { return };
        vault = returned;
        match settled {
            Ok(()) => {
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

/// Why, with what follows from it.
pub fn not_kept(error: &io::Error) -> String {
    format!(
        "nobody keeps the log of unflushed writes over the end of this process ({error}); they are lost if it is \
         killed and the target loses its memory too"
    )
}

/// Ends when the keeper has, or when it is to be tried again to start one.
async fn gone(place: &Place, failed: bool) {
    let keeper = match place {
        Place::Good(keeper) => Some(keeper.channel()),
        Place::Old(_) | Place::Empty => None,
    };
    match keeper {
        // It says nothing but what it is asked.
        Some(Ok(channel)) => drop(channel.recv().await),
        Some(Err(_)) => tokio::time::sleep(TRY_AGAIN).await,
        None if failed => tokio::time::sleep(TRY_AGAIN).await,
        None => std::future::pending().await,
    }
}
