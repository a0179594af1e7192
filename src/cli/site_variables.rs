//! The variables that stand for options which describe the site: where its database is, which
//! servers it has, where its journals are, and how far a repair may go there.
//!
//! clap reads a variable where the command line does not give the option. What clap cannot do is
//! here: an empty variable says nothing, the command line sets aside a variable that it excludes,
//! and an error names the variable.
//!
//! No option of consent has a variable (`--yes`, `--accept-widening`, `--delete-rows`, ...): it is
//! given for one run, by somebody who has seen what that run will do.

use std::ffi::OsString;

use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgMatches, Command as Definition};

use crate::cli::option_rules::{Given, value_of_variable};
use crate::error::Failure;

/// Parses a command line, and takes from variables what it does not say. Returns the definition of
/// the program as well, for it tells which options there are.
///
/// # Errors
///
/// clap's message, which may be help or the version.
pub(crate) fn parse(
    define: fn() -> Definition,
    words: &[OsString],
) -> Result<(Definition, ArgMatches), clap::Error> {
    let mut typed = without_variables(define(), &|_| true);
    let matches = typed.try_get_matches_from_mut(words).map_err(|error| {
        // Help names the variables.
        let help = || define().try_get_matches_from(words).err();
        let help = (!error.use_stderr()).then(help).flatten();
        help.unwrap_or(error)
    })?;
    let given = given(&typed, &matches);
    let says_nothing = |argument: &Arg| {
        value_of_variable(argument).is_none_or(|value| value.is_empty())
            || given.is_some_and(|given| given.sets_aside(argument))
    };
    let mut definition = without_variables(define(), &says_nothing);
    match definition.try_get_matches_from_mut(words) {
        Ok(matches) => Ok((definition, matches)),
        Err(error) => {
            let command = matches.subcommand_name();
            let command = command.and_then(|name| definition.find_subcommand_mut(name));
            Err(match command {
                Some(command) => naming_the_variable(error, command),
                None => error,
            })
        }
    }
}

/// Returns the arguments of the subcommand that was given.
pub(crate) fn given<'a>(program: &'a Definition, matches: &'a ArgMatches) -> Option<Given<'a>> {
    let (name, matches) = matches.subcommand()?;
    let definition = program.find_subcommand(name)?;
    Some(Given {
        definition,
        matches,
    })
}

/// Removes from the definition of a program the variables of those arguments that `say_nothing`.
fn without_variables(program: Definition, say_nothing: &dyn Fn(&Arg) -> bool) -> Definition {
    program.mut_subcommands(|command| {
        command.mut_args(|argument| {
            if argument.get_env().is_some() && say_nothing(&argument) {
                argument.env(Resettable::Reset)
            } else {
                argument
            }
        })
    })
}

/// Names the variable in an error that a variable made: the words were accepted without it.
fn naming_the_variable(mut error: clap::Error, command: &mut Definition) -> clap::Error {
    let shown = error.get(ContextKind::InvalidArg).map(ToString::to_string);
    let not_text = error.kind() == ErrorKind::InvalidUtf8;
    let is_at_fault = |argument: &&Arg| {
        if not_text {
            value_of_variable(argument).is_some_and(|value| value.to_str().is_none())
        } else {
            argument.get_env().is_some() && Some(argument.to_string()) == shown
        }
    };
    let at_fault = command.get_arguments().find(is_at_fault);
    let Some(variable) = at_fault.and_then(Arg::get_env) else {
        return error;
    };
    let variable = variable.to_string_lossy().into_owned();
    if not_text {
        let message = format!("{variable} is not UTF-8 text");
        return command.error(ErrorKind::InvalidUtf8, message);
    }
    error.insert(ContextKind::InvalidArg, ContextValue::String(variable));
    error
}

/// Reads the variable of an option that takes no value.
pub(crate) fn switch(text: &str) -> Result<bool, String> {
    match text {
        // clap writes an option that is typed as `true`.
        "1" | "true" | "yes" | "on" => Ok(true),
        "0" | "false" | "no" | "off" => Ok(false),
        _ => Err("must be 1, true, yes or on; or 0, false, no or off".to_owned()),
    }
}

/// The options of a run that variables gave.
#[derive(Debug, Default)]
pub struct OptionsOfVariables {
    /// Each option, and its variable.
    given: Vec<(String, String)>,
}

impl OptionsOfVariables {
    /// Lists what variables gave.
    pub(crate) fn of(given: Given<'_>) -> Self {
        Self {
            given: given.of_variables(),
        }
    }

    /// Tells whether a variable gave an option.
    pub(crate) fn gave(&self, option: &str) -> bool {
        self.given.iter().any(|(given, _)| given == option)
    }

    /// Adds to a failure which variables gave the options that it names.
    pub(crate) fn named_in(&self, failure: Failure) -> Failure {
        let text = failure.to_string();
        let is_named = |(option, variable): &&(String, String)| {
            names(&text, option) && !text.contains(variable.as_str())
        };
        let named = self.given.iter().filter(is_named);
        named.fold(failure, |failure, (option, variable)| {
            failure.also_hint(format_args!("{option} comes from {variable}"))
        })
    }

    /// Returns a sentence about what variables gave; `None` where they gave nothing.
    pub(crate) fn told(&self) -> Option<String> {
        let given = self.given.iter();
        let given = given.map(|(option, variable)| format!("{option} ({variable})"));
        let given: Vec<String> = given.collect();
        (!given.is_empty()).then(|| format!("options from variables: {}", given.join(", ")))
    }
}

/// Tells whether a text names an option, and not only a longer one.
fn names(text: &str, option: &str) -> bool {
    let mut behind = text.split(option).skip(1);
    behind.any(|rest| !rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_longer_option_is_another_one() {
        assert!(names("say --journal FILE", "--journal"));
        assert!(names("more than --max-rows", "--max-rows"));
        assert!(!names("--journal-retention", "--journal"));
        assert!(!names("--no-journal", "--journal"));
    }
}
