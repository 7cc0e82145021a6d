//! Publish File Info: a file that was uploaded becomes part of the view, and its fragments wait for holders.

use protocol::event::FileInfoPublished;
use protocol::{FileMetadata, Hash};

use super::Tracker;
use crate::command::{RequestId, TrackerCommand};
use crate::view::{Change, FileInfo};

impl Tracker {
    /// The bytes are durable in the tracker's own store; with the change they are accepted (S1).
    pub(super) fn handle_file(&mut self, request: RequestId, hash: Hash, file: FileInfo) {
        let size_bytes = (file.fragments.len() as u64) * 67 + 1024;
        if size_bytes > self.config.max_event_bytes {
            let reason = format!(
                "a file of {} fragments takes an event of {size_bytes} bytes, more than the {} allowed: use a larger fragment size",
                file.fragments.len(),
                self.config.max_event_bytes
            );
            return self.commands.push_back(TrackerCommand::Refused { request, reason });
        }
        let is_known = self.view.file(&hash).is_some();
        let change = Change::FilePublished { hash, file: file.clone() };
        if let Err(error) = self.view.apply(&change) {
            let reason = error.to_string();
            return self.commands.push_back(TrackerCommand::Refused { request, reason });
        }
        if !is_known {
            let FileMetadata { size_bytes, fragment_sequence, name } = FileMetadata::from(&file);
            self.commit(vec![change], FileInfoPublished { hash, size_bytes, fragment_sequence, name });
        }
        self.commands.push_back(TrackerCommand::Accepted { request });
        self.distributions.own(file.fragments.iter().copied());
        for fragment in file.fragments.iter() {
            self.enqueue_or_release(*fragment);
        }
    }
}
