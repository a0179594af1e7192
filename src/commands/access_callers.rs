//! The callers that `access` asks about, and how each is shown.

use std::collections::BTreeSet;

use crate::commands::access::AccessArgs;
use crate::litellm::access::caller::{Caller, Human};
use crate::litellm::access::registry::Registry;
use crate::litellm::access::rows::{AccessRows, Key};
use crate::litellm::access::rules::AccessRules;
use crate::litellm::access::trace::{AccessStep, Denial, Level, LevelEffect};
use crate::litellm::access::{Access, AccessModel};
use crate::litellm::api_key::{shown_prefix, told_apart_by};
use crate::litellm::ids::{EndUserId, ServerId, TeamId, ToolsetId, UserId};
use crate::litellm::server_catalog::{Resolution, ServerCatalog};
use crate::report::access::{
    CallerAccess, ShownCaller, ShownDenial, ShownHuman, ShownKey, ShownReference, ShownServer,
    ShownStep, Via,
};
use crate::workflow::saved_access::CallerPlace;

/// Who asks besides the keys, users and teams themselves.
#[derive(Debug, Default)]
pub(super) struct Company {
    /// End users on whose behalf a key asks.
    pub(super) end_users: BTreeSet<EndUserId>,
    /// Humans behind an agent's key.
    pub(super) humans: Vec<Human>,
    /// Users who ask without a key, as of a team.
    pub(super) users: BTreeSet<UserId>,
    /// Toolsets on whose routes everybody asks.
    pub(super) toolsets: BTreeSet<ToolsetId>,
}

impl Company {
    /// Lists the callers that a key makes.
    pub(super) fn of_key(
        &self,
        key: &Key,
        args: &AccessArgs,
        end_user: Option<&EndUserId>,
        rows: &AccessRows,
        rules: AccessRules,
    ) -> Vec<Caller> {
        let asking = |end_user, on_behalf_of, toolset| Caller::Key {
            token: key.token.clone(),
            end_user,
            on_behalf_of,
            toolset,
        };
        if args.toolset.is_some() || end_user.is_some() {
            let end_user = end_user.cloned();
            return vec![asking(end_user, None, args.toolset.clone())];
        }
        let mut callers = vec![asking(None, None, None)];
        let end_users = self.end_users.iter().filter(|_| rules.end_users_limit());
        callers.extend(end_users.map(|id| asking(Some(id.clone()), None, None)));
        let echoes = key.agent.is_some() && rules.agents_echo_callers();
        let humans = self.humans.iter().filter(|_| echoes);
        callers.extend(humans.map(|human| asking(None, Some(human.clone()), None)));
        if !rules.has_toolset_routes() {
            return callers;
        }
        let mut toolsets = self.toolsets.clone();
        if !args.every_caller {
            let team = key.team.as_ref().and_then(|team| rows.teams.get(team));
            let own = rows.permission(key.permission.as_ref()).read();
            let of_team = team.and_then(|team| rows.permission(team.permission.as_ref()).read());
            let granted = own.into_iter().chain(of_team).flat_map(|row| &row.toolsets);
            toolsets.extend(
                granted
                    .filter(|id| rows.toolsets.contains_key(*id))
                    .cloned(),
            );
        }
        callers.extend(toolsets.into_iter().map(|id| asking(None, None, Some(id))));
        callers
    }

    /// Lists the sessions of a user.
    pub(super) fn of_user(&self, user: &UserId, args: &AccessArgs) -> Vec<Caller> {
        let session = |toolset| Caller::Session {
            user: user.clone(),
            toolset,
        };
        if args.toolset.is_some() {
            return vec![session(args.toolset.clone())];
        }
        let mut callers = vec![session(None)];
        callers.extend(self.toolsets.iter().map(|id| session(Some(id.clone()))));
        callers
    }

    /// Lists the callers of a team who have no key.
    pub(super) fn of_team(&self, team: &TeamId) -> Vec<Caller> {
        let keyless = |user| Caller::Keyless {
            team: Some(team.clone()),
            user,
        };
        let mut callers = vec![keyless(None)];
        callers.extend(self.users.iter().map(|user| keyless(Some(user.clone()))));
        callers
    }
}

/// Tells whether the caller may not take the route of its toolset.
pub(super) fn is_closed_route(access: &Access) -> bool {
    matches!(access.denied_by, Some((Level::Toolset, _)))
}

/// Makes the entry of a caller.
pub(super) fn shown(
    caller: &Caller,
    access: &Access,
    model: &AccessModel<'_>,
    complete: bool,
    steps: Option<&ServerCatalog>,
) -> CallerAccess {
    let (rows, registry) = (model.rows, model.registry);
    let servers = access.servers.iter().map(|(id, tools)| ShownServer {
        id: id.clone(),
        name: name(registry, id),
        tools: tools.as_ref().map(|tools| tools.iter().cloned().collect()),
    });
    let denied_by = access.denied_by.as_ref();
    CallerAccess {
        who: who(caller, rows),
        servers: servers.collect(),
        complete,
        denied_by: denied_by.map(|(level, denial)| ShownDenial {
            level: level.name(),
            reason: reason(denial),
        }),
        steps: steps.map(|catalog| {
            let steps = access.steps.iter();
            steps
                .map(|step| shown_step(step, registry, catalog))
                .collect()
        }),
        would_change: None,
    }
}

/// Returns the place of a caller in a saved file.
pub(super) fn place(caller: &Caller, subject: usize) -> CallerPlace {
    let place = |via, id| CallerPlace {
        subject,
        via,
        id,
        end_user: None,
        user: None,
        team: None,
        toolset: None,
    };
    match caller {
        Caller::Key {
            token,
            end_user,
            on_behalf_of,
            toolset,
        } => {
            let human = on_behalf_of.clone().unwrap_or_default();
            CallerPlace {
                end_user: end_user.clone(),
                user: human.user,
                team: human.team,
                toolset: toolset.clone(),
                ..place(Via::Key, told_apart_by(token.as_str()))
            }
        }
        Caller::Session { user, toolset } => CallerPlace {
            toolset: toolset.clone(),
            ..place(Via::Session, user.to_string())
        },
        Caller::Keyless { team, user } => CallerPlace {
            user: user.clone(),
            ..{
                let team = team.as_ref().map_or("", TeamId::as_str);
                place(Via::Keyless, team.to_owned())
            }
        },
    }
}

/// Describes who asks.
fn who(caller: &Caller, rows: &AccessRows) -> ShownCaller {
    let nobody = ShownCaller {
        via: Via::Key,
        key: None,
        team: None,
        organization: None,
        user: None,
        agent: None,
        end_user: None,
        toolset: None,
        on_behalf_of: None,
    };
    let organization = |team: &Option<TeamId>| {
        let team = team.as_ref().and_then(|team| rows.teams.get(team));
        team.and_then(|team| team.organization.clone())
    };
    match caller {
        Caller::Key {
            token,
            end_user,
            on_behalf_of,
            toolset,
        } => {
            let key = rows.keys.get(token);
            let human = on_behalf_of.as_ref();
            let team = key.and_then(|key| key.team.clone());
            let own = key.and_then(|key| key.organization.clone());
            ShownCaller {
                key: Some(ShownKey {
                    id: shown_prefix(token.as_str()),
                    name: key.and_then(|key| key.name.clone()),
                }),
                organization: own.or_else(|| organization(&team)),
                team,
                user: key.and_then(|key| key.user.clone()),
                agent: key.and_then(|key| key.agent.clone()),
                end_user: end_user.clone(),
                toolset: toolset.clone(),
                on_behalf_of: human.map(|human| ShownHuman {
                    user: human.user.clone(),
                    team: human.team.clone(),
                }),
                ..nobody
            }
        }
        Caller::Keyless { team, user } => ShownCaller {
            via: Via::Keyless,
            organization: organization(team),
            team: team.clone(),
            user: user.clone(),
            ..nobody
        },
        Caller::Session { user, toolset } => ShownCaller {
            via: Via::Session,
            organization: rows.users.get(user).and_then(|u| u.organization.clone()),
            user: Some(user.clone()),
            toolset: toolset.clone(),
            ..nobody
        },
    }
}

/// Returns what people call a server.
pub(super) fn name(registry: &Registry, id: &ServerId) -> Option<String> {
    let server = registry.get(id)?;
    server.alias.clone().or_else(|| server.name.clone())
}

fn shown_step(step: &AccessStep, registry: &Registry, catalog: &ServerCatalog) -> ShownStep {
    let (effect, names, denial) = match &step.effect {
        LevelEffect::NoLimit => ("none", None, None),
        LevelEffect::Grants(names) => ("grants", Some(names), None),
        LevelEffect::Limits(names) => ("limits", Some(names), None),
        LevelEffect::Becomes(names) => ("becomes", Some(names), None),
        LevelEffect::NotInherited(names) => ("not-inherited", Some(names), None),
        LevelEffect::Denies(denial) => ("denies", None, Some(reason(denial))),
    };
    let names = names.into_iter().flatten().map(|reference| ShownReference {
        reference: reference.to_string(),
        name: name(registry, reference),
        verdict: if registry.get(reference).is_some() {
            "live"
        } else {
            verdict(catalog.resolve(reference.as_str()))
        },
    });
    let denial = denial.map(|reference| ShownReference {
        reference,
        verdict: "live",
        name: None,
    });
    ShownStep {
        level: step.level.name(),
        id: step.id.clone(),
        effect,
        names: names.chain(denial).collect(),
        left: step.left.clone(),
    }
}

/// Names the verdict on a reference that no server that is served answers to.
pub(super) fn verdict(resolution: Resolution) -> &'static str {
    match resolution {
        // An alias or a name at a place where LiteLLM takes ids alone.
        Resolution::Live | Resolution::OnlyAName => "no-id",
        Resolution::Inactive => "inactive",
        Resolution::Sentinel => "reserved",
        Resolution::Kept => "kept",
        Resolution::Stale | Resolution::Remapped => "stale",
        Resolution::Unverified
        | Resolution::MaybeEdited
        | Resolution::MaybeRenewed
        | Resolution::Passed => "unverified",
    }
}

fn reason(denial: &Denial) -> String {
    match denial {
        Denial::DenyMarker => "its list holds no-mcp-servers".to_owned(),
        Denial::UnreadableRow => {
            "its permission row, or an access group, is gone or malformed".to_owned()
        }
        Denial::EmptyToolsets(ids) => {
            let ids: Vec<&str> = ids.iter().map(ToolsetId::as_str).collect();
            format!("none of its toolsets grants a tool: {}", ids.join(", "))
        }
        Denial::MustDeclare => {
            "require_end_user_mcp_access_defined asks for servers of its own".to_owned()
        }
        Denial::ToolsetNotGranted => "the toolset of the route is not granted".to_owned(),
        Denial::UnknownCaller => "there is no such caller".to_owned(),
        Denial::NothingGranted => "nothing grants a server".to_owned(),
        Denial::LeavesNothing => "it leaves nothing of what was granted".to_owned(),
    }
}
