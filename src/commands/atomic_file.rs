//! A file that is replaced as a whole or not at all: whoever reads it sees the old one or the new one.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// A file being written beside the one that it is to replace. Dropped before, it goes away.
#[derive(Debug)]
pub(super) struct AtomicFile {
    target: PathBuf,
    temporary: NamedTempFile,
}

impl AtomicFile {
    /// Makes the new file, in the folder of `path`. A link stays, and what it leads to is replaced.
    pub(super) fn beside(path: &Path) -> io::Result<Self> {
        let target = match path.canonicalize() {
            Ok(target) => target,
            Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
            Err(error) => return Err(error),
        };
        // A rename would put a file in the place of a device or a pipe.
        if target.exists() && !target.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        if target.file_name().is_none() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let temporary = tempfile::Builder::new()
            .prefix(".mcp-prune-")
            .suffix(".tmp")
            // As of any new file: less what the umask takes.
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(folder_of(&target))?;
        Ok(Self { target, temporary })
    }

    /// The new file.
    pub(super) fn file(&self) -> &File {
        self.temporary.as_file()
    }

    /// Puts the new file in the place of the old one.
    pub(super) fn replace(self) -> io::Result<()> {
        self.temporary.as_file().sync_all()?;
        let placed = self.temporary.persist(self.target);
        placed.map(drop).map_err(|failed| failed.error)
    }
}

/// The one name of a file, be it there or not: two paths of the same file have the same.
pub(super) fn name_of(path: &Path) -> PathBuf {
    let named = || {
        let folder = folder_of(path).canonicalize().ok()?;
        Some(folder.join(path.file_name()?))
    };
    path.canonicalize()
        .ok()
        .or_else(named)
        .unwrap_or_else(|| path.to_owned())
}

/// The folder that a file is in.
pub(super) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        Some(_) | None => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn the_old_file_stays_until_the_new_one_takes_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report");
        std::fs::write(&path, "old").unwrap();
        let read = || std::fs::read_to_string(&path).unwrap();

        let dropped = AtomicFile::beside(&path).unwrap();
        dropped.file().write_all(b"new").unwrap();
        drop(dropped);
        assert_eq!(read(), "old");

        let new = AtomicFile::beside(&path).unwrap();
        new.file().write_all(b"new").unwrap();
        assert_eq!(read(), "old");
        new.replace().unwrap();
        assert_eq!(read(), "new");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_a_link_leads_to_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("report"), folder.path().join("link"));
        std::fs::write(&path, "old").unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let new = AtomicFile::beside(&link).unwrap();
        new.file().write_all(b"new").unwrap();
        new.replace().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new");
        assert!(link.is_symlink());
    }

    #[test]
    fn a_device_is_never_replaced() {
        for path in ["/dev/null", "/", "/tmp"] {
            assert!(AtomicFile::beside(Path::new(path)).is_err(), "{path}");
        }
    }
}
