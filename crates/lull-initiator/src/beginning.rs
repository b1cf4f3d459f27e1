//! With what a life begins: its logs, its sockets, its attachments, each new or of the life before.

use std::rc::Rc;
use std::time::Duration;

use lull_admin::{AdminListener, Fault};
use lull_proto::initiator::{self, Initiator, Retain};
use lull_wire::messages::{Address, Name};
use lull_wire::{Access, InstanceId};
use tokio::sync::mpsc;

use crate::attachment::{Attachment, Made};
use crate::chronicle::Chronicle;
use crate::clock::Clock;
use crate::config::{AttachmentConfig, Config, Keeping, name};
use crate::daemon::{News, random};
use crate::error::RunError;
use crate::footing;
use crate::heritage::{self, Log};
use crate::journal::Life;
use crate::knocks::Door;
use crate::shutdown::Host;
use crate::state_file::Kept;
use crate::state_writer::StateWriter;
use crate::states::Opened;
use crate::succession::estate::{ADMIN, CALLBACK, Estate};
use crate::vault::{self, Guard, Passed};

/// The logs of all attachments, found where the life before left them. `first`: nothing that a service manager keeps
/// was taken yet.
pub(crate) fn logs(
    config: &Config,
    opened: &[Opened],
    mut estate: Option<&mut Estate>,
    first: bool,
) -> Result<Vec<Log>, RunError> {
    let mut passed = if first { Passed::by_service_manager() } else { Passed::default() };
    if let Some(estate) = &mut estate {
        passed.handed_over.extend(estate.fds.extract_if(|name, _| vault::is_label(name)));
    }
    let all = || config.attachments.iter().zip(opened).map(|(one, (_, kept, _))| (one, kept));
    if let Keeping::Process(_) = &config.keeping {
        let names: Vec<_> = all().map(|(one, kept)| (&*one.name, kept.attachment)).collect();
        passed = passed.and_by_keepers(&config.state_dir, &names);
    }
    let opened =
        all().map(|(one, kept)| heritage::open(config, one, kept, &mut passed, estate.is_some()));
    let mut logs = opened.collect::<Result<Vec<_>, _>>()?;
    heritage::keep(&mut logs);
    for ((attachment, _), log) in all().zip(&logs) {
        footing::bring_in(attachment, &log.journal);
    }
    Ok(logs)
}

/// Where targets knock, if anywhere, and whether this process is the first that listens there.
pub(crate) async fn door(
    config: &Config,
    estate: Option<&mut Estate>,
) -> Result<(Option<Rc<Door>>, bool), RunError> {
    let Some(callback) = &config.callback else { return Ok((None, false)) };
    let inherited = estate.and_then(|estate| estate.take(CALLBACK));
    let is_own = inherited.is_none();
    Ok((Some(Rc::new(Door::open(callback, inherited).await?)), is_own))
}

/// Where operators ask, and whether this process is the first that listens there.
pub(crate) fn admin(
    config: &Config,
    estate: Option<&mut Estate>,
) -> Result<(AdminListener, bool), RunError> {
    let inherited = estate.and_then(|estate| estate.take(ADMIN));
    match inherited.map(AdminListener::from_fd) {
        Some(Ok(listener)) if listener.addr() == config.admin => Ok((listener, false)),
        Some(_) | None => Ok((AdminListener::bind(&config.admin)?, true)),
    }
}

/// What all attachments of a life have in common.
pub(crate) struct Beginning<'a> {
    pub config: &'a Config,
    pub instance: InstanceId,
    /// It stands in all states already.
    pub noted: bool,
    pub clock: Clock,
    pub chronicle: &'a Rc<Chronicle>,
    pub news: &'a mpsc::UnboundedSender<News>,
    pub host: Rc<Host>,
    /// Where targets knock.
    pub callback: Address,
}

impl Beginning<'_> {
    /// One of them, with what the life before has left of it.
    pub fn attachment(
        &self,
        config: &AttachmentConfig,
        (file, kept, fresh): Opened,
        mut log: Log,
        estate: &mut Option<Estate>,
    ) -> Result<Rc<Attachment>, RunError> {
        // [SAFE-5] Whoever is let in and dies before it learns so has an heir all the same.
        if !self.noted {
            file.write(&kept.noting(self.instance))?;
        }
        let (instance, before) = (self.instance, kept.instance);
        log.journal.belongs_to(Life { instance, before });
        let mut lost = None;
        for (what, text) in &log.told {
            self.chronicle.warn(&config.name, what, text.clone());
            if *what == heritage::OVERTAKEN {
                lost = Some(Fault { since: self.chronicle.wall_ms(), why: text.clone() });
            }
        }
        let settled = log.settled();
        let keeps = settled.is_some() || log.note.is_some();
        let guard = keeps.then(|| Guard::over(log.vault, Rc::clone(self.chronicle), log.fault));
        let (node, instance) = (&self.config.node, self.instance);
        let mut settings = machine_config(node, config, instance, &kept, log.retain)?;
        settings.callback = self.callback.clone();
        let machine = Initiator::inheriting(settings, log.legacy);
        let (mount, fuse, awaited, note) = (log.mount, log.fuse, log.awaited, log.note);
        let log = (log.journal, settled, guard);
        let writer = StateWriter::start(file, config.name.clone(), Rc::clone(self.chronicle));
        let made = Made { note, ..self.made(config, kept, fresh)? };
        let attachment = Attachment::new(made, machine, writer, log);
        attachment.core.borrow_mut().told.log_lost = lost;
        attachment.take_awaited(awaited, mount);
        if let Some(estate) = estate {
            let left = &mut estate.document.attachments;
            if let Some(own) = left.iter().position(|left| left.name == config.name) {
                let left = left.swap_remove(own);
                attachment.take(left, fuse, estate)?;
            }
        }
        Ok(attachment)
    }

    fn made(&self, config: &AttachmentConfig, kept: Kept, fresh: bool) -> Result<Made, RunError> {
        let all = self.config;
        Ok(Made {
            node: all.node.clone(),
            instance: self.instance,
            config: config.clone(),
            clock: self.clock,
            chronicle: Rc::clone(self.chronicle),
            host: Rc::clone(&self.host),
            state_dir: all.state_dir.clone(),
            pool: footing::buffers(config)?,
            silence_ms: u32::try_from(all.silence.as_millis()).unwrap_or(u32::MAX),
            kept,
            fresh,
            outlives: all.keeping != Keeping::Nowhere,
            alone: all.attachments.len() == 1,
            news: self.news.clone(),
            life_lost: None,
            note: None,
        })
    }
}

pub(crate) fn machine_config(
    node: &str,
    attachment: &AttachmentConfig,
    instance: InstanceId,
    kept: &Kept,
    retain: u64,
) -> Result<initiator::Config, RunError> {
    let access = match attachment.access {
        lull_admin::Access::Ro => Access::ReadOnly,
        lull_admin::Access::RwShared => Access::Shared,
        lull_admin::Access::Rw | lull_admin::Access::Unknown => Access::ReadWrite,
    };
    let seed: [u8; 16] = random()?;
    Ok(initiator::Config {
        node: name(node)?,
        instance,
        predecessors: kept.owners(),
        software: Name::clipped(concat!("lull ", env!("CARGO_PKG_VERSION"))),
        callback: Address::default(),
        attachment: kept.attachment,
        resource: name(&attachment.uri.resource)?,
        access,
        take_over: attachment.take_over,
        policy: attachment.policy.of_machine(),
        restart_timeout: attachment.restart_timeout,
        resume_timeout: attachment.resume_timeout,
        hold: attachment.hold.unwrap_or(Duration::MAX),
        retain: Retain::UpTo(retain),
        memory: kept.memory,
        seed: u64::from_le_bytes(*seed.first_chunk().unwrap_or(&[1; 8])),
    })
}
