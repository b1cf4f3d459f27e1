//! The frames that every later release must still write and read, byte for byte.

use crate::annotated;
use crate::golden_values::{news, telling};
use lull_wire::{Message, TABLE, VERSION};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn folder(version: u16) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("golden/v{version}"))
}

/// The frames of a version, by the names of their files: its new messages, and what else is new in it.
fn frames(version: u16) -> Vec<(String, Message, Vec<u8>)> {
    let messages = TABLE.iter().filter(|info| info.since == version).map(|info| {
        let (message, payload) = telling(info.kind);
        (info.name.to_lowercase().replace(' ', "-"), message, payload)
    });
    let other = news(version).into_iter();
    messages
        .chain(other.map(|(name, message, payload)| (name.to_owned(), message, payload)))
        .collect()
}

/// Every message has its file, and every file its message.
#[test]
fn every_message_of_the_table_has_a_golden_frame() {
    for version in 1..=VERSION {
        let there: BTreeSet<_> = std::fs::read_dir(folder(version))
            .expect("a folder of golden frames for each version")
            .map(|entry| entry.expect("a readable entry").file_name().into_string().expect("ASCII"))
            .collect();
        let due: BTreeSet<_> =
            frames(version).iter().map(|(name, ..)| format!("{name}.hex")).collect();
        assert_eq!(there, due, "{}", folder(version).display());
    }
}

/// [CONN-8]: what is encoded is the golden frame, and the golden frame is decoded to what was encoded.
#[test]
fn golden_frames_are_written_and_read_as_they_always_were() {
    let mut wrong = String::new();
    for version in 1..=VERSION {
        for (name, message, payload) in frames(version) {
            let now = annotated::frame(&message, &payload);
            let path = folder(version).join(format!("{name}.hex"));
            let golden = annotated::bytes(&std::fs::read_to_string(&path).unwrap_or_default());
            if golden == now {
                assert_eq!(annotated::read(&golden), (message, payload.as_slice()), "{name}");
            } else {
                wrong += &format!("{}: encoded now\n{}\n", path.display(), annotated::text(&now));
            }
        }
    }
    // Printed whole, so that the file of a message that is not released yet can be made from it.
    assert!(wrong.is_empty(), "golden frames that differ:\n{wrong}");
}
