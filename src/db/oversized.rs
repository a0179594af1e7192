//! Limits what one row may hold.
//!
//! The limit bounds the time that a row takes, and the memory that it takes when it is unpacked. It
//! does not bound the text itself: the text of all rows of a chunk is in memory by then.

use sqlx::Row as _;
use sqlx::postgres::PgRow;

use crate::error::{ErrorKind, Failure};
use crate::litellm::reference_sites::{Site, SiteTable};
use crate::litellm::row::{MOST_BYTES, MOST_ENTRIES, entries};

/// Refuses a row with too large a value, before the value is unpacked. Column `key` of `row` is its
/// key; the columns after it are those of `sites`, as JSON text.
///
/// # Errors
///
/// Names the table, the row and the column.
pub(crate) fn refuse_oversized(
    table: &SiteTable,
    sites: &[&Site],
    row: &PgRow,
    key: usize,
) -> Result<(), Failure> {
    for (at, site) in sites.iter().enumerate() {
        // A value that is no text is refused where it is read.
        let text: Option<&str> = row.try_get(key + 1 + at).unwrap_or_default();
        let text = text.unwrap_or_default();
        if text.len() <= MOST_ENTRIES {
            continue;
        }
        let entries = entries(text);
        if text.len() > MOST_BYTES || entries > MOST_ENTRIES {
            let key: String = row.try_get(key).unwrap_or_default();
            return Err(Failure::new(
                ErrorKind::Refused,
                format!(
                    "row {key} of \"{}\" holds {entries} entries ({} bytes) in {}, and mcp-prune \
                     reads at most {MOST_ENTRIES} ({MOST_BYTES} bytes)",
                    table.table,
                    text.len(),
                    site.name
                ),
            )
            .hint(
                "shorten the list in LiteLLM, or name the rows to look at with --row; nothing was \
                 written",
            ));
        }
    }
    Ok(())
}
