//! Text on a terminal that is narrower than it.

/// The text's lines in at most `width` characters each: sentences go on below themselves, rows of tables are cut, which
/// is shown.
pub fn fit(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for line in text.lines() {
        if line.chars().count() <= width {
            lines.push(line.to_owned());
        } else if is_row(line) {
            lines.push(cut(line, width));
        } else {
            wrap(line, width, &mut lines);
        }
    }
    lines
}

/// Columns are kept apart by two blanks; a sentence has none behind its indent.
fn is_row(line: &str) -> bool {
    line.trim_start().contains("  ")
}

/// The line, or as much of it as fits.
pub fn cut(line: &str, width: usize) -> String {
    if line.chars().count() <= width {
        return line.to_owned();
    }
    let mut cut: String = line.chars().take(width.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

fn wrap(line: &str, width: usize, lines: &mut Vec<String>) {
    let indent = line.chars().take_while(|c| *c == ' ').count();
    let mut present = " ".repeat(indent);
    let mut words = 0;
    for word in line.split_whitespace() {
        let needed = present.chars().count() + word.chars().count() + usize::from(words > 0);
        if words > 0 && needed > width {
            lines.push(std::mem::replace(&mut present, " ".repeat(indent + 4)));
            words = 0;
        }
        if words > 0 {
            present.push(' ');
        }
        present.push_str(word);
        words += 1;
    }
    lines.push(cut(&present, width));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_wrapped_and_rows_are_cut() {
        let text =
            "  ! web-2 on db1: lost; its place stays reserved for it\n  NAME  SIZE  WHERE IT IS\n";
        assert_eq!(
            fit(text, 20),
            [
                "  ! web-2 on db1:",
                "      lost; its",
                "      place stays",
                "      reserved for",
                "      it",
                "  NAME  SIZE  WHERE…"
            ]
        );
        assert_eq!(fit("short", 20), ["short"]);
        let word = "x".repeat(30);
        assert!(fit(&format!("a {word}"), 20).iter().all(|line| line.chars().count() <= 20));
    }
}
