//! The verbs, one file each: its flags and what it does.

pub mod abort;
pub mod adopt;
pub mod attach;
pub mod bench;
pub mod check;
pub mod completions;
pub mod demo;
pub mod detach;
pub mod events;
pub mod evict;
pub mod history;
pub mod init;
pub mod initiator;
pub mod keep_log;
pub mod man;
pub mod pause;
pub mod restart;
pub mod resume;
pub mod status;
pub mod target;

use crate::args::Command;
use crate::daemon::AdminArgs;
use crate::exit::Failure;
use crate::log::Volume;

/// Does what the command line says.
pub fn run(command: Command, volume: Volume) -> Result<(), Failure> {
    match command {
        Command::Demo(args) => demo::run(args),
        Command::Target(args) => target::run(args, volume),
        Command::Adopt(args) => adopt::run(&args),
        Command::Attach(args) => attach::run(args, volume),
        Command::Initiator(args) => initiator::run(args, volume),
        Command::Bench(args) => bench::run(args),
        Command::Init(args) => init::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args),
        Command::KeepLog(args) => keep_log::run(&args),
        Command::Detach(args) => asks(&args.admin.clone(), detach::run(args)),
        Command::Evict(args) => asks(&args.admin.clone(), evict::run(args)),
        Command::Restart(args) => asks(&args.admin.clone(), restart::run(args)),
        Command::Pause(args) => asks(&args.admin.clone(), pause::run(args)),
        Command::Resume(args) => asks(&args.admin.clone(), resume::run(args)),
        Command::Abort(args) => asks(&args.admin.clone(), abort::run(args)),
        Command::Status(args) => asks(&args.admin.clone(), status::run(args)),
        Command::Events(args) => asks(&args.admin.clone(), events::run(args)),
        Command::History(args) => asks(&args.admin.clone(), history::run(args)),
    }
}

/// Runs a verb that talks to a daemon. A thread that still waits for the keyboard is left behind.
fn asks(admin: &AdminArgs, verb: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(verb);
    runtime.shutdown_background();
    result.map_err(|failure| failure.in_full(admin))
}
