//! Settings of the proxy that are saved in the database.

use sqlx::PgConnection;

use crate::db::decode;
use crate::db::errors::failed;
use crate::db::schema::{CONFIG, Schema};
use crate::db::sql::{ident, relation};
use crate::error::Failure;
use crate::litellm::access::caller::AccessSetting;

/// The column with the settings of a section, which holds secrets besides: only one path is read.
const VALUE: &str = "param_value";

const SAVED: &str = "SELECT c.{value} {->>} $2 FROM {config} AS c WHERE c.{param} {=} $1";

/// Reads whether a setting is switched on; `None` where no row tells, or this role may not read it.
///
/// # Errors
///
/// What the server said.
pub(crate) async fn saved(
    connection: &mut PgConnection,
    schema: &Schema,
    setting: AccessSetting,
) -> Result<Option<bool>, Failure> {
    let (config, param) = CONFIG;
    if !schema.may_read(config, param) || !schema.may_read(config, VALUE) {
        return Ok(None);
    }
    let fragments = [
        ("{value}", ident(VALUE)),
        ("{config}", relation(config)),
        ("{param}", ident(param)),
    ];
    let row = sqlx::query(schema.statement(SAVED, &fragments))
        .persistent(false)
        .bind(setting.section)
        .bind(setting.name)
        .fetch_optional(connection)
        .await
        .map_err(failed("read the saved settings"))?;
    let Some(row) = row else { return Ok(None) };
    let text: Option<String> = decode::read(&row, 0, "a saved setting")?;
    Ok(text.map(|text| !matches!(text.as_str(), "" | "false" | "0" | "null")))
}
