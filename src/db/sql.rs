//! How names of the catalogue get into SQL text, and what becomes of SQL errors.

use sqlx::AssertSqlSafe;
use sqlx::error::{DatabaseError, Error};
use sqlx::postgres::PgDatabaseError;

use super::connect_error::plain_words;
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
pub(super) fn failed(doing: &'static str) -> impl FnOnce(Error) -> Failure {
    move |error| match error.as_database_error() {
        Some(answer) => failure(doing, answer, answer.message()),
        None => Failure::new(
            Kind::Error,
            format!("cannot {doing}: {}", plain_words(&error)),
        ),
    }
}

/// The same of a statement over secrets, which the server's words may quote: only its code is told.
pub(super) fn failed_over_secrets(doing: &'static str) -> impl FnOnce(Error) -> Failure {
    move |error| match error.as_database_error() {
        Some(answer) => {
            let code = answer.code().unwrap_or_default();
            failure(doing, answer, &format!("the server says {code}"))
        }
        None => Failure::new(
            Kind::Error,
            format!("cannot {doing}: {}", plain_words(&error)),
        ),
    }
}

fn failure(doing: &str, answer: &(dyn DatabaseError + 'static), message: &str) -> Failure {
    let raised_in = answer.try_downcast_ref().and_then(PgDatabaseError::file);
    let (kind, hint) = meant(answer.code().as_deref().unwrap_or_default(), raised_in);
    let failure = Failure::new(kind, format!("cannot {doing}: {message}"));
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// What an SQLSTATE means to the operator, and what to do about it.
///
/// A replica that ends a query to go on with replay says 40001 as a conflict of writers does, and only
/// where the error was raised tells the two apart in every language that a server may speak.
///
/// Source: PostgreSQL 17 manual, appendix A, "PostgreSQL Error Codes"; `tcop/postgres.c` of PostgreSQL
/// 12 to 18, which raises the conflicts with recovery and none of the others.
fn meant(state: &str, raised_in: Option<&str>) -> (Kind, Option<&'static str>) {
    let (kind, hint) = match (state, raised_in) {
        ("40001" | "40P01", Some("postgres.c")) => (
            Kind::Busy,
            "the replica ended the query because of a conflict with recovery; run it again, on the \
             primary, or with hot_standby_feedback or a longer max_standby_streaming_delay",
        ),
        ("55P03" | "40P01" | "40001", _) => (
            Kind::Busy,
            "somebody else is writing the same rows; run it again, or raise --lock-timeout",
        ),
        ("42501", _) => (
            Kind::Access,
            "grant this role what the statement needs, or use another role",
        ),
        ("25006", _) => (
            Kind::Refused,
            "a replica cannot be written; point --db-url at the primary server",
        ),
        ("57014", _) => (
            Kind::Error,
            "raise --statement-timeout, unless somebody cancelled the statement",
        ),
        ("57P01" | "57P02" | "57P03", _) => (
            Kind::Error,
            "the server ended the session and nothing was written; run it again",
        ),
        _ => return (Kind::Error, None),
    };
    (kind, Some(hint))
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
    fn a_conflict_with_recovery_is_told_from_one_of_writers() {
        for (state, raised_in, told) in [
            ("40001", Some("postgres.c"), "conflict with recovery"),
            ("40P01", Some("postgres.c"), "conflict with recovery"),
            ("40001", Some("nodeModifyTable.c"), "--lock-timeout"),
            ("40P01", Some("deadlock.c"), "--lock-timeout"),
            // Of a trigger, and beside an engine that does not tell.
            ("40001", Some("pl_exec.c"), "--lock-timeout"),
            ("40001", None, "--lock-timeout"),
            // Raised in the same file, and no conflict.
            ("57014", Some("postgres.c"), "--statement-timeout"),
        ] {
            let (kind, hint) = meant(state, raised_in);
            assert!(
                hint.unwrap().contains(told),
                "{state} {raised_in:?}: {hint:?}"
            );
            assert_eq!(kind == Kind::Busy, state != "57014");
        }
        assert_eq!(meant("22P02", Some("uuid.c")), (Kind::Error, None));
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
