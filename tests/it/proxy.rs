//! A proxy between `fix` and the server that interferes with the `COMMIT`. No signal and no lock
//! could be timed as exactly.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use crate::program::PATIENCE;

/// What happens to the `COMMIT`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum AtCommit {
    /// The connection is cut before the server hears of it.
    Cut,
    /// The server carries it out, and the connection is cut instead of handing on its answer.
    CutAnswer,
    /// The server carries it out, and its answer waits until it is released.
    HoldAnswer,
}

/// A proxy for one connection.
pub(crate) struct Proxy {
    port: u16,
    answered: Receiver<()>,
    release: Sender<()>,
}

impl Proxy {
    /// Listens in front of the server at `port` of this machine.
    pub(crate) fn before(port: u16, at_commit: AtCommit) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let own = listener.local_addr().unwrap().port();
        let (tell, answered) = channel();
        let (release, released) = channel();
        thread::spawn(move || {
            let (client, _) = listener.accept().unwrap();
            let server = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
            let committing = AtomicBool::new(false);
            thread::scope(|scope| {
                scope.spawn(|| forward(&client, &server, at_commit, &committing));
                hand_back(&server, &client, at_commit, &committing, &tell, &released);
            });
        });
        Self {
            port: own,
            answered,
            release,
        }
    }

    /// Returns the URL of a database through it; without TLS, as it has to read the messages.
    pub(crate) fn url(&self, database: &str) -> String {
        let port = self.port;
        format!("postgresql://postgres@127.0.0.1:{port}/{database}?sslmode=disable")
    }

    /// Waits until the server has answered the `COMMIT`.
    pub(crate) fn wait_for_answer(&self) {
        let answered = self.answered.recv_timeout(PATIENCE);
        answered.expect("the server should have answered the COMMIT");
    }

    /// Hands on the answer that was held.
    pub(crate) fn release(&self) {
        self.release.send(()).unwrap();
    }
}

/// Forwards the messages of the client.
fn forward(
    mut client: &TcpStream,
    mut server: &TcpStream,
    at_commit: AtCommit,
    committing: &AtomicBool,
) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(read @ 1..) = client.read(&mut buffer) {
        // A message of its own: the client waits for every answer before it says it.
        if buffer[..read].starts_with(b"Q\0\0\0\x0bCOMMIT\0") {
            if at_commit == AtCommit::Cut {
                break;
            }
            committing.store(true, Ordering::SeqCst);
        }
        if server.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    cut(client, server);
}

/// Forwards the answers of the server.
fn hand_back(
    mut server: &TcpStream,
    mut client: &TcpStream,
    at_commit: AtCommit,
    committing: &AtomicBool,
    tell: &Sender<()>,
    released: &Receiver<()>,
) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(read @ 1..) = server.read(&mut buffer) {
        if committing.swap(false, Ordering::SeqCst) {
            // The test may have ended already.
            let _ = tell.send(());
            if at_commit == AtCommit::CutAnswer || released.recv().is_err() {
                break;
            }
        }
        if client.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    cut(client, server);
}

/// Listens in front of the server at `port` of this machine, and replaces texts in its answers: the
/// first of each pair by the second, which is as long. Returns the port to connect to.
pub(crate) fn replacing(port: u16, texts: &[(String, String)]) -> u16 {
    let texts: Vec<(Vec<u8>, Vec<u8>)> = texts
        .iter()
        .map(|(from, to)| (from.clone().into_bytes(), to.clone().into_bytes()))
        .collect();
    assert!(texts.iter().all(|(from, to)| from.len() == to.len()));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let own = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for client in listener.incoming() {
            let client = client.unwrap();
            let server = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
            let texts = &texts;
            thread::scope(|scope| {
                scope.spawn(|| copy(&client, &server, &[]));
                copy(&server, &client, texts);
            });
        }
    });
    own
}

/// Hands on what one side says, with texts replaced, until it has no more to say.
fn copy(mut from: &TcpStream, mut to: &TcpStream, texts: &[(Vec<u8>, Vec<u8>)]) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        for (old, new) in texts {
            for at in 0..read.saturating_sub(old.len()) {
                if buffer[at..read].starts_with(old) {
                    buffer[at..at + new.len()].copy_from_slice(new);
                }
            }
        }
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    cut(from, to);
}

/// Ends both sides; one of them may be gone already.
fn cut(client: &TcpStream, server: &TcpStream) {
    for side in [client, server] {
        let _ = side.shutdown(Shutdown::Both);
    }
}
