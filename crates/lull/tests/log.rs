//! What a daemon says on standard error, and how much of it.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use assert_cmd::cargo::cargo_bin;
use lull_admin::{AdminAddr, Client};
use rustix::process::{Pid, Signal, kill_process};

/// The life of a target with these flags, from its start until it has served and was told to end;
/// gives its standard error.
fn life(flags: &[&str], said: Option<&str>) -> String {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    let admin = format!("unix:{}", at("admin.sock"));
    let mut command = Command::new(cargo_bin("lull"));
    command.arg("target").args(flags).args(["--name", "store-1", "--state", &at("state")]);
    command.args(["--listen", &format!("unix:{}", at("t.sock")), "--admin", &admin, "a=mem:1M"]);
    match said {
        Some(said) => command.env("LULL_LOG", said),
        None => command.env_remove("LULL_LOG"),
    };
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let answered = answers(&mut child, admin.parse().unwrap());
    if answered {
        let pid = Pid::from_raw(child.id().try_into().unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
    } else {
        child.kill().unwrap();
    }
    let output = child.wait_with_output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(answered && output.status.success(), "{:?} {err}", output.status);
    err
}

/// What is said in each plain line, behind the time at which it was said.
fn sentences(err: &str) -> Vec<&str> {
    const TIME: &str = "2026-11-22 14:02:01.123 ";
    let shape = |text: &str| text.replace(|c: char| c.is_ascii_digit(), "0");
    let sentence = |line| {
        let (time, sentence) = str::split_at(line, TIME.len());
        assert_eq!(shape(time), shape(TIME), "{line}");
        sentence
    };
    err.lines().map(sentence).collect()
}

/// More than a daemon takes to start on any machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until the daemon answers its operator; false if it ends before, or never does.
fn answers(child: &mut Child, admin: AdminAddr) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let answers = async {
        loop {
            if let Ok(client) = Client::connect(admin.clone()).await
                && client.status().await.is_ok()
            {
                return true;
            }
            if child.try_wait().unwrap().is_some() {
                return false;
            }
            tokio::task::yield_now().await;
        }
    };
    runtime.block_on(async { tokio::time::timeout(PATIENCE, answers).await == Ok(true) })
}

const SERVES: &str = "store-1 serves a at unix:";

/// [PAUSE-5] Among them that everything is on stable storage.
#[test]
fn a_daemon_tells_when_it_serves_and_each_transition() {
    let err = life(&[], None);
    let said = sentences(&err);
    assert!(said[0].starts_with(SERVES), "{err}");
    assert!(said.contains(&"store-1: everything is on stable storage"), "{err}");
}

#[test]
fn quiet_silences_a_daemon_that_has_nothing_to_warn_of() {
    assert_eq!(life(&["-q"], None), "");
    assert_eq!(life(&["--quiet", "--log-format", "json"], None), "");
}

#[test]
fn the_variable_wins_over_the_flags() {
    let err = life(&["-q"], Some("info"));
    let said = sentences(&err);
    assert!(said[0].starts_with(SERVES) && said.len() > 1, "{err}");
    let err = life(&["-v"], Some("warn"));
    let said = sentences(&err);
    assert!(said[0].starts_with(SERVES), "who waits for this line still gets it: {err}");
    assert_eq!(said.len(), 1, "{err}");
}

#[test]
fn json_is_one_document_per_line() {
    let err = life(&["--log-format", "json"], None);
    let lines: Vec<serde_json::Value> =
        err.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines[0]["message"].as_str().unwrap().starts_with(SERVES), "{err}");
    assert_eq!(lines[0]["level"], "INFO");
    assert!(lines.len() > 1 && lines.iter().all(|line| line["timestamp"].is_string()), "{err}");
}

#[test]
fn loud_and_quiet_at_once_are_refused() {
    let output = Command::new(cargo_bin("lull")).args(["-q", "-v", "status"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}
