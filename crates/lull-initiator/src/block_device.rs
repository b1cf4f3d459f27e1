//! An attachment as a block device of the kernel's ublk.

use std::io;
use std::path::Path;
use std::rc::Rc;

use lull_frontend::device::Device as _;
use lull_frontend::nbd::Stage;
use lull_frontend::ublk::{self, BlockDevice, Number, Queue, UblkError};
use lull_proto::geometry::Geometry;
use tokio::task::JoinHandle;

use crate::attachment::Attachment;
use crate::front_end::Disk;

/// A device that is started.
pub struct Block {
    device: BlockDevice,
    queue: Rc<Queue>,
    serving: JoinHandle<io::Result<()>>,
}

/// Why there is no device.
#[derive(Debug, thiserror::Error)]
pub enum BlockError {
    /// The device.
    #[error(transparent)]
    Device(#[from] UblkError),
    /// The system.
    #[error("no thread for the kernel's ublk: {0}")]
    Thread(#[from] io::Error),
}

impl Block {
    /// Makes and starts the device, or takes over what an earlier life of this attachment has left.
    ///
    /// # Errors
    /// What stands in the way.
    pub async fn new(
        number: Number,
        attachment: &Rc<Attachment>,
        geometry: Geometry,
    ) -> Result<Self, BlockError> {
        let disk = Rc::new(Disk::new(attachment, geometry));
        let told = disk.geometry();
        // The next life of this attachment has the same, and no other attachment has it.
        let mark =
            attachment.made.kept.attachment.0.first_chunk().map_or(0, |id| u64::from_be_bytes(*id));
        let device = aside(move || BlockDevice::open(number, mark, &told)).await??;
        let queue = Rc::new(device.queue()?);
        let closer = attachment.face.closer().clone();
        let serving = tokio::task::spawn_local(ublk::serve(Rc::clone(&queue), disk, closer));
        let starting = device.clone();
        match aside(move || starting.start()).await? {
            Ok(()) => Ok(Self { device, queue, serving }),
            Err(error) => {
                let _ = Self { device, queue, serving }.remove().await;
                Err(error.into())
            }
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.device.path()
    }

    /// How it was found, for people; nothing where there is nothing to tell.
    pub fn found(&self) -> Option<String> {
        let path = self.path().display();
        self.device
            .has_waited()
            .then(|| format!("{path} has waited for this process: what its users ask is served on"))
    }

    /// Serves it until the attachment ends or somebody deletes it; then takes it away.
    pub async fn serve(mut self, attachment: &Rc<Attachment>) {
        let path = self.path().display().to_string();
        let (device, name) = (self.device.clone(), attachment.config().name.clone());
        drop(tokio::task::spawn_blocking(move || {
            if let Err(error) = device.tune() {
                tracing::warn!(
                    "{name}: a daemon that is killed may be found out after 31 s only: {error}"
                );
            }
        }));
        let parting = attachment.face.closer().clone();
        let ended = tokio::select! {
            biased;
            () = parting.when(|stage| stage == Stage::Parting) => {
                // [INIT-1] As if this process had been killed: the kernel asks the next one again.
                self.serving.abort();
                let _ = self.serving.await;
                return;
            }
            () = attachment.face.closer().closed() => None,
            ended = &mut self.serving => Some(ended.map_err(io::Error::other).flatten()),
        };
        match &ended {
            None => {}
            Some(Err(error)) => attachment.fail(format!("{path}: {error}")),
            Some(Ok(())) => {
                let text = format!("{path} was stopped by somebody else: the attachment ends");
                attachment.tell("disconnected", text);
                attachment.detach(false);
            }
        }
        if ended.is_none()
            && let Err(error) = self.remove().await
        {
            attachment.tell("not_deleted", format!("{path} is left behind: {error}"));
        }
    }

    /// Takes it away: what its users ask meanwhile is refused, what they asked before is answered.
    pub async fn remove(self) -> Result<(), BlockError> {
        let Self { device, queue, serving } = self;
        queue.refuse();
        let stopping = device.clone();
        aside(move || stopping.stop()).await??;
        // It ends with the last answer.
        let _ = serving.await;
        drop(queue);
        Ok(aside(move || device.delete()).await??)
    }
}

/// Where blocking hurts nobody.
async fn aside<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(act).await.map_err(io::Error::other)
}
