//! What commands print: a table for people, one stable document for scripts.

use std::io::{self, Write};

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use super::{Exit, Failure};

/// How an answer is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// For scripts: {"apiVersion", "kind", "items"}.
    Json,
}

/// Something that can be printed.
pub trait Printed: Serialize {
    /// What the document calls it.
    const KIND: &'static str;
}

/// Stands for the shape of all documents; it changes only when a field changes its meaning or goes.
const API_VERSION: &str = "quorumfence.dev/v1";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a, T> {
    api_version: &'static str,
    kind: &'static str,
    items: &'a [T],
}

/// Prints `items`, as `text` for people or as one document.
pub fn print<T: Printed>(format: Format, items: &[T], text: impl FnOnce(&[T]) -> String) -> Result<(), Failure> {
    match format {
        Format::Table => write(&text(items)),
        Format::Json => {
            let document = Document { api_version: API_VERSION, kind: T::KIND, items };
            let json = serde_json::to_string_pretty(&document).expect("documents have text keys");
            write(&(json + "\n"))
        }
    }
}

/// Prints one item of a stream: its line for people, or one document on one line.
pub fn print_line<T: Printed>(format: Format, item: &T, text: impl FnOnce(&T) -> String) -> Result<(), Failure> {
    match format {
        Format::Table => write(&text(item)),
        Format::Json => {
            let items = std::slice::from_ref(item);
            let document = Document { api_version: API_VERSION, kind: T::KIND, items };
            let json = serde_json::to_string(&document).expect("documents have text keys");
            write(&(json + "\n"))
        }
    }
}

/// Returns rows in columns, or `empty` when there is no row.
pub fn table(columns: &[&str], rows: Vec<Vec<String>>, empty: &str) -> String {
    if rows.is_empty() {
        return format!("{empty}\n");
    }
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(columns.iter().copied());
    table.add_rows(rows);
    table.column_iter_mut().for_each(|column| {
        column.set_padding((0, 2));
    });
    table.lines().map(|line| line.trim_end().to_string() + "\n").collect()
}

/// Returns facts one below the other, their names in one column.
pub fn facts(facts: &[(&str, String)]) -> String {
    let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0) + 2;
    facts.iter().map(|(name, value)| format!("{name:width$}{value}\n")).collect()
}

/// Writes to standard output. A reader that went away (`| head`) is no failure.
pub fn write(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failure::of(Exit::Failed, &error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_columns_and_no_trailing_space() {
        let rows = vec![vec!["host1".into(), "up".into()], vec!["h2".into(), "fencing".into()]];
        assert_eq!(table(&["HOST", "STATE"], rows, "no hosts"), "HOST   STATE\nhost1  up\nh2     fencing\n");
        assert_eq!(table(&["HOST"], Vec::new(), "no hosts"), "no hosts\n");
    }

    #[test]
    fn facts_stand_in_two_columns() {
        assert_eq!(facts(&[("name", "a".into()), ("leader", "b".into())]), "name    a\nleader  b\n");
    }
}
