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
    /// In the replay that the target's death made necessary.
    Replay(Point),
    /// The same, where the initiator's daemon died with it: its heir replays what it has found.
    Inherited(Point),
}

/// Where in a replay.
#[derive(Clone, Copy, Debug)]
pub enum Point {
    /// At a message.
    At(Mark),
    /// When half of what was retained has been sent.
    HalfWay,
}

impl Point {
    /// The message of it, where so many changes are retained.
    pub fn mark(self, changes: u64) -> Mark {
        match self {
            Self::At(mark) => mark,
            Self::HalfWay => Mark::after(Kind::Request).number(changes / 2),
        }
    }
}

const fn row(name: &'static str, reach: Reach) -> Phase {
    Phase { name, reach }
}

const fn replay(mark: Mark) -> Reach {
    Reach::Replay(Point::At(mark))
}

const fn inherited(mark: Mark) -> Reach {
    Reach::Inherited(Point::At(mark))
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
    row("replay begun", replay(Mark::after(Kind::Request))),
    row("replay half way", Reach::Replay(Point::HalfWay)),
    row("the replay's flush", replay(Mark::before_request(OpCode::Flush))),
    row("READY", replay(Mark::before(Kind::Ready))),
    row("RESUME", replay(Mark::before(Kind::Resume))),
];

/// Those of a soak besides: between the others, and where two roads have the same message.
const SOAK: [Phase; 16] = [
    row("PAUSE COMPLETE arrived", Reach::Restart(Mark::after(Kind::PauseComplete))),
    row("DISCONNECT arrived", Reach::Restart(Mark::after(Kind::Disconnect))),
    row("WELCOME", Reach::Restart(Mark::before(Kind::Welcome))),
    row("ATTACHED after a restart", Reach::Restart(Mark::before(Kind::Attached))),
    row("READY after a restart", Reach::Restart(Mark::before(Kind::Ready))),
    row("RESUME after a restart", Reach::Restart(Mark::before(Kind::Resume))),
    row("HELLO after a crash", replay(Mark::before(Kind::Hello))),
    row("CONNECT after a crash", replay(Mark::before(Kind::Connect))),
    row("ATTACH after a crash", replay(Mark::before(Kind::Attach))),
    row("ATTACHED after a crash", replay(Mark::before(Kind::Attached))),
    row("the replay's first reply", replay(Mark::before(Kind::Reply))),
    row("an heir's replay begun", inherited(Mark::after(Kind::Request))),
    row("an heir's replay half way", Reach::Inherited(Point::HalfWay)),
    row("an heir's flush", inherited(Mark::before_request(OpCode::Flush))),
    row("an heir's READY", inherited(Mark::before(Kind::Ready))),
    row("sharing again", replay(Mark::after(Kind::Resume))),
];

/// Those of a run that disturbs once, or often.
pub fn phases(soaks: bool) -> Vec<Phase> {
    let more = if soaks { &SOAK[..] } else { &[] };
    ALWAYS.iter().chain(more).copied().collect()
}
