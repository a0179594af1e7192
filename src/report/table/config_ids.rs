//! The ids of config servers, for people.

use std::io::{self, Write};

use crate::printable::printable;
use crate::report::ConfigIds;
use crate::report::shown_text::list;
use crate::report::text_table::{DisplayOptions, Grid};

/// Writes the ids of config servers for a person to read.
///
/// # Errors
///
/// What `out` says.
pub(crate) fn write_ids(
    ids: &ConfigIds,
    look: DisplayOptions,
    out: &mut impl Write,
) -> io::Result<()> {
    let mut table = Grid::of_ids(["SERVER", "ID", "FORMER IDS", "NOT SET HERE"], look);
    for server in &ids.servers {
        table.row([
            printable(&server.name).into(),
            list(server.ids_in_order().into_iter(), look).into(),
            list(server.former_ids.iter().map(String::as_str), look).into(),
            list(server.unset.iter().map(String::as_str), look).into(),
        ]);
    }
    table.write(out)?;
    let to_pin = ids.servers.iter().filter(|server| !server.is_pinned);
    let mut lines = to_pin.filter_map(|server| Some((&server.name, server.current.as_ref()?)));
    if let Some(first) = lines.next() {
        writeln!(
            out,
            "\nTo keep an id whatever is edited (LiteLLM 1.101 or later), write its line into the server's \
             entry:"
        )?;
        for (name, id) in std::iter::once(first).chain(lines) {
            writeln!(out, "\n{}:\n    server_id: \"{id}\"", printable(name))?;
        }
    }
    Ok(())
}
