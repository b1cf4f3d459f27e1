//! Writes an attachment's state beside the data path.

use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

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
pub struct Keeper {
    wanted: watch::Sender<Wanted>,
    written: Rc<Notify>,
    task: JoinHandle<()>,
}

impl Keeper {
    /// Begins; must be called in a `LocalSet`.
    pub fn start(file: StateFile, name: String, chronicle: Rc<Chronicle>) -> Self {
        let (wanted, wishes) = watch::channel(Wanted::AsIs);
        let written = Rc::new(Notify::new());
        let keeping = keep(Arc::new(file), name, wishes, chronicle, Rc::clone(&written));
        let task = tokio::task::spawn_local(keeping);
        Self { wanted, written, task }
    }

    /// The file should hold this, soon.
    pub fn write(&self, kept: Kept) {
        self.wanted.send_replace(Wanted::Written(kept));
    }

    /// Ends when a wish to write has come true since the last time.
    pub fn written(&self) -> impl Future<Output = ()> + use<> {
        let written = Rc::clone(&self.written);
        async move { written.notified().await }
    }

    /// The file should be gone, soon.
    pub fn remove(&self) {
        self.wanted.send_replace(Wanted::Removed);
    }

    /// Ends when the last wish has been tried; the lock is free then.
    pub async fn finish(self) {
        drop(self.wanted);
        let _ = self.task.await;
    }
}

async fn keep(
    file: Arc<StateFile>,
    name: String,
    mut wishes: watch::Receiver<Wanted>,
    chronicle: Rc<Chronicle>,
    told: Rc<Notify>,
) {
    let mut failed = false;
    loop {
        let news = if failed {
            tokio::time::timeout(TRY_AGAIN, wishes.changed()).await.unwrap_or(Ok(()))
        } else {
            wishes.changed().await
        };
        if news.is_err() {
            return;
        }
        let (wanted, file) = (wishes.borrow_and_update().clone(), Arc::clone(&file));
        let writes = matches!(wanted, Wanted::Written(_));
        let written = tokio::task::spawn_blocking(move || match wanted {
            Wanted::AsIs => Ok(()),
            Wanted::Written(kept) => file.write(&kept),
            Wanted::Removed => file.remove(),
        });
        match written.await {
            Ok(Ok(())) => {
                if failed {
                    let text = "its state is written again".to_owned();
                    chronicle.record(&name, "state_written", text, None);
                }
                failed = false;
                if writes {
                    told.notify_one();
                }
            }
            Ok(Err(error)) => {
                if !failed {
                    chronicle.record(&name, "state_not_written", error.to_string(), None);
                }
                failed = true;
            }
            // The runtime is being taken down.
            Err(_) => return,
        }
    }
}
