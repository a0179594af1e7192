//! What a repair does to the credentials of one server: it deletes whole rows, and an undo puts
//! them back.

use serde::{Deserialize, Serialize};

use crate::litellm::credentials::{ServerRows, WholeRow};
use crate::litellm::packing::packed_credentials;
use crate::litellm::reference_sites::CredentialTable;

/// How many rows of credentials a server has before and after a repair, or before and after the
/// undo of one, and the rows that are deleted or put back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CredentialsChange {
    #[serde(with = "packed_credentials")]
    table: &'static CredentialTable,
    server: String,
    before: u64,
    after: u64,
    /// Empty in a plan and in a report, which tell the number of rows alone. They are secrets, so
    /// they are never put aside.
    #[serde(skip)]
    rows: Vec<WholeRow>,
}

impl CredentialsChange {
    /// Builds the deletion of all rows of a server, which have not been read yet.
    #[must_use]
    pub(crate) fn deletion(table: &'static CredentialTable, rows: ServerRows) -> Self {
        Self::of_line(table, rows.server, [rows.rows, 0], Vec::new())
    }

    /// Builds the change that a line of a changeset tells, or that a test needs.
    pub(super) fn of_line(
        table: &'static CredentialTable,
        server: String,
        [before, after]: [u64; 2],
        rows: Vec<WholeRow>,
    ) -> Self {
        Self {
            table,
            server,
            before,
            after,
            rows,
        }
    }

    /// Returns the table.
    #[must_use]
    pub(crate) fn table(&self) -> &'static CredentialTable {
        self.table
    }

    /// Returns the server's id.
    #[must_use]
    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    /// Returns the number of the server's rows before.
    #[must_use]
    pub(crate) fn before(&self) -> ServerRows {
        self.number(self.before)
    }

    /// Returns the number of the server's rows after.
    #[must_use]
    pub(crate) fn after(&self) -> ServerRows {
        self.number(self.after)
    }

    fn number(&self, rows: u64) -> ServerRows {
        ServerRows {
            server: self.server.clone(),
            rows,
        }
    }

    /// Returns the rows that are deleted or put back. A plan and a report have none of them: they
    /// tell the number alone.
    #[must_use]
    pub(crate) fn rows(&self) -> &[WholeRow] {
        &self.rows
    }

    /// Tells whether it deletes rows.
    #[must_use]
    pub(crate) fn deletes(&self) -> bool {
        self.before > self.after
    }

    /// Returns how many rows it deletes or puts back.
    #[must_use]
    pub(crate) fn size(&self) -> usize {
        usize::try_from(self.before.abs_diff(self.after)).unwrap_or(usize::MAX)
    }

    /// Builds the change that takes all of this one back.
    #[cfg(test)]
    pub(crate) fn inverse(&self) -> Self {
        Self {
            before: self.after,
            after: self.before,
            ..self.clone()
        }
    }

    /// Builds the change that takes back `rows`, which are some of the rows of this one, while
    /// their server has `there` rows; `None` where there are none to take back.
    #[must_use]
    pub(crate) fn take_back(&self, rows: Vec<WholeRow>, there: u64) -> Option<Self> {
        let number = u64::try_from(rows.len()).unwrap_or(u64::MAX);
        let after = if self.deletes() {
            there.saturating_add(number)
        } else {
            there.saturating_sub(number)
        };
        (!rows.is_empty())
            .then(|| Self::of_line(self.table, self.server.clone(), [there, after], rows))
    }

    /// Returns how many rows it deletes, of a change that does not carry them yet.
    #[must_use]
    pub(crate) fn rows_to_delete(&self) -> u64 {
        self.before.saturating_sub(self.after)
    }

    /// Splits off the deletion of `rows`, some of those that it deletes.
    #[must_use]
    pub(crate) fn split_off(&mut self, rows: Vec<WholeRow>) -> Self {
        let number = u64::try_from(rows.len()).unwrap_or(u64::MAX);
        let left = self.before.saturating_sub(number);
        let before = std::mem::replace(&mut self.before, left);
        Self::of_line(self.table, self.server.clone(), [before, left], rows)
    }

    /// Leaves out what the rows hold, so that their number alone is reported.
    #[must_use]
    pub(crate) fn into_report(self) -> Self {
        let rows = Vec::new();
        Self { rows, ..self }
    }
}
