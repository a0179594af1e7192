//! Settings of the proxy that are saved in the database.

use std::collections::BTreeMap;

use sqlx::PgConnection;

use crate::db::decode;
use crate::db::errors::failed;
use crate::db::schema::{CONFIG, Schema};
use crate::db::sql::{ident, relation};
use crate::error::Failure;
use crate::litellm::access::caller::AccessSetting;

/// The column with the settings of a section, which holds secrets besides: only one path is read.
const VALUE: &str = "param_value";

const SAVED: &str = "
SELECT s.name, c.{value} {->>} s.name
FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.text[]), pg_catalog.unnest($2::pg_catalog.text[]))
     AS s (section, name)
JOIN {config} AS c ON c.{param} {=} s.section";

/// Tells whether this role may read saved settings.
#[must_use]
pub(crate) fn may_read(schema: &Schema) -> bool {
    let (config, param) = CONFIG;
    schema.may_read(config, param) && schema.may_read(config, VALUE)
}

/// Reads which of the settings are switched on or off, by name; one that no row tells, or that this
/// role may not read, is left out.
///
/// # Errors
///
/// What the server said.
pub(crate) async fn saved(
    connection: &mut PgConnection,
    schema: &Schema,
    settings: &[AccessSetting],
) -> Result<BTreeMap<String, bool>, Failure> {
    let (config, param) = CONFIG;
    if !may_read(schema) {
        return Ok(BTreeMap::new());
    }
    let fragments = [
        ("{value}", ident(VALUE)),
        ("{config}", relation(config)),
        ("{param}", ident(param)),
    ];
    let sections: Vec<&str> = settings.iter().map(|setting| setting.section).collect();
    let names: Vec<&str> = settings.iter().map(|setting| setting.name).collect();
    let rows = sqlx::query(schema.statement(SAVED, &fragments))
        .persistent(false)
        .bind(sections)
        .bind(names)
        .fetch_all(connection)
        .await
        .map_err(failed("read the saved settings"))?;
    let mut saved = BTreeMap::new();
    for row in &rows {
        let text: Option<&str> = decode::read(row, 1, "a saved setting")?;
        if let Some(text) = text {
            let is_on = !matches!(text, "" | "false" | "0" | "null");
            saved.insert(decode::read(row, 0, "the name of a saved setting")?, is_on);
        }
    }
    Ok(saved)
}
