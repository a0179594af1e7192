//! One file a subcommand: the straight pipe from arguments to outcome. Here, what they share.

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
pub mod grants;
mod guards;
pub mod ids;
mod journal;
mod look;
pub mod manual;
mod metrics;
mod next;
mod output;
mod planned;
mod planning;
mod progress;
mod retry;
pub mod run;
pub mod scan;
pub mod undo;
mod writing;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

use self::config::ConfigFile;
pub(crate) use self::console::{note, warn};
use self::journal::ChangesetFile;
use self::progress::Progress;
use self::run::Run;
use crate::cli::{ConnectionArgs, LITELLM_CONFIG, PreviousArgs, ServerArgs, kept_sources};
use crate::db::schema::Schema;
use crate::db::servers;
use crate::db::session::{Connection, Open, Session, Timeouts};
use crate::db::target::Target;
use crate::failure::{Failure, Kind};
use crate::litellm::config::{ConfigServer, Derivation, remaps};
use crate::litellm::server::{ConfigServers, Resolution, ServerCatalog};
use crate::repair::policy::WriteConsent;
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
            let text = std::fs::read_to_string(&file)
                .with_context(|| format!("cannot read --keep @{}", file.display()))?;
            let entries = text
                .lines()
                .map(str::trim)
                .filter(|line| !line.is_empty() && !line.starts_with('#'));
            kept.extend(entries.map(str::to_owned));
        }
        let mut paths = args.litellm_config.clone();
        if paths.is_empty() && !args.no_config_servers {
            let variable = std::env::var_os(LITELLM_CONFIG).unwrap_or_default();
            paths.extend(std::env::split_paths(&variable).filter(|p| !p.as_os_str().is_empty()));
        }
        let configs: Result<Vec<ConfigFile>, Failure> =
            paths.iter().map(|path| ConfigFile::read(path)).collect();
        Ok(Self {
            kept,
            remaps: BTreeMap::new(),
            previous: Vec::new(),
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
            None => ConfigServers::Unknown(told.signs),
            Some((_, servers)) => ConfigServers::Known(servers),
        };
        let mut remaps = self.previous_remaps(&config, schema)?;
        let catalog = ServerCatalog::new(&told.servers, self.kept.clone(), config);
        remaps.retain(|old, _| catalog.resolve(old) == Resolution::Stale);
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

    /// Reads the configs from before an edit.
    pub(crate) fn read_previous(&mut self, args: &PreviousArgs) -> Result<(), Failure> {
        let paths = args.previous_litellm_config.iter();
        let configs: Result<Vec<ConfigFile>, Failure> =
            paths.map(|path| ConfigFile::read(path)).collect();
        self.previous = configs?;
        Ok(())
    }

    fn previous_remaps(
        &self,
        now: &ConfigServers,
        schema: &Schema,
    ) -> Result<BTreeMap<String, String>, Failure> {
        if self.previous.is_empty() {
            return Ok(BTreeMap::new());
        }
        let previous: Result<Vec<_>, Failure> = self
            .previous
            .iter()
            .map(|config| config.servers(schema.derivation()))
            .collect();
        for server in now.servers().iter().filter(|server| server.ids.len() > 1) {
            warn(format_args!(
                "config server {} may have any of {} ids, so nothing is remapped to it: write its \
                 transport into the file, or pin its server_id",
                server.name,
                server.ids.len()
            ));
        }
        Ok(remaps(&previous?.concat(), now.servers()))
    }
}

/// Warns where nothing was said of config servers and the database itself tells of some: one with a
/// pinned id that is shaped as a row's would be taken for deleted.
pub(crate) fn warn_of_config_servers(catalog: &ServerCatalog) {
    let ConfigServers::Unknown(signs) = catalog.config() else {
        return;
    };
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
        self.race(work, "nothing was written").await
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

    /// Commits, with the old values on disk before and a word about it in the journal after.
    async fn commit(
        &mut self,
        open: Open<'_>,
        consent: &WriteConsent,
        mut journal: Option<&mut ChangesetFile>,
    ) -> Result<(), Failure> {
        if let Some(journal) = journal.as_deref_mut() {
            journal.seal()?;
        }
        let committed = self.guard_commit(open.commit(consent)).await;
        let Some(journal) = journal else {
            return committed;
        };
        let path = journal.path().display().to_string();
        match committed {
            Ok(()) => {
                if let Err(failure) = journal.committed() {
                    warn(format_args!("all was committed, yet {failure}"));
                }
                Ok(())
            }
            Err(failure) => {
                warn(format_args!(
                    "the old values are in {path}: should the commit have got through, \
                     `mcp-prune undo {path}` takes it back"
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
                "during COMMIT: all of the repair was written or none of it; scan tells which",
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

fn ended(signal: u8, what: &str) -> Failure {
    let message = format!("ended by signal {signal}; {what}");
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
