//! The contract of [`switchboard_broker::Broker`]: each promise as a test that every broker must pass.
//!
//! A promise is a function of a [`World`](world::World), which makes nodes that share a broker. To put another broker
//! under contract, add a function to [`world`] that makes its worlds, and its name to the list below.

// The promises are functions that tests call, and fail as tests do.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod answers;
mod control;
mod devices;
mod directory;
mod history;
mod ids;
mod kept;
mod memberships;
mod news;
mod node;
mod outbox;
mod places;
mod presence;
mod streams;
mod subscriptions;
mod world;

/// Every promise as a test of one broker.
macro_rules! keeps {
    ($broker:ident: $($noun:ident { $($promise:ident,)* })*) => {
        mod $broker {$(
            mod $noun {$(
                #[tokio::test]
                async fn $promise() {
                    crate::$noun::$promise(&crate::world::$broker().await).await;
                }
            )*}
        )*}
    };
}

macro_rules! contract {
    ($($broker:ident)*) => {$(
        keeps! { $broker:
            streams {
                a_publication_stands_where_its_publisher_was_told,
                offsets_grow_by_one_and_each_publication_names_the_one_before,
                publishing_at_once_from_all_nodes_gives_one_order,
                a_top_is_the_place_of_the_last_publication,
                a_place_given_out_before_the_first_publication_stands,
                tops_of_many_channels_come_in_the_order_asked,
                an_ephemeral_publication_has_no_place_and_leaves_nothing,
                channels_of_the_same_name_are_apart,
                any_text_and_a_large_one_come_back_as_they_were,
            }
            history {
                reading_after_a_place_begins_right_behind_it,
                reading_stops_at_the_limit_and_can_go_on,
                a_limit_of_nothing_still_judges_the_place,
                another_publication_at_the_place_is_a_fork,
                a_place_beyond_the_top_is_a_fork,
                a_place_of_another_epoch_is_a_reset,
                a_place_that_the_stream_no_longer_reaches_is_trimmed,
                a_stream_keeps_what_it_should_and_not_much_more,
                a_stream_ends_its_age_after_the_last_publication_and_its_epoch_goes_on,
            }
            ids {
                repeating_an_id_publishes_once,
                an_id_is_remembered_as_long_as_was_said,
                repeating_an_id_at_once_from_all_nodes_publishes_once,
                an_id_with_another_message_is_a_conflict,
                ids_of_other_publishers_and_channels_are_others,
                an_ephemeral_publication_is_repeated_as_safely,
            }
            outbox {
                what_is_for_the_backend_waits_in_the_order_of_the_stream,
                a_repeated_publish_waits_once,
                a_full_outbox_refuses_and_nothing_is_published,
                an_outbox_outlives_what_the_stream_keeps,
                a_channel_is_claimed_by_one_at_a_time,
                what_is_not_acknowledged_is_given_again,
                a_resting_channel_waits_its_time_whatever_comes,
                nothing_is_overlooked_while_workers_empty_what_others_fill,
                a_dead_letter_is_listed_until_it_is_replayed,
                the_first_who_comes_and_the_last_who_goes_are_told,
                who_was_on_a_node_that_vanished_is_told_to_have_gone_once,
            }
            subscriptions {
                every_subscribed_node_gets_each_publication_once_in_order,
                the_publishing_node_is_no_exception,
                what_is_published_after_the_confirmation_arrives,
                an_ephemeral_publication_arrives_without_a_place,
                a_frame_is_what_the_history_has,
                nobody_gets_what_it_did_not_ask_for,
                asking_twice_changes_nothing,
                after_the_last_unsubscription_nothing_comes,
                who_changes_its_mind_is_subscribed,
                what_was_handed_over_is_flushed,
                a_node_with_its_subscriptions_in_force_is_healthy,
                a_closed_node_hears_nothing_and_publishes_nothing,
            }
            news {
                a_user_comes_once_and_leaves_once_over_all_nodes,
                news_say_what_is_known_of_the_user,
                many_changes_from_all_nodes_are_told_to_everybody_in_one_order,
                who_is_on_a_node_that_closed_is_told_to_have_left_once,
                who_is_on_a_node_that_vanished_is_told_to_have_left_once,
                who_is_on_another_node_too_does_not_leave_with_a_node,
                in_a_crowded_channel_only_the_number_is_told,
            }
            memberships {
                what_one_node_sets_every_node_sees,
                a_room_in_both_lists_is_joined,
                too_many_rooms_change_nothing,
                the_members_of_a_room_come_page_by_page,
                changes_at_once_leave_both_views_in_agreement,
                the_nodes_that_hold_the_user_are_told,
            }
            places {
                the_newest_session_takes_the_place_of_the_oldest,
                a_place_that_was_given_up_is_free,
                who_lost_a_place_does_not_get_it_back,
                circles_and_users_do_not_count_together,
                of_many_that_come_at_once_just_one_stays,
            }
            kept {
                what_one_node_keeps_every_node_finds,
                what_is_kept_lives_as_long_as_was_said_last,
            }
            devices {
                what_one_node_notes_every_node_finds,
                whoever_says_so_the_furthest_place_counts,
                a_place_of_the_stream_that_is_counts_more_than_one_that_was,
                of_too_many_the_one_is_forgotten_that_was_silent_for_longest,
                it_is_remembered_as_long_as_was_said_and_the_epoch_with_it,
            }
            control {
                every_subscribed_node_is_told_and_counted,
                nothing_of_it_is_stored,
                it_keeps_its_place_among_the_publications_of_a_node,
            }
            answers {
                whoever_asks_gets_what_every_node_answered,
                who_waits_for_a_node_that_does_not_answer_waits_no_longer_than_it_wants,
            }
            directory {
                who_is_present_is_listed_page_by_page,
                who_was_only_on_a_node_that_vanished_is_not_listed,
                rooms_are_listed_with_how_many_are_in_them_until_the_last_one_left,
                the_busiest_rooms_come_first,
                sessions_add_up_over_the_nodes_that_live,
                what_is_revoked_is_known_to_all_until_its_end,
                a_stream_is_read_backwards_page_by_page,
                reading_backwards_from_a_place_of_another_stream_finds_nothing,
            }
            presence {
                a_user_counts_once_however_often_it_is_held,
                a_user_is_there_until_its_last_node_lets_go,
                those_present_are_listed_with_what_is_known_of_them,
                a_list_ends_at_its_limit_and_the_count_does_not,
                channels_have_their_own_members,
                many_users_come_at_once,
                a_closed_node_holds_nobody,
                nodes_that_vanished_are_forgotten_even_if_one_comes_back_under_its_name,
                the_last_word_counts_even_if_nobody_waited_for_the_one_before,
            }
        }
    )*};
}

contract! { memory standalone cluster sentinel secured }
