//! RFC 9113 by section: what a client must not send, and how the connection or the stream ends for it.
//!
//! h2 says `PROTOCOL_ERROR` of most frames that it can't read, where the RFC has a code of its own for their size, their header
//! block or a setting. What counts is that the connection ends, so either code passes; where h2 has the RFC's own, a row that asks
//! for `PROTOCOL_ERROR` has no such choice.

use std::time::Duration;

use accord_runtime::server::ListenConfig;

use crate::{
    probe::{Port, serve},
    wire::{
        CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PRIORITY, PUSH_PROMISE, RST_STREAM,
        SETTINGS, WINDOW_UPDATE, Wire, block, field, frame,
    },
};

const GRACE: Duration = Duration::from_secs(1);
const ACK: u8 = 1;
const PADDED: u8 = 8;

// Section 7: error codes.
const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE_ERROR: u32 = 6;
const COMPRESSION_ERROR: u32 = 9;

// RFC 7541, appendix A: `:status` in the static table, as a field.
const STATUS_200: u8 = 0x88;
const STATUS_400: u8 = 0x8c;

async fn server() -> Port {
    serve(&ListenConfig::default(), GRACE).await
}

/// A call that waits for an answer, so that its stream stays as the client left it.
fn call(flags: u8) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | flags, 1, &block("Never"))
}

fn setting(id: u16, value: u32) -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
}

/// A call whose header block consists of these fields.
fn headers(fields: &[(&str, &str)]) -> Vec<u8> {
    let block: Vec<u8> = fields.iter().flat_map(|(name, value)| field(name, value)).collect();
    frame(HEADERS, END_HEADERS | END_STREAM, 1, &block)
}

/// The fields that each request has, apart from those named.
fn but(names: &[&str]) -> Vec<(&'static str, &'static str)> {
    let all = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/probe.v1.Probe/Answer"),
        (":authority", "probe"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    all.into_iter().filter(|(name, _)| !names.contains(name)).collect()
}

/// The connection ends with this code.
async fn ends_connection(frames: &[u8], code: u32) {
    let port = server().await;
    let mut wire = Wire::open(port.address, &[]).await;
    wire.say(frames).await;
    let said = wire.closed().await;
    assert!([Some(code), Some(PROTOCOL_ERROR)].contains(&said), "{said:?} in place of {code}");
}

/// The stream ends with this code, or the connection: section 5.4.2 leaves both to the server.
async fn ends_stream(frames: &[u8], code: u32) {
    let port = server().await;
    let mut wire = Wire::open(port.address, &[]).await;
    wire.say(frames).await;
    let (kind, payload) = wire.next_of(&[RST_STREAM, GOAWAY]).await.expect("an error before the end");
    let said = if kind == GOAWAY { &payload[4..8] } else { &payload[..] };
    let said = u32::from_be_bytes(said.try_into().unwrap());
    assert!([code, PROTOCOL_ERROR].contains(&said), "{said} in place of {code}");
}

/// The request is malformed (section 8.1.1): its stream ends, and no handler sees it.
async fn is_malformed(fields: &[(&str, &str)]) {
    let port = server().await;
    let mut wire = Wire::open(port.address, &[]).await;
    wire.say(&headers(fields)).await;
    let (_, payload) = wire.next_of(&[RST_STREAM, GOAWAY]).await.expect("an error before the end");
    assert_eq!(u32::from_be_bytes(payload[payload.len() - 4..].try_into().unwrap()), PROTOCOL_ERROR, "{fields:?}");
    assert_eq!(port.probe.calls(), 0, "{fields:?}");
}

/// The request is malformed, and its stream alone is answered with 400.
async fn is_bad_request(fields: &[(&str, &str)]) {
    let (port, status) = answered(fields).await;
    assert_eq!(status, STATUS_400, "{fields:?}");
    assert_eq!(port.probe.calls(), 0, "{fields:?}");
}

/// The first field of the answer, which is its status.
async fn answered(fields: &[(&str, &str)]) -> (Port, u8) {
    let port = server().await;
    let mut wire = Wire::open(port.address, &[]).await;
    wire.say(&headers(fields)).await;
    let (kind, payload) = wire.next_of(&[HEADERS, RST_STREAM, GOAWAY]).await.expect("an answer");
    assert_eq!(kind, HEADERS, "{fields:?}");
    (port, payload[0])
}

/// The frames change nothing: a ping behind them is answered.
async fn is_ignored(frames: &[u8]) {
    let port = server().await;
    let mut wire = Wire::open(port.address, &[]).await;
    wire.say(frames).await;
    wire.say(&frame(PING, 0, 0, b"answered")).await;
    assert_eq!(wire.next(PING).await.as_deref(), Some(&b"answered"[..]));
}

#[tokio::test]
async fn section_4_1_frame_of_an_unknown_type_is_ignored() {
    is_ignored(&frame(0x16, 0, 0, b"whatever")).await;
}

#[tokio::test]
async fn section_4_1_undefined_flags_are_ignored() {
    let port = server().await;
    let mut wire = Wire::open(port.address, &[]).await;
    wire.say(&frame(PING, !ACK, 0, b"with all")).await;
    assert_eq!(wire.next(PING).await.as_deref(), Some(&b"with all"[..]));
}

#[tokio::test]
async fn section_4_2_frame_over_the_maximum_size_is_frame_size_error() {
    ends_stream(&[call(0), frame(DATA, 0, 1, &vec![0; 16_385])].concat(), FRAME_SIZE_ERROR).await;
}

#[tokio::test]
async fn section_4_3_header_block_that_is_not_hpack_is_compression_error() {
    ends_connection(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0xff; 8]), COMPRESSION_ERROR).await;
}

#[tokio::test]
async fn section_5_1_frame_on_an_idle_stream_is_protocol_error() {
    for (kind, payload) in [(DATA, &b"x"[..]), (RST_STREAM, &[0, 0, 0, 8]), (WINDOW_UPDATE, &[0, 0, 0, 1])] {
        ends_connection(&frame(kind, 0, 1, payload), PROTOCOL_ERROR).await;
    }
}

#[tokio::test]
async fn section_5_1_data_after_the_end_of_the_stream_is_stream_closed() {
    ends_stream(&[call(END_STREAM), frame(DATA, END_STREAM, 1, b"x")].concat(), STREAM_CLOSED).await;
}

#[tokio::test]
async fn section_5_1_1_stream_of_an_even_number_is_protocol_error() {
    ends_connection(&frame(HEADERS, END_HEADERS | END_STREAM, 2, &block("Answer")), PROTOCOL_ERROR).await;
}

#[tokio::test]
async fn section_5_1_1_stream_with_a_lower_number_is_a_connection_error() {
    let port = server().await;
    let mut wire = Wire::open(port.address, &[]).await;
    let numbered = |stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, &block("Answer"));
    wire.say(&[numbered(5), numbered(3)].concat()).await;
    let code = wire.closed().await;
    assert!([Some(PROTOCOL_ERROR), Some(STREAM_CLOSED)].contains(&code), "{code:?}");
}

#[tokio::test]
async fn section_6_1_data_without_a_stream_is_protocol_error() {
    ends_connection(&frame(DATA, 0, 0, b"x"), PROTOCOL_ERROR).await;
}

#[tokio::test]
async fn section_6_1_padding_longer_than_its_frame_is_protocol_error() {
    ends_connection(&[call(0), frame(DATA, PADDED, 1, &[9, 0, 0])].concat(), PROTOCOL_ERROR).await;
}

#[tokio::test]
async fn section_6_2_headers_without_a_stream_are_protocol_error() {
    ends_connection(&frame(HEADERS, END_HEADERS | END_STREAM, 0, &block("Answer")), PROTOCOL_ERROR).await;
}

#[tokio::test]
async fn section_6_3_priority_without_a_stream_is_protocol_error() {
    ends_connection(&frame(PRIORITY, 0, 0, &[0, 0, 0, 0, 1]), PROTOCOL_ERROR).await;
}

#[tokio::test]
async fn section_6_3_priority_of_another_length_is_frame_size_error() {
    ends_stream(&[call(0), frame(PRIORITY, 0, 1, &[0, 0, 0, 0])].concat(), FRAME_SIZE_ERROR).await;
}

#[tokio::test]
async fn section_6_4_rst_stream_without_a_stream_is_protocol_error() {
    ends_connection(&frame(RST_STREAM, 0, 0, &[0, 0, 0, 8]), PROTOCOL_ERROR).await;
}

#[tokio::test]
async fn section_6_4_rst_stream_of_another_length_is_frame_size_error() {
    ends_connection(&[call(0), frame(RST_STREAM, 0, 1, &[0, 0, 8])].concat(), FRAME_SIZE_ERROR).await;
}

#[tokio::test]
async fn section_6_5_settings_of_a_stream_are_protocol_error() {
    ends_connection(&[call(0), frame(SETTINGS, 0, 1, &[])].concat(), PROTOCOL_ERROR).await;
}

#[tokio::test]
async fn section_6_5_settings_of_another_length_are_frame_size_error() {
    ends_connection(&frame(SETTINGS, 0, 0, &[0, 3, 0]), FRAME_SIZE_ERROR).await;
}

#[tokio::test]
async fn section_6_5_acknowledgement_with_a_payload_is_frame_size_error() {
    ends_connection(&frame(SETTINGS, ACK, 0, &[0; 6]), FRAME_SIZE_ERROR).await;
}

#[tokio::test]
async fn section_6_5_2_setting_out_of_its_range_is_refused() {
    for (id, value, code) in [
        (2, 2, PROTOCOL_ERROR),
        (4, 1 << 31, FLOW_CONTROL_ERROR),
        (5, 16_383, PROTOCOL_ERROR),
        (5, 1 << 24, PROTOCOL_ERROR),
    ] {
        ends_connection(&setting(id, value), code).await;
    }
}

#[tokio::test]
async fn section_6_5_2_unknown_setting_is_ignored() {
    is_ignored(&setting(0xff, 1)).await;
}

#[tokio::test]
async fn section_6_6_push_promise_of_a_client_is_protocol_error() {
    let promise = [&[0, 0, 0, 2][..], &block("Answer")].concat();
    ends_connection(&[call(0), frame(PUSH_PROMISE, END_HEADERS, 1, &promise)].concat(), PROTOCOL_ERROR).await;
}

#[tokio::test]
async fn section_6_7_ping_of_a_stream_is_protocol_error() {
    ends_connection(&frame(PING, 0, 1, &[0; 8]), PROTOCOL_ERROR).await;
}

#[tokio::test]
async fn section_6_7_ping_of_another_length_is_frame_size_error() {
    ends_connection(&frame(PING, 0, 0, &[0; 6]), FRAME_SIZE_ERROR).await;
}

#[tokio::test]
async fn section_6_7_acknowledgement_of_no_ping_is_ignored() {
    is_ignored(&frame(PING, ACK, 0, &[0; 8])).await;
}

#[tokio::test]
async fn section_6_8_goaway_of_a_stream_is_protocol_error() {
    ends_connection(&frame(GOAWAY, 0, 1, &[0; 8]), PROTOCOL_ERROR).await;
}

#[tokio::test]
async fn section_6_9_window_update_of_nothing_is_protocol_error() {
    ends_connection(&frame(WINDOW_UPDATE, 0, 0, &[0; 4]), PROTOCOL_ERROR).await;
    ends_stream(&[call(0), frame(WINDOW_UPDATE, 0, 1, &[0; 4])].concat(), PROTOCOL_ERROR).await;
}

#[tokio::test]
async fn section_6_9_window_update_of_another_length_is_frame_size_error() {
    ends_connection(&frame(WINDOW_UPDATE, 0, 0, &[0, 0, 1]), FRAME_SIZE_ERROR).await;
}

#[tokio::test]
async fn section_6_9_1_window_over_its_maximum_is_flow_control_error() {
    let most = [0x7f, 0xff, 0xff, 0xff];
    ends_connection(&frame(WINDOW_UPDATE, 0, 0, &most), FLOW_CONTROL_ERROR).await;
    ends_stream(&[call(0), frame(WINDOW_UPDATE, 0, 1, &most)].concat(), FLOW_CONTROL_ERROR).await;
}

#[tokio::test]
async fn section_6_10_header_block_that_another_frame_interrupts_is_protocol_error() {
    let begun = frame(HEADERS, END_STREAM, 1, &block("Answer"));
    for between in [frame(PING, 0, 0, &[0; 8]), frame(0x16, 0, 0, b"x"), frame(CONTINUATION, END_HEADERS, 3, &[])] {
        ends_connection(&[begun.clone(), between].concat(), PROTOCOL_ERROR).await;
    }
}

#[tokio::test]
async fn section_6_10_continuation_of_nothing_is_protocol_error() {
    ends_connection(&frame(CONTINUATION, END_HEADERS, 1, &[]), PROTOCOL_ERROR).await;
    ends_connection(&[call(0), frame(CONTINUATION, END_HEADERS, 1, &[])].concat(), PROTOCOL_ERROR).await;
}

#[tokio::test]
async fn section_8_1_trailers_that_do_not_end_the_stream_are_protocol_error() {
    ends_stream(&[call(0), frame(HEADERS, END_HEADERS, 1, &field("x", "y"))].concat(), PROTOCOL_ERROR).await;
}

#[tokio::test]
async fn section_8_1_1_body_of_another_length_than_declared_is_malformed() {
    let declared: Vec<u8> = [&but(&[])[..], &[("content-length", "2")]]
        .concat()
        .iter()
        .flat_map(|(name, value)| field(name, value))
        .collect();
    let longer = [frame(HEADERS, END_HEADERS, 1, &declared), frame(DATA, END_STREAM, 1, b"abc")].concat();
    ends_stream(&longer, PROTOCOL_ERROR).await;
}

#[tokio::test]
async fn section_8_2_1_field_name_with_upper_case_is_malformed() {
    is_malformed(&[&but(&[])[..], &[("X-Upper", "x")]].concat()).await;
}

#[tokio::test]
async fn section_8_2_1_value_with_a_space_around_it_is_malformed() {
    for value in [" x", "x ", "\tx"] {
        is_bad_request(&[&but(&[])[..], &[("x-padded", value)]].concat()).await;
    }
}

#[tokio::test]
async fn section_8_2_2_field_of_one_connection_is_malformed() {
    for name in ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"] {
        is_malformed(&[&but(&[])[..], &[(name, "close")]].concat()).await;
    }
    is_malformed(&[&but(&["te"])[..], &[("te", "gzip")]].concat()).await;
}

#[tokio::test]
async fn section_8_3_pseudo_header_that_no_request_has_is_malformed() {
    is_malformed(&[&[(":unknown", "x")][..], &but(&[])].concat()).await;
    is_malformed(&[&[(":status", "200")][..], &but(&[])].concat()).await;
}

#[tokio::test]
async fn section_8_3_pseudo_header_behind_a_field_is_malformed() {
    is_malformed(&[&[("x-first", "x")][..], &but(&[])].concat()).await;
}

#[tokio::test]
async fn section_8_3_1_pseudo_header_that_is_missing_empty_or_twice_is_malformed() {
    for name in [":method", ":scheme", ":path"] {
        is_malformed(&but(&[name])).await;
    }
    is_malformed(&[&[(":path", "")][..], &but(&[":path"])].concat()).await;
    for (name, value) in but(&["content-type", "te"]) {
        is_malformed(&[&[(name, value)][..], &but(&[])].concat()).await;
    }
}

#[tokio::test]
async fn section_8_3_1_host_that_differs_from_the_authority_is_malformed() {
    for hosts in [&["other"][..], &["probe:8080"], &["user@probe"], &["probe", "probe"], &[""]] {
        let hosts: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
        is_bad_request(&[&but(&[])[..], &hosts].concat()).await;
    }
}

#[tokio::test]
async fn section_8_3_1_host_that_names_the_authority_is_served() {
    for host in ["probe", "Probe", "probe:80"] {
        let (_, status) = answered(&[&but(&[])[..], &[("host", host)]].concat()).await;
        assert_eq!(status, STATUS_200, "{host}");
    }
    let (_, status) = answered(&[&but(&[":authority"])[..], &[("host", "probe")]].concat()).await;
    assert_eq!(status, STATUS_200, "a gateway from HTTP/1.1 has no other");
}
