//! A network of its own for a process, with links to this one that can be pulled out.

use std::net::Ipv4Addr;
use std::process::Command;

use anyhow::{Context, ensure};

/// A network namespace; removed when dropped.
#[derive(Debug)]
pub struct Room {
    name: String,
    links: u8,
    /// Second and third number of all addresses, so that rooms of several tests do not meet.
    subnet: (u8, u8),
}

impl Room {
    /// Makes one with up to four links to this network, each with an address at both ends.
    ///
    /// # Errors
    /// If the system does not allow it: these tests need to be root.
    pub fn build(links: u8) -> anyhow::Result<Self> {
        ensure!(links <= 4, "{links} links do not fit");
        let id = std::process::id();
        let subnet = (u8::try_from(64 + id % 128)?, u8::try_from(id / 128 % 60 * 4)?);
        let room = Self { name: format!("redkite-{id}"), links, subnet };
        room.add().context("no network namespace: tests of cut networks need to be root, and `ip`")?;
        Ok(room)
    }

    fn add(&self) -> anyhow::Result<()> {
        ip(&format!("netns add {}", self.name))?;
        ip(&format!("-n {} link set lo up", self.name))?;
        for link in 0..self.links {
            let (out, within) = (self.interface(link, 'o'), self.interface(link, 'i'));
            ip(&format!("link add {out} type veth peer name {within} netns {}", self.name))?;
            ip(&format!("addr add {}/30 dev {out}", self.outside(link)))?;
            ip(&format!("-n {} addr add {}/30 dev {within}", self.name, self.inside(link)))?;
            ip(&format!("link set {out} up"))?;
            ip(&format!("-n {} link set {within} up", self.name))?;
        }
        Ok(())
    }

    fn interface(&self, link: u8, end: char) -> String {
        format!("rk{}{end}{link}", std::process::id())
    }

    /// The address of this end of a link.
    #[must_use]
    pub fn outside(&self, link: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, self.subnet.0, self.subnet.1 + link, 1)
    }

    /// The address of the room's end of a link.
    #[must_use]
    pub fn inside(&self, link: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, self.subnet.0, self.subnet.1 + link, 2)
    }

    /// From now on nothing gets through a link, and nobody is told: packets go to a device that there is not.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn cut(&self, link: u8) -> anyhow::Result<()> {
        self.neighbours(link, "replace", "lladdr 02:00:00:00:00:99 nud permanent")
    }

    /// Lets everything through again.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn heal(&self, link: u8) -> anyhow::Result<()> {
        self.neighbours(link, "delete", "")
    }

    fn neighbours(&self, link: u8, what: &str, how: &str) -> anyhow::Result<()> {
        let (out, within) = (self.interface(link, 'o'), self.interface(link, 'i'));
        ip(&format!("neighbour {what} {} dev {out} {how}", self.inside(link)))?;
        ip(&format!("-n {} neighbour {what} {} dev {within} {how}", self.name, self.outside(link)))
    }

    /// What to put before a command line, so that it is run there.
    #[must_use]
    pub fn entrance(&self) -> Vec<String> {
        ["ip", "netns", "exec", &self.name].map(str::to_owned).to_vec()
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // Its ends of the links go with it, and ours with them.
        let _ = ip(&format!("netns delete {}", self.name));
    }
}

fn ip(arguments: &str) -> anyhow::Result<()> {
    let output = Command::new("ip").args(arguments.split_whitespace()).output().context("ip not started")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ip {arguments}: {said}");
    Ok(())
}
