//! Kafka's ways to print: tables with columns of a least width, lists with commas, and progress on a terminal.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use indicatif::{ProgressBar, ProgressStyle};

/// What stands in a table where there is no value.
pub(crate) const MISSING: &str = "-";

/// A table whose columns are as wide as their longest cell, but never narrower than given.
#[derive(Debug)]
pub(crate) struct Table {
    /// A width of 0: the column is neither padded nor aligned, as Kafka's last columns are.
    columns: Vec<usize>,
    /// These stay as wide as they are, whatever their cells.
    fixed: Vec<usize>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings and least widths.
    pub(crate) fn new(headings: &[(&str, usize)]) -> Self {
        Self {
            columns: headings.iter().map(|(_, width)| *width).collect(),
            fixed: Vec::new(),
            rows: vec![
                headings
                    .iter()
                    .map(|(text, _)| (*text).to_owned())
                    .collect(),
            ],
        }
    }

    /// Keeps a column at its least width even if a cell is longer.
    pub(crate) fn fix(&mut self, index: usize) {
        self.fixed.push(index);
    }

    /// Adds a row; it has a cell for every column.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// The rows, each as a line without its end.
    pub(crate) fn lines(&self) -> Vec<String> {
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|index| self.width(index))
            .collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths);
            let cells = cells.map(|(cell, width)| format!("{cell:<width$}"));
            cells.collect::<Vec<_>>().join(" ")
        };
        self.rows.iter().map(line).collect()
    }

    fn width(&self, index: usize) -> usize {
        let least = self.columns.get(index).copied().unwrap_or_default();
        if least == 0 || self.fixed.contains(&index) {
            return least;
        }
        let cells = self.rows.iter().filter_map(|row| row.get(index));
        cells
            .map(|cell| cell.chars().count())
            .fold(least, usize::max)
    }

    /// Prints an empty line and the rows.
    pub(crate) fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out)?;
        for line in self.lines() {
            writeln!(out, "{line}")?;
        }
        Ok(())
    }
}

/// The values between commas.
pub(crate) fn joined<T: Display>(values: impl IntoIterator<Item = T>, separator: &str) -> String {
    let texts: Vec<String> = values.into_iter().map(|value| value.to_string()).collect();
    texts.join(separator)
}

/// The value, or a dash.
pub(crate) fn or_missing<T: Display>(value: Option<T>) -> String {
    value.map_or_else(|| MISSING.to_owned(), |value| value.to_string())
}

/// A progress bar on standard error, if that is a terminal and the output goes elsewhere.
pub(crate) fn progress(length: u64, what: &'static str, unit: Unit) -> ProgressBar {
    if io::stdout().is_terminal() {
        return ProgressBar::hidden();
    }
    progress_always(length, what, unit)
}

/// The same wherever the output goes: for commands that print nothing before they are done.
pub(crate) fn progress_always(length: u64, what: &'static str, unit: Unit) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let template = match unit {
        Unit::Bytes => "{msg} {wide_bar} {bytes}/{total_bytes} {eta}",
        Unit::Pieces => "{msg} {wide_bar} {pos}/{len} {eta}",
    };
    let bar = ProgressBar::new(length).with_message(what);
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// What a progress bar counts.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Unit {
    /// Bytes, shown as KiB and so on.
    Bytes,
    /// Things.
    Pieces,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_grow_with_their_cells_and_the_last_is_not_padded() {
        let mut table = Table::new(&[("GROUP", 15), ("LAG", 5), ("CLIENT-ID", 0)]);
        table.row(vec!["a-group-of-twenty-ch".into(), "1".into(), "me".into()]);
        assert_eq!(
            table.lines(),
            [
                "GROUP                LAG   CLIENT-ID",
                "a-group-of-twenty-ch 1     me"
            ]
        );
    }
}
