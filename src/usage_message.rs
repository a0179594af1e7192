//! Prints the messages of clap, and makes the words safe to show that they repeat.

use std::env::{args_os, vars_os};
use std::io::{self, Write as _};

use clap::builder::StyledStr;

use crate::litellm::api_key::without_keys;
use crate::printable::{lines, one_line};

/// Prints help to stdout, or a usage error to stderr. Shows `sk-...` instead of a key.
///
/// # Errors
///
/// An I/O error if nobody reads it.
pub(crate) fn print(message: &clap::Error) -> io::Result<()> {
    let words = args_os().chain(vars_os().map(|(_, value)| value));
    let words = words.map(|word| word.to_string_lossy().into_owned());
    match shown(&message.render().ansi().to_string(), words) {
        // clap prints it in colours where they are wanted.
        None => message.print(),
        Some(text) => io::stderr().write_all(text.as_bytes()),
    }
}

/// Makes `message` safe to show: without colours, without keys, and with each of the `words` that
/// it repeats on one line and escaped. `None` if it is safe as it is.
fn shown(message: &str, words: impl Iterator<Item = String>) -> Option<String> {
    let mut text = message.to_owned();
    for word in words {
        let value = word.split_once('=').map(|(_, value)| value);
        for part in [Some(word.as_str()), value].into_iter().flatten() {
            let safe = one_line(part);
            if safe != part && !part.trim().is_empty() {
                text = text.replace(part, &safe);
            }
        }
    }
    let plain = StyledStr::from(text.clone()).to_string();
    let shown = without_keys(&plain);
    let is_safe = text == message && shown == plain;
    (!is_safe).then(|| lines(&shown).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_word_forges_no_line_and_no_colour() {
        let word = "--format=x\nerror: y\x1b[2J".to_owned();
        let value = &word["--format=".len()..];
        let message =
            format!("\x1b[1merror:\x1b[0m invalid '{value}'\n\nFor more, try '--help'.\n");
        assert_eq!(
            shown(&message, [word].into_iter()).unwrap(),
            "error: invalid 'x\\nerror: y\\u{1b}[2J'\n\nFor more, try '--help'.\n"
        );
        let plain = ["scan".to_owned(), "a b".to_owned()].into_iter();
        assert_eq!(shown(&message, plain), None);
    }
}
