//! Tables in Markdown pages that a check reads: the page is the rule, the check only enforces it.

/// One row of a table: its line, counted from 1, and its cells without spaces and back quotes.
#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    /// Line in the page, counted from 1.
    pub line: usize,
    /// The cells, left to right.
    pub cells: Vec<String>,
}

impl Row {
    /// A cell as a list of names; a dash stands for none.
    pub fn names(&self, cell: usize) -> Vec<&str> {
        let cell = self.cells.get(cell).map_or("", String::as_str);
        cell.split(',').map(str::trim).filter(|n| !matches!(*n, "" | "–" | "-")).collect()
    }
}

/// The rows of the table whose header has these cells; nothing if there is no such table.
pub fn table(page: &str, header: &[&str]) -> Option<Vec<Row>> {
    let mut lines = page.lines().enumerate();
    lines.find(|(_, line)| cells(line).is_some_and(|found| found == header))?;
    let rows =
        lines.skip(1).map_while(|(at, line)| Some(Row { line: at + 1, cells: cells(line)? }));
    Some(rows.collect())
}

fn cells(line: &str) -> Option<Vec<String>> {
    let inner = line.trim().strip_prefix('|')?.strip_suffix('|')?;
    Some(inner.split('|').map(|cell| cell.replace('`', "").trim().to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::table;

    #[test]
    fn a_table_is_found_by_its_header_and_ends_with_it() {
        let page = "text\n\n| a | b |\n| --- | --- |\n| `x` | y, `z` |\n| w | – |\n\n| c | d |";
        let rows = table(page, &["a", "b"]).unwrap();
        assert_eq!(rows.len(), 2);
        assert_eq!((rows[0].line, rows[0].names(1)), (5, vec!["y", "z"]));
        assert!(rows[1].names(1).is_empty());
        assert!(table(page, &["a", "c"]).is_none());
    }
}
