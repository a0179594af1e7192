//! The privileges that a role needs, and the GRANTs that give them.

use crate::database::Database;
use crate::db::columns::Privilege;
use crate::db::sql::ident;
use crate::error::{ErrorKind, Failure};

/// A statement that gives a role something on a table.
pub(crate) struct Grant {
    pub(crate) table: &'static str,
    pub(crate) privilege: Privilege,
    pub(crate) sql: String,
}

pub(crate) fn grant(
    privilege: Privilege,
    columns: &[String],
    database: &Database,
    table: &'static str,
    role: &str,
) -> Grant {
    let columns = match privilege {
        Privilege::Select | Privilege::Update | Privilege::Insert => {
            format!(" ({})", columns.join(", "))
        }
        Privilege::Delete => String::new(),
    };
    let sql = format!(
        "GRANT {}{columns} ON {}.{} TO {};",
        privilege.sql(),
        ident(&database.schema),
        ident(table),
        ident(role)
    );
    Grant {
        table,
        privilege,
        sql,
    }
}

pub(crate) fn check_usage(may_use: bool, database: &Database) -> Result<(), Failure> {
    if may_use {
        return Ok(());
    }
    Err(Failure::new(
        ErrorKind::Access,
        format!(
            "role \"{}\" lacks USAGE on schema \"{}\"",
            database.user, database.schema
        ),
    )
    .hint(format!(
        "have its owner run: GRANT USAGE ON SCHEMA {} TO {};",
        ident(&database.schema),
        ident(&database.user)
    )))
}
