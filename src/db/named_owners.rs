//! Finds owners by the names that an operator uses for them.

use sqlx::PgConnection;

use crate::database::Database;
use crate::db::encoding::storable;
use crate::db::errors::failed;
use crate::db::fragments::shown_token;
use crate::db::schema::Schema;
use crate::db::sql::{ident, relation};
use crate::error::Failure;
use crate::litellm::api_key::is_short_form;
use crate::litellm::owners::{OwnerKind, OwnerTable};

/// How many owners of one name are returned at most: more than anybody reads.
const MOST: usize = 21;

/// The owners that a name may mean.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Meant {
    /// None.
    Nobody,
    /// One, by its id as reports show it.
    One(String),
    /// Several, by their ids as reports show them: the first 21.
    Several(Vec<String>),
}

const MATCHING: &str = r"
SELECT DISTINCT {shown} FROM {table} AS o WHERE {matches} ORDER BY 1 LIMIT {most}";

/// Finds the owners of a kind that have this id, else those that have this name.
///
/// A key's name is its alias, or the short form of the key that LiteLLM stores. A user's name may
/// also be an e-mail address. The short form and the address are read only if `name` looks like
/// one.
///
/// # Errors
///
/// What the server said, and an access failure if this role may not read the column that such a
/// name is in.
pub(crate) async fn named(
    connection: &mut PgConnection,
    schema: &Schema,
    database: &Database,
    kind: OwnerKind,
    name: &str,
) -> Result<Meant, Failure> {
    let mut found = Vec::new();
    for owner in schema.owner_tables().filter(|owner| owner.kind == kind) {
        let mut ids = vec![format!("o.{}", ident(owner.id))];
        ids.extend(owner.id_is_secret.then(|| shown(owner)));
        let by_id = matching(connection, schema, owner, &ids, name).await?;
        if by_id.is_empty() {
            let names = names(schema, database, owner, name)?;
            found.extend(matching(connection, schema, owner, &names, name).await?);
        } else {
            found.extend(by_id);
        }
    }
    Ok(match found.len() {
        0 => Meant::Nobody,
        1 => Meant::One(found.remove(0)),
        _ => Meant::Several(found),
    })
}

/// Returns the SQL of the id as reports show it, for the table aliased `o`; a token's hash is
/// shortened.
fn shown(owner: &OwnerTable) -> String {
    let id = format!("o.{}", ident(owner.id));
    if owner.id_is_secret {
        shown_token(&id)
    } else {
        id
    }
}

/// Returns the columns that `name` may be in.
fn names(
    schema: &Schema,
    database: &Database,
    owner: &OwnerTable,
    name: &str,
) -> Result<Vec<String>, Failure> {
    let special = match owner.kind {
        OwnerKind::Key if is_short_form(name) => Some("key_name"),
        OwnerKind::User if name.contains('@') => Some("user_email"),
        OwnerKind::Key
        | OwnerKind::User
        | OwnerKind::Team
        | OwnerKind::Organization
        | OwnerKind::Project
        | OwnerKind::EndUser
        | OwnerKind::Agent => None,
    };
    let mut columns = Vec::new();
    if let Some(column) = special.filter(|column| schema.has(owner.table, column)) {
        schema.check_may_read(database, owner.table, column)?;
        columns.push(column);
    }
    columns.extend(Some(owner.name).filter(|column| schema.has(owner.table, column)));
    Ok(columns.iter().map(|c| format!("o.{}", ident(c))).collect())
}

async fn matching(
    connection: &mut PgConnection,
    schema: &Schema,
    owner: &OwnerTable,
    columns: &[String],
    name: &str,
) -> Result<Vec<String>, Failure> {
    if columns.is_empty() {
        return Ok(Vec::new());
    }
    let name = [name.to_owned()];
    let Some(name) = storable(connection, &name).await?.first().cloned() else {
        return Ok(Vec::new());
    };
    let matches: Vec<String> = columns.iter().map(|c| format!("{c} {{=}} $1")).collect();
    let fragments = [
        ("{shown}", shown(owner)),
        ("{table}", relation(owner.table)),
        ("{matches}", matches.join(" OR ")),
        ("{most}", MOST.to_string()),
    ];
    sqlx::query_scalar(schema.statement(MATCHING, &fragments))
        .persistent(false)
        .bind(name)
        .fetch_all(connection)
        .await
        .map_err(failed("look for the owner that was asked about"))
}
