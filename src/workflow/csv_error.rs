//! Explains errors of the CSV reader in this program's words.

use csv::{Error, ErrorKind};

use crate::error::reason;

/// Returns what is wrong with a file, and in which line.
pub(crate) fn csv_reason(error: &Error) -> String {
    let what = match error.kind() {
        ErrorKind::Io(error) => return reason(error),
        ErrorKind::Utf8 { .. } => "it is not UTF-8 text".to_owned(),
        ErrorKind::UnequalLengths {
            expected_len, len, ..
        } => format!("it has {len} values where there should be {expected_len}"),
        ErrorKind::Seek | ErrorKind::Serialize(_) | ErrorKind::Deserialize { .. } | _ => {
            "it cannot be read".to_owned()
        }
    };
    match error.position() {
        Some(position) => format!("line {}: {what}", position.line()),
        None => what,
    }
}
