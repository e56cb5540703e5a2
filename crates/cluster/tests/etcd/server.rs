//! Real etcd processes for one test: started on free ports, killed, stopped and started again at will.

use std::io::{BufRead, BufReader, ErrorKind};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use parking_lot::Mutex;
use redkite_cluster::kv::{EtcdKv, EtcdSettings};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Names another release of etcd than the one installed.
const BINARY: &str = "ETCD_BIN";
/// What etcd logs when it can be used.
const READY: &str = "ready to serve client requests";
const PATIENCE: Duration = Duration::from_secs(60);
/// Somebody else may take a port between our finding it free and etcd's using it.
const TRIES: usize = 5;

/// One member, with its data.
pub(crate) struct Etcd {
    pub(crate) port: u16,
    name: String,
    arguments: Vec<String>,
    data: PathBuf,
    process: Mutex<Option<Child>>,
    // Last: removed after the process is dead.
    _directory: Arc<TempDir>,
}

/// A port that nobody uses now, that the system gives to no connection meanwhile, and never the same twice.
fn free_port() -> u16 {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    // Below those that Linux chooses from; tests beside this one are processes of their own, and begin elsewhere.
    let begin = std::process::id().wrapping_mul(16);
    let next = || 20_000 + begin.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed)) % 12_000;
    let mut ports = std::iter::repeat_with(|| u16::try_from(next()).unwrap()).take(12_000);
    ports.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap()
}

impl Etcd {
    pub(crate) fn start() -> Self {
        Self::start_with("http", &[])
    }

    /// With more arguments; `scheme` is that of the client's side.
    pub(crate) fn start_with(scheme: &str, arguments: &[String]) -> Self {
        for _ in 0..TRIES {
            let mut members = prepare(1, scheme, arguments);
            let member = members.remove(0);
            if member.run() {
                return member;
            }
        }
        panic!("etcd does not start");
    }

    /// Members of one cluster.
    pub(crate) fn cluster(size: usize) -> Vec<Self> {
        for _ in 0..TRIES {
            let members = prepare(size, "http", &[]);
            let started: Vec<_> = members.iter().map(Etcd::spawn).collect();
            if started.into_iter().all(|ready| ready.recv_timeout(PATIENCE).is_ok()) {
                return members;
            }
        }
        panic!("etcd does not start");
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Starts it over its data, and waits until it can be used.
    pub(crate) fn restart(&self) {
        assert!(self.run(), "etcd starts again");
    }

    fn run(&self) -> bool {
        self.spawn().recv_timeout(PATIENCE).is_ok()
    }

    /// The receiver is told when it is ready; it is closed when it dies first.
    fn spawn(&self) -> mpsc::Receiver<()> {
        let binary = std::env::var_os(BINARY).unwrap_or_else(|| "etcd".into());
        let spawned = Command::new(binary)
            .args(["--name", &self.name, "--data-dir"])
            .arg(&self.data)
            .args(&self.arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = spawned.unwrap_or_else(|error| match error.kind() {
            ErrorKind::NotFound => panic!("etcd is not installed: apt-get install etcd-server"),
            _ => panic!("etcd: {error}"),
        });
        let log = BufReader::new(child.stderr.take().unwrap());
        *self.process.lock() = Some(child);
        let (ready, told) = mpsc::channel();
        let read = move || {
            let mut ready = Some(ready);
            for line in log.lines().map_while(Result::ok) {
                if line.contains(READY)
                    && let Some(ready) = ready.take()
                {
                    let _ = ready.send(());
                }
            }
        };
        redkite_runtime::tasks::thread("etcd-log", read).unwrap();
        told
    }

    /// kill -9, and waits until it is gone.
    pub(crate) fn kill(&self) {
        if let Some(mut child) = self.process.lock().take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Takes all time from it, as an overloaded machine or a cut network does; returns when the last thread stands.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
        let process = self.process.lock();
        let tasks = format!("/proc/{}/task", process.as_ref().unwrap().id());
        let stands = |task: std::io::Result<std::fs::DirEntry>| {
            let state = std::fs::read_to_string(task.unwrap().path().join("stat")).unwrap_or_default();
            // The state follows the name, which is in brackets.
            state.rsplit(')').next().is_none_or(|rest| rest.trim_start().starts_with('T'))
        };
        while !std::fs::read_dir(&tasks).unwrap().all(stands) {
            std::thread::yield_now();
        }
    }

    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let process = self.process.lock();
        kill_process(Pid::from_child(process.as_ref().unwrap()), signal).unwrap();
    }

    pub(crate) fn settings(&self) -> EtcdSettings {
        settings(&[self.endpoint()])
    }

    /// A store under a prefix of its own.
    pub(crate) fn kv(&self) -> Arc<EtcdKv> {
        EtcdKv::new(&self.settings(), "by-dev/meta/").unwrap()
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.kill();
    }
}

pub(crate) fn settings(endpoints: &[String]) -> EtcdSettings {
    EtcdSettings { endpoints: endpoints.to_vec(), ..EtcdSettings::default() }
}

fn prepare(size: usize, scheme: &str, arguments: &[String]) -> Vec<Etcd> {
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let ports: Vec<_> = (0..size).map(|_| (free_port(), free_port())).collect();
    let peers: Vec<_> =
        ports.iter().enumerate().map(|(n, (_, peer))| format!("m{n}=http://127.0.0.1:{peer}")).collect();
    let member = |(n, (client, peer)): (usize, &(u16, u16))| {
        let (client_url, peer_url) =
            (format!("{scheme}://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
        let named = [
            ("--listen-client-urls", &client_url),
            ("--advertise-client-urls", &client_url),
            ("--listen-peer-urls", &peer_url),
            ("--initial-advertise-peer-urls", &peer_url),
            ("--initial-cluster", &peers.join(",")),
        ];
        let named = named.into_iter().flat_map(|(name, value)| [name.to_owned(), value.clone()]);
        Etcd {
            port: *client,
            name: format!("m{n}"),
            arguments: named.chain(arguments.iter().cloned()).collect(),
            data: directory.path().join(format!("m{n}")),
            process: Mutex::new(None),
            _directory: directory.clone(),
        }
    };
    ports.iter().enumerate().map(member).collect()
}
