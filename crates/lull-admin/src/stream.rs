//! Reading the stream of server-sent events.

use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use crate::event::Event;

/// The longest line of the stream; a longer one ends it.
const MAX_LINE_BYTES: usize = 1024 * 1024;

/// One thing that the stream says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventItem {
    /// A transition.
    Event(Box<Event>),
    /// So many transitions were lost because this reader was slow.
    Missed(u64),
    /// What the daemon remembered has been told; from here on it tells what happens.
    CaughtUp,
}

/// The events of one daemon's life from a point on. It ends when the daemon goes away.
#[derive(Debug)]
pub struct EventStream {
    body: Incoming,
    lines: Lines,
}

impl EventStream {
    pub(crate) fn new(body: Incoming) -> Self {
        Self { body, lines: Lines::default() }
    }

    /// The next event; `None` when the daemon has ended the stream or gone away, after which a
    /// new stream from the last position continues it. Safe to drop while it waits.
    pub async fn next(&mut self) -> Option<EventItem> {
        loop {
            if let Some(item) = self.lines.take() {
                return Some(item);
            }
            let frame = self.body.frame().await?.ok()?;
            if let Ok(data) = frame.into_data() {
                self.lines.push(&data)?;
            }
        }
    }
}

/// The text form of the stream: lines `field: value`, an empty line after each item.
#[derive(Debug, Default)]
struct Lines {
    pending: Vec<u8>,
    kind: String,
    data: String,
    ready: std::collections::VecDeque<EventItem>,
}

impl Lines {
    fn take(&mut self) -> Option<EventItem> {
        self.ready.pop_front()
    }

    /// Takes bytes; `None` where a line is too long to be one of ours.
    fn push(&mut self, bytes: &[u8]) -> Option<()> {
        for &byte in bytes {
            if byte != b'\n' {
                self.pending.push(byte);
                continue;
            }
            let line = std::mem::take(&mut self.pending);
            self.line(String::from_utf8_lossy(&line).trim_end_matches('\r'));
        }
        (self.pending.len() + self.data.len() <= MAX_LINE_BYTES).then_some(())
    }

    fn line(&mut self, line: &str) {
        if line.is_empty() {
            let kind = std::mem::take(&mut self.kind);
            let data = std::mem::take(&mut self.data);
            self.ready.extend(item(&kind, &data));
            return;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => self.kind = value.to_owned(),
            "data" => self.data.push_str(value),
            // Comments keep the connection alive; ids are in the events themselves.
            _ => {}
        }
    }
}

/// What a stream says that comes in these parts, up to what cannot be one.
#[doc(hidden)]
pub fn read_events(parts: impl IntoIterator<Item: AsRef<[u8]>>) -> Vec<EventItem> {
    let (mut lines, mut items) = (Lines::default(), Vec::new());
    for part in parts {
        let pushed = lines.push(part.as_ref());
        items.extend(std::iter::from_fn(|| lines.take()));
        if pushed.is_none() {
            break;
        }
    }
    items
}

fn item(kind: &str, data: &str) -> Option<EventItem> {
    match kind {
        "" | "message" => {
            serde_json::from_str(data).ok().map(|event| EventItem::Event(Box::new(event)))
        }
        "caught_up" => Some(EventItem::CaughtUp),
        "missed" => data.parse().ok().map(EventItem::Missed),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_read_whole_however_the_bytes_are_cut() {
        let text = ": hello\n\nid: a:1\ndata: {\"seq\":1}\n\nevent: missed\r\ndata: 7\r\n\r\n";
        let event = Event { seq: 1, ..Event::default() };
        let expected = [EventItem::Event(Box::new(event)), EventItem::Missed(7)];
        for size in 1..text.len() {
            let mut lines = Lines::default();
            for part in text.as_bytes().chunks(size) {
                lines.push(part).unwrap();
            }
            let items: Vec<_> = std::iter::from_fn(|| lines.take()).collect();
            assert_eq!(items, expected, "cut every {size} bytes");
        }
    }

    #[test]
    fn a_line_without_end_ends_the_stream() {
        let mut lines = Lines::default();
        let part = vec![b'x'; MAX_LINE_BYTES / 2];
        assert!(lines.push(&part).is_some());
        assert!(lines.push(&part).is_some());
        assert!(lines.push(&part).is_none());
    }
}
