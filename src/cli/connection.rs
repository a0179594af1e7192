//! Options that name the database.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::cli::numbers::seconds;
use crate::cli::verbosity::LogArgs;

/// The variable with the database's URL.
pub(crate) const DATABASE_URL: &str = "DATABASE_URL";

/// The variable that names the file with the database's URL.
pub(crate) const DB_URL_FILE: &str = "MCP_PRUNE_DB_URL_FILE";

pub(crate) const CONNECTION: &str = "Connection";

/// Where the database is.
#[derive(Debug, Clone, Args)]
pub struct ConnectionArgs {
    /// The database, as in LiteLLM's DATABASE_URL; or embedded:FILE.sql [env: DATABASE_URL]
    ///
    /// Without a URL, LiteLLM's own variables name the database (DATABASE_HOST, DATABASE_USERNAME,
    /// DATABASE_PASSWORD, DATABASE_NAME, DATABASE_SCHEMA), else those of libpq (PGHOST, PGPORT,
    /// PGUSER, PGPASSWORD, PGDATABASE, PGSSLMODE) and its password file. Without a user name, yours
    /// on this machine is taken. Prisma's parameters (schema, connection_limit, pgbouncer, ...) are
    /// understood or ignored. embedded:FILE.sql starts a throwaway PostgreSQL inside this process
    /// and loads FILE.sql, a script or a plain pg_dump, into it.
    // Not read by clap: there a variable that is set would conflict with --db-url-file.
    #[arg(long, value_name = "URL", help_heading = CONNECTION)]
    pub db_url: Option<String>,
    /// Read the database's URL from this file, such as a mounted secret; the option
    /// wins over DATABASE_URL, and the variable is refused beside it
    #[arg(long, env = DB_URL_FILE, hide_env_values = true, value_name = "FILE",
          help_heading = CONNECTION)]
    pub db_url_file: Option<PathBuf>,
    /// The schema with LiteLLM's tables [default: ?schema= of the URL, else public]
    #[arg(long, env = "MCP_PRUNE_SCHEMA", hide_env_values = true, value_name = "NAME",
          help_heading = CONNECTION)]
    pub schema: Option<String>,
    /// How long one statement may take, in seconds; 0 for no limit
    #[arg(long, env = "MCP_PRUNE_STATEMENT_TIMEOUT", hide_env_values = true,
          value_name = "SECONDS", default_value = "600", value_parser = seconds,
          help_heading = CONNECTION)]
    pub statement_timeout: Duration,
    /// How much the run tells on stderr.
    #[command(flatten)]
    pub log: LogArgs,
}
