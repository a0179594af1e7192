//! JSON text that is safe on a terminal: every character that a terminal would obey or hide is
//! escaped. To a program it is the same text.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter};

use crate::printable::is_unseen;

/// Writes a value on one line.
///
/// # Errors
///
/// What `out` says.
pub(crate) fn write_compact(
    value: &impl Serialize,
    out: &mut (impl Write + ?Sized),
) -> io::Result<()> {
    let mut serializer = Serializer::with_formatter(out, Escaping(CompactFormatter));
    Ok(value.serialize(&mut serializer)?)
}

/// Writes a value on one line, and ends the line.
///
/// # Errors
///
/// What `out` says.
pub(crate) fn write_line(
    value: &impl Serialize,
    out: &mut (impl Write + ?Sized),
) -> io::Result<()> {
    write_compact(value, out)?;
    out.write_all(b"\n")
}

/// Writes a value over several lines, indented.
///
/// # Errors
///
/// What `out` says.
pub(crate) fn write_pretty(value: &impl Serialize, out: &mut impl Write) -> io::Result<()> {
    let mut serializer = Serializer::with_formatter(out, Escaping(PrettyFormatter::new()));
    Ok(value.serialize(&mut serializer)?)
}

/// A formatter that escapes more characters than the one inside.
struct Escaping<F>(F);

impl<F: Formatter> Formatter for Escaping<F> {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        out: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(is_unseen) {
            let (shown, unseen) = rest.split_at(at);
            out.write_all(shown.as_bytes())?;
            let mut chars = unseen.chars();
            let units = chars.next().map(|c| c.encode_utf16(&mut [0; 2]).to_vec());
            for unit in units.into_iter().flatten() {
                write!(out, "\\u{unit:04x}")?;
            }
            rest = chars.as_str();
        }
        out.write_all(rest.as_bytes())
    }

    fn begin_array<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_array(out)
    }

    fn end_array<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_array(out)
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_array_value(out, first)
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_array_value(out)
    }

    fn begin_object<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_object(out)
    }

    fn end_object<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_object(out)
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_object_key(out, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_object_value(out)
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_object_value(out)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn the_text_is_the_same_and_a_terminal_obeys_nothing_of_it() {
        let value = json!({
            "a\u{9b}2J": ["\u{202e}x\x1b[2J\n", "Übung 日本語 \"q\" \\", "\u{e0001}\u{7f}"],
            "b": {},
        });
        let (mut compact, mut pretty) = (Vec::new(), Vec::new());
        write_compact(&value, &mut compact).unwrap();
        write_pretty(&value, &mut pretty).unwrap();
        for text in [&compact, &pretty] {
            assert_eq!(serde_json::from_slice::<Value>(text).unwrap(), value);
            let text = std::str::from_utf8(text).unwrap();
            assert!(!text.chars().any(|c| c != '\n' && is_unseen(c)), "{text:?}");
            assert!(
                text.contains(r"a\u009b2J") && text.contains(r"\udb40\udc01\u007f"),
                "{text}"
            );
            assert!(text.contains("Übung 日本語"), "{text}");
        }
        let plain = json!({"a": [1, {}], "b": "c"});
        let mut text = Vec::new();
        write_pretty(&plain, &mut text).unwrap();
        assert_eq!(text, serde_json::to_vec_pretty(&plain).unwrap());
    }
}
