//! The owners of a row, as a changeset records them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::litellm::owners::Owner;

/// An owner of a row when the row was changed.
///
/// The kind is a text, so that an older version reads a changeset with a kind that it does not
/// know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RecordedOwner {
    /// The kind's name, as reports write it.
    pub kind: String,
    /// The id as reports show it: of a key the first 8 characters of the token hash.
    pub id: String,
    /// The name that a person gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

impl From<&Owner> for RecordedOwner {
    fn from(owner: &Owner) -> Self {
        Self {
            kind: owner.kind().name().to_owned(),
            id: owner.id().to_owned(),
            name: owner.name().map(str::to_owned),
        }
    }
}

/// "key ci-bot (ab12cd34)", as [`Owner`] is shown.
impl fmt::Display for RecordedOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind.replace('_', " ");
        let id = &self.id;
        match self.name.as_deref() {
            Some(name) if !name.is_empty() => write!(f, "{kind} {name} ({id})"),
            _ => write!(f, "{kind} {id}"),
        }
    }
}
