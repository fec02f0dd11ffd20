//! Loads and stores that stage 2 refuses.

use super::{INSTRUCTION, Machine};
use crate::bus::Target;
use crate::exit::{Access, Exit, FaultStatus};
use crate::mmio::{self, Effect};
use crate::report::Cause;
use crate::vcpu::{Context, Exception, Hold, State, general, move_to, resume_at};
use sel4cp_pd::Vcpu;

impl Machine {
    /// Serves a load or store. True: the vCPU goes on when its fault is answered; false: it does already, or a device holds it.
    #[inline]
    pub(super) fn access(&mut self, vcpu: Vcpu, access: Access) -> Result<bool, Cause> {
        let syndrome = access.syndrome;
        let target = self.bus.find(access.address);
        if matches!(target, Target::Ram) {
            // RAM is the guest's: nothing that it does there comes here, unless the mapping is broken.
            return Err(Cause::Mapping(Exit::Access(access)));
        }
        let next = access.ip.wrapping_add(INSTRUCTION);
        if syndrome.is_cache_maintenance() && !matches!(target, Target::Nothing) {
            // Registers are not cached.
            move_to(vcpu, next)?;
            return Ok(true);
        }
        // What real hardware answers to what it cannot do: a device that is not there, table walks through device
        // registers, and accesses by instructions that devices do not get (pairs, vectors, with write-back).
        let refused = matches!(target, Target::Nothing)
            || !syndrome.is_valid()
            || syndrome.is_table_walk()
            || syndrome.fault_status() == FaultStatus::External;
        if refused {
            Context::new(vcpu).take(Exception::Data(syndrome))?;
            return Ok(false);
        }
        if !syndrome.is_write() {
            let value = syndrome.loaded(self.load(vcpu, target, syndrome.size()));
            Context::new(vcpu).finish(next, syndrome.register(), value)?;
            return Ok(false);
        }
        // To read a register is a call of the kernel.
        let value = match target {
            Target::Device(_, mmio::QUEUE_NOTIFY) => 0,
            _ => syndrome.stored(general(vcpu, syndrome.register())?),
        };
        self.store(vcpu, target, &access, value)
    }

    fn load(&self, vcpu: Vcpu, target: Target, size: u8) -> u64 {
        match target {
            Target::Device(index, offset) => self
                .devices
                .get(index)
                .map_or(0, |device| device.transport.read(offset, size)),
            Target::Distributor(offset) => self.gic.read(vcpu.id(), offset, size),
            Target::Redistributors(offset) => self.gic.read_redistributor(offset, size),
            Target::Uart(offset) => self.uart.as_ref().map_or(0, |uart| uart.read(offset)),
            Target::Empty | Target::Ram | Target::Nothing => 0,
        }
    }

    fn store(
        &mut self,
        vcpu: Vcpu,
        target: Target,
        access: &Access,
        value: u64,
    ) -> Result<bool, Cause> {
        let size = access.syndrome.size();
        let ip = access.ip;
        match target {
            Target::Device(index, offset) => {
                return self.store_device(vcpu, index, offset, size, value, ip);
            }
            Target::Distributor(offset) => {
                self.gic.write(vcpu.id(), offset, size, value);
                self.deliver()?;
            }
            Target::Redistributors(offset) => {
                self.gic.write_redistributor(offset, size, value);
                self.deliver()?;
            }
            Target::Uart(offset) => {
                let done = self
                    .uart
                    .as_mut()
                    .is_none_or(|uart| uart.write(offset, value));
                if !done {
                    self.hold(vcpu, Hold::Uart { value, ip })?;
                    return Ok(false);
                }
            }
            Target::Empty | Target::Ram | Target::Nothing => {}
        }
        move_to(vcpu, ip.wrapping_add(INSTRUCTION))?;
        Ok(true)
    }

    /// Holds the vCPU. It is suspended, because a kernel that finds a fault unanswered at the next receive gives up
    /// the answer, and a debug kernel prints that.
    #[cold]
    fn hold(&mut self, vcpu: Vcpu, hold: Hold) -> Result<(), Cause> {
        self.set_state(vcpu, State::Held(hold));
        Ok(vcpu.suspend()?)
    }

    /// As [`access`](Self::access).
    #[inline]
    fn store_device(
        &mut self,
        vcpu: Vcpu,
        index: usize,
        offset: u64,
        size: u8,
        value: u64,
        ip: u64,
    ) -> Result<bool, Cause> {
        let next = ip.wrapping_add(INSTRUCTION);
        let Some(device) = self.devices.get_mut(index) else {
            return Ok(true);
        };
        match device.transport.write(offset, size, value) {
            Effect::None => {}
            // With the next receive, which cannot carry the answer too. The vCPU is resumed before: the backend may have a higher
            // priority than we have, and would otherwise run in the middle, and we once more after it.
            Effect::Notify => {
                device.channel.defer_notify();
                resume_at(vcpu, next)?;
                return Ok(false);
            }
            Effect::Line => self.acknowledged(vcpu, index)?,
            Effect::Reset => {
                device.channel.notify();
                self.sample(index);
                self.hold(vcpu, Hold::Reset { device: index, ip })?;
                // The backend may have been faster than we were.
                self.device_notified(index)?;
                return Ok(false);
            }
        }
        move_to(vcpu, next)?;
        Ok(true)
    }

    /// The UART's peer has taken output: vCPUs that are held go on, as long as there is room.
    #[cold]
    pub(super) fn uart_has_room(&mut self) -> Result<(), Cause> {
        for vcpu in self.vcpus() {
            let State::Held(Hold::Uart { value, ip }) = self.state(vcpu) else {
                continue;
            };
            // Only the data register holds, and it is the first.
            let done = self.uart.as_mut().is_none_or(|uart| uart.write(0, value));
            if !done {
                break;
            }
            self.go_on(vcpu, ip.wrapping_add(INSTRUCTION))?;
        }
        Ok(())
    }
}
