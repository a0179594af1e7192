//! The command line as it may be shown to others.

use crate::process::shown_url::ShownUrl;
use crate::repair::selection::NamedOwner;
use crate::shell::quoted;

/// The options whose URLs may hold a password.
const WITH_URL: [&str; 2] = ["--db-url", "--notify-redis"];

/// Returns the command line as it may be shown to others, quoted for a shell.
pub(crate) fn command_line() -> String {
    let mut words = vec!["mcp-prune".to_owned()];
    let mut arguments = std::env::args_os().skip(1);
    while let Some(argument) = arguments.next() {
        let text = argument.to_string_lossy();
        if let Some((option, value)) = text.split_once('=')
            && let Some(shown) = without_secret(option, value)
        {
            words.push(quoted(format!("{option}={shown}")));
        } else if without_secret(&text, "").is_some() {
            let value = arguments.next().unwrap_or_default();
            let shown = without_secret(&text, &value.to_string_lossy());
            words.push(text.into_owned());
            words.push(quoted(shown.unwrap_or_default()));
        } else {
            words.push(quoted(&argument));
        }
    }
    words.join(" ")
}

/// Returns the value of `--db-url`, `--notify-redis` or `--owner` without a secret; `None` for any
/// other option.
fn without_secret(option: &str, value: &str) -> Option<String> {
    if WITH_URL.contains(&option) {
        Some(without_password(value))
    } else if option == "--owner" {
        let owner = value.parse::<NamedOwner>();
        Some(owner.map_or_else(|_| value.to_owned(), |owner| owner.argument()))
    } else {
        None
    }
}

/// Returns a URL without its password; `...` where the password cannot be told from the rest.
fn without_password(url: &str) -> String {
    ShownUrl::of(url).map_or_else(|| "...".to_owned(), |shown| shown.text)
}
