//! Makes text that others chose safe to show: names in a database, a server's messages, words of
//! the command line. A terminal obeys some characters instead of showing them, and others hide or
//! reorder the text beside them: with these, a name could forge a line of this program.
//!
//! Formats for programs have escapes of their own, and keep such text exactly.

use std::borrow::Cow;

/// Returns a name as it is, or quoted and escaped if a reader could mistake it: if it is empty, has
/// space around it, or has characters that are not shown.
pub(crate) fn printable(text: &str) -> String {
    let odd = text.is_empty() || text.trim() != text || text.chars().any(is_unseen);
    if odd {
        format!("{text:?}")
    } else {
        text.to_owned()
    }
}

/// Escapes every character that is not shown, line breaks too.
pub(crate) fn one_line(text: &str) -> Cow<'_, str> {
    escaped(text, |c| is_unseen(c) && !is_a_space(c))
}

/// Escapes every character that is not shown, except line breaks: for text of this program.
pub(crate) fn lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c != '\n' && is_unseen(c) && !is_a_space(c))
}

fn escaped(text: &str, is_meant: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.chars().any(&is_meant) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_meant(c) {
            shown.extend(c.escape_debug());
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

/// Tells whether a character is not shown: control characters, marks that reorder or hide text,
/// unassigned code points. These are what Rust escapes, except quotes and backslashes.
pub(crate) fn is_unseen(c: char) -> bool {
    // Looks at it beside a letter, because alone a combining mark is escaped too.
    let beside = |c: char| {
        let mut text = String::from("a");
        text.push(c);
        text.escape_debug().count() > 2
    };
    !c.is_ascii_graphic() && c != ' ' && c.escape_debug().count() > 1 && beside(c)
}

/// Tells whether it is a space that is seen as one: in French such a space stands before a colon.
fn is_a_space(c: char) -> bool {
    matches!(c, '\u{a0}' | '\u{2007}' | '\u{202f}' | '\u{3000}')
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
            "e\u{301}",
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
            ("a\u{a0}b", r#""a\u{a0}b""#),
        ] {
            assert_eq!(printable(odd), shown);
        }
    }

    #[test]
    fn messages_keep_their_words_and_lose_what_a_terminal_obeys() {
        for plain in [
            "la relation «\u{a0}x\u{a0}» n'existe pas",
            "a \"b\" \\ 'c'",
            "e\u{301}",
        ] {
            assert!(matches!(one_line(plain), Cow::Borrowed(shown) if shown == plain));
        }
        let hostile = "a\x1b[31m\r\nerror: b\u{9b}2J\u{202e}\t\u{feff}\u{7f}\u{2028}";
        let shown = r"a\u{1b}[31m\r\nerror: b\u{9b}2J\u{202e}\t\u{feff}\u{7f}\u{2028}";
        assert_eq!(one_line(hostile), shown);
        assert_eq!(lines(hostile), shown.replace(r"\n", "\n"));
    }
}
