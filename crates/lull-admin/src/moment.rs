//! What whoever started a daemon is told of it: a service manager, or somebody at a terminal.

use std::time::Duration;

/// A turn in a daemon's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment<'a> {
    /// It does not serve yet; for whom or what it waits.
    Waiting(&'a str),
    /// This process serves from now on; whom with what.
    Serving(&'a str),
    /// A target's other process, which waits already, is given everything and serves next.
    HandingOver,
    /// Its loop turns: said once a second, as long as it does.
    Alive,
    /// It was told to end, and goes on working until it may.
    Ending {
        /// How long that takes at most, unless a disk or the state directory does not answer.
        within: Duration,
    },
}
