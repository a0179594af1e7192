//! Settings of the proxy that are saved in the database.

use std::collections::BTreeMap;

use sqlx::postgres::PgRow;

use crate::db::decode;
use crate::db::schema::{CONFIG, Schema};
use crate::db::sql::{constants, ident, part, relation};
use crate::error::Failure;
use crate::litellm::access::caller::AccessSetting;

/// The column with the settings of a section, which holds secrets besides: only one path is read.
const VALUE: &str = "param_value";

const SAVED: &str = "
SELECT s.name, c.{value} {->>} s.name
FROM ROWS FROM (pg_catalog.unnest({sections}), pg_catalog.unnest({names})) AS s (section, name)
JOIN {config} AS c ON c.{param} {=} s.section";

/// Tells whether this role may read saved settings.
#[must_use]
pub(crate) fn may_read(schema: &Schema) -> bool {
    let (config, param) = CONFIG;
    schema.may_read(config, param) && schema.may_read(config, VALUE)
}

/// What reading the settings is called in an error.
pub(crate) const DOING: &str = "read the saved settings";

/// Returns the SQL of the settings; `None` if this role may not read them.
pub(super) fn select(schema: &Schema, settings: &[AccessSetting]) -> Option<String> {
    let (config, param) = CONFIG;
    if !may_read(schema) {
        return None;
    }
    let fragments = [
        ("{sections}", constants(settings.iter().map(|s| s.section))),
        ("{names}", constants(settings.iter().map(|s| s.name))),
        ("{value}", ident(VALUE)),
        ("{config}", relation(config)),
        ("{param}", ident(param)),
    ];
    Some(part(SAVED, &fragments))
}

/// Reads which of the settings are switched on or off, by name; one that no row tells is left out.
pub(super) fn of_rows(rows: &[PgRow]) -> Result<BTreeMap<String, bool>, Failure> {
    let mut saved = BTreeMap::new();
    for row in rows {
        let text: Option<&str> = decode::read(row, 1, "a saved setting")?;
        if let Some(text) = text {
            let is_on = !matches!(text, "" | "false" | "0" | "null");
            saved.insert(decode::read(row, 0, "the name of a saved setting")?, is_on);
        }
    }
    Ok(saved)
}
