//! Who keeps the log's memory over the end of this daemon [SAFE-10]: the service manager, or a small process of our own
//! that holds a descriptor and does nothing. Neither ever looks at it, and no request passes them.

mod guard;
mod process;
mod program;

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::thread::{self, ScopedJoinHandle};

use lull_transport::handover;
use lull_wire::AttachmentId;
use sd_notify::NotifyState;

use crate::config::Keeping;

pub use guard::{Guard, not_kept};
pub use process::keep_log;

/// What was passed to this process, by the names that were given to it.
#[derive(Debug, Default)]
pub struct Passed {
    /// A service manager has it, too.
    pub stored: HashMap<String, OwnedFd>,
    /// By the process before, which nobody may have it from but this one.
    pub handed_over: HashMap<String, OwnedFd>,
    /// By the keepers of attachments that were asked, or why one does not give it.
    pub given: HashMap<AttachmentId, io::Result<Option<Given>>>,
}

/// A keeper, and what it keeps.
pub type Given = (program::Keeper, Kept);

impl Passed {
    /// What a service manager kept for this process.
    pub fn by_service_manager() -> Self {
        let all = handover::from_service_manager().into_iter();
        let stored = all.filter_map(|(name, file)| match file {
            Ok(file) => Some((name, file)),
            Err(error) => {
                tracing::warn!("what the service manager kept as {name} cannot be used: {error}");
                None
            }
        });
        Self { stored: stored.collect(), ..Self::default() }
    }

    /// The same with what keepers have for these attachments, of which the states are in `dir`.
    pub fn and_by_keepers(mut self, dir: &Path, all: &[(&str, AttachmentId)]) -> Self {
        let asked = side_by_side(all, |(name, _)| program::find(dir, name));
        self.given.extend(all.iter().map(|(_, id)| *id).zip(asked));
        self
    }

    fn has(&self, label: &str) -> bool {
        self.stored.contains_key(label) || self.handed_over.contains_key(label)
    }
}

/// What is kept, by name: the log's memory.
pub const LOG: &str = "log";
/// A mounted file's end.
pub const FUSE: &str = "fuse";
/// What is to be known of the mounted file.
pub const MOUNT: &str = "mount";
/// What is to be known of all who wait.
pub const AWAITED: &str = "awaited";

const ALL: [&str; 4] = [LOG, FUSE, MOUNT, AWAITED];

/// Descriptors under their names.
pub type Kept = Vec<(String, OwnedFd)>;

/// Does something for each at the same time. One keeper that hangs takes its whole time, and many are to take no longer than that:
/// whoever waits for a process that begins has a limit, too.
pub fn side_by_side<T: Send, R: Send>(
    all: impl IntoIterator<Item = T>,
    act: impl Fn(T) -> io::Result<R> + Sync,
) -> Vec<io::Result<R>> {
    let act = &act;
    thread::scope(|scope| {
        let begin = |one| thread::Builder::new().spawn_scoped(scope, move || act(one));
        let begun: Vec<_> = all.into_iter().map(begin).collect();
        let ended =
            |one: ScopedJoinHandle<'_, _>| one.join().unwrap_or_else(|panic| resume_unwind(panic));
        begun.into_iter().map(|one| one.and_then(ended)).collect()
    })
}

/// Which process the next life finds.
#[derive(Debug, Default)]
enum Place {
    #[default]
    Empty,
    /// It has what is kept.
    Good(program::Keeper),
    /// It has something else, or nothing any more: it is not waited for. It keeps its place until another one takes it, or
    /// nothing is to be found there.
    Old(program::Keeper),
}

impl Place {
    fn age(&mut self) {
        *self = match std::mem::take(self) {
            Self::Good(keeper) | Self::Old(keeper) => Self::Old(keeper),
            Self::Empty => Self::Empty,
        };
    }

    /// The next life finds this one; the one before, if any, has nothing to keep any more.
    fn give(&mut self, next: Option<program::Keeper>) {
        match std::mem::replace(self, next.map_or(Self::Empty, Self::Good)) {
            Self::Good(before) | Self::Old(before) => before.end(),
            Self::Empty => {}
        }
    }
}

/// Where what one attachment leaves is to be found by the next life.
#[derive(Debug)]
pub struct Vault {
    keeping: Keeping,
    dir: PathBuf,
    attachment: String,
    id: AttachmentId,
    place: Place,
    /// What is kept.
    kept: Kept,
}

impl Vault {
    /// Of attachment `name`, whose state is in `dir`.
    pub fn new(keeping: &Keeping, dir: &Path, name: &str, id: AttachmentId) -> Self {
        Self {
            keeping: keeping.clone(),
            dir: dir.to_owned(),
            attachment: name.to_owned(),
            id,
            place: Place::default(),
            kept: Kept::new(),
        }
    }

    /// What the life before had kept, if it is still there.
    ///
    /// # Errors
    /// There is a keeper, and it does not give it.
    pub fn find(&mut self, passed: &mut Passed) -> io::Result<HashMap<String, OwnedFd>> {
        let mut found = HashMap::new();
        let given = passed.given.remove(&self.id).unwrap_or(Ok(None));
        let in_hand = |name| passed.has(&label(self.id, name));
        let given = match given {
            // Who has it in his hands does not need one who does not give it: another one will keep it.
            Err(error) if in_hand(LOG) || in_hand(FUSE) => {
                tracing::warn!("{}: {error}; another one is started", self.attachment);
                None
            }
            given => given?,
        };
        if let Some((keeper, kept)) = given {
            self.place = Place::Good(keeper);
            for (name, fd) in &kept {
                found.insert(name.clone(), fd.try_clone()?);
            }
            self.kept = kept;
        }
        for name in ALL {
            let label = label(self.id, name);
            let stored = passed.stored.remove(&label);
            if let Some(fd) = passed.handed_over.remove(&label) {
                // [SAFE-10] Whoever kept it for the process before may be somebody else, or have one that is older and that process
                // could not be rid of: it is given to be kept like what is new.
                self.kept.retain(|(kept, had)| kept != name || is_same(had, &fd));
                found.insert(name.to_owned(), fd);
            } else if let Some(fd) = stored {
                if let Keeping::ServiceManager = &self.keeping {
                    self.kept.push((name.to_owned(), fd.try_clone()?));
                }
                found.entry(name.to_owned()).or_insert(fd);
            }
        }
        Ok(found)
    }

    /// From here on the next life finds these.
    ///
    /// # Errors
    /// Nobody keeps them.
    pub fn keep(&mut self, fds: &[(&str, BorrowedFd<'_>)]) -> io::Result<()> {
        let is_new = |(name, _): &&(&str, _)| self.kept.iter().all(|(kept, _)| kept != name);
        let new = fds.iter().filter(is_new);
        let new = new.map(|(name, fd)| Ok(((*name).to_owned(), fd.try_clone_to_owned()?)));
        let new = new.collect::<io::Result<Kept>>()?;
        // One who could not be replaced has too little of what is to be kept, though all of it was given to be kept before, or
        // something that the next life is not to find any more.
        let lacks = matches!((&self.keeping, &self.place), (Keeping::Process(_), Place::Old(_)));
        if new.is_empty() && !lacks {
            return Ok(());
        }
        let from = self.kept.len();
        self.kept.extend(new);
        self.settle(from)
    }

    /// These are to be found too, in place of what was under the same names; [`Vault::settle`] sees to it.
    fn take_in(&mut self, new: Kept) {
        // A service manager would have both, and give either.
        let names: Vec<&str> = new.iter().map(|(name, _)| &**name).collect();
        self.remove(&names);
        self.kept.retain(|(name, _)| new.iter().all(|(new, _)| new != name));
        self.kept.extend(new);
    }

    /// The next life finds these no more.
    ///
    /// # Errors
    /// Nobody keeps the others.
    pub fn drop_some(&mut self, names: &[&str]) -> io::Result<()> {
        let before = self.kept.len();
        self.remove(names);
        self.kept.retain(|(name, _)| !names.contains(&name.as_str()));
        let after = self.kept.len();
        if before == after { Ok(()) } else { self.settle(after) }
    }

    /// The next life finds nothing any more. It may take the time that a keeper has to end.
    pub fn forget(&mut self) {
        self.remove(&ALL);
        self.kept.clear();
        self.place.give(None);
    }

    /// The service manager has no use for these any more; a process is told with what it is to have.
    fn remove(&self, names: &[&str]) {
        if let Keeping::ServiceManager = &self.keeping {
            for name in names {
                let label = label(self.id, name);
                let said = NotifyState::FdName(&label);
                if let Err(error) = sd_notify::notify(&[NotifyState::FdStoreRemove, said]) {
                    tracing::warn!(
                        "the service manager was not told that {label} is over: {error}"
                    );
                }
            }
        }
    }

    /// What is kept is to be found, and nothing else; a service manager does not have yet what is behind `from` of it.
    ///
    /// # Errors
    /// Nobody keeps it.
    fn settle(&mut self, from: usize) -> io::Result<()> {
        match &self.keeping {
            Keeping::Nowhere => Ok(()),
            Keeping::ServiceManager => store(self.id, &self.kept[from..]),
            Keeping::Process(starter) => {
                // [SAFE-10] Where no other one can be started it is no reason not to try again, and is told to forget all the
                // same when the attachment is over.
                self.place.age();
                let next = (!self.kept.is_empty())
                    .then(|| program::start(starter, &self.dir, &self.attachment, &self.kept))
                    .transpose()?;
                self.place.give(next);
                Ok(())
            }
        }
    }
}

/// What the service manager knows something by that an attachment leaves; what a predecessor calls it, too.
pub fn label(id: AttachmentId, name: &str) -> String {
    format!("lull-{name}-{id}")
}

/// Whether something is called so.
pub fn is_label(name: &str) -> bool {
    name.starts_with("lull-")
}

/// Whether both are the same file; one end of a mounted file is like another.
fn is_same(one: &OwnedFd, other: &OwnedFd) -> bool {
    let file = |fd| rustix::fs::fstat(fd).map(|stat| (stat.st_dev, stat.st_ino));
    matches!((file(one), file(other)), (Ok(one), Ok(other)) if one == other)
}

/// What it has already under a name stays with it, beside the same once more.
fn store(id: AttachmentId, fds: &[(String, OwnedFd)]) -> io::Result<()> {
    for (name, fd) in fds {
        let label = label(id, name);
        let name = NotifyState::FdName(&label);
        sd_notify::notify_with_fds(&[NotifyState::FdStore, name], &[fd.as_fd()])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chronicle::Chronicle;
    use crate::clock::Clock;
    use crate::config::Starter;
    use rustix::net::{AddressFamily, SocketFlags, SocketType};
    use std::rc::Rc;
    use tokio::task::LocalSet;

    /// [INIT-1] Who goes on with a mounted file whose disk keeps no log has its end from the process before.
    #[test]
    fn a_keeper_that_gives_nothing_keeps_nobody_from_what_was_handed_over() {
        let dir = tempfile::tempdir().unwrap();
        let folder = program::open_dir(dir.path()).unwrap();
        let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
        let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None).unwrap();
        let address = program::address(&folder, &program::socket_name("db1")).unwrap();
        rustix::net::bind(&socket, &address).unwrap();
        rustix::net::listen(&socket, 1).unwrap();
        // What it says is nothing that a keeper says.
        let keeper = std::thread::spawn(move || {
            let line = rustix::net::accept(&socket).unwrap();
            rustix::io::write(&line, b"?").unwrap();
            rustix::io::read(&line, &mut [0; 16]).unwrap();
        });
        let (id, starter) = (AttachmentId([7; 16]), Starter::Daemon(dir.path().join("lull")));
        let mut vault = Vault::new(&Keeping::Process(starter), dir.path(), "db1", id);
        let fuse = tempfile::tempfile().unwrap().into();
        let handed_over = HashMap::from([(label(id, FUSE), fuse)]);
        let passed = Passed { handed_over, ..Passed::default() };
        let found = vault.find(&mut passed.and_by_keepers(dir.path(), &[("db1", id)])).unwrap();
        assert!(found.contains_key(FUSE));
        keeper.join().unwrap();
    }

    /// [INIT-1] Nobody takes a daemon's place between a mounted file's first user and the keeper of its end, and whoever waits for
    /// that is told when it is over.
    #[tokio::test]
    async fn a_guard_is_busy_from_the_wish_to_the_keepers_word() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("starter");
        let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
        let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None).unwrap();
        rustix::net::bind(&socket, &rustix::net::SocketAddrUnix::new(&path).unwrap()).unwrap();
        rustix::net::listen(&socket, 1).unwrap();
        let (asked, hears) = tokio::sync::oneshot::channel();
        let (answer, may_answer) = std::sync::mpsc::channel::<()>();
        let keeper = std::thread::spawn(move || {
            let line = rustix::net::accept(&socket).unwrap();
            let given = handover::recv_fds(&line).unwrap();
            asked.send(given.fds.into_iter().map(|(name, _)| name).collect::<Vec<_>>()).unwrap();
            may_answer.recv().unwrap();
            handover::send_fds(&line, &[], program::KEPT).unwrap();
            line
        });
        let chronicle = Chronicle::new(Clock::start(), "web-1", "one");
        let keeping = Keeping::Process(Starter::ServiceManager(path));
        let vault = Vault::new(&keeping, dir.path(), "db1", AttachmentId([7; 16]));
        let kept = async {
            let guard = Guard::over(vault, Rc::new(chronicle), None);
            assert!(!guard.is_busy());
            guard.keep(vec![(FUSE.to_owned(), tempfile::tempfile().unwrap().into())]);
            assert!(guard.is_busy(), "it is to be kept");
            assert_eq!(hears.await.unwrap(), [FUSE, program::SOCKET]);
            assert!(guard.is_busy(), "nobody has said that it is kept");
            answer.send(()).unwrap();
            guard.idle().await;
            assert!(!guard.is_busy() && guard.fault().is_none());
            guard.finish(true).await;
        };
        LocalSet::new().run_until(kept).await;
        keeper.join().unwrap();
    }

    /// [SAFE-10] The process before had it kept by a process of ours, whose place is gone: a service manager has to be given it.
    #[test]
    fn what_is_handed_over_is_not_in_a_service_managers_keeping_yet() {
        let (id, dir) = (AttachmentId([7; 16]), tempfile::tempdir().unwrap());
        let log = || HashMap::from([(label(id, LOG), tempfile::tempfile().unwrap().into())]);
        let lacks = |mut passed: Passed| {
            let mut vault = Vault::new(&Keeping::ServiceManager, dir.path(), "db1", id);
            assert!(vault.find(&mut passed).unwrap().contains_key(LOG));
            vault.kept.is_empty()
        };
        assert!(lacks(Passed { handed_over: log(), ..Passed::default() }));
        assert!(!lacks(Passed { stored: log(), ..Passed::default() }));
    }

    /// [SAFE-10] A keeper that could not be replaced has an older log than the process that hands its own over.
    #[test]
    fn what_is_handed_over_is_newer_than_what_a_keeper_has() {
        let (id, dir) = (AttachmentId([7; 16]), tempfile::tempdir().unwrap());
        let folder = program::open_dir(dir.path()).unwrap();
        let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
        let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None).unwrap();
        let address = program::address(&folder, &program::socket_name("db1")).unwrap();
        rustix::net::bind(&socket, &address).unwrap();
        rustix::net::listen(&socket, 1).unwrap();
        let [older, newer] = [1, 2].map(|_| OwnedFd::from(tempfile::tempfile().unwrap()));
        let had = older.try_clone().unwrap();
        let keeper = std::thread::spawn(move || {
            for _ in 0..2 {
                let line = rustix::net::accept(&socket).unwrap();
                let _ = handover::recv_fds(&line);
                handover::send_fds(&line, &[(LOG.to_owned(), had.as_fd())], program::KEPT).unwrap();
            }
        });
        for (fd, is_kept) in [(&older, true), (&newer, false)] {
            let starter = Starter::Daemon(dir.path().join("lull"));
            let mut vault = Vault::new(&Keeping::Process(starter), dir.path(), "db1", id);
            let handed_over = HashMap::from([(label(id, LOG), fd.try_clone().unwrap())]);
            let passed = Passed { handed_over, ..Passed::default() };
            let found = vault.find(&mut passed.and_by_keepers(dir.path(), &[("db1", id)])).unwrap();
            assert!(is_same(&found[LOG], fd), "what the process before has written");
            assert_eq!(!vault.kept.is_empty(), is_kept, "the other one is to be kept anew");
        }
        keeper.join().unwrap();
    }

    /// A vault whose keeper was found, and where no other one can be started; the keeper's end.
    fn without_another(dir: &Path) -> (Vault, OwnedFd) {
        let starter = Starter::Daemon(dir.join("not there"));
        let mut vault = Vault::new(&Keeping::Process(starter), dir, "db1", AttachmentId([7; 16]));
        let (line, theirs) = handover::socketpair().unwrap();
        vault.place = Place::Good(program::Keeper::of_others(line));
        (vault, theirs)
    }

    fn is_told_to_forget(keeper: &OwnedFd) -> bool {
        handover::recv_fds(keeper).is_ok_and(|told| told.message == program::FORGET)
    }

    /// [SAFE-10] Where a second keeper cannot be started, the one that was found is no reason not to try again.
    #[test]
    fn a_keeper_that_has_not_all_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let (mut vault, _theirs) = without_another(dir.path());
        let file = tempfile::tempfile().unwrap();
        assert!(vault.keep(&[(LOG, file.as_fd())]).is_err());
        assert!(matches!(vault.place, Place::Old(_)), "its guard would wait for its end");
    }

    /// [SAFE-10] What it has is old once the attachment is over: another one of that name would find it.
    #[test]
    fn a_keeper_that_has_not_all_is_told_to_forget_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = || OwnedFd::from(tempfile::tempfile().unwrap());
        let (mut vault, theirs) = without_another(dir.path());
        assert!(vault.keep(&[(LOG, file().as_fd())]).is_err());
        vault.forget();
        assert!(is_told_to_forget(&theirs), "where something came to it");

        let (mut vault, theirs) = without_another(dir.path());
        vault.kept = vec![(LOG.to_owned(), file()), (FUSE.to_owned(), file())];
        assert!(vault.drop_some(&[LOG]).is_err());
        vault.forget();
        assert!(is_told_to_forget(&theirs), "where something was to go");
    }

    /// [SAFE-10] Nobody watches over one that could not be rid of something: it is tried again, and people are told.
    #[test]
    fn a_keeper_that_has_too_much_is_replaced_before_all_is_said_to_be_kept() {
        let dir = tempfile::tempdir().unwrap();
        let file = || OwnedFd::from(tempfile::tempfile().unwrap());
        let (mut vault, _theirs) = without_another(dir.path());
        let log = file();
        vault.kept = vec![(LOG.to_owned(), log.try_clone().unwrap()), (FUSE.to_owned(), file())];
        assert!(vault.keep(&[(LOG, log.as_fd())]).is_ok(), "it has it");
        assert!(vault.drop_some(&[FUSE]).is_err());
        assert!(vault.keep(&[(LOG, log.as_fd())]).is_err(), "nobody else could be had");
    }

    /// [SAFE-10] The same of one that is to have more in the middle of a life.
    #[tokio::test]
    async fn a_keeper_that_cannot_be_replaced_forgets_with_its_attachment() {
        let dir = tempfile::tempdir().unwrap();
        let (vault, theirs) = without_another(dir.path());
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let chronicle = Chronicle::new(Clock::start(), "web1", "1").told_by(move |event| {
            tell.send(event.what).unwrap();
        });
        let watching = async {
            let guard = Guard::over(vault, Rc::new(chronicle), None);
            guard.keep(vec![(FUSE.to_owned(), tempfile::tempfile().unwrap().into())]);
            assert_eq!(told.recv().await.unwrap(), "log_not_kept");
            guard.finish(false).await;
        };
        LocalSet::new().run_until(watching).await;
        assert!(is_told_to_forget(&theirs));
    }
}
