//! Keeps secrets out of the server's log, as far as PostgreSQL allows it.
//!
//! Rows that are put back hold secrets. They are parameters of a statement, and the detail of its
//! error if they break a constraint.

use sqlx::PgConnection;

use crate::db::decode;
use crate::db::errors::failed;
use crate::db::savepoint;
use crate::db::sql::statement;
use crate::error::Failure;

const DOING: &str = "keep parameters out of the server's log";

/// Settings that make a server log parameters, or the row over which a statement failed, each with
/// the value that turns this off.
///
/// Only a superuser may change most of them, and from PostgreSQL 15 on a role that has been granted
/// it. A server has those that it or one of its extensions knows.
///
/// Source: PostgreSQL 17 manual, sections 19.8, "Error Reporting and Logging", and F.3
/// (`auto_explain`); pgAudit's README.
const SETTINGS: [(&str, &str); 5] = [
    ("log_parameter_max_length_on_error", "0"),
    ("log_parameter_max_length", "0"),
    ("log_error_verbosity", "terse"),
    ("auto_explain.log_parameter_max_length", "0"),
    ("pgaudit.log_parameter", "off"),
];

const SET: &str = "
SELECT pg_catalog.set_config(s.name, $2, true) FROM pg_catalog.pg_settings AS s
WHERE s.name {=} $1 AND s.setting {<>} $2";

// Up to PostgreSQL 12 nothing limits parameters in the log. Up to 15 auto_explain logs none.
const LOGGING: &str = "
WITH s (name, setting) AS (SELECT s.name, s.setting FROM pg_catalog.pg_settings AS s)
SELECT s.name FROM s
WHERE NOT EXISTS (SELECT FROM s AS m
                  WHERE m.name {=} 'log_parameter_max_length'
                        AND m.setting {=} '0')
      AND CASE
          WHEN s.name {=} 'log_statement' THEN s.setting {=} ANY (ARRAY['mod', 'all'])
          WHEN s.name {=} 'log_min_duration_statement' THEN s.setting {<>} '-1'
          WHEN s.name {=} 'log_min_duration_sample' THEN s.setting {<>} '-1'
          WHEN s.name {=} 'log_transaction_sample_rate' THEN s.setting {<>} '0'
          ELSE false END
UNION ALL
SELECT s.name FROM s
WHERE s.name {=} 'auto_explain.log_min_duration'
      AND s.setting {<>} '-1'
      AND EXISTS (SELECT FROM s AS m
                  WHERE m.name {=} 'auto_explain.log_parameter_max_length'
                        AND m.setting {<>} '0')
UNION ALL
SELECT s.name FROM s
WHERE s.name {=} 'pgaudit.log_parameter'
      AND s.setting {=} 'on'
UNION ALL
SELECT s.name FROM s
WHERE s.name {=} 'log_error_verbosity'
      AND s.setting {<>} 'terse'
ORDER BY 1";

/// Turns off, until the transaction ends, all logging of parameters and of rows over which a
/// statement failed, as far as this role may. Returns the settings by which the server may still
/// log them.
///
/// # Errors
///
/// What the server said.
pub(crate) async fn limit(connection: &mut PgConnection) -> Result<Vec<String>, Failure> {
    for (name, value) in SETTINGS {
        // A savepoint, so that only this statement is undone if this role may not change the
        // setting.
        savepoint::set(connection).await.map_err(failed(DOING))?;
        let set = sqlx::query(statement(SET))
            .persistent(false)
            .bind(name)
            .bind(value)
            .execute(&mut *connection)
            .await;
        match set {
            Ok(_) => savepoint::release(connection)
                .await
                .map_err(failed(DOING))?,
            Err(error) if error.as_database_error().is_some() => {
                savepoint::roll_back(connection)
                    .await
                    .map_err(failed(DOING))?;
            }
            Err(error) => return Err(failed(DOING)(error)),
        }
    }
    let rows = sqlx::raw_sql(statement(LOGGING))
        .fetch_all(connection)
        .await
        .map_err(failed(DOING))?;
    rows.iter()
        .map(|row| decode::read(row, 0, "the name of a setting"))
        .collect()
}
