//! A process that is measured. It is stopped when it is dropped.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use crate::machine;
use crate::sample::{Role, Usage};

/// How long a process may take to end after it was asked to.
const END_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a process may take until it listens.
const START_TIMEOUT: Duration = Duration::from_secs(15);
/// How often the memory of a process is looked at that ends by itself.
const LOOK: Duration = Duration::from_millis(10);

/// A running process and what it had used when the measurement began.
#[derive(Debug)]
pub struct Process {
    role: Role,
    child: Child,
    out: Option<BufReader<ChildStdout>>,
    cpu_before: f64,
}

impl Process {
    /// Starts a daemon; what it says goes to `log`.
    pub fn start(role: Role, mut command: Command, log: &Path) -> Result<Self> {
        let log = File::create(log).with_context(|| format!("{} cannot be written", log.display()))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = spawn(&mut command)?;
        Ok(Self { role, child, out: None, cpu_before: 0.0 })
    }

    /// Starts a process whose output is read here.
    pub fn start_piped(role: Role, mut command: Command) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = spawn(&mut command)?;
        let out = child.stdout.take().map(BufReader::new);
        Ok(Self { role, child, out, cpu_before: 0.0 })
    }

    /// This program, doing one of its parts.
    pub fn part(role: Role, arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(arguments);
        Self::start_piped(role, command)
    }

    /// Waits until it listens on `port`; `log` says why it does not.
    pub fn await_port(&mut self, port: u16, log: &Path) -> Result<()> {
        let started = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if self.has_ended()? || started.elapsed() > START_TIMEOUT {
                let said = fs::read_to_string(log).unwrap_or_default();
                bail!("{:?} does not listen on port {port}: {said}", self.role);
            }
            thread::sleep(LOOK);
        }
        Ok(())
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line of its output.
    pub fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if let Some(out) = &mut self.out {
            out.read_line(&mut line)?;
        }
        if line.is_empty() {
            bail!("{:?} ended before it said what was awaited", self.role);
        }
        Ok(line.trim().to_owned())
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// The measurement begins.
    pub fn mark(&mut self) -> Result<()> {
        self.cpu_before = machine::cpu_seconds(self.pid())?;
        Ok(())
    }

    /// What it has used since the mark. It must not have been waited for.
    pub fn usage(&self) -> Result<Usage> {
        let (peak_bytes, _) = machine::memory_bytes(self.pid())?;
        let cpu_s = machine::cpu_seconds(self.pid())? - self.cpu_before;
        Ok(Usage { role: self.role, cpu_s, peak_bytes })
    }

    /// Waits until it ends by itself, successfully; the rest of its output and what it used in all.
    pub fn finish(mut self) -> Result<(String, Usage)> {
        let reader = self.out.take().map(|mut out| {
            thread::spawn(move || {
                let mut rest = String::new();
                out.read_to_string(&mut rest).map(|_| rest)
            })
        });
        let pid = self.pid();
        let mut peak_bytes = 0;
        // Not waited for yet, it still tells its CPU time.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        while waitid(WaitId::Pid(raw(pid)?), options)?.is_none() {
            peak_bytes = peak_bytes.max(machine::memory_bytes(pid)?.0);
            thread::sleep(LOOK);
        }
        let cpu_s = machine::cpu_seconds(pid)? - self.cpu_before;
        let status = self.child.wait()?;
        let said = match reader {
            Some(reader) => reader.join().map_err(|_| anyhow::anyhow!("the output could not be read"))??,
            None => String::new(),
        };
        if !status.success() {
            bail!("{:?} ended with {status}", self.role);
        }
        Ok((said, Usage { role: self.role, cpu_s, peak_bytes }))
    }

    /// Asks it to end, and waits.
    pub fn stop(mut self) -> Result<ExitStatus> {
        let status = self.end()?;
        Ok(status)
    }

    fn end(&mut self) -> Result<ExitStatus> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(status);
        }
        kill_process(raw(self.pid())?, Signal::TERM)?;
        let asked = Instant::now();
        while asked.elapsed() < END_TIMEOUT {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            thread::sleep(Duration::from_millis(5));
        }
        self.child.kill()?;
        Ok(self.child.wait()?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("{:?} could not be stopped: {error:#}", self.role);
        }
    }
}

/// A port on which nobody listens.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Where a program lies on the `PATH`, if it does.
pub fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|candidate| candidate.is_file())
}

fn spawn(command: &mut Command) -> Result<Child> {
    let program = command.get_program().to_owned();
    command.spawn().with_context(|| format!("{} cannot be started", program.display()))
}

fn raw(pid: u32) -> Result<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw).context("a process id that is none")
}

/// Finishes all at once: their memory is looked at while they run.
pub fn finish_all(processes: Vec<Process>) -> Result<Vec<(String, Usage)>> {
    thread::scope(|scope| {
        let finishing: Vec<_> =
            processes.into_iter().map(|process| scope.spawn(move || process.finish())).collect();
        let joined = finishing
            .into_iter()
            .map(|finishing| finishing.join().unwrap_or_else(|_| bail!("a process could not be waited for")));
        joined.collect()
    })
}
