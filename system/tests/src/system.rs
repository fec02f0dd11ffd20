//! What to boot.

use crate::broken::Mistake;
use crate::machine::{LIMIT, Machine};
use crate::sha256;
use crate::tool::checkout;
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;
use xtask::assemble::{self, Built, Kernel, Options};
use xtask::bench::tap::{ADDRESS, Tap};
use xtask::guest::disk::Disk;
use xtask::pack::Configuration;
use xtask::qemu::{self, Serial};
use xtask::repo::Repo;

/// A system to boot: which file, and what is different this time.
pub struct System {
    name: String,
    options: Options,
    spare: u64,
    bytes: Vec<u8>,
    broken: Vec<(String, Mistake)>,
}

impl System {
    /// The system file `name`.toml, of `system/` or of this crate's `systems/`.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            options: Options::from_environment(),
            spare: 0,
            bytes: Vec::new(),
            broken: Vec::new(),
        }
    }

    /// The bundled kernel, whatever the tests are for.
    pub fn bundled(mut self) -> Self {
        self.options.kernel = Kernel::Bundled(Configuration::Release);
        self
    }

    /// A machine with processors of the model `cpu`, by QEMU's name.
    pub fn on(mut self, cpu: &str) -> Self {
        self.options.cpu = Some(cpu.to_owned());
        self
    }

    /// On `board`, by the tool's name.
    pub fn board(mut self, board: &str) -> Self {
        self.options.board = Some(board.to_owned());
        self
    }

    /// The kernel's debug configuration.
    pub fn debug(mut self) -> Self {
        self.options.kernel = self.options.kernel.debug();
        self
    }

    /// On several cores; `None`: the kernel that the tests are for uses one only.
    pub fn on_several_cores(mut self) -> Option<Self> {
        self.options.kernel = self.options.kernel.on_several_cores()?;
        Some(self)
    }

    /// Adds `bytes` of room to each guest's disk behind its file system.
    pub fn spare_disk(mut self, bytes: u64) -> Self {
        self.spare = bytes;
        self
    }

    /// Puts `bytes` at the start of that room.
    pub fn spare_bytes(mut self, bytes: &[u8]) -> Self {
        self.bytes = bytes.to_vec();
        self
    }

    /// The SHA-256 of each program before anything is patched, by name.
    pub fn program_hashes(self) -> BTreeMap<String, String> {
        let repo = Repo::find().expect("the test runs in the checkout");
        let folder = self.build(&repo).folder.join("programs");
        let programs = std::fs::read_dir(folder).expect("the programs are there");
        programs
            .map(|program| {
                let path = program.expect("the folder can be read").path();
                let name = path.file_name().expect("a file has a name");
                let bytes = std::fs::read(&path).expect("the program can be read");
                (name.to_string_lossy().into_owned(), sha256(&bytes))
            })
            .collect()
    }

    /// Makes the program called `program` start with a mistake.
    pub fn broken(mut self, program: &str, mistake: Mistake) -> Self {
        self.broken.push((program.to_owned(), mistake));
        self
    }

    /// Builds everything, boots, and waits until the supervisor has told that a PD has faulted: the report with which
    /// `cargo xtask run` would end.
    pub fn fault(self) -> String {
        let repo = Repo::find().expect("the test runs in the checkout");
        let built = self.build(&repo);
        let command = built.qemu(Serial::Program);
        let command = command.expect("`cargo xtask test` has installed QEMU");
        let machine = qemu::Machine::start(&command, &built.guests(), None);
        let mut machine = machine.expect("QEMU starts");
        machine.tolerate_faults();
        let told = machine.wait_for(Instant::now() + LIMIT, "a report", |log| {
            let text = log.text();
            let (_, report) = text.split_once("sel4cp-supervisor: PD ")?;
            report.contains("the others go on\n").then_some(())
        });
        if let Err(failure) = told {
            panic!("{failure}");
        }
        machine.fault().expect("the tool knows a report")
    }

    /// Builds everything with fresh disks, boots, and waits for the shell of each guest.
    pub fn boot(self) -> Machine {
        self.boot_as(|command| command)
    }

    /// Like [`Self::boot`], with `tap` for QEMU's user-mode network and a network device for bulk, as in a benchmark; waits for the
    /// guest's address too.
    pub fn boot_behind(mut self, tap: &Tap) -> Machine {
        self.options.bulk = true;
        let mut machine = self.boot_as(|command| tap.command(&command));
        machine.run(ADDRESS);
        machine
    }

    /// Boots in a machine that gets these arguments too.
    pub fn boot_with(self, arguments: &[&str]) -> Machine {
        self.boot_as(|mut command| {
            command.args(arguments);
            command
        })
    }

    fn boot_as(self, place: impl FnOnce(Command) -> Command) -> Machine {
        let repo = Repo::find().expect("the test runs in the checkout");
        let built = self.build(&repo);
        let disks: Vec<PathBuf> = built
            .files
            .iter()
            .filter_map(|files| files.root.clone())
            .collect();
        let offset = disks.first().map_or(0, |disk| length(disk));
        for disk in &disks {
            self.extend(disk);
        }
        let command = built.qemu(Serial::Program);
        let mut command = place(command.expect("`cargo xtask test` has installed QEMU"));
        let monitor = built.folder.join("monitor.sock");
        let _ = std::fs::remove_file(&monitor);
        command
            .arg("-qmp")
            .arg(format!("unix:{},server=on,wait=off", monitor.display()));
        Machine::start(&command, &built.guests(), disks, offset, monitor)
    }

    fn build(&self, repo: &Repo) -> Built {
        let own = checkout().join(format!("system/tests/systems/{}.toml", self.name));
        let path = if own.is_file() {
            own
        } else {
            assemble::find(repo, Some(Path::new(&self.name))).expect("the system is there")
        };
        let options = Options {
            disk: Disk::Fresh,
            folder: Some(format!("test-{}", self.name)),
            ..self.options.clone()
        };
        let built = assemble::build_changed(repo, &path, &options, |programs| {
            for (program, mistake) in &self.broken {
                mistake.put_into(&programs.join(program));
            }
            Ok(())
        });
        built.expect("the system builds")
    }

    fn extend(&self, disk: &Path) {
        let mut file = OpenOptions::new()
            .write(true)
            .open(disk)
            .expect("the disk is there");
        let end = file.seek(SeekFrom::End(0)).expect("a file has an end");
        file.write_all(&self.bytes).expect("there is room");
        file.set_len(end + self.spare).expect("a sparse file grows");
    }
}

fn length(disk: &Path) -> u64 {
    std::fs::metadata(disk).expect("the disk is there").len()
}
