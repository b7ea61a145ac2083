//! Every test, for each of the databases.

/// Declares each of them as a test on the database that `database()` makes.
macro_rules! database_tests {
    () => {
        suite::database_tests!(@ login:
            refreshed_and_earlier_access_tokens_are_active,
            reused_refresh_token_ends_the_newest_one,
            reused_refresh_token_revokes_the_access_tokens_of_its_family,
            reused_refresh_token_is_audited,
            concurrent_refreshes_within_the_grace_have_one_successor,
            concurrent_refreshes_without_grace_have_at_most_one_answer,
            concurrent_refreshes_without_grace_end_the_family,
            wrong_credentials_are_unauthenticated_with_one_message,
            right_password_is_throttled_after_five_failures,
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
            verifier_ahead_of_the_store_is_sent_everything,
            older_store_in_place_of_a_served_one_revives_nothing,
            store_older_than_a_verifier_has_seen_it_revokes_everything,
            what_a_verifier_has_seen_of_another_store_revokes_nothing,
            stream_of_a_verifier_whose_own_token_is_revoked_ends,
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
        suite::database_tests!(@ account:
            changed_password_ends_every_login_and_is_the_only_one,
            change_with_a_wrong_password_is_refused_and_throttled,
            new_password_too_short_or_too_long_is_refused_before_anything_is_checked,
            reset_code_sets_another_password_once,
            reset_code_that_was_replaced_or_guessed_is_refused,
            reset_code_is_for_persons_alone,
            login_takes_a_code_from_the_confirmation_on,
            code_that_was_used_is_refused,
            guesses_of_a_code_are_throttled,
            password_is_not_changed_without_the_second_factor,
            confirmed_second_factor_is_replaced_only_once_it_is_removed,
            administrator_drops_a_lost_second_factor,
            program_has_no_account_to_care_for,
            person_ends_their_own_logins_and_nobody_elses,
        );
        suite::database_tests!(@ admin_service:
            person_without_the_role_administers_nothing,
            pages_of_principals_name_each_once_in_order,
            page_token_that_was_not_given_is_refused,
            added_person_can_log_in_with_the_password,
            client_added_again_with_its_key_has_the_same_secret,
            key_of_another_request_is_refused_and_changes_nothing,
            client_added_without_a_key_is_not_added_twice,
            rotated_client_has_a_new_secret_and_the_one_before_for_a_while,
            change_of_a_principal_that_changed_meanwhile_is_aborted,
            disabled_principal_is_locked_out_until_it_is_enabled,
            ended_session_is_renewed_no_more_and_others_are,
            revoked_subject_has_no_session,
            audit_entries_name_the_administrator_who_called,
            administrator_may_call_through_the_gateway_and_through_no_other_service,
        );
        suite::database_tests!(@ two backup:
            restored_store_lets_in_whom_the_backup_has_and_accepts_no_earlier_token,
            audit_log_goes_on_behind_the_restored_one,
            backup_is_restored_into_an_empty_store_alone,
            backup_that_was_cut_or_changed_restores_nothing,
            backup_of_another_version_is_refused_with_the_way_out,
            backup_whose_file_is_full_is_an_error,
        );
        suite::database_tests!(@ key_rotation:
            rotated_key_is_published_before_it_signs,
            rotated_key_signs_once_it_was_published_long_enough,
            tokens_of_the_key_before_still_verify,
            retired_key_loses_its_private_half_and_then_its_public_one,
            concurrent_rotations_leave_one_signing_key_at_any_moment,
            retired_key_is_neither_published_nor_accepted,
            first_key_signs_on_a_replica_whose_clock_is_behind,
            key_encrypted_with_another_encryption_key_fails_the_start,
        );
        suite::database_tests!(@ admin:
            client_that_exists_keeps_its_secret,
            rotated_client_logs_in_with_either_secret_during_the_overlap,
            earlier_client_secret_is_refused_after_the_overlap,
            client_has_two_valid_secrets_at_most,
            rotation_to_the_same_secret_is_refused,
            disabled_principal_can_neither_log_in_nor_use_its_tokens,
            enabled_principal_can_log_in_again,
            name_of_a_removed_principal_is_free_and_its_tokens_stay_revoked,
            removed_client_can_be_added_again_with_another_secret,
            list_names_principals_with_their_roles_and_clients_apart,
            principal_that_exists_keeps_its_password,
            password_too_short_or_too_long_is_refused,
            granted_role_shows_in_the_next_token,
            granted_role_revokes_tokens_that_do_not_show_it,
            removed_role_revokes_tokens_that_show_it,
            removing_a_role_that_is_not_held_is_refused,
            client_under_a_principals_name_is_refused,
            client_secret_too_short_is_refused,
            malformed_name_is_refused,
            principal_with_more_roles_than_a_token_holds_is_refused,
            roles_are_granted_only_as_long_as_a_token_holds_them,
            token_lifetime_out_of_bounds_is_refused,
            changed_or_deleted_audit_row_breaks_the_chain,
            change_that_cannot_be_audited_does_not_happen,
            truncated_audit_log_breaks_the_chain,
            client_added_by_two_replicas_at_once_is_added_once,
            new_store_can_be_opened_by_two_processes_at_once,
            store_of_the_previous_build_is_migrated_with_its_data,
        );
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
