//! An attachment as a device of the kernel's NBD client.

use std::io;
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use lull_frontend::device::Device as _;
use lull_frontend::nbd::kernel::{Found, Held, NbdDevice, NbdDeviceError};
use lull_frontend::nbd::{self, Closer, Limits, Parted, Resumed, ServeEnd, Stage};
use lull_proto::geometry::Geometry;
use lull_transport::Stream;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, sleep};

use crate::asks_again::{AsksAgain, is_idle};
use crate::attachment::Attachment;
use crate::buffer::Bytes;
use crate::front_end::Disk;
use crate::full_line::{FullLine, LineError, new_line, stream};
use crate::unless_parting::UnlessParting;

/// How often it is looked whether requests are held.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Looks in a row that find them held until the kernel gets them back.
const PATIENCE: u32 = 3;
/// The same while the kernel has them.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// How long is waited before a connection that the kernel has ended is replaced.
const BREATH: Duration = Duration::from_millis(100);
/// How long the kernel may take to take its last answers.
const LINGER: Duration = Duration::from_secs(1);

/// A device that is connected.
pub struct KernelNbd {
    held: UnlessParting<Held>,
    /// It has waited for this process.
    waited: bool,
    line: Line,
}

/// A connection of the kernel's.
enum Line {
    /// On which nothing was asked yet.
    New(Stream),
    /// That the process before has handed over, with what it owes.
    Handed(Box<Resumed<Bytes>>),
    /// None: its requests are with the kernel, which gets them back as those of any long wait.
    Later,
}

impl Line {
    async fn serve(self, disk: Rc<Disk>, closer: Closer) -> Over {
        Over::Left(match self {
            Self::New(stream) => nbd::transmit(stream, disk, limits(), closer).await,
            Self::Handed(resumed) => resumed.serve(disk, closer).await,
            Self::Later => return Over::GivenBack,
        })
    }
}

/// What the kernel's connection may take. It takes its answers, and no timer of ours ends a device.
pub fn limits() -> Limits {
    Limits { linger: LINGER, ..Limits::default() }
}

/// Why there is no device.
#[derive(Debug, thiserror::Error)]
pub enum KernelNbdError {
    /// The device.
    #[error(transparent)]
    Device(#[from] NbdDeviceError),
    /// Its connection.
    #[error(transparent)]
    Line(#[from] LineError),
    /// The system.
    #[error("no connection for the kernel's NBD: {0}")]
    System(#[from] io::Error),
}

/// How the service of one connection ended.
enum Over {
    /// The attachment ends, or its consumers go to another process: the kernel with this connection, where there is one.
    Closed(Option<Parted>),
    /// The kernel does not use it any more.
    Left(Result<(), ServeEnd>),
    /// The target is away for long: the kernel is to have its requests back.
    GivenBack,
}

impl KernelNbd {
    /// Connects the device, or takes over what an earlier life of this attachment has left; `handed`: its connection too.
    ///
    /// # Errors
    /// What stands in the way.
    pub async fn new(
        path: &Path,
        attachment: &Rc<Attachment>,
        geometry: Geometry,
        handed: Option<Resumed<Bytes>>,
    ) -> Result<Self, KernelNbdError> {
        let device = NbdDevice::new(path)?;
        let name = name(attachment);
        let early = match attachment.face.early_line.take() {
            Some(early) => early.0.await.ok().flatten(),
            None => None,
        };
        if (handed.is_some() || early.is_some())
            && let Some(held) = resume(&device, &name).await?
        {
            let held = UnlessParting::new(held, attachment.face.closer());
            if let Some(resumed) = handed {
                return Ok(Self { held, waited: false, line: Line::Handed(Box::new(resumed)) });
            }
            let over = || is_over(attachment, attachment.face.closer().stage(), false);
            if let Some(full) = early
                && let Some(empty) = full.emptied(over).await?
            {
                return Ok(Self { held, waited: true, line: Line::New(empty) });
            }
            held.leave();
        }
        // Whoever killed the life before, and however long the target is away: the kernel has asked all of it already.
        if attachment.holds()
            && let Some(held) = resume(&device, &name).await?
        {
            let held = UnlessParting::new(held, attachment.face.closer());
            return Ok(Self { held, waited: true, line: Line::Later });
        }
        let geometry = Disk::new(attachment, geometry).geometry();
        let (held, found, ours) = aside(move || Held::open(device, name, &geometry)).await??;
        let held = UnlessParting::new(held, attachment.face.closer());
        Ok(Self { held, waited: found == Found::Waiting, line: Line::New(stream(ours)?) })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.held.path()
    }

    /// How it was found, for people; nothing where there is nothing to tell.
    pub fn found(&self) -> Option<String> {
        self.waited.then(|| {
            format!(
                "{} has waited for this process: what its users ask is served on",
                self.path().display()
            )
        })
    }

    /// Takes it away unserved.
    pub async fn drop_unused(self) {
        let Self { held, line, .. } = self;
        drop(line);
        let_go(held).await;
    }

    /// Serves it until the attachment ends or somebody disconnects it; then lets it go.
    pub async fn serve(self, attachment: &Rc<Attachment>, geometry: Geometry) {
        let Self { held, mut line, waited } = self;
        let path = held.path().display().to_string();
        let disk = Rc::new(Disk::new(attachment, geometry));
        let (device, told) = (held.device().clone(), disk.geometry());
        let name = attachment.config().name.clone();
        drop(tokio::task::spawn_blocking(move || {
            if let Err(error) = device.tune(&told) {
                tracing::warn!(
                    "{name}: requests of a daemon that is killed may wait for 31 s: {error}"
                );
            }
        }));
        let is_fresh = !waited && matches!(line, Line::New(_));
        let waits_for_nothing = is_fresh || attachment.face.kernel_waits_for_nothing.get();
        let begin = || AsksAgain::begin(held.device(), attachment);
        let mut again = (!waits_for_nothing).then(begin);
        let parted = loop {
            match turn(line, attachment, &disk, &mut again).await {
                Over::Closed(parted) => break parted,
                Over::GivenBack => match given_back(&held, attachment, &mut again).await {
                    Ok(Some(next)) => {
                        line = Line::New(next);
                        continue;
                    }
                    Ok(None) => break None,
                    Err(error) => warn(attachment, &path, &error),
                },
                Over::Left(Err(error)) => warn(attachment, &path, &error),
                Over::Left(Ok(())) => {}
            }
            match another(&held, attachment, &mut again).await {
                Some(next) => line = Line::New(next),
                None => break None,
            }
        };
        // What is on a connection goes along with it.
        let waits = again.is_some() || parted.is_none() && !is_idle(held.device(), attachment);
        attachment.face.kernel_waits_for_nothing.set(!waits);
        attachment.face.leave_kernel(parted);
        drop(again);
        let stage = attachment.face.closer().stage();
        // [INIT-1] Where it parts the next one goes on with its connection; where there was none, as if this process had been
        // killed. Otherwise requests that come meanwhile wait in the kernel, and fail with this.
        let_go(held).await;
        if stage == Stage::Open || stage == Stage::Quiet {
            disconnected(attachment, &path);
        }
    }
}

/// Disconnects a device that nobody is to go on with.
async fn let_go(held: UnlessParting<Held>) {
    if let Some(held) = held.into_inner() {
        let _ = aside(move || drop(held)).await;
    }
}

/// What the device is connected under: the next life of this attachment has the same, and no other attachment has it.
fn name(attachment: &Attachment) -> String {
    let made = &attachment.made;
    format!("lull {}/{} {}", made.node, made.config.name, made.kept.attachment)
}

async fn resume(device: &NbdDevice, name: &str) -> io::Result<Option<Held>> {
    let (device, name) = (device.clone(), name.to_owned());
    aside(move || Held::resume(device, name)).await
}

/// A connection that the kernel is given before anything is known of the disk.
#[derive(Debug)]
pub struct EarlyLine(JoinHandle<Option<FullLine>>);

/// Gives the kernel a connection on which its requests can wait, where an earlier life of this attachment has left the device
/// behind and the target is not there to say what the disk is: on the old one the kernel would mention each of them in its
/// log, once a second.
pub fn begin_early(attachment: &Rc<Attachment>) {
    let Some(path) = &attachment.config().nbd_device else { return };
    // Whoever opens the device says what is wrong with its name.
    let Ok(device) = NbdDevice::new(path) else { return };
    let name = name(attachment);
    let giving = tokio::task::spawn_local(async move {
        // Whatever becomes of this, the device is an earlier life's.
        let held = ManuallyDrop::new(resume(&device, &name).await.ok()??);
        FullLine::give(&held).await.ok()
    });
    attachment.face.early_line.replace(Some(EarlyLine(giving)));
}

/// Whether an earlier life has left the device.
pub async fn is_left(attachment: &Attachment) -> bool {
    let path = attachment.config().nbd_device.as_deref();
    let Some(Ok(device)) = path.map(NbdDevice::new) else { return false };
    let left = resume(&device, &name(attachment)).await;
    // Whatever becomes of this life, the device is an earlier one's.
    left.is_ok_and(|left| left.map(ManuallyDrop::new).is_some())
}

/// Disconnects what an earlier life has left, where this one has never come to serve it; where it was.
///
/// # Errors
/// What stands in the way.
pub async fn give_up(attachment: &Attachment) -> Result<Option<PathBuf>, KernelNbdError> {
    let Some(path) = &attachment.config().nbd_device else { return Ok(None) };
    let device = NbdDevice::new(path)?;
    // What the kernel waits on ends first.
    if let Some(early) = attachment.face.early_line.take() {
        drop(early.0.await);
    }
    let Some(held) = resume(&device, &name(attachment)).await? else { return Ok(None) };
    aside(move || drop(held)).await?;
    Ok(Some(path.clone()))
}

/// Whether nobody serves the device any more; `asked`: users have asked what is not answered, for which an attachment that is to
/// end waits.
fn is_over(attachment: &Attachment, stage: Stage, asked: bool) -> bool {
    match stage {
        Stage::Open | Stage::Quiet => false,
        Stage::Parting => true,
        Stage::Closed => !asked || attachment.has_ended(),
    }
}

/// What comes of `other`; `None` where nobody serves the device any more before that. `again`: what was given back.
async fn unless_over<T>(
    attachment: &Attachment,
    again: &mut Option<AsksAgain>,
    other: impl Future<Output = T>,
) -> Option<T> {
    let closer = attachment.face.closer();
    let mut other = std::pin::pin!(other);
    loop {
        let stage = closer.stage();
        if is_over(attachment, stage, again.is_some()) {
            return None;
        }
        tokio::select! {
            biased;
            () = closer.when(|now| now != stage) => {}
            () = asked_again(again) => {}
            done = other.as_mut() => return Some(done),
        }
    }
}

/// Ends when what was given back has been asked again, and forgets it; never where nothing was.
async fn asked_again(again: &mut Option<AsksAgain>) {
    match again {
        Some(one) => one.over().await,
        None => std::future::pending().await,
    }
    *again = None;
}

/// Another connection instead of one that the kernel has ended; `None` where the device or the attachment has ended.
async fn another(
    held: &Held,
    attachment: &Rc<Attachment>,
    again: &mut Option<AsksAgain>,
) -> Option<Stream> {
    // What was on its way with that one is asked again too. Once it is closed nobody waits for what comes later.
    if again.is_none() && !attachment.face.closer().is_closed() {
        *again = AsksAgain::if_asked(held.device(), attachment);
    }
    while unless_over(attachment, again, sleep(BREATH)).await.is_some() && held.is_connected() {
        match unless_over(attachment, again, new_line(held)).await? {
            Ok(stream) => return Some(stream),
            Err(error) => warn(attachment, &held.path().display().to_string(), &error),
        }
        unless_over(attachment, again, sleep(LOOK_EVERY)).await?;
    }
    None
}

fn warn(attachment: &Attachment, path: &str, error: &dyn std::error::Error) {
    tracing::warn!("{}: {path}: the kernel's connection ended: {error}", attachment.config().name);
}

/// Serves one connection. `again`: what was given back before it.
async fn turn(
    line: Line,
    attachment: &Rc<Attachment>,
    disk: &Rc<Disk>,
    again: &mut Option<AsksAgain>,
) -> Over {
    // Its own: where it goes along to another process, that one must know which of all it is.
    let closer = Closer::new();
    let mut serving = std::pin::pin!(line.serve(Rc::clone(disk), closer.clone()));
    let mut for_long = std::pin::pin!(held_for_long(attachment));
    let faces = attachment.face.closer();
    loop {
        let stage = faces.stage();
        match stage {
            Stage::Open => closer.go_on(),
            Stage::Quiet => closer.quiet(),
            Stage::Parting => {
                closer.part();
                // A connection that breaks just now is as good as none.
                let _ = serving.await;
                return Over::Closed(closer.parted().pop());
            }
            // [CONN-5] What was given back is not lost for having been taken before.
            Stage::Closed if again.is_some() => closer.go_on(),
            Stage::Closed => {
                closer.close();
                // What it has asked is answered.
                let _ = serving.await;
                return Over::Closed(None);
            }
        }
        tokio::select! {
            biased;
            () = faces.when(|now| now != stage) => {}
            over = serving.as_mut() => return over,
            () = for_long.as_mut() => return Over::GivenBack,
            () = asked_again(again) => {}
        }
    }
}

/// Ends when requests are held, and have been for some seconds.
async fn held_for_long(attachment: &Attachment) {
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut in_a_row = 0;
    while in_a_row < PATIENCE {
        looks.tick().await;
        in_a_row = if attachment.holds() { in_a_row + 1 } else { 0 };
    }
}

/// The kernel looks after each request that it has sent and not been answered, and says so in its log, once a second.
/// So whoever is held for long gives its requests back, by ending the connection, and gives the kernel a new one that is
/// full to the brim: what it sends there waits to be sent, which it says nothing about. What was held here already is
/// done twice then; changes that overlap are never done at the same time [SAFE-3], so nobody can tell. [CONN-5] An
/// attachment that is to end waits for the target as it does with what is held. `None`: it has ended meanwhile, or its consumers
/// go to another process.
async fn given_back(
    held: &Held,
    attachment: &Rc<Attachment>,
    again: &mut Option<AsksAgain>,
) -> Result<Option<Stream>, KernelNbdError> {
    let device = held.device();
    *again = again.take().or_else(|| AsksAgain::if_asked(device, attachment));
    let closer = attachment.face.closer();
    let over = |asked| is_over(attachment, closer.stage(), asked);
    let Some(full) = unless_over(attachment, again, FullLine::give(held)).await else {
        return Ok(None);
    };
    let full = full?;
    while attachment.holds() && !over(again.is_some()) {
        tokio::select! {
            () = closer.when(|stage| stage == Stage::Parting) => {}
            () = asked_again(again) => {}
            () = sleep(LOOK_AGAIN) => {}
        }
        // Once it is closed nobody waits for what comes later.
        if again.is_none() && !closer.is_closed() {
            *again = AsksAgain::if_asked(device, attachment);
        }
    }
    let asked = again.is_some();
    Ok(full.emptied(|| over(asked)).await.map_err(LineError::from)?)
}

/// As `lull detach`, where it was the only way to the disk.
fn disconnected(attachment: &Rc<Attachment>, path: &str) {
    let text = format!("{path} was disconnected by somebody else");
    if attachment.config().front_ends() > 1 {
        return attachment.tell("disconnected", format!("{text}: the other ways to it go on"));
    }
    attachment.tell("disconnected", format!("{text}: the attachment ends"));
    attachment.detach(false);
}

/// Where blocking hurts nobody.
async fn aside<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(act).await.map_err(io::Error::other)
}
