//! An attachment as a block device of the kernel's ublk.

use std::io;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use lull_admin::Fault;
use lull_frontend::device::Device as _;
use lull_frontend::nbd::{self, Stage};
use lull_frontend::ublk::{self, BlockDevice, Number, Queue, UblkError};
use lull_proto::geometry::Geometry;
use tokio::task::JoinHandle;

use crate::attachment::Attachment;
use crate::front_end::Disk;

/// Tries to take a device over, of three seconds each, where there are other ways to the disk, whose consumers wait as long.
const TRIES: u32 = 5;
/// After how long somebody is told what the kernel takes its time for.
const PATIENCE: Duration = Duration::from_secs(5);

/// A device that is started.
pub struct Block {
    device: BlockDevice,
    queue: Rc<Queue>,
    serving: JoinHandle<io::Result<()>>,
    /// It has waited for this process.
    waited: bool,
}

/// A started device that nobody serves for now. Where another process is to have it, that one gets it when this one has
/// ended, and not before.
#[derive(Debug)]
pub struct Parked {
    device: BlockDevice,
    queue: Rc<Queue>,
}

/// Why there is no device.
#[derive(Debug, thiserror::Error)]
pub enum BlockError {
    /// The device.
    #[error(transparent)]
    Device(#[from] UblkError),
    /// Its queue.
    #[error("{0}")]
    Queue(io::Error),
    /// The system.
    #[error("no thread for the kernel's ublk: {0}")]
    Thread(#[from] io::Error),
}

impl Block {
    /// Makes and starts the device, or takes over what an earlier life of this attachment has left; goes on with a `parked`
    /// one of this process.
    ///
    /// # Errors
    /// What stands in the way.
    pub async fn new(
        number: Number,
        attachment: &Rc<Attachment>,
        geometry: Geometry,
        parked: Option<Parked>,
    ) -> Result<Self, BlockError> {
        let disk = Rc::new(Disk::new(attachment, geometry));
        let told = disk.geometry();
        let closer = attachment.face.closer().clone();
        let serve = |queue| tokio::task::spawn_local(ublk::serve(queue, disk, closer));
        if let Some(Parked { device, queue }) = parked {
            let serving = serve(Rc::clone(&queue));
            return Ok(Self { device, queue, serving, waited: false });
        }
        let device = take(number, attachment, &told).await?;
        let queue = Rc::new(device.queue()?);
        let serving = serve(Rc::clone(&queue));
        let (starting, waited) = (device.clone(), device.has_waited());
        let block = Self { device, queue, serving, waited };
        let path = block.path().display();
        let what = if waited {
            format!("to let the users of {path} go on")
        } else {
            // Whoever starts it looks for partitions.
            format!("to start {path}, for which its first blocks are read from the target")
        };
        match aside(attachment, &what, move || starting.start()).await? {
            Ok(()) => Ok(block),
            Err(error) => {
                if waited {
                    // Its users wait on, for the next life.
                    block.serving.abort();
                } else {
                    let _ = block.remove(attachment).await;
                }
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
        self.waited
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
                // [INIT-1] With the end of this process, as if it had been killed, the kernel asks the next one again; where
                // it is not to end after all, what was taken is here to go on with.
                self.serving.abort();
                let _ = self.serving.await;
                let Self { device, queue, .. } = self;
                return attachment.face.leave_block(Parked { device, queue });
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
            && let Err(error) = self.remove(attachment).await
        {
            attachment.tell("not_deleted", format!("{path} is left behind: {error}"));
        }
    }

    /// Takes it away: what its users ask meanwhile is refused, what they asked before is answered.
    pub async fn remove(self, attachment: &Attachment) -> Result<(), BlockError> {
        let path = self.path().display().to_string();
        let Self { device, queue, serving, .. } = self;
        queue.refuse();
        let stopping = device.clone();
        let what = format!("to stop {path}, for which what is in flight is answered first");
        aside(attachment, &what, move || stopping.stop()).await??;
        // It ends with the last answer. Otherwise its queue is open as long as this process lives, and the kernel would wait for that.
        serving.await.map_err(io::Error::other).flatten().map_err(BlockError::Queue)?;
        drop(queue);
        let what = format!("to delete {path}, which somebody has open: unmount what lies on it");
        Ok(aside(attachment, &what, move || device.delete()).await??)
    }
}

/// Has the device, new or as an earlier life has left it. What waits for this process alone is waited for without end, since
/// there is nobody else to serve its users; `lull detach` ends that.
async fn take(
    number: Number,
    attachment: &Rc<Attachment>,
    told: &nbd::Geometry,
) -> Result<BlockDevice, BlockError> {
    // The next life of this attachment has the same, and no other attachment has it.
    let mark =
        attachment.made.kept.attachment.0.first_chunk().map_or(0, |id| u64::from_be_bytes(*id));
    let alone = attachment.config().front_ends() == 1;
    let (since, mut tries, mut waits) = (attachment.made.chronicle.wall_ms(), 0, None);
    loop {
        tries += 1;
        let told = told.clone();
        let opening = move || BlockDevice::open(number, mark, &told);
        match aside(attachment, &format!("to make {number}"), opening).await? {
            Err(error @ UblkError::Kept(..))
                if (alone || tries < TRIES) && !attachment.face.closer().is_closed() =>
            {
                waits.get_or_insert_with(|| {
                    Waits::new(attachment, since, format!("{error}; this is tried again and again"))
                });
            }
            ended => return Ok(ended?),
        }
    }
}

/// Where blocking hurts nobody. The kernel sets itself no time for `what` it does there; whoever looks why nothing goes on
/// finds it in the log, and while it lasts among the alerts.
async fn aside<T: Send + 'static>(
    attachment: &Attachment,
    what: &str,
    act: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let since = attachment.made.chronicle.wall_ms();
    let mut acting = tokio::task::spawn_blocking(act);
    let ended = match tokio::time::timeout(PATIENCE, &mut acting).await {
        Ok(ended) => ended,
        Err(_) => {
            let limit = PATIENCE.as_secs();
            let text = format!("the kernel takes more than {limit} s {what}");
            let _waits = Waits::new(attachment, since, text);
            acting.await
        }
    };
    ended.map_err(io::Error::other)
}

/// [TIMER-5] Somebody waits for the kernel, or for what it keeps for another process: told once it is noticed, and as long
/// as this lives.
struct Waits<'a> {
    attachment: &'a Attachment,
    /// What was waited for before, and is still.
    before: Option<Fault>,
}

impl<'a> Waits<'a> {
    fn new(attachment: &'a Attachment, since: u64, text: String) -> Self {
        let chronicle = &attachment.made.chronicle;
        let fault = Fault { since, why: text.clone() };
        let before = attachment.core.borrow_mut().told.device_waits.replace(fault);
        chronicle.warn(&attachment.config().name, "device_waits", text);
        Self { attachment, before }
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.attachment.core.borrow_mut().told.device_waits = self.before.take();
    }
}

#[cfg(test)]
mod tests {
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};

    use tokio::task::LocalSet;

    use super::*;
    use crate::heritage::tests::medium;
    use crate::medium::Medium;

    fn poll<F: Future>(one: Pin<&mut F>) -> Poll<F::Output> {
        one.poll(&mut Context::from_waker(Waker::noop()))
    }

    /// [TIMER-5] Whoever waits for the kernel is told of it for as long as that lasts, and since when it does.
    #[tokio::test(start_paused = true)]
    async fn a_wait_for_the_kernel_is_told_while_it_lasts() {
        let dir = tempfile::tempdir().unwrap();
        let taken = medium(dir.path());
        let waits = async {
            let medium = Medium::begin(taken, |_| {}, || {}).unwrap();
            let waits = || medium.attachment.core.borrow().told.device_waits.clone();
            let (done, kernel) = std::sync::mpsc::channel();
            let acting = aside(&medium.attachment, "to stop it", move || kernel.recv());
            let mut acting = pin!(acting);
            assert!(poll(acting.as_mut()).is_pending());
            assert_eq!(waits(), None);
            let now = || medium.attachment.made.chronicle.wall_ms();
            let begun = now();
            while now() == begun {
                std::hint::spin_loop();
            }
            tokio::time::advance(2 * PATIENCE).await;
            assert!(poll(acting.as_mut()).is_pending());
            let Fault { since, why } = waits().expect("it takes long");
            assert_eq!(why, "the kernel takes more than 5 s to stop it");
            assert!(since <= begun, "not since it was noticed");
            done.send(()).unwrap();
            acting.await.unwrap().unwrap();
            assert_eq!(waits(), None);
        };
        LocalSet::new().run_until(waits).await;
    }
}
