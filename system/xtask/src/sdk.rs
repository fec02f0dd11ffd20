//! A Microkit SDK: found, checked, and its tool called.
//!
//! Everything that the programs take for granted about the kernel is compared with what the SDK's files say, before
//! anything is built: the version, the kernel's configuration, the top of the address space. The numbers that differ from one
//! configuration to the next, the invocation labels, are read, and reach the programs as data.

use crate::process;
use anyhow::{Context as _, Result, bail};
use sel4cp_abi::label::Labels;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The version that this project is written for.
pub const VERSION: &str = "2.3.0";
/// The variable that names the SDK's folder.
pub const VARIABLE: &str = "MICROKIT_SDK";
/// How long the SDK's tool may take: kernels and initial RAM disks of any size are copied.
const LIMIT: Duration = Duration::from_secs(300);
/// One past the last address of a PD (`vspace_user_top` as the SDK writes it): the IPC buffer is the page below.
const USER_TOP: u64 = sel4cp_abi::slot::IPC_BUFFER + 0x1000;

/// What the kernel must be, by the names of `gen_config.json`.
const KERNEL: &[(&str, &str)] = &[
    ("ARCH_AARCH64", "true"),
    ("ARM_HYPERVISOR_SUPPORT", "true"),
    ("KERNEL_MCS", "true"),
    ("ARM_PA_SIZE_BITS_40", "true"),
    ("NUM_PRIORITIES", "256"),
    // PDs read the clock, and the power driver turns the machine off.
    ("EXPORT_PCNT_USER", "true"),
    ("ALLOW_SMC_CALLS", "true"),
    // A guest that waits must tell the VMM.
    ("DISABLE_WFI_WFE_TRAPS", "false"),
];

/// What a system needs of the kernel because of its board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// The board's name.
    pub board: &'a str,
    /// The configuration's name.
    pub config: &'a str,
    /// More entries of `gen_config.json` and their values.
    pub kernel: &'a [(&'a str, &'a str)],
}

/// An SDK that fits, with one of its boards and configurations chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sdk {
    folder: PathBuf,
    board: String,
    config: String,
    /// The kernel's invocation labels.
    pub labels: Labels,
    /// Whether the kernel can print.
    pub debug_put_char: bool,
    /// How many processors it uses.
    pub processors: u32,
}

/// The folder of the SDK: `given`, else what [`VARIABLE`] says.
///
/// # Errors
/// Says where an SDK comes from, if neither names one.
pub fn folder(given: Option<&Path>) -> Result<PathBuf> {
    let variable = std::env::var_os(VARIABLE).filter(|value| !value.is_empty());
    match given.map(Path::to_owned).or(variable.map(PathBuf::from)) {
        Some(folder) => Ok(folder),
        None => bail!(
            "seL4 comes with a Microkit SDK, and none was named: download the Microkit SDK {VERSION} from its releases, and name its folder with --sdk or {VARIABLE}"
        ),
    }
}

impl Sdk {
    /// Checks the SDK in `folder`.
    ///
    /// # Errors
    /// The first thing that is missing or is not as it must be: where, what was found, what was expected.
    pub fn open(folder: &Path, wanted: Wanted<'_>) -> Result<Self> {
        let shown = folder.display();
        if !folder.is_dir() {
            bail!("{shown}: there is no such folder; expected a Microkit SDK {VERSION}");
        }
        check_version(folder)?;
        let tool = tool(folder);
        if !tool.is_file() {
            bail!(
                "{}: there is no such file; expected the SDK's tool (is {shown} the SDK's top folder?)",
                tool.display()
            );
        }
        let boards = folder.join("board");
        let board = choose(&boards, wanted.board, "board")?;
        let place = choose(&board, wanted.config, "configuration")?;

        let config = Json::read(place.join("include/kernel/gen_config.json"))?;
        for (name, expected) in KERNEL.iter().chain(wanted.kernel) {
            config.expect(name, expected)?;
        }
        let space = Json::read(place.join("address_space_constants.json"))?;
        let top = space.number("vspace_user_top")?;
        // The last address, or the one after it.
        if top | 1 != (USER_TOP - 1) | 1 && top != USER_TOP {
            bail!(
                "{}: vspace_user_top is {top:#x}; expected {:#x}",
                space.path.display(),
                USER_TOP - 1
            );
        }
        Ok(Self {
            labels: labels(&Json::read(place.join("invocations_all.json"))?)?,
            debug_put_char: config.text("PRINTING")? == "true",
            processors: u32::try_from(config.number("MAX_NUM_NODES")?).unwrap_or(1),
            folder: folder.to_owned(),
            board: wanted.board.to_owned(),
            config: wanted.config.to_owned(),
        })
    }

    /// Has the SDK's tool make `image` and `report` of the system description `sdf`, whose files are in `search`.
    ///
    /// # Errors
    /// Repeats what the tool says.
    pub fn build(&self, sdf: &Path, search: &[PathBuf], image: &Path, report: &Path) -> Result<()> {
        let mut command = Command::new(tool(&self.folder));
        command
            .arg(sdf)
            .args(["--board", &self.board, "--config", &self.config])
            .arg("-o")
            .arg(image)
            .arg("-r")
            .arg(report)
            .arg("--search-path")
            .args(search)
            .env(VARIABLE, &self.folder);
        process::run(&mut command, LIMIT)
            .context("the SDK's tool does not take what was generated")?;
        Ok(())
    }
}

fn tool(folder: &Path) -> PathBuf {
    folder.join("bin/microkit")
}

fn check_version(folder: &Path) -> Result<()> {
    let path = folder.join("VERSION");
    let text = std::fs::read_to_string(&path).with_context(|| {
        format!(
            "{}: cannot be read; expected the file of a Microkit SDK that says {VERSION}",
            path.display()
        )
    })?;
    let found = text.trim();
    if found != VERSION {
        bail!(
            "{}: found {found}, the version of another Microkit SDK; expected {VERSION}",
            path.display()
        );
    }
    Ok(())
}

/// The folder `name` in `folder`; a mistake lists those that there are.
fn choose(folder: &Path, name: &str, what: &str) -> Result<PathBuf> {
    let place = folder.join(name);
    if place.is_dir() {
        return Ok(place);
    }
    let mut there: Vec<String> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    there.sort();
    let there = match there.as_slice() {
        [] => "none".to_owned(),
        there => there.join(", "),
    };
    bail!(
        "{}: the SDK has no {what} {name}; expected one of those that it has: {there}",
        folder.display()
    )
}

/// One of the SDK's files of facts.
struct Json {
    path: PathBuf,
    value: Value,
}

impl Json {
    fn read(path: PathBuf) -> Result<Self> {
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("{}: cannot be read", path.display()))?;
        let value = serde_json::from_str(&text)
            .with_context(|| format!("{}: expected JSON", path.display()))?;
        Ok(Self { path, value })
    }

    /// An entry as text: numbers are text in some files and numbers in others.
    fn text(&self, name: &str) -> Result<String> {
        match self.value.get(name) {
            Some(Value::String(text)) => Ok(text.clone()),
            Some(value) => Ok(value.to_string()),
            None => bail!("{}: there is no entry {name}", self.path.display()),
        }
    }

    fn number(&self, name: &str) -> Result<u64> {
        let text = self.text(name)?;
        text.parse().with_context(|| {
            format!(
                "{}: {name} is {text}; expected a number",
                self.path.display()
            )
        })
    }

    fn expect(&self, name: &str, expected: &str) -> Result<()> {
        let found = self.text(name)?;
        if found != expected {
            bail!(
                "{}: the kernel was built with {name} = {found}; the programs are made for {expected}",
                self.path.display()
            );
        }
        Ok(())
    }
}

/// The labels that the programs need, by the names that the SDK has for them.
fn labels(file: &Json) -> Result<Labels> {
    let label = |name: &str| -> Result<u32> {
        let number = file.number(name)?;
        u32::try_from(number)
            .ok()
            .filter(|number| (1..0x1000).contains(number))
            .with_context(|| {
                format!(
                    "{}: {name} is {number}; expected an invocation label, 1 to 4095",
                    file.path.display()
                )
            })
    };
    Ok(Labels {
        tcb_read_registers: label("TCBReadRegisters")?,
        tcb_write_registers: label("TCBWriteRegisters")?,
        tcb_set_priority: label("TCBSetPriority")?,
        tcb_suspend: label("TCBSuspend")?,
        tcb_resume: label("TCBResume")?,
        tcb_bind_notification: label("TCBBindNotification")?,
        tcb_set_flags: label("TCBSetFlags")?,
        irq_ack_irq: label("IRQAckIRQ")?,
        sched_context_consumed: label("SchedContextConsumed")?,
        sched_context_yield_to: label("SchedContextYieldTo")?,
        arm_vspace_clean_data: label("ARMVSpaceClean_Data")?,
        arm_vspace_invalidate_data: label("ARMVSpaceInvalidate_Data")?,
        arm_vspace_clean_invalidate_data: label("ARMVSpaceCleanInvalidate_Data")?,
        arm_vspace_unify_instruction: label("ARMVSpaceUnify_Instruction")?,
        arm_smc_call: label("ARMSMCCall")?,
        arm_vcpu_set_tcb: label("ARMVCPUSetTCB")?,
        arm_vcpu_inject_irq: label("ARMVCPUInjectIRQ")?,
        arm_vcpu_read_regs: label("ARMVCPUReadReg")?,
        arm_vcpu_write_regs: label("ARMVCPUWriteReg")?,
        arm_vcpu_ack_vppi: label("ARMVCPUAckVPPI")?,
    })
}
