//! Every test, for each of the databases.

mod administration;

pub(crate) use administration::administration_tests;

/// Declares each of them as a test on the database that `database()` makes.
macro_rules! database_tests {
    () => {
        suite::database_tests!(@ login:
            refreshed_and_earlier_access_tokens_are_active,
            reused_refresh_token_ends_the_newest_one,
            reused_refresh_token_revokes_the_access_tokens_of_its_family,
            reused_refresh_token_is_audited,
            wrong_credentials_are_unauthenticated_with_one_message,
            wrong_name_costs_as_much_work_as_a_wrong_password,
            right_password_is_throttled_after_five_failures,
            guesses_at_one_account_at_the_same_time_are_no_more_than_one_after_the_other,
            account_throttled_at_one_address_can_log_in_from_another,
            flood_of_logins_from_one_address_leaves_room_for_a_login_from_another,
            login_of_an_address_that_has_its_share_of_checks_costs_the_store_nothing,
            login_that_could_not_be_checked_does_not_count_as_failed,
            refresh_token_of_a_revoked_subject_is_refused,
            revoked_subject_can_log_in_again,
            refresh_token_revoked_again_changes_nothing,
            expired_family_is_purged_after_its_last_second,
            refresh_token_of_a_purged_family_is_refused,
            expired_family_is_kept_until_its_access_tokens_expire,
        );
        suite::database_tests!(@ missing_tables:
            store_without_one_of_its_tables_lets_nobody_in_and_says_so,
        );
        suite::database_tests!(@ own_services:
            passport_is_verified_in_rust_by_the_published_keys,
            revoked_token_is_refused_by_a_service_that_follows_revocations,
        );
        suite::database_tests!(@ refresh:
            concurrent_refreshes_within_the_grace_have_one_successor,
            concurrent_refreshes_without_grace_have_one_successor_that_at_most_one_caller_is_given,
            concurrent_refreshes_without_grace_end_the_family,
            concurrent_refreshes_at_two_replicas_have_one_successor,
            reuse_at_another_replica_ends_the_family_at_the_verifiers_of_both,
        );
        suite::database_tests!(@ oauth:
            client_gets_a_token_with_its_secret_in_the_header_or_the_body,
            wrong_and_unknown_client_are_refused_alike,
            token_of_a_scope_is_allowed_nothing_beside_it,
            passport_of_a_token_of_a_scope_is_allowed_nothing_beside_it,
            malformed_scope_is_refused,
            refresh_over_http_rotates_the_token_and_its_reuse_ends_the_family,
            exchange_over_http_brings_a_passport_that_names_the_client,
            exchange_over_http_needs_a_client_with_the_permission,
            malformed_exchange_is_refused,
            introspection_over_http_needs_a_program,
            introspection_over_http_says_what_a_token_says,
            revocation_over_http_ends_a_token,
            revocation_of_a_passport_over_http_is_refused,
            key_set_has_every_published_key,
            metadata_names_the_endpoints_at_the_configured_url,
            malformed_request_is_refused_before_anything_is_looked_up,
            store_that_is_down_denies_every_endpoint,
        );
        suite::database_tests!(@ api_keys:
            key_brings_a_token_of_its_subject_over_both_faces,
            key_is_allowed_nothing_beside_its_scope,
            wrong_unknown_disabled_and_expired_keys_are_refused_alike,
            disabled_key_ends_its_tokens_and_passports,
            token_ends_no_later_than_its_key,
            rotated_key_is_valid_beside_its_successor_during_the_overlap,
            rotated_key_is_refused_after_the_overlap,
            rotated_key_whose_overlap_is_a_day_ends_no_token_until_it_is_disabled,
            wrong_keys_from_one_address_are_throttled,
            nobody_but_the_gateway_gets_tokens_for_others,
            removed_key_and_key_of_a_removed_subject_are_refused,
            use_of_a_key_is_written_down_once_a_minute,
            store_holds_no_secret_of_a_key,
            key_is_refused_while_the_store_is_down,
            changes_of_keys_are_audited,
            key_made_over_the_network_is_shown_without_its_secret,
            key_made_again_with_its_idempotency_key_has_the_same_text,
            key_rotated_again_with_its_idempotency_key_has_the_same_successor,
            standing_of_a_key_changes_at_the_version_that_was_seen,
            pages_of_keys_name_each_once_in_order,
            key_of_nobody_and_key_with_a_malformed_scope_are_refused,
        );
        suite::database_tests!(@ certificate_identities:
            identity_that_a_gateway_read_brings_a_token_of_its_subject,
            nobody_but_a_gateway_gets_a_token_for_an_identity,
            identity_that_is_unknown_disabled_or_malformed_is_refused_alike,
            unknown_identities_from_one_address_are_throttled_apart_from_keys,
            disabled_identity_ends_its_tokens_and_passports,
            removed_identity_that_is_added_again_revives_no_token,
            identity_of_a_subject_that_is_disabled_or_removed_is_refused,
            use_of_an_identity_is_written_down,
            identity_is_refused_while_the_store_is_down,
            identity_is_one_subjects_alone,
            identity_that_no_certificate_has_is_refused,
            identity_added_again_with_its_idempotency_key_is_added_once,
            standing_of_an_identity_changes_at_the_version_that_was_seen,
            pages_of_identities_name_each_once_in_order,
            changes_of_identities_are_audited,
        );
        suite::database_tests!(@ client_keys:
            client_gets_a_token_with_an_assertion_over_both_faces,
            audience_of_an_assertion_is_the_issuer_or_the_token_endpoint,
            assertion_is_good_once_at_all_replicas,
            assertion_shown_many_times_at_once_brings_one_token,
            used_assertion_is_forgotten_after_its_end,
            client_with_as_many_used_assertions_as_are_remembered_is_throttled,
            assertion_that_was_forged_is_refused_like_an_unknown_client,
            assertion_of_an_unknown_client_costs_as_much_work_as_a_forged_one,
            client_that_authenticates_with_an_assertion_and_something_else_is_refused,
            introspection_and_revocation_take_an_assertion,
            rotated_keys_are_valid_beside_their_successors_during_the_overlap,
            keys_that_no_client_can_have_are_refused,
            client_with_keys_alone_has_no_secret,
            disabled_and_removed_clients_are_refused_with_their_keys,
            assertion_is_refused_while_the_store_is_down,
            changes_of_client_keys_are_audited,
            metadata_names_assertions_and_their_algorithms,
        );
        suite::database_tests!(@ client_key_service:
            client_is_added_with_keys_that_change_over_the_network,
            keys_of_another_version_than_was_seen_are_not_changed,
            key_changes_repeated_with_their_idempotency_key_happen_once,
            key_over_the_network_that_no_client_can_have_is_refused,
        );
        suite::database_tests!(@ device_decisions:
            device_is_claimed_by_token_and_approved_with_the_password,
            device_is_approved_by_no_token_without_the_password,
            administrator_approves_no_device_in_another_persons_name,
            device_that_a_person_denies_gets_nothing_even_where_they_had_approved_it,
            device_that_another_person_has_approved_is_not_denied,
            person_lists_the_devices_that_they_have_claimed_or_approved_alone,
            claim_by_token_ends_the_page_that_was_open,
            guesses_of_user_codes_by_token_are_throttled,
            program_and_stranger_decide_about_no_device,
            administrator_lists_open_devices_in_pages_and_cancels_them,
            cancellation_repeated_with_its_idempotency_key_is_no_error,
            ended_device_is_neither_listed_nor_decided_about,
        );
        suite::database_tests!(@ device:
            device_gets_tokens_once_its_person_has_allowed_it,
            device_whose_person_denies_it_gets_nothing,
            device_code_is_its_clients_alone_at_every_replica,
            client_that_is_configured_no_more_gets_nothing_for_its_codes,
            decision_without_its_ticket_waits_for_no_other_change,
            device_that_asks_too_often_is_told_to_slow_down,
            interval_of_a_device_that_asks_too_often_grows,
            interval_that_is_told_is_no_shorter_than_the_one_that_is_kept,
            device_code_that_has_ended_is_expired_and_not_approved,
            user_code_is_told_from_a_wrong_one_to_nobody_without_the_password,
            guesses_of_user_codes_are_throttled_and_right_ones_bring_no_more,
            approval_falls_with_the_logins_of_its_person,
            one_address_gets_half_of_the_codes_that_may_wait,
            client_that_is_not_configured_gets_no_code,
            without_configured_clients_there_is_no_device_grant,
            page_is_kept_nowhere_and_shown_in_no_frame,
            device_is_refused_while_the_store_is_down,
        );
        suite::database_tests!(@ links:
            link_is_added_listed_and_removed_over_the_network,
            link_of_a_principal_that_changed_meanwhile_is_neither_added_nor_removed,
            link_changes_repeated_with_their_idempotency_key_happen_once,
            pages_of_links_name_each_once_in_order,
            link_of_nobody_and_link_without_a_name_are_refused,
        );
        suite::database_tests!(@ relations:
            owner_may_what_policies_grant_to_owners_of_that_object_alone,
            member_of_a_group_in_a_group_is_in_both,
            removed_relation_ends_decisions_that_verifiers_remember,
            verifier_decides_about_each_object_and_remembers_each_decision,
            decision_that_looks_at_no_relation_outlives_their_changes,
            explanation_names_the_relations_that_were_looked_at,
            somebody_in_more_groups_than_are_looked_at_is_denied,
            name_that_is_given_again_inherits_no_relation,
            relations_written_again_change_nothing,
            relations_of_an_object_that_somebody_else_changed_are_not_written,
            relations_that_can_not_be_are_refused_and_none_is_written,
            relations_are_written_and_listed_with_the_permission_of_their_type_alone,
            changes_that_are_none_are_refused_before_they_are_remembered,
            pages_of_relations_name_each_once_in_order,
            changes_repeated_with_their_idempotency_key_happen_once,
            changes_refused_with_an_idempotency_key_can_be_made_with_it_later,
            relations_are_written_through_the_gateway_in_the_name_of_its_caller,
        );
        suite::database_tests!(@ issuers:
            person_of_a_provider_gets_access_and_refresh_tokens_over_both_faces,
            subject_that_is_not_known_is_let_in_only_where_it_is_provisioned,
            linked_subject_logs_in_as_the_principal_until_it_is_unlinked,
            disabled_principal_is_refused_with_the_token_of_a_provider,
            groups_give_their_roles_and_take_them_away_with_the_next_login,
            forged_token_of_a_provider_is_refused,
            algorithm_that_is_not_configured_is_refused,
            unknown_key_is_asked_for_once_within_the_interval,
            rotated_key_of_a_provider_is_found_and_the_one_before_forgotten,
            keys_serve_while_their_provider_is_down_and_no_longer_than_their_age,
            provider_that_answers_something_else_lets_nobody_in,
            address_of_mail_counts_where_it_was_verified,
            exchange_of_a_foreign_token_for_something_else_is_refused,
            foreign_token_is_refused_while_the_store_is_down,
            token_of_an_issuer_that_is_not_configured_is_refused,
        );
        suite::database_tests!(@ kubernetes:
            reviewed_service_account_gets_a_token_that_ends_with_its_own,
            review_is_remembered_for_the_same_token_alone,
            token_that_the_api_server_does_not_review_as_ours_is_refused,
            reviewed_token_is_held_to_the_checklist_as_well,
            api_server_that_fails_or_is_down_lets_nobody_in,
            service_account_is_a_program_that_is_known_or_linked,
            name_that_is_no_service_account_is_refused,
            service_account_is_verified_by_the_keys_of_the_cluster,
        );
        suite::database_tests!(@ verifier:
            access_token_verifies_with_its_subject_and_tenant,
            allowed_question_brings_a_passport_for_its_upstream_alone,
            decision_asked_again_is_answered_from_memory,
            decision_under_a_policy_over_addresses_holds_for_its_address_alone,
            decision_under_a_policy_over_protocols_holds_for_its_protocol_alone,
            question_without_the_permission_is_refused,
            revoked_token_and_its_passport_are_refused,
            decision_that_does_not_come_ends_with_the_callers_deadline,
            stalled_connection_makes_a_verifier_refuse_within_the_bound,
            subject_revoked_by_another_process_is_refused,
            everything_revoked_by_another_process_is_refused,
            hundred_thousand_revocations_reach_a_verifier,
            restart_of_auth_is_shorter_than_the_bound,
            store_that_is_down_makes_a_verifier_stale,
        );
        suite::database_tests!(@ revocation:
            revoked_token_is_not_active,
            revocation_of_a_passport_is_refused,
            revocation_of_what_is_no_token_changes_nothing,
            later_revocation_is_added_to_earlier_ones,
            revocation_of_what_no_verifier_accepts_is_not_recorded,
            verifier_ahead_of_the_store_is_sent_everything,
            update_has_what_came_together_and_all_of_it_where_that_is_too_much,
            older_store_in_place_of_a_served_one_revives_nothing,
            older_store_revives_nothing_at_an_auth_that_starts_on_it_with_its_mark,
            store_older_than_a_verifier_has_seen_it_revokes_everything,
            what_a_verifier_has_seen_of_another_store_revokes_nothing,
            stream_of_a_verifier_whose_own_token_is_revoked_ends,
            stream_of_a_verifier_that_asks_nothing_ends_with_its_token,
        );
        suite::database_tests!(@ clocks:
            token_is_revoked_by_an_auth_whose_clock_is_an_hour_ahead_or_behind,
            token_revoked_again_changes_nothing,
            revocations_outlive_a_clock_that_was_an_hour_ahead,
            family_ended_after_a_clock_was_an_hour_ahead_takes_its_tokens_along,
            assertion_used_before_a_clock_was_an_hour_ahead_is_refused_after_it,
            grace_of_a_refresh_token_is_no_longer_where_the_clock_was_set_back,
        );
        suite::database_tests!(@ exchange:
            malformed_audience_is_refused,
            exchange_of_a_revoked_token_is_refused_as_revoked,
            passport_of_a_token_within_its_leeway_is_refused_as_expired,
            passport_ends_no_later_than_its_parent,
            passport_is_exchanged_only_by_its_own_audience,
            decision_about_a_passport_is_for_its_own_audience_alone,
            passport_names_its_parent_and_every_actor,
            passport_of_a_passport_is_revoked_with_the_first_parent,
            passport_names_the_holder_of_the_actor_token_and_not_the_caller,
            passport_is_refused_with_the_actor_token_of_another_audience,
            actor_token_of_a_person_is_refused,
            actor_token_of_a_revoked_workload_is_refused_as_revoked,
            passport_names_eight_actors_at_most,
            actor_chain_too_long_names_the_chain_and_no_person,
        );
        suite::database_tests!(@ access:
            store_that_is_down_denies_every_call,
            check_without_a_token_is_refused,
            check_with_a_malformed_token_is_refused,
            person_may_neither_check_nor_explain_nor_exchange_nor_watch,
            introspection_without_a_credential_is_refused,
            workload_may_not_rotate_keys,
            subject_is_revoked_by_an_admin_alone,
            check_of_a_malformed_token_is_an_invalid_argument,
            check_of_a_revoked_token_is_refused,
            check_of_a_passport_decides_for_its_principal,
            check_of_a_passport_brings_one_whose_act_names_every_hop,
            check_of_a_passport_without_its_actor_is_refused,
            check_of_a_revoked_persons_passport_is_refused,
            policy_over_act_sees_the_actors_of_the_passport,
            policy_over_act_sees_the_way_of_a_passport_that_its_audience_asks_about,
            explanation_takes_the_named_actors_into_account,
            explanation_names_the_policy_that_allows,
            explanation_of_another_upstream_is_a_denial,
            explanation_names_what_a_policy_in_shadow_would_decide,
            each_method_requires_the_permission_that_its_contract_declares,
        );
        suite::database_tests!(@ ext_authz:
            request_with_the_permission_passes_with_passport_and_identity,
            passport_of_an_admitted_request_names_the_proxy_as_its_actor,
            request_without_a_credential_is_unauthorized_with_a_challenge,
            request_without_the_permission_is_forbidden,
            request_about_an_object_that_no_proxy_shows_is_forbidden,
            request_with_an_api_key_passes_as_its_subject_within_its_scope,
            api_key_that_was_disabled_is_unauthorized_at_once,
            wrong_api_key_is_unauthorized_and_throttled_by_its_address,
            request_with_a_passport_as_its_credential_is_unauthorized,
            revoked_token_is_unauthorized,
            unknown_method_is_not_found,
            question_without_anything_in_it_is_denied,
            permission_of_the_route_is_asked_for_in_place_of_the_contracts,
            permission_of_the_route_without_an_upstream_is_denied,
            public_method_passes_without_a_credential_and_loses_forged_identities,
            public_method_with_a_bad_credential_is_unauthorized,
            store_that_is_down_denies_requests_of_proxies,
            http_question_is_answered_with_status_and_headers,
        );
        suite::administration_tests!();
    };
    (@ two $module:ident: $($test:ident),* $(,)?) => { $(
        #[tokio::test]
        async fn $test() {
            suite::$module::$test(database().await, database().await).await;
        }
    )* };
    (@ $module:ident: $($test:ident),* $(,)?) => { $(
        #[tokio::test]
        async fn $test() {
            suite::$module::$test(database().await).await;
        }
    )* };
}
pub(crate) use database_tests;
