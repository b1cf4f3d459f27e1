//! An NBD server of other people: a medium of a target, or something to be judged.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::Process;
use crate::wait::{PROMPT, wait_until};
use crate::world::World;

/// A server of one disk, which can be killed and started again.
#[derive(Debug)]
pub struct ForeignServer {
    program: &'static str,
    arguments: Vec<String>,
    socket: PathBuf,
    log: PathBuf,
    process: Option<Process>,
}

impl ForeignServer {
    /// nbdkit, which takes any number of clients.
    #[track_caller]
    pub fn nbdkit(world: &World, file: &Path) -> Self {
        let socket = world.path("nbdkit.sock");
        let words = [Path::new("-f"), Path::new("-U"), &socket, Path::new("file"), file];
        Self::start(world, "nbdkit", &words, &socket)
    }

    /// nbdkit with a disk that nothing of outlives it, not even what was flushed.
    #[track_caller]
    pub fn forgetful(world: &World, size: &str) -> Self {
        let socket = world.path("nbdkit.sock");
        let words =
            [Path::new("-f"), Path::new("-U"), &socket, Path::new("memory"), Path::new(size)];
        Self::start(world, "nbdkit", &words, &socket)
    }

    /// qemu-nbd, which takes one client at a time.
    #[track_caller]
    pub fn qemu(world: &World, file: &Path) -> Self {
        let socket = world.path("qemu.sock");
        let words = ["-t", "-f", "raw", "--shared=1", "--discard=unmap", "-k"].map(Path::new);
        Self::start(world, "qemu-nbd", &[&words[..], &[&socket, file]].concat(), &socket)
    }

    #[track_caller]
    fn start(world: &World, program: &'static str, words: &[&Path], socket: &Path) -> Self {
        let arguments = words.iter().map(|word| word.display().to_string()).collect();
        let log = world.path(&format!("{program}.log"));
        let mut server = Self { program, arguments, socket: socket.into(), log, process: None };
        server.again();
        server
    }

    /// Starts it again at the same place, and waits until it listens.
    #[track_caller]
    pub fn again(&mut self) {
        // What a killed one has left.
        let _ = std::fs::remove_file(&self.socket);
        let mut command = Command::new(self.program);
        command.args(&self.arguments);
        self.process = Some(Process::start(command, self.program, &self.log));
        wait_until(&format!("{} listens", self.program), PROMPT, || self.socket.exists());
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// The URI of its export.
    pub fn uri(&self) -> String {
        format!("nbd+unix:///?socket={}", self.socket.display())
    }
}
