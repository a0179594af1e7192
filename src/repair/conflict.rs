//! Compares a change with the row as it is now, before it is carried out or taken back.

use std::collections::{BTreeSet, HashSet};
use std::fmt;

use crate::litellm::reference_sites::ScannedTable;
use crate::litellm::row::Row;
use crate::litellm::server_catalog::{Resolution, ServerCatalog};
use crate::litellm::value::{Malformed, Stored, Value};
use crate::repair::changeset::{Change, ChangesetPurpose, ColumnChange, ColumnContent, RowChange};
use crate::repair::plan::{Reason, RowPlan};
use crate::repair::repaired_column::{ColumnTakeBack, EarlierUndo, RepairedColumn};

/// A column that is no longer as planned or journalled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Conflict {
    /// The row's table.
    pub table: ScannedTable,
    /// The row's primary key.
    pub row: String,
    /// The column.
    pub column: &'static str,
    /// What it should hold.
    pub expected: ColumnContent,
    /// What is there instead, or why the plan no longer holds.
    pub found: ConflictKind,
}

/// What is there now, or why the plan no longer holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ConflictKind {
    /// The row is gone.
    NoRow,
    /// The column holds something else.
    Stored(ColumnContent),
    /// The column holds what LiteLLM cannot read.
    Malformed(Malformed),
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
    pub(crate) fn value(&self) -> Option<&ColumnContent> {
        match self {
            Self::Stored(content) => Some(content),
            Self::NoRow
            | Self::Malformed(_)
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
            Self::Stored(_) | Self::Malformed(_) | Self::OtherRows(_) => "changed",
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
            Self::Stored(_) => f.write_str("changed"),
            Self::Malformed(malformed) => malformed.fmt(f),
            Self::OtherRows(rows) => write!(f, "{rows} of its rows hold something else by now"),
            Self::ServerBack(reference) => write!(f, "{reference} is stale no longer"),
            Self::WouldHold(reason) => write!(f, "would be held now: {reason}"),
            Self::Done => f.write_str("it is as planned already"),
        }
    }
}

/// The reverse change, and what prevents it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TakeBack<C> {
    /// The change to write; `None` where everything is back already or something else is there.
    pub change: Option<C>,
    /// How many rows of the database are back already.
    pub back: usize,
    /// The columns that hold neither what the change wrote nor what it replaced.
    pub conflicts: Vec<Conflict>,
}

/// The part of a changeset that is taken back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TakenPart<'a> {
    /// The purpose of the changeset.
    pub purpose: ChangesetPurpose,
    /// The references that are meant; `None` for all.
    pub references: Option<&'a BTreeSet<String>>,
    /// Whether a part of it was taken back before.
    pub earlier: EarlierUndo,
}

impl TakenPart<'_> {
    /// Lists the references that a change took away or put back and that are meant.
    pub(crate) fn references_of<'c>(&self, made: &'c Change) -> BTreeSet<&'c str> {
        let mut references: BTreeSet<&str> = match made {
            Change::Row(change) => {
                let columns = change.columns().iter();
                let columns = columns.map(|column| RepairedColumn::of(column, self.purpose));
                columns
                    .flat_map(|column| column.references().collect::<Vec<_>>())
                    .collect()
            }
            Change::Credentials(change) => BTreeSet::from([change.server()]),
        };
        references.retain(|reference| self.takes(reference));
        references
    }

    /// Tells whether a reference is meant.
    fn takes(&self, reference: &str) -> bool {
        self.references.is_none_or(|all| all.contains(reference))
    }
}

/// A column of which only a part is to be taken back, and whose changeset does not tell the
/// references of that part from the others.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct InseparableColumn {
    /// The row's primary key.
    pub row: String,
    /// The column.
    pub column: &'static str,
}

/// Compares `made`, a change that was made, with its row as it is now, to take a `part` of it back.
///
/// Columns that are back already are left out, and so are columns without a reference that is
/// meant. Nothing of the row is taken back where any other column holds something else.
///
/// # Errors
///
/// Fails where the changeset does not tell the references that are meant from the others.
pub(crate) fn take_back(
    made: &RowChange,
    row: Option<&Row>,
    part: TakenPart<'_>,
) -> Result<TakeBack<RowChange>, InseparableColumn> {
    let (mut columns, mut conflicts) = (Vec::new(), Vec::new());
    for column in made.columns() {
        let repaired = RepairedColumn::of(column, part.purpose);
        if part.references.is_some() && !repaired.references().any(|r| part.takes(r)) {
            continue;
        }
        let found = stored(row, column);
        let Some(Ok(now)) = found else {
            conflicts.push(conflict(made, column, column.after(), found));
            continue;
        };
        match repaired.take_back(now, part.references, part.earlier) {
            ColumnTakeBack::Back => {}
            ColumnTakeBack::Write(then) => columns.push(column.with_values(now.clone(), then)),
            ColumnTakeBack::Changed => {
                conflicts.push(conflict(made, column, column.after(), found));
            }
            // All references are meant, so it is what an undo of a part left that cannot be told
            // from the rest.
            ColumnTakeBack::Inseparable if part.references.is_none() => {
                conflicts.push(conflict(made, column, column.after(), found));
            }
            ColumnTakeBack::Inseparable => {
                return Err(InseparableColumn {
                    row: made.key().to_owned(),
                    column: column.site().name,
                });
            }
        }
    }
    if !conflicts.is_empty() {
        return Ok(TakeBack {
            change: None,
            back: 0,
            conflicts,
        });
    }
    let change = made.with_columns(columns);
    Ok(TakeBack {
        back: usize::from(change.is_none()),
        change,
        conflicts,
    })
}

/// Compares `planned` with its row, and with the plan of now for that row. Returns the conflicts:
/// none where the plan still holds.
#[must_use]
pub(crate) fn with_plan(
    planned: &RowChange,
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
    change: &RowChange,
    column: &ColumnChange,
    expected: &Value,
    found: Option<&Stored>,
) -> Conflict {
    Conflict {
        table: ScannedTable::References(change.table()),
        row: change.key().to_owned(),
        column: column.site().name,
        expected: ColumnContent::References(expected.clone()),
        found: match found {
            None => ConflictKind::NoRow,
            Some(Ok(value)) => ConflictKind::Stored(ColumnContent::References(value.clone())),
            Some(Err(malformed)) => ConflictKind::Malformed(*malformed),
        },
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
        || ConflictKind::Stored(ColumnContent::References(column.before().clone())),
        |held| ConflictKind::WouldHold(held.reason),
    )
}

/// Tells whether a reference that was stale when it was planned is stale no longer.
///
/// Exhaustive, so that a new resolution has to be judged here too.
pub(super) fn is_back(resolution: Resolution) -> bool {
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
    use super::*;
    use crate::litellm::access_context::{AccessContext, RelatedGrants};
    use crate::litellm::owners::OwnerKind;
    use crate::litellm::reference_sites::{MCP_SERVERS, PERMISSIONS};
    use crate::litellm::row::Cell;
    use crate::litellm::server::ConfigServers;
    use crate::litellm::server_catalog::IdHistory;
    use crate::litellm::test_support::{BEHAVIOR, Standing, owner};
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
    fn made() -> RowChange {
        let values = [array(&["gone", "a"]), array(&["a"])];
        RowChange::of_column(&PERMISSIONS, "p-1", &MCP_SERVERS, values)
    }

    const WHOLE: TakenPart<'static> = TakenPart {
        purpose: ChangesetPurpose::Fix,
        references: None,
        earlier: EarlierUndo::None,
    };

    #[test]
    fn only_what_was_written_is_taken_back() {
        let as_written = row(Ok(array(&["a"])));
        let back = row(Ok(array(&["gone", "a"])));
        let todo = take_back(&made(), Some(&as_written), WHOLE).unwrap();
        assert_eq!(todo.change, Some(made().inverse()));
        let nothing = TakeBack {
            change: None,
            back: 1,
            conflicts: Vec::new(),
        };
        assert_eq!(take_back(&made(), Some(&back), WHOLE), Ok(nothing));
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
        let context = AccessContext {
            behavior: BEHAVIOR,
            catalog: &catalog,
            related: &RelatedGrants::default(),
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
            row.owners = vec![owner(OwnerKind::Team, Standing::InTeam)];
            let now = RowPlan::of(&PERMISSIONS, &row, context, Policy::default().into());
            let values = [array(&[other, reference]), array(&[other])];
            let planned = RowChange::of_column(&PERMISSIONS, "p-1", &MCP_SERVERS, values);
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
                ConflictKind::Stored(ColumnContent::References(array(&["a", "b"]))),
            ),
            (
                Some(row(Err(malformed))),
                ConflictKind::Malformed(malformed),
            ),
        ] {
            let taken = take_back(&made(), row.as_ref(), WHOLE).unwrap();
            assert_eq!(taken.change, None);
            assert_eq!(taken.conflicts.len(), 1);
            let expected = ColumnContent::References(array(&["a"]));
            assert_eq!(taken.conflicts[0].expected, expected);
            assert_eq!(taken.conflicts[0].found, found);
        }
    }
}
