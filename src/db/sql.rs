//! How names of the catalogue get into SQL text, and what becomes of SQL errors.

use sqlx::AssertSqlSafe;
use sqlx::error::{DatabaseError, Error};

use crate::failure::{Failure, Kind};

/// Quotes an identifier, so that mixed case survives and nothing in it is read as SQL.
pub(super) fn ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Fills the `{placeholders}` of a statement with SQL made of catalogue names.
///
/// The only door by which text gets into a statement: everything else is a bound parameter. The
/// fragments are SQL made of names of the catalogue, which are written in this program.
pub(super) fn statement(
    template: &'static str,
    fragments: &[(&'static str, String)],
) -> AssertSqlSafe<String> {
    let mut sql = template.to_owned();
    for (placeholder, fragment) in fragments {
        sql = sql.replace(placeholder, fragment);
    }
    AssertSqlSafe(sql)
}

/// A condition that always holds and that the planner takes to hold for one row in 200, as it does an
/// equality that it knows nothing of.
///
/// It would have every row of a large table pass from the parallel workers to the one process that
/// filters them, where it expects that few of them are filtered out. So a filter that few rows pass
/// says so with this and with `CASE WHEN ... THEN 1 ELSE 0 END = 1`; that, and a high price for each
/// row that workers pass on (`Session::begin`), have the workers filter.
pub(super) const RARE: &str = "CASE WHEN {never} THEN 1 ELSE 0 END = 0";

/// Makes a [`Failure`] out of a driver's error, its kind chosen by SQLSTATE.
///
/// `doing` completes the sentence "cannot ...".
///
/// Source: PostgreSQL 17 manual, appendix A, "PostgreSQL Error Codes".
pub(super) fn failed(doing: &'static str) -> impl FnOnce(Error) -> Failure {
    move |error| match error.as_database_error() {
        Some(said) => failure(doing, said.code().as_deref(), said.message()),
        None => failure(doing, None, &error.to_string()),
    }
}

/// The same of a statement over secrets, which the server's words may quote: only its code is told.
pub(super) fn failed_over_secrets(doing: &'static str) -> impl FnOnce(Error) -> Failure {
    move |error| match error.as_database_error().map(DatabaseError::code) {
        Some(code) => {
            let code = code.unwrap_or_default();
            failure(doing, Some(&*code), &format!("the server says {code}"))
        }
        None => failure(doing, None, &error.to_string()),
    }
}

fn failure(doing: &'static str, state: Option<&str>, message: &str) -> Failure {
    let message = format!("cannot {doing}: {message}");
    match state {
        Some("55P03" | "40P01" | "40001") => Failure::new(Kind::Busy, message)
            .hint("somebody else is writing the same rows; run it again, or raise --lock-timeout"),
        Some("42501") => Failure::new(Kind::Access, message)
            .hint("grant this role what the statement needs, or use another role"),
        Some("25006") => Failure::new(Kind::Refused, message)
            .hint("a replica cannot be written; point --db-url at the primary server"),
        Some("57014") => Failure::new(Kind::Error, message)
            .hint("raise --statement-timeout, unless somebody cancelled the statement"),
        Some("57P01" | "57P02" | "57P03") => Failure::new(Kind::Error, message)
            .hint("the server ended the session and nothing was written; run it again"),
        _ => Failure::new(Kind::Error, message),
    }
}

/// Whether a `NOWAIT` found a row locked by somebody else.
pub(super) fn is_lock_not_available(error: &Error) -> bool {
    let state = error.as_database_error().and_then(DatabaseError::code);
    state.as_deref() == Some("55P03")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_quoted() {
        assert_eq!(ident("LiteLLM_TeamTable"), "\"LiteLLM_TeamTable\"");
        assert_eq!(ident("a\"b"), "\"a\"\"b\"");
    }

    #[test]
    fn every_placeholder_is_filled() {
        let AssertSqlSafe(sql) = statement(
            "SELECT {key} FROM {table} WHERE {key} = $1",
            &[("{key}", ident("id")), ("{table}", ident("T"))],
        );
        assert_eq!(sql, r#"SELECT "id" FROM "T" WHERE "id" = $1"#);
    }
}
