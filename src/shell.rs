//! Quotes words for a shell.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Quotes a word so that a POSIX shell takes it as it is.
///
/// A word that a terminal would obey or hide, or that is not UTF-8, is written in octal numbers for
/// `printf`, so that the result is one printable line. Line breaks at the very end are lost then.
///
/// Source: POSIX.1-2017, XCU 2.2 "Quoting", 2.6.3 "Command Substitution", and `printf`.
#[must_use]
pub(crate) fn quoted(word: impl AsRef<OsStr>) -> String {
    let word = word.as_ref();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    // What Rust escapes besides quotes: control characters, and marks that reorder or hide text.
    let is_unseen = |c: char| !matches!(c, '"' | '\'' | '\\') && c.escape_debug().count() > 1;
    match word.to_str() {
        Some(text) if !text.is_empty() && text.chars().all(is_plain) => text.to_owned(),
        Some(text) if !text.chars().any(is_unseen) => {
            format!("'{}'", text.replace('\'', r"'\''"))
        }
        Some(_) | None => {
            let mut octal = String::new();
            for byte in word.as_bytes() {
                if byte.is_ascii_alphanumeric() || b"-_./:=@+, ".contains(byte) {
                    octal.push(char::from(*byte));
                } else {
                    // Writing to a string cannot fail.
                    let _ = write!(octal, "\\{byte:03o}");
                }
            }
            // `--`, because the text may begin with a dash.
            format!("\"$(printf -- '{octal}')\"")
        }
    }
}

/// Quotes a path for a shell, so that no command takes it for an option.
#[must_use]
pub(crate) fn quoted_path(path: &Path) -> String {
    if path.as_os_str().as_bytes().starts_with(b"-") {
        quoted(Path::new(".").join(path))
    } else {
        quoted(path)
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt as _;
    use std::process::Command;

    use super::*;

    #[test]
    fn words_are_quoted_for_a_shell() {
        for (word, shown) in [
            ("--db-url=x", "--db-url=x"),
            ("", "''"),
            ("a b", "'a b'"),
            ("it's $HOME", r"'it'\''s $HOME'"),
            ("Übung", "'Übung'"),
            ("a\nb", r#""$(printf -- 'a\012b')""#),
        ] {
            assert_eq!(quoted(word), shown);
        }
    }

    #[test]
    fn a_shell_gets_every_word_as_it_is() {
        let words: [&[u8]; 14] = [
            b"",
            b"plain",
            b"a  b",
            b"it's",
            b"$HOME `id` $(id) !! \\ \" * ? [a] {a,b} ~ # & ; | < > (",
            b"~",
            b"#",
            b"-n",
            b"a\nb\tc",
            b"\x1b[2J",
            "\u{202e}nimda \u{200b}".as_bytes(),
            b"not \xff UTF-8 100% 'quoted'\\",
            b"--\x07",
            "日本語".as_bytes(),
        ];
        let script: Vec<String> = words.map(|word| quoted(OsStr::from_bytes(word))).into();
        let script = script.join(" ");
        assert!(!script.contains(char::is_control), "{script:?}");
        let ran = Command::new("sh")
            .args(["-c", &format!("printf '%s\\0' {script}")])
            .output()
            .unwrap();
        let got: Vec<OsString> = ran.stdout[..ran.stdout.len() - 1]
            .split(|byte| *byte == 0)
            .map(|word| OsString::from_vec(word.to_vec()))
            .collect();
        let words = words.map(|word| OsString::from_vec(word.to_vec()));
        assert_eq!(got, words, "{script}");
    }
}
