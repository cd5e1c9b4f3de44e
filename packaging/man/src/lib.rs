//! Manual pages and completions for packages. Everything comes from what the programs themselves work by: the definition of
//! the command line, the schema of the configuration, the tables of processes and edges, the profiles. Nothing is linked
//! into a program of the product.

mod commands;
mod completions;
mod daemons;
mod roff;
mod settings;

use std::io;
use std::path::Path;

/// A file below the folder of a package's pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// `man1/clawdbot.1`, `bash/clawdbot`.
    pub path: String,
    /// What is in it.
    pub text: String,
}

/// All files. `date` stands at the foot of the pages: `2026-01-31`.
#[must_use]
pub fn files(date: &str) -> Vec<File> {
    let mut files = commands::pages(date);
    files.push(settings::page(date));
    files.extend(daemons::pages(date));
    files.extend(completions::scripts());
    files
}

/// Writes all files below a folder.
///
/// # Errors
/// When one cannot be written.
pub fn write(folder: &Path, date: &str) -> io::Result<()> {
    for file in files(date) {
        let path = folder.join(&file.path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(path, file.text)?;
    }
    Ok(())
}
