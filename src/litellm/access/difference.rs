//! What one answer grants more or less than another.

use std::collections::BTreeMap;

use super::Access;
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

impl ServerDifference {
    /// Tells whether the caller gains the server, or a tool of it.
    #[must_use]
    pub(crate) fn widens(&self) -> bool {
        exceeds(&self.after, &self.before)
    }

    /// Tells whether the caller loses the server, or a tool of it.
    #[must_use]
    pub(crate) fn narrows(&self) -> bool {
        exceeds(&self.before, &self.after)
    }
}

/// Tells whether `more` has a tool that `less` has not, or is a server that `less` is not.
fn exceeds(more: &Usable, less: &Usable) -> bool {
    match (more, less) {
        (None, _) | (Some(_), Some(None)) => false,
        (Some(_), None) | (Some(None), Some(Some(_))) => true,
        (Some(Some(more)), Some(Some(less))) => !more.is_subset(less),
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
    fn only_what_differs_is_named() {
        let before = access(&[("s", None), ("t", None)]);
        let found = AccessDifference::between(&before, &access(&[("t", None)])).unwrap();
        assert_eq!(
            found.0.keys().map(ServerId::as_str).collect::<Vec<_>>(),
            ["s"]
        );
    }
}
