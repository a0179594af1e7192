//! Selects the rows that the operator asked about.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use crate::litellm::api_key;
use crate::litellm::credentials::ServerRows;
use crate::litellm::owners::{OWNER_TABLES, OwnerKind};
use crate::litellm::row::Row;

/// An owner as the operator names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NamedOwner {
    /// The kind of owner.
    pub kind: OwnerKind,
    /// The owner's id or name. For a key it is the token hash, or the part of it that reports
    /// show; it is never the key itself.
    pub name: String,
}

/// Reads `KIND:NAME` or `KIND:ID`. A key in the place of its name is hashed.
impl FromStr for NamedOwner {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let kinds = || OWNER_TABLES.iter().map(|table| table.kind);
        let named = text.split_once(':').and_then(|(kind, name)| {
            let kind = kinds().find(|known| known.name() == kind)?;
            let name = if kind == OwnerKind::Key && api_key::may_be_a_key(name) {
                api_key::hash(name)
            } else {
                name.to_owned()
            };
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
        write!(f, "{} {}", self.kind.name().replace('_', " "), self.shown())
    }
}

impl NamedOwner {
    /// Returns the value of `--owner` that names this owner and may be shown: `key:784395b4`.
    #[must_use]
    pub fn argument(&self) -> String {
        format!("{}:{}", self.kind.name(), self.shown())
    }

    /// Returns the name; of a token hash only the part that reports show, because LiteLLM accepts
    /// the whole hash in place of the key in some requests.
    fn shown(&self) -> &str {
        let is_hash = self.kind == OwnerKind::Key
            && self.name.len() == 64
            && self.name.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_hash { &self.name[..8] } else { &self.name }
    }
}

/// The rows that a command is limited to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Selection {
    /// The owners whose rows are meant, by kind and by the id of
    /// [`crate::litellm::owners::Owner`]; anybody's where empty.
    pub owners: BTreeSet<(OwnerKind, String)>,
    /// The primary keys of the rows that are meant; any where empty.
    pub rows: BTreeSet<String>,
}

impl Selection {
    /// Tells whether the command is about `row`.
    #[must_use]
    pub(crate) fn takes(&self, row: &Row) -> bool {
        let mut owners = row.owners.iter();
        let mut is_meant =
            || owners.any(|owner| self.owners.contains(&(owner.kind(), owner.id().to_owned())));
        self.takes_key(&row.key) && (self.owners.is_empty() || is_meant())
    }

    /// Tells whether the command is about the credentials `rows`. They have no owners.
    #[must_use]
    pub(crate) fn takes_credentials(&self, rows: &ServerRows) -> bool {
        self.takes_key(&rows.server) && self.owners.is_empty()
    }

    /// Tells whether the command may be about the row with this primary key.
    #[must_use]
    pub(crate) fn takes_key(&self, key: &str) -> bool {
        self.rows.is_empty() || self.rows.contains(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::litellm::owners::{KeyTies, Owner};

    const HASH: &str = "88dc28d0f030c55ed4ab77ed8faf098196cb1c05df778539800c9f1243fe6b4b";

    fn row(key: &str, kind: OwnerKind, id: &str) -> Row {
        Row {
            key: key.to_owned(),
            cells: Vec::new(),
            owners: vec![Owner::new(kind, id.to_owned(), None, KeyTies::default())],
        }
    }

    #[test]
    fn an_owner_is_named_by_kind_and_id_or_name() {
        for (text, name, shown) in [
            ("key:ci", "ci", "key ci"),
            ("key:88dc28d0", "88dc28d0", "key 88dc28d0"),
            (&format!("key:{HASH}"), HASH, "key 88dc28d0"),
            ("key:sk-1234", HASH, "key 88dc28d0"),
            ("key:sk-...1234", "sk-...1234", "key sk-...1234"),
            ("end_user:a:b", "a:b", "end user a:b"),
        ] {
            let owner: NamedOwner = text.parse().unwrap();
            assert_eq!((owner.name.as_str(), &*owner.to_string()), (name, shown));
            let again: NamedOwner = owner.argument().parse().unwrap();
            assert_eq!(again.to_string(), shown, "what is shown names it too");
        }
        for bad in ["ci", "keys:ci", "key:", ""] {
            assert!(bad.parse::<NamedOwner>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_row_is_taken_if_one_of_its_owners_is_meant() {
        let owners = BTreeSet::from([(OwnerKind::Key, "88dc28d0".to_owned())]);
        let selection = Selection {
            owners,
            ..Selection::default()
        };
        assert!(selection.takes(&row("p", OwnerKind::Key, "88dc28d0")));
        assert!(!selection.takes(&row("p", OwnerKind::Key, "88dc28d1")));
        assert!(!selection.takes(&row("p", OwnerKind::Team, "88dc28d0")));
    }

    #[test]
    fn every_row_is_taken_without_filters_and_no_other_row_with_one() {
        let team = row("p", OwnerKind::Team, "t");
        assert!(Selection::default().takes(&team));
        let rows = BTreeSet::from(["q".to_owned()]);
        let selection = Selection {
            rows,
            ..Selection::default()
        };
        assert!(!selection.takes(&team));
    }
}
