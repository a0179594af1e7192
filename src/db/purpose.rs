//! What a transaction is begun for.

/// What a command does with the database, and so which privileges it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Only `SELECT`.
    Read,
    /// `SELECT`, and `UPDATE` on the columns that name servers; for whole rows also `INSERT` and
    /// `DELETE`.
    Write,
}
