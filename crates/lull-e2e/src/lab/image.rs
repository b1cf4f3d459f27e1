//! The initial RAM disk of a guest, which is all of its system.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use super::archive::Archive;
use super::kernel::Kernel;
use super::stock::Stock;

/// Modules that a guest may load; with those that they need. A kernel that has one built in, or not at all, is given none.
const MODULES: [&str; 16] = [
    "dm_flakey",
    "dm_mod",
    "fuse",
    "loop",
    "nbd",
    "overlay",
    "ublk_drv",
    "virtio_blk",
    "virtio_console",
    "virtio_net",
    "virtio_pci",
    "virtiofs",
    "vmw_vsock_virtio_transport",
    "vsock",
    "vsock_loopback",
    "xfs",
];

/// The same for guests that have what other systems share disks with.
const OTHER_MODULES: [&str; 6] =
    ["iscsi_target_mod", "iscsi_tcp", "nvme_tcp", "nvmet_tcp", "sd_mod", "target_core_file"];

/// What one guest has beside what all have.
#[derive(Debug, Default)]
pub(super) struct Own {
    /// Its name.
    pub(super) name: String,
    /// Its address in the lab's network.
    pub(super) address: String,
    /// All guests' addresses and names, as `/etc/hosts` has them.
    pub(super) hosts: String,
    /// Disks that are mounted at the start, by name.
    pub(super) mounts: Vec<String>,
    /// Files by their path without a leading slash.
    pub(super) files: Vec<(String, String)>,
    /// Whether its system is a whole Debian, on a disk.
    pub(super) debian: bool,
    /// Whether it has what other systems share disks with.
    pub(super) others: bool,
    /// A script that runs first, in the place of busybox's init.
    pub(super) init: Option<String>,
    /// What is started with the system, each a name and a script.
    pub(super) services: Vec<(String, String)>,
}

/// The archive's bytes.
pub(super) fn image(stock: &Stock, kernel: Kernel, own: &Own) -> Vec<u8> {
    let mut archive = Archive::default();
    for folder in ["dev", "proc", "sys", "mnt", "run", "tmp", "var/lib", "root"] {
        archive.folder(folder);
    }
    for (path, from) in stock.program_files(own.others) {
        archive.file(&path, &read(&from));
    }
    for (name, from) in stock.all_ours(own.others) {
        archive.file(&format!("bin/{name}"), &read(&from));
    }
    match &own.init {
        Some(script) => archive.file("init", script.as_bytes()),
        None => archive.link("init", "/bin/busybox"),
    }
    for name in ["mkfs.ext4", "mkfs.ext2"] {
        archive.link(&format!("sbin/{name}"), "mke2fs");
    }
    modules(&mut archive, stock, kernel, own.others);
    archive.file("etc/inittab", include_bytes!("inittab"));
    archive.file("etc/lab/start", include_bytes!("start.sh"));
    archive.file("etc/lab/stop", include_bytes!("stop.sh"));
    archive.file("etc/hostname", own.name.as_bytes());
    archive.file("etc/hosts", own.hosts.as_bytes());
    archive.file("etc/profile", format!("PS1='{}# '\n", own.name).as_bytes());
    archive.file("etc/lab/address", own.address.as_bytes());
    archive.file("etc/lab/mounts", lines(&own.mounts).as_bytes());
    archive.folder("etc/lab/services");
    for (name, script) in &own.services {
        archive.file(&format!("etc/lab/services/{name}"), script.as_bytes());
    }
    archive.file("etc/lab/debian", include_bytes!("debian.sh"));
    archive.folder("own");
    for (path, text) in &own.files {
        let path = if own.debian { format!("own/{path}") } else { path.clone() };
        archive.file(&path, text.as_bytes());
    }
    archive.finish()
}

/// The modules with what they need, and the list by which busybox finds them.
fn modules(archive: &mut Archive, stock: &Stock, kernel: Kernel, others: bool) {
    let folder = stock.modules(kernel);
    let version = folder.file_name().and_then(|name| name.to_str()).expect("a kernel's version");
    let inside = format!("lib/modules/{version}");
    let text = String::from_utf8(read(&folder.join("modules.dep"))).expect("a list of paths");
    let needs: HashMap<&str, &str> = text.lines().filter_map(|line| line.split_once(':')).collect();
    let by_name: HashMap<String, &str> =
        needs.keys().map(|path| (module_name(path), *path)).collect();
    let mut wanted = BTreeSet::new();
    let others = OTHER_MODULES.iter().filter(|_| others);
    for path in MODULES.iter().chain(others).filter_map(|name| by_name.get(*name)) {
        wanted.insert(*path);
        // The list names all that a module needs, not only the next.
        wanted.extend(needs[path].split_whitespace());
    }
    let mut list = String::new();
    for path in wanted {
        archive.file(&format!("{inside}/{path}"), &read(&folder.join(path)));
        list += &format!("{path}:{}\n", needs[path]);
    }
    archive.file(&format!("{inside}/modules.dep"), list.as_bytes());
}

fn module_name(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.split('.').next().unwrap_or(name).replace('-', "_")
}

fn lines(words: &[String]) -> String {
    words.iter().map(|word| format!("{word}\n")).collect()
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
