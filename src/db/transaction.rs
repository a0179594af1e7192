//! A transaction that is begun by a batch of statements, which sqlx's own cannot be.

use std::ops::{Deref, DerefMut};

use sqlx::{Error, PgConnection};

use crate::db::sql::statement;

/// An open transaction. If it is dropped, its session rolls it back before it begins another one,
/// and the server does when the connection ends.
#[derive(Debug)]
pub(crate) struct OpenTransaction<'c> {
    connection: &'c mut PgConnection,
    /// The session's note that a transaction may be open.
    is_open: &'c mut bool,
}

impl<'c> OpenTransaction<'c> {
    /// Wraps a connection that is in a transaction.
    pub(crate) fn new(connection: &'c mut PgConnection, is_open: &'c mut bool) -> Self {
        Self {
            connection,
            is_open,
        }
    }

    /// Commits the transaction.
    ///
    /// # Errors
    ///
    /// What the server said.
    pub(crate) async fn commit(self) -> Result<(), Error> {
        self.end("COMMIT").await
    }

    /// Rolls the transaction back.
    ///
    /// # Errors
    ///
    /// What the server said.
    pub(crate) async fn rollback(self) -> Result<(), Error> {
        self.end("ROLLBACK").await
    }

    async fn end(self, how: &'static str) -> Result<(), Error> {
        let ended = sqlx::raw_sql(statement(how)).execute(&mut *self.connection);
        ended.await?;
        *self.is_open = false;
        Ok(())
    }
}

impl Deref for OpenTransaction<'_> {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        self.connection
    }
}

impl DerefMut for OpenTransaction<'_> {
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.connection
    }
}
