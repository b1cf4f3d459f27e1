//! What happened, told to operators.

use std::cell::RefCell;

use lull_admin::{Event, EventFeed, EventLog, EventPosition};

use crate::clock::Clock;

/// The stream of events of this life, one line each.
pub struct Chronicle {
    clock: Clock,
    log: RefCell<EventLog>,
    /// Who tells them, where that is another part of this process.
    told_by: Option<Box<dyn Fn(Event)>>,
}

impl Chronicle {
    /// An empty one.
    pub fn new(clock: Clock, node: &str, instance: &str) -> Self {
        Self { clock, log: RefCell::new(EventLog::new(node, instance)), told_by: None }
    }

    /// The same one, whose events `tell` tells people.
    pub fn told_by(self, tell: impl Fn(Event) + 'static) -> Self {
        Self { told_by: Some(Box::new(tell)), ..self }
    }

    /// Tells that `what` happened to `subject`: a word for programs, a sentence for people.
    pub fn record(&self, subject: &str, what: &str, text: String, restart: Option<u64>) -> Event {
        let told = self.keep(subject, what, text, restart);
        self.say(&told, |told| tracing::info!("{told}"));
        told
    }

    /// The same of what people have to know: a quiet daemon tells it too.
    pub fn warn(&self, subject: &str, what: &str, text: String) -> Event {
        let told = self.keep(subject, what, text, None);
        self.say(&told, |told| tracing::warn!("{told}"));
        told
    }

    fn say(&self, told: &Event, trace: impl FnOnce(&Event)) {
        match &self.told_by {
            Some(tell) => tell(told.clone()),
            None => trace(told),
        }
    }

    fn keep(&self, subject: &str, what: &str, text: String, restart: Option<u64>) -> Event {
        let event = Event::new(self.clock.wall_ms(), subject, what, text);
        let event = match restart {
            Some(id) if id != 0 => event.in_restart(id),
            _ => event,
        };
        self.log.borrow_mut().record(event)
    }

    /// The time of day, in Unix milliseconds.
    pub fn wall_ms(&self) -> u64 {
        self.clock.wall_ms()
    }

    /// Tells that an alert begins, or is over.
    pub fn alert(&self, event: Event) {
        let told = self.log.borrow_mut().record(event);
        tracing::warn!("{told}");
    }

    /// What is told elsewhere as well: only a daemon that tells more says it.
    pub fn detail(&self, subject: &str, what: &str, text: String) {
        let told = self.keep(subject, what, text, None);
        self.say(&told, |told| tracing::debug!("{told}"));
    }

    /// The recent past after `after`, and the stream.
    pub fn feed(&self, after: Option<&EventPosition>) -> EventFeed {
        self.log.borrow().feed(after)
    }
}
