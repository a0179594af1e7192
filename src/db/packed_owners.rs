//! Owners as they are kept while their rows are read: packed, by the row that they link to.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use sqlx::postgres::PgRow;

use crate::db::decode::{self, TableColumn};
use crate::error::{ErrorKind, Failure};
use crate::litellm::ids::{AgentId, OrganizationId, TeamId, UserId};
use crate::litellm::owners::{
    ACCESS_GROUP_IDS, KEY_PARENTS, KeyTies, LINK, OWNER_TABLES, Owner, OwnerKind, OwnerTable,
    Parents,
};

/// The owners of rows, by primary key.
///
/// All are read at once, and there may be hundreds of thousands. So they are packed into a third of
/// the memory that they would take as values.
#[derive(Debug)]
pub(crate) struct Owners<'k> {
    keys: SortedKeys<'k>,
    /// Each owner as JSON, one after the other.
    text: Vec<u8>,
    /// For each owner the position of its row in `keys` and its own offset in `text`; ordered by
    /// row.
    places: Vec<(usize, usize)>,
}

/// The primary keys of rows, in byte order, so that the row of a key is found fast.
#[derive(Debug)]
struct SortedKeys<'k>(Cow<'k, [String]>);

impl<'k> SortedKeys<'k> {
    /// Borrows `keys` if they are in order, as they are nearly always; else sorts a copy.
    fn new(keys: &'k [String]) -> Self {
        let mut keys = Cow::Borrowed(keys);
        if !keys.is_sorted() {
            keys.to_mut().sort_unstable();
        }
        Self(keys)
    }

    /// Finds the position of a key.
    fn position(&self, key: &str) -> Option<usize> {
        let found = self.0.binary_search_by(|known| known.as_str().cmp(key));
        found.ok()
    }
}

/// The fields of [`Parents`].
type PackedParents = (
    Option<TeamId>,
    Option<OrganizationId>,
    Option<UserId>,
    Option<AgentId>,
);

/// An [`Owner`] as it is packed: its fields without their names.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct PackedOwner(OwnerKind, String, Option<String>, PackedParents, bool);

/// An owner, and the key of the row that it links to: ordered by row.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct LinkedOwner(String, PackedOwner);

impl PackedOwner {
    /// Reads an owner from `table` in a row with `owners::COLUMNS`.
    fn read(table: &OwnerTable, row: &PgRow) -> Result<Self, Failure> {
        let column = |name| TableColumn(table.table, name);
        let [team, organization, user, agent] = KEY_PARENTS.map(column);
        let id = decode::read(row, 2, column(table.id))?;
        let name = decode::read(row, 3, column(table.name))?;
        let team: Option<String> = decode::read(row, 4, team)?;
        let organization: Option<String> = decode::read(row, 5, organization)?;
        let user: Option<String> = decode::read(row, 6, user)?;
        let agent: Option<String> = decode::read(row, 7, agent)?;
        let parents = (
            team.map(TeamId),
            organization.map(OrganizationId),
            user.map(UserId),
            agent.map(AgentId),
        );
        let has_access_groups = decode::read(row, 8, column(ACCESS_GROUP_IDS))?;
        Ok(Self(table.kind, id, name, parents, has_access_groups))
    }

    fn pack(owner: &Owner) -> Self {
        let (kind, id) = (owner.kind(), owner.id().to_owned());
        let name = owner.name().map(str::to_owned);
        let ties = owner.as_key().map(|key| key.ties.clone());
        let KeyTies {
            parents,
            has_access_groups,
        } = ties.unwrap_or_default();
        let Parents {
            team,
            organization,
            user,
            agent,
        } = parents;
        let parents = (team, organization, user, agent);
        Self(kind, id, name, parents, has_access_groups)
    }

    fn unpack(self) -> Owner {
        let Self(kind, id, name, (team, organization, user, agent), has_access_groups) = self;
        let parents = Parents {
            team,
            organization,
            user,
            agent,
        };
        let ties = KeyTies {
            parents,
            has_access_groups,
        };
        Owner::new(kind, id, name, ties)
    }
}

/// Reads the table of an owner, and the key of the row that it links to, in a row with
/// `owners::COLUMNS`; `None` if the row holds no owner.
fn link_of(row: &PgRow) -> Result<Option<(&'static OwnerTable, &str)>, Failure> {
    let kind: &str = decode::read(row, 0, "the kind of an owner")?;
    let Some(table) = OWNER_TABLES.iter().find(|table| table.kind.name() == kind) else {
        return Ok(None);
    };
    let link = decode::read(row, 1, TableColumn(table.table, LINK))?;
    Ok(Some((table, link)))
}

impl LinkedOwner {
    /// Reads an owner in a row with `owners::COLUMNS`, if it links to a row that `is_wanted`
    /// accepts.
    pub(super) fn read(
        row: &PgRow,
        is_wanted: impl Fn(&str) -> bool,
    ) -> Result<Option<Self>, Failure> {
        let Some((table, link)) = link_of(row)?.filter(|(_, link)| is_wanted(link)) else {
            return Ok(None);
        };
        let owner = PackedOwner::read(table, row)?;
        Ok(Some(Self(link.to_owned(), owner)))
    }

    #[cfg(test)]
    pub(crate) fn new(row: &str, owner: &Owner) -> Self {
        Self(row.to_owned(), PackedOwner::pack(owner))
    }

    /// Returns the key of the row.
    #[must_use]
    pub(crate) fn row(&self) -> &str {
        &self.0
    }
}

impl<'k> Owners<'k> {
    pub(super) fn of_nobody(keys: &'k [String]) -> Self {
        Self {
            keys: SortedKeys::new(keys),
            text: Vec::new(),
            places: Vec::new(),
        }
    }

    /// Takes the owners of rows with the given keys. Ignores a row that nobody asked about.
    ///
    /// # Errors
    ///
    /// The first error among `links`, or an error if an owner cannot be packed.
    pub(crate) fn of_links(
        keys: &'k [String],
        links: impl Iterator<Item = Result<LinkedOwner, Failure>>,
    ) -> Result<Self, Failure> {
        let mut owners = Self::of_nobody(keys);
        for link in links {
            let LinkedOwner(row, owner) = link?;
            owners.add(&row, &owner)?;
        }
        Ok(owners.sorted())
    }

    /// Adds an owner of a row. Ignores a row that nobody asked about.
    pub(super) fn add_owner(&mut self, row: &str, owner: &Owner) -> Result<(), Failure> {
        self.add(row, &PackedOwner::pack(owner))
    }

    fn add(&mut self, row: &str, owner: &PackedOwner) -> Result<(), Failure> {
        let Some(row) = self.keys.position(row) else {
            return Ok(());
        };
        self.places.push((row, self.text.len()));
        let packed = serde_json::to_writer(&mut self.text, owner);
        packed.map_err(|error| {
            let PackedOwner(kind, id, ..) = owner;
            Failure::caused(ErrorKind::Error, error)
                .context(format!("cannot keep {} {id}", kind.name()))
        })
    }

    /// Adds the owner in a row with `owners::COLUMNS`. Returns whether there is one.
    pub(super) fn add_row(&mut self, row: &PgRow) -> Result<bool, Failure> {
        let Some((table, link)) = link_of(row)? else {
            return Ok(false);
        };
        self.add(link, &PackedOwner::read(table, row)?)?;
        Ok(true)
    }

    pub(super) fn sorted(mut self) -> Self {
        self.places.sort_unstable();
        self
    }

    /// Returns the owners of one row, ordered by kind.
    #[must_use]
    pub(crate) fn of(&self, row: &str) -> Vec<Owner> {
        let Some(row) = self.keys.position(row) else {
            return Vec::new();
        };
        let first = self.places.partition_point(|(of, _)| *of < row);
        let of_row = self.places[first..].iter().take_while(|(of, _)| *of == row);
        let mut owners: Vec<Owner> = of_row.filter_map(|(_, at)| self.unpacked(*at)).collect();
        owners.sort_unstable();
        owners.dedup();
        owners.shrink_to_fit();
        owners
    }

    /// Returns the owners of every row.
    pub(crate) fn all(&self) -> impl Iterator<Item = Owner> {
        self.places.iter().filter_map(|(_, at)| self.unpacked(*at))
    }

    /// Unpacks the owner at an offset in the text.
    fn unpacked(&self, at: usize) -> Option<Owner> {
        let mut packed = serde_json::Deserializer::from_slice(&self.text[at..]).into_iter();
        let packed: PackedOwner = packed.next()?.ok()?;
        Some(packed.unpack())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_unpacked_as_they_were_packed() {
        let owner = |kind, id: &str, name: Option<&str>, team: Option<&str>| {
            let parents = Parents {
                team: team.map(|team| TeamId(team.to_owned())),
                agent: team.map(|team| AgentId(format!("{team}\"\n\u{e9}"))),
                ..Parents::default()
            };
            let ties = KeyTies {
                parents,
                has_access_groups: team.is_some(),
            };
            Owner::new(kind, id.to_owned(), name.map(str::to_owned), ties)
        };
        let of_row = [
            owner(OwnerKind::Key, "ab12cd34", Some("ci [\"]"), Some("t")),
            owner(OwnerKind::Key, "ab12cd35", None, None),
            owner(OwnerKind::Team, "", Some(""), None),
        ];
        let rows = ["p", "p-1", "p-3"].map(str::to_owned);
        let mut owners = Owners::of_nobody(&rows);
        for (row, owner) in [("p", &of_row[2]), ("p-1", &of_row[1]), ("p", &of_row[0])] {
            owners.add_owner(row, owner).unwrap();
        }
        for owner in &of_row[..2] {
            owners.add_owner("p", owner).unwrap();
        }
        let owners = owners.sorted();
        assert_eq!(owners.of("p"), of_row);
        assert_eq!(owners.of("p-1"), of_row[1..2]);
        for nobodys in ["", "o", "p-", "p-2", "p-3"] {
            assert_eq!(owners.of(nobodys), [], "{nobodys}");
        }
        assert_eq!(owners.all().count(), 5);
    }

    #[test]
    fn keys_are_found_in_whatever_order_they_come() {
        let keys = ["p-2", "P", "p", "\u{e9}"].map(str::to_owned);
        let sorted = SortedKeys::new(&keys);
        for (at, key) in ["P", "p", "p-2", "\u{e9}"].into_iter().enumerate() {
            assert_eq!(sorted.position(key), Some(at), "{key}");
        }
        assert_eq!(sorted.position("p-1"), None);
    }
}
