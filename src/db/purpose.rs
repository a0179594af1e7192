//! What a transaction is begun for.

/// What a command does with the database, and so which privileges it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Only `SELECT`.
    Read,
    /// `SELECT`, and `UPDATE` on the columns that name servers; for whole rows also `INSERT` and
    /// `DELETE`.
    Write,
    /// As [`Self::Write`], to put old values back: the columns on which access depends need not be
    /// readable, because nothing but a report is made of them.
    PutBack,
}

impl Purpose {
    /// Tells whether the transaction writes.
    #[must_use]
    pub(crate) fn writes(self) -> bool {
        match self {
            Self::Read => false,
            Self::Write | Self::PutBack => true,
        }
    }
}
