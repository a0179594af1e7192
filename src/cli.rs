//! The command line: what the user may say, nothing about how it is done.

pub mod option_rules;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser as _};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::litellm::sites::Group;
use crate::repair::selection::NamedOwner;

/// The variable with the configs, separated as in `PATH`.
pub const LITELLM_CONFIG: &str = "MCP_PRUNE_LITELLM_CONFIG";

/// The variable that names the proxies' Redis without showing it in the process list.
pub const NOTIFY_REDIS: &str = "MCP_PRUNE_NOTIFY_REDIS";

/// The variable with the database's URL.
pub const DATABASE_URL: &str = "DATABASE_URL";

const CONNECTION: &str = "Connection";
const SERVERS: &str = "Servers";
const FILTERS: &str = "Filters";
const OUTPUT: &str = "Output";
const REPAIR: &str = "Repair";

/// Finds and repairs stale MCP-server references in a LiteLLM proxy's PostgreSQL database.
///
/// When an MCP server is deleted, LiteLLM leaves its id in every grant. `scan` reports the grants
/// that name deleted servers. `fix` removes these references in one transaction, and holds those
/// whose removal would widen somebody's access.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, max_term_width = 100, after_help = EXAMPLES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
Examples:
  mcp-prune scan --db-url postgresql://readonly@db/litellm
  mcp-prune fix --dry-run  (database from DATABASE_URL or other variables)
  mcp-prune fix --yes --format json

Exit codes:
  0 clean or repaired, 1 error, 2 stale or unverified found,
  3 repaired but some held, 4 refused, 5 changed meanwhile, 6 busy,
  7 no access, 64 usage, 128+N ended by signal N";

/// The subcommands.
#[derive(Debug, Subcommand)]
#[expect(clippy::large_enum_variant, reason = "there is one, once")]
pub enum Command {
    /// Report stale references; never writes
    Scan(ScanArgs),
    /// Remove stale references in one transaction
    Fix(FixArgs),
    /// Take back a repair: put back what its journal holds
    Undo(UndoArgs),
    /// Print the ids that LiteLLM gives to the servers of a config.yaml
    Ids(IdsArgs),
    /// Print the GRANT statements that a role needs
    Grants(GrantsArgs),
    /// Check that this database, role and machine are ready for scan and fix; never writes
    Doctor(DoctorArgs),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page of the program, or of one command
    Man {
        /// The command
        command: Option<String>,
    },
}

impl Command {
    /// Returns the output options of a command that makes a report.
    #[must_use]
    pub fn output(&self) -> Option<&OutputArgs> {
        match self {
            Self::Scan(args) => Some(&args.output),
            Self::Fix(args) => Some(&args.output),
            Self::Undo(args) => Some(&args.output),
            Self::Ids(_)
            | Self::Grants(_)
            | Self::Doctor(_)
            | Self::Completions { .. }
            | Self::Man { .. } => None,
        }
    }

    /// Tells whether findings and held references count as success.
    #[must_use]
    pub fn exit_zero(&self) -> bool {
        match self {
            Self::Scan(args) => args.exit_zero,
            Self::Fix(args) => args.exit_zero,
            Self::Undo(_)
            | Self::Ids(_)
            | Self::Grants(_)
            | Self::Doctor(_)
            | Self::Completions { .. }
            | Self::Man { .. } => false,
        }
    }

    /// Returns the command's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Scan(_) => "scan",
            Self::Fix(_) => "fix",
            Self::Undo(_) => "undo",
            Self::Ids(_) => "ids",
            Self::Grants(_) => "grants",
            Self::Doctor(_) => "doctor",
            Self::Completions { .. } => "completions",
            Self::Man { .. } => "man",
        }
    }

    /// Lists the files that the command writes, and the changeset that it reads, each with the name
    /// of its option.
    #[must_use]
    pub fn files(&self) -> Vec<(&'static str, &Path)> {
        let [journal, plan_out, changeset] = match self {
            Self::Fix(args) => [
                ("--journal", args.repair.write.journal.journal.as_deref()),
                ("--plan-out", args.repair.plan_out.as_deref()),
                ("--plan", args.repair.plan.as_deref()),
            ],
            Self::Undo(args) => [
                ("--journal", args.write.journal.journal.as_deref()),
                ("--plan-out", None),
                ("JOURNAL", Some(args.from.as_path())),
            ],
            Self::Scan(_)
            | Self::Ids(_)
            | Self::Grants(_)
            | Self::Doctor(_)
            | Self::Completions { .. }
            | Self::Man { .. } => [("", None); 3],
        };
        let metrics = self.output().and_then(OutputArgs::metrics_file);
        let files = [
            ("--output", self.file()),
            ("--metrics-file", metrics),
            journal,
            plan_out,
            changeset,
        ];
        let named = files.into_iter();
        named
            .filter_map(|(name, file)| Some((name, file?)))
            .collect()
    }

    /// Returns the connection options of a command that connects to a database.
    #[must_use]
    pub fn connection(&self) -> Option<&ConnectionArgs> {
        match self {
            Self::Scan(args) => Some(&args.connection),
            Self::Fix(args) => Some(&args.connection),
            Self::Undo(args) => Some(&args.connection),
            Self::Grants(args) => Some(&args.connection),
            Self::Doctor(args) => Some(&args.connection),
            Self::Ids(_) | Self::Completions { .. } | Self::Man { .. } => None,
        }
    }

    fn servers(&self) -> Option<&ServerArgs> {
        match self {
            Self::Scan(args) => Some(&args.servers),
            Self::Fix(args) => Some(&args.servers),
            Self::Doctor(args) => Some(&args.servers),
            Self::Undo(_)
            | Self::Ids(_)
            | Self::Grants(_)
            | Self::Completions { .. }
            | Self::Man { .. } => None,
        }
    }

    /// Returns the config.yaml files that options name, for a command that reads any.
    #[must_use]
    pub fn litellm_configs(&self) -> Option<&[PathBuf]> {
        if let Self::Ids(args) = self {
            return Some(&args.litellm_config);
        }
        let servers = self.servers().filter(|servers| !servers.no_config_servers);
        servers.map(|servers| servers.litellm_config.as_slice())
    }

    /// Lists the files that options name and that are only read, each with the name of its option.
    ///
    /// Not those of [`Self::litellm_configs`], which may come from the environment as well.
    #[must_use]
    pub fn files_read(&self) -> Vec<(&'static str, &Path)> {
        let (previous, remaps) = match self {
            Self::Scan(args) => (Some(&args.previous), None),
            Self::Fix(args) => (
                Some(&args.repair.previous),
                args.repair.remap_file.as_deref(),
            ),
            Self::Undo(_)
            | Self::Ids(_)
            | Self::Grants(_)
            | Self::Doctor(_)
            | Self::Completions { .. }
            | Self::Man { .. } => (None, None),
        };
        let url = self
            .connection()
            .and_then(|args| args.db_url_file.as_deref());
        let mut files = Vec::new();
        files.extend(url.map(|file| ("--db-url-file", file)));
        files.extend(remaps.map(|file| ("--remap-file", file)));
        let previous = previous
            .into_iter()
            .flat_map(|args| &args.previous_litellm_config);
        files.extend(previous.map(|file| ("--previous-litellm-config", file.as_path())));
        let keep = self.servers().map(|servers| kept_sources(&servers.keep).1);
        let keep = keep.into_iter().flatten();
        files.extend(keep.map(|file| ("--keep", file)));
        files
    }

    /// Returns the file of `--output`; `None` where the answer goes to stdout.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        let file = match self {
            Self::Scan(args) => &args.output.file,
            Self::Fix(args) => &args.output.file,
            Self::Undo(args) => &args.output.file,
            Self::Ids(args) => &args.answer.file,
            Self::Doctor(args) => &args.answer.file,
            Self::Grants(_) | Self::Completions { .. } | Self::Man { .. } => return None,
        };
        let file = file.output.as_deref();
        file.filter(|file| *file != Path::new("-"))
    }
}

const SCAN_HELP: &str = "\
Verdicts:
  stale             no server has this id, alias or name
  unverified        no row has it, but a server of a config.yaml may
  inactive          its server exists, but is pending, rejected or a draft
  malformed         LiteLLM cannot read the value
  dangling-toolset  the row is granted a toolset that is gone
  note              with --notes: not stale, but worth knowing

Only stale references are ever changed.

Examples:
  mcp-prune scan --db-url 'postgresql://readonly@db/litellm?schema=public'
  mcp-prune scan --no-config-servers --format json | jq .summary
  mcp-prune scan --db-url embedded:backup.sql

It runs in one read-only transaction, needs only SELECT, and works on a replica.";

/// Options of `scan`.
#[derive(Debug, Args)]
#[command(after_help = SCAN_HELP)]
pub struct ScanArgs {
    /// Where the database is.
    #[command(flatten)]
    pub connection: ConnectionArgs,
    /// Which servers exist besides those of the table.
    #[command(flatten)]
    pub servers: ServerArgs,
    /// The configs from before an edit.
    #[command(flatten)]
    pub previous: PreviousArgs,
    /// Where to look.
    #[command(flatten)]
    pub places: PlaceArgs,
    /// Also report what is not stale, but worth knowing: names that several servers share, names
    /// that this release of LiteLLM does not resolve, duplicates, servers granted by their tools
    /// alone
    #[arg(long, help_heading = OUTPUT)]
    pub notes: bool,
    /// How to answer.
    #[command(flatten)]
    pub output: OutputArgs,
    /// Exit with 0 instead of 2 (found) or 3 (held)
    #[arg(long, help_heading = OUTPUT)]
    pub exit_zero: bool,
}

const FIX_HELP: &str = "\
Only stale references are ever changed. Some of them are held: unless --on-empty says otherwise, \
the last entry of a list whose owner would then inherit servers, or which would no longer limit \
anybody.

Examples:
  mcp-prune fix --dry-run          (the same statements, then ROLLBACK)
  mcp-prune fix                    (on a terminal: shows the plan and asks)
  mcp-prune fix --yes --exit-zero  (cron: held references are no failure)
  mcp-prune fix --dry-run --sites credentials --delete-rows";

/// Options of `fix`.
#[derive(Debug, Args)]
#[command(after_help = FIX_HELP)]
pub struct FixArgs {
    /// Where the database is.
    #[command(flatten)]
    pub connection: ConnectionArgs,
    /// Which servers exist besides those of the table.
    #[command(flatten)]
    pub servers: ServerArgs,
    /// Where to repair.
    #[command(flatten)]
    pub places: PlaceArgs,
    /// How far to go.
    #[command(flatten)]
    pub repair: RepairArgs,
    /// How to answer.
    #[command(flatten)]
    pub output: OutputArgs,
    /// Exit with 0 instead of 2 (found) or 3 (held)
    #[arg(long, help_heading = OUTPUT)]
    pub exit_zero: bool,
}

const UNDO_HELP: &str = "\
A row is put back if it still holds what the repair wrote. If it is as before the repair already, \
it counts as back. If it holds anything else, nothing at all is written (exit code 5); \
--skip-changed leaves such rows as they are, and puts back the others.

Examples:
  mcp-prune undo --dry-run fix-20260102T030405Z-1a2b3c4d.ndjson
  mcp-prune undo --yes fix-20260102T030405Z-1a2b3c4d.ndjson

An undo writes a journal too: to repair again, undo that journal.";

/// Options of `undo`.
#[derive(Debug, Args)]
#[command(after_help = UNDO_HELP)]
pub struct UndoArgs {
    /// The journal of the fix or undo to take back
    #[arg(value_name = "JOURNAL")]
    pub from: PathBuf,
    /// Where the database is.
    #[command(flatten)]
    pub connection: ConnectionArgs,
    /// Whether to write, and what to keep of it.
    #[command(flatten)]
    pub write: WriteArgs,
    /// Leave rows that were changed since then as they are, and put back the others
    #[arg(long, help_heading = REPAIR)]
    pub skip_changed: bool,
    /// Accept a journal of another database, such as a copy, or of this one under another name
    #[arg(long, help_heading = REPAIR)]
    pub other_database: bool,
    /// How to answer.
    #[command(flatten)]
    pub output: OutputArgs,
}

const IDS_HELP: &str = "\
Ids are derived as LiteLLM 1.101 and later do it. If the file leaves out `transport`, the id \
depends on the proxy's Python (before 3.11, or not): both ids are printed, that of a newer Python \
first.

To keep an id whatever is edited, pin it: write the line that is printed for it into the server's \
entry (LiteLLM 1.101 or later).";

/// Options of `ids`.
#[derive(Debug, Args)]
#[command(after_help = IDS_HELP)]
pub struct IdsArgs {
    /// LiteLLM's config.yaml; repeatable [env: MCP_PRUNE_LITELLM_CONFIG, files separated by colons]
    #[arg(long, value_name = "FILE")]
    pub litellm_config: Vec<PathBuf>,
    /// How to print the ids.
    #[command(flatten)]
    pub answer: AnswerArgs,
}

/// How to print an answer that is no report.
#[derive(Debug, Args)]
pub struct AnswerArgs {
    /// How to print the answer
    #[arg(long, value_enum, default_value_t, help_heading = OUTPUT)]
    pub format: AnswerFormat,
    /// Where it goes.
    #[command(flatten)]
    pub file: FileArgs,
}

/// How to print an answer that is no report.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum AnswerFormat {
    /// For people
    #[default]
    Table,
    /// One JSON object, "version": 1
    Json,
}

/// Options of `grants`.
#[derive(Debug, Args)]
pub struct GrantsArgs {
    /// Where the database is.
    #[command(flatten)]
    pub connection: ConnectionArgs,
    /// The role that will run mcp-prune
    #[arg(long, value_name = "NAME", default_value = "mcp_prune")]
    pub role: String,
    /// The command that the role will run
    #[arg(long = "for", value_enum, value_name = "COMMAND", default_value_t)]
    pub purpose: GrantsFor,
    /// The sites that the role will work on, separated by commas
    ///
    /// Two sites are left out unless you name them, because their columns hold secrets: `defaults`
    /// needs SELECT on such a column, and `credentials`, to repair, needs SELECT, INSERT and DELETE
    /// on whole rows.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "LIST",
          default_values_t = [Sites::Permissions, Sites::AccessGroups, Sites::Toolsets])]
    pub sites: Vec<Sites>,
}

const DOCTOR_HELP: &str = "\
Status:
  ok       as it should be
  warn     something to know; with --for scan, also what would stop only fix
  fail     the command would not work
  skipped  not checked, because of a failure before it

Exit codes: 0 nothing fails, 7 no connection or a missing privilege, 64 usage, 1 anything else.

It checks the sites that scan and fix look at by default, so not credentials. To see what those \
need, run: mcp-prune grants --for fix --sites credentials

Examples:
  mcp-prune doctor
  mcp-prune doctor --for fix --format json && mcp-prune fix --yes";

/// Options of `doctor`.
#[derive(Debug, Args)]
#[command(after_help = DOCTOR_HELP)]
pub struct DoctorArgs {
    /// Where the database is.
    #[command(flatten)]
    pub connection: ConnectionArgs,
    /// Which servers exist besides those of the table.
    #[command(flatten)]
    pub servers: ServerArgs,
    /// Where the old values would go.
    #[command(flatten)]
    pub journal: JournalArgs,
    /// The command to check for
    #[arg(long = "for", value_enum, value_name = "COMMAND", default_value_t)]
    pub purpose: GrantsFor,
    /// How to print the answer.
    #[command(flatten)]
    pub answer: AnswerArgs,
}

/// The command that a role will run.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub enum GrantsFor {
    /// Only scan, which writes nothing
    #[default]
    Scan,
    /// Also fix and undo
    Fix,
}

/// Where the database is.
#[derive(Debug, Args)]
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
    /// Read the database's URL from this file, such as a mounted secret; wins over DATABASE_URL
    #[arg(long, value_name = "FILE", help_heading = CONNECTION)]
    pub db_url_file: Option<PathBuf>,
    /// The schema with LiteLLM's tables [default: ?schema= of the URL, else public]
    #[arg(long, value_name = "NAME", help_heading = CONNECTION)]
    pub schema: Option<String>,
    /// How long one statement may take, in seconds; 0 for no limit
    #[arg(long, value_name = "SECONDS", default_value = "600", value_parser = seconds,
          help_heading = CONNECTION)]
    pub statement_timeout: Duration,
}

/// Which servers exist besides those of the table.
#[derive(Debug, Args)]
pub struct ServerArgs {
    /// Read the MCP servers of LiteLLM's config.yaml; repeatable, one per region or environment
    ///
    /// Server ids are derived as LiteLLM derives them. `include:` is followed, and
    /// `os.environ/NAME` is read from this environment. Without this option,
    /// MCP_PRUNE_LITELLM_CONFIG may name files, separated by colons.
    #[arg(long, value_name = "FILE", help_heading = SERVERS)]
    pub litellm_config: Vec<PathBuf>,
    /// Declare that no config.yaml names MCP servers
    ///
    /// Servers of a config.yaml have no row in the database. So without this option or
    /// --litellm-config, a name or a 32-digit id that no row has is only reported as `unverified`.
    #[arg(long, help_heading = SERVERS)]
    pub no_config_servers: bool,
    /// Treat REF as a live server; repeatable, @FILE reads one REF per line
    #[arg(long, value_name = "REF|@FILE", help_heading = SERVERS)]
    pub keep: Vec<String>,
}

/// What became of config servers that were edited or removed.
#[derive(Debug, Args)]
pub struct PreviousArgs {
    /// LiteLLM's config.yaml from before an edit; repeatable. References to its servers are
    /// remapped to the ids that the same servers have in --litellm-config
    #[arg(long, value_name = "FILE", help_heading = SERVERS)]
    pub previous_litellm_config: Vec<PathBuf>,
    /// Treat ids that look like a config server's, but are in no given config, as stale
    ///
    /// Without this option they are held: the server may have been edited, which gave it a new id,
    /// and if the edit is rolled back the old id is good again.
    #[arg(long, help_heading = SERVERS)]
    pub prune_config_ids: bool,
}

/// Where to look, and for whom.
#[derive(Debug, Args)]
pub struct PlaceArgs {
    /// The sites to look at, separated by commas [default: all but credentials]
    #[arg(long, value_enum, value_delimiter = ',', value_name = "LIST", help_heading = FILTERS)]
    pub sites: Vec<Sites>,
    /// Only rows of this owner; repeatable
    ///
    /// KIND is one of: key, team, organization, project, user, end_user, agent. Name a key by its
    /// alias, its hash, the 8 characters of the hash that reports show, LiteLLM's sk-...AB12, or
    /// the key itself, which is hashed and never shown. Name a user by id, alias or e-mail address.
    /// The owners of an access group are those who have it, the owners of a toolset those who are
    /// granted it. With --row, both must match.
    #[arg(long, value_name = "KIND:NAME|ID", help_heading = FILTERS)]
    pub owner: Vec<NamedOwner>,
    /// Only this reference; repeatable
    #[arg(long, value_name = "REF", help_heading = FILTERS)]
    pub reference: Vec<String>,
    /// Only the row with this primary key; repeatable
    #[arg(long, value_name = "ID", help_heading = FILTERS)]
    pub row: Vec<String>,
}

/// A group of sites.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Sites {
    /// Permission rows of keys, teams, organizations, projects, users, end users and agents
    Permissions,
    /// Unified access groups
    AccessGroups,
    /// Toolsets
    Toolsets,
    /// LiteLLM's saved settings: what every new key is given, and the public servers
    Defaults,
    /// Secrets that users stored for servers that are deleted
    Credentials,
}

impl From<Sites> for Group {
    fn from(sites: Sites) -> Self {
        match sites {
            Sites::Permissions => Self::Permissions,
            Sites::AccessGroups => Self::AccessGroups,
            Sites::Toolsets => Self::Toolsets,
            Sites::Defaults => Self::Defaults,
            Sites::Credentials => Self::Credentials,
        }
    }
}

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
    /// Afterwards, delete this database's journals older than DAYS from the new journal's folder
    ///
    /// Only complete journals of committed repairs are deleted, under the names that fix and undo
    /// give them, by the time that is written in them. A run that finds nothing to change deletes
    /// them too; a run that fails deletes none.
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..),
          help_heading = REPAIR)]
    pub journal_retention: Option<u32>,
    /// Repair even if the server table has no rows
    #[arg(long, help_heading = REPAIR)]
    pub allow_empty_server_table: bool,
    /// Refuse to change more rows than this
    #[arg(long, value_name = "N", help_heading = REPAIR)]
    pub max_rows: Option<usize>,
    /// Refuse to change more than this percentage of the rows that name servers
    #[arg(long, value_name = "PERCENT", value_parser = percent, help_heading = REPAIR)]
    pub max_percent: Option<f64>,
    /// With --dry-run: save the plan, for --plan
    #[arg(long, value_name = "FILE", help_heading = REPAIR)]
    pub plan_out: Option<PathBuf>,
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
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = positive_seconds,
          help_heading = REPAIR)]
    pub lock_timeout: Duration,
    /// Which proxies to notify.
    #[command(flatten)]
    pub notify: NotifyArgs,
}

/// Which proxies to notify of a repair.
#[derive(Debug, Args)]
pub struct NotifyArgs {
    /// After the commit, have proxies drop the changed rows from their caches, by way of the Redis
    /// that they share (LiteLLM 1.97 or later)
    ///
    /// Give the URL of LiteLLM's REDIS_URL, or of the cache_params in its config:
    /// redis://HOST:PORT/DATABASE, or rediss:// for TLS. A failure here is only a warning: the
    /// repair is already committed. Needs a build with the feature `redis`.
    #[arg(long, env = NOTIFY_REDIS, hide_env_values = true, value_name = "URL",
          help_heading = REPAIR)]
    pub notify_redis: Option<String>,
    /// The namespace of LiteLLM's cache_params, if it has one
    #[arg(long, value_name = "NAME", help_heading = REPAIR)]
    pub notify_namespace: Option<String>,
}

impl NotifyArgs {
    /// Returns the proxies' Redis, if one is named: a variable that is set to nothing names none.
    #[must_use]
    pub fn redis(&self) -> Option<&str> {
        self.notify_redis.as_deref().filter(|url| !url.is_empty())
    }
}

/// Where the old values go.
#[derive(Debug, Args)]
pub struct JournalArgs {
    /// Where to write the journal: the old values, which undo puts back [default: a new file in
    /// $XDG_STATE_HOME/mcp-prune, else in ~/.local/state/mcp-prune]
    ///
    /// A dry run and doctor write no journal: they only make sure that it could be made.
    #[arg(long, value_name = "FILE|DIR", help_heading = REPAIR)]
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
    pub on_empty: Option<OnEmpty>,
    /// With --on-empty deny: also write no-mcp-servers where it may take access away
    #[arg(long, help_heading = REPAIR)]
    pub accept_narrowing: bool,
    /// With --on-empty clear: accept that owners gain the servers that the report lists
    #[arg(long, help_heading = REPAIR)]
    pub accept_widening: bool,
}

/// What to do with a list that would run empty.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub enum OnEmpty {
    /// Leave the list as it is: it denies as before
    #[default]
    Hold,
    /// Write no-mcp-servers where that changes nobody's access, and hold the rest
    Deny,
    /// Empty the list: its owner inherits servers, or it no longer limits anybody
    Clear,
}

/// How to answer.
#[derive(Debug, Args)]
pub struct OutputArgs {
    /// How to print the report
    #[arg(long, value_enum, default_value_t, help_heading = OUTPUT)]
    pub format: Format,
    /// With --format csv: write every cell as it is, for programs
    ///
    /// Without this option, cells are safe for a spreadsheet: one that begins with =, +, - or @
    /// gets an apostrophe before it, so that it is not run as a formula, and control characters are
    /// escaped.
    #[arg(long, help_heading = OUTPUT)]
    pub csv_raw: bool,
    /// Where it goes.
    #[command(flatten)]
    pub file: FileArgs,
    /// Show at most N rows of each table; 0 shows all. Other formats always show all
    #[arg(long, value_name = "N", default_value = "200", help_heading = OUTPUT)]
    pub limit: usize,
    /// Print nothing unless something was found (scan), changed (fix, undo), held, or failed
    ///
    /// With --exit-zero, held references are not printed either. If the exit code is not 0, the
    /// last line on stderr says why. The file of --output is written in any case.
    #[arg(long, short, help_heading = OUTPUT)]
    pub quiet: bool,
    /// Write how the run went to this file, even if it fails, for node_exporter's textfile
    /// collector
    ///
    /// Use one file for each command, FILE.prom in the collector's folder: each run replaces the
    /// whole file. Only the time when the same command last succeeded is kept from the old file.
    // The parser of paths refuses an empty one, but a variable that is set to nothing asks for
    // nothing.
    #[arg(long, env = "MCP_PRUNE_METRICS_FILE", value_name = "FILE",
          value_hint = clap::ValueHint::FilePath,
          value_parser = OsStringValueParser::new().map(PathBuf::from), help_heading = OUTPUT)]
    metrics_file: Option<PathBuf>,
}

impl OutputArgs {
    /// Returns the metrics file, if one is named.
    #[must_use]
    pub fn metrics_file(&self) -> Option<&Path> {
        let file = self.metrics_file.as_deref();
        file.filter(|file| !file.as_os_str().is_empty())
    }
}

/// Where a report goes.
#[derive(Debug, Args)]
pub struct FileArgs {
    /// Write the report to this file; - is stdout
    ///
    /// The file is replaced once the report is complete. If the run fails before that, the old file
    /// stays. With --format ndjson it is replaced in any case, and its last line is the error.
    #[arg(long, value_name = "FILE", help_heading = OUTPUT)]
    pub output: Option<PathBuf>,
    /// When to colour tables; auto does on a terminal, unless NO_COLOR is set or TERM is dumb
    #[arg(long, value_enum, default_value_t, value_name = "WHEN", help_heading = OUTPUT)]
    pub color: Color,
}

/// When to colour tables.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set or TERM is dumb
    #[default]
    Auto,
    /// Everywhere, in files and pipes too
    Always,
    /// Nowhere
    Never,
}

/// How to print the report.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Table,
    /// One JSON object, "version": 1
    Json,
    /// One JSON object per line: a header, each entry, a summary; after a failure the error comes
    /// last
    Ndjson,
    /// One line for each finding, change or held reference, after a header (RFC 4180)
    Csv,
    /// For a change ticket
    Markdown,
}

/// Splits the values of `--keep` into references and files of references.
#[must_use]
pub fn kept_sources(keep: &[String]) -> (Vec<String>, Vec<&Path>) {
    let mut references = Vec::new();
    let mut files = Vec::new();
    for entry in keep {
        match entry.strip_prefix('@') {
            Some(file) => files.push(Path::new(file)),
            None => references.push(entry.clone()),
        }
    }
    (references, files)
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds")?;
    // PostgreSQL keeps these settings as a 32-bit number of milliseconds.
    if !(0.0..=2_147_483.0).contains(&seconds) {
        return Err("must be from 0 to 2147483 seconds".to_owned());
    }
    if seconds > 0.0 && seconds < 0.001 {
        // The server would round it to 0.
        return Err("must be 0 or at least 0.001 seconds".to_owned());
    }
    Ok(Duration::from_secs_f64(seconds))
}

fn remap(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((old, new)) if !old.is_empty() && !new.is_empty() && old != new => {
            Ok((old.to_owned(), new.to_owned()))
        }
        Some(_) | None => Err("must be OLD=NEW, two different references".to_owned()),
    }
}

fn percent(text: &str) -> Result<f64, String> {
    let percent: f64 = text.parse().map_err(|_| "not a number")?;
    if (0.0..=100.0).contains(&percent) {
        Ok(percent)
    } else {
        Err("must be from 0 to 100".to_owned())
    }
}

fn positive_seconds(text: &str) -> Result<Duration, String> {
    match seconds(text)? {
        // 0 would mean "wait for ever" to the server.
        duration if duration < Duration::from_millis(10) => {
            Err("must be at least 0.01 seconds".to_owned())
        }
        duration => Ok(duration),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_help_is_read_at_80_columns() {
        let definition = Cli::command();
        for command in std::iter::once(&definition).chain(definition.get_subcommands()) {
            let Some(help) = command.get_after_help() else {
                continue;
            };
            let help = help.to_string();
            let name = command.get_name();
            let mut before = "";
            for line in help.lines() {
                // A terminal breaks a paragraph, which is one line here, and no list or example.
                if line.starts_with("  ") {
                    assert!(line.chars().count() <= 80, "{name}: {line}");
                } else if !line.is_empty() {
                    assert_eq!(before, "", "{name}: a paragraph is broken at {line}");
                }
                before = line;
            }
        }
    }

    #[test]
    fn a_keep_entry_with_an_at_sign_is_a_file() {
        let keep = ["gh".to_owned(), "@keep.txt".to_owned()];
        assert_eq!(
            kept_sources(&keep),
            (vec!["gh".to_owned()], vec![Path::new("keep.txt")])
        );
    }

    #[test]
    fn timeouts_are_seconds_within_what_the_server_takes() {
        assert_eq!(seconds("1.5"), Ok(Duration::from_millis(1500)));
        assert_eq!(seconds("0"), Ok(Duration::ZERO));
        for text in ["-1", "x", "NaN", "inf", "2147484", "0.0004"] {
            assert!(seconds(text).is_err(), "{text}");
        }
        assert!(positive_seconds("0").is_err());
        assert!(positive_seconds("0.001").is_err());
        assert_eq!(positive_seconds("5"), Ok(Duration::from_secs(5)));
    }
}
