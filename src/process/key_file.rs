//! Reads a key of a caller from a file or standard input, so that no command line shows it.

use std::io::{self, Read as _};
use std::path::Path;

use crate::error::{ErrorKind, Failure};
use crate::litellm::api_key;
use crate::litellm::owners::OwnerKind;
use crate::process::text_file::read_text;
use crate::repair::selection::NamedOwner;

/// The most that is read of standard input, in bytes: far more than a key has.
const MOST_BYTES: u64 = 64 << 10;

/// The name that stands for standard input.
const STDIN: &str = "-";

/// Returns the file that `--key-file` names; `None` where it is standard input.
pub(crate) fn named_file(path: &Path) -> Option<&Path> {
    Some(path).filter(|path| *path != Path::new(STDIN))
}

/// Reads the key of `--key-file`, and keeps its hash alone. No error shows what was read.
///
/// # Errors
///
/// A usage failure where the file cannot be read, or is not one line with a key.
pub(crate) fn read(path: &Path) -> Result<NamedOwner, Failure> {
    let text = match named_file(path) {
        Some(path) => read_text(path),
        None => read_stdin(),
    };
    let text = text.map_err(|error| {
        // The text of such an error may quote what was read.
        let failure = if error.kind() == io::ErrorKind::InvalidData {
            Failure::new(ErrorKind::Usage, "it is not UTF-8 text")
        } else {
            Failure::caused(ErrorKind::Usage, error)
        };
        failure.context(format!("cannot read --key-file {}", path.display()))
    })?;
    let key = text.trim();
    let wrong = match key {
        "" => "is empty",
        key if key.contains(['\n', '\r']) => "has more than one line",
        key if !api_key::may_be_a_key(key) => "holds no key, which begins with sk-",
        key => {
            return Ok(NamedOwner {
                kind: OwnerKind::Key,
                name: api_key::hash(key),
            });
        }
    };
    let message = format!("--key-file {} {wrong}", path.display());
    Err(Failure::new(ErrorKind::Usage, message).hint("write the key alone into it, on one line"))
}

fn read_stdin() -> io::Result<String> {
    let mut text = String::new();
    let read = io::stdin()
        .lock()
        .take(MOST_BYTES + 1)
        .read_to_string(&mut text)?;
    if read as u64 > MOST_BYTES {
        let kind = io::ErrorKind::FileTooLarge;
        return Err(io::Error::new(kind, "it has more than 64 KiB"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(content: &[u8]) -> Result<NamedOwner, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        read(file.path()).map_err(|failure| failure.to_string())
    }

    #[test]
    fn a_key_is_hashed_as_it_is_read() {
        for content in ["sk-1234", "sk-1234\n", " sk-1234\r\n"] {
            let owner = written(content.as_bytes()).unwrap();
            assert_eq!(
                (owner.kind, owner.name),
                (OwnerKind::Key, api_key::hash("sk-1234"))
            );
        }
    }

    #[test]
    fn what_is_no_key_is_refused_and_not_shown() {
        for (content, told) in [
            (&b""[..], "is empty"),
            (b"sk-s3cret\nsk-other", "has more than one line"),
            (b"s3cret", "holds no key"),
            (b"sk-...AB12", "holds no key"),
            (b"sk-s3cret\xff", "is not UTF-8"),
        ] {
            let text = written(content).unwrap_err();
            assert!(text.contains(told) && !text.contains("s3cret"), "{text}");
        }
        let missing = read(Path::new("/nowhere/key")).unwrap_err();
        assert!(missing.to_string().contains("cannot read --key-file"));
    }
}
