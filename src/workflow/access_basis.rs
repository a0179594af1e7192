//! Reads what access depends on besides the rows.

use crate::db::access_registry::{self, DeletedAre};
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
    Ok(AccessBasis {
        registry,
        rules,
        settings,
        unknown,
        configs_known: sources.knows_configs(),
    })
}
