//! One suite for the store on disk and for its twin in memory.
#![expect(clippy::unwrap_used, reason = "a test that cannot unwrap has failed")]

mod backend;
mod fragments;
mod model;
mod on_disk_only;
mod puts;
mod verify;
mod view;

/// Each test once for each store.
macro_rules! for_both_stores {
    ($($module:ident :: $test:ident),* $(,)?) => {
        mod on_disk {
            $(#[test] fn $test() { crate::$module::$test::<crate::backend::OnDisk>(); })*
        }
        mod in_memory {
            $(#[test] fn $test() { crate::$module::$test::<crate::backend::InMemory>(); })*
        }
    };
}

for_both_stores! {
    fragments::fragments_of_any_size_are_read_back,
    fragments::a_fragment_that_is_not_what_its_name_says_is_refused_alone,
    fragments::a_fragment_is_written_once_however_often_it_is_put,
    fragments::what_is_not_there_is_missing,
    fragments::many_segments_are_one_store,
    fragments::what_was_put_survives_a_crash,
    fragments::a_lost_index_is_rebuilt_from_the_segments,
    fragments::a_torn_tail_is_truncated,
    fragments::a_flipped_bit_is_noticed_and_a_new_copy_taken,
    fragments::a_flipped_bit_does_not_match_the_checksum_either,
    fragments::records_of_the_first_layout_are_read,
    fragments::damage_in_the_middle_costs_only_what_it_hit,
    fragments::segments_full_of_rubbish_are_survived,
    fragments::deleted_fragments_are_gone_for_good,
    fragments::a_segment_in_which_nothing_lives_is_removed,
    fragments::a_deleted_fragment_can_be_put_again,
    fragments::the_reserve_is_left_free,
    fragments::the_writer_stores_and_answers_each_put_once,
    fragments::the_writer_stores_what_its_caller_has_hashed,
    fragments::readers_never_see_wrong_bytes_while_others_delete_and_put,
    puts::a_put_of_what_has_rotted_unnoticed_is_written,
    puts::what_its_caller_has_hashed_is_written_over_rot_too,
    puts::a_put_of_what_would_be_lost_with_the_index_is_written,
    puts::a_copy_that_was_replaced_does_not_come_back,
    verify::a_quarantined_fragment_is_gone_until_it_is_put_again,
    verify::only_what_is_damaged_is_quarantined,
    verify::damage_of_any_kind_is_found,
    verify::a_segment_in_which_everything_is_damaged_is_removed,
    verify::a_walk_in_steps_meets_every_fragment_once,
    verify::a_walk_goes_on_after_a_restart_and_whatever_has_changed,
    view::a_fresh_view_is_empty,
    view::a_view_is_the_same_after_reopening,
    view::a_long_file_and_many_holders_fit,
    view::a_torrent_that_registers_again_holds_only_what_it_says,
    view::a_cleared_view_begins_anew,
    view::meta_values_are_kept,
}

#[test]
fn uploaded_records_are_not_taken_for_ours() {
    fragments::uploaded_records_are_not_taken_for_ours();
}
