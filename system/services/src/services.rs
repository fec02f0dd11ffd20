//! The services at CID 2: echo, discard and a source of characters, on the ports that they have on the Internet.

use crate::endpoint::Endpoint;
use crate::socket::Socket;

/// Sends back what it gets (RFC 862): bytes, or messages with their ends.
pub const ECHO: u32 = 7;
/// Takes what it gets (RFC 863): bytes or messages.
pub const DISCARD: u32 = 9;
/// Sends characters for as long as somebody takes them (in the manner of RFC 864).
pub const SOURCE: u32 = 19;

/// Bytes that are copied at once: with its header such a packet fits one of Linux' receive buffers.
const CHUNK: usize = 3584;

/// Listens on the ports of all services.
pub fn listen(endpoint: &mut Endpoint) {
    for port in [ECHO, DISCARD, SOURCE] {
        // There is room: they are few.
        let _room = endpoint.listen(port);
    }
    for port in [ECHO, DISCARD] {
        let _room = endpoint.listen_for_messages(port);
    }
}

/// Serves one connection, whichever service it is for.
pub fn serve(socket: &mut Socket<'_>) {
    match socket.port() {
        ECHO => echo(socket),
        DISCARD => discard(socket),
        // It ends when nobody listens any more.
        SOURCE => return source(socket),
        _ => return socket.reset(),
    }
    if socket.is_finished() {
        socket.finish();
    }
}

fn echo(socket: &mut Socket<'_>) {
    if socket.is_deaf() {
        return discard(socket);
    }
    let mut chunk = [0; CHUNK];
    while socket.has_more() {
        let room = socket.room().min(CHUNK);
        if room == 0 {
            return;
        }
        let (count, end) = socket.receive_part(chunk.get_mut(..room).unwrap_or_default());
        // All of it: there is room.
        let _sent = socket.send_part(chunk.get(..count).unwrap_or_default(), end);
    }
}

fn discard(socket: &mut Socket<'_>) {
    let mut chunk = [0; CHUNK];
    while socket.receive(&mut chunk) > 0 {}
}

fn source(socket: &mut Socket<'_>) {
    discard(socket);
    let mut chunk = [b'\n'; CHUNK];
    for (at, byte) in chunk.iter_mut().enumerate() {
        let column = u8::try_from(at % 64).unwrap_or(0);
        if column < 63 {
            *byte = b'@' + column;
        }
    }
    while socket.send(&chunk) == CHUNK {}
}
