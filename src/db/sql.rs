//! Puts names of tables and columns into SQL text.

use sqlx::AssertSqlSafe;
use sqlx::error::Error;
use sqlx::postgres::PgDatabaseError;

/// Quotes an identifier, so that mixed case survives and nothing in it is read as SQL.
pub(crate) fn ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Returns the SQL of an array of texts that are constants of this program.
pub(crate) fn constants(texts: impl IntoIterator<Item = &'static str>) -> String {
    let texts: Vec<String> = texts.into_iter().map(constant).collect();
    format!("ARRAY[{}]::pg_catalog.text[]", texts.join(", "))
}

/// Returns the SQL of a text that is a constant of this program, and has nothing to escape.
pub(crate) fn constant(text: &'static str) -> String {
    debug_assert!(!text.contains(['\'', '\\', '{']), "{text}");
    format!("'{text}'")
}

/// Stands for an opening brace in a name. No name of PostgreSQL holds this character.
const BRACE: &str = "\0";

/// Quotes an identifier that was read from the database, for [`statement_in`]. A brace in it does
/// not open a placeholder.
pub(crate) fn told(name: &str) -> String {
    ident(name).replace('{', BRACE)
}

/// Returns the name of a table beside LiteLLM's with its schema, which [`statement_in`] fills in.
pub(crate) fn relation(table: &str) -> String {
    format!("{SCHEMA}.{}", told(table))
}

/// The placeholder of the schema in which LiteLLM's tables are.
const SCHEMA: &str = "{schema}";

/// The operators of the statements. A template writes PostgreSQL's own `=` as `{=}`.
const OPERATORS: [&str; 21] = [
    "=", "<>", ">", "<", "+", "-", "||", "|", "&", "<<", "&&", "->", "->>", "#>", "#>>", "#-",
    "?|", "@?", "~", "~~", "*=",
];

/// Fills the `{placeholders}` of a part of a statement with SQL that is made of names.
pub(crate) fn part(template: &'static str, fragments: &[(&'static str, String)]) -> String {
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
pub(crate) fn statement_in(
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
    crate::db::qualified::ensure(&sql);
    AssertSqlSafe(sql)
}

/// Fills the `{placeholders}` of a statement on the system catalog alone.
pub(crate) fn statement(template: &'static str) -> AssertSqlSafe<String> {
    statement_in("pg_catalog", template, &[])
}

/// A condition that always holds. The planner expects it to hold for one row in 200, because that
/// is its estimate for an equality of which it knows nothing.
///
/// If the planner expects that most rows pass a filter, the parallel workers send every row of a
/// large table to the one process that filters them. So a filter that few rows pass is written as
/// `CASE WHEN ... THEN 1 ELSE 0 END = 1` together with this condition. With the high price of each
/// row that a worker passes on (`SETTINGS` in `session.rs`), the planner makes the workers filter.
pub(crate) const RARE: &str = "CASE WHEN {never} THEN 1 ELSE 0 END {=} 0";

/// Returns the column of `table` that takes no NULL and was to get one, if that is why a statement
/// failed.
pub(crate) fn column_without_value<'e>(error: &'e Error, table: &str) -> Option<&'e str> {
    let answer = error.as_database_error()?;
    let answer = answer.try_downcast_ref::<PgDatabaseError>()?;
    let is_missing = answer.code() == "23502" && answer.table() == Some(table);
    answer.column().filter(|_| is_missing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::errors::meant;
    use crate::error::ErrorKind;

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
            ("40001", Some("nodeModifyTable.c"), "another session"),
            ("40P01", Some("deadlock.c"), "another session"),
            // Of a trigger, and beside an engine that does not tell.
            ("40001", Some("pl_exec.c"), "another session"),
            ("40001", None, "another session"),
            // Raised in the same file, and no conflict.
            ("57014", Some("postgres.c"), "--statement-timeout"),
        ] {
            let (kind, hint) = meant(state, raised_in);
            assert!(
                hint.unwrap().contains(told),
                "{state} {raised_in:?}: {hint:?}"
            );
            assert_eq!(kind == ErrorKind::Collided, state != "57014");
        }
        let (kind, hint) = meant("55P03", Some("lock.c"));
        assert_eq!(kind, ErrorKind::Busy);
        assert!(hint.unwrap().contains("--lock-timeout"));
        assert_eq!(meant("22P02", Some("uuid.c")), (ErrorKind::Error, None));
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
