//! Quotes text for SQL that this program prints and never runs.
//!
//! A literal is ASCII, whatever the text: the encoding of a client changes nothing in it. It means
//! the same whatever `standard_conforming_strings` and `backslash_quote` are. It has no dollar
//! sign, so it ends no dollar quote, and no tool takes a part of it for a placeholder such as
//! `${name}`.
//!
//! Source: PostgreSQL 17 manual, 4.1.2, "Constants".

use std::fmt::{self, Write as _};

use crate::printable::one_line;

/// Text as an SQL literal.
#[derive(Debug, Clone, Copy)]
pub struct SqlLiteral<'a>(pub &'a str);

impl fmt::Display for SqlLiteral<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_plain = |c: char| matches!(c, ' '..='~') && c != '\\' && c != '$';
        if self.0.chars().all(is_plain) {
            return write!(f, "'{}'", self.0.replace('\'', "''"));
        }
        f.write_str("E'")?;
        for c in self.0.chars() {
            match c {
                '\'' => f.write_str("''")?,
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                c if is_plain(c) => f.write_char(c)?,
                c if c.is_ascii() => write!(f, "\\x{:02x}", u32::from(c))?,
                c if u32::from(c) <= 0xffff => write!(f, "\\u{:04x}", u32::from(c))?,
                c => write!(f, "\\U{:08x}", u32::from(c))?,
            }
        }
        f.write_str("'")
    }
}

/// Texts as an array of PostgreSQL.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SqlArray<'a>(pub(crate) &'a [String]);

impl fmt::Display for SqlArray<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ARRAY[")?;
        for (at, text) in self.0.iter().enumerate() {
            let before = if at == 0 { "" } else { ", " };
            write!(f, "{before}{}", SqlLiteral(text))?;
        }
        f.write_str("]::pg_catalog.text[]")
    }
}

/// A literal, or NULL.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OptionalLiteral<'a>(pub(crate) Option<&'a str>);

impl fmt::Display for OptionalLiteral<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(text) => SqlLiteral(text).fmt(f),
            None => f.write_str("NULL"),
        }
    }
}

/// Makes text that others chose safe in a comment that ends with its line, also within a dollar
/// quote: it has no line break, no character that is not shown, and no dollar sign.
#[must_use]
pub fn in_comment(text: &str) -> String {
    one_line(text).replace('$', "\\u{24}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_is_quoted_plainly_and_the_rest_is_escaped() {
        for (text, shown) in [
            ("", "''"),
            ("github", "'github'"),
            ("O'Reilly", "'O''Reilly'"),
            (r#"["a","b"]"#, r#"'["a","b"]'"#),
            (r"a\b", r"E'a\\b'"),
            (r"\'; DROP TABLE x; --", r"E'\\''; DROP TABLE x; --'"),
            ("a\nb\r\t", r"E'a\nb\x0d\x09'"),
            ("$mcp_prune$", r"E'\x24mcp_prune\x24'"),
            ("${name}", r"E'\x24{name}'"),
            ("Übung 日本 🦀", r"E'\u00dcbung \u65e5\u672c \U0001f980'"),
            ("\u{202e}", r"E'\u202e'"),
        ] {
            assert_eq!(SqlLiteral(text).to_string(), shown);
        }
        assert_eq!(OptionalLiteral(None).to_string(), "NULL");
        let two = ["a".to_owned(), "b'".to_owned()];
        assert_eq!(
            SqlArray(&two).to_string(),
            "ARRAY['a', 'b''']::pg_catalog.text[]"
        );
        assert_eq!(SqlArray(&[]).to_string(), "ARRAY[]::pg_catalog.text[]");
    }

    #[test]
    fn no_text_ends_a_comment_or_a_dollar_quote() {
        for text in [
            "a\nDROP TABLE x;",
            "a\r\n\\! rm",
            "*/ $mcp_prune$; DROP",
            "\u{2028}a\u{85}b\u{0}c",
            "-- a",
        ] {
            let shown = in_comment(text);
            let is_ended =
                |c: char| c == '$' || c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
            assert!(!shown.contains(is_ended), "{shown:?}");
        }
        assert_eq!(in_comment("Übung (a'b)"), "Übung (a'b)");
    }

    /// Reads an SQL literal as PostgreSQL does.
    fn read(literal: &str) -> String {
        let (escapes, inner) = match literal.strip_prefix('E') {
            Some(rest) => (true, rest),
            None => (false, literal),
        };
        let inner = inner.strip_prefix('\'').unwrap();
        let inner = inner.strip_suffix('\'').unwrap();
        let mut text = String::new();
        let mut chars = inner.chars();
        while let Some(c) = chars.next() {
            match c {
                '\'' => assert_eq!(chars.next(), Some('\''), "a quote is doubled"),
                '\\' if escapes => {
                    text.push(match chars.next().unwrap() {
                        'n' => '\n',
                        'x' => hex_of(&mut chars, 2),
                        'u' => hex_of(&mut chars, 4),
                        'U' => hex_of(&mut chars, 8),
                        c => c,
                    });
                    continue;
                }
                _ => {}
            }
            text.push(c);
        }
        text
    }

    fn hex_of(chars: &mut std::str::Chars<'_>, digits: usize) -> char {
        let digits: String = chars.take(digits).collect();
        char::from_u32(u32::from_str_radix(&digits, 16).unwrap()).unwrap()
    }

    proptest::proptest! {
        #[test]
        fn what_was_quoted_is_read_back(text in "\\PC*|[\\\\'$\n\r\t-]*|.*") {
            let literal = SqlLiteral(&text).to_string();
            proptest::prop_assert!(literal.is_ascii() && !literal.contains(['\n', '$']));
            proptest::prop_assert_eq!(read(&literal), text);
        }
    }
}
