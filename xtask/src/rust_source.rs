//! Rust text taken apart just far enough for the checks: code, comments, and which lines are tests.
//!
//! This is a scanner, not a parser: it knows comments, strings and matching brackets, and expects
//! text that rustfmt has seen.

mod scanner;
mod test_lines;

pub use test_lines::TestFiles;

/// One Rust file, line by line; the three lists are equally long.
pub struct RustSource {
    /// The lines with comments and the insides of strings blanked, columns kept.
    pub code: Vec<String>,
    /// The text of comments on each line, everything else blanked.
    pub comments: Vec<String>,
    /// Whether the line belongs to a test: an item under `#[cfg(test)]` or a test function, with
    /// the comments above it.
    pub is_test: Vec<bool>,
}

impl RustSource {
    /// Takes one file apart.
    pub fn new(text: &str) -> Self {
        let (code, comments) = scanner::split(text);
        let is_test = test_lines::mark(&code, &comments);
        Self { code, comments, is_test }
    }

    /// Code lines outside tests, counted from 1.
    pub fn product_code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.code.iter().zip(&self.is_test).enumerate();
        lines.filter(|(_, (_, test))| !**test).map(|(at, (line, _))| (at + 1, line.as_str()))
    }

    /// All code lines, counted from 1.
    pub fn all_code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.iter().enumerate().map(|(at, line)| (at + 1, line.as_str()))
    }
}

/// Whether `line` holds `word` as a whole identifier.
pub fn has_word(line: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        !line[..at].chars().next_back().is_some_and(is_part)
            && !line[at + word.len()..].chars().next().is_some_and(is_part)
    })
}
