//! The configuration as it was typed. Keys have the names of the flags.

use std::num::NonZeroU8;

use serde::Deserialize;
use toml::Spanned;

/// A text with its place, to be checked later.
pub type Text = Spanned<String>;

/// One file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileConfig {
    pub target: Option<Spanned<FileTarget>>,
    #[serde(default)]
    pub resource: Vec<Spanned<FileResource>>,
    pub initiator: Option<Spanned<FileInitiator>>,
    #[serde(default)]
    pub attachment: Vec<Spanned<FileAttachment>>,
}

/// `[target]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct FileTarget {
    pub name: Option<Text>,
    #[serde(default)]
    pub listen: Vec<Text>,
    #[serde(default)]
    pub nbd: Vec<Text>,
    pub state: Option<Text>,
    pub admin: Option<Text>,
    pub threads: Option<NonZeroU8>,
    pub pause_timeout: Option<Text>,
    pub on_pause_timeout: Option<Text>,
    pub reboot_command: Option<Text>,
    pub barrier: Option<Text>,
    pub keep_alive: Option<Text>,
    #[serde(default)]
    pub vsock_peers: Vec<u32>,
    #[serde(default)]
    pub insecure: bool,
}

/// One `[[resource]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct FileResource {
    pub name: Text,
    pub backend: Text,
}

/// `[initiator]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct FileInitiator {
    pub name: Option<Text>,
    pub state: Option<Text>,
    pub admin: Option<Text>,
    pub keep_alive: Option<Text>,
    pub callback: Option<Text>,
    #[serde(default)]
    pub insecure: bool,
    pub shutdown_command: Option<Text>,
    pub shutdown_deadline: Option<Text>,
    pub shutdown_last_resort: Option<Text>,
    pub going_down_timeout: Option<Text>,
}

/// One `[[attachment]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct FileAttachment {
    pub name: Option<Text>,
    pub uri: Text,
    pub nbd: Option<Text>,
    pub fuse: Option<Text>,
    pub vhost_user: Option<Text>,
    pub nbd_device: Option<Text>,
    pub ublk: Option<Text>,
    pub access: Option<Text>,
    pub on_timeout: Option<Text>,
    pub hook_timeout: Option<Text>,
    pub restart_timeout: Option<Text>,
    pub resume_timeout: Option<Text>,
    pub hold: Option<Text>,
    pub retain: Option<Text>,
    #[serde(default)]
    pub write_through: bool,
}

/// Every key, for the test that the example shows them all.
#[cfg(test)]
pub const KEYS: [&str; 31] = [
    "name",
    "listen",
    "nbd",
    "state",
    "admin",
    "pause-timeout",
    "on-pause-timeout",
    "reboot-command",
    "barrier",
    "keep-alive",
    "vsock-peers",
    "insecure",
    "callback",
    "backend",
    "uri",
    "fuse",
    "vhost-user",
    "nbd-device",
    "ublk",
    "access",
    "on-timeout",
    "hook-timeout",
    "shutdown-command",
    "shutdown-deadline",
    "shutdown-last-resort",
    "going-down-timeout",
    "restart-timeout",
    "resume-timeout",
    "hold",
    "retain",
    "write-through",
];
