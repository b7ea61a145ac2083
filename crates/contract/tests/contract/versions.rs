//! `cache.version_field`: which fields can be the version of an answer.

use accord_wire::VersionPath;

use crate::fixture::{accepted, findings, reading, refused};

fn versioned(path: &str) -> accord_contract::Source {
    reading(&format!("cache: {{ ttl: {{ seconds: 1 }} version_field: \"{path}\" }}"))
}

fn version(path: &str) -> Option<VersionPath> {
    accepted(versioned(path), &[]).policy.cache.as_ref().unwrap().version.clone()
}

#[test]
fn integers_and_times_of_the_answer_are_versions() {
    assert!(matches!(version("count"), Some(VersionPath::Number(_))));
    assert!(matches!(version("item.inside.change_time"), Some(VersionPath::Time { .. })));
    assert_eq!(version(""), None);
}

#[test]
fn version_without_an_order_is_refused() {
    for path in ["item.id", "item.price", "item.color", "item"] {
        refused(
            &findings(versioned(path)),
            "cache.version_field",
            "nobody can say which of two of its values is the newer",
        );
    }
}

#[test]
fn version_that_is_no_singular_field_is_refused() {
    refused(&findings(versioned("items.id")), "cache.version_field", "repeated");
    refused(&findings(versioned("id")), "cache.version_field", "has no field");
}
