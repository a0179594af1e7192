//! Writes changes and verifies them, for `fix` and `undo`.

use crate::db::schema::Schema;
use crate::db::session::Connection;
use crate::db::side_effects::SideEffects;
use crate::db::verification::{RowsWithFingerprints, Verification};
use crate::db::{advisory_lock, credential_rows, update};
use crate::error::{ErrorKind, Failure};
use crate::litellm::reference_sites::{CredentialTable, ScannedTable, SiteTable};
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

/// Writes the changes of rows of `table` and checks them. `locked` are these rows and others, as
/// they were read once they were locked.
pub(crate) async fn write_rows(
    connection: &mut Connection,
    schema: &Schema,
    table: &'static SiteTable,
    locked: &RowsWithFingerprints,
    changes: &[RowChange],
    verification: &mut Verification,
) -> Result<(), Failure> {
    update::apply(connection, schema, table, changes).await?;
    update::verify(connection, schema, table, locked, changes, verification).await?;
    let keys = update::keys(changes);
    let table = ScannedTable::References(table);
    verification.keep(connection, schema, table, keys).await
}

/// Deletes or puts back the credentials of one server and checks that.
pub(crate) async fn write_credentials(
    connection: &mut Connection,
    schema: &Schema,
    table: &'static CredentialTable,
    change: &CredentialsChange,
    verification: &mut Verification,
) -> Result<(), Failure> {
    let changes = std::slice::from_ref(change);
    credential_rows::write(connection, schema, table, changes).await?;
    credential_rows::verify(connection, schema, table, changes).await?;
    let server = vec![change.server().to_owned()];
    let table = ScannedTable::Credentials(table);
    verification.keep(connection, schema, table, server).await
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
    verification: &mut Verification,
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

/// Reads, journals and deletes the credentials of one server part by part, so that memory does not
/// grow with their number. A plan does not get the parts: it tells only how many rows `deletion`
/// deletes.
pub(crate) async fn delete_credentials(
    connection: &mut Connection,
    schema: &Schema,
    mut deletion: CredentialsChange,
    mut out: Option<&mut ChangesetDraft<'_>>,
    verification: &mut Verification,
) -> Result<(), Failure> {
    let table = deletion.table();
    while let Some(part) =
        credential_rows::next_part(connection, schema, table, &mut deletion).await?
    {
        if let Some(out) = out.as_deref_mut().filter(|out| !out.is_plan()) {
            out.rows([&part])?;
        }
        write_credentials(connection, schema, table, &part, verification).await?;
    }
    Ok(())
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
