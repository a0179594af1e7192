//! `config.yaml`: the servers that have no row, and the ids LiteLLM derives for them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value as Json};
use sha2::{Digest as _, Sha256};

/// A mapping of a `config.yaml`, in the order of the file.
pub type Mapping = Map<String, Json>;

/// Why a `config.yaml` cannot be read: where, and what is wrong there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// Line and column, from 1, where they are known.
    pub at: Option<(u64, u64)>,
    /// What is wrong, without the text of the file, which may hold secrets.
    pub message: String,
}

/// Which of the ways to derive an id are in use.
///
/// The hash changed its fields up to LiteLLM 1.77.2, and ids can be pinned since 1.101.0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Derivation {
    /// The proxy may be older than 1.77.2: every formula is in use.
    pub may_be_old: bool,
    /// The proxy knows pinned ids, so that a server with one has no hash.
    pub pins: bool,
}

/// A server of a `config.yaml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigServer {
    /// The name that the file gives it.
    pub name: String,
    /// What a grant may call it besides its id: the name, and the alias if it has one.
    pub names: BTreeSet<String>,
    /// The ids that LiteLLM gives it; several where the file alone does not tell which.
    pub ids: BTreeSet<String>,
    /// The ids that an older LiteLLM gave it.
    pub former_ids: BTreeSet<String>,
    /// Variables that the file takes from the environment and that are not set here.
    pub unset: BTreeSet<String>,
    /// The tags by which a grant may mean it: `access_groups`.
    pub tags: Vec<String>,
    /// Whether every key may use it, or may for all that can be told here.
    pub allow_all_keys: bool,
}

/// Reads the text of a file.
///
/// # Errors
///
/// Where the text is not YAML or not a mapping.
pub fn parse(text: &str) -> Result<Mapping, ConfigError> {
    let mut options = serde_saphyr::Options::default();
    // As PyYAML's safe_load, which LiteLLM reads it with.
    options.duplicate_keys = serde_saphyr::DuplicateKeyPolicy::LastWins;
    options.with_snippet = false;
    match serde_saphyr::from_str_with_options(text, options) {
        Ok(Json::Object(mapping)) => Ok(mapping),
        Ok(Json::Null) => Ok(Mapping::new()),
        Ok(Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Array(_)) => {
            Err(ConfigError {
                at: Some((1, 1)),
                message: "expected a mapping".to_owned(),
            })
        }
        Err(error) => Err(ConfigError {
            at: error.location().map(|at| (at.line(), at.column())),
            message: "this is not YAML".to_owned(),
        }),
    }
}

/// The files that `include:` names, relative to the file.
///
/// # Errors
///
/// Where it is no list of names.
pub fn includes(config: &Mapping) -> Result<Vec<String>, ConfigError> {
    let entries = match config.get("include") {
        None => return Ok(Vec::new()),
        Some(Json::Array(entries)) => entries.iter().map(Json::as_str).collect(),
        Some(_) => None,
    };
    entries
        .map(|entries: Vec<&str>| entries.into_iter().map(str::to_owned).collect())
        .ok_or_else(|| wrong("include must be a list of file names"))
}

/// Adds an included file to the file that includes it: lists grow, every other value is replaced.
///
/// Source: LiteLLM 1.109.1 `common_utils/config_includes.py`, `_merged`.
pub fn merge(config: &mut Mapping, included: Mapping) {
    for (key, value) in included {
        match (config.get_mut(&key), value) {
            _ if key == "include" => {}
            (Some(Json::Array(base)), Json::Array(more)) => base.extend(more),
            (Some(base), value) => *base = value,
            (None, value) => {
                config.insert(key, value);
            }
        }
    }
}

/// The servers of a file that includes are merged into.
///
/// `env` looks up a variable of the proxy's environment.
///
/// # Errors
///
/// Where LiteLLM would not start either, and where an id is pinned to an unset variable.
///
/// Source: LiteLLM 1.109.1 `mcp_server/mcp_server_manager.py`, `load_servers_from_config`.
pub fn servers(
    config: &Mapping,
    derivation: Derivation,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<ConfigServer>, ConfigError> {
    let entries = match config.get("mcp_servers") {
        None | Some(Json::Null) => return Ok(Vec::new()),
        Some(Json::Object(entries)) => entries,
        Some(_) => return Err(wrong("mcp_servers must be a mapping")),
    };
    let aliases = config
        .get("litellm_settings")
        .and_then(|settings| settings.get("mcp_aliases"))
        .and_then(Json::as_object);
    let server = |(name, entry): (&String, &Json)| match entry.as_object() {
        Some(entry) => Entry {
            name,
            fields: entry,
            env,
        }
        .server(aliases, derivation),
        None => Err(wrong(&format!("mcp_servers.{name} must be a mapping"))),
    };
    entries.iter().map(server).collect()
}

/// What grants of a previous config have to be rewritten to: the id that a server of the same name has
/// now, by every id it had. Servers whose id cannot be told from the file alone are left out.
#[must_use]
pub fn remaps(previous: &[ConfigServer], now: &[ConfigServer]) -> BTreeMap<String, String> {
    let mut remaps = BTreeMap::new();
    for server in now {
        let [id] = server.ids.iter().collect::<Vec<_>>()[..] else {
            continue;
        };
        let before = previous.iter().filter(|before| before.name == server.name);
        let before = before.flat_map(|before| before.ids.iter().chain(&before.former_ids));
        let old = before.chain(&server.former_ids).filter(|old| *old != id);
        remaps.extend(old.map(|old| (old.clone(), id.clone())));
    }
    remaps
}

fn wrong(message: &str) -> ConfigError {
    ConfigError {
        at: None,
        message: message.to_owned(),
    }
}

/// A field as Python prints it into the text that is hashed; every way it may be printed.
type Texts = Vec<String>;

struct Entry<'a> {
    name: &'a str,
    fields: &'a Mapping,
    env: &'a dyn Fn(&str) -> Option<String>,
}

/// A value after `os.environ/` is resolved.
enum Resolved {
    Absent,
    Null,
    Text(String),
    /// A variable that is not set here.
    Unset(String),
    /// A value that Python may print otherwise than we would.
    Unclear,
}

impl Entry<'_> {
    fn server(
        &self,
        aliases: Option<&Mapping>,
        derivation: Derivation,
    ) -> Result<ConfigServer, ConfigError> {
        let alias = match self.field("alias") {
            // An alias given as an empty text takes no mapping.
            Resolved::Absent | Resolved::Null => self.mapped_alias(aliases),
            alias @ (Resolved::Text(_) | Resolved::Unset(_) | Resolved::Unclear) => alias,
        };
        let url = self.field("url");
        let transport = self.field("transport");
        let auth_type = self.field("auth_type");
        let spec = self.field("spec_version");
        let pinned = self.pinned()?;

        let mut unset = self.unset([&alias, &url, &transport, &auth_type, &spec]);
        let hashes = self.hashes(
            &or_empty(&url),
            &transport,
            &or_empty(&auth_type),
            &or_empty(&alias),
        );
        let old_url = match url {
            // Up to 1.73 an absent url was printed as None.
            Resolved::Absent | Resolved::Null => vec![String::new(), "None".to_owned()],
            Resolved::Text(_) | Resolved::Unset(_) | Resolved::Unclear => or_empty(&url),
        };
        let old = self.old_hashes(
            &old_url,
            &transport,
            &spec,
            &or_empty(&auth_type),
            &or_empty(&alias),
        );

        let (mut ids, mut former_ids) = if derivation.may_be_old {
            (hashes.into_iter().chain(old).collect(), BTreeSet::new())
        } else {
            (hashes, old)
        };
        if let Some(pinned) = pinned {
            if derivation.pins {
                former_ids.append(&mut ids);
                // The id no longer hangs on them, but the alias is a name besides.
                unset = self.unset([&alias]);
            }
            ids.insert(pinned);
        }
        former_ids.retain(|id| !ids.contains(id));
        let mut names = BTreeSet::from([self.name.to_owned()]);
        names.extend(
            or_empty(&alias)
                .into_iter()
                .filter(|alias| !alias.is_empty()),
        );
        Ok(ConfigServer {
            name: self.name.to_owned(),
            names,
            ids,
            former_ids,
            unset,
            tags: self.tags(),
            allow_all_keys: self.allows_all_keys(),
        })
    }

    fn tags(&self) -> Vec<String> {
        let entries = self.fields.get("access_groups").and_then(Json::as_array);
        let tags = entries.into_iter().flatten().filter_map(Json::as_str);
        tags.map(str::to_owned).collect()
    }

    /// What Python takes for true.
    fn allows_all_keys(&self) -> bool {
        match self.field("allow_all_keys") {
            Resolved::Absent | Resolved::Null => false,
            Resolved::Text(text) => !matches!(text.as_str(), "" | "False" | "0"),
            Resolved::Unset(_) | Resolved::Unclear => true,
        }
    }

    /// What is not known of the fields.
    fn unset<const N: usize>(&self, fields: [&Resolved; N]) -> BTreeSet<String> {
        let unset = fields.into_iter().filter_map(|field| match field {
            Resolved::Unset(variable) => Some(variable.clone()),
            Resolved::Unclear => Some(format!("a value of mcp_servers.{}", self.name)),
            Resolved::Absent | Resolved::Null | Resolved::Text(_) => None,
        });
        unset.collect()
    }

    fn field(&self, key: &str) -> Resolved {
        match self.fields.get(key) {
            None => Resolved::Absent,
            Some(value) => self.resolve(value),
        }
    }

    /// Source: LiteLLM 1.109.1 `proxy_server.py`, `_resolved_config_value`, and
    /// `secret_managers/main.py`, `get_secret` and `str_to_bool`.
    fn resolve(&self, value: &Json) -> Resolved {
        match value {
            Json::Null => Resolved::Null,
            Json::Bool(true) => Resolved::Text("True".to_owned()),
            Json::Bool(false) => Resolved::Text("False".to_owned()),
            Json::Number(number) if number.is_i64() => Resolved::Text(number.to_string()),
            Json::Number(_) | Json::Array(_) | Json::Object(_) => Resolved::Unclear,
            Json::String(text) => match text.strip_prefix("os.environ/") {
                None => Resolved::Text(text.clone()),
                Some(variable) => match (self.env)(variable) {
                    None => Resolved::Unset(variable.to_owned()),
                    Some(text) if text.trim().eq_ignore_ascii_case("true") => {
                        Resolved::Text("True".to_owned())
                    }
                    Some(text) if text.trim().eq_ignore_ascii_case("false") => {
                        Resolved::Text("False".to_owned())
                    }
                    Some(text) => Resolved::Text(text),
                },
            },
        }
    }

    /// The first alias that `litellm_settings.mcp_aliases` maps to this server.
    fn mapped_alias(&self, aliases: Option<&Mapping>) -> Resolved {
        let mut mapped = aliases.into_iter().flatten();
        match mapped.find(|(_, server)| server.as_str() == Some(self.name)) {
            Some((alias, _)) => Resolved::Text(alias.clone()),
            None => Resolved::Absent,
        }
    }

    /// Source: LiteLLM 1.109.1 `mcp_server/mcp_server_manager.py`, `_pinned_config_server_id`.
    fn pinned(&self) -> Result<Option<String>, ConfigError> {
        let name = self.name;
        match self.fields.get("server_id") {
            None | Some(Json::Null) => Ok(None),
            Some(value @ Json::String(_)) => match self.resolve(value) {
                Resolved::Text(id) if !id.trim().is_empty() => Ok(Some(id.trim().to_owned())),
                Resolved::Unset(variable) => Err(wrong(&format!(
                    "mcp_servers.{name}.server_id is os.environ/{variable}, which is not set here"
                ))),
                Resolved::Absent | Resolved::Null | Resolved::Text(_) | Resolved::Unclear => Err(
                    wrong(&format!("mcp_servers.{name}.server_id must not be empty")),
                ),
            },
            Some(_) => Err(wrong(&format!(
                "mcp_servers.{name}.server_id must be a string"
            ))),
        }
    }

    /// The ids of LiteLLM 1.77.2 and later.
    ///
    /// Source: LiteLLM 1.109.1 `mcp_server/mcp_server_manager.py`, `_generate_stable_server_id`.
    fn hashes(
        &self,
        url: &Texts,
        transport: &Resolved,
        auth_type: &Texts,
        alias: &Texts,
    ) -> BTreeSet<String> {
        let transport = enumerated(transport, &["http", "MCPTransport.http"]);
        let name = vec![self.name.to_owned()];
        hashes_of(&[&name, url, &transport, auth_type, alias])
    }

    /// The ids of LiteLLM 1.72.7 to 1.77.1, which hashed the protocol's version as well, and at
    /// first no alias.
    ///
    /// Source: the same function of 1.74.7, 1.74.9 and 1.77.1.
    fn old_hashes(
        &self,
        url: &Texts,
        transport: &Resolved,
        spec: &Resolved,
        auth_type: &Texts,
        alias: &Texts,
    ) -> BTreeSet<String> {
        let transport = enumerated(transport, &["http", "MCPTransport.http"]);
        let spec = enumerated(
            spec,
            &[
                "2025-03-26",
                "MCPSpecVersion.mar_2025",
                "2025-06-18",
                "MCPSpecVersion.jun_2025",
            ],
        );
        let name = vec![self.name.to_owned()];
        let mut ids = hashes_of(&[&name, url, &transport, &spec, auth_type]);
        ids.extend(hashes_of(&[
            &name, url, &transport, &spec, auth_type, alias,
        ]));
        ids
    }
}

/// A field that Python prints as nothing where it is absent, null or false.
fn or_empty(field: &Resolved) -> Texts {
    match field {
        Resolved::Text(text) if text == "False" || text == "0" => vec![String::new(), text.clone()],
        Resolved::Text(text) => vec![text.clone()],
        Resolved::Absent | Resolved::Null => vec![String::new()],
        Resolved::Unset(_) | Resolved::Unclear => Vec::new(),
    }
}

/// A field whose default is a member of a Python enumeration, which f-strings print by its value
/// before Python 3.11 and by its name since.
fn enumerated(field: &Resolved, defaults: &[&str]) -> Texts {
    match field {
        Resolved::Absent => defaults.iter().map(|text| (*text).to_owned()).collect(),
        Resolved::Null => vec!["None".to_owned()],
        Resolved::Text(text) => vec![text.clone()],
        Resolved::Unset(_) | Resolved::Unclear => Vec::new(),
    }
}

/// The hash of every combination; none where a field has no text.
fn hashes_of(fields: &[&Texts]) -> BTreeSet<String> {
    let mut joined: Vec<String> = vec![String::new()];
    for (at, texts) in fields.iter().enumerate() {
        let separator = if at == 0 { "" } else { "|" };
        joined = joined
            .iter()
            .flat_map(|head| {
                texts
                    .iter()
                    .map(move |text| format!("{head}{separator}{text}"))
            })
            .collect();
    }
    joined.iter().map(|text| hash(text)).collect()
}

/// The first 32 hexadecimal digits of the SHA-256.
fn hash(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes())[..16])
}

/// The bytes as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: Derivation = Derivation {
        may_be_old: false,
        pins: true,
    };

    fn read(yaml: &str, derivation: Derivation) -> Vec<ConfigServer> {
        let env = |name: &str| match name {
            "MCP_URL" => Some("https://mcp.deepwiki.com/mcp".to_owned()),
            "FLAG" => Some(" TRUE ".to_owned()),
            _ => None,
        };
        let config = parse(yaml).unwrap();
        servers(&config, derivation, &env).unwrap()
    }

    fn one(yaml: &str) -> ConfigServer {
        let servers = read(yaml, NEW);
        assert_eq!(servers.len(), 1);
        servers[0].clone()
    }

    fn set(texts: &[&str]) -> BTreeSet<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    /// Ids that real installations have logged (LiteLLM issue 13547, PR 32012) or that LiteLLM
    /// 1.109.1 itself derived.
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
            parse("include: [b.yaml]\nmodel_list: [1]\nmcp_servers: {a: {}}\n").unwrap();
        assert_eq!(includes(&config), Ok(vec!["b.yaml".to_owned()]));
        merge(
            &mut config,
            parse("include: [c.yaml]\nmodel_list: [2]\nmcp_servers: {b: {}}\nx: 1\n").unwrap(),
        );
        assert_eq!(
            Json::Object(config),
            serde_json::json!({
                "include": ["b.yaml"], "model_list": [1, 2], "mcp_servers": {"b": {}}, "x": 1
            })
        );
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place_and_without_the_text() {
        let error = parse("a: 1\nkey: [s3cret\nb: 2\n").unwrap_err();
        assert_eq!(error.at.map(|(line, _)| line), Some(3));
        assert!(!error.message.contains("s3cret"));
        assert!(parse("- a\n").is_err());
        assert!(parse("").unwrap().is_empty());
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
            let config = parse(yaml).unwrap();
            let error = includes(&config)
                .map(|_| ())
                .and_then(|()| servers(&config, NEW, &|_| None).map(|_| ()))
                .unwrap_err();
            assert!(error.message.contains(told), "{yaml}: {}", error.message);
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
        let remaps = remaps(&before, &now);
        let id = now[0].ids.first().unwrap();
        assert_eq!(before[0].ids.len(), 2);
        for old in before[0].ids.iter().chain(&now[0].former_ids) {
            assert_eq!(remaps.get(old), Some(id), "{old}");
        }
        let other = now[1].ids.first().unwrap();
        assert!(!remaps.contains_key(other));
        // Which of two ids the server has now hangs on the proxy's Python.
        let unclear = read(&yaml("http://new", ""), NEW);
        assert!(
            !super::remaps(&before, &unclear)
                .values()
                .any(|new| new == id)
        );
    }
}
