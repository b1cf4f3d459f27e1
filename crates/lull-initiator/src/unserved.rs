//! Devices of this host's kernel that a life which was killed has left to one that knows nothing else of it, since whoever kept
//! that was killed as well. Until it has met its target it cannot serve them. Where it ends before, or the policy gives errors,
//! whoever uses them would wait for nobody.

use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use lull_frontend::ublk::{BlockDevice, UblkError};
use tokio::sync::{Mutex, MutexGuard};

use crate::attachment::Attachment;
use crate::kernel_nbd::{self, KernelNbdError};

/// How long the kernel may take to let go of them.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why one may be left behind.
#[derive(Debug, thiserror::Error)]
enum LeftError {
    #[error(transparent)]
    Nbd(#[from] KernelNbdError),
    #[error(transparent)]
    Ublk(#[from] UblkError),
    #[error(transparent)]
    Thread(#[from] io::Error),
    #[error("the kernel takes more than {} s for it", PATIENCE.as_secs())]
    Slow,
}

/// Whose turn it is with what an earlier life has left: to serve it, or to take it away. Either takes its time in the kernel,
/// and what one of them has begun the other finds done.
#[derive(Debug, Default)]
pub struct Turn(Mutex<()>);

impl Turn {
    /// For whoever serves it: from here on nobody takes it away who would see that it is served.
    pub async fn to_serve(&self) -> MutexGuard<'_, ()> {
        self.0.lock().await
    }

    /// For whoever takes it away; `None`: it is served by now, or about to be.
    async fn to_take_away(&self, is_unserved: impl FnOnce() -> bool) -> Option<MutexGuard<'_, ()>> {
        let turn = self.0.lock().await;
        is_unserved().then_some(turn)
    }
}

/// Looks for them. [TIMER-5] Their users wait no longer than those whom this life knows.
pub fn begin(attachment: &Rc<Attachment>) {
    if !attachment.config().is_device() {
        return;
    }
    kernel_nbd::begin_early(attachment);
    let attachment = Rc::clone(attachment);
    tokio::task::spawn_local(async move {
        let left = kernel_nbd::is_left(&attachment).await
            || left_by_ublk(&attachment).await.is_ok_and(|left| left.is_some());
        if left {
            attachment.awaited();
        }
    });
}

/// Takes them away, unless they are served once it is time for that: what their users wait for fails.
pub async fn take_away(
    attachment: &Rc<Attachment>,
    is_unserved: impl FnOnce(&Attachment) -> bool + 'static,
) {
    if !attachment.config().is_device() {
        return;
    }
    let taking = Rc::clone(attachment);
    // To its end, however long somebody waits for it: the kernel does what it has begun, and nobody may serve before.
    let taking = tokio::task::spawn_local(async move {
        let turn = taking.face.turn().to_take_away(|| is_unserved(&taking)).await;
        if turn.is_some() {
            tell(&taking, kernel_nbd::give_up(&taking).await.map_err(LeftError::from));
            tell(&taking, of_ublk(&taking).await);
        }
    });
    if tokio::time::timeout(PATIENCE, taking).await.is_err() {
        tell(attachment, Err(LeftError::Slow));
    }
}

fn tell(attachment: &Attachment, taken: Result<Option<PathBuf>, LeftError>) {
    match taken {
        Ok(None) => {}
        Ok(Some(path)) => {
            let path = path.display();
            let text = format!("{path} has waited for this process in vain: its users get errors");
            attachment.tell("cut_off", text);
        }
        Err(error) => {
            let text = format!("a device that waits for this process may be left behind: {error}");
            attachment.tell("not_deleted", text);
        }
    }
}

async fn left_by_ublk(attachment: &Attachment) -> io::Result<Option<BlockDevice>> {
    let Some(number) = attachment.config().ublk else { return Ok(None) };
    // As it was made under.
    let mark =
        attachment.made.kept.attachment.0.first_chunk().map_or(0, |id| u64::from_be_bytes(*id));
    aside(move || BlockDevice::left(number, mark)).await
}

async fn of_ublk(attachment: &Attachment) -> Result<Option<PathBuf>, LeftError> {
    let left = left_by_ublk(attachment).await?;
    let Some(left) = left else { return Ok(None) };
    let (path, stopping) = (left.path().to_owned(), left.clone());
    // This is what its users notice. It is gone when the last of them has closed it, for which nobody waits.
    aside(move || stopping.stop()).await??;
    drop(tokio::task::spawn_blocking(move || left.delete()));
    Ok(Some(path))
}

/// Where blocking hurts nobody.
async fn aside<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(act).await.map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::pin::{Pin, pin};
    use std::task::{Context, Waker};

    use super::*;

    fn waits(one: Pin<&mut impl Future>) -> bool {
        one.poll(&mut Context::from_waker(Waker::noop())).is_pending()
    }

    /// [TIMER-3] [INIT-1] A target that comes while the policy runs finds its device served, or a new one: none is taken away from
    /// under a process that serves it, and none is served that is just taken away.
    #[tokio::test]
    async fn a_device_is_served_or_taken_away_and_never_both() {
        let (turn, served) = (Turn::default(), Cell::new(false));
        let taking = turn.to_take_away(|| !served.get()).await;
        assert!(taking.is_some(), "nobody serves it");
        served.set(true);
        assert!(waits(pin!(turn.to_serve())), "what was begun is waited for");
        drop(taking);
        let serving = turn.to_serve().await;
        let mut late = pin!(turn.to_take_away(|| !served.get()));
        assert!(waits(late.as_mut()));
        drop(serving);
        assert!(late.await.is_none(), "it would be taken from whoever serves it");
    }
}
