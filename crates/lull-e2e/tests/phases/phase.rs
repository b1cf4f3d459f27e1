//! The phases, and how each is reached and kept for as long as a kill takes.

use lull_e2e::Mark;
use lull_wire::{Kind, OpCode};

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Phase {
    pub name: &'static str,
    pub reach: Reach,
}

/// How a phase is reached.
#[derive(Clone, Copy, Debug)]
pub enum Reach {
    /// Under load, at a message of it.
    Load(Mark),
    /// In a restart, at a message of it.
    Restart(Mark),
    /// All are paused for a restart that somebody else does.
    Pause,
    /// The old process has said good-bye, and the new one does not run yet.
    Down,
    /// In the replay that the target's death made necessary, at a message of it.
    Replay(Mark),
    /// In that replay, when half of what was retained has been sent.
    HalfOfReplay,
}

const fn row(name: &'static str, reach: Reach) -> Phase {
    Phase { name, reach }
}

/// Those of every run, in the order in which a restart and a replay go through them.
const ALWAYS: [Phase; 15] = [
    row("sharing under load", Reach::Load(Mark::after(Kind::Request).number(300))),
    row("PAUSE sent", Reach::Restart(Mark::before(Kind::Pause))),
    row("draining", Reach::Restart(Mark::after(Kind::Pause))),
    row("PAUSE COMPLETE sent", Reach::Restart(Mark::before(Kind::PauseComplete))),
    row("PAUSE COMPLETE answered", Reach::Pause),
    row("DISCONNECT sent", Reach::Restart(Mark::before(Kind::Disconnect))),
    row("down", Reach::Down),
    row("HELLO", Reach::Restart(Mark::before(Kind::Hello))),
    row("CONNECT", Reach::Restart(Mark::before(Kind::Connect))),
    row("ATTACH", Reach::Restart(Mark::before(Kind::Attach))),
    row("replay begun", Reach::Replay(Mark::after(Kind::Request))),
    row("replay half way", Reach::HalfOfReplay),
    row("the replay's flush", Reach::Replay(Mark::before_request(OpCode::Flush))),
    row("READY", Reach::Replay(Mark::before(Kind::Ready))),
    row("RESUME", Reach::Replay(Mark::before(Kind::Resume))),
];

/// Those of a soak besides: between the others, and where two roads have the same message.
const SOAK: [Phase; 12] = [
    row("PAUSE COMPLETE arrived", Reach::Restart(Mark::after(Kind::PauseComplete))),
    row("DISCONNECT arrived", Reach::Restart(Mark::after(Kind::Disconnect))),
    row("WELCOME", Reach::Restart(Mark::before(Kind::Welcome))),
    row("ATTACHED after a restart", Reach::Restart(Mark::before(Kind::Attached))),
    row("READY after a restart", Reach::Restart(Mark::before(Kind::Ready))),
    row("RESUME after a restart", Reach::Restart(Mark::before(Kind::Resume))),
    row("HELLO after a crash", Reach::Replay(Mark::before(Kind::Hello))),
    row("CONNECT after a crash", Reach::Replay(Mark::before(Kind::Connect))),
    row("ATTACH after a crash", Reach::Replay(Mark::before(Kind::Attach))),
    row("ATTACHED after a crash", Reach::Replay(Mark::before(Kind::Attached))),
    row("the replay's first reply", Reach::Replay(Mark::before(Kind::Reply))),
    row("sharing again", Reach::Replay(Mark::after(Kind::Resume))),
];

/// Those of a run that disturbs once, or often.
pub fn phases(soaks: bool) -> Vec<Phase> {
    let more = if soaks { &SOAK[..] } else { &[] };
    ALWAYS.iter().chain(more).copied().collect()
}
