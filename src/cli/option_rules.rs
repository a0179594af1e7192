//! The rules between options: which exclude each other, which need another, and which values no
//! option takes. All rules that the words alone decide are here. None is left to clap, because clap
//! drops a `requires` as soon as the required option is in conflict with another.
//!
//! A variable that stands for an option never makes a command line fail that is right without it:
//! where the two exclude each other, the variable is set aside (`site_variables`). Two variables
//! that exclude each other are an error, and a variable needs no other option beside it.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command as Definition};

use crate::cli::connection::{DATABASE_URL, DB_URL_FILE};
use crate::cli::journals::JOURNAL;
use crate::cli::servers::LITELLM_CONFIG;
use crate::error::{ErrorKind, Failure};
use crate::litellm::api_key::may_be_a_key;

/// An option, or an option with one of its values.
#[derive(Debug, Clone, Copy)]
struct GivenOption {
    option: &'static str,
    value: Option<&'static str>,
}

const fn option(option: &'static str) -> GivenOption {
    GivenOption {
        option,
        value: None,
    }
}

const fn value(option: &'static str, value: &'static str) -> GivenOption {
    GivenOption {
        option,
        value: Some(value),
    }
}

/// "--sites credentials".
impl std::fmt::Display for GivenOption {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "--{}", self.option)?;
        match self.value {
            Some(value) => write!(f, " {value}"),
            None => Ok(()),
        }
    }
}

/// Two options that cannot both be given.
struct Exclusion {
    first: GivenOption,
    second: GivenOption,
    /// Why, a clause.
    why: &'static str,
}

const fn excludes(first: GivenOption, second: GivenOption, why: &'static str) -> Exclusion {
    Exclusion { first, second, why }
}

/// An option that can only be given together with one of some others.
struct Need {
    said: GivenOption,
    needs: &'static [GivenOption],
    /// Why, a clause.
    why: &'static str,
}

const fn needs(said: GivenOption, needs: &'static [GivenOption], why: &'static str) -> Need {
    Need { said, needs, why }
}

/// Why metrics are not written of a run that takes servers as deleted.
const METRICS: &str = "metrics tell what there is, not what there would be";

/// The reason why a run with `--if-deleted` neither reads nor writes a baseline.
const BASELINE: &str = "a baseline lists what there is, not what there would be";

const EXCLUSIONS: [Exclusion; 19] = [
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
        "the first remaps old ids to servers of config files, the second says that there are none",
    ),
    excludes(
        option("every-caller"),
        option("toolset"),
        "one asks on the route of every toolset, the other on that of one",
    ),
    excludes(
        option("save"),
        option("server"),
        "the whole access of each caller is saved",
    ),
    excludes(
        option("since"),
        option("server"),
        "the whole access of each caller is compared",
    ),
    excludes(
        option("dry-run"),
        option("yes"),
        "one rolls everything back, the other commits it",
    ),
    excludes(
        option("summary"),
        option("wide"),
        "one prints about ten lines, the other everything",
    ),
    excludes(
        option("plan-out"),
        option("yes"),
        "only a dry run saves a plan; to name the journal of a repair, give --journal",
    ),
    excludes(
        option("plan"),
        option("plan-out"),
        "one carries out a saved plan, the other saves a new one",
    ),
    excludes(
        value("format", "sql"),
        value("sites", "credentials"),
        "a script would show what users stored; repair credentials with fix itself",
    ),
    excludes(
        option("journal"),
        option("no-journal"),
        "one names the journal, the other writes none",
    ),
    excludes(
        option("journal-retention"),
        option("no-journal"),
        "one deletes journals beside the new one, the other writes no new one",
    ),
    excludes(option("if-deleted"), option("metrics-file"), METRICS),
    excludes(option("baseline"), option("if-deleted"), BASELINE),
    excludes(option("if-deleted"), option("write-baseline"), BASELINE),
    excludes(
        option("owner"),
        value("sites", "credentials"),
        "the owners of credentials are not read",
    ),
    excludes(
        option("owner"),
        value("sites", "defaults"),
        "the defaults of new keys have no owner yet",
    ),
    excludes(
        option("sites"),
        value("for", "access"),
        "access reads the same columns whatever the sites",
    ),
];

const NEEDS: [Need; 13] = [
    needs(
        option("plan-out"),
        &[option("dry-run")],
        "only a dry run saves a plan",
    ),
    needs(
        value("format", "sql"),
        &[option("dry-run")],
        "only a dry run makes a script",
    ),
    needs(
        option("undo-sql"),
        &[value("format", "sql")],
        "it takes back what that script does",
    ),
    needs(
        option("other-database"),
        &[option("plan")],
        "only a plan can be of another database",
    ),
    needs(
        option("other-database"),
        &[option("since")],
        "only saved access can be of another database",
    ),
    needs(
        option("other-database"),
        &[option("baseline"), option("write-baseline")],
        "only a baseline can be of another database",
    ),
    needs(
        option("previous-litellm-config"),
        &[option("litellm-config")],
        "it tells the new ids of the old servers",
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
        "only there are whole rows left of deleted servers",
    ),
    needs(
        option("accept-narrowing"),
        &[value("on-empty", "deny")],
        "only no-mcp-servers, which it writes, can take access away",
    ),
    needs(
        option("accept-widening"),
        &[value("on-empty", "clear")],
        "only an emptied list can give access",
    ),
    needs(
        value("on-empty", "clear"),
        &[option("accept-widening")],
        "owners may gain servers, and scan shows which; add --accept-widening if that is wanted",
    ),
];

/// The options that name a file, for which `-` does not mean stdin or stdout.
const NAMED_FILES: [&str; 9] = [
    "baseline",
    "journal",
    "metrics-file",
    "plan",
    "plan-out",
    "save",
    "since",
    "write-baseline",
    "undo-sql",
];

/// The options about the report, of which `access --save` alone makes none.
const OF_A_REPORT: [&str; 5] = ["format", "csv-raw", "limit", "output", "color"];

/// The variables that name LiteLLM's database.
const LITELLMS_DATABASE: [&str; 2] = [DATABASE_URL, "DATABASE_HOST"];

/// The arguments that were given, and the definition of their command.
#[derive(Clone, Copy)]
pub(crate) struct Given<'a> {
    pub(crate) definition: &'a Definition,
    pub(crate) matches: &'a ArgMatches,
}

impl Given<'_> {
    pub(crate) fn check(&self) -> Result<(), Failure> {
        for argument in self.definition.get_arguments() {
            self.check_values(argument)?;
        }
        for Exclusion { first, second, why } in &EXCLUSIONS {
            let sources = (self.source(*first), self.source(*second));
            match sources {
                (Some(one), Some(other)) if one == other => {
                    let [first, second] = [first, second].map(|said| self.name(*said));
                    return Err(usage(format!("{first} does not go with {second}: {why}")));
                }
                // The variable was set aside.
                (Some(_) | None, _) => {}
            }
        }
        self.check_one_database()?;
        for Need { said, needs, why } in &NEEDS {
            let may_be_met = needs.iter().any(|n| self.argument(n.option).is_some());
            let is_met = || needs.iter().any(|n| self.source(*n).is_some());
            if may_be_met && self.types(*said) && !is_met() {
                let needs: Vec<String> = needs.iter().map(GivenOption::to_string).collect();
                let needs = needs.join(" or ");
                return Err(usage(format!("{said} goes with {needs}: {why}")));
            }
        }
        self.check_saving()?;
        self.check_deletions()?;
        self.check_remaps()
    }

    /// Tells whether the command line sets aside the variable of an argument: it gives an option
    /// that excludes what the variable says.
    pub(crate) fn sets_aside(&self, argument: &Arg) -> bool {
        let is_it =
            |said: GivenOption| said.value.is_none() && argument.get_long() == Some(said.option);
        let excludes_it = |rule: &Exclusion| {
            is_it(rule.first) && self.types(rule.second)
                || is_it(rule.second) && self.types(rule.first)
        };
        EXCLUSIONS.iter().any(excludes_it)
            || argument.get_long() == Some("keep")
                && value_of_variable(argument)
                    .is_some_and(|kept| self.values_of("if-deleted").contains(&kept.as_os_str()))
    }

    /// Lists the options that variables gave, each with its variable.
    pub(crate) fn of_variables(&self) -> Vec<(String, String)> {
        let arguments = self.definition.get_arguments();
        let by_variable =
            arguments.filter(|argument| self.given(argument) == Some(ValueSource::EnvVariable));
        let named = by_variable.filter_map(|argument| {
            let variable = argument.get_env()?.to_string_lossy().into_owned();
            Some((format!("--{}", argument.get_long()?), variable))
        });
        named.collect()
    }

    fn argument(&self, option: &str) -> Option<&Arg> {
        let mut arguments = self.definition.get_arguments();
        arguments.find(|argument| argument.get_long() == Some(option))
    }

    /// Returns where an argument was given; `None` where it was not, or where a variable switches a
    /// flag off.
    fn given(&self, argument: &Arg) -> Option<ValueSource> {
        let id = argument.get_id().as_str();
        let is_off =
            || matches!(argument.get_action(), ArgAction::SetTrue) && !self.matches.get_flag(id);
        let source = self.matches.value_source(id);
        source.filter(|source| *source != ValueSource::DefaultValue && !is_off())
    }

    /// Returns the values that an argument was given.
    fn values(&self, argument: &Arg) -> Vec<&OsStr> {
        let values = self.matches.get_raw(argument.get_id().as_str());
        let values = values.filter(|_| self.given(argument).is_some());
        values.into_iter().flatten().collect()
    }

    fn values_of(&self, option: &str) -> Vec<&OsStr> {
        let argument = self.argument(option);
        argument.map_or_else(Vec::new, |argument| self.values(argument))
    }

    /// Returns where an option was given: on the command line, or by a variable.
    fn source(&self, said: GivenOption) -> Option<ValueSource> {
        let argument = self.argument(said.option)?;
        let source = self.given(argument).or_else(|| {
            // clap does not read this variable.
            let by_variable = said.option == "litellm-config" && is_set(LITELLM_CONFIG);
            by_variable.then_some(ValueSource::EnvVariable)
        });
        let is_said = |value| self.values(argument).contains(&OsStr::new(value));
        source.filter(|_| said.value.is_none_or(is_said))
    }

    /// Tells whether the command line itself gives an option.
    fn types(&self, said: GivenOption) -> bool {
        self.source(said) == Some(ValueSource::CommandLine)
    }

    /// Returns the name of an option that was given, or of the variable that gave it.
    fn name(&self, said: GivenOption) -> String {
        if self.types(said) {
            return said.to_string();
        }
        let variable = self.argument(said.option).and_then(Arg::get_env);
        variable.map_or_else(
            || LITELLM_CONFIG.to_owned(),
            |variable| variable.to_string_lossy().into_owned(),
        )
    }

    /// Refuses two variables that may name two databases: the program does not guess which one is
    /// meant.
    fn check_one_database(&self) -> Result<(), Failure> {
        if self.source(option("db-url-file")) != Some(ValueSource::EnvVariable) {
            return Ok(());
        }
        let is_set = |name: &&&str| std::env::var_os(name).is_some_and(|url| !url.is_empty());
        match LITELLMS_DATABASE.iter().find(is_set) {
            None => Ok(()),
            Some(other) => Err(usage(format!(
                "both {DB_URL_FILE} and {other} are set, and each names a database"
            ))
            .hint(
                "unset the one that is not meant, or name the database with --db-url or \
                 --db-url-file",
            )),
        }
    }

    /// Refuses values that nobody can mean: an empty one comes from a shell variable that is not
    /// set, and a key in the wrong option would be shown in reports, journals and commands.
    fn check_values(&self, argument: &Arg) -> Result<(), Failure> {
        if !argument.get_action().takes_values() {
            return Ok(());
        }
        let by_variable = self.given(argument) == Some(ValueSource::EnvVariable);
        let variable = argument.get_env().filter(|_| by_variable);
        let name = match (variable, argument.get_long()) {
            (Some(variable), _) => variable.to_string_lossy().into_owned(),
            (None, Some(long)) => format!("--{long}"),
            (None, None) => argument.get_id().as_str().to_ascii_uppercase(),
        };
        for value in self.values(argument) {
            let text = value.to_string_lossy();
            let text = text.as_ref();
            if matches!(text, "" | "@") {
                return Err(usage(format!("the value of {name} is empty"))
                    .hint("make sure that the shell variable that it comes from is set"));
            }
            if text == "-"
                && argument
                    .get_long()
                    .is_some_and(|l| NAMED_FILES.contains(&l))
            {
                return Err(usage(format!("{name} names a file, and - is none"))
                    .hint("name a file; only --output takes - for stdout"));
            }
            // A file would be written by one run, and be in the way of the next.
            if name == JOURNAL && !Path::new(value).is_dir() {
                return Err(
                    usage(format!("{JOURNAL} names no folder that is there: {text}"))
                        .hint("make the folder, or correct or unset the variable"),
                );
            }
            if is_owner_of_access(argument) && is_a_key_as_owner(text) {
                return Err(usage(format!(
                    "the value of {name} holds a key, which the list of processes shows"
                ))
                .hint("write the key into a file and say --key-file FILE, or - for stdin"));
            }
            if names_a_key(argument, text) {
                return Err(usage(format!(
                    "the value of {name} looks like a key, and is not shown"
                ))
                .hint(
                    "name a key as --owner key:KEY, where it is hashed at once; name a server by \
                         id, alias or name, and a file of such a name as ./sk-...",
                ));
            }
        }
        Ok(())
    }

    /// Refuses options about the report where access is saved and nothing is reported.
    fn check_saving(&self) -> Result<(), Failure> {
        if !self.types(option("save")) || self.types(option("since")) {
            return Ok(());
        }
        let of_a_report = OF_A_REPORT.into_iter().map(option);
        match of_a_report.into_iter().find(|said| self.types(*said)) {
            Some(said) => Err(usage(format!(
                "{said} goes with --save only beside --since: --save alone reports nothing"
            ))
            .hint("leave one of them out; the saved file is NDJSON")),
            None => Ok(()),
        }
    }

    /// Refuses what contradicts a server that is taken as deleted.
    fn check_deletions(&self) -> Result<(), Failure> {
        let deleted = self.values_of("if-deleted");
        let is_deleted = |reference: &OsStr| deleted.contains(&reference);
        let mut kept = self.values_of("keep").into_iter();
        if let Some(kept) = kept.find(|kept| is_deleted(kept)) {
            let kept = kept.to_string_lossy();
            return Err(usage(format!(
                "--keep {kept} does not go with --if-deleted {kept}: --keep declares it live, and \
                 --if-deleted treats it as deleted"
            )));
        }
        let remaps = self.values_of("remap").into_iter();
        let remaps = remaps.filter_map(OsStr::to_str);
        let mut new = remaps.filter_map(|remap| Some(remap.split_once('=')?.1));
        if let Some(new) = new.find(|new| is_deleted(OsStr::new(new))) {
            return Err(usage(format!(
                "--remap ...={new} does not go with --if-deleted {new}: its references would be \
                 stale again"
            )));
        }
        Ok(())
    }

    /// Refuses a remap that `--reference` would silently leave out.
    fn check_remaps(&self) -> Result<(), Failure> {
        let references = self.values_of("reference");
        let remaps = self.values_of("remap").into_iter();
        let remaps = remaps.filter_map(OsStr::to_str);
        let old = remaps.filter_map(|remap| Some(remap.split_once('=')?.0));
        let mut passed = old.filter(|old| !references.contains(&OsStr::new(old)));
        match passed.next() {
            Some(old) if !references.is_empty() => Err(usage(format!(
                "--remap {old}=... does not go with these --reference: they leave {old} out"
            ))
            .hint(format_args!(
                "add --reference {old}, or leave --reference out"
            ))),
            Some(_) | None => Ok(()),
        }
    }
}

/// Tells whether a key is given where none belongs. The password of a URL may look like one, and is
/// never shown.
fn names_a_key(argument: &Arg, text: &str) -> bool {
    match argument.get_long() {
        // The parser keeps only the hash of a key.
        Some("owner") => text
            .split_once(':')
            .is_none_or(|(kind, name)| kind != "key" && may_be_a_key(name)),
        Some("remap") => text.split('=').any(may_be_a_key),
        Some("keep") => may_be_a_key(text.strip_prefix('@').unwrap_or(text)),
        Some(_) | None => may_be_a_key(text),
    }
}

/// Tells whether an argument is one of the owners that `access` takes without an option.
fn is_owner_of_access(argument: &Arg) -> bool {
    argument.get_long().is_none() && argument.get_id() == "owner"
}

/// Tells whether an owner is named by the key itself.
fn is_a_key_as_owner(text: &str) -> bool {
    may_be_a_key(text.strip_prefix("key:").unwrap_or(text))
}

/// Returns the value of the variable that stands for an argument.
pub(crate) fn value_of_variable(argument: &Arg) -> Option<OsString> {
    std::env::var_os(argument.get_env()?)
}

/// Tells whether a variable names a file: one with only colons, as in `PATH`, names none.
fn is_set(variable: &str) -> bool {
    let value = std::env::var_os(variable).unwrap_or_default();
    std::env::split_paths(&value).any(|part| !part.as_os_str().is_empty())
}

pub(crate) fn usage(message: String) -> Failure {
    Failure::new(ErrorKind::Usage, message)
}
