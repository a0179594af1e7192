//! Says what an owner would gain if its list ran empty.

use crate::litellm::empty_list_effect::{Effect, Inherited};
use crate::litellm::known_names::KnownNames;
use crate::litellm::owners::OwnerKind;
use crate::report::named_owners::NamedOwners;
use crate::report::shown_text::count;
use crate::report::table::layout::first_of;

/// How many of the servers that an owner would gain are named; JSON has them all.
const GAINED: usize = 5;

/// Says what an owner would inherit, or whose limit would be lifted. Other levels may limit the
/// owner too, so this does not say that the owner gains.
pub(crate) fn effect(
    owner: OwnerKind,
    effect: &Effect,
    names: &KnownNames,
    owners: NamedOwners<'_>,
) -> String {
    let inherits = |inherited: &Inherited, kind| {
        let from = owners.shown(kind, &inherited.from);
        inherits(inherited, &from, names)
    };
    match effect {
        Effect::InheritsTeam(inherited) => inherits(inherited, OwnerKind::Team),
        Effect::InheritsOrganization(inherited) => inherits(inherited, OwnerKind::Organization),
        Effect::LiftsCeiling { keys: Some(keys) } => {
            let owner = owner.name().replace('_', " ");
            let keys = count(usize::try_from(*keys).unwrap_or(usize::MAX), "key");
            format!("lifts the limit for every caller of this {owner} ({keys} today)")
        }
        Effect::LiftsCeiling { keys: None } => {
            "lifts the limit for every key that names it".to_owned()
        }
        Effect::OpensAll => "reaches every server".to_owned(),
        Effect::Nothing => "gains nothing now".to_owned(),
    }
}

fn inherits(inherited: &Inherited, from: &str, names: &KnownNames) -> String {
    let more = if inherited.incomplete {
        ", and those that a config.yaml names"
    } else {
        ""
    };
    match inherited.servers.len() {
        0 if inherited.incomplete => {
            format!("inherits the servers of {from} that a config.yaml names")
        }
        0 => format!("inherits from {from}, which has no server now"),
        servers => {
            let gained = inherited.servers.iter();
            let gained = gained.map(|id| names.name_or(id.as_str()));
            format!(
                "inherits {} of {from}: {}{more}",
                count(servers, "server"),
                first_of(gained, GAINED)
            )
        }
    }
}

/// Tells whether the owner may gain anything today, unless another level limits it.
pub(super) fn is_gain(effect: &Effect) -> bool {
    match effect {
        Effect::InheritsTeam(inherited) | Effect::InheritsOrganization(inherited) => {
            !inherited.servers.is_empty() || inherited.incomplete
        }
        Effect::LiftsCeiling { .. } | Effect::OpensAll => true,
        Effect::Nothing => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::litellm::ids::ServerId;
    use crate::litellm::server::Server;
    use crate::report::overview::Overview;

    fn gains(servers: usize) -> Effect {
        Effect::InheritsTeam(Inherited {
            from: "platform".to_owned(),
            servers: (1..=servers).map(|n| ServerId(format!("{n:02}"))).collect(),
            incomplete: false,
        })
    }

    #[test]
    fn of_many_servers_gained_the_first_are_named() {
        let github = Server {
            server_id: ServerId("02".to_owned()),
            server_name: None,
            alias: Some("github".to_owned()),
            approval_status: None,
            tags: Vec::new(),
            allow_all_keys: false,
        };
        let names = KnownNames::of_servers(&[github], &[]);
        let shown = |servers| {
            let overview = Overview::default();
            effect(
                OwnerKind::Key,
                &gains(servers),
                &names,
                overview.named(false),
            )
        };
        assert_eq!(
            shown(5),
            "inherits 5 servers of team platform: 01, github, 03, 04, 05"
        );
        assert_eq!(
            shown(30),
            "inherits 30 servers of team platform: 01, github, 03, 04, 05 and 25 more"
        );
        assert!(is_gain(&gains(1)) && !is_gain(&gains(0)) && !is_gain(&Effect::Nothing));
    }

    #[test]
    fn a_lifted_limit_tells_the_number_of_keys() {
        for (keys, shown) in [
            (
                0,
                "lifts the limit for every caller of this end user (no keys today)",
            ),
            (
                1,
                "lifts the limit for every caller of this end user (1 key today)",
            ),
            (
                12,
                "lifts the limit for every caller of this end user (12 keys today)",
            ),
        ] {
            let lifts = Effect::LiftsCeiling { keys: Some(keys) };
            let names = KnownNames::default();
            let overview = Overview::default();
            assert_eq!(
                effect(OwnerKind::EndUser, &lifts, &names, overview.named(false)),
                shown
            );
        }
    }
}
