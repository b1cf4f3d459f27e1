//! What is good, what is derived, and how each mistake is told.

use super::*;

#[test]
fn the_example_is_good_and_holds_every_key() {
    let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../dist/lull.toml"));
    let config = parse("dist/lull.toml", text).unwrap();
    let target = config.target.unwrap();
    assert_eq!(target.name, "store-1");
    assert_eq!(target.resources.len(), 2);
    assert_eq!(target.pause_timeout_ms, DEFAULT_PAUSE_TIMEOUT_MS);
    assert_eq!(target.keep_alive_ms, DEFAULT_KEEP_ALIVE_MS);
    let initiator = config.initiator.unwrap();
    assert_eq!(initiator.going_down_timeout_ms, DEFAULT_GOING_DOWN_TIMEOUT_MS);
    let attachment = &initiator.attachments[0];
    assert_eq!(attachment.on_timeout, OnTimeout::Wait);
    assert_eq!(attachment.hold_ms, Some(3_600_000));
    assert_eq!(attachment.restart_timeout_ms, DEFAULT_RESTART_TIMEOUT_MS);
    assert_eq!(attachment.resume_timeout_ms, DEFAULT_RESUME_TIMEOUT_MS);
    // What not every host has is shown as a comment.
    let shown = |key: &str| ["\n", "\n# "].iter().any(|at| text.contains(&format!("{at}{key} = ")));
    let lines = file::KEYS.iter().filter(|key| !shown(key));
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
fn plain_tcp_beyond_loopback_is_accepted_where_it_is_asked_for() {
    // [SEC-1]
    let text = "[target]\nlisten = [\"tcp:0.0.0.0:10820\"]\n\
                [[resource]]\nname = \"a\"\nbackend = \"mem:1M\"\n";
    assert!(parse("lull.toml", text).is_err());
    let insecure = text.replace("[target]", "[target]\ninsecure = true");
    assert!(parse("lull.toml", &insecure).unwrap().target.unwrap().insecure);
}

#[test]
fn readers_may_share_what_a_writer_has_for_itself() {
    let text = r#"
        [[resource]]
        name = "a"
        backend = "file:/srv/a.img,read-only"
        [[resource]]
        name = "b"
        backend = "file:/srv/./a.img,read-only"
        [[attachment]]
        uri = "lull://localhost/c"
        nbd = "tcp:127.0.0.1:0"
        [[attachment]]
        name = "c2"
        uri = "lull://localhost/c"
        nbd = "tcp:127.0.0.1:0"
        access = "ro"
    "#;
    let config = parse("lull.toml", text).unwrap();
    assert_eq!(config.target.unwrap().resources.len(), 2);
    assert_eq!(config.initiator.unwrap().attachments.len(), 2);
}
