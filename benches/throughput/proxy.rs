//! A connection as from far away: a proxy on loopback that counts round trips and delays both ways.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

/// Who spoke last on the connection, and how often the server answered.
#[derive(Debug, Default)]
struct Talk {
    client_spoke: bool,
    answers: u32,
}

/// A proxy for one connection.
pub(crate) struct Proxy {
    port: u16,
    served: JoinHandle<Result<u32>>,
}

impl Proxy {
    /// Starts a proxy in front of `port` that takes half of `round_trip` in each direction.
    pub(crate) fn start(port: u16, round_trip: Duration) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        Ok(Self {
            port: listener.local_addr()?.port(),
            served: std::thread::spawn(move || serve(&listener, port, round_trip / 2)),
        })
    }

    /// Returns where to connect to.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Waits until the connection has closed; returns how often the client waited for the server.
    pub(crate) fn round_trips(self) -> Result<u32> {
        self.served.join().ok().context("the proxy panicked")?
    }
}

fn serve(listener: &TcpListener, port: u16, delay: Duration) -> Result<u32> {
    let (client, _) = listener.accept()?;
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let talk = Arc::new(Mutex::new(Talk::default()));
    let pipes = [
        pipe(client.try_clone()?, server.try_clone()?, true, delay, &talk),
        pipe(server, client, false, delay, &talk),
    ];
    for thread in pipes.into_iter().flatten() {
        thread.join().ok().context("the proxy panicked")?;
    }
    let talk = talk.lock().ok().context("the proxy panicked")?;
    Ok(talk.answers)
}

/// Carries one direction: a thread that reads, and one that writes when the time has come.
fn pipe(
    from: TcpStream,
    to: TcpStream,
    from_client: bool,
    delay: Duration,
    talk: &Arc<Mutex<Talk>>,
) -> [JoinHandle<()>; 2] {
    let (sender, receiver) = channel();
    let talk = Arc::clone(talk);
    [
        std::thread::spawn(move || read(from, from_client, delay, &talk, &sender)),
        std::thread::spawn(move || write(to, &receiver)),
    ]
}

fn read(
    mut from: TcpStream,
    from_client: bool,
    delay: Duration,
    talk: &Mutex<Talk>,
    sender: &Sender<(Instant, Vec<u8>)>,
) {
    let mut buffer = vec![0; 1 << 16];
    // A connection that breaks has ended as well.
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if let Ok(mut talk) = talk.lock() {
            if !from_client && talk.client_spoke {
                talk.answers += 1;
            }
            talk.client_spoke = from_client;
        }
        if sender
            .send((Instant::now() + delay, buffer[..length].to_vec()))
            .is_err()
        {
            return;
        }
    }
}

fn write(mut to: TcpStream, receiver: &Receiver<(Instant, Vec<u8>)>) {
    for (due, bytes) in receiver {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        if to.write_all(&bytes).is_err() {
            break;
        }
    }
    // The other side may be gone already.
    let _ = to.shutdown(Shutdown::Write);
}
