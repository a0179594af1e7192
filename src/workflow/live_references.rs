//! Says which rows and owners name a reference that has nothing wrong with it.

use std::collections::BTreeSet;
use std::fmt;

use crate::db::credential_rows;
use crate::db::detect::{self, Search};
use crate::db::schema::Schema;
use crate::db::session::Connection;
use crate::error::Failure;
use crate::litellm::reference_sites::{ScannedTable, SiteTable};
use crate::litellm::row::Row;
use crate::litellm::server_catalog::ServerCatalog;
use crate::litellm::value::Value;
use crate::repair::selection::Selection;
use crate::report::shown_text::count;
use crate::workflow::candidate_rows::CandidateRows;
use crate::workflow::linked_owners::LinkedOwners;
use crate::workflow::{CHUNK, OWNED};

/// How many owners are named at most.
const SHOWN: usize = 3;

/// The rows that name a reference, and their owners.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct NamingRows {
    rows: usize,
    owners: BTreeSet<String>,
}

/// A row that names a reference.
pub(crate) enum NamingRow<'a> {
    /// A row with sites.
    References(&'static SiteTable, &'a Row),
    /// The credentials of a server: so many rows.
    Credentials(usize),
}

/// Finds the rows that name `reference`, which may be live, and hands each to `found`.
pub(crate) async fn find_naming_rows(
    connection: &mut Connection,
    schema: &Schema,
    catalog: &ServerCatalog,
    selection: &Selection,
    reference: &str,
    mut found: impl FnMut(NamingRow<'_>),
) -> Result<(), Failure> {
    let catalog = catalog.clone().seeking(reference);
    let mut candidates = CandidateRows::default();
    let add = |table, key: &str| {
        if selection.takes_key(key) {
            candidates.add(table, key)?;
        }
        Ok(())
    };
    detect::detect(connection, schema, &catalog, Search::References, add).await?;
    for listed in candidates.tables() {
        let mut owners = LinkedOwners::read(connection, schema, listed, OWNED).await?;
        let mut owners = owners.in_order();
        for keys in listed.parts(OWNED) {
            let keys = keys?;
            let table = match listed.table() {
                ScannedTable::References(table) => table,
                ScannedTable::Credentials(table) => {
                    let numbers = credential_rows::numbers(connection, schema, table, &keys);
                    let numbers = numbers.await?.into_iter();
                    let named = numbers.filter(|n| n.rows > 0 && n.server == reference);
                    let named = named.filter(|n| selection.takes_credentials(n)).count();
                    found(NamingRow::Credentials(named));
                    continue;
                }
            };
            let mut owned = owners.name_rows(table, &keys)?;
            for chunk in keys.chunks(CHUNK) {
                let rows = owned.read(connection, schema, chunk).await?;
                let rows = rows.into_iter().filter(|row| selection.takes(row));
                for row in rows.filter(|row| names(row, reference)) {
                    found(NamingRow::References(table, &row));
                }
            }
        }
        owners.finish()?;
    }
    Ok(())
}

impl NamingRows {
    /// Tells whether no row names it.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Finds the rows that name `reference`, which may be live.
    pub(crate) async fn of(
        connection: &mut Connection,
        schema: &Schema,
        catalog: &ServerCatalog,
        selection: &Selection,
        reference: &str,
    ) -> Result<Self, Failure> {
        let mut naming = Self::default();
        let add = |row: NamingRow<'_>| match row {
            NamingRow::Credentials(rows) => naming.rows += rows,
            NamingRow::References(_, row) => {
                naming.rows += 1;
                let owners = row.owners.iter();
                naming.owners.extend(owners.map(ToString::to_string));
            }
        };
        find_naming_rows(connection, schema, catalog, selection, reference, add).await?;
        Ok(naming)
    }
}

fn names(row: &Row, reference: &str) -> bool {
    let values = row
        .cells
        .iter()
        .filter_map(|cell| cell.stored.as_ref().ok());
    let mut references = values.flat_map(Value::references);
    references.any(|named| named == reference)
}

/// "named by 2 rows of 4 owners: key ci (ab12cd34), key ci-2 (ab12cd35), team a and 1 more".
impl fmt::Display for NamingRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.rows == 0 {
            return f.write_str("and no row looked at names it");
        }
        write!(f, "named by {}", count(self.rows, "row"))?;
        let first: Vec<&str> = self.owners.iter().take(SHOWN).map(String::as_str).collect();
        if first.is_empty() {
            return Ok(());
        }
        let owners = count(self.owners.len(), "owner");
        write!(f, " of {owners}: {}", first.join(", "))?;
        match self.owners.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_owners_are_named_and_the_others_counted() {
        for (rows, owners, expected) in [
            (0, 0, "and no row looked at names it"),
            (2, 0, "named by 2 rows"),
            (1, 1, "named by 1 row of 1 owner: team 1"),
            (3, 3, "named by 3 rows of 3 owners: team 1, team 2, team 3"),
            (
                3,
                5,
                "named by 3 rows of 5 owners: team 1, team 2, team 3 and 2 more",
            ),
        ] {
            let owners = (1..=owners).map(|n| format!("team {n}")).collect();
            assert_eq!(NamingRows { rows, owners }.to_string(), expected);
        }
    }
}
