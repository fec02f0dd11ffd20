//! Reports of faults by PDs that do not handle them.

use crate::fault::Fault;
use crate::{Child, MessageInfo, log};

/// Reports that `child` has faulted.
pub(crate) fn child_fault(child: Child, info: MessageInfo) {
    // Before the log line is written: that may call the kernel, which overwrites the message.
    let fault = Fault::received(info);
    let id = child.id();
    match fault.cause.syndrome() {
        Some(syndrome) => log!("child {id} stopped: {fault}, syndrome {syndrome:#x}"),
        None => log!("child {id} stopped: {fault}"),
    }
}
