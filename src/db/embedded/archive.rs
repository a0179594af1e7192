//! Recognizes files that are not SQL text, and says how to make SQL text of them.

use std::fmt::Write as _;
use std::path::Path;

use crate::error::{ErrorKind, Failure};
use crate::shell::quoted_path;

/// Kinds of files in which people keep dumps: their first bytes, their name, and the command that
/// prints what is inside. An empty command means `pg_restore`.
///
/// Sources: `pg_backup_archiver.h` and `pg_backup_tar.c` of PostgreSQL 17; RFC 1952 (gzip), RFC
/// 8878 (zstd), the format descriptions of xz, bzip2, lz4 and zip.
const ARCHIVES: [(&[u8], &str, &str); 8] = [
    (b"PGDMP", "pg_dump --format=custom", ""),
    (b"toc.dat\0", "pg_dump --format=tar", ""),
    (b"\x1f\x8b", "gzip", "gzip --decompress --stdout"),
    (b"\xfd7zXZ\0", "xz", "xz --decompress --stdout"),
    (b"BZh", "bzip2", "bzip2 --decompress --stdout"),
    (b"\x28\xb5\x2f\xfd", "zstd", "zstd --decompress --stdout"),
    (b"\x04\x22\x4d\x18", "lz4", "lz4 --decompress --stdout"),
    (b"PK\x03\x04", "zip", "unzip -p"),
];

/// The offset at which a tar file has a mark, and the mark.
const TAR: (usize, &[u8]) = (257, b"ustar");

/// Refuses a file whose first bytes are those of an archive, or of text in UTF-16.
///
/// # Errors
///
/// An error that says what the file is, with the command that makes SQL text of it.
pub(crate) fn ensure_text(file: &Path, first: &[u8]) -> Result<(), Failure> {
    let found = ARCHIVES.iter().find(|(magic, ..)| first.starts_with(magic));
    let (what, command) = if let Some((_, what, command)) = found {
        (*what, *command)
    } else if first
        .get(TAR.0..)
        .is_some_and(|rest| rest.starts_with(TAR.1))
    {
        ("tar", "tar --extract --to-stdout --file")
    } else if first.starts_with(b"\xff\xfe") || first.starts_with(b"\xfe\xff") {
        // `pg_dump > FILE` in Windows PowerShell writes such a file.
        let failure = Failure::new(
            ErrorKind::Error,
            "this is text in UTF-16, and only UTF-8 is read",
        );
        return Err(failure.hint(unpacking(file, "iconv -f UTF-16 -t UTF-8")));
    } else {
        return Ok(());
    };
    let failure = Failure::new(
        ErrorKind::Error,
        format!("this is an archive and no SQL ({what})"),
    );
    Err(failure.hint(unpacking(file, command)))
}

/// Builds the error for a folder. If `pg_dump` wrote it, the hint is the command that makes SQL
/// text of it.
pub(crate) fn refuse_folder(folder: &Path) -> Failure {
    if folder.join("toc.dat").exists() {
        let message = "this is an archive and no SQL (pg_dump --format=directory)";
        return Failure::new(ErrorKind::Error, message).hint(unpacking(folder, ""));
    }
    Failure::new(ErrorKind::Error, "is a directory").hint("name a file of SQL in it")
}

/// Returns the command that makes SQL text of `file`, in a new file beside it.
fn unpacking(file: &Path, command: &str) -> String {
    let mut text = file.with_extension("");
    if text.extension().is_none_or(|extension| extension != "sql") {
        text = file.with_extension("sql");
    }
    if text.exists() {
        let mut name = file.as_os_str().to_owned();
        name.push(".unpacked.sql");
        text = name.into();
    }
    let (from, to) = (quoted_path(file), quoted_path(&text));
    let mut hint = "make a text of it: ".to_owned();
    let written = match command {
        "" => write!(
            hint,
            "pg_restore --no-owner --no-privileges --file={to} {from}"
        ),
        command => write!(hint, "{command} {from} > {to}"),
    };
    // Writing to a string cannot fail.
    written.map_or_else(|_| String::new(), |()| hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_text_is_told_with_the_command_that_makes_text_of_it() {
        let mut tar = vec![0; 512];
        tar[TAR.0..TAR.0 + TAR.1.len()].copy_from_slice(TAR.1);
        for (name, first, told) in [
            (
                "/no/d.dump",
                &b"PGDMP\x01\x0e"[..],
                "pg_restore --no-owner --no-privileges --file=/no/d.sql /no/d.dump",
            ),
            (
                "/no/d.tar",
                b"toc.dat\0\0",
                "pg_restore --no-owner --no-privileges --file=/no/d.sql /no/d.tar",
            ),
            (
                "/no/d.sql.gz",
                b"\x1f\x8b\x08",
                "gzip --decompress --stdout /no/d.sql.gz > /no/d.sql",
            ),
            (
                "/no/a b's.xz",
                b"\xfd7zXZ\0\0",
                r"xz --decompress --stdout '/no/a b'\''s.xz' > '/no/a b'\''s.sql'",
            ),
            (
                "-d.bz2",
                b"BZh91AY",
                "bzip2 --decompress --stdout ./-d.bz2 > ./-d.sql",
            ),
            (
                "/no/d",
                b"\x28\xb5\x2f\xfd\0",
                "zstd --decompress --stdout /no/d > /no/d.sql",
            ),
            (
                "/no/d.lz4",
                b"\x04\x22\x4d\x18",
                "lz4 --decompress --stdout /no/d.lz4 > /no/d.sql",
            ),
            ("/no/d.zip", b"PK\x03\x04", "unzip -p /no/d.zip > /no/d.sql"),
            (
                "/no/d.tar",
                &tar,
                "tar --extract --to-stdout --file /no/d.tar > /no/d.sql",
            ),
            (
                "/no/d.txt",
                b"\xff\xfe-\0",
                "iconv -f UTF-16 -t UTF-8 /no/d.txt > /no/d.sql",
            ),
        ] {
            let refused = ensure_text(Path::new(name), first).unwrap_err();
            let expected = format!("make a text of it: {told}");
            assert_eq!(refused.advice(), Some(expected.as_str()), "{name}");
        }
        for text in ["", "-- PGDMP", "SELECT 1;", "\u{feff}SELECT 1;"] {
            assert!(ensure_text(Path::new("d.sql"), text.as_bytes()).is_ok());
        }
    }

    #[test]
    fn the_command_overwrites_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("d.sql.gz");
        std::fs::write(folder.path().join("d.sql"), "mine").unwrap();
        let hint = unpacking(&file, "gzip");
        assert!(hint.ends_with("/d.sql.gz.unpacked.sql"), "{hint}");
        // A compressed file that calls itself text.
        let file = folder.path().join("d.sql");
        let hint = unpacking(&file, "gzip");
        assert!(hint.ends_with("/d.sql.unpacked.sql"), "{hint}");
    }
}
