//! `access`: tells who may use which servers and tools, and why; never writes.

use std::io;

use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::access_callers::{Company, is_closed_route, shown};
use super::asked::{ambiguous, nothing};
use super::run::Run;
use super::{Beyond, CHUNK, Interrupt, warn_of_config_servers, warn_unset};
use crate::cli::{AccessArgs, Format};
use crate::db::access_rows::{self, Callers};
use crate::db::named_owners::{self, Meant};
use crate::db::schema::{Database, Purpose, Schema};
use crate::db::session::{Connection, Session};
use crate::db::{access_callers, access_registry, access_settings};
use crate::exit::Outcome;
use crate::failure::{Failure, Kind};
use crate::litellm::access::AccessModel;
use crate::litellm::access::caller::{AccessSetting, AccessSettings, Caller, Human, SETTINGS};
use crate::litellm::access::registry::{Registry, ServerIds};
use crate::litellm::access::rows::AccessRows;
use crate::litellm::access::rules::AccessRules;
use crate::litellm::owners::{DASHBOARD_TEAM, OwnerKind};
use crate::litellm::release::Release;
use crate::litellm::server::ServerCatalog;
use crate::litellm::sites::Choice;
use crate::report::access::{self, AccessFormat, AccessHead, CallerAccess};
use crate::report::csv::Cells;
use crate::report::grid::Look;

/// Entries that wait to be printed.
const WAITING: usize = 256;

/// Whose turn it is to be printed; `Err` where the command failed.
type Entry = Result<CallerAccess, ()>;

/// Runs `access`.
///
/// # Errors
///
/// Why the database could not be read or the report not be written.
pub async fn run(args: &AccessArgs, run: &mut Run) -> Result<Outcome, Failure> {
    check(args)?;
    let beyond = Beyond::read(&args.servers)?;
    let mut interrupt = Interrupt::listen()?;
    let timeout = args.connection.statement_timeout;
    let opening = Box::pin(args.connection.open(timeout, run));
    let mut session = interrupt.guard(opening).await?;
    let (sender, entries) = channel(WAITING);
    let head = AccessHead {
        run: run.id().to_owned(),
        database: session.database().to_string(),
        release: String::new(),
    };
    let (head_sender, head_receiver) = tokio::sync::oneshot::channel();
    let format = format(args, run);
    let asking = async {
        let asked = Box::pin(ask(args, &mut session, &beyond, head, head_sender, &sender)).await;
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
    let (asked, printed) = tokio::join!(asking, printing);
    session.close().await;
    // The report is cut short because the question failed, not the other way round.
    match (asked, printed) {
        (Err(failure), _) if failure.kind() != Kind::BrokenPipe => Err(failure),
        (_, printed) => printed.map(|()| Outcome::Looked { found: false }),
    }
}

fn print(
    format: AccessFormat,
    head: tokio::sync::oneshot::Receiver<AccessHead>,
    mut entries: Receiver<Entry>,
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
        Format::Table => AccessFormat::Table(Look {
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
        Err(Failure::new(Kind::Usage, message.to_owned()).hint(hint))
    };
    if args
        .on_behalf
        .as_ref()
        .is_some_and(|owner| owner.kind != OwnerKind::EndUser)
    {
        return usage(
            "only an end user has others ask on its behalf",
            "say --as end_user:ID",
        );
    }
    match args.caller.as_ref().map(|caller| caller.kind) {
        None | Some(OwnerKind::Key | OwnerKind::Team | OwnerKind::User) => Ok(()),
        Some(_) => usage(
            "only keys, teams and users ask for tools",
            "name a key of it; an end user goes with a key: access key:NAME --as end_user:ID",
        ),
    }
}

/// What every answer hangs on besides the rows.
struct Question<'a> {
    args: &'a AccessArgs,
    registry: Registry,
    catalog: ServerCatalog,
    rules: AccessRules,
    settings: AccessSettings,
    /// The settings that are not known.
    unknown: Vec<AccessSetting>,
    configs_known: bool,
    company: Company,
    /// The servers asked about.
    wanted: Option<ServerIds>,
    sender: &'a Sender<Entry>,
}

async fn ask(
    args: &AccessArgs,
    session: &mut Session,
    beyond: &Beyond,
    head: AccessHead,
    head_sender: tokio::sync::oneshot::Sender<AccessHead>,
    sender: &Sender<Entry>,
) -> Result<(), Failure> {
    let database = session.database().clone();
    let mut open = session.begin(Purpose::Read, &Choice::default()).await?;
    let (connection, schema) = open.parts();
    schema.check_access_privileges(&database)?;
    let catalog = beyond.catalog(connection, schema).await?;
    warn_unset(&catalog);
    warn_of_config_servers(&catalog);
    let release = args.litellm_version.unwrap_or_else(|| schema.release());
    let rules = AccessRules::of(release);
    let configured = catalog.config().servers();
    let registry = access_registry::registry(connection, schema, configured, rules).await?;
    let (settings, unknown) = settings(connection, schema, beyond).await?;
    let question = Question {
        wanted: wanted(args, &registry)?,
        args,
        registry,
        catalog,
        rules,
        settings,
        unknown,
        configs_known: beyond.knows_configs(),
        company: company(args, connection, schema).await?,
        sender,
    };
    let named = named(args, connection, schema, &database).await?;
    // Only a printer that is gone does not take it, and that says why itself.
    let _ = head_sender.send(AccessHead {
        release: release.to_string(),
        ..head
    });
    match named {
        Some((kind, id)) => question.answer(connection, schema, kind, vec![id]).await?,
        None => question.answer_all(connection, schema).await?,
    }
    open.rollback().await
}

/// Returns the servers that `--server` means.
fn wanted(args: &AccessArgs, registry: &Registry) -> Result<Option<ServerIds>, Failure> {
    let Some(reference) = &args.server else {
        return Ok(None);
    };
    let newest = AccessRules::of(Release::AGENT_TOOL_KEYS_COUNT);
    let mut ids = registry.expand([reference], newest);
    ids.retain(|id| registry.get(id).is_some());
    if ids.is_empty() {
        let message =
            format!("--server {reference}: no server that is served has this id, alias or name");
        return Err(Failure::new(Kind::Error, message).hint(
            "nobody may use it; scan --reference tells who names it. A server of a config.yaml is \
             known with --litellm-config",
        ));
    }
    Ok(Some(ids))
}

/// Reads the settings; those that neither a config nor the database tells are not known.
async fn settings(
    connection: &mut Connection,
    schema: &Schema,
    beyond: &Beyond,
) -> Result<(AccessSettings, Vec<AccessSetting>), Failure> {
    let (mut settings, mut unknown) = (AccessSettings::default(), Vec::new());
    for setting in SETTINGS {
        let configured = beyond.is_on(setting.section, setting.name);
        let saved = access_settings::saved(connection, schema, setting).await?;
        match saved.or(configured) {
            Some(on) => setting.set(&mut settings, on),
            None => unknown.push(setting),
        }
    }
    Ok((settings, unknown))
}

/// Finds the caller that the operator named.
async fn named(
    args: &AccessArgs,
    connection: &mut Connection,
    schema: &Schema,
    database: &Database,
) -> Result<Option<(OwnerKind, String)>, Failure> {
    let Some(owner) = &args.caller else {
        return Ok(None);
    };
    let meant = named_owners::named(connection, schema, database, owner.kind, &owner.name).await?;
    let id = match meant {
        Meant::Nobody => return Err(nothing("access", &owner.to_string())),
        Meant::Several(ids) => return Err(ambiguous("", owner, &ids)),
        Meant::One(id) => id,
    };
    if owner.kind != OwnerKind::Key {
        return Ok(Some((owner.kind, id)));
    }
    let mut tokens = access_callers::tokens(connection, schema, &id).await?;
    match (tokens.pop(), tokens.is_empty()) {
        (Some(token), true) => Ok(Some((owner.kind, token))),
        (_, false) => Err(ambiguous("", owner, &[id])),
        (None, true) => Err(nothing("access", &owner.to_string())),
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
    ) -> Result<(), Failure> {
        let kinds = [OwnerKind::Key, OwnerKind::User, OwnerKind::Team];
        let asks = |kind: &OwnerKind| match kind {
            OwnerKind::User => self.rules.has_sessions() && self.args.on_behalf.is_none(),
            OwnerKind::Team => self.args.on_behalf.is_none() && self.args.toolset.is_none(),
            _ => true,
        };
        for kind in kinds.into_iter().filter(asks) {
            let mut after: Option<String> = None;
            loop {
                let last = after.as_deref();
                let ids = access_callers::page(connection, schema, kind, last, CHUNK).await?;
                let Some(last) = ids.last() else { break };
                after = Some(last.clone());
                self.answer(connection, schema, kind, ids).await?;
            }
        }
        Ok(())
    }

    /// Answers for owners of one kind, in their order.
    async fn answer(
        &self,
        connection: &mut Connection,
        schema: &Schema,
        kind: OwnerKind,
        ids: Vec<String>,
    ) -> Result<(), Failure> {
        let mut callers = Callers {
            end_users: self.company.end_users.clone(),
            users: self.company.users.clone(),
            toolsets: self.company.toolsets.clone(),
            ..Callers::default()
        };
        callers.toolsets.extend(self.args.toolset.clone());
        let on_behalf = self.args.on_behalf.as_ref();
        callers
            .end_users
            .extend(on_behalf.map(|owner| owner.name.clone()));
        let asking = match kind {
            OwnerKind::Key => &mut callers.keys,
            OwnerKind::User => &mut callers.users,
            _ => &mut callers.teams,
        };
        asking.extend(ids.iter().cloned());
        let rows = access_rows::rows(connection, schema, &callers).await?;
        for id in &ids {
            let callers = match kind {
                OwnerKind::Key => match rows.keys.get(id) {
                    Some(key) => self.company.of_key(key, self.args, &rows, self.rules),
                    None => Vec::new(),
                },
                OwnerKind::User => self.company.of_user(id, self.args),
                _ if id == DASHBOARD_TEAM => Vec::new(),
                _ => self.company.of_team(id),
            };
            for caller in &callers {
                if let Some(entry) = self.entry(caller, &rows) {
                    self.sender.send(Ok(entry)).await.map_err(|_| {
                        Failure::new(Kind::BrokenPipe, "the report is no longer read")
                    })?;
                }
            }
        }
        Ok(())
    }

    /// Makes the entry of a caller; `None` where it is not asked about.
    fn entry(&self, caller: &Caller, rows: &AccessRows) -> Option<CallerAccess> {
        let model = |settings| AccessModel {
            rows,
            registry: &self.registry,
            rules: self.rules,
            settings,
        };
        let asked = model(self.settings);
        let explains = self.args.caller.is_some() || self.wanted.is_some();
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
        let is_settled = self.unknown.iter().all(|setting| {
            let mut settings = self.settings;
            setting.set(&mut settings, true);
            model(settings).access(caller).servers == access.servers
        });
        let steps = Some(&self.catalog).filter(|_| explains);
        let complete = self.configs_known && is_settled;
        Some(shown(caller, &access, &asked, complete, steps))
    }
}
