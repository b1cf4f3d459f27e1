//! Writes an attachment's state beside the data path.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use lull_admin::Fault;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use crate::chronicle::Chronicle;
use crate::state_file::{Kept, StateFile};

/// After a failed write it is tried again so much later.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// What the file should hold.
#[derive(Clone, Debug)]
enum Wanted {
    /// What it holds.
    AsIs,
    /// This.
    Written(Kept),
    /// Nothing: the attachment is over.
    Removed,
}

/// The one writer of a state file. Of several wishes that come while it writes, the last counts.
#[derive(Debug)]
pub struct StateWriter {
    wanted: watch::Sender<Wanted>,
    written: Rc<Notify>,
    fault: Rc<RefCell<Option<Fault>>>,
    tries: Rc<Tries>,
    task: JoinHandle<()>,
}

/// Wishes that came, and which of them were tried.
#[derive(Debug, Default)]
struct Tries {
    wished: Cell<u64>,
    tried: Cell<u64>,
    /// One is under way: the first of a wish, or one more.
    trying: Cell<bool>,
    over: Notify,
}

impl Tries {
    fn is_over(&self) -> bool {
        !self.trying.get() && self.wished.get() == self.tried.get()
    }
}

impl StateWriter {
    /// Begins; must be called in a `LocalSet`.
    pub fn start(file: StateFile, name: String, chronicle: Rc<Chronicle>) -> Self {
        let (wanted, wishes) = watch::channel(Wanted::AsIs);
        let written = Rc::new(Notify::new());
        let fault = Rc::default();
        let tries = Rc::default();
        let telling = Telling { name, chronicle, fault: Rc::clone(&fault) };
        let (told, count) = (Rc::clone(&written), Rc::clone(&tries));
        let task = tokio::task::spawn_local(keep(Arc::new(file), wishes, telling, told, count));
        Self { wanted, written, fault, tries, task }
    }

    /// Why the file cannot be written, and since when; none: the last wish came true.
    pub fn fault(&self) -> Option<Fault> {
        self.fault.borrow().clone()
    }

    /// The file should hold this, soon.
    pub fn write(&self, kept: Kept) {
        self.wish(Wanted::Written(kept));
    }

    fn wish(&self, wanted: Wanted) {
        self.tries.wished.set(self.tries.wished.get() + 1);
        self.wanted.send_replace(wanted);
    }

    /// Whether the disk takes its time for a wish: [`StateWriter::finish`] would wait for it.
    pub fn is_busy(&self) -> bool {
        !self.tries.is_over()
    }

    /// Ends when a wish was tried that has not been when this was called, or is at once over where there is none.
    pub fn tried(&self) -> impl Future<Output = ()> + use<> {
        let tries = Rc::clone(&self.tries);
        async move {
            if !tries.is_over() {
                tries.over.notified().await;
            }
        }
    }

    /// Ends when a wish to write has come true since the last time.
    pub fn written(&self) -> impl Future<Output = ()> + use<> {
        let written = Rc::clone(&self.written);
        async move { written.notified().await }
    }

    /// The file should be gone, soon.
    pub fn remove(&self) {
        self.wish(Wanted::Removed);
    }

    /// Ends when the last wish has been tried; the lock is free then.
    pub async fn finish(self) {
        drop(self.wanted);
        let _ = self.task.await;
    }
}

/// What people are told of the file.
struct Telling {
    name: String,
    chronicle: Rc<Chronicle>,
    fault: Rc<RefCell<Option<Fault>>>,
}

impl Telling {
    fn failed(&self) -> bool {
        self.fault.borrow().is_some()
    }
}

async fn keep(
    file: Arc<StateFile>,
    mut wishes: watch::Receiver<Wanted>,
    telling: Telling,
    told: Rc<Notify>,
    tries: Rc<Tries>,
) {
    loop {
        let news = if telling.failed() {
            tokio::time::timeout(TRY_AGAIN, wishes.changed()).await.unwrap_or(Ok(()))
        } else {
            wishes.changed().await
        };
        if news.is_err() {
            return;
        }
        let (wanted, file) = (wishes.borrow_and_update().clone(), Arc::clone(&file));
        let wished = tries.wished.get();
        tries.trying.set(true);
        let writes = matches!(wanted, Wanted::Written(_));
        let written = tokio::task::spawn_blocking(move || match wanted {
            Wanted::AsIs => Ok(()),
            Wanted::Written(kept) => file.write(&kept),
            Wanted::Removed => file.remove(),
        });
        let written = written.await;
        tries.tried.set(wished);
        tries.trying.set(false);
        tries.over.notify_waiters();
        match written {
            Ok(Ok(())) => {
                if telling.fault.take().is_some() {
                    let text = "its state is written again".to_owned();
                    telling.chronicle.record(&telling.name, "state_written", text, None);
                }
                if writes {
                    told.notify_one();
                }
            }
            Ok(Err(error)) => {
                if !telling.failed() {
                    let why = error.to_string();
                    telling.chronicle.record(&telling.name, "state_not_written", why.clone(), None);
                    let since = telling.chronicle.wall_ms();
                    *telling.fault.borrow_mut() = Some(Fault { since, why });
                }
            }
            // The runtime is being taken down.
            Err(_) => return,
        }
    }
}
