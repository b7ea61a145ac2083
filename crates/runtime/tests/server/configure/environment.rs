//! Variables of the environment that are no keys.

use super::*;

#[test]
fn variable_of_a_key_with_single_underscores_is_refused_with_the_name_meant() {
    let message = refused("", &[("ACCORD_STORY_LISTEN_MAX_STREAMS", "7")]);
    assert_says(&message, &["variable ACCORD_STORY_LISTEN_MAX_STREAMS", "name it ACCORD_STORY__LISTEN__MAX_STREAMS"]);
    let message = refused("", &[("ACCORD_STORY_LISTEN__TLS_CERT_FILE", "x")]);
    assert_says(&message, &["name it ACCORD_STORY__LISTEN__TLS__CERT_FILE"]);
}

#[test]
fn variable_of_another_program_is_ignored() {
    let kubernetes =
        ["_SERVICE_HOST", "_SERVICE_PORT", "_PORT", "_PORT_8080_TCP", "_PORT_8080_TCP_ADDR", "_CONFIG", "WAY"];
    for name in kubernetes {
        let name = format!("ACCORD_STORY{name}");
        assert!(read("", &[(&name, "x")], Overrides::default()).is_ok(), "{name}");
    }
}
