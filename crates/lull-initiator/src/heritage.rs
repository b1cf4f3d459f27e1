//! What a life of an attachment finds of the one before [SAFE-10], and what it leaves to the next.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use lull_admin::Access;
use lull_proto::initiator::Legacy;
use lull_wire::Incarnation;

use crate::awaited::{self, Awaited};
use crate::config::{AttachmentConfig, Config};
use crate::error::RunError;
use crate::journal::{Damage, Extent, Found, Journal, Saved};
use crate::mounted;
use crate::note::Note;
use crate::overtaken::Left;
use crate::state_file::Kept;
use crate::vault::{self, Passed, Vault, not_kept};
use crate::wording;

/// What programs know it by that a log was set aside: changes are lost.
pub const OVERTAKEN: &str = "log_overtaken";

/// An attachment's log when its life begins.
pub struct Log {
    /// Where what is retained lies.
    pub journal: Journal,
    /// What its machine inherits.
    pub legacy: Legacy,
    /// What its machine may retain, in bytes.
    pub retain: u64,
    /// Who keeps it.
    pub vault: Vault,
    /// Why nobody keeps it.
    pub fault: Option<String>,
    /// What people are to be told: a word for programs, a sentence.
    pub told: Vec<(&'static str, String)>,
    /// The mounted file of a life that was killed.
    pub mount: Option<mounted::Found>,
    /// The end of the mounted file of a life that has handed it over.
    pub fuse: Option<OwnedFd>,
    /// Where the next life finds what consumers wait for; `None`: none of them outlives this one.
    pub note: Option<Note>,
    /// What those of a life that was killed wait for.
    pub awaited: Option<Awaited>,
}

impl Log {
    /// In which all of it was executed, for the state; `None` where there is none to be found by the next life.
    pub fn settled(&self) -> Option<Incarnation> {
        match self.legacy {
            Legacy::Kept { settled, .. } | Legacy::Lost { settled } => Some(settled),
            Legacy::None => (self.retain > 0).then_some(Incarnation::NONE),
        }
    }
}

/// Finds what the life before left, or begins a log; `handed_over`: that life has ended in good order, and more of it is
/// told elsewhere.
///
/// # Errors
/// It is there and cannot be had, or there is no memory for one.
pub fn open(
    config: &Config,
    attachment: &AttachmentConfig,
    kept: &Kept,
    passed: &mut Passed,
    handed_over: bool,
) -> Result<Log, RunError> {
    let mut vault =
        Vault::new(&config.keeping, &config.state_dir, &attachment.name, kept.attachment);
    let unusable = |why: String| RunError::Log { attachment: attachment.name.clone(), why };
    let mut left = vault.find(passed).map_err(|error| unusable(error.to_string()))?;
    let (mount, fuse) = match (left.remove(vault::FUSE), left.remove(vault::MOUNT)) {
        (Some(fuse), _) if handed_over => (None, Some(fuse)),
        (Some(fuse), Some(note)) => (mounted::Found::of(fuse, note), None),
        (Some(_) | None, _) => (None, None),
    };
    let note = match left.remove(vault::AWAITED) {
        Some(fd) => Some(Note::of(fd)),
        None => attachment.is_outlived().then(Note::new).transpose()?,
    };
    let awaited = note.as_ref().and_then(|note| awaited::read(note, kept));
    let awaited = awaited.filter(|_| attachment.is_outlived() && !attachment.adopt && !handed_over);
    if let (Some(note), None, false) = (&note, awaited, handed_over) {
        // Another attachment's, or another disk's.
        awaited::clear(note);
    }
    let mount = match mount {
        Some(found) if found.is_at(attachment.fuse.as_deref()) && !attachment.adopt => Some(found),
        Some(found) => {
            let_go(&mut vault, &attachment.name, &[vault::FUSE, vault::MOUNT]);
            found.give_up();
            None
        }
        None => None,
    };
    let mut told = Vec::new();
    let saved = Saved::of(&config.state_dir, &attachment.name);
    let in_memory = left.remove(vault::LOG);
    let in_file = saved.read().map_err(|error| {
        unusable(format!("in {} cannot be read: {error}", saved.path().display()))
    })?;
    let name = &attachment.name;
    let found = ours(name, (in_memory, in_file), kept, &mut vault, &saved, &mut told);
    let found = found.map_err(|error| unusable(error.to_string()))?;
    // [SAFE-8] It was kept for another disk: none of it may ever be sent to this one.
    let found = match found {
        Some(Found { legacy, .. }) if attachment.adopt => {
            vault.forget();
            told.extend(given_up_words(&legacy));
            None
        }
        found => found,
    };
    // Who only reads has nothing to keep.
    // [SAFE-11] Who shares is answered when it is durable.
    let retain = if attachment.access == Access::Rw { attachment.retain } else { 0 };
    let log = match found {
        Some(Found { journal, legacy, misses, damaged, .. }) => {
            let settled = kept.log.unwrap_or(Incarnation::NONE);
            let legacy = if misses { Legacy::Lost { settled } } else { legacy };
            told.extend(found_words(&legacy));
            told.extend(damaged.map(|damage| ("log_damaged", damage_words(&damage))));
            let retain = retain.min(journal.retains());
            Log { journal, legacy, retain, vault, fault: None, told, mount, fuse, note, awaited }
        }
        None => {
            let mut journal = Journal::create(kept.attachment, retain)?;
            let legacy = match kept.log {
                Some(settled) => {
                    journal.misses();
                    Legacy::Lost { settled }
                }
                None => Legacy::None,
            };
            Log { journal, legacy, retain, vault, fault: None, told, mount, fuse, note, awaited }
        }
    };
    Ok(log)
}

/// The log of which this life is the heir, in memory or in a file, which is a copy of it where there is both. What another
/// life has overtaken is told and set aside.
fn ours(
    name: &str,
    (in_memory, in_file): (Option<OwnedFd>, Option<OwnedFd>),
    kept: &Kept,
    vault: &mut Vault,
    saved: &Saved,
    told: &mut Vec<(&'static str, String)>,
) -> io::Result<Option<Found>> {
    let mut found = None;
    let mut tell = |words: Option<String>| told.extend(words.map(|words| (OVERTAKEN, words)));
    match in_memory.map(|memory| Left::of(memory, kept)).transpose()? {
        Some(Left::Ours(ours)) => found = Some(*ours),
        Some(Left::Overtaken(overtaken)) => {
            tell(overtaken.memory(saved)?);
            let_go(vault, name, &[vault::LOG]);
        }
        None => {}
    }
    match in_file.map(|memory| Left::of(memory, kept)).transpose()? {
        Some(Left::Ours(ours)) => found = found.or(Some(*ours)),
        Some(Left::Overtaken(overtaken)) => tell(overtaken.file(saved)?),
        None => {}
    }
    Ok(found)
}

/// The next life is not to find these. Should it all the same it does with them what this one did: that nobody can be
/// started to keep the others is no reason not to serve, and is told with what this life has kept.
fn let_go(vault: &mut Vault, attachment: &str, names: &[&str]) {
    if let Err(error) = vault.drop_some(names) {
        tracing::warn!("{attachment}: what a process before this one had kept stays: {error}");
    }
}

/// From here on the next life finds them there. That it would not keeps nobody from serving.
pub fn keep(logs: &mut [Log]) {
    let all = logs.iter_mut().map(|one| {
        let log = one.settled().map(|_| (vault::LOG, one.journal.as_fd()));
        let note = one.note.as_ref().map(|note| (vault::AWAITED, note.as_fd()));
        (&mut one.vault, log.into_iter().chain(note).collect::<Vec<_>>())
    });
    let kept = vault::side_by_side(all, |(vault, fds)| vault.keep(&fds));
    for (log, kept) in logs.iter_mut().zip(kept) {
        if let Err(error) = kept {
            let why = not_kept(&error);
            log.told.push(("log_not_kept", why.clone()));
            log.fault = Some(why);
        }
    }
}

/// Takes away the files from which logs may have come: what is acknowledged from here on would be overwritten with them one
/// day. To be called when nothing else can keep this life from beginning, since memory ends with a start that fails.
///
/// # Errors
/// One is there still, or may be.
pub fn remove_saved(config: &Config) -> Result<(), RunError> {
    config.attachments.iter().try_for_each(|attachment| {
        let removed = Saved::of(&config.state_dir, &attachment.name).remove();
        removed.map_err(|error| RunError::Log {
            attachment: attachment.name.clone(),
            why: format!("cannot be taken out of {}: {error}", config.state_dir.display()),
        })
    })
}

fn found_words(legacy: &Legacy) -> Option<(&'static str, String)> {
    let kept = kept(legacy)?;
    Some(("log_found", format!("the process before this one left {kept}; all of it is kept")))
}

fn given_up_words(legacy: &Legacy) -> Option<(&'static str, String)> {
    let lost = kept(legacy)?;
    Some(("log_lost", format!("another disk is adopted; lost with it: {lost}")))
}

/// What the process before has kept; `None`: nothing.
fn kept(legacy: &Legacy) -> Option<String> {
    let Legacy::Kept { changes, .. } = legacy else { return None };
    Extent::of(changes).map(|all| wording::kept(all.changes, all.bytes))
}

fn damage_words(damage: &Damage) -> String {
    let lost = wording::damaged(damage);
    format!(
        "the log that the process before this one left is damaged; lost, if the target lost its memory: {lost}"
    )
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::beginning;
    use crate::config::{Keeping, Policy, ShutdownConfig, Starter};
    use crate::life;
    use crate::medium::{Medium, MediumConfig, Taken};
    use crate::state_file::StateFile;
    use crate::states;
    use lull_admin::{AdminAddr, Place, ResourceUri};
    use lull_proto::initiator::{Ask, Memory};
    use lull_transport::{Addr, handover};
    use lull_wire::{
        AttachmentId, Digest, Epoch, InstanceId, OpCode, RequestFlags, ResourceId, Tenure,
    };
    use rustix::net::{
        AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept, bind, socket_with,
    };
    use std::os::fd::AsFd;
    use std::path::Path;
    use std::time::Duration;
    use std::{slice, thread};
    use tokio::sync::mpsc;
    use tokio::task::LocalSet;

    const ID: AttachmentId = AttachmentId([7; 16]);
    const ONE: Incarnation = Incarnation([1; 16]);

    fn config(dir: &Path) -> Config {
        let place = Place::Unix { path: dir.join("target.sock") };
        let attachment = AttachmentConfig {
            name: "db1".into(),
            uri: ResourceUri { place, resource: "db1".into() },
            fuse: None,
            vhost_user: None,
            nbd_device: None,
            ublk: None,
            nbd: Vec::new(),
            access: Access::Rw,
            policy: Policy::Wait,
            hook_limit: Duration::from_secs(60),
            restart_timeout: Duration::from_secs(600),
            resume_timeout: Duration::from_secs(60),
            hold: None,
            retain: 1 << 20,
            take_over: false,
            adopt: false,
        };
        Config {
            node: "web-1".into(),
            state_dir: dir.to_owned(),
            admin: AdminAddr::unix(dir.join("admin.sock")),
            silence: Duration::from_secs(5),
            shutdown: ShutdownConfig {
                command: "false".into(),
                deadline: Duration::from_secs(5),
                last_resort: None,
            },
            going_down_timeout: Duration::from_secs(30),
            keeping: Keeping::ServiceManager,
            callback: None,
            attachments: vec![attachment],
        }
    }

    /// An attachment that has been here before and kept a log, settled in `ONE`.
    fn kept() -> Kept {
        let memory = Memory {
            epoch: Epoch(5),
            identity: ResourceId([3; 16]),
            incarnation: ONE,
            tenure: Tenure(2),
        };
        let instance = InstanceId([4; 16]);
        Kept { attachment: ID, instance, noted: Vec::new(), memory, log: Some(ONE) }
    }

    /// What a service manager gives to the next process; nothing without a log.
    fn passed(journal: Option<&Journal>) -> Passed {
        let file = |journal: &Journal| journal.as_fd().try_clone_to_owned().unwrap();
        let stored = journal.map(|journal| (format!("lull-log-{ID}"), file(journal)));
        Passed { stored: stored.into_iter().collect(), ..Passed::default() }
    }

    fn one_change() -> Journal {
        let mut journal = Journal::create(ID, 1 << 20).unwrap();
        let (op, flags) = (OpCode::Write, RequestFlags::none());
        let ask = Ask { op, flags, offset: 0, length: 512 };
        journal.push(0, &ask, &[9; 512], Digest::of(&[9; 512]));
        journal.settle(ONE);
        journal
    }

    /// [SAFE-10] The next life has the log of the one before. Where it is gone that is a loss, and stays one for the life
    /// after it, until somebody was told.
    #[test]
    fn a_log_is_inherited_and_one_that_is_gone_is_missed() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        let opened = |journal: Option<&Journal>, kept: &Kept| {
            open(&config, &config.attachments[0], kept, &mut passed(journal), false).unwrap()
        };
        let log = opened(Some(&one_change()), &kept());
        assert!(
            matches!(&log.legacy, Legacy::Kept { settled: ONE, changes } if changes.len() == 1)
        );
        assert_eq!(log.told[0].0, "log_found");

        let gone = opened(None, &kept());
        assert_eq!(gone.legacy, Legacy::Lost { settled: ONE });
        let after = opened(Some(&gone.journal), &kept());
        assert_eq!(after.legacy, Legacy::Lost { settled: ONE }, "nobody has heard of it");

        let fresh = opened(None, &Kept { log: None, ..kept() });
        assert_eq!(fresh.legacy, Legacy::None);
    }

    /// [SAFE-10] A log in a file is found where the memory is gone, and once: what comes after it is newer. One that was not
    /// written to its end is none.
    #[test]
    fn a_saved_log_is_inherited_and_taken_away() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        let opened = |journal: Option<&Journal>| {
            open(&config, &config.attachments[0], &kept(), &mut passed(journal), false).unwrap()
        };
        let partial = dir.path().join("db1.unflushed.new");
        std::fs::write(&partial, "the power was cut").unwrap();
        assert_eq!(opened(None).legacy, Legacy::Lost { settled: ONE });

        let saved = Saved::of(dir.path(), "db1");
        saved.write(one_change().as_fd()).unwrap();
        assert!(!partial.exists());
        let mut log = opened(None);
        assert!(
            matches!(&log.legacy, Legacy::Kept { settled: ONE, changes } if changes.len() == 1)
        );
        assert_eq!(log.journal.copy(0).map(|(payload, _)| payload), Some(vec![9; 512]));
        keep(slice::from_mut(&mut log));
        assert!(saved.path().exists(), "as long as this life may come to nothing");
        remove_saved(&config).unwrap();
        assert!(!saved.path().exists());

        // Beside the memory itself it is of no use.
        saved.write(one_change().as_fd()).unwrap();
        let beside = opened(Some(&Journal::create(ID, 1 << 20).unwrap()));
        assert!(matches!(&beside.legacy, Legacy::Kept { changes, .. } if changes.is_empty()));
    }

    /// [SAFE-10] A log that was overtaken is set aside once, and served beside, where nobody can be had to keep the next one: a
    /// start that fails for that would be made again and again, with a copy each.
    #[test]
    fn an_overtaken_log_keeps_nobody_from_serving_where_no_keeper_can_be_started() {
        let dir = tempfile::tempdir().unwrap();
        let starter = Starter::Daemon(dir.path().join("not there"));
        let mut vault = Vault::new(&Keeping::Process(starter), dir.path(), "db1", ID);
        let (log, note) = (one_change(), Note::new().unwrap());
        let left = [(vault::LOG, log.as_fd()), (vault::AWAITED, note.as_fd())];
        vault.keep(&left).unwrap_err();
        let saved = Saved::of(dir.path(), "db1");
        let of_another = Kept { attachment: AttachmentId([8; 16]), ..kept() };
        let memory = log.as_fd().try_clone_to_owned().unwrap();
        let mut told = Vec::new();
        let both = (Some(memory), None);
        let found = ours("db1", both, &of_another, &mut vault, &saved, &mut told).unwrap();
        assert!(found.is_none());
        assert_eq!(told.iter().map(|(what, _)| *what).collect::<Vec<_>>(), [OVERTAKEN]);
        assert!(dir.path().join("db1.overtaken.1").exists());
    }

    /// [SAFE-10] A start that comes to nothing leaves the file: its memory may be gone before there is another one.
    #[tokio::test]
    async fn a_saved_log_outlives_a_start_that_fails() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(dir.path());
        config.keeping = Keeping::Nowhere;
        let (file, _) = StateFile::open(dir.path(), "db1", &config.node).unwrap();
        file.write(&kept()).unwrap();
        drop(file);
        let saved = Saved::of(dir.path(), "db1");
        saved.write(one_change().as_fd()).unwrap();
        config.attachments[0].nbd = vec![Addr::Unix(dir.path().join("db1.nbd"))];
        config.admin = AdminAddr::unix(dir.path().join("db1.json/admin.sock"));
        let (_stop, stops) = mpsc::unbounded_channel();
        let failed = LocalSet::new().run_until(life::serve(config, stops, |_| {})).await;
        assert!(failed.is_err(), "no socket can be there");
        assert!(saved.path().exists());
    }

    /// [INIT-1] Consumers wait, and who hands over to this process waits for a limited time: of keepers that hang each would take
    /// its own.
    #[test]
    fn keepers_are_asked_and_started_side_by_side() {
        let dir = tempfile::tempdir().unwrap();
        let starter = dir.path().join("starter");
        let mut config = config(dir.path());
        config.keeping = Keeping::Process(Starter::ServiceManager(starter.clone()));
        config
            .attachments
            .push(AttachmentConfig { name: "db2".into(), ..config.attachments[0].clone() });
        let opened = config.attachments.iter();
        let opened = opened.map(|one| states::open(&config.node, dir.path(), one).unwrap());
        let opened: Vec<_> = opened.collect();
        let listen = |path: &Path| {
            let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
            let socket = socket_with(family, kind, SocketFlags::CLOEXEC, None).unwrap();
            bind(&socket, &SocketAddrUnix::new(path).unwrap()).unwrap();
            rustix::net::listen(&socket, 2).unwrap();
            socket
        };
        let [one, other] = ["db1.keeper", "db2.keeper"].map(|name| listen(&dir.path().join(name)));
        let starts = listen(&starter);
        let keepers = thread::spawn(move || {
            // Neither is answered before both are there.
            for sockets in [[&one, &other], [&starts, &starts]] {
                for line in sockets.map(|socket| accept(socket).unwrap()) {
                    handover::recv_fds(&line).unwrap();
                    handover::send_fds(&line, &[], b"kept").unwrap();
                }
            }
        });
        let logs = beginning::logs(&config, &opened, None, true).unwrap();
        assert!(logs.iter().all(|log| log.fault.is_none()), "a keeper has each");
        keepers.join().unwrap();
    }

    /// [CONN-1] Nobody would be heard there.
    #[tokio::test]
    async fn a_start_that_fails_leaves_no_place_to_be_knocked_at() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(dir.path());
        config.keeping = Keeping::Nowhere;
        let door = dir.path().join("door.sock");
        config.attachments[0].nbd = vec![Addr::Unix(dir.path().join("db1.nbd"))];
        config.callback = Some(Addr::Unix(door.clone()));
        // Where the state's own file is to be tried.
        std::fs::create_dir(dir.path().join("db1.json.try")).unwrap();
        let (_stop, stops) = mpsc::unbounded_channel();
        let failed = LocalSet::new().run_until(life::serve(config, stops, |_| {})).await;
        let error = failed.expect_err("its state cannot be written").to_string();
        assert!(error.contains("db1.json"), "{error}");
        assert!(!door.exists());
    }

    /// [SAFE-8] Who takes what is there now for the disk on an operator's word sends nothing of what it kept for another
    /// one, and comes like a stranger under a higher epoch.
    #[test]
    fn an_adopted_disk_gets_nothing_that_was_kept_for_another() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(dir.path());
        config.attachments[0].adopt = true;
        let (file, _) = StateFile::open(dir.path(), "db1", &config.node).unwrap();
        file.write(&kept()).unwrap();
        drop(file);
        let (_file, kept, fresh) =
            states::open(&config.node, dir.path(), &config.attachments[0]).unwrap();
        assert!(!fresh && kept.attachment == ID && kept.log.is_none());
        assert_eq!(kept.memory, Memory { epoch: Epoch(5), ..Memory::default() });
        let journal = one_change();
        let log = open(&config, &config.attachments[0], &kept, &mut passed(Some(&journal)), false)
            .unwrap();
        assert_eq!(log.legacy, Legacy::None);
        assert_eq!(log.told[0].0, "log_lost");
    }

    /// Another target's medium here, of which something is kept.
    pub fn medium(dir: &Path) -> Taken {
        let Config { node, silence, attachments, .. } = config(dir);
        let (file, _) = StateFile::open(dir, "db1", &node).unwrap();
        file.write(&kept()).unwrap();
        drop(file);
        let (state_dir, attachment) = (dir.to_owned(), attachments[0].clone());
        let instance = InstanceId([5; 16]);
        Taken::take(MediumConfig { node, instance, state_dir, silence, attachment }).unwrap()
    }

    /// [SAFE-5] It is noted before it asks to be let in.
    #[tokio::test]
    async fn a_life_of_a_medium_that_ends_unheard_has_an_heir() {
        let dir = tempfile::tempdir().unwrap();
        let taken = medium(dir.path());
        let begun = async { Medium::begin(taken, |_| {}, || {}).map(drop) };
        LocalSet::new().run_until(begun).await.unwrap();
        let text = std::fs::read_to_string(dir.path().join("db1.json")).unwrap();
        assert!(text.contains(&InstanceId([5; 16]).to_string()), "{text}");
    }

    /// [SAFE-8] The same for what is another target's medium here.
    #[test]
    fn an_adopted_medium_is_met_like_by_a_stranger() {
        let dir = tempfile::tempdir().unwrap();
        medium(dir.path()).adopt().unwrap();
        let (_file, found) = StateFile::open(dir.path(), "db1", &config(dir.path()).node).unwrap();
        let memory = Memory { epoch: Epoch(5), ..Memory::default() };
        assert_eq!(found, Some(Kept { memory, log: None, ..kept() }));
    }
}
