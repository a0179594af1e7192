//! What every look at the database begins with.

use std::collections::BTreeMap;

use crate::db::schema::Schema;
use crate::process::stderr::{note, warn};

/// Warns of tables that link to permission rows in a way that this program does not know.
pub(crate) fn warn_unknown_owners(schema: &Schema) {
    let unknown: Vec<&str> = schema.unknown_links().iter().map(String::as_str).collect();
    if !unknown.is_empty() {
        warn(format_args!(
            "table {} links to permission rows in a way that this mcp-prune does not know, so no \
             row can be taken for unused",
            unknown.join(", ")
        ));
    }
}

/// Notes which places are not looked at, though the options did not leave them out.
pub(crate) fn tell_left_out(schema: &Schema) {
    let mut places: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for left_out in schema.left_out() {
        let places = places.entry(left_out.why).or_default();
        places.push(left_out.table.place());
    }
    for (why, places) in places {
        note(format_args!("not looked at: {} ({why})", places.join(", ")));
    }
}
