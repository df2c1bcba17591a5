//! Functions that write to standard output and standard error. A reader may close standard output at any
//! time, as in `cairn keys list | head -1`.

use std::{
    fmt::Display,
    io::{self, Write},
};

use node::exit::Code;

/// Prints a line to standard output. If its reader has closed it, no work is left, and the process exits with code 0; if it
/// cannot be written for another reason, as on a full disk, the process exits with code 74.
pub fn line(text: impl Display) {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Ok(()) => {}
        Err(failed) if failed.kind() == io::ErrorKind::BrokenPipe => std::process::exit(Code::Clean as i32),
        Err(failed) => {
            error(format_args!("the result cannot be written to standard output: {failed}"));
            std::process::exit(Code::Disk as i32);
        }
    }
}

/// Prints a JSON value to standard output, indented over several lines.
pub fn json(value: &serde_json::Value) {
    line(format_args!("{value:#}"));
}

/// Prints a remark, which is not part of the command's result, to standard error.
pub fn note(text: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Prints an error message with the prefix `error: ` to standard error.
pub fn error(text: impl Display) {
    note(format_args!("error: {text}"));
}

/// Maximum width of a column in characters: that of a hash. A longer cell moves the rest of its own line, and no other.
const COLUMN_CHARS_MAX: usize = 64;

/// Returns the rows as lines with aligned columns, two spaces apart. The columns with an index in `right` are aligned
/// to the right, for numbers.
pub fn table(rows: &[Vec<String>], right: &[usize]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let chars = |column: usize| rows.iter().filter_map(move |row| row.get(column)).map(|cell| cell.chars().count());
    let width = |column: usize| chars(column).filter(|chars| *chars <= COLUMN_CHARS_MAX).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let cell = |column: usize, text: &String| {
        let space = " ".repeat(widths[column].saturating_sub(text.chars().count()));
        if right.contains(&column) { format!("{space}{text}") } else { format!("{text}{space}") }
    };
    let row = |row: &Vec<String>| {
        let cells: Vec<String> = row.iter().enumerate().map(|(column, text)| cell(column, text)).collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_and_numbers_end_at_the_same_place() {
        let rows = [["name", "height"], ["node0", "7"], ["ü", "1234567"]];
        let rows: Vec<Vec<String>> =
            rows.iter().map(|row| row.iter().map(|cell| (*cell).to_owned()).collect()).collect();
        assert_eq!(table(&rows, &[1]), ["name    height", "node0        7", "ü      1234567"]);
        assert!(table(&[], &[]).is_empty());
    }

    #[test]
    fn a_long_cell_does_not_move_other_lines() {
        let long = "k".repeat(COLUMN_CHARS_MAX + 1);
        let rows = [["key", "value"], [long.as_str(), "1"], ["plan", "2"]];
        let rows: Vec<Vec<String>> =
            rows.iter().map(|row| row.iter().map(|cell| (*cell).to_owned()).collect()).collect();
        assert_eq!(table(&rows, &[]), ["key   value", &format!("{long}  1"), "plan  2"]);
    }
}
