//! `cargo xtask bench scale`: what many sessions cost a target: memory, a pause, the return after a restart, and the
//! I/O of others while all of them dial at once.

mod board;
mod owner;
mod reader;
mod session;

use super::process::{busy_ms, memory};
use super::restart::build;
use crate::tree::Tree;
use anyhow::{Context, Result, ensure};
use board::{Board, now_us};
use lull_admin::{OutcomeKind, RestartPhase, RestartRecord};
use lull_wire::Access;
use owner::Owner;
use reader::Reader;
use serde::Serialize;
use session::Bare;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;

/// What a session with an attachment may take at the target, in bytes.
const SESSION_BYTES: u64 = 32 << 10;
/// What all of them may take to pause, and to be back after a start, in microseconds.
const STAGE_US: u64 = 1_000_000;
/// How long a read of somebody else may take while all dial, in microseconds.
const READ_US: u64 = 100_000;
/// How long an idle target is watched.
const IDLE: Duration = Duration::from_secs(3);

/// The flags of `cargo xtask bench scale`.
#[derive(clap::Args)]
pub struct Args {
    /// How many sessions; the verdict is on the largest
    #[arg(long, value_delimiter = ',', default_values_t = [10, 100, 1000])]
    sessions: Vec<usize>,
    /// All of them read one resource instead of each writing its own
    #[arg(long)]
    shared: bool,
    /// A further word for `lull target`
    #[arg(long, allow_hyphen_values = true)]
    target_arg: Vec<String>,
    /// A `lull` to measure instead of building this one
    #[arg(long)]
    lull: Option<PathBuf>,
    /// One JSON document on standard output
    #[arg(long)]
    json: bool,
}

/// What was measured with one number of sessions.
#[derive(Clone, Copy, Debug, Serialize)]
struct Figures {
    sessions: usize,
    /// First dial to the last RESUME.
    dial_us: u64,
    /// The longest read of 4 KiB of somebody else meanwhile, of so many.
    longest_read_us: u64,
    reads: u64,
    /// What the target's resident memory grew by, for each session.
    session_bytes: u64,
    /// Thousandths of one processor that the target uses while all are idle.
    idle_permille: u64,
    /// First PAUSE to the last PAUSE COMPLETE, by the target's record.
    pause_us: u64,
    /// First PAUSE to the last DISCONNECT.
    leave_us: u64,
    /// The new process's first accept to the last CONNECT.
    connected_us: u64,
    /// The same to the last RESUME.
    resumed_us: u64,
}

/// Measures. True if the largest number is within the targets.
pub fn run(tree: &Tree, args: &Args) -> Result<bool> {
    let lull = args.lull.clone().map_or_else(|| build(tree), Ok)?;
    let kind = if args.shared { "readers of one resource" } else { "writers of one resource each" };
    eprintln!("bare sessions, {kind}; the target's resources hold nothing");
    show(
        args,
        "sessions   dial ms  longest read  bytes/session  idle ‰  pause ms  gone ms  connected ms  resumed ms",
    );
    let mut all = Vec::new();
    for &sessions in &args.sessions {
        let figures = measure(&lull, sessions, args)?;
        show(args, &row(&figures));
        all.push(figures);
    }
    let largest = all.iter().max_by_key(|one| one.sessions).context("no number of sessions")?;
    Ok(verdict(args, largest, &all))
}

/// The table goes to standard output, unless that is for the document.
fn show(args: &Args, line: &str) {
    if args.json { eprintln!("{line}") } else { println!("{line}") }
}

fn row(figures: &Figures) -> String {
    let ms = |us: u64| us as f64 / 1000.0;
    let reads = format!("{:.1}/{}", ms(figures.longest_read_us), figures.reads);
    format!(
        "{:>8}  {:>8.1}  {reads:>12}  {:>13}  {:>6}  {:>8.1}  {:>7.1}  {:>12.1}  {:>10.1}",
        figures.sessions,
        ms(figures.dial_us),
        figures.session_bytes,
        figures.idle_permille,
        ms(figures.pause_us),
        ms(figures.leave_us),
        ms(figures.connected_us),
        ms(figures.resumed_us),
    )
}

fn measure(lull: &Path, sessions: usize, args: &Args) -> Result<Figures> {
    let resources = if args.shared { 2 } else { sessions + 1 };
    let mut owner = Owner::start(lull, resources, &args.target_arg)?;
    let alone = Reader::start(&owner.listen(), "r0")?;
    // What the first session ever takes is not the price of one.
    alone.finish()?;
    let before = memory(owner.pid, "VmRSS")?;
    let reader = Reader::start(&owner.listen(), "r0")?;
    let board = Arc::new(Board::default());
    let begun = now_us();
    let crowd = Crowd::start(&owner, sessions, args.shared, &board)?;
    let dialled = board.wait_resumed(sessions)?;
    let seen = reader.finish()?;
    // What was freed by now is not the sessions'; what they still say, PING, belongs to them.
    let busy = busy_ms(owner.pid)?;
    std::thread::sleep(IDLE);
    let idle_ms = busy_ms(owner.pid)? - busy;
    let session_bytes = memory(owner.pid, "VmRSS")?.saturating_sub(before) / sessions as u64;
    board.clear();
    let record = owner.restart()?;
    let back = board.wait_resumed(sessions)?;
    crowd.end()?;
    let kind = record.outcome.as_ref().map(|outcome| outcome.kind);
    ensure!(kind == Some(OutcomeKind::Completed), "the restart: {:?}", record.outcome);
    let accepted = record.first_accept_us.context("nobody came back")?;
    Ok(Figures {
        sessions,
        dial_us: dialled.resumed.last_us.saturating_sub(begun),
        longest_read_us: seen.longest_us,
        reads: seen.reads,
        session_bytes,
        idle_permille: idle_ms * 1000 / IDLE.as_millis() as u64,
        pause_us: pause_us(&record).context("the record has no pause")?,
        leave_us: back.disconnected.last_us.saturating_sub(back.asked.first_us),
        connected_us: back.connected.last_us.saturating_sub(accepted),
        resumed_us: back.resumed.last_us.saturating_sub(accepted),
    })
}

fn pause_us(record: &RestartRecord) -> Option<u64> {
    let span = record.phases.iter().find(|span| span.phase == RestartPhase::Pausing)?;
    Some(span.end?.saturating_sub(span.start) * 1000)
}

fn verdict(args: &Args, largest: &Figures, all: &[Figures]) -> bool {
    let mut passed = true;
    for (what, value, most, unit) in [
        ("memory of a session", largest.session_bytes, SESSION_BYTES, "bytes"),
        ("all have completed the pause", largest.pause_us, STAGE_US, "µs"),
        ("all are connected after the start", largest.connected_us, STAGE_US, "µs"),
        ("all are resumed after the start", largest.resumed_us, STAGE_US, "µs"),
        ("longest read of another while all dial", largest.longest_read_us, READ_US, "µs"),
    ] {
        let fits = value <= most;
        passed &= fits;
        let word = if fits { "PASS" } else { "FAIL" };
        let sessions = largest.sessions;
        show(args, &format!("{word}  {what}: {value} {unit} of {most}, {sessions} sessions"));
    }
    if args.json {
        let document = serde_json::json!({ "bench": "scale", "shared": args.shared, "all": all, "passed": passed });
        println!("{document}");
    }
    passed
}

/// All sessions, on a thread of their own.
struct Crowd {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<Result<()>>,
}

impl Crowd {
    fn start(owner: &Owner, sessions: usize, shared: bool, board: &Arc<Board>) -> Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let bare = |number: usize| Bare {
            number,
            resource: if shared { "r1".to_owned() } else { format!("r{}", number + 1) },
            access: if shared { Access::ReadOnly } else { Access::ReadWrite },
            listen: owner.listen(),
            board: Arc::clone(board),
        };
        let all: Vec<_> = (0..sessions).map(bare).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let board = Arc::clone(board);
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                for bare in all {
                    let board = Arc::clone(&board);
                    tokio::spawn(async move {
                        if let Err(error) = bare.stay().await {
                            board.failed(error.to_string());
                        }
                    });
                }
                let _ = stopped.await;
            });
            Ok(())
        });
        Ok(Self { stop, thread })
    }

    fn end(self) -> Result<()> {
        drop(self.stop);
        self.thread.join().unwrap_or_else(|_| anyhow::bail!("the sessions' thread panicked"))
    }
}
