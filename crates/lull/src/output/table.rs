//! Tables without lines, that a script can cut by blanks as well as a reader can read them.

use comfy_table::{CellAlignment, Table, presets};

use super::fit::{wrap, wrapped};

/// What a head has behind its name: its column is aligned to the right, or goes on below itself where there is no room.
const RIGHT: char = '>';
const FLOWS: char = '~';

/// The least characters of a column that goes on below itself, unless it is narrower.
const NARROWEST: usize = 20;

fn name(head: &str) -> &str {
    head.trim_end_matches([RIGHT, FLOWS])
}

/// Starts a table with these column heads; those that end in `>` are aligned to the right.
pub fn table(heads: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.force_no_tty();
    table.set_header(heads.iter().map(|head| name(head)));
    for (index, head) in heads.iter().enumerate() {
        if let Some(column) = table.column_mut(index) {
            column.set_padding((0, 2));
            if head.ends_with(RIGHT) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
    }
    table
}

/// The table's text, indented by two blanks, each line with its end and without trailing blanks.
pub fn indented(table: &Table) -> String {
    table
        .lines()
        .map(|line| format!("  {}", line.trim_end()).trim_end().to_owned() + "\n")
        .collect()
}

/// A table of these column heads and rows that is at most `width` characters wide, where there is such a bound: cells of
/// the column whose head ends in `~` go on below themselves for it, and the columns named in `spared` are left out, the
/// first of them first, which is said below.
pub fn within(
    heads: &[&str],
    mut rows: Vec<Vec<String>>,
    spared: &[&str],
    width: Option<usize>,
) -> String {
    let mut heads = heads.to_vec();
    let mut out = Vec::new();
    for column in spared {
        let fits = width.is_none_or(|width| narrowest(&heads, &rows) <= width);
        let place = heads.iter().position(|head| name(head) == *column);
        let (false, Some(place)) = (fits, place) else { continue };
        heads.remove(place);
        rows.iter_mut().for_each(|row| _ = row.remove(place));
        out.push(*column);
    }
    let flows = heads.iter().position(|head| head.ends_with(FLOWS));
    if let (Some(width), Some(place)) = (width, flows) {
        let least = least(&heads, &rows, place);
        let room = least + width.saturating_sub(narrowest(&heads, &rows));
        rows.iter_mut().for_each(|row| row[place] = wrap(&row[place], room, 0).join("\n"));
    }
    let mut shown = table(&heads);
    rows.into_iter().for_each(|row| _ = shown.add_row(row));
    let mut text = indented(&shown);
    if !out.is_empty() {
        // In the order in which they are there on a wider one.
        out.reverse();
        let left_out =
            format!("  (not shown: {}; a wider terminal has room, --json has all)", out.join(", "));
        text += &(wrapped(&left_out, width) + "\n");
    }
    text
}

/// How wide the table is at least, without the blanks at its lines' ends.
fn narrowest(heads: &[&str], rows: &[Vec<String>]) -> usize {
    (0..heads.len()).map(|column| least(heads, rows, column) + 2).sum()
}

/// How wide a column is at least.
fn least(heads: &[&str], rows: &[Vec<String>], column: usize) -> usize {
    let cells = rows.iter().filter_map(|row| row.get(column)).map(|text| text.chars().count());
    let (cell, head) = (cells.max().unwrap_or(0), name(heads[column]).chars().count());
    let cell = if heads[column].ends_with(FLOWS) { cell.min(NARROWEST) } else { cell };
    cell.max(head)
}

/// A dash where there is nothing to show.
pub fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_narrow_table_leaves_out_the_least_important_columns_and_says_which() {
        let rows = || vec![vec!["web-1".to_owned(), "db1".to_owned(), "12".to_owned()]];
        let heads = ["INITIATOR", "RESOURCE", "EPOCH>"];
        let whole = "  INITIATOR  RESOURCE  EPOCH\n  web-1      db1          12\n";
        let spared = ["EPOCH", "RESOURCE"];
        assert_eq!(within(&heads, rows(), &spared, None), whole);
        assert_eq!(within(&heads, rows(), &spared, Some(28)), whole);
        let narrow = within(&heads, rows(), &spared, Some(27));
        let said =
            "  (not shown: EPOCH; a\n      wider terminal has\n      room, --json has all)\n";
        assert_eq!(narrow, format!("  INITIATOR  RESOURCE\n  web-1      db1\n{said}"));
        let long = "the disk of the one below it was replaced".to_owned();
        let flowing = vec![vec!["web-1".to_owned(), long, "12".to_owned()]];
        let heads = ["INITIATOR", "WHY~", "EPOCH>"];
        let flowing = within(&heads, flowing, &["EPOCH"], Some(43));
        let told = "  INITIATOR  WHY                    EPOCH\n";
        let rest = "             below it was replaced\n";
        let row = "  web-1      the disk of the one       12\n";
        assert_eq!(flowing, format!("{told}{row}{rest}"));
        let heads = ["INITIATOR", "RESOURCE", "EPOCH>"];
        let least = within(&heads, rows(), &spared, Some(15));
        let begin = "  INITIATOR\n  web-1\n  (not shown:\n      RESOURCE,\n      EPOCH; a\n";
        assert!(least.starts_with(begin), "{least}");
    }
}
