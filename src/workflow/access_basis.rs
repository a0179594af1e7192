//! What access hangs on besides the rows: the servers served, the rules of the release, and the
//! settings.

use std::collections::BTreeMap;

use crate::db::schema::Schema;
use crate::db::session::Connection;
use crate::db::{access_registry, access_settings};
use crate::error::Failure;
use crate::litellm::access::AccessModel;
use crate::litellm::access::caller::{AccessSetting, AccessSettings, SETTINGS};
use crate::litellm::access::registry::Registry;
use crate::litellm::access::rows::AccessRows;
use crate::litellm::access::rules::AccessRules;
use crate::litellm::release::Release;
use crate::litellm::server_catalog::ServerCatalog;
use crate::workflow::server_sources::ServerSources;

/// What every answer hangs on besides the rows.
#[derive(Debug)]
pub(crate) struct AccessBasis {
    /// The servers that are served.
    pub registry: Registry,
    /// The rules of the release.
    pub rules: AccessRules,
    /// The settings, each off where it is not known.
    pub settings: AccessSettings,
    /// The settings that are not known.
    pub unknown: Vec<AccessSetting>,
    /// Whether the servers of every `config.yaml` are known.
    pub configs_known: bool,
}

impl AccessBasis {
    /// Reads the servers and the settings of a proxy of this `release`.
    ///
    /// # Errors
    ///
    /// What the server said.
    pub(crate) async fn read(
        connection: &mut Connection,
        schema: &Schema,
        sources: &ServerSources,
        catalog: &ServerCatalog,
        release: Release,
    ) -> Result<Self, Failure> {
        let rules = AccessRules::of(release);
        let configured = catalog.config().servers();
        let registry = access_registry::registry(connection, schema, configured, rules).await?;
        let (mut settings, mut unknown) = (AccessSettings::default(), Vec::new());
        for setting in SETTINGS {
            let configured = sources.is_on(setting.section, setting.name);
            let saved = access_settings::saved(connection, schema, setting).await?;
            match saved.or(configured) {
                Some(on) => setting.set(&mut settings, on),
                None => unknown.push(setting),
            }
        }
        Ok(Self {
            registry,
            rules,
            settings,
            unknown,
            configs_known: sources.knows_configs(),
        })
    }

    /// Returns the settings by name; `None` for one that is not known.
    #[must_use]
    pub(crate) fn known_settings(&self) -> BTreeMap<String, Option<bool>> {
        let settings = SETTINGS.iter().map(|setting| {
            let is_unknown = self
                .unknown
                .iter()
                .any(|unknown| unknown.name == setting.name);
            let is_on = (!is_unknown).then(|| setting.is_on(self.settings));
            (setting.name.to_owned(), is_on)
        });
        settings.collect()
    }

    /// Makes the model that answers from `rows`, with unknown settings off.
    #[must_use]
    pub(crate) fn model<'a>(&'a self, rows: &'a AccessRows) -> AccessModel<'a> {
        AccessModel {
            rows,
            registry: &self.registry,
            rules: self.rules,
            settings: self.settings,
        }
    }
}
