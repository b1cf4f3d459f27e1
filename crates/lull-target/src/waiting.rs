//! Between two lives: a target that cannot serve for the moment says so, to the log and to whoever asks, and does not
//! try for ever.

use crate::clock::Clock;
use crate::life::{Leaving, RunError, Signals};
use lull_admin::{
    AdminListener, ApiError, CALLS_QUEUED, Call, ErrorCode, Fault, GivenUp, Reply, Status,
    TargetPhase, TargetStatus, Wait,
};
use lull_proto::MonoTime;
use rustix::process::Pid;
use std::time::Duration;
use tokio::sync::mpsc;

/// How long a target that served before waits before it tries to serve again.
const AGAIN: Duration = Duration::from_secs(1);
/// How long it tries. Then it ends, which whoever started it sees; initiators hold, as long as their own timers let
/// them, and the next one to be started goes on.
const GIVE_UP: Duration = Duration::from_secs(600);
/// How often the same reason is told again.
const REPEAT: Duration = Duration::from_secs(60);

/// A target that would serve and cannot.
pub struct WaitingRoom {
    node: String,
    clock: Clock,
    /// The last reason, and when it was told.
    told: Option<(String, MonoTime)>,
}

/// What comes after a rest.
pub enum Rested {
    /// Another try.
    Again,
    /// It was told to end, or the time for tries is over.
    Over,
}

impl WaitingRoom {
    /// Begins now.
    pub fn new(node: &str) -> Self {
        Self { node: node.to_owned(), clock: Clock::start(), told: None }
    }

    /// Rests after a try that failed. Who asks meanwhile is told why it does not serve.
    pub async fn rest(
        &mut self,
        admin: &AdminListener,
        error: &RunError,
        signals: &mut Signals,
    ) -> Rested {
        let (now, end) = (self.clock.now(), MonoTime::default() + GIVE_UP);
        self.tell(now, error);
        if now >= end {
            tracing::error!("{} gives up after {} minutes", self.node, GIVE_UP.as_secs() / 60);
            return Rested::Over;
        }
        let since = self.clock.unix_ms(MonoTime::default());
        let trouble = Fault { since, why: error.to_string() };
        let status = TargetStatus {
            waits: vec![Wait {
                for_whom: "the operator".to_owned(),
                what: "mend what keeps it from serving".to_owned(),
                since,
                deadline: Some(self.clock.unix_ms(end)),
                then: "end".to_owned(),
                ..Wait::default()
            }],
            trouble: Some(trouble),
            ..TargetStatus::default()
        };
        let rest = async {
            tokio::select! {
                () = signals.told_to_end() => Rested::Over,
                () = tokio::time::sleep(AGAIN) => Rested::Again,
            }
        };
        self.answering(admin, status, || Err(later()), rest).await
    }

    /// How it stands while the command of a restart runs.
    pub fn for_command(&self, command: &str, process: Pid) -> TargetStatus {
        let wait = Wait {
            for_whom: "the restart's command".to_owned(),
            what: format!("end, process {process}: {command}"),
            since: self.clock.unix_ms(MonoTime::default()),
            next: "wait, or end it with `lull abort`".to_owned(),
            ..Wait::default()
        };
        TargetStatus { waits: vec![wait], ..TargetStatus::default() }
    }

    fn tell(&mut self, now: MonoTime, error: &RunError) {
        let why = error.to_string();
        let known =
            self.told.as_ref().is_some_and(|(told, at)| *told == why && now.since(*at) < REPEAT);
        if !known {
            let left = GIVE_UP.saturating_sub(now.since(MonoTime::default())).as_secs();
            tracing::error!("{why}; trying again every second, for another {left} s");
            self.told = Some((why, now));
        }
    }

    /// Answers operators until `work` is done; `abort` is what one may do to that.
    pub async fn answering<T>(
        &self,
        admin: &AdminListener,
        target: TargetStatus,
        abort: impl Fn() -> Result<GivenUp, ApiError>,
        work: impl Future<Output = T>,
    ) -> T {
        let (calls, mut asked) = mpsc::channel(CALLS_QUEUED);
        let server = admin.try_clone().and_then(|admin| lull_admin::serve(admin, calls));
        tokio::pin!(work);
        let done = loop {
            tokio::select! {
                done = &mut work => break done,
                Some(call) = asked.recv() => match call {
                    Call::Abort { reply } => answer(reply, abort()),
                    call => self.answer(call, &target),
                },
            }
        };
        drop(asked);
        match server {
            // Who reads slowly is not waited for.
            Ok(server) => drop(Leaving::start(server)),
            Err(error) => tracing::warn!("the admin socket: {error}"),
        }
        done
    }

    fn answer(&self, call: Call, target: &TargetStatus) {
        match call {
            Call::Status { reply } => answer(reply, Ok(self.status(target))),
            Call::Restart { reply, .. } => answer(reply, Err(later())),
            Call::Pause { reply, .. } => answer(reply, Err(later())),
            Call::Resume { reply } | Call::Abort { reply } => answer(reply, Err(later())),
            Call::Decide { reply, .. } | Call::Detach { reply, .. } => {
                answer(reply, Err(later()));
            }
            Call::Evict { reply, .. } => answer(reply, Err(later())),
            Call::Histories { reply } => answer(reply, Err(later())),
            Call::History { reply, .. } => answer(reply, Err(later())),
            Call::Events { reply, .. } => answer(reply, Err(later())),
        }
    }

    fn status(&self, target: &TargetStatus) -> Status {
        let name = self.node.clone();
        let target =
            TargetStatus { name: name.clone(), phase: TargetPhase::Down, ..target.clone() };
        Status {
            name,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            since: self.clock.unix_ms(MonoTime::default()),
            at: self.clock.unix_ms(self.clock.now()),
            target: Some(target),
            ..Status::default()
        }
        .with_alerts()
    }
}

fn later() -> ApiError {
    ApiError::new(
        ErrorCode::GoingAway,
        "the target does not serve at the moment",
        "`lull status` says why; ask again when it serves",
    )
}

fn answer<T>(reply: Reply<T>, answer: Result<T, ApiError>) {
    // Who does not wait any more has gone away.
    let _ = reply.send(answer);
}
