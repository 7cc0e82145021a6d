//! The simulated lives find what they are there for: with a rule of the state machines switched off, one of the first goes wrong, without a
//! scenario aimed at it. The other rules have others behind them and are shown to be needed in `scenarios/sabotage.rs`.

use distribution::rules::{Rule, without};
use mds_tests::silence::in_silence;
use mds_tests::sim::life::{Kind, live};

/// Three times what the slowest of them needs.
const LIVES: u64 = 70;

/// A rule, and what the first life does that goes wrong without it.
const NOTICED: [(Rule, Kind); 9] = [
    (Rule::OrdersNeedProof, Kind::Lost),
    (Rule::UnknownIsAdopted, Kind::Lost),
    (Rule::Repair, Kind::UnderReplicated),
    (Rule::Tombstones, Kind::Leaked),
    (Rule::InventoryDecides, Kind::Leaked),
    (Rule::UndeletedIsTriedAgain, Kind::Broken),
    (Rule::GapsAreNoticed, Kind::Divergent),
    (Rule::AboveEverySeen, Kind::Divergent),
    (Rule::LowerStepsDown, Kind::Broken),
];

#[test]
fn lives_go_wrong_where_a_rule_is_not_kept() {
    for (rule, kind) in NOTICED {
        let first = || (0..LIVES).find_map(|seed| live(seed, false).err());
        let broken = in_silence(|| without(&[rule], first));
        let broken = broken.map(|broken| (broken.seed, broken.violation.kind));
        println!("without {rule:?}: {broken:?}");
        let (_, told) =
            broken.unwrap_or_else(|| panic!("{LIVES} lives without {rule:?}, and nothing went wrong"));
        assert_eq!(told, kind, "without {rule:?}");
    }
}

/// What keeps two trackers from deciding at once (S15, T3, T5, T6). In lives they have identifiers of their own, so T1 and T4 do not.
const ONE_TRACKER: [Rule; 6] = [
    Rule::OlderTrackersAreIgnored,
    Rule::AboveEverySeen,
    Rule::LowerStepsDown,
    Rule::OwnEcho,
    Rule::HelloIsRepeated,
    Rule::GoodbyeOfThisRun,
];

#[test]
fn two_trackers_that_decide_at_once_cost_no_data() {
    let mut second_trackers = 0;
    for seed in 0..4 * LIVES {
        let lived = without(&ONE_TRACKER, || live(seed, false)).unwrap_or_else(|broken| panic!("{broken}"));
        second_trackers += lived.figures.faults.get("SecondTracker").copied().unwrap_or(0);
    }
    assert!(second_trackers > LIVES, "there were only {second_trackers} of them");
}
