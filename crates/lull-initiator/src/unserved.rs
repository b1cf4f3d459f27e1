//! Devices of this host's kernel that a life which was killed has left to one that knows nothing else of it, since whoever kept
//! that was killed as well. Until it has met its target it cannot serve them. Where it ends before, or the policy gives errors,
//! whoever uses them would wait for nobody.

use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use lull_frontend::ublk::{BlockDevice, UblkError};

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

/// Takes them away: what their users wait for fails.
pub async fn take_away(attachment: &Attachment) {
    let both = async {
        let of_nbd = kernel_nbd::give_up(attachment).await;
        [of_nbd.map_err(LeftError::from), of_ublk(attachment).await]
    };
    let both = tokio::time::timeout(PATIENCE, both).await;
    for taken in both.unwrap_or([Err(LeftError::Slow), Ok(None)]) {
        match taken {
            Ok(None) => {}
            Ok(Some(path)) => {
                let path = path.display();
                let text =
                    format!("{path} has waited for this process in vain: its users get errors");
                attachment.tell("cut_off", text);
            }
            Err(error) => {
                let text =
                    format!("a device that waits for this process may be left behind: {error}");
                attachment.tell("not_deleted", text);
            }
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
