//! A time without sharing: why, since when, until when, and what then.

use crate::MonoTime;
use core::time::Duration;
use lull_wire::RestartId;

/// The first wait between two dials; the longest while the target may be back any moment, since consumers stand still
/// for as long beyond the outage; and the longest later.
const FIRST_WAIT: Duration = Duration::from_millis(2);
const BRISK_WAIT: Duration = Duration::from_millis(80);
const LAST_WAIT: Duration = Duration::from_secs(1);
/// How long a target may be back any moment.
const BRISK_FOR: Duration = Duration::from_secs(60);
/// The wait while an announced downtime is not nearly over [CONN-1].
const GENTLE_WAIT: Duration = Duration::from_millis(250);

/// Why there is no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// There has been none yet.
    First,
    /// The target announced a restart.
    Restart(RestartId),
    /// The connection went away unannounced [CONN-2].
    Lost,
    /// A write-back failed at the target [SAFE-4].
    WriteBack,
    /// A retained change was not executed again [SAFE-2].
    Faulted,
    /// The target shut down for good.
    Shutdown,
    /// The daemon is another one now, and its consumers are still there [INIT-1].
    Successor,
}

/// How far the restart timer, or the resume timer, of an outage has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Expiry {
    /// It runs.
    Running,
    /// It ended; the policy waits for a dial that was begun afterwards to fail [TIMER-6].
    Due,
    /// The policy ran, and this is what goes on because of it until RESUME.
    Ran(Course),
}

/// What goes on after a policy ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Course {
    /// Requests are held on.
    Holding,
    /// They are answered with errors.
    Failing,
    /// The same, while the host is shut down.
    ShuttingDown(Stage),
}

/// How far a shutdown is [TIMER-2].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// The hook runs. RESUME cancels the shutdown.
    Preparing,
    /// The hook has ended while the target was back: it goes on unless RESUME comes.
    Prepared,
    /// The point of no return is passed: the shutdown's command runs.
    Begun,
}

/// When things happened in an outage, for the report that ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Marks {
    /// PAUSE came.
    pub paused: Option<MonoTime>,
    /// The last pending request was answered.
    pub drained: Option<MonoTime>,
    /// PAUSE COMPLETE was sent.
    pub completed: Option<MonoTime>,
    /// DISCONNECT came, or the connection was lost.
    pub gone: Option<MonoTime>,
    /// CONNECT came.
    pub connected: Option<MonoTime>,
}

/// A time without sharing. It ends with RESUME only: a target that comes and goes does not restart its timer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Outage {
    /// Why.
    pub why: Why,
    /// When it began.
    pub since: MonoTime,
    /// When the restart timer ends; `None` before the first attach.
    pub deadline: Option<MonoTime>,
    /// How far the timers have come.
    pub expiry: Expiry,
    /// When the downtime that the target announced is over; `None` where it announced none.
    pub back_by: Option<MonoTime>,
    /// When an announced downtime is nearly over.
    pub(super) gentle_until: MonoTime,
    /// What happened when.
    pub marks: Marks,
    /// The longest that a consumer has waited for an answer that came before the end of it, in the replay.
    pub(super) waited: Duration,
    /// Dials since it began, but for those in vain that a knock brought about.
    pub attempts: u32,
}

impl Outage {
    /// Begins now.
    pub fn new(
        now: MonoTime,
        why: Why,
        downtime: Duration,
        restart_timeout: Duration,
        marks: Marks,
    ) -> Self {
        // Half of what was announced: a restart may be faster than expected, too [TIMER-4].
        let gentle = if downtime > Duration::from_secs(2) { downtime / 2 } else { Duration::ZERO };
        Self {
            why,
            since: now,
            // [TIMER-4] And a slower one is none that failed.
            deadline: (why != Why::First)
                .then(|| now + restart_timeout.max(downtime.saturating_mul(3))),
            expiry: Expiry::Running,
            back_by: (!downtime.is_zero()).then(|| now + downtime),
            gentle_until: now + gentle,
            marks,
            waited: Duration::ZERO,
            attempts: 0,
        }
    }

    /// How long to wait before the next dial; `chance` spreads those who lost the same target together.
    pub fn backoff(&self, now: MonoTime, chance: u64) -> Duration {
        let doubled = FIRST_WAIT.saturating_mul(1 << self.attempts.saturating_sub(1).min(10));
        let floor = if now < self.gentle_until { GENTLE_WAIT } else { Duration::ZERO };
        let longest = if now.since(self.since) < BRISK_FOR { BRISK_WAIT } else { LAST_WAIT };
        let wait = doubled.min(longest).max(floor);
        // Between a half and the whole.
        wait / 2 + wait / 2 * (chance % 1024) as u32 / 1024
    }

    /// The target went away again before RESUME. Its timer goes on; only an announcement extends it: to `span`, and
    /// to what the downtime needs. Whether that cancels a shutdown: who announces has returned before [TIMER-2].
    pub fn announced(&mut self, now: MonoTime, span: Duration, downtime: Duration) -> bool {
        let (until, before) = (now + span.max(downtime.saturating_mul(3)), self.deadline);
        self.deadline = before.map(|deadline| deadline.max(until));
        if !downtime.is_zero() {
            self.back_by = Some(now + downtime);
        }
        let cancelled = self.may_be_cancelled();
        let extended = self.deadline > before && self.deadline > Some(now);
        if extended && (cancelled || self.expiry == Expiry::Due) {
            self.expiry = Expiry::Running;
        }
        extended && cancelled
    }

    /// [CHAIN-1] A target further up is waited for until then: the restart timer does not end before.
    pub fn held(&mut self, until: MonoTime) {
        let before = self.deadline;
        self.deadline = before.map(|deadline| deadline.max(until));
        if self.deadline > before && self.expiry == Expiry::Due {
            self.expiry = Expiry::Running;
        }
    }

    /// Whether consumers are given errors.
    pub fn is_failing(&self) -> bool {
        matches!(self.expiry, Expiry::Ran(Course::Failing | Course::ShuttingDown(_)))
    }

    /// Whether a shutdown is under way that has not passed its point of no return.
    pub fn may_be_cancelled(&self) -> bool {
        matches!(self.expiry, Expiry::Ran(Course::ShuttingDown(Stage::Preparing | Stage::Prepared)))
    }
}
