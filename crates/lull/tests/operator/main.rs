//! The command as scripts see it: exit status, standard output, standard error.

mod fake;
mod terminal;

use std::path::Path;

use assert_cmd::Command;
use fake::{Fake, Script};
use lull_admin::{OutcomeKind, RestartRecord, Status};

fn lull() -> Command {
    let mut command = assert_cmd::cargo::cargo_bin_cmd!("lull");
    command.env("TZ", "UTC");
    command
}

/// Runs the verb; gives exit status, standard output and standard error.
fn run(args: &[&str]) -> (i32, String, String) {
    let output = lull().args(args).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn against(script: Script, args: &[&str]) -> (i32, String, String) {
    let fake = Fake::start(script);
    let admin = fake.admin();
    run(&[args, &["--admin", &admin]].concat())
}

fn example() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dist/lull.toml").display().to_string()
}

#[test]
fn what_the_command_line_does_not_know_is_status_two() {
    for args in [
        &[][..],
        &["frobnicate"],
        &["restart", "--host", "--stop"],
        &["restart", "--stop", "--exec", "true"],
        &["restart", "--pause-timeout", "soon"],
        &["restart", "--on-pause-timeout", "retry"],
        &["target", "db1=disk:/x"],
        &["target", "db1=mem:1000"],
        &["target", "--listen", "tcp:0.0.0.0:1", "db1=mem:1M"],
        &["target"],
        &["attach", "nbd://localhost/x", "--nbd", "unix:/x"],
        &["attach", "lull://localhost/x"],
        &["attach", "lull://localhost/x", "--nbd", "unix:/x", "--on-timeout", "poweroff"],
        &["history", "seven"],
        &["history", "target", "seven"],
        &["history", "7", "8"],
    ] {
        let (status, out, err) = run(args);
        assert_eq!((status, &*out), (2, ""), "{args:?}: {err}");
        assert!(!err.is_empty(), "{args:?}");
    }
}

#[test]
fn a_daemon_that_is_not_there_is_status_four_with_a_next_step() {
    let dir = tempfile::tempdir().unwrap();
    let nowhere = format!("unix:{}", dir.path().join("none.sock").display());
    for args in [
        &["status"][..],
        &["status", "--json"],
        &["restart"],
        &["pause"],
        &["resume"],
        &["abort"],
        &["detach", "db1"],
        &["evict", "web-2"],
        &["events"],
        &["history"],
        &["history", "initiator"],
    ] {
        let (status, out, err) = run(&[args, &["--admin", &nowhere]].concat());
        assert_eq!((status, &*out), (4, ""), "{args:?}: {err}");
        assert!(err.contains("none.sock") && err.contains("next: "), "{args:?}: {err}");
    }
}

#[test]
fn the_example_passes_check_and_a_wrong_file_is_status_one_with_its_line() {
    let (status, out, err) = run(&["check", &example()]);
    assert_eq!((status, &*out), (0, ""), "{err}");
    assert!(err.contains("target store-1 sharing db1, scratch"), "{err}");
    let dir = tempfile::tempdir().unwrap();
    let wrong = dir.path().join("wrong.toml");
    std::fs::write(&wrong, "[target]\nlisen = []\n").unwrap();
    let (status, _, err) = run(&["check", wrong.to_str().unwrap()]);
    assert_eq!(status, 1);
    assert!(err.contains("wrong.toml:2:1"), "{err}");
    let (status, _, err) = run(&["check", "/nonexistent/lull.toml"]);
    assert_eq!(status, 1);
    assert!(err.contains("/nonexistent/lull.toml: cannot be read"), "{err}");
}

#[test]
fn a_completed_restart_is_status_zero_with_one_line_per_transition() {
    let (status, out, err) = against(Script::Ends(OutcomeKind::Completed), &["restart"]);
    assert_eq!((status, &*out), (0, ""), "{err}");
    insta::assert_snapshot!(err);
}

#[test]
fn json_is_one_document_and_nothing_else_on_standard_output() {
    let completes = Script::Ends(OutcomeKind::Completed);
    let (status, out, _) = against(completes, &["restart", "--json", "--reason", "new kernel"]);
    let record: RestartRecord = serde_json::from_str(&out).unwrap();
    assert_eq!((status, record.id, &*record.reason), (0, 7, "new kernel"));
    let (_, out, err) = against(Script::Asks, &["status", "--json"]);
    let seen: Status = serde_json::from_str(&out).unwrap();
    assert_eq!((&*seen.name, &*err), ("store-1", ""));
    let (_, out, err) = against(Script::Asks, &["history", "--json"]);
    let records: Vec<RestartRecord> = serde_json::from_str(&out).unwrap();
    assert_eq!((records.len(), &*err), (1, ""));
}

/// It takes the database of zones (tzdata), which postgresql brings along.
#[test]
fn times_are_shown_in_the_zone_that_is_named() {
    let at = |zone: &str| {
        let fake = Fake::start(Script::Ends(OutcomeKind::Completed));
        let admin = fake.admin();
        let mut command = lull();
        let output = command.env("TZ", zone).args(["history", "--admin", &admin]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    for (zone, time) in [
        ("America/New_York", "1969-12-31 19:00:00"),
        ("EST5EDT", "1969-12-31 19:00:00"),
        ("<+0530>-5:30", "1970-01-01 05:30:00"),
        // As other programs have it.
        ("Nowhere/At_All", "1970-01-01 00:00:00"),
    ] {
        let shown = at(zone);
        assert!(shown.contains(time), "{zone}:\n{shown}");
    }
}

#[test]
fn the_status_of_several_daemons_is_one_array_and_of_one_its_document() {
    let fakes = [(); 2].map(|()| Fake::start(Script::Asks));
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("lull")).unwrap();
    for (fake, role) in fakes.iter().zip(["target", "initiator"]) {
        let at = dir.path().join(format!("lull/{role}.sock"));
        std::os::unix::fs::symlink(fake.admin().trim_start_matches("unix:"), at).unwrap();
    }
    let json = |args: &[&str]| {
        let mut command = lull();
        let output = command.env("XDG_RUNTIME_DIR", dir.path()).args(args).output().unwrap();
        let (out, err) = (output.stdout, String::from_utf8(output.stderr).unwrap());
        (serde_json::from_slice::<serde_json::Value>(&out).unwrap_or_default(), err)
    };
    let (both, err) = json(&["status", "--json"]);
    assert_eq!((both[0]["name"].as_str(), &*err), (Some("store-1"), ""), "{both}");
    assert_eq!(both.as_array().map(Vec::len), Some(2), "{both}");
    let (one, err) = json(&["status", "target", "--json"]);
    assert_eq!((one["name"].as_str(), &*err), (Some("store-1"), ""), "{one}");
}

#[test]
fn a_restart_given_up_because_of_somebody_is_status_three_and_names_them() {
    // [PAUSE-4]
    let (status, _, err) = against(Script::Ends(OutcomeKind::Aborted), &["restart"]);
    assert_eq!(status, 3, "{err}");
    let named = "not ready: web-2 (db1): 3 writes in flight, the oldest for 12 s";
    assert!(err.contains(named), "{err}");
}

#[test]
fn a_failed_restart_is_status_one_and_says_why() {
    for (words, next) in
        [(&["restart"][..], "history 7"), (&["restart", "initiator"], "history initiator 7")]
    {
        let fake = Fake::start(Script::Ends(OutcomeKind::Failed));
        let admin = ["--admin", &fake.admin()];
        let (status, _, err) = run(&[words, &admin].concat());
        assert_eq!(status, 1);
        assert!(err.contains("failed: the successor did not serve"), "{err}");
        assert!(err.contains(&format!("next: `lull {next} --admin {}`", fake.admin())), "{err}");
        // As it is told it works.
        let next: Vec<_> = next.split(' ').chain(admin).collect();
        let (status, out, err) = run(&next);
        assert_eq!((status, &*err), (0, ""));
        assert!(out.contains("restart 7 of store-1"), "{out}");
    }
}

#[test]
fn yes_answers_the_question_with_proceed() {
    let (status, _, err) = against(Script::Asks, &["restart", "--yes"]);
    assert_eq!(status, 0, "{err}");
    assert!(err.contains("web-2 (db1): 3 writes in flight, the oldest for 12 s"), "{err}");
    assert!(err.contains("answered: proceed (--yes)"), "{err}");
}

#[test]
fn a_restart_is_followed_across_the_change_of_daemons() {
    // [PAUSE-9]
    let (status, _, err) = against(Script::HandsOver, &["restart"]);
    assert_eq!(status, 0, "{err}");
    let line = |text: &str| err.find(text).unwrap_or_else(|| panic!("no `{text}` in {err}"));
    assert!(line("web-1: paused after 3 ms") < line("store-1: hands over to its successor"));
    assert!(line("hands over to its successor") < line("web-1: resumed after 42 ms"));
}

#[test]
fn a_stop_is_done_when_the_daemon_is_gone() {
    let fake = Fake::start(Script::Stops);
    let admin = fake.admin();
    let (status, _, err) = run(&["restart", "--stop", "--admin", &admin]);
    assert_eq!(status, 0, "{err}");
    assert!(err.contains("the target has stopped"), "{err}");
    fake.join();
}

#[test]
fn a_pause_is_done_when_all_are_paused() {
    let fake = Fake::start(Script::Pauses);
    let (status, _, err) = run(&["pause", "--admin", &fake.admin()]);
    assert_eq!(status, 0, "{err}");
    assert!(err.contains("pause 7: all are paused"), "{err}");
    assert!(err.contains(&format!("next: `lull resume --admin {}`", fake.admin())), "{err}");
}

#[test]
fn what_the_daemon_refuses_is_status_one_with_its_words() {
    let fake = Fake::start(Script::Pauses);
    let (status, out, err) = run(&["detach", "db9", "--admin", &fake.admin()]);
    assert_eq!((status, &*out), (1, ""));
    let next = format!("see `lull status --admin {}`", fake.admin());
    assert_eq!(err, format!("lull: there is no attachment `db9`\n  next: {next}\n"));
    let (status, _, err) = against(Script::Pauses, &["evict", "web-2"]);
    assert_eq!(status, 0);
    assert!(err.contains("12 KiB of its writes are declared lost"), "{err}");
}

#[test]
fn events_end_with_what_the_daemon_remembers_unless_they_are_followed() {
    let fake = Fake::start(Script::Pauses);
    let admin = fake.admin();
    run(&["pause", "--admin", &admin]);
    let (status, out, _) = run(&["events", "--admin", &admin]);
    assert_eq!(status, 0);
    assert_eq!(
        out,
        "2026-11-22 14:02:00.000 store-1: asks 2 initiators to pause (restart 7)\n\
         2026-11-22 14:02:00.000 web-1: paused after 3 ms (restart 7)\n"
    );
    let (_, out, _) = run(&["events", "--json", "--admin", &admin]);
    let whats: Vec<_> = out
        .lines()
        .map(|line| serde_json::from_str::<lull_admin::Event>(line).unwrap().what)
        .collect();
    assert_eq!(whats, ["pausing", "paused"]);
}
