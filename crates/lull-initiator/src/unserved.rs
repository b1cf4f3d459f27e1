//! Devices of this host's kernel that a life which was killed has left to one that ends before it has met its target, and so
//! has never served them: whoever uses them would wait for nobody.

use std::io;
use std::path::PathBuf;
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
                    format!("{path} has waited for this process, which ends: its users get errors");
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

async fn of_ublk(attachment: &Attachment) -> Result<Option<PathBuf>, LeftError> {
    let Some(number) = attachment.config().ublk else { return Ok(None) };
    // As it was made under.
    let mark =
        attachment.made.kept.attachment.0.first_chunk().map_or(0, |id| u64::from_be_bytes(*id));
    let left = aside(move || BlockDevice::left(number, mark)).await?;
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
