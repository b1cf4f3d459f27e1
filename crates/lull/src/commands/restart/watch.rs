//! Looking at a restart from outside, across the change of daemons on the same address.

use std::time::Duration;

use lull_admin::{
    Client, ClientError, Event, EventItem, EventPosition, EventStream, RestartRecord, Status,
    TargetPhase, TargetStatus, Wait,
};
use tokio::time::{Instant, Interval, MissedTickBehavior};

use crate::exit::Failure;
use crate::output::RestartView;

/// How often the state is asked for; transitions arrive by themselves.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How long the stream is read on when the restart has ended.
const READ_OUT: Duration = Duration::from_millis(50);

/// One thing that was seen of a restart.
pub enum Seen {
    /// A transition of it.
    Transition(Event),
    /// Its state.
    State(Box<RestartView>),
    /// Nobody serves at the target's address.
    Away(Away),
    /// It is down and waits for the restart's command, at this time of its clock in Unix milliseconds.
    Waits(u64, Wait),
    /// It has an outcome.
    Ended(Box<RestartRecord>),
}

/// A daemon that does not serve.
pub struct Away {
    /// For how long.
    pub lasted: Duration,
    /// For how long nobody even listens there: no process of it is left.
    pub ended: Option<Duration>,
    /// Why that is, where it says so.
    pub trouble: Option<Box<Event>>,
}

/// A restart that has its outcome.
struct Ending {
    record: Box<RestartRecord>,
    /// Until when its last transitions may come by the stream.
    until: Instant,
}

/// A watch on restart `id`.
pub struct Watch {
    client: Client,
    id: u64,
    ticks: Interval,
    stream: Option<EventStream>,
    position: Option<EventPosition>,
    away_since: Option<Instant>,
    ended_since: Option<Instant>,
    /// The record, while transitions in it that the stream did not bring are still told.
    ending: Option<Ending>,
    told: Vec<EventPosition>,
}

impl Watch {
    /// `stream` was opened before the order was given, so that nothing is missed even where the
    /// daemon changes places at once.
    pub fn new(client: Client, stream: EventStream, id: u64) -> Self {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            client,
            id,
            ticks,
            stream: Some(stream),
            position: None,
            away_since: None,
            ended_since: None,
            ending: None,
            told: Vec::new(),
        }
    }

    /// The daemon that is watched.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The next thing. Safe to drop while it waits.
    pub async fn next(&mut self) -> Result<Seen, Failure> {
        loop {
            if let Some(until) = self.ending.as_ref().map(|ending| ending.until)
                && let Some(seen) = self.read_out(until).await
            {
                return Ok(seen);
            }
            if let Some(ending) = self.ending.take() {
                return Ok(self.end(ending));
            }
            tokio::select! {
                // First: a daemon may have more to tell, of others, than is read here.
                biased;
                _ = self.ticks.tick() => {
                    if let Some(seen) = self.look().await? {
                        return Ok(seen);
                    }
                }
                item = next_item(&mut self.stream) => match item {
                    Some(EventItem::Event(event)) => {
                        if let Some(seen) = self.transition(*event) {
                            return Ok(seen);
                        }
                    }
                    Some(EventItem::Missed(_) | EventItem::CaughtUp) => {}
                    None => self.stream = None,
                },
            }
        }
    }

    fn transition(&mut self, event: Event) -> Option<Seen> {
        let position = EventPosition { instance: event.instance.clone(), seq: event.seq };
        self.position = Some(position.clone());
        if event.restart != Some(self.id) || self.told.contains(&position) {
            return None;
        }
        self.told.push(position);
        Some(Seen::Transition(event))
    }

    /// A transition that the stream still holds. It may go on without end, with what concerns others.
    async fn read_out(&mut self, until: Instant) -> Option<Seen> {
        while self.stream.is_some() && Instant::now() < until {
            match tokio::time::timeout_at(until, next_item(&mut self.stream)).await {
                Ok(Some(EventItem::Event(event))) => {
                    if let Some(seen) = self.transition(*event) {
                        return Some(seen);
                    }
                }
                Ok(Some(EventItem::Missed(_) | EventItem::CaughtUp)) => {}
                Ok(None) | Err(_) => self.stream = None,
            }
        }
        None
    }

    /// The record's transitions that were not told yet, one by one, and then the record.
    fn end(&mut self, ending: Ending) -> Seen {
        let untold = ending.record.transitions.iter().find(|event| {
            let at =
                |told: &EventPosition| told.instance == event.instance && told.seq == event.seq;
            !self.told.iter().any(at)
        });
        match untold.cloned() {
            Some(event) => {
                let (instance, seq) = (event.instance.clone(), event.seq);
                self.told.push(EventPosition { instance, seq });
                self.ending = Some(ending);
                Seen::Transition(event)
            }
            None => Seen::Ended(ending.record),
        }
    }

    async fn look(&mut self) -> Result<Option<Seen>, Failure> {
        let asked = self.ask().await;
        if !matches!(asked, Err(ClientError::NotThere { .. })) {
            self.ended_since = None;
        }
        match asked {
            Ok(seen) => {
                self.away_since = None;
                Ok(seen)
            }
            Err(error) if error.is_passing() => {
                if matches!(error, ClientError::NotThere { .. }) {
                    self.ended_since.get_or_insert_with(Instant::now);
                }
                let ended = self.ended_since.map(|since| since.elapsed());
                let mut trouble = None;
                if let Some((at, target)) = self.down().await {
                    // What keeps it from serving has a deadline, a command has none.
                    if let Some(wait) = target.waits.into_iter().find(|one| one.deadline.is_none())
                    {
                        self.away_since = None;
                        return Ok(Some(Seen::Waits(at, wait)));
                    }
                    trouble = target.trouble.map(|fault| {
                        let text = format!("cannot serve: {}", fault.why);
                        Box::new(Event::new(at, target.name, "not_serving", text))
                    });
                }
                let since = *self.away_since.get_or_insert_with(Instant::now);
                Ok(Some(Seen::Away(Away { lasted: since.elapsed(), ended, trouble })))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Whoever is down answers how it stands, at this time of its clock, and nothing else.
    async fn down(&self) -> Option<(u64, TargetStatus)> {
        let status = self.client.status().await.ok()?;
        let target = status.target.filter(|target| target.phase == TargetPhase::Down)?;
        Some((status.at, target))
    }

    async fn ask(&mut self) -> Result<Option<Seen>, ClientError> {
        if self.stream.is_none() {
            self.stream = Some(self.client.events(self.position.as_ref()).await?);
        }
        let status = self.client.status().await?;
        if let Some(view) = view_of(status, self.id) {
            return Ok(Some(Seen::State(Box::new(view))));
        }
        let record = self.client.history(self.id).await?;
        if record.outcome.is_some() {
            self.ending =
                Some(Ending { record: Box::new(record), until: Instant::now() + READ_OUT });
        }
        Ok(None)
    }
}

/// The next item of a stream that may not be there; then it waits for ever.
async fn next_item(stream: &mut Option<EventStream>) -> Option<EventItem> {
    match stream {
        Some(stream) => stream.next().await,
        None => std::future::pending().await,
    }
}

fn view_of(status: Status, id: u64) -> Option<RestartView> {
    let at = status.at;
    let target = status.target?;
    let restart = target.restart.filter(|restart| restart.id == id)?;
    Some(RestartView { target: target.name, restart, at, away: None })
}
