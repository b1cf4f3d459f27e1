//! Transactions per second over time as a picture: a row for each minute, with what was done to the target marked.

use super::seen::{Event, Seen, What, counts};
use std::fmt::Write as _;

/// What one step of the line stands for.
const BIN_US: u64 = 100_000;
const ROW_US: u64 = 60_000_000;
/// In units of the picture, which are pixels where it is not scaled.
const LEFT: f64 = 64.0;
const TOP: f64 = 64.0;
const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 84.0;
const GAP: f64 = 34.0;
const MARGIN: f64 = 24.0;
/// Rates that a scale may end at, each times a power of ten.
const ROUND: [u64; 4] = [1, 2, 3, 5];

/// Colours for paper and for the dark, by what the reader's screen is set to.
const STYLE: &str = "\
  text { font: 12px system-ui, sans-serif; fill: #3d3d3a } .title { font-size: 14px; font-weight: 600 }\n\
  .paper { fill: #ffffff } .rate { fill: #4f7cac } .line { stroke: #c9c9c4; stroke-width: 1 }\n\
  .restart { stroke: #a86a00; fill: #a86a00 } .kill { stroke: #c3313b; fill: #c3313b }\n\
  .stall { stroke: none; opacity: 0.3 } .mark { stroke-width: 1.5 } text.mark { stroke: none; text-anchor: middle; font-size: 11px }\n\
  @media (prefers-color-scheme: dark) {\n\
    text { fill: #d5d5d0 } .paper { fill: #16181c } .rate { fill: #6fa3dc } .line { stroke: #44474d }\n\
    .restart { stroke: #e5a93c; fill: #e5a93c } .kill { stroke: #ff7b80; fill: #ff7b80 }\n\
  }\n";

/// The whole picture as SVG.
pub fn picture(seen: &Seen) -> String {
    let bins = counts(&seen.ends_us, BIN_US);
    let per_second = |count: u64| count * 1_000_000 / BIN_US;
    let most = round_up(bins.iter().copied().map(per_second).max().unwrap_or(1));
    let per_row = (ROW_US / BIN_US) as usize;
    let rows = bins.len().div_ceil(per_row);
    let (width, height) = (LEFT + WIDTH + MARGIN, TOP + rows as f64 * (HEIGHT + GAP) + MARGIN);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" role=\"img\">\n\
         <title>Transactions per second over time</title>\n<style>\n{STYLE}</style>\n\
         <rect class=\"paper\" width=\"{width}\" height=\"{height}\" rx=\"6\"/>\n"
    );
    legend(&mut svg);
    for (row, bins) in bins.chunks(per_row).enumerate() {
        let floor = TOP + row as f64 * (HEIGHT + GAP) + HEIGHT;
        frame(&mut svg, row, floor, most);
        let rates = bins.iter().map(|count| per_second(*count) as f64 / most as f64 * HEIGHT);
        area(&mut svg, floor, rates);
        let begin = row as u64 * ROW_US;
        let here = |event: &&Event| (begin..begin + ROW_US).contains(&event.from_us);
        for event in seen.events.iter().filter(here) {
            mark(&mut svg, floor, begin, event);
        }
    }
    svg + "</svg>\n"
}

/// The next larger number that reads well.
fn round_up(value: u64) -> u64 {
    let powers = (0..18).map(|power| 10u64.pow(power));
    let mut all = powers.flat_map(|power| ROUND.map(|one| one * power));
    all.find(|one| *one >= value).unwrap_or(value)
}

fn x(us: u64) -> f64 {
    LEFT + us as f64 / ROW_US as f64 * WIDTH
}

fn legend(svg: &mut String) {
    let [at, restart, kill] = [LEFT, LEFT + 660.0, LEFT + 790.0];
    let text = "Transactions per second, each 100 ms; shaded: the longest one that met it";
    put(svg, &format!("<text class=\"title\" x=\"{at}\" y=\"26\">{text}</text>"));
    for (x, class, letter, what) in [
        (restart, "restart", "R", "planned restart"),
        (kill, "kill", "K", "SIGKILL, started at once"),
    ] {
        put(svg, &format!("<text class=\"mark {class}\" x=\"{x}\" y=\"26\">{letter}</text>"));
        put(svg, &format!("<text x=\"{}\" y=\"26\">{what}</text>", x + 12.0));
    }
}

/// Scales of a row: minutes to the left, seconds below, what its height is.
fn frame(svg: &mut String, row: usize, floor: f64, most: u64) {
    let (ceiling, right) = (floor - HEIGHT, LEFT + WIDTH);
    for (y, label) in [(ceiling, most), (floor - HEIGHT / 2.0, most / 2), (floor, 0)] {
        let line = format!("<path class=\"line\" d=\"M{LEFT} {y}H{right}\"/>");
        put(svg, &line);
        let x = LEFT - 6.0;
        put(svg, &format!("<text x=\"{x}\" y=\"{}\" text-anchor=\"end\">{label}</text>", y + 4.0));
    }
    for second in (0..=60).step_by(10) {
        let (x, y) = (x(second * 1_000_000), floor + 15.0);
        let label = format!("{row}:{second:02}");
        let label = if second == 60 { format!("{}:00", row + 1) } else { label };
        put(svg, &format!("<text x=\"{x}\" y=\"{y}\" text-anchor=\"middle\">{label}</text>"));
    }
}

/// Rates as one area of steps, each as high as said.
fn area(svg: &mut String, floor: f64, heights: impl Iterator<Item = f64>) {
    let step = x(BIN_US) - LEFT;
    let mut path = format!("M{LEFT} {floor}");
    let mut at = LEFT;
    for height in heights {
        at += step;
        write!(path, "V{:.1}H{at:.1}", floor - height).unwrap_or_default();
    }
    put(svg, &format!("<path class=\"rate\" d=\"{path}V{floor}Z\"/>"));
}

/// A line where it began, its letter above the row, and shaded for how long the longest transaction that met it
/// lasted. The row begins at `begin`.
fn mark(svg: &mut String, floor: f64, begin: u64, event: &Event) {
    let us = event.from_us - begin;
    let end = event.longest_end_us.saturating_sub(begin).min(ROW_US);
    let stall = end.saturating_sub(event.longest_us);
    let (class, letter) = match event.what {
        What::Restart(_) => ("restart", "R"),
        What::Kill { .. } => ("kill", "K"),
    };
    let (x, ceiling) = (x(us), floor - HEIGHT);
    let title = format!("longest transaction {:.0} ms", event.longest_us as f64 / 1000.0);
    put(svg, &format!("<g class=\"mark {class}\"><title>{title}</title>"));
    put(svg, &format!("<path d=\"M{x:.1} {}V{ceiling}\"/>", ceiling - 4.0));
    let (from, width) = (self::x(stall), self::x(end) - self::x(stall));
    put(
        svg,
        &format!(
            "<rect class=\"stall\" x=\"{from:.1}\" y=\"{ceiling}\" width=\"{width:.1}\" height=\"{HEIGHT}\"/>"
        ),
    );
    let y = ceiling - 6.0;
    put(svg, &format!("<text class=\"mark {class}\" x=\"{x:.1}\" y=\"{y}\">{letter}</text></g>"));
}

fn put(svg: &mut String, line: &str) {
    svg.push_str(line);
    svg.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_is_a_row_and_a_stall_is_a_hole_in_it() {
        let ends_us = (0..700).map(|n| n * 100_000).filter(|us| *us != 300_000).collect();
        let event = |from_us, what| Event {
            from_us,
            to_us: from_us,
            longest_us: 1,
            longest_end_us: 2,
            what,
        };
        let restart = event(300_000, What::Restart(crate::bench::figures::Pieces::default()));
        let events = vec![restart];
        let svg = picture(&Seen { ends_us, events, usual_rate: 10, usual_longest_us: 1 });
        assert_eq!(svg.matches("class=\"rate\"").count(), 2, "70 seconds are two rows");
        let full = TOP;
        let floor = TOP + HEIGHT;
        assert!(svg.contains(&format!("V{full:.1}H68.8V{floor:.1}H70.4V{full:.1}")), "{svg}");
        assert!(svg.contains(">R</text></g>"));
    }

    #[test]
    fn scales_end_at_numbers_that_read_well() {
        assert_eq!([1, 4, 31, 500, 501].map(round_up), [1, 5, 50, 500, 1000]);
    }
}
