//! The book on disk: a change is in the file before anybody learns of it. Changes come one after the other, so that fifty
//! first messages of one person make one request. A file that cannot be read stays as it is, and nobody counts as approved.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use clawdbot_service::newer_format;
use tracing::error;

use super::book::Book;
use super::page;
use crate::denied::Denied;
use crate::keep::{Keep, newer};

/// The file in STATE/pairing.
const NAME: &str = "people.json";

/// The book and its file.
pub(crate) struct Store {
    keep: Keep,
    /// Or why the file cannot be used.
    book: Mutex<Result<Arc<Book>, String>>,
    /// Whoever changes the book holds it.
    turn: tokio::sync::Mutex<()>,
}

impl Store {
    /// Reads the file; without one nobody is known.
    pub(crate) fn open(keep: Keep) -> Self {
        let book = read(&keep);
        if let Err(problem) = &book {
            error!(problem, "the approvals cannot be used");
        }
        Self {
            keep,
            book: Mutex::new(book),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// What is known now.
    ///
    /// # Errors
    /// With the rule `pairing.unavailable` while the file cannot be used.
    pub(crate) fn book(&self) -> Result<Arc<Book>, Denied> {
        let book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        book.clone()
            .map_err(|problem| Denied::new("pairing.unavailable", problem))
    }

    /// Changes the book. What `change` answers is given back when the change is on disk.
    ///
    /// # Errors
    /// With the rule `pairing.unavailable` when it cannot be written; what is known is then what the file says.
    pub(crate) async fn change<T: Send + 'static>(
        self: &Arc<Self>,
        change: impl FnOnce(&mut Book) -> T + Send + 'static,
    ) -> Result<T, Denied> {
        let store = Arc::clone(self);
        // In a task of its own, so that a caller who hangs up leaves disk and memory in agreement.
        let task = tokio::spawn(async move {
            let _turn = store.turn.lock().await;
            let before = store.book()?;
            let mut after = Book::clone(&before);
            let answer = change(&mut after);
            if after != *before {
                store
                    .write(after)
                    .await
                    .map_err(|error| unwritten(&error))?;
            }
            Ok(answer)
        });
        task.await
            .map_err(|error| unwritten(&io::Error::other(error)))?
    }

    async fn write(self: &Arc<Self>, after: Book) -> io::Result<()> {
        let store = Arc::clone(self);
        // The disk may take its time; decisions go on meanwhile.
        let written = tokio::task::spawn_blocking(move || {
            let written = store.keep.write_document(NAME, &page::write(&after));
            // A write can fail after the new file took its place: what counts is what a restart would find.
            let book = match &written {
                Ok(()) => Some(after),
                Err(_) => store.on_disk(),
            };
            if let Some(book) = book {
                *store.book.lock().unwrap_or_else(PoisonError::into_inner) = Ok(Arc::new(book));
            }
            written.map_err(io::Error::other)
        });
        written.await.map_err(io::Error::other)?
    }

    /// What the file says, if it can be had.
    fn on_disk(&self) -> Option<Book> {
        let text = self.keep.read_document(NAME).ok().flatten()?;
        page::read(&text)
    }
}

fn read(keep: &Keep) -> Result<Arc<Book>, String> {
    match keep.read_document(NAME) {
        Ok(None) => Ok(Arc::default()),
        Ok(Some(text)) => page::read(&text).map(Arc::new).ok_or_else(|| {
            let path = keep.path(NAME);
            match newer(&text, page::VERSION) {
                Some(found) => format!("{}; nobody counts as paired until then", newer_format(path, found, page::VERSION)),
                None => format!(
                    "{path} is damaged; nobody counts as paired until it is restored or moved away and Clawdbot is started again"
                ),
            }
        }),
        Err(error) => Err(format!("{error}; nobody counts as paired until it can be read and Clawdbot is started again")),
    }
}

fn unwritten(error: &io::Error) -> Denied {
    error!(%error, "the approvals cannot be written: nobody new is taken down until they can; make room on the disk or mend the folder");
    Denied::new(
        "pairing.unavailable",
        format!("the approvals cannot be written: {error}"),
    )
}

#[cfg(test)]
mod tests;
