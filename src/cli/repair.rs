//! Options that say how far a repair may go, and what is kept of it.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::cli::journals::JOURNAL;
use crate::cli::numbers::{days, percent, positive_seconds, whole_number};
use crate::cli::servers::{DeletionArgs, PreviousArgs};
use crate::cli::site_variables::switch;

/// The variable that names the proxies' Redis without showing it in the process list.
pub(crate) const NOTIFY_REDIS: &str = "MCP_PRUNE_NOTIFY_REDIS";

pub(crate) const REPAIR: &str = "Repair";

/// The most callers whose access is compared unless the operator says otherwise.
pub(crate) const COMPARE_AT_MOST: usize = 1_000_000;

/// How far a repair goes.
#[derive(Debug, Args)]
pub struct RepairArgs {
    /// Whether to write, and what to keep of it.
    #[command(flatten)]
    pub write: WriteArgs,
    /// What to do with lists that would run empty.
    #[command(flatten)]
    pub empty: EmptyArgs,
    /// With --sites credentials: delete the rows that users stored for deleted servers
    ///
    /// The journal then holds these rows whole, secrets included, so that undo can put them back.
    #[arg(long, help_heading = REPAIR)]
    pub delete_rows: bool,
    /// Rewrite a deleted server's references to another server's; repeatable
    ///
    /// A row that is looked at must hold OLD. Other stale references are still removed: to leave
    /// them alone, add --reference OLD.
    #[arg(long, value_name = "OLD=NEW", value_parser = remap, help_heading = REPAIR)]
    pub remap: Vec<(String, String)>,
    /// Remap every line of a CSV file with the header old,new
    ///
    /// As with --remap, a row that is looked at must hold each old reference, and other stale
    /// references are still removed.
    #[arg(long, value_name = "FILE", help_heading = REPAIR)]
    pub remap_file: Option<PathBuf>,
    /// The configs from before an edit.
    #[command(flatten)]
    pub previous: PreviousArgs,
    /// The servers that are to be deleted.
    #[command(flatten)]
    pub deletions: DeletionArgs,
    /// Afterwards, delete this database's journals older than DAYS from the new journal's folder
    ///
    /// Only complete journals of committed repairs are deleted, under the names that fix and undo
    /// give them, by the time that is written in them. A run that finds nothing to change deletes
    /// them too; a run that fails deletes none.
    #[arg(long, value_name = "DAYS", value_parser = days,
          help_heading = REPAIR)]
    pub journal_retention: Option<u32>,
    /// Repair even if the server table has no rows
    #[arg(long, help_heading = REPAIR)]
    pub allow_empty_server_table: bool,
    /// What to refuse.
    #[command(flatten)]
    pub guards: GuardArgs,
    /// How many callers to compare.
    #[command(flatten)]
    pub comparison: ComparisonArgs,
    /// With --dry-run: save the plan, for --plan
    #[arg(long, value_name = "FILE", help_heading = REPAIR)]
    pub plan_out: Option<PathBuf>,
    /// With --format sql: also write the script that takes the printed one back to this file
    ///
    /// It puts back the references where the columns still hold what the printed script left in
    /// them, or does nothing. No file is written over.
    #[arg(long, value_name = "FILE", help_heading = REPAIR)]
    pub undo_sql: Option<PathBuf>,
    /// Do exactly what a plan of --plan-out says, or nothing
    ///
    /// Give --litellm-config, --no-config-servers and --keep as for the plan: it does not hold the
    /// servers of a config.yaml. Other options of the plan may be repeated, but not changed.
    #[arg(long, value_name = "FILE", help_heading = REPAIR)]
    pub plan: Option<PathBuf>,
    /// With --plan: accept a plan of another database, such as a copy, or of this one under another
    /// name
    #[arg(long, help_heading = REPAIR)]
    pub other_database: bool,
}

/// What a repair refuses.
#[derive(Debug, Args)]
pub struct GuardArgs {
    /// Refuse to change more rows than this
    #[arg(long, env = "MCP_PRUNE_MAX_ROWS", hide_env_values = true, value_name = "N",
          value_parser = whole_number, help_heading = REPAIR)]
    pub max_rows: Option<usize>,
    /// Refuse to change more than this percentage of the rows that name servers
    #[arg(long, env = "MCP_PRUNE_MAX_PERCENT", hide_env_values = true, value_name = "PERCENT",
          value_parser = percent, help_heading = REPAIR)]
    pub max_percent: Option<f64>,
    /// Refuse a schema with a table or column that no LiteLLM known to this mcp-prune has
    ///
    /// Such a schema is of a newer LiteLLM, or somebody added to it. Without this option, fix
    /// repairs the sites that it knows, and says what it did not look at.
    #[arg(long, env = "MCP_PRUNE_STRICT", hide_env_values = true,
          value_parser = switch, help_heading = REPAIR)]
    pub strict: bool,
}

/// Whether to write, and what to keep of it.
#[derive(Debug, Args)]
pub struct WriteArgs {
    /// Do everything, then roll it back
    #[arg(long, help_heading = REPAIR)]
    pub dry_run: bool,
    /// Write without asking
    #[arg(long, short, help_heading = REPAIR)]
    pub yes: bool,
    /// Where the old values go.
    #[command(flatten)]
    pub journal: JournalArgs,
    /// How long to wait for rows that somebody else has locked, in seconds
    #[arg(long, env = "MCP_PRUNE_LOCK_TIMEOUT", hide_env_values = true, value_name = "SECONDS",
          default_value = "5", value_parser = positive_seconds, help_heading = REPAIR)]
    pub lock_timeout: Duration,
    /// Which proxies to notify.
    #[command(flatten)]
    pub notify: NotifyArgs,
}

/// How many callers to compare before the commit.
#[derive(Debug, Args)]
pub struct ComparisonArgs {
    /// Compare the access of at most N callers before the commit, and say how many were left out
    #[arg(long, value_name = "N", default_value_t = COMPARE_AT_MOST, value_parser = whole_number,
          help_heading = REPAIR)]
    pub compare_at_most: usize,
}

/// Which proxies to notify of a repair.
#[derive(Debug, Args)]
pub struct NotifyArgs {
    /// After the commit, have proxies drop the changed rows from their caches, by way of the Redis
    /// that they share (LiteLLM 1.97 or later)
    ///
    /// Give the URL of LiteLLM's REDIS_URL, or of the cache_params in its config:
    /// redis://HOST:PORT/DATABASE, or rediss:// for TLS. For startup_nodes, name one node of the
    /// cluster, or several: redis://HOST:PORT,HOST:PORT. For sentinel_nodes, write
    /// redis-sentinel://HOST:PORT,HOST:PORT?service_name=NAME. A failure here is only a warning:
    /// the repair is already committed. Needs a build with the feature `redis`.
    #[arg(long, env = NOTIFY_REDIS, hide_env_values = true, value_name = "URL",
          help_heading = REPAIR)]
    pub notify_redis: Option<String>,
    /// The namespace of LiteLLM's cache_params, if it has one
    #[arg(long, env = "MCP_PRUNE_NOTIFY_NAMESPACE", hide_env_values = true, value_name = "NAME",
          help_heading = REPAIR)]
    pub notify_namespace: Option<String>,
}

/// Where the old values go.
#[derive(Debug, Args)]
pub struct JournalArgs {
    /// Where to write the journal: the old values, which undo puts back [default: a new file in
    /// $XDG_STATE_HOME/mcp-prune, else in ~/.local/state/mcp-prune]
    ///
    /// A dry run and doctor write no journal: they only make sure that it could be made.
    #[arg(long, env = JOURNAL, hide_env_values = true, value_name = "FILE|DIR",
          help_heading = REPAIR)]
    pub journal: Option<PathBuf>,
    /// Write no journal: the repair cannot be undone
    #[arg(long, help_heading = REPAIR)]
    pub no_journal: bool,
}

/// What to do with lists that would run empty.
#[derive(Debug, Args)]
pub struct EmptyArgs {
    /// What to do with a list that would run empty [default: hold]
    #[arg(long, value_enum, value_name = "CHOICE", help_heading = REPAIR)]
    pub on_empty: Option<OnEmptyArg>,
    /// With --on-empty deny: also write no-mcp-servers where it takes access away
    #[arg(long, help_heading = REPAIR)]
    pub accept_narrowing: bool,
    /// With --on-empty clear: accept that owners gain the servers that the report lists
    #[arg(long, help_heading = REPAIR)]
    pub accept_widening: bool,
}

/// What to do with a list that would run empty.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub enum OnEmptyArg {
    /// Leave the list as it is: it denies as before
    #[default]
    Hold,
    /// Write no-mcp-servers if that changes nobody's access; otherwise hold the list
    Deny,
    /// Empty the list if that changes nobody's access today; otherwise write no-mcp-servers if
    /// that changes nobody's; otherwise hold it
    Unchanged,
    /// Empty the list: its owner inherits servers, or it no longer limits anybody
    Clear,
}

pub(crate) fn remap(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((old, new)) if !old.is_empty() && !new.is_empty() && old != new => {
            Ok((old.to_owned(), new.to_owned()))
        }
        Some(_) | None => Err("must be OLD=NEW, two different references".to_owned()),
    }
}
