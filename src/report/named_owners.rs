//! The names of owners that rows of a report have, by id.

use std::collections::{BTreeMap, BTreeSet};

use crate::litellm::finding::Audit;
use crate::litellm::owners::OwnerKind;
use crate::report::shown_text::printable;

/// The longest id that is shown beside a name that tells the owner.
pub(crate) const SHORT: usize = 12;

/// The names of the owners in a report who are no keys. A caller or an effect tells only their ids.
#[derive(Debug, Default)]
pub(crate) struct NamedOwners<'a> {
    names: BTreeMap<(OwnerKind, &'a str), &'a str>,
    /// The names that several owners have.
    shared: BTreeSet<(OwnerKind, &'a str)>,
    /// Whether ids are always shown.
    is_wide: bool,
}

impl<'a> NamedOwners<'a> {
    /// Collects the names of the owners of rows.
    pub(crate) fn of(audits: impl Iterator<Item = &'a Audit>, is_wide: bool) -> Self {
        let mut named = Self {
            is_wide,
            ..Self::default()
        };
        let mut first: BTreeMap<(OwnerKind, &str), &str> = BTreeMap::new();
        for owner in audits.flat_map(Audit::owners) {
            let kind = owner.kind();
            let Some(name) = owner.name().filter(|name| !name.is_empty()) else {
                continue;
            };
            if kind == OwnerKind::Key {
                continue;
            }
            if *first.entry((kind, name)).or_insert(owner.id()) != owner.id() {
                named.shared.insert((kind, name));
            }
            named.names.insert((kind, owner.id()), name);
        }
        named
    }

    /// Shows an owner by its name, and by its id where that is short or is needed to tell it.
    pub(crate) fn shown(&self, kind: OwnerKind, id: &str) -> String {
        let word = kind.name().replace('_', " ");
        let Some(name) = self.names.get(&(kind, id)) else {
            return format!("{word} {}", printable(id));
        };
        let is_telling = !self.shared.contains(&(kind, *name));
        let shown = printable(name);
        if is_telling && !self.is_wide && id.chars().count() > SHORT {
            return format!("{word} {shown}");
        }
        format!("{word} {shown} ({})", printable(id))
    }
}
