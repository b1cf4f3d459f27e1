//! `lull attach`: use one resource of a target.

use std::path::PathBuf;

use lull_admin::{Access, AdminAddr, ResourceUri};
use lull_transport::Addr;

use super::initiator;
use crate::config::{self, AttachmentConfig, InitiatorConfig, OnTimeout};
use crate::exit::Failure;
use crate::log;
use crate::units::parse_span_ms;

/// The flags of `lull attach`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The resource: lull://host[:port]/name or lull+unix:///name?socket=/path
    #[arg(value_name = "URI")]
    pub uri: ResourceUri,
    /// Where its consumer finds it over NBD: unix:/path or tcp:host:port
    #[arg(long, value_name = "ADDR")]
    pub nbd: Addr,
    /// Name of this node [default: the host's name]
    #[arg(long, value_name = "NODE", value_parser = config::node_name)]
    pub name: Option<String>,
    /// Where its identity is kept [default: /var/lib/lull/initiator, or below ~/.local/state]
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Where its operator reaches it [default: /run/lull/initiator.sock, or below $XDG_RUNTIME_DIR]
    #[arg(long, value_name = "ADDR")]
    pub admin: Option<AdminAddr>,
    /// rw (alone) or ro
    #[arg(long, value_name = "ACCESS", default_value = "rw", value_parser = config::access)]
    pub access: Access,
    /// When the target stays away too long: wait, error or hook:COMMAND
    #[arg(long, value_name = "POLICY", default_value = "wait")]
    pub on_timeout: OnTimeout,
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
    /// How long a silent peer counts as alive
    #[arg(long, value_name = "SPAN", default_value = "5s", value_parser = parse_span_ms)]
    pub keep_alive: u64,
    /// Come in although another instance of this node owns the attachment: its unflushed writes are lost
    #[arg(long)]
    pub take_over: bool,
    /// Use plain TCP beyond this host: neither encrypted nor authenticated
    #[arg(long)]
    pub insecure: bool,
    #[command(flatten)]
    pub log: log::FormatArgs,
}

/// The configuration that the flags mean.
///
/// # Errors
/// A plain address beyond loopback without `--insecure`.
pub fn resolve(args: Args) -> Result<InitiatorConfig, Failure> {
    for addr in [&args.nbd, &config::dial_addr(&args.uri)] {
        addr.check_plain(args.insecure).map_err(|error| Failure::Usage(error.to_string()))?;
    }
    let name = args.uri.resource.clone();
    let mut attachment = AttachmentConfig::new(name, args.uri, args.nbd);
    attachment.access = args.access;
    attachment.on_timeout = args.on_timeout;
    attachment.restart_timeout_ms = args.restart_timeout;
    attachment.resume_timeout_ms = args.resume_timeout;
    attachment.derive_hold(args.hold);
    let mut config = InitiatorConfig::of_this_host();
    config.name = args.name.unwrap_or(config.name);
    config.state_dir = args.state.unwrap_or(config.state_dir);
    config.admin = args.admin.unwrap_or(config.admin);
    config.keep_alive_ms = args.keep_alive;
    config.insecure = args.insecure;
    config.attachments.push(attachment);
    Ok(config)
}

/// Runs the daemon until it is stopped.
pub fn run(args: Args, volume: log::Volume) -> Result<(), Failure> {
    let (take_over, format) = (args.take_over, args.log.log_format);
    let mut config = initiator::daemon_config(resolve(args)?);
    for attachment in &mut config.attachments {
        attachment.take_over = take_over;
    }
    initiator::serve(config, volume, format)
}
