//! The tables, and the steps that lead to them.

use accord_store::Migrations;

/// All of them, each after those that it refers to.
pub const TABLES: &[&str] = &[
    "meta",
    "principals",
    "roles",
    "clients",
    "families",
    "family_tokens",
    "revoked",
    "keys",
    "audit",
    "admin_requests",
    "second_factors",
    "reset_codes",
    "api_keys",
    "client_keys",
    "used_assertions",
    "relations",
    "objects",
    "links",
    "certificate_identities",
    "device_codes",
];

pub(super) const MIGRATIONS: Migrations = Migrations {
    table: "schema_steps",
    lock: 4_702_111_234_474_983_745,
    steps: &[
        FIRST,
        &["INSERT INTO meta (name, value) SELECT 'audit', COUNT(*) FROM audit"],
        &[
            "CREATE INDEX revoked_by_revision ON revoked (revision)",
            "CREATE INDEX principals_by_epoch_revision ON principals (epoch_revision)",
        ],
        &[
            "ALTER TABLE principals ADD COLUMN standing BIGINT NOT NULL DEFAULT 0",
            "ALTER TABLE clients ADD COLUMN earlier_hash TEXT NOT NULL DEFAULT ''",
            "ALTER TABLE clients ADD COLUMN earlier_until BIGINT NOT NULL DEFAULT 0",
        ],
        // Named when the store is opened: the two engines draw random numbers differently.
        &["INSERT INTO meta (name, value) VALUES ('store', 0)"],
        &[
            "CREATE TABLE admin_requests (
                actor TEXT NOT NULL, key TEXT NOT NULL, digest TEXT NOT NULL, nonce TEXT NOT NULL, at BIGINT NOT NULL,
                PRIMARY KEY (actor, key))",
            "CREATE INDEX families_by_subject ON families (subject)",
        ],
        &[
            "CREATE TABLE second_factors (
                subject TEXT PRIMARY KEY REFERENCES principals (subject), secret TEXT NOT NULL, confirmed BIGINT NOT NULL,
                last_step BIGINT NOT NULL)",
            "CREATE TABLE reset_codes (
                subject TEXT PRIMARY KEY REFERENCES principals (subject), hash TEXT NOT NULL, expires_at BIGINT NOT NULL)",
        ],
        &[
            "CREATE TABLE api_keys (
                id TEXT PRIMARY KEY, subject TEXT NOT NULL REFERENCES principals (subject), mac TEXT NOT NULL,
                note TEXT NOT NULL, scope TEXT NOT NULL, created_at BIGINT NOT NULL, expires_at BIGINT NOT NULL,
                disabled BIGINT NOT NULL, edition BIGINT NOT NULL, used_at BIGINT NOT NULL)",
            "CREATE INDEX api_keys_by_subject ON api_keys (subject)",
        ],
        &[
            // The build before takes clients away, and knows nothing of their keys.
            "CREATE TABLE client_keys (
                client TEXT NOT NULL REFERENCES clients (id) ON DELETE CASCADE, kid TEXT NOT NULL, jwk TEXT NOT NULL,
                added_at BIGINT NOT NULL, expires_at BIGINT NOT NULL, PRIMARY KEY (client, kid))",
            "CREATE TABLE used_assertions (
                client TEXT NOT NULL, digest TEXT NOT NULL, expires_at BIGINT NOT NULL, PRIMARY KEY (client, digest))",
            "CREATE INDEX used_assertions_by_end ON used_assertions (expires_at)",
        ],
        &["ALTER TABLE api_keys ADD COLUMN version BIGINT NOT NULL DEFAULT 1"],
        &[
            "CREATE TABLE relations (
                object TEXT NOT NULL, relation TEXT NOT NULL, subject TEXT NOT NULL, type TEXT NOT NULL,
                PRIMARY KEY (object, relation, subject))",
            "CREATE INDEX relations_by_subject ON relations (subject, type)",
            "CREATE TABLE objects (name TEXT PRIMARY KEY, version BIGINT NOT NULL)",
            "INSERT INTO meta (name, value) VALUES ('relations', 1)",
        ],
        &[
            "CREATE TABLE links (
                issuer TEXT NOT NULL, external TEXT NOT NULL, subject TEXT NOT NULL REFERENCES principals (subject),
                PRIMARY KEY (issuer, external))",
            "CREATE INDEX links_by_subject ON links (subject)",
        ],
        &[
            "CREATE TABLE certificate_identities (
                id TEXT PRIMARY KEY, identity TEXT NOT NULL UNIQUE, subject TEXT NOT NULL REFERENCES principals (subject),
                note TEXT NOT NULL, created_at BIGINT NOT NULL, disabled BIGINT NOT NULL, edition BIGINT NOT NULL,
                used_at BIGINT NOT NULL, version BIGINT NOT NULL)",
            "CREATE INDEX certificate_identities_by_subject ON certificate_identities (subject)",
        ],
        &["ALTER TABLE admin_requests ADD COLUMN answer TEXT NOT NULL DEFAULT ''"],
        // The version of a store that nothing was changed in: no change is of it.
        &["ALTER TABLE clients ADD COLUMN keys_version BIGINT NOT NULL DEFAULT 1"],
        &[
            "CREATE TABLE device_codes (
                hash TEXT PRIMARY KEY, user_code TEXT NOT NULL UNIQUE, client TEXT NOT NULL, network TEXT NOT NULL,
                expires_at BIGINT NOT NULL, poll_interval BIGINT NOT NULL, polled_at BIGINT NOT NULL, decision BIGINT NOT NULL,
                ticket TEXT NOT NULL, subject TEXT NOT NULL, epoch BIGINT NOT NULL, global_epoch BIGINT NOT NULL)",
            "CREATE INDEX device_codes_by_end ON device_codes (expires_at)",
        ],
        // Tickets are looked up for whoever asks.
        &["CREATE INDEX device_codes_by_ticket ON device_codes (ticket)"],
        // Assertions outlive their end by far, and those that have not ended are counted at each use.
        &["CREATE INDEX used_assertions_by_client_and_end ON used_assertions (client, expires_at)"],
        // Which encryption key a row needs; empty where a build before this step wrote it.
        &[
            "ALTER TABLE families ADD COLUMN key_id TEXT NOT NULL DEFAULT ''",
            "ALTER TABLE api_keys ADD COLUMN key_id TEXT NOT NULL DEFAULT ''",
            "ALTER TABLE admin_requests ADD COLUMN key_id TEXT NOT NULL DEFAULT ''",
        ],
        &["INSERT INTO meta (name, value) VALUES ('retired_keys', 0)"],
        &["CREATE INDEX roles_by_role ON roles (role, subject)"],
    ],
};

const FIRST: &[&str] = &[
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value BIGINT NOT NULL)",
    "INSERT INTO meta (name, value) VALUES ('revision', 1), ('global_epoch', 0)",
    "CREATE TABLE principals (
        subject TEXT PRIMARY KEY, kind TEXT NOT NULL, tenant TEXT NOT NULL, password TEXT NOT NULL,
        epoch BIGINT NOT NULL, epoch_at BIGINT NOT NULL, epoch_revision BIGINT NOT NULL)",
    "CREATE TABLE roles (
        subject TEXT NOT NULL REFERENCES principals (subject), role TEXT NOT NULL, PRIMARY KEY (subject, role))",
    "CREATE TABLE clients (
        id TEXT PRIMARY KEY, subject TEXT NOT NULL REFERENCES principals (subject), secret_hash TEXT NOT NULL)",
    "CREATE TABLE families (
        id TEXT PRIMARY KEY, subject TEXT NOT NULL REFERENCES principals (subject), epoch BIGINT NOT NULL,
        global_epoch BIGINT NOT NULL, generation BIGINT NOT NULL, rotated_at BIGINT NOT NULL,
        expires_at BIGINT NOT NULL, dead BIGINT NOT NULL)",
    "CREATE TABLE family_tokens (
        jti TEXT PRIMARY KEY, family TEXT NOT NULL REFERENCES families (id), expires_at BIGINT NOT NULL)",
    "CREATE INDEX family_tokens_by_family ON family_tokens (family)",
    "CREATE TABLE revoked (jti TEXT PRIMARY KEY, expires_at BIGINT NOT NULL, revision BIGINT NOT NULL)",
    "CREATE TABLE keys (
        kid TEXT PRIMARY KEY, algorithm TEXT NOT NULL, public TEXT NOT NULL, private TEXT NOT NULL,
        signs_from BIGINT NOT NULL, signs_until BIGINT NOT NULL, gone_at BIGINT NOT NULL)",
    "CREATE TABLE audit (
        seq BIGINT PRIMARY KEY, at BIGINT NOT NULL, actor TEXT NOT NULL, action TEXT NOT NULL, target TEXT NOT NULL,
        previous TEXT NOT NULL, hash TEXT NOT NULL)",
];
