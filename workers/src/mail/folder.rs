//! Mail as files: one `.eml` each, named by its Message-ID, so that writing it twice is writing it
//! once.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::MailError;

/// A folder of mails.
pub(crate) struct Folder {
    path: PathBuf,
}

impl Folder {
    pub(crate) fn new(path: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(path)
            .with_context(|| format!("make the mail folder {}", path.display()))?;
        Ok(Self {
            path: path.to_owned(),
        })
    }

    pub(crate) fn has(&self, message_id: &str) -> bool {
        self.file(message_id).exists()
    }

    /// Writes a mail so that it is there wholly or not at all.
    pub(crate) fn write(&self, message_id: &str, body: &[u8]) -> Result<String, MailError> {
        let path = self.file(message_id);
        let unfinished = path.with_extension("part");
        let write = || {
            let mut file = File::create(&unfinished)?;
            file.write_all(body)?;
            file.sync_all()?;
            std::fs::rename(&unfinished, &path)?;
            File::open(&self.path)?.sync_all()
        };
        match write() {
            Ok(()) => Ok(format!("written to {}", path.display())),
            Err(error) => Err(MailError::Later(format!(
                "write {}: {error}",
                path.display()
            ))),
        }
    }

    fn file(&self, message_id: &str) -> PathBuf {
        let name: String = message_id
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || "-._@".contains(*c))
            .collect();
        self.path.join(format!("{name}.eml"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mail_is_written_once_under_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let mails = Folder::new(folder.path()).unwrap();
        assert!(!mails.has("<1@flow>"));
        mails.write("<1@flow>", b"first").unwrap();
        mails.write("<1@flow>", b"first").unwrap();
        assert!(mails.has("<1@flow>"));
        let files: Vec<_> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(files, ["1@flow.eml"]);
    }

    #[test]
    fn names_cannot_leave_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let mails = Folder::new(folder.path()).unwrap();
        assert_eq!(
            mails.file("<../../etc/passwd>").parent(),
            Some(folder.path())
        );
    }
}
