//! Wrong configurations, each a mistake that somebody will make, and what `lull check` answers: the line, what is
//! wrong with it, and the next step.

use assert_cmd::Command;

/// A resource and an attachment with nothing wrong, for mistakes elsewhere in the file.
const RESOURCE: &str = "[[resource]]\nname = \"db1\"\nbackend = \"mem:64M\"\n";
const ATTACHMENT: &str =
    "[[attachment]]\nuri = \"lull://localhost/db1\"\nnbd = \"unix:/run/db1\"\n";

/// What `lull check -` says of a text; it must not be good.
fn said(text: &str) -> String {
    let mut lull: Command = assert_cmd::cargo::cargo_bin_cmd!("lull");
    let output = lull.args(["check", "-"]).write_stdin(text).output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}\n{err}");
    assert_eq!(output.stdout, b"", "what is for people goes to standard error");
    err
}

fn target(keys: &str) -> String {
    format!("[target]\n{keys}\n{RESOURCE}")
}

fn initiator(keys: &str) -> String {
    format!("[initiator]\n{keys}\n{ATTACHMENT}")
}

fn resources(backends: &[&str]) -> String {
    let resource = |(number, backend): (usize, &&str)| {
        format!("[[resource]]\nname = \"db{number}\"\nbackend = \"{backend}\"\n")
    };
    backends.iter().enumerate().map(resource).collect()
}

fn attachment(keys: &str) -> String {
    format!("{ATTACHMENT}{keys}\n")
}

/// Every mistake by the name of its snapshot.
fn mistakes() -> Vec<(&'static str, String)> {
    let long = format!("/run/{}.sock", "a-very-long-name".repeat(7));
    vec![
        ("an empty file", String::new()),
        ("no toml", "[target\nname = \"a\"\n".to_owned()),
        ("a section that does not exist", "[targets]\nname = \"a\"\n".to_owned()),
        ("one resource in single brackets", RESOURCE.replace("[[resource]]", "[resource]")),
        ("a slip in a key", target("lisen = [\"unix:/run/t\"]")),
        ("a key of the other role", initiator("pause-timeout = \"30s\"")),
        ("a key twice", target("name = \"a\"\nname = \"b\"")),
        ("a missing key", "[[resource]]\nname = \"db1\"\n".to_owned()),
        ("a number for a span", target("pause-timeout = 30")),
        ("one address without brackets", target("listen = \"unix:/run/t\"")),
        ("a word for a switch", target("insecure = \"yes\"")),
        ("a target without resources", "[target]\nname = \"a\"\n".to_owned()),
        ("an initiator without attachments", "[initiator]\nname = \"a\"\n".to_owned()),
        ("a span that is none", target("pause-timeout = \"soon\"")),
        ("timers of no time", attachment("restart-timeout = \"0\"\nresume-timeout = \"0s\"")),
        ("an unknown pause policy", target("on-pause-timeout = \"retry\"")),
        ("a name that cannot be", RESOURCE.replace("db1", "a/b")),
        ("an address that is none", target("listen = [\"/run/t.sock\"]")),
        ("a port that is none", target("listen = [\"tcp:127.0.0.1:108200\"]")),
        ("an address of another kind", target("listen = [\"vsock:two:10820\"]")),
        // [SEC-1]
        ("plain tcp for everybody", target("listen = [\"tcp:0.0.0.0:10820\"]")),
        ("a socket path that is too long", target(&format!("listen = [\"unix:{long}\"]"))),
        ("an admin socket that is too long", target(&format!("admin = \"unix:{long}\""))),
        ("an admin socket over tcp", target("admin = \"tcp:localhost:1\"")),
        ("a socket twice", target("listen = [\"unix:/run/t\"]\nnbd = [\"unix:/run/t\"]")),
        (
            "one admin socket for both roles",
            target("admin = \"unix:/run/a\"") + &initiator("admin = \"unix:/run/a\""),
        ),
        (
            "one state directory for both roles",
            target("state = \"/var/lib/lull\"") + &initiator("state = \"/var/lib/lull/\""),
        ),
        ("an address for a virtual machine", attachment("vhost-user = \"unix:/run/db1.vhost\"")),
        ("one socket for two protocols", attachment("vhost-user = \"/run/db1\"")),
        ("an unknown backend", resources(&["disk:/dev/sdb"])),
        ("a backend without its kind", resources(&["/srv/db1.img"])),
        ("an unknown option of a backend", resources(&["file:/srv/db1.img,cache=on"])),
        ("an option that is neither on nor off", resources(&["file:/srv/db1.img,direct=yes"])),
        ("a size that is none", resources(&["file:/srv/db1.img,size=ten"])),
        ("a size between sectors", resources(&["mem:1000"])),
        ("a new file that is read only", resources(&["file:/srv/db1.img,size=1G,read-only"])),
        ("two resources of one name", format!("{RESOURCE}{RESOURCE}")),
        (
            "two resources on one file",
            resources(&["file:/srv/a.img", "file:/srv/./a.img,read-only"]),
        ),
        ("two resources on one export", resources(&["nbd://localhost/a", "nbd://localhost/a"])),
        ("a medium elsewhere without a server", resources(&["nbd:///x"])),
        // [SEC-1]
        ("a medium elsewhere over plain tcp", resources(&["nbd://store.example/x"])),
        ("a medium elsewhere without a socket", resources(&["nbd+unix:///x"])),
        ("an unknown option of a medium elsewhere", resources(&["nbd://localhost/x,sync"])),
        ("a medium of another protocol", resources(&["iscsi://localhost/x"])),
        ("a medium at another target without a name", resources(&["lull://localhost"])),
        ("a medium at another target without a socket", resources(&["lull+unix:///x"])),
        ("a medium at another target over plain tcp", resources(&["lull://store.example/x"])),
        (
            "two resources on one of another target",
            resources(&["lull://localhost/a", "lull://localhost/a"]),
        ),
        (
            "a medium at another target whose socket path is too long",
            resources(&[&format!("lull+unix:///x?socket={long}")]),
        ),
        ("a uri of another protocol", ATTACHMENT.replace("lull://", "nbd://")),
        ("a uri without a resource", ATTACHMENT.replace("/db1\"\nnbd", "\"\nnbd")),
        ("a uri without a socket", ATTACHMENT.replace("lull://localhost/db1", "lull+unix:///db1")),
        (
            "a uri whose socket path is too long",
            ATTACHMENT.replace("lull://localhost/db1", &format!("lull+unix:///db1?socket={long}")),
        ),
        // [SEC-1]
        ("plain tcp to another host", ATTACHMENT.replace("localhost", "store.example")),
        ("an unknown access", attachment("access = \"all\"")),
        ("an unknown policy", attachment("on-timeout = \"panic\"")),
        ("a hook without a command", attachment("on-timeout = \"hook:\"")),
        (
            "too little to retain, or none and some",
            attachment("retain = \"4K\"")
                + "[[attachment]]\nuri = \"lull://localhost/db2\"\nnbd = \"unix:/run/db2\"\n\
                   retain = \"64M\"\nwrite-through = true\n",
        ),
        ("two attachments of one name", format!("{ATTACHMENT}access = \"ro\"\n{ATTACHMENT}")),
        (
            "two writers of one resource",
            ATTACHMENT.to_owned() + "[[attachment]]\nname = \"again\"\n" + &ATTACHMENT[15..],
        ),
    ]
}

#[test]
fn every_mistake_is_shown_in_its_line_with_the_next_step() {
    for (name, text) in mistakes() {
        let err = said(&text);
        let shown = err.matches("  × ").count();
        assert!(shown > 0 && err.matches("  help: ").count() == shown, "{name}: {err}");
        assert!(text.is_empty() || err.contains("standard input:"), "{name} has no place: {err}");
        insta::assert_snapshot!(name.replace(' ', "_"), err, &text);
    }
}

#[test]
fn all_that_is_wrong_is_shown_at_once() {
    let text =
        target("listen = [\"/run/t\"]\npause-timeout = \"soon\"\non-pause-timeout = \"retry\"")
            + &attachment("access = \"all\"\nhold = \"0\"");
    insta::assert_snapshot!(said(&text));
}

#[test]
fn a_medium_that_is_not_there_is_told_as_a_start_would_and_is_no_mistake_of_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    std::fs::write(dir.path().join("here.img"), [0; 4096]).unwrap();
    let (missing, here) = (path("missing.img"), path("here.img"));
    let media =
        [format!("file:{missing}"), format!("file:{here}"), format!("file:{}", path("a/b"))];
    let text = resources(&media.each_ref().map(String::as_str));
    let mut lull: Command = assert_cmd::cargo::cargo_bin_cmd!("lull");
    let output = lull.args(["check", "-"]).write_stdin(text).output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{err}");
    assert!(err.contains("good: target"), "{err}");
    assert!(
        err.contains(&format!("not to be started here as it is: db0: {missing} does not exist")),
        "{err}"
    );
    assert!(err.contains("size=") && !err.contains("db1: "), "the next step: {err}");
    assert!(err.contains("db2: ") && err.lines().count() == 3, "{err}");
}

#[test]
fn a_place_that_cannot_be_had_is_told_as_a_start_would() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    std::fs::write(dir.path().join("file"), "").unwrap();
    let places = |state: &str, one: &str, other: &str| {
        let (state, one, other) = (path(state), path(one), path(other));
        let text = target(&format!(
            "state = \"{state}\"\nadmin = \"unix:{one}\"\nlisten = [\"unix:{one}.2\"]\n\
             nbd = [\"unix:{other}\"]"
        ));
        let mut lull: Command = assert_cmd::cargo::cargo_bin_cmd!("lull");
        let output = lull.args(["check", "-"]).write_stdin(text).output().unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{err}");
        err
    };
    let err = places("file/state", "none/above/t.sock", "file");
    assert!(err.contains("cannot use the state directory"), "{err}");
    assert!(err.contains("cannot make the directory of unix:"), "{err}");
    assert!(err.contains("above/t.sock.2: No such file"), "{err}");
    assert!(err.contains("/file: the path exists and is not a socket"), "{err}");
    let err = places("state", "made/t.sock", "n.sock");
    assert!(!err.contains(&path("")), "what a start makes is not missing: {err}");
    assert!(std::fs::read_dir(dir.path()).unwrap().count() == 1, "nothing is made");
}
