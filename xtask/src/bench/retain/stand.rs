//! A target with a resource for each way to write, an initiator for each that has one, and what they count.

use crate::bench::line::{lay_out, refuse_memory, wait_for};
use anyhow::{Context, Result, ensure};
use lull_admin::{ResourceStatus, RetainingStatus, Status};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// How changes get to a medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// An initiator retains what no flush covers.
    Retained,
    /// An initiator has each write made durable by itself.
    Through,
    /// Nobody protects anything: the consumer speaks to the target itself.
    Bare,
}

impl Way {
    /// In tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Retained => "retained",
            Self::Through => "written through",
            Self::Bare => "no initiator",
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Retained => "kept",
            Self::Through => "through",
            Self::Bare => "bare",
        }
    }
}

/// What a resource rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Medium {
    /// Memory, for which nothing costs anything to be durable.
    Memory,
    /// A file.
    File,
}

/// All of it, under way; ended and removed when dropped.
pub struct Stand {
    lull: PathBuf,
    /// Files, state and logs, on the medium that is measured.
    dir: TempDir,
    /// Sockets, whose paths must be short.
    sockets: TempDir,
    target: Child,
    initiators: Vec<(String, Child)>,
}

impl Stand {
    /// Starts a target whose resources are `size_mib` long, files below `media`, and the initiators, which may retain
    /// so many bytes.
    pub fn start(lull: &Path, media: &Path, size_mib: usize, retain: u64) -> Result<Self> {
        refuse_memory(media)?;
        let dir = tempfile::Builder::new().prefix("retain-").tempdir_in(media)?;
        let sockets = tempfile::tempdir()?;
        let log = dir.path().join("target.log");
        let mut command = daemon(lull, &log)?;
        command.args(["target", "--name", "stor", "--state"]).arg(dir.path().join("state"));
        for (flag, name) in [("--listen", "stor"), ("--nbd", "bare"), ("--admin", "admin")] {
            command.arg(flag).arg(unix(&sockets, name));
        }
        for way in [Way::Retained, Way::Through, Way::Bare] {
            let file = dir.path().join(format!("{}.img", way.word()));
            lay_out(&file, size_mib)?;
            command.arg(format!("{}=file:{}", resource(way, Medium::File), file.display()));
            command.arg(format!("{}=mem:{size_mib}M", resource(way, Medium::Memory)));
        }
        let target = command.spawn().with_context(|| lull.display().to_string())?;
        let mut stand =
            Self { lull: lull.to_owned(), dir, sockets, target, initiators: Vec::new() };
        wait_for(&stand.sockets.path().join("admin"), &mut stand.target, &log)?;
        for way in [Way::Retained, Way::Through] {
            for medium in [Medium::Memory, Medium::File] {
                stand.attach(way, medium, retain)?;
            }
        }
        Ok(stand)
    }

    fn attach(&mut self, way: Way, medium: Medium, retain: u64) -> Result<()> {
        let name = resource(way, medium);
        let log = self.dir.path().join(format!("{name}.log"));
        let mut command = daemon(&self.lull, &log)?;
        let socket = self.sockets.path().join("stor");
        command.args(["attach", &format!("lull+unix:///{name}?socket={}", socket.display())]);
        command.args(["--name", &name, "--nbd", &unix(&self.sockets, &name)]);
        command.arg("--admin").arg(unix(&self.sockets, &format!("{name}.admin")));
        command.arg("--state").arg(self.dir.path().join(&name));
        match way {
            Way::Through => command.arg("--write-through"),
            Way::Retained | Way::Bare => command.args(["--retain", &retain.to_string()]),
        };
        let mut child = command.spawn()?;
        let face = self.sockets.path().join(&name);
        let there = wait_for(&face, &mut child, &log);
        self.initiators.push((name, child));
        there
    }

    /// Where a consumer finds it.
    pub fn uri(&self, way: Way, medium: Medium) -> String {
        let name = resource(way, medium);
        let face = if way == Way::Bare { "bare" } else { &name };
        format!("nbd+unix:///{name}?socket={}", self.sockets.path().join(face).display())
    }

    /// The folder of what is written.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The target's process.
    pub fn target(&self) -> u32 {
        self.target.id()
    }

    /// The initiator's process, where there is one.
    pub fn initiator(&self, way: Way, medium: Medium) -> Option<u32> {
        let name = resource(way, medium);
        self.initiators.iter().find(|(its, _)| *its == name).map(|(_, child)| child.id())
    }

    /// What the target has counted.
    pub fn counted(&self, way: Way, medium: Medium) -> Result<ResourceStatus> {
        let name = resource(way, medium);
        let resources = self.status("admin")?.target.unwrap_or_default().resources;
        let found = resources.into_iter().find(|one| one.name == name);
        found.with_context(|| format!("no resource {name} in the target's status"))
    }

    /// What the initiator has kept.
    pub fn kept(&self, medium: Medium) -> Result<RetainingStatus> {
        let name = resource(Way::Retained, medium);
        let status = self.status(&format!("{name}.admin"))?.initiator.unwrap_or_default();
        let attachment = status.attachments.into_iter().next();
        Ok(attachment.with_context(|| format!("no attachment in {name}'s status"))?.retaining)
    }

    fn status(&self, admin: &str) -> Result<Status> {
        let mut command = Command::new(&self.lull);
        command.args(["status", "--json", "--admin", &unix(&self.sockets, admin)]);
        let output = command.stdin(Stdio::null()).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "`lull status` ended with {}: {said}", output.status);
        Ok(serde_json::from_slice(&output.stdout)?)
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        let initiators = self.initiators.iter_mut().map(|(_, child)| child);
        for child in initiators.chain([&mut self.target]) {
            // Both fail only where it has ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn resource(way: Way, medium: Medium) -> String {
    let on = match medium {
        Medium::Memory => "memory",
        Medium::File => "file",
    };
    format!("{}-{on}", way.word())
}

fn unix(sockets: &TempDir, name: &str) -> String {
    format!("unix:{}", sockets.path().join(name).display())
}

fn daemon(lull: &Path, log: &Path) -> Result<Command> {
    let log = File::create(log)?;
    let mut command = Command::new(lull);
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    Ok(command)
}
