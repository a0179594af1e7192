//! What a caller gained and lost between two answers.

use std::collections::BTreeMap;

use super::registry::ToolNames;
use super::tools::Tools;

/// The servers of an answer, each with its tools.
pub(crate) type AllowedServers = BTreeMap<String, Tools>;

/// What is gained or lost of one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerDifference {
    /// The id of the server.
    pub id: String,
    /// The tools; `None` stands for all but [`ServerDifference::except`].
    pub tools: Tools,
    /// The tools that stay as they were, where all others are gained or lost.
    pub except: ToolNames,
}

/// What a caller gained and lost.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct AccessDifference {
    /// What it may use now and could not before.
    pub gained: Vec<ServerDifference>,
    /// What it could use before and may not now.
    pub lost: Vec<ServerDifference>,
}

impl AccessDifference {
    /// Compares the servers and tools of two answers.
    #[must_use]
    pub(crate) fn between(before: &AllowedServers, after: &AllowedServers) -> Self {
        Self {
            gained: beyond(after, before),
            lost: beyond(before, after),
        }
    }

    /// Tells whether both answers are the same.
    #[must_use]
    pub(crate) fn is_none(&self) -> bool {
        self.gained.is_empty() && self.lost.is_empty()
    }
}

/// Lists what `these` allow and `those` do not.
fn beyond(these: &AllowedServers, those: &AllowedServers) -> Vec<ServerDifference> {
    let beyond = these.iter().filter_map(|(id, tools)| {
        let of_server = |tools: Tools, except| {
            Some(ServerDifference {
                id: id.clone(),
                tools,
                except,
            })
        };
        match (tools, those.get(id)) {
            (tools, None) => of_server(tools.clone(), ToolNames::new()),
            (_, Some(None)) => None,
            (None, Some(Some(others))) => of_server(None, others.clone()),
            (Some(tools), Some(Some(others))) => {
                let more = tools - others;
                (!more.is_empty()).then(|| of_server(Some(more), ToolNames::new()))?
            }
        }
    });
    beyond.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(servers: &[(&str, Option<&[&str]>)]) -> AllowedServers {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let servers = servers.iter();
        servers
            .map(|(id, tools)| ((*id).to_owned(), tools.map(owned)))
            .collect()
    }

    fn shown(differences: &[ServerDifference]) -> Vec<String> {
        let shown = |difference: &ServerDifference| {
            let ServerDifference { id, tools, except } = difference;
            format!("{id} {tools:?} {except:?}")
        };
        differences.iter().map(shown).collect()
    }

    #[test]
    fn what_was_gained_and_lost_is_told_by_server_and_tool() {
        for (before, after, gained, lost) in [
            (servers(&[]), servers(&[]), &[][..], &[][..]),
            (servers(&[]), servers(&[("a", None)]), &["a None {}"], &[]),
            (servers(&[("a", None)]), servers(&[]), &[], &["a None {}"]),
            (
                servers(&[("a", Some(&["x"])), ("b", None)]),
                servers(&[("a", Some(&["y"])), ("b", None)]),
                &[r#"a Some({"y"}) {}"#],
                &[r#"a Some({"x"}) {}"#],
            ),
            (
                servers(&[("a", None)]),
                servers(&[("a", Some(&["x"]))]),
                &[],
                &[r#"a None {"x"}"#],
            ),
            (
                servers(&[("a", Some(&[]))]),
                servers(&[("a", None)]),
                &["a None {}"],
                &[],
            ),
            // A server without tools is a server all the same.
            (
                servers(&[]),
                servers(&[("a", Some(&[]))]),
                &["a Some({}) {}"],
                &[],
            ),
        ] {
            let found = AccessDifference::between(&before, &after);
            assert_eq!(shown(&found.gained), gained, "{before:?} {after:?}");
            assert_eq!(shown(&found.lost), lost, "{before:?} {after:?}");
            assert_eq!(found.is_none(), before == after);
        }
    }
}
