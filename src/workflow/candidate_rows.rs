//! The primary keys of rows that are read, planned or locked later. There may be a million, so they
//! are put aside.

use std::io;

use crate::error::Failure;
use crate::litellm::reference_sites::ScannedTable;
use crate::process::print::cannot_put_aside;
use crate::report::put_aside::PutAside;

/// The primary keys of rows, or the ids of servers with credentials, of one table, in the order in
/// which they were added.
#[derive(Debug)]
pub(crate) struct TableKeys {
    table: ScannedTable,
    keys: PutAside<String>,
    number: usize,
}

impl TableKeys {
    /// Makes an empty list of rows of a table.
    #[must_use]
    pub(crate) fn new(table: ScannedTable) -> Self {
        Self {
            table,
            keys: PutAside::new(),
            number: 0,
        }
    }

    /// Adds a row by its key.
    ///
    /// # Errors
    ///
    /// Fails if the key cannot be put aside.
    pub(crate) fn add(&mut self, key: &str) -> Result<(), Failure> {
        self.number += 1;
        self.keys.add(&key.to_owned()).map_err(cannot_put_aside)
    }

    /// Returns the table.
    #[must_use]
    pub(crate) fn table(&self) -> ScannedTable {
        self.table
    }

    /// Counts the rows.
    #[must_use]
    pub(crate) fn number(&self) -> usize {
        self.number
    }

    /// Reads the keys back, up to `most` at a time. Only the end tells whether they are those that
    /// were added: read to the end, and use nothing after an error.
    pub(crate) fn parts(&self, most: usize) -> impl Iterator<Item = Result<Vec<String>, Failure>> {
        let mut left = self.keys.iter();
        std::iter::from_fn(move || {
            let part: io::Result<Vec<String>> = left.by_ref().take(most).collect();
            let part = part.map_err(cannot_put_aside);
            part.map(|keys| (!keys.is_empty()).then_some(keys))
                .transpose()
        })
    }
}

/// The rows that are read, planned or locked later, by table.
#[derive(Debug, Default)]
pub(crate) struct CandidateRows(Vec<TableKeys>);

impl CandidateRows {
    /// Adds a row. All rows of one table have to be added one after the other.
    ///
    /// # Errors
    ///
    /// Fails if the key cannot be put aside.
    pub(crate) fn add(&mut self, table: ScannedTable, key: &str) -> Result<(), Failure> {
        let last = self.0.pop_if(|last| last.table == table);
        let mut rows = last.unwrap_or_else(|| TableKeys::new(table));
        let added = rows.add(key);
        self.0.push(rows);
        added
    }

    /// Tells whether there are none.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Counts the rows of all tables.
    #[must_use]
    pub(crate) fn number(&self) -> usize {
        self.0.iter().map(|rows| rows.number).sum()
    }

    /// Lists the tables with rows.
    pub(crate) fn tables(&self) -> impl Iterator<Item = &TableKeys> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::litellm::reference_sites::{ACCESS_GROUPS, PERMISSIONS};

    #[test]
    fn keys_come_back_by_table_and_in_parts() {
        let mut rows = CandidateRows::default();
        assert!(rows.is_empty());
        for (table, numbers) in [(&ACCESS_GROUPS, 0..3), (&PERMISSIONS, 3..10)] {
            for number in numbers {
                let table = ScannedTable::References(table);
                rows.add(table, &format!("row {number}")).unwrap();
            }
        }
        assert_eq!(rows.number(), 10);
        let tables: Vec<ScannedTable> = rows.tables().map(TableKeys::table).collect();
        assert_eq!(
            tables,
            [&ACCESS_GROUPS, &PERMISSIONS].map(ScannedTable::References)
        );
        let sizes = |most: usize| -> Vec<Vec<usize>> {
            let tables = rows.tables();
            let sizes = tables.map(|rows| rows.parts(most).map(|part| part.unwrap().len()));
            sizes.map(Iterator::collect).collect()
        };
        assert_eq!(sizes(3), [vec![3], vec![3, 3, 1]]);
        assert_eq!(sizes(100), [vec![3], vec![7]]);
        let all = rows.tables().flat_map(|rows| rows.parts(2));
        let all: Vec<String> = all.flat_map(Result::unwrap).collect();
        let expected: Vec<String> = (0..10).map(|number| format!("row {number}")).collect();
        assert_eq!(all, expected);
    }
}
