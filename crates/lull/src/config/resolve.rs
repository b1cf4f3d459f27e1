//! From what was typed to what is meant; all problems are found in one pass.

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use lull_admin::{Access, AdminAddr, OnPauseTimeout, ResourceUri, is_resource_name};
use lull_frontend::nbd::kernel::NbdDevice;
use lull_frontend::ublk::Number;
use lull_transport::Addr;
use toml::Spanned;

use super::backend::backend_spec;
use super::claims::{Claims, Taken};
use super::file::{FileAttachment, FileConfig, FileInitiator, FileResource, FileTarget, Text};
use super::{
    AttachmentConfig, Config, Faces, InitiatorConfig, LEAST_RETAIN, OnTimeout, Problem,
    ResourceConfig, ShutdownConfig, TargetConfig,
};
use crate::units::parse_span_ms;

const A_BACKEND: &str = "a backend is file:/path, mem:SIZE, null:SIZE, lull://host/resource or nbd://host/export, options after commas";

/// Checks everything; either the whole configuration, or all that is wrong with it.
pub fn resolve(file: FileConfig) -> Result<Config, Vec<Problem>> {
    let mut checker = Checker::default();
    let target = checker.target(file.target, file.resource);
    let initiator = checker.initiator(file.initiator, file.attachment);
    if target.is_none() && initiator.is_none() && checker.problems.is_empty() {
        checker.wrong(0..0, "neither a target nor an initiator", "add [target] or [initiator]");
    }
    if checker.problems.is_empty() {
        Ok(Config { target, initiator })
    } else {
        checker.problems.sort_by_key(|problem| problem.span.start);
        Err(checker.problems)
    }
}

#[derive(Default)]
struct Checker {
    problems: Vec<Problem>,
    claims: Claims,
}

impl Checker {
    fn wrong(&mut self, span: Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        self.problems.push(Problem::new(span, message, help));
    }

    /// Notes where something is wanted twice that only one may have.
    fn claim(&mut self, span: Range<usize>, claim: impl FnOnce(&mut Claims) -> Result<(), Taken>) {
        if let Err((what, how)) = claim(&mut self.claims) {
            self.wrong(span, what, how);
        }
    }

    /// Parses a text that may be absent; a wrong one is noted and counts as absent.
    fn read<T, E: ToString>(
        &mut self,
        text: Option<Text>,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = text?;
        match parse(text.get_ref()) {
            Ok(value) => Some(value),
            Err(error) => {
                let message = error.to_string();
                // Errors of this kind are "what: how to write it".
                let (what, how) = match message.rsplit_once(": ") {
                    Some((what, how)) if what.ends_with('`') && !what.contains(' ') => {
                        (format!("{what} cannot be used here"), how.to_owned())
                    }
                    Some((what, how)) => (what.to_owned(), how.to_owned()),
                    None => (message, "`lull init` shows how it is written".to_owned()),
                };
                self.wrong(text.span(), what, how);
                None
            }
        }
    }

    fn target(
        &mut self,
        section: Option<Spanned<FileTarget>>,
        resources: Vec<Spanned<FileResource>>,
    ) -> Option<TargetConfig> {
        if section.is_none() && resources.is_empty() {
            return None;
        }
        let span = section.as_ref().map_or(0..0, Spanned::span);
        let file = section.map(Spanned::into_inner).unwrap_or_default();
        let mut config = TargetConfig::of_this_host();
        config.insecure = file.insecure;
        config.vsock_peers = file.vsock_peers;
        config.listen = self.listeners(file.listen, file.insecure);
        if config.listen.is_empty() {
            config.listen.push(TargetConfig::default_listen());
        }
        config.nbd = self.listeners(file.nbd, file.insecure);
        set(&mut config.name, self.read(file.name, node_name));
        set(&mut config.state_dir, self.state(file.state));
        set(&mut config.admin, self.admin(file.admin));
        set(&mut config.threads, file.threads);
        set(&mut config.pause_timeout_ms, self.read(file.pause_timeout, parse_span_ms));
        config.on_pause_timeout = self.read(file.on_pause_timeout, on_pause_timeout);
        set(&mut config.reboot_command, self.read(file.reboot_command, command_line));
        set(&mut config.barrier_ms, self.read(file.barrier, parse_span_ms));
        set(&mut config.keep_alive_ms, self.read(file.keep_alive, parse_span_ms));
        if resources.is_empty() {
            self.wrong(
                span,
                "a target without resources",
                "add a [[resource]] with name and backend",
            );
        }
        let mut names = HashMap::new();
        for resource in resources {
            let resource = resource.into_inner();
            let span = resource.name.span();
            let backend = resource.backend.get_ref().clone();
            match backend_spec(&backend, file.insecure) {
                Ok(spec) => self.claim(resource.backend.span(), |claims| claims.medium(&spec)),
                Err(message) => self.wrong(resource.backend.span(), message, A_BACKEND),
            }
            if let Some(name) = self.read(Some(resource.name), resource_name) {
                self.unique(&mut names, &name, span, "resource");
                config.resources.push(ResourceConfig { name, backend });
            }
        }
        Some(config)
    }

    fn initiator(
        &mut self,
        section: Option<Spanned<FileInitiator>>,
        attachments: Vec<Spanned<FileAttachment>>,
    ) -> Option<InitiatorConfig> {
        if section.is_none() && attachments.is_empty() {
            return None;
        }
        let span = section.as_ref().map_or(0..0, Spanned::span);
        let file = section.map(Spanned::into_inner).unwrap_or_default();
        let mut config = InitiatorConfig::of_this_host();
        config.insecure = file.insecure;
        set(&mut config.name, self.read(file.name, node_name));
        set(&mut config.state_dir, self.state(file.state));
        set(&mut config.admin, self.admin(file.admin));
        set(&mut config.keep_alive_ms, self.read(file.keep_alive, parse_span_ms));
        config.callback = self.callback(file.callback, file.insecure);
        let command = self.read(file.shutdown_command, command_line);
        let deadline = self.read(file.shutdown_deadline, parse_span_ms);
        let last_resort = self.read(file.shutdown_last_resort, command_line);
        config.shutdown = ShutdownConfig::of(command, deadline, last_resort);
        set(&mut config.going_down_timeout_ms, self.read(file.going_down_timeout, parse_span_ms));
        if attachments.is_empty() {
            self.wrong(
                span,
                "an initiator without attachments",
                "add an [[attachment]] with uri and nbd, fuse, vhost-user, nbd-device or ublk",
            );
        }
        let mut names = HashMap::new();
        for attachment in attachments {
            let attachment = attachment.into_inner();
            let span = attachment.name.as_ref().map_or(attachment.uri.span(), Spanned::span);
            if let Some(attachment) = self.attachment(attachment, file.insecure) {
                self.unique(&mut names, &attachment.name, span, "attachment");
                config.attachments.push(attachment);
            }
        }
        Some(config)
    }

    /// `None` where something without which it is no attachment is wrong; that is noted.
    fn attachment(&mut self, file: FileAttachment, insecure: bool) -> Option<AttachmentConfig> {
        let place = file.uri.span();
        let uri = self.read(Some(file.uri), |text| reachable(text, insecure));
        let listeners = (file.nbd, file.fuse, file.vhost_user);
        let devices = (file.nbd_device, file.ublk);
        let faces = self.faces(place.clone(), listeners, devices, insecure);
        let name = self.read(file.name, resource_name);
        let access = self.read(file.access, access).unwrap_or(Access::Rw);
        let on_timeout = self.read(file.on_timeout, str::parse).unwrap_or(OnTimeout::Wait);
        let hook = self.read(file.hook_timeout, parse_span_ms);
        let restart = self.read(file.restart_timeout, parse_span_ms);
        let resume = self.read(file.resume_timeout, parse_span_ms);
        let hold = self.read(file.hold, parse_span_ms);
        let retain = match (file.retain, file.write_through) {
            (Some(text), true) => {
                let message = "both `retain` and `write-through = true`";
                self.wrong(
                    text.span(),
                    message,
                    "what is written through is not retained: keep one of them",
                );
                None
            }
            (None, true) => Some(0),
            (text, false) => self.read(text, retain),
        };
        let uri = uri?;
        if access == Access::Rw {
            self.claim(place, |claims| claims.writer(&uri));
        }
        let name = name.unwrap_or_else(|| uri.resource.clone());
        let mut config = AttachmentConfig::new(name, uri, faces?);
        config.access = access;
        config.on_timeout = on_timeout;
        set(&mut config.hook_timeout_ms, hook);
        set(&mut config.restart_timeout_ms, restart);
        set(&mut config.resume_timeout_ms, resume);
        set(&mut config.retain, retain);
        config.derive_hold(hold);
        Some(config)
    }

    /// `None` where there is none; that is noted.
    fn faces(
        &mut self,
        place: Range<usize>,
        (nbd, fuse, vhost_user): (Option<Text>, Option<Text>, Option<Text>),
        (nbd_device, ublk): (Option<Text>, Option<Text>),
        insecure: bool,
    ) -> Option<Faces> {
        let none = [&nbd, &fuse, &vhost_user, &nbd_device, &ublk].iter().all(|text| text.is_none());
        if none {
            let next = "say where its consumer finds it: nbd = \"unix:/path\", fuse = \"/path\", \
                        vhost-user = \"/path\", nbd-device = \"/dev/nbd0\" or ublk = \"auto\"";
            self.wrong(place, "an attachment without a front end", next);
            return None;
        }
        let nbd = self.listeners(nbd.into_iter().collect(), insecure).pop();
        let span = fuse.as_ref().map_or(0..0, Spanned::span);
        let fuse = self.read(fuse, file_path);
        if let Some(path) = &fuse {
            self.claim(span, |claims| claims.mounted(path));
        }
        let span = vhost_user.as_ref().map_or(0..0, Spanned::span);
        let vhost_user = self.read(vhost_user, listening_path);
        if let Some(path) = &vhost_user {
            self.claim(span, |claims| claims.socket(&Addr::Unix(path.clone())));
        }
        let span = nbd_device.as_ref().map_or(0..0, Spanned::span);
        let nbd_device = self.read(nbd_device, self::nbd_device);
        if let Some(path) = &nbd_device {
            self.claim(span, |claims| claims.mounted(path));
        }
        let span = ublk.as_ref().map_or(0..0, Spanned::span);
        let ublk = self.read(ublk, str::parse);
        if let Some(number @ Number::This(_)) = &ublk {
            self.claim(span, |claims| claims.mounted(Path::new(&number.to_string())));
        }
        let any = nbd.is_some() || fuse.is_some() || vhost_user.is_some();
        let any = any || nbd_device.is_some() || ublk.is_some();
        any.then_some(Faces { nbd, fuse, vhost_user, nbd_device, ublk })
    }

    fn state(&mut self, text: Option<Text>) -> Option<PathBuf> {
        let span = text.as_ref().map_or(0..0, Spanned::span);
        let dir = self.read(text, path)?;
        self.claim(span, |claims| claims.state(&dir));
        Some(dir)
    }

    fn admin(&mut self, text: Option<Text>) -> Option<AdminAddr> {
        let span = text.as_ref().map_or(0..0, Spanned::span);
        let admin = self.read(text, |text| {
            let admin: AdminAddr = text.parse().map_err(|error| format!("{error}"))?;
            socket_path(admin.path()).map(|addr| (admin, addr))
        });
        let (admin, addr) = admin?;
        self.claim(span, |claims| claims.socket(&addr));
        Some(admin)
    }

    fn callback(&mut self, text: Option<Text>, insecure: bool) -> Option<Addr> {
        let span = text.as_ref().map_or(0..0, Spanned::span);
        let addr = self.listeners(text.into_iter().collect(), insecure).pop()?;
        if let Err(error) = lull_initiator::check_callback(&addr) {
            let how = "name one of them, or its host";
            self.wrong(span, error.to_string(), how);
        }
        Some(addr)
    }

    fn listeners(&mut self, texts: Vec<Text>, insecure: bool) -> Vec<Addr> {
        let mut addrs = Vec::new();
        for text in texts {
            let span = text.span();
            let parse = |text: &str| -> Result<Addr, String> {
                let addr: Addr = text.parse().map_err(|error| format!("{error}"))?;
                addr.check_plain(insecure).map_err(|error| error.to_string())?;
                Ok(addr)
            };
            let Some(addr) = self.read(Some(text), parse) else { continue };
            self.claim(span, |claims| claims.socket(&addr));
            addrs.push(addr);
        }
        addrs
    }

    fn unique(
        &mut self,
        names: &mut HashMap<String, ()>,
        name: &str,
        span: Range<usize>,
        what: &str,
    ) {
        if names.insert(name.to_owned(), ()).is_some() {
            let message = format!("a second {what} named `{name}`");
            self.wrong(span, message, "give each its own name");
        }
    }
}

fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

fn path(text: &str) -> Result<PathBuf, String> {
    match text {
        "" => Err("an empty path: write the path of a directory".to_owned()),
        text => Ok(text.into()),
    }
}

/// The path of a file that is to be mounted.
fn file_path(text: &str) -> Result<PathBuf, String> {
    match text {
        "" => Err("an empty path: write the path of a file".to_owned()),
        text if text.ends_with('/') => Err(format!("`{text}` is a directory: name a file in it")),
        text => Ok(text.into()),
    }
}

/// The path of a unix socket to listen at.
///
/// # Errors
/// What is wrong with it, and what to write.
pub fn listening_path(text: &str) -> Result<PathBuf, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return Err(format!(
            "`{text}` is an address, and this is always a unix socket: write {path}"
        ));
    }
    if text.starts_with("tcp:") || text.ends_with('/') {
        return Err(format!("`{text}` is no path of a unix socket: write /path/of/one"));
    }
    socket_path(Path::new(text)).map(|_| text.into())
}

/// A device of the kernel's NBD.
pub fn nbd_device(text: &str) -> Result<PathBuf, String> {
    let device = NbdDevice::new(Path::new(text)).map_err(|error| error.to_string())?;
    Ok(device.path().to_owned())
}

/// A command line for a shell.
pub fn command_line(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("an empty command: write a command line for /bin/sh".to_owned()),
        _ => Ok(text.to_owned()),
    }
}

/// How much is retained.
pub fn retain(text: &str) -> Result<u64, String> {
    match lull_block::parse_size(text) {
        None => Err(format!("`{text}` is no size: write one like 64M")),
        Some(bytes) if bytes < LEAST_RETAIN => {
            Err(format!("`{text}` is too little to retain: give 1M or more, or write through"))
        }
        Some(bytes) => Ok(bytes),
    }
}

/// A node's name: what may name a resource may name a node.
pub fn node_name(text: &str) -> Result<String, String> {
    named(text, "node")
}

/// A resource's or attachment's name.
pub fn resource_name(text: &str) -> Result<String, String> {
    named(text, "resource")
}

fn named(text: &str, what: &str) -> Result<String, String> {
    if is_resource_name(text) {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "`{}` cannot name a {what}: write 1 to 64 bytes without slashes or control characters",
            text.escape_debug()
        ))
    }
}

/// An access as it is written on the command line.
pub fn access(text: &str) -> Result<Access, String> {
    match text {
        "rw" => Ok(Access::Rw),
        "rw-shared" => Ok(Access::RwShared),
        "ro" => Ok(Access::Ro),
        _ => Err(format!("`{text}` is no access: write rw, rw-shared or ro")),
    }
}

/// A pause policy as it is written on the command line.
pub fn on_pause_timeout(text: &str) -> Result<OnPauseTimeout, String> {
    match text {
        "ask" => Ok(OnPauseTimeout::Ask),
        "abort" => Ok(OnPauseTimeout::Abort),
        "proceed" => Ok(OnPauseTimeout::Proceed),
        "wait" => Ok(OnPauseTimeout::Wait),
        _ => Err(format!("`{text}` is no pause policy: write ask, abort, proceed or wait")),
    }
}

/// A URI at an address that may be dialled. [SEC-1]
fn reachable(text: &str, insecure: bool) -> Result<ResourceUri, String> {
    let uri: ResourceUri = text.parse().map_err(|error| format!("{error}"))?;
    let addr = lull_initiator::addr_of(&uri);
    if let Addr::Unix(path) = &addr {
        socket_path(path)?;
    }
    addr.check_plain(insecure).map_err(|error| error.to_string())?;
    Ok(uri)
}

/// A socket's path that the kernel takes.
fn socket_path(path: &Path) -> Result<Addr, String> {
    format!("unix:{}", path.display()).parse().map_err(|error| format!("{error}"))
}
