//! The names of owners that rows of a report have, by id.

use std::collections::{BTreeMap, BTreeSet};

use crate::litellm::owners::OwnerKind;
use crate::report::shown_text::printable;

/// The longest id that is shown beside a name that tells the owner.
pub(crate) const SHORT: usize = 12;

/// The names that several owners of a report have.
#[derive(Debug, Default)]
pub(crate) struct SharedNames(BTreeMap<OwnerKind, BTreeSet<String>>);

impl SharedNames {
    /// Adds a name that several owners of a kind have.
    pub(crate) fn add(&mut self, kind: OwnerKind, name: &str) {
        self.0.entry(kind).or_default().insert(name.to_owned());
    }

    /// Tells whether several owners of a kind have a name.
    #[must_use]
    pub(crate) fn has(&self, kind: OwnerKind, name: &str) -> bool {
        self.0.get(&kind).is_some_and(|names| names.contains(name))
    }
}

/// The names of owners who are no keys, by kind and id.
pub(crate) type NamesById = BTreeMap<OwnerKind, BTreeMap<String, String>>;

/// Names the owners in a report who are no keys. A caller or an effect tells only their ids.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NamedOwners<'a> {
    /// Their names.
    pub names: &'a NamesById,
    /// The names that several owners have.
    pub shared: &'a SharedNames,
    /// Whether ids are always shown.
    pub is_wide: bool,
}

impl NamedOwners<'_> {
    /// Shows an owner by its name, and by its id where that is short or is needed to tell it.
    pub(crate) fn shown(&self, kind: OwnerKind, id: &str) -> String {
        let word = kind.name().replace('_', " ");
        let Some(name) = self.names.get(&kind).and_then(|names| names.get(id)) else {
            return format!("{word} {}", printable(id));
        };
        let is_telling = !self.shared.has(kind, name);
        let shown = printable(name);
        if is_telling && !self.is_wide && id.chars().count() > SHORT {
            return format!("{word} {shown}");
        }
        format!("{word} {shown} ({})", printable(id))
    }
}
