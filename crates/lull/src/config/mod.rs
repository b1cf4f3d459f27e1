//! What the daemons are told to do: from what was typed to what is meant.
//!
//! [`FileConfig`](file::FileConfig) is the TOML as it was typed. [`Config`] is checked and derived:
//! every default is filled in, every span is in milliseconds, every text that must have a form has
//! been parsed. Flags are applied on top by the verbs that have them.

mod backend;
mod claims;
mod file;
mod here;
mod problem;
mod resolve;

use std::io::Read as _;
use std::num::NonZeroU8;
use std::path::{Path, PathBuf};

use lull_admin::{Access, AdminAddr, OnPauseTimeout, ResourceUri, Role};
use lull_frontend::ublk::Number;
use lull_transport::Addr;

pub use backend::backend_spec;
pub use here::{default_state_dir, host_name};
pub use problem::{ConfigError, Problem};
pub use resolve::{
    access, command_line, listening_path, nbd_device, node_name, on_pause_timeout, resource_name,
    retain,
};

/// A whole configuration; a file may hold both roles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The target, where the file has `[target]` or a `[[resource]]`.
    pub target: Option<TargetConfig>,
    /// The initiator, where the file has `[initiator]` or an `[[attachment]]`.
    pub initiator: Option<InitiatorConfig>,
}

/// A target, ready to be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetConfig {
    /// Name of the node, by default the host's.
    pub name: String,
    /// Where initiators reach it; by default the standard port on loopback.
    pub listen: Vec<Addr>,
    /// Where clients without an agent reach it over NBD; by default nowhere.
    pub nbd: Vec<Addr>,
    /// Where roster, epochs and history are kept.
    pub state_dir: PathBuf,
    /// Where its operator reaches it.
    pub admin: AdminAddr,
    /// What it owns, at least one.
    pub resources: Vec<ResourceConfig>,
    /// Threads that serve requests; by default one for each processor that it may use.
    pub threads: NonZeroU8,
    /// The pause timer.
    pub pause_timeout_ms: u64,
    /// What happens when it ends; none: `ask` where somebody is there to answer, else `abort`.
    pub on_pause_timeout: Option<OnPauseTimeout>,
    /// What restarts this host, for `lull restart --host`.
    pub reboot_command: String,
    /// The longest that sharers of a resource wait for each other after a start.
    pub barrier_ms: u64,
    /// A peer that is silent for so long is taken for dead.
    pub keep_alive_ms: u64,
    /// Machines of the same hypervisor that may come over vsock, by the numbers that it gave them. [SEC-1]
    pub vsock_peers: Vec<u32>,
    /// Whether plain TCP is accepted beyond loopback, and vsock from everybody. [SEC-1]
    pub insecure: bool,
}

/// One resource of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceConfig {
    /// Its name.
    pub name: String,
    /// What it rests on, in the form of the command line.
    pub backend: String,
}

/// An initiator, ready to be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitiatorConfig {
    /// Name of the node, by default the host's.
    pub name: String,
    /// Where its identity and roster are kept.
    pub state_dir: PathBuf,
    /// Where its operator reaches it.
    pub admin: AdminAddr,
    /// A peer that is silent for so long is taken for dead.
    pub keep_alive_ms: u64,
    /// Where targets knock that have started. [CONN-1]
    pub callback: Option<Addr>,
    /// Whether plain TCP is dialled beyond loopback. [SEC-1]
    pub insecure: bool,
    /// How this host is shut down where a policy wants it.
    pub shutdown: ShutdownConfig,
    /// How long this host, when it goes down, waits for a target that is away.
    pub going_down_timeout_ms: u64,
    /// What it uses, at least one.
    pub attachments: Vec<AttachmentConfig>,
}

/// How this host is shut down. [TIMER-2]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShutdownConfig {
    /// The command line.
    pub command: String,
    /// How long the host may take to go down.
    pub deadline_ms: u64,
    /// The command line for a host that is still up then.
    pub last_resort: Option<String>,
}

impl ShutdownConfig {
    /// What is not said is the service manager's. The last resort is only where the command is its own too: who
    /// tries a policy with a harmless command is not switched off.
    pub fn of(command: Option<String>, deadline: Option<u64>, last_resort: Option<String>) -> Self {
        let forced = || command.is_none().then(|| DEFAULT_LAST_RESORT.to_owned());
        Self {
            last_resort: last_resort.or_else(forced),
            command: command.unwrap_or_else(|| DEFAULT_SHUTDOWN.to_owned()),
            deadline_ms: deadline.unwrap_or(DEFAULT_SHUTDOWN_DEADLINE_MS),
        }
    }
}

/// One attachment of an initiator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachmentConfig {
    /// Its name, by default that of the resource.
    pub name: String,
    /// The resource and where its target is.
    pub uri: ResourceUri,
    /// Where its consumer finds it.
    pub faces: Faces,
    /// Its access.
    pub access: Access,
    /// What happens when the restart or the resume timer ends.
    pub on_timeout: OnTimeout,
    /// How long its hook may take.
    pub hook_timeout_ms: u64,
    /// The restart timer.
    pub restart_timeout_ms: u64,
    /// The resume timer.
    pub resume_timeout_ms: u64,
    /// How long the target reserves the resource for it after a loss; none: without limit.
    pub hold_ms: Option<u64>,
    /// The most bytes of acknowledged changes that are kept until they are flushed; 0: each is durable before it is
    /// acknowledged. [SAFE-3]
    pub retain: u64,
}

/// Where an attachment's consumer finds it; at least one of them.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
#[group(required = true, multiple = true)]
pub struct Faces {
    /// Where its consumer finds it over NBD: unix:/path or tcp:host:port
    #[arg(long, value_name = "ADDR")]
    pub nbd: Option<Addr>,
    /// A file that is the disk, mounted by FUSE; made where it does not exist
    #[arg(long, value_name = "PATH")]
    pub fuse: Option<PathBuf>,
    /// Where the monitor of a virtual machine finds it (QEMU's vhost-user-blk): the path of a unix socket
    #[arg(long, value_name = "PATH", value_parser = listening_path)]
    pub vhost_user: Option<PathBuf>,
    /// A device of the kernel's NBD that is the disk: /dev/nbd0
    #[arg(long, value_name = "DEVICE", value_parser = nbd_device)]
    pub nbd_device: Option<PathBuf>,
    /// A block device of the kernel's ublk that is the disk: --ublk alone, or --ublk=/dev/ublkb0
    #[arg(
        long,
        value_name = "DEVICE",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "auto"
    )]
    pub ublk: Option<Number>,
}

/// The policy of an attachment. [TIMER-1]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OnTimeout {
    /// Hold on.
    Wait,
    /// Fail held and new requests.
    Error,
    /// Run this command line and hold on.
    Hook(String),
    /// Fail held and new requests, run this command line, shut the host down. [TIMER-2]
    Shutdown(Option<String>),
}

impl std::str::FromStr for OnTimeout {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "wait" => Ok(Self::Wait),
            "error" => Ok(Self::Error),
            "shutdown" => Ok(Self::Shutdown(None)),
            _ => match text.split_once(':') {
                Some((policy @ ("hook" | "shutdown"), command)) if command.trim().is_empty() => {
                    Err(format!("`{policy}:` lacks its command: write {policy}:COMMAND"))
                }
                Some(("hook", command)) => Ok(Self::Hook(command.to_owned())),
                Some(("shutdown", command)) => Ok(Self::Shutdown(Some(command.to_owned()))),
                Some(_) | None => Err(format!(
                    "`{text}` is no policy: write wait, error, hook:COMMAND or shutdown[:COMMAND]"
                )),
            },
        }
    }
}

/// The pause timer where nothing else is said.
pub const DEFAULT_PAUSE_TIMEOUT_MS: u64 = 30_000;
/// How long sharers wait for each other where nothing else is said.
pub const DEFAULT_BARRIER_MS: u64 = 60_000;
/// The silence that means death where nothing else is said.
pub const DEFAULT_KEEP_ALIVE_MS: u64 = 5_000;
/// The restart timer where nothing else is said.
pub const DEFAULT_RESTART_TIMEOUT_MS: u64 = 600_000;
/// How long a hook may take where nothing else is said.
pub const DEFAULT_HOOK_TIMEOUT_MS: u64 = 60_000;
/// How long a host that goes down waits for a target where nothing else is said: for one that reboots at the same time.
pub const DEFAULT_GOING_DOWN_TIMEOUT_MS: u64 = 30_000;
/// How a host is shut down where nothing else is said; how, if that does not work; and when it has not worked.
const DEFAULT_REBOOT: &str = "systemctl reboot";
const DEFAULT_SHUTDOWN: &str = "systemctl poweroff";
const DEFAULT_LAST_RESORT: &str = "systemctl poweroff --force --force";
const DEFAULT_SHUTDOWN_DEADLINE_MS: u64 = 120_000;
/// What is retained where nothing else is said, in bytes.
pub const DEFAULT_RETAIN: u64 = 64 << 20;
/// The least that is worth being retained, in bytes.
pub const LEAST_RETAIN: u64 = 1 << 20;
/// The resume timer where nothing else is said.
pub const DEFAULT_RESUME_TIMEOUT_MS: u64 = 60_000;

/// How many processors this process may use, as far as threads can be counted here.
fn processors() -> NonZeroU8 {
    let found = std::thread::available_parallelism().ok();
    found.map_or(NonZeroU8::MIN, |count| count.try_into().unwrap_or(NonZeroU8::MAX))
}

impl TargetConfig {
    /// A target without resources, as this host would run it.
    pub fn of_this_host() -> Self {
        Self {
            name: host_name(),
            listen: Vec::new(),
            nbd: Vec::new(),
            state_dir: default_state_dir(Role::Target),
            admin: Role::Target.default_socket(),
            resources: Vec::new(),
            threads: processors(),
            pause_timeout_ms: DEFAULT_PAUSE_TIMEOUT_MS,
            on_pause_timeout: None,
            reboot_command: DEFAULT_REBOOT.to_owned(),
            barrier_ms: DEFAULT_BARRIER_MS,
            keep_alive_ms: DEFAULT_KEEP_ALIVE_MS,
            vsock_peers: Vec::new(),
            insecure: false,
        }
    }

    /// Where it listens if nothing is said.
    pub fn default_listen() -> Addr {
        Addr::Tcp { host: "127.0.0.1".to_owned(), port: lull_transport::DEFAULT_PORT }
    }
}

impl AttachmentConfig {
    /// An attachment with every default.
    pub fn new(name: String, uri: ResourceUri, faces: Faces) -> Self {
        Self {
            name,
            uri,
            faces,
            access: Access::Rw,
            on_timeout: OnTimeout::Wait,
            hook_timeout_ms: DEFAULT_HOOK_TIMEOUT_MS,
            restart_timeout_ms: DEFAULT_RESTART_TIMEOUT_MS,
            resume_timeout_ms: DEFAULT_RESUME_TIMEOUT_MS,
            hold_ms: None,
            retain: DEFAULT_RETAIN,
        }
    }

    /// The hold time, where it is not said: without limit for who waits, else as long as its own
    /// restart timer. Call it when policy and timer are known. [SAFE-7]
    pub fn derive_hold(&mut self, said_ms: Option<u64>) {
        self.hold_ms = match (&self.on_timeout, said_ms) {
            (_, Some(ms)) => Some(ms),
            (OnTimeout::Wait, None) => None,
            (OnTimeout::Error | OnTimeout::Hook(_) | OnTimeout::Shutdown(_), None) => {
                Some(self.restart_timeout_ms)
            }
        };
    }
}

impl InitiatorConfig {
    /// An initiator without attachments, as this host would run it.
    pub fn of_this_host() -> Self {
        Self {
            name: host_name(),
            state_dir: default_state_dir(Role::Initiator),
            admin: Role::Initiator.default_socket(),
            keep_alive_ms: DEFAULT_KEEP_ALIVE_MS,
            callback: None,
            insecure: false,
            shutdown: ShutdownConfig::of(None, None, None),
            going_down_timeout_ms: DEFAULT_GOING_DOWN_TIMEOUT_MS,
            attachments: Vec::new(),
        }
    }
}

/// Reads and checks the file at `path`.
///
/// # Errors
/// A file that cannot be read, or everything that is wrong in it, each with its place.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let text =
        std::fs::read_to_string(path).map_err(|error| ConfigError::unreadable(path, &error))?;
    parse(&path.display().to_string(), &text)
}

/// What messages call a configuration that came through a pipe.
pub const STDIN: &str = "standard input";

/// The most that is read from a pipe, in bytes: who pipes a disk by mistake is told, not fed.
const MOST_FROM_STDIN: u64 = 16 << 20;

/// Reads and checks what comes on standard input.
///
/// # Errors
/// An input that cannot be read or does not end, or everything that is wrong in it.
pub fn load_stdin() -> Result<Config, ConfigError> {
    let unreadable = |error: std::io::Error| ConfigError::unreadable(Path::new(STDIN), &error);
    let mut bytes = Vec::new();
    std::io::stdin().take(MOST_FROM_STDIN + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MOST_FROM_STDIN {
        return Err(unreadable(std::io::Error::other("more than 16 MiB")));
    }
    let text = String::from_utf8(bytes)
        .map_err(|_| unreadable(std::io::Error::other("it is no text in UTF-8")))?;
    parse(STDIN, &text)
}

/// Checks the text of a configuration; `name` stands for the file in messages.
pub fn parse(name: &str, text: &str) -> Result<Config, ConfigError> {
    let file: file::FileConfig =
        toml::from_str(text).map_err(|error| ConfigError::of_toml(name, text, &error))?;
    resolve::resolve(file).map_err(|problems| ConfigError::of_problems(name, text, problems))
}

#[cfg(test)]
mod tests;
