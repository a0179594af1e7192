//! Reads text files that the operator names. A limit keeps a wrong file from filling the memory.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// The most that is read of one file, in bytes. LiteLLM's configs and lists of references are far
/// smaller.
const MOST_BYTES: u64 = 64 << 20;

/// Reads a file that is UTF-8 text.
///
/// # Errors
///
/// What the system says; the file has more than 64 MiB, or is not UTF-8 text.
pub(crate) fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let read = File::open(path)?
        .take(MOST_BYTES + 1)
        .read_to_string(&mut text)?;
    if read as u64 > MOST_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "it has more than 64 MiB",
        ));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_an_end_is_refused() {
        let error = read_text(Path::new("/dev/zero")).unwrap_err();
        assert_eq!(error.to_string(), "it has more than 64 MiB");
        let error = read_text(Path::new("/")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::IsADirectory);
    }
}
