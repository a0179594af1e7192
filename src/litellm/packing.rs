//! Finds the constants of this program again in a value that was put aside: a table by its name, a
//! site by its table and name, a text among those that it may be.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::litellm::reference_sites::{
    self, CredentialTable, ScannedTable, Site, SiteTable, TABLES,
};

/// A text of this program. To serde, the reference itself would be a text that is borrowed from
/// what is read.
pub(crate) type ConstantText = &'static str;

/// Finds a text among those that it may be.
pub(crate) fn find_text<'de, D: Deserializer<'de>>(
    deserializer: D,
    mut texts: impl Iterator<Item = ConstantText>,
) -> Result<ConstantText, D::Error> {
    let text = String::deserialize(deserializer)?;
    let found = texts.find(|known| *known == text);
    found.ok_or_else(|| D::Error::custom(format!("{text:?} is no text of this program")))
}

/// Finds the name of a site, or the column of a table of credentials.
pub(crate) fn find_column<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<ConstantText, D::Error> {
    let columns = TABLES.into_iter().flat_map(|table| match table {
        ScannedTable::References(table) => table.sites.iter().map(|site| site.name).collect(),
        ScannedTable::Credentials(table) => vec![table.server],
    });
    find_text(deserializer, columns)
}

impl Serialize for ScannedTable {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for ScannedTable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let table = reference_sites::table(&name);
        table.ok_or_else(|| D::Error::custom(format!("there is no table {name:?}")))
    }
}

/// Lists every site with its table.
fn sites() -> impl Iterator<Item = (&'static SiteTable, &'static Site)> {
    let tables = TABLES.into_iter().filter_map(|table| match table {
        ScannedTable::References(table) => Some(table),
        ScannedTable::Credentials(_) => None,
    });
    tables.flat_map(|table| table.sites.iter().map(move |site| (table, site)))
}

/// Writes a site, and finds it again.
pub(crate) mod packed_site {
    use super::{Deserialize as _, Deserializer, Error as _, Serialize as _, Serializer};
    use super::{Site, sites};

    /// Writes the table and the name: two tables have a site of one name.
    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde calls it with a reference"
    )]
    pub(crate) fn serialize<S: Serializer>(
        site: &&'static Site,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let of_table = sites().find(|(_, known)| known == site);
        let table = of_table.map(|(table, _)| table.table);
        (table, site.name).serialize(serializer)
    }

    /// Finds a site by its table and name.
    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<&'static Site, D::Error> {
        let (table, name) = <(String, String)>::deserialize(deserializer)?;
        let is_meant = |of: &str, site: &Site| of == table && site.name == name;
        let found = sites().find(|(of, site)| is_meant(of.table, site));
        let found = found.map(|(_, site)| site);
        found.ok_or_else(|| D::Error::custom(format!("there is no site {name:?} of {table:?}")))
    }
}

/// Writes a table whose rows hold references, and finds it again.
pub(crate) mod packed_table {
    use super::{Deserialize as _, Deserializer, Error as _, Serialize as _, Serializer};
    use super::{ScannedTable, SiteTable};

    /// Writes the name.
    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde calls it with a reference"
    )]
    pub(crate) fn serialize<S: Serializer>(
        table: &&'static SiteTable,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        ScannedTable::References(table).serialize(serializer)
    }

    /// Finds the table by its name.
    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<&'static SiteTable, D::Error> {
        match ScannedTable::deserialize(deserializer)? {
            ScannedTable::References(table) => Ok(table),
            ScannedTable::Credentials(_) => Err(D::Error::custom("it is a table of credentials")),
        }
    }
}

/// Writes a table of credentials, and finds it again.
pub(crate) mod packed_credentials {
    use super::{CredentialTable, ScannedTable};
    use super::{Deserialize as _, Deserializer, Error as _, Serialize as _, Serializer};

    /// Writes the name.
    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde calls it with a reference"
    )]
    pub(crate) fn serialize<S: Serializer>(
        table: &&'static CredentialTable,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        ScannedTable::Credentials(table).serialize(serializer)
    }

    /// Finds the table by its name.
    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<&'static CredentialTable, D::Error> {
        match ScannedTable::deserialize(deserializer)? {
            ScannedTable::Credentials(table) => Ok(table),
            ScannedTable::References(_) => Err(D::Error::custom("it is no table of credentials")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize, Deserialize)]
    struct Packed(#[serde(with = "packed_site")] &'static Site);

    #[test]
    fn every_site_and_every_table_is_found_again() {
        for table in TABLES {
            let text = serde_json::to_string(&table).unwrap();
            assert_eq!(serde_json::from_str::<ScannedTable>(&text).unwrap(), table);
        }
        for (_, site) in sites() {
            let text = serde_json::to_string(&Packed(site)).unwrap();
            let Packed(found) = serde_json::from_str(&text).unwrap();
            assert_eq!(found, site, "{text}");
        }
        assert!(serde_json::from_str::<ScannedTable>("\"none\"").is_err());
        assert!(serde_json::from_str::<Packed>(r#"["none","none"]"#).is_err());
    }
}
