//! The processes of the demo: a broker within, tracker and torrents as children. Dropping it kills them all.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use broker::EmbeddedBroker;
use protocol::EndpointUri;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use super::PATIENCE;
use super::story::quoted;
use crate::exit::{Code, Failure};

/// How long a daemon may take to end in good order: it lets open streams go on for 10 s.
const END: Duration = Duration::from_secs(12);
const LOOPBACK: &str = "127.0.0.1:0";

/// All that the demo runs.
#[derive(Debug)]
pub struct Network {
    directory: PathBuf,
    broker: Option<EmbeddedBroker>,
    members: Vec<Member>,
}

/// A daemon in a process of its own.
#[derive(Debug)]
pub struct Member {
    /// `tracker` or `torrent-1`.
    name: String,
    /// `tracker` or `torrent`.
    program: &'static str,
    arguments: Vec<String>,
    data_dir: PathBuf,
    log: PathBuf,
    child: Option<Child>,
}

impl Network {
    /// Nothing yet; everything will be below `directory`.
    pub fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), broker: None, members: Vec::new() }
    }

    /// Starts the broker, the tracker and the torrents, and waits until all of them listen.
    pub async fn start(&mut self, torrents: u32, copies: u32) -> Result<(), Failure> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let broker = EmbeddedBroker::start(address).await;
        self.broker = Some(broker.map_err(|error| Failure::new(Code::Failed, "NO_BROKER", error))?);
        let mut tracker = self.member("tracker".into(), "tracker");
        tracker.arguments.extend(["--copies".into(), copies.to_string()]);
        tracker.arguments.extend(["--repair-after".into(), "2s".into()]);
        let mut members = vec![tracker];
        for number in 1..=torrents {
            let name = format!("torrent-{number}");
            let mut torrent = self.member(name.clone(), "torrent");
            torrent.arguments.extend(["--id".into(), name]);
            members.push(torrent);
        }
        for mut member in members {
            member.spawn()?;
            self.members.push(member);
        }
        for member in &mut self.members {
            member.await_endpoint().await?;
        }
        Ok(())
    }

    fn member(&self, name: String, program: &'static str) -> Member {
        let data_dir = self.directory.join(&name);
        let log = self.directory.join(format!("{name}.log"));
        let arguments = [
            ("--broker", self.broker_url()),
            ("--data-dir", data_dir.display().to_string()),
            ("--listen", LOOPBACK.to_owned()),
            ("--http", LOOPBACK.to_owned()),
        ];
        let arguments = arguments.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect();
        Member { name, program, arguments, data_dir, log, child: None }
    }

    /// The broker's address.
    pub fn broker_url(&self) -> String {
        self.broker.as_ref().map(EmbeddedBroker::url).unwrap_or_default()
    }

    /// The daemons, the tracker first.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Where the tracker can be asked.
    pub fn tracker_endpoint(&self) -> Result<EndpointUri, Failure> {
        let missing = || Failure::new(Code::Failed, "NO_TRACKER", "the demo's tracker is not running");
        let address = self.members.first().ok_or_else(missing)?.endpoint()?;
        format!("grpc://{address}")
            .parse()
            .map_err(|error| Failure::new(Code::Failed, "INVALID_ENDPOINT", error))
    }

    /// Where the torrents can be asked.
    pub fn torrent_endpoints(&self) -> Result<Vec<String>, Failure> {
        let torrents = self.members.iter().filter(|member| member.program == "torrent");
        torrents.map(|torrent| torrent.endpoint().map(|address| format!("grpc://{address}"))).collect()
    }

    /// Where the tracker serves HTTP, if it does.
    pub fn http_address(&self) -> Option<String> {
        self.members.first().and_then(|tracker| tracker.told("http").ok())
    }

    /// Kills a daemon as `kill -9` would; gives the id that its process had.
    pub async fn kill(&mut self, name: &str) -> Result<u32, Failure> {
        let member = self.find(name)?;
        let mut child = member.child.take().ok_or_else(|| not_running(name))?;
        let pid = child.id().ok_or_else(|| not_running(name))?;
        child.kill().await.map_err(|error| Failure::io("killed", name.as_ref(), &error))?;
        Ok(pid)
    }

    /// Starts a daemon again that was killed.
    pub async fn restart(&mut self, name: &str) -> Result<(), Failure> {
        let member = self.find(name)?;
        member.spawn()?;
        member.await_endpoint().await
    }

    fn find(&mut self, name: &str) -> Result<&mut Member, Failure> {
        self.members.iter_mut().find(|member| member.name == name).ok_or_else(|| not_running(name))
    }

    /// Waits until a daemon ends that should not.
    pub async fn ended(&mut self) -> Failure {
        loop {
            if let Some(failure) = self.members.iter_mut().find_map(Member::failure) {
                return failure;
            }
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// Ends all daemons in good order, or by force if one does not end, and then the broker.
    pub async fn stop(&mut self) {
        let children: Vec<Child> = self.members.iter_mut().filter_map(|member| member.child.take()).collect();
        for child in &children {
            let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
            // One that has ended meanwhile is not waited for yet, so its id is not somebody else's.
            let _ = pid.map(|pid| kill_process(pid, Signal::TERM));
        }
        for mut child in children {
            if timeout(END, child.wait()).await.is_err() {
                let _ = child.kill().await;
            }
        }
        if let Some(broker) = self.broker.take() {
            broker.stop().await;
        }
    }
}

impl Member {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its log is.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// What a user would type to start it.
    pub fn command_line(&self) -> String {
        let arguments: Vec<String> = self.arguments.iter().map(|argument| quoted(argument)).collect();
        format!("{} {}", self.program, arguments.join(" "))
    }

    /// The address of its Endpoint.
    pub fn endpoint(&self) -> Result<String, Failure> {
        self.told("endpoint").map_err(|error| Failure::io("read", &self.data_dir.join("endpoint"), &error))
    }

    /// What it wrote into its data directory.
    fn told(&self, file: &str) -> io::Result<String> {
        fs::read_to_string(self.data_dir.join(file)).map(|text| text.trim().to_owned())
    }

    fn spawn(&mut self) -> Result<(), Failure> {
        let cannot = |error: io::Error| Failure::io("started", self.name.as_ref(), &error);
        // What an earlier run wrote must not be taken for the new addresses.
        for file in ["endpoint", "http"] {
            match fs::remove_file(self.data_dir.join(file)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(cannot(error)),
                Ok(()) | Err(_) => {}
            }
        }
        let log = File::options().create(true).append(true).open(&self.log).map_err(cannot)?;
        let mut command = Command::new(std::env::current_exe().map_err(cannot)?);
        // The settings of the user's own daemons are not meant for the demo's.
        for (key, _) in std::env::vars_os() {
            if key.to_str().is_some_and(|key| key.starts_with("MDS_") && key != "MDS_LOG") {
                command.env_remove(key);
            }
        }
        command.arg(self.program).arg("--end-with-stdin").args(&self.arguments);
        command.stdin(Stdio::piped()).stdout(log.try_clone().map_err(cannot)?).stderr(log);
        // Ctrl-C is for the demo alone, which ends its children itself.
        command.process_group(0).kill_on_drop(true);
        self.child = Some(command.spawn().map_err(cannot)?);
        Ok(())
    }

    async fn await_endpoint(&mut self) -> Result<(), Failure> {
        let listening = async {
            while self.told("endpoint").is_err() {
                if let Some(failure) = self.failure() {
                    return Err(failure);
                }
                sleep(Duration::from_millis(20)).await;
            }
            Ok(())
        };
        match timeout(PATIENCE, listening).await {
            Ok(listening) => listening,
            Err(_) => Err(self.describe(format!("does not listen after {} s", PATIENCE.as_secs()))),
        }
    }

    /// Why it does not run, if it should.
    fn failure(&mut self) -> Option<Failure> {
        let ended = self.child.as_mut()?.try_wait();
        let ended: Option<ExitStatus> = ended.ok().flatten();
        ended.map(|status| self.describe(format!("ended with {status}")))
    }

    fn describe(&self, what: String) -> Failure {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let last = log.lines().next_back().unwrap_or("nothing in its log");
        let message = format!("{} {what}: {last} (all of it: {})", self.name, self.log.display());
        Failure::new(Code::Failed, "DAEMON_ENDED", message)
    }
}

fn not_running(name: &str) -> Failure {
    Failure::new(Code::Failed, "NOT_RUNNING", format!("{name} is not running"))
}
