//! A wire between client and etcd that can be cut, or lose what comes back.

use std::sync::Arc;
use std::time::Duration;

use redkite_runtime::Tasks;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wire {
    Whole,
    /// What etcd says is lost.
    OneWay,
    /// Connections end, new ones too.
    Cut,
}

pub(crate) struct Relay {
    pub(crate) endpoint: String,
    wire: Arc<watch::Sender<Wire>>,
    tasks: Tasks,
}

impl Relay {
    pub(crate) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = listener.local_addr().unwrap().to_string();
        let wire = Arc::new(watch::Sender::new(Wire::Whole));
        let tasks = Tasks::new("relay");
        let (told, connections) = (wire.clone(), tasks.clone());
        tasks.spawn("accept", |_| async move {
            while let Ok((client, _)) = listener.accept().await {
                let told = told.clone();
                connections.spawn("connection", move |_| connect(client, port, told));
            }
        });
        Self { endpoint, wire, tasks }
    }

    pub(crate) fn set(&self, wire: Wire) {
        self.wire.send_replace(wire);
    }

    pub(crate) async fn stop(&self) {
        self.tasks.stop(Duration::from_secs(1)).await;
    }
}

async fn connect(client: TcpStream, port: u16, wire: Arc<watch::Sender<Wire>>) {
    let mut cut = wire.subscribe();
    let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    tokio::select! {
        _ = cut.wait_for(|wire| *wire == Wire::Cut) => {}
        () = copy(from_client, to_server, None) => {}
        () = copy(from_server, to_client, Some(wire.subscribe())) => {}
    }
}

async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, wire: Option<watch::Receiver<Wire>>) {
    let mut buffer = vec![0; 1 << 16];
    loop {
        let count = match from.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(count) => count,
        };
        let lost = wire.as_ref().is_some_and(|wire| *wire.borrow() == Wire::OneWay);
        if !lost && to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
