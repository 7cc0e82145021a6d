//! Publish File Info: a file that was uploaded becomes part of the view, and its fragments wait for holders.

use protocol::event::FileInfoPublished;
use protocol::{FileMetadata, Hash};

use super::Tracker;
use crate::command::{RequestId, TrackerCommand};
use crate::view::{Change, ChangeError, FileInfo};

impl Tracker {
    /// The bytes are durable in the tracker's own store; with the change they are accepted (S1).
    pub(super) fn handle_file(&mut self, request: RequestId, hash: Hash, file: &FileInfo) {
        match self.publish_file(hash, file) {
            Err(reason) => self.commands.push_back(TrackerCommand::Refused { request, reason }),
            Ok(()) => {
                self.commands.push_back(TrackerCommand::Accepted { request });
                self.distributions.own(file.fragments.iter().copied());
                for fragment in file.fragments.iter() {
                    self.enqueue_or_release(*fragment);
                }
            }
        }
    }

    fn publish_file(&mut self, hash: Hash, file: &FileInfo) -> Result<(), String> {
        if !self.presence.decides() {
            // Another tracker may be in charge: what this one accepted now might never be told to anybody.
            return Err("the tracker is not connected to the broker: try again when it is".into());
        }
        let size_bytes = (file.fragments.len() as u64) * 67 + 1024;
        if size_bytes > self.config.max_event_bytes {
            return Err(format!(
                "a file of {} fragments takes an event of {size_bytes} bytes, more than the {} allowed: use a larger fragment size",
                file.fragments.len(),
                self.config.max_event_bytes
            ));
        }
        if let Some(known) = self.view.file(&hash) {
            let is_same = known.size_bytes == file.size_bytes && known.fragments == file.fragments;
            return if is_same { Ok(()) } else { Err(ChangeError::FileConflict(hash).to_string()) };
        }
        let change = Change::FilePublished { hash, file: file.clone() };
        self.view.apply(&change).map_err(|error| error.to_string())?;
        let FileMetadata { size_bytes, fragment_sequence, name } = FileMetadata::from(file);
        self.commit(vec![change], FileInfoPublished { hash, size_bytes, fragment_sequence, name });
        Ok(())
    }
}
