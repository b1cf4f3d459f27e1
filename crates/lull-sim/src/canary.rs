//! What can be left out on purpose, to see that it is missed. A canary that sings is one that the judges heard.

use crate::preset::Preset;

/// One thing that a target or an initiator does not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Canary {
    /// The initiator does not flush before PAUSE COMPLETE [PAUSE-3].
    NoPauseFlush,
    /// The target does not flush its backends before it goes [PAUSE-5].
    NoMakeDurable,
    /// A closed lane goes on executing [SAFE-5].
    NoFence,
    /// Overlapping changes are outstanding together [SAFE-3].
    NoOverlapWait,
    /// The restart's intent is not stored [PAUSE-5].
    NoIntent,
    /// Owner and epoch are not stored [PAUSE-5].
    NoOwnerRecord,
    /// Flushes go on after one that failed [SAFE-4].
    FlushAfterFailure,
    /// What a killed target had under way reaches the medium after its successor opened it [SAFE-6].
    StaleIo,
    /// A request is replied to twice [CONN-3].
    AnswerTwice,
    /// What is retained is not replayed [SAFE-2].
    NoReplay,
    /// What is unanswered is not executed again in a new incarnation [SAFE-2].
    NoResend,
    /// PAUSE is answered and not obeyed [PAUSE-2].
    IgnoresPause,
    /// An initiator does not note itself before it asks to be let in [SAFE-5].
    NoNote,
    /// A daemon that starts again does not look for the log of the one before it [SAFE-10].
    ForgetsLog,
    /// A daemon that is replaced hands over what was never sent, and not what was sent and is unanswered [INIT-1].
    ForgetsInFlight,
    /// A target does not say that the one above it is away [CHAIN-1].
    NoHold,
    /// What a target could not pass on is answered as if it were done [CHAIN-1].
    GivesBackAsDone,
    /// A new incarnation above is none below [CHAIN-4].
    NoLifeDownstream,
    /// A target takes readers in before the writers that it remembers have replayed [SAFE-2].
    NoReadBarrier,
    /// The clean record is not stored before the first DISCONNECT [PAUSE-5].
    NoCleanRecord,
    /// What a sharer sends again is executed again [SAFE-11].
    NoOutcomes,
    /// Outcomes that others' changes lie over are not stored [SAFE-11].
    NoStoredOutcomes,
    /// A sharer does not wait for the others after a restart [RESUME-2].
    NoBarrier,
}

impl Canary {
    /// All of them.
    pub const ALL: [Self; 23] = [
        Self::NoPauseFlush,
        Self::NoMakeDurable,
        Self::NoFence,
        Self::NoOverlapWait,
        Self::NoIntent,
        Self::NoOwnerRecord,
        Self::FlushAfterFailure,
        Self::StaleIo,
        Self::AnswerTwice,
        Self::NoReplay,
        Self::NoResend,
        Self::IgnoresPause,
        Self::NoNote,
        Self::ForgetsLog,
        Self::ForgetsInFlight,
        Self::NoHold,
        Self::GivesBackAsDone,
        Self::NoLifeDownstream,
        Self::NoReadBarrier,
        Self::NoCleanRecord,
        Self::NoOutcomes,
        Self::NoStoredOutcomes,
        Self::NoBarrier,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoPauseFlush => "no-pause-flush",
            Self::NoMakeDurable => "no-make-durable",
            Self::NoFence => "no-fence",
            Self::NoOverlapWait => "no-overlap-wait",
            Self::NoIntent => "no-intent",
            Self::NoOwnerRecord => "no-owner-record",
            Self::FlushAfterFailure => "flush-after-failure",
            Self::StaleIo => "stale-io",
            Self::AnswerTwice => "answer-twice",
            Self::NoReplay => "no-replay",
            Self::NoResend => "no-resend",
            Self::IgnoresPause => "ignores-pause",
            Self::NoNote => "no-note",
            Self::ForgetsLog => "forgets-log",
            Self::ForgetsInFlight => "forgets-in-flight",
            Self::NoHold => "no-hold",
            Self::GivesBackAsDone => "gives-back-as-done",
            Self::NoLifeDownstream => "no-life-downstream",
            Self::NoReadBarrier => "no-read-barrier",
            Self::NoCleanRecord => "no-clean-record",
            Self::NoOutcomes => "no-outcomes",
            Self::NoStoredOutcomes => "no-stored-outcomes",
            Self::NoBarrier => "no-barrier",
        }
    }

    /// The worlds in which it is missed soonest.
    pub fn preset(self) -> Preset {
        match self {
            Self::NoNote => Preset::Heirs,
            Self::ForgetsInFlight => Preset::Nodes,
            Self::NoHold | Self::GivesBackAsDone | Self::NoLifeDownstream => Preset::Chain,
            Self::NoReadBarrier => Preset::Readers,
            Self::NoOutcomes | Self::NoStoredOutcomes | Self::NoBarrier => Preset::Shared,
            _ => Preset::All,
        }
    }

    /// The canary of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|canary| canary.name() == name)
    }
}
