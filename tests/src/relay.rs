//! A way between two processes that can be cut, stalled and healed.

use std::net::{IpAddr, SocketAddr};

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// How it is on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// Everything gets through.
    Open,
    /// Nothing gets through, and nobody is told; what is on the way arrives when the line is open again.
    Stalled,
    /// Connections break, and new ones do, too.
    Cut,
}

/// Passes connections on; closed when dropped.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    line: watch::Sender<Line>,
}

impl Relay {
    /// Listens on an address of this machine and passes on to `target`.
    ///
    /// # Errors
    /// If it cannot listen.
    pub async fn start(listen: IpAddr, target: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((listen, 0)).await.context("relay")?;
        let address = listener.local_addr()?;
        let (line, state) = watch::channel(Line::Open);
        run(accept(listener, target, state));
        Ok(Self { address, line })
    }

    /// Where to connect in place of the target.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes how it is on the way.
    pub fn set(&self, line: Line) {
        self.line.send_replace(line);
    }
}

fn run(work: impl Future<Output = ()> + Send + 'static) {
    #[expect(clippy::disallowed_methods, reason = "lives as long as the relay, whose end it notices")]
    tokio::spawn(work);
}

async fn accept(listener: TcpListener, target: SocketAddr, line: watch::Receiver<Line>) {
    loop {
        let mut dropped = line.clone();
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = gone(&mut dropped) => return,
        };
        if let Ok((client, _)) = accepted
            && *line.borrow() != Line::Cut
        {
            run(serve(client, target, line.clone()));
        }
    }
}

/// Waits until there is no relay any more.
async fn gone(line: &mut watch::Receiver<Line>) {
    while line.changed().await.is_ok() {}
}

async fn serve(client: TcpStream, target: SocketAddr, mut line: watch::Receiver<Line>) {
    if !open(&mut line).await {
        return;
    }
    let Ok(server) = TcpStream::connect(target).await else { return };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let (mut up, mut down) = (line.clone(), line.clone());
    let cut = async {
        // An error: the relay is gone.
        let _ = line.wait_for(|line| *line == Line::Cut).await;
    };
    tokio::select! {
        () = cut => {}
        ((), ()) = async { tokio::join!(pump(from_client, to_server, &mut up), pump(from_server, to_client, &mut down)) } => {}
    }
}

/// Waits until the line is open; `false` if it is cut before.
async fn open(line: &mut watch::Receiver<Line>) -> bool {
    line.wait_for(|line| *line != Line::Stalled).await.is_ok_and(|line| *line == Line::Open)
}

/// Passes bytes on until there are no more, or the line is cut. What was sent before a stall's end arrives, even if its
/// sender has gone away meanwhile.
async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, line: &mut watch::Receiver<Line>) {
    let mut piece = vec![0; 64 << 10];
    loop {
        let Ok(count) = from.read(&mut piece).await else { return };
        if !open(line).await || count == 0 || to.write_all(&piece[..count]).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn pair() -> (Relay, TcpListener) {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let relay = Relay::start([127, 0, 0, 1].into(), server.local_addr().unwrap()).await.unwrap();
        (relay, server)
    }

    #[tokio::test]
    async fn what_was_sent_during_a_stall_arrives_later() {
        let (relay, server) = pair().await;
        let mut client = TcpStream::connect(relay.address()).await.unwrap();
        client.write_all(b"one").await.unwrap();
        let (mut accepted, _) = server.accept().await.unwrap();
        let mut got = [0; 3];
        accepted.read_exact(&mut got).await.unwrap();
        relay.set(Line::Stalled);
        client.write_all(b"two").await.unwrap();
        drop(client);
        let nothing = tokio::time::timeout(std::time::Duration::from_millis(50), accepted.read(&mut got));
        assert!(nothing.await.is_err());
        relay.set(Line::Open);
        let mut rest = Vec::new();
        accepted.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"two");
    }

    #[tokio::test]
    async fn a_cut_line_breaks_connections_until_it_is_healed() {
        let (relay, server) = pair().await;
        let mut client = TcpStream::connect(relay.address()).await.unwrap();
        client.write_all(b"one").await.unwrap();
        let _accepted = server.accept().await.unwrap();
        relay.set(Line::Cut);
        assert!(matches!(client.read(&mut [0; 8]).await, Ok(0) | Err(_)));
        let mut late = TcpStream::connect(relay.address()).await.unwrap();
        assert!(matches!(late.read(&mut [0; 8]).await, Ok(0) | Err(_)));
        relay.set(Line::Open);
        let mut again = TcpStream::connect(relay.address()).await.unwrap();
        again.write_all(b"two").await.unwrap();
        server.accept().await.unwrap();
    }
}
