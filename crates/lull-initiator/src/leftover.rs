//! What an attachment that has ended keeps for the next life, beside the memory in which that would find it: this host may
//! be about to go down.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::rc::Rc;

use crate::attachment::{Attachment, Core};
use crate::journal::Saved;

impl Attachment {
    /// Writes its log into a file, where anything is in it. What is returned ends when that is done; a disk that does not
    /// answer keeps nobody else waiting.
    pub(crate) fn save(self: &Rc<Self>, core: &Core) -> Option<impl Future<Output = ()> + use<>> {
        if core.journal.is_empty() {
            return None;
        }
        let log = core.journal.as_fd().try_clone_to_owned();
        let saved = Saved::of(&self.made.state_dir, &self.config().name);
        let writing = tokio::task::spawn_blocking(move || write(&saved, log));
        let attachment = Rc::clone(self);
        Some(async move {
            if let Err(error) = writing.await.map_err(io::Error::other).flatten() {
                let text = format!(
                    "what is kept for the next start is in memory only, and lost if this host goes down: {error}"
                );
                attachment.made.chronicle.warn(&attachment.config().name, "log_not_saved", text);
            }
        })
    }
}

fn write(saved: &Saved, log: io::Result<OwnedFd>) -> io::Result<()> {
    saved.write(log?.as_fd())
}
