//! The rules between options: which exclude each other, which need another, and which values none
//! takes. They are all here, and no rule is left to clap, which drops a `requires` as soon as the
//! option that is required is in conflict with another.

use std::ffi::{OsStr, OsString};

use clap::parser::ValueSource;
use clap::{ArgMatches, Command as Definition, CommandFactory as _, FromArgMatches as _};

use super::{Cli, Command, LITELLM_CONFIG, NOTIFY_REDIS};
use crate::failure::{Failure, Kind};
use crate::litellm::api_key::may_be_a_key;

/// A command line that clap takes.
#[derive(Debug)]
pub struct CommandLine {
    /// What to do.
    pub command: Command,
    /// The rule between options that it breaks, if any.
    pub rules: Result<(), Failure>,
}

impl CommandLine {
    /// Parses the words of a command line, the program's name first, and checks every rule.
    ///
    /// # Errors
    ///
    /// What clap says, to help and a version included.
    pub fn parse<W: Into<OsString> + Clone>(
        words: impl IntoIterator<Item = W>,
    ) -> Result<Self, clap::Error> {
        let mut definition = Cli::command();
        let matches = definition.try_get_matches_from_mut(words)?;
        let cli = Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut definition))?;
        let given = matches.subcommand().and_then(|(name, matches)| {
            let definition = definition.find_subcommand(name)?;
            Some(Given {
                definition,
                matches,
            })
        });
        Ok(Self {
            command: cli.command,
            rules: given.map_or(Ok(()), |given| given.check()),
        })
    }
}

/// An option, or an option with one of its values.
#[derive(Debug, Clone, Copy)]
struct Said {
    option: &'static str,
    value: Option<&'static str>,
}

const fn option(option: &'static str) -> Said {
    Said {
        option,
        value: None,
    }
}

const fn value(option: &'static str, value: &'static str) -> Said {
    Said {
        option,
        value: Some(value),
    }
}

/// "--sites credentials".
impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "--{}", self.option)?;
        match self.value {
            Some(value) => write!(f, " {value}"),
            None => Ok(()),
        }
    }
}

/// Two things that cannot both be said.
struct Exclusion {
    first: Said,
    second: Said,
    /// Why, a clause.
    why: &'static str,
}

const fn excludes(first: Said, second: Said, why: &'static str) -> Exclusion {
    Exclusion { first, second, why }
}

/// Something that can only be said together with one of some others.
struct Need {
    said: Said,
    needs: &'static [Said],
    /// Why, a clause.
    why: &'static str,
}

const fn needs(said: Said, needs: &'static [Said], why: &'static str) -> Need {
    Need { said, needs, why }
}

const EXCLUSIONS: [Exclusion; 11] = [
    excludes(
        option("db-url"),
        option("db-url-file"),
        "each says which database",
    ),
    excludes(
        option("litellm-config"),
        option("no-config-servers"),
        "one names config files, the other says that none names MCP servers",
    ),
    excludes(
        option("previous-litellm-config"),
        option("no-config-servers"),
        "old ids are remapped to servers of --litellm-config, and the latter says that there are \
         none",
    ),
    excludes(
        option("every-caller"),
        option("toolset"),
        "one asks on the route of every toolset, the other on that of one",
    ),
    excludes(
        option("dry-run"),
        option("yes"),
        "one rolls everything back, the other commits it",
    ),
    excludes(
        option("plan-out"),
        option("yes"),
        "a plan is what a dry run saves; what a repair saves is its journal, with --journal",
    ),
    excludes(
        option("plan"),
        option("plan-out"),
        "one carries out a plan that is there, the other makes a new one",
    ),
    excludes(
        option("journal"),
        option("no-journal"),
        "one says where the old values go, the other keeps none",
    ),
    excludes(
        option("journal-retention"),
        option("no-journal"),
        "one deletes the older journals beside the new one, the other keeps no new one",
    ),
    excludes(
        option("owner"),
        value("sites", "credentials"),
        "whose they are is not read",
    ),
    excludes(
        option("owner"),
        value("sites", "defaults"),
        "what every new key is given has no owner yet",
    ),
];

const NEEDS: [Need; 9] = [
    needs(
        option("plan-out"),
        &[option("dry-run")],
        "a plan is what a dry run saves",
    ),
    needs(
        option("other-database"),
        &[option("plan")],
        "a plan alone may be of another database",
    ),
    needs(
        option("previous-litellm-config"),
        &[option("litellm-config")],
        "that tells what the old servers are by now",
    ),
    needs(
        option("prune-config-ids"),
        &[option("litellm-config"), option("no-config-servers")],
        "these tell which config servers there are",
    ),
    needs(
        option("notify-namespace"),
        &[option("notify-redis")],
        "it is the namespace of that Redis",
    ),
    needs(
        option("delete-rows"),
        &[value("sites", "credentials")],
        "there alone does a deleted server leave whole rows behind",
    ),
    needs(
        option("accept-narrowing"),
        &[value("on-empty", "deny")],
        "the marker that it writes alone can take access away",
    ),
    needs(
        option("accept-widening"),
        &[value("on-empty", "clear")],
        "an emptied list alone can give access",
    ),
    needs(
        value("on-empty", "clear"),
        &[option("accept-widening")],
        "it lets owners inherit servers or lifts their ceilings; scan shows what each would gain, \
         so say --accept-widening if that is wanted",
    ),
];

/// The options that name a file to write or to read back, where `-` would be a file of that name.
const NAMED_FILES: [&str; 4] = ["journal", "metrics-file", "plan", "plan-out"];

/// What was said on a command line, beside the definition of its command.
struct Given<'a> {
    definition: &'a Definition,
    matches: &'a ArgMatches,
}

impl Given<'_> {
    fn check(&self) -> Result<(), Failure> {
        for argument in self.definition.get_arguments() {
            self.check_values(argument)?;
        }
        for rule in &EXCLUSIONS {
            if self.says(rule.first) && self.says(rule.second) {
                let Exclusion { first, second, why } = rule;
                return Err(usage(format!("{first} does not go with {second}: {why}")));
            }
        }
        for Need { said, needs, why } in &NEEDS {
            let may_be_met = needs.iter().any(|n| self.argument(n.option).is_some());
            if may_be_met && self.says(*said) && !needs.iter().any(|n| self.is_met(*n)) {
                let needs: Vec<String> = needs.iter().map(Said::to_string).collect();
                let needs = needs.join(" or ");
                return Err(usage(format!("{said} goes with {needs}: {why}")));
            }
        }
        self.check_remaps()
    }

    fn argument(&self, option: &str) -> Option<&clap::Arg> {
        let mut arguments = self.definition.get_arguments();
        arguments.find(|argument| argument.get_long() == Some(option))
    }

    fn source(&self, option: &str) -> Option<ValueSource> {
        let argument = self.argument(option)?;
        self.matches.value_source(argument.get_id().as_str())
    }

    /// The values of an option that was given on the command line.
    fn values(&self, argument: &clap::Arg) -> Vec<&OsStr> {
        let id = argument.get_id().as_str();
        let given = self.matches.value_source(id) == Some(ValueSource::CommandLine);
        let values = self.matches.get_raw(id).filter(|_| given);
        values.into_iter().flatten().collect()
    }

    fn says(&self, said: Said) -> bool {
        let Some(argument) = self.argument(said.option) else {
            return false;
        };
        match said.value {
            None => self.source(said.option) == Some(ValueSource::CommandLine),
            Some(value) => self.values(argument).contains(&OsStr::new(value)),
        }
    }

    /// Whether the command line says it, or a variable does in its place.
    fn is_met(&self, said: Said) -> bool {
        let by_variable = || match said.option {
            "litellm-config" => is_set(LITELLM_CONFIG),
            "notify-redis" => is_set(NOTIFY_REDIS),
            _ => false,
        };
        self.says(said) || by_variable()
    }

    /// Refuses values that nobody can mean: an empty one is a variable of a shell that is not set, and
    /// a key in a wrong place would be shown in reports, journals and commands.
    fn check_values(&self, argument: &clap::Arg) -> Result<(), Failure> {
        if !argument.get_action().takes_values() {
            return Ok(());
        }
        let name = match argument.get_long() {
            Some(long) => format!("--{long}"),
            None => argument.get_id().as_str().to_ascii_uppercase(),
        };
        for value in self.values(argument) {
            let text = value.to_string_lossy();
            let text = text.as_ref();
            if matches!(text, "" | "@") {
                return Err(usage(format!("the value of {name} is empty"))
                    .hint("make sure that the shell's variable in its place is set"));
            }
            if text == "-"
                && argument
                    .get_long()
                    .is_some_and(|l| NAMED_FILES.contains(&l))
            {
                return Err(usage(format!("{name} names a file, and - is none"))
                    .hint("name a file; only --output takes - for stdout"));
            }
            if names_a_key(argument, text) {
                return Err(usage(format!(
                    "the value of {name} looks like a key, and is not shown"
                ))
                .hint(
                    "name a key as --owner key:KEY, where it is hashed at once; a server has an \
                         id, alias or name, and a file that is called so is named ./sk-...",
                ));
            }
        }
        Ok(())
    }

    /// Refuses a remap that `--reference` would pass over in silence.
    fn check_remaps(&self) -> Result<(), Failure> {
        let values = |option| {
            let argument = self.argument(option);
            argument.map_or_else(Vec::new, |argument| self.values(argument))
        };
        let references = values("reference");
        let remaps = values("remap").into_iter().filter_map(OsStr::to_str);
        let old = remaps.filter_map(|remap| Some(remap.split_once('=')?.0));
        let mut passed = old.filter(|old| !references.contains(&OsStr::new(old)));
        match passed.next() {
            Some(old) if !references.is_empty() => Err(usage(format!(
                "--remap {old}=... does not go with these --reference: they leave {old} out"
            ))
            .hint(format_args!("say --reference {old} too, or no --reference"))),
            Some(_) | None => Ok(()),
        }
    }
}

/// Whether a value that is not to be a key has one in it. A URL may hold one as its password, and is
/// never shown with that.
fn names_a_key(argument: &clap::Arg, text: &str) -> bool {
    match argument.get_long() {
        // Of a key the parser keeps the hash alone.
        Some("owner") => text
            .split_once(':')
            .is_none_or(|(kind, name)| kind != "key" && may_be_a_key(name)),
        Some("remap") => text.split('=').any(may_be_a_key),
        Some("keep") => may_be_a_key(text.strip_prefix('@').unwrap_or(text)),
        Some(_) | None => may_be_a_key(text),
    }
}

/// Whether a variable names anything: colons alone, as in `PATH`, name nothing.
fn is_set(variable: &str) -> bool {
    let value = std::env::var_os(variable).unwrap_or_default();
    std::env::split_paths(&value).any(|part| !part.as_os_str().is_empty())
}

fn usage(message: String) -> Failure {
    Failure::new(Kind::Usage, message)
}
