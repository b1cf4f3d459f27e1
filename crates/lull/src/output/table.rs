//! Tables without lines, that a script can cut by blanks as well as a reader can read them.

use comfy_table::{CellAlignment, Table, presets};

/// Starts a table with these column heads; those that end in `>` are aligned to the right.
pub fn table(heads: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.force_no_tty();
    table.set_header(heads.iter().map(|head| head.trim_end_matches('>')));
    for (index, head) in heads.iter().enumerate() {
        if let Some(column) = table.column_mut(index) {
            column.set_padding((0, 2));
            if head.ends_with('>') {
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

/// A dash where there is nothing to show.
pub fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}
