//! Values that take the place of those read from some columns: what a repair will write, or what
//! was there before the repair. The model answers as if these values were in the database.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::rows::{AccessGroup, AccessRows, NamedTools, Permission, Toolset};
use crate::litellm::ids::{AccessGroupId, PermissionKey, ServerId, ToolsetId};
use crate::litellm::reference_sites::{
    ACCESS_GROUP_SERVERS, ACCESS_GROUP_TOOLS, ACCESS_GROUPS, MCP_SERVERS, MCP_TOOL_PERMISSIONS,
    MCP_TOOLSETS, PERMISSIONS, Site, SiteTable, TOOLSET_TOOLS, TOOLSETS,
};
use crate::litellm::value::Value;

/// A value as the text of its JSON. There may be one for each row of a repair, and a list takes
/// three times the memory of its text.
#[derive(Debug, Clone, PartialEq, Eq)]
struct PackedValue<T> {
    text: Box<str>,
    value: PhantomData<fn() -> T>,
}

impl<T: Serialize + DeserializeOwned> PackedValue<T> {
    fn of(value: &T) -> Self {
        Self {
            text: serde_json::json!(value).to_string().into(),
            value: PhantomData,
        }
    }

    /// Returns the value. There always is one, because the text was made of it.
    fn unpacked(&self) -> Option<T> {
        serde_json::from_str(&self.text).ok()
    }
}

/// The columns of a permission row that have another value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct OtherPermission {
    servers: Option<PackedValue<Vec<String>>>,
    tools: Option<PackedValue<NamedTools>>,
    toolsets: Option<PackedValue<Vec<ToolsetId>>>,
}

/// The columns of an access group that have another value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct OtherGroup {
    servers: Option<PackedValue<Vec<String>>>,
    tools: Option<PackedValue<NamedTools>>,
}

/// Other values of some columns, by primary key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct OtherValues {
    permissions: BTreeMap<PermissionKey, OtherPermission>,
    access_groups: BTreeMap<AccessGroupId, OtherGroup>,
    toolsets: BTreeMap<ToolsetId, Toolset>,
}

impl OtherValues {
    /// Sets the value that a column has. Returns whether anybody's access depends on such a column:
    /// the defaults of new keys, for one, grant nobody anything yet.
    pub(crate) fn set(&mut self, table: &SiteTable, key: &str, site: &Site, value: &Value) -> bool {
        let key = key.to_owned();
        if table.table == PERMISSIONS.table {
            let row = self.permissions.entry(PermissionKey(key)).or_default();
            match value {
                Value::Array(names) if site.name == MCP_SERVERS.name => {
                    row.servers = Some(PackedValue::of(names));
                }
                Value::Array(ids) if site.name == MCP_TOOLSETS.name => {
                    let ids = ids.iter().cloned().map(ToolsetId).collect();
                    row.toolsets = Some(PackedValue::of(&ids));
                }
                Value::Keys(tools) if site.name == MCP_TOOL_PERMISSIONS.name => {
                    row.tools = Some(PackedValue::of(tools));
                }
                Value::Array(_) | Value::Keys(_) | Value::Tools(_) => return false,
            }
        } else if table.table == ACCESS_GROUPS.table {
            let row = self.access_groups.entry(AccessGroupId(key)).or_default();
            match value {
                Value::Array(names) if site.name == ACCESS_GROUP_SERVERS.name => {
                    row.servers = Some(PackedValue::of(names));
                }
                Value::Keys(tools) if site.name == ACCESS_GROUP_TOOLS.name => {
                    row.tools = Some(PackedValue::of(tools));
                }
                Value::Array(_) | Value::Keys(_) | Value::Tools(_) => return false,
            }
        } else if table.table == TOOLSETS.table && site.name == TOOLSET_TOOLS.name {
            let Value::Tools(tools) = value else {
                return false;
            };
            let mut toolset = Toolset::new();
            for tool in tools {
                let granted = toolset.entry(ServerId(tool.server_id.clone())).or_default();
                granted.insert(tool.tool_name.clone());
            }
            self.toolsets.insert(ToolsetId(key), toolset);
        } else {
            return false;
        }
        true
    }

    /// Tells whether no column has another value.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        let Self {
            permissions,
            access_groups,
            toolsets,
        } = self;
        permissions.is_empty() && access_groups.is_empty() && toolsets.is_empty()
    }

    /// Lists the permission rows with another value, by primary key.
    pub(crate) fn permissions(&self) -> impl Iterator<Item = &PermissionKey> {
        self.permissions.keys()
    }

    /// Lists the access groups with another value, by primary key.
    pub(crate) fn access_groups(&self) -> impl Iterator<Item = &AccessGroupId> {
        self.access_groups.keys()
    }

    /// Lists the toolsets with another value, by primary key.
    pub(crate) fn toolsets(&self) -> impl Iterator<Item = &ToolsetId> {
        self.toolsets.keys()
    }

    /// Lists the toolsets that a permission row names by another value.
    pub(crate) fn toolsets_of(&self, permission: &PermissionKey) -> Vec<ToolsetId> {
        let row = self.permissions.get(permission);
        let toolsets = row.and_then(|row| row.toolsets.as_ref());
        toolsets.and_then(PackedValue::unpacked).unwrap_or_default()
    }

    /// Returns `rows` with these values in them. A row that is gone stays gone, and one that
    /// LiteLLM cannot read stays unreadable.
    #[must_use]
    pub(crate) fn within(&self, mut rows: AccessRows) -> AccessRows {
        self.put_into(&mut rows);
        rows
    }

    /// Puts these values into `rows`, as [`within`](Self::within) does.
    pub(crate) fn put_into(&self, rows: &mut AccessRows) {
        for_common(&self.permissions, &mut rows.permissions, |other, row| {
            if let Some(row) = row {
                other.put_into(row);
            }
        });
        for_common(&self.permissions, &mut rows.without_tools, |other, row| {
            other.put_into(row);
        });
        for_common(
            &self.access_groups,
            &mut rows.access_groups,
            |other, row| {
                if let Some(group) = row {
                    other.put_into(group);
                }
            },
        );
        for_common(&self.toolsets, &mut rows.toolsets, |other, toolset| {
            toolset.clone_from(other);
        });
    }
}

impl OtherPermission {
    fn put_into(&self, row: &mut Permission) {
        put(self.servers.as_ref(), &mut row.servers);
        put(self.tools.as_ref(), &mut row.tools);
        put(self.toolsets.as_ref(), &mut row.toolsets);
    }
}

impl OtherGroup {
    fn put_into(&self, group: &mut AccessGroup) {
        put(self.servers.as_ref(), &mut group.servers);
        put(self.tools.as_ref(), &mut group.tools);
    }
}

/// Replaces `value` where there is another one.
fn put<T: Serialize + DeserializeOwned>(other: Option<&PackedValue<T>>, value: &mut T) {
    if let Some(other) = other.and_then(PackedValue::unpacked) {
        *value = other;
    }
}

/// Calls `each` for every key that both maps have. Either may have millions of keys where the other
/// has few, so the keys of the smaller one are looked up in the larger one.
fn for_common<K: Ord, A, B>(
    others: &BTreeMap<K, A>,
    rows: &mut BTreeMap<K, B>,
    mut each: impl FnMut(&A, &mut B),
) {
    if others.len() <= rows.len() {
        for (key, other) in others {
            if let Some(row) = rows.get_mut(key) {
                each(other, row);
            }
        }
    } else {
        for (key, row) in rows {
            if let Some(other) = others.get(key) {
                each(other, row);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::litellm::value::Tool;

    /// Makes a value of the shape that `site` stores.
    fn value_of(site: &Site) -> Value {
        use crate::litellm::reference_sites::Shape;
        match site.shape {
            Shape::TextArray | Shape::JsonArray => Value::Array(vec!["other".to_owned()]),
            Shape::JsonKeys => {
                Value::Keys(BTreeMap::from([("other".to_owned(), vec!["t".to_owned()])]))
            }
            Shape::JsonTools => Value::Tools(vec![Tool {
                server_id: "other".to_owned(),
                tool_name: "t".to_owned(),
            }]),
        }
    }

    fn rows() -> AccessRows {
        let row = Permission {
            servers: vec!["own".to_owned()],
            ..Permission::default()
        };
        let key = || "id".to_owned();
        AccessRows {
            permissions: BTreeMap::from([(PermissionKey(key()), Some(row))]),
            access_groups: BTreeMap::from([(AccessGroupId(key()), Some(AccessGroup::default()))]),
            toolsets: BTreeMap::from([(ToolsetId(key()), Toolset::new())]),
            ..AccessRows::default()
        }
    }

    #[test]
    fn every_site_of_a_row_that_grants_can_have_another_value() {
        for table in [&PERMISSIONS, &ACCESS_GROUPS, &TOOLSETS] {
            for site in table.sites {
                let mut other = OtherValues::default();
                let name = site.name;
                assert!(other.set(table, "id", site, &value_of(site)), "{name}");
                assert_ne!(other.within(rows()), rows(), "{name} changes nothing");
                let mut elsewhere = OtherValues::default();
                elsewhere.set(table, "another", site, &value_of(site));
                assert_eq!(elsewhere.within(rows()), rows(), "{name}");
            }
        }
    }

    #[test]
    fn the_same_rows_change_whichever_are_more() {
        let mut other = OtherValues::default();
        let none = Value::Array(Vec::new());
        other.set(&PERMISSIONS, "id", &MCP_SERVERS, &none);
        let alone = other.within(rows());
        assert_ne!(alone, rows());
        for id in ["a", "b", "z"] {
            other.set(&PERMISSIONS, id, &MCP_SERVERS, &none);
        }
        assert_eq!(other.within(rows()), alone);
    }

    #[test]
    fn a_site_that_grants_nobody_anything_is_told() {
        use crate::litellm::reference_sites::DEFAULTS;
        for site in DEFAULTS.sites {
            let mut other = OtherValues::default();
            assert!(!other.set(&DEFAULTS, "id", site, &value_of(site)));
            assert!(other.is_empty());
        }
    }

    #[test]
    fn what_cannot_be_read_stays_unreadable() {
        let mut other = OtherValues::default();
        other.set(&PERMISSIONS, "id", &MCP_SERVERS, &Value::Array(Vec::new()));
        let mut unread = rows();
        let row = unread
            .permissions
            .insert(PermissionKey("id".to_owned()), None)
            .flatten();
        unread
            .without_tools
            .extend(row.map(|row| (PermissionKey("id".to_owned()), row)));
        let after = other.within(unread.clone());
        assert_eq!(after.permissions["id"], None);
        assert!(after.without_tools["id"].servers.is_empty());
    }
}
