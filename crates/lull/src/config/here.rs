//! What a configuration takes from the host when it does not say it.

use std::path::{Path, PathBuf};

use lull_admin::Role;

/// The host's name up to the first dot, or `localhost` where it has none.
pub fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim().split('.').next() {
        Some(short) if lull_admin::is_resource_name(short) => short.to_owned(),
        _ => "localhost".to_owned(),
    }
}

/// Below `$STATE_DIRECTORY`, where a service manager gives one; else `/var/lib/lull/ROLE` for root, `$XDG_STATE_HOME/lull/ROLE` (by default below
/// `~/.local/state`) for others.
pub fn default_state_dir(role: Role) -> PathBuf {
    let set = |name| std::env::var_os(name).filter(|dir| !dir.is_empty()).map(PathBuf::from);
    if let Some(given) = set("STATE_DIRECTORY") {
        return given.join(role.as_str());
    }
    if rustix::process::geteuid().is_root() {
        return Path::new("/var/lib/lull").join(role.as_str());
    }
    let base = set("XDG_STATE_HOME").or_else(|| set("HOME").map(|home| home.join(".local/state")));
    base.unwrap_or_else(|| PathBuf::from(".")).join("lull").join(role.as_str())
}
