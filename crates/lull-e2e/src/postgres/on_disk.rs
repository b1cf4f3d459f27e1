//! PostgreSQL on a disk of a target, by the longest way that a host without the kernel's NBD has: a mounted file, a loop
//! device, ext4.

use std::path::PathBuf;

use rustix::process::Signal;

use super::{LIMIT, Pgbench, Postgres};
use crate::clock::unix_us;
use crate::initiator::{Initiator, Use};
use crate::loop_device::LoopDevice;
use crate::process;
use crate::target::Target;
use crate::tools::run;
use crate::wait::{PROMPT, wait_until};
use crate::world::World;

/// How many clients there are when everything dies at once.
const LAST: u32 = 4;

/// A server, its file system, its disk, and those who bring that; dropped from the top down.
#[derive(Debug)]
pub struct OnDisk {
    /// The server, which runs.
    pub server: Postgres,
    disk: Option<LoopDevice>,
    /// Who has the disk mounted.
    pub web: Initiator,
    /// Who owns it.
    pub target: Target,
    file: PathBuf,
}

/// When a target was killed, and when it was there again, in Unix microseconds.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Killed {
    /// When SIGKILL was sent; it is started at once.
    pub at_us: u64,
    /// When it served.
    pub serves_us: u64,
    /// When all that it had lost was sent again, and its user shared.
    pub shares_us: u64,
    /// Changes that were sent again.
    pub replayed: u64,
}

impl OnDisk {
    /// A server with tables of this scale on a disk with this backend.
    ///
    /// # Panics
    /// Where something is lacking: root, FUSE, loop devices, PostgreSQL.
    #[track_caller]
    pub fn start(world: &World, backend: &str, scale: u32) -> Self {
        let target = world.target("stor").backend("db1", backend).start();
        let file = world.path("db1.disk");
        let web = world.initiator("web1").uses(Use::of(&target, "db1").mounted(&file)).start();
        let there = || file.metadata().is_ok_and(|meta| meta.len() > 0);
        wait_until("the file is there", PROMPT, there);
        let disk = LoopDevice::ext4_on(world, "db1", &file);
        let mut server = Postgres::new(world, disk.path());
        server.start();
        server.lay_out(scale);
        Self { server, disk: Some(disk), web, target, file }
    }

    /// The same in a checkpoint, at a moment at which something is not flushed.
    #[track_caller]
    pub fn kill_target_unflushed(&mut self) -> Killed {
        let checkpoint = self.server.begin("CHECKPOINT");
        let target = self.target.pid();
        wait_until("something is not flushed", LIMIT, || {
            process::send(target, Signal::STOP);
            wait_until("the target stops", PROMPT, || process::is_stopped(target));
            // The first look may have come before the last answer.
            let unflushed = (0..2).all(|_| self.web.attachment().unflushed > 0);
            if !unflushed {
                process::send(target, Signal::CONT);
            }
            unflushed
        });
        let killed = self.kill_target();
        checkpoint.finish(LIMIT).ok();
        killed
    }

    /// SIGKILL to the target, which is started again at once.
    #[track_caller]
    pub fn kill_target(&mut self) -> Killed {
        let before = self.web.attachment().retaining.replayed_changes;
        let at_us = unix_us();
        self.target.kill();
        self.target.start();
        let serves_us = unix_us();
        self.web.wait_sharing();
        let shares_us = unix_us();
        let replayed = self.web.attachment().retaining.replayed_changes - before;
        Killed { at_us, serves_us, shares_us, replayed }
    }

    /// Ends it all in the worst way, and looks at what is left: server and target are killed in the middle of
    /// transactions; then the file system is looked at and mounted anew, so that everything is read from the disk; the
    /// server recovers by its log, and its pages, tables, indexes and sums have to be right. `done` transactions were
    /// acknowledged before.
    ///
    /// # Panics
    /// Where an acknowledged transaction is missing, or anything is not as it should be.
    #[track_caller]
    pub fn judge(mut self, world: &World, done: u64) {
        self.server.assert_content();
        let mut load = self.server.load(LAST);
        load.wait_progress();
        let done = done + self.die(load);
        self.remount(world);
        self.server.start();
        let log = self.server.log();
        assert!(log.contains("automatic recovery in progress"), "it was killed: {log}");
        self.server.amcheck();
        let lines = self.server.balance();
        // A client that was not answered does not know what became of its last one.
        let possible = done..=done + u64::from(LAST);
        assert!(possible.contains(&lines), "{lines} transactions, and {done} acknowledged");
        self.server.assert_content();
        self.server.stop();
        self.server.checksums();
        assert_eq!(self.web.attachment().errors, 0);
    }

    /// What was acknowledged before the server and its target died.
    #[track_caller]
    fn die(&mut self, load: Pgbench) -> u64 {
        self.target.kill();
        let dying = self.server.kill();
        self.target.start();
        self.web.wait_sharing();
        dying.wait();
        load.bereft().done
    }

    #[track_caller]
    fn remount(&mut self, world: &World) {
        drop(self.disk.take());
        let checked = run("fsck.ext4", &["-fn", &self.file.display().to_string()]);
        assert!(checked.status.success(), "{}{}", checked.stdout, checked.stderr);
        self.disk = Some(LoopDevice::mounted(world, "db1", &self.file));
    }
}
