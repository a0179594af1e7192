//! Server knowledge from the command line: kept references, config files, remaps.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Context as _;

use crate::cli::servers::{PreviousArgs, ServerArgs, kept_sources};
use crate::db::schema::Schema;
use crate::db::servers;
use crate::db::session::Connection;
use crate::error::{ErrorKind, Failure};
use crate::litellm::config::{ConfigServer, Derivation, PresentConfigs, Renewals};
use crate::litellm::reference_sites::Names;
use crate::litellm::server::ConfigServers;
use crate::litellm::server_catalog::{IdHistory, Resolution, ServerCatalog};
use crate::process::stderr::warn;
use crate::report::shown_text::count;
use crate::workflow::config_files::{ConfigFile, PathSource, config_paths};

/// Server knowledge from the command line: kept references, config files and remaps.
#[derive(Debug)]
pub(crate) struct ServerSources {
    kept: BTreeSet<String>,
    /// The config files; `None` where the operator said nothing of config servers.
    configs: Option<Vec<ConfigFile>>,
    /// The server that replaces each deleted one.
    pub(crate) remaps: BTreeMap<String, String>,
    /// The configs from before an edit that gave servers new ids.
    previous: Vec<ConfigFile>,
    /// What options, or the plan that is carried out, say of ids that no config yields.
    pub(crate) history: IdHistory,
    /// The references that `--reference` names; `None` means all.
    pub(crate) asked: Option<BTreeSet<String>>,
}

impl ServerSources {
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

    /// Builds the catalog from these and the rows of the server table.
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
            Failure::new(ErrorKind::Refused, format!("cannot remap: {bad}"))
                .hint("remap from a deleted server to one that is served; scan tells them apart")
        })?;
        let catalog = catalog.with_toolsets(told.toolsets);
        Ok(match &self.asked {
            None => catalog,
            Some(references) => catalog.asked_about(references.clone()),
        })
    }

    /// Returns whether the operator gave every config, or said that there is none.
    pub(crate) fn knows_configs(&self) -> bool {
        self.configs.is_some()
    }

    /// Returns the config files that the operator named.
    pub(crate) fn config_paths(&self) -> Vec<&Path> {
        let configs = self.configs.iter().flatten();
        configs.map(ConfigFile::path).collect()
    }

    /// Returns the number of config files and their servers; `None` where the operator said nothing
    /// of config servers.
    pub(crate) fn config_servers(
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
                 pin its server_id",
                server.name,
                server.ids.len()
            ));
        }
        let configs = PresentConfigs::of(self.configs.as_ref().map_or(0, Vec::len));
        Ok(Renewals::between(
            &previous?.concat(),
            now.servers(),
            configs,
        ))
    }
}

/// Warns if the database shows that there are config servers which the operator did not give.
pub(crate) fn warn_of_config_servers(catalog: &ServerCatalog) {
    match catalog.config() {
        ConfigServers::Unknown(_) => warn_of_unknown_configs(catalog),
        ConfigServers::Known(servers) => warn_of_contradictions(catalog, servers),
    }
}

/// Warns if the database shows servers that are in none of the configs given.
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
            "proxies have OAuth clients for {} in neither the server table nor a config given \
             ({}): {consequence}",
            count(missing.len(), "server"),
            missing.join(", ")
        ));
    }
    if signs.saved && servers.is_empty() {
        warn(
            "a proxy has saved a config with a section mcp_servers, but no config given has MCP \
             servers. Make sure that none was forgotten",
        );
    }
}

/// Warns if the operator said nothing of config servers and there are some. One whose pinned id is
/// shaped like a row's id would be taken for deleted.
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
    warn_of_saved_aliases(catalog);
}

/// Warns of aliases in the database that a config server may have besides those of its file.
fn warn_of_saved_aliases(catalog: &ServerCatalog) {
    if catalog.hides_aliases() {
        warn(
            "LiteLLM_Config may hold aliases of config servers (mcp_aliases of litellm_settings), \
             which cannot be read, so references that resolve nowhere stay unverified. Grant \
             SELECT on its columns param_name and param_value",
        );
    }
    let untold: Vec<String> = catalog
        .untold_aliases()
        .map(|(alias, name)| format!("{alias} for config server {name}"))
        .collect();
    if !untold.is_empty() {
        warn(format_args!(
            "LiteLLM_Config saves other aliases than the configs given ({}), so references to them \
             and to what looks like the id of a config server stay unverified. Write them into \
             mcp_aliases of the config, or delete them from litellm_settings in LiteLLM",
            untold.join(", ")
        ));
    }
}
