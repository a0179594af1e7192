//! Warnings of what the catalog cannot tell: config servers that were not given, ids that cannot be
//! derived, and aliases that cannot be read.

use crate::litellm::config::ConfigServer;
use crate::litellm::reference_sites::Names;
use crate::litellm::server::ConfigServers;
use crate::litellm::server_catalog::{Resolution, ServerCatalog};
use crate::process::stderr::warn;
use crate::report::shown_text::count;

/// Warns of everything that keeps the catalog from being complete.
pub(crate) fn warn_of_catalog(catalog: &ServerCatalog) {
    warn_unset(catalog);
    warn_of_saved_aliases(catalog);
    warn_of_config_servers(catalog);
}

/// Warns if the database shows that there are config servers which the operator did not give.
fn warn_of_config_servers(catalog: &ServerCatalog) {
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
fn warn_unset(catalog: &ServerCatalog) {
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
