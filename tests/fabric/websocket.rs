//! WebSocket, by a client that nobody here wrote, for methods whose messages hold a text.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use futures_util::{SinkExt, StreamExt};
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use prost::Message as _;
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Error, Message, client::IntoClientRequest, protocol::CloseFrame},
};
use tonic::Code;

use crate::web::Word;

/// The longest that something may take, so that a test that hangs says where.
const BOUND: Duration = Duration::from_secs(30);

/// How messages are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Texts.
    Json,
    /// In protobuf.
    Proto,
}

/// A WebSocket to be opened.
#[derive(Clone)]
#[must_use]
pub struct WebSocketCall {
    address: SocketAddr,
    path: String,
    format: Format,
    token: Option<String>,
    headers: HeaderMap,
}

/// One that is open.
pub struct WebSocket {
    format: Format,
    stream: WebSocketStream<TcpStream>,
}

/// What came back, to the end.
#[derive(Debug, PartialEq)]
pub struct WebSocketAnswer {
    /// The texts of the messages.
    pub texts: Vec<String>,
    /// The code, by the last text and by the close alike; of a close that tells none, UNKNOWN.
    pub code: Code,
    /// The message of an error.
    pub message: String,
    /// Its details.
    pub details: Vec<Value>,
    /// The code and the reason of the close; none where the connection ended without.
    pub close: Option<(u16, String)>,
}

impl WebSocketCall {
    /// A call of a path.
    pub fn new(address: SocketAddr, path: &str, format: Format) -> Self {
        Self { address, path: path.to_owned(), format, token: None, headers: HeaderMap::new() }
    }

    /// With a token as a page gives it.
    pub fn token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    /// With a header more, which a page can't set, but for its origin.
    pub fn header(mut self, name: &str, value: &str) -> Result<Self> {
        self.headers.append(HeaderName::try_from(name)?, HeaderValue::try_from(value)?);
        Ok(self)
    }

    /// Opens it.
    pub async fn open(self) -> Result<WebSocket> {
        let format = self.format;
        match self.shake_hands().await? {
            Ok(stream) => Ok(WebSocket { format, stream }),
            Err(refusal) => bail!("refused: {refusal:?}"),
        }
    }

    /// The answer in the place of an open WebSocket.
    pub async fn refusal(self) -> Result<Response<Vec<u8>>> {
        let refusal = self.shake_hands().await?.err().context("it was opened")?;
        Ok(refusal.map(Option::unwrap_or_default))
    }

    async fn shake_hands(self) -> Result<Result<WebSocketStream<TcpStream>, Response<Option<Vec<u8>>>>> {
        let mut request = format!("ws://{}{}", self.address, self.path).into_client_request()?;
        let name = match self.format {
            Format::Json => "accord.json",
            Format::Proto => "accord.proto",
        };
        let token = self.token.map(|token| format!(", accord.bearer.{token}")).unwrap_or_default();
        request.headers_mut().insert("sec-websocket-protocol", format!("{name}{token}").parse()?);
        request.headers_mut().extend(self.headers);
        let stream = TcpStream::connect(self.address).await?;
        match timeout(BOUND, client_async(request, stream)).await.context("no answer to a handshake")? {
            Ok((stream, response)) => {
                ensure!(response.headers()["sec-websocket-protocol"] == name, "{response:?}");
                Ok(Ok(stream))
            }
            Err(Error::Http(response)) => Ok(Err(*response)),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens it, sends these texts and the end, and reads the whole answer.
    pub async fn send(self, texts: &[&str]) -> Result<WebSocketAnswer> {
        let mut socket = self.open().await?;
        for text in texts {
            socket.say(text).await?;
        }
        socket.end().await?;
        socket.answer().await
    }
}

impl WebSocket {
    /// Sends a message that holds a text.
    pub async fn say(&mut self, text: &str) -> Result<()> {
        let message = match self.format {
            Format::Json => Message::text(json!({ "text": text }).to_string()),
            Format::Proto => Message::binary(Word { text: text.to_owned() }.encode_to_vec()),
        };
        self.frame(message).await
    }

    /// Ends the messages of this side.
    pub async fn end(&mut self) -> Result<()> {
        self.frame(Message::text("")).await
    }

    /// Sends a frame as it stands.
    pub async fn frame(&mut self, frame: Message) -> Result<()> {
        timeout(BOUND, self.stream.send(frame)).await.context("nobody reads")??;
        Ok(())
    }

    /// The next frame, pings and pongs included; none where the connection ended.
    pub async fn next(&mut self) -> Result<Option<Message>> {
        let next = timeout(BOUND, self.stream.next()).await.context("nothing comes")?;
        Ok(next.transpose()?)
    }

    /// The text of the next message.
    pub async fn text(&mut self) -> Result<String> {
        let next = self.next().await?.context("the connection ended")?;
        self.read(&next)?.with_context(|| format!("another frame: {next:?}"))
    }

    /// Reads to the end.
    pub async fn answer(mut self) -> Result<WebSocketAnswer> {
        let mut answer = WebSocketAnswer {
            texts: Vec::new(),
            code: Code::Unknown,
            message: String::new(),
            details: Vec::new(),
            close: None,
        };
        loop {
            let frame = match timeout(BOUND, self.stream.next()).await.context("no end comes")? {
                Some(Ok(frame)) => frame,
                Some(Err(Error::Protocol(_) | Error::Io(_))) | None => return Ok(answer),
                Some(Err(error)) => return Err(error.into()),
            };
            if let Message::Close(close) = frame {
                answer.end(close)?;
            } else if let Some(text) = self.read(&frame)? {
                answer.texts.push(text);
            } else if let Message::Text(text) = &frame {
                answer.fail(&serde_json::from_str(text)?)?;
            }
        }
    }

    /// The text of a message; none of an error, or of what is none.
    fn read(&self, frame: &Message) -> Result<Option<String>> {
        match (frame, self.format) {
            (Message::Text(text), Format::Json) => {
                let message: Value = serde_json::from_str(text)?;
                let is_error = message.get("@error").is_some();
                Ok((!is_error).then(|| message["text"].as_str().unwrap_or_default().to_owned()))
            }
            (Message::Binary(bytes), Format::Proto) => Ok(Some(Word::decode(&**bytes)?.text)),
            (Message::Binary(_), Format::Json) => bail!("binary where texts were asked for"),
            _ => Ok(None),
        }
    }
}

impl WebSocketAnswer {
    /// The reason of an `ErrorInfo`.
    pub fn reason(&self) -> &str {
        let infos = self.details.iter().filter_map(|detail| detail["reason"].as_str());
        infos.into_iter().next().unwrap_or_default()
    }

    fn fail(&mut self, last: &Value) -> Result<()> {
        let error = &last["@error"];
        self.code = Code::from_i32(error["code"].as_i64().context("an error has a code")?.try_into()?);
        error["message"].as_str().unwrap_or_default().clone_into(&mut self.message);
        self.details = error["details"].as_array().cloned().unwrap_or_default();
        Ok(())
    }

    fn end(&mut self, close: Option<CloseFrame>) -> Result<()> {
        let close = close.context("a close has a code")?;
        let (code, reason) = (u16::from(close.code), close.reason.to_string());
        match code {
            1000 => self.code = Code::Ok,
            4000.. => ensure!(code == 4000 + self.code as u16 && self.message.starts_with(&reason), "{code} {self:?}"),
            _ => {}
        }
        self.close = Some((code, reason));
        Ok(())
    }
}
