//! What somebody types, as messages.

use std::io::BufRead as _;

use lull_admin::Decision;
use tokio::sync::mpsc;

/// Lines from standard input. The thread that reads them ends with the process.
pub struct Keyboard(mpsc::UnboundedReceiver<String>);

impl Keyboard {
    /// Starts to read.
    pub fn listen() -> Self {
        let (to, from) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            for line in std::io::stdin().lock().lines() {
                let Ok(line) = line else { return };
                if to.send(line).is_err() {
                    return;
                }
            }
        });
        Self(from)
    }

    /// The next line; waits for ever when there will be none. Safe to drop while it waits.
    pub async fn line(keyboard: &mut Option<Self>) -> String {
        match keyboard {
            Some(Self(lines)) => match lines.recv().await {
                Some(line) => line,
                None => std::future::pending().await,
            },
            None => std::future::pending().await,
        }
    }
}

/// A decision by its word or the beginning of it.
pub fn decision(typed: &str) -> Option<Decision> {
    let typed = typed.trim().to_lowercase();
    if typed.is_empty() {
        return None;
    }
    [Decision::Wait, Decision::Proceed, Decision::Abort]
        .into_iter()
        .find(|decision| decision.as_str().starts_with(&typed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_is_typed_by_its_first_letters_and_never_by_nothing() {
        assert_eq!(decision(" P\n"), Some(Decision::Proceed));
        assert_eq!(decision("abort"), Some(Decision::Abort));
        assert_eq!(decision("wa"), Some(Decision::Wait));
        for wrong in ["", " ", "yes", "proceeding", "no"] {
            assert_eq!(decision(wrong), None, "{wrong}");
        }
    }
}
