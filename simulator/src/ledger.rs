//! An append-only file of JSON lines: the truth about what a neighbour did.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::Context;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The ledger of one neighbour. Without a path it is kept in memory.
pub struct Ledger<E> {
    file: Mutex<Option<File>>,
    entries: Mutex<Vec<E>>,
}

impl<E: Serialize + DeserializeOwned + Clone> Ledger<E> {
    /// Opens the ledger and reads what is in it.
    ///
    /// # Errors
    /// When the file cannot be opened, or a line of it is not an entry.
    pub fn open(path: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = path else {
            return Ok(Self {
                file: Mutex::new(None),
                entries: Mutex::new(Vec::new()),
            });
        };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let file = File::options()
            .create(true)
            .append(true)
            .read(true)
            .open(path)
            .with_context(|| format!("open the ledger {}", path.display()))?;
        let lines = BufReader::new(file.try_clone()?).lines();
        let entries = lines
            .map(|line| serde_json::from_str(&line?).context("read the ledger"))
            .collect::<anyhow::Result<_>>()?;
        Ok(Self {
            file: Mutex::new(Some(file)),
            entries: Mutex::new(entries),
        })
    }

    /// Appends an entry; it is in the file when this returns.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn append(&self, entry: E) -> anyhow::Result<()> {
        let mut line = serde_json::to_string(&entry)?;
        line.push('\n');
        if let Some(file) = self
            .file
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_mut()
        {
            file.write_all(line.as_bytes())?;
        }
        self.entries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(entry);
        Ok(())
    }

    /// How many entries there are, and the last one.
    pub fn last(&self) -> (usize, Option<E>) {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        (entries.len(), entries.last().cloned())
    }

    /// Every entry so far.
    pub fn entries(&self) -> Vec<E> {
        self.entries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
