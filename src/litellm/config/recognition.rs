//! Tells LiteLLM's config from other files, which would be taken for a config without servers.

use crate::litellm::config::pyyaml::{self, Mapping, YamlValue};
use crate::litellm::config::{ConfigError, Remedy, wrong};

/// The sections by which a file is known to be LiteLLM's config.
///
/// Source: LiteLLM 1.110.2 `proxy/proxy_server.py`: `load_config` and what it calls
/// (`_init_non_llm_configs`, `_init_policy_engine`, `load_credential_list`, `parse_search_tools`).
const SECTIONS: [&str; 19] = [
    "model_list",
    "mcp_servers",
    "litellm_settings",
    "general_settings",
    "router_settings",
    "mcp_tools",
    "agent_list",
    "assistant_settings",
    "callback_settings",
    "credential_list",
    "default_vertex_config",
    "files_settings",
    "finetune_settings",
    "guardrails",
    "policy_attachments",
    "sandbox_tools",
    "search_tools",
    "vector_store_registry",
    "worker_registry",
];

// LiteLLM also reads `include`, `environment_variables`, `agents`, `policies` and `prompts`. Files
// of other programs have such sections too, so none of them tells that a file is LiteLLM's.

/// The key of the servers.
const SERVERS: &str = "mcp_servers";

/// What people write instead of [`SERVERS`].
const MISSPELT: [&str; 4] = ["mcpServers", "mcp-servers", "mcp_server", "mcpservers"];

/// How many keys deep another file is searched for a config.
const DEPTH: usize = 5;

/// How many bytes of texts inside another file are read as YAML.
const BYTES: usize = 4_000_000;

/// Refuses a file that has no section of LiteLLM's, or servers where LiteLLM does not read them.
///
/// # Errors
///
/// Says what the file is instead, and how to get the config out of it.
pub(crate) fn ensure_litellm(file: &Mapping) -> Result<(), ConfigError> {
    if !has_section(file) {
        return Err(stranger(file));
    }
    if file.get(SERVERS).is_some() {
        return Ok(());
    }
    if let Some(name) = MISSPELT.into_iter().find(|name| file.get(name).is_some()) {
        return Err(misplaced(&format!(
            "{name} is no section that LiteLLM reads: it is {SERVERS}"
        )));
    }
    let is_inside = |section: &YamlValue| {
        let servers = section.as_mapping().and_then(|inside| inside.get(SERVERS));
        servers.is_some_and(YamlValue::is_truthy)
    };
    let mut sections = file.iter();
    match sections.find(|(_, section)| is_inside(section)) {
        Some((name, _)) => Err(misplaced(&format!(
            "{SERVERS} is inside {}, where LiteLLM does not read it: it belongs at the top level",
            name.printed().unwrap_or_default()
        ))),
        None => Ok(()),
    }
}

fn has_section(file: &Mapping) -> bool {
    SECTIONS
        .into_iter()
        .any(|section| file.get(section).is_some())
}

fn misplaced(message: &str) -> ConfigError {
    let advice = "correct the file that the proxy is started with; if the proxy does run without \
                  these servers, say --no-config-servers instead";
    ConfigError {
        remedy: Some(Remedy::Advice(advice.to_owned())),
        ..wrong(message)
    }
}

/// Builds the error for a file without a section of LiteLLM's: it says what the file seems to be.
fn stranger(file: &Mapping) -> ConfigError {
    let mut search = SectionSearch::default();
    search.look_into(file);
    let found = search.found;
    let kind = file.get("kind").and_then(YamlValue::as_text);
    let is_manifest = file.get("apiVersion").is_some();
    let what = match kind {
        Some(kind @ ("ConfigMap" | "Secret" | "HelmRelease" | "Application")) if is_manifest => {
            format!("this is a Kubernetes {kind}")
        }
        Some(_) if is_manifest => "this is a Kubernetes manifest".to_owned(),
        _ if file
            .get("services")
            .is_some_and(|s| s.as_mapping().is_some()) =>
        {
            "this is a docker-compose file".to_owned()
        }
        _ if MISSPELT.into_iter().any(|name| file.get(name).is_some()) => {
            "this is an MCP client's list of servers".to_owned()
        }
        _ if file.get("proxy_config").is_some() => "this is a file of Helm values".to_owned(),
        _ => "this is another file".to_owned(),
    };
    if let [keys] = found.as_slice() {
        return ConfigError {
            remedy: Some(Remedy::Extract(keys.clone())),
            ..wrong(&format!(
                "{what}, not a config of LiteLLM; there is one in it, under {}",
                keys.join(" > ")
            ))
        };
    }
    let (message, advice) = if kind == Some("Secret") && is_manifest {
        (
            format!("{what}, not a config of LiteLLM"),
            Some(
                "take the config out: kubectl get secret NAME -o jsonpath='{.data.KEY}' | base64 -d, \
                 with NAME and KEY as in the file and every dot of KEY written \\.",
            ),
        )
    } else if found.is_empty() {
        let known = "model_list, mcp_servers, litellm_settings and general_settings";
        (
            format!("{what}, not a config of LiteLLM, which has sections such as {known}"),
            None,
        )
    } else {
        (
            format!("{what} with {} configs of LiteLLM in it", found.len()),
            Some("take the config of each proxy out into a file, and give each of them"),
        )
    };
    ConfigError {
        remedy: advice.map(|advice| Remedy::Advice(advice.to_owned())),
        ..wrong(&message)
    }
}

/// A search for configs inside another file: mappings, and texts that are YAML.
#[derive(Default)]
struct SectionSearch {
    /// The path of keys to the present place.
    keys: Vec<String>,
    found: Vec<Vec<String>>,
    /// How many bytes of texts were read as YAML.
    bytes: usize,
}

impl SectionSearch {
    fn look_into(&mut self, file: &Mapping) {
        if self.keys.len() >= DEPTH {
            return;
        }
        for (key, value) in file.iter() {
            let Some(key) = key.as_text() else {
                continue;
            };
            self.keys.push(key.to_owned());
            match value {
                YamlValue::Mapping(inside) if has_section(inside) => self.take(),
                YamlValue::Mapping(inside) => self.look_into(inside),
                YamlValue::Text(text) if text.contains('\n') && self.holds_config(text) => {
                    self.take();
                }
                YamlValue::Text(_)
                | YamlValue::Null
                | YamlValue::Bool(_)
                | YamlValue::Int(_)
                | YamlValue::Float(_)
                | YamlValue::Other
                | YamlValue::List(_) => {}
            }
            self.keys.pop();
        }
    }

    fn take(&mut self) {
        self.found.push(self.keys.clone());
    }

    fn holds_config(&mut self, text: &str) -> bool {
        self.bytes = self.bytes.saturating_add(text.len());
        if self.bytes > BYTES {
            return false;
        }
        let roots = pyyaml::read(text).unwrap_or_default();
        let mut mappings = roots.iter().filter_map(YamlValue::as_mapping);
        mappings.any(has_section)
    }
}
