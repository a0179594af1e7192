//! The operator's choices for a repair, and the consent to write.

use crate::repair::access_comparison::AcceptedDifferences;

/// What to do with a column that would run empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum OnEmpty {
    /// Leave it as it is, so that it denies as before.
    #[default]
    Hold,
    /// Write the deny marker where that changes nobody's access; else hold.
    Deny {
        /// Whether to write it also where it may take access away.
        accept_narrowing: bool,
    },
    /// Empty it if that changes nobody's access; otherwise write the deny marker if that changes
    /// nobody's; otherwise hold it.
    Unchanged,
    /// Empty it, whatever its owners inherit then.
    Clear,
}

/// The operator's choices for a repair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Policy {
    /// What to do with a column that would run empty.
    pub on_empty: OnEmpty,
    /// Whether whole rows of deleted servers may be deleted.
    pub delete_rows: bool,
}

impl Policy {
    /// Tells whether the access model is asked what may become of lists that would run empty.
    #[must_use]
    pub(crate) fn is_searched(self) -> bool {
        match self.on_empty {
            OnEmpty::Hold | OnEmpty::Clear => false,
            OnEmpty::Deny { .. } | OnEmpty::Unchanged => true,
        }
    }

    /// Returns the differences of access that these choices accept.
    #[must_use]
    pub(crate) fn accepted(self) -> AcceptedDifferences {
        match self.on_empty {
            OnEmpty::Hold | OnEmpty::Unchanged => AcceptedDifferences::default(),
            OnEmpty::Deny { accept_narrowing } => AcceptedDifferences {
                narrowing: accept_narrowing,
                widening: false,
            },
            OnEmpty::Clear => AcceptedDifferences {
                widening: true,
                narrowing: false,
            },
        }
    }
}

/// The operator's consent to commit a repair.
///
/// Only `--yes` or the answer to a prompt makes one, and nothing is committed without it.
#[must_use]
#[derive(Debug)]
pub struct WriteConsent(());

impl WriteConsent {
    /// Takes `--yes` for consent.
    #[must_use]
    pub fn from_flag(yes: bool) -> Option<Self> {
        yes.then_some(Self(()))
    }

    /// Takes the answer typed at the prompt for consent, if it is `y` or `yes` in any case.
    #[must_use]
    pub fn from_answer(answer: &str) -> Option<Self> {
        let answer = answer.trim();
        (answer.eq_ignore_ascii_case("y") || answer.eq_ignore_ascii_case("yes")).then_some(Self(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_is_consent() {
        for answer in ["y", "Y", "yes", " YES\n"] {
            assert!(WriteConsent::from_answer(answer).is_some(), "{answer:?}");
        }
        for answer in ["", "\n", "n", "no", "yess", "ye", "y es", "1", "true"] {
            assert!(WriteConsent::from_answer(answer).is_none(), "{answer:?}");
        }
        assert!(WriteConsent::from_flag(true).is_some());
        assert!(WriteConsent::from_flag(false).is_none());
    }
}
