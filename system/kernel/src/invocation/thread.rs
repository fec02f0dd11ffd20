//! Invocations of threads (TCBs).

use super::{Answer, Outcome, Refusal, Request};
use crate::capability::Cap;
use crate::context::Register;
use crate::id::ThreadId;
use crate::kernel::Kernel;
use crate::machine::Machine;
use sel4cp_abi::message::MessageInfo;
use sel4cp_abi::vcpu::CONTEXT_WORDS;

/// Words before the registers of WriteRegisters.
const WRITE_ARGUMENTS: usize = 2;
/// Flag of ReadRegisters (suspend) and WriteRegisters (resume).
const FLAG: u64 = 1;
/// Flag of a thread: it may not use the FPU.
const FPU_DISABLED: u64 = 1;

impl<M: Machine> Kernel<M> {
    pub(super) fn invoke_thread(&mut self, request: Request, target: ThreadId) -> Outcome {
        let labels = &self.labels;
        match request.label {
            label if label == labels.tcb_read_registers => self.read_registers(request, target),
            label if label == labels.tcb_write_registers => self.write_registers(request, target),
            label if label == labels.tcb_resume => {
                self.resume(target);
                Ok(Answer::Empty)
            }
            label if label == labels.tcb_suspend => {
                self.suspend(target);
                Ok(Answer::Empty)
            }
            label if label == labels.tcb_set_priority => self.change_priority(request, target),
            label if label == labels.tcb_set_flags => self.set_flags(request, target),
            label if label == labels.tcb_bind_notification => {
                self.bind_notification(request, target)
            }
            _ => Err(Refusal::IllegalOperation),
        }
    }

    fn read_registers(&mut self, request: Request, target: ThreadId) -> Outcome {
        request.needs(2)?;
        let flags = self.word(request.thread, 0);
        let count = usize::try_from(self.word(request.thread, 1)).unwrap_or(usize::MAX);
        if !(1..=CONTEXT_WORDS).contains(&count) {
            return Err(Refusal::Range(1, CONTEXT_WORDS as u64));
        }
        if target == request.thread {
            return Err(Refusal::IllegalOperation);
        }
        if flags & FLAG != 0 {
            self.suspend(target);
        }
        if request.call {
            for index in 0..count {
                let value = self.threads[target].context.word(index);
                self.set_word(request.thread, index, value);
            }
            let context = &mut self.threads[request.thread].context;
            context.set(Register::Capability, 0);
            context.set(Register::Info, MessageInfo::new(0, count).0);
        }
        Ok(Answer::Given)
    }

    fn write_registers(&mut self, request: Request, target: ThreadId) -> Outcome {
        request.needs(WRITE_ARGUMENTS)?;
        let flags = self.word(request.thread, 0);
        let count = usize::try_from(self.word(request.thread, 1)).unwrap_or(usize::MAX);
        if request.length - WRITE_ARGUMENTS < count {
            return Err(Refusal::Truncated);
        }
        if target == request.thread {
            return Err(Refusal::IllegalOperation);
        }
        let is_vcpu = self.threads[target].is_vcpu();
        for index in 0..count.min(CONTEXT_WORDS) {
            let value = self.word(request.thread, WRITE_ARGUMENTS + index);
            let context = &mut self.threads[target].context;
            context.set_word(index, value, is_vcpu);
        }
        let context = &mut self.threads[target].context;
        context.pc = context.restart;
        if flags & FLAG != 0 {
            self.resume(target);
        }
        Ok(Answer::Empty)
    }

    #[cold]
    fn change_priority(&mut self, request: Request, target: ThreadId) -> Outcome {
        request.needs(1)?;
        let authority = self.extra_cap(&request)?;
        let Cap::Thread(authority) = authority else {
            return Err(Refusal::InvalidCapability(1));
        };
        let highest = self.threads[authority].highest;
        let priority = u8::try_from(self.word(request.thread, 0)).ok();
        match priority.filter(|priority| *priority <= highest) {
            None => Err(Refusal::Range(0, u64::from(highest))),
            Some(priority) => {
                self.set_priority(target, priority);
                Ok(Answer::Empty)
            }
        }
    }

    #[cold]
    fn set_flags(&mut self, request: Request, target: ThreadId) -> Outcome {
        request.needs(2)?;
        let clear = self.word(request.thread, 0);
        let set = self.word(request.thread, 1);
        let thread = &mut self.threads[target];
        let old = if thread.fpu { 0 } else { FPU_DISABLED };
        let flags = (old & !clear | set) & FPU_DISABLED;
        thread.fpu = flags == 0;
        if flags != 0 {
            self.machine.release_fpu(target);
        }
        Ok(Answer::Word(flags))
    }

    #[cold]
    fn bind_notification(&mut self, request: Request, target: ThreadId) -> Outcome {
        let cap = self.extra_cap(&request)?;
        if self.threads[target].notification.is_some() {
            return Err(Refusal::IllegalOperation);
        }
        match cap {
            Cap::Notification(notification, _) if self.notifications[notification].is_free() => {
                self.notifications[notification].bound = Some(target);
                self.threads[target].notification = Some(notification);
                Ok(Answer::Empty)
            }
            _ => Err(Refusal::IllegalOperation),
        }
    }
}
