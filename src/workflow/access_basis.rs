//! Reads what access depends on besides the rows.

use crate::db::access_registry;
use crate::db::access_settings;
use crate::db::schema::Schema;
use crate::db::session::Connection;
use crate::error::Failure;
use crate::litellm::access::basis::AccessBasis;
use crate::litellm::access::caller::{AccessSettings, SETTINGS};
use crate::litellm::access::rules::AccessRules;
use crate::litellm::release::Release;
use crate::litellm::server_catalog::ServerCatalog;
use crate::workflow::server_sources::ServerSources;

/// Reads the servers and the settings of a proxy of this `release`.
///
/// # Errors
///
/// What the server said.
pub(crate) async fn read_basis(
    connection: &mut Connection,
    schema: &Schema,
    sources: &ServerSources,
    catalog: &ServerCatalog,
    release: Release,
) -> Result<AccessBasis, Failure> {
    let rules = AccessRules::of(release);
    let read = access_registry::with_settings(connection, schema, catalog, rules, &SETTINGS);
    let (registry, saved) = read.await?;
    let (mut settings, mut unknown) = (AccessSettings::default(), Vec::new());
    let may_read = access_settings::may_read(schema);
    for setting in SETTINGS {
        let configured = sources.is_on(setting.section, setting.name);
        match known(configured, saved.get(setting.name).copied(), may_read) {
            Some(on) => setting.set(&mut settings, on),
            None => unknown.push(setting),
        }
    }
    Ok(AccessBasis {
        registry,
        rules,
        later: AccessRules::later(release).collect(),
        settings,
        unknown,
        configs_known: sources.knows_configs(),
    })
}

/// Decides whether a setting is on; `None` where that is not certain: where the configs and the
/// saved value disagree, or where no config switches it on and this role may not read what is
/// saved.
///
/// Source: LiteLLM 1.110.2 `proxy/proxy_server.py` and `proxy/common_utils/settings_rules.py`:
/// which of them counts depends on the setting, and on `store_model_in_db`.
fn known(configured: Option<bool>, saved: Option<bool>, may_read: bool) -> Option<bool> {
    match (configured, saved) {
        (Some(configured), Some(saved)) => (configured == saved).then_some(saved),
        (Some(true), None) => Some(true),
        (Some(false), None) => may_read.then_some(false),
        (None, saved) => saved,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_known_where_all_that_tells_it_agrees() {
        let (on, off) = (Some(true), Some(false));
        for (configured, saved, may_read, expected) in [
            (None, None, true, None),
            (None, on, true, on),
            (None, off, true, off),
            (on, None, false, on),
            (off, None, true, off),
            (off, None, false, None),
            (off, on, true, None),
            (on, off, true, None),
            (on, on, true, on),
        ] {
            let found = known(configured, saved, may_read);
            assert_eq!(found, expected, "{configured:?} {saved:?} {may_read}");
        }
    }
}
