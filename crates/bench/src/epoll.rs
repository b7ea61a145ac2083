//! The floor of any answer over HTTP/1.1: reads, looks for the head's end, and writes; epoll and nothing else.

use std::{
    collections::HashMap,
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::AsFd,
};

use anyhow::Result;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

use crate::item;

const LISTENER: u64 = 0;
const EVENTS: usize = 256;
const END_OF_HEAD: &[u8] = b"\r\n\r\n";

struct Connection {
    socket: TcpStream,
    received: Vec<u8>,
}

/// Serves until the process ends.
pub(crate) fn serve(listen: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind(listen)?;
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{}",
        item::JSON.len(),
        item::JSON
    );
    let poll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&poll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    let (mut connections, mut next) = (HashMap::new(), LISTENER);
    let mut events = Vec::with_capacity(EVENTS);
    loop {
        events.clear();
        epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), None)?;
        for event in &events {
            let id = event.data.u64();
            if id == LISTENER {
                next += 1;
                connections.insert(next, accept(&listener, poll.as_fd(), next)?);
            } else if connections
                .get_mut(&id)
                .is_some_and(|it: &mut Connection| it.exchange(answer.as_bytes()).is_err())
            {
                connections.remove(&id);
            }
        }
    }
}

fn accept(listener: &TcpListener, poll: std::os::fd::BorrowedFd<'_>, id: u64) -> Result<Connection> {
    let (socket, _) = listener.accept()?;
    socket.set_nonblocking(true)?;
    socket.set_nodelay(true)?;
    epoll::add(poll, &socket, EventData::new_u64(id), EventFlags::IN)?;
    Ok(Connection { socket, received: Vec::new() })
}

impl Connection {
    /// Answers each whole request that has come; an error where the peer has left.
    fn exchange(&mut self, answer: &[u8]) -> std::io::Result<()> {
        let mut buffer = [0; 4096];
        let read = self.socket.read(&mut buffer)?;
        if read == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        self.received.extend_from_slice(&buffer[..read]);
        while let Some(end) = self.received.windows(END_OF_HEAD.len()).position(|bytes| bytes == END_OF_HEAD) {
            self.received.drain(..end + END_OF_HEAD.len());
            self.socket.write_all(answer)?;
        }
        Ok(())
    }
}
