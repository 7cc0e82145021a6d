//! What users do meanwhile: files go in, are deleted, go in again; torrents are emptied.

use distribution::RequestId;
use protocol::{ClientId, Hash};

use crate::sim::cluster::FRAGMENT_SIZE_BYTES;
use crate::sim::content::Content;

use super::Life;
use super::ledger::Standing;
use super::violation::Violation;

impl Life {
    /// A user does something, if there is a tracker to ask.
    pub(super) fn use_service(&mut self) -> Result<(), Violation> {
        if !self.is_up(&self.cluster.tracker_id()) {
            return Ok(());
        }
        match self.draw.below(10) {
            0..5 => {
                let content = self.new_content();
                self.upload(content)
            }
            5 | 6 => self.upload_again(),
            7 | 8 => self.remove(),
            _ => {
                self.empty_torrents();
                self.ledger.check_nothing_lost(&self.cluster)
            }
        }
    }

    /// A torrent is being emptied, or no longer; or one that is empty enough leaves for good, and another takes its place.
    fn empty_torrents(&mut self) {
        let tracker = self.cluster.tracker();
        let is_ready = |id: &&ClientId| tracker.drain_remaining(id) == Some(0) && self.is_up(id);
        let ready = self.torrents.iter().find(is_ready).cloned();
        // It is asked once more: who is not in charge, or may be no longer, does not answer.
        let ready = ready.filter(|_| self.draw.chance(2, 3));
        if let Some(id) = ready.filter(|id| self.cluster.drain(id.as_str(), true) == Some(0)) {
            self.note(&format!("{id} leaves for good"));
            self.figures.count("Retired");
            self.ledger.retired(&self.cluster, &id);
            self.cluster.shut_down(id.as_str());
            self.replace_disk(&id);
            return self.comes_back(&id);
        }
        let place = self.draw.below(self.torrents.len());
        let (id, is_draining) = (self.torrents[place].to_string(), self.draw.chance(2, 3));
        self.note(&format!("drain {id}: {is_draining}"));
        self.cluster.drain(&id, is_draining);
    }

    fn new_content(&mut self) -> Content {
        let fragment = usize::try_from(FRAGMENT_SIZE_BYTES).unwrap_or(usize::MAX);
        let fragments = self.draw.below(self.setting.fragments + 1);
        let mut bytes = Vec::new();
        for _ in 0..fragments {
            // Some files have fragments in common.
            if self.draw.chance(1, 6) {
                bytes.extend(std::iter::repeat_n(self.draw.next().to_le_bytes()[0] % 4, fragment));
            } else {
                bytes.extend(self.draw.content(fragment));
            }
        }
        let odd = self.draw.below(fragment);
        let odd = self.draw.content(odd);
        bytes.extend(odd);
        Content::new(bytes, FRAGMENT_SIZE_BYTES)
    }

    fn upload(&mut self, content: Content) -> Result<(), Violation> {
        let before = self.ledger.standing(&content.hash());
        self.note(&format!("upload {:?}, {before:?}, {:?}", content.hash(), content.fragments().keys()));
        let request = if self.draw.chance(1, 2) {
            self.cluster.upload_what_is_missing(content.clone())
        } else {
            self.cluster.upload(content.clone())
        };
        self.ledger.uploading(request, &content, self.cluster.now);
        self.learn(request, before)
    }

    fn any_file(&mut self, wanted: impl Fn(Standing) -> bool) -> Option<Content> {
        let files = self.ledger.files().filter(|(_, standing)| wanted(*standing));
        let files: Vec<&Content> = files.map(|(content, _)| content).collect();
        (!files.is_empty()).then(|| files[self.draw.below(files.len())].clone())
    }

    fn upload_again(&mut self) -> Result<(), Violation> {
        let content = self.any_file(|_| true);
        content.map_or(Ok(()), |content| self.upload(content))
    }

    fn remove(&mut self) -> Result<(), Violation> {
        let Some(content) = self.any_file(|standing| standing != Standing::Deleted) else { return Ok(()) };
        let hash: Hash = content.hash();
        let before = self.ledger.standing(&hash);
        self.note(&format!("remove {hash:?}"));
        let request = self.cluster.ask_to_remove(hash);
        self.ledger.removing(request, hash, self.cluster.now);
        self.learn(request, before)
    }

    fn learn(&mut self, request: RequestId, before: Option<Standing>) -> Result<(), Violation> {
        let learned = self.ledger.learn(&self.cluster, before);
        let outcome = self.cluster.outcome(request).cloned();
        self.note(&format!("{outcome:?}"));
        self.watch()?;
        learned
    }
}
