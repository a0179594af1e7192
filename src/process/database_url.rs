//! Where the database's URL comes from: the command line, a file, or the environment.

use std::io;
use std::path::{Path, PathBuf};

use crate::cli::connection::{ConnectionArgs, DATABASE_URL};
use crate::db::connect::Target;
use crate::error::{ErrorKind, Failure};
use crate::process::litellm_variables;
use crate::process::text_file::read_text;

impl ConnectionArgs {
    /// Returns the file that is loaded into an embedded server, after the option or variable that
    /// names it. The file of `--db-url-file` is not read for this: it may be a pipe, which can be
    /// read only once.
    pub(crate) fn script(&self) -> Option<(&'static str, PathBuf)> {
        if self.db_url_file.is_some() {
            return None;
        }
        let (source, url) = match &self.db_url {
            Some(url) => ("--db-url", url.clone()),
            None => (DATABASE_URL, std::env::var(DATABASE_URL).ok()?),
        };
        match Target::resolve(Some(&url)) {
            Ok(Target::Embedded(file)) => Some((source, file)),
            Ok(Target::Server(_)) | Err(_) => None,
        }
    }

    /// Returns the database that the operator names: `--db-url`, else `--db-url-file`, else
    /// `DATABASE_URL`, else the variables that LiteLLM makes a URL of, else libpq's.
    pub(crate) fn target(&self) -> Result<Target, Failure> {
        let Some(path) = &self.db_url_file else {
            let url = match &self.db_url {
                Some(url) => Some(url.clone()),
                None => from_environment()?,
            };
            return Target::resolve(url.as_deref());
        };
        Target::resolve(Some(&read(path)?))
            .map_err(|failure| failure.context(format!("--db-url-file {}", path.display())))
    }
}

fn from_environment() -> Result<Option<String>, Failure> {
    let Some(url) = std::env::var_os(DATABASE_URL) else {
        return litellm_variables::url(&|name| std::env::var(name).ok());
    };
    let url = url
        .into_string()
        // The value is not shown: it may hold a password.
        .map_err(|_| Failure::new(ErrorKind::Usage, format!("{DATABASE_URL} is not UTF-8 text")))?;
    // The operator meant to set it, and libpq's variables may name another database.
    if url.trim().is_empty() {
        let empty = format!("{DATABASE_URL} is set, and empty");
        return Err(Failure::new(ErrorKind::Usage, empty)
            .hint("set it to the database's URL, or unset it to have libpq's variables used"));
    }
    Ok(Some(url))
}

/// Reads the one line of a file. No error shows the content, which may hold a password.
fn read(path: &Path) -> Result<String, Failure> {
    let name = path.display();
    let bad = |what| {
        Failure::new(ErrorKind::Usage, format!("--db-url-file {name} {what}")).hint(
            "write the URL into it, on one line: postgresql://USER:PASSWORD@HOST:PORT/DATABASE",
        )
    };
    let text = read_text(path).map_err(|error| {
        if error.kind() == io::ErrorKind::InvalidData {
            return bad("is not UTF-8 text");
        }
        Failure::caused(ErrorKind::Usage, error)
            .context(format!("cannot read --db-url-file {name}"))
    })?;
    match text.trim() {
        "" => Err(bad("is empty")),
        // The URL parser drops line breaks, so it would read another URL than the one meant.
        url if url.contains(['\n', '\r']) => Err(bad("has more than one line")),
        url => Ok(url.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(content: &[u8]) -> Result<String, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        read(file.path()).map_err(|failure| {
            let text = failure.to_string();
            assert!(text.contains(file.path().to_str().unwrap()), "{text}");
            text
        })
    }

    #[test]
    fn the_line_break_at_the_end_is_no_part_of_the_url() {
        for content in ["postgres://h/d", "postgres://h/d\n", "postgres://h/d\r\n\n"] {
            assert_eq!(written(content.as_bytes()), Ok("postgres://h/d".to_owned()));
        }
    }

    #[test]
    fn a_file_without_exactly_one_line_is_refused_and_its_content_is_not_shown() {
        for (content, told) in [
            (&b""[..], "is empty"),
            (b" \n", "is empty"),
            (b"postgres://u:s3cret@h/\nd", "has more than one line"),
            (b"s3cret\xff", "is not UTF-8"),
        ] {
            let told_text = written(content).unwrap_err();
            assert!(told_text.contains(told), "{told_text}");
            assert!(!told_text.contains("s3cret"), "{told_text}");
        }
    }
}
