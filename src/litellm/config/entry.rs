//! One entry of `mcp_servers`, and the ids that releases of LiteLLM derive for it.

use std::collections::BTreeSet;

use sha2::{Digest as _, Sha256};

use crate::litellm::config::pyyaml::{Mapping, YamlValue};
use crate::litellm::config::{ConfigError, ConfigServer, Derivation, wrong};

/// Every way in which Python may print a field into the text that is hashed.
type Texts = Vec<String>;

/// One entry of `mcp_servers`.
pub(crate) struct Entry<'a> {
    /// The server's name.
    pub(crate) name: &'a str,
    /// Its fields.
    pub(crate) fields: &'a Mapping,
    /// Looks up a variable of the proxy's environment.
    pub(crate) env: &'a dyn Fn(&str) -> Option<String>,
}

/// A value after `os.environ/` is resolved.
enum Substitution {
    Absent,
    Null,
    Text(String),
    /// A value that Python takes for false, such as `false` or `0`, as Python prints it.
    Falsy(String),
    /// A variable that is not set here.
    Unset(String),
    /// A value that Python may print otherwise than this program.
    Unclear,
}

impl From<&YamlValue> for Substitution {
    fn from(value: &YamlValue) -> Self {
        if matches!(value, YamlValue::Null) {
            return Self::Null;
        }
        match value.printed() {
            None => Self::Unclear,
            // Callers tell an empty text from others.
            Some(text) if value.is_truthy() || value.as_text().is_some() => Self::Text(text),
            Some(text) => Self::Falsy(text),
        }
    }
}

impl Entry<'_> {
    /// Returns the server with its ids and names.
    ///
    /// # Errors
    ///
    /// Fails where LiteLLM would not start either, and where the id is pinned to an unset variable.
    pub(crate) fn server(
        &self,
        aliases: Option<&Mapping>,
        derivation: Derivation,
    ) -> Result<ConfigServer, ConfigError> {
        let alias = self.alias(aliases, 0);
        // Up to 1.85.7, the mapping was applied twice, and an alias was not taken twice. A later
        // release gives the id of the second time to an entry without the mapping. So it is no
        // former id there: it may be that of another proxy, or of this one before the mapping.
        let next_alias = self.alias(aliases, 1);
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
            Substitution::Absent | Substitution::Null => vec![String::new(), "None".to_owned()],
            Substitution::Falsy(ref text) => vec![String::new(), text.clone()],
            Substitution::Text(_) | Substitution::Unset(_) | Substitution::Unclear => {
                or_empty(&url)
            }
        };
        let mut old = BTreeSet::new();
        for alias in [&alias, &next_alias] {
            old.extend(self.old_hashes(
                &old_url,
                &transport,
                &spec,
                &or_empty(&auth_type),
                &or_empty(alias),
            ));
        }
        let mut current = hashes.last().cloned();
        let mut ids: BTreeSet<String> = hashes.into_iter().collect();
        let mut former_ids = BTreeSet::new();
        if derivation.may_be_old {
            ids.append(&mut old);
        } else {
            former_ids.append(&mut old);
        }
        let mut aliases = or_empty(&alias);
        if derivation.may_map_twice {
            ids.extend(self.hashes(
                &or_empty(&url),
                &transport,
                &or_empty(&auth_type),
                &or_empty(&next_alias),
            ));
            unset.append(&mut self.unset([&next_alias]));
            aliases.append(&mut or_empty(&next_alias));
        }
        let is_pinned = derivation.pins && pinned.is_some();
        if let Some(pinned) = pinned {
            if derivation.pins {
                former_ids.append(&mut ids);
                // The id no longer depends on them, but the alias is also a name.
                unset = self.unset([&alias]);
                current = Some(pinned.clone());
            }
            ids.insert(pinned);
        }
        former_ids.retain(|id| !ids.contains(id));
        let mut names = BTreeSet::from([self.name.to_owned()]);
        names.extend(aliases.into_iter().filter(|alias| !alias.is_empty()));
        Ok(ConfigServer {
            name: self.name.to_owned(),
            names,
            ids,
            current,
            is_pinned,
            former_ids,
            unset,
            tags: self.tags(),
            allow_all_keys: self.allows_all_keys(),
        })
    }

    fn tags(&self) -> Vec<String> {
        let entries = self
            .fields
            .get("access_groups")
            .and_then(YamlValue::as_list);
        let tags = entries.into_iter().flatten().filter_map(YamlValue::as_text);
        tags.map(str::to_owned).collect()
    }

    /// Tells whether Python takes `allow_all_keys` for true, or may.
    fn allows_all_keys(&self) -> bool {
        match self.field("allow_all_keys") {
            Substitution::Absent | Substitution::Null | Substitution::Falsy(_) => false,
            Substitution::Text(text) => !text.is_empty(),
            Substitution::Unset(_) | Substitution::Unclear => true,
        }
    }

    /// Names the variables and values that leave the fields unknown.
    fn unset<const N: usize>(&self, fields: [&Substitution; N]) -> BTreeSet<String> {
        let unset = fields.into_iter().filter_map(|field| match field {
            Substitution::Unset(variable) => Some(variable.clone()),
            Substitution::Unclear => Some(format!("a value of mcp_servers.{}", self.name)),
            Substitution::Absent
            | Substitution::Null
            | Substitution::Text(_)
            | Substitution::Falsy(_) => None,
        });
        unset.collect()
    }

    fn field(&self, key: &str) -> Substitution {
        match self.fields.get(key) {
            None => Substitution::Absent,
            Some(value) => self.resolve(value),
        }
    }

    /// Resolves `os.environ/` in a value.
    ///
    /// Source: LiteLLM 1.110.2 `proxy/proxy_server.py`, `_resolved_config_value`, and
    /// `secret_managers/main.py`, `get_secret` and `str_to_bool`.
    fn resolve(&self, value: &YamlValue) -> Substitution {
        let variable = value
            .as_text()
            .and_then(|text| text.strip_prefix("os.environ/"));
        let Some(variable) = variable else {
            return Substitution::from(value);
        };
        match (self.env)(variable) {
            None => Substitution::Unset(variable.to_owned()),
            Some(text) if text.trim().eq_ignore_ascii_case("true") => {
                Substitution::Text("True".to_owned())
            }
            Some(text) if text.trim().eq_ignore_ascii_case("false") => {
                Substitution::Falsy("False".to_owned())
            }
            Some(text) => Substitution::Text(text),
        }
    }

    /// Returns the alias of the entry, else that of `litellm_settings.mcp_aliases` after the first
    /// `skipped` that it maps to this server.
    ///
    /// An alias of the entry itself, even an empty one, wins over the mapping.
    fn alias(&self, aliases: Option<&Mapping>, skipped: usize) -> Substitution {
        match self.field("alias") {
            Substitution::Absent | Substitution::Null => self.mapped_alias(aliases, skipped),
            alias @ (Substitution::Text(_)
            | Substitution::Falsy(_)
            | Substitution::Unset(_)
            | Substitution::Unclear) => alias,
        }
    }

    /// Returns an alias that `litellm_settings.mcp_aliases` maps to this server: the first after
    /// `skipped` of them.
    ///
    /// The servers in the mapping may come from the environment, the aliases not.
    ///
    /// Source: LiteLLM 1.110.2 `proxy/mcp_server/mcp_server_manager.py`,
    /// `load_servers_from_config` and `_first_mapped_alias`. 1.74.9 to 1.85.7 have the loop over
    /// the mapping twice in `load_servers_from_config`. The second one forgets the alias that the
    /// first one took, and does not take it again.
    fn mapped_alias(&self, aliases: Option<&Mapping>, mut skipped: usize) -> Substitution {
        for (alias, server) in aliases.into_iter().flat_map(Mapping::iter) {
            match self.resolve(server) {
                Substitution::Text(server) if server == self.name => {
                    if skipped == 0 {
                        return Substitution::from(alias);
                    }
                    skipped -= 1;
                }
                // It may be this server, and then no later one counts.
                unset @ Substitution::Unset(_) => return unset,
                Substitution::Text(_)
                | Substitution::Falsy(_)
                | Substitution::Absent
                | Substitution::Null
                | Substitution::Unclear => {}
            }
        }
        Substitution::Absent
    }

    /// Returns the id that the entry pins, if it pins one.
    ///
    /// Source: LiteLLM 1.109.1 `proxy/mcp_server/mcp_server_manager.py`,
    /// `_pinned_config_server_id`.
    fn pinned(&self) -> Result<Option<String>, ConfigError> {
        let name = self.name;
        match self.fields.get("server_id") {
            None | Some(YamlValue::Null) => Ok(None),
            Some(value @ YamlValue::Text(_)) => match self.resolve(value) {
                Substitution::Text(id) if !id.trim().is_empty() => Ok(Some(id.trim().to_owned())),
                Substitution::Unset(variable) => Err(wrong(&format!(
                    "mcp_servers.{name}.server_id is os.environ/{variable}, which is not set here"
                ))),
                Substitution::Absent
                | Substitution::Null
                | Substitution::Text(_)
                | Substitution::Falsy(_)
                | Substitution::Unclear => Err(wrong(&format!(
                    "mcp_servers.{name}.server_id must not be empty"
                ))),
            },
            Some(_) => Err(wrong(&format!(
                "mcp_servers.{name}.server_id must be a string"
            ))),
        }
    }

    /// Derives the ids that LiteLLM 1.77.4 and later gives.
    ///
    /// Source: LiteLLM 1.109.1 `proxy/mcp_server/mcp_server_manager.py`,
    /// `_generate_stable_server_id`.
    fn hashes(
        &self,
        url: &Texts,
        transport: &Substitution,
        auth_type: &Texts,
        alias: &Texts,
    ) -> Vec<String> {
        let transport = enumerated(transport, &["http", "MCPTransport.http"]);
        let name = vec![self.name.to_owned()];
        hashes_of(&[&name, url, &transport, auth_type, alias])
    }

    /// Derives the ids that LiteLLM 1.72.7 to 1.77.1 gave, which hashed the protocol's version as
    /// well, and no alias at first.
    ///
    /// Source: the same function of 1.74.7, 1.74.9 and 1.77.1.
    fn old_hashes(
        &self,
        url: &Texts,
        transport: &Substitution,
        spec: &Substitution,
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
        let without_alias = hashes_of(&[&name, url, &transport, &spec, auth_type]);
        let with_alias = hashes_of(&[&name, url, &transport, &spec, auth_type, alias]);
        without_alias.into_iter().chain(with_alias).collect()
    }
}

/// Prints a field that Python prints as nothing where it is absent, null or false.
fn or_empty(field: &Substitution) -> Texts {
    match field {
        Substitution::Text(text) => vec![text.clone()],
        Substitution::Absent | Substitution::Null | Substitution::Falsy(_) => vec![String::new()],
        Substitution::Unset(_) | Substitution::Unclear => Vec::new(),
    }
}

/// Prints a field whose default is a member of a Python enumeration. An f-string prints the value
/// of the member before Python 3.11 and its name since.
fn enumerated(field: &Substitution, defaults: &[&str]) -> Texts {
    match field {
        Substitution::Absent => defaults.iter().map(|text| (*text).to_owned()).collect(),
        Substitution::Null => vec!["None".to_owned()],
        Substitution::Text(text) | Substitution::Falsy(text) => vec![text.clone()],
        Substitution::Unset(_) | Substitution::Unclear => Vec::new(),
    }
}

/// Returns the hash of every combination, that of the newest Python last. Returns none where a
/// field has no text.
fn hashes_of(fields: &[&Texts]) -> Vec<String> {
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

/// Returns the first 32 hexadecimal digits of the SHA-256.
pub(crate) fn hash(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes())[..16])
}

/// Prints bytes as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}
