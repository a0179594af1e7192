//! What access hangs on besides the rows: the servers served, the rules of the release, and the
//! settings.

use crate::db::access_registry::{self, DeletedAre};
use crate::db::access_settings;
use crate::db::schema::Schema;
use crate::db::session::Connection;
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
    /// The servers that are served, without those that are taken as deleted.
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
        let left = DeletedAre::LeftOut;
        let registry = access_registry::registry(connection, schema, catalog, left, rules).await?;
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
