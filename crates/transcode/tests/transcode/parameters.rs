//! Path variables and query parameters, alone and beside a body.

use std::borrow::Cow;

use accord_transcode::{Limits, Plan, Violation, ViolationKind};

use super::kitchen::{SCHEMA, binding, decoded, method, plan, request};

/// The request by a template, a body option, and what the caller sent.
fn bound(template: &str, body: &str, variables: &[&str], query: &str, json: &str) -> Result<String, Violation> {
    let plan = plan("kitchen.Kitchen.Cook", Some(&binding("kitchen.Kitchen.Cook", template, body)));
    let variables: Vec<Cow<'_, str>> = variables.iter().map(|value| Cow::Borrowed(*value)).collect();
    let wire = plan.request(&variables, Some(query).filter(|query| !query.is_empty()), None, json.as_bytes())?;
    Ok(serde_json::to_string(&decoded(&wire)).unwrap())
}

#[test]
fn path_query_and_body_make_one_message() {
    let cases = [
        (("/v1/{text}", "", &["x y"][..], "", ""), r#"{"text":"x y"}"#),
        (
            ("/v1/{int32}/{leaf.name}", "leaf", &["-4", "n"], "", r#"{"minorUnits":2}"#),
            r#"{"int32":-4,"leaf":{"name":"n","minorUnits":2}}"#,
        ),
        (("/v1/{text}", "*", &["path"], "", r#"{"text":"body","flag":true}"#), r#"{"flag":true,"text":"path"}"#),
        (("/v1/{int32}", "*", &["0"], "", r#"{"int32":5}"#), "{}"),
        (("/v1/{colour}", "", &["COLOUR_RED"], "", ""), r#"{"colour":"COLOUR_RED"}"#),
        (("/v1/{colour}", "", &["1"], "", ""), r#"{"colour":"COLOUR_RED"}"#),
        (
            ("/v1", "", &[], "text=a+b%2Bc&flag=true&&numbers=1&numbers=2", ""),
            r#"{"flag":true,"text":"a b+c","numbers":[1,2]}"#,
        ),
        (
            ("/v1", "", &[], "leaf.minor_units=3&leaf.next.name=%C3%A9", ""),
            r#"{"leaf":{"minorUnits":3,"next":{"name":"é"}}}"#,
        ),
        (
            ("/v1", "", &[], "timestamp=2026-01-01T00:00:00Z&duration=3s&mask=aB&mask=c", ""),
            r#"{"timestamp":"2026-01-01T00:00:00Z","duration":"3s","mask":"aB,c"}"#,
        ),
        (
            ("/v1", "", &[], "wrappedNumber=5&wrapped_flag=false&otherName=x", ""),
            r#"{"wrappedNumber":"5","wrappedFlag":false,"otherName":"x"}"#,
        ),
        (
            ("/v1/{timestamp}/{wrapped_number}/{duration}", "", &["2026-01-01T00:00:00Z", "5", "1s"], "", ""),
            r#"{"timestamp":"2026-01-01T00:00:00Z","duration":"1s","wrappedNumber":"5"}"#,
        ),
        (("/v1", "leaf", &[], "text=q", ""), r#"{"text":"q"}"#),
        (("/v1", "leaf", &[], "", "null"), "{}"),
        (("/v1", "choice_leaf", &[], "choiceNumber=1", ""), r#"{"choiceNumber":"1"}"#),
        (("/v1", "leaf_list", &[], "", r#"[{"name":"a"}]"#), r#"{"leafList":[{"name":"a"}]}"#),
        (("/v1", "labels", &[], "", r#"{"a":"b"}"#), r#"{"labels":{"a":"b"}}"#),
    ];
    for ((template, body, variables, query, json), expected) in cases {
        assert_eq!(bound(template, body, variables, query, json).as_deref(), Ok(expected), "{template} {query} {json}");
    }
}

#[test]
fn entries_of_maps_and_values_of_any_form_are_given_in_a_query() {
    // The oracle writes the entries of maps in any order.
    let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    for (query, expected) in [
        (
            "labels[a]=1&labels%5Bb.c%5D=2&switches[true]=-3&palette[7]=COLOUR_RED",
            r#"{"labels":{"a":"1","b.c":"2"},"switches":{"true":"-3"},"palette":{"7":"COLOUR_RED"}}"#,
        ),
        ("sink.labels[a]=1&sink.labels[]=2", r#"{"sink":{"labels":{"":"2","a":"1"}}}"#),
        (
            "struct=%7B%22a%22:[1]%7D&value=null&list=[true]&values=1&values=%22x%22",
            r#"{"struct":{"a":[1.0]},"value":null,"list":[true],"values":[1.0,"x"]}"#,
        ),
    ] {
        let written = bound("/v1", "", &[], query, "").map(|text| value(&text));
        assert_eq!(written, Ok(value(expected)), "{query}");
    }
}

#[test]
fn query_parameter_that_is_wrong_is_named() {
    use ViolationKind::{InvalidValue, Malformed, UnknownField};
    let cases = [
        (("/v1", "", &[][..], "nope=1", ""), "nope", UnknownField),
        (("/v1", "", &[], "leaf.nope=1", ""), "leaf.nope", UnknownField),
        (("/v1", "", &[], "text.x=1", ""), "text.x", UnknownField),
        (("/v1", "", &[], "=1", ""), "", UnknownField),
        (("/v1", "", &[], "leaf=1", ""), "leaf", InvalidValue),
        (("/v1", "", &[], "labels=1", ""), "labels", InvalidValue),
        (("/v1", "", &[], "leafList.name=1", ""), "leafList.name", UnknownField),
        (("/v1", "", &[], "labels[a]=1&labels[a]=2", ""), "labels[a]", InvalidValue),
        (("/v1", "", &[], "leaves[1]=x", ""), "leaves[1]", InvalidValue),
        (("/v1", "", &[], "text[a]=x", ""), "text[a]", InvalidValue),
        (("/v1", "", &[], "nope[a]=x", ""), "nope", UnknownField),
        (("/v1", "", &[], "switches[yes]=1", ""), "switches[yes].key", InvalidValue),
        (("/v1", "", &[], "struct=%7B", ""), "struct", Malformed),
        (("/v1", "", &[], "struct=1", ""), "struct", InvalidValue),
        (("/v1", "", &[], "flag", ""), "flag", InvalidValue),
        (("/v1", "", &[], "text=a&text=b", ""), "text", InvalidValue),
        (("/v1", "", &[], "choiceText=a&choiceLeaf.name=b", ""), "choiceLeaf.name", InvalidValue),
        (("/v1", "", &[], "text=%ff", ""), "text", Malformed),
        (("/v1/{text}", "", &["a"], "text=b", ""), "text", UnknownField),
        (("/v1", "leaf", &[], "leaf.name=b", ""), "leaf.name", UnknownField),
        (("/v1", "*", &[], "flag=true", ""), "flag", UnknownField),
        (("/v1/{int32}", "", &["x"], "", ""), "int32", InvalidValue),
        (("/v1/{leaf.minor_units}", "", &["x"], "", ""), "leaf.minorUnits", InvalidValue),
        (("/v1", "", &[], "", r#"{"text":"a"}"#), "", Malformed),
        (("/v1/{choice_text}", "", &["a"], "choiceNumber=1", ""), "choiceNumber", InvalidValue),
        (("/v1", "choice_leaf", &[], "choiceNumber=1", "{}"), "choiceNumber", InvalidValue),
    ];
    for ((template, body, variables, query, json), field, kind) in cases {
        let violation = bound(template, body, variables, query, json).expect_err(query);
        assert_eq!((violation.field.as_str(), violation.kind), (field, kind), "{query}: {violation}");
    }
}

#[test]
fn query_parameter_that_is_ignored_is_of_no_consequence() {
    let ignored = ["key", "utm_*", "text"].map(Box::from);
    let binding = binding("kitchen.Kitchen.Cook", "/v1", "");
    let plan = plan("kitchen.Kitchen.Cook", Some(&binding)).ignoring(ignored.into());
    let request = |query| plan.request(&[], Some(query), None, b"");
    assert_eq!(request("key=1&utm_source=x&flag=true&text=y&key=2").unwrap(), request("flag=true").unwrap());
    for unknown in ["keys=1", "xutm_=1", "utm=1"] {
        assert_eq!(request(unknown).unwrap_err().kind, ViolationKind::UnknownField, "{unknown}");
    }
}

#[test]
fn query_parameter_has_the_depth_limit_of_a_body() {
    let path = |levels: usize| format!("{}text=x", "sink.".repeat(levels - 1));
    assert!(bound("/v1", "", &[], &path(64), "").is_ok());
    for levels in [65, 13_000] {
        let violation = bound("/v1", "", &[], &path(levels), "").unwrap_err();
        assert_eq!((violation.kind, violation.problem.as_str()), (ViolationKind::Malformed, "nested too deeply"));
    }
}

#[test]
fn violation_repeats_a_long_name_only_in_part() {
    let name = "é".repeat(100_000);
    let violation = request(&format!(r#"{{"struct": {{"{name}": {{"{name}": 1e999}}}}}}"#)).unwrap_err();
    assert_eq!(violation.field.chars().filter(|character| *character == 'é').count(), 256);
    let violation = bound("/v1", "", &[], &format!("{name}=%ff"), "").unwrap_err();
    assert_eq!(violation.field.chars().count(), 128);
}

#[test]
fn path_template_that_does_not_fit_its_message_is_refused_at_compile_time() {
    for template in ["/v1/{nope}", "/v1/{leaf}", "/v1/{numbers}", "/v1/{labels}", "/v1/{leaf_list.name}"] {
        let binding = binding("kitchen.Kitchen.Cook", template, "");
        let plan = Plan::compile(&SCHEMA, &method("kitchen.Kitchen.Cook"), Some(&binding), Limits::default());
        assert!(plan.is_err(), "{template}");
    }
}

#[test]
fn field_bound_twice_is_refused_at_compile_time() {
    for (template, body, words) in [
        ("/v1/{choice_text}/{choice_number}", "", "path variable choice_number of kitchen.Sink: excludes another"),
        ("/v1/{choice_text}", "choice_leaf", "body choiceLeaf: excludes another"),
        ("/v1/{text}", "text", "body text: is given twice"),
        ("/v1/{timestamp.seconds}", "", "path variable timestamp.seconds of kitchen.Sink: there is no such field"),
    ] {
        let binding = binding("kitchen.Kitchen.Cook", template, body);
        let plan = Plan::compile(&SCHEMA, &method("kitchen.Kitchen.Cook"), Some(&binding), Limits::default());
        let said = plan.unwrap_err().to_string();
        assert!(said.starts_with(words) && said.contains("; "), "{said}");
    }
}
