//! What one answer grants more or less than another.

use std::collections::BTreeMap;

use super::Access;
use super::registry::ToolNames;
use super::tools::Tools;
use crate::litellm::ids::ServerId;

/// What a caller may use of a server: nothing, or these tools.
pub(crate) type Usable = Option<Tools>;

/// A server of which a caller may use something else than before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerDifference {
    /// What it could use.
    pub before: Usable,
    /// What it can use.
    pub after: Usable,
}

/// The tools of a server that are gained or lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChangedTools {
    /// The tools; `None` stands for all but [`ChangedTools::except`].
    pub tools: Tools,
    /// The tools that stay as they were, where all others are gained or lost.
    pub except: ToolNames,
}

impl ServerDifference {
    /// Returns what the caller gains of the server; `None` where it gains nothing.
    #[must_use]
    pub(crate) fn gained(&self) -> Option<ChangedTools> {
        beyond(&self.after, &self.before)
    }

    /// Returns what the caller loses of the server; `None` where it loses nothing.
    #[must_use]
    pub(crate) fn lost(&self) -> Option<ChangedTools> {
        beyond(&self.before, &self.after)
    }

    /// Tells whether the caller gains the server, or a tool of it.
    #[must_use]
    pub(crate) fn widens(&self) -> bool {
        self.gained().is_some()
    }

    /// Tells whether the caller loses the server, or a tool of it.
    #[must_use]
    pub(crate) fn narrows(&self) -> bool {
        self.lost().is_some()
    }
}

/// Returns the tools that `more` has and `less` has not. A server without tools is still a server.
fn beyond(more: &Usable, less: &Usable) -> Option<ChangedTools> {
    let changed = |tools, except| Some(ChangedTools { tools, except });
    match (more.as_ref()?, less) {
        (tools, None) => changed(tools.clone(), ToolNames::new()),
        (_, Some(None)) => None,
        (None, Some(Some(less))) => changed(None, less.clone()),
        (Some(more), Some(Some(less))) if more.is_subset(less) => None,
        (Some(more), Some(Some(less))) => changed(Some(more - less), ToolNames::new()),
    }
}

/// The servers of which a caller may use something else than before, by id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct AccessDifference(pub BTreeMap<ServerId, ServerDifference>);

impl AccessDifference {
    /// Compares what a caller could use with what it can; `None` where that is the same.
    #[must_use]
    pub(crate) fn between(before: &Access, after: &Access) -> Option<Self> {
        if before.servers == after.servers {
            return None;
        }
        let ids = before.servers.keys().chain(after.servers.keys());
        let differing = ids.filter_map(|id| {
            let difference = ServerDifference {
                before: before.servers.get(id).cloned(),
                after: after.servers.get(id).cloned(),
            };
            (difference.before != difference.after).then(|| (id.clone(), difference))
        });
        Some(Self(differing.collect()))
    }

    /// Tells whether the caller gains anything.
    #[must_use]
    pub(crate) fn widens(&self) -> bool {
        self.0.values().any(ServerDifference::widens)
    }

    /// Tells whether the caller loses anything.
    #[must_use]
    pub(crate) fn narrows(&self) -> bool {
        self.0.values().any(ServerDifference::narrows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(servers: &[(&str, Option<&[&str]>)]) -> Access {
        let of = |(id, tools): &(&str, Option<&[&str]>)| {
            let tools = tools.map(|tools| tools.iter().map(|t| (*t).to_owned()).collect());
            (ServerId((*id).to_owned()), tools)
        };
        Access {
            servers: servers.iter().map(of).collect(),
            ..Access::default()
        }
    }

    #[test]
    fn gains_and_losses_are_told_apart() {
        let two: &[&str] = &["a", "b"];
        for (before, after, widens, narrows) in [
            (vec![], vec![("s", None)], true, false),
            (vec![("s", None)], vec![], false, true),
            (vec![("s", Some(two))], vec![("s", None)], true, false),
            (vec![("s", None)], vec![("s", Some(two))], false, true),
            (
                vec![("s", Some(&two[..1]))],
                vec![("s", Some(two))],
                true,
                false,
            ),
            (
                vec![("s", Some(&two[..1]))],
                vec![("s", Some(&two[1..]))],
                true,
                true,
            ),
            (vec![("s", None)], vec![("t", None)], true, true),
            // A server without tools is still a server.
            (vec![], vec![("s", Some(&two[..0]))], true, false),
        ] {
            let found = AccessDifference::between(&access(&before), &access(&after)).unwrap();
            let loses = found.0.values().any(ServerDifference::narrows);
            assert_eq!((found.widens(), loses), (widens, narrows), "{found:?}");
        }
        let same = access(&[("s", Some(two))]);
        assert_eq!(AccessDifference::between(&same, &same.clone()), None);
    }

    #[test]
    fn the_tools_that_are_gained_and_lost_are_named() {
        let (a, b, none): (&[&str], &[&str], &[&str]) = (&["a"], &["b"], &[]);
        for (before, after, gained, lost) in [
            (None, Some(None), Some("None {}"), None),
            (
                Some(Some(a)),
                Some(Some(b)),
                Some(r#"Some({"b"}) {}"#),
                Some(r#"Some({"a"}) {}"#),
            ),
            (Some(None), Some(Some(a)), None, Some(r#"None {"a"}"#)),
            (Some(Some(none)), Some(None), Some("None {}"), None),
            (None, Some(Some(none)), Some("Some({}) {}"), None),
        ] {
            let servers = |usable: Option<Option<&[&str]>>| {
                let servers = usable.map(|tools| ("s", tools));
                access(&servers.into_iter().collect::<Vec<_>>())
            };
            let found = AccessDifference::between(&servers(before), &servers(after)).unwrap();
            let shown = |changed: Option<ChangedTools>| {
                changed.map(|changed| format!("{:?} {:?}", changed.tools, changed.except))
            };
            let found = &found.0["s"];
            let expected = [gained, lost].map(|text: Option<&str>| text.map(str::to_owned));
            assert_eq!(
                [shown(found.gained()), shown(found.lost())],
                expected,
                "{found:?}"
            );
        }
    }

    #[test]
    fn only_what_differs_is_named() {
        let before = access(&[("s", None), ("t", None)]);
        let found = AccessDifference::between(&before, &access(&[("t", None)])).unwrap();
        assert_eq!(
            found.0.keys().map(ServerId::as_str).collect::<Vec<_>>(),
            ["s"]
        );
    }
}
