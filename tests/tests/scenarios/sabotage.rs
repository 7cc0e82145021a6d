//! Every rule is needed: with it a scenario ends well, and without it the same one does not.

use std::collections::BTreeSet;
use std::panic::catch_unwind;

use distribution::rules::{Rule, without};
use mds_tests::silence::{failed_in, in_silence};

use super::{
    crashes, damage, distribution as distributing, distribution_failures as failures, hostile, join,
    join_conflicts, leases, log, lost_and_doubled, presence, release, removal, repairs, undeleted,
};

/// A rule, and what goes wrong without it.
type Case = (Rule, fn());

const CASES: [Case; 40] = [
    (Rule::BytesAreChecked, hostile::bytes_that_do_not_hash_to_their_name_are_not_stored),
    (Rule::StagedStays, failures::a_lost_obtained_is_said_again_with_the_next_heartbeats),
    (Rule::DurableBeforeSaid, crashes::the_tracker_crashes_after_a_change_is_durable_and_before_it_is_told),
    (Rule::DurableBeforeSaid, crashes::a_torrent_crashes_after_the_bytes_are_durable_and_before_it_said_so),
    (Rule::VotesOfRegisteredStarts, failures::an_obtained_of_before_the_disk_was_lost_does_not_count),
    (Rule::ReleaseWhenConfirmed, release::the_bytes_stay_until_every_receiver_has_confirmed_the_change),
    (Rule::OrdersNeedProof, repairs::a_torrent_that_comes_back_in_time_causes_no_repair),
    (Rule::Tombstones, removal::a_torrent_that_was_away_does_not_bring_a_deleted_file_back),
    (
        Rule::TombstonesExpire,
        removal::what_another_tracker_accepted_meanwhile_stays_although_it_was_deleted_before,
    ),
    (Rule::OtherTrackersAreTold, removal::it_stays_also_where_only_the_torrents_know_of_the_other_tracker),
    (
        Rule::NeededAgainStays,
        removal::what_is_uploaded_while_its_deletion_is_not_carried_out_yet_is_not_deleted,
    ),
    (Rule::Tombstones, removal::even_one_that_has_forgotten_which_file_its_fragments_were_of),
    (
        Rule::UnknownIsAdopted,
        join_conflicts::files_and_fragments_that_nobody_knew_are_adopted_and_told_to_everybody,
    ),
    (
        Rule::UnknownIsAdopted,
        release::own_bytes_of_a_file_that_only_a_torrent_remembers_stay_until_it_is_back,
    ),
    (Rule::InventoryDecides, join_conflicts::what_a_torrent_does_not_list_it_does_not_have),
    (Rule::InventoryIsProven, damage::what_a_join_lists_is_proven_only_by_the_heartbeat_after_it),
    (Rule::OlderStartsAreIgnored, join::what_an_older_incarnation_said_late_is_ignored),
    (Rule::EarlierRegistrationsAreIgnored, join::what_it_said_before_it_joined_again_is_ignored),
    (Rule::AnswersMatch, join::an_answer_to_an_earlier_request_is_not_taken_for_the_answer_to_this_one),
    (
        Rule::AnswersMatch,
        join::the_confirmation_of_a_later_answer_does_not_confirm_the_inventory_of_a_stale_request,
    ),
    (Rule::StagedAsks, failures::a_lost_obtained_is_said_again_with_the_next_heartbeats),
    (
        Rule::RepeatsAreAnswered,
        failures::an_obtained_that_is_said_again_by_a_holder_is_answered_and_changes_nothing,
    ),
    (Rule::RepeatsAreAnswered, join::a_doubled_request_is_answered_again_with_the_same_answer),
    (Rule::ChangesInOrder, log::changes_during_a_join_are_not_lost),
    (Rule::GapsAreNoticed, log::the_last_change_gets_lost_and_the_torrent_learns_of_it_all_the_same),
    (Rule::OlderTrackersAreIgnored, presence::a_second_tracker_of_a_lower_epoch_is_overruled),
    (Rule::Repair, repairs::what_a_dead_torrent_held_gets_new_holders_once_it_is_gone_for_long_enough),
    (Rule::UndeletedIsTriedAgain, undeleted::what_a_torrent_could_not_delete_is_deleted_later),
    (Rule::UndeletedIsTriedAgain, undeleted::what_the_tracker_could_not_delete_is_deleted_later),
    (Rule::NothingIsMoved, crashes::wherever_a_torrent_crashes_it_has_what_it_said_it_had),
    (Rule::MonotonicClock, leases::a_wall_clock_that_is_set_back_prolongs_no_lease),
    (
        Rule::SubscriptionsAreDisjoint,
        lost_and_doubled::nobody_hears_twice_what_two_of_its_subscriptions_would_fit,
    ),
    (Rule::FewAreUnderWay, distributing::a_broker_that_keeps_a_thousand_messages_for_a_subscriber_drops_none),
    (Rule::BytesToWhoAsked, distributing::the_bytes_go_to_few_receivers_directly_and_to_many_at_once),
    (Rule::SilentAreGone, leases::a_torrent_that_is_silent_without_a_will_loses_its_lease),
    (Rule::AboveEverySeen, presence::a_tracker_that_never_heard_of_another_with_its_epoch_goes_on_above_it),
    (Rule::LowerStepsDown, presence::a_second_tracker_of_a_higher_epoch_makes_the_first_step_down),
    (Rule::OwnEcho, presence::a_tracker_whose_hello_does_not_come_back_stops_deciding),
    (Rule::HelloIsRepeated, presence::a_hello_that_another_tracker_overwrote_is_said_again_at_once),
    (Rule::GoodbyeOfThisRun, presence::the_will_of_an_earlier_connection_is_not_the_goodbye_of_this_one),
];

#[test]
fn no_rule_can_be_left_out() {
    for (rule, scenario) in CASES {
        scenario();
        let without_it = in_silence(|| catch_unwind(|| without(&[rule], scenario)));
        assert!(without_it.is_err(), "nobody noticed that {rule:?} was not kept");
        let place = failed_in().unwrap_or_default();
        assert!(
            place.starts_with("tests/"),
            "{rule:?} was noticed in {place}, and not by a scenario or the simulator"
        );
    }
}

#[test]
fn every_rule_is_tried() {
    let tried: BTreeSet<u8> = CASES.iter().map(|(rule, _)| *rule as u8).collect();
    let all: BTreeSet<u8> = Rule::OF_MACHINES.iter().map(|rule| *rule as u8).collect();
    assert_eq!(tried, all);
}
