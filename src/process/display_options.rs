//! Chooses colours, width and characters of a table: by the options, by where it goes, and by what
//! the terminal can show.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::os::fd::AsFd;

use terminal_size::{Width, terminal_size_of};

use crate::cli::output::{Color, FileArgs, OutputArgs};
use crate::process::invocation::Run;
use crate::report::text_table::{DetailLevel, DisplayOptions};

impl FileArgs {
    /// Chooses how an answer looks that goes to `place`, or to the file of the run.
    pub(crate) fn look(&self, run: &Run, place: &(impl AsFd + IsTerminal)) -> DisplayOptions {
        let shown = !run.report.is_file() && place.is_terminal();
        DisplayOptions {
            color: colored(self.color, shown, |name| std::env::var_os(name)),
            unicode: is_unicode(|name| std::env::var_os(name)),
            width: shown
                .then(|| terminal_size_of(place))
                .flatten()
                .map(|(Width(columns), _)| columns.into()),
            ..DisplayOptions::default()
        }
    }
}

impl OutputArgs {
    /// Chooses how a report looks that goes to `place`, or to the file of the run.
    pub(crate) fn look(&self, run: &Run, place: &(impl AsFd + IsTerminal)) -> DisplayOptions {
        DisplayOptions {
            limit: Some(self.limit).filter(|limit| *limit > 0),
            detail: match (self.summary, self.wide) {
                (true, _) => DetailLevel::Summary,
                (false, true) => DetailLevel::Wide,
                (false, false) => DetailLevel::Usual,
            },
            all_references: self.all_references,
            ..self.file.look(run, place)
        }
    }
}

/// Returns whether a table is coloured. Any value of `NO_COLOR` except an empty one forbids that.
///
/// Source: <https://no-color.org>.
fn colored(color: Color, shown: bool, variable: impl Fn(&str) -> Option<OsString>) -> bool {
    match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => {
            let unwanted = variable("NO_COLOR").is_some_and(|value| !value.is_empty());
            let able = variable("TERM").is_some_and(|term| term != "dumb" && !term.is_empty());
            shown && able && !unwanted
        }
    }
}

/// Returns whether the locale's encoding is UTF-8.
///
/// Source: POSIX.1-2017, XBD 8.2, which names the variables and their order.
fn is_unicode(variable: impl Fn(&str) -> Option<OsString>) -> bool {
    let names = ["LC_ALL", "LC_CTYPE", "LANG"];
    let locale = names.into_iter().find_map(|name| {
        let value = variable(name)?.to_string_lossy().to_ascii_lowercase();
        (!value.is_empty()).then_some(value)
    });
    locale.is_some_and(|locale| locale.contains("utf-8") || locale.contains("utf8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from<'a>(set: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<OsString> + 'a {
        |name| {
            let found = set.iter().find(|(other, _)| *other == name);
            found.map(|(_, value)| value.into())
        }
    }

    #[test]
    fn colours_are_for_terminals_whose_users_want_them() {
        let xterm = ("TERM", "xterm-256color");
        for (set, expected) in [
            (&[xterm][..], true),
            (&[xterm, ("NO_COLOR", "")], true),
            (&[xterm, ("NO_COLOR", "0")], false),
            (&[("TERM", "dumb")], false),
            (&[], false),
        ] {
            assert_eq!(colored(Color::Auto, true, from(set)), expected, "{set:?}");
            assert!(!colored(Color::Auto, false, from(set)), "a file or a pipe");
            assert!(colored(Color::Always, false, from(set)));
            assert!(!colored(Color::Never, true, from(set)));
        }
    }

    #[test]
    fn the_first_variable_that_is_set_names_the_locale() {
        for (set, expected) in [
            (&[("LANG", "en_US.UTF-8")][..], true),
            (&[("LANG", "de_DE.utf8")], true),
            (&[("LC_ALL", ""), ("LANG", "C.UTF-8")], true),
            (&[("LC_ALL", "C"), ("LANG", "C.UTF-8")], false),
            (&[("LC_CTYPE", "C.UTF-8"), ("LANG", "C")], true),
            (&[("LANG", "de_DE.ISO-8859-1")], false),
            (&[], false),
        ] {
            assert_eq!(is_unicode(from(set)), expected, "{set:?}");
        }
    }
}
