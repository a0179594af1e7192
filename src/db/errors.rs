//! Turns SQL errors into failures: the kind by SQLSTATE, and a hint.

use sqlx::error::{DatabaseError, Error};
use sqlx::postgres::PgDatabaseError;

use crate::db::connect_error::plain_words;
use crate::db::decode;
use crate::error::{ErrorKind, Failure};

/// Makes a [`Failure`] of a driver's error. The SQLSTATE decides its kind.
///
/// `doing` completes the sentence "cannot ...".
pub(crate) fn failed(doing: &'static str) -> impl FnOnce(Error) -> Failure {
    move |error| match error.as_database_error() {
        Some(answer) => failure(doing, answer, answer.message()),
        None => undelivered(doing, &error),
    }
}

/// Makes a [`Failure`] as [`failed`] does, for a statement over secrets. The server's message may
/// quote them, so only its code is shown, and the names of the constraint, column and table.
pub(crate) fn failed_over_secrets(doing: &'static str) -> impl FnOnce(Error) -> Failure {
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
pub(crate) fn names(answer: &(dyn DatabaseError + 'static)) -> String {
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
        ErrorKind::Error,
        format!("cannot {doing}: {}", plain_words(error)),
    )
}

fn failure(doing: &str, answer: &(dyn DatabaseError + 'static), message: &str) -> Failure {
    let answered = answer.try_downcast_ref::<PgDatabaseError>();
    let code = answer.code();
    let state = code.as_deref().unwrap_or_default();
    let (kind, hint) = if message.contains(NO_TRANSACTIONS) {
        (ErrorKind::Access, Some(OTHER_POOL))
    } else {
        meant(state, answered.and_then(PgDatabaseError::file))
    };
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

/// What PgBouncer says at `BEGIN` in statement mode, under a code that it has for much else.
///
/// Source: PgBouncer 1.18 `src/server.c`, `handle_server_work`.
const NO_TRANSACTIONS: &str = "statement pooling mode";

const OTHER_POOL: &str = "connect to the server itself, or through a pool in session or \
    transaction mode: this PgBouncer has pool_mode = statement, which allows no transactions, and \
    mcp-prune needs one to read and to write";

/// The hint for the function of a trigger that relies on the search path, which is empty here.
const SEARCHING_TRIGGER: &str = "have the owner of the trigger's function run: ALTER FUNCTION ... \
    SET search_path = ..., with the schemas that it needs; it names something without a schema, \
    and the search path of mcp-prune is empty";

/// Returns the kind of failure that an SQLSTATE means, and what the operator can do about it.
///
/// 40001 is a conflict of writers, but also what a replica says when it ends a query to go on with
/// replay. A server may answer in any language, so only the source file that raised the error tells
/// the two apart.
///
/// Source: PostgreSQL 17 manual, appendix A, "PostgreSQL Error Codes"; `tcop/postgres.c` of
/// PostgreSQL 12 to 18, which raises the conflicts with recovery and none of the others.
pub(crate) fn meant(state: &str, raised_in: Option<&str>) -> (ErrorKind, Option<&'static str>) {
    let (kind, hint) = match (state, raised_in) {
        ("40001" | "40P01", Some("postgres.c")) => (
            ErrorKind::Collided,
            "run it again, or run it on the primary, or set hot_standby_feedback or a longer \
             max_standby_streaming_delay: the replica ended the query because of a conflict with \
             recovery",
        ),
        ("55P03", _) => (
            ErrorKind::Busy,
            "run it again, or raise --lock-timeout: another session is writing the same rows",
        ),
        ("40P01" | "40001", _) => (
            ErrorKind::Collided,
            "run it again: another session is writing the same rows",
        ),
        ("42501", _) => (
            ErrorKind::Access,
            "grant this role what the statement needs, or use another role",
        ),
        ("25006", _) => (
            ErrorKind::Refused,
            "point --db-url at the primary server: a replica cannot be written",
        ),
        ("22021", _) => (
            ErrorKind::Error,
            "look for the row in psql, with SET client_encoding = 'SQL_ASCII': some text is not \
             UTF-8, in which LiteLLM writes",
        ),
        ("22P05", _) => (
            ErrorKind::Refused,
            "name the server by its id: the database's encoding has no such character",
        ),
        ("57014", _) => (
            ErrorKind::Error,
            "raise --statement-timeout, unless somebody cancelled the statement",
        ),
        ("57P01" | "57P02" | "57P03", _) => (
            ErrorKind::Error,
            "run it again: the server ended the session, and nothing was written",
        ),
        _ => return (ErrorKind::Error, None),
    };
    (kind, Some(hint))
}
