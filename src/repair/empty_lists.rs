//! Decides what becomes of lists that would run empty, so that nobody's access changes.
//!
//! Every such list begins with the first choice of the operator's policy. A caller whose access
//! would change gives evidence of the lists on its path: which of them, were it left otherwise,
//! would keep the caller as it is. The list that most callers name falls back, until none is left;
//! then everybody is asked again. What comes out does not depend on the order of rows or callers.

use std::cmp::Reverse;
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

/// What else may become of a list, where what was chosen first would change somebody's access.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fallback {
    /// The deny marker takes the place of its entries.
    Deny,
    /// It stays as it is.
    Hold,
}

impl Fallback {
    /// Returns what the list holds then; `before` is what it holds now.
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
    /// To what.
    pub to: Fallback,
    /// Who would gain or lose what otherwise: "key ci-bot (ab12cd34) would gain github".
    pub because: String,
    /// Whether somebody would gain something; else somebody would only lose something.
    pub widens: bool,
}

/// The lists that do not get the first choice, and why.
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

/// What one caller whose access would change says of the lists on its path.
#[derive(Debug, Clone, Default)]
pub(crate) struct Evidence {
    /// Who would gain or lose what.
    pub because: String,
    /// Whether it would gain something.
    pub widens: bool,
    /// Each list that alone would keep the caller as it is if it fell back so.
    pub alone: Vec<(EmptyList, Fallback)>,
    /// All lists on its path, each with its next fallback, for a caller whom none keeps alone.
    pub together: Vec<(EmptyList, Fallback)>,
}

impl EmptyListDecisions {
    /// Lets lists fall back until every caller who gave evidence is heard.
    pub(crate) fn hear(&mut self, evidence: &[Evidence]) {
        for said in evidence.iter().filter(|said| said.alone.is_empty()) {
            for (list, to) in &said.together {
                self.let_fall(list, *to, said);
            }
        }
        let mut choices: BTreeMap<&(EmptyList, Fallback), Vec<usize>> = BTreeMap::new();
        for (at, said) in evidence.iter().enumerate() {
            for choice in &said.alone {
                choices.entry(choice).or_default().push(at);
            }
        }
        let mut unheard = Unheard::new(&choices, evidence);
        // What fell above may keep some of the others already.
        for (choice, callers) in &choices {
            let fallen = self.0.get(&choice.0);
            if fallen.is_some_and(|fallen| fallen.to >= choice.1) {
                unheard.hear(callers);
            }
        }
        while let Some((choice, callers)) = unheard.named_most() {
            if let Some(said) = callers.first().and_then(|at| evidence.get(*at)) {
                self.let_fall(&choice.0, choice.1, said);
            }
            unheard.hear(callers);
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

/// The callers who are not heard yet, and how many of them name each choice.
struct Unheard<'a> {
    evidence: &'a [Evidence],
    choices: &'a BTreeMap<&'a (EmptyList, Fallback), Vec<usize>>,
    is_heard: Vec<bool>,
    numbers: BTreeMap<&'a (EmptyList, Fallback), usize>,
    /// The choices by their numbers; of equal numbers the first choice is the last here.
    by_number: BTreeSet<(usize, Reverse<&'a (EmptyList, Fallback)>)>,
}

impl<'a> Unheard<'a> {
    fn new(
        choices: &'a BTreeMap<&'a (EmptyList, Fallback), Vec<usize>>,
        evidence: &'a [Evidence],
    ) -> Self {
        let numbers = choices
            .iter()
            .map(|(choice, callers)| (*choice, callers.len()));
        let numbers: BTreeMap<_, _> = numbers.collect();
        let by_number = numbers.iter().map(|(choice, n)| (*n, Reverse(*choice)));
        Self {
            by_number: by_number.collect(),
            numbers,
            is_heard: vec![false; evidence.len()],
            evidence,
            choices,
        }
    }

    /// Returns the choice that most callers name, the first of several, with those who named it.
    fn named_most(&self) -> Option<(&'a (EmptyList, Fallback), &'a [usize])> {
        let (number, Reverse(choice)) = self.by_number.last()?;
        let callers = self.choices.get(choice)?;
        (*number > 0).then_some((*choice, callers.as_slice()))
    }

    /// Takes the callers for heard: they no longer count for what else they name.
    fn hear(&mut self, callers: &[usize]) {
        for at in callers {
            match self.is_heard.get_mut(*at) {
                Some(is_heard) if !*is_heard => *is_heard = true,
                Some(_) | None => continue,
            }
            for choice in self
                .evidence
                .get(*at)
                .into_iter()
                .flat_map(|said| &said.alone)
            {
                if let Some(number) = self.numbers.get_mut(choice) {
                    self.by_number.remove(&(*number, Reverse(choice)));
                    *number = number.saturating_sub(1);
                    self.by_number.insert((*number, Reverse(choice)));
                }
            }
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
