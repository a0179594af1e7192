//! Compares a change with the row as it is now, before it is carried out or taken back.

use std::collections::{HashMap, HashSet};
use std::fmt;

use crate::litellm::reference_sites::SiteTable;
use crate::litellm::row::Row;
use crate::litellm::server_catalog::{Resolution, ServerCatalog};
use crate::litellm::value::{Stored, Value, WholeRow};
use crate::repair::changeset::{Change, ColumnChange};
use crate::repair::plan::{Reason, RowPlan};

/// A column that is no longer as planned or journalled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Conflict {
    /// The row's table.
    pub table: &'static SiteTable,
    /// The row's primary key.
    pub row: String,
    /// The column.
    pub column: &'static str,
    /// The value that it should hold.
    pub expected: Value,
    /// What is there instead, or why the plan no longer holds.
    pub found: ConflictKind,
}

/// What is there now, or why the plan no longer holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ConflictKind {
    /// The row is gone.
    NoRow,
    /// The column holds something else.
    Stored(Stored),
    /// This many of the rows that were deleted or put back hold something else by now.
    OtherRows(usize),
    /// A reference that was to be removed is no longer stale.
    ServerBack(String),
    /// A reference that was to be removed would be held now.
    WouldHold(Reason),
    /// The column holds what was planned: the plan was carried out before.
    Done,
}

impl ConflictKind {
    /// Returns the value that is there instead, if there is one.
    #[must_use]
    pub(crate) fn value(&self) -> Option<&Value> {
        match self {
            Self::Stored(stored) => stored.as_ref().ok(),
            Self::NoRow
            | Self::OtherRows(_)
            | Self::ServerBack(_)
            | Self::WouldHold(_)
            | Self::Done => None,
        }
    }

    /// Returns the name in JSON.
    #[must_use]
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::NoRow => "row-gone",
            Self::Stored(_) | Self::OtherRows(_) => "changed",
            Self::ServerBack(_) => "server-back",
            Self::WouldHold(_) => "would-hold",
            Self::Done => "done",
        }
    }
}

/// Says in words what is there, where that is no value.
impl fmt::Display for ConflictKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRow => f.write_str("the row is gone"),
            Self::Stored(Ok(_)) => f.write_str("changed"),
            Self::Stored(Err(malformed)) => malformed.fmt(f),
            Self::OtherRows(rows) => write!(f, "{rows} of its rows hold something else by now"),
            Self::ServerBack(reference) => write!(f, "{reference} is stale no longer"),
            Self::WouldHold(reason) => write!(f, "would be held now: {reason}"),
            Self::Done => f.write_str("it is as planned already"),
        }
    }
}

/// The reverse change, and what prevents it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TakeBack {
    /// The change to write; `None` where everything is back already or something else is there.
    pub change: Option<Change>,
    /// How many rows of the database are back already.
    pub back: usize,
    /// The columns that hold neither what the change wrote nor what it replaced.
    pub conflicts: Vec<Conflict>,
}

/// Compares `made`, a change that was made, with its row as it is now.
///
/// Columns that are back already are left out. Nothing of the row is taken back where any of its
/// columns holds something else.
#[must_use]
pub(crate) fn take_back(made: &Change, row: Option<&Row>) -> TakeBack {
    let is_written =
        |column: &ColumnChange| stored(row, column) == Some(&Ok(column.after().clone()));
    let is_back = |column: &ColumnChange| stored(row, column) == Some(&Ok(column.before().clone()));
    let others = made.columns().iter();
    let others = others.filter(|column| !is_written(column) && !is_back(column));
    let conflicts: Vec<Conflict> = others
        .map(|column| conflict(made, column, column.after(), stored(row, column)))
        .collect();
    if !conflicts.is_empty() {
        return TakeBack {
            conflicts,
            ..TakeBack::default()
        };
    }
    let change = made.clone().with_columns(is_written);
    TakeBack {
        back: usize::from(change.is_none()),
        change: change.map(|change| change.inverse()),
        conflicts,
    }
}

/// Compares `made`, the deletion of whole rows or their return, with the rows that are `there` in
/// their place now.
///
/// The column `each` tells the rows of a server apart, and `row` says how many the server has. A
/// row that holds something else by now is left as it is; the others are taken back.
#[must_use]
pub(crate) fn take_back_rows(
    made: &Change,
    each: &str,
    row: Option<&Row>,
    there: &[WholeRow],
) -> TakeBack {
    let found: HashMap<Option<String>, &WholeRow> =
        there.iter().map(|row| (row.text(each), row)).collect();
    let puts_back = made.takes_rows();
    let (mut rows, mut back, mut others) = (Vec::new(), 0, 0);
    for row in made.rows() {
        match found.get(&row.text(each)) {
            Some(found) if *found != row => others += 1,
            found if found.is_some() == puts_back => back += 1,
            Some(_) | None => rows.push(row.clone()),
        }
    }
    let Some(column) = made.columns().first() else {
        return TakeBack::default();
    };
    let cell = stored(row, column);
    let number = cell.and_then(|cell| cell.as_ref().ok()?.rows());
    let mut conflicts = Vec::new();
    if others > 0 {
        conflicts.push(Conflict {
            found: ConflictKind::OtherRows(others),
            ..conflict(made, column, column.after(), None)
        });
    }
    TakeBack {
        change: made.take_back_rows(rows, number.unwrap_or_default()),
        back,
        conflicts,
    }
}

/// Compares `planned` with its row, and with the plan of now for that row. Returns the conflicts:
/// none where the plan still holds.
#[must_use]
pub(crate) fn with_plan(
    planned: &Change,
    row: Option<&Row>,
    now: Option<&RowPlan>,
    catalog: &ServerCatalog,
) -> Vec<Conflict> {
    let mut conflicts = Vec::new();
    for column in planned.columns() {
        let found = stored(row, column);
        let is_as_planned = found == Some(&Ok(column.before().clone()));
        let edits = now.into_iter().flat_map(|plan| &plan.edits);
        let mut edits = edits.filter(|edit| edit.site() == column.site());
        if is_as_planned && edits.any(|edit| edit.after() == *column.after()) {
            continue;
        }
        let mut moved = conflict(planned, column, column.before(), found);
        if is_as_planned {
            moved.found = why_not(column, now, catalog);
        } else if found == Some(&Ok(column.after().clone())) {
            moved.found = ConflictKind::Done;
        }
        conflicts.push(moved);
    }
    conflicts
}

fn stored<'a>(row: Option<&'a Row>, column: &ColumnChange) -> Option<&'a Stored> {
    let cells = &row?.cells;
    let cell = cells.iter().find(|cell| cell.site == column.site())?;
    Some(&cell.stored)
}

/// Builds the conflict of a column that should hold `expected`.
fn conflict(
    change: &Change,
    column: &ColumnChange,
    expected: &Value,
    found: Option<&Stored>,
) -> Conflict {
    Conflict {
        table: change.table(),
        row: change.key().to_owned(),
        column: column.site().name,
        expected: expected.clone(),
        found: found.map_or(ConflictKind::NoRow, |stored| {
            ConflictKind::Stored(stored.clone())
        }),
    }
}

/// Returns why a column that holds the planned value would not be changed as planned now.
fn why_not(column: &ColumnChange, now: Option<&RowPlan>, catalog: &ServerCatalog) -> ConflictKind {
    let left: HashSet<&str> = column.after().references().collect();
    let back = column
        .before()
        .references()
        .filter(|reference| !left.contains(reference))
        .find(|reference| is_back(catalog.resolve_as(column.site().names, reference)));
    if let Some(reference) = back {
        return ConflictKind::ServerBack(reference.to_owned());
    }
    let held = now.into_iter().flat_map(|plan| &plan.held);
    let mut held = held.filter(|held| {
        held.column == column.site().name && !left.contains(held.reference.as_str())
    });
    held.next().map_or_else(
        || ConflictKind::Stored(Ok(column.before().clone())),
        |held| ConflictKind::WouldHold(held.reason),
    )
}

/// Tells whether a reference that was stale when it was planned is stale no longer.
///
/// Exhaustive, so that a new resolution has to be judged here too.
fn is_back(resolution: Resolution) -> bool {
    match resolution {
        Resolution::Live
        | Resolution::Inactive
        | Resolution::Sentinel
        | Resolution::Kept
        | Resolution::Unverified
        | Resolution::OnlyAName
        | Resolution::Passed => true,
        // Held now, each for a reason of its own.
        Resolution::Stale
        | Resolution::Remapped
        | Resolution::MaybeEdited
        | Resolution::MaybeRenewed => false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::litellm::access_context::{AccessContext, RelatedGrants};
    use crate::litellm::owners::OwnerKind;
    use crate::litellm::reference_sites::{
        MCP_SERVERS, PERMISSIONS, USER_CREDENTIAL_SERVER, USER_CREDENTIALS,
    };
    use crate::litellm::row::Cell;
    use crate::litellm::server::ConfigServers;
    use crate::litellm::server_catalog::IdHistory;
    use crate::litellm::test_support::{REGIME, owner};
    use crate::repair::policy::Policy;

    fn array(references: &[&str]) -> Value {
        Value::Array(references.iter().map(|r| (*r).to_owned()).collect())
    }

    fn row(stored: Stored) -> Row {
        Row {
            key: "p-1".to_owned(),
            cells: vec![Cell {
                site: &MCP_SERVERS,
                stored,
            }],
            owners: Vec::new(),
        }
    }

    /// Builds the change that removed "gone".
    fn made() -> Change {
        let values = [array(&["gone", "a"]), array(&["a"])];
        Change::of_column(&PERMISSIONS, "p-1", &MCP_SERVERS, values)
    }

    #[test]
    fn only_what_was_written_is_taken_back() {
        let as_written = row(Ok(array(&["a"])));
        let back = row(Ok(array(&["gone", "a"])));
        let todo = take_back(&made(), Some(&as_written));
        assert_eq!(todo.change, Some(made().inverse()));
        let nothing = TakeBack {
            back: 1,
            ..TakeBack::default()
        };
        assert_eq!(take_back(&made(), Some(&back)), nothing);
    }

    fn whole(user: &str, secret: &str) -> WholeRow {
        let row = serde_json::json!({"user_id": user, "credential_b64": secret});
        WholeRow::new(row.to_string())
    }

    /// Builds the deletion of the rows that Ada, Ben and Cy had for a server.
    fn deleted() -> Change {
        let rows = ["ada", "ben", "cy"].map(|user| whole(user, "old"));
        Change::of_column(
            &USER_CREDENTIALS,
            "gone",
            &USER_CREDENTIAL_SERVER,
            [3, 0].map(|rows| Value::of_rows("gone", rows)),
        )
        .with_rows(rows.into())
    }

    /// Builds the row of a server that has `rows` rows.
    fn number(rows: u64) -> Row {
        Row {
            key: "gone".to_owned(),
            cells: vec![Cell {
                site: &USER_CREDENTIAL_SERVER,
                stored: Ok(Value::of_rows("gone", rows)),
            }],
            owners: Vec::new(),
        }
    }

    #[test]
    fn each_deleted_row_is_put_back_or_back_or_another() {
        let there = [
            whole("ada", "old"),
            whole("ben", "new"),
            whole("dee", "own"),
        ];
        let todo = take_back_rows(&deleted(), "user_id", Some(&number(3)), &there);
        assert_eq!(todo.back, 1);
        assert_eq!(todo.conflicts.len(), 1);
        assert_eq!(todo.conflicts[0].found, ConflictKind::OtherRows(1));
        let change = todo.change.unwrap();
        assert_eq!(change.rows(), [whole("cy", "old")]);
        assert_eq!(change.columns()[0].before(), &Value::of_rows("gone", 3));
        assert_eq!(change.columns()[0].after(), &Value::of_rows("gone", 4));
    }

    #[test]
    fn what_was_put_back_is_deleted_again_unless_it_is_another_by_now() {
        let put_back = take_back_rows(&deleted(), "user_id", Some(&number(0)), &[]);
        let put_back = put_back.change.unwrap();
        assert_eq!(put_back, deleted().inverse());
        let there = [
            whole("ada", "old"),
            whole("ben", "new"),
            whole("dee", "own"),
        ];
        let todo = take_back_rows(&put_back, "user_id", Some(&number(3)), &there);
        assert_eq!((todo.back, todo.conflicts.len()), (1, 1));
        let change = todo.change.unwrap();
        assert_eq!(change.rows(), [whole("ada", "old")]);
        assert_eq!(change.columns()[0].after(), &Value::of_rows("gone", 2));
        let all = take_back_rows(&put_back, "user_id", Some(&number(3)), deleted().rows());
        assert_eq!(all.change, Some(deleted()));
    }

    #[test]
    fn a_reference_that_is_held_by_now_is_told_with_its_reason() {
        const EDITED: &str = "8617b96e5cdbfd8ff49b7f89aeca1072";
        const RENEWED: &str = "266024044f9612bf481c78f6cfef1ff0";
        let servers = ConfigServers::Known(Vec::new());
        let history = IdHistory {
            unclear: BTreeSet::from([RENEWED.to_owned()]),
            ..IdHistory::default()
        };
        let catalog = ServerCatalog::new(&[], BTreeSet::from(["kept".to_owned()]), servers);
        let catalog = catalog.with_history(history);
        let world = AccessContext {
            regime: REGIME,
            catalog: &catalog,
            around: &RelatedGrants::default(),
            all_cleared: false,
        };
        for (reference, found) in [
            (EDITED, ConflictKind::WouldHold(Reason::MaybeEdited)),
            (RENEWED, ConflictKind::WouldHold(Reason::MaybeRenewed)),
            ("kept", ConflictKind::ServerBack("kept".to_owned())),
        ] {
            // The first entry is held for another reason, and was not to be removed.
            let other = if reference == EDITED { RENEWED } else { EDITED };
            let mut row = row(Ok(array(&[other, reference])));
            row.owners = vec![owner(OwnerKind::Team, false)];
            let now = RowPlan::of(&PERMISSIONS, &row, world, Policy::default());
            let values = [array(&[other, reference]), array(&[other])];
            let planned = Change::of_column(&PERMISSIONS, "p-1", &MCP_SERVERS, values);
            let conflicts = with_plan(&planned, Some(&row), Some(&now), &catalog);
            assert_eq!(conflicts.len(), 1);
            assert_eq!(conflicts[0].found, found);
        }
    }

    #[test]
    fn what_somebody_else_wrote_is_a_conflict() {
        let malformed = crate::litellm::value::Malformed::NullElement;
        for (row, found) in [
            (None, ConflictKind::NoRow),
            (
                Some(row(Ok(array(&["a", "b"])))),
                ConflictKind::Stored(Ok(array(&["a", "b"]))),
            ),
            (
                Some(row(Err(malformed))),
                ConflictKind::Stored(Err(malformed)),
            ),
        ] {
            let taken = take_back(&made(), row.as_ref());
            assert_eq!(taken.change, None);
            assert_eq!(taken.conflicts.len(), 1);
            assert_eq!(taken.conflicts[0].expected, array(&["a"]));
            assert_eq!(taken.conflicts[0].found, found);
        }
    }
}
