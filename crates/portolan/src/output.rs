//! How commands print what they found: a table for people, JSON for machines.

use std::io::{self, Write};

use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

/// The form of a command's output.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum Format {
    /// Columns for people.
    #[default]
    Table,
    /// One JSON document.
    Json,
}

/// Prints `rows` under `header`, or `value` as JSON.
pub fn print<T: Serialize>(
    format: Format,
    value: &T,
    header: &[&str],
    rows: impl IntoIterator<Item = Vec<String>>,
) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match format {
        Format::Json => {
            serde_json::to_writer_pretty(&mut out, value)?;
            writeln!(out)
        }
        Format::Table => {
            let mut table = Table::new();
            // Lines are never wrapped: the output is also read by cut and awk.
            table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
            table.set_header(header.iter().copied());
            for row in rows {
                table.add_row(row);
            }
            for column in table.column_iter_mut() {
                column.set_padding((0, 2));
            }
            table.lines().try_for_each(|line| writeln!(out, "{}", line.trim_end()))
        }
    }
}

/// Prints one line.
pub fn line(text: &str) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{text}")
}
