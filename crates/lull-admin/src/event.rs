//! Transitions as they happen, one line each, and the ring that keeps the recent ones.

use std::collections::VecDeque;
use std::fmt;

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

/// One transition of one thing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Event {
    /// The life of the daemon that tells it; `seq` counts within it.
    pub instance: String,
    /// Position in that life's stream, from 1, without gaps.
    pub seq: u64,
    /// When, in Unix milliseconds.
    pub at: u64,
    /// Name of the node that tells it.
    pub node: String,
    /// Whom it is about: an initiator, an attachment, a resource, or the node itself.
    pub subject: String,
    /// A short stable word for programs: `connection_lost`. Within a restart it is the word of the
    /// phase that begins: a `RestartPhase` where the subject is the target, a `RowPhase` where it
    /// is an initiator.
    pub what: String,
    /// The sentence for people, without the subject: `paused after 3 ms`.
    pub text: String,
    /// The restart it belongs to.
    pub restart: Option<u64>,
}

impl Event {
    /// An event without its place in the stream, which [`EventLog::record`] gives it.
    pub fn new(
        at: u64,
        subject: impl Into<String>,
        what: impl Into<String>,
        text: impl Into<String>,
    ) -> Self {
        Self {
            at,
            subject: subject.into(),
            what: what.into(),
            text: text.into(),
            ..Self::default()
        }
    }

    /// The same event as part of restart `id`.
    pub fn in_restart(mut self, id: u64) -> Self {
        self.restart = Some(id);
        self
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.text)
    }
}

/// How many events [`EventLog`] keeps for late subscribers; older ones are forgotten.
pub const RECENT_EVENTS: usize = 512;

/// How far a subscriber may lag; one that falls behind further is told how many it missed.
pub const SUBSCRIBER_LAG: usize = 1024;

/// What a new subscriber gets: the recent past and everything after it, without gap or overlap.
#[derive(Debug)]
pub struct EventFeed {
    /// Events that already happened, oldest first.
    pub recent: Vec<Event>,
    /// Events from now on.
    pub live: broadcast::Receiver<Event>,
}

/// The stream of one daemon's life; owned by the daemon's loop.
#[derive(Debug)]
pub struct EventLog {
    node: String,
    instance: String,
    next: u64,
    ring: VecDeque<Event>,
    live: broadcast::Sender<Event>,
}

impl EventLog {
    /// An empty stream of the life `instance` of the node `node`.
    pub fn new(node: impl Into<String>, instance: impl Into<String>) -> Self {
        Self {
            node: node.into(),
            instance: instance.into(),
            next: 1,
            ring: VecDeque::with_capacity(RECENT_EVENTS),
            live: broadcast::channel(SUBSCRIBER_LAG).0,
        }
    }

    /// Numbers the event, keeps it and tells every subscriber; gives back what was told.
    pub fn record(&mut self, event: Event) -> Event {
        let event = Event {
            node: self.node.clone(),
            instance: self.instance.clone(),
            seq: self.next,
            ..event
        };
        self.next += 1;
        if self.ring.len() == RECENT_EVENTS {
            self.ring.pop_front();
        }
        self.ring.push_back(event.clone());
        // Nobody listening is no error.
        let _ = self.live.send(event.clone());
        event
    }

    /// A subscription that begins after `after`, where that is still in the ring and of this life,
    /// and with everything kept otherwise.
    pub fn feed(&self, after: Option<&EventPosition>) -> EventFeed {
        let from = match after {
            Some(position) if position.instance == self.instance => position.seq,
            _ => 0,
        };
        EventFeed {
            recent: self.ring.iter().filter(|event| event.seq > from).cloned().collect(),
            live: self.live.subscribe(),
        }
    }
}

/// A place in the stream of events: the last one that a subscriber has seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventPosition {
    /// The daemon's life.
    pub instance: String,
    /// The number in it.
    pub seq: u64,
}

impl fmt::Display for EventPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.instance, self.seq)
    }
}

impl EventPosition {
    /// Reads what Display wrote; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let (instance, seq) = text.rsplit_once(':')?;
        Some(Self { instance: instance.to_owned(), seq: seq.parse().ok()? })
    }
}
