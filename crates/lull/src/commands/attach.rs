//! `lull attach`: use one resource of a target.

use std::path::PathBuf;

use lull_admin::{Access, AdminAddr, ResourceUri};
use lull_transport::Addr;

use super::initiator;
use crate::config::{self, AttachmentConfig, Faces, InitiatorConfig, OnTimeout, ShutdownConfig};
use crate::exit::Failure;
use crate::log;
use crate::units::parse_span_ms;

/// What a policy's commands are told, for the help and the manual of every verb that runs them.
pub const HOOKS: &str = "\
The COMMAND of a policy is run by /bin/sh -c, without input. Its output goes to the log; its last lines and \
how it ended are in `lull status`. In its environment, and in that of a shutdown's commands:
  LULL_NODE        name of this node
  LULL_ATTACHMENT  name of the attachment
  LULL_RESOURCE    name of the resource at its target
  LULL_TARGET      where the target is dialled
  LULL_POLICY      hook or shutdown
  LULL_TIMER       restart or resume: which timer ended
  LULL_AWAY_MS     for how long nothing has been shared, in milliseconds
  LULL_WHY         why, as a sentence";

/// The flags of `lull attach`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HOOKS)]
pub struct Args {
    /// The resource: lull://host[:port]/name, lull+unix:///name?socket=/path or lull+vsock://cid[:port]/name
    #[arg(value_name = "URI")]
    pub uri: ResourceUri,
    #[command(flatten)]
    pub faces: Faces,
    /// Name of this node [default: the host's name]
    #[arg(long, value_name = "NODE", value_parser = config::node_name)]
    pub name: Option<String>,
    /// Name of the attachment in `lull status` and `lull detach` [default: the resource's name]
    ///
    /// Its identity is kept under this name in the state directory: with another name it is another attachment, and the
    /// place of the one before stays reserved. Several attachments of one resource have a name each.
    #[arg(long, value_name = "NAME", value_parser = config::resource_name)]
    pub attachment_name: Option<String>,
    /// Where its identity is kept [default: /var/lib/lull/initiator, or below ~/.local/state]
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Where its operator reaches it [default: /run/lull/initiator.sock, or below $XDG_RUNTIME_DIR]
    ///
    /// A directory of this or another unix socket that is missing is made, but none above it.
    #[arg(long, value_name = "ADDR")]
    pub admin: Option<AdminAddr>,
    /// rw (alone), rw-shared (beside other rw-shared, each write durable when it is answered) or ro
    #[arg(long, value_name = "ACCESS", default_value = "rw", value_parser = config::access)]
    pub access: Access,
    /// When the target stays away too long: wait, error, hook:COMMAND, or shutdown[:COMMAND], which
    /// shuts this host down, after COMMAND
    #[arg(long, value_name = "POLICY", default_value = "wait")]
    pub on_timeout: OnTimeout,
    /// How long the COMMAND of --on-timeout may take; then it is killed
    #[arg(long, value_name = "SPAN", default_value = "60s", value_parser = parse_span_ms)]
    pub hook_timeout: u64,
    #[command(flatten)]
    pub shutdown: ShutdownArgs,
    /// When this host goes down, by whoever's word: how long it waits for a target that is away, before what is held is
    /// answered with errors, so that file systems can be unmounted
    #[arg(long, value_name = "SPAN", default_value = "30s", value_parser = parse_span_ms)]
    pub going_down_timeout: u64,
    /// How long the target may be away
    #[arg(long, value_name = "SPAN", default_value = "10m", value_parser = parse_span_ms)]
    pub restart_timeout: u64,
    /// How long a target that is back may take to go on
    #[arg(long, value_name = "SPAN", default_value = "60s", value_parser = parse_span_ms)]
    pub resume_timeout: u64,
    /// How long the target reserves the resource after a loss [default: no limit for wait, else
    /// the restart timeout]
    #[arg(long, value_name = "SPAN", value_parser = parse_span_ms)]
    pub hold: Option<u64>,
    /// The most acknowledged, unflushed bytes that are kept for a target that crashes
    #[arg(long, value_name = "SIZE", default_value = "64M", value_parser = config::retain)]
    pub retain: u64,
    /// Keep nothing: each write is on the target's disk before it is acknowledged
    #[arg(long, conflicts_with = "retain")]
    pub write_through: bool,
    /// How long a silent peer counts as alive
    #[arg(long, value_name = "SPAN", default_value = "5s", value_parser = parse_span_ms)]
    pub keep_alive: u64,
    /// Where a target knocks that has started, so that it is dialled at once: unix:/path, tcp:host:port or vsock:cid:port of this host
    #[arg(long, value_name = "ADDR")]
    pub callback: Option<Addr>,
    /// Come in although another instance of this node owns the attachment: its unflushed writes are lost
    ///
    /// For a state directory that is an older copy of the owner's, whose own is gone for good; the refusal says "another
    /// instance". An owner that is still there is cut off, and ends. Where the state directory was lost itself, `lull evict`
    /// at the target ends its place instead.
    #[arg(long)]
    pub take_over: bool,
    /// Use the resource although it is another one than before: what was unflushed of the old one is lost
    #[arg(long)]
    pub adopt: bool,
    /// Use plain TCP beyond this host: neither encrypted nor authenticated
    #[arg(long)]
    pub insecure: bool,
    #[command(flatten)]
    pub log: log::FormatArgs,
}

/// The flags of `--on-timeout shutdown`.
#[derive(Debug, clap::Args)]
pub struct ShutdownArgs {
    /// With --on-timeout shutdown: what shuts this host down [default: systemctl poweroff]
    #[arg(long, value_name = "CMD", value_parser = config::command_line)]
    pub shutdown_command: Option<String>,
    /// With it: how long the host may take to go down [default: 2m]
    #[arg(long, value_name = "SPAN", value_parser = parse_span_ms)]
    pub shutdown_deadline: Option<u64>,
    /// With it: what is run when the command failed, or the host is still up at the deadline [default:
    /// systemctl poweroff --force --force; nothing where another --shutdown-command is given]
    #[arg(long, value_name = "CMD", value_parser = config::command_line)]
    pub shutdown_last_resort: Option<String>,
}

impl ShutdownArgs {
    fn resolve(self, policy: &OnTimeout) -> Result<ShutdownConfig, Failure> {
        let Self { shutdown_command, shutdown_deadline, shutdown_last_resort } = self;
        let said = shutdown_command.is_some()
            || shutdown_deadline.is_some()
            || shutdown_last_resort.is_some();
        if said && !matches!(policy, OnTimeout::Shutdown(_)) {
            let text = "--shutdown-… without --on-timeout shutdown shuts nothing down\n  next: add \
                        it, or leave them out";
            return Err(Failure::Usage(text.to_owned()));
        }
        Ok(ShutdownConfig::of(shutdown_command, shutdown_deadline, shutdown_last_resort))
    }
}

/// The configuration that the flags mean.
///
/// # Errors
/// A plain address beyond loopback without `--insecure`, or flags of a shutdown without one.
pub fn resolve(args: Args) -> Result<InitiatorConfig, Failure> {
    for addr in
        args.faces.nbd.iter().chain([&lull_initiator::addr_of(&args.uri)]).chain(&args.callback)
    {
        addr.check_plain(args.insecure).map_err(|error| Failure::Usage(error.to_string()))?;
    }
    let name = args.attachment_name.unwrap_or_else(|| args.uri.resource.clone());
    let mut attachment = AttachmentConfig::new(name, args.uri, args.faces);
    attachment.access = args.access;
    let shutdown = args.shutdown.resolve(&args.on_timeout)?;
    attachment.on_timeout = args.on_timeout;
    attachment.hook_timeout_ms = args.hook_timeout;
    attachment.restart_timeout_ms = args.restart_timeout;
    attachment.resume_timeout_ms = args.resume_timeout;
    attachment.retain = if args.write_through { 0 } else { args.retain };
    attachment.derive_hold(args.hold);
    let mut config = InitiatorConfig::of_this_host();
    config.name = args.name.unwrap_or(config.name);
    config.state_dir = args.state.unwrap_or(config.state_dir);
    config.admin = args.admin.unwrap_or(config.admin);
    config.keep_alive_ms = args.keep_alive;
    config.callback = args.callback;
    config.insecure = args.insecure;
    config.shutdown = shutdown;
    config.going_down_timeout_ms = args.going_down_timeout;
    config.attachments.push(attachment);
    Ok(config)
}

/// Runs the daemon until it is stopped.
pub fn run(args: Args, volume: log::Volume) -> Result<(), Failure> {
    let (take_over, adopt, format) = (args.take_over, args.adopt, args.log.log_format);
    let mut config = initiator::daemon_config(resolve(args).map_err(Failure::declined)?);
    for attachment in &mut config.attachments {
        (attachment.take_over, attachment.adopt) = (take_over, adopt);
    }
    initiator::serve(config, volume, format)
}
