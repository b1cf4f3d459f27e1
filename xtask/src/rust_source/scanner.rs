//! Comments and strings told from code.

/// The two copies of a file that grow side by side.
struct Split {
    code: String,
    comments: String,
}

impl Split {
    fn code(&mut self, c: char) {
        self.code.push(c);
        self.comments.push(if c == '\n' { '\n' } else { ' ' });
    }

    fn comment(&mut self, c: char) {
        self.comments.push(c);
        self.code.push(if c == '\n' { '\n' } else { ' ' });
    }

    /// The inside of a string: neither code nor comment.
    fn blank(&mut self, c: char) {
        let c = if c == '\n' { '\n' } else { ' ' };
        self.code.push(c);
        self.comments.push(c);
    }
}

/// Lines of code and lines of comments.
pub fn split(text: &str) -> (Vec<String>, Vec<String>) {
    let chars: Vec<char> = text.chars().collect();
    let mut out = Split { code: String::new(), comments: String::new() };
    let mut at = 0;
    while at < chars.len() {
        at = match (chars[at], chars.get(at + 1)) {
            ('/', Some('/')) => line_comment(&chars, at, &mut out),
            ('/', Some('*')) => block_comment(&chars, at, &mut out),
            ('"', _) => string(&chars, at, &mut out),
            ('\'', _) => quote(&chars, at, &mut out),
            ('r', Some('"' | '#')) if starts_literal(&chars, at) => {
                raw_string(&chars, at, &mut out)
            }
            (c, _) => {
                out.code(c);
                at + 1
            }
        };
    }
    let lines = |text: &str| text.split('\n').map(|l| l.trim_end().to_owned()).collect();
    (lines(&out.code), lines(&out.comments))
}

fn line_comment(chars: &[char], mut at: usize, out: &mut Split) -> usize {
    while at < chars.len() && chars[at] != '\n' {
        out.comment(chars[at]);
        at += 1;
    }
    at
}

fn block_comment(chars: &[char], mut at: usize, out: &mut Split) -> usize {
    let mut depth = 0usize;
    while at < chars.len() {
        let pair = (chars[at], chars.get(at + 1).copied());
        let step = match pair {
            ('/', Some('*')) => {
                depth += 1;
                2
            }
            ('*', Some('/')) => {
                depth -= 1;
                2
            }
            _ => 1,
        };
        for c in &chars[at..at + step] {
            out.comment(*c);
        }
        at += step;
        if depth == 0 {
            break;
        }
    }
    at
}

fn string(chars: &[char], start: usize, out: &mut Split) -> usize {
    out.code('"');
    let mut at = start + 1;
    while at < chars.len() {
        match chars[at] {
            '"' => {
                out.code('"');
                return at + 1;
            }
            '\\' => {
                out.blank('\\');
                at += 1;
                if at < chars.len() {
                    out.blank(chars[at]);
                }
            }
            c => out.blank(c),
        }
        at += 1;
    }
    at
}

/// A character literal, or the tick of a lifetime.
fn quote(chars: &[char], start: usize, out: &mut Split) -> usize {
    let end = match chars.get(start + 1) {
        Some('\\') => (start + 3..chars.len()).find(|at| chars[*at] == '\''),
        Some(_) if chars.get(start + 2) == Some(&'\'') => Some(start + 2),
        _ => None,
    };
    out.code('\'');
    let Some(end) = end else { return start + 1 };
    for c in &chars[start + 1..end] {
        out.blank(*c);
    }
    out.code('\'');
    end + 1
}

/// Whether the `r` at `at` begins a raw string and is not the end of a name or a raw identifier.
fn starts_literal(chars: &[char], at: usize) -> bool {
    let before = match at.checked_sub(1).map(|i| chars[i]) {
        Some('b' | 'c') => at.checked_sub(2).map(|i| chars[i]),
        other => other,
    };
    let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
    !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
        && chars.get(at + 1 + hashes) == Some(&'"')
}

fn raw_string(chars: &[char], start: usize, out: &mut Split) -> usize {
    let hashes = chars[start + 1..].iter().take_while(|c| **c == '#').count();
    let body = start + 2 + hashes;
    let closes = |at: &usize| {
        chars[*at] == '"' && chars[at + 1..].iter().take_while(|c| **c == '#').count() >= hashes
    };
    let end = (body..chars.len()).find(closes).unwrap_or(chars.len());
    for c in &chars[start..body] {
        out.code(*c);
    }
    for c in &chars[body..end] {
        out.blank(*c);
    }
    let after = (end + 1 + hashes).min(chars.len());
    for c in &chars[end..after] {
        out.code(*c);
    }
    after
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn strings_hide_what_looks_like_code() {
        let (code, _) = split("f(\"unsafe // no\", r#\"a \"todo!\" b\"#, b\"x\\\"y\"); g()");
        assert!(!code[0].contains("unsafe") && !code[0].contains("todo"));
        assert!(code[0].ends_with("g()"), "{code:?}");
    }

    #[test]
    fn comments_are_kept_apart_and_in_place() {
        let (code, comments) = split("a(); // [X-1]\n/* one /* two */ b */ c();\n/// d");
        assert_eq!(code[0], "a();");
        assert_eq!(comments[0].trim(), "// [X-1]");
        assert_eq!(code[1].trim(), "c();");
        assert_eq!(comments[2], "/// d");
    }

    #[test]
    fn a_lifetime_is_no_open_quote() {
        let (code, comments) =
            split("fn f<'a>(x: &'a str, q: char) { q == '\"' || q == '\\'' } // z");
        assert!(code[0].contains("str, q: char"));
        assert_eq!(comments[0].trim(), "// z");
    }

    #[test]
    fn brackets_of_real_files_pair_up_once_strings_and_comments_are_gone() {
        let tree = crate::tree::Tree::find().unwrap();
        for (path, text) in tree.below("xtask/", ".rs") {
            let code = split(text).0.concat();
            for (open, close) in [('{', '}'), ('(', ')'), ('[', ']')] {
                assert_eq!(code.matches(open).count(), code.matches(close).count(), "{path}");
            }
        }
    }
}
