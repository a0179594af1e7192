//! Compares what a caller may use by the rows before and after a change.

use std::cell::{OnceCell, RefCell};

use crate::litellm::access::AccessModel;
use crate::litellm::access::basis::AccessBasis;
use crate::litellm::access::caller::{AccessSetting, AccessSettings, Caller, SettingUse};
use crate::litellm::access::difference::AccessDifference;
use crate::litellm::access::registry::Registry;
use crate::litellm::access::rows::AccessRows;
use crate::litellm::access::rules::AccessRules;
use crate::litellm::server_catalog::ServerCatalog;
use crate::repair::access_comparison::DifferingCaller;

/// The rows of some callers in both states, and everything that they are compared by.
#[derive(Debug)]
pub(crate) struct CallerRows<'a> {
    basis: &'a AccessBasis,
    /// The rows before.
    pub before: AccessRows,
    /// The rows after.
    pub after: AccessRows,
    /// The rows after, to try other values in; made where it is needed.
    trial: OnceCell<RefCell<AccessRows>>,
    /// The servers with those that a config may add.
    possible: Option<Registry>,
}

/// A caller that was compared.
#[derive(Debug)]
pub(crate) struct ComparedCaller<'a> {
    /// Who it is.
    pub caller: &'a Caller,
    /// What differs, and counts.
    pub differing: Option<DifferingCaller>,
    /// All that the caller depends on.
    pub rows: &'a CallerRows<'a>,
}

impl<'a> CallerRows<'a> {
    /// Takes the rows before and after.
    #[must_use]
    pub(crate) fn new(
        basis: &'a AccessBasis,
        catalog: &ServerCatalog,
        (before, after): (AccessRows, AccessRows),
    ) -> Self {
        Self {
            possible: basis.possible(&before, catalog),
            trial: OnceCell::new(),
            basis,
            before,
            after,
        }
    }

    /// Returns the rows after, to try other values in. Whoever does puts back what was there.
    pub(crate) fn trial(&self) -> &RefCell<AccessRows> {
        self.trial.get_or_init(|| RefCell::new(self.after.clone()))
    }

    /// Compares a caller, by the differences that count.
    pub(crate) fn compare(
        &'a self,
        caller: &'a Caller,
        counts: fn(&AccessDifference) -> bool,
    ) -> ComparedCaller<'a> {
        ComparedCaller {
            caller,
            differing: self.difference(caller, &self.after, counts),
            rows: self,
        }
    }

    /// Compares the answer before with the one from the rows `after`, by the rules of every
    /// release, under every setting and with every server that is possible. Returns the first
    /// difference that counts, with whether any of them widens and whether any narrows.
    pub(crate) fn difference(
        &self,
        caller: &Caller,
        after: &AccessRows,
        counts: fn(&AccessDifference) -> bool,
    ) -> Option<DifferingCaller> {
        let mut first: Option<DifferingCaller> = None;
        for world in self.worlds(caller, after) {
            let answer = |rows| world.model(rows).access(caller);
            let (was, is) = (answer(&self.before), answer(after));
            let difference = AccessDifference::between(&was, &is).filter(counts);
            let Some(difference) = difference else {
                continue;
            };
            let (widens, narrows) = (difference.widens(), difference.narrows());
            let found = first.get_or_insert_with(|| {
                let label = caller.label(&self.before);
                let condition = world.condition(self.basis);
                DifferingCaller::new(label, difference, world.registry, condition)
            });
            found.widens |= widens;
            found.narrows |= narrows;
            if found.widens && found.narrows {
                break;
            }
        }
        first
    }

    /// Lists what a caller's answer may hang on besides the rows, what is known first.
    fn worlds(&self, caller: &Caller, after: &AccessRows) -> Vec<PossibleWorld<'_>> {
        let basis = self.basis;
        let mut worlds = Vec::new();
        let releases = std::iter::once(basis.rules).chain(basis.later.iter().copied());
        for rules in releases {
            let known = std::iter::once((&basis.registry, false));
            let possible = self.possible.iter().map(|registry| (registry, true));
            for (registry, adds_servers) in known.chain(possible) {
                let matters = |setting: &&AccessSetting| {
                    [&self.before, after].into_iter().any(|rows| {
                        setting.matters(&SettingUse {
                            rules,
                            caller,
                            rows,
                            registry,
                        })
                    })
                };
                let unknown: Vec<&AccessSetting> = basis.unknown.iter().filter(matters).collect();
                for switched in 0..1_usize << unknown.len() {
                    let on = unknown.iter().enumerate();
                    let on = on.filter(|(at, _)| switched & (1 << at) != 0);
                    let on: Vec<&AccessSetting> = on.map(|(_, setting)| *setting).collect();
                    let mut settings = basis.settings;
                    for setting in &on {
                        setting.set(&mut settings, true);
                    }
                    worlds.push(PossibleWorld {
                        rules,
                        registry,
                        adds_servers,
                        settings,
                        on,
                    });
                }
            }
        }
        worlds
    }
}

/// One way how everything may be that the rows do not tell.
struct PossibleWorld<'a> {
    rules: AccessRules,
    registry: &'a Registry,
    /// Whether a config that is not known adds servers.
    adds_servers: bool,
    settings: AccessSettings,
    /// The settings that are not known, and taken to be on.
    on: Vec<&'a AccessSetting>,
}

impl PossibleWorld<'_> {
    fn model<'m>(&'m self, rows: &'m AccessRows) -> AccessModel<'m> {
        AccessModel {
            rows,
            registry: self.registry,
            rules: self.rules,
            settings: self.settings,
        }
    }

    /// Says what the world takes for granted; `None` where it is as far as everything is known.
    fn condition(&self, basis: &AccessBasis) -> Option<String> {
        let mut conditions = Vec::new();
        if self.rules != basis.rules {
            conditions.push(format!("LiteLLM is {} or later", self.rules.release()));
        }
        if self.adds_servers {
            conditions.push("a config.yaml that was not given adds such a server".to_owned());
        }
        conditions.extend(
            self.on
                .iter()
                .map(|setting| format!("{} is on", setting.name)),
        );
        (!conditions.is_empty()).then(|| format!("if {}", conditions.join(" and ")))
    }
}
