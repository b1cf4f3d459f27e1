//! `lull target`: share resources.

use std::num::NonZeroU8;
use std::path::PathBuf;
use std::time::Duration;

use lull_admin::{AdminAddr, Moment, OnPauseTimeout, Role};
use lull_transport::{Addr, Admitted};

use crate::config::{self, ResourceConfig, TargetConfig};
use crate::exit::Failure;
use crate::log;
use crate::service;
use crate::units::parse_span_ms;

/// The flags of `lull target`. A flag replaces the key of its name in the configuration.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A configuration with [target] and [[resource]]; flags replace its keys
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Name of this node [default: the host's name]
    #[arg(long, value_name = "NODE", value_parser = config::node_name)]
    pub name: Option<String>,
    /// Where initiators reach it: unix:/path, tcp:host:port or vsock:cid:port [default: tcp:127.0.0.1:10820]
    #[arg(long, value_name = "ADDR")]
    pub listen: Vec<Addr>,
    /// Where clients without an agent reach it over NBD; they cannot be paused: a restart closes their connections
    #[arg(long, value_name = "ADDR")]
    pub nbd: Vec<Addr>,
    /// Where roster and history are kept [default: /var/lib/lull/target, or below ~/.local/state]
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Where its operator reaches it [default: /run/lull/target.sock, or below $XDG_RUNTIME_DIR]
    ///
    /// A directory of this or another unix socket that is missing is made, but none above it.
    #[arg(long, value_name = "ADDR")]
    pub admin: Option<AdminAddr>,
    /// Threads that serve requests, 1 to 255 [default: one for each processor that it may use]
    #[arg(long, value_name = "COUNT", value_parser = threads)]
    pub threads: Option<NonZeroU8>,
    /// How long initiators may take to pause [default: 30s]
    #[arg(long, value_name = "SPAN", value_parser = parse_span_ms)]
    pub pause_timeout: Option<u64>,
    /// What happens then: ask, abort, proceed or wait [default: ask if somebody is there, else abort]
    #[arg(long, value_name = "POLICY", value_parser = config::on_pause_timeout)]
    pub on_pause_timeout: Option<OnPauseTimeout>,
    /// What restarts this host, for lull restart --host [default: systemctl reboot]
    #[arg(long, value_name = "CMD", value_parser = config::command_line)]
    pub reboot_command: Option<String>,
    /// How long initiators that share a resource (rw-shared) wait for each other after a start [default: 60s]
    #[arg(long, value_name = "SPAN", value_parser = parse_span_ms)]
    pub barrier: Option<u64>,
    /// How long a silent peer counts as alive [default: 5s]
    #[arg(long, value_name = "SPAN", value_parser = parse_span_ms)]
    pub keep_alive: Option<u64>,
    /// A resource whose disk, or content, is another one now, and meant: what its users have not flushed is lost
    #[arg(long, value_name = "RESOURCE")]
    pub adopt: Vec<String>,
    /// A machine that may come over vsock, by the number (CID) that the hypervisor gave it; repeat it for more
    #[arg(long = "vsock-peer", value_name = "CID")]
    pub vsock_peers: Vec<u32>,
    /// Accept plain TCP from beyond this host: neither encrypted nor authenticated; and every machine over vsock
    #[arg(long)]
    pub insecure: bool,
    #[command(flatten)]
    pub log: log::FormatArgs,
    /// What is shared: file:/path[,direct=on|off][,engine=auto|uring|threads][,size=1G], mem:64M, null:1G, another
    /// target's resource, lull://host/resource, or an NBD server's export, nbd://host/export; these two take
    /// [,read-only][,write-through]
    ///
    /// `size=` makes a file that is missing. A disk becomes larger by enlarging its file (truncate --size=20G) or device,
    /// giving the new size here, or none, and starting the target anew; of a --config by `lull restart`.
    #[arg(value_name = "NAME=BACKEND", value_parser = resource)]
    pub resources: Vec<ResourceConfig>,
}

fn threads(text: &str) -> Result<NonZeroU8, String> {
    text.parse().map_err(|_| format!("`{text}` is no number of threads: write 1 to 255"))
}

fn resource(text: &str) -> Result<ResourceConfig, String> {
    let (name, backend) = text
        .split_once('=')
        .ok_or_else(|| format!("`{text}` is not NAME=BACKEND, as db1=file:/srv/db1.img is"))?;
    // Whether it may lead off this host is seen when all flags are known.
    config::backend_spec(backend, true)?;
    Ok(ResourceConfig { name: config::resource_name(name)?, backend: backend.to_owned() })
}

/// The configuration that file and flags mean together.
///
/// # Errors
/// A wrong file, no resource, or a plain address beyond loopback without `--insecure`.
pub fn resolve(args: Args) -> Result<TargetConfig, Failure> {
    let mut config = match &args.config {
        Some(file) => {
            let missing = || {
                let file = file.display();
                Failure::failed(format!(
                    "{file} has no [target]\n  next: add it, or `lull initiator`"
                ))
            };
            config::load(file)?.target.ok_or_else(missing)?
        }
        None => TargetConfig::of_this_host(),
    };
    config.insecure |= args.insecure;
    config.vsock_peers.extend(args.vsock_peers);
    if !args.listen.is_empty() {
        config.listen = args.listen;
    } else if config.listen.is_empty() {
        config.listen.push(TargetConfig::default_listen());
    }
    if !args.nbd.is_empty() {
        config.nbd = args.nbd;
    }
    config.name = args.name.unwrap_or(config.name);
    config.state_dir = args.state.unwrap_or(config.state_dir);
    config.admin = args.admin.unwrap_or(config.admin);
    config.threads = args.threads.unwrap_or(config.threads);
    config.pause_timeout_ms = args.pause_timeout.unwrap_or(config.pause_timeout_ms);
    config.on_pause_timeout = args.on_pause_timeout.or(config.on_pause_timeout);
    config.reboot_command = args.reboot_command.unwrap_or(config.reboot_command);
    config.barrier_ms = args.barrier.unwrap_or(config.barrier_ms);
    config.keep_alive_ms = args.keep_alive.unwrap_or(config.keep_alive_ms);
    for resource in args.resources {
        config.resources.retain(|other| other.name != resource.name || args.config.is_none());
        if config.resources.iter().any(|other| other.name == resource.name) {
            let name = resource.name;
            return Err(Failure::Usage(format!("`{name}` is given twice\n  next: name each once")));
        }
        config.resources.push(resource);
    }
    if config.resources.is_empty() {
        let text =
            "nothing to share\n  next: name a resource, for instance db1=file:/srv/db1.img,size=1G";
        return Err(Failure::Usage(text.to_owned()));
    }
    for addr in config.listen.iter().chain(&config.nbd) {
        addr.check_plain(config.insecure).map_err(|error| Failure::Usage(error.to_string()))?;
    }
    for ResourceConfig { name, backend } in &config.resources {
        let wrong = |error| Failure::Usage(format!("{name}={backend}: {error}"));
        config::backend_spec(backend, config.insecure).map_err(wrong)?;
    }
    Ok(config)
}

/// Runs the daemon until it is told to end.
///
/// # Errors
/// Whatever keeps it from serving, with the next step.
pub fn run(args: Args, volume: log::Volume) -> Result<(), Failure> {
    service::name_process(Role::Target);
    let (format, adopt) = (args.log.log_format, args.adopt.clone());
    let config = resolve(args).and_then(daemon_config).map_err(Failure::declined)?;
    log::to_stderr(volume, format);
    let adopted = lull_target::adopt(&config, &adopt);
    for sentence in adopted.map_err(|error| Failure::failed(error.to_string()))? {
        tracing::warn!("{sentence}");
    }
    let served = lull_target::run(&config, |moment| {
        if let Moment::Serving(what) = moment {
            log::serving(what);
        }
        service::tell(moment);
    });
    served.map_err(|error| Failure::failed(error.to_string()))
}

pub(super) fn daemon_config(config: TargetConfig) -> Result<lull_target::Config, Failure> {
    let resource = |resource: ResourceConfig| {
        let ResourceConfig { name, backend } = resource;
        match backend.parse() {
            Ok(backend) => Ok(lull_target::ResourceConfig { name, backend }),
            Err(error) => Err(Failure::Usage(format!("{name}={backend}: {error}"))),
        }
    };
    Ok(lull_target::Config {
        node: config.name,
        listen: config.listen,
        nbd: config.nbd,
        state_dir: config.state_dir,
        admin: config.admin,
        resources: config.resources.into_iter().map(resource).collect::<Result<_, _>>()?,
        threads: config.threads.into(),
        pause_timeout: Duration::from_millis(config.pause_timeout_ms),
        on_pause_timeout: config.on_pause_timeout,
        reboot_command: config.reboot_command,
        barrier: Duration::from_millis(config.barrier_ms),
        silence: Duration::from_millis(config.keep_alive_ms),
        vsock_peers: match config.insecure {
            true => Admitted::Everybody,
            false => Admitted::Only(config.vsock_peers),
        },
        insecure: config.insecure,
    })
}
