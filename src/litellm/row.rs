//! One row that names servers: what its columns hold, and when LiteLLM cannot read them.

use std::hash::{DefaultHasher, Hash, Hasher};

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

/// A column of the row tells the site.
impl Hash for Cell {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.site.name.hash(state);
        self.stored.hash(state);
    }
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

impl Row {
    /// Returns a digest of what the sites hold. The digests of this process can be compared with
    /// each other.
    #[must_use]
    pub(crate) fn digest(&self) -> u64 {
        self.digested().finish()
    }

    /// Returns a digest of what the sites hold and of who links to the row. The names of owners do
    /// not count.
    #[must_use]
    pub(crate) fn digest_with_owners(&self) -> u64 {
        let mut hasher = self.digested();
        for owner in &self.owners {
            let ties = owner.as_key().map(|key| &key.ties);
            (owner.kind(), owner.id(), ties).hash(&mut hasher);
        }
        hasher.finish()
    }

    fn digested(&self) -> DefaultHasher {
        let mut hasher = DefaultHasher::new();
        self.cells.hash(&mut hasher);
        hasher
    }
}
