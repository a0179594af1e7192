//! YAML as `PyYAML`'s `safe_load` reads it, which is what LiteLLM reads its config with.
//!
//! `PyYAML` follows YAML 1.1: `yes` is a truth value, `1:30` is 90, `<<` merges. An id of a config
//! server hashes what Python prints, so a value read otherwise gives another id.
//!
//! Source: `PyYAML` 6.0.3 and 6.0.4 `yaml/resolver.py` and `yaml/constructor.py`, and LiteLLM
//! 1.110.2 `proxy/proxy_server.py`, `_get_config_from_file`.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError, Span, StructureStyle, Tag};

use crate::litellm::config::ConfigError;
use crate::litellm::config::scalar::{float, implicit_tag, integer, printed_float};

/// A value as Python holds it.
#[derive(Debug, Clone)]
pub(crate) enum YamlValue {
    /// `None`.
    Null,
    /// A truth value.
    Bool(bool),
    /// An integer, as Python prints it.
    Int(String),
    /// A floating-point number.
    Float(f64),
    /// A text.
    Text(String),
    /// A date, bytes, a set or another type whose value is not needed.
    Other,
    /// A list.
    List(Arc<Vec<YamlValue>>),
    /// A dictionary.
    Mapping(Arc<Mapping>),
}

impl YamlValue {
    /// Returns the text, where it is one.
    pub(crate) fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Null
            | Self::Bool(_)
            | Self::Int(_)
            | Self::Float(_)
            | Self::Other
            | Self::List(_)
            | Self::Mapping(_) => None,
        }
    }

    /// Returns the list, where it is one.
    pub(crate) fn as_list(&self) -> Option<&[YamlValue]> {
        if let Self::List(values) = self {
            Some(values)
        } else {
            None
        }
    }

    /// Returns the dictionary, where it is one.
    pub(crate) fn as_mapping(&self) -> Option<&Mapping> {
        if let Self::Mapping(mapping) = self {
            Some(mapping)
        } else {
            None
        }
    }

    /// Tells whether Python takes the value for true.
    pub(crate) fn is_truthy(&self) -> bool {
        match self {
            Self::Null => false,
            Self::Bool(value) => *value,
            Self::Int(digits) => digits != "0",
            Self::Float(number) => *number != 0.0,
            Self::Text(text) => !text.is_empty(),
            Self::Other => true,
            Self::List(values) => !values.is_empty(),
            Self::Mapping(mapping) => mapping.iter().next().is_some(),
        }
    }

    /// Prints the value as Python's `str` does. Returns `None` where that is not known.
    pub(crate) fn printed(&self) -> Option<String> {
        match self {
            Self::Null => Some("None".to_owned()),
            Self::Bool(true) => Some("True".to_owned()),
            Self::Bool(false) => Some("False".to_owned()),
            Self::Int(digits) => Some(digits.clone()),
            Self::Float(number) => Some(printed_float(*number)),
            Self::Text(text) => Some(text.clone()),
            Self::Other | Self::List(_) | Self::Mapping(_) => None,
        }
    }

    /// Returns the identity of the value as a key. In Python `1`, `1.0` and `True` are one key.
    fn as_key(&self) -> Option<(u8, String)> {
        match self {
            Self::Text(text) => Some((0, text.clone())),
            Self::Null => Some((1, String::new())),
            Self::Bool(value) => Some((2, u8::from(*value).to_string())),
            Self::Int(digits) => Some((2, digits.clone())),
            Self::Float(number) => {
                let printed = printed_float(*number);
                let digits = printed.strip_suffix(".0").map(str::to_owned);
                Some((2, digits.unwrap_or(printed)))
            }
            Self::Other => Some((3, String::new())),
            Self::List(_) | Self::Mapping(_) => None,
        }
    }
}

/// A dictionary, in the order of the file.
#[derive(Debug, Clone, Default)]
pub(crate) struct Mapping {
    entries: Vec<(YamlValue, YamlValue)>,
    at: HashMap<(u8, String), usize>,
}

impl Mapping {
    /// Returns the value of a key that is a text.
    pub(crate) fn get(&self, key: &str) -> Option<&YamlValue> {
        let at = self.at.get(&(0, key.to_owned()))?;
        self.entries.get(*at).map(|(_, value)| value)
    }

    /// Returns the entries in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&YamlValue, &YamlValue)> {
        self.entries.iter().map(|(key, value)| (key, value))
    }

    /// Sets the value of a key, which keeps its place in the order. Returns `None` where Python
    /// does not take such a key.
    pub(crate) fn insert(&mut self, key: YamlValue, value: YamlValue) -> Option<()> {
        let identity = key.as_key()?;
        let at = self.at.get(&identity);
        if let Some(entry) = at.and_then(|at| self.entries.get_mut(*at)) {
            entry.1 = value;
        } else {
            self.at.insert(identity, self.entries.len());
            self.entries.push((key, value));
        }
        Some(())
    }
}

/// How deep lists and dictionaries may nest, aliases and merges included. Python gives up as well.
const DEPTH: usize = 500;

/// How many values a file may have once every alias is written out. LiteLLM walks all of them.
const VALUES: u64 = 5_000_000;

/// How many entries all merges of a file may add.
const MERGED: usize = 1_000_000;

/// The order in which merged dictionaries override each other, by release of `PyYAML`.
///
/// LiteLLM 1.110.2 takes either (`pyproject.toml`: `pyyaml>=6.0.3,<7`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MergeOrder {
    /// 6.0.3: in `<<: [*a, *b]` the first wins.
    FirstWins,
    /// 6.0.4: the last wins, but an entry that was merged before is not merged again.
    LastWins,
}

/// Reads the one document of a text. Where releases of `PyYAML` may differ, reads it once for each.
///
/// # Errors
///
/// Fails where `PyYAML` would not read the text either or reads it in another way, and where the
/// text is larger than a config can be.
pub(crate) fn read(text: &str) -> Result<Vec<YamlValue>, ConfigError> {
    ensure_known_breaks(text)?;
    let (nodes, root) = Composer::compose(text)?;
    let Some(root) = root else {
        return Ok(vec![YamlValue::Null]);
    };
    let orders = if nodes.iter().any(Node::is_merge) {
        &[MergeOrder::FirstWins, MergeOrder::LastWins][..]
    } else {
        &[MergeOrder::FirstWins]
    };
    let construct = |order: &MergeOrder| Constructor::new(&nodes, *order).root(root);
    orders.iter().map(construct).collect()
}

/// Refuses the line breaks of Unicode. YAML 1.1 and `PyYAML` end a line there, YAML 1.2 and the
/// parser used here do not.
///
/// Source: `PyYAML` 6.0.3 `yaml/scanner.py`, `scan_line_break`.
fn ensure_known_breaks(text: &str) -> Result<(), ConfigError> {
    for (line, content) in (1..).zip(text.split('\n')) {
        let found = content.find(['\u{85}', '\u{2028}', '\u{2029}']);
        let Some((before, rest)) = found.and_then(|at| content.split_at_checked(at)) else {
            continue;
        };
        let code = rest.chars().next().map_or(0, u32::from);
        return Err(wrong_at(
            place_at(line, before.chars().count()),
            format!(
                "the character U+{code:04X} ends a line for LiteLLM's YAML reader, which few editors \
                 show: take it out, or write it as an escape between double quotes"
            ),
        ));
    }
    Ok(())
}

/// The place of a node among all nodes.
type NodeId = usize;

#[derive(Debug)]
struct Node {
    at: (u64, u64),
    /// The tag, without the namespace of YAML's own tags. `None` where the file writes no tag.
    tag: Option<String>,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Scalar { text: String, is_plain: bool },
    Sequence(Vec<NodeId>),
    Mapping(Vec<(NodeId, NodeId)>),
}

impl Node {
    /// Returns the tag that `PyYAML` gives a scalar, or `None` where the node is no scalar.
    ///
    /// A lone `!` has even a quoted text resolved by its value.
    ///
    /// Source: `PyYAML` 6.0.3 `yaml/composer.py`, `compose_scalar_node`.
    fn scalar_tag(&self) -> Option<&str> {
        let Content::Scalar { text, is_plain } = &self.content else {
            return None;
        };
        Some(match self.tag.as_deref() {
            Some("!") => implicit_tag(text),
            None if *is_plain => implicit_tag(text),
            None => "str",
            Some(tag) => tag,
        })
    }

    /// Tells whether a key of a dictionary merges its value.
    fn is_merge(&self) -> bool {
        self.scalar_tag() == Some("merge")
    }
}

/// The namespace of `!!int` and the like.
const YAML_TAGS: &str = "tag:yaml.org,2002:";

/// Makes nodes of a text. An alias is the node of its anchor, so a large anchor is stored once.
#[derive(Default)]
struct Composer {
    nodes: Vec<Node>,
    anchors: HashMap<usize, NodeId>,
    /// The collections that are not closed yet, each with the key that waits for its value.
    open: Vec<(NodeId, Option<NodeId>)>,
    /// How many of them are written with brackets or braces.
    flows: usize,
    root: Option<NodeId>,
}

impl Composer {
    /// Returns all nodes, and which of them is the root.
    fn compose(text: &str) -> Result<(Vec<Node>, Option<NodeId>), ConfigError> {
        let mut composer = Self::default();
        // Comments are not needed, and there may be any number of them.
        let options = granit_parser::options! { emit_comments: false };
        let mut documents = 0;
        for next in Parser::new_from_str_with_options(text, options) {
            let (event, span) = next.map_err(|error| told(&error))?;
            if matches!(event, Event::DocumentStart(..)) {
                documents += 1;
            }
            if documents > 1 {
                return Err(wrong_at(
                    place(&span),
                    "a second document begins here (---), and a config must be one document",
                ));
            }
            composer.take(event, &span)?;
        }
        Ok((composer.nodes, composer.root))
    }

    fn take(&mut self, event: Event<'_>, span: &Span) -> Result<(), ConfigError> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let is_plain = style == ScalarStyle::Plain;
                if is_plain && self.flows > 0 && text.contains('?') {
                    return Err(wrong_at(place(span), QUESTION_MARK));
                }
                let text = text.into_owned();
                self.add(
                    span,
                    anchor,
                    tag.as_deref(),
                    Content::Scalar { text, is_plain },
                );
            }
            Event::SequenceStart(style, anchor, tag) => {
                let content = Content::Sequence(Vec::new());
                let node = self.add(span, anchor, tag.as_deref(), content);
                self.open(node, style);
            }
            Event::MappingStart(style, anchor, tag) => {
                let content = Content::Mapping(Vec::new());
                let node = self.add(span, anchor, tag.as_deref(), content);
                self.open(node, style);
            }
            Event::SequenceEnd | Event::MappingEnd => {
                self.open.pop();
                // Whatever is inside brackets is written with brackets as well.
                self.flows = self.flows.saturating_sub(1);
            }
            Event::Alias(anchor) => match self.anchors.get(&anchor) {
                Some(node) => self.put(*node),
                None => return Err(wrong_at(place(span), UNKNOWN_ANCHOR)),
            },
            Event::UnresolvedAlias(_) => return Err(wrong_at(place(span), UNKNOWN_ANCHOR)),
            Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(..)
            | Event::DocumentEnd
            | Event::Anchor(..)
            | _ => {}
        }
        Ok(())
    }

    fn open(&mut self, node: NodeId, style: StructureStyle) {
        self.open.push((node, None));
        if self.flows > 0 || style == StructureStyle::Flow {
            self.flows += 1;
        }
    }

    fn add(&mut self, span: &Span, anchor: usize, tag: Option<&Tag>, content: Content) -> NodeId {
        let node = self.nodes.len();
        let tag = tag.map(|tag| match tag.suffix_in_namespace(YAML_TAGS) {
            Some(name) => name.into_owned(),
            None => format!("{}{}", tag.handle(), tag.suffix()),
        });
        self.nodes.push(Node {
            at: place(span),
            tag,
            content,
        });
        if anchor > 0 {
            self.anchors.insert(anchor, node);
        }
        self.put(node);
        node
    }

    /// Puts a node into the collection that is open, or makes it the root.
    fn put(&mut self, node: NodeId) {
        let Some((parent, key)) = self.open.last_mut() else {
            self.root.get_or_insert(node);
            return;
        };
        let Some(parent) = self.nodes.get_mut(*parent) else {
            return;
        };
        match (&mut parent.content, key.take()) {
            (Content::Sequence(nodes), _) => nodes.push(node),
            (Content::Mapping(pairs), Some(key)) => pairs.push((key, node)),
            (Content::Mapping(_), None) => *key = Some(node),
            (Content::Scalar { .. }, _) => {}
        }
    }
}

/// Source: `PyYAML` 6.0.3 `yaml/scanner.py`, `scan_plain`.
const QUESTION_MARK: &str = "a ? inside [ ] or { } begins a key for LiteLLM's YAML reader, also in the \
                             middle of a word: put the text between quotes";

const UNKNOWN_ANCHOR: &str = "an alias (*name) whose anchor (&name) does not come before it";

fn place(span: &Span) -> (u64, u64) {
    place_at(span.start.line(), span.start.col())
}

fn place_at(line: usize, column: usize) -> (u64, u64) {
    // Columns are counted from 0 there.
    let number = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    (number(line), number(column).saturating_add(1))
}

fn wrong_at(at: (u64, u64), message: impl Into<String>) -> ConfigError {
    ConfigError {
        at: Some(at),
        message: message.into(),
        remedy: None,
    }
}

/// Tells what is wrong with the text, and quotes none of it, because it may hold secrets.
fn told(error: &ScanError) -> ConfigError {
    let kind = error.kind();
    let is_tab = matches!(
        kind,
        ErrorKind::TabNotAllowed
            | ErrorKind::TabInBlockIndentation
            | ErrorKind::TabInIndentation
            | ErrorKind::TabAtBlockScalarStart
            | ErrorKind::TabInPlainScalar
    );
    let is_open = matches!(
        kind,
        ErrorKind::UnexpectedEofFlowSequence
            | ErrorKind::UnexpectedEofFlowMapping
            | ErrorKind::UnexpectedEofImplicitFlowMapping
            | ErrorKind::UnclosedFlowCollection { .. }
            | ErrorKind::InvalidColonPlacement
            | ErrorKind::ExpectedFlowSequenceSeparator
            | ErrorKind::ExpectedFlowMappingSeparator
    );
    let message = if is_tab {
        "a tab, where YAML takes spaces alone".to_owned()
    } else if is_open {
        "a [ or { before this is not closed, or a comma is missing".to_owned()
    } else if matches!(kind, ErrorKind::UnclosedQuotedScalar) {
        "a quote before this is not closed".to_owned()
    } else if matches!(kind, ErrorKind::RecursionLimitExceeded) {
        "more than 255 lists and mappings inside each other, which is the limit".to_owned()
    } else if matches!(kind, ErrorKind::UnknownAnchor) {
        UNKNOWN_ANCHOR.to_owned()
    } else {
        format!("this is not YAML: {kind}")
    };
    let marker = error.marker();
    wrong_at(place_at(marker.line(), marker.col()), message)
}

/// A value made of a node, and how much work it is for Python.
#[derive(Clone)]
struct Built {
    value: YamlValue,
    /// The number of values once every alias is written out.
    values: u64,
    depth: usize,
}

impl Built {
    fn leaf(value: YamlValue) -> Self {
        Self {
            value,
            values: 1,
            depth: 1,
        }
    }
}

/// The state of a node: untouched, being worked on, done.
#[derive(Clone)]
enum ParserState<T> {
    New,
    Open,
    Done(T),
}

/// The entries of a dictionary after its merges.
type Pairs = Arc<Vec<(NodeId, NodeId)>>;

/// Makes values of nodes, each once.
struct Constructor<'a> {
    nodes: &'a [Node],
    order: MergeOrder,
    built: Vec<ParserState<Built>>,
    flat: Vec<ParserState<Pairs>>,
    merged: usize,
}

impl<'a> Constructor<'a> {
    fn new(nodes: &'a [Node], order: MergeOrder) -> Self {
        Self {
            nodes,
            order,
            built: vec![ParserState::New; nodes.len()],
            flat: vec![ParserState::New; nodes.len()],
            merged: 0,
        }
    }

    fn root(mut self, root: NodeId) -> Result<YamlValue, ConfigError> {
        Ok(self.build(root, 0)?.value)
    }

    fn build(&mut self, id: NodeId, depth: usize) -> Result<Built, ConfigError> {
        let (Some(node), Some(state)) = (self.nodes.get(id), self.built.get_mut(id)) else {
            return Ok(Built::leaf(YamlValue::Null));
        };
        match state {
            ParserState::Done(built) => return Ok(built.clone()),
            ParserState::Open => return Err(wrong_at(node.at, "an anchor that contains itself")),
            ParserState::New => *state = ParserState::Open,
        }
        if depth > DEPTH {
            return Err(too_deep(node));
        }
        let built = match &node.content {
            Content::Scalar { text, .. } => Built::leaf(scalar(node, text)?),
            Content::Sequence(items) => self.list(node, items, depth)?,
            Content::Mapping(_) => self.mapping(id, node, depth)?,
        };
        if built.values > VALUES {
            let message = format!(
                "with every alias written out this is more than {VALUES} values, which is the limit"
            );
            return Err(wrong_at(node.at, message));
        }
        if built.depth > DEPTH {
            return Err(too_deep(node));
        }
        if let Some(state) = self.built.get_mut(id) {
            *state = ParserState::Done(built.clone());
        }
        Ok(built)
    }

    fn list(&mut self, node: &Node, items: &[NodeId], depth: usize) -> Result<Built, ConfigError> {
        let mut list = Built::leaf(YamlValue::Null);
        let mut values = Vec::with_capacity(items.len());
        for item in items {
            let item = self.build(*item, depth + 1)?;
            list.holds(&item);
            values.push(item.value);
        }
        list.value = match node.tag.as_deref() {
            None | Some("seq" | "!") => YamlValue::List(Arc::new(values)),
            Some("omap" | "pairs") => YamlValue::Other,
            Some(tag) => return Err(unknown_tag(node, tag)),
        };
        Ok(list)
    }

    fn mapping(&mut self, id: NodeId, node: &Node, depth: usize) -> Result<Built, ConfigError> {
        let mut built = Built::leaf(YamlValue::Null);
        let mut mapping = Mapping::default();
        for (key_node, value_node) in self.flatten(id, 0)?.iter() {
            let key = match self.nodes.get(*key_node) {
                // As a key it is a text.
                Some(
                    key @ Node {
                        content: Content::Scalar { text, .. },
                        ..
                    },
                ) if key.scalar_tag() == Some("value") => {
                    Built::leaf(YamlValue::Text(text.clone()))
                }
                Some(_) | None => self.build(*key_node, depth + 1)?,
            };
            let value = self.build(*value_node, depth + 1)?;
            built.holds(&key);
            built.holds(&value);
            if mapping.insert(key.value, value.value).is_none() {
                let at = self.nodes.get(*key_node).map_or(node.at, |key| key.at);
                let message = "a list or a mapping as a key, which Python does not take";
                return Err(wrong_at(at, message));
            }
        }
        built.value = match node.tag.as_deref() {
            None | Some("map" | "!") => YamlValue::Mapping(Arc::new(mapping)),
            Some("set") => YamlValue::Other,
            Some(tag) => return Err(unknown_tag(node, tag)),
        };
        Ok(built)
    }

    /// Returns the entries of a dictionary: first those that it merges, then its own. A later entry
    /// overrides an earlier one of the same key.
    ///
    /// Source: `PyYAML`'s `SafeConstructor.flatten_mapping`.
    fn flatten(&mut self, id: NodeId, depth: usize) -> Result<Pairs, ConfigError> {
        let (Some(node), Some(state)) = (self.nodes.get(id), self.flat.get_mut(id)) else {
            return Ok(Pairs::default());
        };
        match state {
            ParserState::Done(pairs) => return Ok(Arc::clone(pairs)),
            ParserState::Open => {
                return Err(wrong_at(node.at, "a mapping that merges itself (<<)"));
            }
            ParserState::New => *state = ParserState::Open,
        }
        if depth > DEPTH {
            return Err(too_deep(node));
        }
        let Content::Mapping(own) = &node.content else {
            return Ok(Pairs::default());
        };
        let mut merged = Vec::new();
        let mut seen = BTreeSet::new();
        for (key, value) in own {
            if !self.is_merge(*key) {
                continue;
            }
            let mut sources = self.merge_sources(node, *value)?;
            if self.order == MergeOrder::FirstWins {
                sources.reverse();
            }
            for source in sources {
                let pairs = self.flatten(source, depth + 1)?;
                let again = |pair: &&(NodeId, NodeId)| match self.order {
                    MergeOrder::FirstWins => true,
                    MergeOrder::LastWins => seen.insert(self.identity(pair.0)),
                };
                merged.extend(pairs.iter().filter(again).copied());
                self.merged += pairs.len();
                if self.merged > MERGED {
                    let message =
                        format!("merges (<<) of more than {MERGED} entries, which is the limit");
                    return Err(wrong_at(node.at, message));
                }
            }
        }
        merged.extend(own.iter().filter(|(key, _)| !self.is_merge(*key)));
        let pairs = Arc::new(merged);
        if let Some(state) = self.flat.get_mut(id) {
            *state = ParserState::Done(Arc::clone(&pairs));
        }
        Ok(pairs)
    }

    fn is_merge(&self, key: NodeId) -> bool {
        self.nodes.get(key).is_some_and(Node::is_merge)
    }

    /// Returns the dictionaries that a `<<` names, in the order of the file.
    fn merge_sources(&self, node: &Node, value: NodeId) -> Result<Vec<NodeId>, ConfigError> {
        let is_mapping = |id: &NodeId| {
            let node = self.nodes.get(*id);
            node.is_some_and(|node| matches!(node.content, Content::Mapping(_)))
        };
        let sources = match self.nodes.get(value).map(|value| &value.content) {
            Some(Content::Mapping(_)) => vec![value],
            Some(Content::Sequence(items)) => items.clone(),
            Some(Content::Scalar { .. }) | None => vec![],
        };
        let is_list = self.nodes.get(value).is_some_and(|value| {
            matches!(value.content, Content::Mapping(_) | Content::Sequence(_))
        });
        if is_list && sources.iter().all(is_mapping) {
            return Ok(sources);
        }
        let at = self.nodes.get(value).map_or(node.at, |value| value.at);
        Err(wrong_at(
            at,
            "<< takes a mapping or a list of mappings, and this is neither",
        ))
    }

    /// Returns the identity by which 6.0.4 recognizes a merged key: Python's `id` of its text.
    /// `CPython` has one object for each text of at most one character.
    fn identity(&self, key: NodeId) -> (NodeId, Option<&'a str>) {
        match self.nodes.get(key).map(|key| &key.content) {
            Some(Content::Scalar { text, .. })
                if text.chars().count() <= 1 && text.chars().all(|c| u32::from(c) < 256) =>
            {
                (0, Some(text))
            }
            Some(_) | None => (key, None),
        }
    }
}

impl Built {
    fn holds(&mut self, part: &Self) {
        self.values = self.values.saturating_add(part.values);
        self.depth = self.depth.max(part.depth + 1);
    }
}

fn too_deep(node: &Node) -> ConfigError {
    let message = format!(
        "with every alias written out this is nested more than {DEPTH} deep, which is the limit"
    );
    wrong_at(node.at, message)
}

fn unknown_tag(node: &Node, tag: &str) -> ConfigError {
    let message = format!("LiteLLM's YAML reader does not take the tag {tag} here");
    wrong_at(node.at, message)
}

/// Makes the value of a scalar.
fn scalar(node: &Node, text: &str) -> Result<YamlValue, ConfigError> {
    let tag = node.scalar_tag().unwrap_or("str");
    let cannot = |what: &str| wrong_at(node.at, format!("this is no {what}"));
    match tag {
        "str" => Ok(YamlValue::Text(text.to_owned())),
        "null" => Ok(YamlValue::Null),
        "bool" => match text.to_ascii_lowercase().as_str() {
            "yes" | "true" | "on" => Ok(YamlValue::Bool(true)),
            "no" | "false" | "off" => Ok(YamlValue::Bool(false)),
            _ => Err(cannot("truth value")),
        },
        "int" => integer(text).ok_or_else(|| cannot("integer")),
        "float" => float(text).ok_or_else(|| cannot("number")),
        "binary" | "timestamp" => Ok(YamlValue::Other),
        tag => Err(unknown_tag(node, tag)),
    }
}
