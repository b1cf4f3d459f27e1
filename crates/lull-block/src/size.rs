//! Sizes as people write them.

use std::fmt;

/// Reads `512`, `64M`, `1Gi`: a decimal number and at most one of K M G T (powers of 1024), which
/// may be followed by `i` or `iB`. `None` for anything else and for what exceeds a `u64`.
#[must_use]
pub fn parse_size(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let unit = unit.strip_suffix("iB").or(unit.strip_suffix('i')).unwrap_or(unit);
    let power = match unit {
        // A lone `i` names no unit.
        "" if digits == text.len() => 0,
        "k" | "K" => 10,
        "m" | "M" => 20,
        "g" | "G" => 30,
        "t" | "T" => 40,
        _ => return None,
    };
    number.checked_mul(1 << power)
}

/// Shows a size with the largest unit that divides it.
pub(crate) struct Shown(pub(crate) u64);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (power, unit) in [(40, "T"), (30, "G"), (20, "M"), (10, "K")] {
            if self.0 != 0 && self.0.is_multiple_of(1 << power) {
                return write!(f, "{}{unit}", self.0 >> power);
            }
        }
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        assert_eq!(parse_size("512"), Some(512));
        assert_eq!(parse_size("64M"), Some(64 << 20));
        assert_eq!(parse_size("64Mi"), Some(64 << 20));
        assert_eq!(parse_size("1GiB"), Some(1 << 30));
        assert_eq!(parse_size("2t"), Some(2 << 40));
        for wrong in ["", "M", "1i", "1iB", "-1", "1.5G", "1X", "1 G", "99999999T", "1GG"] {
            assert_eq!(parse_size(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_shown_size_is_read_back() {
        for size in [0, 512, 1 << 10, 3 << 20, 5 << 30, 7 << 40, (1 << 30) + 512] {
            assert_eq!(parse_size(&Shown(size).to_string()), Some(size));
        }
    }
}
