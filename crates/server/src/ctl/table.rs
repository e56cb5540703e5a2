//! Rows and columns on a terminal.

use std::fmt::Write;

use redkite_runtime::{Clock, SystemClock};

/// One cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cell {
    Text(String),
    Number(i64),
    /// Shown as KiB, MiB and so on.
    Bytes(u64),
    /// Milliseconds since the Unix epoch, shown as how long ago on this machine's clock.
    Time(u64),
    /// A span in milliseconds.
    Millis(u64),
}

/// Rows under named columns.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    pub(super) columns: Vec<&'static str>,
    pub(super) rows: Vec<Vec<Cell>>,
    /// What is said below the rows.
    notes: Vec<String>,
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<i64> for Cell {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl Cell {
    /// A count.
    pub(super) fn count(count: u64) -> Self {
        Self::Number(i64::try_from(count).unwrap_or(i64::MAX))
    }

    pub(super) fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Text(text) => text.clone().into(),
            Self::Number(number) => (*number).into(),
            Self::Bytes(number) | Self::Time(number) | Self::Millis(number) => (*number).into(),
        }
    }

    fn shown(&self) -> String {
        match self {
            Self::Text(text) if text.is_empty() => "-".to_owned(),
            Self::Text(text) => text.clone(),
            Self::Number(number) => number.to_string(),
            Self::Bytes(bytes) => size(*bytes),
            Self::Time(millis) => age(*millis),
            Self::Millis(millis) => span(*millis),
        }
    }

    fn is_text(&self) -> bool {
        matches!(self, Self::Text(_))
    }
}

/// How long ago, on this machine's clock.
pub(super) fn age(millis: u64) -> String {
    let seconds = SystemClock.now_millis().saturating_sub(millis) / 1000;
    match seconds {
        0..120 => format!("{seconds} s ago"),
        120..7200 => format!("{} min ago", seconds / 60),
        _ => format!("{} h ago", seconds / 3600),
    }
}

fn span(millis: u64) -> String {
    match millis {
        u64::MAX => "unknown".to_owned(),
        0..10_000 => format!("{millis} ms"),
        _ => format!("{} s", millis / 1000),
    }
}

fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    #[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

impl Table {
    pub(super) fn new(columns: &[&'static str]) -> Self {
        Self { columns: columns.to_vec(), ..Self::default() }
    }

    /// Says something about all of it.
    pub(super) fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    pub(super) fn add<const N: usize>(&mut self, row: [Cell; N]) {
        debug_assert_eq!(row.len(), self.columns.len(), "a cell a column");
        self.rows.push(row.into());
    }

    /// Columns as wide as their widest cell; numbers to the right.
    pub(super) fn to_text(&self) -> String {
        let shown: Vec<Vec<String>> =
            self.rows.iter().map(|row| row.iter().map(Cell::shown).collect()).collect();
        let width = |column: usize| {
            let cells = shown.iter().map(|row| row[column].chars().count());
            cells.chain([self.columns[column].len()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let left: Vec<bool> =
            (0..widths.len()).map(|column| self.rows.iter().any(|row| row[column].is_text())).collect();
        let head: Vec<String> = self.columns.iter().map(|name| name.to_uppercase()).collect();
        let mut text = String::new();
        for row in std::iter::once(&head).chain(&shown) {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let width = widths[column];
                // Never fails: it is a string.
                let _ = match left[column] {
                    true => write!(line, "{cell:<width$}  "),
                    false => write!(line, "{cell:>width$}  "),
                };
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        for note in &self.notes {
            text.push_str(note);
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&["name", "rows", "size"]);
        table.add(["a".into(), 5.into(), Cell::Bytes(1_572_864)]);
        table.add(["".into(), 1000.into(), Cell::Bytes(12)]);
        assert_eq!(table.to_text(), "NAME  ROWS     SIZE\na        5  1.5 MiB\n-     1000     12 B\n");
        assert_eq!((span(999), span(12_345)), ("999 ms".to_owned(), "12 s".to_owned()));
        assert_eq!(table.rows[0][2].to_json(), 1_572_864);
    }
}
