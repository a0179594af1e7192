//! `doctor`: tells whether this database, role and machine are fit for the other commands.

pub(crate) mod checks;
pub(crate) mod render;

use std::io::{self, Write};
use std::time::Instant;

use clap::Args;

use crate::cli::connection::ConnectionArgs;
use crate::cli::output::{AnswerArgs, AnswerFormat, FileArgs};
use crate::cli::repair::JournalArgs;
use crate::cli::servers::ServerArgs;
use crate::command_line::CommandLine;
use crate::commands::doctor::checks::{Check, ConnectionRequest, FixProblem};
use crate::commands::doctor::render::Diagnosis;
use crate::commands::grants::GrantsFor;
use crate::db::connect::{ServerTarget, Target};
use crate::db::schema::Schema;
use crate::db::server_status::ServerStatus;
use crate::db::session::{Session, Timeouts};
use crate::error::{ErrorKind, Failure};
use crate::exit_code::Outcome;
use crate::litellm::config::{ConfigServer, Derivation};
use crate::litellm::reference_sites::Group;
use crate::process::command_args::{CommandArgs, Work};
use crate::process::invocation::Run;
use crate::process::signals::Interrupt;
use crate::report::shown_text::count;
use crate::workflow::changeset_file::ChangesetFile;
use crate::workflow::given_servers::GivenServers;

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

impl CommandArgs for DoctorArgs {
    fn name(&self) -> &'static str {
        "doctor"
    }

    fn run<'a>(&'a self, this: &'a mut Run) -> Work<'a> {
        Box::pin(run(self, this))
    }

    fn answer_file(&self) -> Option<&FileArgs> {
        Some(&self.answer.file)
    }

    fn connection(&self) -> Option<&ConnectionArgs> {
        Some(&self.connection)
    }

    fn servers(&self) -> Option<&ServerArgs> {
        Some(&self.servers)
    }
}

const CONNECTION: &str = "connection";

const SERVER: &str = "server";

const ENCRYPTION: &str = "encryption";

const POOLER: &str = "pooler";

const PRIMARY: &str = "primary";

const SCHEMA: &str = "schema";

const SCAN: &str = "privileges-scan";

const FIX: &str = "privileges-fix";

const ROW_SECURITY: &str = "row-level-security";

const TRIGGERS: &str = "triggers";

const LOCK: &str = "lock";

const SIZE: &str = "size";

const CONFIG: &str = "config-servers";

const JOURNAL: &str = "journal";

/// Runs `doctor`.
///
/// # Errors
///
/// Where the command line does not say which database, or the report cannot be printed.
pub(crate) async fn run(args: &DoctorArgs, run: &mut Run) -> Result<Outcome, Failure> {
    let mut interrupt = Interrupt::listen()?;
    let fix = match args.purpose {
        GrantsFor::Scan => FixProblem::Warns,
        GrantsFor::Fix => FixProblem::Fails,
    };
    let target = args.connection.target()?.of_run(run.id());
    let examining = Box::pin(async { Ok(examine(args, target, fix).await) });
    let (mut checks, derivation) = interrupt.guard(examining).await?;
    checks.push(config(args, derivation));
    checks.push(journal(args, fix));
    let outcome = match checks::worst(&checks) {
        None => Outcome::Looked { found: false },
        Some(kind) => Outcome::Failed(kind),
    };
    let diagnosis = Diagnosis {
        run: run.id().to_owned(),
        checks,
    };
    let format = args.answer.format;
    let look = args.answer.file.look(run, &io::stdout());
    let write = move |mut out: &mut dyn Write| match format {
        AnswerFormat::Table => diagnosis.table(look, &mut out),
        AnswerFormat::Json => diagnosis.json(&mut out),
    };
    run.report.write(&mut interrupt, write).await?;
    Ok(outcome)
}

/// Makes every check of the database, and returns how this LiteLLM derives ids of config servers.
async fn examine(args: &DoctorArgs, target: Target, fix: FixProblem) -> (Vec<Check>, Derivation) {
    const DATABASE: [&str; 11] = [
        SERVER,
        ENCRYPTION,
        POOLER,
        PRIMARY,
        SCHEMA,
        SCAN,
        FIX,
        ROW_SECURITY,
        TRIGGERS,
        LOCK,
        SIZE,
    ];
    let server = match &target {
        Target::Server(server) => Some((asked(server), server.warnings().join("; "))),
        Target::Embedded(_) => None,
    };
    let timeouts = Timeouts {
        lock: args.connection.statement_timeout,
        statement: args.connection.statement_timeout,
    };
    let started = Instant::now();
    let mut session = match Session::open(target, args.connection.schema.clone(), timeouts).await {
        Ok(session) => session,
        Err(failure) => {
            let mut checks = vec![Check::failed(CONNECTION, &failure)];
            checks.extend(DATABASE.map(|name| Check::skipped(name, "a connection")));
            return (checks, Derivation::NEWEST);
        }
    };
    let database = session.database().clone();
    let mut checks = vec![match (&server, session.warning()) {
        (None, Some(left_out)) => Check::warn(
            CONNECTION,
            format!("{database}; {left_out}"),
            "load the file into a server of your own if you miss them",
        ),
        (Some((_, warnings)), _) if !warnings.is_empty() => Check::warn(
            CONNECTION,
            format!("{database}; {warnings}"),
            "correct it, or leave it out",
        ),
        (Some(_) | None, _) => Check::ok(CONNECTION, database.to_string()),
    }];
    let vitals = match ServerStatus::read(&mut session).await {
        Ok(vitals) => vitals,
        Err(failure) => {
            checks.push(Check::failed(SERVER, &failure));
            let rest = DATABASE.into_iter().skip(1);
            checks.extend(rest.map(|name| Check::skipped(name, "the server's answer")));
            return (checks, Derivation::NEWEST);
        }
    };
    let asked_ago = started.elapsed();
    let is_replica = session.is_replica();
    session.close().await;

    let (version, number) = &vitals.version;
    checks.push(checks::version(SERVER, (version, *number), fix));
    if let Some((asked, _)) = &server {
        let (tls, port) = (vitals.tls.as_deref(), vitals.server_port);
        let pooler = checks::pooler(POOLER, asked, port, vitals.backend_age, asked_ago);
        checks.push(checks::encryption(ENCRYPTION, asked, tls));
        checks.push(pooler);
    } else {
        let inside = "not needed: a PostgreSQL inside this process";
        checks.push(Check::ok(ENCRYPTION, inside));
        checks.push(Check::ok(POOLER, "none"));
    }
    checks.push(checks::primary(PRIMARY, is_replica, fix));
    checks.extend(tables(&vitals, &args.grants(&database.user), fix));
    checks.push(checks::lock(LOCK, vitals.lock_holder));
    let is_litellm = vitals.examined.litellm.is_ok();
    checks.push(if is_litellm {
        let (permissions, servers) = (vitals.permission_rows, vitals.server_rows);
        checks::size(
            SIZE,
            permissions,
            servers,
            args.connection.statement_timeout,
        )
    } else {
        Check::skipped(SIZE, "LiteLLM's tables")
    });
    let derivation = if is_litellm {
        vitals.examined.schema.derivation()
    } else {
        Derivation::NEWEST
    };
    (checks, derivation)
}

fn asked(server: &ServerTarget) -> ConnectionRequest {
    ConnectionRequest {
        host: server.host(),
        port: server.port(),
        checks_certificate: server.checks_certificate(),
        says_pooled: server.is_pooled(),
    }
}

/// Makes the checks of the schema, and of what this role may do with it.
fn tables(vitals: &ServerStatus, grants: &CommandLine, fix: FixProblem) -> Vec<Check> {
    let examined = &vitals.examined;
    let links = examined.schema.unknown_links();
    let links: Vec<&str> = links.iter().map(String::as_str).collect();
    let release = examined.schema.release();
    let schema = checks::schema(SCHEMA, &examined.litellm, release, &links);
    if examined.litellm.is_err() {
        let skipped = [SCAN, FIX, ROW_SECURITY, TRIGGERS];
        let skipped = skipped.map(|name| Check::skipped(name, "LiteLLM's tables"));
        return [schema].into_iter().chain(skipped).collect();
    }
    vec![
        schema,
        match &examined.reading {
            Ok(()) => Check::ok(SCAN, reads(&examined.schema)),
            Err(failure) => Check::failed(SCAN, failure),
        },
        checks::writing(FIX, &examined.writing, grants, fix),
        match &examined.row_security {
            Ok(()) => Check::ok(ROW_SECURITY, "hides no rows from this role"),
            Err(failure) => Check::failed(ROW_SECURITY, failure),
        },
        checks::triggers(TRIGGERS, &vitals.effects.names()),
    ]
}

/// Says which places can be read by a role that has every privilege of a scan.
fn reads(schema: &Schema) -> String {
    let left_out = schema.left_out().iter();
    if left_out
        .clone()
        .any(|left| left.table.group == Group::Defaults)
    {
        "all that scan needs without --sites defaults or credentials".to_owned()
    } else {
        "all that scan needs without --sites credentials".to_owned()
    }
}

/// Checks that the config files can be read, and counts their servers.
fn config(args: &DoctorArgs, derivation: Derivation) -> Check {
    let read = GivenServers::read(&args.servers).and_then(|given| given.config_servers(derivation));
    match read {
        Err(failure) => Check::failed(CONFIG, &failure),
        Ok(None) => Check::warn(
            CONFIG,
            "nothing is known of them",
            "give their file with --litellm-config, or say --no-config-servers; until then only \
             what is shaped like a row's id can be called stale",
        ),
        Ok(Some((files, servers))) => known(files, &servers),
    }
}

fn known(files: usize, servers: &[ConfigServer]) -> Check {
    let found = match files {
        0 => "there are none, as you say".to_owned(),
        _ => format!(
            "{} in {}",
            count(servers.len(), "server"),
            count(files, "file")
        ),
    };
    let unset = servers.iter().flat_map(|server| &server.unset);
    let unset: std::collections::BTreeSet<&str> = unset.map(String::as_str).collect();
    if unset.is_empty() {
        return Check::ok(CONFIG, found);
    }
    let unset: Vec<&str> = unset.into_iter().collect();
    Check::warn(
        CONFIG,
        format!("{found}; {} is not set here", unset.join(", ")),
        "set what the proxy has there, else the ids of these servers cannot be told",
    )
}

/// Checks that a repair could write its journal.
fn journal(args: &DoctorArgs, fix: FixProblem) -> Check {
    match ChangesetFile::rehearse(&args.journal) {
        Ok(Some(path)) => Check::ok(JOURNAL, format!("can be written: {}", path.display())),
        Ok(None) => Check::warn(
            JOURNAL,
            "none is kept (--no-journal)",
            "without one, a repair cannot be undone",
        ),
        Err(failure) => fix.check(
            JOURNAL,
            ErrorKind::Error,
            failure.message(),
            failure.advice().unwrap_or_default(),
        ),
    }
}

impl DoctorArgs {
    /// Returns the command that prints the privileges that `role` needs for `fix`.
    pub(crate) fn grants(&self, role: &str) -> CommandLine {
        let Self {
            connection,
            servers: _,
            journal: _,
            purpose: _,
            answer: _,
        } = self;
        let mut command = CommandLine::new("grants");
        command.option("--role", role);
        command.option("--for", "fix");
        connection.repeat(&mut command);
        command
    }
}
