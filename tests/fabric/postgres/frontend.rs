//! What a client says to PostgreSQL, read as far as it takes to tell its statements apart (PostgreSQL's documentation, "Message Formats").

use std::{collections::HashMap, io};

use bytes::{Buf, Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// The longest message; a statement of ours is far shorter, and so is a row.
const LONGEST: usize = 16 * 1024 * 1024;
/// The bytes of a length, which counts itself.
const LENGTH: usize = 4;

/// One end of a connection, read message by message. What was read of one stays where the read is given up.
pub(super) struct Messages {
    stream: TcpStream,
    read: BytesMut,
}

impl Messages {
    pub(super) fn of(stream: TcpStream) -> Self {
        Self { stream, read: BytesMut::new() }
    }

    /// The next one, with its type; None at the end.
    pub(super) async fn next(&mut self) -> io::Result<Option<Bytes>> {
        self.after(1).await
    }

    /// The first one of a client, which has no type.
    pub(super) async fn first(&mut self) -> io::Result<Option<Bytes>> {
        self.after(0).await
    }

    async fn after(&mut self, kind: usize) -> io::Result<Option<Bytes>> {
        loop {
            if self.read.len() >= kind + LENGTH {
                let length = (&self.read[kind..]).get_u32() as usize;
                if !(LENGTH..=LONGEST).contains(&length) {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "a message of no such length"));
                }
                if self.read.len() >= kind + length {
                    return Ok(Some(self.read.split_to(kind + length).freeze()));
                }
            }
            if self.stream.read_buf(&mut self.read).await? == 0 {
                return Ok(None);
            }
        }
    }

    pub(super) async fn write(&mut self, messages: &[u8]) -> io::Result<()> {
        self.stream.write_all(messages).await
    }

    /// Sends nothing more.
    pub(super) async fn shutdown(&mut self) -> io::Result<()> {
        self.stream.shutdown().await
    }
}

/// What a client sends before it waits: up to a Sync, or a simple query.
#[derive(Default)]
pub(super) struct Round {
    /// As it was sent.
    pub(super) messages: BytesMut,
    /// The statement that it executes. One that only prepares a statement, or asks whether the server is there, executes none.
    pub(super) sql: Option<String>,
}

/// The statements that a client has prepared, by the names that it gave them.
#[derive(Default)]
pub(super) struct Statements {
    prepared: HashMap<String, String>,
    portals: HashMap<String, String>,
}

impl Statements {
    /// Takes note of a message; true where it ends its round. The message that ends the connection does so as well.
    pub(super) fn add(&mut self, message: &[u8], round: &mut Round) -> bool {
        round.messages.extend_from_slice(message);
        let Some((kind, body)) = message.split_first() else { return false };
        let mut texts = body.get(LENGTH..).unwrap_or_default().split(|byte| *byte == 0);
        let mut text = || String::from_utf8_lossy(texts.next().unwrap_or_default()).into_owned();
        match kind {
            b'Q' => round.sql = Some(text()),
            b'P' => drop(self.prepared.insert(text(), text())),
            b'B' => {
                let (portal, sql) = (text(), self.prepared.get(&text()).cloned());
                self.portals.insert(portal, sql.unwrap_or_default());
            }
            b'E' => round.sql = self.portals.get(&text()).cloned(),
            _ => {}
        }
        matches!(kind, b'Q' | b'S' | b'X')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &str) -> Vec<u8> {
        let length = u32::try_from(body.len() + LENGTH).expect("short").to_be_bytes();
        [&[kind][..], &length, body.as_bytes()].concat()
    }

    /// What the round of these messages executes; the last one ends it.
    fn executed(statements: &mut Statements, messages: &[(u8, &str)]) -> Option<String> {
        let mut round = Round::default();
        for (place, (kind, body)) in messages.iter().enumerate() {
            let ends = statements.add(&message(*kind, body), &mut round);
            assert_eq!(ends, place + 1 == messages.len(), "{place}");
        }
        round.sql
    }

    #[test]
    fn prepared_statement_is_known_by_its_name_when_it_is_executed_later() {
        let mut statements = Statements::default();
        let prepare = [(b'P', "s1\0SELECT 1\0\0\0"), (b'D', "Ss1\0"), (b'S', "")];
        assert_eq!(executed(&mut statements, &prepare), None);
        let other = [(b'P', "s2\0SELECT 2\0\0\0"), (b'D', "Ss2\0"), (b'S', "")];
        assert_eq!(executed(&mut statements, &other), None);
        let execute = [(b'B', "\0s1\0\0\0\0\0\0\0"), (b'E', "\0\0\0\0\0"), (b'C', "P\0"), (b'S', "")];
        assert_eq!(executed(&mut statements, &execute).as_deref(), Some("SELECT 1"));
    }

    #[test]
    fn simple_query_is_a_round_of_its_own_and_a_ping_executes_nothing() {
        let mut statements = Statements::default();
        assert_eq!(executed(&mut statements, &[(b'Q', "BEGIN\0")]).as_deref(), Some("BEGIN"));
        assert_eq!(executed(&mut statements, &[(b'S', "")]), None);
    }
}
