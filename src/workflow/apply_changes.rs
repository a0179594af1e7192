//! Writes changes and verifies them, for `fix` and `undo`.

use crate::db::schema::Schema;
use crate::db::session::Connection;
use crate::db::side_effects::SideEffects;
use crate::db::verification::Verification;
use crate::db::{advisory_lock, credential_rows, update};
use crate::error::{ErrorKind, Failure};
use crate::litellm::credentials::ServerRows;
use crate::litellm::reference_sites::{CredentialTable, ScannedTable, SiteTable};
use crate::litellm::row::Row;
use crate::process::stderr::warn;
use crate::repair::changeset::RowChange;
use crate::repair::credentials_change::CredentialsChange;
use crate::report::shown_text::count;
use crate::workflow::changeset_file::ChangesetDraft;

/// Takes the locks that come before the locks of rows: the advisory lock, which one run at a time
/// holds, and the table locks.
pub(crate) async fn lock_tables(
    connection: &mut Connection,
    schema: &Schema,
) -> Result<(), Failure> {
    advisory_lock::lock_out_other_runs(connection).await?;
    update::enter(connection, schema).await
}

/// Writes the changes of locked rows of `table` and checks them. Returns the rows after that.
pub(crate) async fn write_rows(
    connection: &mut Connection,
    schema: &Schema,
    table: &'static SiteTable,
    locked: &[Row],
    changes: &[RowChange],
    verification: &mut Verification,
) -> Result<Vec<Row>, Failure> {
    let rest = verification
        .fingerprints(connection, schema, table, changes)
        .await?;
    update::apply(connection, schema, table, changes).await?;
    let verified = update::verify(
        connection,
        schema,
        table,
        locked,
        &rest,
        changes,
        verification,
    );
    let stored = verified.await?;
    let keys = update::keys(changes);
    let table = ScannedTable::References(table);
    verification.keep(connection, schema, table, keys).await?;
    Ok(stored)
}

/// Deletes or puts back the credentials of one server and checks that. Returns the number of rows
/// that the server has after that.
pub(crate) async fn write_credentials(
    connection: &mut Connection,
    schema: &Schema,
    table: &'static CredentialTable,
    change: &CredentialsChange,
    verification: &mut Verification,
) -> Result<Vec<ServerRows>, Failure> {
    let changes = std::slice::from_ref(change);
    credential_rows::write(connection, schema, table, changes).await?;
    let stored = credential_rows::verify(connection, schema, table, changes).await?;
    let server = vec![change.server().to_owned()];
    let table = ScannedTable::Credentials(table);
    verification.keep(connection, schema, table, server).await?;
    Ok(stored)
}

/// Begins the verification of what will be written, once the tables are locked. Warns of triggers
/// and rules that act on it.
pub(crate) async fn begin_verification(
    connection: &mut Connection,
    schema: &Schema,
) -> Result<Verification, Failure> {
    let effects = SideEffects::read(connection, schema).await?;
    if !effects.is_empty() {
        warn(format_args!(
            "the database itself acts on what is written: {}. The rows that are written are compared \
             once that is done; what it does to others is not looked at",
            effects.names()
        ));
    }
    Ok(Verification::new(effects))
}

/// Ends the verification: has the database do now what it put off until the commit, and compares
/// the rows once more. Warns of the other columns that triggers changed.
pub(crate) async fn end_verification(
    connection: &mut Connection,
    schema: &Schema,
    verification: &Verification,
) -> Result<(), Failure> {
    verification.settle(connection, schema).await?;
    for (table, column) in verification.changed() {
        warn(format_args!(
            "a trigger changes column \"{column}\" of the rows of \"{table}\" that are written; it names \
             no servers, and undo does not put it back"
        ));
    }
    Ok(())
}

/// Puts the old values of `changes` into the journal, writes the changes and checks them. Returns
/// the rows after that.
pub(crate) async fn carry_out(
    connection: &mut Connection,
    schema: &Schema,
    table: &'static SiteTable,
    locked: &[Row],
    changes: &[RowChange],
    out: Option<&mut ChangesetDraft<'_>>,
    verification: &mut Verification,
) -> Result<Vec<Row>, Failure> {
    if let Some(out) = out {
        out.rows(changes)?;
    }
    write_rows(connection, schema, table, locked, changes, verification).await
}

/// Reads, journals and deletes the credentials of one server part by part, so that memory does not
/// grow with their number. Returns the number of rows that the server has after that.
///
/// A plan tells only how many rows `deletion` deletes.
pub(crate) async fn delete_credentials(
    connection: &mut Connection,
    schema: &Schema,
    table: &'static CredentialTable,
    mut deletion: CredentialsChange,
    mut out: Option<&mut ChangesetDraft<'_>>,
    verification: &mut Verification,
) -> Result<Vec<ServerRows>, Failure> {
    let is_plan = out.as_deref().is_some_and(ChangesetDraft::is_plan);
    if let Some(out) = out.as_deref_mut().filter(|_| is_plan) {
        out.rows([&deletion])?;
    }
    let mut left = Vec::new();
    while let Some(part) =
        credential_rows::next_part(connection, schema, table, &mut deletion).await?
    {
        if let Some(out) = out.as_deref_mut().filter(|_| !is_plan) {
            out.rows([&part])?;
        }
        left = write_credentials(connection, schema, table, &part, verification).await?;
    }
    Ok(left)
}

/// Builds the error for columns that are no longer as planned or journalled; `hint` says what to
/// do.
pub(crate) fn moved(conflicts: usize, hint: &'static str) -> Failure {
    Failure::new(
        ErrorKind::Moved,
        format!(
            "{} {} no longer as planned or journalled; nothing was written",
            count(conflicts, "column"),
            if conflicts == 1 { "is" } else { "are" }
        ),
    )
    .hint(hint)
}
