//! Refuses to carry out a plan, or to undo a journal, on another database than it was made on.

use crate::database::Database;
use crate::error::{ErrorKind, Failure};
use crate::repair::changeset::{ChangesetPurpose, Identity};

/// Refuses a changeset of another database than `here`.
///
/// Databases are told apart by host, port, name and schema: only some roles may read what a server
/// calls itself. So a database with two host names is taken for two, and the operator has to say
/// that it is one.
pub(crate) fn refuse_another(
    purpose: ChangesetPurpose,
    made: &Identity,
    here: &Database,
) -> Result<(), Failure> {
    let here = here.identity();
    if made.may_be(&here) {
        return Ok(());
    }
    let what = match purpose {
        ChangesetPurpose::Plan => "plan",
        ChangesetPurpose::Fix | ChangesetPurpose::Undo => "journal",
    };
    let message = format!("the {what} is of {made}, and this is {here}");
    Err(Failure::new(ErrorKind::Refused, message).hint(format_args!(
        "nothing was written; connect to the database that the {what} is of, or say --other-database \
         if this is the same by another name, or a copy that is meant"
    )))
}
