//! Tells which protection domain has faulted, and how.
//!
//! This domain is the parent of all others, so their faults come here and not to the Microkit's monitor, which is
//! silent on a release kernel. It comes before all others: a fault is reported before anything that follows from it.
//!
//! Where there is a control service, a page tells it as well.
//!
//! A domain that faulted stays stopped, and the others go on. Nothing is started again: whoever shares memory with
//! the stopped domain would have to agree to that.
//!
//! Two faults are told only where the kernel prints: the serial driver's, which is what prints everything else, and this
//! domain's own, which goes to the monitor.
#![forbid(unsafe_code)]

use core::fmt;
use sel4cp_abi::config::{Name, Ring, SupervisorConfig};
use sel4cp_abi::image::PAGE;
use sel4cp_abi::vcpu::{CONTEXT_WORDS, context_word};
use sel4cp_pd::{
    self as pd, Cause, Channel, ChannelSet, Child, ConfigError, Error, Fault, Handler, MessageInfo,
    log,
};
use sel4cp_ring::control::DomainsPage;

/// General registers in a line.
const COLUMNS: u8 = 4;
/// General registers.
const REGISTERS: u8 = 31;

/// The supervisor.
pub struct Supervisor {
    children: &'static [Name],
    /// The serial driver.
    serial: Child,
    /// Where each child's stack ends.
    stack_bottom: u64,
    /// Where the control service reads who has faulted.
    domains: Option<(&'static DomainsPage, Channel)>,
}

impl Supervisor {
    /// The supervisor, from its configuration.
    ///
    /// # Errors
    /// When there is no configuration that fits.
    pub fn new() -> Result<Self, ConfigError> {
        let config = pd::config::<SupervisorConfig>()?;
        let count = usize::try_from(config.child_count).unwrap_or(usize::MAX);
        let children = config.children.get(..count).unwrap_or(&config.children);
        Ok(Self {
            children,
            // An id that no child has: then no child is the serial driver.
            serial: Child::new(u8::try_from(config.serial).unwrap_or(u8::MAX)),
            stack_bottom: config.stack_bottom,
            domains: domains(&config.domains),
        })
    }
}

/// The page in which the control service reads who has faulted. Without it, faults are told all the same.
fn domains(config: &'static Ring) -> Option<(&'static DomainsPage, Channel)> {
    let channel = Channel::from_config(config.channel)?;
    match pd::shared(&config.region) {
        Ok(page) => Some((page, channel)),
        Err(error) => {
            log!("page of the control service: {error}");
            None
        }
    }
}

impl Handler for Supervisor {
    /// The serial driver has made room in the log; lines never wait for that.
    fn notified(&mut self, _: ChannelSet) {}

    fn fault(&mut self, child: Child, info: MessageInfo) -> Option<MessageInfo> {
        let fault = Fault::received(info);
        let mut words = [0; CONTEXT_WORDS];
        let registers = child.suspend_and_read_regs(&mut words).map(|()| &words);
        let report = Report {
            name: self.children.get(usize::from(child.id())),
            child,
            fault,
            stack_bottom: self.stack_bottom,
            registers,
        };
        if child == self.serial {
            log::without_driver(format_args!("{report}"));
        } else {
            log::plain(format_args!("{report}"));
        }
        if let Some((page, channel)) = self.domains {
            page.set_faulted(child.id());
            channel.notify();
        }
        None
    }
}

/// A report for people, in lines. The tool knows the first one.
struct Report<'a> {
    name: Option<&'a Name>,
    child: Child,
    fault: Fault,
    stack_bottom: u64,
    registers: Result<&'a [u64; CONTEXT_WORDS], Error>,
}

impl Report<'_> {
    /// Whether the fault is the stack's growing into the page below it.
    fn is_overflow(&self) -> bool {
        let guard = self.stack_bottom.saturating_sub(PAGE)..self.stack_bottom;
        matches!(self.fault.cause, Cause::Memory { address, fetch: false, .. } if guard.contains(&address))
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fault = &self.fault;
        f.write_str("sel4cp-supervisor: PD \"")?;
        match self.name {
            Some(name) => name.fmt(f)?,
            None => write!(f, "{:?}", self.child)?,
        }
        writeln!(f, "\" faulted: {fault}")?;
        if self.is_overflow() {
            writeln!(
                f,
                "  its stack is full: it ends at {:#x}",
                self.stack_bottom
            )?;
        }
        match self.registers {
            Ok(words) => registers(f, words, fault.cause.syndrome())?,
            Err(error) => writeln!(f, "  its registers cannot be read: {error:?}")?,
        }
        write!(f, "  it stays stopped, the others go on")
    }
}

fn registers(
    f: &mut fmt::Formatter<'_>,
    words: &[u64; CONTEXT_WORDS],
    syndrome: Option<u64>,
) -> fmt::Result {
    let [pc, sp, spsr, ..] = words;
    write!(f, "  pc {pc:#018x}  sp {sp:#018x}  spsr {spsr:#x}")?;
    if let Some(syndrome) = syndrome {
        write!(f, "  esr {syndrome:#x}")?;
    }
    for number in 0..REGISTERS {
        if number % COLUMNS == 0 {
            writeln!(f)?;
        }
        let value = context_word(number).and_then(|word| words.get(word));
        let gap = if number < 10 { " " } else { "" };
        write!(f, "  {gap}x{number} {:#018x}", value.copied().unwrap_or(0))?;
    }
    writeln!(f)
}

/// The program.
pub fn init() -> Supervisor {
    match Supervisor::new() {
        Ok(supervisor) => supervisor,
        Err(error) => pd::fatal!("{error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pd::host::{self, Call};
    use pd::{Channel, byte_rings};
    use sel4cp_abi::config::{Header, MAX_CHILDREN, Program};
    use sel4cp_abi::label::Labels;
    use sel4cp_abi::vcpu::{CONTEXT_PC, CONTEXT_SP, CONTEXT_SPSR};

    const SERIAL: Child = Child::new(0);
    const NET: Child = Child::new(1);
    const STACK_BOTTOM: u64 = 0xff_fffb_e000;
    const MEMORY_FAULT: u64 = 6;

    fn supervisor(log: Ring) -> Supervisor {
        with_domains(log, Ring::NONE)
    }

    fn with_domains(log: Ring, domains: Ring) -> Supervisor {
        let mut children = [Name { bytes: [0; 32] }; MAX_CHILDREN];
        children[0] = Name::new("serial").unwrap();
        children[1] = Name::new("linux_net").unwrap();
        host::set_config(&SupervisorConfig {
            header: Header::new::<SupervisorConfig>(
                Program::Supervisor,
                Header::DEBUG_PUT_CHAR,
                Labels::RELEASE,
                log,
            ),
            stack_bottom: STACK_BOTTOM,
            child_count: 2,
            domains,
            serial: 0,
            children,
        });
        Supervisor::new().unwrap()
    }

    /// What the supervisor does about a write of `child` to `address`.
    fn write_fault(supervisor: &mut Supervisor, child: Child, address: u64) -> Vec<Call> {
        let words = [0x20_0004, address, 0, 0x9200_0045];
        host::deliver_fault(child, MEMORY_FAULT, &words);
        host::run(supervisor);
        host::calls()
    }

    #[test]
    fn a_fault_is_one_block_with_name_cause_and_registers() {
        let mut supervisor = supervisor(Ring::NONE);
        for (word, value) in [
            (CONTEXT_PC, 0x20_0004),
            (CONTEXT_SP, 0xff_ffff_df00),
            (CONTEXT_SPSR, 0x8000_0000),
        ] {
            host::set_child_context(NET, word, value);
        }
        for x in 0..REGISTERS {
            host::set_child_context(NET, context_word(x).unwrap(), 0x100 + u64::from(x));
        }
        write_fault(&mut supervisor, NET, 0);
        let expected = "\
sel4cp-supervisor: PD \"linux_net\" faulted: data abort: write to 0x0, which is not mapped, at pc 0x200004
  pc 0x0000000000200004  sp 0x000000ffffffdf00  spsr 0x80000000  esr 0x92000045
   x0 0x0000000000000100   x1 0x0000000000000101   x2 0x0000000000000102   x3 0x0000000000000103
   x4 0x0000000000000104   x5 0x0000000000000105   x6 0x0000000000000106   x7 0x0000000000000107
   x8 0x0000000000000108   x9 0x0000000000000109  x10 0x000000000000010a  x11 0x000000000000010b
  x12 0x000000000000010c  x13 0x000000000000010d  x14 0x000000000000010e  x15 0x000000000000010f
  x16 0x0000000000000110  x17 0x0000000000000111  x18 0x0000000000000112  x19 0x0000000000000113
  x20 0x0000000000000114  x21 0x0000000000000115  x22 0x0000000000000116  x23 0x0000000000000117
  x24 0x0000000000000118  x25 0x0000000000000119  x26 0x000000000000011a  x27 0x000000000000011b
  x28 0x000000000000011c  x29 0x000000000000011d  x30 0x000000000000011e
  it stays stopped, the others go on
";
        assert_eq!(host::log(), expected);
    }

    #[test]
    fn the_child_is_stopped_and_gets_no_answer() {
        let calls = write_fault(&mut supervisor(Ring::NONE), NET, 0);
        let expected = [
            Call::Receive,
            Call::SuspendChild(NET),
            Call::ReadChild(NET, CONTEXT_WORDS),
        ];
        assert_eq!(calls, expected);
    }

    #[test]
    fn the_control_service_reads_who_has_faulted() {
        let domains = Ring {
            region: host::region(0x1000),
            channel: 7,
            reserved: 0,
        };
        let mut supervisor = with_domains(Ring::NONE, domains);
        let page = supervisor.domains.unwrap().0;
        let calls = write_fault(&mut supervisor, NET, 0);
        assert_eq!(calls.last(), Some(&Call::Notify(Channel::new(7))));
        assert!(page.has_faulted(NET.id()) && !page.has_faulted(SERIAL.id()));
    }

    #[test]
    fn a_full_stack_is_called_that() {
        let mut supervisor = supervisor(Ring::NONE);
        for (address, full) in [
            (STACK_BOTTOM - 8, true),
            (STACK_BOTTOM - PAGE, true),
            (STACK_BOTTOM - PAGE - 8, false),
            (STACK_BOTTOM, false),
        ] {
            write_fault(&mut supervisor, NET, address);
            let log = host::log();
            assert_eq!(log.contains("its stack is full"), full, "{log}");
        }
    }

    #[test]
    fn a_fault_is_told_even_if_nothing_is_known_about_the_child() {
        let mut supervisor = supervisor(Ring::NONE);
        host::refuse(Error::InvalidCapability);
        write_fault(&mut supervisor, Child::new(9), 0);
        let log = host::log();
        assert!(log.contains("PD \"child 9\" faulted: "), "{log}");
        assert!(log.contains("InvalidCapability"), "{log}");
    }

    #[test]
    fn reports_go_to_the_serial_driver_unless_that_is_what_has_faulted() {
        let ring = Ring {
            region: host::region(0x1000 + 2 * 0x1000),
            channel: 3,
            reserved: 0,
        };
        let mut supervisor = supervisor(ring);
        let calls = write_fault(&mut supervisor, NET, 0);
        assert_eq!(host::log(), "");
        assert!(calls.contains(&Call::Notify(Channel::new(3))), "{calls:?}");
        // The driver is another PD.
        let printed = std::thread::spawn(move || {
            host::adopt(ring.region);
            let mut bytes = [0; 0x1000];
            let (mut lines, _) = byte_rings(&ring.region).unwrap().driver();
            let count = lines.pop_slice(&mut bytes).unwrap();
            String::from_utf8(bytes[..count].to_vec()).unwrap()
        });
        let printed = printed.join().unwrap();
        assert!(printed.contains("PD \"linux_net\" faulted: "), "{printed}");
        write_fault(&mut supervisor, SERIAL, 0);
        let log = host::log();
        assert!(log.contains("PD \"serial\" faulted: "), "{log}");
    }
}
