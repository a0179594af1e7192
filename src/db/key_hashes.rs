//! Reads the whole hashes of keys, for one purpose alone: running proxies are told to forget these
//! keys.

use sqlx::PgConnection;

use crate::db::errors::failed;
use crate::db::fragments::{is_among, is_hash};
use crate::db::schema::Schema;
use crate::db::sql::{ident, relation};
use crate::error::Failure;
use crate::litellm::owners::{KEY_TABLE, LINK};
use crate::litellm::proxy_cache::TokenHash;

/// The primary key of a key.
const TOKEN: &str = "token";

// Only hashes are read. A token that LiteLLM once stored unhashed never leaves the database.
const HASHES: &str = r"
SELECT k.{token} FROM {keys} AS k
WHERE {is_told} AND {is_hash}";

/// Reads the hashes of the keys that link to the permission rows `rows`.
///
/// # Errors
///
/// What the server said.
pub(crate) async fn hashes(
    connection: &mut PgConnection,
    schema: &Schema,
    rows: &[String],
) -> Result<Vec<TokenHash>, Failure> {
    if !schema.has(KEY_TABLE, LINK) {
        return Ok(Vec::new());
    }
    let sql = schema.statement(
        HASHES,
        &[
            (
                "{is_told}",
                is_among(schema, "k.{link}", "$1::pg_catalog.text[]"),
            ),
            ("{is_hash}", is_hash(&format!("k.{}", ident(TOKEN)))),
            ("{token}", ident(TOKEN)),
            ("{keys}", relation(KEY_TABLE)),
            ("{link}", ident(LINK)),
        ],
    );
    let hashes: Vec<String> = sqlx::query_scalar(sql)
        .persistent(false)
        .bind(rows)
        .fetch_all(connection)
        .await
        .map_err(failed("read which keys the proxies have to forget"))?;
    Ok(hashes.into_iter().filter_map(TokenHash::new).collect())
}
