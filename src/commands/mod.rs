//! One file a subcommand: the straight pipe from arguments to outcome. Here, what they share.

pub mod access;
mod access_callers;
mod address;
mod aftercare;
mod asked;
mod atomic_file;
mod config;
mod consent;
mod console;
mod csv_error;
pub mod doctor;
pub mod fix;
mod follow_up;
pub mod grants;
mod guards;
pub mod ids;
mod journal;
mod journal_retention;
mod litellm_variables;
mod look;
pub mod manual;
mod metrics;
mod naming;
mod output;
mod planned;
mod planning;
mod progress;
mod repeated_options;
mod retry;
pub mod run;
mod same_database;
pub mod scan;
mod shown_url;
pub mod undo;
mod write_run;
mod writing;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

use self::config::{ConfigFile, PathSource, config_paths};
pub(crate) use self::console::{note, warn};
use self::journal::ChangesetFile;
use self::progress::Progress;
use self::run::Run;
use crate::cli::{ConnectionArgs, PreviousArgs, ServerArgs, kept_sources};
use crate::db::schema::Schema;
use crate::db::servers;
use crate::db::session::{Connection, Open, Session, Timeouts};
use crate::db::target::Target;
use crate::failure::{Failure, Kind};
use crate::litellm::config::{ConfigServer, Derivation, Renewals};
use crate::litellm::server::{ConfigServers, IdHistory, Resolution, ServerCatalog};
use crate::litellm::sites::Names;
use crate::repair::policy::WriteConsent;
use crate::report::command_line::CommandLine;
use crate::report::count;

/// Rows locked, read, planned and written at a time.
const CHUNK: usize = 2_000;

/// What the operator says of servers that have no row.
#[derive(Debug)]
pub(crate) struct Beyond {
    kept: BTreeSet<String>,
    /// `None` where nothing was said of config servers.
    configs: Option<Vec<ConfigFile>>,
    /// What deleted servers are by now.
    pub(crate) remaps: BTreeMap<String, String>,
    /// The configs from before an edit that gave servers new ids.
    previous: Vec<ConfigFile>,
    /// What was told of ids that no config yields: by options, or by the plan that is carried out.
    pub(crate) history: IdHistory,
    /// The references that the operator asked about; `None` for all.
    pub(crate) asked: Option<BTreeSet<String>>,
}

impl Beyond {
    /// Reads the files that `--keep` and `--litellm-config` name.
    ///
    /// Blank lines and `#` comments of a `--keep` file are skipped. `MCP_PRUNE_LITELLM_CONFIG`
    /// names configs where the command line does not.
    pub(crate) fn read(args: &ServerArgs) -> Result<Self, Failure> {
        let (references, files) = kept_sources(&args.keep);
        let mut kept: BTreeSet<String> = references.into_iter().collect();
        for file in files {
            let text = std::fs::read_to_string(file)
                .with_context(|| format!("cannot read --keep @{}", file.display()))?;
            let entries = text
                .lines()
                .map(str::trim)
                .filter(|line| !line.is_empty() && !line.starts_with('#'));
            kept.extend(entries.map(str::to_owned));
        }
        let paths = if args.no_config_servers {
            Vec::new()
        } else {
            config_paths(&args.litellm_config)
        };
        let configs: Result<Vec<ConfigFile>, Failure> = paths
            .iter()
            .map(|(source, path)| ConfigFile::read(*source, path))
            .collect();
        Ok(Self {
            kept,
            remaps: BTreeMap::new(),
            previous: Vec::new(),
            history: IdHistory::default(),
            asked: None,
            configs: Some(configs?).filter(|c| args.no_config_servers || !c.is_empty()),
        })
    }

    /// The catalog of these and of the rows of the server table.
    pub(crate) async fn catalog(
        &self,
        connection: &mut Connection,
        schema: &Schema,
    ) -> Result<ServerCatalog, Failure> {
        let told = servers::told(connection, schema).await?;
        let config = match self.config_servers(schema.derivation())? {
            None => ConfigServers::Unknown(told.signs.clone()),
            Some((_, servers)) => ConfigServers::Known(servers),
        };
        let renewals = self.renewals(&config, schema)?;
        let mut history = self.history.clone();
        history.unclear.extend(renewals.unclear);
        history.removed.extend(renewals.removed);
        let catalog = ServerCatalog::new(&told.servers, self.kept.clone(), config)
            .with_signs(told.signs)
            .with_history(history);
        let mut remaps = renewals.remaps;
        remaps.retain(|old, _| {
            matches!(
                catalog.resolve(old),
                Resolution::Stale | Resolution::MaybeEdited
            )
        });
        remaps.extend(self.remaps.clone());
        let catalog = catalog.remapping(&remaps).map_err(|bad| {
            Failure::new(Kind::Refused, format!("cannot remap: {bad}"))
                .hint("remap from a deleted server to one that is served; scan tells them apart")
        })?;
        let catalog = catalog.with_toolsets(told.toolsets);
        Ok(match &self.asked {
            None => catalog,
            Some(references) => catalog.asked_about(references.clone()),
        })
    }

    /// Whether the operator told of every config, or that there is none.
    pub(crate) fn knows_configs(&self) -> bool {
        self.configs.is_some()
    }

    /// Tells whether a setting is switched on in a config that the operator named; `None` where none
    /// was named.
    pub(crate) fn is_on(&self, section: &str, setting: &str) -> Option<bool> {
        let configs = self
            .configs
            .as_ref()
            .filter(|configs| !configs.is_empty())?;
        Some(configs.iter().any(|config| config.is_on(section, setting)))
    }

    /// Returns the config files that the operator named.
    fn config_paths(&self) -> Vec<&Path> {
        let configs = self.configs.iter().flatten();
        configs.map(ConfigFile::path).collect()
    }

    /// The servers of all configs, after the number of files; `None` where nothing was said of them.
    fn config_servers(
        &self,
        derivation: Derivation,
    ) -> Result<Option<(usize, Vec<ConfigServer>)>, Failure> {
        let Some(configs) = &self.configs else {
            return Ok(None);
        };
        let servers: Result<Vec<_>, Failure> = configs
            .iter()
            .map(|config| config.servers(derivation))
            .collect();
        Ok(Some((configs.len(), servers?.concat())))
    }

    /// Reads the configs from before an edit, and whether ids of config servers may be pruned.
    ///
    /// # Errors
    ///
    /// Where a file cannot be read.
    pub(crate) fn read_previous(&mut self, args: &PreviousArgs) -> Result<(), Failure> {
        let paths = args.previous_litellm_config.iter();
        let configs: Result<Vec<ConfigFile>, Failure> = paths
            .map(|path| ConfigFile::read(PathSource::Previous, path))
            .collect();
        self.previous = configs?;
        self.history.prune = args.prune_config_ids;
        Ok(())
    }

    /// Compares the previous configs with the servers of now.
    fn renewals(&self, now: &ConfigServers, schema: &Schema) -> Result<Renewals, Failure> {
        if self.previous.is_empty() {
            return Ok(Renewals::default());
        }
        let previous: Result<Vec<_>, Failure> = self
            .previous
            .iter()
            .map(|config| config.servers(schema.derivation()))
            .collect();
        for server in now.servers().iter().filter(|server| server.ids.len() > 1) {
            warn(format_args!(
                "config server {} may have any of {} ids, so references to its old ids are held: \
                 write its transport into the file, or pin its server_id",
                server.name,
                server.ids.len()
            ));
        }
        Ok(Renewals::between(&previous?.concat(), now.servers()))
    }
}

/// Warns where the database itself tells of config servers that the operator does not tell of.
pub(crate) fn warn_of_config_servers(catalog: &ServerCatalog) {
    match catalog.config() {
        ConfigServers::Unknown(_) => warn_of_unknown_configs(catalog),
        ConfigServers::Known(servers) => warn_of_contradictions(catalog, servers),
    }
}

/// Warns where the database tells of servers that are in none of the configs given.
fn warn_of_contradictions(catalog: &ServerCatalog, servers: &[ConfigServer]) {
    let signs = catalog.signs();
    let is_missing = |id: &&String| {
        matches!(
            catalog.resolve_as(Names::ServerIds, id),
            Resolution::Stale | Resolution::MaybeEdited | Resolution::MaybeRenewed
        )
    };
    let missing: Vec<&str> = signs
        .clients
        .iter()
        .filter(is_missing)
        .map(String::as_str)
        .collect();
    if !missing.is_empty() {
        let consequence = if catalog.history().prune {
            "references to them are taken for stale, as --prune-config-ids says"
        } else {
            "references to them are held. Give every config that a proxy is started with"
        };
        warn(format_args!(
            "proxies have OAuth clients for {}, of neither the server table nor a config given \
             ({}): {consequence}",
            count(missing.len(), "server"),
            missing.join(", ")
        ));
    }
    if signs.saved && servers.is_empty() {
        warn(
            "a proxy has saved a config with a section mcp_servers, and yet no config given has MCP \
             servers. Make sure that none was forgotten",
        );
    }
}

/// Warns where nothing was said of config servers and there are some: one with a pinned id that is
/// shaped as a row's would be taken for deleted.
fn warn_of_unknown_configs(catalog: &ServerCatalog) {
    let signs = catalog.signs();
    let sign = match (signs.clients.len(), signs.saved) {
        (0, false) => return,
        (0, true) => "a proxy has saved a config with a section mcp_servers".to_owned(),
        (n, _) => format!(
            "proxies have OAuth clients for {} without a row",
            count(n, "server")
        ),
    };
    warn(format_args!(
        "there are servers in a config.yaml: {sign}. Give it with --litellm-config; without it one \
         whose pinned server_id looks like a UUID is taken for deleted"
    ));
}

/// Warns of config servers whose ids cannot be derived here.
pub(crate) fn warn_unset(catalog: &ServerCatalog) {
    for server in catalog.config().servers() {
        if !server.unset.is_empty() {
            let unset: Vec<&str> = server.unset.iter().map(String::as_str).collect();
            warn(format_args!(
                "the ids of config server {} cannot be told without {}, so references that \
                 resolve nowhere stay unverified; set what the proxy has there",
                server.name,
                unset.join(", ")
            ));
        }
    }
}

/// Ends work at a signal: what it was doing is dropped, and an open transaction with it.
pub(crate) struct Interrupt {
    signals: [(u8, Signal); 3],
}

impl Interrupt {
    /// Takes over SIGINT, SIGTERM and SIGHUP; from here on they end nothing but [`Self::guard`].
    pub(crate) fn listen() -> Result<Self, Failure> {
        let one = |number: u8, kind: SignalKind| -> anyhow::Result<(u8, Signal)> {
            Ok((number, signal(kind).context("cannot listen for signals")?))
        };
        Ok(Self {
            signals: [
                one(1, SignalKind::hangup())?,
                one(2, SignalKind::interrupt())?,
                one(15, SignalKind::terminate())?,
            ],
        })
    }

    /// Does `work`, unless a signal comes first.
    pub(crate) async fn guard<T>(
        &mut self,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        self.race(work, "; nothing was written").await
    }

    async fn race<T>(
        &mut self,
        work: impl Future<Output = Result<T, Failure>>,
        what: &str,
    ) -> Result<T, Failure> {
        tokio::select! {
            done = work => done,
            number = self.signal() => Err(ended(number, what)),
        }
    }

    /// Commits, with the old values on disk before and a word about it in the journal after; returns
    /// where they are. `take_back` makes the command that puts them back.
    async fn commit(
        &mut self,
        open: Open<'_>,
        consent: &WriteConsent,
        mut journal: Option<&mut ChangesetFile>,
        take_back: impl Fn(&Path) -> CommandLine,
    ) -> Result<Option<PathBuf>, Failure> {
        if let Some(journal) = journal.as_deref_mut() {
            journal.seal()?;
        }
        let committed = self.guard_commit(open.commit(consent)).await;
        let Some(journal) = journal else {
            return committed.map(|()| None);
        };
        match committed {
            Ok(()) => {
                if let Err(failure) = journal.committed() {
                    warn(format_args!("all was committed, yet {failure}"));
                }
                Ok(Some(journal.path().to_owned()))
            }
            Err(failure) => {
                warn(format_args!(
                    "the old values are in {}. Should the commit have got through, this takes it \
                     back:\n{}",
                    journal.path().display(),
                    indented(&take_back(journal.path()))
                ));
                Err(failure)
            }
        }
    }

    /// Waits for a `COMMIT` that is under way: leaving it would leave open what became of it. A
    /// second signal leaves all the same.
    async fn guard_commit(
        &mut self,
        commit: impl Future<Output = Result<(), Failure>>,
    ) -> Result<(), Failure> {
        tokio::pin!(commit);
        tokio::select! {
            done = &mut commit => return done,
            // Whoever sent it is there, so not even -q holds this back.
            _ = self.signal() => console::say(
                "warning: waiting for the COMMIT; a second signal leaves it behind",
            ),
        }
        tokio::select! {
            done = commit => done,
            number = self.signal() => Err(ended(
                number,
                " during COMMIT: all of the repair was written or none of it; scan tells which",
            )),
        }
    }

    async fn signal(&mut self) -> u8 {
        let [(first, hangup), (second, interrupt), (third, terminate)] = &mut self.signals;
        tokio::select! {
            _ = hangup.recv() => *first,
            _ = interrupt.recv() => *second,
            _ = terminate.recv() => *third,
        }
    }
}

/// Returns a command on a line of its own, and below it what has to be given besides.
fn indented(command: &CommandLine) -> String {
    let mut lines = vec![format!("  {command}")];
    lines.extend_from_slice(command.notes());
    lines.join("\n")
}

/// Makes the failure of a run that a signal ended; `when` goes on with the sentence.
fn ended(signal: u8, when: &str) -> Failure {
    let message = format!("ended by signal {signal}{when}");
    Failure::new(Kind::Interrupted(signal), message)
}

impl ConnectionArgs {
    /// Connects to the database that the operator named, and tells which it is.
    ///
    /// `lock` is how long to wait for one row lock.
    pub(crate) async fn open(&self, lock: Duration, run: &Run) -> Result<Session, Failure> {
        let timeouts = Timeouts {
            lock,
            statement: self.statement_timeout,
        };
        let target = self.target()?.of_run(run.id());
        if let Target::Server(server) = &target {
            server.warnings().iter().for_each(warn);
        }
        let progress = Progress::begin("connecting");
        let opening = Session::open(target, self.schema.clone(), timeouts);
        let session = Box::pin(opening).await?;
        drop(progress);
        session.warning().iter().for_each(warn);
        note(session.database());
        Ok(session)
    }
}

/// Warns of tables that link to permission rows in ways this tool does not know.
pub(crate) fn warn_unknown_owners(schema: &Schema) {
    let unknown: Vec<&str> = schema.unknown_links().iter().map(String::as_str).collect();
    if !unknown.is_empty() {
        warn(format_args!(
            "table {} links to permission rows in a way that this mcp-prune does not know, so no \
             row can be taken for unused",
            unknown.join(", ")
        ));
    }
}

/// Says, once, which places are not looked at though nobody left them out.
pub(crate) fn tell_left_out(schema: &Schema) {
    let mut places: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for left_out in schema.left_out() {
        let places = places.entry(left_out.why).or_default();
        places.push(left_out.table.place());
    }
    for (why, places) in places {
        note(format_args!("not looked at: {} ({why})", places.join(", ")));
    }
}
