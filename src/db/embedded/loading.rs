//! Loads a script: runs its statements. If one fails, it is left out if nothing of it is read;
//! otherwise the script is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::BufRead;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use sqlx::postgres::{PgDatabaseError, PgSeverity};
use sqlx::{AssertSqlSafe, PgConnection, Row as _};

use crate::db::embedded::psql_script::{Piece, Script};
use crate::db::embedded::statement::{Loss, changed_client_encoding, is_for_nobody, loss};
use crate::db::schema::CONFIG;
use crate::error::{ErrorKind, Failure};
use crate::litellm::owners::{END_USER_TABLE, OWNER_TABLES, PROJECT_TABLE};
use crate::litellm::reference_sites::{PERMISSIONS, TABLES};
use crate::litellm::release::{self, MARKERS, Release};
use crate::shell::quoted_path;

/// Bytes of `COPY` rows sent at a time.
const CHUNK: usize = 64 * 1024;

/// Tables that are no schema markers, each with the release from which on every schema has it.
///
/// Source: migrations `20250326162113_baseline` and `20251113000000_add_project_table` of
/// litellm-proxy-extras; the second one was released later than its name says.
const UNMARKED: [(&str, Release); 3] = [
    (END_USER_TABLE, Release::FIRST),
    (CONFIG.0, Release::FIRST),
    (PROJECT_TABLE, Release::TOOL_KEYS_GRANT),
];

const COLUMNS: &str = r"
SELECT n.nspname::text, c.relname::text, a.attname::text
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
JOIN pg_catalog.pg_attribute AS a ON a.attrelid OPERATOR(pg_catalog.=) c.oid
WHERE c.relname::text OPERATOR(pg_catalog.~) '^LiteLLM_'
  AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped";

/// The statements of a script that were left out because nothing of them is read.
#[derive(Debug)]
pub(crate) struct Unloaded {
    file: PathBuf,
    statements: u64,
    line: u64,
    reason: String,
}

impl fmt::Display for Unloaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (file, line, reason) = (self.file.display(), self.line, &self.reason);
        match self.statements {
            1 => write!(
                f,
                "1 statement of {file} was left out, and nothing of it is read here: at line \
                 {line}, {reason}"
            ),
            statements => write!(
                f,
                "{statements} statements of {file} were left out, and nothing of them is read here; \
                 the first at line {line}: {reason}"
            ),
        }
    }
}

/// The lines of a script that belong to one database.
#[derive(Debug, Clone, Copy)]
struct Section {
    first: u64,
    /// The last line; `None` if the section goes on to the end.
    last: Option<u64>,
    has_permissions: bool,
}

impl Section {
    fn begin(first: u64) -> Self {
        Self {
            first,
            last: None,
            has_permissions: false,
        }
    }

    fn see(&mut self, sql: &str) {
        self.has_permissions |=
            begins_with(sql, "CREATE TABLE ") && sql.contains(PERMISSIONS.table);
    }
}

/// A script that is being loaded.
#[derive(Debug)]
pub(crate) struct Loading<R> {
    file: PathBuf,
    script: Script<R>,
    /// The sections before the one that is being read.
    sections: Vec<Section>,
    section: Section,
    /// Whether a statement has made anything.
    is_begun: bool,
    /// The line on which the first database ends that holds anything.
    end: Option<u64>,
    unloaded: Option<Unloaded>,
}

impl<R: BufRead> Loading<R> {
    /// Begins to read `source`, the text of `file`.
    pub(crate) fn begin(file: &Path, source: R) -> Self {
        Self {
            file: file.to_owned(),
            script: Script::new(source),
            sections: Vec::new(),
            section: Section::begin(1),
            is_begun: false,
            end: None,
            unloaded: None,
        }
    }

    /// Runs the statements; returns those that were left out.
    ///
    /// # Errors
    ///
    /// The line and the reason, if the text is not a script or if something of LiteLLM's tables
    /// would be missing.
    pub(crate) async fn run(
        mut self,
        connection: &mut PgConnection,
    ) -> Result<Option<Unloaded>, Failure> {
        while let Some(piece) = self.script.next()? {
            match piece {
                Piece::Statement { sql, line } => self.carry_out(connection, &sql, line).await?,
                Piece::Copy { sql, line } => {
                    if let Some(end) = self.end {
                        return Err(self.several_databases(end));
                    }
                    self.is_begun = true;
                    if let Err(error) = self.copy(connection, &sql).await? {
                        self.leave_out(connection, &sql, line, &error).await?;
                    }
                }
                // These are rows of a COPY that failed; `copy` reads the others itself.
                Piece::CopyRow(_) | Piece::CopyEnd => {}
                Piece::Connect { line } => {
                    // In the dump of a whole server, databases that hold nothing may follow.
                    self.end = self.end.or(self.is_begun.then_some(line));
                    self.enter(line);
                }
            }
        }
        // With psql too the server would roll back an open transaction, and rows would be missing.
        let is_left_open =
            sqlx::raw_sql("SELECT pg_catalog.pg_current_xact_id_if_assigned() IS NOT NULL")
                .fetch_one(&mut *connection)
                .await
                .and_then(|row| row.try_get(0))
                .context("cannot tell whether the script ended its transaction")?;
        if is_left_open {
            return Err(
                Failure::new(ErrorKind::Error, "its last transaction is never committed")
                    .hint("end the file with COMMIT"),
            );
        }
        ensure_complete(connection).await?;
        Ok(self.unloaded)
    }

    async fn carry_out(
        &mut self,
        connection: &mut PgConnection,
        sql: &str,
        line: u64,
    ) -> Result<(), Failure> {
        if is_for_nobody(sql) || changed_client_encoding(sql).is_some() {
            // The encoding stays UTF8, so that the server checks every byte. It checks none if the
            // client's encoding is SQL_ASCII.
            return Ok(());
        }
        self.section.see(sql);
        if let Some(end) = self.end {
            if makes_something(sql) {
                return Err(self.several_databases(end));
            }
            return Ok(());
        }
        // Running this text as SQL is the purpose: it is the operator's own file, and the server
        // holds nothing else and is discarded.
        let done = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
            .execute(&mut *connection)
            .await;
        match done {
            Ok(_) => {
                self.is_begun |= makes_something(sql);
                Ok(())
            }
            Err(error) => self.leave_out(connection, sql, line, &error).await,
        }
    }

    /// Sends the rows that follow a `COPY`. The outer error is the script's, the inner the
    /// server's.
    async fn copy(
        &mut self,
        connection: &mut PgConnection,
        sql: &str,
    ) -> Result<Result<(), sqlx::Error>, Failure> {
        let mut rows = match connection.copy_in_raw(sql).await {
            Ok(rows) => rows,
            Err(error) => return Ok(Err(error)),
        };
        let mut chunk = Vec::with_capacity(CHUNK);
        while let Some(Piece::CopyRow(row)) = self.script.next()? {
            chunk.extend_from_slice(&row);
            if chunk.len() >= CHUNK {
                if let Err(error) = rows.send(chunk.as_slice()).await {
                    return Ok(Err(error));
                }
                chunk.clear();
            }
        }
        if let Err(error) = rows.send(chunk.as_slice()).await {
            return Ok(Err(error));
        }
        Ok(rows.finish().await.map(|_| ()))
    }

    /// Leaves out a statement that the server refused, or refuses the script if something that is
    /// read would be lost.
    async fn leave_out(
        &mut self,
        connection: &mut PgConnection,
        sql: &str,
        line: u64,
        error: &sqlx::Error,
    ) -> Result<(), Failure> {
        let refused = error
            .as_database_error()
            .and_then(|answer| answer.try_downcast_ref::<PgDatabaseError>())
            .filter(|answer| answer.severity() == PgSeverity::Error);
        let Some(refused) = refused else {
            return Err(Failure::new(
                ErrorKind::Error,
                format!("line {line}: {error}"),
            ));
        };
        let (state, reason) = (refused.code(), refused.message());
        match loss(sql, state) {
            Loss::Read => return Err(self.refusal(line, state, reason)),
            Loss::Nothing => {}
            Loss::Unread => match &mut self.unloaded {
                Some(unloaded) => unloaded.statements += 1,
                unloaded @ None => {
                    *unloaded = Some(Unloaded {
                        file: self.file.clone(),
                        statements: 1,
                        line,
                        reason: reason.to_owned(),
                    });
                }
            },
        }
        // If the script has begun a transaction, one failed statement aborts all of it.
        let still = sqlx::raw_sql("SELECT").execute(&mut *connection).await;
        still.map(|_| ()).map_err(|_| {
            Failure::new(
                ErrorKind::Error,
                format!("line {line}: {reason}, and the transaction is aborted with it"),
            )
            .hint("take BEGIN and COMMIT out of the file, so that only this statement is left out")
        })
    }

    fn refusal(&self, line: u64, state: &str, reason: &str) -> Failure {
        let failure = Failure::new(ErrorKind::Error, format!("line {line}: {reason}"));
        match state {
            "42601" => failure.hint("the file must be SQL, such as pg_dump --format=plain writes"),
            "22021" => failure.hint(self.script.recode_hint()),
            // undefined_*, feature_not_supported, a missing library or an unknown setting.
            "42P01" | "42704" | "42883" | "3F000" | "0A000" | "58P01" | "22023" => {
                failure.hint(format_args!(
                    "dump all of the database: {}; or load the file into a server of your own and \
                     scan that: mcp-prune reads this table, and it needs something that is not in \
                     the file or that this PostgreSQL does not have",
                    dump_command("")
                ))
            }
            _ => failure
                .hint("correct it in the file or in the database: mcp-prune reads what fails here"),
        }
    }

    /// Begins the section after a `\connect`.
    fn enter(&mut self, line: u64) {
        let section = std::mem::replace(&mut self.section, Section::begin(line + 1));
        self.sections.push(Section {
            last: Some(line - 1),
            ..section
        });
    }

    /// Builds the error for a dump of several databases, after it has looked which one is
    /// LiteLLM's.
    fn several_databases(&mut self, line: u64) -> Failure {
        let failure = Failure::new(
            ErrorKind::Error,
            format!("line {line}: another database begins here"),
        );
        // An error in the following text is about another database and does not matter.
        while let Ok(Some(piece)) = self.script.next() {
            match piece {
                Piece::Statement { sql, .. } => self.section.see(&sql),
                Piece::Connect { line } => self.enter(line),
                Piece::Copy { .. } | Piece::CopyRow(_) | Piece::CopyEnd => {}
            }
        }
        let sections = self.sections.iter().chain([&self.section]);
        let of_litellm: Vec<&Section> = sections.filter(|s| s.has_permissions).collect();
        match of_litellm.as_slice() {
            [section] => {
                let mut name = self.file.as_os_str().to_owned();
                name.push(".litellm.sql");
                let last = section.last.map_or("$".to_owned(), |last| last.to_string());
                failure.hint(format_args!(
                    "cut LiteLLM's out of it: sed -n '{},{last}p' {} > {}",
                    section.first,
                    quoted_path(&self.file),
                    quoted_path(Path::new(&name))
                ))
            }
            _ => failure.hint(format_args!(
                "{} of them have LiteLLM's tables; dump the one that you mean: {}",
                match of_litellm.len() {
                    0 => "none".to_owned(),
                    many => many.to_string(),
                },
                dump_command("")
            )),
        }
    }
}

/// Returns the command that makes a dump which can be loaded. It runs in a shell that has LiteLLM's
/// `DATABASE_URL`; it cuts the URL at the `?`, because `pg_dump` does not know Prisma's parameters.
fn dump_command(options: &str) -> String {
    format!(
        "pg_dump --no-owner --no-privileges --encoding=UTF8 {options}--file=litellm.sql \
         \"${{DATABASE_URL%%\\?*}}\""
    )
}

/// Refuses a dump that leaves out some of LiteLLM's tables. Without an owner table, for one, a
/// permission row would seem to have no owner.
async fn ensure_complete(connection: &mut PgConnection) -> Result<(), Failure> {
    let rows = sqlx::raw_sql(COLUMNS)
        .fetch_all(connection)
        .await
        .context("cannot tell which tables were loaded")?;
    let mut schemas: BTreeMap<String, BTreeSet<(String, String)>> = BTreeMap::new();
    for row in rows {
        let read = || -> Result<[String; 3], sqlx::Error> {
            Ok([row.try_get(0)?, row.try_get(1)?, row.try_get(2)?])
        };
        let [schema, table, column] = read().context("cannot tell which tables were loaded")?;
        schemas.entry(schema).or_default().insert((table, column));
    }
    for columns in schemas.values() {
        let has = |table: &str, column: Option<&str>| {
            columns
                .iter()
                .any(|(found, of_it)| found == table && column.is_none_or(|column| column == of_it))
        };
        if !has(PERMISSIONS.table, None) {
            continue;
        }
        let release = release::implied(has);
        let missing = tables_since().find(|(table, since)| release >= *since && !has(table, None));
        if let Some((table, _)) = missing {
            return Err(Failure::new(
                ErrorKind::Refused,
                format!(
                    "the file lacks table \"{table}\", which LiteLLM {release} has; without it nobody \
                     can tell which grants are in use"
                ),
            )
            .hint(format_args!(
                "dump all of LiteLLM's tables: {}",
                dump_command("--table='\"LiteLLM_\"*' ")
            )));
        }
    }
    Ok(())
}

/// Returns the tables on which a verdict depends, each with the release that brought it.
fn tables_since() -> impl Iterator<Item = (&'static str, Release)> {
    let decides = |table: &str| {
        OWNER_TABLES.iter().any(|owner| owner.table == table)
            || TABLES
                .iter()
                .any(|known| known.name() == table && known.group().is_default())
    };
    let marked = MARKERS
        .iter()
        .filter(move |marker| marker.column.is_none() && decides(marker.table))
        .map(|marker| (marker.table, marker.release));
    UNMARKED.into_iter().chain(marked)
}

/// Tells whether a statement makes anything that an empty database does not have.
fn makes_something(sql: &str) -> bool {
    let is_everywhere = begins_with(sql, "CREATE SCHEMA ") || begins_with(sql, "CREATE EXTENSION ");
    begins_with(sql, "INSERT ") || (begins_with(sql, "CREATE ") && !is_everywhere)
}

fn begins_with(sql: &str, words: &str) -> bool {
    sql.get(..words.len())
        .is_some_and(|begin| begin.eq_ignore_ascii_case(words))
}
