//! Hints that a folder changed.
//!
//! inotify on the folder itself, never on a file in it: kubelet replaces the link `..data`, and a watch on what it
//! pointed to is dead from then on. Because inotify can also run out, the reader looks again on a timer anyway.

use std::path::Path;

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

/// Keeps the watch alive.
#[derive(Debug)]
pub struct FolderWatch {
    _watcher: RecommendedWatcher,
    hints: mpsc::Receiver<()>,
}

impl FolderWatch {
    /// Watches folders, not their subfolders.
    pub fn open(folders: &[&Path]) -> notify::Result<Self> {
        // One place is enough: hints collapse.
        let (sender, hints) = mpsc::channel(1);
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            // Our own reading makes access events; an error may have lost any event.
            if !matches!(event, Ok(Event { kind: EventKind::Access(_), .. })) {
                // Full means that a hint is waiting already.
                sender.try_send(()).unwrap_or_default();
            }
        })?;
        for folder in folders {
            watcher.watch(folder, RecursiveMode::NonRecursive)?;
        }
        Ok(Self { _watcher: watcher, hints })
    }

    /// Waits for the next hint.
    pub async fn changed(&mut self) {
        if self.hints.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}
