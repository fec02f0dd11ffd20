//! `cargo xtask doctor`: what is installed, what is missing, how to get it.

use crate::apt::{self, Need};
use crate::process;
use crate::qemu::version;
use crate::repo::Repo;
use crate::toolchain::{self, Toolchain};
use anyhow::Result;
use clap::Args;
use std::process::{Command, ExitCode};
use std::time::Duration;

/// Says what is installed, what is missing, and how to get it. Installs nothing.
///
/// The other verbs install what they need themselves, if you are root on Debian. The status is 1 if something is
/// missing that they could not install.
#[derive(Debug, Args)]
pub struct Arguments {}

/// How something is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Good,
    /// A package of Debian's brings it.
    Missing,
    /// Somebody has to do something about it.
    Wrong,
}

/// One line of the list.
struct Finding {
    state: State,
    what: String,
    text: String,
}

/// Looks, and prints the list.
///
/// # Errors
/// None; what is wrong is in the list.
pub fn run(repo: &Repo, _: &Arguments) -> Result<ExitCode> {
    let mut missing: Vec<&str> = Vec::new();
    let mut findings = vec![program("cargo"), program("rustc"), qemu()];
    if !apt::QEMU.met() {
        missing.push(apt::QEMU.package);
    }
    findings.push(bare_metal(&mut missing));
    for need in [apt::MKE2FS, apt::DEPMOD, apt::IPERF3] {
        if !need.met() {
            missing.push(need.package);
        }
        findings.push(finding(&need));
    }
    findings.push(guest(repo));
    for finding in &findings {
        let mark = match finding.state {
            State::Good => "ok",
            State::Missing => "missing",
            State::Wrong => "wrong",
        };
        println!("{mark:<7}  {:<22} {}", finding.what, finding.text);
    }
    if !missing.is_empty() {
        println!();
        if apt::is_debian() && apt::is_root() {
            println!("The verbs that need the missing packages install them. By hand:");
        } else if apt::is_debian() {
            println!("Only root can install packages:");
        } else {
            println!("This is not Debian. There, the missing things would come with:");
        }
        println!("  {}", apt::manual_command(&missing));
    }
    let installable = apt::is_debian() && apt::is_root();
    let fine = findings.iter().all(|finding| match finding.state {
        State::Good => true,
        State::Missing => installable,
        State::Wrong => false,
    });
    Ok(match fine {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// A program and the first line of what it says about its version.
fn program(name: &'static str) -> Finding {
    let version = process::run(Command::new(name).arg("--version"), Duration::from_secs(20));
    match version {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout);
            Finding {
                state: State::Good,
                what: name.into(),
                text: text.lines().next().unwrap_or_default().to_owned(),
            }
        }
        Err(_) => Finding {
            state: State::Wrong,
            what: name.into(),
            text: "install Rust with rustup".into(),
        },
    }
}

fn qemu() -> Finding {
    let what = "qemu-system-aarch64".to_owned();
    match process::find("qemu-system-aarch64") {
        None => finding(&apt::QEMU),
        Some(path) => match version::check(&path) {
            Ok(version) => Finding {
                state: State::Good,
                what,
                text: format!("{version} ({})", path.display()),
            },
            Err(error) => Finding {
                state: State::Wrong,
                what,
                text: error.to_string(),
            },
        },
    }
}

fn bare_metal(missing: &mut Vec<&str>) -> Finding {
    let what = "bare-metal target".to_owned();
    let (state, text) = match Toolchain::find() {
        Some(Toolchain::Rustup) => (State::Good, format!("{} from rustup", toolchain::TARGET)),
        Some(Toolchain::Debian) => (State::Good, "Debian's rustc and its sources".to_owned()),
        None => {
            let needs = toolchain::DEBIAN.iter().filter(|need| !need.met());
            missing.extend(needs.map(|need| need.package));
            let text = format!(
                "`rustup target add {}`, or where rustup cannot fetch it, Debian's compiler",
                toolchain::TARGET
            );
            (State::Missing, text)
        }
    };
    Finding { state, what, text }
}

fn guest(repo: &Repo) -> Finding {
    let guests = repo.path("build/cache/guest");
    let there = std::fs::read_dir(guests).is_ok_and(|mut entries| entries.next().is_some());
    let text = if there {
        "in build/cache"
    } else if apt::is_debian() {
        "not yet: the first `run` downloads about 110 MB of arm64 packages from this machine's apt sources"
    } else {
        "not here: it is made of Debian's packages. Name a kernel, an initrd and a root of your own in a system file"
    };
    Finding {
        state: if there || apt::is_debian() {
            State::Good
        } else {
            State::Wrong
        },
        what: "Debian guest".into(),
        text: text.into(),
    }
}

fn finding(need: &Need) -> Finding {
    let met = need.met();
    Finding {
        state: if met { State::Good } else { State::Missing },
        what: apt::sign(need),
        text: if met {
            need.purpose.to_owned()
        } else {
            format!("{} (Debian: {})", need.purpose, need.package)
        },
    }
}
