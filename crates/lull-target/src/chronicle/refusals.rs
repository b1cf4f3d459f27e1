//! Who is refused again and again is told of once.

use lull_proto::target::Report;
use lull_proto::{MonoTime, says_the_same};
use std::collections::VecDeque;
use std::time::Duration;

/// Refused again within this time, for the same reason, is no news: every initiator tries again sooner.
const SAME_WITHIN: Duration = Duration::from_secs(60);
/// How many are remembered; the oldest is forgotten, and told of once more.
const REMEMBERED: usize = 256;

/// The refusals that were told of.
#[derive(Debug, Default)]
pub struct Refusals(VecDeque<Said>);

#[derive(Debug)]
struct Said {
    node: String,
    text: String,
    at: MonoTime,
}

impl Refusals {
    /// Whether this report is to be told of.
    pub fn are_news(&mut self, now: MonoTime, report: &Report, node: &str, text: &str) -> bool {
        match report {
            Report::Refused { .. } => self.is_news(now, node, text),
            Report::Attached { .. } => {
                self.over(node);
                true
            }
            _ => true,
        }
    }

    /// Notes one; whether it is news.
    fn is_news(&mut self, now: MonoTime, node: &str, text: &str) -> bool {
        self.0.retain(|said| now.since(said.at) < SAME_WITHIN);
        let same = |said: &&mut Said| said.node == node && says_the_same(&said.text, text);
        if let Some(said) = self.0.iter_mut().find(same) {
            said.at = now;
            return false;
        }
        if self.0.len() >= REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back(Said { node: node.to_owned(), text: text.to_owned(), at: now });
        true
    }

    /// It was let in.
    fn over(&mut self, node: &str) {
        self.0.retain(|said| said.node != node);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [CHAIN-1] However often it dials: a line for each thing that is new.
    #[test]
    fn who_is_refused_again_is_told_of_once() {
        let mut told = Refusals::default();
        let at = |ms: u64| MonoTime(ms * 1_000_000);
        assert!(told.is_news(at(0), "web", "lost 5 s ago"));
        assert!(!told.is_news(at(2_000), "web", "lost 7 s ago"));
        assert!(told.is_news(at(2_000), "db", "lost 7 s ago"), "somebody else");
        assert!(told.is_news(at(3_000), "web", "there is no resource"), "for another reason");
        assert!(!told.is_news(at(61_000), "web", "lost 66 s ago"), "within a minute of the last");
        told.over("web");
        assert!(told.is_news(at(62_000), "web", "lost 1 s ago"), "it was let in meanwhile");
        assert!(told.is_news(at(999_000), "web", "lost 900 s ago"), "long after");
    }
}
