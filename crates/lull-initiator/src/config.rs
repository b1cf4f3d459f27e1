//! What the daemon is told to do, checked.

use std::collections::HashSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use lull_admin::{Access, AdminAddr, Place, ResourceUri};
use lull_frontend::ublk::Number;
use lull_transport::Addr;
use lull_wire::messages::Name;

/// A daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Name of this node, 1 to 64 bytes.
    pub node: String,
    /// Where each attachment's identity and epoch are kept.
    pub state_dir: PathBuf,
    /// Where its operator reaches it.
    pub admin: AdminAddr,
    /// A target that is silent for so long is taken for dead; a target may ask for less.
    pub silence: Duration,
    /// How this host is shut down where an attachment's policy wants it.
    pub shutdown: ShutdownConfig,
    /// How long this host, when it goes down, waits for a target that is away.
    pub going_down_timeout: Duration,
    /// Who keeps the logs of unflushed writes over this process's end.
    pub keeping: Keeping,
    /// Where targets knock that have started [CONN-1]; an address at which they reach this host.
    pub callback: Option<Addr>,
    /// What it uses, at least one, each name once.
    pub attachments: Vec<AttachmentConfig>,
}

/// Who keeps the memory of a log over the end of the daemon [SAFE-10].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keeping {
    /// Nobody.
    Nowhere,
    /// The service manager that started this process.
    ServiceManager,
    /// A process of ours for each attachment.
    Process(Starter),
}

/// Who starts the process that keeps a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Starter {
    /// The daemon: a child, which this program becomes with the verb `keep-log`.
    Daemon(PathBuf),
    /// The service manager, one for each connection to this socket: in a unit of its own, which no stop of the daemon's and
    /// nothing that kills all of the daemon's processes touches.
    ServiceManager(PathBuf),
}

/// How this host is shut down [TIMER-2].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShutdownConfig {
    /// Run with `/bin/sh -c`.
    pub command: String,
    /// How long the host may take to go down; the last resort has as long again.
    pub deadline: Duration,
    /// Run the same way when the command failed, or the host is still up at the deadline.
    pub last_resort: Option<String>,
}

/// One attachment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachmentConfig {
    /// Its name on this node, 1 to 64 bytes without a slash.
    pub name: String,
    /// The resource and where its target is.
    pub uri: ResourceUri,
    /// Where its consumers find it over NBD.
    pub nbd: Vec<Addr>,
    /// A file that is the disk, made where it does not exist.
    pub fuse: Option<PathBuf>,
    /// The socket at which the monitor of a virtual machine finds it.
    pub vhost_user: Option<PathBuf>,
    /// The device of the kernel's NBD that is the disk.
    pub nbd_device: Option<PathBuf>,
    /// The block device of the kernel's ublk that is the disk.
    pub ublk: Option<Number>,
    /// What consumers may do.
    pub access: Access,
    /// What happens when the restart timer or the resume timer ends.
    pub policy: Policy,
    /// How long the policy's hook may take; then it is killed.
    pub hook_limit: Duration,
    /// The restart timer, from an unannounced loss to CONNECT.
    pub restart_timeout: Duration,
    /// The resume timer, from CONNECT to RESUME, beyond the target's barrier.
    pub resume_timeout: Duration,
    /// How long a lost session keeps the resource reserved; `None`: without limit.
    pub hold: Option<Duration>,
    /// The most bytes of acknowledged changes that are kept until a flush covers them; 0: each change is durable
    /// before it is acknowledged [SAFE-3].
    pub retain: u64,
    /// Come in although another instance owns the attachment, on an operator's word.
    pub take_over: bool,
    /// An operator's word: whatever resource has the name now is the one that is meant [SAFE-8].
    pub adopt: bool,
}

/// What an attachment does when a timer ends [TIMER-1].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Hold on and say so.
    Wait,
    /// Answer what is held, and what comes, with errors until the target is back.
    Error,
    /// Run this command with `/bin/sh -c` and hold on.
    Hook(String),
    /// Answer with errors, run the hook the same way, then shut this host down [TIMER-2].
    Shutdown {
        /// What runs before.
        hook: Option<String>,
    },
}

/// A configuration that cannot be meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Nothing to do.
    #[error("an initiator without attachments: name at least one resource")]
    Nothing,
    /// A name that the protocol cannot carry, or a file cannot have.
    #[error("`{0}` cannot name a node or an attachment: write 1 to 64 bytes without slashes")]
    Name(String),
    /// Two of one name.
    #[error("two attachments are named `{0}`: give each its own name")]
    Twice(String),
    /// An attachment that no consumer can reach.
    #[error(
        "attachment `{0}` has no front end: say where consumers find it, with nbd, fuse, vhost-user, nbd-device or ublk"
    )]
    NoFrontEnd(String),
    /// An access that this release does not know.
    #[error(
        "attachment `{0}` has an access that this release does not know: use rw, rw-shared or ro"
    )]
    Access(String),
    /// A device that asks again what others may have overwritten since.
    #[error(
        "attachment `{0}` shares its resource with other writers (rw-shared), whose writes a device of the kernel would \
         undo where it asks again what was not answered: use nbd, fuse or vhost-user"
    )]
    SharedDevice(String),
    /// An address at which nobody can be reached.
    #[error(
        "{0} is every address of this host and none that a target can knock at: write the one that targets reach"
    )]
    Callback(Addr),
    /// An address at which no consumer is served.
    #[error(
        "{0}: consumers are served on this machine, at unix:/path or tcp:127.0.0.1:port; let a guest attach the \
         resource itself"
    )]
    FrontEnd(Addr),
}

impl Config {
    /// Checks what the types do not say.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), ConfigError> {
        name(&self.node)?;
        if self.attachments.is_empty() {
            return Err(ConfigError::Nothing);
        }
        self.callback.as_ref().map_or(Ok(()), check_callback)?;
        let mut names = HashSet::new();
        for attachment in &self.attachments {
            name(&attachment.name)?;
            name(&attachment.uri.resource)?;
            if !names.insert(&attachment.name) {
                return Err(ConfigError::Twice(attachment.name.clone()));
            }
            if attachment.front_ends() == 0 {
                return Err(ConfigError::NoFrontEnd(attachment.name.clone()));
            }
            let is_vsock = |addr: &&Addr| matches!(addr, Addr::Vsock { .. });
            if let Some(addr) = attachment.nbd.iter().find(is_vsock) {
                return Err(ConfigError::FrontEnd(addr.clone()));
            }
            if attachment.access == Access::Unknown {
                return Err(ConfigError::Access(attachment.name.clone()));
            }
            // [SAFE-11] The kernel gives a request to the next connection, or process, which sends it under another number.
            if attachment.is_device() && attachment.access == Access::RwShared {
                return Err(ConfigError::SharedDevice(attachment.name.clone()));
            }
        }
        Ok(())
    }
}

/// Whether targets can knock there.
///
/// # Errors
/// Where the address stands for all of this host's.
pub fn check_callback(addr: &Addr) -> Result<(), ConfigError> {
    match addr {
        Addr::Tcp { host, .. } if host.parse().is_ok_and(|ip: IpAddr| ip.is_unspecified()) => {
            Err(ConfigError::Callback(addr.clone()))
        }
        // The number is the one by which the target's machine reaches this one.
        Addr::Vsock { cid: u32::MAX, .. } => Err(ConfigError::Callback(addr.clone())),
        Addr::Tcp { .. } | Addr::Unix(_) | Addr::Vsock { .. } => Ok(()),
    }
}

/// A text as a name of the protocol.
pub(crate) fn name(text: &str) -> Result<Name, ConfigError> {
    let wrong = || ConfigError::Name(text.escape_debug().to_string());
    if text.is_empty() || text.contains(['/', '\0']) {
        return Err(wrong());
    }
    Name::new(text).ok_or_else(wrong)
}

impl AttachmentConfig {
    /// How many ways consumers have to it.
    pub fn front_ends(&self) -> usize {
        let Self { nbd, fuse, vhost_user, nbd_device, ublk, .. } = self;
        let others = [fuse.is_some(), vhost_user.is_some(), nbd_device.is_some(), ublk.is_some()];
        nbd.len() + others.into_iter().filter(|there| *there).count()
    }

    /// Whether consumers may outlive a daemon that is killed, and wait for the next one.
    pub(crate) fn is_outlived(&self) -> bool {
        self.is_device() || self.fuse.is_some() || self.vhost_user.is_some()
    }

    /// Whether this host's own kernel has a disk of it.
    pub(crate) fn is_device(&self) -> bool {
        self.nbd_device.is_some() || self.ublk.is_some()
    }

    /// Where its target is dialled.
    pub fn target(&self) -> Addr {
        addr_of(&self.uri)
    }
}

/// Where the target of a resource is dialled.
pub fn addr_of(uri: &ResourceUri) -> Addr {
    match &uri.place {
        Place::Tcp { host, port } => Addr::Tcp { host: host.clone(), port: *port },
        Place::Unix { path } => Addr::Unix(path.clone()),
        Place::Vsock { cid, port } => Addr::Vsock { cid: *cid, port: *port },
    }
}

impl Policy {
    /// The policy as the machine knows it.
    pub(crate) fn of_machine(&self) -> lull_proto::initiator::Policy {
        use lull_proto::initiator::Policy as Machine;
        match self {
            Self::Wait => Machine::Wait,
            Self::Error => Machine::Error,
            Self::Hook(_) => Machine::Hook,
            Self::Shutdown { .. } => Machine::Shutdown,
        }
    }
}
