//! What people and their programs write as text.

use lull_admin::{AdminAddr, ResourceUri};
use lull_block::BackendSpec;
use lull_frontend::nbd::Uri;
use lull_history::account;
use lull_history::file::{self, Event};
use lull_transport::Addr;
use std::fmt::{Debug, Display};
use std::str::FromStr;

/// Each form tries it; what one reads, it reads again as it prints it.
pub fn texts(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    again::<Uri>(text);
    again::<ResourceUri>(text);
    again::<AdminAddr>(text);
    again::<Addr>(text);
    again::<BackendSpec>(text);
    for id in [text.parse::<lull_wire::InstanceId>()].into_iter().flatten() {
        assert_eq!(id.to_string().parse(), Ok(id));
    }
}

fn again<T: FromStr<Err: Display + Debug> + Display + PartialEq + Debug>(text: &str) {
    match text.parse::<T>() {
        Ok(read) => {
            let printed = read.to_string();
            let back = printed.parse::<T>();
            assert_eq!(back.expect("what is printed can be read"), read, "{text} as {printed}");
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Line by line, and as a whole.
pub fn history(bytes: &[u8]) {
    let mut units = 0;
    for line in String::from_utf8_lossy(bytes).lines() {
        let Some((micros, event)) = file::parse(line) else { continue };
        let mut again = String::new();
        file::write(&mut again, micros, &event);
        assert_eq!(file::parse(again.trim_end()), Some((micros, event.clone())), "{line}");
        units += match event {
            Event::Begin { op, .. } => op.units(),
            Event::End { content, .. } => content.len() as u64,
            Event::Settle { .. } | Event::Lost(_) | Event::Forsaken { .. } => 0,
        };
    }
    // What is judged is kept for each unit: a history of a large disk takes its memory, and a fuzzer's patience.
    if units > 1 << 14 {
        return;
    }
    if let Ok(verdict) = file::check(bytes) {
        let accounts = account::of(bytes, &verdict.findings);
        let accounts = accounts.expect("a history that was read once");
        assert_eq!(accounts.len(), verdict.findings.len());
        verdict.findings.iter().for_each(|finding| assert!(!finding.fault.to_string().is_empty()));
    }
}

/// What is wrong is told, with its place; whatever the place is, it can be shown.
pub fn configuration(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    if let Err(told) = lull::check_configuration(text) {
        assert!(!told.trim().is_empty(), "nothing is said about what is wrong");
    }
}
