use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    sync::atomic::Ordering,
    task::{Context, Poll},
};

use accord_runtime::fair_share::FairShare;
use futures_util::FutureExt;
use http_body::{Frame, SizeHint};

use super::*;

const LIMIT: u64 = 10_000;

/// A body of which some chunks have come, and the rest never does.
struct HalfSent {
    chunks: VecDeque<Bytes>,
    announced: u64,
}

impl HttpBody for HalfSent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.chunks.pop_front().map_or(Poll::Pending, |chunk| Poll::Ready(Some(Ok(Frame::data(chunk)))))
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = SizeHint::new();
        hint.set_lower(self.announced);
        hint
    }
}

/// How many bytes count as in memory once so many chunks of a hundred bytes have come.
fn held(chunks: usize, announced: u64) -> u64 {
    let budget = FairShare::new(1 << 20, FairShare::DEFAULT);
    let mut held = budget.nothing(None);
    let chunks = vec![Bytes::from_static(&[0; 100]); chunks].into();
    assert!(collect(HalfSent { chunks, announced }, LIMIT, Some(&mut held)).now_or_never().is_none());
    budget.held().load(Ordering::Relaxed)
}

#[test]
fn body_of_one_chunk_counts_what_came() {
    assert_eq!(held(1, 5000), 100);
}

#[test]
fn body_of_an_announced_length_counts_all_that_its_buffer_takes() {
    assert_eq!(held(2, 5000), 5000);
}

#[test]
fn body_of_an_unknown_length_counts_all_that_its_buffer_takes() {
    assert_eq!([held(2, 0), held(3, 0), held(4, 0), held(5, 0)], [200, 400, 400, 800]);
}

#[test]
fn buffer_of_an_unknown_length_takes_no_more_than_the_limit() {
    assert_eq!(held(99, 0), LIMIT);
}

#[test]
fn chunks_are_joined_in_their_order() {
    let mut chunks = Chunks { limit: LIMIT, ..Chunks::default() };
    for chunk in ["one ", "two ", "three"] {
        chunks.push(Bytes::from_static(chunk.as_bytes()), None).unwrap();
    }
    assert_eq!(&*chunks.joined(), b"one two three");
}
