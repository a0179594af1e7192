//! Finds the texts that a database can hold at all.
//!
//! A text that it cannot hold is in none of its rows: no query has to look for it, and no query may
//! fail because of it.

use std::borrow::Cow;

use sqlx::PgConnection;
use sqlx::error::{DatabaseError, Error};

use crate::db::decode;
use crate::db::errors::failed;
use crate::db::savepoint;
use crate::db::sql::statement;
use crate::error::Failure;

const DOING: &str = "ask for the database's encoding";

const ENCODING: &str = "SELECT pg_catalog.getdatabaseencoding()::pg_catalog.text";

/// The encodings that store every text as it is sent.
const HOLD_ALL: [&str; 2] = ["UTF8", "SQL_ASCII"];

// As bytes, because a text that cannot be converted would fail before any statement sees it.
const CONVERT: &str = "
SELECT pg_catalog.count(pg_catalog.convert(
    u.text, 'UTF8', pg_catalog.getdatabaseencoding()))
FROM pg_catalog.unnest($1::pg_catalog.bytea[]) AS u (text)";

/// Keeps those of `texts` that a row of the database can hold.
///
/// No text of PostgreSQL holds the character 0. An encoding other than UTF-8 may lack more
/// characters, and only the server knows which. It is asked seldom, because every encoding has
/// ASCII.
///
/// Source: PostgreSQL 17 manual, section 23.3, "Character Set Support".
///
/// # Errors
///
/// What the server said.
pub(crate) async fn storable<'t>(
    connection: &mut PgConnection,
    texts: &'t [String],
) -> Result<Cow<'t, [String]>, Failure> {
    if texts
        .iter()
        .all(|text| text.is_ascii() && !text.contains('\0'))
    {
        return Ok(Cow::Borrowed(texts));
    }
    let (mut storable, doubtful): (Vec<String>, Vec<String>) = texts
        .iter()
        .filter(|text| !text.contains('\0'))
        .cloned()
        .partition(|text| text.is_ascii());
    let row = sqlx::raw_sql(statement(ENCODING))
        .fetch_one(&mut *connection)
        .await
        .map_err(failed(DOING))?;
    let encoding: String = decode::read(&row, 0, "the database's encoding")?;
    if HOLD_ALL.contains(&encoding.as_str()) {
        storable.extend(doubtful);
    } else {
        storable.extend(convertible(connection, doubtful).await?);
    }
    Ok(Cow::Owned(storable))
}

/// Keeps those of `texts` that the server converts. Asks for all at once; if that fails, for each
/// half.
async fn convertible(
    connection: &mut PgConnection,
    texts: Vec<String>,
) -> Result<Vec<String>, Failure> {
    let mut convertible = Vec::new();
    let mut batches = vec![texts];
    while let Some(mut batch) = batches.pop() {
        if batch.is_empty() {
            continue;
        }
        // A savepoint, so that only this statement is undone if it fails.
        savepoint::set(connection).await.map_err(failed(DOING))?;
        let bytes: Vec<&[u8]> = batch.iter().map(String::as_bytes).collect();
        let converted = sqlx::query(statement(CONVERT))
            .persistent(false)
            .bind(bytes)
            .execute(&mut *connection)
            .await;
        match converted {
            Ok(_) => {
                savepoint::release(connection)
                    .await
                    .map_err(failed(DOING))?;
                convertible.append(&mut batch);
            }
            Err(error) if is_unconvertible(&error) => {
                savepoint::roll_back(connection)
                    .await
                    .map_err(failed(DOING))?;
                if batch.len() > 1 {
                    batches.push(batch.split_off(batch.len() / 2));
                    batches.push(batch);
                }
            }
            Err(error) => return Err(failed(DOING)(error)),
        }
    }
    Ok(convertible)
}

/// Tells whether a conversion failed because the encoding lacks a character.
///
/// Source: PostgreSQL 17 manual, appendix A: `character_not_in_repertoire` and
/// `untranslatable_character`.
fn is_unconvertible(error: &Error) -> bool {
    let state = error.as_database_error().and_then(DatabaseError::code);
    state.is_some_and(|state| state == "22021" || state == "22P05")
}
