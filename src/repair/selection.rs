//! The rows that the operator asked about.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use crate::litellm::owners::{OWNER_TABLES, Owner, OwnerKind};
use crate::litellm::row::Row;

/// An owner as the operator names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NamedOwner {
    /// What it is.
    pub kind: OwnerKind,
    /// Its id or its name; of a key, the whole token hash or the part of it that reports show.
    pub name: String,
}

/// `KIND:NAME` or `KIND:ID`.
impl FromStr for NamedOwner {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let kinds = || OWNER_TABLES.iter().map(|table| table.kind);
        let named = text.split_once(':').and_then(|(kind, name)| {
            let kind = kinds().find(|known| known.name() == kind)?;
            let name = name.to_owned();
            (!name.is_empty()).then_some(Self { kind, name })
        });
        named.ok_or_else(|| {
            let kinds: Vec<&str> = kinds().map(OwnerKind::name).collect();
            format!(
                "must be KIND:NAME or KIND:ID, with KIND one of {}",
                kinds.join(", ")
            )
        })
    }
}

/// "team platform".
impl fmt::Display for NamedOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.name().replace('_', " "), self.name)
    }
}

impl NamedOwner {
    fn is(&self, owner: &Owner) -> bool {
        let is_hash = owner.kind == OwnerKind::Key && self.name.len() == 64;
        owner.kind == self.kind
            && (owner.id == self.name
                || owner.name.as_ref() == Some(&self.name)
                || is_hash && self.name.starts_with(&owner.id))
    }
}

/// Which rows a command is limited to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Rows of these owners; of anybody where empty.
    pub owners: Vec<NamedOwner>,
    /// Rows of these primary keys; any where empty.
    pub rows: BTreeSet<String>,
}

impl Selection {
    /// Whether the command is about `row`.
    #[must_use]
    pub fn takes(&self, row: &Row) -> bool {
        let is_meant = |owner| self.owners.iter().any(|named| named.is(owner));
        self.takes_key(&row.key) && (self.owners.is_empty() || row.owners.iter().any(is_meant))
    }

    /// Whether the command may be about the row of this primary key.
    #[must_use]
    pub fn takes_key(&self, key: &str) -> bool {
        self.rows.is_empty() || self.rows.contains(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::litellm::owners::Parents;

    fn row(key: &str, kind: OwnerKind, id: &str, name: Option<&str>) -> Row {
        Row {
            key: key.to_owned(),
            cells: Vec::new(),
            owners: vec![Owner {
                kind,
                id: id.to_owned(),
                name: name.map(str::to_owned),
                parents: Parents::default(),
                has_access_groups: false,
            }],
        }
    }

    #[test]
    fn an_owner_is_named_by_kind_and_id_or_name() {
        let hash = format!("ab12cd34{}", "0".repeat(56));
        let key = row("p", OwnerKind::Key, "ab12cd34", Some("ci"));
        for (text, expected) in [
            ("key:ci", true),
            ("key:ab12cd34", true),
            (&format!("key:{hash}"), true),
            ("key:ab12", false),
            ("team:ci", false),
        ] {
            let owners = vec![text.parse().unwrap()];
            let selection = Selection {
                owners,
                ..Selection::default()
            };
            assert_eq!(selection.takes(&key), expected, "{text}");
        }
        for bad in ["ci", "keys:ci", "key:", ""] {
            assert!(bad.parse::<NamedOwner>().is_err(), "{bad}");
        }
    }

    #[test]
    fn without_filters_every_row_is_taken() {
        let team = row("p", OwnerKind::Team, "t", None);
        assert!(Selection::default().takes(&team));
        let rows = BTreeSet::from(["q".to_owned()]);
        let selection = Selection {
            rows,
            ..Selection::default()
        };
        assert!(!selection.takes(&team));
    }
}
