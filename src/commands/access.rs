//! `access`: tells who may use which servers and tools, and why; never writes.

use std::io;

use clap::Args;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::cli::connection::ConnectionArgs;
use crate::cli::output::{FileArgs, Format, OUTPUT};
use crate::cli::servers::ServerArgs;
use crate::commands::access_callers::{Company, is_closed_route, shown};
use crate::database::Database;
use crate::db::access_callers;
use crate::db::access_callers::KeysOf;
use crate::db::access_rows::{self, Callers};
use crate::db::named_owners::{self, Meant};
use crate::db::purpose::Purpose;
use crate::db::schema::Schema;
use crate::db::session::{Connection, Session};
use crate::error::{ErrorKind, Failure};
use crate::exit_code::Outcome;
use crate::litellm::access::AccessModel;
use crate::litellm::access::basis::AccessBasis;
use crate::litellm::access::caller::{Caller, Human};
use crate::litellm::access::registry::{Registry, ServerIds};
use crate::litellm::access::rows::AccessRows;
use crate::litellm::access::rules::AccessRules;
use crate::litellm::ids::{
    AgentId, EndUserId, KeyToken, OrganizationId, TeamId, ToolsetId, UserId,
};
use crate::litellm::owners::{OwnerId, OwnerKind};
use crate::litellm::reference_sites::Choice;
use crate::litellm::release::Release;
use crate::litellm::server_catalog::ServerCatalog;
use crate::process::command_args::{CommandArgs, Work};
use crate::process::invocation::Run;
use crate::process::signals::Interrupt;
use crate::repair::selection::NamedOwner;
use crate::report::access::{self, AccessFormat, AccessHead, CallerAccess};
use crate::report::csv::Cells;
use crate::report::text_table::DisplayOptions;
use crate::workflow::CHUNK;
use crate::workflow::access_basis::read_basis;
use crate::workflow::catalog_warnings::warn_of_catalog;
use crate::workflow::filters::ambiguous;
use crate::workflow::server_sources::ServerSources;

const CALLERS: &str = "Callers";

const ACCESS_HELP: &str = "\
Access is computed as LiteLLM computes it, from the rows, the servers and the settings; no proxy \
is asked. Without --litellm-config, the servers and settings of a config.yaml are not known: where \
they may change an answer, the report says so.

Examples:
  mcp-prune access key:ci-bot            (what a key may use, level by level)
  mcp-prune access --server github       (who may use a server, through what)
  mcp-prune access --format csv          (everybody, for an access review)
  mcp-prune access --litellm-version 1.110.2 --format ndjson

It runs in one read-only transaction, needs only SELECT, and works on a replica.";

/// Options of `access`.
#[derive(Debug, Args)]
#[command(after_help = ACCESS_HELP)]
pub struct AccessArgs {
    /// Explain the access of this owner's callers; repeatable [default: everybody, briefly]
    ///
    /// KIND is one of: key, team, user, agent, organization, end_user. A team stands for its caller
    /// without a key, a user for the session at the gateway, an agent or an organization for its
    /// keys, an end user for every key that asks on its behalf. Name a key by its alias, its hash,
    /// the 8 characters of the hash that reports show, or LiteLLM's sk-...AB12.
    #[arg(value_name = "KIND:NAME|ID")]
    pub owner: Vec<NamedOwner>,
    /// Where the database is.
    #[command(flatten)]
    pub connection: ConnectionArgs,
    /// Which servers exist besides those of the table.
    #[command(flatten)]
    pub servers: ServerArgs,
    /// Only callers who may use this server, by id, alias or name, and through what; repeatable
    #[arg(long, value_name = "REF", help_heading = CALLERS)]
    pub server: Vec<String>,
    /// List every caller: also keys on behalf of every end user and of every human behind an agent,
    /// everybody on the route of every toolset, and every team with every user who has no key
    #[arg(long, help_heading = CALLERS)]
    pub every_caller: bool,
    /// Ask on behalf of this end user
    #[arg(long = "as", value_name = "end_user:ID", help_heading = CALLERS)]
    pub on_behalf: Option<NamedOwner>,
    /// Ask on the route of this toolset
    #[arg(long, value_name = "ID", help_heading = CALLERS)]
    pub(crate) toolset: Option<ToolsetId>,
    /// Apply the rules of this release of LiteLLM [default: the one that the schema implies]
    #[arg(long, value_name = "VERSION", help_heading = CALLERS)]
    pub litellm_version: Option<Release>,
    /// How to print the report
    #[arg(long, value_enum, default_value_t, help_heading = OUTPUT)]
    pub format: Format,
    /// With --format csv: write every cell as it is, for programs
    #[arg(long, help_heading = OUTPUT)]
    pub csv_raw: bool,
    /// Show at most N rows of each table; 0 shows all. Other formats always show all
    #[arg(long, value_name = "N", default_value = "200", help_heading = OUTPUT)]
    pub limit: usize,
    /// Where it goes.
    #[command(flatten)]
    pub file: FileArgs,
}

impl CommandArgs for AccessArgs {
    fn name(&self) -> &'static str {
        "access"
    }

    fn run<'a>(&'a self, this: &'a mut Run) -> Work<'a> {
        Box::pin(run(self, this))
    }

    fn answer_file(&self) -> Option<&FileArgs> {
        Some(&self.file)
    }

    fn format(&self) -> Option<Format> {
        Some(self.format)
    }

    fn connection(&self) -> Option<&ConnectionArgs> {
        Some(&self.connection)
    }

    fn servers(&self) -> Option<&ServerArgs> {
        Some(&self.servers)
    }
}

/// Whose access is told.
enum Subject {
    /// Every key, session and team.
    Everybody,
    /// The callers of these owners.
    Owners(Askers),
    /// The keys of an owner.
    Keys(KeysOf),
}

/// Owners who are callers themselves, or whose callers have no key, all of one kind.
enum Askers {
    /// Keys.
    Keys(Vec<KeyToken>),
    /// Users, with their sessions.
    Users(Vec<UserId>),
    /// Teams, with their callers without a key.
    Teams(Vec<TeamId>),
}

/// Entries that wait to be printed.
const WAITING: usize = 256;

/// Whose turn it is to be printed; `Err` where the command failed.
type AccessEntry = Result<CallerAccess, ()>;

/// Runs `access`.
///
/// # Errors
///
/// Why the database could not be read or the report not be written.
pub(crate) async fn run(args: &AccessArgs, run: &mut Run) -> Result<Outcome, Failure> {
    check(args)?;
    let sources = ServerSources::of_servers(&args.servers)?;
    let mut interrupt = Interrupt::listen()?;
    let timeout = args.connection.statement_timeout;
    let opening = Box::pin(args.connection.open(timeout, run));
    let mut session = interrupt.guard(opening).await?;
    let (sender, entries) = channel(WAITING);
    let head = AccessHead {
        run: run.id().to_owned(),
        database: session.database().clone(),
        release: String::new(),
        wanted: ServerIds::new(),
    };
    let (head_sender, head_receiver) = tokio::sync::oneshot::channel();
    let format = format(args, run);
    let asking = async {
        let asked = Box::pin(ask(
            args,
            &mut session,
            &sources,
            head,
            head_sender,
            &sender,
        ))
        .await;
        if asked.is_err() {
            // Where nobody prints any more, its own failure says why.
            let _ = sender.send(Err(())).await;
        }
        drop(sender);
        asked
    };
    let printing = run.report.write(&mut interrupt, move |out| {
        print(format, head_receiver, entries, out)
    });
    {
        tokio::pin!(asking, printing);
        // The question comes first: where it failed, the report is cut short because of that.
        tokio::select! {
            biased;
            asked = &mut asking => {
                let printed = printing.await;
                match asked {
                    Err(failure) if failure.kind() != ErrorKind::BrokenPipe => Err(failure),
                    Ok(()) | Err(_) => printed,
                }
            }
            // A signal, or a reader that went away: the query under way is dropped.
            printed = &mut printing => match printed {
                Ok(()) => asking.await,
                Err(failure) => Err(failure),
            },
        }
    }?;
    session.close().await;
    Ok(Outcome::Looked { found: false })
}

fn print(
    format: AccessFormat,
    head: tokio::sync::oneshot::Receiver<AccessHead>,
    mut entries: Receiver<AccessEntry>,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    match head.blocking_recv() {
        Ok(head) => access::write(&head, format, || entries.blocking_recv(), out),
        // It failed before there was anything to print.
        Err(_) => Ok(()),
    }
}

fn format(args: &AccessArgs, run: &Run) -> AccessFormat {
    match args.format {
        Format::Table => AccessFormat::Table(DisplayOptions {
            limit: Some(args.limit).filter(|limit| *limit > 0),
            ..args.file.look(run, &io::stdout())
        }),
        Format::Json => AccessFormat::Json,
        Format::Ndjson => AccessFormat::Ndjson,
        Format::Csv if args.csv_raw => AccessFormat::Csv(Cells::Raw),
        Format::Csv => AccessFormat::Csv(Cells::Guarded),
        Format::Markdown => AccessFormat::Markdown,
    }
}

/// Refuses what no caller can be.
fn check(args: &AccessArgs) -> Result<(), Failure> {
    let usage = |message: &str, hint: &'static str| {
        Err(Failure::new(ErrorKind::Usage, message.to_owned()).hint(hint))
    };
    if args
        .on_behalf
        .as_ref()
        .is_some_and(|owner| owner.kind != OwnerKind::EndUser)
    {
        return usage(
            "--as takes an end user: keys ask on behalf of nobody else",
            "say --as end_user:ID",
        );
    }
    if args
        .owner
        .iter()
        .any(|owner| owner.kind == OwnerKind::Project)
    {
        return Err(no_caller_of_projects());
    }
    let is_end_user = |owner: &NamedOwner| owner.kind == OwnerKind::EndUser;
    if args.on_behalf.is_some() && args.owner.iter().any(is_end_user) {
        return usage(
            "--as and end_user: both name an end user",
            "name a key, and the end user with --as",
        );
    }
    Ok(())
}

/// Builds the error for a project that is asked about.
fn no_caller_of_projects() -> Failure {
    let message = "LiteLLM does not look at projects when it decides who may use an MCP server";
    Failure::new(ErrorKind::Usage, message).hint("name a key of the project")
}

/// What every answer hangs on besides the rows.
struct Question<'a> {
    args: &'a AccessArgs,
    basis: AccessBasis,
    catalog: ServerCatalog,
    company: Company,
    /// The servers asked about.
    wanted: Option<ServerIds>,
    sender: &'a Sender<AccessEntry>,
}

async fn ask(
    args: &AccessArgs,
    session: &mut Session,
    sources: &ServerSources,
    head: AccessHead,
    head_sender: tokio::sync::oneshot::Sender<AccessHead>,
    sender: &Sender<AccessEntry>,
) -> Result<(), Failure> {
    let database = session.database().clone();
    let mut open = session.begin(Purpose::Read, &Choice::default()).await?;
    let (connection, schema) = open.parts();
    schema.check_access_privileges(&database)?;
    let catalog = sources.catalog(connection, schema).await?;
    warn_of_catalog(&catalog);
    let release = args.litellm_version.unwrap_or_else(|| schema.release());
    let basis = read_basis(connection, schema, sources, &catalog, release).await?;
    let question = Question {
        wanted: wanted(args, &basis.registry)?,
        args,
        basis,
        catalog,
        company: company(args, connection, schema).await?,
        sender,
    };
    let subjects = subjects(args, connection, schema, &database).await?;
    // Only a printer that is gone does not take it, and that says why itself.
    let _ = head_sender.send(AccessHead {
        release: release.to_string(),
        wanted: question.wanted.clone().unwrap_or_default(),
        ..head
    });
    for (subject, end_user) in subjects {
        let end_user = end_user.as_ref();
        match subject {
            Subject::Everybody => question.answer_all(connection, schema, end_user).await?,
            Subject::Owners(askers) => {
                question
                    .answer(connection, schema, &askers, end_user)
                    .await?;
            }
            Subject::Keys(of) => {
                question
                    .answer_keys(connection, schema, &of, end_user)
                    .await?;
            }
        }
    }
    open.rollback().await
}

/// Returns the servers that `--server` names; `None` where it names none.
fn wanted(args: &AccessArgs, registry: &Registry) -> Result<Option<ServerIds>, Failure> {
    if args.server.is_empty() {
        return Ok(None);
    }
    let newest = AccessRules::of(Release::AGENT_TOOL_KEYS_COUNT);
    let mut wanted = ServerIds::new();
    for reference in &args.server {
        let mut ids = registry.expand([reference], newest);
        ids.retain(|id| registry.get(id).is_some());
        if ids.is_empty() {
            let message = format!("--server {reference}: no server that is served is named so");
            return Err(Failure::new(ErrorKind::Error, message).hint(
                "nobody may use it; scan --reference tells who names it. A server of a \
                 config.yaml is known with --litellm-config",
            ));
        }
        wanted.extend(ids);
    }
    Ok(Some(wanted))
}

/// Finds whose access is told, and the end user on whose behalf they ask.
async fn subjects(
    args: &AccessArgs,
    connection: &mut Connection,
    schema: &Schema,
    database: &Database,
) -> Result<Vec<(Subject, Option<EndUserId>)>, Failure> {
    let end_user = match &args.on_behalf {
        Some(owner) => Some(named(owner, "--as ", connection, schema, database).await?),
        None => None,
    };
    let end_user = end_user.map(EndUserId);
    if let Some(toolset) = &args.toolset
        && !access_callers::toolsets(connection, schema)
            .await?
            .contains(toolset)
    {
        return Err(missing(&format!("toolset {toolset}")));
    }
    if args.owner.is_empty() {
        return Ok(vec![(Subject::Everybody, end_user)]);
    }
    let mut subjects = Vec::new();
    for owner in &args.owner {
        let id = named(owner, "", connection, schema, database).await?;
        let on_behalf = end_user.clone();
        subjects.push(match owner.kind {
            OwnerKind::Key => {
                let key = vec![KeyToken(id)];
                (Subject::Owners(Askers::Keys(key)), on_behalf)
            }
            OwnerKind::Team => {
                let team = vec![TeamId(id)];
                (Subject::Owners(Askers::Teams(team)), on_behalf)
            }
            OwnerKind::User => {
                let user = vec![UserId(id)];
                (Subject::Owners(Askers::Users(user)), on_behalf)
            }
            OwnerKind::Agent => (Subject::Keys(KeysOf::Agent(AgentId(id))), on_behalf),
            OwnerKind::Organization => {
                let of = KeysOf::Organization(OrganizationId(id));
                (Subject::Keys(of), on_behalf)
            }
            OwnerKind::EndUser => (Subject::Keys(KeysOf::Anybody), Some(EndUserId(id))),
            OwnerKind::Project => return Err(no_caller_of_projects()),
        });
    }
    Ok(subjects)
}

/// Builds the error for something that is not in the database.
fn missing(what: &str) -> Failure {
    let message = format!("there is no {what} in this database");
    let hint = "check how it is spelled; access without a name lists everybody";
    Failure::new(ErrorKind::Error, message).hint(hint)
}

/// Finds the id of an owner, and of a key its whole hash.
async fn named(
    owner: &NamedOwner,
    option: &str,
    connection: &mut Connection,
    schema: &Schema,
    database: &Database,
) -> Result<String, Failure> {
    let meant = named_owners::named(connection, schema, database, owner.kind, &owner.name).await?;
    let id = match meant {
        Meant::Nobody => return Err(missing(&owner.to_string())),
        Meant::Several(ids) => return Err(ambiguous(option, owner, &ids)),
        Meant::One(id) => id,
    };
    if owner.kind != OwnerKind::Key {
        return Ok(id);
    }
    let mut tokens = access_callers::tokens(connection, schema, &id).await?;
    match (tokens.pop(), tokens.is_empty()) {
        (Some(KeyToken(token)), true) => Ok(token),
        (_, false) => Err(ambiguous(option, owner, &[id])),
        (None, true) => Err(missing(&owner.to_string())),
    }
}

/// Reads who asks besides the keys, users and teams themselves.
async fn company(
    args: &AccessArgs,
    connection: &mut Connection,
    schema: &Schema,
) -> Result<Company, Failure> {
    if !args.every_caller {
        return Ok(Company::default());
    }
    let end_users = access_callers::page(connection, schema, None, usize::MAX).await?;
    let users = access_callers::page(connection, schema, None, usize::MAX).await?;
    let of_users = Callers {
        users: users.into_iter().collect(),
        ..Callers::default()
    };
    let rows = access_rows::rows(connection, schema, &of_users).await?;
    let mut humans = Vec::new();
    for (id, user) in &rows.users {
        let teams = user.teams.iter().map(|team| Some(team.clone()));
        for team in std::iter::once(None).chain(teams) {
            humans.push(Human {
                user: Some(id.clone()),
                team,
            });
        }
    }
    Ok(Company {
        end_users: end_users.into_iter().collect(),
        humans,
        users: of_users.users,
        toolsets: access_callers::toolsets(connection, schema).await?,
    })
}

impl Question<'_> {
    /// Answers for every key, every session and every team without a key.
    async fn answer_all(
        &self,
        connection: &mut Connection,
        schema: &Schema,
        end_user: Option<&EndUserId>,
    ) -> Result<(), Failure> {
        self.answer_keys(connection, schema, &KeysOf::Anybody, end_user)
            .await?;
        if end_user.is_some() {
            return Ok(());
        }
        if self.basis.rules.has_sessions() {
            self.answer_each(connection, schema, Askers::Users).await?;
        }
        if self.args.toolset.is_none() {
            self.answer_each(connection, schema, Askers::Teams).await?;
        }
        Ok(())
    }

    /// Answers for all owners of a kind.
    async fn answer_each<I: OwnerId + Clone>(
        &self,
        connection: &mut Connection,
        schema: &Schema,
        askers: fn(Vec<I>) -> Askers,
    ) -> Result<(), Failure> {
        let mut after: Option<I> = None;
        loop {
            let page = access_callers::page(connection, schema, after.as_ref(), CHUNK).await?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            after = Some(last.clone());
            self.answer(connection, schema, &askers(page), None).await?;
        }
    }

    /// Answers for the keys of somebody.
    async fn answer_keys(
        &self,
        connection: &mut Connection,
        schema: &Schema,
        of: &KeysOf,
        end_user: Option<&EndUserId>,
    ) -> Result<(), Failure> {
        let mut after: Option<KeyToken> = None;
        loop {
            let last = after.as_ref();
            let page = access_callers::keys(connection, schema, of, last, CHUNK).await?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            after = Some(last.clone());
            self.answer(connection, schema, &Askers::Keys(page), end_user)
                .await?;
        }
    }

    /// Answers for owners of one kind, in their order.
    async fn answer(
        &self,
        connection: &mut Connection,
        schema: &Schema,
        askers: &Askers,
        end_user: Option<&EndUserId>,
    ) -> Result<(), Failure> {
        let company = &self.company;
        let mut callers = Callers {
            end_users: company.end_users.clone(),
            users: company.users.clone(),
            toolsets: company.toolsets.clone(),
            ..Callers::default()
        };
        callers.toolsets.extend(self.args.toolset.clone());
        callers.end_users.extend(end_user.cloned());
        match askers {
            Askers::Keys(keys) => callers.keys.extend(keys.iter().cloned()),
            Askers::Users(users) => callers.users.extend(users.iter().cloned()),
            Askers::Teams(teams) => callers.teams.extend(teams.iter().cloned()),
        }
        let rows = access_rows::rows(connection, schema, &callers).await?;
        match askers {
            Askers::Keys(keys) => {
                for key in keys.iter().filter_map(|token| rows.keys.get(token)) {
                    let rules = self.basis.rules;
                    let callers = company.of_key(key, self.args, end_user, &rows, rules);
                    self.tell(&callers, &rows).await?;
                }
            }
            Askers::Users(users) => {
                for user in users {
                    let callers = company.of_user(user, self.args);
                    self.tell(&callers, &rows).await?;
                }
            }
            Askers::Teams(teams) => {
                for team in teams.iter().filter(|team| !team.is_of_dashboard()) {
                    self.tell(&company.of_team(team), &rows).await?;
                }
            }
        }
        Ok(())
    }

    /// Hands the entries of callers to whoever prints them.
    async fn tell(&self, callers: &[Caller], rows: &AccessRows) -> Result<(), Failure> {
        for caller in callers {
            if let Some(entry) = self.entry(caller, rows) {
                self.sender.send(Ok(entry)).await.map_err(|_| {
                    Failure::new(ErrorKind::BrokenPipe, "the report is no longer read")
                })?;
            }
        }
        Ok(())
    }

    /// Makes the entry of a caller; `None` where it is not asked about.
    fn entry(&self, caller: &Caller, rows: &AccessRows) -> Option<CallerAccess> {
        let basis = &self.basis;
        let asked = basis.model(rows);
        let explains = !self.args.owner.is_empty() || self.wanted.is_some();
        let access = if explains {
            asked.explained(caller)
        } else {
            asked.access(caller)
        };
        let is_whole = self.args.every_caller || self.args.toolset.is_some();
        if is_closed_route(&access) && !is_whole {
            return None;
        }
        if let Some(wanted) = &self.wanted
            && !wanted.iter().any(|id| access.servers.contains_key(id))
        {
            return None;
        }
        let is_settled = basis.unknown.iter().all(|setting| {
            let mut settings = basis.settings;
            setting.set(&mut settings, true);
            let switched = AccessModel { settings, ..asked };
            switched.access(caller).servers == access.servers
        });
        let steps = Some(&self.catalog).filter(|_| explains);
        let complete = basis.configs_known && is_settled;
        Some(shown(caller, &access, &asked, complete, steps))
    }
}
