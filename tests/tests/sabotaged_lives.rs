//! The simulated lives find what they are there for: with a rule of the state machines switched off, one of the first goes wrong, without a
//! scenario aimed at it. The other rules have others behind them and are shown to be needed in `scenarios/sabotage.rs`.

use distribution::rules::{Rule, without};
use mds_tests::sim::life::{Kind, live};

/// Three times what the slowest of them needs.
const LIVES: u64 = 70;

/// A rule, and what the first life does that goes wrong without it.
const NOTICED: [(Rule, Kind); 10] = [
    (Rule::OrdersNeedProof, Kind::Lost),
    (Rule::UnknownIsAdopted, Kind::Lost),
    (Rule::Repair, Kind::UnderReplicated),
    (Rule::Tombstones, Kind::Leaked),
    (Rule::InventoryDecides, Kind::Leaked),
    (Rule::UndeletedIsTriedAgain, Kind::Broken),
    (Rule::GapsAreNoticed, Kind::Divergent),
    (Rule::AboveEverySeen, Kind::Divergent),
    (Rule::OlderTrackersAreIgnored, Kind::Broken),
    (Rule::LowerStepsDown, Kind::Broken),
];

#[test]
fn lives_go_wrong_where_a_rule_is_not_kept() {
    // Lives that go wrong may panic, and are meant to.
    std::panic::set_hook(Box::new(|_| {}));
    let found = NOTICED.map(|(rule, kind)| {
        let broken = without(&[rule], || (0..LIVES).find_map(|seed| live(seed, false).err()));
        (rule, kind, broken.map(|broken| (broken.seed, broken.violation.kind)))
    });
    drop(std::panic::take_hook());
    for (rule, kind, broken) in found {
        println!("without {rule:?}: {broken:?}");
        let (_, told) =
            broken.unwrap_or_else(|| panic!("{LIVES} lives without {rule:?}, and nothing went wrong"));
        assert_eq!(told, kind, "without {rule:?}");
    }
}
