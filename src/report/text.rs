//! How text that others chose is shown, wherever a person reads it.

use crate::litellm::sites::Group;
pub(super) use crate::printable::printable;

/// Whose a row is that has no owners.
pub(super) fn nobody(group: Group) -> &'static str {
    match group {
        Group::Defaults => "everybody new",
        Group::Credentials => "not shown",
        Group::Permissions | Group::AccessGroups | Group::Toolsets => "nobody",
    }
}

/// A number of things.
pub(crate) fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}
