use serde_json::{Value, json};

use super::*;

fn endpoint(address: &str, conditions: &Value) -> Value {
    json!({"addresses": [address], "conditions": conditions})
}

fn slice(name: &str, endpoints: &Value) -> EndpointSlice {
    let ports =
        json!([{"name": "grpc", "port": 9000, "protocol": "TCP"}, {"name": "quic", "port": 9000, "protocol": "UDP"}]);
    let slice = json!({"metadata": {"name": name}, "addressType": "IPv4", "endpoints": endpoints, "ports": ports});
    serde_json::from_value(slice).unwrap()
}

fn url() -> Arc<Url> {
    Arc::new(Url::parse("http+k8s://catalog.shop:grpc").unwrap())
}

fn found(slices: impl IntoIterator<Item = EndpointSlice>, port: &ServicePort) -> Vec<Discovered> {
    let mut all = Slices::default();
    all.replace(slices);
    all.endpoints(&url(), port)
}

fn grpc() -> ServicePort {
    ServicePort::Name("grpc".into())
}

fn addresses(slices: impl IntoIterator<Item = EndpointSlice>) -> Vec<String> {
    found(slices, &grpc()).iter().map(|found| found.address.socket.to_string()).collect()
}

const READY: (&str, &str) = ("10.0.0.1", r#"{"ready": true, "serving": true, "terminating": false}"#);
const TERMINATING: (&str, &str) = ("10.0.0.2", r#"{"ready": false, "serving": true, "terminating": true}"#);
const GONE: (&str, &str) = ("10.0.0.3", r#"{"ready": false, "serving": false, "terminating": true}"#);
const STARTING: (&str, &str) = ("10.0.0.4", r#"{"ready": false, "serving": false, "terminating": false}"#);
const SILENT: (&str, &str) = ("10.0.0.5", "{}");

fn with(endpoints: &[(&str, &str)]) -> [EndpointSlice; 1] {
    let all = endpoints.iter().map(|(address, it)| endpoint(address, &serde_json::from_str(it).unwrap()));
    [slice("a", &all.collect())]
}

#[test]
fn ready_endpoints_are_used_and_no_other() {
    assert_eq!(addresses(with(&[READY, TERMINATING, GONE, STARTING])), ["10.0.0.1:9000"]);
}

#[test]
fn terminating_endpoints_that_serve_are_used_where_none_is_ready() {
    assert_eq!(addresses(with(&[TERMINATING, GONE, STARTING])), ["10.0.0.2:9000"]);
}

#[test]
fn endpoint_whose_conditions_are_not_said_counts_as_ready() {
    assert_eq!(addresses(with(&[SILENT, TERMINATING])), ["10.0.0.5:9000"]);
}

#[test]
fn pod_of_both_families_counts_once_with_its_address_of_ipv4() {
    let pod = |address: &str, uid: &str| json!({"addresses": [address], "targetRef": {"kind": "Pod", "uid": uid}});
    let six = slice("six", &json!([pod("fd00::1", "one"), pod("fd00::2", "two")]));
    let four = slice("four", &json!([pod("10.0.0.1", "one")]));
    assert_eq!(addresses([six, four]), ["10.0.0.1:9000", "[fd00::2]:9000"]);
}

#[test]
fn endpoint_that_is_a_name_is_left_out() {
    let names = json!([endpoint("catalog.example", &json!({})), endpoint("10.0.0.1", &json!({}))]);
    assert_eq!(addresses([slice("a", &names)]), ["10.0.0.1:9000"]);
}

#[test]
fn port_is_found_by_its_number_or_its_name_and_no_other_is_taken() {
    let one = slice("a", &json!([endpoint("10.0.0.1", &json!({}))]));
    let count = |port: ServicePort| found([one.clone()], &port).len();
    assert_eq!((count(ServicePort::Number(9000)), count(grpc())), (1, 1));
    assert_eq!((count(ServicePort::Number(80)), count(ServicePort::Name("quic".into()))), (0, 0));
}

#[test]
fn ports_are_told_with_their_names() {
    let mut slices = Slices::default();
    slices.insert(slice("a", &json!([])));
    assert_eq!(slices.ports(), "grpc (9000), quic (9000)");
}

#[test]
fn zone_and_hints_are_read() {
    let hinted =
        json!([{"addresses": ["10.0.0.1"], "zone": "b", "hints": {"forZones": [{"name": "a"}, {"name": "b"}]}}]);
    let found = found([slice("a", &hinted)], &grpc());
    assert_eq!((found[0].zone.as_deref(), found[0].for_zones.len()), (Some("b"), 2));
}
