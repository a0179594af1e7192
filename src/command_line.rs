//! Commands that are printed to be pasted into a shell.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use crate::shell::{quoted, quoted_path};

/// A command to paste into a POSIX shell: one line, whatever its words hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CommandLine {
    /// The words, each quoted where a shell would read it otherwise.
    words: Vec<String>,
    /// What the operator has to give as well, such as a password: a sentence each.
    notes: Vec<String>,
}

impl CommandLine {
    /// Makes a command of this program.
    #[must_use]
    pub(crate) fn new(subcommand: &str) -> Self {
        Self {
            words: vec!["mcp-prune".to_owned(), quoted(subcommand)],
            notes: Vec::new(),
        }
    }

    /// Adds an option without a value.
    pub(crate) fn flag(&mut self, option: &str) {
        self.words.push(quoted(option));
    }

    /// Adds an option without a value, where it `is_set`.
    pub(crate) fn flag_if(&mut self, option: &str, is_set: bool) {
        if is_set {
            self.flag(option);
        }
    }

    /// Adds an option once for each of its values.
    pub(crate) fn options(
        &mut self,
        option: &str,
        values: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) {
        for value in values {
            self.option(option, value);
        }
    }

    /// Adds an option and its value.
    pub(crate) fn option(&mut self, option: &str, value: impl AsRef<OsStr>) {
        let value = value.as_ref();
        // As a word of its own it would be read as an option.
        if value.as_bytes().starts_with(b"-") {
            self.words.push(format!("{option}={}", quoted(value)));
        } else {
            self.words.push(quoted(option));
            self.words.push(quoted(value));
        }
    }

    /// Sets an environment variable for the command alone.
    pub(crate) fn variable(&mut self, name: &str, value: impl AsRef<OsStr>) {
        self.words
            .insert(0, format!("{name}={}", quoted(value.as_ref())));
    }

    /// Adds the path of a file that no option names.
    pub(crate) fn path(&mut self, path: &Path) {
        self.words.push(quoted_path(path));
    }

    /// Adds a sentence about what the operator has to give as well.
    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// Returns what the operator has to give as well, a sentence each.
    #[must_use]
    pub(crate) fn notes(&self) -> &[String] {
        &self.notes
    }
}

/// The command alone, without its notes.
impl fmt::Display for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_and_no_path_is_taken_for_an_option() {
        let mut command = CommandLine::new("undo");
        command.path(Path::new("-rf"));
        command.option("--keep", "-x y");
        command.option("--keep", "x");
        assert_eq!(
            command.to_string(),
            "mcp-prune undo ./-rf --keep='-x y' --keep x"
        );
        command.variable("MCP_PRUNE_KEEP", "x y");
        assert_eq!(
            command.to_string(),
            "MCP_PRUNE_KEEP='x y' mcp-prune undo ./-rf --keep='-x y' --keep x"
        );
    }
}
