//! fio's own NBD engine as the consumer: a client that is none of ours.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::command::Running;
use crate::wait::{PROMPT, wait_until};

/// How long one run of fio may take.
const LIMIT: Duration = Duration::from_secs(120);

/// A job to be run.
#[derive(Clone, Debug)]
pub struct Fio {
    name: String,
    args: Vec<String>,
}

/// What a job came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FioReport {
    /// Reads that were done, those that verify included.
    pub reads: u64,
    /// Writes that were done.
    pub writes: u64,
}

impl Fio {
    /// A job of 4 KiB blocks at queue depth 32 on the disk at `uri` (`nbd+unix:…`, `nbd://…`), which
    /// stops at the first error or wrong block.
    pub fn new(name: &str, uri: &str) -> Self {
        let args =
            ["--ioengine=nbd", "--bs=4k", "--iodepth=32", "--verify_fatal=1", "--randrepeat=0"]
                .map(str::to_owned)
                .to_vec();
        Self { name: name.to_owned(), args }.arg(&format!("--uri={uri}"))
    }

    /// The same on a file, or on one in a directory.
    pub fn on_file(name: &str, path: &std::path::Path) -> Self {
        let args =
            ["--ioengine=libaio", "--direct=1", "--bs=4k", "--iodepth=32"].map(str::to_owned);
        let job = Self { name: name.to_owned(), args: args.to_vec() };
        let job = job.arg("--verify_fatal=1").arg("--randrepeat=0").arg("--verify_state_save=0");
        job.arg(&format!("--filename={}", path.display()))
    }

    /// Any further argument of fio.
    #[must_use]
    pub fn arg(mut self, arg: &str) -> Self {
        self.args.push(arg.to_owned());
        self
    }

    /// Writes every block of `size`, then reads each back and verifies it.
    #[must_use]
    pub fn lay_out(self, size: &str) -> Self {
        let job = self.arg("--rw=write").arg(&format!("--size={size}"));
        job.arg("--verify=crc32c").arg("--do_verify=1")
    }

    /// Reads and writes at random over `size`, then reads each written block and verifies that it
    /// is the one of this job.
    #[must_use]
    pub fn mixed(self, size: &str) -> Self {
        let job = self.arg("--rw=randrw").arg(&format!("--size={size}"));
        job.arg("--verify=crc32c").arg("--do_verify=1")
    }

    /// Reads every block of `size`, each of which an earlier job wrote, and verifies it.
    #[must_use]
    pub fn verify_all(self, size: &str) -> Self {
        self.arg("--rw=read").arg(&format!("--size={size}")).arg("--verify=crc32c")
    }

    /// Starts it.
    pub fn start(&self) -> Running {
        let mut command = Command::new("fio");
        command.arg(format!("--name={}", self.name)).args(&self.args);
        command.args(["--output-format=json", "--group_reporting"]);
        // It writes files of its own into its working directory.
        command.current_dir(std::env::temp_dir());
        Running::start(command)
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// On any error, wrong block or failure of its own.
    #[track_caller]
    pub fn run(&self) -> FioReport {
        self.judge(self.start())
    }

    /// Waits for the end of a run and judges it.
    ///
    /// # Panics
    /// On any error, wrong block or failure of its own.
    #[track_caller]
    pub fn judge(&self, running: Running) -> FioReport {
        let finished = running.finish(LIMIT);
        let said = first_lines(&finished.stderr);
        assert!(finished.status.success(), "{}: fio: {}\n{said}", self.name, finished.status);
        // Notes stand before the document in some releases.
        let from = finished.stdout.find('{').unwrap_or(0);
        let document: serde_json::Value = serde_json::from_str(&finished.stdout[from..])
            .unwrap_or_else(|error| panic!("fio's result: {error}\n{}", finished.stdout));
        let job = &document["jobs"][0];
        assert_eq!(job["error"], 0, "{}: {said}", self.name);
        assert_eq!(job["total_err"].as_u64().unwrap_or(0), 0, "{}: {said}", self.name);
        let count = |kind: &str| job[kind]["total_ios"].as_u64().expect("fio counts its requests");
        FioReport { reads: count("read"), writes: count("write") }
    }

    /// Runs it again and again in the background until [`FioRounds::finish`].
    pub fn rounds(self) -> FioRounds {
        let stop = Arc::new(AtomicBool::new(false));
        let rounds = Arc::new(AtomicU32::new(0));
        let (stop_seen, counted) = (Arc::clone(&stop), Arc::clone(&rounds));
        let thread = std::thread::spawn(move || {
            let mut total = FioReport::default();
            while !stop_seen.load(Ordering::Relaxed) {
                let report = self.run();
                total.reads += report.reads;
                total.writes += report.writes;
                counted.fetch_add(1, Ordering::Relaxed);
            }
            total
        });
        FioRounds { stop, rounds, thread: Some(thread) }
    }
}

/// The first lines say what happened; hundreds may follow, one for each request.
fn first_lines(text: &str) -> String {
    text.lines().take(10).collect::<Vec<_>>().join("\n")
}

/// A job that is repeated.
#[derive(Debug)]
pub struct FioRounds {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicU32>,
    thread: Option<JoinHandle<FioReport>>,
}

impl FioRounds {
    /// Rounds that have ended well.
    pub fn rounds(&self) -> u32 {
        self.rounds.load(Ordering::Relaxed)
    }

    /// Lets the round that runs come to its end, which is its verification, and gives the sum.
    ///
    /// # Panics
    /// Where a round found an error or a wrong block.
    #[track_caller]
    pub fn finish(mut self) -> FioReport {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("rounds that run");
        wait_until("fio ends its round", LIMIT + PROMPT, || thread.is_finished());
        match thread.join() {
            Ok(report) => report,
            Err(why) => std::panic::resume_unwind(why),
        }
    }
}

impl Drop for FioRounds {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
