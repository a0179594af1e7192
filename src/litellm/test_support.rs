//! Rows and their contexts that the tests of this module start from.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use crate::litellm::access_context::{Grants, LitellmBehavior, RelatedGrants, Team};
use crate::litellm::ids::{
    AccessGroupId, OrganizationId, PermissionKey, ServerId, TeamId, ToolsetId,
};
use crate::litellm::owners::{KeyTies, Owner, OwnerKind, Parents};
use crate::litellm::reference_sites::{
    GrantKind, MCP_SERVERS, MCP_TOOL_PERMISSIONS, MCP_TOOLSETS, PERMISSIONS, Shape, Site, SiteTable,
};
use crate::litellm::release::Release;
use crate::litellm::row::{Cell, Row};
use crate::litellm::server::{ConfigServers, Server};
use crate::litellm::server_catalog::ServerCatalog;
use crate::litellm::value::{Tool, Value};

pub(crate) const BEHAVIOR: LitellmBehavior = LitellmBehavior {
    release: Release::PINS_IDS,
    owners_known: true,
};

/// A site that no LiteLLM has. It comes first in [`MADE_UP`], and its kind of grant is known.
pub(crate) const MADE_UP_SERVERS: Site = Site {
    name: "made_up_servers",
    column: "made_up_servers",
    shape: Shape::JsonArray,
    grants: Some(GrantKind::Servers),
    required: false,
    ..MCP_SERVERS
};

/// The permission table of a LiteLLM that has one more site.
pub(crate) static MADE_UP: SiteTable = SiteTable {
    sites: &[
        MADE_UP_SERVERS,
        MCP_SERVERS,
        MCP_TOOL_PERMISSIONS,
        MCP_TOOLSETS,
    ],
    ..PERMISSIONS
};

pub(crate) fn row(mcp_servers: &str, mcp_tool_permissions: &str) -> Row {
    let cell = |site: &'static Site, text: &str| Cell {
        site,
        stored: Value::parse(site.shape, Some(text)),
    };
    Row {
        key: "p-1".to_owned(),
        cells: vec![
            cell(&MCP_SERVERS, mcp_servers),
            cell(&MCP_TOOL_PERMISSIONS, mcp_tool_permissions),
        ],
        owners: Vec::new(),
    }
}

/// Whether a key inherits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It is of nobody.
    Alone,
    /// It is of a team.
    InTeam,
}

pub(crate) fn owner(kind: OwnerKind, standing: Standing) -> Owner {
    let parents = Parents {
        team: (standing == Standing::InTeam).then(|| TeamId("team".to_owned())),
        ..Parents::default()
    };
    let ties = KeyTies {
        parents,
        has_access_groups: false,
    };
    Owner::new(kind, "id".to_owned(), None, ties)
}

pub(crate) fn key_with(ties: KeyTies) -> Owner {
    Owner::new(OwnerKind::Key, "id".to_owned(), None, ties)
}

pub(crate) fn key_of(parents: Parents) -> Owner {
    key_with(KeyTies {
        parents,
        has_access_groups: false,
    })
}

pub(crate) const GONE: &str = "0b8f8e0c-2f5d-4a51-9a35-1f4a1c9f7d10";

pub(crate) fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// Makes a catalog of two servers, one of them tagged.
pub(crate) fn catalog() -> ServerCatalog {
    let server = |id: &str, name: &str, tags: &[&str]| Server {
        server_id: ServerId(id.to_owned()),
        server_name: Some(name.to_owned()),
        alias: None,
        approval_status: None,
        tags: texts(tags),
        allow_all_keys: false,
    };
    ServerCatalog::new(
        &[server("id-1", "one", &[]), server("id-2", "two", &["tag"])],
        BTreeSet::new(),
        ConfigServers::Known(Vec::new()),
    )
}

pub(crate) fn granting(servers: &[&str]) -> Grants {
    Grants {
        servers: texts(servers),
        ..Grants::default()
    }
}

/// Makes a team "team" of organization "org", each with a permission row of these grants.
pub(crate) fn related(team: Grants, organization: Grants) -> RelatedGrants {
    let permissions = |key: &str| PermissionKey(key.to_owned());
    RelatedGrants {
        rows: BTreeMap::from([
            (permissions("p-1"), granting(&[GONE])),
            (permissions("p-team"), team),
            (permissions("p-org"), organization),
        ]),
        teams: BTreeMap::from([(
            TeamId("team".to_owned()),
            Team {
                permissions: Some(permissions("p-team")),
                organization: Some(OrganizationId("org".to_owned())),
                access_groups: Vec::new(),
            },
        )]),
        organizations: BTreeMap::from([(
            OrganizationId("org".to_owned()),
            Some(permissions("p-org")),
        )]),
        toolsets: BTreeMap::from([(ToolsetId("set".to_owned()), texts(&["id-2"]))]),
        access_groups: BTreeMap::from([(
            AccessGroupId("group".to_owned()),
            texts(&["id-1", "two"]),
        )]),
        keys_under: BTreeMap::from([((OwnerKind::Team, "id".to_owned()), 7)]),
        ..RelatedGrants::default()
    }
}

/// Makes any value of that shape, of references and tool names like these.
pub(crate) fn value(
    shape: Shape,
    reference: impl Strategy<Value = String> + 'static,
    tool: impl Strategy<Value = String> + 'static,
) -> BoxedStrategy<Value> {
    match shape {
        Shape::TextArray | Shape::JsonArray => prop::collection::vec(reference, 0..6)
            .prop_map(Value::Array)
            .boxed(),
        Shape::JsonKeys => {
            let tools = prop::collection::btree_set(tool, 0..3);
            let tools = tools.prop_map(Vec::from_iter);
            prop::collection::btree_map(reference, tools, 0..5)
                .prop_map(Value::Keys)
                .boxed()
        }
        Shape::JsonTools => {
            let tool = (reference, tool).prop_map(|(server_id, tool_name)| Tool {
                server_id,
                tool_name,
            });
            prop::collection::vec(tool, 0..6)
                .prop_map(Value::Tools)
                .boxed()
        }
    }
}
