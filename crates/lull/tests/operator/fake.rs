//! A target that only talks: it answers the admin calls as its script says.

use std::thread::JoinHandle;

use lull_admin::{
    AdminAddr, AdminListener, ApiError, Call, Decision, ErrorCode, Event, EventLog, GivenUp,
    NotReady, Outcome, OutcomeKind, PauseOrder, Question, RecordRow, RestartOrder, RestartPhase,
    RestartRecord, RestartRow, RestartStarted, RestartStatus, RowPhase, Status, TargetPhase,
    TargetStatus, Wait, serve,
};
use tokio::sync::mpsc;

/// The time of everything it tells: 2026-11-22 14:02:00 UTC.
const NOW: u64 = 1_795_356_120_000;

/// What becomes of a restart.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Script {
    /// It ends like this at once.
    Ends(OutcomeKind),
    /// web-2 is not ready, and the operator is asked.
    Asks,
    /// A successor takes over the socket and ends it.
    HandsOver,
    /// The daemon tells that it is down and is gone.
    Stops,
    /// A pause that is complete.
    Pauses,
    /// A command runs for a while, during which it tells only that.
    Runs,
}

/// A fake that runs; it ends with the test's process or by its script.
pub struct Fake {
    dir: tempfile::TempDir,
    thread: Option<JoinHandle<()>>,
}

impl Fake {
    pub fn start(script: Script) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener =
            AdminListener::bind(&AdminAddr::unix(dir.path().join("admin.sock"))).unwrap();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(run(listener, script));
        });
        Self { dir, thread: Some(thread) }
    }

    /// The value of `--admin`.
    pub fn admin(&self) -> String {
        format!("unix:{}", self.dir.path().join("admin.sock").display())
    }

    /// Waits until its script has ended it.
    pub fn join(mut self) {
        self.thread.take().unwrap().join().unwrap();
    }
}

async fn run(listener: AdminListener, script: Script) {
    let spare = listener.try_clone().unwrap();
    let (to_loop, mut calls) = mpsc::channel(lull_admin::CALLS_QUEUED);
    let mut server = serve(listener, to_loop).unwrap();
    let mut target = Target::new("aa", script);
    while let Some(call) = calls.recv().await {
        // The order is answered before the daemon changes places.
        let ordered = matches!(call, Call::Restart { .. });
        let polled = matches!(call, Call::Status { .. });
        target.answer(call);
        if ordered && script == Script::HandsOver {
            target.tell("store-1", "down", "hands over to its successor");
            server.stop().await;
            let (to_loop, new_calls) = mpsc::channel(lull_admin::CALLS_QUEUED);
            calls = new_calls;
            server = serve(spare.try_clone().unwrap(), to_loop).unwrap();
            target = Target { script, ..Target::new("bb", script) };
            target.restart("new kernel");
            target.tell("web-1", "resumed", "resumed after 42 ms");
            target.end(OutcomeKind::Completed);
        }
        if polled && script == Script::Stops && target.status.is_some() {
            target.tell("store-1", "down", "is down");
            spare.unlink().unwrap();
            server.stop().await;
            return;
        }
    }
}

struct Target {
    script: Script,
    events: EventLog,
    status: Option<RestartStatus>,
    record: RestartRecord,
    /// How often its status was asked for while a command is to run.
    asked: u32,
}

impl Target {
    fn new(instance: &str, script: Script) -> Self {
        let events = EventLog::new("store-1", instance);
        Self { script, events, status: None, record: RestartRecord::default(), asked: 0 }
    }

    fn tell(&mut self, subject: &str, what: &str, text: &str) {
        let event = self.events.record(Event::new(NOW, subject, what, text).in_restart(7));
        self.record.transitions.push(event);
    }

    fn restart(&mut self, reason: &str) {
        self.record.id = 7;
        self.record.node = "store-1".into();
        self.record.reason = reason.into();
        self.record.started = NOW;
        let row = |initiator: &str, phase| RestartRow {
            initiator: initiator.into(),
            phase,
            ..Default::default()
        };
        self.status = Some(RestartStatus {
            id: 7,
            phase: RestartPhase::Pausing,
            rows: vec![row("web-1", RowPhase::Paused), row("web-2", RowPhase::Draining)],
            ..Default::default()
        });
    }

    fn end(&mut self, kind: OutcomeKind) {
        let blame = matches!(kind, OutcomeKind::Aborted | OutcomeKind::Proceeded);
        let not_ready = if blame { vec![not_ready().to_string()] } else { Vec::new() };
        let why = (kind == OutcomeKind::Failed).then(|| "the successor did not serve".to_owned());
        self.status = None;
        self.record.outcome = Some(Outcome { kind, why, not_ready, ..Outcome::default() });
        self.record.ended = Some(NOW + 120);
        let row = |name: &str| RecordRow {
            initiator: name.into(),
            attachment: "db1".into(),
            resource: "db1".into(),
            in_flight_at_pause: 32,
            pause_complete_ms: Some(3),
            resumed_ms: Some(60),
            stall_ms: Some(42),
            ..Default::default()
        };
        self.record.rows = vec![row("web-1"), row("web-2")];
    }

    fn begin(&mut self, reason: &str) -> RestartStarted {
        self.restart(reason);
        self.tell("store-1", "pausing", "asks 2 initiators to pause");
        self.tell("web-1", "paused", "paused after 3 ms");
        match self.script {
            Script::Ends(kind) => self.end(kind),
            Script::Asks => {
                let not_ready = vec![not_ready()];
                let question = Question { since: NOW, deadline: NOW + 60_000, not_ready };
                if let Some(status) = &mut self.status {
                    status.phase = RestartPhase::Asking;
                    status.question = Some(question);
                }
            }
            Script::Pauses => {
                if let Some(status) = &mut self.status {
                    status.phase = RestartPhase::Paused;
                }
            }
            Script::HandsOver | Script::Stops | Script::Runs => {}
        }
        RestartStarted { id: 7, initiators: vec!["web-1".into(), "web-2".into()] }
    }

    /// The command begins after the first look at the restart, and ends some looks later.
    fn command(&mut self) {
        if self.script == Script::Runs && self.status.is_some() {
            self.asked += 1;
            if self.asked > 8 {
                self.end(OutcomeKind::Completed);
            }
        }
    }

    fn runs(&self) -> bool {
        self.script == Script::Runs && self.status.is_some() && self.asked > 1
    }

    fn answer(&mut self, call: Call) {
        match call {
            Call::Status { reply } => {
                self.command();
                let mut target = TargetStatus {
                    name: "store-1".into(),
                    restart: self.status.clone(),
                    ..Default::default()
                };
                if self.runs() {
                    target.phase = TargetPhase::Down;
                    target.restart = None;
                    target.waits = vec![Wait { since: NOW, ..Wait::default() }];
                }
                let status = Status {
                    name: "store-1".into(),
                    version: "0.1.0".into(),
                    pid: 1,
                    since: NOW,
                    at: NOW,
                    target: Some(target),
                    ..Default::default()
                };
                let _ = reply.send(Ok(status));
            }
            Call::Restart { order: RestartOrder { reason, .. }, reply }
            | Call::Pause { order: PauseOrder { reason, .. }, reply } => {
                let _ = reply.send(Ok(self.begin(&reason)));
            }
            Call::Decide { decision, reply, .. } => {
                self.end(match decision {
                    Decision::Proceed => OutcomeKind::Proceeded,
                    _ => OutcomeKind::Aborted,
                });
                let _ = reply.send(Ok(()));
            }
            Call::Resume { reply } => {
                let _ = reply.send(Ok(GivenUp::default()));
            }
            Call::Abort { reply } => {
                self.end(OutcomeKind::Aborted);
                let _ = reply.send(Ok(GivenUp::default()));
            }
            Call::Detach { name, reply } => {
                let error = format!("there is no attachment `{name}`");
                let error = ApiError::new(ErrorCode::NotFound, error, "see `lull status`");
                let _ = reply.send(Err(error));
            }
            Call::Evict { name, reply, .. } => {
                let lost = format!("{name} held db1; 12 KiB of its writes are declared lost");
                let _ = reply.send(Ok(vec![lost]));
            }
            Call::Histories { reply } => {
                let _ = reply.send(Ok(vec![self.record.clone()]));
            }
            Call::History { reply, .. } if self.runs() => {
                let _ = reply.send(Err(ApiError::new(ErrorCode::GoingAway, "it is down", "wait")));
            }
            Call::History { reply, .. } => {
                let _ = reply.send(Ok(self.record.clone()));
            }
            Call::Events { after, reply } => {
                let _ = reply.send(Ok(self.events.feed(after.as_ref())));
            }
        }
    }
}

fn not_ready() -> NotReady {
    NotReady {
        initiator: "web-2".into(),
        attachment: "db1".into(),
        because: "3 writes in flight, the oldest for 12 s".into(),
    }
}
