//! Alerts in the log: a line when one begins, and one when it is over.

use super::Alert;
use crate::event::Event;

/// The alerts that a daemon has told of.
#[derive(Debug, Default)]
pub struct AlertLog {
    told: Vec<Alert>,
}

impl AlertLog {
    /// Whether any is told and not over: then a daemon has to look although nothing seems wrong.
    pub fn is_empty(&self) -> bool {
        self.told.is_empty()
    }

    /// What is to be told, now that `present` are the alerts of the daemon `name` at `at`: what began as `alert`,
    /// what is over as `alert_over`.
    pub fn compare(&mut self, name: &str, at: u64, present: &[Alert]) -> Vec<Event> {
        let event = |alert: &Alert, what: &str, text: String| {
            let subject = alert.subject();
            Event::new(at, if subject.is_empty() { name.to_owned() } else { subject }, what, text)
        };
        let over = self.told.iter().filter(|told| !present.iter().any(|alert| alert.is(told)));
        let over = over.map(|told| event(told, "alert_over", format!("over: {}", told.text)));
        let begun = present.iter().filter(|alert| !self.told.iter().any(|told| told.is(alert)));
        let begun = begun
            .map(|alert| event(alert, "alert", format!("alert: {}; {}", alert.text, alert.next)));
        let events = over.chain(begun).collect();
        self.told = present.to_vec();
        events
    }
}
