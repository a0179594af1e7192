//! `access`: tells who may use which servers and tools, and why; never writes.

use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use tokio::sync::mpsc::{Sender, channel};
use tokio::sync::oneshot;

use crate::cli::connection::ConnectionArgs;
use crate::cli::output::{FileArgs, Format, OUTPUT};
use crate::cli::servers::ServerArgs;
use crate::command_line::CommandLine;
use crate::commands::access_callers::{Company, is_closed_route, place, prefix, shown};
use crate::commands::access_gone_server::{WantedServers, naming_columns};
use crate::commands::access_output::{AccessEntry, AnswerHead, AnswerOutput};
use crate::commands::access_what_if::{OtherRows, WhatIf};
use crate::database::Database;
use crate::db::access_callers::{self, KeysOf};
use crate::db::access_rows::{self, Callers};
use crate::db::named_owners::{self, Meant};
use crate::db::ordered_callers::{self, OrderedOwners};
use crate::db::purpose::Purpose;
use crate::db::schema::Schema;
use crate::db::session::{Connection, Session};
use crate::error::{ErrorKind, Failure};
use crate::exit_code::Outcome;
use crate::litellm::access::AccessModel;
use crate::litellm::access::caller::{Caller, Human};
use crate::litellm::access::registry::ServerIds;
use crate::litellm::access::rows::AccessRows;
use crate::litellm::api_key::told_apart_by;
use crate::litellm::owners::{DASHBOARD_TEAM, OwnerKind};
use crate::litellm::reference_sites::Choice;
use crate::litellm::release::Release;
use crate::litellm::server_catalog::ServerCatalog;
use crate::process::command_args::{CommandArgs, NamedFile, Work};
use crate::process::invocation::Run;
use crate::process::key_file;
use crate::process::signals::Interrupt;
use crate::process::stderr::{indented, note, warn};
use crate::repair::selection::{NamedOwner, Selection};
use crate::report::access::{AccessFormat, AccessHead, CallerAccess};
use crate::report::access_changes::ChangesHead;
use crate::report::count;
use crate::report::csv::Cells;
use crate::report::text_table::DisplayOptions;
use crate::workflow::CHUNK;
use crate::workflow::access_basis::AccessBasis;
use crate::workflow::access_comparison::PlacedAccess;
use crate::workflow::catalog_warnings::warn_of_catalog;
use crate::workflow::filters::ambiguous;
use crate::workflow::saved_access::{
    AnswerBasis, ListedCallers, NewSavedAccess, SavedAccess, SavedHeader, cannot_save, unreadable,
};
use crate::workflow::server_sources::ServerSources;

const CALLERS: &str = "Callers";
const COMPARISON: &str = "Comparison";

const ACCESS_HELP: &str = "\
Access is computed as LiteLLM computes it, from the rows, the servers and the settings; no proxy \
is asked. Without --litellm-config, the servers and settings of a config.yaml are not known: where \
they may change an answer, the report says so.

Examples:
  mcp-prune access key:ci-bot            (what a key may use, level by level)
  mcp-prune access --server github       (who may use a server, through what)
  mcp-prune access --format csv          (everybody, for an access review)
  mcp-prune access --save before.ndjson  (then upgrade LiteLLM, or edit its config)
  mcp-prune access --since before.ndjson (who gained, who lost)
  mcp-prune access --since before.ndjson --litellm-version 1.110.2

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
    pub toolset: Option<String>,
    /// Explain the access of this key, read from a file that holds the key alone; - is stdin
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath,
          help_heading = CALLERS)]
    pub key_file: Option<PathBuf>,
    /// Apply the rules of this release of LiteLLM [default: the one that the schema implies]
    #[arg(long, value_name = "VERSION", help_heading = CALLERS)]
    pub litellm_version: Option<Release>,
    /// Save who may use what in a new file, and print nothing
    ///
    /// Compare with it by --since, before and after an upgrade of LiteLLM, an edit of a config, or
    /// a run of Terraform. The file holds no key and no secret, and only you may read it.
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath,
          help_heading = COMPARISON)]
    pub save: Option<PathBuf>,
    /// Report who gained and who lost servers and tools since this file was saved
    ///
    /// Name the same callers as when it was saved. With --litellm-version it tells who would gain
    /// and who would lose by that release. Exits with 2 where somebody gained or lost.
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath,
          help_heading = COMPARISON)]
    pub since: Option<PathBuf>,
    /// Compare even if the file is of another database, such as a replica under another host name
    #[arg(long, help_heading = COMPARISON)]
    pub other_database: bool,
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

    fn key_file(&self) -> Option<&Path> {
        self.key_file.as_deref().and_then(key_file::named_file)
    }

    fn own_files(&self) -> Vec<NamedFile<'_>> {
        let files = [("--save", &self.save), ("--since", &self.since)];
        let named = files.into_iter();
        named
            .filter_map(|(option, file)| Some((option, file.as_deref()?)))
            .collect()
    }
}

impl AccessArgs {
    /// Tells whether callers are listed in an order in which they can be compared.
    fn is_ordered(&self) -> bool {
        self.save.is_some() || self.since.is_some()
    }

    /// Returns the owners asked about, that of `--key-file` too.
    fn owners(&self) -> Result<Vec<NamedOwner>, Failure> {
        let key = self.key_file.as_deref().map(key_file::read).transpose()?;
        Ok(self.owner.iter().cloned().chain(key).collect())
    }

    /// Returns the command that compares with a file that these options saved.
    fn comparison(&self, saved: &Path) -> CommandLine {
        let Self {
            owner,
            connection,
            servers,
            server: _,
            every_caller,
            on_behalf,
            toolset,
            key_file,
            // The rules of then are in the file; those of now are what is asked.
            litellm_version: _,
            save: _,
            since: _,
            other_database: _,
            format: _,
            csv_raw: _,
            limit: _,
            file: _,
        } = self;
        let mut command = CommandLine::new("access");
        for owner in owner {
            command.flag(&owner.argument());
        }
        command.option("--since", saved);
        connection.repeat(&mut command);
        servers.repeat(&mut command);
        command.flag_if("--every-caller", *every_caller);
        command.options("--as", on_behalf.as_ref().map(NamedOwner::argument));
        command.options("--toolset", toolset);
        command.options("--key-file", key_file);
        command
    }
}

/// Whose access is told.
enum Subject {
    /// Every key, session and team.
    Everybody,
    /// The callers of this owner.
    Owner(OwnerKind, String),
    /// The keys of an owner.
    Keys(KeysOf),
}

/// Entries that wait to be printed.
const WAITING: usize = 256;

/// Runs `access`.
///
/// # Errors
///
/// Why the database could not be read or the report not be written.
pub(crate) async fn run(args: &AccessArgs, run: &mut Run) -> Result<Outcome, Failure> {
    let owners = args.owners()?;
    check(args, &owners)?;
    let sources = ServerSources::of_servers(&args.servers)?;
    let saving = args.save.as_deref().map(NewSavedAccess::beside);
    let saving = saving.transpose()?;
    let since = args.since.as_deref().map(SavedAccess::open).transpose()?;
    let mut interrupt = Interrupt::listen()?;
    let timeout = args.connection.statement_timeout;
    let opening = Box::pin(args.connection.open(timeout, run));
    let mut session = interrupt.guard(opening).await?;
    let (sender, entries) = channel(WAITING);
    let (head_sender, head) = oneshot::channel();
    let (done, mut written) = oneshot::channel();
    let output = AnswerOutput {
        format: format(args, run),
        head,
        entries,
        saving: saving.as_ref().map(NewSavedAccess::writer).transpose()?,
        then: since.as_ref().map(SavedAccess::callers).transpose()?,
        done,
    };
    let id = run.id().to_owned();
    let asking = async {
        let inquiry = Inquiry {
            args,
            owners: &owners,
            run: id,
            sources: &sources,
            since: since.as_ref(),
        };
        let asked = Box::pin(inquiry.ask(&mut session, head_sender, &sender)).await;
        if asked.is_err() {
            // Where nobody prints any more, its own failure says why.
            let _ = sender.send(Err(())).await;
        }
        drop(sender);
        asked
    };
    let printing = run.report.write(&mut interrupt, |out| output.write(out));
    let answered = {
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
    };
    // After a signal, the thread that writes may still wait for a reader.
    let written = written.try_recv().unwrap_or_default();
    if let (Some(error), Some(path)) = (written.save_error, &args.save) {
        return Err(cannot_save(path, error));
    }
    if let (Some(error), Some(path)) = (written.since_error, &args.since) {
        return Err(unreadable(path, error));
    }
    answered?;
    session.close().await;
    if let (Some(saving), Some(path)) = (saving, &args.save) {
        saving.place()?;
        tell_saved(args, path, written.saved, written.incomplete);
    }
    let counts = written.counts.unwrap_or_default();
    Ok(Outcome::Looked {
        found: counts.tell_a_change(),
    })
}

/// Tells what was saved, and the command that compares with it.
fn tell_saved(args: &AccessArgs, path: &Path, callers: usize, incomplete: usize) {
    let compare = args.comparison(path);
    note(format_args!(
        "saved the access of {} in {}. To tell later who gained and who lost:\n{}",
        count(callers, "caller"),
        path.display(),
        indented(&compare)
    ));
    if incomplete > 0 {
        warn(format_args!(
            "the access of {} is not certain: name the proxy's config with --litellm-config, then \
             save to another file",
            count(incomplete, "caller")
        ));
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
fn check(args: &AccessArgs, owners: &[NamedOwner]) -> Result<(), Failure> {
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
    if owners.iter().any(|owner| owner.kind == OwnerKind::Project) {
        return usage(
            "LiteLLM does not look at projects when it decides who may use an MCP server",
            "name a key of the project",
        );
    }
    let is_end_user = |owner: &NamedOwner| owner.kind == OwnerKind::EndUser;
    if args.on_behalf.is_some() && owners.iter().any(is_end_user) {
        return usage(
            "--as and end_user: both name an end user",
            "name a key, and the end user with --as",
        );
    }
    Ok(())
}

/// What is asked, and of what.
struct Inquiry<'a> {
    args: &'a AccessArgs,
    /// The owners asked about, that of `--key-file` too.
    owners: &'a [NamedOwner],
    run: String,
    sources: &'a ServerSources,
    since: Option<&'a SavedAccess>,
}

/// What every answer hangs on besides the rows.
struct Question<'a> {
    args: &'a AccessArgs,
    /// Whether owners were named.
    names_owners: bool,
    basis: AccessBasis,
    catalog: ServerCatalog,
    company: Company,
    /// The servers asked about.
    wanted: Option<ServerIds>,
    sender: &'a Sender<AccessEntry>,
}

/// Those asked about, and what they have in common.
struct AskedCallers {
    /// The position of the owner that was named.
    subject: usize,
    /// The end user on whose behalf they ask.
    end_user: Option<String>,
}

impl Inquiry<'_> {
    async fn ask(
        &self,
        session: &mut Session,
        head_sender: oneshot::Sender<AnswerHead>,
        sender: &Sender<AccessEntry>,
    ) -> Result<(), Failure> {
        let args = self.args;
        let database = session.database().clone();
        if let Some(since) = self.since.filter(|_| !args.other_database) {
            since.refuse_another_database(&database)?;
        }
        let mut open = session.begin(Purpose::Read, &Choice::default()).await?;
        let (connection, schema) = open.parts();
        schema.check_access_privileges(&database)?;
        let catalog = self.sources.catalog(connection, schema).await?;
        warn_of_catalog(&catalog);
        let release = args.litellm_version.unwrap_or_else(|| schema.release());
        let basis = AccessBasis::read(connection, schema, self.sources, &catalog, release).await?;
        let wanted = WantedServers::named(&args.server, &basis.registry)?;
        let named = self.named(connection, schema, &database).await?;
        let wanted = match wanted {
            WantedServers::Served(wanted) => wanted,
            WantedServers::Gone(gone) => {
                let selection = named.selection();
                let named = naming_columns(connection, schema, &catalog, &selection, &gone).await?;
                let head = AnswerHead {
                    head: self.access_head(database, release, None),
                    named: Some(named),
                    saved: None,
                    changes: None,
                };
                let _ = head_sender.send(head);
                return open.rollback().await;
            }
        };
        let question = Question {
            wanted,
            args,
            names_owners: !self.owners.is_empty(),
            basis,
            catalog,
            company: company(args, connection, schema).await?,
            sender,
        };
        let head = self.head(&question, database, release, &named)?;
        // Only a printer that is gone does not take it, and that says why itself.
        let _ = head_sender.send(head);
        for (subject, (subjects, end_user)) in named.subjects().into_iter().enumerate() {
            let asked = AskedCallers { subject, end_user };
            match subjects {
                Subject::Everybody => question.answer_all(connection, schema, &asked).await?,
                Subject::Owner(kind, id) => {
                    let ids = [id];
                    question
                        .answer(connection, schema, kind, &ids, &asked)
                        .await?;
                }
                Subject::Keys(of) => {
                    question
                        .answer_keys(connection, schema, &of, &asked)
                        .await?;
                }
            }
        }
        open.rollback().await
    }

    fn access_head(
        &self,
        database: Database,
        release: Release,
        wanted: Option<&ServerIds>,
    ) -> AccessHead {
        AccessHead {
            run: self.run.clone(),
            database,
            release: release.to_string(),
            wanted: wanted.into_iter().flatten().cloned().collect(),
        }
    }

    /// Builds what is known before the first caller, and refuses a saved file of other callers.
    fn head(
        &self,
        question: &Question<'_>,
        database: Database,
        release: Release,
        named: &NamedCallers,
    ) -> Result<AnswerHead, Failure> {
        let args = self.args;
        let basis = AnswerBasis {
            release: release.to_string(),
            release_was_named: args.litellm_version.is_some(),
            configs_known: question.basis.configs_known,
            settings: question.basis.known_settings(),
        };
        let listed = ListedCallers {
            every_caller: args.every_caller,
            end_user: named.end_user.clone(),
            toolset: args.toolset.clone(),
            owners: named.shown(),
        };
        if let Some(since) = self.since {
            since.refuse_other_options(&listed)?;
        }
        let saved = args.save.as_ref();
        let header = |_| SavedHeader::new(&self.run, &database, listed, basis.clone());
        let saved = saved.map(header);
        let head = self.access_head(database, release, question.wanted.as_ref());
        let changes = self.since.map(|since| ChangesHead {
            head: head.clone(),
            then: since.shown(),
            now: basis.shown(),
            release_is_named: basis.release_was_named,
        });
        Ok(AnswerHead {
            head,
            named: None,
            saved,
            changes,
        })
    }
}

/// Those whose access is told, by their ids.
struct NamedCallers {
    /// The owners, of a key its whole hash.
    owners: Vec<(OwnerKind, String)>,
    /// The end user of `--as`.
    end_user: Option<String>,
}

impl Inquiry<'_> {
    /// Finds whose access is told, and the end user on whose behalf they ask.
    async fn named(
        &self,
        connection: &mut Connection,
        schema: &Schema,
        database: &Database,
    ) -> Result<NamedCallers, Failure> {
        let args = self.args;
        let end_user = match &args.on_behalf {
            Some(owner) => Some(named(owner, "--as ", connection, schema, database).await?),
            None => None,
        };
        if let Some(toolset) = &args.toolset
            && !access_callers::toolsets(connection, schema)
                .await?
                .contains(toolset)
        {
            return Err(missing(&format!("toolset {toolset}")));
        }
        let mut owners = Vec::new();
        for owner in self.owners {
            let id = named(owner, "", connection, schema, database).await?;
            owners.push((owner.kind, id));
        }
        if args.is_ordered() {
            owners.sort();
            owners.dedup();
        }
        Ok(NamedCallers { owners, end_user })
    }
}

impl NamedCallers {
    /// Returns the owners as a saved file has them.
    fn shown(&self) -> Vec<String> {
        let shown = self.owners.iter().map(|(kind, id)| match kind {
            OwnerKind::Key => format!("key:{}", told_apart_by(id)),
            kind => format!("{}:{id}", kind.name()),
        });
        shown.collect()
    }

    /// Selects the rows of these owners; every row where none is named.
    fn selection(&self) -> Selection {
        let owners = self.owners.iter().map(|(kind, id)| match kind {
            OwnerKind::Key => (*kind, prefix(id)),
            kind => (*kind, id.clone()),
        });
        Selection {
            owners: owners.collect(),
            ..Selection::default()
        }
    }

    /// Lists whose callers are read, each with the end user on whose behalf they ask.
    fn subjects(self) -> Vec<(Subject, Option<String>)> {
        let Self { owners, end_user } = self;
        if owners.is_empty() {
            return vec![(Subject::Everybody, end_user)];
        }
        let subjects = owners.into_iter().map(|(kind, id)| match kind {
            OwnerKind::Agent => (Subject::Keys(KeysOf::Agent(id)), end_user.clone()),
            OwnerKind::Organization => (Subject::Keys(KeysOf::Organization(id)), end_user.clone()),
            OwnerKind::EndUser => (Subject::Keys(KeysOf::Anybody), Some(id)),
            OwnerKind::Key | OwnerKind::Team | OwnerKind::User | OwnerKind::Project => {
                (Subject::Owner(kind, id), end_user.clone())
            }
        });
        subjects.collect()
    }
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
        (Some(token), true) => Ok(token),
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
    let mut all = Vec::new();
    for kind in [OwnerKind::EndUser, OwnerKind::User] {
        let ids = access_callers::page(connection, schema, kind, None, usize::MAX).await?;
        all.push(ids);
    }
    let (end_users, users) = match <[Vec<String>; 2]>::try_from(all) {
        Ok([end_users, users]) => (end_users, users),
        Err(_) => (Vec::new(), Vec::new()),
    };
    let of_users = Callers {
        users: users.iter().cloned().collect(),
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
        users: users.into_iter().collect(),
        toolsets: access_callers::toolsets(connection, schema).await?,
    })
}

impl Question<'_> {
    /// Answers for every key, every session and every team without a key.
    async fn answer_all(
        &self,
        connection: &mut Connection,
        schema: &Schema,
        asked: &AskedCallers,
    ) -> Result<(), Failure> {
        self.answer_keys(connection, schema, &KeysOf::Anybody, asked)
            .await?;
        let mut kinds = Vec::new();
        if self.basis.rules.has_sessions() && asked.end_user.is_none() {
            kinds.push(OwnerKind::User);
        }
        if asked.end_user.is_none() && self.args.toolset.is_none() {
            kinds.push(OwnerKind::Team);
        }
        for kind in kinds {
            if self.args.is_ordered() {
                let owners = OrderedOwners::All(kind);
                self.answer_in_order(connection, schema, &owners, kind, asked)
                    .await?;
                continue;
            }
            let mut after: Option<String> = None;
            loop {
                let last = after.as_deref();
                let ids = access_callers::page(connection, schema, kind, last, CHUNK).await?;
                let Some(last) = ids.last() else { break };
                after = Some(last.clone());
                self.answer(connection, schema, kind, &ids, asked).await?;
            }
        }
        Ok(())
    }

    /// Answers for the keys of somebody.
    async fn answer_keys(
        &self,
        connection: &mut Connection,
        schema: &Schema,
        of: &KeysOf,
        asked: &AskedCallers,
    ) -> Result<(), Failure> {
        let kind = OwnerKind::Key;
        if self.args.is_ordered() {
            let owners = OrderedOwners::Keys(of);
            return self
                .answer_in_order(connection, schema, &owners, kind, asked)
                .await;
        }
        let mut after: Option<String> = None;
        loop {
            let last = after.as_deref();
            let ids = access_callers::keys(connection, schema, of, last, CHUNK).await?;
            let Some(last) = ids.last() else {
                return Ok(());
            };
            after = Some(last.clone());
            self.answer(connection, schema, kind, &ids, asked).await?;
        }
    }

    /// Answers for owners in the order of a saved file.
    async fn answer_in_order(
        &self,
        connection: &mut Connection,
        schema: &Schema,
        owners: &OrderedOwners<'_>,
        kind: OwnerKind,
        asked: &AskedCallers,
    ) -> Result<(), Failure> {
        if !ordered_callers::begin(connection, schema, owners).await? {
            return Ok(());
        }
        loop {
            let ids = ordered_callers::next(connection, schema).await?;
            if ids.is_empty() {
                return Ok(());
            }
            self.answer(connection, schema, kind, &ids, asked).await?;
        }
    }

    /// Answers for owners of one kind, in their order.
    async fn answer(
        &self,
        connection: &mut Connection,
        schema: &Schema,
        kind: OwnerKind,
        ids: &[String],
        asked: &AskedCallers,
    ) -> Result<(), Failure> {
        let end_user = asked.end_user.as_deref();
        let mut callers = Callers {
            end_users: self.company.end_users.clone(),
            users: self.company.users.clone(),
            toolsets: self.company.toolsets.clone(),
            ..Callers::default()
        };
        callers.toolsets.extend(self.args.toolset.clone());
        callers.end_users.extend(end_user.map(str::to_owned));
        let asking = match kind {
            OwnerKind::Key => &mut callers.keys,
            OwnerKind::User => &mut callers.users,
            OwnerKind::Team
            | OwnerKind::Organization
            | OwnerKind::Project
            | OwnerKind::EndUser
            | OwnerKind::Agent => &mut callers.teams,
        };
        asking.extend(ids.iter().cloned());
        let rows = access_rows::rows(connection, schema, &callers).await?;
        let mut other_rows = OtherRows::default();
        for id in ids {
            let mut callers = match kind {
                OwnerKind::Key => match rows.keys.get(id) {
                    Some(key) => {
                        let (company, rules) = (&self.company, self.basis.rules);
                        company.of_key(key, self.args, end_user, &rows, rules)
                    }
                    None => Vec::new(),
                },
                OwnerKind::User => self.company.of_user(id, self.args),
                OwnerKind::Team if id == DASHBOARD_TEAM => Vec::new(),
                OwnerKind::Team
                | OwnerKind::Organization
                | OwnerKind::Project
                | OwnerKind::EndUser
                | OwnerKind::Agent => self.company.of_team(id),
            };
            if self.args.is_ordered() {
                callers.sort_by_cached_key(|caller| place(caller, asked.subject));
            }
            for caller in &callers {
                if let Some(access) = self.entry(caller, &rows, &mut other_rows) {
                    let place = place(caller, asked.subject);
                    let entry = PlacedAccess { place, access };
                    self.sender.send(Ok(entry)).await.map_err(|_| {
                        Failure::new(ErrorKind::BrokenPipe, "the report is no longer read")
                    })?;
                }
            }
        }
        Ok(())
    }

    /// Tells whether each answer is explained. What is saved or compared is not.
    fn explains(&self) -> bool {
        !self.args.is_ordered() && (self.names_owners || self.wanted.is_some())
    }

    /// Makes the entry of a caller; `None` where it is not asked about.
    fn entry(
        &self,
        caller: &Caller,
        rows: &AccessRows,
        other_rows: &mut OtherRows,
    ) -> Option<CallerAccess> {
        let basis = &self.basis;
        let asked = basis.model(rows);
        let explains = self.explains();
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
        let mut entry = shown(caller, &access, &asked, complete, steps);
        if explains && self.wanted.is_none() {
            let what_if = WhatIf {
                args: self.args,
                model: &asked,
                catalog: &self.catalog,
            };
            entry.would_change = what_if.of(caller, &access, other_rows);
        }
        Some(entry)
    }
}
