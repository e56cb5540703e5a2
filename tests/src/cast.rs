//! Several writers and a definer at work against one server.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, ensure};
use tokio::task::JoinSet;

use crate::definer::Definer;
use crate::server::{Options, Server};
use crate::workload::{self, Stopped, Writer};

/// Somebody who works against a server.
#[derive(Debug)]
enum Member {
    Writer(Writer),
    Definer(Definer),
}

impl Member {
    async fn work(&mut self, address: SocketAddr, share: Share) -> anyhow::Result<Stopped> {
        match self {
            Self::Writer(writer) => {
                let who = format!("writer of {}", writer.own_rows());
                writer.work(address, share.operations).await.context(who)
            }
            Self::Definer(definer) => definer.work(address, share.cycles).await.context("definer"),
        }
    }
}

/// How much everybody does.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    /// Operations of each writer.
    pub operations: u64,
    /// Collections that the definer makes.
    pub cycles: u64,
}

impl Share {
    /// Until the server is gone.
    pub const ENDLESS: Self = Self { operations: u64::MAX, cycles: u64::MAX };
    /// Enough to see that everything works.
    pub const SOME: Self = Self { operations: 12, cycles: 1 };
}

/// Everybody who works against a server.
#[derive(Debug)]
pub struct Cast(Vec<Member>);

impl Cast {
    /// One writer for a collection of one shard, one for a collection of two, and a definer. A tolerant
    /// cast may be refused for a while.
    ///
    /// # Errors
    /// If the server does not start or refuses.
    pub async fn enter(directory: &Path, seed: u64, tolerant: bool) -> anyhow::Result<Self> {
        let server = Server::start(directory, &Options::busy()).await?;
        let mut client = workload::connect(server.address).await?;
        let definer = Definer::new("made");
        let mut cast = vec![Member::Definer(if tolerant { definer.tolerant() } else { definer })];
        for shards in [1, 2] {
            let collection = format!("model_{shards}");
            workload::prepare(&mut client, &collection, shards).await?;
            let writer = Writer::new(&collection, i64::from(shards), shards, seed);
            cast.push(Member::Writer(if tolerant { writer.tolerant() } else { writer }));
        }
        server.kill().await?;
        Ok(Self(cast))
    }

    /// Works until everybody has done their share or the server is gone; whether it is.
    ///
    /// # Errors
    /// If the server answers wrongly.
    pub async fn work(&mut self, server: &Server, share: Share) -> anyhow::Result<Stopped> {
        let address = server.address;
        let mut at_work = JoinSet::new();
        for mut member in self.0.drain(..) {
            at_work.spawn(async move {
                let stopped = member.work(address, share).await;
                (member, stopped)
            });
        }
        let mut end = Stopped::Done;
        while let Some(ended) = at_work.join_next().await {
            let (member, stopped) = ended?;
            if stopped? == Stopped::ServerGone {
                end = Stopped::ServerGone;
            }
            self.0.push(member);
        }
        Ok(end)
    }

    /// Everything is as it must be, and everything works.
    ///
    /// # Errors
    /// If not.
    pub async fn go_on(&mut self, server: &Server) -> anyhow::Result<()> {
        ensure!(self.work(server, Share::SOME).await? == Stopped::Done, "the server is gone");
        Ok(())
    }
}
