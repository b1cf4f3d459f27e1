//! The command line: the verbs. Each verb's flags stand with its code in `commands/`.

use clap::{Parser, Subcommand};

use crate::commands::{
    abort, adopt, attach, bench, check, completions, demo, detach, events, evict, history, init,
    initiator, keep_log, man, pause, restart, resume, status, target,
};
use crate::log::Volume;

/// Share disks between operating systems, and restart their owner without anybody noticing
/// more than a lull.
#[derive(Debug, Parser)]
#[command(name = "lull", version, max_term_width = 100, arg_required_else_help = true)]
#[command(after_help = "Exit status: 0 done; 1 failed; 2 usage; 3 not done because somebody was \
    not ready; 4 the daemon could not be reached.")]
pub struct Cli {
    #[command(flatten)]
    pub volume: Volume,
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// See it: three initiators at work, their target restarted, then killed
    Demo(demo::Args),
    /// Share resources
    Target(target::Args),
    /// With the target stopped: say that another disk is what a resource is from now on
    Adopt(adopt::Args),
    /// Use one resource of a target
    Attach(attach::Args),
    /// Use several resources, as a configuration says
    Initiator(initiator::Args),
    /// End an attachment: flush, leave the target's roster
    Detach(detach::Args),
    /// At the target: end a lost initiator's reservation and declare its unreplayed writes lost
    Evict(evict::Args),
    /// Restart the target; its initiators pause, wait and go on
    Restart(restart::Args),
    /// Pause everybody, for a restart that something else performs
    Pause(pause::Args),
    /// End a pause
    Resume(resume::Args),
    /// Give up the restart or pause that is under way
    Abort(abort::Args),
    /// What a daemon does: sessions, phases, countdowns, what is awaited
    Status(status::Args),
    /// Every transition, one line each
    Events(events::Args),
    /// Past restarts: each phase's time, each initiator's stall, the sequence drawn
    History(history::Args),
    /// Load with verification: IOPS, latency, longest request, errors
    Bench(bench::Args),
    /// Write a commented configuration to start from
    Init(init::Args),
    /// Check a configuration; errors point at the line
    Check(check::Args),
    /// Print what a shell needs to complete words of this command
    Completions(completions::Args),
    /// Write the manual pages, one for each verb
    Man(man::Args),
    /// Keep the log of unflushed writes over the end of the daemon that starts this
    #[command(hide = true)]
    KeepLog(keep_log::Args),
}
