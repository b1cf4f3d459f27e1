//! Debian's PostgreSQL as whoever relies on a disk: a server, its load, and its own ways of looking at what it has.

mod load;
mod on_disk;

pub use load::{Pgbench, PgbenchReport, Transaction};
pub use on_disk::{Killed, OnDisk};

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;

use crate::command::{Finished, Running};
use crate::process::{self, Process};
use crate::wait::{PROMPT, wait_for, wait_until};
use crate::world::{Inner, World};

/// Where Debian has its servers, one folder for each release.
const RELEASES: &str = "/usr/lib/postgresql";
/// Whom they run as: they refuse root.
const USER: &str = "postgres";
/// How long a program of its may take, on a busy machine and with a target that restarts meanwhile.
const LIMIT: Duration = Duration::from_secs(120);
/// What is no default, or what the tests are about. Little memory and short logs keep the disk busy: much is read
/// again, and checkpoints come often.
const SETTINGS: [&str; 9] = [
    "fsync=on",
    "full_page_writes=on",
    "synchronous_commit=on",
    "restart_after_crash=off",
    "listen_addresses=",
    "shared_buffers=16MB",
    "max_connections=30",
    "max_wal_size=32MB",
    "checkpoint_timeout=30s",
];

/// A server and its files. What runs of it is killed when this is dropped.
#[derive(Debug)]
pub struct Postgres {
    world: Arc<Inner>,
    binaries: PathBuf,
    sockets: PathBuf,
    data: PathBuf,
    lives: u32,
    server: Option<Process>,
}

impl Postgres {
    /// New and empty, in a folder of this file system, with checksums on each page. It does not run.
    ///
    /// # Panics
    /// Where it cannot be made, with what is lacking: Debian's package `postgresql`, or root.
    #[track_caller]
    pub fn new(world: &World, file_system: &Path) -> Self {
        let (binaries, world) = (binaries(), world.inner());
        // The server's user passes through to its folders.
        let passable = Permissions::from_mode(0o711);
        std::fs::set_permissions(world.path(""), passable).expect("the world's own directory");
        let (sockets, data) = (world.path("pg"), file_system.join("pg"));
        let made = Self { world, binaries, sockets, data, lives: 0, server: None };
        let mut folders = Command::new("install");
        folders.args(["--directory", "--mode=700", "--owner", USER, "--group", USER]);
        folders.args([&made.sockets, &made.data]);
        finish(folders).ok();
        let mut initdb = made.as_its_user("initdb");
        initdb.arg("--pgdata").arg(&made.data).args(["--auth=trust", "--data-checksums"]);
        initdb.args(["--wal-segsize=1", "--locale=C", "--encoding=UTF8"]);
        finish(initdb).ok();
        made
    }

    /// Starts it and waits until it serves, which is after its recovery.
    ///
    /// # Panics
    /// Where it does not come to serve, with what it says.
    #[track_caller]
    pub fn start(&mut self) {
        self.lives += 1;
        let mut command = self.as_its_user("postgres");
        command.arg("-D").arg(&self.data).arg("-k").arg(&self.sockets);
        command.args(SETTINGS.iter().flat_map(|setting| ["-c", setting]));
        let log = self.log_of(self.lives);
        let server = Process::start(command, "PostgreSQL", &log);
        wait_for("PostgreSQL serves", LIMIT, || {
            assert!(server.ended().is_none(), "PostgreSQL has ended: {}", server.log());
            server.log().contains("database system is ready to accept connections").then_some(())
        });
        self.server = Some(server);
    }

    /// Ends it as its operator would who does not wait for clients.
    ///
    /// # Panics
    /// Where it does not end well.
    #[track_caller]
    pub fn stop(&mut self) {
        let server = self.server.take().expect("a server that runs");
        server.signal(Signal::INT);
        let status = server.wait(LIMIT);
        assert!(status.success(), "PostgreSQL ended with {status}: {}", server.log());
    }

    /// SIGKILL to every process of it. A process that waits for its disk ends when the disk is there.
    pub fn kill(&mut self) -> Dying {
        let server = self.server.take();
        let mut processes = Vec::new();
        if let Some(server) = &server {
            // It starts no other one meanwhile.
            process::try_send(server.pid(), Signal::STOP);
            processes = process::children(server.pid());
            processes.push(server.pid());
            processes.iter().for_each(|one| process::try_send(*one, Signal::KILL));
        }
        Dying { processes, _server: server }
    }

    /// What it has said in its present life, or in its last.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_of(self.lives)).unwrap_or_default()
    }

    /// It has nothing to complain of in its present life.
    ///
    /// # Panics
    /// On the first line that says that something failed.
    #[track_caller]
    pub fn assert_content(&self) {
        let log = self.log();
        let bad = ["WARNING:", "ERROR:", "FATAL:", "PANIC:"];
        let complaint = log.lines().find(|line| bad.iter().any(|word| line.contains(word)));
        assert_eq!(complaint, None, "PostgreSQL complains");
    }

    /// What an order gives: rows by lines, columns parted by `|`.
    #[track_caller]
    pub fn ask(&self, order: &str) -> String {
        self.begin(order).finish(LIMIT).ok().stdout.trim().to_owned()
    }

    /// The same, begun.
    pub fn begin(&self, order: &str) -> Running {
        let mut psql = self.client("psql");
        psql.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-c", order, "postgres"]);
        Running::start(psql)
    }

    /// Every table against the rules of its pages and every index against its table.
    ///
    /// # Panics
    /// Where something is not as it should be.
    #[track_caller]
    pub fn amcheck(&self) {
        let mut amcheck = self.client("pg_amcheck");
        amcheck.args(["--install-missing", "--heapallindexed", "--parent-check", "postgres"]);
        let said = finish(amcheck).ok();
        assert_eq!((&*said.stdout, &*said.stderr), ("", ""), "pg_amcheck has found something");
    }

    /// The checksum of each page of a server that does not run.
    ///
    /// # Panics
    /// Where one is wrong.
    #[track_caller]
    pub fn checksums(&self) {
        assert!(self.server.is_none(), "it runs");
        let mut checksums = self.as_its_user("pg_checksums");
        checksums.args(["--check", "-D"]).arg(&self.data);
        let said = finish(checksums).ok().stdout;
        assert!(said.contains("Bad checksums:  0\n"), "{said}");
    }

    /// A program of its as a client.
    fn client(&self, program: &str) -> Command {
        let mut command = Command::new(self.binaries.join(program));
        self.surround(&mut command);
        command.arg("--host").arg(&self.sockets).args(["--username", USER]);
        command
    }

    fn as_its_user(&self, program: &str) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", USER, "--regid", USER, "--init-groups"]);
        // The test may end in any way: what it has started ends with it.
        command.args(["--pdeathsig", "KILL"]).arg(self.binaries.join(program));
        self.surround(&mut command);
        command
    }

    /// Nothing of the machine's own servers is found from here.
    fn surround(&self, command: &mut Command) {
        let names = std::env::vars_os().map(|(name, _)| name);
        for name in names.filter(|name| name.to_string_lossy().starts_with("PG")) {
            command.env_remove(name);
        }
        command.current_dir(&self.sockets).env("LC_ALL", "C");
    }

    fn log_of(&self, life: u32) -> PathBuf {
        self.world.path(&format!("postgresql-{life}.log"))
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        drop(self.kill());
    }
}

/// Processes that were sent SIGKILL.
#[derive(Debug)]
pub struct Dying {
    processes: Vec<u32>,
    _server: Option<Process>,
}

impl Dying {
    /// Waits until all have ended.
    #[track_caller]
    pub fn wait(self) {
        wait_until("the end of PostgreSQL's processes", PROMPT, || {
            !self.processes.iter().any(|one| process::is_running(*one))
        });
    }
}

/// The programs of the newest release that is installed.
#[track_caller]
fn binaries() -> PathBuf {
    let releases = std::fs::read_dir(RELEASES).into_iter().flatten().flatten();
    let number = |release: &PathBuf| release.file_name()?.to_str()?.parse::<u32>().ok();
    let newest = releases.map(|release| release.path()).max_by_key(number);
    let binaries = newest.map(|release| release.join("bin"));
    binaries
        .filter(|place| place.join("initdb").is_file())
        .unwrap_or_else(|| panic!("no server in {RELEASES}: Debian's package postgresql has one"))
}

#[track_caller]
fn finish(command: Command) -> Finished {
    Running::start(command).finish(LIMIT)
}
