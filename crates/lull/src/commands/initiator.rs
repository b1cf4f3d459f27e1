//! `lull initiator`: use several resources.

use std::path::PathBuf;
use std::time::Duration;

use lull_admin::Role;
use lull_initiator::{Policy, ShutdownConfig};

use crate::config::{self, AttachmentConfig, InitiatorConfig, OnTimeout};
use crate::exit::Failure;
use crate::log;
use crate::service;

/// The flags of `lull initiator`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = super::attach::HOOKS)]
pub struct Args {
    /// A configuration with [initiator] and [[attachment]]
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// An attachment whose resource is another one now, and meant: what was unflushed of the old one is lost
    #[arg(long, value_name = "ATTACHMENT")]
    pub adopt: Vec<String>,
    /// An attachment that another instance of this node owns, and that this one is to have: its unflushed writes are lost
    #[arg(long, value_name = "ATTACHMENT")]
    pub take_over: Vec<String>,
    #[command(flatten)]
    pub log: log::FormatArgs,
}

/// The configuration that the file means.
///
/// # Errors
/// A wrong file, or one without an initiator.
pub fn resolve(args: &Args) -> Result<InitiatorConfig, Failure> {
    let file = args.config.display();
    config::load(&args.config)?.initiator.ok_or_else(|| {
        Failure::failed(format!("{file} has no [initiator]\n  next: add it, or `lull target`"))
    })
}

/// Runs the daemon until it is stopped.
pub fn run(args: Args, volume: log::Volume) -> Result<(), Failure> {
    let mut config = daemon_config(resolve(&args).map_err(Failure::declined)?);
    for name in &args.adopt {
        named(&mut config, name).map_err(Failure::declined)?.adopt = true;
    }
    for name in &args.take_over {
        named(&mut config, name).map_err(Failure::declined)?.take_over = true;
    }
    serve(config, volume, args.log.log_format)
}

fn named<'a>(
    config: &'a mut lull_initiator::Config,
    name: &str,
) -> Result<&'a mut lull_initiator::AttachmentConfig, Failure> {
    let missing = || {
        let text = format!("there is no attachment `{name}`\n  next: `lull check` lists them");
        Failure::Usage(text)
    };
    config.attachments.iter_mut().find(|one| one.name == name).ok_or_else(missing)
}

/// Runs the daemon in this process; what happens is told on standard error, a line each.
pub fn serve(
    config: lull_initiator::Config,
    volume: log::Volume,
    format: log::Format,
) -> Result<(), Failure> {
    service::name_process(Role::Initiator);
    log::to_stderr(volume, format);
    let served = lull_initiator::run(config, service::tell);
    served.map_err(|error| Failure::failed(error.to_string()))
}

/// The configuration as the daemon takes it.
pub fn daemon_config(config: InitiatorConfig) -> lull_initiator::Config {
    lull_initiator::Config {
        node: config.name,
        state_dir: config.state_dir,
        admin: config.admin,
        silence: Duration::from_millis(config.keep_alive_ms),
        shutdown: ShutdownConfig {
            command: config.shutdown.command,
            deadline: Duration::from_millis(config.shutdown.deadline_ms),
            last_resort: config.shutdown.last_resort,
        },
        going_down_timeout: Duration::from_millis(config.going_down_timeout_ms),
        keeping: service::keeping(),
        callback: config.callback,
        attachments: config.attachments.into_iter().map(attachment).collect(),
    }
}

fn attachment(config: AttachmentConfig) -> lull_initiator::AttachmentConfig {
    lull_initiator::AttachmentConfig {
        name: config.name,
        uri: config.uri,
        nbd: config.faces.nbd.into_iter().collect(),
        fuse: config.faces.fuse,
        vhost_user: config.faces.vhost_user,
        nbd_device: config.faces.nbd_device,
        ublk: config.faces.ublk,
        access: config.access,
        policy: match config.on_timeout {
            OnTimeout::Wait => Policy::Wait,
            OnTimeout::Error => Policy::Error,
            OnTimeout::Hook(command) => Policy::Hook(command),
            OnTimeout::Shutdown(hook) => Policy::Shutdown { hook },
        },
        hook_limit: Duration::from_millis(config.hook_timeout_ms),
        restart_timeout: Duration::from_millis(config.restart_timeout_ms),
        resume_timeout: Duration::from_millis(config.resume_timeout_ms),
        hold: config.hold_ms.map(Duration::from_millis),
        retain: config.retain,
        take_over: false,
        adopt: false,
    }
}
