//! `cargo xtask up`: from a fresh clone to a call that works.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, ExitCode, ExitStatus},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};

use crate::{
    command::{binaries, build_binaries},
    models::{Selection, pull},
    paths::Home,
};

/// How often the child and our own signals are looked at.
const POLL: Duration = Duration::from_millis(100);

/// Models load in seconds; a machine that needs longer than this has another problem.
const READY_WITHIN: Duration = Duration::from_secs(180);

/// A probe of readiness is answered at once or not at all.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// Past the services' own drain deadline something hangs, and is killed.
const STOP_WITHIN: Duration = Duration::from_secs(45);

const PROMPT: &str = "Why is the sky blue?";
const PICTURE: &str = "a red apple";

/// How to start.
#[derive(Args)]
pub(crate) struct Options {
    /// Port of the gateway, on the loopback address.
    #[arg(long, default_value_t = 50051)]
    port: u16,
    /// Port of metrics and probes, on the loopback address.
    #[arg(long, default_value_t = 9051)]
    admin_port: u16,
    /// Start what was built last.
    #[arg(long)]
    no_build: bool,
    /// Build (or start) the release profile.
    #[arg(long)]
    release: bool,
}

/// Fetches, builds, starts, waits until ready, prints a call, and stays until it is told to stop.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    pull(&Home::of_user()?, &Selection::Default)?;
    if !options.no_build {
        let status = build_binaries(options.release).status().context("could not start cargo")?;
        ensure!(status.success(), "the build failed ({status})");
    }
    let binaries = binaries(options.release)?;
    // From here on Ctrl-C is ours: the child has to be stopped before we end.
    let mut signals = Signals::new([SIGINT, SIGTERM]).context("could not listen for signals")?;
    let mut standalone = Standalone::start(&binaries.join("atelier-standalone"), options)?;
    if !standalone.until_ready(local(options.admin_port), &mut signals)? {
        standalone.stop(&mut signals)?;
        return Ok(ExitCode::FAILURE);
    }
    print_calls(&binaries, options);
    standalone.until_told(&mut signals)?;
    standalone.stop(&mut signals)?;
    Ok(ExitCode::SUCCESS)
}

fn print_calls(binaries: &Path, options: &Options) {
    let gateway = local(options.port);
    let endpoint =
        if options.port == 50051 { String::new() } else { format!(" --endpoint http://{gateway}") };
    let message = serde_json::json!({ "messages": [{ "role": "ROLE_USER", "content": PROMPT }] });
    println!("\nAtelier is ready on {gateway}; metrics on http://{}/metrics", local(options.admin_port));
    println!("\nPaste into another terminal:\n");
    let atelier = binaries.join("atelier");
    println!("    {}{endpoint} chat \"{PROMPT}\"", atelier.display());
    println!("    {}{endpoint} image \"{PICTURE}\" -o apple.png", atelier.display());
    println!("\nor, with grpcurl:\n");
    println!("    grpcurl -plaintext -d '{message}' {gateway} atelier.gateway.v1.GatewayService/StreamChat");
    println!("\nCtrl-C stops it.");
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// The running process.
struct Standalone(Child);

impl Standalone {
    fn start(binary: &Path, options: &Options) -> Result<Self> {
        let mut command = Command::new(binary);
        command.args(["--listen", &local(options.port).to_string()]);
        command
            .env("ATELIER_STANDALONE__GATEWAY__SERVER__ADMIN_LISTEN", local(options.admin_port).to_string());
        // In its own group a Ctrl-C at the terminal reaches us alone, and the child gets one signal instead of two.
        command.process_group(0);
        let child = command.spawn().with_context(|| format!("could not start {}", binary.display()))?;
        Ok(Self(child))
    }

    /// Whether it came to serve; false when we were told to stop before.
    fn until_ready(&mut self, admin: SocketAddr, signals: &mut Signals) -> Result<bool> {
        let started = Instant::now();
        while !is_ready(admin) {
            self.still_running()?;
            if signals.pending().next().is_some() {
                return Ok(false);
            }
            if started.elapsed() > READY_WITHIN {
                self.stop(signals)?;
                bail!("not ready within {} s: see the log above", READY_WITHIN.as_secs());
            }
            pause();
        }
        // Someone else's process may answer on that port while ours failed to bind it.
        self.still_running()?;
        Ok(true)
    }

    fn until_told(&mut self, signals: &mut Signals) -> Result<()> {
        while signals.pending().next().is_none() {
            self.still_running()?;
            pause();
        }
        Ok(())
    }

    fn still_running(&mut self) -> Result<()> {
        match self.0.try_wait()? {
            Some(status) => bail!("atelier-standalone ended by itself ({status})"),
            None => Ok(()),
        }
    }

    /// Asks it to drain and end; a second signal to us, or waiting in vain, kills it.
    fn stop(&mut self, signals: &mut Signals) -> Result<ExitStatus> {
        let started = Instant::now();
        if let Some(status) = self.0.try_wait()? {
            return Ok(status);
        }
        eprintln!("stopping");
        // Not waited for yet, so the id is still this child's.
        kill_process(Pid::from_child(&self.0), Signal::TERM)
            .context("could not signal atelier-standalone")?;
        loop {
            if let Some(status) = self.0.try_wait()? {
                return Ok(status);
            }
            if signals.pending().next().is_some() || started.elapsed() > STOP_WITHIN {
                self.0.kill()?;
            }
            pause();
        }
    }
}

impl Drop for Standalone {
    /// On an error on our side, so that no process is left behind.
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            self.0.kill().ok();
            self.0.wait().ok();
        }
    }
}

/// One `GET /readyz`.
fn is_ready(admin: SocketAddr) -> bool {
    let probe = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&admin, PROBE_TIMEOUT)?;
        stream.set_read_timeout(Some(PROBE_TIMEOUT))?;
        write!(stream, "GET /readyz HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    probe().is_ok_and(|answer| is_ok(&answer))
}

/// Whether an HTTP answer's status is 200.
fn is_ok(answer: &str) -> bool {
    answer.split(' ').nth(1) == Some("200")
}

#[expect(clippy::disallowed_methods, reason = "there is no async worker here")]
fn pause() {
    thread::sleep(POLL);
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, os::unix::process::ExitStatusExt};

    use super::*;

    fn child(script: &str) -> Standalone {
        Standalone(Command::new("sh").args(["-c", script]).process_group(0).spawn().unwrap())
    }

    #[test]
    fn only_status_200_is_ready() {
        assert!(is_ok("HTTP/1.1 200 OK\r\n\r\nready"));
        assert!(!is_ok("HTTP/1.1 503 Service Unavailable\r\n\r\n200 "));
        assert!(!is_ok(""));
        let nobody = TcpListener::bind(local(0)).unwrap().local_addr().unwrap();
        assert!(!is_ready(nobody));
    }

    #[test]
    fn a_child_is_asked_before_it_is_killed() {
        let mut signals = Signals::new::<[i32; 0], i32>([]).unwrap();
        let mut standalone = child("trap 'exit 7' TERM; echo >&2; while :; do sleep 0.05; done");
        (0..3).for_each(|_| pause());
        assert_eq!(standalone.stop(&mut signals).unwrap().code(), Some(7));
        let mut deaf = child("sleep 60");
        assert_eq!(deaf.stop(&mut signals).unwrap().signal(), Some(SIGTERM));
    }

    #[test]
    fn a_child_that_ends_by_itself_is_an_error() {
        let mut signals = Signals::new::<[i32; 0], i32>([]).unwrap();
        let nobody = TcpListener::bind(local(0)).unwrap().local_addr().unwrap();
        let error = child("exit 3").until_ready(nobody, &mut signals).unwrap_err();
        assert!(error.to_string().contains('3'), "{error}");
    }

    #[test]
    fn no_child_is_left_behind() {
        let standalone = child("sleep 60");
        let pid = Pid::from_child(&standalone.0);
        drop(standalone);
        assert!(rustix::process::test_kill_process(pid).is_err());
    }
}
