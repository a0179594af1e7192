//! Puts names of tables and columns into SQL text, and turns SQL errors into failures.

use sqlx::AssertSqlSafe;
use sqlx::error::{DatabaseError, Error};
use sqlx::postgres::PgDatabaseError;

use super::connect_error::plain_words;
use super::decode;
use crate::failure::{Failure, Kind};

/// Quotes an identifier, so that mixed case survives and nothing in it is read as SQL.
pub(super) fn ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Stands for an opening brace in a name. No name of PostgreSQL holds this character.
const BRACE: &str = "\0";

/// Quotes an identifier that was read from the database, for [`statement_in`]. A brace in it does
/// not open a placeholder.
pub(super) fn told(name: &str) -> String {
    ident(name).replace('{', BRACE)
}

/// Returns the name of a table beside LiteLLM's with its schema, which [`statement_in`] fills in.
pub(super) fn relation(table: &str) -> String {
    format!("{SCHEMA}.{}", told(table))
}

/// The placeholder of the schema in which LiteLLM's tables are.
const SCHEMA: &str = "{schema}";

/// The operators of the statements. A template writes PostgreSQL's own `=` as `{=}`.
const OPERATORS: [&str; 19] = [
    "=", "<>", ">", "+", "-", "||", "|", "&", "<<", "&&", "->", "->>", "#>", "#-", "?|", "@?", "~",
    "~~", "*=",
];

/// Fills the `{placeholders}` of a part of a statement with SQL that is made of names.
pub(super) fn part(template: &'static str, fragments: &[(&'static str, String)]) -> String {
    let mut sql = template.to_owned();
    for (placeholder, fragment) in fragments {
        sql = sql.replace(placeholder, fragment);
    }
    sql
}

/// Fills the `{placeholders}` of a statement on LiteLLM's tables in `schema`.
///
/// Text gets into a statement only here: everything else is a bound parameter. The fragments are
/// SQL that is made of names. These names are constants of this program or come through [`told`].
/// The operator names the schema, so it is filled in last: nothing in it is taken for a
/// placeholder.
///
/// Every name in a statement has its schema. Otherwise PostgreSQL would search for it, and anybody
/// who may create a function, an operator or a type in a searched schema could have it called with
/// the rights of whoever runs this program (CVE-2018-1058). Debug builds, and so all tests, refuse
/// a statement with a name that has no schema.
///
/// Inside `OPERATOR()` every operator binds alike, and tighter than a bare comparison (PostgreSQL
/// 17 manual, 4.1.6): an operand that is an operation itself needs parentheses.
pub(super) fn statement_in(
    schema: &str,
    template: &'static str,
    fragments: &[(&'static str, String)],
) -> AssertSqlSafe<String> {
    let mut sql = part(template, fragments);
    for operator in OPERATORS {
        sql = sql.replace(
            &format!("{{{operator}}}"),
            &format!("OPERATOR(pg_catalog.{operator})"),
        );
    }
    sql = sql.replace(SCHEMA, &ident(schema)).replace(BRACE, "{");
    #[cfg(debug_assertions)]
    super::qualified::ensure(&sql);
    AssertSqlSafe(sql)
}

/// Fills the `{placeholders}` of a statement on the system catalog alone.
pub(super) fn statement(template: &'static str) -> AssertSqlSafe<String> {
    statement_in("pg_catalog", template, &[])
}

/// A condition that always holds. The planner expects it to hold for one row in 200, because that
/// is its estimate for an equality of which it knows nothing.
///
/// If the planner expects that most rows pass a filter, the parallel workers send every row of a
/// large table to the one process that filters them. So a filter that few rows pass is written as
/// `CASE WHEN ... THEN 1 ELSE 0 END = 1` together with this condition. With the high price of each
/// row that a worker passes on (`SETTINGS` in `session.rs`), the planner makes the workers filter.
pub(super) const RARE: &str = "CASE WHEN {never} THEN 1 ELSE 0 END {=} 0";

/// Makes a [`Failure`] of a driver's error. The SQLSTATE decides its kind.
///
/// `doing` completes the sentence "cannot ...".
pub(super) fn failed(doing: &'static str) -> impl FnOnce(Error) -> Failure {
    move |error| match error.as_database_error() {
        Some(answer) => failure(doing, answer, answer.message()),
        None => undelivered(doing, &error),
    }
}

/// Makes a [`Failure`] as [`failed`] does, for a statement over secrets. The server's message may
/// quote them, so only its code is shown, and the names of the constraint, column and table.
pub(super) fn failed_over_secrets(doing: &'static str) -> impl FnOnce(Error) -> Failure {
    move |error| match error.as_database_error() {
        Some(answer) => {
            let code = answer.code().unwrap_or_default();
            let names = names(answer);
            failure(doing, answer, &format!("the server says {code}{names}"))
        }
        None => undelivered(doing, &error),
    }
}

/// Names the constraint, column and table of an answer, such as
/// `, of column "kind", table "LiteLLM_MCPUserCredentials"`.
fn names(answer: &(dyn DatabaseError + 'static)) -> String {
    let Some(answer) = answer.try_downcast_ref::<PgDatabaseError>() else {
        return String::new();
    };
    let names = [
        ("constraint", answer.constraint()),
        ("column", answer.column()),
        ("table", answer.table()),
    ];
    let names = names.map(|(what, name)| Some(format!("{what} \"{}\"", name?)));
    let names: Vec<String> = names.into_iter().flatten().collect();
    if names.is_empty() {
        return String::new();
    }
    format!(", of {}", names.join(", "))
}

/// Makes the failure for an answer that did not arrive, or that cannot be read.
fn undelivered(doing: &str, error: &Error) -> Failure {
    if matches!(error, Error::ColumnDecode { .. } | Error::Decode(_)) {
        return decode::undecodable(&format_args!("cannot {doing}: a value"), error);
    }
    Failure::new(
        Kind::Error,
        format!("cannot {doing}: {}", plain_words(error)),
    )
}

fn failure(doing: &str, answer: &(dyn DatabaseError + 'static), message: &str) -> Failure {
    let answered = answer.try_downcast_ref::<PgDatabaseError>();
    let code = answer.code();
    let state = code.as_deref().unwrap_or_default();
    let (kind, hint) = meant(state, answered.and_then(PgDatabaseError::file));
    // Only the function of a trigger can search for a name: every name of this program has its
    // schema.
    let is_of_a_trigger = ["42P01", "42704", "42883"].contains(&state)
        && answered.is_some_and(|answer| answer.r#where().is_some());
    let hint = hint.or(is_of_a_trigger.then_some(SEARCHING_TRIGGER));
    let failure = Failure::new(kind, format!("cannot {doing}: {message}"));
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// The hint for the function of a trigger that relies on the search path, which is empty here.
const SEARCHING_TRIGGER: &str = "have the owner of the trigger's function run: ALTER FUNCTION ... \
    SET search_path = ..., with the schemas that it needs; it names something without a schema, and \
    the search path of mcp-prune is empty";

/// Returns the kind of failure that an SQLSTATE means, and what the operator can do about it.
///
/// 40001 is a conflict of writers, but also what a replica says when it ends a query to go on with
/// replay. A server may answer in any language, so only the source file that raised the error tells
/// the two apart.
///
/// Source: PostgreSQL 17 manual, appendix A, "PostgreSQL Error Codes"; `tcop/postgres.c` of
/// PostgreSQL 12 to 18, which raises the conflicts with recovery and none of the others.
fn meant(state: &str, raised_in: Option<&str>) -> (Kind, Option<&'static str>) {
    let (kind, hint) = match (state, raised_in) {
        ("40001" | "40P01", Some("postgres.c")) => (
            Kind::Busy,
            "run it again, or run it on the primary, or set hot_standby_feedback or a longer \
             max_standby_streaming_delay: the replica ended the query because of a conflict with \
             recovery",
        ),
        ("55P03" | "40P01" | "40001", _) => (
            Kind::Busy,
            "run it again, or raise --lock-timeout: another session is writing the same rows",
        ),
        ("42501", _) => (
            Kind::Access,
            "grant this role what the statement needs, or use another role",
        ),
        ("25006", _) => (
            Kind::Refused,
            "point --db-url at the primary server: a replica cannot be written",
        ),
        ("22021", _) => (
            Kind::Error,
            "look for the row in psql, with SET client_encoding = 'SQL_ASCII': some text is not \
             UTF-8, in which LiteLLM writes",
        ),
        ("22P05", _) => (
            Kind::Refused,
            "name the server by its id: the database's encoding has no such character",
        ),
        ("57014", _) => (
            Kind::Error,
            "raise --statement-timeout, unless somebody cancelled the statement",
        ),
        ("57P01" | "57P02" | "57P03", _) => (
            Kind::Error,
            "run it again: the server ended the session, and nothing was written",
        ),
        _ => return (Kind::Error, None),
    };
    (kind, Some(hint))
}

/// Tells whether a `NOWAIT` found a row that another session has locked.
pub(super) fn is_lock_not_available(error: &Error) -> bool {
    has_state(error, "55P03")
}

/// Returns the column of `table` that takes no NULL and was to get one, if that is why a statement
/// failed.
pub(super) fn column_without_value<'e>(error: &'e Error, table: &str) -> Option<&'e str> {
    let answer = error.as_database_error()?;
    let answer = answer.try_downcast_ref::<PgDatabaseError>()?;
    let is_missing = answer.code() == "23502" && answer.table() == Some(table);
    answer.column().filter(|_| is_missing)
}

fn has_state(error: &Error, state: &str) -> bool {
    let told = error.as_database_error().and_then(DatabaseError::code);
    told.as_deref() == Some(state)
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
        let AssertSqlSafe(sql) = statement_in(
            r#"s"{key}{=}{schema}"#,
            "SELECT t.{key}, {other} FROM {table} AS t WHERE t.{key} {=} $1",
            &[
                ("{other}", format!("t.{}", told("{key}{=}{schema}"))),
                ("{key}", ident("id")),
                ("{table}", relation("T")),
            ],
        );
        assert_eq!(
            sql,
            r#"SELECT t."id", t."{key}{=}{schema}" FROM "s""{key}{=}{schema}"."T" AS t WHERE t."id" OPERATOR(pg_catalog.=) $1"#
        );
    }
}
