//! Where a report goes, and in which form.

use std::io::{self, BufWriter, Write};
use std::sync::Arc;

use super::Interrupt;
use crate::cli::{Format, OutputArgs};
use crate::failure::{Failure, Kind};
use crate::report::Render;
use crate::report::found::Found;
use crate::report::markdown::quoted;

/// What a report in this form needs of what is found.
pub(super) fn gathering(args: &OutputArgs) -> Found {
    match args.format {
        Format::Ndjson => Found::put_aside(),
        Format::Table | Format::Json | Format::Csv | Format::Markdown => Found::kept(),
    }
}

/// That what was found cannot be put aside until it is printed.
pub(super) fn cannot_put_aside(error: io::Error) -> Failure {
    Failure::caused(Kind::Error, error)
        .context("cannot put the report aside")
        .hint("make room in the folder for temporary files, or name another with TMPDIR")
}

/// Prints a report as the operator asked for it.
pub(super) async fn print<R: Render + Send + Sync + 'static>(
    report: &Arc<R>,
    args: &OutputArgs,
    interrupt: &mut Interrupt,
) -> Result<(), Failure> {
    let report = Arc::clone(report);
    let format = args.format;
    to_stdout(interrupt, move |out| render(&*report, format, out)).await
}

fn render(report: &impl Render, format: Format, out: &mut dyn Write) -> io::Result<()> {
    match format {
        Format::Table => report.table(out),
        Format::Json => report.json(out),
        Format::Ndjson => report.ndjson(out),
        Format::Csv => report.csv(out),
        Format::Markdown => report.markdown(&command_line(), out),
    }
}

/// Writes to stdout what `write` writes.
pub(super) async fn to_stdout(
    interrupt: &mut Interrupt,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static,
) -> Result<(), Failure> {
    // On a thread of its own, so that a signal is heard while nobody reads.
    let writing = tokio::task::spawn_blocking(move || {
        let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
        let written = write(&mut out).and_then(|()| out.flush());
        // What is left in the buffer of a writer that failed would only fail again.
        drop(out.into_parts());
        written
    });
    let writing = async {
        writing
            .await
            .map_err(|error| anyhow::Error::from(error).into())
    };
    let written = interrupt
        .race(writing, "while the report was printed")
        .await?;
    written.map_err(|error| {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Failure::new(Kind::BrokenPipe, "standard output was closed")
        } else {
            Failure::caused(Kind::Error, error).context("cannot write the report")
        }
    })
}

/// The options whose URLs may hold a password.
const WITH_URL: [&str; 2] = ["--db-url", "--notify-redis"];

/// The command line as it may be shown to others, quoted for a shell.
fn command_line() -> String {
    let mut words = vec!["mcp-prune".to_owned()];
    let mut arguments = std::env::args_os().skip(1);
    while let Some(argument) = arguments.next() {
        let argument = argument.to_string_lossy();
        if let Some((option, url)) = argument.split_once('=')
            && WITH_URL.contains(&option)
        {
            words.push(quoted(&format!("{option}={}", without_password(url))));
        } else if WITH_URL.contains(&&*argument) {
            let url = arguments.next().unwrap_or_default();
            words.push(argument.into_owned());
            words.push(quoted(&without_password(&url.to_string_lossy())));
        } else {
            words.push(quoted(&argument));
        }
    }
    words.join(" ")
}

/// A database URL made anew of what is no secret; `...` where it cannot be told what is.
fn without_password(url: &str) -> String {
    if url.starts_with("embedded:") {
        return url.to_owned();
    }
    let Ok(parsed) = url::Url::parse(url) else {
        return "...".to_owned();
    };
    let Some(host) = parsed.host_str() else {
        return "...".to_owned();
    };
    let user = match parsed.username() {
        "" => String::new(),
        user => format!("{user}@"),
    };
    let port = parsed.port().map(|port| format!(":{port}"));
    let schema = parsed.query_pairs().find(|(name, _)| name == "schema");
    let schema = schema.map(|(_, schema)| format!("?schema={schema}"));
    format!(
        "{}://{user}{host}{}{}{}",
        parsed.scheme(),
        port.unwrap_or_default(),
        parsed.path(),
        schema.unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_what_may_be_a_secret() {
        for (url, shown) in [
            (
                "postgresql://ann:s3cret@db:5433/litellm?schema=x&password=s3cret&sslmode=require",
                "postgresql://ann@db:5433/litellm?schema=x",
            ),
            ("postgres://db/litellm", "postgres://db/litellm"),
            ("postgresql://ann:s3@cret@db/x", "postgresql://ann@db/x"),
            ("postgresql:///x?host=/run&password=s3cret", "..."),
            ("postgresql://ann:s3/cret@db/x", "..."),
            ("redis://:s3cret@db:6379/1", "redis://db:6379/1"),
            ("host=db password=s3cret", "..."),
            ("embedded:demo.sql", "embedded:demo.sql"),
        ] {
            assert_eq!(without_password(url), shown);
        }
    }
}
