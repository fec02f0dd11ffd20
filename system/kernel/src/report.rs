//! Reports for people: a domain that faulted, and the list of threads.

use crate::fault::Fault;
use crate::id::{Id, ThreadId};
use crate::kernel::Kernel;
use crate::machine::Machine;
use crate::syndrome;
use crate::thread::{Owner, Thread};
use core::fmt;
use sel4cp_abi::image::{self, Mapping, PAGE};

/// Most callers in a report.
const CALLERS: usize = 16;
/// General registers in a line.
const COLUMNS: usize = 4;

/// A fault in words.
struct Cause<'a>(&'a Fault);

impl fmt::Display for Cause<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Fault::Cap {
                cptr, receiving, ..
            } => {
                let doing = if *receiving { "receiving on" } else { "using" };
                write!(f, "{doing} capability {cptr:#x}, which it does not have")
            }
            Fault::UnknownSyscall { number } => {
                write!(
                    f,
                    "system call {}, which does not exist",
                    number.cast_signed()
                )
            }
            Fault::Memory {
                address, syndrome, ..
            } => write!(f, "{} at {address:#x}", syndrome::describe(*syndrome)),
            Fault::User { syndrome } | Fault::Vcpu { syndrome } => {
                f.write_str(syndrome::describe(*syndrome))
            }
            Fault::Maintenance { .. } => f.write_str("the end of an interrupt"),
            Fault::Breakpoint => f.write_str("a breakpoint instruction"),
            Fault::PrivateInterrupt { number } => write!(f, "private interrupt {number}"),
        }
    }
}

impl Fault {
    const fn syndrome(&self) -> Option<u64> {
        match self {
            Self::Memory { syndrome, .. } | Self::User { syndrome } | Self::Vcpu { syndrome } => {
                Some(*syndrome)
            }
            _ => None,
        }
    }
}

impl<M: Machine> Kernel<M> {
    /// Prints what happened to a domain.
    #[cold]
    pub(crate) fn report(&mut self, thread: ThreadId, fault: &Fault) {
        let name = self.name(thread);
        let context = self.threads[thread].context;
        let record = self.record(thread).copied();
        let machine = &mut self.machine;
        machine.print(format_args!(
            "kernel: PD \"{name}\" faulted: {}\n",
            Cause(fault)
        ));
        if let (Fault::Memory { address, .. }, Some(record)) = (fault, &record)
            && record
                .stack_bottom
                .checked_sub(PAGE)
                .is_some_and(|guard| (guard..record.stack_bottom).contains(address))
        {
            machine.print(format_args!(
                "  its stack is full: it ends at {:#x}; give the PD a larger stack_size\n",
                record.stack_bottom
            ));
        }
        machine.print(format_args!(
            "  pc {:#018x}  sp {:#018x}  spsr {:#x}",
            context.restart, context.sp, context.spsr
        ));
        match fault.syndrome() {
            Some(syndrome) => machine.print(format_args!("  esr {syndrome:#x}\n")),
            None => machine.print(format_args!("\n")),
        }
        for (row, registers) in context.x.chunks(COLUMNS).enumerate() {
            for (column, value) in registers.iter().enumerate() {
                let number = row * COLUMNS + column;
                let gap = if number < 10 { " " } else { "" };
                machine.print(format_args!("  {gap}x{number} {value:#018x}"));
            }
            machine.print(format_args!("\n"));
        }
        self.print_callers(thread);
        let parent = record
            .and_then(|record| usize::try_from(record.parent).ok())
            .and_then(|parent| self.description?.domains.get(parent));
        match parent.map(|parent| image::Description::text(&parent.name)) {
            Some(parent) => self
                .machine
                .print(format_args!("  its parent \"{parent}\" gets the fault\n")),
            None => self
                .machine
                .print(format_args!("  it stays stopped, the others go on\n")),
        }
    }

    /// Follows the frame pointers from the thread's registers.
    fn print_callers(&mut self, thread: ThreadId) {
        let context = self.threads[thread].context;
        self.machine
            .print(format_args!("  called from {:#x}", context.general(30)));
        let mut frame = context.general(29);
        for _ in 0..CALLERS {
            let next = self.load_of(thread, frame);
            let caller = self.load_of(thread, frame.wrapping_add(8));
            let (Some(next), Some(caller)) = (next, caller) else {
                break;
            };
            if caller == 0 {
                break;
            }
            self.machine.print(format_args!(" {caller:#x}"));
            if next <= frame {
                // A stack grows down: its frames lie above each other.
                break;
            }
            frame = next;
        }
        self.machine.print(format_args!("\n"));
    }

    /// The word at an address of a thread's space, if there is RAM.
    fn load_of(&self, thread: ThreadId, address: u64) -> Option<u64> {
        if !address.is_multiple_of(8) {
            return None;
        }
        let mapping = self.mapping_at(thread, address)?;
        if mapping.flags & Mapping::CACHED == 0 {
            return None;
        }
        self.machine
            .load_physical(mapping.paddr.checked_add(address - mapping.vaddr)?)
    }

    fn mapping_at(&self, thread: ThreadId, address: u64) -> Option<&'static Mapping> {
        let space = self.threads[thread].space;
        self.mapping_in(space, address)
    }

    fn record(&self, thread: ThreadId) -> Option<&'static image::Domain> {
        let Owner::Domain(domain) = self.threads[thread].owner else {
            return None;
        };
        self.description?.domains.get(usize::from(domain.number()))
    }

    /// Prints every thread and what it does.
    pub(crate) fn print_threads(&mut self) {
        let Some(description) = self.description else {
            return;
        };
        let count = description.domains.len() + description.vcpus.len();
        for thread in (0..count).filter_map(ThreadId::new) {
            let name = self.name(thread);
            let kind = if self.threads[thread].is_vcpu() {
                "vCPU"
            } else {
                "PD"
            };
            let Thread {
                state,
                priority,
                context,
                ..
            } = &self.threads[thread];
            self.machine.print(format_args!(
                "kernel: {} {kind} \"{name}\" priority {priority} pc {:#x} {state:?}\n",
                thread.index(),
                context.pc
            ));
        }
    }
}
