//! Compares what a caller may use by the rows before and after a change.

use crate::litellm::access::AccessModel;
use crate::litellm::access::basis::AccessBasis;
use crate::litellm::access::caller::{AccessSetting, AccessSettings, Caller, SettingUse};
use crate::litellm::access::difference::AccessDifference;
use crate::litellm::access::registry::Registry;
use crate::litellm::access::rows::AccessRows;
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
    /// The servers with those that a config may add.
    possible: Option<Registry>,
}

/// A caller that was compared.
#[derive(Debug)]
pub(crate) struct ComparedCaller<'a> {
    /// Who it is.
    pub caller: &'a Caller,
    /// The difference that counts; `None` if there is none.
    pub differing: Option<DifferingCaller>,
    /// The rows that the caller depends on.
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
            basis,
            before,
            after,
        }
    }

    /// Compares a caller. Only differences for which `counts` is true are kept.
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

    /// Compares the answer before with the one from the rows `after`, under every setting and with
    /// every server that is possible, and returns the first difference that counts.
    pub(crate) fn difference(
        &self,
        caller: &Caller,
        after: &AccessRows,
        counts: fn(&AccessDifference) -> bool,
    ) -> Option<DifferingCaller> {
        let basis = self.basis;
        let known = std::iter::once((&basis.registry, false));
        let possible = self.possible.iter().map(|registry| (registry, true));
        for (registry, adds) in known.chain(possible) {
            let matters = |setting: &&AccessSetting| {
                [&self.before, after].into_iter().any(|rows| {
                    setting.matters(&SettingUse {
                        rules: basis.rules,
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
                let answer = |rows| self.model(rows, registry, settings).access(caller);
                let (was, is) = (answer(&self.before), answer(after));
                let difference = AccessDifference::between(&was, &is).filter(counts);
                if let Some(difference) = difference {
                    let label = caller.label(&self.before);
                    let condition = condition(&on, adds);
                    return Some(DifferingCaller::new(label, difference, registry, condition));
                }
            }
        }
        None
    }

    fn model<'m>(
        &'m self,
        rows: &'m AccessRows,
        registry: &'m Registry,
        settings: AccessSettings,
    ) -> AccessModel<'m> {
        AccessModel {
            rows,
            registry,
            rules: self.basis.rules,
            settings,
        }
    }
}

/// Says what a difference depends on; `None` if it follows from what is known.
fn condition(on: &[&AccessSetting], adds_servers: bool) -> Option<String> {
    let mut conditions = Vec::new();
    if adds_servers {
        conditions.push("a config.yaml that was not given adds such a server".to_owned());
    }
    conditions.extend(on.iter().map(|setting| format!("{} is on", setting.name)));
    (!conditions.is_empty()).then(|| format!("if {}", conditions.join(" and ")))
}
