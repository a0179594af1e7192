//! Compares a change of credentials with the rows as they are now, before it is carried out or
//! taken back.

use std::collections::HashMap;

use crate::litellm::credentials::{ServerRows, WholeRow};
use crate::litellm::reference_sites::ScannedTable;
use crate::litellm::server_catalog::ServerCatalog;
use crate::repair::changeset::ColumnContent;
use crate::repair::conflict::{self, Conflict, ConflictKind, TakeBack};
use crate::repair::credentials_change::CredentialsChange;
use crate::repair::plan::RowPlan;

/// Compares `made`, the deletion of rows or their return, with the rows that are `there` in their
/// place now.
///
/// `number` says how many rows the server has. A row that holds something else by now is left as it
/// is; the others are taken back.
#[must_use]
pub(crate) fn take_back_rows(
    made: &CredentialsChange,
    number: u64,
    there: &[WholeRow],
) -> TakeBack<CredentialsChange> {
    let each = made.table().each;
    let found: HashMap<Option<String>, &WholeRow> =
        there.iter().map(|row| (row.text(each), row)).collect();
    let (mut rows, mut back, mut others) = (Vec::new(), 0, 0);
    for row in made.rows() {
        match found.get(&row.text(each)) {
            Some(found) if *found != row => others += 1,
            found if found.is_some() == made.deletes() => back += 1,
            Some(_) | None => rows.push(row.clone()),
        }
    }
    let changed =
        (others > 0).then(|| conflict(made, made.after(), ConflictKind::OtherRows(others)));
    TakeBack {
        change: made.take_back(rows, number),
        back,
        conflicts: changed.into_iter().collect(),
    }
}

/// Compares `planned` with the number of rows that its server has, and with the plan of now for
/// them. Returns the conflict; `None` where the plan still holds.
#[must_use]
pub(crate) fn with_plan(
    planned: &CredentialsChange,
    found: Option<u64>,
    now: Option<&RowPlan>,
    catalog: &ServerCatalog,
) -> Option<Conflict> {
    let is_as_planned = found == Some(planned.before().rows);
    let deletion = now.and_then(|plan| plan.deletion.clone());
    let deletion = deletion.map(|rows| CredentialsChange::deletion(planned.table(), rows));
    if is_as_planned && deletion.as_ref() == Some(planned) {
        return None;
    }
    let found = match found {
        Some(_) if is_as_planned => why_not(planned, now, catalog),
        Some(rows) if rows == planned.after().rows => ConflictKind::Done,
        Some(rows) => ConflictKind::Stored(ColumnContent::Rows(ServerRows {
            server: planned.server().to_owned(),
            rows,
        })),
        None => ConflictKind::NoRow,
    };
    Some(conflict(planned, planned.before(), found))
}

/// Returns why rows whose number is as planned would not be deleted now.
fn why_not(
    planned: &CredentialsChange,
    now: Option<&RowPlan>,
    catalog: &ServerCatalog,
) -> ConflictKind {
    let server = planned.server();
    if conflict::is_back(catalog.resolve_as(planned.table().names, server)) {
        return ConflictKind::ServerBack(server.to_owned());
    }
    let held = now.and_then(|plan| plan.held.first());
    held.map_or_else(
        || ConflictKind::Stored(ColumnContent::Rows(planned.before())),
        |held| ConflictKind::WouldHold(held.reason),
    )
}

/// Builds the conflict of a server that should have the `expected` number of rows.
fn conflict(change: &CredentialsChange, expected: ServerRows, found: ConflictKind) -> Conflict {
    Conflict {
        table: ScannedTable::Credentials(change.table()),
        row: change.server().to_owned(),
        column: change.table().server,
        expected: ColumnContent::Rows(expected),
        found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::litellm::reference_sites::USER_CREDENTIALS;

    fn whole(user: &str, secret: &str) -> WholeRow {
        let row = serde_json::json!({"user_id": user, "credential_b64": secret});
        WholeRow::new(row.to_string())
    }

    /// Builds the deletion of the rows that Ada, Ben and Cy had for a server.
    fn deleted() -> CredentialsChange {
        let rows = ["ada", "ben", "cy"].map(|user| whole(user, "old"));
        CredentialsChange::of_line(&USER_CREDENTIALS, "gone".to_owned(), [3, 0], rows.into())
    }

    #[test]
    fn each_deleted_row_is_put_back_or_back_or_another() {
        let there = [
            whole("ada", "old"),
            whole("ben", "new"),
            whole("dee", "own"),
        ];
        let todo = take_back_rows(&deleted(), 3, &there);
        assert_eq!(todo.back, 1);
        assert_eq!(todo.conflicts.len(), 1);
        assert_eq!(todo.conflicts[0].found, ConflictKind::OtherRows(1));
        let change = todo.change.unwrap();
        assert_eq!(change.rows(), [whole("cy", "old")]);
        assert_eq!((change.before().rows, change.after().rows), (3, 4));
    }

    #[test]
    fn what_was_put_back_is_deleted_again_unless_it_is_another_by_now() {
        let put_back = take_back_rows(&deleted(), 0, &[]);
        let put_back = put_back.change.unwrap();
        assert_eq!(put_back, deleted().inverse());
        let there = [
            whole("ada", "old"),
            whole("ben", "new"),
            whole("dee", "own"),
        ];
        let todo = take_back_rows(&put_back, 3, &there);
        assert_eq!((todo.back, todo.conflicts.len()), (1, 1));
        let change = todo.change.unwrap();
        assert_eq!(change.rows(), [whole("ada", "old")]);
        assert_eq!(change.after().rows, 2);
        let all = take_back_rows(&put_back, 3, deleted().rows());
        assert_eq!(all.change, Some(deleted()));
    }
}
