//! One file a subcommand: the straight pipe from arguments to outcome. Here, what they share.

mod config;
pub mod fix;
pub mod scan;

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

use self::config::ConfigFile;
use crate::cli::{ConnectionArgs, Format, LITELLM_CONFIG, ServerArgs, kept_sources};
use crate::db::schema::Schema;
use crate::db::session::{Session, Timeouts};
use crate::db::target::Target;
use crate::failure::{Failure, Kind};
use crate::litellm::config::Derivation;
use crate::litellm::server::{ConfigServers, Server, ServerCatalog};
use crate::report::{self, Report};

/// What the operator says of servers that have no row.
#[derive(Debug)]
pub(crate) struct Beyond {
    kept: BTreeSet<String>,
    /// `None` where nothing was said of config servers.
    configs: Option<Vec<ConfigFile>>,
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
            configs: Some(configs?).filter(|c| args.no_config_servers || !c.is_empty()),
        })
    }

    /// The catalog of these, of the rows of the server table, and of how ids are derived there.
    pub(crate) fn catalog(
        &self,
        servers: &[Server],
        derivation: Derivation,
    ) -> Result<ServerCatalog, Failure> {
        let config = match &self.configs {
            None => ConfigServers::Unknown,
            Some(configs) => {
                let servers: Result<Vec<_>, Failure> = configs
                    .iter()
                    .map(|config| config.servers(derivation))
                    .collect();
                ConfigServers::Known(servers?.concat())
            }
        };
        Ok(ServerCatalog::new(servers, self.kept.clone(), config))
    }
}

/// Warns of config servers whose ids cannot be derived here.
pub(crate) fn warn_unset(catalog: &ServerCatalog) {
    for server in catalog.config().servers() {
        if !server.unset.is_empty() {
            let unset: Vec<&str> = server.unset.iter().map(String::as_str).collect();
            warn(format_args!(
                "the id of config server {} cannot be derived without {}, so references that \
                 resolve nowhere stay unverified",
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
        let [(first, hangup), (second, interrupt), (third, terminate)] = &mut self.signals;
        let number = tokio::select! {
            done = work => return done,
            _ = hangup.recv() => *first,
            _ = interrupt.recv() => *second,
            _ = terminate.recv() => *third,
        };
        Err(Failure::new(
            Kind::Interrupted(number),
            format!("ended by signal {number}; nothing was written"),
        ))
    }
}

impl ConnectionArgs {
    /// Connects to the database that the operator named, and tells which it is.
    ///
    /// `lock` is how long to wait for one row lock.
    pub(crate) async fn open(&self, lock: Duration) -> Result<Session, Failure> {
        let timeouts = Timeouts {
            lock,
            statement: self.statement_timeout,
        };
        let target = Target::resolve(self.db_url.as_deref())?;
        if let Target::Server(server) = &target {
            server.warnings().iter().for_each(warn);
        }
        let session = Session::open(target, self.schema.clone(), timeouts).await?;
        note(session.database());
        Ok(session)
    }
}

/// Warns, on stderr, of what a reader of the report should know first.
pub(crate) fn warn(warning: impl std::fmt::Display) {
    // Nobody is left to tell if stderr is gone.
    let _ = writeln!(io::stderr(), "warning: {warning}");
}

/// Notes, on stderr, what the command works on.
pub(crate) fn note(note: impl std::fmt::Display) {
    let _ = writeln!(io::stderr(), "{note}");
}

/// Warns of tables that may link to permission rows in ways this tool does not know.
pub(crate) fn warn_unknown_owners(schema: &Schema) {
    let unknown = schema.unknown_owner_tables();
    if !unknown.is_empty() {
        warn(format_args!(
            "this LiteLLM is newer than mcp-prune: table {} links to permission rows too, so no \
             row can be taken for unused",
            unknown.join(", ")
        ));
    }
}

/// Prints a report to stdout.
pub(crate) fn print(report: &Report, format: Format) -> Result<(), Failure> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let written = match format {
        Format::Table => report::table::write(report, &mut out),
        Format::Json => report::json::write(report, &mut out),
    };
    written.and_then(|()| out.flush()).map_err(|error| {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Failure::new(Kind::BrokenPipe, "standard output was closed")
        } else {
            Failure::caused(Kind::Error, error).context("cannot write the report")
        }
    })
}
