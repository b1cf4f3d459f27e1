//! The command at a terminal: the live table and the prompt.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};

use lull_admin::OutcomeKind;
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::fake::{Fake, Script};

/// A process at a terminal, and the other end of that terminal.
struct AtTerminal {
    child: Child,
    screen: File,
    seen: String,
    /// How far `seen` has been looked through; one read may bring several of the awaited texts.
    looked: usize,
}

impl AtTerminal {
    fn run(args: &[&str]) -> Self {
        Self::of_columns(100, args)
    }

    fn of_columns(columns: u16, args: &[&str]) -> Self {
        let screen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&screen).unwrap();
        unlockpt(&screen).unwrap();
        let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&screen, size).unwrap();
        let name = ptsname(&screen, Vec::new()).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let end = File::from(rustix::fs::open(&name, flags, Mode::empty()).unwrap());
        let child = Command::new(env!("CARGO_BIN_EXE_lull"))
            .args(args)
            .stdin(Stdio::from(end.try_clone().unwrap()))
            .stdout(Stdio::from(end.try_clone().unwrap()))
            .stderr(Stdio::from(end))
            .spawn()
            .unwrap();
        Self { child, screen: File::from(screen), seen: String::new(), looked: 0 }
    }

    /// Reads until `text` stands on the screen.
    fn until(&mut self, text: &str) {
        let mut bytes = [0; 4096];
        loop {
            if let Some(at) = self.seen[self.looked..].find(text) {
                self.looked += at + text.len();
                return;
            }
            match self.screen.read(&mut bytes) {
                Ok(count) if count > 0 => {
                    self.seen.push_str(&String::from_utf8_lossy(&bytes[..count]));
                }
                // A terminal without anybody at its other end gives EIO.
                _ => panic!("no `{text}` in:\n{}", self.seen),
            }
        }
    }

    fn type_line(&mut self, line: &str) {
        writeln!(self.screen, "{line}").unwrap();
    }

    fn status(self) -> i32 {
        self.rest().0
    }

    /// How it ended, and all that it showed.
    fn rest(mut self) -> (i32, String) {
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = self.screen.read(&mut bytes) {
            self.seen.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
        (self.child.wait().unwrap().code().unwrap(), self.seen)
    }
}

#[test]
fn what_is_longer_than_a_line_of_the_terminal_goes_on_below_between_words() {
    let fake = Fake::start(Script::Ends(OutcomeKind::Completed));
    let admin = ["--admin", &fake.admin()];
    let reason =
        "a new kernel, and with it the firmware of the second controller, which was overdue";
    let mut restart = AtTerminal::run(&[&["restart", "--reason", reason][..], &admin].concat());
    restart.until("restart 7: completed");
    assert_eq!(restart.status(), 0);
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    for (args, code, sentence) in [
        (&["history", "7"][..], 0, reason),
        (&["detach", "a-name-that-nobody-has-given-to-anything"], 1, "there is no attachment"),
    ] {
        let (status, seen) = AtTerminal::of_columns(60, &[args, &admin].concat()).rest();
        assert_eq!(status, code, "{args:?}: {seen}");
        assert!(words(&seen).contains(sentence), "{seen}");
        // A path is left whole.
        let longest = seen.lines().filter(|line| !line.contains(".sock"));
        assert!(longest.map(|line| line.chars().count()).max() < Some(60), "{seen}");
    }
}

#[test]
fn the_question_is_asked_at_a_terminal_until_it_is_answered() {
    let fake = Fake::start(Script::Asks);
    let admin = fake.admin();
    let mut lull = AtTerminal::run(&["restart", "--admin", &admin]);
    lull.until("restart 7 of store-1 (daemon)");
    lull.until("web-2 (db1): 3 writes in flight, the oldest for 12 s");
    lull.until("wait, proceed or abort? (abort at ");
    lull.type_line("perhaps");
    lull.until("please type one of the three words");
    lull.type_line("proceed");
    lull.until("answered: proceed");
    lull.until("restart 7: proceeded");
    assert_eq!(lull.status(), 0);
}

#[test]
fn a_target_that_runs_the_restarts_command_is_not_told_as_one_that_does_not_answer() {
    let fake = Fake::start(Script::Runs);
    let mut lull = AtTerminal::run(&["restart", "--exec", "true", "--admin", &fake.admin()]);
    lull.until("web-2  draining");
    lull.until("  down for ");
    lull.until("web-2  away");
    lull.until("restart 7: completed");
    // The table of a target that is down does not stay above what came of it.
    let before = lull.seen.rsplit("restart 7: completed").nth(1).unwrap_or_default();
    assert!(before.ends_with("F"), "the cursor is where the table began: {before:?}");
    assert_eq!(lull.status(), 0);
}

#[test]
fn abort_typed_at_the_question_is_status_three() {
    let fake = Fake::start(Script::Asks);
    let admin = fake.admin();
    let mut lull = AtTerminal::run(&["restart", "--admin", &admin]);
    lull.until("wait, proceed or abort?");
    lull.type_line("a");
    lull.until("not restarted: not ready: web-2 (db1)");
    assert_eq!(lull.status(), 3);
}

#[test]
fn a_question_answered_from_another_terminal_is_taken_back() {
    let fake = Fake::start(Script::Asks);
    let admin = fake.admin();
    let mut lull = AtTerminal::run(&["restart", "--admin", &admin]);
    lull.until("wait, proceed or abort?");
    let (status, _, err) = crate::run(&["abort", "--admin", &admin]);
    assert_eq!(status, 0, "{err}");
    lull.until("the question was answered elsewhere");
    lull.until("restart 7: aborted");
    assert_eq!(lull.status(), 3);
}
