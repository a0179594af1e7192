//! `config.yaml`: the servers that have no row, and the ids LiteLLM derives for them.

pub(crate) mod entry;
pub(crate) mod pyyaml;
pub(crate) mod recognition;
pub(crate) mod scalar;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::litellm::config::entry::Entry;
use crate::litellm::config::pyyaml::{Mapping, YamlValue};

/// Why a `config.yaml` cannot be read: where, and what is wrong there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConfigError {
    /// Line and column, from 1, where they are known.
    pub at: Option<(u64, u64)>,
    /// What is wrong, without the text of the file, which may hold secrets.
    pub message: String,
    /// What to do about it. `None` where the operator must give another file.
    pub remedy: Option<Remedy>,
}

/// What to do about a file that cannot be read as a config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// Take the config out of the file. It is the value at this path of keys.
    Extract(Vec<String>),
    /// Do what this sentence says.
    Advice(String),
}

/// Which ways to derive an id the proxy may use.
///
/// The hash changed its fields until LiteLLM 1.77.4, another alias was hashed until 1.86.0, and ids
/// can be pinned since 1.101.0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Derivation {
    /// The proxy may be older than 1.77.4, so every formula may be in use.
    pub may_be_old: bool,
    /// The proxy may be older than 1.86.0, so it may apply `mcp_aliases` twice.
    pub may_map_twice: bool,
    /// The proxy knows pinned ids, so that a server with one has no hash.
    pub pins: bool,
}

impl Derivation {
    /// How LiteLLM 1.101.0 and later derive an id.
    pub const NEWEST: Self = Self {
        may_be_old: false,
        may_map_twice: false,
        pins: true,
    };
}

/// A server of a `config.yaml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConfigServer {
    /// The name that the file gives it.
    pub name: String,
    /// What a grant may call it instead of an id: the name, and the alias if it has one.
    pub names: BTreeSet<String>,
    /// The ids that LiteLLM may give it. Several where the file alone does not tell which.
    pub ids: BTreeSet<String>,
    /// The one of its ids that the newest Python and `PyYAML` give it, if that is known.
    pub current: Option<String>,
    /// Whether the file pins the id, for a proxy that knows pinned ids.
    pub is_pinned: bool,
    /// The ids that an older LiteLLM gave it.
    pub former_ids: BTreeSet<String>,
    /// Variables that the file takes from the environment and that are not set here.
    pub unset: BTreeSet<String>,
    /// The tags by which a grant may mean it: `access_groups`.
    pub tags: Vec<String>,
    /// Whether every key may use it. Also true where the file alone does not tell.
    pub allow_all_keys: bool,
}

/// A `config.yaml`: its sections, once for each way in which releases of `PyYAML` read it.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// One, or two where the file merges mappings (`<<`).
    readings: Vec<Mapping>,
}

impl Config {
    /// Tells whether a setting of a section is switched on, as Python takes values for true.
    #[must_use]
    pub(crate) fn is_on(&self, section: &str, setting: &str) -> bool {
        let last = self.readings.last();
        let section = last.and_then(|config| config.get(section)?.as_mapping());
        let value = section.and_then(|section| section.get(setting));
        value.is_some_and(YamlValue::is_truthy)
    }

    /// Reads the text of the file that the proxy is started with.
    ///
    /// # Errors
    ///
    /// Fails where the text is not YAML, is empty, or is not a mapping.
    ///
    /// Source: LiteLLM 1.110.2 `proxy/proxy_server.py`, `_get_config_from_file`.
    pub(crate) fn parse(text: &str) -> Result<Self, ConfigError> {
        let readings = pyyaml::read(text)?.into_iter().map(|root| {
            if matches!(root, YamlValue::Null) {
                return Err(wrong(
                    "the file is empty, and LiteLLM does not start with it",
                ));
            }
            sections(root)
        });
        Ok(Self {
            readings: readings.collect::<Result<_, _>>()?,
        })
    }

    /// Reads the text of a file that another includes, and that may be empty.
    ///
    /// # Errors
    ///
    /// Fails where the text is not YAML or not a mapping.
    ///
    /// Source: LiteLLM 1.110.2 `proxy/proxy_server.py`, `_load_yaml_file`.
    pub(crate) fn parse_included(text: &str) -> Result<Self, ConfigError> {
        let readings = pyyaml::read(text)?.into_iter().map(|root| {
            if root.is_truthy() {
                sections(root)
            } else {
                Ok(Mapping::default())
            }
        });
        Ok(Self {
            readings: readings.collect::<Result<_, _>>()?,
        })
    }

    /// Returns the files that `include:` names, relative to the file.
    ///
    /// # Errors
    ///
    /// Fails where `include:` is no list of names.
    pub(crate) fn includes(&self) -> Result<Vec<String>, ConfigError> {
        let mut names = Vec::new();
        for reading in &self.readings {
            let entries = match reading.get("include") {
                None => continue,
                Some(entries) => entries.as_list().map(|entries| {
                    let names = entries.iter().map(YamlValue::as_text);
                    names.collect::<Option<Vec<&str>>>()
                }),
            };
            let entries = entries.flatten();
            for name in entries.ok_or_else(|| wrong("include must be a list of file names"))? {
                if !names.iter().any(|known| known == name) {
                    names.push(name.to_owned());
                }
            }
        }
        Ok(names)
    }

    /// Adds an included file to the file that includes it. Lists grow; every other value is
    /// replaced.
    ///
    /// Source: LiteLLM 1.110.2 `proxy/common_utils/config_includes.py`, `_merged`.
    pub(crate) fn merge(&mut self, included: &Self) {
        let readings = self.readings.len().max(included.readings.len());
        let last = self.readings.last().cloned().unwrap_or_default();
        self.readings.resize(readings, last);
        for (at, reading) in self.readings.iter_mut().enumerate() {
            let included = included.readings.get(at).or(included.readings.last());
            merge(reading, included.into_iter().flat_map(Mapping::iter));
        }
    }

    /// Refuses a file that is not LiteLLM's, and says what it seems to be instead.
    ///
    /// Call it after [`Self::merge`], because an included file may have the sections.
    ///
    /// # Errors
    ///
    /// Fails where the file has none of the sections that LiteLLM reads, or has MCP servers at a
    /// place where LiteLLM does not look for them.
    pub(crate) fn ensure_litellm(&self) -> Result<(), ConfigError> {
        self.readings
            .iter()
            .try_for_each(recognition::ensure_litellm)
    }

    /// Returns the servers of a file. Call it after [`Self::merge`].
    ///
    /// `env` looks up a variable of the proxy's environment.
    ///
    /// # Errors
    ///
    /// Fails where LiteLLM would not start either, and where an id is pinned to an unset variable.
    pub(crate) fn servers(
        &self,
        derivation: Derivation,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Vec<ConfigServer>, ConfigError> {
        let mut servers: Vec<ConfigServer> = Vec::new();
        for reading in &self.readings {
            for server in servers_of(reading, derivation, env)? {
                match servers.iter_mut().find(|known| known.name == server.name) {
                    Some(known) => known.or(server),
                    None => servers.push(server),
                }
            }
        }
        Ok(servers)
    }
}

impl ConfigServer {
    /// Returns the ids, the current one first.
    #[must_use]
    pub(crate) fn ids_in_order(&self) -> Vec<&str> {
        let is_current = |id: &&String| Some(*id) == self.current.as_ref();
        let current = self.ids.iter().filter(is_current);
        let others = self.ids.iter().filter(|id| !is_current(id));
        current.chain(others).map(String::as_str).collect()
    }

    /// Returns every id that the server has or had.
    fn every_id(&self) -> impl Iterator<Item = &String> {
        self.ids.iter().chain(&self.former_ids)
    }

    /// Adds what the server is by another reading of the same file.
    fn or(&mut self, other: Self) {
        self.names.extend(other.names);
        self.ids.extend(other.ids);
        // The later of two readings is the newer PyYAML's.
        self.current = other.current.or(self.current.take());
        self.is_pinned &= other.is_pinned;
        self.former_ids.extend(other.former_ids);
        self.former_ids.retain(|id| !self.ids.contains(id));
        self.unset.extend(other.unset);
        for tag in other.tags {
            if !self.tags.contains(&tag) {
                self.tags.push(tag);
            }
        }
        self.allow_all_keys |= other.allow_all_keys;
    }
}

fn sections(root: YamlValue) -> Result<Mapping, ConfigError> {
    match root {
        YamlValue::Mapping(mapping) => Ok(mapping.as_ref().clone()),
        YamlValue::Null
        | YamlValue::Bool(_)
        | YamlValue::Int(_)
        | YamlValue::Float(_)
        | YamlValue::Text(_)
        | YamlValue::Other
        | YamlValue::List(_) => Err(ConfigError {
            at: Some((1, 1)),
            ..wrong("expected a mapping of sections such as model_list and mcp_servers")
        }),
    }
}

fn merge<'a>(config: &mut Mapping, included: impl Iterator<Item = (&'a YamlValue, &'a YamlValue)>) {
    for (key, value) in included {
        let Some(name) = key.as_text() else {
            config.insert(key.clone(), value.clone());
            continue;
        };
        if name == "include" {
            continue;
        }
        let merged = match (
            config.get(name).and_then(YamlValue::as_list),
            value.as_list(),
        ) {
            (Some(base), Some(more)) => YamlValue::List(Arc::new([base, more].concat())),
            (_, _) => value.clone(),
        };
        config.insert(key.clone(), merged);
    }
}

/// Returns the servers of one reading.
///
/// An empty value of any type means no servers.
///
/// Source: LiteLLM 1.110.2 `proxy/proxy_server.py`, `_init_non_llm_configs`, and
/// `proxy/mcp_server/mcp_server_manager.py`, `load_servers_from_config`.
fn servers_of(
    config: &Mapping,
    derivation: Derivation,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<ConfigServer>, ConfigError> {
    let entries = match config.get("mcp_servers") {
        Some(entries) if entries.is_truthy() => entries
            .as_mapping()
            .ok_or_else(|| wrong("mcp_servers must be a mapping"))?,
        Some(_) | None => return Ok(Vec::new()),
    };
    let aliases = config
        .get("litellm_settings")
        .and_then(YamlValue::as_mapping)
        .and_then(|settings| settings.get("mcp_aliases"))
        .and_then(YamlValue::as_mapping);
    let server = |(name, entry): (&YamlValue, &YamlValue)| {
        let name = name
            .printed()
            .ok_or_else(|| wrong("a name under mcp_servers must be a text"))?;
        match entry.as_mapping() {
            Some(fields) => Entry {
                name: &name,
                fields,
                env,
            }
            .server(aliases, derivation),
            None => Err(wrong(&format!("mcp_servers.{name} must be a mapping"))),
        }
    };
    entries.iter().map(server).collect()
}

/// What became of the servers of previous configs, by every id that they had.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Renewals {
    /// The id that the server has now.
    pub remaps: BTreeMap<String, String>,
    /// The ids of servers that are still there by name and whose id of now the configs do not tell.
    pub unclear: BTreeSet<String>,
    /// The ids of servers that are gone.
    pub removed: BTreeSet<String>,
}

/// How many configs of now there are. The number decides whether a name identifies a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PresentConfigs {
    /// One or none: a name means one server.
    One,
    /// Several: servers of one name may be different servers.
    Several,
}

impl PresentConfigs {
    /// Chooses by the number of configs.
    #[must_use]
    pub(crate) fn of(count: usize) -> Self {
        if count > 1 { Self::Several } else { Self::One }
    }
}

impl Renewals {
    /// Compares the servers of previous configs with those of the configs of now.
    ///
    /// In one config the name tells which server became which. In several configs it does not,
    /// because two proxies may call different servers by one name. There an old id is remapped only
    /// where it is the former id of exactly one present id.
    #[must_use]
    pub(crate) fn between(
        previous: &[ConfigServer],
        now: &[ConfigServer],
        configs: PresentConfigs,
    ) -> Self {
        let mut renewals = Self::default();
        let is_there = |before: &&ConfigServer| now.iter().any(|now| now.name == before.name);
        let (there, gone): (Vec<_>, Vec<_>) = previous.iter().partition(is_there);
        match configs {
            PresentConfigs::One => renewals.pair_by_name(&there, now),
            PresentConfigs::Several => renewals.pair_by_id(&there, now),
        }
        let gone = gone.into_iter().flat_map(ConfigServer::every_id);
        renewals.removed.extend(gone.cloned());
        renewals
    }

    /// Remaps every id of a previous server to the present server of its name.
    fn pair_by_name(&mut self, previous: &[&ConfigServer], now: &[ConfigServer]) {
        for server in now {
            let before = previous.iter().filter(|before| before.name == server.name);
            let before = before.flat_map(|before| before.every_id());
            let old = before
                .chain(&server.former_ids)
                .filter(|old| !server.ids.contains(*old));
            match server.ids.iter().collect::<Vec<_>>()[..] {
                [id] => self.remaps.extend(old.map(|old| (old.clone(), id.clone()))),
                _ => self.unclear.extend(old.cloned()),
            }
        }
    }

    /// Remaps the former ids of present servers, and leaves every other id of a previous server
    /// unclear.
    fn pair_by_id(&mut self, previous: &[&ConfigServer], now: &[ConfigServer]) {
        let present: BTreeSet<&String> = now.iter().flat_map(|server| &server.ids).collect();
        let mut became: BTreeMap<&String, BTreeSet<&String>> = BTreeMap::new();
        for id in previous.iter().flat_map(|before| before.every_id()) {
            became.entry(id).or_default();
        }
        for server in now {
            for old in &server.former_ids {
                became.entry(old).or_default().extend(&server.ids);
            }
        }
        for (old, ids) in became {
            if present.contains(old) {
                continue;
            }
            match ids.into_iter().collect::<Vec<_>>()[..] {
                [id] => _ = self.remaps.insert(old.clone(), id.clone()),
                _ => _ = self.unclear.insert(old.clone()),
            }
        }
    }
}

pub(crate) fn wrong(message: &str) -> ConfigError {
    ConfigError {
        at: None,
        message: message.to_owned(),
        remedy: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::litellm::config::entry::hash;

    const NEW: Derivation = Derivation {
        may_be_old: false,
        may_map_twice: false,
        pins: true,
    };

    fn read(yaml: &str, derivation: Derivation) -> Vec<ConfigServer> {
        let env = |name: &str| match name {
            "MCP_URL" => Some("https://mcp.deepwiki.com/mcp".to_owned()),
            "FLAG" => Some(" TRUE ".to_owned()),
            _ => None,
        };
        let config = Config::parse(yaml).unwrap();
        config.servers(derivation, &env).unwrap()
    }

    fn one(yaml: &str) -> ConfigServer {
        let servers = read(yaml, NEW);
        assert_eq!(servers.len(), 1);
        servers[0].clone()
    }

    fn set(texts: &[&str]) -> BTreeSet<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    /// Checks ids that real installations have logged (LiteLLM issue 13547, PR 32012) or that
    /// LiteLLM 1.109.1 itself derived.
    #[test]
    fn real_ids_are_derived() {
        let issue = "mcp_servers:\n  test:\n    url: http://127.0.0.1:8000/mcp\n    transport: http\n    auth_type: none\n";
        assert!(
            one(issue)
                .former_ids
                .contains("8617b96e5cdbfd8ff49b7f89aeca1072")
        );
        let stdio = "mcp_servers:\n  server_x:\n    transport: stdio\n    command: npx\n";
        assert_eq!(one(stdio).ids, set(&["bdaf0abddc5e2c5d646c6ebc64cdf97a"]));
        let written = "mcp_servers:\n  deepwiki:\n    url: https://mcp.deepwiki.com/mcp\n    transport: http\n";
        assert_eq!(one(written).ids, set(&["266024044f9612bf481c78f6cfef1ff0"]));
    }

    #[test]
    fn an_omitted_transport_is_printed_by_pythons_version() {
        let omitted = "mcp_servers:\n  deepwiki:\n    url: https://mcp.deepwiki.com/mcp\n";
        assert_eq!(
            one(omitted).ids,
            set(&[
                "266024044f9612bf481c78f6cfef1ff0",
                "856a26dde29b7f6ec8411a81e15e1376"
            ])
        );
        let null =
            "mcp_servers:\n  deepwiki:\n    url: https://mcp.deepwiki.com/mcp\n    transport:\n";
        assert_eq!(
            one(null).ids,
            set(&[&hash("deepwiki|https://mcp.deepwiki.com/mcp|None||")])
        );
    }

    #[test]
    fn the_environment_is_resolved_before_hashing() {
        let yaml = "mcp_servers:\n  deepwiki:\n    url: os.environ/MCP_URL\n    transport: http\n";
        assert_eq!(one(yaml).ids, set(&["266024044f9612bf481c78f6cfef1ff0"]));
        let flag = "mcp_servers:\n  a:\n    url: os.environ/FLAG\n    transport: http\n";
        assert_eq!(one(flag).ids, set(&[&hash("a|True|http||")]));
    }

    #[test]
    fn an_unset_variable_leaves_the_id_unknown_and_is_named() {
        let yaml = "mcp_servers:\n  a:\n    url: os.environ/NOT_SET\n";
        let server = one(yaml);
        assert_eq!((server.ids, server.former_ids), (set(&[]), set(&[])));
        assert_eq!(server.unset, set(&["NOT_SET"]));
        assert_eq!(server.names, set(&["a"]));
    }

    #[test]
    fn an_alias_is_written_or_mapped() {
        let settings =
            "litellm_settings:\n  mcp_aliases:\n    other: b\n    first: a\n    second: a\n";
        for (alias, names, hashed) in [
            ("", &["a", "first"][..], "first"),
            ("    alias:\n", &["a", "first"], "first"),
            ("    alias: own\n", &["a", "own"], "own"),
            ("    alias: ''\n", &["a"], ""),
        ] {
            let yaml = format!("mcp_servers:\n  a:\n    transport: sse\n{alias}{settings}");
            let server = one(&yaml);
            assert_eq!(server.names, set(names), "{alias:?}");
            assert_eq!(
                server.ids,
                set(&[&hash(&format!("a||sse||{hashed}"))]),
                "{alias:?}"
            );
        }
    }

    /// Checks the second mapping of LiteLLM 1.74.9 to 1.85.7, which takes the next alias or none.
    #[test]
    fn an_older_proxy_maps_aliases_twice() {
        let yaml = "mcp_servers:\n  a: {transport: sse}\n  b: {transport: sse}\n  c: {transport: sse, alias: own}\n\
                    litellm_settings:\n  mcp_aliases: {first: a, only: b, second: a, third: a, taken: c}\n";
        let older = Derivation {
            may_map_twice: true,
            ..NEW
        };
        let hashed = |name: &str, alias: &str| hash(&format!("{name}||sse||{alias}"));
        for (server, (now, then)) in
            read(yaml, older)
                .iter()
                .zip([("first", "second"), ("only", ""), ("own", "own")])
        {
            let name = server.name.as_str();
            assert_eq!(
                server.ids,
                set(&[&hashed(name, now), &hashed(name, then)]),
                "{name}"
            );
            assert!(server.names.contains(now), "{name}");
        }
        assert!(read(yaml, older)[0].names.contains("second"));
        let server = &read(yaml, NEW)[1];
        assert_eq!(server.ids, set(&[&hashed("b", "only")]));
        // Any release gives this id to an entry without the mapping.
        assert!(!server.former_ids.contains(&hashed("b", "")));
    }

    #[test]
    fn a_pinned_id_wins_where_litellm_knows_pins() {
        let yaml = "mcp_servers:\n  a:\n    transport: sse\n    server_id: ' pinned '\n";
        let hashed = hash("a||sse||");
        let server = one(yaml);
        assert_eq!(server.ids, set(&["pinned"]));
        assert!(server.former_ids.contains(&hashed));
        let older = Derivation { pins: false, ..NEW };
        assert_eq!(read(yaml, older)[0].ids, set(&["pinned", &hashed]));
    }

    #[test]
    fn a_pinned_id_leaves_an_alias_that_is_not_set_unknown() {
        let yaml = "mcp_servers:\n  a:\n    server_id: pinned\n    url: os.environ/NOT_SET\n    alias: os.environ/NOR_THIS\n";
        let server = one(yaml);
        assert_eq!(server.ids, set(&["pinned"]));
        assert_eq!(server.unset, set(&["NOR_THIS"]));
    }

    #[test]
    fn an_old_proxy_may_use_every_formula() {
        let yaml = "mcp_servers:\n  a:\n    url: u\n    transport: sse\n";
        let old = Derivation {
            may_be_old: true,
            may_map_twice: true,
            pins: false,
        };
        let server = &read(yaml, old)[0];
        for text in [
            "a|u|sse||",
            "a|u|sse|2025-03-26||",
            "a|u|sse|MCPSpecVersion.jun_2025|",
        ] {
            assert!(server.ids.contains(&hash(text)), "{text}");
        }
        assert_eq!(server.former_ids, set(&[]));
    }

    #[test]
    fn scalars_are_read_as_pyyaml_reads_them() {
        let yaml = "mcp_servers:\n  a:\n    url: yes\n    transport: sse\n    alias: 12\n    auth_type: 'on'\n";
        let server = one(yaml);
        assert_eq!(server.ids, set(&[&hash("a|True|sse|on|12")]));
        assert_eq!(server.names, set(&["a", "12"]));
    }

    #[test]
    fn included_files_extend_lists_and_replace_the_rest() {
        let mut config =
            Config::parse("include: [b.yaml]\nmodel_list: [1]\nmcp_servers: {a: {}}\n").unwrap();
        assert_eq!(config.includes(), Ok(vec!["b.yaml".to_owned()]));
        let included = "include: [c.yaml]\nmodel_list: [2]\nmcp_servers: {b: {}}\nx: 1\n";
        config.merge(&Config::parse_included(included).unwrap());
        config.merge(&Config::parse_included("# nothing\n").unwrap());
        assert_eq!(config.includes(), Ok(vec!["b.yaml".to_owned()]));
        let sections = &config.readings[0];
        let models = sections
            .get("model_list")
            .and_then(YamlValue::as_list)
            .unwrap();
        assert_eq!(models.len(), 2);
        let names: Vec<String> = config
            .servers(NEW, &|_| None)
            .unwrap()
            .into_iter()
            .map(|server| server.name)
            .collect();
        assert_eq!(names, ["b"]);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place_and_without_the_text() {
        let error = |yaml: &str| {
            let error = Config::parse(yaml).unwrap_err();
            assert!(!error.message.contains("s3cret"), "{error:?}");
            (error.at, error.message)
        };
        let (at, message) = error("a: 1\nkey: [s3cret\nb: 2\n");
        assert_eq!(at.map(|(line, _)| line), Some(3));
        assert!(message.contains("is not closed"), "{message}");
        let (at, message) = error("a:\n\tkey: s3cret\n");
        assert_eq!(at.map(|(line, _)| line), Some(2));
        assert!(message.contains("a tab"), "{message}");
        for (yaml, told) in [
            ("- s3cret\n", "expected a mapping"),
            ("", "the file is empty"),
            ("# s3cret\n", "the file is empty"),
            ("a: 'b: s3cret\n", "a quote"),
            ("a: *s3cret\n", "whose anchor"),
            ("a: 1\n---\nb: 1\n", "a second document"),
            ("a: !vault s3cret\n", "the tag !vault"),
            ("{[s3cret]: 1}\n", "as a key"),
            ("a: {<<: s3cret}\n", "neither"),
            ("a: &a [*a]\n", "contains itself"),
            ("a: &a {<<: *a}\n", "merges itself"),
        ] {
            let (_, message) = error(yaml);
            assert!(message.contains(told), "{yaml}: {message}");
        }
        for (yaml, told) in [
            ("include: b.yaml\n", "include must be a list"),
            ("mcp_servers: [a]\n", "mcp_servers must be a mapping"),
            ("mcp_servers:\n  a: b\n", "mcp_servers.a must be a mapping"),
            (
                "mcp_servers:\n  a:\n    server_id: ''\n",
                "must not be empty",
            ),
            ("mcp_servers:\n  a:\n    server_id: 5\n", "must be a string"),
            (
                "mcp_servers:\n  a:\n    server_id: os.environ/NOT_SET\n",
                "NOT_SET, which is not set",
            ),
        ] {
            let config = Config::parse(yaml).unwrap();
            let error = config
                .includes()
                .map(|_| ())
                .and_then(|()| config.servers(NEW, &|_| None).map(|_| ()))
                .unwrap_err();
            assert!(error.message.contains(told), "{yaml}: {}", error.message);
        }
    }

    #[test]
    fn whatever_is_empty_is_no_servers() {
        for none in ["", "[]", "{}", "false", "''", "0", "null", "~"] {
            assert_eq!(read(&format!("mcp_servers: {none}\n"), NEW), [], "{none:?}");
        }
    }

    #[test]
    fn an_alias_may_be_mapped_by_the_environment() {
        let yaml = |variable: &str| {
            format!(
                "litellm_settings:\n  mcp_aliases:\n    short: os.environ/{variable}\n    later: a\n\
                 mcp_servers:\n  a: {{url: http://a/mcp, transport: http}}\n"
            )
        };
        let env = |name: &str| (name == "NAME").then(|| "a".to_owned());
        let servers = |variable: &str| {
            let config = Config::parse(&yaml(variable)).unwrap();
            config.servers(NEW, &env).unwrap().remove(0)
        };
        let server = servers("NAME");
        assert_eq!(server.ids, set(&[&hash("a|http://a/mcp|http||short")]));
        assert_eq!(server.names, set(&["a", "short"]));
        // The variable may name this server.
        let server = servers("OTHER");
        assert_eq!((server.ids, server.unset), (set(&[]), set(&["OTHER"])));
    }

    #[test]
    fn a_list_of_merges_is_read_as_both_releases_of_pyyaml_do() {
        let yaml = "d1: &d1 {url: http://one/mcp, transport: http}\n\
                    d2: &d2 {url: http://two/mcp, transport: sse, auth_type: bearer_token}\n\
                    mcp_servers:\n  a:\n    <<: [*d1, *d2]\n";
        let server = one(yaml);
        let first = hash("a|http://one/mcp|http|bearer_token|");
        let last = hash("a|http://two/mcp|sse|bearer_token|");
        assert_eq!(server.ids, set(&[&first, &last]));
        assert_eq!(server.current, Some(last));
        // Both releases read two merges beside each other in the same way.
        let twice = yaml.replace("<<: [*d1, *d2]", "<<: *d1\n    <<: *d2");
        let last = hash("a|http://two/mcp|sse|bearer_token|");
        assert_eq!(one(&twice).ids, set(&[&last]));
    }

    /// Expects what `PyYAML` 6.0.3 and 6.0.4 answered.
    #[test]
    fn a_tag_decides_whether_a_key_merges() {
        let merged = |key: &str, sources: &str| {
            let yaml = format!(
                "d1: &d1 {{url: one, transport: sse}}\nd2: &d2 {{url: two, transport: sse}}\n\
                 mcp_servers:\n  a:\n    {key}: {sources}\n"
            );
            one(&yaml).ids
        };
        let ids = |urls: &[&str]| -> BTreeSet<String> {
            let ids = urls.iter().map(|url| hash(&format!("a|{url}|sse||")));
            ids.collect()
        };
        for key in ["<<", "! <<", "! '<<'", "!!merge x", "!!merge '<<'"] {
            assert_eq!(merged(key, "*d1"), ids(&["one"]), "{key}");
            assert_eq!(merged(key, "[*d1, *d2]"), ids(&["one", "two"]), "{key}");
        }
        // A text of that name is a field like others.
        for key in ["'<<'", "!!str <<"] {
            assert_eq!(merged(key, "*d1").len(), 2, "{key}");
            assert!(merged(key, "*d1").is_disjoint(&ids(&["one"])), "{key}");
        }
    }

    /// Expects what `PyYAML` 6.0.3 answered.
    #[test]
    fn a_value_key_is_a_text() {
        for key in ["=", "! =", "!!value =", "'='"] {
            let yaml = format!("mcp_servers:\n  {key}: {{url: u, transport: sse}}\n");
            assert_eq!(one(&yaml).ids, set(&[&hash("=|u|sse||")]), "{key}");
        }
        let yaml = "mcp_servers:\n  !!value a: {url: u, transport: sse}\n";
        assert_eq!(one(yaml).ids, set(&[&hash("a|u|sse||")]));
    }

    #[test]
    fn what_pyyaml_would_read_otherwise_is_refused() {
        for line_break in ['\u{85}', '\u{2028}', '\u{2029}'] {
            // To PyYAML 6.0.3 the url is another key, also where it stands in a comment.
            for before in ["transport: sse", "transport: sse # s3cret"] {
                let yaml = format!("mcp_servers:\n  a:\n    {before}{line_break}    url: u\n");
                let error = Config::parse(&yaml).unwrap_err();
                let column = u64::try_from(before.len()).unwrap() + 5;
                assert_eq!(error.at, Some((3, column)));
                let code = format!("U+{:04X}", u32::from(line_break));
                assert!(error.message.contains(&code), "{}", error.message);
            }
        }
        // PyYAML 6.0.3 reads the key `b`, or fails.
        for yaml in [
            "a: [?b]\n",
            "a: {?b: c}\n",
            "a: {b: ?c}\n",
            "a: [x, ?]\n",
            "a: [x?b]\n",
            "a: [[], ?b]\n",
            "a: {url: http://x/?y}\n",
            "a: [\n  {x: y}, ?b]\n",
        ] {
            let error = Config::parse(yaml).unwrap_err();
            let is_told = error.message.contains("a ? inside [ ] or { }");
            // The parser itself refuses some.
            assert!(
                is_told || error.message.contains("this is not YAML"),
                "{yaml}: {error:?}"
            );
        }
        for yaml in [
            "a: ?b\n",
            "?b: c\n",
            "a: [\"?b\", '?']\n",
            "a: {? b : c}\n",
            "a: []\nb: x?\n",
            "a: \"\\L\\P\\N\"\n",
        ] {
            assert!(Config::parse(yaml).is_ok(), "{yaml}");
        }
    }

    #[test]
    fn values_of_yaml_1_1_enter_an_id_as_python_prints_them() {
        for (written, printed) in [
            ("yes", "True"),
            ("Off", ""),
            ("0", ""),
            ("010", "8"),
            ("0o10", "0o10"),
            ("0x1F", "31"),
            ("1:30", "90"),
            ("1_000", "1000"),
            ("1.50", "1.5"),
            ("1e3", "1e3"),
            ("1.0e+20", "1e+20"),
            (".inf", "inf"),
            ("-.INF", "-inf"),
            (".nan", "nan"),
            ("'on'", "on"),
            ("!!str 12", "12"),
            ("! 0x10", "16"),
            ("~", ""),
        ] {
            let yaml = format!("mcp_servers:\n  a:\n    url: {written}\n    transport: sse\n");
            let expected = hash(&format!("a|{printed}|sse||"));
            assert_eq!(one(&yaml).ids, set(&[&expected]), "{written}");
        }
        // It is not known how Python prints these, so the id is not known either.
        for written in [
            "2024-01-02",
            "!!binary aGk=",
            "[a]",
            "!!timestamp 2024-01-02",
        ] {
            let yaml = format!("mcp_servers:\n  a:\n    url: {written}\n    transport: sse\n");
            assert_eq!(one(&yaml).ids, set(&[]), "{written}");
        }
    }

    #[test]
    fn what_is_elsewhere_in_the_file_does_not_keep_it_from_being_read() {
        let yaml = "x: {~: 1, .inf: .nan, 2024-01-02: !!binary aGk=, 1: 2, true: 3}\n\
                    y: !!set {a, b}\nz: !!omap [a: 1]\nt: !!timestamp 2024-01-02 03:04:05\n\
                    mcp_servers:\n  a: {url: u, transport: sse}\n";
        assert_eq!(one(yaml).ids, set(&[&hash("a|u|sse||")]));
    }

    #[test]
    fn anchors_may_be_used_often_and_bombs_are_refused() {
        use std::fmt::Write as _;
        let mut often = "x: &d {api_key: k}\nmodel_list:\n".to_owned();
        for n in 0..5_000 {
            writeln!(
                often,
                "  - {{model_name: m{n}, litellm_params: {{<<: *d}}}}"
            )
            .unwrap();
        }
        often.push_str("mcp_servers:\n  a: {url: u, transport: sse}\n");
        assert_eq!(one(&often).ids, set(&[&hash("a|u|sse||")]));

        let refused = |bomb: &str, told: &str| {
            let error = Config::parse(bomb).unwrap_err();
            assert!(error.message.contains(told), "{}", error.message);
        };
        let aliases = |n: usize| vec![format!("*a{n}"); 10].join(", ");
        let mut laughs = "a0: &a0 [x]\n".to_owned();
        let mut merges = "a0: &a0 {x: 1}\n".to_owned();
        let mut chain = "a0: &a0 [x]\n".to_owned();
        let mut merge_chain = "a0: &a0 {x0: 1}\n".to_owned();
        for n in 1..5_000 {
            if n < 12 {
                writeln!(laughs, "a{n}: &a{n} [{}]", aliases(n - 1)).unwrap();
                writeln!(merges, "a{n}: &a{n} {{<<: [{}]}}", aliases(n - 1)).unwrap();
            }
            writeln!(chain, "a{n}: &a{n} [*a{}]", n - 1).unwrap();
            writeln!(merge_chain, "a{n}: &a{n} {{<<: *a{}, x{n}: 1}}", n - 1).unwrap();
        }
        refused(&laughs, "values, which is the limit");
        refused(&merges, "entries, which is the limit");
        refused(&chain, "deep, which is the limit");
        refused(&merge_chain, "entries, which is the limit");
        refused(
            &format!("a: {}", "[".repeat(1_000)),
            "255 lists and mappings",
        );
    }

    #[test]
    fn a_file_that_is_not_litellms_is_told_as_what_it_is() {
        let refused = |yaml: &str| {
            let config = Config::parse(yaml).unwrap();
            let error = config.ensure_litellm().unwrap_err();
            (error.message, error.remedy)
        };
        let extract = |keys: &[&str]| {
            let keys = keys.iter().map(|key| (*key).to_owned());
            Some(Remedy::Extract(keys.collect()))
        };
        let manifest = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: litellm}\ndata:\n  \
                        config.yaml: |\n    mcp_servers:\n      gh: {url: u}\n";
        let (message, remedy) = refused(manifest);
        assert!(
            message.starts_with("this is a Kubernetes ConfigMap"),
            "{message}"
        );
        assert_eq!(remedy, extract(&["data", "config.yaml"]));
        let values = "replicaCount: 1\nproxy_config:\n  mcp_servers:\n    gh: {url: u}\n";
        let (message, remedy) = refused(values);
        assert!(
            message.starts_with("this is a file of Helm values"),
            "{message}"
        );
        assert_eq!(remedy, extract(&["proxy_config"]));
        let (_, remedy) = refused("litellm:\n  proxy_config: {model_list: []}\n");
        assert_eq!(remedy, extract(&["litellm", "proxy_config"]));
        for (yaml, told) in [
            ("services: {litellm: {image: i}}\n", "a docker-compose file"),
            ("mcpServers: {gh: {command: npx}}\n", "an MCP client's list"),
            ("a: 1\n", "this is another file, not a config of LiteLLM"),
            ("{}\n", "this is another file, not a config of LiteLLM"),
            (
                "environment_variables: {A: b}\n",
                "this is another file, not a config of LiteLLM",
            ),
            ("proxy_config: {}\n", "this is a file of Helm values"),
            (
                "apiVersion: v1\nkind: Secret\ndata: {config.yaml: bWNwX3NlcnZlcnM6}\n",
                "a Kubernetes Secret",
            ),
            (
                "apiVersion: v1\nkind: ConfigMap\ndata:\n  a: |\n    model_list:\n  b: |\n    \
                 model_list:\n",
                "with 2 configs",
            ),
            (
                "litellm_settings: {mcp_servers: {gh: {url: u}}}\n",
                "mcp_servers is inside litellm_settings",
            ),
            (
                "model_list: []\ngeneral_settings: {mcp_servers: {gh: {url: u}}}\n",
                "mcp_servers is inside general_settings",
            ),
            (
                "model_list: []\nmcpServers: {}\n",
                "mcpServers is no section",
            ),
        ] {
            let (message, _) = refused(yaml);
            assert!(message.contains(told), "{yaml}: {message}");
        }
        for yaml in [
            "model_list: []\n",
            "mcp_servers:\n",
            "general_settings: {master_key: k}\n",
            // LiteLLM reads the one at the top level.
            "mcp_servers: {a: {url: u}}\nlitellm_settings: {mcp_servers: {b: {url: u}}}\n",
        ] {
            let config = Config::parse(yaml).unwrap();
            assert_eq!(config.ensure_litellm(), Ok(()), "{yaml}");
        }
    }

    #[test]
    fn an_edited_server_is_remapped_from_every_id_it_had() {
        let yaml = |url: &str, transport: &str| {
            format!(
                "mcp_servers:\n  gh:\n    url: {url}\n{transport}  other:\n    url: http://o\n    transport: http\n"
            )
        };
        let explicit = "    transport: http\n";
        let before = read(&yaml("http://old", ""), NEW);
        let now = read(&yaml("http://new", explicit), NEW);
        let remaps = Renewals::between(&before, &now, PresentConfigs::One).remaps;
        let id = now[0].ids.first().unwrap();
        assert_eq!(before[0].ids.len(), 2);
        for old in before[0].ids.iter().chain(&now[0].former_ids) {
            assert_eq!(remaps.get(old), Some(id), "{old}");
        }
        let other = now[1].ids.first().unwrap();
        assert!(!remaps.contains_key(other));
        // The proxy's Python decides which of two ids the server has now.
        let unclear = read(&yaml("http://new", ""), NEW);
        let renewals = Renewals::between(&before, &unclear, PresentConfigs::One);
        assert!(!renewals.remaps.values().any(|new| new == id));
        for old in &before[0].ids {
            assert!(renewals.unclear.contains(old), "{old}");
            assert!(!renewals.removed.contains(old), "{old}");
        }
        // A server that is gone was removed.
        let renewals = Renewals::between(&before, &now[1..], PresentConfigs::One);
        assert_eq!(renewals.unclear, set(&[]));
        for old in &before[0].ids {
            assert!(renewals.removed.contains(old), "{old}");
        }
    }

    #[test]
    fn in_several_configs_a_name_does_not_tell_which_server_an_old_id_is() {
        let yaml = |url: &str, pin: &str| {
            format!("mcp_servers:\n  gh: {{url: {url}, transport: http{pin}}}\n")
        };
        let config = |url: &str| read(&yaml(url, ""), NEW);
        let pinned = |url: &str, id: &str| read(&yaml(url, &format!(", server_id: {id}")), NEW);
        let id = |url: &str| hash(&format!("gh|{url}|http||"));
        let between = |previous: &[ConfigServer], now: &[ConfigServer]| {
            Renewals::between(previous, now, PresentConfigs::Several)
        };
        // Two proxies have a gh each; one of them was edited.
        let previous = [config("http://a"), config("http://b")].concat();
        let now = [config("http://a2"), config("http://b")].concat();
        let renewals = between(&previous, &now);
        assert!(!renewals.remaps.contains_key(&id("http://a")));
        assert!(renewals.unclear.contains(&id("http://a")));
        // An id that a present server has is left out.
        let b = id("http://b");
        assert!(!renewals.remaps.contains_key(&b) && !renewals.unclear.contains(&b));
        assert_eq!(renewals.removed, set(&[]));
        // The former ids of an entry are its own for sure.
        let now = [pinned("http://a", "pin-a"), config("http://b")].concat();
        let renewals = between(&previous, &now);
        assert_eq!(
            renewals.remaps.get(&id("http://a")),
            Some(&"pin-a".to_owned())
        );
        let former = config("http://b")[0].former_ids.first().cloned().unwrap();
        assert_eq!(renewals.remaps.get(&former), Some(&b));
        // Both proxies have the same entry and pin it differently.
        let now = [pinned("http://a", "pin-1"), pinned("http://a", "pin-2")].concat();
        let renewals = between(&previous, &now);
        assert!(renewals.unclear.contains(&id("http://a")));
        assert_eq!(renewals.remaps, BTreeMap::new());
        // A name that no config has any more is a server that was removed.
        let others = read("mcp_servers: {other: {url: u, transport: http}}\n", NEW);
        let renewals = between(&previous, &others);
        assert!(renewals.removed.contains(&id("http://a")));
        assert_eq!(renewals.unclear, set(&[]));
    }
}
