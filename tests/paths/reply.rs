//! One reply of the scripted upstream.

use crate::call::word;
use bytes::Bytes;
use h2::Reason;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use std::time::Duration;
use tonic::{Code, Status};

/// What is said to one call, and how it ends.
#[derive(Clone)]
pub(crate) struct Reply {
    pub wait: Wait,
    pub http: StatusCode,
    pub head: HeaderMap,
    pub data: Vec<Bytes>,
    pub end: End,
}

/// What a reply waits for.
#[derive(Clone, Copy)]
pub(crate) enum Wait {
    No,
    /// Until the test lets it pass.
    Barrier,
    /// Until the deadline that the upstream was told is this near.
    NearDeadline(Duration),
    /// Until the caller gives up.
    Forever,
}

/// How a reply ends.
#[derive(Clone)]
pub(crate) enum End {
    /// With trailers after the head.
    Trailers(HeaderMap),
    /// With the status in the head, which is all there is.
    TrailersOnly(HeaderMap),
    /// With the stream, and no status.
    NoStatus,
    /// With `RST_STREAM`.
    Reset(Reason),
    /// Well, after a GOAWAY that lets streams in flight end.
    GoAwayGraceful,
    /// With a GOAWAY that counts the call as unprocessed, and no reply.
    GoAwayUnprocessed,
}

impl Reply {
    fn new(end: End) -> Self {
        Self { wait: Wait::No, http: StatusCode::OK, head: HeaderMap::new(), data: Vec::new(), end }
    }

    /// OK with this frame.
    pub(crate) fn framed(frame: Bytes) -> Self {
        Self { data: vec![frame], ..Self::new(End::Trailers(Self::ok_trailers())) }
    }

    /// OK with this text.
    pub(crate) fn text(text: &str) -> Self {
        Self::framed(word(text))
    }

    /// An error, in the head alone.
    pub(crate) fn error(code: Code, message: &str) -> Self {
        Self::status(&Status::new(code, message))
    }

    /// A status, in the head alone.
    pub(crate) fn status(status: &Status) -> Self {
        let mut trailers = HeaderMap::new();
        status.add_header(&mut trailers).expect("a status is metadata");
        Self::new(End::TrailersOnly(trailers))
    }

    /// What a server says of methods that it does not have.
    pub(crate) fn unimplemented() -> Self {
        Self::error(Code::Unimplemented, "")
    }

    /// `RST_STREAM` in place of an answer.
    pub(crate) fn reset(reason: Reason) -> Self {
        Self::new(End::Reset(reason))
    }

    /// GOAWAY before the call was processed.
    pub(crate) fn go_away_unprocessed() -> Self {
        Self::new(End::GoAwayUnprocessed)
    }

    /// A web server's error page.
    pub(crate) fn html(status: StatusCode) -> Self {
        let page = Self { http: status, data: vec![Bytes::from_static(b"<p>Sorry</p>")], ..Self::new(End::NoStatus) };
        page.head("content-type", "text/html")
    }

    /// No answer, ever.
    pub(crate) fn never() -> Self {
        Self { wait: Wait::Forever, ..Self::new(End::NoStatus) }
    }

    /// The same reply, once the wait is over.
    pub(crate) fn after(self, wait: Wait) -> Self {
        Self { wait, ..self }
    }

    /// The same reply with another end.
    pub(crate) fn ends(self, end: End) -> Self {
        Self { end, ..self }
    }

    /// The same reply with only the first bytes of its frame.
    pub(crate) fn cut(mut self, bytes: usize) -> Self {
        self.data.iter_mut().for_each(|data| data.truncate(bytes));
        self
    }

    /// The same reply without its message.
    pub(crate) fn without_message(self) -> Self {
        Self { data: Vec::new(), ..self }
    }

    /// The same reply with its status after a head of its own.
    pub(crate) fn with_head(mut self) -> Self {
        if let End::TrailersOnly(trailers) = self.end {
            self.end = End::Trailers(trailers);
        }
        self
    }

    /// The same reply with a line more of initial metadata.
    pub(crate) fn head(mut self, name: &'static str, value: &'static str) -> Self {
        self.head.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        self
    }

    /// The same reply with a line more of trailing metadata, or with another status.
    pub(crate) fn trailer(mut self, name: &'static str, value: &'static str) -> Self {
        if let End::Trailers(trailers) | End::TrailersOnly(trailers) = &mut self.end {
            let (name, value) = (HeaderName::from_static(name), HeaderValue::from_static(value));
            if name == "grpc-status" {
                trailers.remove(&name);
            }
            trailers.append(name, value);
        }
        self
    }

    /// The trailers of a call that went well.
    pub(crate) fn ok_trailers() -> HeaderMap {
        HeaderMap::from_iter([(HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"))])
    }
}
