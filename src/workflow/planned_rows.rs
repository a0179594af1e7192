//! The rows that a repair will write. They are planned without locks, so that others wait for them
//! as briefly as possible. Once all is planned they are locked, compared with what was planned, and
//! written.

use std::collections::HashMap;
use std::io;

use serde::{Deserialize, Serialize};

use crate::db::schema::Schema;
use crate::db::session::Connection;
use crate::db::verification::Verification;
use crate::error::{ErrorKind, Failure};
use crate::litellm::reference_sites::{ScannedTable, SiteTable};
use crate::litellm::row::Row;
use crate::process::print::{LOOK_AT_THE_DISK, cannot_put_aside};
use crate::process::progress::Progress;
use crate::repair::changeset::RowChange;
use crate::report::put_aside::PutAside;
use crate::workflow::apply_changes::write_rows;
use crate::workflow::candidate_rows::TableKeys;
use crate::workflow::linked_owners::LinkedOwners;
use crate::workflow::lock_retry::Patience;
use crate::workflow::{CHUNK, OWNED};

/// What of a locked row has to be as it was when it was planned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ComparedWithPlan {
    /// What it holds. It was locked before it was planned, so only a trigger can have changed it.
    /// Owners may have come and gone.
    Values,
    /// What it holds, and who links to it.
    ValuesAndOwners,
}

impl ComparedWithPlan {
    /// Chooses what is compared in this attempt: the last one locks before it plans.
    #[must_use]
    pub(crate) fn on(patience: &Patience) -> Self {
        if patience.is_last_attempt() {
            Self::Values
        } else {
            Self::ValuesAndOwners
        }
    }

    fn digest(self, row: &Row) -> u64 {
        match self {
            Self::Values => row.digest(),
            Self::ValuesAndOwners => row.digest_with_owners(),
        }
    }
}

/// The rows that a repair will write.
#[derive(Debug)]
pub(crate) struct PlannedRows {
    compared: ComparedWithPlan,
    tables: Vec<PlannedTable>,
}

/// The rows of one table. There may be many, so they are put aside.
#[derive(Debug)]
struct PlannedTable {
    table: &'static SiteTable,
    /// The primary keys.
    keys: TableKeys,
    /// What becomes of each row, in the same order.
    changes: PutAside<PlannedChange>,
}

/// The change of a row.
#[derive(Debug, Serialize, Deserialize)]
struct PlannedChange {
    /// A digest of the row, as it was when it was planned.
    digest: u64,
    change: RowChange,
}

impl PlannedChange {
    fn key_and_digest(&self) -> (&str, u64) {
        (self.change.key(), self.digest)
    }
}

impl PlannedRows {
    /// Makes an empty collection.
    #[must_use]
    pub(crate) fn new(compared: ComparedWithPlan) -> Self {
        Self {
            compared,
            tables: Vec::new(),
        }
    }

    /// Adds the changes of some of `rows`. The rows of a table are added one after the other.
    ///
    /// # Errors
    ///
    /// Fails if the changes cannot be put aside.
    pub(crate) fn add(
        &mut self,
        table: &'static SiteTable,
        rows: &[Row],
        changes: Vec<RowChange>,
    ) -> Result<(), Failure> {
        if changes.is_empty() {
            return Ok(());
        }
        let last = self.tables.pop_if(|last| last.table == table);
        let mut planned = last.unwrap_or_else(|| PlannedTable {
            table,
            keys: TableKeys::new(ScannedTable::References(table)),
            changes: PutAside::new(),
        });
        let digests = digests(self.compared, rows);
        for change in changes {
            let digest = digests.get(change.key()).copied().unwrap_or_default();
            planned.keys.add(change.key())?;
            let change = PlannedChange { digest, change };
            planned.changes.add(&change).map_err(cannot_put_aside)?;
        }
        self.tables.push(planned);
        Ok(())
    }

    /// Locks all rows until the transaction ends.
    ///
    /// # Errors
    ///
    /// Busy if somebody else keeps one of them locked for longer than the run waits; moved if one
    /// of them is gone.
    pub(crate) async fn lock(
        &self,
        connection: &mut Connection,
        schema: &Schema,
        patience: &mut Patience,
        progress: &Progress,
    ) -> Result<(), Failure> {
        for PlannedTable { table, keys, .. } in &self.tables {
            // If the disk has changed a key, hardly any row has it. Then the row is said to have
            // changed, or `write` notices, and nothing is written.
            let scanned = keys.table();
            for keys in keys.parts(CHUNK) {
                let keys = keys?;
                let locked = patience.lock(connection, schema, scanned, &keys).await?;
                if let Some(gone) = keys.iter().find(|key| locked.binary_search(key).is_err()) {
                    return Err(moved(table, gone));
                }
                progress.rows(keys.len());
            }
        }
        Ok(())
    }

    /// Writes the changes of the rows, which this transaction has locked, and checks them.
    ///
    /// # Errors
    ///
    /// Moved if a row, or who links to it, is no longer as it was planned; an error if what was
    /// written is not what was planned.
    pub(crate) async fn write(
        &self,
        connection: &mut Connection,
        schema: &Schema,
        verification: &mut Verification,
        progress: &Progress,
    ) -> Result<(), Failure> {
        for PlannedTable {
            table,
            keys,
            changes,
        } in &self.tables
        {
            let mut changes = changes.iter();
            // Nobody can link another owner to a permission row that is locked.
            let mut owners = LinkedOwners::read(connection, schema, keys, OWNED).await?;
            let mut owners = owners.in_order();
            for keys in keys.parts(OWNED) {
                let keys = keys?;
                let mut owned = owners.name_rows(table, &keys)?;
                for keys in keys.chunks(CHUNK) {
                    let read =
                        verification.rows_and_fingerprints(connection, schema, &mut owned, keys);
                    let read = read.await?;
                    let planned = next(&mut changes, keys.len())?.unwrap_or_default();
                    let then = planned.iter().map(PlannedChange::key_and_digest);
                    if !then.clone().map(|(key, _)| key).eq(keys) {
                        return Err(lost(table));
                    }
                    let now = digests(self.compared, &read.rows);
                    check_as_planned(table, &now, then).map_err(|moved| {
                        if verification.may_be_changed() {
                            return moved.hint(
                                "nothing was written; run it again, and if that does not help, look \
                                 for a trigger that changes other rows than the written one",
                            );
                        }
                        moved
                    })?;
                    let changes: Vec<RowChange> =
                        planned.into_iter().map(|planned| planned.change).collect();
                    write_rows(connection, schema, table, &read, &changes, verification).await?;
                    progress.rows(keys.len());
                }
            }
            owners.finish()?;
            // Only the end tells whether all of them are as they were put aside.
            if next(&mut changes, 1)?.is_some() {
                return Err(lost(table));
            }
        }
        Ok(())
    }
}

/// Takes up to `most` of the values that are left; `None` if none is left.
fn next<T>(
    left: &mut impl Iterator<Item = io::Result<T>>,
    most: usize,
) -> Result<Option<Vec<T>>, Failure> {
    let taken = left.take(most).collect::<io::Result<Vec<T>>>();
    let taken = taken.map_err(cannot_put_aside)?;
    Ok((!taken.is_empty()).then_some(taken))
}

/// Fails if a row is not what it was when it was planned.
fn check_as_planned<'a>(
    table: &SiteTable,
    now: &HashMap<&str, u64>,
    mut planned: impl Iterator<Item = (&'a str, u64)>,
) -> Result<(), Failure> {
    match planned.find(|(key, digest)| now.get(key) != Some(digest)) {
        Some((key, _)) => Err(moved(table, key)),
        None => Ok(()),
    }
}

/// Builds the error for changes that do not come back as they were put aside.
fn lost(table: &SiteTable) -> Failure {
    let message = format!(
        "the changes of \"{}\" that were put aside are not those that were planned",
        table.table
    );
    Failure::new(ErrorKind::Error, message).hint(LOOK_AT_THE_DISK)
}

/// Returns the digest of each row, by key.
fn digests(compared: ComparedWithPlan, rows: &[Row]) -> HashMap<&str, u64> {
    let rows = rows.iter();
    rows.map(|row| (row.key.as_str(), compared.digest(row)))
        .collect()
}

/// Builds the error for a row that somebody has changed since it was planned.
fn moved(table: &SiteTable, key: &str) -> Failure {
    let message = format!(
        "row {key} of \"{}\", or who links to it, has changed since it was planned",
        table.table
    );
    Failure::new(ErrorKind::Moved, message).hint("nothing was written; run it again")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::litellm::owners::{KeyTies, Owner, OwnerKind};
    use crate::litellm::reference_sites::{MCP_SERVERS, PERMISSIONS};
    use crate::litellm::row::Cell;
    use crate::litellm::value::Value;

    fn row(key: &str, server: &str, team: &str) -> Row {
        Row {
            key: key.to_owned(),
            cells: vec![Cell {
                site: &MCP_SERVERS,
                stored: Ok(Value::Array(vec![server.to_owned()])),
            }],
            owners: vec![Owner::new(
                OwnerKind::Team,
                team.to_owned(),
                None,
                KeyTies::default(),
            )],
        }
    }

    #[test]
    fn a_row_that_changed_is_told_by_its_key() {
        let planned = [row("a", "s", "t"), row("b", "s", "t")];
        for compared in [ComparedWithPlan::Values, ComparedWithPlan::ValuesAndOwners] {
            let check = |rows: &[Row]| {
                let then = planned
                    .iter()
                    .map(|row| (row.key.as_str(), compared.digest(row)));
                check_as_planned(&PERMISSIONS, &digests(compared, rows), then)
            };
            check(&planned).unwrap();
            let [a, b] = planned.clone();
            let moved = check(&[a.clone(), row("b", "other", "t")]).unwrap_err();
            assert_eq!(moved.kind(), ErrorKind::Moved);
            assert!(moved.to_string().contains("row b of"), "{moved}");
            assert!(check(std::slice::from_ref(&b)).is_err());
            let mut renamed = row("b", "s", "t");
            let name = Some("new name".to_owned());
            renamed.owners = vec![Owner::new(
                OwnerKind::Team,
                "t".to_owned(),
                name,
                KeyTies::default(),
            )];
            check(&[a.clone(), renamed]).unwrap();
            let other_owner = check(&[a, row("b", "s", "other")]);
            let counts = compared == ComparedWithPlan::ValuesAndOwners;
            assert_eq!(other_owner.is_err(), counts);
        }
    }
}
