//! What is worth knowing of references that are not stale.

use std::collections::BTreeSet;

use crate::litellm::finding::{Finding, FindingKind, Note};
use crate::litellm::ids::ServerId;
use crate::litellm::reference_sites::{Names, Shape};
use crate::litellm::release::Release;
use crate::litellm::row::{Cell, Row};
use crate::litellm::server_catalog::{Resolution, ServerCatalog};
use crate::litellm::value::Value;

/// Finds what is worth knowing of `row` beside a LiteLLM of `release`, in the order of its sites.
///
/// Source: LiteLLM 1.109.1 `proxy/mcp_server/mcp_server_manager.py`, `expand_permission_list` (a
/// name means every server of it; 1.83.14 is the first with that function), and
/// `proxy/mcp_server/auth/user_api_key_auth_mcp.py`, where the keys of `mcp_tool_permissions`
/// grant.
#[must_use]
pub(crate) fn notes(row: &Row, catalog: &ServerCatalog, release: Release) -> Vec<Finding> {
    let of_cell = |cell| notes_of_cell(row, cell, catalog, release);
    row.cells.iter().flat_map(of_cell).collect()
}

fn notes_of_cell(
    row: &Row,
    cell: &Cell,
    catalog: &ServerCatalog,
    release: Release,
) -> Vec<Finding> {
    let Ok(value) = &cell.stored else {
        return Vec::new();
    };
    let mut seen = BTreeSet::new();
    let mut found: BTreeSet<(Note, &str)> = BTreeSet::new();
    let listed = (cell.site.shape == Shape::JsonKeys && is_beside_a_list(row, cell))
        .then(|| listed(row, catalog));
    for reference in value.references() {
        let is_array = matches!(value, Value::Array(_));
        if !seen.insert(reference) {
            found.extend(is_array.then_some((Note::Duplicate, reference)));
            continue;
        }
        let resolution = catalog.resolve_as(cell.site.names, reference);
        let is_server = cell.site.names == Names::Servers && resolution == Resolution::Live;
        if resolution == Resolution::OnlyAName {
            found.insert((Note::OnlyAName, reference));
        } else if is_server && catalog.is_a_name(reference) && release < Release::RESOLVES_NAMES {
            found.insert((Note::UnresolvedName, reference));
        } else if is_server && catalog.is_shared(reference) {
            found.insert((Note::SharedName, reference));
        }
        if let Some(listed) = listed.as_ref().filter(|_| is_server)
            && !listed.is_superset(&catalog.expand(reference))
        {
            found.insert((Note::OnlyByTools, reference));
        }
    }
    let finding = |(note, reference): (Note, &str)| Finding {
        kind: FindingKind::Note(note),
        column: cell.site.name,
        reference: Some(reference.to_owned()),
        successor: None,
        last_grant: false,
        tools: Vec::new(),
    };
    found.into_iter().map(finding).collect()
}

/// Tells whether an array in the same row names servers besides `cell`.
fn is_beside_a_list(row: &Row, cell: &Cell) -> bool {
    let crate::litellm::reference_sites::Empty::WidensBeside(name) = cell.site.empty else {
        return false;
    };
    let mut beside = row.cells.iter().filter(|other| other.site.name == name);
    beside.any(|other| other.stored.as_ref().is_ok_and(|value| !value.is_empty()))
}

/// Lists the servers that the row's arrays name.
fn listed(row: &Row, catalog: &ServerCatalog) -> BTreeSet<ServerId> {
    let arrays = row
        .cells
        .iter()
        .filter(|cell| cell.site.names == Names::Servers && cell.site.shape != Shape::JsonKeys);
    let values = arrays.filter_map(|cell| cell.stored.as_ref().ok());
    let references = values.flat_map(Value::references);
    references.flat_map(|r| catalog.expand(r)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::litellm::test_support::{GONE, catalog, row};

    fn found(array: &str, keys: &str, release: Release) -> Vec<(Note, String)> {
        let found = notes(&row(array, keys), &catalog(), release);
        let note = |finding: Finding| match (finding.kind, finding.reference) {
            (FindingKind::Note(note), Some(reference)) => (note, reference),
            other => panic!("{other:?}"),
        };
        found.into_iter().map(note).collect()
    }

    #[test]
    fn a_server_granted_by_its_tools_alone_is_noted() {
        let now = Release::PINS_IDS;
        for (array, keys, expected) in [
            (
                r#"["id-1"]"#,
                r#"{"two":[]}"#,
                vec![(Note::OnlyByTools, "two".to_owned())],
            ),
            (r#"["id-2"]"#, r#"{"two":[]}"#, vec![]),
            ("[]", r#"{"two":[]}"#, vec![]),
            (r#"["id-1"]"#, &format!(r#"{{"{GONE}":[]}}"#), vec![]),
        ] {
            assert_eq!(found(array, keys, now), expected, "{array} {keys}");
        }
    }

    #[test]
    fn duplicates_and_names_that_an_old_litellm_does_not_resolve_are_noted() {
        let array = r#"["one","id-2","one"]"#;
        let duplicate = (Note::Duplicate, "one".to_owned());
        assert_eq!(
            found(array, "null", Release::PINS_IDS),
            std::slice::from_ref(&duplicate)
        );
        let unresolved = (Note::UnresolvedName, "one".to_owned());
        assert_eq!(
            found(array, "null", Release::FAILS_CLOSED),
            [unresolved, duplicate]
        );
    }
}
