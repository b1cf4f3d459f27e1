//! An attachment as a mounted file. Where the kernel asks again for what a dead server left unanswered, the mount outlives
//! the daemon [INIT-1]: its end is kept with the log, and beside it, in a page of memory, what the next life has to know.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use lull_admin::Access;
use lull_frontend::fuse::{self, Channel, MountError, Owner, Record, ServeEnd};
use lull_frontend::nbd::Stage;
use lull_proto::geometry::Geometry;
use serde::{Deserialize, Serialize};

use crate::attachment::Attachment;
use crate::front_end::Disk;
use crate::note::Note;
use crate::succession::estate;
use crate::vault::{FUSE, MOUNT};

/// How long a file that is mounted already may take to say whose it is.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the next life has to know of a mount.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Mount {
    /// Where it is.
    pub path: PathBuf,
    /// The file was made for it.
    pub ours: bool,
    /// What the kernel calls it.
    pub device: String,
    /// What was agreed on with the kernel, and who uses it.
    pub record: Record,
    /// What its users were told.
    pub promised: estate::Geometry,
}

/// A mount that an earlier life left.
#[derive(Debug)]
pub struct Found {
    /// What is to be known of it.
    pub mount: Mount,
    /// Its end.
    pub fd: OwnedFd,
    /// Where that life has noted it, which is kept for the next one, as the end is; `None`: neither was found there.
    pub note: Option<Note>,
}

impl Found {
    /// What was kept of it, if it is there still.
    pub fn of(fd: OwnedFd, note: OwnedFd) -> Option<Self> {
        let note = Note::of(note);
        let mount: Mount = note.read()?;
        let there = fuse::mount::device_at(&mount.path).is_some_and(|found| found == mount.device);
        there.then_some(Self { mount, fd, note: Some(note) })
    }

    /// Whether this is where the file is to be, and this release knows what its users were told.
    pub fn is_at(&self, wanted: Option<&Path>) -> bool {
        let wanted = wanted.and_then(|path| std::path::absolute(path).ok());
        wanted.as_ref() == Some(&self.mount.path) && self.mount.promised.known().is_some()
    }

    /// Nobody serves it any more.
    pub fn give_up(self) {
        drop(self.fd);
        // Its users are told that it is gone.
        let _ = fuse::Mount::of_earlier(self.mount.path, self.mount.ours).remove();
    }
}

/// A file that is in its place and not served yet.
#[derive(Debug)]
pub struct Mounted {
    mount: fuse::Mount,
    channel: Rc<Channel>,
    device: String,
    /// As [`Found::note`].
    kept: Option<Note>,
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
    /// Another's.
    #[error(
        "{path} is mounted, and its server does not answer: end that one, or unmount the file",
        path = .0.display()
    )]
    Silent(PathBuf),
}

impl Mounted {
    /// Mounts the file.
    ///
    /// # Errors
    /// What stands in the way.
    pub async fn new(path: &Path, source: String) -> Result<Self, MountedError> {
        let place = path.to_owned();
        let mounting = aside(move || fuse::Mount::new(&place, &source));
        let mounted = tokio::time::timeout(PATIENCE, mounting).await;
        let (mount, fd) = mounted.map_err(|_| MountedError::Silent(path.to_owned()))???;
        let owner = Owner {
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            mode: 0o600,
        };
        let device = fuse::mount::device_at(mount.path()).unwrap_or_default();
        match Channel::new(fd, owner) {
            Ok(channel) => Ok(Self { mount, channel: Rc::new(channel), device, kept: None }),
            Err(error) => {
                // Its end is closed, so that nobody can have it open.
                let _ = mount.remove();
                Err(error.into())
            }
        }
    }

    /// Goes on with one that an earlier life left.
    ///
    /// # Errors
    /// The system refuses.
    pub fn take_over(found: Found) -> Result<Self, MountedError> {
        let Found { mount: Mount { path, ours, device, record, .. }, fd, note: kept } = found;
        let channel = Rc::new(Channel::take_over(fd, record)?);
        Ok(Self { mount: fuse::Mount::of_earlier(path, ours), channel, device, kept })
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

    /// What the next life has to know of it.
    fn note(&self, promised: Geometry) -> Mount {
        Mount {
            path: self.mount.path().to_owned(),
            ours: self.mount.is_ours(),
            device: self.device.clone(),
            record: self.channel.record(),
            promised: promised.into(),
        }
    }

    /// From the kernel's first word on the next life finds it, where that one could go on with it.
    fn keep(&mut self, attachment: &Rc<Attachment>, promised: Geometry) {
        // [SAFE-11] What others may have overwritten since must not be asked again.
        if attachment.config().access == Access::RwShared {
            return;
        }
        let mount = self.note(promised);
        let (attachment, channel) = (Rc::downgrade(attachment), Rc::downgrade(&self.channel));
        // Where that is kept already, nobody is started to keep it while its users wait.
        let kept = std::cell::Cell::new(self.kept.is_some());
        let note = self.kept.take().map_or_else(Note::new, Ok);
        self.channel.watch(move |record| {
            let (Some(attachment), Some(channel)) = (attachment.upgrade(), channel.upgrade()) else {
                return;
            };
            if record.most == 0 {
                return;
            }
            let first = !kept.replace(true);
            if !record.resends {
                if first {
                    let text = "this kernel is older than Linux 6.9: if this process is killed the mounted file ends \
                                with it, and its users get errors";
                    attachment.tell("mount_not_kept", text.to_owned());
                }
                return;
            }
            let noted = note.as_ref().map_err(|error| error.to_string()).and_then(|note| {
                note.write(&Mount { record: *record, ..mount.clone() })
                    .map_err(|error| error.to_string())?;
                let fds = (channel.to_owned_fd(), note.to_owned_fd());
                let (Ok(fuse), Ok(note)) = fds else { return Err("no descriptor".to_owned()) };
                Ok(vec![(FUSE.to_owned(), fuse), (MOUNT.to_owned(), note)])
            });
            match (noted, first) {
                (Ok(fds), true) => {
                    if let Some(guard) = &*attachment.guard.borrow() {
                        guard.keep(fds);
                    }
                }
                (Ok(_), false) => {}
                (Err(why), _) => {
                    let text = format!("the mounted file ends if this process is killed: {why}");
                    attachment.tell("mount_not_kept", text);
                }
            }
        });
    }

    /// Serves it until the face closes, somebody unmounts it, or another process takes it over; then takes it away, or
    /// leaves it with the face.
    pub async fn serve(mut self, attachment: &Rc<Attachment>, geometry: Geometry) {
        self.keep(attachment, geometry);
        let disk = Rc::new(Disk::new(attachment, geometry));
        let closer = attachment.face.closer().clone();
        let ended = fuse::serve(Rc::clone(&self.channel), disk, closer).await;
        if attachment.face.closer().stage() == Stage::Parting {
            attachment.face.leave_mount(self.note(geometry));
            return;
        }
        // The file is taken away before its channel is closed: nobody who comes meanwhile sees one without a disk.
        let Self { mount, channel, .. } = self;
        let path = mount.path().display().to_string();
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
            Err(ServeEnd::Unmounted) if attachment.config().front_ends() == 1 => {
                attachment.tell("unmounted", format!("{path} was unmounted: the attachment ends"));
                attachment.detach(false);
            }
            Err(ServeEnd::Unmounted) => {
                attachment
                    .tell("unmounted", format!("{path} was unmounted: the other ways to it go on"));
            }
            Err(error) => attachment.fail(format!("{path}: {error}")),
        }
    }
}

/// Where blocking hurts nobody.
async fn aside<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(act).await.map_err(io::Error::other)
}
