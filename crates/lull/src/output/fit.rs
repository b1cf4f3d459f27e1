//! Text on a terminal that is narrower than it.

/// The text with its sentences going on below themselves where they are longer than `width` characters, where there is
/// such a bound. Rows of tables stay as they are, and so do words, a path may be one: nothing is lost.
pub fn wrapped(text: &str, width: Option<usize>) -> String {
    let mut whole = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        match (line.strip_suffix('\n').unwrap_or(line), width) {
            (sentence, Some(width)) if sentence.chars().count() > width && !is_row(sentence) => {
                whole += &wrap(sentence, width, HANGING).join("\n");
                whole += &line[sentence.len()..];
            }
            _ => whole += line,
        }
    }
    whole
}

/// The text's lines in at most `width` characters each, whatever it takes, for what is drawn again: as [`wrapped`], and
/// what is longer all the same is cut, which is shown.
pub fn fit(text: &str, width: usize) -> Vec<String> {
    wrapped(text, Some(width)).lines().map(|line| cut(line, width)).collect()
}

/// How much further in a sentence goes on than it began.
const HANGING: usize = 4;

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

/// The line in lines of at most `width` characters where its words allow it, from the second on by `hanging` further in.
pub fn wrap(line: &str, width: usize, hanging: usize) -> Vec<String> {
    let indent = line.chars().take_while(|c| *c == ' ').count();
    let mut lines = Vec::new();
    let mut present = " ".repeat(indent);
    let mut words = 0;
    for word in line.split_whitespace() {
        let needed = present.chars().count() + word.chars().count() + usize::from(words > 0);
        if words > 0 && needed > width {
            lines.push(std::mem::replace(&mut present, " ".repeat(indent + hanging)));
            words = 0;
        }
        if words > 0 {
            present.push(' ');
        }
        present.push_str(word);
        words += 1;
    }
    lines.push(present);
    lines
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
        assert_eq!(
            wrapped(&format!("read {word}\nshort"), Some(20)),
            format!("read\n    {word}\nshort")
        );
        assert_eq!(wrapped(&format!("{text}end"), None), format!("{text}end"));
        assert!(fit(&format!("a {word}"), 20).iter().all(|line| line.chars().count() <= 20));
    }
}
