//! Numbers as people read them.

/// A number of bytes for people: `0 B`, `640 B`, `64 KiB`, `1.5 MiB`.
#[must_use]
pub fn show_bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    // In tenths, so that rounding happens once and never prints 1024.0.
    let mut unit = 0;
    let mut tenths = u128::from(bytes) * 10 / 1024;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    let (whole, tenth) = (tenths / 10, tenths % 10);
    match tenth {
        0 => format!("{whole} {}", UNITS[unit]),
        _ => format!("{whole}.{tenth} {}", UNITS[unit]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_the_unit_in_which_they_are_short() {
        let sizes = [0, 1023, 1024, 65_536, 1_572_864, 1 << 30, u64::MAX].map(show_bytes);
        let expected = ["0 B", "1023 B", "1 KiB", "64 KiB", "1.5 MiB", "1 GiB", "16777215.9 TiB"];
        assert_eq!(sizes, expected);
    }
}
