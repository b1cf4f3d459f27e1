//! Words for people that come again and again.

/// Whether two texts say the same thing at two moments: they differ in nothing but words that are whole numbers, as in
/// "lost 5 s ago". Who tells people what is new passes over the second one.
pub fn says_the_same(one: &str, other: &str) -> bool {
    let is_number = |word: &str| word.bytes().all(|byte| byte.is_ascii_digit());
    let words = |text| str::split_ascii_whitespace(text);
    words(one).count() == words(other).count()
        && words(one)
            .zip(words(other))
            .all(|(one, other)| one == other || (is_number(one) && is_number(other)))
}
