//! What access depends on besides the rows: the servers served, the rules of the release, and the
//! settings, as far as they are known.

use std::collections::BTreeMap;

use super::AccessModel;
use super::caller::{AccessSetting, AccessSettings, SETTINGS};
use super::possible::OtherServers;
use super::registry::Registry;
use super::rows::AccessRows;
use super::rules::AccessRules;
use crate::litellm::server_catalog::{Resolution, ServerCatalog};

/// What every answer depends on besides the rows.
#[derive(Debug)]
pub(crate) struct AccessBasis {
    /// The servers that are served.
    pub registry: Registry,
    /// The rules of the release.
    pub rules: AccessRules,
    /// The rules of the later releases that may have this schema too.
    pub later: Vec<AccessRules>,
    /// The settings, each off where it is not known.
    pub settings: AccessSettings,
    /// The settings that are not known.
    pub unknown: Vec<AccessSetting>,
    /// Whether the servers of every `config.yaml` are known.
    pub configs_known: bool,
}

impl AccessBasis {
    /// Returns the settings by name; `None` for one that is not known.
    #[must_use]
    pub(crate) fn known_settings(&self) -> BTreeMap<String, Option<bool>> {
        let settings = SETTINGS.iter().map(|setting| {
            let mut unknown = self.unknown.iter();
            let is_unknown = unknown.any(|unknown| unknown.name == setting.name);
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

    /// Returns the same with other servers served.
    #[must_use]
    pub(crate) fn serving(&self, registry: Registry) -> Self {
        Self {
            registry,
            rules: self.rules,
            later: self.later.clone(),
            settings: self.settings,
            unknown: self.unknown.clone(),
            configs_known: self.configs_known,
        }
    }

    /// Returns the servers with those that a config may add, where one may: `catalog` tells which
    /// reference may be one of them, or is kept by the operator.
    #[must_use]
    pub(crate) fn possible(&self, rows: &AccessRows, catalog: &ServerCatalog) -> Option<Registry> {
        let others = if self.configs_known {
            OtherServers::None
        } else {
            OtherServers::Any
        };
        let may_be_served = |reference: &str| match catalog.resolve(reference) {
            Resolution::Kept
            | Resolution::Unverified
            | Resolution::MaybeEdited
            | Resolution::MaybeRenewed
            | Resolution::Passed => true,
            Resolution::Live
            | Resolution::Inactive
            | Resolution::Sentinel
            | Resolution::Stale
            | Resolution::Remapped
            | Resolution::OnlyAName => false,
        };
        self.registry.with_possible(rows, others, may_be_served)
    }
}
