//! What a target is told, checked.

use lull_admin::{AdminAddr, OnPauseTimeout};
use lull_block::BackendSpec;
use lull_transport::{Addr, Admitted};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

/// A target, ready to be started.
#[derive(Clone, Debug)]
pub struct Config {
    /// This node's name, 1 to 64 bytes.
    pub node: String,
    /// Where initiators reach it.
    pub listen: Vec<Addr>,
    /// Where clients without an agent reach it over NBD.
    pub nbd: Vec<Addr>,
    /// Where roster, epochs and history are kept.
    pub state_dir: PathBuf,
    /// Where its operator reaches it.
    pub admin: AdminAddr,
    /// What it owns.
    pub resources: Vec<ResourceConfig>,
    /// Threads that serve requests, the machine's own among them.
    pub threads: NonZeroUsize,
    /// The pause timer.
    pub pause_timeout: Duration,
    /// What happens when it ends; `None`: ask where somebody is there to answer, else abort.
    pub on_pause_timeout: Option<OnPauseTimeout>,
    /// What restarts this host, for `/bin/sh -c`.
    pub reboot_command: String,
    /// The longest that initiators which share a resource wait for each other after a start [RESUME-2].
    pub barrier: Duration,
    /// A peer that is silent for about so long is lost.
    pub silence: Duration,
    /// Who may come over vsock. [SEC-1]
    pub vsock_peers: Admitted,
    /// Whether initiators are knocked over plain TCP beyond loopback. [SEC-1]
    pub insecure: bool,
}

/// One resource.
#[derive(Clone, Debug)]
pub struct ResourceConfig {
    /// Its name, 1 to 64 bytes.
    pub name: String,
    /// What it rests on.
    pub backend: BackendSpec,
}
