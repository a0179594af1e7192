//! What the operator asked for, and the right to write.

/// What to do with a column that would run empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnEmpty {
    /// Leave it as it is: it denies as before.
    #[default]
    Hold,
    /// Write LiteLLM's marker for "no server" where that changes nobody's access; else hold.
    Deny {
        /// Write it also where it may take access away.
        accept_narrowing: bool,
    },
    /// Empty it, whatever its owners then inherit.
    Clear,
}

/// How a repair is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Policy {
    /// What to do with a column that would run empty.
    pub on_empty: OnEmpty,
    /// Whether whole rows of deleted servers may be deleted.
    pub delete_rows: bool,
}

/// The operator's word that a repair may be committed.
///
/// Only `--yes` or an answered prompt makes one, and nothing is committed without it.
#[must_use]
#[derive(Debug)]
pub struct WriteConsent(());

impl WriteConsent {
    /// Consent by `--yes`.
    #[must_use]
    pub fn from_flag(yes: bool) -> Option<Self> {
        yes.then_some(Self(()))
    }

    /// Consent by the answer typed at the prompt: `y` or `yes`, in any case.
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
