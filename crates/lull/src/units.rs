//! Spans and sizes as people write and read them.

/// Reads a span: `250ms`, `30s`, `10m`, `1h 30m`; a bare number is seconds. The result is
/// milliseconds, at least 1.
pub fn parse_span_ms(text: &str) -> Result<u64, String> {
    let span = match text.parse::<u64>() {
        Ok(seconds) => std::time::Duration::from_secs(seconds),
        Err(_) => humantime::parse_duration(text)
            .map_err(|_| format!("`{text}` is not a span: write 250ms, 30s or 10m"))?,
    };
    match u64::try_from(span.as_millis()) {
        Ok(0) => Err(format!("`{text}` is no time at all: write 1ms or more")),
        Ok(ms) if ms <= LONGEST_SPAN_MS => Ok(ms),
        _ => Err(format!("`{text}` is more than a year")),
    }
}

/// The longest span that is taken; sums of a few of them stay far from overflow.
const LONGEST_SPAN_MS: u64 = 366 * 24 * 3600 * 1000;

/// Reads a size: `512`, `64K`, `1Gi`; units are powers of 1024.
pub fn parse_size(text: &str) -> Result<u64, String> {
    lull_block::parse_size(text).ok_or_else(|| {
        format!("`{text}` is not a size: write bytes, or a number with K, M, G or T")
    })
}

/// A span for people: `0 ms`, `42 ms`, `1.5 s`, `12 s`, `3 min 05 s`, `2 h 03 min`.
pub fn show_ms(ms: u64) -> String {
    let seconds = ms / 1000;
    match ms {
        0..1000 => format!("{ms} ms"),
        1000..10_000 => format!("{}.{} s", seconds, ms % 1000 / 100),
        10_000..60_000 => format!("{seconds} s"),
        60_000..3_600_000 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// `12,345`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// So many of something: `1 read`, `12,345 reads`.
pub fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(count), if count == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_as_people_write_them() {
        for (text, ms) in [("250ms", 250), ("30s", 30_000), ("10m", 600_000), ("5", 5000)] {
            assert_eq!(parse_span_ms(text), Ok(ms), "{text}");
        }
        for wrong in ["", "soon", "0", "0ms", "-1s", "1.5", "99999999999", "9000days"] {
            assert!(parse_span_ms(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [("512", 512), ("64K", 65_536), ("1GiB", 1 << 30), ("2Ti", 2 << 40)] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for wrong in ["", "M", "1i", "1.5G", "-1", "1X", "99999999T"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_shown_is_short_and_has_a_unit() {
        let spans = [0, 999, 1000, 1999, 12_345, 60_000, 3_599_999, 7_380_000].map(show_ms);
        let expected =
            ["0 ms", "999 ms", "1.0 s", "1.9 s", "12 s", "1 min 00 s", "59 min 59 s", "2 h 03 min"];
        assert_eq!(spans, expected);
    }
}
