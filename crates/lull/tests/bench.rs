//! `lull bench` as a command, against a server that is not ours.

#![allow(missing_docs)]

use std::process::{Command, Output, Stdio};

use assert_cmd::cargo::cargo_bin;

/// Runs `lull bench` on an nbdkit that lives as long as the command; `nbdkit` are its arguments.
fn bench(nbdkit: &[&str], flags: &[&str]) -> Output {
    let bench =
        format!("{} bench unix:$unixsocket {}", cargo_bin("lull").display(), flags.join(" "));
    let output = Command::new("timeout")
        .args(["60", "nbdkit", "-U", "-"])
        .args(nbdkit)
        .args(["--run", &bench])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_ne!(output.status.code(), Some(127), "nbdkit must be installed for this test");
    output
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_right_server_is_status_0_and_a_table() {
    let output = bench(&["memory", "1M"], &["--write", "--count", "8000", "--flush-every", "50"]);
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}{}", text(&output.stderr));
    assert!(said.contains("right: no errors"), "{said}");
    assert!(said.contains("256 blocks verified"), "{said}");
}

#[test]
fn errors_of_the_server_are_status_1_with_their_number() {
    let nbdkit = ["--filter=error", "memory", "1M", "error=EIO", "error-rate=10%"];
    let output = bench(&nbdkit, &["--write", "--count", "500", "--json"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["ok"], false);
    let place = &document["places"][0];
    assert!(place["errors"]["EIO"].as_u64().unwrap() > 10, "{document}");
    assert_eq!(place["verification"]["wrong_blocks"], 0, "{document}");
    assert!(text(&output.stderr).contains("requests failed"));
}

#[test]
fn reading_alone_leaves_the_disk_as_it_is() {
    let nbdkit = ["--readonly", "memory", "1M"];
    let output = bench(&nbdkit, &["--read-percent", "100", "--count", "500"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("500 reads explained"), "{}", text(&output.stdout));
    let refused = bench(&nbdkit, &["--write"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("read-only"), "{}", text(&refused.stderr));
}

#[test]
fn what_it_will_not_do_is_status_2_with_the_next_step() {
    for (place, step) in
        [("unix:/nonexistent.sock", "--write"), ("lull://db/disk", "attach it first")]
    {
        let output = Command::new(cargo_bin("lull")).args(["bench", place]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{place}");
        assert!(text(&output.stderr).contains(step), "{}", text(&output.stderr));
    }
}

#[test]
fn a_server_that_is_not_there_is_status_4() {
    let arguments = ["bench", "--write", "unix:/nonexistent/nbd.sock"];
    let output = Command::new(cargo_bin("lull")).args(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(4));
    let said = text(&output.stderr);
    assert_eq!(said.matches("No such file").count(), 1, "it is said once: {said}");
}
