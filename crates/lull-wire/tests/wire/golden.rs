//! The frames that every later release must still write and read, byte for byte.

use crate::annotated;
use crate::golden_values::telling;
use lull_wire::{TABLE, VERSION};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("golden/v{VERSION}"))
}

fn file_name(message: &str) -> String {
    message.to_lowercase().replace(' ', "-") + ".hex"
}

/// Every message has its file, and every file its message.
#[test]
fn every_message_of_the_table_has_a_golden_frame() {
    let there: BTreeSet<_> = std::fs::read_dir(folder())
        .expect("a folder of golden frames for this version")
        .map(|entry| entry.expect("a readable entry").file_name().into_string().expect("ASCII"))
        .collect();
    let due: BTreeSet<_> = TABLE.iter().map(|info| file_name(info.name)).collect();
    assert_eq!(there, due, "{}", folder().display());
}

/// [CONN-8]: what is encoded is the golden frame, and the golden frame is decoded to what was encoded.
#[test]
fn golden_frames_are_written_and_read_as_they_always_were() {
    let mut wrong = String::new();
    for info in TABLE {
        let (message, payload) = telling(info.kind);
        let now = annotated::frame(&message, &payload);
        let path = folder().join(file_name(info.name));
        let golden = annotated::bytes(&std::fs::read_to_string(&path).unwrap_or_default());
        if golden == now {
            assert_eq!(annotated::read(&golden), (message, payload.as_slice()), "{}", info.name);
        } else {
            wrong += &format!("{}: encoded now\n{}\n", path.display(), annotated::text(&now));
        }
    }
    // Printed whole, so that the file of a message that is not released yet can be made from it.
    assert!(wrong.is_empty(), "golden frames that differ:\n{wrong}");
}
