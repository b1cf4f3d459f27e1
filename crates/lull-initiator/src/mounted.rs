//! An attachment as a mounted file.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::rc::Rc;

use lull_frontend::fuse::{self, Channel, Mount, MountError, Owner, ServeEnd};
use lull_proto::geometry::Geometry;

use crate::attachment::Attachment;
use crate::front_end::Disk;

/// A file that is in its place and not served yet.
#[derive(Debug)]
pub struct Mounted {
    mount: Mount,
    channel: Rc<Channel>,
}

/// Why there is no file.
#[derive(Debug, thiserror::Error)]
pub enum MountedError {
    /// The place.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// The system.
    #[error("/dev/fuse cannot be watched: {0}")]
    Watch(#[from] io::Error),
}

impl Mounted {
    /// Mounts the file.
    ///
    /// # Errors
    /// What stands in the way.
    pub async fn new(path: &Path, source: String) -> Result<Self, MountedError> {
        let path = path.to_owned();
        let (mount, fd) = aside(move || Mount::new(&path, &source)).await??;
        Self::over(mount, fd)
    }

    fn over(mount: Mount, fd: OwnedFd) -> Result<Self, MountedError> {
        match Channel::new(fd) {
            Ok(channel) => Ok(Self { mount, channel: Rc::new(channel) }),
            Err(error) => {
                // Its end is closed, so that nobody can have it open.
                let _ = mount.remove();
                Err(error.into())
            }
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.mount.path()
    }

    /// The kernel's end of it.
    pub fn channel(&self) -> Rc<Channel> {
        Rc::clone(&self.channel)
    }

    /// Takes it away unserved.
    pub async fn drop_unused(self) {
        let _ = aside(|| self.mount.remove()).await;
    }

    /// Serves it until the face closes or somebody unmounts it; then takes it away.
    pub async fn serve(self, attachment: &Rc<Attachment>, geometry: Geometry) {
        // The file is taken away before its channel is closed: nobody who comes meanwhile sees one without a disk.
        let Self { mount, channel } = self;
        let path = mount.path().display().to_string();
        let disk = Rc::new(Disk::new(attachment, geometry));
        let owner = Owner {
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            mode: 0o600,
        };
        let closer = attachment.face.closer().clone();
        let ended = fuse::serve(Rc::clone(&channel), disk, owner, closer).await;
        let removed = aside(|| mount.remove()).await;
        drop(channel);
        match removed {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => {
                let text =
                    format!("{path} was in use when the attachment ended: its users get errors");
                attachment.tell("cut_off", text);
            }
            Ok(Err(error)) | Err(error) => {
                attachment.tell("unmount_failed", format!("{path} cannot be unmounted: {error}"));
            }
        }
        match ended {
            Ok(()) => {}
            // As `lull detach`: a disk without any way to it is no use.
            Err(ServeEnd::Unmounted) if attachment.config().nbd.is_empty() => {
                attachment.tell("unmounted", format!("{path} was unmounted: the attachment ends"));
                attachment.detach(false);
            }
            Err(ServeEnd::Unmounted) => {
                attachment.tell("unmounted", format!("{path} was unmounted: NBD goes on"));
            }
            Err(error) => attachment.fail(format!("{path}: {error}")),
        }
    }
}

/// Where blocking hurts nobody.
async fn aside<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(act).await.map_err(io::Error::other)
}
