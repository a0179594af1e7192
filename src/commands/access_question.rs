//! `access`: asks for the callers, in chunks, and answers for each.

use tokio::sync::mpsc::Sender;
use tokio::sync::oneshot;

use crate::commands::access::{AccessArgs, no_caller_of_projects};
use crate::commands::access_callers::{Company, is_closed_route, place, shown};
use crate::commands::access_gone_server::{WantedServers, naming_columns};
use crate::commands::access_output::{AccessEntry, AnswerHead};
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
use crate::litellm::access::AccessModel;
use crate::litellm::access::basis::AccessBasis;
use crate::litellm::access::caller::{Caller, Human};
use crate::litellm::access::registry::ServerIds;
use crate::litellm::access::rows::AccessRows;
use crate::litellm::api_key::{shown_prefix, told_apart_by};
use crate::litellm::ids::{AgentId, EndUserId, KeyToken, OrganizationId, TeamId, UserId};
use crate::litellm::owners::{OwnerId, OwnerKind};
use crate::litellm::reference_sites::Choice;
use crate::litellm::release::Release;
use crate::litellm::server_catalog::ServerCatalog;
use crate::repair::selection::{NamedOwner, Selection};
use crate::report::access::{AccessHead, CallerAccess};
use crate::report::access_changes::ChangesHead;
use crate::workflow::CHUNK;
use crate::workflow::access_basis::read_basis;
use crate::workflow::catalog_warnings::warn_of_catalog;
use crate::workflow::filters::ambiguous;
use crate::workflow::saved_access::{AnswerBasis, ListedCallers, SavedAccess, SavedHeader};
use crate::workflow::saved_access_comparison::PlacedAccess;
use crate::workflow::server_sources::ServerSources;

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

/// What is asked, and of what.
pub(super) struct Inquiry<'a> {
    pub(super) args: &'a AccessArgs,
    /// The owners asked about, that of `--key-file` too.
    pub(super) owners: &'a [NamedOwner],
    /// The name of the run.
    pub(super) run: String,
    pub(super) sources: &'a ServerSources,
    /// What access is compared with.
    pub(super) since: Option<&'a SavedAccess>,
}

/// What every answer depends on besides the rows.
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
    end_user: Option<EndUserId>,
}

impl Inquiry<'_> {
    /// Asks, and sends what is known first and then every caller.
    pub(super) async fn ask(
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
        let basis = read_basis(connection, schema, self.sources, &catalog, release).await?;
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
        for (subject, (subjects, end_user)) in named.subjects()?.into_iter().enumerate() {
            let asked = AskedCallers { subject, end_user };
            match subjects {
                Subject::Everybody => question.answer_all(connection, schema, &asked).await?,
                Subject::Owners(askers) => {
                    question.answer(connection, schema, &askers, &asked).await?;
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
            wanted: wanted.cloned().unwrap_or_default(),
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
    end_user: Option<EndUserId>,
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
        let end_user = end_user.map(EndUserId);
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
        let shown = self.owners.iter().map(|(kind, id)| {
            if *kind == OwnerKind::Key {
                format!("key:{}", told_apart_by(id))
            } else {
                format!("{}:{id}", kind.name())
            }
        });
        shown.collect()
    }

    /// Selects the rows of these owners; every row where none is named.
    fn selection(&self) -> Selection {
        let owners = self.owners.iter().map(|(kind, id)| {
            let id = if *kind == OwnerKind::Key {
                shown_prefix(id)
            } else {
                id.clone()
            };
            (*kind, id)
        });
        Selection {
            owners: owners.collect(),
            ..Selection::default()
        }
    }

    /// Lists whose callers are read, each with the end user on whose behalf they ask.
    fn subjects(self) -> Result<Vec<(Subject, Option<EndUserId>)>, Failure> {
        let Self { owners, end_user } = self;
        if owners.is_empty() {
            return Ok(vec![(Subject::Everybody, end_user)]);
        }
        let subject = |(kind, id)| {
            let subject = match kind {
                OwnerKind::Key => Subject::Owners(Askers::Keys(vec![KeyToken(id)])),
                OwnerKind::Team => Subject::Owners(Askers::Teams(vec![TeamId(id)])),
                OwnerKind::User => Subject::Owners(Askers::Users(vec![UserId(id)])),
                OwnerKind::Agent => Subject::Keys(KeysOf::Agent(AgentId(id))),
                OwnerKind::Organization => Subject::Keys(KeysOf::Organization(OrganizationId(id))),
                OwnerKind::EndUser => {
                    return Ok((Subject::Keys(KeysOf::Anybody), Some(EndUserId(id))));
                }
                OwnerKind::Project => return Err(no_caller_of_projects()),
            };
            Ok((subject, end_user.clone()))
        };
        owners.into_iter().map(subject).collect()
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
        asked: &AskedCallers,
    ) -> Result<(), Failure> {
        self.answer_keys(connection, schema, &KeysOf::Anybody, asked)
            .await?;
        if asked.end_user.is_some() {
            return Ok(());
        }
        if self.basis.rules.has_sessions() {
            self.answer_each(connection, schema, Askers::Users, asked)
                .await?;
        }
        if self.args.toolset.is_none() {
            self.answer_each(connection, schema, Askers::Teams, asked)
                .await?;
        }
        Ok(())
    }

    /// Answers for all owners of a kind.
    async fn answer_each<I: OwnerId + Clone>(
        &self,
        connection: &mut Connection,
        schema: &Schema,
        askers: fn(Vec<I>) -> Askers,
        asked: &AskedCallers,
    ) -> Result<(), Failure> {
        if self.args.is_ordered() {
            let owners = OrderedOwners::All(I::KIND);
            return self
                .answer_in_order(connection, schema, &owners, askers, asked)
                .await;
        }
        let mut after: Option<I> = None;
        loop {
            let page = access_callers::page(connection, schema, after.as_ref(), CHUNK).await?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            after = Some(last.clone());
            self.answer(connection, schema, &askers(page), asked)
                .await?;
        }
    }

    /// Answers for the keys of somebody.
    async fn answer_keys(
        &self,
        connection: &mut Connection,
        schema: &Schema,
        of: &KeysOf,
        asked: &AskedCallers,
    ) -> Result<(), Failure> {
        if self.args.is_ordered() {
            let owners = OrderedOwners::Keys(of);
            return self
                .answer_in_order(connection, schema, &owners, Askers::Keys, asked)
                .await;
        }
        let mut after: Option<KeyToken> = None;
        loop {
            let last = after.as_ref();
            let page = access_callers::keys(connection, schema, of, last, CHUNK).await?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            after = Some(last.clone());
            self.answer(connection, schema, &Askers::Keys(page), asked)
                .await?;
        }
    }

    /// Answers for owners in the order of a saved file.
    async fn answer_in_order<I: OwnerId>(
        &self,
        connection: &mut Connection,
        schema: &Schema,
        owners: &OrderedOwners<'_>,
        askers: fn(Vec<I>) -> Askers,
        asked: &AskedCallers,
    ) -> Result<(), Failure> {
        if !ordered_callers::begin(connection, schema, owners).await? {
            return Ok(());
        }
        loop {
            let ids: Vec<I> = ordered_callers::next(connection, schema).await?;
            if ids.is_empty() {
                return Ok(());
            }
            self.answer(connection, schema, &askers(ids), asked).await?;
        }
    }

    /// Answers for owners of one kind, in their order.
    async fn answer(
        &self,
        connection: &mut Connection,
        schema: &Schema,
        askers: &Askers,
        asked: &AskedCallers,
    ) -> Result<(), Failure> {
        let (company, end_user) = (&self.company, asked.end_user.as_ref());
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
        let mut other_rows = OtherRows::default();
        match askers {
            Askers::Keys(keys) => {
                for key in keys.iter().filter_map(|token| rows.keys.get(token)) {
                    let rules = self.basis.rules;
                    let callers = company.of_key(key, self.args, end_user, &rows, rules);
                    self.tell(callers, &rows, &mut other_rows, asked).await?;
                }
            }
            Askers::Users(users) => {
                for user in users {
                    let callers = company.of_user(user, self.args);
                    self.tell(callers, &rows, &mut other_rows, asked).await?;
                }
            }
            Askers::Teams(teams) => {
                for team in teams.iter().filter(|team| !team.is_of_dashboard()) {
                    let callers = company.of_team(team);
                    self.tell(callers, &rows, &mut other_rows, asked).await?;
                }
            }
        }
        Ok(())
    }

    /// Hands the entries of callers to whoever prints them.
    async fn tell(
        &self,
        mut callers: Vec<Caller>,
        rows: &AccessRows,
        other_rows: &mut OtherRows,
        asked: &AskedCallers,
    ) -> Result<(), Failure> {
        if self.args.is_ordered() {
            callers.sort_by_cached_key(|caller| place(caller, asked.subject));
        }
        for caller in &callers {
            if let Some(access) = self.entry(caller, rows, other_rows) {
                let place = place(caller, asked.subject);
                let entry = PlacedAccess { place, access };
                self.sender.send(Ok(entry)).await.map_err(|_| {
                    Failure::new(ErrorKind::BrokenPipe, "the report is no longer read")
                })?;
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
