//! The frames that the specification shows are those that the codec makes.

use crate::annotated;
use crate::dialogue::dialogue;
use lull_wire::frame::crc;
use lull_wire::messages::Ping;
use lull_wire::{DisconnectCode, Kind, RefusalCode, Sender};
use std::path::Path;

/// The fenced blocks of a page that are marked as frames.
fn frames(page: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/spec").join(page);
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let blocks = text.split("```frame\n").skip(1);
    blocks.map(|rest| rest.split("```").next().unwrap_or_default().to_owned()).collect()
}

/// Every frame of the page on the dialogue, byte by byte and comment by comment.
#[test]
fn the_dialogue_of_the_specification_is_what_the_codec_writes() {
    let shown = frames("dialogue.md");
    let made: Vec<_> = dialogue()
        .iter()
        .map(|(message, payload)| annotated::text(&annotated::frame(message, payload)))
        .collect();
    for (at, made) in made.iter().enumerate() {
        let shown = shown.get(at).map_or("", String::as_str);
        assert_eq!(annotated::bytes(shown), annotated::bytes(made), "frame {at} is now\n{made}");
        assert_eq!(shown, made, "the comments of frame {at}");
    }
    assert_eq!(shown.len(), made.len());
}

/// The example of the page on frames, and its steps.
#[test]
fn the_checksums_of_the_worked_example_are_right() {
    let ping = annotated::frame(&Ping { token: 0x0102_0304_0506_0708 }.into(), &[]);
    assert_eq!(frames("framing.md"), [annotated::text(&ping)]);
    assert_eq!(crc(b"123456789"), 0xe306_9283);
    assert_eq!(crc(&ping[32..]), u32::from_le_bytes([ping[16], ping[17], ping[18], ping[19]]));
    assert_eq!(crc(&ping[..28]), u32::from_le_bytes([ping[28], ping[29], ping[30], ping[31]]));
}

/// The dialogue leaves out no message that an ordinary restart needs, and each side says only its own.
#[test]
fn the_dialogue_holds_every_message_of_a_planned_restart() {
    let kinds: Vec<_> = dialogue().iter().map(|(message, _)| message.kind()).collect();
    for info in lull_wire::TABLE {
        let beside = matches!(
            info.kind,
            Kind::Refused
                | Kind::Detach
                | Kind::Detached
                | Kind::Hold
                | Kind::Knock
                | Kind::Resized
        );
        assert_eq!(kinds.contains(&info.kind), !beside, "{}", info.name);
        assert!(info.from != Sender::Both || matches!(info.kind, Kind::Ping | Kind::Pong));
    }
}

/// The pages name each code as the table does and give it its number.
#[test]
fn the_codes_of_refused_and_disconnect_are_listed_with_their_numbers() {
    let page = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/spec").join(name);
        std::fs::read_to_string(path).expect("a page of the specification")
    };
    let (session, pause) = (page("session.md"), page("pause.md"));
    for (code, number, _) in RefusalCode::ALL {
        assert!(session.contains(&format!("\n| {number} | {code:?} |")), "{code:?}");
    }
    for (code, number, _) in DisconnectCode::ALL {
        assert!(pause.contains(&format!("\n| {number} | {code:?} |")), "{code:?}");
    }
}
