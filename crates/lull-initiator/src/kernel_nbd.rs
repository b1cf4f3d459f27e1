//! An attachment as a device of the kernel's NBD client.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use lull_frontend::device::Device as _;
use lull_frontend::nbd::kernel::{Found, Held, NbdDevice, NbdDeviceError};
use lull_frontend::nbd::{self, Closer, Limits, ServeEnd, Stage};
use lull_proto::geometry::Geometry;
use lull_transport::Stream;
use rustix::net::SendFlags;
use tokio::io::AsyncReadExt as _;
use tokio::time::MissedTickBehavior;

use crate::attachment::Attachment;
use crate::front_end::Disk;

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
    held: Held,
    found: Found,
    stream: Stream,
}

/// Why there is no device.
#[derive(Debug, thiserror::Error)]
pub enum KernelNbdError {
    /// The device.
    #[error(transparent)]
    Device(#[from] NbdDeviceError),
    /// The system.
    #[error("no pair of sockets for the kernel's NBD: {0}")]
    Sockets(#[from] io::Error),
}

/// How the service of one connection ended.
enum Over {
    /// The attachment ends.
    Closed,
    /// The kernel does not use it any more.
    Left(Result<(), ServeEnd>),
    /// The target is away for long: the kernel is to have its requests back.
    GivenBack,
}

impl KernelNbd {
    /// Connects the device, or takes over what an earlier life of this attachment has left.
    ///
    /// # Errors
    /// What stands in the way.
    pub async fn new(
        path: &Path,
        attachment: &Rc<Attachment>,
        geometry: Geometry,
    ) -> Result<Self, KernelNbdError> {
        let device = NbdDevice::new(path)?;
        // The next life of this attachment has the same, and no other attachment has it.
        let made = &attachment.made;
        let name = format!("lull {}/{} {}", made.node, made.config.name, made.kept.attachment);
        let geometry = Disk::new(attachment, geometry).geometry();
        let (ours, theirs) = UnixStream::pair()?;
        let opened = aside(move || Held::open(device, name, &geometry, &theirs)).await??;
        let (held, found) = opened;
        Ok(Self { held, found, stream: served(ours)? })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.held.path()
    }

    /// How it was found, for people; nothing where there is nothing to tell.
    pub fn found(&self) -> Option<String> {
        let waited = self.found == Found::Waiting;
        waited.then(|| {
            format!(
                "{} has waited for this process: what its users ask is served on",
                self.path().display()
            )
        })
    }

    /// Takes it away unserved.
    pub async fn drop_unused(self) {
        let Self { held, stream, .. } = self;
        drop(stream);
        let _ = aside(move || drop(held)).await;
    }

    /// Serves it until the attachment ends or somebody disconnects it; then lets it go.
    pub async fn serve(self, attachment: &Rc<Attachment>, geometry: Geometry) {
        let Self { held, mut stream, .. } = self;
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
        loop {
            match turn(stream, attachment, &disk).await {
                Over::Closed => break,
                Over::GivenBack => {
                    tokio::time::sleep(BREATH).await;
                    match given_back(&held, attachment).await {
                        Ok(next) => {
                            stream = next;
                            continue;
                        }
                        Err(error) => warn(attachment, &path, &error),
                    }
                }
                Over::Left(Err(error)) => warn(attachment, &path, &error),
                Over::Left(Ok(())) => {}
            }
            match another(&held, attachment).await {
                Some(next) => stream = next,
                None => break,
            }
        }
        let stage = attachment.face.closer().stage();
        if stage == Stage::Parting {
            // [INIT-1] As if this process had been killed: the kernel asks the next one again.
            return held.leave();
        }
        // Requests that come meanwhile wait in the kernel, and fail with this.
        let _ = aside(move || drop(held)).await;
        if stage != Stage::Closed {
            disconnected(attachment, &path);
        }
    }
}

/// Ends when the face is closed, or its consumers go to another process.
async fn ending(attachment: &Attachment) {
    attachment.face.closer().when(ends).await;
}

fn ends(stage: Stage) -> bool {
    matches!(stage, Stage::Closed | Stage::Parting)
}

/// Another connection instead of one that the kernel has ended; `None` where the device or the attachment has ended.
async fn another(held: &Held, attachment: &Attachment) -> Option<Stream> {
    loop {
        tokio::select! {
            biased;
            () = ending(attachment) => return None,
            () = tokio::time::sleep(BREATH) => {}
        }
        if !held.is_connected() {
            return None;
        }
        match replaced(held, false).await {
            Ok((stream, _)) => return Some(stream),
            Err(error) => warn(attachment, &held.path().display().to_string(), &error),
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn warn(attachment: &Attachment, path: &str, error: &dyn std::error::Error) {
    tracing::warn!("{}: {path}: the kernel's connection ended: {error}", attachment.config().name);
}

/// Serves one connection.
async fn turn(stream: Stream, attachment: &Rc<Attachment>, disk: &Rc<Disk>) -> Over {
    // Its own: the kernel is not one of those whose connections are taken out of this process.
    let closer = Closer::new();
    let limits = Limits { linger: LINGER, ..Limits::default() };
    let serving = nbd::transmit(stream, Rc::clone(disk), limits, closer.clone());
    let mut serving = std::pin::pin!(serving);
    let face = attachment.face.closer().clone();
    tokio::select! {
        biased;
        () = ending(attachment) => {
            if attachment.face.closer().is_closed() {
                closer.close();
                // What it has asked is answered.
                let _ = serving.await;
            }
            Over::Closed
        }
        // [INIT-1] Nothing more is taken of the kernel either while what is in flight is waited for.
        () = closer.rest_with(&face) => Over::Closed,
        ended = serving.as_mut() => Over::Left(ended),
        () = held_for_long(attachment) => Over::GivenBack,
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
/// done twice then; changes that overlap are never done at the same time [SAFE-3], so nobody can tell.
async fn given_back(held: &Held, attachment: &Attachment) -> Result<Stream, KernelNbdError> {
    let (mut stream, full) = replaced(held, true).await?;
    let closer = attachment.face.closer();
    while attachment.holds() {
        tokio::select! {
            () = ending(attachment) => break,
            () = tokio::time::sleep(LOOK_AGAIN) => {}
        }
    }
    let mut left = full;
    let mut nothing = vec![0; 16 << 10];
    while left > 0 && !ends(closer.stage()) {
        let most = left.min(nothing.len());
        let Stream::Unix(socket) = &mut stream else { break };
        match socket.read(&mut nothing[..most]).await? {
            // Whoever serves it sees the end too.
            0 => break,
            read => left -= read,
        }
    }
    Ok(stream)
}

/// Gives the kernel another connection; with `full` one that nothing can be sent over before so many bytes of
/// nothing were received.
async fn replaced(held: &Held, full: bool) -> Result<(Stream, usize), KernelNbdError> {
    let (ours, theirs) = UnixStream::pair()?;
    let sent = if full { fill(&theirs)? } else { 0 };
    let device = held.device().clone();
    let name = held.name().to_owned();
    aside(move || device.reconnect(&name, &theirs)).await??;
    Ok((served(ours)?, sent))
}

/// Sends until nothing more can be sent; how many bytes those were.
fn fill(socket: &UnixStream) -> io::Result<usize> {
    let nothing = [0; 4096];
    let mut sent = 0;
    loop {
        match rustix::net::send(socket, &nothing, SendFlags::DONTWAIT) {
            Ok(length) => sent += length,
            Err(rustix::io::Errno::AGAIN) => return Ok(sent),
            Err(error) => return Err(error.into()),
        }
    }
}

fn served(socket: UnixStream) -> io::Result<Stream> {
    socket.set_nonblocking(true)?;
    Ok(Stream::Unix(tokio::net::UnixStream::from_std(socket)?))
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
