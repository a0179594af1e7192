//! The code of a script that repairs without this program. It is made of the tables of one
//! database (`db/repair_script.rs`), and knows no row; what a report writes around it are literals.

use crate::litellm::reference_sites::SiteTable;

/// The PL/pgSQL of a script.
///
/// It takes these constants, which the script declares before it: `lock_timeout` (milliseconds) and
/// `time_limit` (an interval, or NULL for none), both as text. With [`ServerCheck::Made`] it takes
/// five more: `gone`, the references that no server may answer to; `served`, the references that a
/// served row must answer to; `left_out`, the ids of the rows that count as deleted;
/// `servers_then`, the digest of the other rows, or NULL if they may have changed; and
/// `no_servers`, whether there need not be any row.
#[derive(Debug)]
pub(crate) struct ScriptCode {
    /// The variables.
    pub(crate) variables: String,
    /// What is done first: settings and the advisory lock.
    pub(crate) begin: String,
    /// The tables that may be written, in the order in which they are.
    pub(crate) tables: Vec<TableCode>,
    /// What is done after the rows of all tables.
    pub(crate) end: String,
}

/// The code for one table. A script has it only if it writes a row of the table.
#[derive(Debug)]
pub(crate) struct TableCode {
    /// The table.
    pub(crate) table: &'static SiteTable,
    /// Variables of this table.
    pub(crate) variables: String,
    /// Takes the locks of the table, before any row is locked.
    pub(crate) lock: String,
    /// Begins the loop over the rows, up to the list of them. Each has five columns: the primary
    /// key; the old and the new values as JSON objects, by column; the digest of everything else
    /// in the row that grants servers, or NULL; and the digest of its owners, or NULL.
    pub(crate) rows: String,
    /// Checks and writes one row, and ends the loop.
    pub(crate) row: String,
    /// Checks all rows of the table once more.
    pub(crate) check: String,
    /// Whether the check says `SET CONSTRAINTS ALL IMMEDIATE`, which stays in force until the end
    /// of the transaction.
    pub(crate) ends_deferral: bool,
}

/// Whether a script looks at servers and owners: an undo puts back what was there, whatever there
/// is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ServerCheck {
    /// It does.
    Made,
    /// It does not.
    LeftOut,
}
