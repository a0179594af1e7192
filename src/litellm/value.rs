//! The value of one site of a row, parsed as LiteLLM reads it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value as Json;

use crate::litellm::packing::{ConstantText, find_text};
use crate::litellm::reference_sites::Shape;

/// A value that LiteLLM can read.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Value {
    /// A `text[]`: references in stored order, duplicates kept.
    Array(Vec<String>),
    /// A `jsonb` object: tool names by reference.
    Keys(BTreeMap<String, Vec<String>>),
    /// A `jsonb` array of tools in stored order, duplicates kept.
    Tools(Vec<Tool>),
}

/// A tool of a server.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tool {
    /// The reference to its server.
    pub server_id: String,
    /// The tool's name.
    pub tool_name: String,
}

/// What is wrong with a value that LiteLLM cannot read.
///
/// Such a value makes the whole row unreadable: LiteLLM drops the permission object, which lifts
/// the restriction of a key or team and denies at other levels. So a repair of it changes access
/// either way and is not for this tool to choose.
///
/// Source: LiteLLM 1.109.1 `models/object_permission.py` (the types) and
/// `proxy/auth/auth_checks.py`, `get_object_permission` (swallows the validation error).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) enum Malformed {
    /// An array with a NULL element.
    NullElement,
    /// An array with more than one dimension.
    NestedArray,
    /// JSON that is no object; a string may be an object encoded twice.
    NotAnObject(#[serde(deserialize_with = "find_kind")] ConstantText),
    /// JSON that is no array; a string may be an array encoded twice.
    NotAnArray(#[serde(deserialize_with = "find_kind")] ConstantText),
    /// An array with an element that is no string.
    NotStrings,
    /// An array with an element that is no tool of a server, or more than that.
    NotTools,
    /// An object with a value that is no list of strings.
    NotToolLists,
    /// JSON nested too deep, or with a number too large, to be read.
    Unreadable,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NullElement => f.write_str("the array has a NULL element"),
            Self::NestedArray => f.write_str("the array has more than one dimension"),
            Self::NotAnObject(found) => write!(f, "expected a JSON object, found {found}"),
            Self::NotAnArray(found) => write!(f, "expected a JSON array, found {found}"),
            Self::NotStrings => f.write_str("an element of the JSON array is not a string"),
            Self::NotTools => f.write_str(
                "an element of the JSON array is not an object of server_id and tool_name alone",
            ),
            Self::NotToolLists => {
                f.write_str("a value of the JSON object is not a list of tool names")
            }
            Self::Unreadable => {
                f.write_str("the JSON cannot be read: nested too deep, or a number too large")
            }
        }
    }
}

/// What a column holds: a value, or what is wrong with it.
pub(crate) type Stored = Result<Value, Malformed>;

impl Value {
    /// Reads a column value from its JSON text; `None` is SQL NULL.
    ///
    /// SQL NULL, JSON `null`, `{}` and an array without elements are all simply empty.
    ///
    /// # Errors
    ///
    /// Says what is wrong with a value that LiteLLM cannot read.
    pub(crate) fn parse(shape: Shape, text: Option<&str>) -> Stored {
        let json = match text {
            None => Json::Null,
            Some(text) => serde_json::from_str(text).map_err(|_| Malformed::Unreadable)?,
        };
        Self::from_json(shape, json)
    }

    /// Reads the same from JSON.
    ///
    /// # Errors
    ///
    /// Says what is wrong with a value that LiteLLM cannot read.
    pub(crate) fn from_json(shape: Shape, json: Json) -> Stored {
        match shape {
            Shape::TextArray => parse_array(&json),
            Shape::JsonArray => parse_json_array(json, Malformed::NotStrings).map(Self::Array),
            Shape::JsonKeys => parse_object(json, Malformed::NotToolLists).map(Self::Keys),
            Shape::JsonTools => parse_json_array(json, Malformed::NotTools).map(Self::Tools),
        }
    }

    /// Returns the value as JSON: an array of strings, an object of such arrays, or an array of
    /// tools.
    #[must_use]
    pub(crate) fn to_json(&self) -> Json {
        match self {
            Self::Array(references) => Json::from(references.clone()),
            Self::Keys(tools) => serde_json::json!(tools),
            Self::Tools(tools) => serde_json::json!(tools),
        }
    }

    /// Lists the references in the value: in stored order for an array, in key order for an object.
    pub(crate) fn references(&self) -> impl Iterator<Item = &str> {
        let references: Box<dyn Iterator<Item = &String>> = match self {
            Self::Array(references) => Box::new(references.iter()),
            Self::Keys(keys) => Box::new(keys.keys()),
            Self::Tools(tools) => Box::new(tools.iter().map(|tool| &tool.server_id)),
        };
        references.map(String::as_str)
    }

    /// Returns the first tools that are named beside each reference.
    pub(crate) fn first_tools(&self, most: usize) -> HashMap<&str, Vec<&str>> {
        let mut first: HashMap<&str, Vec<&str>> = HashMap::new();
        match self {
            Self::Array(_) => {}
            Self::Keys(keys) => {
                for (reference, tools) in keys {
                    let tools = tools.iter().take(most).map(String::as_str);
                    first.insert(reference, tools.collect());
                }
            }
            Self::Tools(tools) => {
                for tool in tools {
                    let of_server = first.entry(&tool.server_id).or_default();
                    if of_server.len() < most {
                        of_server.push(&tool.tool_name);
                    }
                }
            }
        }
        first
    }

    /// Tells whether the value has no reference.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.references().next().is_none()
    }

    /// Returns the value without the references that are `gone`, the rest in its order.
    #[must_use]
    pub(crate) fn without(&self, gone: impl Fn(&str) -> bool) -> Self {
        match self {
            Self::Array(references) => {
                Self::Array(references.iter().filter(|r| !gone(r)).cloned().collect())
            }
            Self::Keys(tools) => Self::Keys(
                tools
                    .iter()
                    .filter(|(reference, _)| !gone(reference))
                    .map(|(reference, tools)| (reference.clone(), tools.clone()))
                    .collect(),
            ),
            Self::Tools(tools) => {
                let left = tools.iter().filter(|tool| !gone(&tool.server_id));
                Self::Tools(left.cloned().collect())
            }
        }
    }
}

impl Value {
    /// Returns the value with references replaced as `renamed` tells, the rest in its order.
    ///
    /// A reference that is there already is not doubled, and the tools of two that become one are
    /// united, as LiteLLM unites the tools of entries that mean one server.
    ///
    /// Source: LiteLLM 1.109.1 `proxy/mcp_server/mcp_server_manager.py`, `expand_tool_permissions`.
    #[must_use]
    pub(crate) fn renamed<'a>(&'a self, renamed: impl Fn(&str) -> Option<&'a str>) -> Self {
        match self {
            Self::Array(references) => {
                let mut left: Vec<String> = Vec::with_capacity(references.len());
                let mut there: HashSet<&str> = references.iter().map(String::as_str).collect();
                for reference in references {
                    match renamed(reference) {
                        None => left.push(reference.clone()),
                        Some(new) => left.extend(there.insert(new).then(|| new.to_owned())),
                    }
                }
                Self::Array(left)
            }
            Self::Keys(tools) => {
                let of_new = |new: &str| tools.get(new).filter(|_| renamed(new).is_none());
                let (old, mut left): (Vec<_>, BTreeMap<_, _>) = {
                    let (old, left): (Vec<_>, Vec<_>) =
                        tools.iter().partition(|(key, _)| renamed(key).is_some());
                    let left = left.into_iter().map(|(k, t)| (k.clone(), t.clone()));
                    (old, left.collect())
                };
                let mut there: HashMap<&str, HashSet<&str>> = HashMap::new();
                for (key, tools) in old {
                    let new = renamed(key).unwrap_or(key);
                    let united: &mut Vec<String> = left.entry(new.to_owned()).or_default();
                    let there = there.entry(new).or_insert_with(|| {
                        let stays = of_new(new).into_iter().flatten();
                        stays.map(String::as_str).collect()
                    });
                    let missing = tools.iter().filter(|tool| there.insert(tool));
                    united.extend(missing.cloned());
                }
                Self::Keys(left)
            }
            Self::Tools(tools) => {
                let mut left: Vec<Tool> = Vec::with_capacity(tools.len());
                let both = |tool: &'a Tool| (tool.server_id.as_str(), tool.tool_name.as_str());
                let mut there: HashSet<(&str, &str)> = tools.iter().map(both).collect();
                for tool in tools {
                    let Some(new) = renamed(&tool.server_id) else {
                        left.push(tool.clone());
                        continue;
                    };
                    if there.insert((new, &tool.tool_name)) {
                        left.push(Tool {
                            server_id: new.to_owned(),
                            tool_name: tool.tool_name.clone(),
                        });
                    }
                }
                Self::Tools(left)
            }
        }
    }
}

/// Reads an array from JSON. SQL NULL and JSON `null` are an array without elements.
fn parse_json_array<T: DeserializeOwned>(
    json: Json,
    otherwise: Malformed,
) -> Result<Vec<T>, Malformed> {
    if json.is_null() {
        Ok(Vec::new())
    } else if json.is_array() {
        serde_json::from_value(json).map_err(|_| otherwise)
    } else {
        Err(Malformed::NotAnArray(kind_of(&json)))
    }
}

/// The kinds of JSON values, in words.
const KINDS: [&str; 6] = [
    "null",
    "a boolean",
    "a number",
    "a string",
    "an array",
    "an object",
];

fn find_kind<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ConstantText, D::Error> {
    find_text(deserializer, KINDS.into_iter())
}

/// Names the type of a JSON value, with its article.
fn kind_of(json: &Json) -> &'static str {
    match json {
        Json::Null => KINDS[0],
        Json::Bool(_) => KINDS[1],
        Json::Number(_) => KINDS[2],
        Json::String(_) => KINDS[3],
        Json::Array(_) => KINDS[4],
        Json::Object(_) => KINDS[5],
    }
}

fn parse_array(json: &Json) -> Stored {
    let elements = json.as_array().map(Vec::as_slice).unwrap_or_default();
    if elements.iter().any(Json::is_array) {
        return Err(Malformed::NestedArray);
    }
    // An element of a text array is a string or NULL.
    let references: Option<Vec<String>> = elements
        .iter()
        .map(|element| element.as_str().map(str::to_owned))
        .collect();
    references.map(Value::Array).ok_or(Malformed::NullElement)
}

/// Reads an object from JSON. SQL NULL and JSON `null` are an object without keys.
fn parse_object<T: DeserializeOwned>(
    json: Json,
    otherwise: Malformed,
) -> Result<BTreeMap<String, T>, Malformed> {
    if json.is_null() {
        Ok(BTreeMap::new())
    } else if json.is_object() {
        serde_json::from_value(json).map_err(|_| otherwise)
    } else {
        Err(Malformed::NotAnObject(kind_of(&json)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(text: &str) -> Stored {
        Value::parse(Shape::TextArray, Some(text))
    }

    fn keys(text: &str) -> Stored {
        Value::parse(Shape::JsonKeys, Some(text))
    }

    #[test]
    fn every_spelling_of_nothing_is_empty() {
        for (shape, text) in [
            (Shape::TextArray, None),
            (Shape::TextArray, Some("[]")),
            (Shape::JsonKeys, None),
            (Shape::JsonKeys, Some("null")),
            (Shape::JsonKeys, Some("{}")),
        ] {
            let value = Value::parse(shape, text).unwrap();
            assert!(value.is_empty(), "{shape:?} {text:?}");
        }
    }

    #[test]
    fn an_array_keeps_order_and_duplicates() {
        let value = array(r#"["b","a","b",""]"#).unwrap();
        assert_eq!(value.references().collect::<Vec<_>>(), ["b", "a", "b", ""]);
        let left = value.without(|reference| reference == "a");
        assert_eq!(left, array(r#"["b","b",""]"#).unwrap());
    }

    #[test]
    fn an_object_loses_only_the_keys_named() {
        let value = keys(r#"{"a":[],"b":["*"],"c":["x","y"]}"#).unwrap();
        let left = value.without(|reference| reference == "b");
        assert_eq!(left, keys(r#"{"a":[],"c":["x","y"]}"#).unwrap());
    }

    #[test]
    fn a_renamed_reference_stands_where_the_old_one_stood_and_once() {
        let renamed = |text: &str| {
            let rename = |r: &str| r.starts_with("old").then_some("new");
            array(text).unwrap().renamed(rename)
        };
        for (before, after) in [
            (r#"["a","old","b"]"#, r#"["a","new","b"]"#),
            (r#"["old","a","old-too"]"#, r#"["new","a"]"#),
            (r#"["a","old","new"]"#, r#"["a","new"]"#),
            (r#"["b","b"]"#, r#"["b","b"]"#),
        ] {
            assert_eq!(renamed(before), array(after).unwrap(), "{before}");
        }
    }

    #[test]
    fn the_tools_of_two_that_become_one_are_united() {
        let before = keys(r#"{"a":["x"],"new":["t","*"],"old":["u","t"],"old-too":[]}"#);
        let after = before
            .unwrap()
            .renamed(|r| r.starts_with("old").then_some("new"));
        assert_eq!(after, keys(r#"{"a":["x"],"new":["t","*","u"]}"#).unwrap());
    }

    #[test]
    fn what_pydantic_rejects_is_malformed() {
        for (text, expected) in [
            ("[]", Malformed::NotAnObject("an array")),
            (r#""{\"a\": []}""#, Malformed::NotAnObject("a string")),
            ("1", Malformed::NotAnObject("a number")),
            ("false", Malformed::NotAnObject("a boolean")),
            (r#"{"a":null}"#, Malformed::NotToolLists),
            (r#"{"a":"*"}"#, Malformed::NotToolLists),
            (r#"{"a":{"t":true}}"#, Malformed::NotToolLists),
            (r#"{"a":[1]}"#, Malformed::NotToolLists),
            (r#"{"a":[],"b":[["t"]]}"#, Malformed::NotToolLists),
        ] {
            assert_eq!(keys(text), Err(expected), "{text}");
        }
        assert_eq!(array(r#"["a",null]"#), Err(Malformed::NullElement));
        assert_eq!(array(r#"[["a"],["b"]]"#), Err(Malformed::NestedArray));
    }

    #[test]
    fn tools_are_judged_by_their_servers() {
        let tools = |text: &str| Value::parse(Shape::JsonTools, Some(text));
        let tool = |server: &str, name: &str| {
            format!(r#"{{"server_id":"{server}","tool_name":"{name}"}}"#)
        };
        let list = |all: &[String]| tools(&format!("[{}]", all.join(","))).unwrap();
        let [a, b, c] = [tool("a", "x"), tool("b", "x"), tool("b", "y")];
        let value = list(&[a.clone(), b.clone(), c.clone(), b.clone()]);
        assert_eq!(value.references().collect::<Vec<_>>(), ["a", "b", "b", "b"]);
        assert_eq!(value.without(|r| r == "b"), list(std::slice::from_ref(&a)));
        let united = value.renamed(|r| (r == "b").then_some("a"));
        assert_eq!(united, list(&[a, tool("a", "y")]));
        for (text, expected) in [
            ("{}", Malformed::NotAnArray("an object")),
            (r#""[]""#, Malformed::NotAnArray("a string")),
            (r#"["a"]"#, Malformed::NotTools),
            (r#"[{"server_id":"a"}]"#, Malformed::NotTools),
            (
                r#"[{"server_id":"a","tool_name":"x","more":1.0}]"#,
                Malformed::NotTools,
            ),
        ] {
            assert_eq!(tools(text), Err(expected), "{text}");
        }
    }

    #[test]
    fn a_json_array_holds_strings_alone() {
        let array = |text: &str| Value::parse(Shape::JsonArray, Some(text));
        let expected = Value::Array(vec!["b".to_owned(), "a".to_owned(), "b".to_owned()]);
        assert_eq!(array(r#"["b","a","b"]"#), Ok(expected));
        assert!(array("null").unwrap().is_empty());
        assert_eq!(array(r#"["a",null]"#), Err(Malformed::NotStrings));
        assert_eq!(
            array(r#"{"a":[]}"#),
            Err(Malformed::NotAnArray("an object"))
        );
    }

    #[test]
    fn entries_are_counted_without_being_unpacked() {
        for (text, expected) in [
            (r#"["a"]"#, 1),
            (r#"["a", "b,c", "d\",\\", "e"]"#, 4),
            (r#"{"a": ["x", "y"], "b": []}"#, 3),
        ] {
            assert_eq!(crate::litellm::row::entries(text), expected, "{text}");
        }
    }

    #[test]
    fn json_too_deep_to_read_is_malformed_and_not_a_crash() {
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        assert_eq!(keys(&deep), Err(Malformed::Unreadable));
    }
}
