//! One row that names servers: what its columns hold, and when LiteLLM cannot read them.

use crate::litellm::owners::Owner;
use crate::litellm::reference_sites::Site;
use crate::litellm::value::Stored;

/// The most entries that one value may have to be read: references, and tools beside them.
///
/// Permission rows have tens of entries and a few have hundreds; at this number a row is still
/// looked at within seconds and a few hundred megabytes.
pub(crate) const MOST_ENTRIES: usize = 100_000;

/// The most bytes that the JSON text of one value may have to be read.
pub(crate) const MOST_BYTES: usize = 16 << 20;

/// Counts the entries of JSON text without unpacking it: one more than it has commas outside its
/// strings.
#[must_use]
pub(crate) fn entries(text: &str) -> usize {
    let (mut commas, mut in_string, mut escaped) = (0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            b',' if !in_string => commas += 1,
            _ => {}
        }
    }
    commas + 1
}

/// One site of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cell {
    /// Which site.
    pub site: &'static Site,
    /// What it holds.
    pub stored: Stored,
}

/// One row that names servers, with whoever links to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    /// The primary key.
    pub key: String,
    /// The sites that this database has, in the order of the table's sites.
    pub cells: Vec<Cell>,
    /// Who links to the row or has been given it, ordered by kind.
    pub owners: Vec<Owner>,
}
