//! Values that take the place of those read from some columns: what a repair will write, or what
//! was there before the repair. The model answers as if these values were in the database.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::rows::{AccessGroup, AccessRows, Permission, Toolset};
use crate::litellm::ids::{PermissionKey, ServerId, ToolsetId};
use crate::litellm::reference_sites::{
    ACCESS_GROUP_SERVERS, ACCESS_GROUP_TOOLS, ACCESS_GROUPS, MCP_SERVERS, MCP_TOOL_PERMISSIONS,
    MCP_TOOLSETS, PERMISSIONS, Site, SiteTable, TOOLSET_TOOLS, TOOLSETS,
};
use crate::litellm::value::Value;

/// The columns of a row that have another value. `T` is a text, or the number of one.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct OtherColumns<T> {
    #[serde(rename = "s", skip_serializing_if = "Option::is_none")]
    servers: Option<Vec<T>>,
    /// The tools of each server.
    #[serde(rename = "t", skip_serializing_if = "Option::is_none")]
    tools: Option<Vec<(T, Vec<T>)>>,
    #[serde(rename = "n", skip_serializing_if = "Option::is_none")]
    toolsets: Option<Vec<T>>,
}

/// Texts that many rows hold, such as the ids of servers. Each is kept once, and has a number.
#[derive(Debug, Clone, Default)]
struct NumberedTexts {
    texts: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, usize>,
}

impl NumberedTexts {
    /// Returns the number of a text. A new text gets the next number.
    fn number(&mut self, text: &str) -> usize {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let (number, text) = (self.texts.len(), Arc::<str>::from(text));
        self.texts.push(Arc::clone(&text));
        self.numbers.insert(text, number);
        number
    }

    /// Returns the numbers of texts, in their order.
    fn numbers<'t>(&mut self, texts: impl IntoIterator<Item = &'t String>) -> Vec<usize> {
        texts.into_iter().map(|text| self.number(text)).collect()
    }

    /// Returns the numbers of servers, each with those of its tools.
    fn numbers_by_server<'t, T: IntoIterator<Item = &'t String>>(
        &mut self,
        tools: impl IntoIterator<Item = (&'t String, T)>,
    ) -> Vec<(usize, Vec<usize>)> {
        let tools = tools.into_iter();
        let of_server = |(server, tools): (&'t String, T)| {
            let server = self.number(server);
            (server, self.numbers(tools))
        };
        tools.map(of_server).collect()
    }

    /// Returns the text with a number. There always is one, because all numbers are given here.
    fn text(&self, number: usize) -> String {
        let text = self.texts.get(number);
        text.map(|text| String::from(&**text)).unwrap_or_default()
    }

    /// Returns the texts with these numbers, in their order.
    fn texts(&self, numbers: Vec<usize>) -> Vec<String> {
        let texts = numbers.into_iter().map(|number| self.text(number));
        texts.collect()
    }

    /// Returns columns with their texts.
    fn unpacked(&self, columns: OtherColumns<usize>) -> OtherColumns<String> {
        let OtherColumns {
            servers,
            tools,
            toolsets,
        } = columns;
        let of_server = |(server, tools)| (self.text(server), self.texts(tools));
        OtherColumns {
            servers: servers.map(|servers| self.texts(servers)),
            tools: tools.map(|tools| tools.into_iter().map(of_server).collect()),
            toolsets: toolsets.map(|toolsets| self.texts(toolsets)),
        }
    }
}

/// How many rows a block has at most.
const BLOCK: usize = 512;

/// Rows with other values, by primary key. There may be as many as a repair writes. So they are
/// packed: a row that names five servers takes about 80 bytes.
#[derive(Debug, Clone, Default)]
struct PackedRows {
    /// Ordered by key; none is empty. One text of all rows would be copied whenever it grows.
    blocks: Vec<RowBlock>,
}

impl PackedRows {
    /// Finds the block that a key is in, or would be in.
    fn block(&self, key: &str) -> usize {
        let begins_before = |block: &RowBlock| block.keys().next().is_some_and(|k| k <= key);
        let behind = self.blocks.partition_point(begins_before);
        behind.saturating_sub(1)
    }

    /// Returns the columns of the row with a key.
    fn get(&self, key: &str) -> Option<OtherColumns<usize>> {
        self.blocks.get(self.block(key))?.get(key).map(columns)
    }

    /// Adds a row, or replaces the one with this key.
    fn set(&mut self, key: &str, columns: &OtherColumns<usize>) {
        let at = self.block(key);
        if self.blocks.is_empty() {
            self.blocks.push(RowBlock::default());
        }
        let Some(block) = self.blocks.get_mut(at) else {
            return;
        };
        block.set(key, &serde_json::json!(columns).to_string());
        if block.places.len() > BLOCK {
            let behind = block.split_off(BLOCK / 2);
            self.blocks.insert(at + 1, behind);
        }
    }

    /// Lists the keys with their packed columns, in order.
    fn rows(&self) -> impl Iterator<Item = (&str, &str)> {
        self.blocks.iter().flat_map(RowBlock::rows)
    }

    /// Lists the keys, in order.
    fn keys(&self) -> impl Iterator<Item = &str> {
        self.rows().map(|(key, _)| key)
    }

    /// Counts the rows.
    fn number(&self) -> usize {
        self.blocks.iter().map(|block| block.places.len()).sum()
    }
}

/// Reads packed columns. They can always be read, because they were written here.
fn columns(packed: &str) -> OtherColumns<usize> {
    serde_json::from_str(packed).unwrap_or_default()
}

/// Some rows in one text.
#[derive(Debug, Clone, Default)]
struct RowBlock {
    /// For each row its key, a NUL, and its columns as JSON, in which there is no NUL.
    text: String,
    /// Where each row is in the text; ordered by key.
    places: Vec<Range<usize>>,
}

impl RowBlock {
    /// Returns the key and the packed columns of the row at a place.
    fn row(&self, place: &Range<usize>) -> (&str, &str) {
        let row = self.text.get(place.clone());
        row.and_then(|row| row.rsplit_once('\0'))
            .unwrap_or_default()
    }

    fn rows(&self) -> impl Iterator<Item = (&str, &str)> {
        self.places.iter().map(|place| self.row(place))
    }

    fn keys(&self) -> impl Iterator<Item = &str> {
        self.rows().map(|(key, _)| key)
    }

    /// Finds the position of a key, or the one that it would have.
    fn position(&self, key: &str) -> Result<usize, usize> {
        let place = |place: &Range<usize>| self.row(place).0.cmp(key);
        self.places.binary_search_by(place)
    }

    fn get(&self, key: &str) -> Option<&str> {
        let place = self.places.get(self.position(key).ok()?)?;
        Some(self.row(place).1)
    }

    /// Adds a row, or replaces the one with this key. Replaced text at the end is dropped: a repair
    /// sets one column of a row after the other.
    fn set(&mut self, key: &str, columns: &str) {
        let position = self.position(key);
        let known = position.ok().and_then(|at| self.places.get(at)).cloned();
        if let Some(last) = known.filter(|place| place.end == self.text.len()) {
            self.text.truncate(last.start);
        }
        let start = self.text.len();
        for part in [key, "\0", columns] {
            self.text.push_str(part);
        }
        let place = start..self.text.len();
        match position {
            Ok(at) => self.places[at] = place,
            Err(at) => self.places.insert(at, place),
        }
    }

    /// Splits off the rows from a position on.
    fn split_off(&mut self, position: usize) -> Self {
        let mut parts = [Self::default(), Self::default()];
        for (at, (key, columns)) in self.rows().enumerate() {
            parts[usize::from(at >= position)].set(key, columns);
        }
        let [mut before, behind] = parts;
        before.text.shrink_to_fit();
        before.places.shrink_to_fit();
        *self = before;
        behind
    }
}

/// Other values of some columns, by primary key.
#[derive(Debug, Clone, Default)]
pub(crate) struct OtherValues {
    texts: NumberedTexts,
    permissions: PackedRows,
    access_groups: PackedRows,
    toolsets: PackedRows,
}

impl OtherValues {
    /// Sets the value that a column has. Returns whether anybody's access depends on such a column:
    /// the defaults of new keys, for one, grant nobody anything yet.
    pub(crate) fn set(&mut self, table: &SiteTable, key: &str, site: &Site, value: &Value) -> bool {
        let is = |of: &SiteTable, other: &Site| table.table == of.table && site.name == other.name;
        let rows = if table.table == PERMISSIONS.table {
            &mut self.permissions
        } else if table.table == ACCESS_GROUPS.table {
            &mut self.access_groups
        } else {
            &mut self.toolsets
        };
        let (mut columns, texts) = (rows.get(key).unwrap_or_default(), &mut self.texts);
        match value {
            Value::Array(names)
                if is(&PERMISSIONS, &MCP_SERVERS) || is(&ACCESS_GROUPS, &ACCESS_GROUP_SERVERS) =>
            {
                columns.servers = Some(texts.numbers(names));
            }
            Value::Array(ids) if is(&PERMISSIONS, &MCP_TOOLSETS) => {
                columns.toolsets = Some(texts.numbers(ids));
            }
            Value::Keys(tools)
                if is(&PERMISSIONS, &MCP_TOOL_PERMISSIONS)
                    || is(&ACCESS_GROUPS, &ACCESS_GROUP_TOOLS) =>
            {
                columns.tools = Some(texts.numbers_by_server(tools));
            }
            Value::Tools(tools) if is(&TOOLSETS, &TOOLSET_TOOLS) => {
                let mut granted: BTreeMap<&String, BTreeSet<&String>> = BTreeMap::new();
                for tool in tools {
                    let granted = granted.entry(&tool.server_id).or_default();
                    granted.insert(&tool.tool_name);
                }
                columns.tools = Some(texts.numbers_by_server(granted));
            }
            Value::Array(_) | Value::Keys(_) | Value::Tools(_) => return false,
        }
        rows.set(key, &columns);
        true
    }

    /// Tells whether no column has another value.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        let Self {
            texts: _,
            permissions,
            access_groups,
            toolsets,
        } = self;
        let mut rows = [permissions, access_groups, toolsets].into_iter();
        rows.all(|rows| rows.blocks.is_empty())
    }

    /// Lists the primary keys of the permission rows with another value, in order.
    pub(crate) fn permissions(&self) -> impl Iterator<Item = &str> {
        self.permissions.keys()
    }

    /// Lists the primary keys of the access groups with another value, in order.
    pub(crate) fn access_groups(&self) -> impl Iterator<Item = &str> {
        self.access_groups.keys()
    }

    /// Lists the primary keys of the toolsets with another value, in order.
    pub(crate) fn toolsets(&self) -> impl Iterator<Item = &str> {
        self.toolsets.keys()
    }

    /// Lists the toolsets that a permission row names by another value.
    pub(crate) fn toolsets_of(&self, permission: &PermissionKey) -> Vec<ToolsetId> {
        let row = self.permissions.get(permission.as_str());
        let toolsets = row.and_then(|row| row.toolsets);
        let toolsets = self.texts.texts(toolsets.unwrap_or_default());
        toolsets.into_iter().map(ToolsetId).collect()
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
        self.for_common(&self.permissions, &mut rows.permissions, |other, row| {
            if let Some(row) = row {
                other.put_into(row);
            }
        });
        self.for_common(&self.permissions, &mut rows.without_tools, |other, row| {
            other.put_into(row);
        });
        self.for_common(
            &self.access_groups,
            &mut rows.access_groups,
            |other, row| {
                if let Some(group) = row {
                    other.put_into_group(group);
                }
            },
        );
        self.for_common(&self.toolsets, &mut rows.toolsets, |other, toolset| {
            *toolset = other.into_toolset();
        });
    }

    /// Lists all rows: the number of the table, the primary key and the columns.
    fn rows(&self) -> impl Iterator<Item = (usize, &str, OtherColumns<String>)> {
        let tables = [&self.permissions, &self.access_groups, &self.toolsets];
        let tables = tables.into_iter().enumerate();
        tables.flat_map(move |(at, rows)| {
            rows.rows()
                .map(move |(key, packed)| (at, key, self.texts.unpacked(columns(packed))))
        })
    }

    /// Calls `each` with the columns of every row that both have. Either may have millions of keys
    /// where the other has few, so the keys of the smaller one are looked up in the larger one.
    fn for_common<K: Ord + Borrow<str>, R>(
        &self,
        others: &PackedRows,
        rows: &mut BTreeMap<K, R>,
        mut each: impl FnMut(OtherColumns<String>, &mut R),
    ) {
        if others.number() <= rows.len() {
            for (key, packed) in others.rows() {
                if let Some(row) = rows.get_mut(key) {
                    each(self.texts.unpacked(columns(packed)), row);
                }
            }
        } else {
            for (key, row) in rows {
                if let Some(other) = others.get(key.borrow()) {
                    each(self.texts.unpacked(other), row);
                }
            }
        }
    }
}

/// They are equal if they hold the same values, in whatever order these were set.
impl PartialEq for OtherValues {
    fn eq(&self, other: &Self) -> bool {
        self.rows().eq(other.rows())
    }
}

impl Eq for OtherValues {}

impl OtherColumns<String> {
    fn put_into(self, row: &mut Permission) {
        put(self.servers, &mut row.servers);
        put(self.tools.map(BTreeMap::from_iter), &mut row.tools);
        let toolsets = self
            .toolsets
            .map(|ids| ids.into_iter().map(ToolsetId).collect());
        put(toolsets, &mut row.toolsets);
    }

    fn put_into_group(self, group: &mut AccessGroup) {
        put(self.servers, &mut group.servers);
        put(self.tools.map(BTreeMap::from_iter), &mut group.tools);
    }

    fn into_toolset(self) -> Toolset {
        let tools = self.tools.into_iter().flatten();
        tools
            .map(|(server, tools)| (ServerId(server), BTreeSet::from_iter(tools)))
            .collect()
    }
}

/// Replaces `value` where there is another one.
fn put<T>(other: Option<T>, value: &mut T) {
    if let Some(other) = other {
        *value = other;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::litellm::ids::AccessGroupId;
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
    fn every_value_comes_back_as_it_was_set() {
        let mut other = OtherValues::default();
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let servers = Value::Array(names(&["b", "a", "b", "", "\0"]));
        let tools = BTreeMap::from([
            ("b".to_owned(), names(&["t2", "t1", "a"])),
            ("\"".to_owned(), Vec::new()),
        ]);
        let toolsets = Value::Array(names(&["a", "z"]));
        let keys = ["id", "i", "", "id\0", "id\0{}", "\0"];
        for key in keys {
            other.set(
                &PERMISSIONS,
                key,
                &MCP_SERVERS,
                &Value::Array(names(&["other"])),
            );
            let tools = Value::Keys(tools.clone());
            other.set(&PERMISSIONS, key, &MCP_TOOL_PERMISSIONS, &tools);
            other.set(&PERMISSIONS, key, &MCP_TOOLSETS, &toolsets);
            other.set(&PERMISSIONS, key, &MCP_SERVERS, &servers);
        }
        let mut sorted = keys;
        sorted.sort_unstable();
        assert_eq!(other.permissions().collect::<Vec<_>>(), sorted);
        let row = || Some(Permission::default());
        let rows = AccessRows {
            permissions: keys
                .map(|key| (PermissionKey(key.to_owned()), row()))
                .into(),
            ..AccessRows::default()
        };
        for (key, row) in other.within(rows).permissions {
            let row = row.unwrap();
            assert_eq!(Value::Array(row.servers), servers, "{key:?}");
            assert_eq!(row.tools, tools, "{key:?}");
            assert_eq!(row.toolsets, other.toolsets_of(&key), "{key:?}");
            assert_eq!(row.toolsets.len(), 2, "{key:?}");
        }
    }

    #[test]
    fn rows_come_back_by_key_however_many_there_are_and_in_whatever_order_they_came() {
        let number = 5 * BLOCK + 3;
        let key = |at: usize| format!("{at:05}");
        let value = |at: usize| Value::Array(vec![format!("server-{}", at % 7), key(at)]);
        for step in [1, number - 1, 7_919] {
            let mut other = OtherValues::default();
            for at in 0..number {
                let at = at * step % number;
                other.set(&PERMISSIONS, &key(at), &MCP_SERVERS, &value(0));
                other.set(&PERMISSIONS, &key(at), &MCP_SERVERS, &value(at));
            }
            let keys: Vec<String> = (0..number).map(key).collect();
            assert_eq!(other.permissions().collect::<Vec<_>>(), keys);
            let row = || Some(Permission::default());
            let rows = keys.into_iter().map(|key| (PermissionKey(key), row()));
            let rows = AccessRows {
                permissions: rows.collect(),
                ..AccessRows::default()
            };
            let rows = other.within(rows).permissions;
            for (at, row) in rows.into_values().enumerate() {
                assert_eq!(Value::Array(row.unwrap().servers), value(at), "{step}");
            }
        }
    }

    #[test]
    fn the_same_values_are_equal_in_whatever_order_they_were_set() {
        let array = |name: &str| Value::Array(vec![name.to_owned()]);
        let set = |values: &[(&str, &str)]| {
            let mut other = OtherValues::default();
            for (key, name) in values {
                other.set(&PERMISSIONS, key, &MCP_SERVERS, &array(name));
            }
            other
        };
        let both = set(&[("1", "a"), ("2", "b")]);
        assert_eq!(set(&[("2", "b"), ("1", "c"), ("1", "a")]), both);
        assert_ne!(set(&[("1", "b"), ("2", "a")]), both);
        assert_ne!(set(&[("1", "a")]), both);
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
