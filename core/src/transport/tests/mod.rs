//! Transports over simulated streams, under seeds.
//!
//! The laws are in `world.rs`: what is delivered is exactly what was sent, in order and once, to
//! whom it was sent; never from a node that has lost its disk; never while the peer is not up;
//! at most one cluster; `Transport::check` after every step.
//!
//! Each was shown to fail, by hand, with these mistakes:
//!
//! | mistake | found by |
//! |---|---|
//! | who has pledged calls itself formed at once | one cluster; `lists_that_differ_form_nothing_and_say_so` |
//! | a peer's disk is not compared | never heard after it lost its disk; `a_node_that_lost_its_disk_is_told_to_take_a_new_id` |
//! | bulk goes before control | `control_goes_before_a_backlog_of_bulk` |
//! | queues have no bound | `Transport::check` |
//! | a dial that failed is never repeated | all find each other |
//! | silence is not noticed | `a_silent_or_deaf_peer_is_noticed_and_found_again` |
//! | a message is delivered twice | in order and once |
//! | a peer is announced before its start is noted | `nobody_is_heard_before_its_start_is_noted` |
//! | the ends of two connections prefer different ones | `both_ends_keep_the_same_connection` |
//! | what is learned of others is not passed on | `a_node_alone_is_a_cluster_and_others_join_it` |

mod formation;
mod priority;
mod refusals;
mod torture;
mod world;
