//! Following a restart until it is over, and answering its question on the way.

use std::io::IsTerminal as _;
use std::time::Duration;

use lull_admin::{
    Client, ClientError, Decision, ErrorCode, Event, EventStream, Question, RestartKind,
    RestartPhase, RestartRecord,
};

use super::face::Face;
use super::keyboard::{self, Keyboard};
use super::outcome::history;
use super::watch::{Away, Seen, Watch};
use crate::daemon::Which;
use crate::exit::Failure;
use crate::output::{RestartView, phase_words, what_it_is};
use crate::units::show_ms;

/// A daemon that has been away for so long, and for longer than three expected downtimes, is
/// given up.
const GIVE_UP: Duration = Duration::from_secs(60);

/// Nobody takes a process's place in a restart with a command: one that has ended is not waited for any longer than a
/// service manager takes to start the next, and that one for the locks and the servers of its media before it listens.
const ENDED: Duration = Duration::from_secs(12);

/// What is followed.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    /// Number of the restart.
    pub id: u64,
    /// What it does.
    pub kind: RestartKind,
    /// The expected downtime; 0: not said.
    pub expect_ms: u64,
    /// Whether the question is answered `proceed` without asking.
    pub yes: bool,
    /// Whose it is [default: the target's].
    pub which: Option<Which>,
}

/// Until when it is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// It has an outcome.
    Outcome,
    /// All are paused.
    Paused,
}

/// How the following ended.
pub enum Followed {
    /// It has an outcome.
    Ended(Box<RestartRecord>),
    /// All are paused, as was the goal.
    Paused(u64),
    /// The daemon has stopped as it was told, after the point of no return, with its host or alone.
    Stopped(u64, RestartKind),
}

/// Shows restart `order.id` at `client` until the goal is reached; `stream` is older than it.
///
/// # Errors
/// `Unreachable` where the daemon stays away; what it said where it refuses.
pub async fn follow(
    client: Client,
    stream: EventStream,
    order: Order,
    goal: Goal,
) -> Result<Followed, Failure> {
    let typed = std::io::stdin().is_terminal() && std::io::stderr().is_terminal() && !order.yes;
    let mut follower = Follower {
        watch: Watch::new(client, stream, order.id),
        order,
        goal,
        face: Face::choose(),
        keyboard: None,
        typed,
        open: None,
        phase: RestartPhase::StartingSuccessor,
        trouble: None,
    };
    let result = follower.run().await;
    follower.face.close(matches!(result, Ok(Followed::Ended(_))))?;
    result
}

struct Follower {
    watch: Watch,
    order: Order,
    goal: Goal,
    face: Face,
    keyboard: Option<Keyboard>,
    /// Whether somebody can type an answer here.
    typed: bool,
    /// The question that was put to the operator and has no answer yet, by its time.
    open: Option<u64>,
    /// The last phase that was seen.
    phase: RestartPhase,
    /// Why the daemon does not serve, as it said last.
    trouble: Option<Box<Event>>,
}

impl Follower {
    async fn run(&mut self) -> Result<Followed, Failure> {
        loop {
            let followed = tokio::select! {
                seen = self.watch.next() => self.seen(seen?).await?,
                line = Keyboard::line(&mut self.keyboard) => {
                    self.line(&line).await?;
                    None
                }
                _ = tokio::signal::ctrl_c() => return Err(self.interrupted()),
            };
            if let Some(followed) = followed {
                return Ok(followed);
            }
        }
    }

    async fn seen(&mut self, seen: Seen) -> Result<Option<Followed>, Failure> {
        match seen {
            Seen::Transition(event) => {
                self.note_phase(&event.what);
                self.face.transition(&event)?;
                Ok(None)
            }
            Seen::State(view) => self.state(*view).await,
            Seen::Away(away) => self.away(away),
            Seen::Waits(at, wait) => {
                self.phase = RestartPhase::Down;
                self.face.waits(at, wait)?;
                Ok(None)
            }
            Seen::Ended(record) => {
                self.close_question("the question was answered elsewhere")?;
                Ok(Some(Followed::Ended(record)))
            }
        }
    }

    /// A daemon that is told to stop may be gone before its last phase is asked for.
    fn note_phase(&mut self, what: &str) {
        for phase in [RestartPhase::Settling, RestartPhase::Down] {
            if what == phase.as_str() {
                self.phase = phase;
            }
        }
    }

    async fn state(&mut self, view: RestartView) -> Result<Option<Followed>, Failure> {
        self.phase = view.restart.phase;
        let question = view.restart.question.clone();
        let id = view.restart.id;
        self.face.state(view)?;
        match question {
            Some(question) => self.question(&question).await?,
            None => self.close_question("the question was answered elsewhere")?,
        }
        let reached = self.goal == Goal::Paused && self.phase == RestartPhase::Paused;
        Ok(reached.then_some(Followed::Paused(id)))
    }

    async fn question(&mut self, question: &Question) -> Result<(), Failure> {
        if self.open == Some(question.since) {
            return Ok(());
        }
        self.open = Some(question.since);
        self.face.question(question, self.typed)?;
        if self.order.yes {
            return self.answer(Decision::Proceed, "answered: proceed (--yes)").await;
        }
        if self.typed && self.keyboard.is_none() {
            self.keyboard = Some(Keyboard::listen());
        }
        Ok(())
    }

    fn close_question(&mut self, how: &str) -> Result<(), Failure> {
        // A question that is answered here stays noted until the daemon takes it back.
        if self.open.take().is_some() && self.keyboard_awaited() {
            self.face.answered(&format!("\n{how}"))?;
        }
        Ok(())
    }

    fn keyboard_awaited(&self) -> bool {
        self.typed && self.face.is_asking()
    }

    async fn line(&mut self, line: &str) -> Result<(), Failure> {
        if !self.face.is_asking() {
            return Ok(());
        }
        match keyboard::decision(line) {
            Some(decision) => self.answer(decision, &format!("answered: {decision}")).await,
            None => Ok(self.face.ask_again()?),
        }
    }

    async fn answer(&mut self, decision: Decision, how: &str) -> Result<(), Failure> {
        match self.watch.client().decide(self.order.id, decision).await {
            Ok(()) => self.face.answered(how)?,
            // Somebody else was quicker, or the question's own time ended.
            Err(ClientError::Api(error))
                if matches!(error.code, ErrorCode::Conflict | ErrorCode::NotFound) =>
            {
                self.face.answered(&error.message)?;
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn away(&mut self, away: Away) -> Result<Option<Followed>, Failure> {
        let Away { lasted, ended, trouble } = away;
        let gone = matches!(self.phase, RestartPhase::Settling | RestartPhase::Down);
        let ends = match self.order.kind {
            RestartKind::Stop => gone,
            // A host that goes down may take this command's way to the daemon first.
            RestartKind::Host => gone || self.phase == RestartPhase::Paused,
            _ => false,
        };
        if ends {
            return Ok(Some(Followed::Stopped(self.order.id, self.order.kind)));
        }
        let known = self.trouble.as_ref().map(|event| &event.text);
        if let Some(event) = trouble.filter(|event| known != Some(&event.text)) {
            self.face.transition(&event)?;
            self.trouble = Some(event);
        }
        let why = self.trouble.as_ref().map(|event| &*event.text);
        self.face.away(lasted, why)?;
        if self.order.kind == RestartKind::Exec && ended.is_some_and(|ended| ended >= ENDED) {
            return Err(self.process_ended());
        }
        let patience = GIVE_UP.max(Duration::from_millis(self.order.expect_ms.saturating_mul(3)));
        if lasted < patience {
            return Ok(None);
        }
        let lasted = show_ms(u64::try_from(lasted.as_millis()).unwrap_or(u64::MAX));
        let (id, history) = (self.order.id, history(self.order.which, self.order.id));
        let what = what_it_is(self.order.kind);
        Err(Failure::Unreachable(match why {
            Some(why) => format!(
                "{what} {id}: the daemon has not served for {lasted}: it {why}\n  next: mend that: it \
                 tries again every second (`lull status`), and initiators hold; when it serves, `{history}`"
            ),
            None => format!(
                "{what} {id}: the daemon has been away for {lasted}, last seen: {}\n  next: look for its \
                 process and its log; when it runs, `{history}`",
                phase_words(self.phase, self.order.kind),
            ),
        }))
    }

    /// The process that was to serve again is gone.
    fn process_ended(&self) -> Failure {
        let (id, history) = (self.order.id, history(self.order.which, self.order.id));
        Failure::Unreachable(format!(
            "restart {id}: the target's process has ended, last seen: {}\n  next: start it again, since initiators hold; \
             it says whether the command still runs, and then `{history}` how it went",
            phase_words(self.phase, self.order.kind),
        ))
    }

    fn interrupted(&self) -> Failure {
        let id = self.order.id;
        let next = match self.order.which {
            Some(Which::Initiator) => "`lull status` shows it",
            Some(Which::Target) | None => "`lull abort` gives it up, `lull status` shows it",
        };
        let what = what_it_is(self.order.kind);
        Failure::failed(format!("{what} {id} goes on without being watched\n  next: {next}"))
    }
}
