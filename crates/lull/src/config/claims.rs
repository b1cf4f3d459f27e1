//! What only one thing of a configuration may have: a socket's address, a directory of state, a medium, the right to
//! write.

use std::collections::{HashMap, HashSet};
use std::path::{Component, Path, PathBuf};

use lull_admin::ResourceUri;
use lull_block::BackendSpec;
use lull_transport::Addr;

/// What has been given out so far.
#[derive(Debug, Default)]
pub struct Claims {
    sockets: HashSet<Addr>,
    states: HashSet<PathBuf>,
    files: HashSet<PathBuf>,
    /// Files, devices and exports elsewhere, and whether all that use one only read it.
    media: HashMap<PathBuf, bool>,
    written: HashSet<ResourceUri>,
}

/// Why something cannot be had a second time, and what to do.
pub type Taken = (String, &'static str);

impl Claims {
    /// An address to listen at. A port that the kernel chooses is another one each time.
    pub fn socket(&mut self, addr: &Addr) -> Result<(), Taken> {
        let chosen_by_kernel = matches!(addr, Addr::Tcp { port: 0, .. });
        if chosen_by_kernel || self.sockets.insert(addr.clone()) {
            return Ok(());
        }
        Err((format!("{addr} is listened on twice"), "give each its own address"))
    }

    /// A daemon's state directory.
    pub fn state(&mut self, dir: &Path) -> Result<(), Taken> {
        if self.states.insert(plain(dir)) {
            return Ok(());
        }
        let what = format!("{} is the state directory of target and initiator", dir.display());
        Err((what, "give each daemon its own, below one directory if you like"))
    }

    /// A file or device that is a disk.
    pub fn mounted(&mut self, path: &Path) -> Result<(), Taken> {
        if self.files.insert(plain(path)) {
            return Ok(());
        }
        Err((format!("{} is two disks", path.display()), "give each attachment its own"))
    }

    /// What a resource rests on. Memory is each resource's own; a file may be read by many.
    pub fn medium(&mut self, backend: &BackendSpec) -> Result<(), Taken> {
        let (place, reads) = match backend {
            BackendSpec::File(file) => (plain(&file.path), file.read_only),
            BackendSpec::Remote(remote) => (PathBuf::from(&remote.uri), remote.read_only),
            BackendSpec::Faulty(_, inner) => return self.medium(inner),
            BackendSpec::Memory { .. } | BackendSpec::Null { .. } => return Ok(()),
        };
        let shown = place.display().to_string();
        match self.media.insert(place, reads) {
            // Another target's resource is attached for it.
            None if !reads && let Ok(uri) = shown.parse() => self.writer(&uri),
            None => Ok(()),
            Some(read_only) if read_only && reads => Ok(()),
            Some(_) => Err((
                format!("two resources rest on {shown}"),
                "share one resource with several initiators instead, or give both `read-only`",
            )),
        }
    }

    /// An attachment that writes.
    pub fn writer(&mut self, uri: &ResourceUri) -> Result<(), Taken> {
        if self.written.insert(uri.clone()) {
            return Ok(());
        }
        let what = format!("two attachments write {uri}");
        Err((
            what,
            "one resource has one writer: set access = \"ro\" for all others, or \"rw-shared\" for all",
        ))
    }
}

/// A path without what does not matter in it. What is a link or mounted is seen when the daemon starts.
fn plain(path: &Path) -> PathBuf {
    path.components().filter(|part| *part != Component::CurDir).collect()
}
