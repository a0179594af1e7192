//! Reads rows together with their owners.

use sqlx::PgConnection;

use crate::db::errors::failed;
use crate::db::fragments::json_text;
use crate::db::oversized::refuse_oversized;
use crate::db::owners;
use crate::db::packed_owners::Owners;
use crate::db::rows::{self, RowAndTexts};
use crate::db::schema::Schema;
use crate::db::sql::{ident, relation};
use crate::error::Failure;
use crate::litellm::reference_sites::{Group, SiteTable};
use crate::litellm::row::Row;

// The owners have as many columns: see `owners::COLUMNS`.
const TOGETHER: &str = r"
SELECT 'row', t.{key}, {cells}, NULL::pg_catalog.bool
FROM {table} AS t WHERE t.{key} {=} ANY ($1)
UNION ALL {owners}";

/// How many columns of [`TOGETHER`] are for sites, and for texts about a row.
const CELLS: usize = 6;

/// The rows of a table that are read with their owners, some at a time.
pub(crate) struct OwnedRows<'k> {
    table: &'static SiteTable,
    keys: &'k [String],
    /// The owners of all rows, once they are read.
    owners: Option<Owners<'k>>,
}

impl<'k> OwnedRows<'k> {
    /// Names all rows that will be read.
    pub(crate) fn new(table: &'static SiteTable, keys: &'k [String]) -> Self {
        Self {
            table,
            keys,
            owners: None,
        }
    }

    /// Names all rows that will be read, whose owners are known.
    pub(crate) fn with_owners(
        table: &'static SiteTable,
        keys: &'k [String],
        owners: Owners<'k>,
    ) -> Self {
        Self {
            table,
            keys,
            owners: Some(owners),
        }
    }

    /// Returns the table of the rows.
    pub(super) fn table(&self) -> &'static SiteTable {
        self.table
    }

    /// Reads the rows with some of the keys, ordered by key. A key whose row is gone yields
    /// nothing.
    ///
    /// If these are all keys and their owners are not known yet, it takes one statement. Else the
    /// owners of all rows are read first, because each look for owners reads every owner.
    ///
    /// # Errors
    ///
    /// What the server said; refused if a row holds more than is ever read.
    pub(crate) async fn read(
        &mut self,
        connection: &mut PgConnection,
        schema: &Schema,
        some: &[String],
    ) -> Result<Vec<Row>, Failure> {
        let read = self.read_and_more(connection, schema, some, None).await?;
        Ok(read.into_iter().map(|(row, _)| row).collect())
    }

    /// Reads rows as [`read`](Self::read) does, each with the two texts that the SQL in `more`
    /// yields for it, if there is any.
    pub(super) async fn read_and_more(
        &mut self,
        connection: &mut PgConnection,
        schema: &Schema,
        some: &[String],
        more: Option<&[String; 2]>,
    ) -> Result<Vec<RowAndTexts>, Failure> {
        let table = self.table;
        let owners = if let Some(owners) = &mut self.owners {
            owners
        } else {
            if some.len() == self.keys.len()
                && let Some(rows) = together(connection, schema, table, self.keys, more).await?
            {
                return Ok(rows);
            }
            let owners = owners::holders(connection, schema, table, self.keys).await?;
            self.owners.insert(owners)
        };
        let mut rows = rows::cells_and_more(connection, schema, table, some, more).await?;
        for (row, _) in &mut rows {
            row.owners = owners.of(&row.key);
        }
        Ok(rows)
    }
}

/// Reads rows and owners in one statement; `None` if that cannot be.
async fn together(
    connection: &mut PgConnection,
    schema: &Schema,
    table: &'static SiteTable,
    keys: &[String],
    more: Option<&[String; 2]>,
) -> Result<Option<Vec<RowAndTexts>>, Failure> {
    let doing = match table.group {
        Group::AccessGroups => "read the access groups and who has the access groups",
        Group::Permissions | Group::Toolsets | Group::Defaults | Group::Credentials => {
            "read the rows that name servers and who links to the permission rows"
        }
    };
    let sites = schema.sites(table);
    let mut cells: Vec<String> = sites.iter().map(|site| json_text(site)).collect();
    cells.extend(more.into_iter().flatten().cloned());
    let Some(owners) = owners::of_rows(schema, table).filter(|_| cells.len() <= CELLS) else {
        return Ok(None);
    };
    cells.resize(CELLS, "NULL::pg_catalog.text".to_owned());
    let fragments = [
        ("{owners}", owners),
        ("{key}", ident(table.key)),
        ("{table}", relation(table.table)),
        ("{cells}", cells.join(", ")),
    ];
    let found = sqlx::query(schema.statement(TOGETHER, &fragments))
        .persistent(false)
        .bind(keys)
        .fetch_all(connection)
        .await
        .map_err(failed(doing))
        .map_err(|failure| failure.context(format!("table \"{}\"", table.table)))?;
    let mut owners = Owners::of_nobody(keys);
    let mut of_table = Vec::new();
    for row in &found {
        if owners.add_row(row)? {
            continue;
        }
        refuse_oversized(table, &sites, row, 1)?;
        of_table.push(row);
    }
    let owners = owners.sorted();
    let rows = of_table.into_iter().map(|row| {
        let (mut row, texts) = rows::read_with_more(table, &sites, row, 1, more.is_some())?;
        row.owners = owners.of(&row.key);
        Ok((row, texts))
    });
    let mut rows: Vec<RowAndTexts> = rows.collect::<Result<_, Failure>>()?;
    rows.sort_unstable_by(|(one, _), (other, _)| one.key.cmp(&other.key));
    Ok(Some(rows))
}
