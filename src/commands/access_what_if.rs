//! `access`: what would change for a caller whose access is explained.

use std::cell::OnceCell;
use std::collections::BTreeSet;

use crate::command_line::CommandLine;
use crate::commands::access::AccessArgs;
use crate::commands::access_callers::{name, verdict};
use crate::litellm::access::caller::Caller;
use crate::litellm::access::difference::AccessDifference;
use crate::litellm::access::rows::{AccessRows, Key};
use crate::litellm::access::what_if::StaleLevel;
use crate::litellm::access::{Access, AccessModel};
use crate::litellm::api_key::shown_prefix;
use crate::litellm::ids::ServerId;
use crate::litellm::owners::OwnerKind;
use crate::litellm::server_catalog::ServerCatalog;
use crate::repair::selection::NamedOwner;
use crate::report::access::ShownReference;
use crate::report::access_changes::ShownServerDifference;
use crate::report::access_what_if::{IfSaved, ShownWhatIf, StaleOwner, WithoutStale};
use crate::workflow::saved_access_comparison::gained_and_lost;

/// The rows of a chunk of callers as they would be, made where they are needed.
#[derive(Default)]
pub(super) struct OtherRows {
    without_stale: OnceCell<AccessRows>,
    /// The rows as they are, except for the one row of the key that is saved.
    saved: Option<AccessRows>,
}

/// What is asked of the model.
pub(super) struct WhatIf<'a> {
    pub(super) args: &'a AccessArgs,
    pub(super) model: &'a AccessModel<'a>,
    pub(super) catalog: &'a ServerCatalog,
}

impl WhatIf<'_> {
    /// Tells what would change for a caller; `None` on the route of a toolset.
    pub(super) fn of(
        &self,
        caller: &Caller,
        access: &Access,
        rows: &mut OtherRows,
    ) -> Option<ShownWhatIf> {
        let key = match caller {
            Caller::Key {
                toolset: Some(_), ..
            }
            | Caller::Session {
                toolset: Some(_), ..
            } => return None,
            Caller::Key { token, .. } => self.model.rows.keys.get(token),
            Caller::Keyless { .. } | Caller::Session { toolset: None, .. } => None,
        };
        let levels = self.model.stale_levels(caller, self.catalog);
        let without_stale = (!levels.is_empty()).then(|| {
            let without = rows
                .without_stale
                .get_or_init(|| self.model.rows.without_stale(self.catalog));
            let (gained, lost) = self.difference(caller, access, without);
            WithoutStale {
                owners: levels.iter().map(owner).collect(),
                gained,
                lost,
            }
        });
        Some(ShownWhatIf {
            without_stale,
            if_saved: key.map(|key| self.if_saved(caller, key, access, rows)),
            command: self.command(&levels),
        })
    }

    fn if_saved(
        &self,
        caller: &Caller,
        key: &Key,
        access: &Access,
        rows: &mut OtherRows,
    ) -> IfSaved {
        let save = self.model.key_save(key, self.catalog);
        let link = key.permission.as_ref();
        let row = self.model.rows.permission(link).read();
        let left = row.and_then(|row| save.left_of(row));
        let (mut gained, mut lost) = (Vec::new(), Vec::new());
        if let (Some(id), Some(left)) = (link, left) {
            let saved = rows.saved.get_or_insert_with(|| self.model.rows.clone());
            saved.permissions.insert(id.clone(), Some(left));
            (gained, lost) = self.difference(caller, access, saved);
            saved.permissions.insert(id.clone(), row.cloned());
        }
        let shown = |reference: &String| {
            let registry = self.model.registry;
            let id = ServerId(reference.clone());
            ShownReference {
                name: name(registry, &id),
                verdict: if registry.get(&id).is_some() {
                    "live"
                } else {
                    verdict(self.catalog.resolve(reference))
                },
                reference: id.0,
            }
        };
        let listed = |references: BTreeSet<String>| references.into_iter().collect();
        IfSaved {
            refused_by: save.refused.iter().map(shown).collect(),
            refused_by_groups: save.refused_groups.into_iter().collect(),
            dropped: listed(save.dropped),
            perhaps_dropped: listed(save.perhaps_dropped),
            gained,
            lost,
        }
    }

    /// Compares what the caller may use with what it could use with other rows.
    fn difference(
        &self,
        caller: &Caller,
        access: &Access,
        rows: &AccessRows,
    ) -> (Vec<ShownServerDifference>, Vec<ShownServerDifference>) {
        let model = AccessModel {
            rows,
            ..*self.model
        };
        let found = AccessDifference::between(access, &model.access(caller));
        gained_and_lost(found.as_ref(), |id| name(self.model.registry, id))
    }

    /// Returns the dry run of the repair of these levels; `None` where there is nothing to repair.
    fn command(&self, levels: &[StaleLevel]) -> Option<CommandLine> {
        if levels.is_empty() {
            return None;
        }
        let mut command = CommandLine::new("fix");
        command.flag("--dry-run");
        let owners = levels.iter().map(|level| {
            let owner = NamedOwner {
                kind: level.kind,
                name: level.id.clone(),
            };
            owner.argument()
        });
        command.options("--owner", owners);
        command.option("--on-empty", "unchanged");
        self.args.connection.repeat(&mut command);
        self.args.servers.repeat(&mut command);
        Some(command)
    }
}

fn owner(level: &StaleLevel) -> StaleOwner {
    StaleOwner {
        kind: level.kind.name(),
        id: if level.kind == OwnerKind::Key {
            shown_prefix(&level.id)
        } else {
            level.id.clone()
        },
        references: level.references.iter().cloned().collect(),
    }
}
