//! The rules of the state machines that keep a window closed in which something could be lost, stay for ever, or split the views. Their
//! numbers are those of `docs/reliability.md`; each is asked for where it is kept.
//!
//! A rule that nothing depends on is superstition. So with the feature `sabotage`, in test builds, a rule can be switched off for the
//! calling thread, or for a whole process, and a test shows that this is noticed. Without the feature every rule is always kept, and
//! asking costs nothing.
//!
//! What a shell keeps is asked for in the shell: in the simulated ones where that is said below, in the daemons for [`Rule::OF_DAEMONS`].

/// Makes the rules and their lists: each is in one of them.
macro_rules! rules {
    (
        OF_MACHINES { $($(#[$of_machine:meta])* $machines:ident,)* }
        OF_DAEMONS { $($(#[$of_daemon:meta])* $daemons:ident,)* }
    ) => {
        /// A rule that can be switched off in test builds.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Rule {
            $($(#[$of_machine])* $machines,)*
            $($(#[$of_daemon])* $daemons,)*
        }

        impl Rule {
            /// Those that the machines and the simulated shells keep.
            pub const OF_MACHINES: &[Self] = &[$(Self::$machines),*];

            /// Those that the daemons keep on their way to the broker, which no simulation has.
            pub const OF_DAEMONS: &[Self] = &[$(Self::$daemons),*];
        }
    };
}

rules! {
    OF_MACHINES {
        /// S1: what is accepted again before it was deleted is not deleted.
        NeededAgainStays,
        /// S2: bytes are stored only if they hash to their name. It is asked for in the simulated shell; the real store has tests of its own.
        BytesAreChecked,
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
        /// S17: what becomes stored stays where it was staged. No store of ours has another place: it is asked for in the simulated shell.
        NothingIsMoved,
        /// S18: a clock that somebody sets decides nothing. It is asked for in the clock of the simulated shells.
        MonotonicClock,
        /// S20: what could not be deleted is tried again.
        UndeletedIsTriedAgain,
        /// Q1: no subscriptions of one client overlap. It is asked for in the simulated shells.
        SubscriptionsAreDisjoint,
        /// Q4: few events are under way to anybody.
        FewAreUnderWay,
        /// Q5: bytes go to who asked for them where that costs the broker less.
        BytesToWhoAsked,
        /// Q8: whoever is not heard for long is gone.
        SilentAreGone,
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
    OF_DAEMONS {
        /// Q2: what the tracker sends to itself must come back before it is online.
        ProbesComeBack,
        /// Q3: the largest packet is tried first.
        LargestPacketIsTried,
        /// Q7: attempts to connect are further and further apart.
        AttemptsAreSpaced,
        /// T1: every tracker has the same client identifier.
        OneClientId,
        /// T4: a tracker that lost its session looks for another one before it connects again.
        LooksBeforeItReturns,
    }
}

impl Rule {
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
        sabotage::is_kept(self)
    }
}

#[cfg(feature = "sabotage")]
pub use sabotage::{switch_off, without};

#[cfg(feature = "sabotage")]
mod sabotage {
    use std::cell::Cell;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::Rule;

    /// Switched off in the whole process, a bit for each rule.
    static OFF_EVERYWHERE: AtomicU64 = AtomicU64::new(0);

    thread_local! {
        /// Switched off in this thread.
        static OFF: Cell<u64> = const { Cell::new(0) };
    }

    pub(super) fn is_kept(rule: Rule) -> bool {
        (OFF.get() | OFF_EVERYWHERE.load(Ordering::Relaxed)) & bits(&[rule]) == 0
    }

    fn bits(rules: &[Rule]) -> u64 {
        rules.iter().fold(0, |bits, rule| bits | 1 << *rule as u8)
    }

    /// Puts the rules back, however the work ended.
    struct Restore(u64);

    impl Drop for Restore {
        fn drop(&mut self) {
            OFF.set(self.0);
        }
    }

    /// Does the work with these rules switched off in this thread.
    pub fn without<R>(rules: &[Rule], work: impl FnOnce() -> R) -> R {
        let _restore = Restore(OFF.replace(bits(rules)));
        work()
    }

    /// Switches these rules off in this process, for as long as it runs.
    pub fn switch_off(rules: &[Rule]) {
        OFF_EVERYWHERE.fetch_or(bits(rules), Ordering::Relaxed);
    }
}
