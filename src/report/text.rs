//! How text that others chose is shown, wherever a person reads it.

use crate::litellm::sites::Group;

/// Text as it is, or quoted and escaped where it would not be seen for what it is: empty, with
/// space around it, or with characters that a terminal obeys instead of showing.
pub(super) fn printable(text: &str) -> String {
    // What Rust escapes besides quotes: control characters, and marks that reorder or hide text.
    let unseen = |c: char| !matches!(c, '"' | '\'' | '\\') && c.escape_debug().count() > 1;
    let odd = text.is_empty() || text.trim() != text || text.chars().any(unseen);
    if odd {
        format!("{text:?}")
    } else {
        text.to_owned()
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_not_be_seen_for_what_it_is_is_quoted() {
        for plain in [
            "github",
            "O'Reilly \"books\"",
            "a b",
            "Übung \\ 日本語",
            "(a)",
        ] {
            assert_eq!(printable(plain), plain);
        }
        for (odd, shown) in [
            ("", r#""""#),
            (" github", r#"" github""#),
            ("a\nb", r#""a\nb""#),
            ("\x1b[2J", r#""\u{1b}[2J""#),
            ("\u{202e}nimda", r#""\u{202e}nimda""#),
            ("a\u{200b}b", r#""a\u{200b}b""#),
        ] {
            assert_eq!(printable(odd), shown);
        }
    }
}
