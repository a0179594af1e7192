//! Reads single values out of the rows that a server sends. A value that cannot be read is an error
//! that names it, never a panic.

use std::fmt;
use std::str::Utf8Error;
use std::string::FromUtf8Error;

use sqlx::error::{BoxDynError, Error, UnexpectedNullError};
use sqlx::postgres::PgRow;
use sqlx::{Column, ColumnIndex, Decode, Postgres, Row as _, Type, TypeInfo as _};

use crate::error::{ErrorKind, Failure};

/// A column of a table, as messages name it: `column "alias" of "LiteLLM_MCPServerTable"`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TableColumn<'a>(pub(crate) &'a str, pub(crate) &'a str);

impl fmt::Display for TableColumn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(table, column) = self;
        write!(f, "column \"{column}\" of \"{table}\"")
    }
}

/// Reads the value in column `at` of a row, by position or by name; `what` names it in the error.
///
/// # Errors
///
/// Refused if it is NULL or of another type than expected; an error if it is not UTF-8.
pub(crate) fn read<'r, T>(
    row: &'r PgRow,
    at: impl ColumnIndex<PgRow>,
    what: impl fmt::Display,
) -> Result<T, Failure>
where
    T: Decode<'r, Postgres> + Type<Postgres>,
{
    row.try_get(&at).map_err(|error| {
        let at = at.index(row).ok();
        let found = at.and_then(|at| row.columns().get(at));
        let found = found.map(Column::type_info);
        let other = found.filter(|found| !T::compatible(found));
        match other {
            Some(other) => refuse_type(&what, other.name()),
            None => undecodable(&what, &error),
        }
    })
}

fn refuse_type(what: &impl fmt::Display, found: &str) -> Failure {
    let found = found.to_ascii_lowercase();
    Failure::new(
        ErrorKind::Refused,
        format!("{what} is of type {found}, and LiteLLM gives it another one"),
    )
    .hint("compare the table with that of a fresh LiteLLM")
}

/// Makes the failure for a value that cannot be decoded. It names the value and says what is wrong
/// with it, in this program's own words.
pub(crate) fn undecodable(what: &impl fmt::Display, error: &Error) -> Failure {
    let source = if let Error::ColumnDecode { source, .. } | Error::Decode(source) = error {
        Some(source)
    } else {
        None
    };
    let is = |matches: fn(&BoxDynError) -> bool| source.is_some_and(matches);
    if is(|source| source.is::<UnexpectedNullError>()) {
        return Failure::new(ErrorKind::Refused, format!("{what} is NULL in some row"))
            .hint("LiteLLM writes no NULL there; give that row a value, or delete it");
    }
    if is(|source| source.is::<Utf8Error>() || source.is::<FromUtf8Error>()) {
        return Failure::new(
            ErrorKind::Error,
            format!("{what} holds text that is not UTF-8"),
        )
        .hint(
            "LiteLLM cannot read it either; look for that row in psql, with \
             SET client_encoding = 'SQL_ASCII'",
        );
    }
    Failure::new(ErrorKind::Error, format!("{what} cannot be read"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(source: BoxDynError) -> Failure {
        let error = Error::ColumnDecode {
            index: "0".to_owned(),
            source,
        };
        undecodable(&TableColumn("T", "c"), &error)
    }

    #[test]
    fn what_cannot_be_decoded_is_named_in_words_of_ours() {
        let null = told(Box::new(UnexpectedNullError));
        assert_eq!(null.kind(), ErrorKind::Refused);
        assert_eq!(null.message(), "column \"c\" of \"T\" is NULL in some row");
        let bytes = vec![0xe9];
        for source in [
            BoxDynError::from(std::str::from_utf8(&bytes).unwrap_err()),
            BoxDynError::from(String::from_utf8(bytes.clone()).unwrap_err()),
        ] {
            let text = told(source);
            assert_eq!(text.kind(), ErrorKind::Error);
            assert_eq!(
                text.message(),
                "column \"c\" of \"T\" holds text that is not UTF-8"
            );
        }
        let other = told("invalid digit found in string".into());
        assert_eq!(other.message(), "column \"c\" of \"T\" cannot be read");
    }
}
