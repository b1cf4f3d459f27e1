//! Who keeps the log's memory over the end of this daemon [SAFE-10]: the service manager, or a small process of our own
//! that holds a descriptor and does nothing. Neither ever looks at it, and no request passes them.

mod process;
mod program;

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use lull_admin::Fault;
use lull_transport::handover::{self, Channel};
use lull_wire::AttachmentId;
use sd_notify::NotifyState;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::chronicle::Chronicle;
use crate::config::Keeping;

pub use process::keep_log;

/// After a keeper could not be started it is tried again so much later.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// Descriptors that a service manager kept for this process, by the names that were given to them.
pub fn passed() -> HashMap<String, OwnedFd> {
    let all = handover::from_service_manager().into_iter();
    let taken = all.filter_map(|(name, file)| match file {
        Ok(file) => Some((name, file)),
        Err(error) => {
            tracing::warn!("what the service manager kept as {name} cannot be used: {error}");
            None
        }
    });
    taken.collect()
}

/// What is kept, by name: the log's memory.
pub const LOG: &str = "log";
/// A mounted file's end.
pub const FUSE: &str = "fuse";
/// What is to be known of the mounted file.
pub const MOUNT: &str = "mount";
/// What is to be known of all who wait.
pub const AWAITED: &str = "awaited";

/// Descriptors under their names.
pub type Kept = Vec<(String, OwnedFd)>;

/// Where what one attachment leaves is to be found by the next life.
#[derive(Debug)]
pub struct Vault {
    keeping: Keeping,
    dir: PathBuf,
    attachment: String,
    id: AttachmentId,
    keeper: Option<program::Keeper>,
    /// What is kept.
    kept: Kept,
    /// Why nobody has it.
    fault: Rc<RefCell<Option<Fault>>>,
}

impl Vault {
    /// Of attachment `name`, whose state is in `dir`.
    pub fn new(keeping: &Keeping, dir: &Path, name: &str, id: AttachmentId) -> Self {
        Self {
            keeping: keeping.clone(),
            dir: dir.to_owned(),
            attachment: name.to_owned(),
            id,
            keeper: None,
            kept: Kept::new(),
            fault: Rc::default(),
        }
    }

    /// What the life before had kept, if it is still there.
    ///
    /// # Errors
    /// There is a keeper, and it does not give it.
    pub fn find(
        &mut self,
        passed: &mut HashMap<String, OwnedFd>,
    ) -> io::Result<HashMap<String, OwnedFd>> {
        let mut found = HashMap::new();
        if let Keeping::Process(_) = &self.keeping {
            let in_hand = |name| passed.contains_key(&label(self.id, name));
            let kept = match program::find(&self.dir, &self.attachment) {
                // Who has it in his hands does not need one who does not give it: another one will keep it.
                Err(error) if in_hand(LOG) || in_hand(FUSE) => {
                    tracing::warn!("{}: {error}; another one is started", self.attachment);
                    None
                }
                found => found?,
            };
            if let Some((keeper, kept)) = kept {
                self.keeper = Some(keeper);
                for (name, fd) in &kept {
                    found.insert(name.clone(), fd.try_clone()?);
                }
                self.kept = kept;
            }
        }
        for name in [LOG, FUSE, MOUNT, AWAITED] {
            if let Some(fd) = passed.remove(&label(self.id, name)) {
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
        let fds: Vec<_> = fds.iter().filter(is_new).copied().collect();
        if fds.is_empty() {
            return Ok(());
        }
        for (name, fd) in &fds {
            self.kept.push(((*name).to_owned(), fd.try_clone_to_owned()?));
        }
        match &self.keeping {
            Keeping::Nowhere => Ok(()),
            Keeping::ServiceManager => store(self.id, &fds),
            Keeping::Process(starter) => {
                // One that was found has not all of it. It stays until another one has its place, and is not waited for: that
                // is tried again.
                self.keeper = None;
                let keeper = program::start(starter, &self.dir, &self.attachment, &self.kept)?;
                self.keeper = Some(keeper);
                Ok(())
            }
        }
    }

    /// The next life finds these no more.
    ///
    /// # Errors
    /// Nobody keeps the others.
    pub fn drop_some(&mut self, names: &[&str]) -> io::Result<()> {
        let mut rest = std::mem::take(&mut self.kept);
        let gone = rest.extract_if(.., |(name, _)| names.contains(&name.as_str())).collect();
        (self.kept, rest) = (gone, rest);
        let before = self.keeper.take();
        if let (Keeping::Process(starter), false) = (&self.keeping, rest.is_empty()) {
            self.keeper = Some(program::start(starter, &self.dir, &self.attachment, &rest)?);
        }
        let after = std::mem::replace(&mut self.keeper, before);
        self.forget();
        (self.keeper, self.kept) = (after, rest);
        Ok(())
    }

    /// The next life finds nothing any more.
    pub fn forget(&mut self) {
        let keeper = self.keeper.take();
        let kept = std::mem::take(&mut self.kept);
        match &self.keeping {
            Keeping::Nowhere => {}
            Keeping::ServiceManager => {
                for (name, _) in kept {
                    let label = label(self.id, &name);
                    let said = NotifyState::FdName(&label);
                    if let Err(error) = sd_notify::notify(&[NotifyState::FdStoreRemove, said]) {
                        tracing::warn!(
                            "the service manager was not told that {label} is over: {error}"
                        );
                    }
                }
            }
            Keeping::Process(_) => {
                if let Some(keeper) = keeper {
                    keeper.end();
                }
            }
        }
    }

    /// Watches over it from now on; must be called in a `LocalSet`.
    /// `fault`: why nobody does, so far.
    pub fn guard(self, chronicle: Rc<Chronicle>, fault: Option<String>) -> Guard {
        *self.fault.borrow_mut() = fault.map(|why| Fault { since: chronicle.wall_ms(), why });
        let (wanted, wishes) = watch::channel(Wish::Keep);
        let (more, comes) = mpsc::unbounded_channel();
        let fault = Rc::clone(&self.fault);
        let busy = watch::Sender::new(false);
        let task = tokio::task::spawn_local(guard(self, comes, wishes, chronicle, busy.clone()));
        Guard { wanted, more, fault, busy, task }
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

fn store(id: AttachmentId, fds: &[(&str, BorrowedFd<'_>)]) -> io::Result<()> {
    for (name, fd) in fds {
        let label = label(id, name);
        let name = NotifyState::FdName(&label);
        sd_notify::notify_with_fds(&[NotifyState::FdStore, name], &[*fd])?;
    }
    Ok(())
}

/// What is to become of what is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Keep,
    /// The attachment is over, and so is its log.
    Forget,
    /// The daemon ends, and the next life is to find it.
    Leave,
}

/// The one who sees to it that all is kept while the daemon runs: a keeper that was ended is started again.
#[derive(Debug)]
pub struct Guard {
    wanted: watch::Sender<Wish>,
    more: mpsc::UnboundedSender<Kept>,
    fault: Rc<RefCell<Option<Fault>>>,
    busy: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Guard {
    /// Whether somebody is just given what is kept, or is to be: [`Guard::finish`] would wait for that, or not have it done.
    pub fn is_busy(&self) -> bool {
        *self.busy.borrow()
    }

    /// Ends when nobody is.
    pub fn idle(&self) -> impl Future<Output = ()> + use<> {
        let mut busy = self.busy.subscribe();
        // The other end is here: where it is gone nobody waits for this.
        async move { _ = busy.wait_for(|busy| !busy).await }
    }

    /// Why nobody keeps it, and since when; none: somebody does.
    pub fn fault(&self) -> Option<Fault> {
        self.fault.borrow().clone()
    }

    /// The next life is to find this too, in place of what it would find under the same names.
    pub fn keep(&self, more: Kept) {
        // A guard that is over has nothing to keep any more.
        if self.more.send(more).is_ok() {
            self.busy.send_replace(true);
        }
    }

    /// Ends when the next life will find nothing, or with `leave` what is there now.
    pub async fn finish(self, leave: bool) {
        self.wanted.send_replace(if leave { Wish::Leave } else { Wish::Forget });
        // It has no result, and nobody ends it before.
        let _ = self.task.await;
    }
}

async fn guard(
    mut vault: Vault,
    mut comes: mpsc::UnboundedReceiver<Kept>,
    mut wishes: watch::Receiver<Wish>,
    chronicle: Rc<Chronicle>,
    busy: watch::Sender<bool>,
) {
    let (name, fault) = (vault.attachment.clone(), Rc::clone(&vault.fault));
    loop {
        let failed = fault.borrow().is_some();
        let keeper = vault.keeper.as_ref().map(|keeper| keeper.channel());
        let before = tokio::select! {
            biased;
            changed = wishes.changed() => match (changed.is_err(), *wishes.borrow_and_update()) {
                (true, _) | (false, Wish::Leave) => return,
                (false, Wish::Forget) => {
                    let keeper = vault.keeper.take();
                    vault.forget();
                    // It is given some time to end, which nobody else of this process waits for.
                    let ending = keeper.map(|keeper| tokio::task::spawn_blocking(|| keeper.end()));
                    if let Some(ending) = ending {
                        let _ = ending.await;
                    }
                    return;
                }
                (false, Wish::Keep) => continue,
            },
            Some(more) = comes.recv() => {
                vault.kept.retain(|(name, _)| more.iter().all(|(new, _)| new != name));
                vault.kept.extend(more);
                vault.keeper.take()
            }
            () = gone(keeper, failed) => {
                vault.keeper = None;
                None
            }
        };
        // What is sent to the thread that starts a process has no part in this loop.
        let (keeping, dir, id) = (vault.keeping.clone(), vault.dir.clone(), vault.id);
        let (attachment, kept) = (name.clone(), std::mem::take(&mut vault.kept));
        let started = tokio::task::spawn_blocking(move || {
            let keeper = restart(&keeping, &dir, &attachment, id, &kept);
            if let (Ok(_), Some(before)) = (&keeper, before) {
                before.end();
            }
            (kept, keeper)
        });
        busy.send_replace(true);
        let started = started.await;
        busy.send_replace(!comes.is_empty());
        let Ok((kept, started)) = started else { return };
        vault.kept = kept;
        match started {
            Ok(keeper) => {
                vault.keeper = keeper;
                if fault.take().is_some() {
                    let text = "the log of unflushed writes is kept again".to_owned();
                    chronicle.record(&name, "log_kept", text, None);
                }
            }
            Err(error) => {
                if !failed {
                    let why = not_kept(&error);
                    chronicle.warn(&name, "log_not_kept", why.clone());
                    *fault.borrow_mut() = Some(Fault { since: chronicle.wall_ms(), why });
                }
            }
        }
    }
}

fn restart(
    keeping: &Keeping,
    dir: &Path,
    attachment: &str,
    id: AttachmentId,
    kept: &Kept,
) -> io::Result<Option<program::Keeper>> {
    match keeping {
        Keeping::Process(starter) => program::start(starter, dir, attachment, kept).map(Some),
        Keeping::Nowhere => Ok(None),
        // What it has already under a name stays with it, beside the same once more.
        Keeping::ServiceManager => {
            let fds: Vec<_> = kept.iter().map(|(name, fd)| (&**name, fd.as_fd())).collect();
            store(id, &fds).map(|()| None)
        }
    }
}

/// Why, with what follows from it.
pub fn not_kept(error: &io::Error) -> String {
    format!(
        "nobody keeps the log of unflushed writes over the end of this process ({error}); they are lost if it is \
         killed and the target loses its memory too"
    )
}

/// Ends when the keeper has, or when it is to be tried again to start one.
async fn gone(keeper: Option<io::Result<Channel>>, failed: bool) {
    match keeper {
        // It says nothing but what it is asked.
        Some(Ok(channel)) => drop(channel.recv().await),
        Some(Err(_)) => tokio::time::sleep(TRY_AGAIN).await,
        None if failed => tokio::time::sleep(TRY_AGAIN).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Starter;
    use rustix::net::{AddressFamily, SocketFlags, SocketType};

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
        let mut passed = HashMap::from([(label(id, FUSE), fuse)]);
        let found = vault.find(&mut passed).unwrap();
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
        let chronicle = Chronicle::new(crate::clock::Clock::start(), "web-1", "one");
        let keeping = Keeping::Process(Starter::ServiceManager(path));
        let vault = Vault::new(&keeping, dir.path(), "db1", AttachmentId([7; 16]));
        let kept = async {
            let guard = vault.guard(Rc::new(chronicle), None);
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
        tokio::task::LocalSet::new().run_until(kept).await;
        keeper.join().unwrap();
    }

    /// [SAFE-10] Where a second keeper cannot be started, the one that was found is no reason not to try again.
    #[test]
    fn a_keeper_that_has_not_all_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let starter = Starter::Daemon(dir.path().join("not there"));
        let id = AttachmentId([7; 16]);
        let mut vault = Vault::new(&Keeping::Process(starter), dir.path(), "db1", id);
        let (line, _theirs) = handover::socketpair().unwrap();
        vault.keeper = Some(program::Keeper::of_others(line));
        let file = tempfile::tempfile().unwrap();
        assert!(vault.keep(&[(LOG, file.as_fd())]).is_err());
        assert!(vault.keeper.is_none(), "its guard would wait for its end");
    }
}
