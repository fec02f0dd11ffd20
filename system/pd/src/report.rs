//! Reports of faults: who, what, where.

use crate::{Child, MessageInfo, get_mr, log};
use sel4cp_abi::fault::Fault;

/// Reports that `child` has faulted.
pub(crate) fn child_fault(child: Child, info: MessageInfo) {
    let id = child.id();
    match Fault::from_label(info.label()) {
        Some(Fault::Vm) => {
            let (ip, address, fetch, esr) = (get_mr(0), get_mr(1), get_mr(2), get_mr(3));
            let access = match (fetch != 0, esr >> 6 & 1 != 0) {
                (true, _) => "instruction fetch from",
                (false, true) => "write to",
                (false, false) => "read from",
            };
            log!("child {id} stopped: {access} {address:#x} at pc {ip:#x}, syndrome {esr:#x}");
        }
        Some(Fault::UserException) => {
            let (ip, sp, spsr, number, code) =
                (get_mr(0), get_mr(1), get_mr(2), get_mr(3), get_mr(4));
            log!(
                "child {id} stopped: exception {number:#x} at pc {ip:#x}, sp {sp:#x}, spsr {spsr:#x}, code {code:#x}"
            );
        }
        Some(Fault::UnknownSyscall) => {
            let (ip, number) = (get_mr(8), get_mr(12));
            log!("child {id} stopped: unknown system call {number:#x} at pc {ip:#x}");
        }
        Some(Fault::Vcpu) => {
            let esr = get_mr(0);
            log!("child {id} stopped: vCPU exit with syndrome {esr:#x}");
        }
        Some(fault) => log!(
            "child {id} stopped: {fault:?} fault, first word {:#x}",
            get_mr(0)
        ),
        None => log!("child {id} stopped: fault of unknown kind {}", info.label()),
    }
}
