//! Publish File Info: a file that was uploaded becomes part of the view, and its fragments wait for holders. And the end of a file: it is
//! deleted, with the fragments that no other file uses.

use std::collections::BTreeSet;

use protocol::event::{FileInfoPublished, FileRemoved};
use protocol::limits::described_event_bytes;
use protocol::{FileMetadata, Hash};

use super::Tracker;
use crate::command::{RequestId, RequestRefused, TrackerCommand};
use crate::view::{Change, ChangeError, FileInfo};

impl Tracker {
    /// The bytes are durable in the tracker's own store; with the change they are accepted (S1).
    pub(super) fn handle_file(&mut self, request: RequestId, hash: Hash, file: &FileInfo) {
        let outcome = self.publish_file(hash, file);
        let accepted = outcome.is_ok();
        self.commands.push_back(match outcome {
            Ok(()) => TrackerCommand::Accepted { request },
            Err(reason) => TrackerCommand::Refused { request, reason },
        });
        // Bytes of a refused file that some other file needs are the tracker's own all the same.
        let needed = file.fragments.iter().filter(|fragment| accepted || self.view.is_in_a_file(fragment));
        let needed: Vec<Hash> = needed.copied().collect();
        self.keep(&needed);
        self.own(&needed);
        needed.into_iter().for_each(|fragment| self.enqueue(fragment));
        if accepted {
            // Of what the service had already, copies may be missing.
            file.distinct_fragments().into_iter().for_each(|fragment| self.consider_repair(fragment));
        }
    }

    /// The tombstones see to it that a torrent that is away does not bring the file back.
    pub(super) fn handle_removal(&mut self, request: RequestId, hash: Hash) {
        let refused = |reason| TrackerCommand::Refused { request, reason };
        if !self.presence.decides() {
            return self.commands.push_back(refused(RequestRefused::NotInCharge));
        }
        let Some(file) = self.view.file(&hash) else {
            return self.commands.push_back(refused(RequestRefused::NotFound));
        };
        let fragments = file.distinct_fragments();
        self.note_deletion();
        let removed = Change::FileRemoved { hash };
        self.apply_all(std::slice::from_ref(&removed));
        let gone = |fragment: &Hash| self.view.fragment_bytes(fragment).is_none();
        let unused: BTreeSet<Hash> = fragments.into_iter().filter(gone).collect();
        let tombstones = Change::TombstonesAdded { files: BTreeSet::from([hash]), fragments: unused.clone() };
        self.apply_all(std::slice::from_ref(&tombstones));
        self.commit(vec![removed, tombstones], FileRemoved { hash });
        self.commands.push_back(TrackerCommand::Accepted { request });
        self.joins.give_up(&unused);
        self.give_up(unused);
        // What had no room may have some now.
        self.wake_repairs();
    }

    fn publish_file(&mut self, hash: Hash, file: &FileInfo) -> Result<(), RequestRefused> {
        if !self.presence.decides() {
            return Err(RequestRefused::NotInCharge);
        }
        let size_bytes = described_event_bytes(file.fragments.len() as u64);
        if size_bytes > self.config.max_event_bytes {
            return Err(RequestRefused::TooLarge(format!(
                "a file of {} fragments takes an event of {size_bytes} bytes, more than the {} allowed: use a larger fragment size",
                file.fragments.len(),
                self.config.max_event_bytes
            )));
        }
        self.check_view_fits(file)?;
        let file = match self.view.file(&hash) {
            Some(known) if known.size_bytes != file.size_bytes || known.fragments != file.fragments => {
                return Err(ChangeError::FileConflict(hash).into());
            }
            // What still lacks holders will get some, who confirm it from then on.
            Some(known) if known.fragments.iter().all(|fragment| self.missing_copies(fragment) > 0) => {
                return Ok(());
            }
            // It is published again, under the name that it has: what its holders confirmed before says nothing of what they have lost since.
            // Only what they confirm from now on lets go of the bytes that are accepted now (S6).
            Some(known) => known.clone(),
            None => file.clone(),
        };
        let FileMetadata { size_bytes, fragment_sequence, name } = FileMetadata::from(&file);
        let change = Change::FilePublished { hash, file };
        self.view.apply(&change)?;
        self.commit(vec![change], FileInfoPublished { hash, size_bytes, fragment_sequence, name });
        Ok(())
    }

    /// A torrent that joins is told the whole view in one event: a view that would not fit must not come to be, or the next start would
    /// let nobody in.
    fn check_view_fits(&self, file: &FileInfo) -> Result<(), RequestRefused> {
        /// Bytes of a fragment in its file's sequence and in the fragments' dictionary, of a holder, and of a file or a torrent.
        const FRAGMENT: u64 = 67 + 100;
        const HOLDER: u64 = 67;
        const ENTRY: u64 = 600;
        let fragments = self.view.fragment_count() as u64 + file.fragments.len() as u64;
        let entries = self.view.files().len() as u64 + self.view.clients().len() as u64;
        let size_bytes = fragments * (FRAGMENT + HOLDER * self.target() as u64) + entries * ENTRY;
        if size_bytes <= self.config.max_event_bytes {
            return Ok(());
        }
        Err(RequestRefused::TooLarge(format!(
            "with this file the view has {fragments} fragments and takes an event of {size_bytes} bytes, more than the {} allowed: \
             use a larger fragment size, or raise max_event_bytes everywhere",
            self.config.max_event_bytes
        )))
    }
}
