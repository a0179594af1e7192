//! Replaces a file as a whole or not at all: a reader sees the old file or the new one.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{File, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};
use std::path::{Component, Path, PathBuf};

use tempfile::NamedTempFile;

/// A file being written beside the one that it is to replace. Dropped before, it is deleted.
#[derive(Debug)]
pub(crate) struct AtomicFile {
    target: PathBuf,
    temporary: NamedTempFile,
    is_new: bool,
}

impl AtomicFile {
    /// Creates the new file in the folder of `path`, with the mode of the file that it replaces.
    ///
    /// A symbolic link stays, and the file that it leads to is replaced. A link that another user
    /// made is not followed.
    pub(crate) fn beside(path: &Path) -> io::Result<Self> {
        let resolved = ResolvedPath::of(path)?;
        let target = resolved.path;
        let old = match target.symlink_metadata() {
            Ok(old) => Some(old),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        // A rename would put a file in the place of a device or a pipe.
        if old.as_ref().is_some_and(|old| !old.is_file()) {
            return Err(io::Error::other("not a regular file"));
        }
        if target.file_name().is_none() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let folder = folder_of(&target);
        let temporary = tempfile::Builder::new()
            .prefix(".mcp-prune-")
            .suffix(".tmp")
            // The mode of any new file, less what the umask takes away.
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(folder)?;
        // The user who runs this owns the file that was just made.
        let made = temporary.as_file().metadata()?;
        refuse_foreign_links(&resolved.links, made.uid())?;
        if let Some(old) = &old {
            refuse_planted(&target, old, &folder.metadata()?, made.uid())?;
            keep_mode(temporary.as_file(), old, &made)?;
        }
        Ok(Self {
            target,
            temporary,
            is_new: old.is_none(),
        })
    }

    /// Returns whether there was no such file before.
    pub(crate) fn is_new(&self) -> bool {
        self.is_new
    }

    /// Returns the new file.
    pub(crate) fn file(&self) -> &File {
        self.temporary.as_file()
    }

    /// Replaces the old file with the new one.
    pub(crate) fn replace(self) -> io::Result<()> {
        self.temporary.as_file().sync_all()?;
        let placed = self.temporary.persist(self.target);
        placed.map(drop).map_err(|failed| failed.error)
    }
}

/// A path without symbolic links, whether or not there is a file; and the links that were followed,
/// each with the user who made it.
struct ResolvedPath {
    path: PathBuf,
    links: Vec<(PathBuf, u32)>,
}

impl ResolvedPath {
    fn of(path: &Path) -> io::Result<Self> {
        // Linux follows as many: path_resolution(7).
        const MOST_LINKS: usize = 40;
        let mut resolved = Self {
            path: PathBuf::new(),
            links: Vec::new(),
        };
        if path.is_relative() {
            resolved.path = std::env::current_dir()?;
        }
        let words = |path: &Path| -> Vec<OsString> {
            path.components()
                .map(|word| word.as_os_str().to_owned())
                .collect()
        };
        let mut todo: VecDeque<OsString> = words(path).into();
        while let Some(word) = todo.pop_front() {
            match Path::new(&word).components().next() {
                Some(Component::Normal(_)) => {}
                Some(Component::ParentDir) => {
                    resolved.path.pop();
                    continue;
                }
                Some(Component::RootDir | Component::Prefix(_)) => {
                    resolved.path = PathBuf::from(&word);
                    continue;
                }
                Some(Component::CurDir) | None => continue,
            }
            let next = resolved.path.join(&word);
            match next.symlink_metadata() {
                Ok(found) if found.is_symlink() => {
                    if resolved.links.len() == MOST_LINKS {
                        return Err(io::Error::other("too many symbolic links"));
                    }
                    for word in words(&next.read_link()?).into_iter().rev() {
                        todo.push_front(word);
                    }
                    resolved.links.push((next, found.uid()));
                }
                Ok(_) => resolved.path = next,
                Err(error) if error.kind() == io::ErrorKind::NotFound && todo.is_empty() => {
                    resolved.path = next;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(resolved)
    }
}

/// Refuses links that neither `me` nor root made: the maker of a link chooses the file replaced.
fn refuse_foreign_links(links: &[(PathBuf, u32)], me: u32) -> io::Result<()> {
    match links.iter().find(|(_, owner)| ![me, 0].contains(owner)) {
        None => Ok(()),
        Some((link, _)) => Err(io::Error::other(format!(
            "{} is a symbolic link that another user made, and such are not followed",
            link.display()
        ))),
    }
}

/// Refuses a file of another user in a folder where everybody may create files: the new file would
/// get the mode that the other user chose.
///
/// Linux does the same. Source: `Documentation/admin-guide/sysctl/fs.rst`, `protected_regular`.
fn refuse_planted(path: &Path, old: &Metadata, folder: &Metadata, me: u32) -> io::Result<()> {
    if [me, 0].contains(&old.uid()) || folder.mode() & 0o002 == 0 {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "{} is a file of another user in a folder where everybody may write, and such are not \
         replaced",
        path.display()
    )))
}

/// Gives `new`, whose metadata is `made`, the mode and the group of the file that it replaces.
fn keep_mode(new: &File, old: &Metadata, made: &Metadata) -> io::Result<()> {
    let mut permissions = old.mode() & 0o777;
    if old.gid() != made.gid() && fchown(new, None, Some(old.gid())).is_err() {
        // The old file's group keeps its rights to itself: no other group gets them.
        permissions &= !0o070;
    }
    new.set_permissions(Permissions::from_mode(permissions))
}

/// Returns one name for a file, whether or not it is there: two paths to one file give one name.
pub(crate) fn name_of(path: &Path) -> PathBuf {
    ResolvedPath::of(path).map_or_else(|_| path.to_owned(), |resolved| resolved.path)
}

/// Returns the folder that a file is in.
pub(crate) fn folder_of(path: &Path) -> &Path {
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
    fn a_link_that_leads_to_no_file_yet_stays_too() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("report"), folder.path().join("link"));
        std::os::unix::fs::symlink("sub/../report", &link).unwrap();
        assert!(
            AtomicFile::beside(&link).is_err(),
            "there is no such folder"
        );
        std::fs::create_dir(folder.path().join("sub")).unwrap();
        AtomicFile::beside(&link).unwrap().replace().unwrap();
        assert!(path.is_file() && link.is_symlink());
        assert_eq!(name_of(&link), name_of(&path));
    }

    #[test]
    fn no_link_of_another_user_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("report"), folder.path().join("link"));
        std::fs::write(&path, "old").unwrap();
        std::os::unix::fs::symlink(folder.path(), &link).unwrap();
        let me = path.metadata().unwrap().uid();
        let resolved = ResolvedPath::of(&link.join("report")).unwrap();
        let [.., (last, owner)] = resolved.links.as_slice() else {
            panic!("{:?}", resolved.links);
        };
        assert_eq!((last, *owner), (&link, me));
        assert!(refuse_foreign_links(&resolved.links, me).is_ok());
        let of_another = [(link.clone(), me + 1)];
        let error = refuse_foreign_links(&of_another, me).unwrap_err();
        assert!(error.to_string().contains("link is a symbolic link"));
        assert!(refuse_foreign_links(&[(link.clone(), 0)], me).is_ok());
        std::os::unix::fs::symlink(&link, folder.path().join("loop")).unwrap();
        std::fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink("loop", &link).unwrap();
        assert!(AtomicFile::beside(&link).is_err(), "a circle");
    }

    #[test]
    fn a_file_that_somebody_planted_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report");
        std::fs::write(&path, "old").unwrap();
        let old = path.metadata().unwrap();
        for (mode, me, refused) in [
            (0o1777, old.uid(), false),
            (0o1777, old.uid() + 1, old.uid() != 0),
            (0o775, old.uid() + 1, false),
        ] {
            std::fs::set_permissions(&folder, Permissions::from_mode(mode)).unwrap();
            let found = folder.path().metadata().unwrap();
            let result = refuse_planted(&path, &old, &found, me);
            assert_eq!(result.is_err(), refused, "{mode:o} {me}");
        }
    }

    #[test]
    fn the_mode_of_the_old_file_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report");
        for mode in [0o600, 0o640, 0o644, 0o400] {
            let _ = std::fs::remove_file(&path);
            std::fs::write(&path, "old").unwrap();
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let new = AtomicFile::beside(&path).unwrap();
            assert!(!new.is_new());
            assert_eq!(new.file().metadata().unwrap().mode() & 0o777, mode);
            new.replace().unwrap();
            assert_eq!(path.metadata().unwrap().mode() & 0o777, mode);
        }
    }

    #[test]
    fn a_device_is_never_replaced() {
        for path in ["/dev/null", "/", "/tmp"] {
            assert!(AtomicFile::beside(Path::new(path)).is_err(), "{path}");
        }
    }
}
