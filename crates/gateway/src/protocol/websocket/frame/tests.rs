use super::*;

/// A frame as a client sends it.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    put(&mut frame, 0, payload);
    let head = frame.len() - payload.len();
    frame[0] = first;
    frame[1] |= MASKED;
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let bytes = payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask);
    [&frame[..head], &mask, &bytes.collect::<Vec<_>>()].concat()
}

/// What comes of bytes that arrive in chunks of this size.
fn events(bytes: &[u8], size: usize) -> Result<Vec<Event>, &'static str> {
    let (mut decoder, mut buffer, mut events) = (Decoder::default(), BytesMut::new(), Vec::new());
    for chunk in bytes.chunks(size) {
        buffer.extend_from_slice(chunk);
        while let Some(event) = decoder.next(&mut buffer)? {
            events.push(event);
        }
    }
    Ok(events)
}

/// The messages among them, put together.
fn messages(events: Vec<Event>) -> Vec<(bool, Vec<u8>)> {
    let (mut messages, mut begun) = (Vec::new(), Vec::new());
    for event in events {
        let Event::Piece(piece) = event else { continue };
        begun.extend_from_slice(&piece.bytes);
        if piece.is_last {
            messages.push((piece.is_text, std::mem::take(&mut begun)));
        }
    }
    messages
}

#[test]
fn masked_text_of_the_rfc_is_read() {
    let hello = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    assert_eq!(messages(events(&hello, 99).unwrap()), [(true, b"Hello".to_vec())]);
}

#[test]
fn messages_are_read_however_they_are_cut_and_fragmented() {
    let long = "wörter".repeat(20_000);
    let stream = [
        masked(0x81, b"one"),
        masked(0x02, b"tw"),
        masked(0x89, b"alive?"),
        masked(0x00, b""),
        masked(0x80, b"o"),
        masked(0x81, b""),
        masked(0x82, b""),
        masked(0x01, b""),
        masked(0x80, long.as_bytes()),
    ]
    .concat();
    let expected: [(bool, &[u8]); 5] =
        [(true, b"one"), (false, b"two"), (true, b""), (false, b""), (true, long.as_bytes())];
    for size in [1, 2, 3, 5, 7, 64, 8192, stream.len()] {
        let seen = events(&stream, size).unwrap();
        let pings = seen.iter().filter(|event| **event == Event::Ping("alive?".into())).count();
        let seen = messages(seen);
        let seen: Vec<_> = seen.iter().map(|(is_text, bytes)| (*is_text, &**bytes)).collect();
        assert_eq!((&*seen, pings), (&expected[..], 1), "by {size}");
    }
}

#[test]
fn large_message_is_handed_on_before_it_is_whole() {
    let begun = &masked(0x82, &vec![7; 1 << 20])[..100];
    let Event::Piece(piece) = events(begun, 100).unwrap().remove(0) else { panic!("a piece") };
    assert_eq!((piece.is_last, piece.bytes.len()), (false, 100 - 14));
}

#[test]
fn what_is_no_websocket_is_refused() {
    let unmasked = [0x81, 2, b'h', b'i'];
    for (bytes, problem) in [
        (unmasked.to_vec(), "masked"),
        (masked(0xc1, b"x"), "extension"),
        (masked(0x83, b"x"), "kind"),
        (masked(0x8b, b"x"), "kind"),
        (masked(0x80, b"x"), "continues no message"),
        ([masked(0x01, b"x"), masked(0x81, b"y")].concat(), "before the one before"),
        (masked(0x09, b"x"), "one frame"),
        (masked(0x89, &[0; 126]), "125"),
        (masked(0x88, b"x"), "code"),
        (masked(0x88, &1005_u16.to_be_bytes()), "code"),
        (masked(0x88, &[3, 232, 0xff]), "UTF-8"),
    ] {
        let refused = events(&bytes, bytes.len()).unwrap_err();
        assert!(refused.contains(problem), "{problem}: {refused}");
    }
}

#[test]
fn close_is_read_with_its_code_or_none() {
    for (payload, code) in [(&b""[..], None), (&[3, 232], Some(NORMAL)), (&[0x0f, 0xa0, b'o', b'k'], Some(4000))] {
        assert_eq!(events(&masked(0x88, payload), 99).unwrap(), [Event::Close(code)]);
    }
}

#[test]
fn reason_of_a_close_is_cut_between_characters() {
    let mut made = Vec::new();
    put_close(&mut made, NORMAL, &"ö".repeat(100));
    assert_eq!((made.len(), usize::from(made[1])), (2 + 2 + 122, 2 + 122));
    assert!(std::str::from_utf8(&made[4..]).is_ok());
}

#[test]
fn length_is_written_as_short_as_it_can_be() {
    for (bytes, head) in [(125, 2), (126, 4), (65_535, 4), (65_536, 10)] {
        let mut made = Vec::new();
        put(&mut made, BINARY, &vec![0; bytes]);
        assert_eq!(made.len(), bytes + head, "{bytes}");
    }
}
