//! The messages of a restart, drawn as arrows between columns.

use std::fmt::Write as _;

use lull_admin::Message;

/// Characters before the first column: the time of each message.
const TIME_WIDTH: usize = 12;
/// The fewest characters between two columns: an arrow that can be seen.
const NARROWEST: usize = 12;

/// Draws the messages of `target` with its peers, earliest first, in at most `width` characters;
/// what does not fit side by side is drawn below, some peers at a time.
pub fn sequence(messages: &[Message], target: &str, width: usize) -> String {
    let mut peers: Vec<&str> = Vec::new();
    for message in messages {
        for name in [&*message.from, &*message.to] {
            if name != target && !peers.contains(&name) {
                peers.push(name);
            }
        }
    }
    let gap = messages.iter().map(|message| label(message).chars().count() + 6).max();
    let names = peers.iter().map(|name| name.chars().count() + 2).max();
    let gap = gap.max(names).unwrap_or(0).max(NARROWEST);
    let side_by_side = (width.saturating_sub(TIME_WIDTH + target.chars().count()) / gap).max(1);
    let mut text = String::new();
    for group in peers.chunks(side_by_side) {
        if !text.is_empty() {
            text.push('\n');
        }
        let columns: Vec<&str> = std::iter::once(target).chain(group.iter().copied()).collect();
        draw(&mut text, messages, &columns, gap);
    }
    text
}

fn label(message: &Message) -> String {
    match &*message.detail {
        "" => message.name.clone(),
        detail => format!("{} ({detail})", message.name),
    }
}

fn draw(text: &mut String, messages: &[Message], columns: &[&str], gap: usize) {
    let mut heads = " ".repeat(TIME_WIDTH);
    for (index, name) in columns.iter().enumerate() {
        let at = TIME_WIDTH + index * gap;
        let used = heads.chars().count();
        let _ = write!(heads, "{}{name}", " ".repeat(at.saturating_sub(used)));
    }
    let _ = writeln!(text, "{heads}");
    for message in messages {
        let place = |name: &str| columns.iter().position(|column| *column == name);
        let (Some(from), Some(to)) = (place(&message.from), place(&message.to)) else { continue };
        if from == to {
            continue;
        }
        let line = arrow(from, to, columns.len(), gap, &label(message));
        let time = format!("{}.{:01} ms", message.offset_us / 1000, message.offset_us / 100 % 10);
        let _ = writeln!(text, "{time:>width$}  {line}", width = TIME_WIDTH - 2);
    }
}

/// A drawing that grows while messages arrive: its columns are known before the first of them.
#[derive(Clone, Debug)]
pub struct Drawing {
    columns: Vec<String>,
    gap: usize,
}

impl Drawing {
    /// Columns for `target` and its `peers`, at most `width` characters in all.
    pub fn new(target: &str, peers: &[&str], width: usize) -> Self {
        /// Beyond it the eye does not follow an arrow.
        const WIDEST: usize = 36;
        let last = peers.last().map_or(0, |name| name.chars().count());
        let room = width.saturating_sub(TIME_WIDTH + last.max(1));
        let gap = (room / peers.len().max(1)).clamp(NARROWEST, WIDEST);
        let columns = std::iter::once(target).chain(peers.iter().copied());
        Self { columns: columns.map(str::to_owned).collect(), gap }
    }

    /// The names above the columns.
    pub fn heads(&self) -> String {
        let mut heads = " ".repeat(TIME_WIDTH);
        for name in &self.columns {
            let _ = write!(heads, "{name:gap$}", gap = self.gap);
        }
        heads.trim_end().to_owned()
    }

    /// One message; a label that is longer than its arrow goes on beside it, and what there is no room for is left
    /// out. `None` where it is not between the target and one of the peers.
    pub fn line(&self, message: &Message) -> Option<String> {
        let place = |name: &str| self.columns.iter().position(|column| column == name);
        let (from, to) = (place(&message.from)?, place(&message.to)?);
        let room = (from.abs_diff(to) * self.gap).checked_sub(6)?;
        let whole = label(message);
        let fits = whole.chars().count() <= room;
        let shown = if fits { whole } else { message.name.chars().take(room).collect::<String>() };
        let mut line = arrow(from, to, self.columns.len(), self.gap, &shown);
        if !fits && !message.detail.is_empty() {
            line = beside(&line, from.max(to) * self.gap + 1, &message.detail);
        }
        let time = format!("{}.{:01} ms", message.offset_us / 1000, message.offset_us / 100 % 10);
        Some(format!("{time:>width$}  {line}", width = TIME_WIDTH - 2))
    }
}

/// The line with a remark in it from `at` on, over the lifelines of others, if there is room for it.
fn beside(line: &str, at: usize, remark: &str) -> String {
    let mut cells: Vec<char> = line.chars().collect();
    let remark: Vec<char> = format!(" ({remark}) ").chars().collect();
    if let Some(room) = cells.get_mut(at..at + remark.len()) {
        room.copy_from_slice(&remark);
    }
    cells.into_iter().collect()
}

/// One line: the columns' lifelines, and an arrow between two of them with its label on it.
fn arrow(from: usize, to: usize, columns: usize, gap: usize, label: &str) -> String {
    let mut cells = vec![' '; (columns - 1) * gap + 1];
    for column in 0..columns {
        cells[column * gap] = '│';
    }
    let (left, right) = (from.min(to) * gap, from.max(to) * gap);
    for cell in &mut cells[left + 1..right] {
        *cell = '─';
    }
    if from < to {
        cells[right - 1] = '▶';
    } else {
        cells[left + 1] = '◀';
    }
    // The label stands next to its sender, with a piece of the arrow before it.
    let length = label.chars().count() + 2;
    let start = if from < to { left + 2 } else { right - 1 - length };
    for (cell, c) in cells[start..].iter_mut().zip(format!(" {label} ").chars()) {
        *cell = c;
    }
    cells.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_growing_drawing_keeps_its_columns_and_puts_a_long_label_beside_its_arrow() {
        let drawing = Drawing::new("t", &["a", "b"], 62);
        let message = |to: &str| Message {
            offset_us: 1_500,
            from: "t".into(),
            to: to.into(),
            name: "PAUSE".into(),
            detail: "within half a minute".into(),
        };
        let near = drawing.line(&message("a")).unwrap();
        let far = drawing.line(&message("b")).unwrap();
        assert_eq!(near, "    1.5 ms  │─ PAUSE ──────────────▶│ (within half a minute) ");
        let narrow = Drawing::new("t", &["a", "b"], 60).line(&message("a")).unwrap();
        assert_eq!(narrow, "    1.5 ms  │─ PAUSE ─────────────▶│                      │");
        assert_eq!(far, "    1.5 ms  │─ PAUSE (within half a minute) ───────────────▶│");
        assert_eq!(
            drawing.heads(),
            "            t                       a                       b"
        );
        assert_eq!(drawing.line(&message("somebody else")), None);
    }
}
