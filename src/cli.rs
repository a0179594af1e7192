//! The command line: what the user may say, nothing about how it is done.

pub mod option_rules;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser as _};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::litellm::release::Release;
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
const PLACES: &str = "Places";
const OUTPUT: &str = "Output";
const REPAIR: &str = "Repair";

/// Finds and repairs stale MCP-server references in a LiteLLM proxy's PostgreSQL database.
///
/// When an MCP server is deleted, LiteLLM leaves its id in every grant. `scan` tells which grants
/// name servers that are gone; `fix` takes those names away in one transaction, and leaves alone
/// whatever would widen somebody's access.
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
  mcp-prune fix --dry-run          (database from DATABASE_URL, DATABASE_HOST, ... or PGHOST, ...)
  mcp-prune fix --yes --format json

Exit codes:
  0 clean or repaired, 1 error, 2 references found, 3 repaired but some held, 4 refused,
  5 changed meanwhile, 6 busy, 7 no access, 64 usage, 128+N signal N";

/// The subcommands.
#[derive(Debug, Subcommand)]
#[expect(clippy::large_enum_variant, reason = "there is one, once")]
pub enum Command {
    /// Report stale references; never writes
    Scan(ScanArgs),
    /// Remove stale references in one transaction
    Fix(FixArgs),
    /// Put back what a repair took away
    Undo(UndoArgs),
    /// Tell who may use which servers and tools, and why; never writes
    Access(AccessArgs),
    /// Print the ids that LiteLLM gives to the servers of a config.yaml
    Ids(IdsArgs),
    /// Print the GRANTs that a role needs, and no more
    Grants(GrantsArgs),
    /// Tell whether this database, role and machine are fit for scan and fix; never writes
    Doctor(DoctorArgs),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page, of the program or of one of its commands
    Man {
        /// The command
        command: Option<String>,
    },
}

impl Command {
    /// How to answer, of the commands that make a report.
    #[must_use]
    pub fn output(&self) -> Option<&OutputArgs> {
        match self {
            Self::Scan(args) => Some(&args.output),
            Self::Fix(args) => Some(&args.output),
            Self::Undo(args) => Some(&args.output),
            Self::Access(_)
            | Self::Ids(_)
            | Self::Grants(_)
            | Self::Doctor(_)
            | Self::Completions { .. }
            | Self::Man { .. } => None,
        }
    }

    /// Tells whether the answer is a stream of lines, whose last one may be an error.
    #[must_use]
    pub fn streams(&self) -> bool {
        let format = match self {
            Self::Access(args) => Some(args.format),
            Self::Scan(_)
            | Self::Fix(_)
            | Self::Undo(_)
            | Self::Ids(_)
            | Self::Grants(_)
            | Self::Doctor(_)
            | Self::Completions { .. }
            | Self::Man { .. } => self.output().map(|output| output.format),
        };
        format == Some(Format::Ndjson)
    }

    /// Whether findings and held references are to count as success.
    #[must_use]
    pub fn exit_zero(&self) -> bool {
        match self {
            Self::Scan(args) => args.exit_zero,
            Self::Fix(args) => args.exit_zero,
            Self::Undo(_)
            | Self::Access(_)
            | Self::Ids(_)
            | Self::Grants(_)
            | Self::Doctor(_)
            | Self::Completions { .. }
            | Self::Man { .. } => false,
        }
    }

    /// The command's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Scan(_) => "scan",
            Self::Fix(_) => "fix",
            Self::Undo(_) => "undo",
            Self::Access(_) => "access",
            Self::Ids(_) => "ids",
            Self::Grants(_) => "grants",
            Self::Doctor(_) => "doctor",
            Self::Completions { .. } => "completions",
            Self::Man { .. } => "man",
        }
    }

    /// The files that are written, and the changeset that is read, each by the name of its option.
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
            | Self::Access(_)
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

    /// Where the database is, of the commands that connect to one.
    #[must_use]
    pub fn connection(&self) -> Option<&ConnectionArgs> {
        match self {
            Self::Scan(args) => Some(&args.connection),
            Self::Fix(args) => Some(&args.connection),
            Self::Undo(args) => Some(&args.connection),
            Self::Access(args) => Some(&args.connection),
            Self::Grants(args) => Some(&args.connection),
            Self::Doctor(args) => Some(&args.connection),
            Self::Ids(_) | Self::Completions { .. } | Self::Man { .. } => None,
        }
    }

    fn servers(&self) -> Option<&ServerArgs> {
        match self {
            Self::Scan(args) => Some(&args.servers),
            Self::Fix(args) => Some(&args.servers),
            Self::Access(args) => Some(&args.servers),
            Self::Doctor(args) => Some(&args.servers),
            Self::Undo(_)
            | Self::Ids(_)
            | Self::Grants(_)
            | Self::Completions { .. }
            | Self::Man { .. } => None,
        }
    }

    /// The configs that the options name, of the commands that read some.
    #[must_use]
    pub fn litellm_configs(&self) -> Option<&[PathBuf]> {
        if let Self::Ids(args) = self {
            return Some(&args.litellm_config);
        }
        let servers = self.servers().filter(|servers| !servers.no_config_servers);
        servers.map(|servers| servers.litellm_config.as_slice())
    }

    /// The files that options name to be read and nothing else, each by the name of its option; configs
    /// may come from the environment as well and are told by [`Self::litellm_configs`].
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
            | Self::Access(_)
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

    /// The file that the answer goes to, where it is not to go to stdout.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        let file = match self {
            Self::Scan(args) => &args.output.file,
            Self::Fix(args) => &args.output.file,
            Self::Undo(args) => &args.output.file,
            Self::Access(args) => &args.file,
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
  stale       no server has this id, alias or name
  unverified  no row has it, but a server of a config.yaml may; never changed
  inactive    the server exists and is not served (pending, rejected, draft); never changed
  malformed   LiteLLM cannot read the value; never changed

Examples:
  mcp-prune scan --db-url 'postgresql://readonly@db/litellm?schema=public'
  mcp-prune scan --no-config-servers --format json | jq .summary
  mcp-prune scan --db-url embedded:backup.sql

Runs in one read-only transaction; needs SELECT alone and works on a replica.";

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
    /// Also report what is not stale and yet worth knowing: shared names, names that an older
    /// LiteLLM does not resolve, duplicates, servers granted by their tools alone
    #[arg(long, help_heading = PLACES)]
    pub notes: bool,
    /// How to answer.
    #[command(flatten)]
    pub output: OutputArgs,
    /// Exit with 0 where it would be 2 (found) or 3 (held)
    #[arg(long, help_heading = OUTPUT)]
    pub exit_zero: bool,
}

const FIX_HELP: &str = "\
What is never changed: live and inactive references, the words LiteLLM reserves, unverified
references, malformed values, and (held, unless --on-empty says otherwise) a last entry whose removal
would let its owner inherit servers or lift a ceiling.

Examples:
  mcp-prune fix --dry-run          (the same statements, then ROLLBACK)
  mcp-prune fix                    (shows the plan and asks, on a terminal)
  mcp-prune fix --yes --exit-zero  (cron: held references are no failure)
  mcp-prune fix --dry-run --sites credentials --delete-rows  (what users left with deleted servers)";

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
    /// Exit with 0 where it would be 2 (found) or 3 (held)
    #[arg(long, help_heading = OUTPUT)]
    pub exit_zero: bool,
}

const UNDO_HELP: &str = "\
A row is only written where it still holds what the repair wrote. Where it is as before the repair,
it is counted as back; where it holds something else, nothing at all is written (exit code 5), unless
--skip-changed leaves such rows as they are.

Examples:
  mcp-prune undo --dry-run ~/.local/state/mcp-prune/fix-20260102T030405Z-1a2b3c4d.ndjson
  mcp-prune undo --yes fix-20260102T030405Z-1a2b3c4d.ndjson

An undo keeps a journal too: undo that to repair again.";

/// Options of `undo`.
#[derive(Debug, Args)]
#[command(after_help = UNDO_HELP)]
pub struct UndoArgs {
    /// The journal that `fix`, or an `undo`, has kept
    #[arg(value_name = "JOURNAL")]
    pub from: PathBuf,
    /// Where the database is.
    #[command(flatten)]
    pub connection: ConnectionArgs,
    /// Whether to write, and what to keep of it.
    #[command(flatten)]
    pub write: WriteArgs,
    /// Leave rows that were changed since as they are, and put back the others
    #[arg(long, help_heading = REPAIR)]
    pub skip_changed: bool,
    /// Put back what the journal says although it is of another database, or of this one by another name
    #[arg(long, help_heading = REPAIR)]
    pub other_database: bool,
    /// How to answer.
    #[command(flatten)]
    pub output: OutputArgs,
}

const ACCESS_HELP: &str = "\
Access is computed as LiteLLM computes it, from the rows, the servers and the settings; nothing is asked of a
proxy. Without --litellm-config the servers and the settings of a config.yaml are not known: where they may
change an answer, the report says so.

Examples:
  mcp-prune access                       (everybody, one line a caller)
  mcp-prune access key:ci-bot            (what a key may use, level by level)
  mcp-prune access --server github       (who may use a server, and through what)
  mcp-prune access --format csv --output review.csv
  mcp-prune access --litellm-version 1.110.2 --format ndjson

Runs in one read-only transaction; needs SELECT alone and works on a replica.";

/// Options of `access`.
#[derive(Debug, Args)]
#[command(after_help = ACCESS_HELP)]
pub struct AccessArgs {
    /// Explain the access of this caller: a key, a user's session, or a team without a key
    ///
    /// KIND is key, user or team. A key may be named by alias, by its hash or the 8 characters of that in
    /// reports, or by LiteLLM's sk-...AB12.
    #[arg(value_name = "KIND:NAME|ID")]
    pub caller: Option<NamedOwner>,
    /// Where the database is.
    #[command(flatten)]
    pub connection: ConnectionArgs,
    /// Which servers exist besides those of the table.
    #[command(flatten)]
    pub servers: ServerArgs,
    /// Only who may use this server, by id, alias or name, and through what
    #[arg(long, value_name = "REF", help_heading = PLACES)]
    pub server: Option<String>,
    /// Also keys on behalf of every end user and of every human behind an agent, and on the route of
    /// every toolset, and every team with every user who has no key
    #[arg(long, help_heading = PLACES)]
    pub every_caller: bool,
    /// Ask on behalf of this end user
    #[arg(long = "as", value_name = "end_user:ID", help_heading = PLACES)]
    pub on_behalf: Option<NamedOwner>,
    /// Ask on the route of this toolset
    #[arg(long, value_name = "ID", help_heading = PLACES)]
    pub toolset: Option<String>,
    /// Apply the rules of this release [default: the one that the schema implies]
    #[arg(long, value_name = "VERSION", help_heading = PLACES)]
    pub litellm_version: Option<Release>,
    /// How to print the report
    #[arg(long, value_enum, default_value_t, help_heading = OUTPUT)]
    pub format: Format,
    /// With --format csv: write every cell as it is, for programs
    #[arg(long, help_heading = OUTPUT)]
    pub csv_raw: bool,
    /// Show at most so many rows of a table; 0 shows all. The other formats are always whole
    #[arg(long, value_name = "N", default_value = "200", help_heading = OUTPUT)]
    pub limit: usize,
    /// Where it goes.
    #[command(flatten)]
    pub file: FileArgs,
}

const IDS_HELP: &str = "\
Every id is derived as LiteLLM 1.101 or later does. Where the file leaves out `transport`, the id
hangs on the proxy's Python (before 3.11 or not), and both are printed, that of a newer Python first.
To keep an id for good, whatever is edited, pin it: write the line that is printed for it into the
server's entry, in LiteLLM 1.101 or later.";

/// Options of `ids`.
#[derive(Debug, Args)]
#[command(after_help = IDS_HELP)]
pub struct IdsArgs {
    /// LiteLLM's config.yaml; repeatable. Without it MCP_PRUNE_LITELLM_CONFIG may name files, separated
    /// by colons
    #[arg(long, value_name = "FILE")]
    pub litellm_config: Vec<PathBuf>,
    /// How to print them.
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
    /// The role that is to run mcp-prune
    #[arg(long, value_name = "NAME", default_value = "mcp_prune")]
    pub role: String,
    /// The command that it is to run
    #[arg(long = "for", value_enum, value_name = "COMMAND", default_value_t)]
    pub purpose: GrantsFor,
    /// The places that it is to look at, separated by commas
    ///
    /// `defaults` is left out unless named, as it takes SELECT on a column that also holds secrets; and so is
    /// `credentials`, as to delete, and to put back, takes SELECT, INSERT and DELETE on whole rows of secrets.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "LIST", default_values_t = [Sites::Permissions, Sites::AccessGroups, Sites::Toolsets])]
    pub sites: Vec<Sites>,
}

const DOCTOR_HELP: &str = "\
Status:
  ok       as it should be
  warn     something to know; with --for scan also what only fix would fail over
  fail     the command would not work
  skipped  not looked at, because of a failure before it

Exit codes: 0 nothing fails, 7 no server reached or a privilege missing, 64 usage, 1 anything else.

It looks at the places that scan and fix look at by default; what credentials need besides, grants tells.

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
    /// The command that has to work
    #[arg(long = "for", value_enum, value_name = "COMMAND", default_value_t)]
    pub purpose: GrantsFor,
    /// How to print the answer.
    #[command(flatten)]
    pub answer: AnswerArgs,
}

/// The command that a role is to run.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub enum GrantsFor {
    /// Only to look
    #[default]
    Scan,
    /// To repair, and to undo that
    Fix,
}

/// Where the database is.
#[derive(Debug, Args)]
pub struct ConnectionArgs {
    /// The database, as LiteLLM's own DATABASE_URL, or embedded:FILE.sql [env: DATABASE_URL]
    ///
    /// Without it the variables of which LiteLLM makes its URL are used (`DATABASE_HOST`,
    /// `DATABASE_USERNAME`, `DATABASE_PASSWORD`, `DATABASE_NAME`, `DATABASE_SCHEMA`), else libpq's PGHOST,
    /// PGPORT, PGUSER, PGPASSWORD, PGDATABASE, PGSSLMODE and the password file. Without a user it
    /// connects as the operating system's. Prisma's parameters (schema, connection_limit, pgbouncer, ...) are
    /// understood or ignored. `embedded:FILE.sql` starts a throwaway PostgreSQL inside this
    /// process and loads that file or plain pg_dump into it.
    // Not read by clap, to which a variable that is set would conflict with --db-url-file.
    #[arg(long, value_name = "URL", help_heading = CONNECTION)]
    pub db_url: Option<String>,
    /// Read the database's URL from this file, such as a mounted secret; wins over DATABASE_URL
    #[arg(long, value_name = "FILE", help_heading = CONNECTION)]
    pub db_url_file: Option<PathBuf>,
    /// The schema with LiteLLM's tables [default: ?schema= of the URL, else public]
    #[arg(long, value_name = "NAME", help_heading = CONNECTION)]
    pub schema: Option<String>,
    /// How long one statement may take, in seconds; 0 is for ever
    #[arg(long, value_name = "SECONDS", default_value = "600", value_parser = seconds, help_heading = CONNECTION)]
    pub statement_timeout: Duration,
}

/// Which servers exist besides those of the table.
#[derive(Debug, Args)]
pub struct ServerArgs {
    /// Read LiteLLM's config.yaml for its MCP servers; repeatable, one per region or environment
    ///
    /// Their ids are derived as LiteLLM derives them, `include:` is followed, and `os.environ/NAME`
    /// is taken from this environment. Without the option MCP_PRUNE_LITELLM_CONFIG may name files,
    /// separated by colons.
    #[arg(long, value_name = "FILE", help_heading = SERVERS)]
    pub litellm_config: Vec<PathBuf>,
    /// Say that no config.yaml names MCP servers
    ///
    /// Servers of a config.yaml have no row in the database, so without this or --litellm-config a
    /// 32-digit id or a free name that resolves nowhere is only `unverified`.
    #[arg(long, help_heading = SERVERS)]
    pub no_config_servers: bool,
    /// Take REF for a live server; repeatable, @FILE reads one per line
    #[arg(long, value_name = "REF|@FILE", help_heading = SERVERS)]
    pub keep: Vec<String>,
}

/// What became of config servers that were edited or removed.
#[derive(Debug, Args)]
pub struct PreviousArgs {
    /// LiteLLM's config.yaml from before an edit: references to its servers are remapped to the ids that
    /// --litellm-config gives the same servers; repeatable
    #[arg(long, value_name = "FILE", help_heading = SERVERS)]
    pub previous_litellm_config: Vec<PathBuf>,
    /// Take for stale what looks like the id of a config server and is none of the configs given
    ///
    /// Without it such a reference is held: the server may have been edited, which gives it a new id, and
    /// a roll-back of the edit would make the reference good again.
    #[arg(long, help_heading = SERVERS)]
    pub prune_config_ids: bool,
}

/// Where to look, and for whom.
#[derive(Debug, Args)]
pub struct PlaceArgs {
    /// The places to look at, separated by commas [default: all of them but credentials]
    #[arg(long, value_enum, value_delimiter = ',', value_name = "LIST", help_heading = PLACES)]
    pub sites: Vec<Sites>,
    /// Only rows of this owner; repeatable
    ///
    /// KIND is key, team, organization, project, user, `end_user` or agent. A key may be named by alias, by
    /// its hash or the 8 characters of that in reports, by LiteLLM's sk-...AB12, or by itself, which is hashed
    /// and never shown; a user also by e-mail address. Owners of an access group are those who have it, of a
    /// toolset those who are granted it. Together with --row both have to fit.
    #[arg(long, value_name = "KIND:NAME|ID", help_heading = PLACES)]
    pub owner: Vec<NamedOwner>,
    /// Only this reference; repeatable
    #[arg(long, value_name = "REF", help_heading = PLACES)]
    pub reference: Vec<String>,
    /// Only the row with this primary key; repeatable
    #[arg(long, value_name = "ID", help_heading = PLACES)]
    pub row: Vec<String>,
}

/// A group of places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Sites {
    /// Permission rows of keys, teams, organizations, projects, users, end users and agents
    Permissions,
    /// Unified access groups
    AccessGroups,
    /// Toolsets
    Toolsets,
    /// What every new key is given, and the public servers, both in LiteLLM's saved settings
    Defaults,
    /// Secrets that users keep for a server; what deleted servers left behind
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
    /// With --sites credentials: delete the rows that users left with deleted servers
    ///
    /// The journal then holds them whole, secrets and all: it is what `undo` puts them back from.
    #[arg(long, help_heading = REPAIR)]
    pub delete_rows: bool,
    /// Rewrite a deleted server's references to another server's; repeatable
    ///
    /// OLD has to be named by a row looked at. Other stale references are removed as ever: to leave them
    /// alone, say --reference OLD too.
    #[arg(long, value_name = "OLD=NEW", value_parser = remap, help_heading = REPAIR)]
    pub remap: Vec<(String, String)>,
    /// Remap what a CSV file with the header old,new says
    ///
    /// Every old one has to be named by a row looked at, and other stale references are removed too, as
    /// with --remap.
    #[arg(long, value_name = "FILE", help_heading = REPAIR)]
    pub remap_file: Option<PathBuf>,
    /// The configs from before an edit.
    #[command(flatten)]
    pub previous: PreviousArgs,
    /// At the end, delete this database's journals beside the new one that are older than so many days
    ///
    /// Only whole journals under the names that fix and undo give them are deleted, by the time that is
    /// written in them, and none without the line that its repair was committed. A run that failed deletes
    /// none; one that found nothing to change does.
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..), help_heading = REPAIR)]
    pub journal_retention: Option<u32>,
    /// Repair even if the server table has no rows
    #[arg(long, help_heading = REPAIR)]
    pub allow_empty_server_table: bool,
    /// Refuse to change more rows than this
    #[arg(long, value_name = "N", help_heading = REPAIR)]
    pub max_rows: Option<usize>,
    /// Refuse to change more than this part of the rows that name servers
    #[arg(long, value_name = "PERCENT", value_parser = percent, help_heading = REPAIR)]
    pub max_percent: Option<f64>,
    /// With --dry-run: save exactly what would be done
    #[arg(long, value_name = "FILE", help_heading = REPAIR)]
    pub plan_out: Option<PathBuf>,
    /// Do exactly what a plan says that --plan-out saved, or nothing
    ///
    /// What it was planned with may be said again, but nothing else. Servers of a config.yaml are not in it:
    /// say --litellm-config, --no-config-servers and --keep as before.
    #[arg(long, value_name = "FILE", help_heading = REPAIR)]
    pub plan: Option<PathBuf>,
    /// With --plan: carry it out although it was made on another database, or on this one by another name
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
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = positive_seconds, help_heading = REPAIR)]
    pub lock_timeout: Duration,
    /// Whom to tell of it.
    #[command(flatten)]
    pub notify: NotifyArgs,
}

/// Whom to tell of a repair.
#[derive(Debug, Args)]
pub struct NotifyArgs {
    /// After the commit, have proxies forget what was written, by the Redis they share (LiteLLM 1.97
    /// or later)
    ///
    /// redis://HOST:PORT/DATABASE, or rediss:// with TLS: what LiteLLM's REDIS_URL, or the cache_params of
    /// its config, name. What goes wrong there is a warning. Needs a build with the feature `redis`.
    #[arg(long, env = NOTIFY_REDIS, hide_env_values = true, value_name = "URL", help_heading = REPAIR)]
    pub notify_redis: Option<String>,
    /// The namespace of LiteLLM's cache_params, if it has one
    #[arg(long, value_name = "NAME", help_heading = REPAIR)]
    pub notify_namespace: Option<String>,
}

impl NotifyArgs {
    /// The proxies' Redis, if they are to be told: a variable that is set to nothing names none.
    #[must_use]
    pub fn redis(&self) -> Option<&str> {
        self.notify_redis.as_deref().filter(|url| !url.is_empty())
    }
}

/// Where the old values go.
#[derive(Debug, Args)]
pub struct JournalArgs {
    /// Where to keep the old values, which `undo` puts back [default: a file in
    /// $XDG_STATE_HOME/mcp-prune, else in ~/.local/state/mcp-prune]
    ///
    /// A dry run, and doctor, write none: they only make sure that this one could be made.
    #[arg(long, value_name = "FILE|DIR", help_heading = REPAIR)]
    pub journal: Option<PathBuf>,
    /// Keep no old values: what is written cannot be undone
    #[arg(long, help_heading = REPAIR)]
    pub no_journal: bool,
}

/// What to do with lists that would run empty.
#[derive(Debug, Args)]
pub struct EmptyArgs {
    /// What to do with a list that would run empty [default: hold]
    #[arg(long, value_enum, value_name = "CHOICE", help_heading = REPAIR)]
    pub on_empty: Option<OnEmpty>,
    /// With --on-empty deny: also where the marker may take access away
    #[arg(long, help_heading = REPAIR)]
    pub accept_narrowing: bool,
    /// With --on-empty clear: let owners gain what the report says
    #[arg(long, help_heading = REPAIR)]
    pub accept_widening: bool,
}

/// What to do with a list that would run empty.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub enum OnEmpty {
    /// Leave it as it is: it denies as before
    #[default]
    Hold,
    /// Write no-mcp-servers where that changes nobody's access, and leave the rest
    Deny,
    /// Empty it: its owner inherits servers, or what it limits is limited no longer
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
    /// Without this option a cell that begins with =, +, - or @, which a spreadsheet takes for a formula,
    /// gets an apostrophe before it, and control characters are escaped.
    #[arg(long, help_heading = OUTPUT)]
    pub csv_raw: bool,
    /// Where it goes.
    #[command(flatten)]
    pub file: FileArgs,
    /// Show at most so many rows of each table; 0 shows all. The other formats are always whole
    #[arg(long, value_name = "N", default_value = "200", help_heading = OUTPUT)]
    pub limit: usize,
    /// Print nothing unless something was found (scan), changed (fix, undo), held, or failed
    ///
    /// With --exit-zero, what fix holds is nothing to print either. A last line on stderr says why the
    /// exit code is not 0. A file of --output is written all the same.
    #[arg(long, short, help_heading = OUTPUT)]
    pub quiet: bool,
    /// However the run ends, write how it went to this file, for node_exporter's textfile collector
    ///
    /// It is replaced as a whole, so name one for each command: FILE.prom in the collector's folder. What is
    /// kept of the old file is when the same command last succeeded.
    // The parser of paths takes no empty one, and a variable that is set to nothing asks for nothing.
    #[arg(long, env = "MCP_PRUNE_METRICS_FILE", value_name = "FILE", value_hint = clap::ValueHint::FilePath,
          value_parser = OsStringValueParser::new().map(PathBuf::from), help_heading = OUTPUT)]
    metrics_file: Option<PathBuf>,
}

impl OutputArgs {
    /// The file that says how the run went, if one is asked for.
    #[must_use]
    pub fn metrics_file(&self) -> Option<&Path> {
        let file = self.metrics_file.as_deref();
        file.filter(|file| !file.as_os_str().is_empty())
    }
}

/// Where a report goes.
#[derive(Debug, Args)]
pub struct FileArgs {
    /// Write the report to this file, which is replaced once the report is whole; - is stdout
    ///
    /// A run that fails before there is a report leaves the old file. Only `ndjson` replaces it, with the
    /// error as the last line.
    #[arg(long, value_name = "FILE", help_heading = OUTPUT)]
    pub output: Option<PathBuf>,
    /// When tables are in colours; auto is on a terminal, unless NO_COLOR is set or TERM is dumb
    #[arg(long, value_enum, default_value_t, value_name = "WHEN", help_heading = OUTPUT)]
    pub color: Color,
}

/// When tables are in colours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal that shows them to somebody who wants them
    #[default]
    Auto,
    /// Even in a file or a pipe
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
    /// One JSON object a line: a header, each entry, a summary; an error comes last
    Ndjson,
    /// One line a finding, change or held reference, with a header (RFC 4180)
    Csv,
    /// For a change ticket
    Markdown,
}

/// What `--keep` names: references, and files of references.
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
        // The server would take it for 0.
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
        // The server would take 0 for "wait for ever".
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
