//! The files that a command line names: none is written over another one, or over a journal.

use std::path::{Path, PathBuf};

use crate::cli::connection::ConnectionArgs;
use crate::error::{ErrorKind, Failure};
use crate::process::atomic_file::name_of;
use crate::process::command_args::CommandArgs;
use crate::workflow::config_files::config_paths;
use crate::workflow::journal_folder::begins_as_changeset;

/// Refuses two options that name one file, unless both only read it. Otherwise the file that is
/// written last would replace the other, which may be a journal, a backup or the proxy's config.
pub(crate) fn one_file_each(command: &dyn CommandArgs) -> Result<(), Failure> {
    let mut names: Vec<(&str, PathBuf)> = Vec::new();
    let same = |names: &[(&str, PathBuf)], option: &str, path: &Path| {
        let name = name_of(path);
        let (other, _) = names.iter().find(|(_, taken)| *taken == name)?;
        let message = format!("{other} and {option} are the same file, {}", path.display());
        let hint = "nothing was done; give each a file of its own";
        Some(Failure::new(ErrorKind::Usage, message).hint(hint))
    };
    for (option, path) in command.files() {
        if let Some(failure) = same(&names, option, path) {
            return Err(failure);
        }
        names.push((option, name_of(path)));
    }
    let files = command.files_read().into_iter();
    let files = files.map(|(option, path)| (option.to_owned(), path.to_owned()));
    let configs = command.litellm_configs().map(config_paths);
    let configs = configs.into_iter().flatten();
    let configs = configs.map(|(source, path)| (source.to_string(), path));
    let script = command.connection().and_then(ConnectionArgs::script);
    let script = script.map(|(source, path)| (source.to_owned(), path));
    let read = files.chain(configs).chain(script);
    // A baseline is written again over the one that was read.
    let written = command.own_files().into_iter();
    let written = { written }.find(|(option, _)| *option == "--write-baseline");
    let written = written.map(|(_, path)| name_of(path));
    let is_renewed = |option: &str, path: &Path| {
        option == "--baseline" && written.as_deref() == Some(name_of(path).as_path())
    };
    let mut read = read.filter(|(option, path)| !is_renewed(option, path));
    read.find_map(|(option, path)| same(&names, &option, &path))
        .map_or(Ok(()), Err)
}

/// Refuses an option whose file would replace a journal or a plan. A run may need that journal
/// although no option names it: `undo RUN` finds it in a folder.
///
/// Every other file that a command writes is a new one, or replaces a baseline alone.
pub(crate) fn replace_no_changeset(command: &dyn CommandArgs) -> Result<(), Failure> {
    let writes_over = |option: &str| ["--output", "--metrics-file"].contains(&option);
    let mut files = command.files().into_iter();
    let replaced = files.find(|(option, path)| writes_over(option) && begins_as_changeset(path));
    let Some((option, path)) = replaced else {
        return Ok(());
    };
    let message = format!(
        "{option} would replace {}, a journal or plan",
        path.display()
    );
    Err(Failure::new(ErrorKind::Usage, message).hint("nothing was done; name another file"))
}
