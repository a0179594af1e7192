//! Tables and columns as the catalogue of PostgreSQL tells of them, with the privileges of this
//! role.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::postgres::PgRow;

use crate::db::decode;
use crate::db::schema::CATALOG;
use crate::error::Failure;

#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) columns: BTreeMap<String, Column>,
    pub(crate) hides_rows: bool,
}

#[derive(Debug)]
pub(crate) struct Column {
    pub(crate) sql_type: String,
    /// What this role may do with it. `DELETE` is a privilege on the whole table.
    pub(crate) privileges: BTreeSet<Privilege>,
}

impl Column {
    /// Reads a row of [`COLUMNS`].
    pub(crate) fn read(row: &PgRow) -> Result<Self, Failure> {
        let mut privileges = BTreeSet::new();
        for (name, privilege) in [
            ("may_select", Privilege::Select),
            ("may_update", Privilege::Update),
            ("may_insert", Privilege::Insert),
            ("may_delete", Privilege::Delete),
        ] {
            if decode::read(row, name, CATALOG)? {
                privileges.insert(privilege);
            }
        }
        Ok(Self {
            sql_type: decode::read(row, "detail", CATALOG)?,
            privileges,
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Privilege {
    Select,
    Update,
    Insert,
    Delete,
}

impl Privilege {
    pub(crate) fn sql(self) -> &'static str {
        match self {
            Self::Select => "SELECT",
            Self::Update => "UPDATE",
            Self::Insert => "INSERT",
            Self::Delete => "DELETE",
        }
    }
}
