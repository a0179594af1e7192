//! Decides what becomes of lists that would run empty, so that nobody's access changes.
//!
//! Every such list begins with the first choice of the operator's policy. A caller whose access
//! would change gives evidence: it names each list on its path whose fallback would keep its
//! access as it is. The list that most callers name falls back. This is repeated until every
//! caller has such a list. Then all callers are compared again. The result does not depend on the
//! order of rows or callers.

use std::collections::{BTreeMap, BTreeSet};

use crate::litellm::reference_sites::{Site, SiteTable};
use crate::litellm::server::NO_SERVERS;
use crate::litellm::value::Value;

/// A list that would run empty.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct EmptyList {
    /// Its table.
    pub table: &'static str,
    /// The primary key of its row.
    pub row: String,
    /// Its column, as reports call it.
    pub column: &'static str,
}

/// What becomes of a list instead, if the first choice would change somebody's access.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fallback {
    /// The deny marker takes the place of its entries.
    Deny,
    /// It stays as it is.
    Hold,
}

impl Fallback {
    /// Returns the new value of the list; `before` is the present one.
    #[must_use]
    pub(crate) fn value(self, before: &Value) -> Value {
        match self {
            Self::Deny => Value::Array(vec![NO_SERVERS.to_owned()]),
            Self::Hold => before.clone(),
        }
    }
}

/// Why a list fell back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FallenList {
    /// The fallback that it got.
    pub to: Fallback,
    /// Who would gain or lose what otherwise: "key ci-bot (ab12cd34) would gain github".
    pub because: String,
    /// Whether somebody would gain something; else somebody would only lose something.
    pub widens: bool,
}

/// The lists that do not get the first choice, each with the reason.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct EmptyListDecisions(BTreeMap<EmptyList, FallenList>);

impl EmptyListDecisions {
    /// Makes decisions by which every list gets the first choice.
    pub(crate) const FIRST_CHOICES: &'static Self = &Self(BTreeMap::new());

    /// Returns how a list fell back; `None` where it gets the first choice.
    #[must_use]
    pub(crate) fn fallen(
        &self,
        table: &SiteTable,
        row: &str,
        column: &'static str,
    ) -> Option<&FallenList> {
        if self.0.is_empty() {
            return None;
        }
        let list = EmptyList {
            table: table.table,
            row: row.to_owned(),
            column,
        };
        self.0.get(&list)
    }
}

/// How many of the held references each choice of `--on-empty` would settle.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct SettledByChoice {
    /// How many are held.
    pub held: usize,
    /// `--on-empty deny`.
    pub deny: usize,
    /// `--on-empty unchanged`.
    pub unchanged: usize,
    /// `--on-empty clear`.
    pub clear: usize,
}

/// A list that would run empty, and what may become of it instead.
#[derive(Debug, Clone)]
pub(crate) struct ProposedList {
    /// Its table.
    pub table: &'static SiteTable,
    /// Its site.
    pub site: &'static Site,
    /// What it holds now.
    pub before: Value,
    /// What it would hold.
    pub after: Value,
    /// What may become of it instead, in the order of preference.
    pub fallbacks: &'static [Fallback],
}

/// What a caller whose access would change says about the lists on its path.
#[derive(Debug, Clone, Default)]
pub(crate) struct Evidence {
    /// Who would gain or lose what.
    pub because: String,
    /// Whether it would gain something.
    pub widens: bool,
    /// Each list that alone would keep the caller's access as it is, with the fallback for that.
    pub alone: Vec<(EmptyList, Fallback)>,
    /// All lists on its path, each with its first fallback: for a caller for whom no list alone is
    /// enough.
    pub together: Vec<(EmptyList, Fallback)>,
}

impl EmptyListDecisions {
    /// Lets lists fall back until every caller who gave evidence has one that did.
    pub(crate) fn hear(&mut self, evidence: &[Evidence]) {
        let mut unheard: BTreeSet<usize> = (0..evidence.len()).collect();
        for (at, said) in evidence.iter().enumerate() {
            if said.alone.is_empty() {
                unheard.remove(&at);
                for (list, to) in &said.together {
                    self.let_fall(list, *to, said);
                }
            }
        }
        let mut named: BTreeMap<&(EmptyList, Fallback), BTreeSet<usize>> = BTreeMap::new();
        for (at, said) in evidence.iter().enumerate() {
            for choice in &said.alone {
                named.entry(choice).or_default().insert(at);
            }
        }
        // A list that fell back above may be enough for other callers, too.
        for (choice, callers) in &named {
            let fallen = self.0.get(&choice.0);
            if fallen.is_some_and(|fallen| fallen.to >= choice.1) {
                unheard.retain(|at| !callers.contains(at));
            }
        }
        while !unheard.is_empty() {
            let heard = |callers: &BTreeSet<usize>| callers.intersection(&unheard).count();
            // If several lists are named by most callers, the first of them is taken.
            let most = named.values().map(heard).max();
            let best = named
                .iter()
                .find(|(_, callers)| Some(heard(callers)) == most);
            let Some((choice, callers)) = best.filter(|_| most > Some(0)) else {
                return;
            };
            let callers = callers.clone();
            if let Some(said) = callers.first().and_then(|at| evidence.get(*at)) {
                self.let_fall(&choice.0, choice.1, said);
            }
            unheard.retain(|at| !callers.contains(at));
        }
    }

    fn let_fall(&mut self, list: &EmptyList, to: Fallback, said: &Evidence) {
        let fallen = FallenList {
            to,
            because: said.because.clone(),
            widens: said.widens,
        };
        let there = self.0.get(list);
        if there.is_none_or(|there| there.to < to) {
            self.0.insert(list.clone(), fallen);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(row: &str) -> EmptyList {
        EmptyList {
            table: "t",
            row: row.to_owned(),
            column: "c",
        }
    }

    fn alone(because: &str, rows: &[&str]) -> Evidence {
        let fall = |row: &&str| (list(row), Fallback::Hold);
        Evidence {
            because: because.to_owned(),
            alone: rows.iter().map(fall).collect(),
            ..Evidence::default()
        }
    }

    fn fallen(decisions: &EmptyListDecisions) -> Vec<(&str, Fallback)> {
        let lists = decisions.0.iter();
        lists.map(|(list, f)| (list.row.as_str(), f.to)).collect()
    }

    #[test]
    fn the_list_that_most_callers_name_falls_back_alone() {
        let evidence = vec![
            alone("a", &["key-a", "team"]),
            alone("b", &["key-b", "team"]),
            alone("c", &["key-c"]),
        ];
        let mut reversed = evidence.clone();
        reversed.reverse();
        for evidence in [evidence, reversed] {
            let mut decisions = EmptyListDecisions::default();
            decisions.hear(&evidence);
            let expected = [("key-c", Fallback::Hold), ("team", Fallback::Hold)];
            assert_eq!(fallen(&decisions), expected);
        }
    }

    #[test]
    fn a_caller_whom_no_list_keeps_alone_brings_all_of_its_path_down() {
        let mut decisions = EmptyListDecisions::default();
        decisions.hear(&[
            Evidence {
                together: vec![
                    (list("key-a"), Fallback::Deny),
                    (list("team"), Fallback::Hold),
                ],
                ..Evidence::default()
            },
            // Kept by what fell for the other.
            alone("b", &["key-b", "team"]),
        ]);
        let expected = [("key-a", Fallback::Deny), ("team", Fallback::Hold)];
        assert_eq!(fallen(&decisions), expected);
    }

    #[test]
    fn a_list_only_ever_falls_further() {
        let mut decisions = EmptyListDecisions::default();
        decisions.hear(&[alone("a", &["key"])]);
        let deny = Evidence {
            alone: vec![(list("key"), Fallback::Deny)],
            ..Evidence::default()
        };
        decisions.hear(&[deny]);
        assert_eq!(fallen(&decisions), [("key", Fallback::Hold)]);
    }
}
