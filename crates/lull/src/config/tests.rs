//! What is good, what is derived, and how each mistake is told.

use super::*;

fn wrong(text: &str) -> String {
    let error = parse("lull.toml", text).expect_err("it is wrong");
    error.to_string()
}

#[test]
fn the_example_is_good_and_holds_every_key() {
    let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../dist/lull.toml"));
    let config = parse("dist/lull.toml", text).unwrap();
    let target = config.target.unwrap();
    assert_eq!(target.name, "store-1");
    assert_eq!(target.resources.len(), 2);
    assert_eq!(target.pause_timeout_ms, DEFAULT_PAUSE_TIMEOUT_MS);
    assert_eq!(target.keep_alive_ms, DEFAULT_KEEP_ALIVE_MS);
    let attachment = &config.initiator.unwrap().attachments[0];
    assert_eq!(attachment.on_timeout, OnTimeout::Wait);
    assert_eq!(attachment.hold_ms, Some(3_600_000));
    assert_eq!(attachment.restart_timeout_ms, DEFAULT_RESTART_TIMEOUT_MS);
    assert_eq!(attachment.resume_timeout_ms, DEFAULT_RESUME_TIMEOUT_MS);
    let lines = file::KEYS.iter().filter(|key| !text.contains(&format!("\n{key} = ")));
    assert_eq!(lines.collect::<Vec<_>>(), Vec::<&&str>::new(), "keys without an example");
}

#[test]
fn what_is_not_said_is_derived() {
    let text = r#"
        [[resource]]
        name = "a"
        backend = "mem:1M"
        [[attachment]]
        uri = "lull://localhost/b"
        nbd = "tcp:127.0.0.1:0"
        on-timeout = "hook:logger lost it"
        restart-timeout = "90s"
    "#;
    let config = parse("lull.toml", text).unwrap();
    let target = config.target.unwrap();
    assert_eq!(target.listen, [TargetConfig::default_listen()]);
    assert_eq!(target.name, host_name());
    let attachment = &config.initiator.unwrap().attachments[0];
    assert_eq!(attachment.name, "b");
    assert_eq!(attachment.on_timeout, OnTimeout::Hook("logger lost it".into()));
    assert_eq!(attachment.hold_ms, Some(90_000), "[SAFE-7]");
}

#[test]
fn an_unknown_key_is_shown_in_its_line() {
    insta::assert_snapshot!(wrong("[target]\nname = \"a\"\nlisen = [\"unix:/x\"]\n"));
}

#[test]
fn an_unknown_section_is_shown_in_its_line() {
    insta::assert_snapshot!(wrong("[targets]\nname = \"a\"\n"));
}

#[test]
fn broken_toml_is_shown_where_it_breaks() {
    insta::assert_snapshot!(wrong("[target\nname = \"a\"\n"));
}

#[test]
fn a_number_instead_of_a_span_is_told_how_spans_are_written() {
    insta::assert_snapshot!(wrong("[target]\npause-timeout = 30\n"));
}

#[test]
fn a_missing_key_is_named() {
    insta::assert_snapshot!(wrong("[[resource]]\nname = \"db1\"\n"));
}

#[test]
fn a_size_that_is_no_multiple_of_a_sector_is_shown() {
    insta::assert_snapshot!(wrong("[[resource]]\nname = \"db1\"\nbackend = \"mem:1000\"\n"));
}

#[test]
fn unknown_backends_and_options_are_shown_all_at_once() {
    insta::assert_snapshot!(wrong(
        "[[resource]]\nname = \"a\"\nbackend = \"disk:/x\"\n\n\
         [[resource]]\nname = \"b\"\nbackend = \"file:/x,cache=on\"\n\n\
         [[resource]]\nname = \"c\"\nbackend = \"file:/x,direct=yes\"\n"
    ));
}

#[test]
fn two_resources_of_one_name_are_shown() {
    insta::assert_snapshot!(wrong(
        "[[resource]]\nname = \"a\"\nbackend = \"mem:1M\"\n\
         [[resource]]\nname = \"a\"\nbackend = \"mem:2M\"\n"
    ));
}

#[test]
fn plain_tcp_beyond_loopback_is_refused_unless_it_is_asked_for() {
    // [SEC-1]
    let text = "[target]\nlisten = [\"tcp:0.0.0.0:10820\"]\n\
                [[resource]]\nname = \"a\"\nbackend = \"mem:1M\"\n";
    insta::assert_snapshot!(wrong(text));
    let insecure = text.replace("[target]", "[target]\ninsecure = true");
    assert!(parse("lull.toml", &insecure).unwrap().target.unwrap().insecure);
}

#[test]
fn wrong_spans_policies_and_addresses_are_shown_all_at_once() {
    insta::assert_snapshot!(wrong(
        "[target]\nlisten = [\"vsock:2:10820\", \"/run/x\"]\npause-timeout = \"soon\"\n\
         on-pause-timeout = \"retry\"\nadmin = \"tcp:localhost:1\"\n\
         [[resource]]\nname = \"a/b\"\nbackend = \"mem:1M\"\n"
    ));
}

#[test]
fn wrong_attachments_are_shown_all_at_once() {
    insta::assert_snapshot!(wrong(
        "[[attachment]]\nuri = \"nbd://localhost/a\"\nnbd = \"unix:/run/a\"\n\
         [[attachment]]\nuri = \"lull://db.example/a\"\nnbd = \"unix:/run/b\"\n\
         [[attachment]]\nuri = \"lull://localhost/a\"\nnbd = \"unix:/run/b\"\n\
         access = \"all\"\non-timeout = \"shutdown:\"\nhold = \"0\"\n"
    ));
}

#[test]
fn a_target_without_resources_is_shown_at_its_section() {
    insta::assert_snapshot!(wrong("[target]\nname = \"a\"\n"));
}

#[test]
fn an_empty_file_is_neither_role() {
    insta::assert_snapshot!(wrong(""));
}
