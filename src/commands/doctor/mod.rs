//! `doctor`: tells whether this database, role and machine are fit for the other commands.

pub(crate) mod checks;
pub(crate) mod database_checks;
pub(crate) mod render;

use std::io::{self, Write};
use std::time::Instant;

use clap::{Args, ValueEnum};

use crate::cli::connection::ConnectionArgs;
use crate::cli::output::{AnswerArgs, AnswerFormat, FileArgs};
use crate::cli::repair::JournalArgs;
use crate::cli::servers::ServerArgs;
use crate::command_line::CommandLine;
use crate::commands::doctor::checks::{Check, ConnectionRequest, FixProblem, ServerRole};
use crate::commands::doctor::database_checks::{Depth, Observed};
use crate::commands::doctor::render::Diagnosis;
use crate::db::connect::{ServerTarget, Target};
use crate::db::reference_search;
use crate::db::server_status::ServerStatus;
use crate::db::session::{Session, Timeouts};
use crate::error::{ErrorKind, Failure};
use crate::exit_code::{self, Outcome};
use crate::litellm::config::{ConfigServer, Derivation};
use crate::process::command_args::{CommandArgs, Work};
use crate::process::invocation::Run;
use crate::process::log;
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

It checks the sites that scan and fix look at by default, so not credentials. To see what those \
need, run: mcp-prune grants --for fix --sites credentials

Examples:
  mcp-prune doctor
  mcp-prune doctor --for fix --format json && mcp-prune fix --yes
  mcp-prune doctor --deep  (after an upgrade of LiteLLM)";

/// Options of `doctor`.
#[derive(Debug, Args)]
#[command(after_help = exit_code::help("doctor", DOCTOR_HELP))]
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
    pub purpose: DoctorFor,
    /// Also search other columns for ids of known servers
    ///
    /// It searches up to 1000 rows of each table that LiteLLM made, for up to 5 seconds each and
    /// about a minute in all. The server compares the values, and none is read or shown.
    #[arg(long)]
    pub deep: bool,
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

/// The command that a machine, a database and a role are checked for.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub enum DoctorFor {
    /// Only scan, which writes nothing
    #[default]
    Scan,
    /// Also fix and undo
    Fix,
}

/// Runs `doctor`.
///
/// # Errors
///
/// Where the command line does not say which database, or the report cannot be printed.
pub(crate) async fn run(args: &DoctorArgs, run: &mut Run) -> Result<Outcome, Failure> {
    let mut interrupt = Interrupt::listen()?;
    let fix = match args.purpose {
        DoctorFor::Scan => FixProblem::Warns,
        DoctorFor::Fix => FixProblem::Fails,
    };
    let target = interrupt.guard(args.connection.find_target()).await?;
    let target = target.of_run(run.id());
    let examining = Box::pin(async { Ok(examine(args, target, fix).await) });
    let (of_database, derivation) = interrupt.guard(examining).await?;
    let mut checks = vec![checks::program("program")];
    checks.extend(of_database);
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
    let printed = run.report.write(&mut interrupt, write).await;
    Run::looked(outcome, printed)
}

/// Makes every check of the database, and returns how this LiteLLM derives ids of config servers.
async fn examine(args: &DoctorArgs, target: Target, fix: FixProblem) -> (Vec<Check>, Derivation) {
    let depth = if args.deep { Depth::Deep } else { Depth::Usual };
    let server = match &target {
        Target::Server(server) => Some((asked(server), server.warnings().join("; "))),
        Target::Embedded(_) => None,
    };
    let statement_timeout = args.connection.statement_timeout;
    let timeouts = Timeouts {
        lock: statement_timeout,
        statement: statement_timeout,
    };
    let started = Instant::now();
    log::stage(Some("checking"));
    let session = Session::open(target, args.connection.schema.clone(), timeouts).await;
    let (request, warnings) = server.unzip();
    let mut checks = vec![connection(&session, warnings.as_deref())];
    let Ok(mut session) = session else {
        checks.extend(database_checks::without_connection(depth));
        return (checks, Derivation::NEWEST);
    };
    if let Err(failure) = session.version().ensure_supported() {
        checks.extend(database_checks::only_first(
            &failure,
            "a newer server",
            depth,
        ));
        return (checks, Derivation::NEWEST);
    }
    let status = match ServerStatus::read(&mut session).await {
        Ok(status) => status,
        Err(failure) => {
            checks.extend(database_checks::only_first(
                &failure,
                "the server's answer",
                depth,
            ));
            return (checks, Derivation::NEWEST);
        }
    };
    let examined = &status.examined;
    let searched = if args.deep && examined.litellm.is_ok() {
        Some(reference_search::search(&mut session, &examined.schema).await)
    } else {
        None
    };
    let observed = Observed {
        request,
        asked_ago: started.elapsed(),
        version: session.version().clone(),
        role: if session.is_replica() {
            ServerRole::Replica
        } else {
            ServerRole::Primary
        },
        status,
        grants: args.grants(&session.database().user),
        statement_timeout,
        searched,
        depth,
        fix,
    };
    session.close().await;
    checks.extend(observed.checks());
    (checks, observed.derivation())
}

/// Checks whether there is a connection, and whether its options were understood. `warnings` are
/// those of the URL of a server; the embedded server has none.
fn connection(session: &Result<Session, Failure>, warnings: Option<&str>) -> Check {
    const NAME: &str = "connection";
    let session = match session {
        Ok(session) => session,
        Err(failure) => return Check::failed(NAME, failure),
    };
    let database = session.database();
    match (warnings, session.warning()) {
        (None, Some(left_out)) => Check::warn(
            NAME,
            format!("{database}; {left_out}"),
            "load the file into a server of your own if you miss them",
        ),
        (Some(warnings), _) if !warnings.is_empty() => Check::warn(
            NAME,
            format!("{database}; {warnings}"),
            "correct it, or leave it out",
        ),
        (Some(_) | None, _) => Check::ok(NAME, database.to_string()),
    }
}

fn asked(server: &ServerTarget) -> ConnectionRequest {
    ConnectionRequest {
        host: server.host(),
        port: server.port(),
        checks_certificate: server.checks_certificate(),
        says_pooled: server.is_pooled(),
    }
}

const CONFIG: &str = "config-servers";

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
    const NAME: &str = "journal";
    match ChangesetFile::rehearse(&args.journal) {
        Ok(Some(path)) => Check::ok(NAME, format!("can be written: {}", path.display())),
        Ok(None) => Check::warn(
            NAME,
            "none is kept (--no-journal)",
            "without one, a repair cannot be undone",
        ),
        Err(failure) => fix.check(
            NAME,
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
            deep: _,
            answer: _,
        } = self;
        let mut command = CommandLine::new("grants");
        command.option("--role", role);
        command.option("--for", "fix");
        connection.repeat(&mut command);
        command
    }
}
