//! A temporary folder that does not outlive its process for long: what a killed process left
//! behind is removed by the next one.

use std::fs::File;
use std::path::Path;

use anyhow::Context;
use tempfile::TempDir;

const PREFIX: &str = "flow-render-";
const LOCK: &str = "lock";

/// A folder that is locked for as long as it is in use.
pub(crate) struct WorkFolder {
    folder: TempDir,
    _lock: File,
}

impl WorkFolder {
    /// Makes a folder, and removes those that nobody uses any more.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub(crate) fn new() -> anyhow::Result<Self> {
        sweep(&std::env::temp_dir());
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir();
        let folder = folder.context("make a temporary folder")?;
        let lock = File::create(folder.path().join(LOCK)).context("make a temporary folder")?;
        lock.try_lock().context("lock the temporary folder")?;
        Ok(Self {
            folder,
            _lock: lock,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Removes folders whose lock nobody holds. Somebody else's are left alone: they cannot be opened.
fn sweep(parent: &Path) {
    let Ok(entries) = std::fs::read_dir(parent) else {
        return;
    };
    for entry in entries.filter_map(Result::ok) {
        let ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        let folder = entry.path();
        // Between making a folder and locking it there is no lock file to open.
        let lock = ours
            .then(|| File::options().write(true).open(folder.join(LOCK)).ok())
            .flatten();
        if lock.is_some_and(|lock| lock.try_lock().is_ok()) {
            std::fs::remove_dir_all(&folder).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_the_dead_are_removed_and_those_of_the_living_are_not() {
        let parent = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let folder = parent.path().join(name);
            std::fs::create_dir(&folder).unwrap();
            let lock = File::create(folder.join(LOCK)).unwrap();
            (folder, lock)
        };
        let (dead, _) = make("flow-render-dead");
        let (alive, lock) = make("flow-render-alive");
        lock.try_lock().unwrap();
        let (other, _) = make("somebody-else");
        sweep(parent.path());
        assert_eq!(
            (dead.exists(), alive.exists(), other.exists()),
            (false, true, true)
        );
    }
}
