//! Collects what an undo puts back: counts it, and puts it aside, so that memory does not grow with
//! the journal.

use std::collections::BTreeSet;
use std::io;

use crate::repair::changeset::{Change, ColumnChange, RowChange};
use crate::report::put_aside::PutAside;

/// The changes of an undo, and what is known over all of them.
#[derive(Debug)]
pub(crate) struct UndoneChanges {
    changes: PutAside<Change>,
    number: usize,
    rows: usize,
    has_lists: bool,
    takes_away: bool,
}

impl UndoneChanges {
    /// Makes an empty collection.
    #[must_use]
    pub(crate) fn new() -> Self {
        Self {
            changes: PutAside::new(),
            number: 0,
            rows: 0,
            has_lists: false,
            takes_away: false,
        }
    }

    /// Adds a change, in its order.
    ///
    /// # Errors
    ///
    /// An I/O error if it cannot be put aside.
    pub(crate) fn add(&mut self, change: &Change) -> io::Result<()> {
        self.number += 1;
        self.rows += change.size();
        if let Change::Row(change) = change {
            self.has_lists = true;
            self.takes_away |= takes_away(change);
        }
        self.changes.add(change)
    }

    /// Counts the changes.
    #[must_use]
    pub(crate) fn number(&self) -> usize {
        self.number
    }

    /// Tells whether there are none.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.number == 0
    }

    /// Counts the rows that were put back, or would be.
    #[must_use]
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Tells whether any change is of a list of references.
    #[must_use]
    pub(crate) fn has_lists(&self) -> bool {
        self.has_lists
    }

    /// Tells whether any column loses a reference.
    #[must_use]
    pub(crate) fn takes_away(&self) -> bool {
        self.takes_away
    }

    /// Reads the changes back, in their order. An item is an I/O error if one cannot be read.
    pub(crate) fn iter(&self) -> impl Iterator<Item = io::Result<Change>> {
        self.changes.iter()
    }
}

/// Tells whether any column of a row loses a reference.
fn takes_away(change: &RowChange) -> bool {
    let loses_one = |column: &ColumnChange| {
        let after: BTreeSet<&str> = column.after().references().collect();
        column.before().references().any(|r| !after.contains(r))
    };
    change.columns().iter().any(loses_one)
}
