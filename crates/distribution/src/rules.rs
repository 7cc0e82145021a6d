//! The rules of the state machines that keep a window closed in which something could be lost, stay for ever, or split the views. Their
//! numbers are those of `docs/reliability.md`; each is asked for where it is kept.
//!
//! A rule that nothing depends on is superstition. So with the feature `sabotage`, in test builds, a rule can be switched off for the
//! calling thread, and a test shows that this is noticed. Without the feature every rule is always kept, and asking costs nothing.

/// A rule that can be switched off in test builds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Rule {
    /// S1: what is accepted again before it was deleted is not deleted.
    NeededAgainStays,
    /// S3: after *Obtained* a torrent deletes only on an order.
    StagedStays,
    /// S4: a change is durable before it is said. The shells keep it: it is asked for in those of the simulator alone.
    DurableBeforeSaid,
    /// S5: only the registered start of a torrent votes.
    VotesOfRegisteredStarts,
    /// S6: the tracker's bytes go when enough holders have confirmed the change.
    ReleaseWhenConfirmed,
    /// S7: an order to delete a copy needs enough others that are proven.
    OrdersNeedProof,
    /// S7: what was deleted is recognised by its tombstone.
    Tombstones,
    /// S7: a tombstone proves nothing of what another tracker has accepted since.
    TombstonesExpire,
    /// S7: a torrent tells which tracker has registered it last.
    OtherTrackersAreTold,
    /// S8: what the tracker does not know is adopted.
    UnknownIsAdopted,
    /// S9: what an inventory does not list is not there.
    InventoryDecides,
    /// S9: what an inventory lists counts when the heartbeat after it came.
    InventoryIsProven,
    /// S10: older starts of a torrent are not listened to.
    OlderStartsAreIgnored,
    /// S10: what a torrent said before it joined again is not listened to.
    EarlierRegistrationsAreIgnored,
    /// S11: an answer counts only for what it answers.
    AnswersMatch,
    /// S12: who has something staged asks until it is answered.
    StagedAsks,
    /// S13: what is repeated is answered again.
    RepeatsAreAnswered,
    /// S14: changes apply in the order of their revisions.
    ChangesInOrder,
    /// S14: a gap, or a view that is not the tracker's, leads to a new join.
    GapsAreNoticed,
    /// S15: events of an older tracker are ignored.
    OlderTrackersAreIgnored,
    /// S16: too few copies are made enough again.
    Repair,
    /// S20: what could not be deleted is tried again.
    UndeletedIsTriedAgain,
    /// T3: a tracker goes on above every one that a torrent has seen.
    AboveEverySeen,
    /// T3: of two trackers the lower one steps down.
    LowerStepsDown,
    /// T5: a tracker that does not hear itself decides nothing.
    OwnEcho,
    /// T6: a tracker that was overwritten says its hello again.
    HelloIsRepeated,
    /// T6: a goodbye counts only for the run that it is of.
    GoodbyeOfThisRun,
}

impl Rule {
    /// All of them.
    pub const ALL: [Self; 27] = [
        Self::NeededAgainStays,
        Self::StagedStays,
        Self::DurableBeforeSaid,
        Self::VotesOfRegisteredStarts,
        Self::ReleaseWhenConfirmed,
        Self::OrdersNeedProof,
        Self::Tombstones,
        Self::TombstonesExpire,
        Self::OtherTrackersAreTold,
        Self::UnknownIsAdopted,
        Self::InventoryDecides,
        Self::InventoryIsProven,
        Self::OlderStartsAreIgnored,
        Self::EarlierRegistrationsAreIgnored,
        Self::AnswersMatch,
        Self::StagedAsks,
        Self::RepeatsAreAnswered,
        Self::ChangesInOrder,
        Self::GapsAreNoticed,
        Self::OlderTrackersAreIgnored,
        Self::Repair,
        Self::UndeletedIsTriedAgain,
        Self::AboveEverySeen,
        Self::LowerStepsDown,
        Self::OwnEcho,
        Self::HelloIsRepeated,
        Self::GoodbyeOfThisRun,
    ];

    /// Whether the rule holds here.
    #[cfg(not(feature = "sabotage"))]
    #[must_use]
    pub const fn is_kept(self) -> bool {
        true
    }

    /// Whether the rule holds here.
    #[cfg(feature = "sabotage")]
    #[must_use]
    pub fn is_kept(self) -> bool {
        sabotage::OFF.get() & (1 << self as u8) == 0
    }
}

#[cfg(feature = "sabotage")]
pub use sabotage::without;

#[cfg(feature = "sabotage")]
mod sabotage {
    use std::cell::Cell;

    use super::Rule;

    thread_local! {
        pub static OFF: Cell<u32> = const { Cell::new(0) };
    }

    /// Puts the rules back, however the work ended.
    struct Restore(u32);

    impl Drop for Restore {
        fn drop(&mut self) {
            OFF.set(self.0);
        }
    }

    /// Does the work with these rules switched off in this thread.
    pub fn without<R>(rules: &[Rule], work: impl FnOnce() -> R) -> R {
        let off = rules.iter().fold(0, |off, rule| off | 1 << *rule as u8);
        let _restore = Restore(OFF.replace(off));
        work()
    }
}
